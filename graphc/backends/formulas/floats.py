"""What the formulas for transcendental functions share: the constants of a float format, polynomials, exact sums."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from graphc.core.scalar import Scalar, const, fma, select
from graphc.core.tensor_types import DType, float32, float64, int32, int64

INF, NAN = math.inf, math.nan


class Format(NamedTuple):
    """A float format: its integer of the same width, how many bits its fraction has, the bias of its exponent."""

    dtype: DType
    whole: DType
    mantissa: int
    bias: int

    @property
    def magic(self) -> float:
        """1.5 * 2^mantissa: a number plus this is rounded to a whole number, which its low bits then hold."""
        return 1.5 * 2.0**self.mantissa

    @property
    def least_normal(self) -> float:
        """The smallest number with a full fraction."""
        return 2.0 ** (1 - self.bias)

    def split(self, exact: str, parts: int) -> tuple[float, ...]:
        """A constant given in decimals as a sum of floats, the largest first."""
        rest, out = _fixed(exact), []
        for _ in range(parts):
            near = float(self.dtype.np.type(rest / _ONE))
            out.append(near)
            numerator, denominator = near.as_integer_ratio()
            rest -= numerator * _ONE // denominator
        return tuple(out)


_DIGITS = 80
_ONE = 10**_DIGITS
FORMATS: dict[DType, Format] = {
    float32: Format(float32, int32, 23, 127),
    float64: Format(float64, int64, 52, 1023),
}
LN2 = "0.69314718055994530941723212145817656807550013436025525412068000949339362196969471560"
PI = "3.14159265358979323846264338327950288419716939937510582097494459230781640628620899863"
HALF_PI = "1.57079632679489661923132169163975144209858469968755291048747229615390820314310449931"


def _fixed(decimals: str) -> int:
    whole, _, fraction = decimals.partition(".")
    return int(whole + fraction[:_DIGITS].ljust(_DIGITS, "0"))


def format_of(x: Scalar) -> Format:
    """The format of a tree's value."""
    return FORMATS[x.dtype]


def constant(dtype: DType, value: float) -> float:
    """A number as the dtype holds it."""
    return float(dtype.np.type(value))


def polynomial(x: Scalar, coefficients: Sequence[float]) -> Scalar:
    """The sum of coefficients[i] * x^i, by Horner's rule."""
    total: Scalar = const(coefficients[-1], x.dtype)
    for c in reversed(coefficients[:-1]):
        total = fma(total, x, c)
    return total


def two_sum(x: Scalar, y: Scalar) -> tuple[Scalar, Scalar]:
    """x + y rounded, and the error of that."""
    total = x + y
    z = total - x
    return total, (x - (total - z)) + (y - z)


def two_product(x: Scalar, y: Scalar) -> tuple[Scalar, Scalar]:
    """x * y rounded, and the error of that."""
    product = x * y
    return product, fma(x, y, -product)


def at_most(x: Scalar, limit: float) -> Scalar:
    """The smaller of the two; NaN stays."""
    return select(const(limit, x.dtype) < x, limit, x)


def at_least(x: Scalar, limit: float) -> Scalar:
    """The larger of the two; NaN stays."""
    return select(x < limit, limit, x)


__all__ = [
    "FORMATS", "HALF_PI", "INF", "LN2", "NAN", "PI", "Format", "at_least", "at_most", "constant", "format_of",
    "polynomial", "two_product", "two_sum",
]  # fmt: skip
