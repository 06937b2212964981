"""The gradient side of tensors: `requires_grad`, `grad`, `backward`, hooks, `detach`."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

from graphc.aliasing import mark_detached, refresh, write
from graphc.autodiff import Watch, pull_to_leaves, same_shape, seeds_for
from graphc.core.arrays import is_array, is_borrowed, like, write_elements
from graphc.core.context import EPOCH, SLOTS, STATE, set_grad
from graphc.core.errors import ArgumentTypeError, DtypeError, GradientError, ShapeError
from graphc.core.tape import LEAF, Entry, TensorBase, counter_of
from graphc.core.tensor_types import FLOAT
from graphc.functions.placing import at_home
from graphc.functions.promotion import as_operand
from graphc.methods.shapes import Shapes
from graphc.primitives.copying import copy
from graphc.primitives.elementwise import add


class RemovableHandle:
    """Takes a hook out again."""

    def __init__(self, hooks: dict[int, Any], key: int):
        self._hooks, self.id = hooks, key

    def remove(self) -> None:
        """Removes the hook; doing so twice is harmless."""
        self._hooks.pop(self.id, None)
        EPOCH.bump()

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


class _HookTable:
    """Numbers hooks so that each has its own handle."""

    count = 0

    @staticmethod
    def add(hooks: dict[int, Any], hook: Callable[..., Any]) -> RemovableHandle:
        _HookTable.count += 1
        hooks[_HookTable.count] = hook
        return RemovableHandle(hooks, _HookTable.count)


class GradFn:
    """What `tensor.grad_fn` shows of a tape entry."""

    def __init__(self, entry: Entry):
        self.entry = entry

    def name(self) -> str:
        """The op's name in PyTorch's manner: `MatmulBackward`."""
        return "".join(part.capitalize() for part in self.entry.op.name.strip("_").split("_")) + "Backward"

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        """Where the gradients of the op's inputs go."""
        found: list[tuple[Any, int]] = []
        for edge in self.entry.edges:
            if type(edge) is tuple:
                found.append((GradFn(edge[0]), edge[1]))
            else:
                found.append((edge, 0))
        return tuple(found)

    def __repr__(self) -> str:
        return f"<{self.name()}>"


class Gradients(Shapes):
    """What a tensor says and does about gradients."""

    __slots__ = ()

    def _here(self) -> Any:
        """This tensor as the current context sees it: its shadow inside a trace."""
        recorder = STATE.recorder
        if recorder is None:
            if self._base is not None:
                refresh(self)
            return self
        shadow = recorder.shadow(self)
        refresh(shadow)
        return shadow

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to this tensor."""
        return self._here()._edge is not None

    @requires_grad.setter
    def requires_grad(self, on: bool) -> None:
        self.requires_grad_(on)

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Makes this leaf want a gradient, or not; returns self."""
        here = self._here()
        if bool(requires_grad) == (here._edge is not None):
            return self
        if requires_grad and self.dtype.category != FLOAT:
            raise GradientError("only Tensors of floating point dtype can require gradients")
        if here._edge is not None and here._edge is not LEAF:
            raise GradientError(
                "you can only change requires_grad flags of leaf variables. If you want to use a computed variable in a "
                "subgraph that doesn't require differentiation use var_no_grad = var.detach()."
            )
        here._edge = LEAF if requires_grad else None
        if "_watched" in self.__dict__:
            EPOCH.bump()
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether no op on the tape made this tensor."""
        edge = self._here()._edge
        return edge is None or edge is LEAF

    def grad_outside(self) -> Any:
        """The gradient this concrete tensor has outside of what is being recorded."""
        return getattr(self, "_grad", None)

    @property
    def grad(self) -> Any:
        """The gradient accumulated by `backward`, or None."""
        recorder = STATE.recorder
        if recorder is not None:
            return recorder.grad_of(self)
        try:
            return self._grad
        except AttributeError:
            return None

    @grad.setter
    def grad(self, value: Any) -> None:
        if value is not None:
            if not isinstance(value, TensorBase):
                raise ArgumentTypeError(f"assigned grad expected to be a Tensor or None but got {type(value).__name__}")
            if not same_shape(value.shape, self.shape):
                raise ShapeError(
                    f"assigned grad has data of a different size: {tuple(value.shape)} for a tensor of {tuple(self.shape)}"
                )
            if value.dtype is not self.dtype:
                raise DtypeError(f"assigned grad has data of a different type: {value.dtype} for {self.dtype}")
        recorder = STATE.recorder
        if recorder is not None:
            recorder.set_grad_of(self, value)
            return
        if "_grad_watched" in self.__dict__ and (value is None) != (self.grad_outside() is None):
            EPOCH.bump()
        self._grad = value

    @grad.deleter
    def grad(self) -> None:
        self.grad = None

    @property
    def grad_fn(self) -> GradFn | None:
        """What made this tensor, as the tape knows it; None for leaves."""
        edge = self._here()._edge
        return GradFn(edge[0]) if type(edge) is tuple else None

    @property
    def output_nr(self) -> int:
        """Which output of `grad_fn` this is."""
        edge = self._here()._edge
        return edge[1] if type(edge) is tuple else 0

    @property
    def _version_number(self) -> int:
        return counter_of(self).count

    def backward(
        self, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False, inputs: Any = None
    ) -> None:
        """Adds the gradient of this tensor with respect to every leaf to the leaf's `.grad`.

        `gradient`: the cotangent of this tensor, needed unless it has one element.
        Raises GradientError where the tape does not reach, was freed, or its data was changed.
        """
        backward([self], [gradient], retain_graph, create_graph, inputs)

    def register_hook(self, hook: Callable[[Any], Any]) -> RemovableHandle:
        """Calls `hook(grad)` when this tensor's gradient is computed; what it returns, if anything, replaces it."""
        here = self._here()
        if here._edge is None:
            raise GradientError("cannot register a hook on a tensor that doesn't require gradient")
        if here._edge is LEAF:
            EPOCH.bump()
            return _HookTable.add(here.__dict__.setdefault("_hooks", {}), hook)
        entry, i = here._edge
        if entry.hooks is None:
            entry.hooks = {}
        return _HookTable.add(entry.hooks.setdefault(i, {}), hook)

    def register_post_accumulate_grad_hook(self, hook: Callable[[Any], None]) -> RemovableHandle:
        """Calls `hook(tensor)` when a backward pass has added the whole gradient of this leaf to its `.grad`.

        That is as soon as nothing more is sent to the leaf, while the pass goes on with what it depends on no more.
        """
        here = self._here()
        if here._edge is None:
            raise GradientError("cannot register a hook on a tensor that doesn't require gradient")
        if here._edge is not LEAF:
            raise GradientError("post accumulate grad hooks cannot be registered on non-leaf tensors")
        EPOCH.bump()
        Watch.begun = True
        return _HookTable.add(here.__dict__.setdefault("_grad_hooks", {}), hook)

    def retain_grad(self) -> None:
        """Keeps `.grad` of this non-leaf tensor too."""
        here = self._here()
        if here._edge is None:
            raise GradientError("can't retain_grad on Tensor that has requires_grad=False")
        if type(here._edge) is tuple:
            entry, i = here._edge
            if entry.retained is None:
                entry.retained = {}
            entry.retained[i] = weakref.ref(here)
            self.__dict__["_retains"] = True

    @property
    def retains_grad(self) -> bool:
        """Whether `retain_grad` was called on this non-leaf tensor."""
        return self.__dict__.get("_retains", False)

    def detach(self) -> Any:
        """The same elements without history; writes show on both sides."""
        here = self._here()
        out = SLOTS.new_tensor(here._data)
        mark_detached(out, here)
        return out

    def detach_(self) -> Any:
        """Cuts this tensor's history off in place."""
        here = self._here()
        if here._base is not None:
            raise GradientError("Can't detach views in-place. Use detach() instead.")
        here._edge = None
        return self

    @property
    def data(self) -> Any:
        """The same elements without history, not watched for changes (PyTorch's `.data`)."""
        return self.detach()

    @data.setter
    def data(self, value: Any) -> None:
        if not isinstance(value, TensorBase):
            raise ArgumentTypeError(f"Variable data has to be a tensor, but got {type(value).__name__}")
        recorder = STATE.recorder
        if recorder is not None:
            shadow = recorder.shadow(self)
            given = recorder.shadow(value)
            shadow._data, shadow._layout = given._data, getattr(given, "_layout", None)
            recorder.layouts.matter = True
            return
        if value._data is not self._data:
            self._data, self._base = value._data, None
            EPOCH.bump_moves()


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """`autograd.backward`: adds gradients to the leaves' `.grad`; see `Tensor.backward`."""
    here = [t._here() for t in tensors]
    cotangents = None if grad_tensors is None else [None if g is None else as_operand(g) for g in grad_tensors]
    with set_grad(create_graph):
        roots = seeds_for(here, cotangents)
    retain = create_graph if retain_graph is None else retain_graph
    wanted = None
    if inputs is not None:
        given: Any = [inputs] if isinstance(inputs, TensorBase) else list(inputs)
        if not given:
            raise GradientError("'inputs' argument to backward() cannot be empty.")
        wanted = [x._here() for x in given]
    taken = {id(g._data) for _, g in roots}
    pull_to_leaves(roots, functools.partial(_accumulate, taken, create_graph), retain, create_graph, wanted)


def _accumulate(taken: set[int], create_graph: bool, leaf: Any, g: Any) -> None:
    """Adds one cotangent to a leaf's gradient, which never shares memory with anything else."""
    have, g = leaf.grad, at_home(g, leaf)
    if have is not None:
        if create_graph:
            leaf.grad = add(have, g)
        else:
            write(have, add(have, g))
        return
    if create_graph:
        leaf.grad = g
        return
    data = g._data
    if is_array(data):
        if (
            id(data) in taken
            or is_borrowed(data)
            or not data.flags.writeable
            or hasattr(leaf, "_hooks")
            or hasattr(leaf, "_grad_hooks")  # they may write it while the pass still reads what was sent elsewhere too
            or not _lies_like(data, leaf._data)
        ):
            made = like(leaf._data, data.dtype)
            write_elements(made, data)
            data = made
        taken.add(id(data))
    fresh = SLOTS.new_tensor(data)
    if STATE.recorder is not None:
        STATE.recorder.layouts.record(copy, {}, (STATE.recorder.shadow(leaf),), (fresh,))
    leaf.grad = fresh


def _lies_like(array: Any, leaf: Any) -> bool:
    """Whether an array lies in memory as a leaf does, so that it can be its gradient."""
    return array.strides == leaf.strides or (array.flags.c_contiguous and leaf.flags.c_contiguous)
