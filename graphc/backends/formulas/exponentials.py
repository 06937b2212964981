"""Exponentials, logarithms, powers and hyperbolic functions as trees of products and sums.

x = n log 2 + r with |r| <= log(2)/2 makes exp(x) = 2^n exp(r); x = 2^k (1 + f) with 1 + f in [1/√2, √2) makes
log(x) = k log 2 + log(1 + f). The polynomials are those of `coefficients`. `fma` keeps the reductions exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from graphc.backends.formulas import coefficients as c
from graphc.backends.formulas.floats import (
    INF,
    LN2,
    NAN,
    at_least,
    at_most,
    constant,
    format_of,
    polynomial,
    two_product,
    two_sum,
)  # fmt: skip
from graphc.backends.formulas.portable import sign_bit, with_sign
from graphc.core import scalar as s
from graphc.core.scalar import Scalar, bits, cast, const, eq, fma, from_bits, ne, scale, select
from graphc.core.tensor_types import float32, float64

# -- exponentials ---------------------------------------------------------------------------------------------------


class Reduced(NamedTuple):
    """x = n log 2 + r; `shifted` holds n in its low bits."""

    n: Scalar
    r: Scalar
    shifted: Scalar


def _reduce(x: Scalar) -> Reduced:
    form = format_of(x)
    high, low = form.split(LN2, 2)
    shifted = fma(x, constant(x.dtype, 1 / math.log(2)), form.magic)
    n = shifted - form.magic
    r = fma(n, -low, fma(n, -high, x))
    return Reduced(n, r, shifted)


def _two_to(shifted: Scalar, plus: int = 0) -> Scalar:
    """2^(n + plus), where that is a normal number: n is moved into the exponent's place."""
    form = format_of(shifted)
    return from_bits((bits(shifted) << form.mantissa) + ((form.bias + plus) << form.mantissa))


def _exp_fraction(r: Scalar) -> Scalar:
    return fma(r * r, polynomial(r, c.EXP[r.dtype]), r) + 1


def _expm1_fraction(r: Scalar) -> Scalar:
    return fma(r * r, polynomial(r, c.EXPM1[r.dtype]), r)


#: arguments beyond which exp is 0 and infinite
_LOWEST = {float32: -104.0, float64: -746.0}
_HIGHEST = {float32: 89.0, float64: 710.0}


def exp(x: Scalar) -> Scalar:
    """e^x."""
    e = _reduce(at_least(at_most(x, _HIGHEST[x.dtype]), _LOWEST[x.dtype]))
    return scale(_exp_fraction(e.r), e.n)


def exp2(x: Scalar) -> Scalar:
    """2^x."""
    form = format_of(x)
    x = at_least(at_most(x, form.bias + 2.0), -form.bias - form.mantissa - 2.0)
    n = (x + form.magic) - form.magic
    return scale(_exp_fraction((x - n) * math.log(2)), n)


def _with_sign_of(x: Scalar, y: Scalar) -> Scalar:
    """y, which has x's sign but may be +0 where x is -0."""
    return from_bits(bits(y) | sign_bit(x))


def expm1(x: Scalar) -> Scalar:
    """e^x - 1."""
    e = _reduce(at_least(at_most(x, _HIGHEST[x.dtype]), -45.0))
    p, half = _expm1_fraction(e.r), _two_to(e.shifted, -1)
    return _with_sign_of(x, select(eq(e.n, 0), p, 2 * fma(p, half, half - 0.5)))


def tanh(x: Scalar) -> Scalar:
    """tanh |x| = -u / (u + 2) with u = e^(-2|x|) - 1."""
    e = _reduce(at_least(-2 * abs(x), -45.0))
    power = _two_to(e.shifted)
    u = fma(_expm1_fraction(e.r), power, power - 1)
    return with_sign(abs(u) / (u + 2), sign_bit(x))


def sinh(x: Scalar) -> Scalar:
    """sinh |x| = h + h / (2h + 1) with h = (e^|x| - 1) / 2; near 0 all twice as large, lest a denormal is halved."""
    e = _reduce(at_most(abs(x), _HIGHEST[x.dtype] + 0.5))
    near, p, quarter = eq(e.n, 0), _expm1_fraction(e.r), _two_to(e.shifted, -2)
    half = 2 * fma(p, quarter, quarter - 0.25)
    h = select(near, p, half)
    total = h + h / (select(near, p, 2 * half) + 1)
    return with_sign(select(near, 0.5 * total, select(eq(h, INF), h, total)), sign_bit(x))


def cosh(x: Scalar) -> Scalar:
    """cosh x = h + 1 / 4h with h = e^|x| / 2."""
    e = _reduce(at_most(abs(x), _HIGHEST[x.dtype] + 0.5))
    h = 2 * (_exp_fraction(e.r) * _two_to(e.shifted, -2))
    return h + 0.25 / h


# -- logarithms -----------------------------------------------------------------------------------------------------


class Parts(NamedTuple):
    """x = 2^k (1 + f); k as a float, `power` is k in the place of the exponent."""

    k: Scalar
    f: Scalar
    power: Scalar


def _parts(x: Scalar, normal: bool) -> Parts:
    """The parts of a positive number; `normal`: it is no denormal."""
    form = format_of(x)
    up, tiny = form.mantissa + 2, x < form.least_normal
    y = x if normal else select(tiny, x * 2.0**up, x)
    root = const(int(x.dtype.np.type(math.sqrt(0.5)).view(form.whole.np)), form.whole)
    k = (bits(y) - root) >> form.mantissa
    power = k << form.mantissa
    f = from_bits(bits(y) - power) - 1
    if form.dtype is float64:  # older CPUs have no conversion of int64
        magic = const(int(x.dtype.np.type(form.magic).view(form.whole.np)), form.whole)
        number = from_bits(k + magic) - form.magic
    else:
        number = cast(k, form.dtype)
    return Parts(number if normal else number - select(tiny, float(up), const(0, x.dtype)), f, power)


def _log1p_tail(f: Scalar) -> Scalar:
    """log(1 + f) - f."""
    square = f * f
    return fma(square * f, polynomial(f, c.LOG[f.dtype]), square * -0.5)


def _log_of_parts(k: Scalar, f: Scalar) -> Scalar:
    high, low = format_of(f).split(LN2, 2)
    return fma(k, high, f + fma(k, low, _log1p_tail(f)))


def _at_ends(x: Scalar, result: Scalar) -> Scalar:
    """A logarithm at infinity, at zero, below, and for NaN."""
    result = select(x < INF, result, x)
    return select(x > 0, result, select(eq(x, 0), -INF, const(NAN, x.dtype)))


def log(x: Scalar) -> Scalar:
    """The natural logarithm."""
    k, f, _ = _parts(x, False)
    return _at_ends(x, _log_of_parts(k, f))


def _log_to_base(x: Scalar, base: int) -> Scalar:
    """k log_b 2 + (f + tail) / log b, with the product by 1 / log b in two floats."""
    form = format_of(x)
    k, f, _ = _parts(x, False)
    tail = _log1p_tail(f)
    high, low = form.split(_RECIPROCALS[base], 2)
    product, error = two_product(f, const(high, x.dtype))
    error = fma(tail, high, fma(f, low, error))
    if base == 2:
        return _at_ends(x, k + (product + error))
    two_high, two_low = form.split(_LOG10_OF_2, 2)
    return _at_ends(x, fma(k, two_high, product + fma(k, two_low, error)))


_RECIPROCALS = {
    2: "1.44269504088896340735992468100189213742664595415298593413544940693110921918118507988",
    10: "0.43429448190325182765112891891660508229439700580366656611445378316586464920887077472",
}
_LOG10_OF_2 = "0.30102999566398119521373889472449302676818988146210854131042746112710818927442450948"


def log2(x: Scalar) -> Scalar:
    """The logarithm to base 2."""
    return _log_to_base(x, 2)


def log10(x: Scalar) -> Scalar:
    """The logarithm to base 10."""
    return _log_to_base(x, 10)


def _log_of_sum(u: Scalar, error: Scalar, more: Scalar | None = None) -> Scalar:
    """log(u + error) (+ log 2 where `more` is 1), error being small beside u >= 2^-mantissa."""
    form = format_of(u)
    k, f, power = _parts(u, True)
    inverse = from_bits(s.maximum((form.bias << form.mantissa) - power, 0))  # 2^-k
    return _log_of_parts(k if more is None else k + more, fma(error, inverse, f))


def log1p(x: Scalar) -> Scalar:
    """log(1 + x)."""
    u, error = two_sum(const(1, x.dtype), x)
    result = select(x < INF, _log_of_sum(u, error), x)
    result = select(eq(x, 0), x, result)
    return select(x > -1, result, select(eq(x, -1), -INF, const(NAN, x.dtype)))


def _log_or_log1p(x: Scalar, near: Scalar) -> Scalar:
    """log(1 + near), or log(2x) where x is so large that this is the same."""
    large = x > 2.0 ** (format_of(x).mantissa // 2 + 3)
    u, error = two_sum(const(1, x.dtype), near)
    result = _log_of_sum(select(large, x, u), select(large, 0.0, error), select(large, 1.0, const(0, x.dtype)))
    return select(x < INF, result, x)


def asinh(x: Scalar) -> Scalar:
    """log(a + √(a² + 1)) = log1p(a + a² / (1 + √(a² + 1))), a = |x|."""
    a = abs(x)
    square = a * a
    return with_sign(_log_or_log1p(a, a + square / (1 + s.sqrt(square + 1))), sign_bit(x))


def acosh(x: Scalar) -> Scalar:
    """log(x + √(x² - 1)) = log1p(t + √(2t + t²)), t = x - 1."""
    t = x - 1
    result = _log_or_log1p(x, t + s.sqrt(fma(t, t, 2 * t)))
    return select(x >= 1, result, const(NAN, x.dtype))


def atanh(x: Scalar) -> Scalar:
    """log1p(2a / (1 - a)) / 2, a = |x|."""
    a = abs(x)
    return with_sign(0.5 * log1p(2 * a / (1 - a)), sign_bit(x))


# -- powers ---------------------------------------------------------------------------------------------------------


def _log2_in_two(a: Scalar) -> tuple[Scalar, Scalar]:
    """log2 of a >= 0 as an unevaluated sum: log(1 + f) = 2s + 2s³/3 + s⁵ P(s²), s = f / (2 + f), in pairs."""
    form = format_of(a)
    k, f, _ = _parts(a, False)
    d = f + 2
    d_low = f - (d - 2)
    s_high = f / d
    s_low = fma(s_high, -d_low, fma(s_high, -d, f)) / d
    z = s_high * s_high
    z_low = fma(s_high, s_high, -z) + 2 * s_high * s_low
    cube, cube_low = two_product(z, s_high)
    cube_low = cube_low + fma(z, s_low, z_low * s_high)
    third, third_low = form.split("0." + "6" * 79 + "7", 2)
    u, u_low = two_product(cube, const(third, a.dtype))
    u_low = u_low + fma(cube_low, third, cube * third_low)
    tail = cube * z * polynomial(z, c.LOG_RATIO[a.dtype])
    high = 2 * s_high + u
    low = ((2 * s_high - high) + u) + (2 * s_low + u_low + tail)
    e_high, e_low = form.split(_RECIPROCALS[2], 2)
    v, v_low = two_product(high, const(e_high, a.dtype))
    v_low = v_low + fma(high, e_low, low * e_high)
    total = k + v
    return total, ((k - total) + v) + v_low


#: Where the result is infinite, and where it is 0.
_POW_ENDS = {float32: (130.0, -160.0), float64: (1030.0, -1080.0)}


def _pow_in_two(a: Scalar, y: Scalar) -> Scalar:
    """a^y of a >= 0: log2 in pairs of floats."""
    high, low = _log2_in_two(a)
    high = select(eq(a, 0), -INF, select(a < INF, high, a))
    product, error = two_product(y, high)
    high_end, low_end = _POW_ENDS[a.dtype]
    clipped = at_least(at_most(product, high_end), low_end)
    error = select(eq(clipped, product), error + y * low, 0.0)
    magic = format_of(a).magic
    n = (clipped + magic) - magic
    r = (clipped - n) + error
    ln2, ln2_low = format_of(a).split(LN2, 2)
    return scale(_exp_fraction(fma(r, ln2, r * ln2_low)), n)


def power(x: Scalar, y: Scalar) -> Scalar:
    """x^y; the special cases are C's (F.10.4.4)."""
    a, half = abs(x), y * 0.5
    size = _pow_in_two(a, y)
    whole = eq(s.trunc(y), y)
    odd = whole & ne(s.trunc(half), half)
    size = from_bits(bits(size) ^ select(odd, sign_bit(x), 0))
    size = select((x < 0) & (x > -INF) & ~whole, NAN, size)
    one = eq(y, 0) | eq(x, 1) | (eq(a, 1) & eq(abs(y), INF))
    return select(one, 1.0, size)


def _root(x: Scalar) -> Scalar:
    """x^0.5, which differs from the square root at -0 and -inf."""
    return select(eq(x, -INF), INF, s.sqrt(x) + 0.0)


#: float powers with a constant exponent that have a shorter form
POWERS: Mapping[float, Callable[[Scalar], Scalar]] = {
    0.0: lambda x: const(1, x.dtype),
    1.0: lambda x: x,
    2.0: lambda x: x * x,
    3.0: lambda x: x * x * x,
    -1.0: lambda x: 1 / x,
    0.5: _root,
    -0.5: lambda x: 1 / _root(x),
}

# -- the error function ---------------------------------------------------------------------------------------------


def erf(x: Scalar) -> Scalar:
    """A polynomial up to 1, then 1 - exp(log erfc): log erfc is smooth."""
    a = abs(x)
    small = fma(a, polynomial(a * a, c.ERF_SMALL[x.dtype]), a)
    exponent = polynomial(at_most(a, 4.0 if x.dtype is float32 else 6.0), c.ERF_LARGE[x.dtype])
    e = _reduce(-exponent)
    large = fma(_exp_fraction(e.r), -_two_to(e.shifted), 1)
    return with_sign(select(a < 1, small, large), sign_bit(x))


def erfc(x: Scalar) -> Scalar:
    """1 - erf near 0; exp(-a²) R(a), a = |x|, else: R(a) (a + 2) is a polynomial in (a - 2) / (a + 2)."""
    a = at_most(abs(x), 10.2 if x.dtype is float32 else 27.5)
    under = a + 2
    inverse = 1 / under
    missing = inverse * fma(inverse, (under - 2) - a, fma(-under, inverse, 1))  # inverse + missing is 1 / (a + 2)
    value = polynomial((a - 2) * inverse, c.ERFC[x.dtype])
    scaled, error = two_product(value, inverse)
    square, rest = two_product(a, a)
    e = _reduce(-square)
    fraction = _exp_fraction(e.r - rest)
    far = scale(fma(fraction, fma(value, missing, error), fraction * scaled), e.n)
    near = 1 - fma(x, polynomial(square, c.ERF_SMALL[x.dtype]), x)
    return select(a < 0.65, near, select(x < 0, 2 - far, far))


__all__ = [
    "POWERS", "acosh", "asinh", "atanh", "cosh", "erf", "erfc", "exp", "exp2", "expm1", "log", "log10", "log1p",
    "log2", "power", "sinh", "tanh",
]  # fmt: skip
