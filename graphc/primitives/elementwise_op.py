"""`elementwise(...)` declares an op from its NumPy meaning and its formula on one element."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from graphc.core.dims import broadcast_shapes
from graphc.core.errors import DtypeError, ShapeError
from graphc.core.op import Elementwise, ErrorSample, Op, Sample, declare
from graphc.core.scalar import in_arithmetic_dtype
from graphc.core.tensor_types import BOOL, FLOAT, INT, DType, TensorType, bool_
from graphc.primitives.creation import full
from graphc.primitives.samples import HALVES

FLOATS, NUMBERS, WHOLE, LOGICAL, EVERYTHING = (FLOAT,), (INT, FLOAT), (INT,), (BOOL, INT), (BOOL, INT, FLOAT)
_NAMES = {
    FLOATS: "a floating dtype",
    NUMBERS: "an integer or floating dtype",
    WHOLE: "an integer dtype",
    LOGICAL: "bool or an integer dtype",
    EVERYTHING: "any dtype",
}
Rule = Callable[..., Any]


def in_float32(meaning: Callable[..., Any]) -> Callable[..., Any]:
    """A NumPy function that computes float16 and bfloat16 in float32 and rounds the result back once."""

    def widened(*arrays: Any, **attrs: Any) -> Any:
        half = arrays[-1].dtype
        if half.itemsize != 2 or half not in HALVES:
            return meaning(*arrays, **attrs)
        out = meaning(*(x.astype(np.float32) if x.dtype == half else x for x in arrays), **attrs)
        return out.astype(half) if out.dtype == np.float32 else out

    return widened


def check_operands(types: tuple[TensorType, ...], accepts: tuple[int, ...]) -> DType:
    """The one dtype of the operands; raises DtypeError if they differ or the op does not take it."""
    dtype = types[0].dtype
    for other in types[1:]:
        if other.dtype is not dtype:
            raise DtypeError(f"operands of different dtypes: {dtype.name} and {other.dtype.name}", "equal dtypes")
    if dtype.category not in accepts:
        raise DtypeError(f"not implemented for {dtype.name}", _NAMES[accepts])
    return dtype


def _inferer(accepts: tuple[int, ...], result: DType | None) -> Callable[..., TensorType]:
    def infer(*types: TensorType, **attrs: Any) -> TensorType:
        dtype = check_operands(types, accepts)
        return TensorType(broadcast_shapes(*(t.shape for t in types)), result or dtype)

    return infer


def _into(ufunc: np.ufunc) -> Callable[..., None]:
    def inplace(out: Any, *arrays: Any) -> None:
        dtype = arrays[0].dtype
        if dtype.itemsize == 2 and dtype in HALVES:
            out[...] = in_float32(ufunc)(*arrays)
        else:
            ufunc(*arrays, out=out)

    return inplace


def _errors(arity: int, accepts: tuple[int, ...]) -> Callable[[], Iterator[ErrorSample]]:
    def errors() -> Iterator[ErrorSample]:
        good = {FLOAT: np.float32, INT: np.int64, BOOL: np.bool_}
        for category, dtype in good.items():
            if category not in accepts:
                yield ErrorSample((np.zeros((2,), dtype),) * arity, {}, DtypeError, "not implemented for")
        if arity == 2:
            x: Any = np.ones((2, 3), good[accepts[-1]])
            yield ErrorSample((x, np.ones((2,), x.dtype)), {}, ShapeError, "broadcast")
            yield ErrorSample((x, np.ones((3,), np.uint8)), {}, DtypeError, "different dtypes")

    return errors


def elementwise(
    name: str,
    *,
    eval: Callable[..., Any],
    scalar: Callable[..., Any],
    samples: Callable[[], Iterable[Sample]],
    accepts: tuple[int, ...] = FLOATS,
    result: DType | None = None,
    vjp: tuple[Rule | None, ...] | None = None,
    saves: tuple[tuple[int | str, ...], ...] = (),
    exact: bool = False,
    weight: float = 0.0,
) -> Op:
    """Declares an elementwise op.

    `eval`: a ufunc (which then also gives the in-place form) or a function of arrays. `exact`: NumPy's result for
    halves is the rounded true one, so that they need no widening. `result`: the output's dtype where it is its own.
    `weight`: how slow NumPy is (`core/op.py`).
    """
    arity = scalar.__code__.co_argcount
    return declare(
        name,
        infer=_inferer(accepts, result),
        eval=eval if exact else in_float32(eval),
        kind=Elementwise(scalar if exact and result is bool_ else in_arithmetic_dtype(scalar)),
        vjp=vjp,
        saves=saves,
        samples=samples,
        errors=_errors(arity, accepts),
        inplace=_into(eval) if isinstance(eval, np.ufunc) else None,
        weight=weight,
    )


def zeros_like(g: Any) -> Any:
    """Zeros of g's type: the gradient of a function that is constant in pieces."""
    return full(shape=g.shape, value=0.0, dtype=g.dtype)


def zero(g: Any) -> Any:
    """A 0-d zero of g's dtype, to broadcast."""
    return full(shape=(), value=0.0, dtype=g.dtype)


def flat(g: Any, out: Any, x: Any) -> Any:
    """The rule of a function that is constant in pieces: zero, also at the jumps."""
    return zeros_like(g)


__all__ = [
    "EVERYTHING", "FLOATS", "LOGICAL", "NUMBERS", "WHOLE", "check_operands", "elementwise", "flat", "in_float32",
    "zero", "zeros_like",
]  # fmt: skip
