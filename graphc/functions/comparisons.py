"""Comparisons, logic, bits, and choosing between numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphc.core.dims import product
from graphc.core.errors import ArgumentTypeError, DtypeError
from graphc.core.op import Op
from graphc.core.tape import TensorBase
from graphc.core.tensor_types import FLOAT, bool_, uint8
from graphc.functions.arguments import need_operand, need_tensor, pair
from graphc.functions.elementary import isfinite
from graphc.functions.promotion import cast_to, promote, scalar_operand
from graphc.primitives import elementwise as op
from graphc.primitives.indexing import nonzero
from graphc.primitives.reductions import reduce_any
from graphc.primitives.views import reshape, slice_


def _named(function: Callable[..., Any], name: str, doc: str) -> Callable[..., Any]:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


def _comparison(primitive: Op, name: str, doc: str) -> Callable[[Any, Any], Any]:
    def function(input: Any, other: Any) -> Any:
        return primitive.call(*pair(need_tensor(input), need_operand(other)))

    return _named(function, name, doc)


eq = _comparison(op.equal, "eq", "Whether x = y; false for NaN.")
ne = not_equal = _comparison(op.not_equal, "ne", "Whether x and y differ; true for NaN.")
lt = less = _comparison(op.less, "lt", "Whether x < y.")
le = less_equal = _comparison(op.less_equal, "le", "Whether x <= y.")
gt = greater = _comparison(op.greater, "gt", "Whether x > y.")
ge = greater_equal = _comparison(op.greater_equal, "ge", "Whether x >= y.")


def _logical(primitive: Op, name: str, doc: str) -> Callable[[Any, Any], Any]:
    def function(input: Any, other: Any) -> Any:
        return primitive.call(*promote(need_tensor(input), need_tensor(other, "other")))

    return _named(function, name, doc)


logical_and = _logical(op.logical_and, "logical_and", "Whether both are nonzero.")
logical_or = _logical(op.logical_or, "logical_or", "Whether at least one is nonzero.")
logical_xor = _logical(op.logical_xor, "logical_xor", "Whether exactly one is nonzero.")


def logical_not(input: Any) -> Any:
    """Whether x is zero."""
    return op.logical_not.call(need_tensor(input))


def _bitwise(primitive: Op, name: str, doc: str) -> Callable[[Any, Any], Any]:
    def function(input: Any, other: Any) -> Any:
        if not isinstance(input, TensorBase) and not isinstance(other, TensorBase):
            raise ArgumentTypeError(f"{name}() needs at least one Tensor")
        return primitive.call(*promote(need_operand(input, "input"), need_operand(other)))

    return _named(function, name, doc)


bitwise_and = _bitwise(op.bitwise_and, "bitwise_and", "Bits set in both; logical and for bools.")
bitwise_or = _bitwise(op.bitwise_or, "bitwise_or", "Bits set in one or both; logical or for bools.")
bitwise_xor = _bitwise(op.bitwise_xor, "bitwise_xor", "Bits set in exactly one.")
bitwise_left_shift = _bitwise(op.shift_left, "bitwise_left_shift", "x 2^y in the integer's bits; 0 beyond its width.")
bitwise_right_shift = _bitwise(op.shift_right, "bitwise_right_shift", "x shifted down by y bits, keeping the sign.")


def bitwise_not(input: Any) -> Any:
    """All bits flipped; logical not for bools."""
    return op.bitwise_not.call(need_tensor(input))


# --- choosing --------------------------------------------------------------------------------------------------------


def where(condition: Any, input: Any = None, other: Any = None) -> Any:
    """`input` where the condition holds, else `other`; with the condition alone, the indices of its true elements.

    condition: bool[*s], input, other: numbers or T[*s] -> T[*s], broadcast and promoted.
    """
    need_tensor(condition, "condition")
    if input is None and other is None:
        return _positions(condition)
    if condition.dtype is uint8:
        condition = cast_to(condition, bool_)
    if condition.dtype is not bool_:
        raise DtypeError(f"where expected condition to be a boolean tensor, but got {condition.dtype.name}", "bool")
    return op.where(condition, *promote(need_operand(input, "input"), need_operand(other)))


def _positions(condition: Any) -> tuple[Any, ...]:
    """One int64[n] tensor per dimension (a 0-d condition counts as having one)."""
    if not condition.shape:
        condition = reshape(condition, shape=(1,))
    rows = nonzero(condition)
    n, ndim = rows.shape
    columns = (slice_(rows, starts=(0, i), limits=(n, i + 1), strides=(1, 1)) for i in range(ndim))
    return tuple(reshape(column, shape=(n,)) for column in columns)


def maximum(input: Any, other: Any) -> Any:
    """The greater of two tensors' elements; NaN wins; at ties each gets half of the gradient."""
    return op.maximum.call(*promote(need_tensor(input), need_tensor(other, "other")))


def minimum(input: Any, other: Any) -> Any:
    """The lesser of two tensors' elements; NaN wins; at ties each gets half of the gradient."""
    return op.minimum.call(*promote(need_tensor(input), need_tensor(other, "other")))


def _unless_nan(chosen: Any, other: Any) -> Any:
    return op.logical_or(chosen, op.is_nan(other)) if other.dtype.category == FLOAT else chosen


def fmax(input: Any, other: Any) -> Any:
    """The greater of two tensors' elements, NaN only where both are; the first gets the gradient of a tie."""
    x, y = promote(need_tensor(input), need_tensor(other, "other"))
    return op.where(_unless_nan(op.greater_equal(x, y), y), x, y)


def fmin(input: Any, other: Any) -> Any:
    """The lesser of two tensors' elements, NaN only where both are; the first gets the gradient of a tie."""
    x, y = promote(need_tensor(input), need_tensor(other, "other"))
    return op.where(_unless_nan(op.less_equal(x, y), y), x, y)


def _raised(x: Any, low: Any) -> Any:
    """max(x, low) whose gradient goes to x wherever x >= low; NaN wins."""
    return op.where(op.greater_equal(x, low), x, op.maximum(x.detach(), low))


def _lowered(x: Any, high: Any) -> Any:
    """min(x, high) whose gradient goes to x wherever x <= high; NaN wins."""
    return op.where(op.less_equal(x, high), x, op.minimum(x.detach(), high))


def clamp(input: Any, min: Any = None, max: Any = None) -> Any:
    """x limited to [min, max] (numbers or tensors; `max` wins if they cross); at the bounds x keeps its gradient."""
    need_tensor(input)
    if min is None and max is None:
        raise DtypeError("torch.clamp: at least one of 'min' or 'max' must not be None")
    bounds = [need_operand(b, "bound") for b in (min, max) if b is not None]
    if len({isinstance(b, TensorBase) for b in bounds}) > 1:
        raise ArgumentTypeError("clamp() takes two numbers or two tensors as bounds, not one of each")
    x, *limits = promote(input, *bounds)
    if x.dtype is bool_ and not isinstance(bounds[0], TensorBase):
        raise DtypeError("clamp is not implemented for bool", "an integer or floating dtype")
    if min is not None:
        x = _raised(x, limits.pop(0))
    return _lowered(x, limits.pop()) if max is not None else x


clip = clamp


def clamp_min(input: Any, min: Any) -> Any:
    """x, at least `min`."""
    return clamp(input, min=need_operand(min, "min"))


def clamp_max(input: Any, max: Any) -> Any:
    """x, at most `max`."""
    return clamp(input, max=need_operand(max, "max"))


def isclose(input: Any, other: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Any:
    """Whether |x - y| <= atol + rtol |y|; infinities only equal themselves."""
    x, y = need_tensor(input), need_tensor(other, "other")
    if x.dtype is not y.dtype:
        raise DtypeError(f"{x.dtype.name} did not match {y.dtype.name}", "equal dtypes")
    close = op.equal(x, y)
    if equal_nan and x.dtype.category == FLOAT:
        close = op.logical_or(close, op.logical_and(op.is_nan(x), op.is_nan(y)))
    if rtol == 0 and atol == 0:
        return close
    x, y = promote(x, y, floating=True)
    gap = op.absolute(x - y)
    near = op.less_equal(gap, atol + op.absolute(rtol * y))
    return op.logical_or(close, op.logical_and(isfinite(gap), near))


def heaviside(input: Any, values: Any) -> Any:
    """0 below zero, 1 above, `values` at zero; both tensors of one dtype."""
    x, at_zero = need_tensor(input), need_tensor(values, "values")
    if x.dtype is not at_zero.dtype:
        raise DtypeError("heaviside is not yet implemented for tensors with different dtypes", "equal dtypes")
    zero = scalar_operand(0, x.dtype)
    return op.where(op.equal(x, zero), at_zero, cast_to(op.greater(x, zero), x.dtype))


def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Any:
    """Whether each element is one of the test elements (compared one by one)."""
    x, y = promote(need_operand(elements, "elements"), need_operand(test_elements, "test_elements"))
    column = reshape(x, shape=(*x.shape, 1))
    row = reshape(y, shape=(product(tuple(y.shape)),))
    found = reduce_any(op.equal(column, row), axes=(len(x.shape),))
    return op.logical_not(found) if invert else found


INPLACE = (
    "eq", "ne", "not_equal", "lt", "less", "le", "less_equal", "gt", "greater", "ge", "greater_equal", "logical_and",
    "logical_or", "logical_xor", "logical_not", "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not",
    "bitwise_left_shift", "bitwise_right_shift", "clamp", "clip", "clamp_min", "clamp_max", "heaviside",
)  # fmt: skip
METHODS = (*INPLACE, "maximum", "minimum", "fmax", "fmin", "isclose")
__all__ = [*METHODS, "where", "isin"]
