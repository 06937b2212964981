"""Sums, products, quotients, remainders, powers and other functions of two or three numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from graphc.core.autocast import AUTOCAST, DEVICE_FULL, brought
from graphc.core.errors import ArgumentTypeError, DtypeError
from graphc.core.op import Op
from graphc.core.tape import TensorBase
from graphc.core.tensor_types import FLOAT, bool_, float64
from graphc.functions.arguments import floating, need_float, need_operand, need_tensor, pair
from graphc.functions.elementary import signbit
from graphc.functions.promotion import cast_to, common_dtype, is_number, promote, scalar_operand
from graphc.primitives import elementwise as op


def _scaled(y: Any, alpha: Any) -> Any:
    """y alpha in y's dtype."""
    if isinstance(alpha, bool) and y.dtype is not bool_:
        raise DtypeError("Boolean alpha only supported for Boolean results.")
    if isinstance(alpha, float) and y.dtype.category != FLOAT:
        raise DtypeError("For integral input tensors, argument alpha must not be a floating point number.")
    return op.multiply(y, scalar_operand(alpha, y.dtype))


def add(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    """x + alpha y, promoted and broadcast; logical or for bools."""
    x, y = pair(input, other)
    return op.add.call(x, y if type(alpha) is int and alpha == 1 else _scaled(y, alpha))


def sub(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    """x - alpha y, promoted and broadcast; DtypeError if one operand is bool."""
    x, y = pair(input, other)
    if any(isinstance(t, bool) or (isinstance(t, TensorBase) and t.dtype is bool_) for t in (input, other)):
        raise DtypeError(
            "subtraction, the `-` operator, with a bool tensor is not supported", "numbers", "use ^ or logical_xor()"
        )
    return op.subtract.call(x, y if type(alpha) is int and alpha == 1 else _scaled(y, alpha))


subtract = sub


def rsub(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    """y - alpha x."""
    return sub(need_operand(other), need_tensor(input), alpha=alpha)


def mul(input: Any, other: Any) -> Any:
    """x y, promoted and broadcast; logical and for bools."""
    return op.multiply.call(*pair(input, other))


multiply = mul


def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Any:
    """x / y in a float dtype; with `rounding_mode` "floor" or "trunc" rounded so, integers staying integers.

    Raises DivisionError where an integer is divided by zero under a rounding mode.
    """
    if rounding_mode is None:
        return op.divide.call(*pair(input, other, floating=True))
    if rounding_mode == "floor":
        return floor_divide(input, other)
    if rounding_mode != "trunc":
        raise DtypeError(
            f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found {rounding_mode!r}"
        )
    x, y = pair(input, other)
    if x.dtype.category == FLOAT:
        return op.trunc(op.divide(x, y))
    rest = op.fmod(x, y)
    return op.floor_divide(op.subtract(x, rest), y)


divide = div


def true_divide(input: Any, other: Any) -> Any:
    """x / y in a float dtype."""
    return op.divide.call(*pair(input, other, floating=True))


def floor_divide(input: Any, other: Any) -> Any:
    """x / y rounded toward -infinity; DivisionError where an integer is divided by zero."""
    return op.floor_divide.call(*pair(input, other))


def remainder(input: Any, other: Any) -> Any:
    """What floor division leaves, with the sign of y; DivisionError for an integer modulo zero."""
    return op.remainder.call(*pair(input, other))


def fmod(input: Any, other: Any) -> Any:
    """What division toward zero leaves, with the sign of x; DivisionError for an integer modulo zero."""
    return op.fmod.call(*promote(need_tensor(input), need_operand(other)))


# --- powers ----------------------------------------------------------------------------------------------------------

_BY_EXPONENT: dict[float, Callable[[Any], Any]] = {
    2: lambda x: op.multiply(x, x),
    3: lambda x: op.multiply(op.multiply(x, x), x),
    0.5: lambda x: op.sqrt(x),
    -0.5: lambda x: op.rsqrt(x),
    -1: lambda x: 1 / x,
}


def pow(input: Any, exponent: Any) -> Any:
    """x^y, promoted; DtypeError for bools and for a negative integer as the exponent of integers."""
    if AUTOCAST.used:
        input, exponent = brought(DEVICE_FULL, input, exponent)
    if is_number(input) and is_number(exponent):
        raise ArgumentTypeError("pow() needs a Tensor as input or exponent, got two numbers")
    if isinstance(exponent, int | float):
        dtype = common_dtype(input, exponent)
        if dtype.category != FLOAT and exponent < 0:
            raise DtypeError("Integers to negative integer powers are not allowed.")
        if dtype is bool_:  # x^True is x, x^False is True; between bool tensors there is no power
            return op.logical_or.call(input, scalar_operand(not exponent, dtype))
        short = _BY_EXPONENT.get(exponent)
        if short is not None:
            return short(cast_to(input, dtype))
    return op.power.call(*promote(input, exponent))


def float_power(input: Any, exponent: Any) -> Any:
    """x^y in float64."""
    if is_number(input) and is_number(exponent):
        raise ArgumentTypeError("float_power() needs a Tensor as input or exponent, got two numbers")
    wide = [cast_to(x, float64) if isinstance(x, TensorBase) else x for x in (input, exponent)]
    return pow(*wide)


def ldexp(input: Any, other: Any) -> Any:
    """x 2^y; an integer y is applied in two halves, so that 2^y alone may overflow."""
    x, y = need_tensor(input), need_tensor(other, "other")
    if y.dtype.category == FLOAT or x.dtype.category != FLOAT:
        return mul(x, pow(2.0, y))
    if y.dtype is bool_:
        raise DtypeError("ldexp is not implemented for a bool exponent", "an integer or floating dtype")
    half = op.floor_divide(y, scalar_operand(2, y.dtype))
    for part in (half, op.subtract(y, half)):
        x = op.multiply(x, op.exp2(cast_to(part, x.dtype)))
    return x


# --- two numbers -----------------------------------------------------------------------------------------------------


def atan2(input: Any, other: Any) -> Any:
    """The angle of the point (other, input), in (-pi, pi]."""
    return op.atan2.call(*promote(need_tensor(input), need_tensor(other, "other"), floating=True))


arctan2 = atan2


def _float_pair(input: Any, other: Any) -> tuple[Any, Any]:
    x, y = promote(need_tensor(input), need_tensor(other, "other"))
    need_float(x)
    return x, y


def hypot(input: Any, other: Any) -> Any:
    """sqrt(x² + y²) without overflow on the way; floating tensors."""
    x, y = _float_pair(input, other)
    largest = op.maximum(op.absolute(x.detach()), op.absolute(y.detach()))
    one = scalar_operand(1, x.dtype)
    usable = op.logical_and(largest > 0, largest < math.inf)
    scale = op.where(usable, largest, one)
    u, v = x / scale, y / scale
    return scale * op.sqrt(u * u + v * v)


def copysign(input: Any, other: Any) -> Any:
    """|x| with the sign of y, -0.0 included."""
    x, y = promote(need_tensor(input), need_operand(other), floating=True)
    one = scalar_operand(1, x.dtype)
    return op.multiply(op.absolute(x), op.where(signbit(y), -one, one))


def logaddexp(input: Any, other: Any) -> Any:
    """log(e^x + e^y) without overflow; floating tensors."""
    x, y = _float_pair(input, other)
    total = op.maximum(x, y) + op.log1p(op.exp(-op.absolute(x - y)))
    return op.where(_equal_infinities(x, y), x, total)


def logaddexp2(input: Any, other: Any) -> Any:
    """log2(2^x + 2^y) without overflow; floating tensors."""
    x, y = _float_pair(input, other)
    total = op.maximum(x, y) + op.log1p(op.exp2(-op.absolute(x - y))) * (1 / math.log(2))
    return op.where(_equal_infinities(x, y), x, total)


def _equal_infinities(x: Any, y: Any) -> Any:
    return op.logical_and(op.equal(x, y), op.equal(op.absolute(x), scalar_operand(math.inf, x.dtype)))


def _times_log(x: Any, argument: Any, log: Op) -> Any:
    """x log(argument), 0 at x = 0 whatever the logarithm is, unless it is of NaN."""
    one, zero, infinity = (scalar_operand(value, x.dtype) for value in (1, 0, math.inf))
    floor = zero if log is op.log else -one
    outside = op.logical_or(op.less_equal(argument, floor), op.equal(argument, infinity))
    harmless = one if log is op.log else zero
    safe = op.where(op.logical_and(op.equal(x, zero), outside), harmless, argument)
    return op.multiply(x, log(safe))


def xlogy(input: Any, other: Any) -> Any:
    """x log(y), 0 where x is 0 (NaN where y is)."""
    _need_one_tensor("xlogy", input, other)
    x, y = promote(input, other, floating=True)
    return _times_log(x, y, op.log)


def xlog1py(input: Any, other: Any) -> Any:
    """x log(1 + y), 0 where x is 0 (NaN where y is)."""
    _need_one_tensor("xlog1py", input, other)
    x, y = promote(input, other, floating=True)
    return _times_log(x, y, op.log1p)


def _need_one_tensor(name: str, x: Any, y: Any) -> None:
    if not isinstance(x, TensorBase) and not isinstance(y, TensorBase):
        raise ArgumentTypeError(f"{name}() needs at least one Tensor")


def entr(input: Any) -> Any:
    """-x log(x), 0 at 0 and -infinity below."""
    x = floating(input)
    low = op.less(x, scalar_operand(0, x.dtype))
    return op.where(low, scalar_operand(-math.inf, x.dtype), -_times_log(x, x, op.log))


# --- three numbers ---------------------------------------------------------------------------------------------------


def lerp(input: Any, end: Any, weight: Any) -> Any:
    """input + weight (end - input), exact at both ends; floating tensors of one dtype, weight a number or tensor."""
    x, y = need_float(input), need_float(end, "end")
    for name, other in (("end", y), ("weight", weight)):
        if isinstance(other, TensorBase) and other.dtype is not x.dtype:
            raise DtypeError(f"expected dtype {x.dtype.name} for `{name}` but got {other.dtype.name}", "equal dtypes")
    need_operand(weight, "weight")
    step = y - x
    if not is_number(weight):
        half = scalar_operand(0.5, x.dtype)
        return op.where(op.less(op.absolute(weight), half), x + weight * step, y - step * (1 - weight))
    return x + step * weight if -0.5 < weight < 0.5 else y - step * (1 - weight)


def addcmul(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Any:
    """input + value tensor1 tensor2."""
    x, y, z = promote(need_tensor(input), need_tensor(tensor1, "tensor1"), need_tensor(tensor2, "tensor2"))
    product = op.multiply(y, z) if value == 1 else op.multiply(op.multiply(scalar_operand(value, x.dtype), y), z)
    return op.add(x, product)


def addcdiv(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Any:
    """input + value tensor1 / tensor2; DtypeError if both tensors are of integers."""
    y, z = need_tensor(tensor1, "tensor1"), need_tensor(tensor2, "tensor2")
    if y.dtype.category != FLOAT and z.dtype.category != FLOAT:
        raise DtypeError("Integer division with addcdiv is not supported", "a floating tensor1 or tensor2")
    x, y, z = promote(need_tensor(input), y, z)
    return op.add(x, op.divide(y if value == 1 else op.multiply(scalar_operand(value, x.dtype), y), z))


INPLACE = (
    "add", "sub", "subtract", "mul", "multiply", "div", "divide", "true_divide", "floor_divide", "remainder", "fmod",
    "pow", "float_power", "ldexp", "atan2", "arctan2", "hypot", "copysign", "xlogy", "lerp", "addcmul", "addcdiv",
)  # fmt: skip
METHODS = (*INPLACE, "logaddexp", "logaddexp2")
__all__ = [*METHODS, "rsub"]
