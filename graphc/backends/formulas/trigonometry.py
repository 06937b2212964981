"""Trigonometric functions and their inverses as trees of products and sums.

Angles are reduced by multiples of π or π/2 held in three parts, exactly (W. J. Cody, W. Waite, "Software Manual for the
Elementary Functions", 1980); huge ones, which are rare, by those bits of 2/π that count (M. Payne, R. Hanek, "Radian
reduction for trigonometric functions", SIGNUM 18, 1983).
"""

from __future__ import annotations

import math
from functools import cache

from graphc.backends.formulas import coefficients as c
from graphc.backends.formulas.floats import (
    HALF_PI,
    INF,
    NAN,
    PI,
    constant,
    format_of,
    polynomial,
    two_product,
    two_sum,
)  # fmt: skip
from graphc.backends.formulas.portable import sign_bit, with_sign
from graphc.core import scalar as s
from graphc.core.scalar import Scalar, bits, cast, const, eq, fma, from_bits, ne, rarely, rint, select, table
from graphc.core.tensor_types import DType, float32, float64, int64

#: from where on the reduction in three parts is not exact any more
_LARGE = {float32: 2.0**15, float64: 2.0**30}

# 2/π to 1,400 binary places, as an integer
_PLACES = 1400

_GROUP = 16  # the table of 2/π has an entry for every so many powers of two


def _reciprocal_of_half_pi() -> int:
    """2/π * 2^_PLACES, with π by Machin's formula: π/4 = 4 atan(1/5) - atan(1/239)."""
    one = 1 << _PLACES + 64

    def atan_of_inverse(n: int) -> int:
        power, total, k = one // n, 0, 1
        while power:
            total += (power if k % 4 == 1 else -power) // k
            power //= n * n
            k += 2
        return total

    pi = 4 * (4 * atan_of_inverse(5) - atan_of_inverse(239))
    return (2 * one << _PLACES) // pi


@cache
def _two_over_pi() -> tuple[tuple[float, ...], ...]:
    """Four tables of doubles: entry g of table j is the j-th part of 2^(_GROUP * g) * 2/π modulo 4."""
    exact, rows = _reciprocal_of_half_pi(), []
    for g in range(1024 // _GROUP):
        rest, row = (exact << _GROUP * g) % (4 << _PLACES), []
        for _ in range(4):
            drop = max(rest.bit_length() - 53, 0)
            row.append(math.ldexp(rest >> drop, drop - _PLACES))
            rest -= rest >> drop << drop
        rows.append(row)
    return tuple(zip(*rows, strict=True))


@cache
def _words_of_two_over_pi() -> tuple[tuple[int, ...], ...]:
    """Three tables of 32-bit words: those at n are 2^n * _LARGE * 2^-23 * 2/π modulo 4, the first one's top two bits whole."""
    at = int(math.log2(_LARGE[float32])) - 23
    exact, rows = _reciprocal_of_half_pi() << 64, []
    for n in range(128 - int(math.log2(_LARGE[float32]))):
        shift = at + n
        scaled = (exact << shift if shift >= 0 else exact >> -shift) % (4 << _PLACES + 64)
        window = scaled >> _PLACES + 64 - 94
        rows.append((window >> 64, window >> 32 & 0xFFFFFFFF, window & 0xFFFFFFFF))
    return tuple(zip(*rows, strict=True))


def _modulo_four(x: Scalar) -> Scalar:
    return fma(rint(x * 0.25), -4.0, x)


def _times_two_over_pi(a: Scalar) -> list[tuple[Scalar, Scalar]]:
    """The products of a float64 a >= 1 with the parts of 2/π, each as two floats, less multiples of 4 in the parts."""
    rows = _two_over_pi()
    group = s.maximum((bits(a) >> 52) - (1022 + 53), 0) >> 4
    group = s.minimum(group, len(rows[0]) - 1)
    m = from_bits(bits(a) - (group << 56))  # a whole number of at most 53 + 16 bits, or of a small exponent
    return [two_product(m, table(row, group, float64)) for row in rows]


def _turns(a: Scalar) -> tuple[Scalar, Scalar, Scalar]:
    """a * 2/π modulo 4 for a huge float64 a: a whole number and a fraction of at most 1/2, in two floats. The fraction may be
    as small as 2^-61, and is a sum that cancels exactly where it must."""
    (p, p_low), (q, q_low), (t, t_low), (u, _) = _times_two_over_pi(a)
    high, first = two_sum(_modulo_four(p), _modulo_four(p_low))
    high, second = two_sum(high, _modulo_four(q))
    n = rint(high)
    middle, third = two_sum(q_low, t)
    high, fourth = two_sum(high - n, middle)
    high, fifth = two_sum(high, first + second + fourth)  # these have few digits: their sum is exact
    return n, high, fifth + (third + (t_low + u))


def _quarters(x: Scalar) -> tuple[Scalar, Scalar]:
    """The quarter number, in the low bits of an int64, and the angle left of a huge |x|."""
    return _quarters_float32(abs(x)) if x.dtype is float32 else _quarters_float64(abs(x))


def _quarters_float32(a: Scalar) -> tuple[Scalar, Scalar]:
    """In integers: the whole part of a product is in the top two of 64 bits, and of the fraction, which is 2^-33 or more,
    enough is left below."""
    rows = _words_of_two_over_pi()
    least = 127 + int(math.log2(_LARGE[float32]))
    at = s.minimum(s.maximum((bits(a) >> 23) - least, 0), len(rows[0]) - 1)
    m = cast(bits(a) & 0x7FFFFF | 0x800000, int64)
    top, middle, low = (table(row, cast(at, int64), int64) * m for row in rows)
    turns = (top << 32) + middle + (low >> 32)
    quarter = (turns + (1 << 61)) >> 62
    fraction = turns - (quarter << 62)
    high = cast(fraction, float32)
    rest = cast(fraction - cast(high, int64), float32)
    first, second = format_of(a).split(HALF_PI, 2)
    unit = 2.0**-62
    left = fma(high, first * unit, fma(high, second * unit, rest * (first * unit)))
    return quarter, select(a < INF, left, NAN)


def _quarters_float64(a: Scalar) -> tuple[Scalar, Scalar]:
    n, high, low = _turns(a)
    first, second = format_of(n).split(HALF_PI, 2)
    product, error = two_product(high, const(first, float64))
    left = product + (error + fma(high, second, low * first))
    return bits(n + format_of(n).magic), select(a < INF, left, NAN)


def _sin_small(r: Scalar) -> Scalar:
    square = r * r
    return fma(r * square, polynomial(square, c.SIN_SMALL[r.dtype]), r)


def _cos_small(r: Scalar) -> Scalar:
    square = r * r
    return fma(square * square, polynomial(square, c.COS_SMALL[r.dtype]), fma(square, -0.5, 1))


def _to_sign(flags: Scalar) -> Scalar:
    """The lowest bit of an integer, moved to the place of the sign."""
    return flags << (8 * flags.dtype.itemsize - 1)


def _less_parts(a: Scalar, n: Scalar, exact: str) -> Scalar:
    """a - n * constant, for n so small that the products with its three parts are exact enough."""
    for part in format_of(a).split(exact, 3):
        a = fma(n, -part, a)
    return a


def _sin_of_half_turn(r: Scalar) -> Scalar:
    """sin of |r| <= π/2."""
    square = r * r
    return fma(r * square, polynomial(square, c.SIN[r.dtype]), r)


def _huge_sin(x: Scalar, ahead: int) -> Scalar:
    """sin(|x| + ahead * π/2)."""
    quarter, r = _quarters(x)
    quarter = quarter + ahead
    value = select(ne(quarter & 1, 0), _cos_small(r), _sin_small(r))
    return with_sign(value, _to_sign(cast(quarter >> 1, format_of(x).whole)))


def sin(x: Scalar) -> Scalar:
    """sin x, from |x| less the nearest multiple of π."""
    form, a = format_of(x), abs(x)
    shifted = fma(a, constant(x.dtype, 1 / math.pi), form.magic)
    r = _less_parts(a, shifted - form.magic, PI)
    usual = with_sign(_sin_of_half_turn(r), _to_sign(bits(shifted)))
    return with_sign(rarely(a > _LARGE[x.dtype], _huge_sin(x, 0), usual), sign_bit(x))


def cos(x: Scalar) -> Scalar:
    """cos x, from |x| less the nearest odd multiple of π/2."""
    form, a = format_of(x), abs(x)
    shifted = fma(a, constant(x.dtype, 1 / math.pi), -0.5) + form.magic
    r = _less_parts(a, fma(shifted - form.magic, 2.0, 1), HALF_PI)
    usual = with_sign(_sin_of_half_turn(r), _to_sign(~bits(shifted)))
    return rarely(a > _LARGE[x.dtype], _huge_sin(x, 1), usual)


def _tan_of(r: Scalar, odd: Scalar) -> Scalar:
    """tan of |r| <= π/4, or its negative reciprocal."""
    square, flag = r * r, ne(odd & 1, 0)
    value = fma(r * square, polynomial(square, c.TAN[r.dtype]), r)
    quotient = select(flag, 1.0, value) / select(flag, value, 1.0)
    return with_sign(quotient, _to_sign(odd))


def tan(x: Scalar) -> Scalar:
    """tan x, from |x| less the nearest multiple of π/2."""
    form, a = format_of(x), abs(x)
    shifted = fma(a, constant(x.dtype, 2 / math.pi), form.magic)
    usual = _tan_of(_less_parts(a, shifted - form.magic, HALF_PI), bits(shifted))
    quarter, left = _quarters(x)
    return with_sign(rarely(a > _LARGE[x.dtype], _tan_of(left, cast(quarter, form.whole)), usual), sign_bit(x))


# -- the inverses ---------------------------------------------------------------------------------------------------


def _relative_rest(dtype: DType) -> tuple[float, float]:
    """π/2 as a float and how much is missing, relative to it."""
    high, low = (format_of(const(0, dtype))).split(HALF_PI, 2)
    return high, constant(dtype, low / high)


def _asin_core(a: Scalar) -> tuple[Scalar, Scalar]:
    """Whether |x| > 1/2, and the arc sine of |x|, then of √((1 - |x|) / 2) instead."""
    big = a > 0.5
    z = select(big, fma(a, -0.5, 0.5), a * a)
    y = select(big, s.sqrt(z), a)
    return big, fma(y * z, polynomial(z, c.ASIN[a.dtype]), y)


def asin(x: Scalar) -> Scalar:
    """asin x = π/2 - 2 asin √((1 - x) / 2) beyond 1/2."""
    big, p = _asin_core(abs(x))
    quarter, rest = _relative_rest(x.dtype)
    base = select(big, const(quarter, x.dtype), 0.0)
    return with_sign(fma(base, rest, base + select(big, -2 * p, p)), sign_bit(x))


def acos(x: Scalar) -> Scalar:
    """acos x = π/2 - asin x; beyond 1/2 twice asin √((1 - |x|) / 2), from π for negative x."""
    big, p = _asin_core(abs(x))
    quarter, rest = _relative_rest(x.dtype)
    base = select(big, select(x < 0, const(2 * quarter, x.dtype), 0.0), quarter)
    signed = with_sign(select(big, 2 * p, -p), sign_bit(x))
    return base + fma(base, rest, signed)


def _angle(y: Scalar, x: Scalar) -> Scalar:
    """The angle of the point (x, y), neither negative nor both infinite or zero: of three points that are turned onto
    the x axis the one that is near to it."""
    low, high = y <= math.tan(math.pi / 8) * x, y > math.tan(3 * math.pi / 8) * x
    over = select(low, y, select(high, -x, y - x))
    under = select(low, x, select(high, y, y + x))
    q = over / under
    z = q * q
    near = fma(q * z, polynomial(z, c.ATAN[x.dtype]), q)
    quarter, rest = _relative_rest(x.dtype)
    base = select(low, const(0, x.dtype), select(high, const(quarter, x.dtype), 0.5 * quarter))
    return base + fma(base, rest, near)


def atan(x: Scalar) -> Scalar:
    """atan x."""
    return with_sign(_angle(abs(x), const(1, x.dtype)), sign_bit(x))


def atan2(y: Scalar, x: Scalar) -> Scalar:
    """The angle of the point (x, y), in (-π, π]; the special cases are C's (F.10.1.4)."""
    form, a, b = format_of(x), abs(y), abs(x)
    both = eq(a, INF) & eq(b, INF)
    a, b = select(both, 1.0, a), select(both, 1.0, b)
    largest = s.maximum(a, b)
    edge = form.bias // 2
    factor = select(largest > 2.0**edge, 2.0**-edge, select(largest < 2.0**-edge, 2.0**edge, const(1, x.dtype)))
    angle = _angle(a * factor, select(eq(largest, 0), 1.0, b * factor))
    quarter, rest = _relative_rest(x.dtype)
    turned = 2 * quarter - fma(2 * quarter, -rest, angle)
    return with_sign(select(sign_bit(x) < 0, turned, angle), sign_bit(y))


__all__ = ["acos", "asin", "atan", "atan2", "cos", "sin", "tan"]
