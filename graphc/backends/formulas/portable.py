"""Trees for the instructions that an older CPU lacks: rounding to whole numbers, scaling by a power of two, fused
multiply-add, float16 conversions; and for what no CPU has: bfloat16, division and powers of vectors of integers.
"""

from __future__ import annotations

from graphc.core import scalar as s
from graphc.core.scalar import Scalar, bits, cast, const, eq, from_bits, ne, select
from graphc.core.tensor_types import DType, float32, float64, int16, int32, int64

_MANTISSA = {float32: 23, float64: 52}
_BIAS = {float32: 127, float64: 1023}
_INT = {float32: int32, float64: int64}


def sign_bit(x: Scalar) -> Scalar:
    """The sign of a float, alone in its place."""
    whole = bits(x)
    return whole & const(-(1 << 8 * x.dtype.itemsize - 1), whole.dtype)


def with_sign(x: Scalar, sign: Scalar) -> Scalar:
    """x with its sign flipped where the `sign_bit` is set."""
    return from_bits(bits(x) ^ sign)


def rint(x: Scalar) -> Scalar:
    """The nearest whole number, even of two: adding 2^mantissa drops the fraction."""
    big = float(1 << _MANTISSA[x.dtype])
    return select(abs(x) < big, with_sign((abs(x) + big) - big, sign_bit(x)), x)


def trunc(x: Scalar) -> Scalar:
    """Toward zero."""
    a, near = abs(x), rint(abs(x))
    return with_sign(select(a < near, near - 1, near), sign_bit(x))


def floor(x: Scalar) -> Scalar:
    """Toward -inf; keeps the sign of zero."""
    near = rint(x)
    return select(x < near, near - 1, near)


def ceil(x: Scalar) -> Scalar:
    """Toward +inf; keeps the sign of zero."""
    return -floor(-x)


def power_of_two(n: Scalar, dtype: DType) -> Scalar:
    """2^n of an integer n for which that is a normal number."""
    return from_bits((n + _BIAS[dtype]) << _MANTISSA[dtype])


def scale(x: Scalar, n: Scalar) -> Scalar:
    """x * 2^n by two factors, the first exact, so that it is rounded once: for x near 1 and n up to twice the largest exponent.

    n + 1.5 * 2^mantissa has n in its low bits, half of them has half of it, and what is above leaves by the shift.
    """
    whole = bits(n + 1.5 * 2.0 ** _MANTISSA[x.dtype])
    first = whole >> 1
    return (x * power_of_two(first, x.dtype)) * power_of_two(whole - first, x.dtype)


# -- fused multiply-add: the trees of core.scalar's NumPy meaning ----------------------------------------------------


def _two_sum(x: Scalar, y: Scalar) -> tuple[Scalar, Scalar]:
    total = x + y
    z = total - x
    return total, (x - (total - z)) + (y - z)


def _halves(x: Scalar) -> tuple[Scalar, Scalar]:
    c = x * 134217729.0
    high = c - (c - x)
    return high, x - high


def _two_product(x: Scalar, y: Scalar) -> tuple[Scalar, Scalar]:
    product, (xh, xl), (yh, yl) = x * y, _halves(x), _halves(y)
    return product, xl * yl - (((product - xh * yh) - xl * yh) - xh * yl)


def _sum_to_odd(x: Scalar, y: Scalar) -> Scalar:
    total, error = _two_sum(x, y)
    whole = bits(total)
    toward = select(~((error > 0) ^ (total > 0)), const(1, int64), -1)
    inexact = (abs(error) > 0.0) & eq(whole & 1, 0) & (abs(error) < float("inf"))
    return from_bits(select(inexact, whole + toward, whole))


def fma(x: Scalar, y: Scalar, z: Scalar) -> Scalar:
    """x * y + z rounded once; float64 by splitting, where huge and tiny factors are brought nearer to 1 first."""
    if x.dtype is float32:
        wide = [cast(a, float64) for a in (x, y, z)]
        return cast(_sum_to_odd(wide[0] * wide[1], wide[2]), float32)
    product, one = x * y, const(1, float64)
    tiny = (abs(product) < 2.0**-800) & (abs(z) < 2.0**700)
    low, high = select(tiny, 2.0**108, one), 2.0**-64
    x_factor, y_factor = select(abs(x) > 2.0**950, high, low), select(abs(y) > 2.0**950, high, low)
    x, y, z_near = x * x_factor, y * y_factor, (z * x_factor) * y_factor
    upper, low = _two_product(x, y)
    total, rest = _two_sum(z_near, low)
    upper, lower = _two_sum(upper, total)
    exact = upper + _sum_to_odd(lower, rest)
    near = (exact / x_factor) / y_factor
    return select(abs(exact) < float("inf"), near, product + z)


# -- half floats as their bits -------------------------------------------------------------------------------------


def bfloat16_bits(x: Scalar) -> Scalar:
    """int16 bits of the bfloat16 nearest to a float32, even of two."""
    whole = bits(x)
    rounded = (whole + 0x7FFF + (s.node("shr", whole, 16) & 1)) >> 16
    quiet = (whole >> 16) | 0x40
    return cast(select(ne(x, x), quiet, rounded), int16)


def float16_bits(x: Scalar) -> Scalar:
    """int16 bits of the float16 nearest to a float32, even of two."""
    whole, a = bits(x), bits(abs(x))
    sign = (whole >> 16) & 0x8000
    normal = (a + 0xFFF + ((a >> 13) & 1) - ((127 - 15) << 23)) >> 13
    # below 2^-14 the addition of 0.5 lets the hardware round at the right place
    small = bits(abs(x) + 0.5) - bits(const(0.5, float32))
    finite = select(a < ((127 - 14) << 23), small, normal)
    beyond = select(a > (0x7F800000), const(0x7E00, int32) | ((a >> 13) & 0x3FF), 0x7C00)
    return cast(select(a < 0x477FF000, finite, beyond) | sign, int16)


def from_bfloat16_bits(x: Scalar) -> Scalar:
    """The float32 of a bfloat16 given as int16 bits."""
    return from_bits(cast(x, int32) << 16)


def from_float16_bits(x: Scalar) -> Scalar:
    """The float32 of a float16 given as int16 bits."""
    whole = cast(x, int32)
    a = whole & 0x7FFF
    finite = from_bits((a << 13) + ((127 - 15) << 23))
    small = cast(a, float32) * 2.0**-24
    beyond = from_bits((a << 13) | 0x7F800000)
    size = select(a < 0x400, small, select(a < 0x7C00, finite, beyond))
    return from_bits(bits(size) | (whole & const(-0x80000000, int32)))


def to_odd_float32(x: Scalar) -> Scalar:
    """A float64 as float32; where inexact, the neighbour with an odd last bit, which may be rounded again to a half."""
    near = cast(x, float32)
    back, whole = cast(near, float64), bits(near)
    outward = select(abs(back) < abs(x), const(1, int32), -1)
    inexact = (ne(back, x) & eq(x, x)) & eq(whole & 1, 0)
    return from_bits(select(inexact, whole + outward, whole))


# -- whole numbers ----------------------------------------------------------------------------------------------------


def quotient_in_floats(x: Scalar, y: Scalar) -> Scalar:
    """Division of integers of at most 32 bits in floats: the quotient of two of them is never so near below a whole
    number that rounding reaches it."""
    wide = float32 if x.dtype.itemsize < 4 else float64
    return cast(cast(x, wide) / cast(y, wide), x.dtype)


def constant_power(x: Scalar, exponent: int) -> Scalar:
    out, square = const(1, x.dtype), x
    while exponent:
        if exponent & 1:
            out = square if out.op == "const" else out * square
        exponent >>= 1
        square = square * square if exponent else square
    return out


def negative_power(x: Scalar, y: Scalar, positive: Scalar) -> Scalar:
    """The truncated reciprocal where the exponent is negative."""
    unit = select(eq(x, 1), const(1, x.dtype), select(eq(x, -1), 1 - 2 * (y & 1), 0))
    return select(y < 0, unit, positive)


__all__ = [
    "bfloat16_bits", "ceil", "constant_power", "float16_bits", "floor", "fma", "from_bfloat16_bits", "from_float16_bits",
    "negative_power", "power_of_two", "quotient_in_floats", "rint", "scale", "sign_bit", "to_odd_float32", "trunc",
    "with_sign",
]  # fmt: skip
