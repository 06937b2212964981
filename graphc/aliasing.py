"""The one alias model, for eager tensors and for traces.

A view knows its base and the chain of view ops it came through. A write to a view puts the new elements back along that
chain: the base gets the new value and history, every other view derives itself anew at its next use. Eager code also
writes the NumPy memory, which views share; there only the history has to be rebuilt, so the chain is replayed on types
alone and no element is copied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from sys import getrefcount
from typing import Any

import numpy as np

from graphc.core.arrays import extent, is_array, shares_memory, write_elements
from graphc.core.context import SLOTS, STATE, recording, set_grad
from graphc.core.dims import Dim, substitute
from graphc.core.errors import GradientError, GraphcError, user_spot
from graphc.core.op import Op, View
from graphc.core.tape import LEAF, TensorBase, TypeOnly, ViewOf, counter_of, edge_of, tape_entry
from graphc.primitives.views import reshape, slice_put


class TapeOnly:
    """A context that infers types and writes the tape, and computes nothing."""

    def apply(self, op: Op, inputs: tuple[Any, ...], attrs: Mapping[str, Any]) -> Any:
        """One op on operands of which only the types are looked at."""
        types = tuple(x.tensor_type for x in inputs)
        out_types = op.output_types(*types, **attrs)
        outputs = tuple(SLOTS.new_tensor(TypeOnly(t)) for t in out_types)
        if STATE.grad and any(x._edge is not None for x in inputs):
            tape_entry(op, attrs, inputs, outputs, types, out_types)
        return outputs[0] if op.n_outputs == 1 else outputs


_TAPE_ONLY: Any = TapeOnly()


class _ChainOf(TapeOnly):
    """Notes the view ops that code applies to a type, without tape."""

    def __init__(self) -> None:
        self.chain: list[tuple[Op, Mapping[str, Any]]] = []

    def apply(self, op: Op, inputs: tuple[Any, ...], attrs: Mapping[str, Any]) -> Any:
        """One view op."""
        self.chain.append((op, attrs))
        (out_type,) = op.output_types(inputs[0].tensor_type, **attrs)
        return SLOTS.new_tensor(TypeOnly(out_type))


def mark_lazily(out: TensorBase, source: TensorBase, view: Callable[[Any], Any]) -> None:
    """As `mark_view`, for code that is a few view ops; which ones is found out only if someone asks."""
    above = source._base
    own = above is None or not above._chain
    base = source if own else above.base  # type: ignore[union-attr]
    source_type = source.tensor_type

    def chain() -> Any:
        noted = _ChainOf()
        with recording(noted):  # type: ignore[arg-type]
            view(SLOTS.new_tensor(TypeOnly(source_type)))
        return tuple(noted.chain) if own else (*above.chain, *noted.chain)  # type: ignore[union-attr]

    counter = counter_of(base)
    out._version = counter
    out._base = ViewOf(base, chain, counter.count, STATE.grad and (own or above.tracked))  # type: ignore[union-attr]


def mark_view(out: TensorBase, source: TensorBase, op: Op, attrs: Mapping[str, Any]) -> None:
    """Notes that `out` is `op` of `source` and shares its elements."""
    above = source._base
    chain: tuple[Any, ...] = ((op, attrs),)
    base, tracked = source, STATE.grad
    if above is not None and above._chain:
        base, chain, tracked = above.base, (*above.chain, *chain), STATE.grad and above.tracked
    counter = counter_of(base)
    out._version = counter
    out._base = ViewOf(base, chain, counter.count, tracked)


def mark_detached(out: TensorBase, source: TensorBase) -> None:
    """Notes that `out` shares the elements of `source`, but none of its history.

    Such a tensor is a view with an empty chain, and a base of its own for views of it. In eager mode, where memory itself
    is shared, one cut from a computed tensor does not hold on to it: that would keep its whole history alive.
    """
    counter = counter_of(source)
    out._version = counter
    symbolic = not is_array(source._data)
    if symbolic:
        out._layout = getattr(source, "_layout", None)
    if symbolic or type(source._edge) is not tuple:
        out._base = ViewOf(source, (), counter.count, False)


def refresh(tensor: TensorBase) -> None:
    """Brings a view up to date if its base was written since it was derived."""
    view = tensor._base
    if view is None or view.base._version is None or view.stamp == view.base._version.count:
        return
    recorder = STATE.recorder
    symbolic = not is_array(tensor._data)
    if symbolic and recorder is None:
        return
    base = view.base
    refresh(base)
    view.stamp = base._version.count  # type: ignore[union-attr]
    if not symbolic and (not view.tracked or base._edge is None):
        return
    rest = recorder.layouts.sharing.resting() if symbolic else nullcontext()  # type: ignore[union-attr]
    with set_grad(view.tracked), recording(recorder if symbolic else _TAPE_ONLY), rest:
        derived = base if symbolic else _type_of(base)
        for op, attrs in view.chain:
            derived = op(derived, **attrs)
    if symbolic:
        tensor._data = derived._data
    if view.tracked:
        tensor._edge = edge_of(derived) if derived._edge is not None else None


def follows(tensor: TensorBase, view: ViewOf) -> bool:
    """Whether a concrete view still lies in its base's memory, in its base's dtype."""
    base = view.base._data
    return bool(
        base.dtype == tensor._data.dtype
        and (tensor._data.size == 0 or shares_memory(base, tensor._data, exactly=False))
    )


def place_in_base(tensor: TensorBase) -> Any:
    """Where in its base a concrete view lies, None where it has left it."""
    view = tensor._base
    if view is None or not follows(tensor, view):
        return None
    here = tensor._data
    return here.shape, here.strides, extent(here)[0] - extent(view.base._data)[0]


def root_of(tensor: TensorBase) -> TensorBase:
    """The tensor whose memory this one shows; of a recorded tensor that stands for a concrete one, the concrete one."""
    while (found := _concrete(tensor))._base is not None:
        tensor = found._base.base
    return found


def _concrete(tensor: TensorBase) -> TensorBase:
    found: TensorBase = tensor.__dict__.get("_stands_for", tensor)
    return found


def apart(one: TensorBase, other: TensorBase) -> bool:
    """Whether two tensors with one root have no element in common; what unknown sizes leave open counts as common."""
    one, other, root = _concrete(one), _concrete(other), root_of(one)
    if is_array(one._data) and is_array(other._data):
        return not shares_memory(one._data, other._data)
    memory = np.empty(_some_size(tuple(root.shape)), np.int8)
    try:
        a, b = (_seen(x, root, memory) for x in (one, other))
    except (GraphcError, ValueError, IndexError):
        return False
    return not (np.shares_memory(a, b) or not np.may_share_memory(a, memory) or not np.may_share_memory(b, memory))


def _seen(tensor: TensorBase, root: TensorBase, memory: Any) -> Any:
    """The part of a root's memory that a tensor shows."""
    tensor = _concrete(tensor)
    if tensor is root or tensor._base is None:
        return memory
    found = _seen(tensor._base.base, root, memory)
    for op, attrs in tensor._base.chain:
        found = op.eval(found, **{k: _some_size(v) for k, v in attrs.items()})
    return found


def _some_size(x: Any) -> Any:
    """A size, or a tuple with sizes, with some number for unknown ones."""
    if isinstance(x, tuple):
        return tuple(map(_some_size, x))
    return substitute(x, dict.fromkeys(x.names(), 97)) if isinstance(x, Dim) else x


def _type_of(tensor: TensorBase) -> Any:
    """A type-only stand-in with the tensor's place on the tape."""
    stand_in = SLOTS.new_tensor(TypeOnly(tensor.tensor_type))
    stand_in._edge = edge_of(tensor)
    return stand_in


def check_writable(target: TensorBase) -> None:
    """Raises GradientError for writes that would lose a gradient; what is fed to a graph is fresh in each run."""
    if not STATE.grad:
        return
    if target._edge is LEAF and not _is_fresh(target):
        raise GradientError("a leaf Variable that requires grad is being used in an in-place operation.")
    view = target._base
    if view is not None and view.tracked and view.base._edge is LEAF and not _is_fresh(view.base):
        raise GradientError("a view of a leaf Variable that requires grad is being used in an in-place operation.")


def _is_fresh(leaf: TensorBase) -> bool:
    """Whether a leaf of a recording is none outside of it: it is fed, or a body's name for a tensor that may be written."""
    outside = getattr(leaf, "_outside", None)
    if outside is None:
        return getattr(leaf, "is_fed", False)
    check_writable(outside)
    return True


def write(target: Any, value: Any) -> Any:
    """Replaces the elements of `target` by those of `value` (same type); views and base of `target` show it.

    In a trace the target is `target`'s shadow, and the write becomes an update when the run has succeeded.
    """
    recorder = STATE.recorder
    if recorder is not None:
        layouts = recorder.layouts
        layouts.matter = True
        shadow, value = recorder.shadow(target), recorder.shadow(value)
        refresh(shadow)
        check_writable(shadow)
        layouts.sharing.note_read(value, (value._data,))
        layouts.sharing.note_write(shadow)
        with layouts.sharing.resting():
            _write_symbolic(shadow, value)
        return target
    refresh(target)
    check_writable(target)
    write_elements(target._data, value._data)
    finish_write(target, value)
    return target


def _references() -> int:
    """How many references `finish_write` counts to a write counter that only its tensor has: the tape holds what it saved."""
    tensor = TensorBase()
    tensor._version = None
    counter = counter_of(tensor)
    return getrefcount(counter)


_UNSAVED = _references()


def finish_write(target: TensorBase, value: TensorBase) -> None:
    """After the memory of `target` was written in eager mode: moves the write counter and rebuilds the history."""
    view = target._base
    tracked = STATE.grad and (
        value._edge is not None or target._edge is not None or (view is not None and view.base._edge is not None)
    )
    if tracked:
        _rebase(target, value)
    counter = counter_of(target)
    if tracked or getrefcount(counter) > _UNSAVED:
        counter.line = user_spot()
    counter.count += 1
    if view is not None:
        view.stamp = counter.count


def _rebase(target: TensorBase, value: TensorBase) -> None:
    view = target._base
    if view is None or not view.tracked:
        if value._edge is None and type(target._edge) is tuple:
            with recording(_TAPE_ONLY):
                value = _overwritten(_type_of(target), _type_of(value))
        target._edge = edge_of(value)
        return
    with recording(_TAPE_ONLY):
        base = put_back(_type_of(view.base), view.chain, _type_of(value))
        if base._edge is None and type(view.base._edge) is tuple:
            base = _overwritten(_type_of(view.base), base)
        view.base._edge = base._edge
        derived = _type_of(view.base)
        for op, attrs in view.chain:
            derived = op(derived, **attrs)
        target._edge = derived._edge


def _overwritten(old: Any, value: Any) -> Any:
    """`value`, with a gradient of zero for what was there before, as PyTorch gives it."""
    shape = old.tensor_type.shape
    return slice_put(old, value, starts=(0,) * len(shape), limits=tuple(shape), strides=(1,) * len(shape))


def _is_whole(shape: Any, expanded: Any) -> bool:
    """Whether an expand to `expanded` repeats nothing: only a 1 is stretched, unknown sizes that meet are assumed equal."""
    lead = len(expanded) - len(shape)
    stretched = any(have == 1 and want != 1 for have, want in zip(shape, expanded[lead:], strict=True))
    return not stretched and all(d == 1 for d in expanded[:lead])


def put_back(base: Any, chain: tuple[tuple[Op, Mapping[str, Any]], ...], value: Any) -> Any:
    """`base` with the elements seen through `chain` replaced by `value`."""
    levels = [base]
    for op, attrs in chain[:-1]:
        levels.append(op(levels[-1], **attrs))
    for (op, attrs), level in zip(reversed(chain), reversed(levels), strict=True):
        assert isinstance(op.kind, View)
        if op.kind.put is None and _is_whole(tuple(level.shape), attrs.get("shape", ())):
            value = reshape(value, shape=tuple(level.shape))
            continue
        if op.kind.put is None:
            raise GradientError(
                "unsupported operation: more than one element of the written-to tensor refers to a single memory location. "
                "Please clone() the tensor before performing the operation."
            )
        value = op.kind.put(level, value, **attrs)
    return value


def _write_symbolic(target: TensorBase, value: TensorBase) -> None:
    view = target._base
    counter = counter_of(target)
    if view is None:
        if STATE.grad and value._edge is None and type(target._edge) is tuple:
            value = _overwritten(target, value)
        target._data = value._data
        if STATE.grad:
            target._edge = edge_of(value)
        counter.line = user_spot()
        counter.count += 1
        return
    if not view.chain:
        with set_grad(False):
            _write_symbolic(view.base, value)
        target._data = value._data
        if STATE.grad:
            target._edge = edge_of(value)
        view.stamp = counter.count
        return
    with set_grad(STATE.grad and view.tracked):
        _write_symbolic(view.base, put_back(view.base, view.chain, value))
        refresh(target)
