"""The gamma function's logarithm and its derivative, and the inverse error function, as compositions."""

from __future__ import annotations

import math
from typing import Any

from graphc.core.autocast import AUTOCAST, DEVICE_FULL, brought
from graphc.core.errors import UnsupportedError
from graphc.core.one_call import one_call
from graphc.core.tensor_types import bool_
from graphc.functions.arguments import floating
from graphc.functions.promotion import scalar_operand
from graphc.primitives.elementwise import (
    absolute,
    add,
    divide,
    equal,
    floor,
    greater,
    less,
    log,
    multiply,
    negate,
    sin,
    sqrt,
    subtract,
    where,
)  # fmt: skip

#: Arguments below this one are moved up by as much, before the asymptotic series.
_SHIFT = 8
#: B_2k / (2k (2k - 1)) and B_2k / 2k of Stirling's series (Abramowitz and Stegun 6.1.41 and 6.3.18).
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156, -3617 / 122400)
_PSI = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12, -3617 / 8160)


def _n(value: float, x: Any) -> Any:
    return scalar_operand(value, x.dtype)


def _polynomial(coefficients: tuple[float, ...], x: Any) -> Any:
    """The coefficients from the constant on."""
    out = _n(coefficients[-1], x)
    for c in reversed(coefficients[:-1]):
        out = add(multiply(out, x), _n(c, x))
    return out


def _positive_lgamma(x: Any) -> Any:
    """log Gamma(x) for x > 0."""
    small = less(x, _n(_SHIFT, x))
    near = where(small, x, _n(1.0, x))
    steps = near
    for i in range(1, _SHIFT):
        steps = multiply(steps, add(near, _n(float(i), x)))
    z = where(small, add(x, _n(float(_SHIFT), x)), x)
    tail = divide(_polynomial(_STIRLING, divide(_n(1.0, x), multiply(z, z))), z)
    big = add(subtract(multiply(subtract(z, _n(0.5, x)), log(z)), z), add(tail, _n(math.log(2 * math.pi) / 2, x)))
    return where(small, subtract(big, log(steps)), big)


@one_call(weight=20)
def _lgamma(x: Any) -> Any:
    below = less(x, _n(0.5, x))
    up = _positive_lgamma(where(below, subtract(_n(1.0, x), x), x))
    # Gamma(x) Gamma(1 - x) = pi / sin(pi x), the sine of what is left of x
    rest = subtract(x, floor(x))
    pole = equal(rest, _n(0.0, x))
    turned = log(absolute(sin(multiply(where(pole, _n(0.5, x), rest), _n(math.pi, x)))))
    reflected = subtract(subtract(_n(math.log(math.pi), x), turned), up)
    infinite = _n(math.inf, x)
    found = where(below, where(pole, infinite, reflected), up)
    return where(equal(absolute(x), infinite), infinite, found)


def lgamma(input: Any) -> Any:
    """log |Gamma(x)|; infinite at 0, -1, -2, ..."""
    return _lgamma(floating(input))


def _positive_digamma(x: Any) -> Any:
    small = less(x, _n(_SHIFT, x))
    near = where(small, x, _n(1.0, x))
    steps = divide(_n(1.0, x), near)
    for i in range(1, _SHIFT):
        steps = add(steps, divide(_n(1.0, x), add(near, _n(float(i), x))))
    z = where(small, add(x, _n(float(_SHIFT), x)), x)
    inverse = divide(_n(1.0, x), multiply(z, z))
    tail = multiply(_polynomial(_PSI, inverse), inverse)
    big = subtract(subtract(log(z), divide(_n(0.5, x), z)), tail)
    return where(small, subtract(big, steps), big)


@one_call(weight=20)
def _digamma(x: Any) -> Any:
    below = less(x, _n(0.0, x))
    up = _positive_digamma(where(below, subtract(_n(1.0, x), x), where(equal(x, _n(0.0, x)), _n(1.0, x), x)))
    rest = subtract(x, floor(x))
    pole = equal(rest, _n(0.0, x))
    angle = multiply(where(pole, _n(0.25, x), rest), _n(math.pi, x))
    # psi(x) = psi(1 - x) - pi cot(pi x); the cosine is the sine a quarter turn on
    turned = divide(multiply(sin(add(angle, _n(math.pi / 2, x))), _n(math.pi, x)), sin(angle))
    reflected = where(pole, _n(math.nan, x), subtract(up, turned))
    found = where(below, reflected, up)
    zero = where(less(divide(_n(1.0, x), x), _n(0.0, x)), _n(math.inf, x), _n(-math.inf, x))
    return where(equal(x, _n(0.0, x)), zero, found)


def digamma(input: Any) -> Any:
    """The derivative of log Gamma(x); NaN at -1, -2, ..., infinite at 0."""
    return _digamma(floating(input))


# --- the inverse error function: M. J. Wichura's algorithm AS 241 (Applied Statistics 37, 1988) of the normal quantile ---

_CENTRE = (
    (3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
     4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3),
    (1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3, 2.1213794301586595867e4,
     3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3),
)  # fmt: skip
_NEAR = (
    (1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
     1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4),
    (1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1, 1.48103976427480074590e-1,
     1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9),
)  # fmt: skip
_FAR = (
    (6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0, 2.96560571828504891230e-1,
     2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7),
    (1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2, 7.86869131145613259100e-4,
     1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15),
)  # fmt: skip


def _quotient(parts: Any, r: Any) -> Any:
    return divide(_polynomial(parts[0], r), _polynomial(parts[1], r))


@one_call(weight=20)
def _erfinv(x: Any) -> Any:
    size = absolute(x)
    inner = less(size, _n(0.85, x))
    q = multiply(where(inner, x, _n(0.0, x)), _n(0.5, x))
    centre = multiply(q, _quotient(_CENTRE, subtract(_n(0.180625, x), multiply(q, q))))
    edge = equal(size, _n(1.0, x))
    share = multiply(subtract(_n(1.0, x), where(edge, _n(0.9, x), where(inner, _n(0.9, x), size))), _n(0.5, x))
    r = sqrt(negate(log(share)))
    far = greater(r, _n(5.0, x))
    near = _quotient(_NEAR, subtract(where(far, _n(2.0, x), r), _n(1.6, x)))
    away = _quotient(_FAR, subtract(where(far, r, _n(6.0, x)), _n(5.0, x)))
    tail = where(edge, _n(math.inf, x), where(far, away, near))
    signed = where(less(x, _n(0.0, x)), negate(tail), tail)
    found = multiply(where(inner, centre, signed), _n(1 / math.sqrt(2), x))
    return where(greater(size, _n(1.0, x)), _n(math.nan, x), found)


def erfinv(input: Any) -> Any:
    """y with erf(y) = x; infinite at -1 and 1, NaN beyond."""
    if AUTOCAST.used:
        (input,) = brought(DEVICE_FULL, input)
    return _erfinv(floating(input))


def mvlgamma(input: Any, p: int) -> Any:
    """The logarithm of the gamma function in p dimensions: p (p - 1) / 4 log(pi) + the sum of lgamma(x - j / 2), j < p.

    UnsupportedError for p < 1 and for bools.
    """
    if p < 1:
        raise UnsupportedError("p has to be greater than or equal to 1")
    if input.dtype is bool_:
        raise UnsupportedError("The input tensor may not be a boolean tensor.")
    x = floating(input)
    found = add(lgamma(x), _n(p * (p - 1) / 4 * math.log(math.pi), x))
    for j in range(1, p):
        found = add(found, lgamma(subtract(x, _n(j / 2, x))))
    return found


METHODS = ("lgamma", "digamma", "erfinv", "mvlgamma")
INPLACE = METHODS
__all__ = ["digamma", "erfinv", "lgamma", "mvlgamma"]
