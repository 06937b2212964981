"""`autograd.Function`: a forward and a backward written by hand, on the tape as one entry.

The forward runs through ordinary ops (so it can be traced), with the tape off; the entry calls the user's backward.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from graphc.autodiff import same_shape, zeros_of
from graphc.core.arrays import is_array, same_elements
from graphc.core.context import SLOTS, STATE, set_grad
from graphc.core.errors import GradientError, ShapeError
from graphc.core.op import Kind
from graphc.core.tape import Entry, Saved, TensorBase, check_unchanged, edge_of, is_float_meta, type_of_meta
from graphc.core.tensor_types import FLOAT, DType
from graphc.primitives.elementwise import cast

_FREED = (
    "Trying to backward through the graph a second time (or directly access saved tensors after they have already been "
    "freed). Specify retain_graph=True if you need to backward through the graph a second time"
)


class FunctionCtx:
    """What forward leaves for backward. Plain attributes may be set freely."""

    def __init__(self) -> None:
        self.needs_input_grad: tuple[bool, ...] = ()
        self._to_save: tuple[Any, ...] = ()
        self._saved: tuple[Any, ...] | None = ()
        self._dirty: tuple[Any, ...] = ()
        self._non_differentiable: tuple[Any, ...] = ()
        self._materialize = True
        self._entry: Any = None

    def save_for_backward(self, *tensors: Any) -> None:
        """Keeps inputs, outputs or other tensors for backward, and watches that nobody changes them in place."""
        for t in tensors:
            if t is not None and not isinstance(t, TensorBase):
                raise TypeError(
                    f"save_for_backward can only save variables, but argument is of type {type(t).__name__}"
                )
        self._to_save = tensors

    save_for_forward = save_for_backward

    def mark_dirty(self, *tensors: Any) -> None:
        """Tells which inputs forward has changed in place."""
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors: Any) -> None:
        """Tells which outputs have no gradient."""
        self._non_differentiable = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Whether backward gets zeros (True, the default) or None for an output nobody used."""
        self._materialize = value

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What `save_for_backward` kept. Raises GradientError if it was freed or changed in place."""
        entry = self._entry() if callable(self._entry) else self._entry
        if self._saved is None or (entry is not None and entry.saved is None):
            raise GradientError(_FREED)
        return tuple(self._rebuild(kept, entry) for kept in self._saved)

    def _rebuild(self, kept: Any, entry: Any) -> Any:
        if kept is None:
            return None
        saved, edge, index = kept
        if entry is not None:
            check_unchanged(saved, entry)
        if isinstance(edge, TensorBase) and edge._data is saved.data:
            return edge
        tensor = SLOTS.new_tensor(saved.data)
        tensor._layout = saved.layout
        tensor._edge = (entry, index) if index is not None and entry is not None else edge
        tensor._version = saved.counter
        return tensor

    def _keep(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Turns what was saved into data with write counts; outputs are kept without their edge, so no cycle arises."""
        kept: list[Any] = []
        places = {id(o): i for i, o in enumerate(outputs)}
        for t in self._to_save:
            if t is None:
                kept.append(None)
                continue
            here, index = _here(t), places.get(id(t))
            saved = Saved(here)
            saved.layout = getattr(here, "_layout", None)
            kept.append((saved, None if index is not None else edge_of(here), index))
        self._saved, self._to_save = tuple(kept), ()


def _in_dtype(g: Any, dtype: DType) -> Any:
    """A gradient in the dtype of what it is the gradient of."""
    return g if g.dtype is dtype or dtype.category != FLOAT else cast(g, dtype=dtype)


def _here(t: Any) -> Any:
    """A tensor as the current context sees it, brought up to date."""
    return t._here()


class CustomOp:
    """A Function on the tape."""

    kind = Kind("opaque")

    def __init__(
        self, function: type[Function], ctx: FunctionCtx, positions: tuple[int, ...], count: int, n_outputs: int
    ):
        self.function, self.ctx, self.positions, self.count = function, ctx, positions, count
        self.n_outputs = n_outputs
        self.name = function.__name__

    def pull_back(self, entry: Entry, gs: list[Any], needs: list[bool]) -> list[Any]:
        """Calls the user's backward and checks what it returns."""
        ctx = self.ctx
        ctx._entry = entry
        cotangents = [
            zeros_of(type_of_meta(meta)) if g is None and ctx._materialize and is_float_meta(meta) else g
            for g, meta in zip(gs, entry.out_metas, strict=True)
        ]
        try:
            found = self.function.backward(ctx, *cotangents)
        finally:
            ctx._entry = None
        results = list(found) if isinstance(found, tuple) else [found]
        while len(results) > self.count and results[-1] is None:
            results.pop()
        if len(results) != self.count:
            raise GradientError(
                f"function {self.name}Backward returned an incorrect number of gradients "
                f"(expected {self.count}, got {len(results)})"
            )
        picked = []
        for i, (position, need) in enumerate(zip(self.positions, needs, strict=True)):
            g = results[position]
            if g is not None and need:
                if not isinstance(g, TensorBase):
                    raise GradientError(
                        f"function {self.name}Backward: expected Variable or None (got {type(g).__name__})"
                    )
                shape, have = tuple(entry.metas[i][0]), tuple(g.shape)
                if not same_shape(have, shape):
                    raise ShapeError(
                        f"Function {self.name}Backward returned an invalid gradient at index {position} - got "
                        f"{list(have)} but expected shape compatible with {list(shape)}"
                    )
                g = _in_dtype(g, type_of_meta(entry.metas[i]).dtype)
                if not STATE.grad and is_array(g._data):
                    g = SLOTS.new_tensor(same_elements(g._data))
            picked.append(g if need else None)
        return picked


class Function:
    """Subclass with static `forward(ctx, *args)` and `backward(ctx, *grads)`, then call `MyFunction.apply(*args)`.

    The newer form with `forward(*args)` and `setup_context(ctx, inputs, output)` works too.
    """

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Computes the outputs."""
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """Computes one gradient for each argument of forward (None where there is none)."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom autograd.Function to use it with "
            "backward mode AD."
        )

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Runs forward and puts the function on the tape."""
        ctx = FunctionCtx()
        positions = tuple(i for i, a in enumerate(args) if isinstance(a, TensorBase))
        tensors = [_here(args[i]) for i in positions]
        ctx.needs_input_grad = tuple(isinstance(a, TensorBase) and _here(a)._edge is not None for a in args)
        with set_grad(False):
            result = cls._call_forward(ctx, args, kwargs)
        outputs = list(result) if isinstance(result, tuple) else [result]
        named = [i for i, o in enumerate(outputs) if isinstance(o, TensorBase)]
        for i in named:
            if any(outputs[i] is t for t in (*args, *tensors)) and not any(outputs[i] is d for d in ctx._dirty):
                outputs[i] = outputs[i].detach()
        if STATE.recorder is not None:
            STATE.recorder.note_function(cls.__name__, tuple(outputs[i] for i in named))
        if STATE.grad and any(t._edge is not None for t in tensors):
            cls._record(ctx, args, positions, tensors, [outputs[i] for i in named])
        return tuple(outputs) if isinstance(result, tuple) else outputs[0]

    @classmethod
    def _call_forward(cls, ctx: FunctionCtx, args: Any, kwargs: Any) -> Any:
        setup = getattr(cls, "setup_context", None)
        if setup is None:
            return cls.forward(ctx, *args, **kwargs)
        result = cls.forward(*args, **kwargs)
        setup(ctx, args, result)
        return result

    @classmethod
    def _record(cls, ctx: FunctionCtx, args: Any, positions: Any, tensors: list[Any], outputs: list[Any]) -> None:
        here = [_here(o) for o in outputs]
        ctx._keep(tensors, outputs)
        metas = tuple(t.tensor_type for t in tensors)
        out_metas = tuple(o.tensor_type for o in here)
        op = CustomOp(cls, ctx, positions, len(args), len(outputs))
        entry = Entry(op, {}, tuple(edge_of(t) for t in tensors), metas, out_metas, {"ctx": True})
        for i, o in enumerate(here):
            if is_float_meta(out_metas[i]) and not any(o is n or outputs[i] is n for n in ctx._non_differentiable):
                o._edge = (entry, i)


def once_differentiable(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates a backward that cannot itself be differentiated: it runs with the tape off."""

    @functools.wraps(backward)
    def wrapper(ctx: Any, *grads: Any) -> Any:
        with set_grad(False):
            return backward(ctx, *grads)

    return wrapper
