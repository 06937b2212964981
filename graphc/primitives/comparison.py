"""Comparisons and choice: equal, less, where, maximum, minimum, and the truth of numbers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from graphc.core import scalar as s
from graphc.core.dims import broadcast_shapes
from graphc.core.errors import DtypeError, ShapeError
from graphc.core.op import Elementwise, ErrorSample, Op, Sample, declare
from graphc.core.tensor_types import TensorType, bool_
from graphc.primitives.elementwise_op import EVERYTHING, elementwise, zero
from graphc.primitives.samples import ALL, binary_samples, booleans, integers, reals, specials, unary_samples, values
from graphc.primitives.samples import FLOATS as FLOAT_DTYPES

Array = np.ndarray[Any, Any]


def _pairs() -> Iterator[Sample]:
    yield from binary_samples(ALL, smooth=False)


_comparison = partial(elementwise, accepts=EVERYTHING, result=bool_, samples=_pairs, exact=True)

equal = _comparison("equal", eval=np.equal, scalar=lambda x, y: s.eq(x, y))
not_equal = _comparison("not_equal", eval=np.not_equal, scalar=lambda x, y: s.ne(x, y))
less = _comparison("less", eval=np.less, scalar=lambda x, y: x < y)
less_equal = _comparison("less_equal", eval=np.less_equal, scalar=lambda x, y: x <= y)
greater = _comparison("greater", eval=np.greater, scalar=lambda x, y: y < x)
greater_equal = _comparison("greater_equal", eval=np.greater_equal, scalar=lambda x, y: y <= x)

logical_and = _comparison("logical_and", eval=np.logical_and, scalar=lambda x, y: s.ne(x, 0) & s.ne(y, 0))
logical_or = _comparison("logical_or", eval=np.logical_or, scalar=lambda x, y: s.ne(x, 0) | s.ne(y, 0))
logical_xor = _comparison("logical_xor", eval=np.logical_xor, scalar=lambda x, y: s.ne(x, 0) ^ s.ne(y, 0))
logical_not = elementwise(
    "logical_not",
    eval=np.logical_not,
    scalar=lambda x: s.eq(x, 0),
    accepts=EVERYTHING,
    result=bool_,
    samples=lambda: unary_samples(ALL, smooth=False),
    exact=True,
)
is_nan = elementwise(
    "is_nan",
    eval=np.isnan,
    scalar=lambda x: s.ne(x, x),
    result=bool_,
    samples=lambda: unary_samples(FLOAT_DTYPES, smooth=False),
    exact=True,
)


def _where_infer(condition: TensorType, x: TensorType, y: TensorType) -> TensorType:
    """condition: bool[*s], x, y: T[*s] -> T[*s]."""
    if condition.dtype is not bool_:
        raise DtypeError(f"the condition is {condition.dtype.name}", "a bool condition")
    if x.dtype is not y.dtype:
        raise DtypeError(f"operands of different dtypes: {x.dtype.name} and {y.dtype.name}", "equal dtypes")
    return TensorType(broadcast_shapes(condition.shape, x.shape, y.shape), x.dtype)


def _where_samples() -> Iterator[Sample]:
    yield Sample((booleans(()), reals((), seed=1), reals((), seed=2)))
    yield Sample((booleans((2, 3)), reals((3,), seed=1), reals((2, 1), seed=2)))
    yield Sample((booleans((3, 2)).T, reals((2, 6), seed=1)[:, ::-2], reals((), seed=2)))
    yield Sample((booleans((0, 3)), reals((1, 3), seed=1), reals((3,), seed=2)))
    yield Sample((booleans(()), reals((4,), seed=1), reals((4,), seed=2)))
    yield Sample((booleans((12,)), specials(), specials()[::-1]), smooth=False)
    for t in ALL:
        yield Sample((booleans((2, 3)), values(t, (2, 3), seed=3), values(t, (2, 3), seed=4)))


def _where_errors() -> Iterator[ErrorSample]:
    x = reals((2, 3))
    yield ErrorSample((integers((2, 3)), x, x), {}, DtypeError, "bool condition")
    yield ErrorSample((booleans((2, 3)), x, x.astype(np.float32)), {}, DtypeError, "different dtypes")
    yield ErrorSample((booleans((2,)), x, x), {}, ShapeError, "broadcast")


where: Op = declare(
    "where",
    infer=_where_infer,
    eval=lambda condition, x, y: np.where(condition, x, y),
    kind=Elementwise(lambda condition, x, y: s.select(condition, x, y)),
    vjp=(
        None,
        lambda g, out, condition, x, y: where(condition, g, zero(g)),
        lambda g, out, condition, x, y: where(condition, zero(g), g),
    ),
    saves=((), (0,), (0,)),
    samples=_where_samples,
    errors=_where_errors,
)


def _share(g: Any, wins: Any, ties: Any) -> Any:
    """g where the operand wins, half of it at a tie, zero where it loses."""
    return where(ties, g * 0.5, where(wins, g, zero(g)))


# `not less` rather than `greater`: where one operand is NaN both get the gradient, as in PyTorch
maximum = elementwise(
    "maximum",
    eval=np.maximum,
    scalar=lambda x, y: s.maximum(x, y),
    vjp=(
        lambda g, out, x, y: _share(g, logical_not(less(x, y)), equal(x, y)),
        lambda g, out, x, y: _share(g, logical_not(greater(x, y)), equal(x, y)),
    ),
    saves=((0, 1), (0, 1)),
    accepts=EVERYTHING,
    samples=lambda: binary_samples(ALL),
    exact=True,
)
minimum = elementwise(
    "minimum",
    eval=np.minimum,
    scalar=lambda x, y: s.minimum(x, y),
    vjp=(
        lambda g, out, x, y: _share(g, logical_not(greater(x, y)), equal(x, y)),
        lambda g, out, x, y: _share(g, logical_not(less(x, y)), equal(x, y)),
    ),
    saves=((0, 1), (0, 1)),
    accepts=EVERYTHING,
    samples=lambda: binary_samples(ALL),
    exact=True,
)

__all__ = [
    "equal", "greater", "greater_equal", "is_nan", "less", "less_equal", "logical_and", "logical_not", "logical_or",
    "logical_xor", "maximum", "minimum", "not_equal", "where",
]  # fmt: skip
