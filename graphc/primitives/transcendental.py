"""Exponentials, logarithms, roots, trigonometry and the error function, with the derivatives of any table."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from graphc.core import erf as error_function
from graphc.core import scalar as s
from graphc.core.op import OUT, Op
from graphc.primitives.elementwise_op import elementwise
from graphc.primitives.samples import FLOATS, unary_samples

LN2, LN10, TWO_OVER_SQRT_PI = math.log(2), math.log(10), 2 / math.sqrt(math.pi)


def _function(name: str, low: float = -2.0, high: float = 2.0, **fields: Any) -> Op:
    return elementwise(name, samples=lambda: unary_samples(FLOATS, low, high), **fields)


#: rules that read the operand, or the result
_of_x = partial(_function, saves=((0,),))
_of_out = partial(_function, saves=((OUT,),))
_positive: dict[str, Any] = {"low": 0.1, "high": 3.0}
_inside: dict[str, Any] = {"low": -0.9, "high": 0.9}

exp = _of_out("exp", eval=np.exp, scalar=lambda x: s.exp(x), vjp=(lambda g, out, x: g * out,))
exp2 = _of_out("exp2", eval=np.exp2, scalar=lambda x: s.exp2(x), vjp=(lambda g, out, x: g * out * LN2,))
expm1 = _of_out("expm1", eval=np.expm1, scalar=lambda x: s.expm1(x), vjp=(lambda g, out, x: g * (out + 1),))

log = _of_x("log", **_positive, eval=np.log, scalar=lambda x: s.log(x), vjp=(lambda g, out, x: g / x,))
log2 = _of_x("log2", **_positive, eval=np.log2, scalar=lambda x: s.log2(x), vjp=(lambda g, out, x: g / (x * LN2),))
log10 = _of_x("log10", **_positive, eval=np.log10, scalar=lambda x: s.log10(x), vjp=(lambda g, out, x: g / (x * LN10),))
log1p = _of_x("log1p", -0.9, 3.0, eval=np.log1p, scalar=lambda x: s.log1p(x), vjp=(lambda g, out, x: g / (x + 1),))

sqrt = _of_out("sqrt", **_positive, eval=np.sqrt, scalar=lambda x: s.sqrt(x), vjp=(lambda g, out, x: g / (2 * out),))
rsqrt = _of_out(
    "rsqrt",
    **_positive,
    eval=lambda x: np.reciprocal(np.sqrt(x)),
    scalar=lambda x: 1 / s.sqrt(x),
    vjp=(lambda g, out, x: g * -0.5 * (out * out * out),),
)

sin = _of_x("sin", eval=np.sin, scalar=lambda x: s.sin(x), vjp=(lambda g, out, x: g * cos(x),))
cos: Op = _of_x("cos", eval=np.cos, scalar=lambda x: s.cos(x), vjp=(lambda g, out, x: g * -sin(x),))
tan = _of_out("tan", -1.2, 1.2, eval=np.tan, scalar=lambda x: s.tan(x), vjp=(lambda g, out, x: g * (1 + out * out),))
asin = _of_x(
    "asin", **_inside, eval=np.arcsin, scalar=lambda x: s.asin(x), vjp=(lambda g, out, x: g * rsqrt(1 - x * x),)
)
acos = _of_x(
    "acos", **_inside, eval=np.arccos, scalar=lambda x: s.acos(x), vjp=(lambda g, out, x: g * -rsqrt(1 - x * x),)
)
atan = _of_x("atan", eval=np.arctan, scalar=lambda x: s.atan(x), vjp=(lambda g, out, x: g / (x * x + 1),))

sinh = _of_x("sinh", eval=np.sinh, scalar=lambda x: s.sinh(x), vjp=(lambda g, out, x: g * cosh(x),))
cosh: Op = _of_x("cosh", eval=np.cosh, scalar=lambda x: s.cosh(x), vjp=(lambda g, out, x: g * sinh(x),))
tanh = _of_out("tanh", eval=np.tanh, scalar=lambda x: s.tanh(x), vjp=(lambda g, out, x: g * (1 - out * out),))
asinh = _of_x("asinh", eval=np.arcsinh, scalar=lambda x: s.asinh(x), vjp=(lambda g, out, x: g * rsqrt(x * x + 1),))
acosh = _of_x(
    "acosh", 1.2, 3.0, eval=np.arccosh, scalar=lambda x: s.acosh(x), vjp=(lambda g, out, x: g * rsqrt(x * x - 1),)
)
atanh = _of_x(
    "atanh", **_inside, eval=np.arctanh, scalar=lambda x: s.atanh(x), vjp=(lambda g, out, x: g / (1 - x * x),)
)

erf = _of_x(
    "erf",
    weight=30,
    eval=error_function.erf,
    scalar=lambda x: s.erf(x),
    vjp=(lambda g, out, x: g * (TWO_OVER_SQRT_PI * exp(-(x * x))),),
)
erfc = _of_x(
    "erfc",
    weight=30,
    eval=error_function.erfc,
    scalar=lambda x: s.erfc(x),
    vjp=(lambda g, out, x: g * (-TWO_OVER_SQRT_PI * exp(-(x * x))),),
)


def _sigmoid_tree(x: s.Scalar) -> s.Scalar:
    """1 / (1 + e^-x), or e^x / (1 + e^x) where e^-x could overflow."""
    e = s.exp(-abs(x))
    return s.select(x < 0, e, 1.0) / (1 + e)


sigmoid = _of_out(
    "sigmoid",
    weight=1,
    eval=lambda x: 1 / (1 + np.exp(-x)),
    scalar=lambda x: _sigmoid_tree(x),
    vjp=(lambda g, out, x: g * ((1 - out) * out),),
)

__all__ = [
    "acos", "acosh", "asin", "asinh", "atan", "atanh", "cos", "cosh", "erf", "erfc", "exp", "exp2", "expm1", "log",
    "log10", "log1p", "log2", "rsqrt", "sigmoid", "sin", "sinh", "sqrt", "tan", "tanh",
]  # fmt: skip
