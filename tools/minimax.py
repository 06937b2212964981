"""Prints graphc/backends/llvm/coefficients.py, or some of its polynomials: python tools/minimax.py [name...]

Each is the polynomial with the smallest weighted maximum error on an interval, found by the exchange algorithm of
E. Remez in 60 digits. Coefficients are rounded one after another, the later ones fitted again around the rounded ones.
Needs mpmath.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath as mp
import numpy as np

mp.mp.dps = 60
Function = Callable[[Any], Any]
LN2, ROOT_HALF, PI = mp.log(2), mp.sqrt(mp.mpf(1) / 2), mp.pi


@dataclass(frozen=True)
class Fit:
    """`target` on [low, high] by `terms` coefficients; errors count times `weight`. Two counts: float32, float64."""

    target: Function
    weight: Function
    low: Any
    high: Any
    terms: tuple[int, int]
    high64: Any = None


def chebyshev_points(low: Any, high: Any, n: int) -> list[Any]:
    """The extrema of a Chebyshev polynomial on an interval."""
    return [(low + high) / 2 - (high - low) / 2 * mp.cos(PI * i / (n - 1)) for i in range(n)]


def extrema(errors: list[Any], points: list[Any], n: int) -> list[Any]:
    """n points where the error is largest, with signs that alternate."""
    runs: list[int] = []
    for i, e in enumerate(errors):
        if runs and (errors[runs[-1]] > 0) == (e > 0):
            runs[-1] = i if abs(e) > abs(errors[runs[-1]]) else runs[-1]
        else:
            runs.append(i)
    while len(runs) > n:
        runs.pop(0 if abs(errors[runs[0]]) < abs(errors[runs[-1]]) else -1)
    return [points[i] for i in runs]


def remez(target: Function, weight: Function, low: Any, high: Any, powers: list[int]) -> tuple[list[Any], Any]:
    """Coefficients of x^powers, and the largest weighted error."""
    n = len(powers) + 1
    grid = chebyshev_points(low, high, 24 * n + 1)
    values, weights = [target(x) for x in grid], [abs(weight(x)) for x in grid]
    monomials = [[x**p for p in powers] for x in grid]
    chosen = [round((i + 0.5) * 24) for i in range(n)]
    best: Any = None
    for _ in range(12):
        rows = [[*(weights[k] * m for m in monomials[k]), (-1) ** i] for i, k in enumerate(chosen)]
        found = mp.lu_solve(mp.matrix(rows), mp.matrix([weights[k] * values[k] for k in chosen]))
        c = list(found)[:-1]
        errors = [w * (v - mp.fdot(c, m)) for v, w, m in zip(values, weights, monomials, strict=True)]
        worst = max(map(abs, errors))
        if best is None or worst < best[1]:
            best = (c, worst)
        if worst < abs(found[n - 1]) * 1.02:
            break
        following = extrema(errors, list(range(len(grid))), n)
        if len(following) < n:
            break
        chosen = following
    return best


def rounded(x: Any, dtype: Any) -> float:
    """A number of 60 digits in a float dtype."""
    high = float(x)
    return float(dtype(high)) if dtype is np.float32 else high


def fit(spec: Fit, dtype: Any) -> tuple[list[float], float]:
    """Rounded coefficients, lowest power first, and log2 of the error they leave."""
    terms = spec.terms[dtype is np.float64]
    low, high = spec.low, spec.high64 if spec.high64 is not None and dtype is np.float64 else spec.high
    fixed: list[float] = []
    for k in range(terms):
        if k > 3:  # the rest may be rounded as it is: it counts little
            break

        def left(x: Any) -> Any:
            return spec.target(x) - sum(mp.mpf(c) * x**i for i, c in enumerate(fixed))

        c, _ = remez(left, spec.weight, low, high, list(range(k, terms)))
        fixed.append(rounded(c[0], dtype))
    fixed += [rounded(x, dtype) for x in c[1:]]
    points = chebyshev_points(low, high, 500)
    errors = [spec.weight(x) * (spec.target(x) - sum(mp.mpf(a) * x**i for i, a in enumerate(fixed))) for x in points]
    return fixed, float(mp.log(max(map(abs, errors)), 2))


def series(f: Function, at_zero: Any) -> Function:
    """A function with a removable hole at 0."""
    return lambda x: f(x) if abs(x) > mp.mpf(10) ** -25 else mp.mpf(at_zero)


def erfcx_of_q(q: Any) -> Any:
    """exp(a²) erfc(a) (a + 2), with a from q = (a - 2) / (a + 2)."""
    a = 2 * (1 + q) / (1 - q)
    return mp.exp(a * a) * mp.erfc(a) * (a + 2)


def even(f: Function) -> Function:
    """A function of r, as one of z = r²."""
    return lambda z: f(mp.sqrt(z))


def minus_log_erfc(x: Any) -> Any:
    return -mp.log(mp.erfc(x))


def q_of(a: str) -> Any:
    """The variable of `erfcx_of_q`."""
    return (mp.mpf(a) - 2) / (mp.mpf(a) + 2)


FITS: dict[str, Fit] = {
    # (exp(r) - 1 - r) / r², errors relative to exp(r), or to exp(r) - 1
    "EXP": Fit(
        series(lambda r: (mp.expm1(r) - r) / r**2, 0.5),
        lambda r: r * r / mp.exp(r),
        -LN2 / 2 * 1.001,
        LN2 / 2 * 1.001,
        (5, 10),
    ),
    "EXPM1": Fit(
        series(lambda r: (mp.expm1(r) - r) / r**2, 0.5),
        series(lambda r: r * r / mp.expm1(r), 0),
        -LN2 / 2 * 1.001,
        LN2 / 2 * 1.001,
        (6, 11),
    ),
    # (log(1 + f) - f + f²/2) / f³
    "LOG": Fit(
        series(lambda f: (mp.log1p(f) - f + f * f / 2) / f**3, mp.mpf(1) / 3),
        series(lambda f: f**3 / mp.log1p(f), 0),
        ROOT_HALF - 1,
        2 * ROOT_HALF - 1,
        (9, 19),
    ),
    # (sin(r) - r) / r³ of r², up to half a turn's half
    "SIN": Fit(
        even(series(lambda r: (mp.sin(r) - r) / r**3, -mp.mpf(1) / 6)),
        even(series(lambda r: r**3 / mp.sin(r), 0)),
        mp.mpf(0),
        (PI / 2 * 1.001) ** 2,
        (4, 8),
    ),
    # (tan(r) - r) / r³ of r², |r| <= π/4
    "TAN": Fit(
        even(series(lambda r: (mp.tan(r) - r) / r**3, mp.mpf(1) / 3)),
        even(series(lambda r: r**3 / mp.tan(r), 0)),
        mp.mpf(0),
        (PI / 4 * 1.001) ** 2,
        (7, 14),
    ),
    "SIN_SMALL": Fit(
        even(series(lambda r: (mp.sin(r) - r) / r**3, -mp.mpf(1) / 6)),
        even(series(lambda r: r**3 / mp.sin(r), 0)),
        mp.mpf(0),
        (PI / 4 * 1.001) ** 2,
        (3, 6),
    ),
    # (cos(r) - 1 + r²/2) / r⁴ of r²
    "COS_SMALL": Fit(
        even(series(lambda r: (mp.cos(r) - 1 + r * r / 2) / r**4, mp.mpf(1) / 24)),
        even(lambda r: r**4 / mp.cos(r)),
        mp.mpf(0),
        (PI / 4 * 1.001) ** 2,
        (3, 6),
    ),
    # (asin(r)/r - 1) / r² of r² <= 1/4
    "ASIN": Fit(
        even(series(lambda r: (mp.asin(r) / r - 1) / r**2, mp.mpf(1) / 6)),
        even(series(lambda r: r**3 / mp.asin(r), 0)),
        mp.mpf(0),
        mp.mpf(1) / 4,
        (5, 12),
    ),
    # (atan(r)/r - 1) / r² of r² <= tan²(π/8)
    "ATAN": Fit(
        even(series(lambda r: (mp.atan(r) / r - 1) / r**2, -mp.mpf(1) / 3)),
        even(series(lambda r: r**3 / mp.atan(r), 0)),
        mp.mpf(0),
        mp.tan(PI / 8) ** 2 * 1.001,
        (5, 11),
    ),
    # erf(x)/x - 1 of x² <= 1
    "ERF_SMALL": Fit(
        even(series(lambda x: mp.erf(x) / x - 1, 2 / mp.sqrt(PI) - 1)),
        even(series(lambda x: x / mp.erf(x), 1)),
        mp.mpf(0),
        mp.mpf(1),
        (7, 13),
    ),
    # -log(erfc(x)), errors relative to erf
    "ERF_LARGE": Fit(
        minus_log_erfc,
        lambda x: mp.erfc(x) / mp.erf(x),
        mp.mpf(1) - mp.mpf(1) / 64,
        mp.mpf(4),
        (8, 19),
        mp.mpf(6),
    ),
    # (log((1 + s) / (1 - s)) - 2s - 2s³/3) / s⁵ of s², errors relative to 2s, for powers
    "LOG_RATIO": Fit(
        even(series(lambda s: (2 * mp.atanh(s) - 2 * s - 2 * s**3 / 3) / s**5, mp.mpf(2) / 5)),
        even(lambda s: s**4),
        mp.mpf(0),
        (3 - 2 * mp.sqrt(2)) ** 2,
        (4, 8),
    ),
    # exp(a²) erfc(a) (a + 2) of q = (a - 2) / (a + 2), a >= 0.46
    "ERFC": Fit(erfcx_of_q, lambda q: 1 / erfcx_of_q(q), q_of("0.46"), q_of("10.2"), (9, 22), q_of("27.5")),
}


HEAD = '''"""Coefficients of the polynomials behind the transcendental functions, lowest power first; see tools/minimax.py.

What each approximates is said there; the comment is the largest error it counts.
"""

from __future__ import annotations

from graphc.core.tensor_types import DType, float32, float64

Coefficients = dict[DType, tuple[float, ...]]
'''


def lines(numbers: list[float]) -> str:
    """Numbers, as many on a line as fit."""
    out, line = "", "       "
    for x in numbers:
        if len(line) + len(repr(x)) > 116:
            out, line = out + line + "\n", "       "
        line += f" {x!r},"
    return out + line + "\n"


def main(names: list[str]) -> None:
    """Prints the coefficients of some or all of the fits."""
    print(HEAD)
    for name in names or FITS:
        print(f"{name}: Coefficients = {{")
        for dtype in (np.float32, np.float64)[FITS[name].terms[0] == 0 :]:
            coefficients, error = fit(FITS[name], dtype)
            print(f"    {dtype.__name__}: (  # 2^{error:.1f}\n{lines(coefficients)}    ),", flush=True)
        print("}  # fmt: skip\n")


if __name__ == "__main__":
    main(sys.argv[1:])
