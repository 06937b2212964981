"""Whole tensors compared: `equal` and `allclose`, which answer with a Python bool, and membership."""

from __future__ import annotations

from typing import Any

from graphc.core.errors import DtypeError
from graphc.functions.axes import tensor_argument
from graphc.functions.comparisons import isclose
from graphc.functions.promotion import as_operand, promote
from graphc.functions.reductions import all as all_of
from graphc.primitives.elementwise import equal as equal_op
from graphc.primitives.elementwise import logical_not
from graphc.primitives.reductions import reduce_any
from graphc.primitives.views import reshape


def equal(input: Any, other: Any) -> bool:
    """Whether two tensors have the same shape and equal elements (NaN equals nothing)."""
    x, y = tensor_argument(input, "equal"), tensor_argument(other, "equal", "other")
    if tuple(x.shape) != tuple(y.shape):
        return False
    return bool(all_of(equal_op(*promote(x, y))))


def allclose(input: Any, other: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    """Whether |x - y| <= atol + rtol * |y| holds for all elements, broadcast."""
    x, y = tensor_argument(input, "allclose"), tensor_argument(other, "allclose", "other")
    if x.dtype is not y.dtype:
        raise DtypeError(f"{x.dtype.name} did not match {y.dtype.name}", "equal dtypes", "cast one of them first")
    return bool(all_of(isclose(x, y, rtol, atol, equal_nan)))


def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Any:
    """Whether each of `elements` is among `test_elements` (bool, in the shape of `elements`)."""
    x, tests = promote(as_operand(elements, "elements"), as_operand(test_elements, "test_elements"))
    column = reshape(x, shape=(*x.shape, 1))
    flat = reshape(tests, shape=(tests.tensor_type.size,))
    found = reduce_any(equal_op(column, flat), axes=(len(x.shape),))
    return logical_not(found) if invert else found


METHODS = ("equal", "allclose")
INPLACE = ()
__all__ = [*METHODS, "isin"]
