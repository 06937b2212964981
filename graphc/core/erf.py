"""The error function in double precision, from rational approximations; written once for arrays and for scalar trees.

W. J. Cody, "Rational Chebyshev approximations for the error function", Math. Comp. 23 (1969): three ranges of |x|, each
a quotient of two polynomials, with relative errors below 1e-16.
"""

from __future__ import annotations

from typing import Any

import numpy as np

SMALL, LARGE = 0.46875, 4.0
UNDERFLOW = 26.6  # erfc is below the smallest normal double from here on, and is computed as exactly so small

_P_SMALL = (1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2, 3.77485237685302021e2,
            3.20937758913846947e3)  # fmt: skip
_Q_SMALL = (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3)
_P_MIDDLE = (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0, 6.61191906371416295e1,
             2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3,
             1.23033935479799725e3)  # fmt: skip
_Q_MIDDLE = (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
             3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3)  # fmt: skip
_P_LARGE = (1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1,
            1.60837851487422766e-2, 6.58749161529837803e-4)  # fmt: skip
_Q_LARGE = (1.0, 2.56852019228982242e0, 1.87295284992346725e0, 5.27905102951428412e-1, 6.05183413124413191e-2,
            2.33520497626869185e-3)  # fmt: skip
_ONE_OVER_SQRT_PI = 0.56418958354775628695


def _horner(coefficients: tuple[float, ...], x: Any) -> Any:
    total: Any = x * coefficients[0] + coefficients[1]
    for c in coefficients[2:]:
        total = total * x + c
    return total


def erf_small(x: Any) -> Any:
    """erf(x) for |x| <= SMALL."""
    square = x * x
    return x * (_horner(_P_SMALL, square) / _horner(_Q_SMALL, square))


def erfc_scaled_middle(y: Any) -> Any:
    """exp(y²) erfc(y) for SMALL <= y <= LARGE."""
    return _horner(_P_MIDDLE, y) / _horner(_Q_MIDDLE, y)


def erfc_scaled_large(y: Any) -> Any:
    """exp(y²) erfc(y) for y >= LARGE."""
    u = 1.0 / (y * y)
    return (_ONE_OVER_SQRT_PI - u * (_horner(_P_LARGE, u) / _horner(_Q_LARGE, u))) / y


def exp_minus_square(y: Any, trunc: Any, exp: Any) -> Any:
    """exp(-y²) for y >= 0, with y² split so that its rounding error does not grow in the exponential."""
    coarse = trunc(y * 16.0) / 16.0
    return exp(-coarse * coarse) * exp(-(y - coarse) * (y + coarse))


def _erfc_positive(y: Any) -> Any:
    """erfc(y) for an array y >= SMALL."""
    y = np.minimum(y, UNDERFLOW + 1)
    scaled = np.where(y <= LARGE, erfc_scaled_middle(y), erfc_scaled_large(y))
    return exp_minus_square(y, np.trunc, np.exp) * scaled


def _by_ranges(x: Any, near_zero: Any, elsewhere: Any) -> Any:
    wide = np.asarray(x, np.float64)
    y = np.abs(wide)
    out = np.array(near_zero(wide))
    far = y > SMALL
    if far.any():
        out[far] = elsewhere(wide[far], _erfc_positive(y[far]))
    return out.astype(np.asarray(x).dtype)


def erf(x: Any) -> Any:
    """erf of a float array, computed in float64."""
    return _by_ranges(x, erf_small, lambda x, tail: np.copysign(1.0 - tail, x))


def erfc(x: Any) -> Any:
    """1 - erf(x) of a float array, accurate where it is tiny, computed in float64."""
    return _by_ranges(x, lambda x: 1.0 - erf_small(x), lambda x, tail: np.where(x < 0, 2.0 - tail, tail))
