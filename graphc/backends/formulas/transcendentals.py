"""The table of transcendental functions as trees, for float32 and float64, and the exact remainder of floats."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from graphc.backends.formulas import exponentials, trigonometry
from graphc.backends.formulas.exponentials import POWERS
from graphc.backends.formulas.portable import power_of_two, sign_bit, with_sign
from graphc.core import scalar as s
from graphc.core.scalar import Scalar, bits, fma, select, trunc
from graphc.core.tensor_types import float64

FUNCTIONS: Mapping[str, Callable[..., Scalar]] = {
    **{name: getattr(exponentials, name) for name in ("exp", "exp2", "expm1", "log", "log2", "log10", "log1p")},
    **{name: getattr(exponentials, name) for name in ("sinh", "cosh", "tanh", "asinh", "acosh", "atanh")},
    **{name: getattr(exponentials, name) for name in ("erf", "erfc")},
    "pow": exponentials.power,
    **{name: getattr(trigonometry, name) for name in ("sin", "cos", "tan", "asin", "acos", "atan", "atan2")},
}

# -- the remainder of a long division, in float64 -------------------------------------------------------------------


def _exponent(x: Scalar) -> Scalar:
    """The exponent of a positive float64, with its bias; of a denormal as if it had been shifted up."""
    return select(x < 2.0**-1022, (bits(x * 2.0**54) >> 52) - 54, bits(x) >> 52)


def remainder_step(rest: Scalar, divisor: Scalar) -> Scalar:
    """The remainder of rest / (divisor * 2^k), both not negative, with k >= 0 so that the quotient has at most 53 bits.

    The result is exact, and smaller than rest by 51 bits unless it is smaller than the divisor.
    """
    k = s.maximum(_exponent(rest) - _exponent(divisor) - 51, 0)
    half = k >> 1
    shifted = (divisor * power_of_two(half, float64)) * power_of_two(k - half, float64)
    left = fma(-trunc(rest / shifted), shifted, rest)
    return select(left < 0, left + shifted, left)


def remainder_end(x: Scalar, y: Scalar, rest: Scalar) -> Scalar:
    """The remainder of x / y from that of their sizes."""
    return select(abs(x) < abs(y), x, with_sign(rest, sign_bit(x)))


__all__ = ["FUNCTIONS", "POWERS", "remainder_end", "remainder_step"]
