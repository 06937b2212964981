"""Functions of one number: exponentials, logarithms, trigonometry, rounding, signs."""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from graphc.core.autocast import AUTOCAST, DEVICE_FULL, brought
from graphc.core.errors import DtypeError
from graphc.core.op import Op
from graphc.core.tensor_types import BOOL, FLOAT, bool_
from graphc.functions.arguments import floating, need_float, need_tensor
from graphc.functions.promotion import scalar_operand
from graphc.primitives import elementwise as op
from graphc.primitives.copying import copy
from graphc.primitives.creation import full

#: what autocast computes in float32 on devices
_WIDE_ON_DEVICES = (
    "exp", "expm1", "log", "log2", "log10", "log1p", "rsqrt", "tan", "asin", "acos", "sinh", "cosh",
)  # fmt: skip


def _of_float(primitive: Op, name: str, doc: str) -> Callable[[Any], Any]:
    """A public function that is a primitive on floating numbers; integers are cast to the default float dtype."""

    def function(input: Any) -> Any:
        return primitive.call(floating(input))

    def wide(input: Any) -> Any:
        if AUTOCAST.used:
            (input,) = brought(DEVICE_FULL, input)
        return primitive.call(floating(input))

    chosen = wide if name in _WIDE_ON_DEVICES else function
    chosen.__name__ = chosen.__qualname__ = name
    chosen.__doc__ = doc
    return chosen


exp = _of_float(op.exp, "exp", "e^x.")
exp2 = _of_float(op.exp2, "exp2", "2^x.")
expm1 = _of_float(op.expm1, "expm1", "e^x - 1, accurate near 0.")
log = _of_float(op.log, "log", "The natural logarithm.")
log2 = _of_float(op.log2, "log2", "The logarithm to base 2.")
log10 = _of_float(op.log10, "log10", "The logarithm to base 10.")
log1p = _of_float(op.log1p, "log1p", "log(1 + x), accurate near 0.")
sqrt = _of_float(op.sqrt, "sqrt", "The square root; its gradient at 0 is infinite.")
rsqrt = _of_float(op.rsqrt, "rsqrt", "1 / sqrt(x).")
sin = _of_float(op.sin, "sin", "The sine.")
cos = _of_float(op.cos, "cos", "The cosine.")
tan = _of_float(op.tan, "tan", "The tangent.")
asin = arcsin = _of_float(op.asin, "asin", "The inverse sine.")
acos = arccos = _of_float(op.acos, "acos", "The inverse cosine.")
atan = arctan = _of_float(op.atan, "atan", "The inverse tangent.")
sinh = _of_float(op.sinh, "sinh", "The hyperbolic sine.")
cosh = _of_float(op.cosh, "cosh", "The hyperbolic cosine.")
tanh = _of_float(op.tanh, "tanh", "The hyperbolic tangent.")
asinh = arcsinh = _of_float(op.asinh, "asinh", "The inverse hyperbolic sine.")
acosh = arccosh = _of_float(op.acosh, "acosh", "The inverse hyperbolic cosine.")
atanh = arctanh = _of_float(op.atanh, "atanh", "The inverse hyperbolic tangent.")
erf = _of_float(op.erf, "erf", "The error function.")
erfc = _of_float(op.erfc, "erfc", "1 - erf(x), accurate where it is tiny.")
sigmoid = expit = _of_float(op.sigmoid, "sigmoid", "1 / (1 + e^-x).")


def _rounding(primitive: Op, name: str, doc: str) -> Callable[[Any], Any]:
    """A public function that leaves integers as they are."""

    def function(input: Any) -> Any:
        whole = need_tensor(input).dtype.category not in (BOOL, FLOAT)
        return copy(input) if whole else primitive.call(input)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


floor = _rounding(op.floor, "floor", "The greatest whole number <= x; the gradient is zero.")
ceil = _rounding(op.ceil, "ceil", "The least whole number >= x; the gradient is zero.")
trunc = fix = _rounding(op.trunc, "trunc", "The whole number next to x toward zero; the gradient is zero.")
_round = _rounding(op.round_, "round", "The nearest whole number.")


def round(input: Any, *, decimals: int = 0) -> Any:
    """The nearest number with that many decimals, halves to even; the gradient is zero."""
    if decimals == 0:
        return _round(input)
    scale = 10.0 ** builtins.abs(decimals)
    if decimals > 0:
        return op.round_(need_float(input) * scale) / scale
    return op.round_(need_float(input) / scale) * scale


def frac(input: Any) -> Any:
    """What trunc cuts off, with the sign of x."""
    return op.subtract(need_tensor(input), op.trunc(input))


def neg(input: Any) -> Any:
    """-x; DtypeError for bool."""
    if need_tensor(input).dtype is bool_:
        raise DtypeError("the `-` operator on a bool tensor is not supported", "numbers", "use ~ or logical_not()")
    return op.negate.call(input)


negative = neg


def positive(input: Any) -> Any:
    """x itself; DtypeError for bool."""
    if need_tensor(input).dtype is bool_:
        raise DtypeError("the `+` operator on a bool tensor is not supported", "numbers")
    return input


def abs(input: Any) -> Any:
    """|x|; its gradient is the sign, 0 at 0."""
    return op.absolute.call(need_tensor(input))


absolute = abs


def sign(input: Any) -> Any:
    """-1, 0 or 1; 0 for NaN."""
    return copy(input) if need_tensor(input).dtype is bool_ else op.sign.call(input)


sgn = sign


def signbit(input: Any) -> Any:
    """Whether x is negative, -0.0 included; the sign of a NaN is not seen."""
    x = need_tensor(input)
    zero = scalar_operand(0, x.dtype)
    if x.dtype.category != FLOAT:
        return op.less(x, zero)
    return op.logical_or(op.less(x, zero), op.logical_and(op.equal(x, zero), op.less(_inverse(x), zero)))


def _inverse(x: Any) -> Any:
    return op.divide(scalar_operand(1, x.dtype), x)


def reciprocal(input: Any) -> Any:
    """1 / x."""
    if AUTOCAST.used:
        (input,) = brought(DEVICE_FULL, input)
    return _inverse(floating(input))


def square(input: Any) -> Any:
    """x x."""
    x = need_tensor(input)
    return op.multiply(x, x) if x.dtype is not bool_ else x * 1


def logit(input: Any, eps: float | None = None) -> Any:
    """log(x / (1 - x)); with `eps` x is first clamped to [eps, 1 - eps]."""
    x = floating(input)
    if eps is not None:
        low, high = scalar_operand(eps, x.dtype), scalar_operand(1 - eps, x.dtype)
        x = op.where(op.less(x, low), low, op.where(op.greater(x, high), high, x))
    return op.log(x) - op.log1p(-x)


def sinc(input: Any) -> Any:
    """sin(pi x) / (pi x), 1 at 0 (with gradient 0)."""
    x = floating(input)
    at_zero, one = op.equal(x, scalar_operand(0, x.dtype)), scalar_operand(1, x.dtype)
    angle = op.where(at_zero, one, x * math.pi)
    return op.where(at_zero, one, op.sin(angle) / angle)


def deg2rad(input: Any) -> Any:
    """Degrees to radians."""
    return floating(input) * (math.pi / 180)


def rad2deg(input: Any) -> Any:
    """Radians to degrees."""
    return floating(input) * (180 / math.pi)


def angle(input: Any) -> Any:
    """The angle of a real number: pi if it is negative, else 0; NaN for NaN."""
    x = floating(input)
    zero = scalar_operand(0, x.dtype)
    return op.where(op.less(x, zero), scalar_operand(math.pi, x.dtype), op.where(op.is_nan(x), x, zero))


def conj(input: Any) -> Any:
    """x itself: graphc's numbers are real."""
    return need_tensor(input)


real = resolve_conj = resolve_neg = conj_physical = conj


def _largest(input: Any) -> float:
    dtype = input.dtype.np
    return builtins.float((np if dtype.kind == "f" else ml_dtypes).finfo(dtype).max)


def nan_to_num(input: Any, nan: float | None = 0.0, posinf: float | None = None, neginf: float | None = None) -> Any:
    """x with NaN and the infinities replaced, by default by 0 and the largest finite numbers."""
    x = need_tensor(input)
    if x.dtype.category != FLOAT:
        return copy(x)

    def number(value: float | None, default: float) -> Any:
        return scalar_operand(default if value is None else value, x.dtype)

    infinity, minus_infinity = scalar_operand(math.inf, x.dtype), scalar_operand(-math.inf, x.dtype)
    out = op.where(op.equal(x, infinity), number(posinf, _largest(x)), x)
    out = op.where(op.equal(x, minus_infinity), number(neginf, -_largest(x)), out)
    return op.where(op.is_nan(x), number(nan, 0.0), out)


# --- what kind of number ---------------------------------------------------------------------------------------------


def _everywhere(x: Any, value: bool) -> Any:
    return full(shape=tuple(x.shape), value=value, dtype=bool_)


def isnan(input: Any) -> Any:
    """Whether x is NaN."""
    x = need_tensor(input)
    return op.is_nan.call(x) if x.dtype.category == FLOAT else _everywhere(x, False)


def isinf(input: Any) -> Any:
    """Whether x is an infinity."""
    x = need_tensor(input)
    if x.dtype.category != FLOAT:
        return _everywhere(x, False)
    return op.equal(op.absolute(x), scalar_operand(math.inf, x.dtype))


def isfinite(input: Any) -> Any:
    """Whether x is neither NaN nor an infinity."""
    x = need_tensor(input)
    if x.dtype.category != FLOAT:
        return _everywhere(x, True)
    return op.less(op.absolute(x), scalar_operand(math.inf, x.dtype))


def isposinf(input: Any) -> Any:
    """Whether x is +infinity."""
    x = need_tensor(input)
    if x.dtype.category != FLOAT:
        return _everywhere(x, False)
    return op.equal(x, scalar_operand(math.inf, x.dtype))


def isneginf(input: Any) -> Any:
    """Whether x is -infinity."""
    x = need_tensor(input)
    if x.dtype.category != FLOAT:
        return _everywhere(x, False)
    return op.equal(x, scalar_operand(-math.inf, x.dtype))


def isreal(input: Any) -> Any:
    """True everywhere: graphc's numbers are real."""
    return _everywhere(need_tensor(input), True)


INPLACE = (
    "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt", "rsqrt", "sin", "cos", "tan", "asin", "arcsin",
    "acos", "arccos", "atan", "arctan", "sinh", "cosh", "tanh", "asinh", "arcsinh", "acosh", "arccosh", "atanh",
    "arctanh", "erf", "erfc", "sigmoid", "floor", "ceil", "trunc", "fix", "round", "frac", "neg", "negative", "abs",
    "absolute", "sign", "sgn", "reciprocal", "square", "logit", "sinc", "deg2rad", "rad2deg", "nan_to_num",
    "conj_physical",
)  # fmt: skip
METHODS = (
    *INPLACE, "positive", "signbit", "angle", "conj", "resolve_conj", "resolve_neg", "isnan", "isinf", "isfinite",
    "isposinf", "isneginf", "isreal",
)  # fmt: skip
__all__ = [*METHODS, "expit", "real"]
