"""The one table of what "equal" means in the tests.

Integers and bools: exactly. Floats: `EPS_PER_OP` machine epsilons times the largest reference element for one op, times
sqrt(n) where n terms were reduced. An exception stands in `EXCEPTIONS` with its reason, or it does not exist.
"""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np

#: Machine epsilons one op may be off, relative to the largest finite element of the reference.
EPS_PER_OP = 32

#: Distance from 1 to the next number up, by dtype. bfloat16 has 8 bits of precision, float16 has 11.
EPS: dict[str, float] = {
    "bfloat16": 2.0**-7,
    "float16": 2.0**-10,
    "float32": 2.0**-23,
    "float64": 2.0**-52,
    "complex64": 2.0**-23,
    "complex128": 2.0**-52,
}

#: name -> (factor on the tolerance, reason). Give the name as `assert_close(..., exception="name")`.
EXCEPTIONS: dict[str, tuple[float, str]] = {}


def as_array(x: Any) -> np.ndarray:
    """The numbers of a NumPy array, a tensor of graphc's or PyTorch's, a number or a nested list."""
    if isinstance(x, np.ndarray | np.generic | bool | int | float | list | tuple):
        return np.asarray(x)
    if hasattr(x, "detach"):
        x = x.detach()
    if str(getattr(x, "dtype", "")) == "torch.bfloat16":  # PyTorch gives no NumPy array for these
        return x.float().numpy().astype(ml_dtypes.bfloat16)
    return np.asarray(x.numpy() if hasattr(x, "numpy") else x)


def is_float(dtype: np.dtype) -> bool:
    """Whether a dtype is one of the table's (bfloat16, which NumPy knows as `V`, included)."""
    return dtype.name in EPS


def tolerance(reference: Any, dtype: Any = None, n: int = 1, scale: float | None = None) -> float:
    """The largest absolute difference allowed from `reference`.

    `dtype` is the precision in which the arithmetic was done (default: the reference's own), `n` the number of terms
    reduced, `scale` the magnitude of the numbers that went in, where they cancel (default: max|reference|).
    """
    reference = as_array(reference)
    name = np.dtype(reference.dtype if dtype is None else dtype).name
    if scale is None:
        magnitudes = np.abs(reference.astype(_wide(reference.dtype)))
        scale = float(np.max(magnitudes, initial=0.0, where=np.isfinite(magnitudes)))
    return EPS_PER_OP * EPS[name] * math.sqrt(max(n, 1)) * scale


def assert_close(
    actual: Any,
    expected: Any,
    dtype: Any = None,
    n: int = 1,
    scale: float | None = None,
    exception: str = "",
    check_dtype: bool = True,
    what: str = "",
) -> None:
    """Asserts equal shapes, equal dtypes and elements equal within the table.

    `actual`, `expected`: arrays, tensors, numbers or lists. `dtype`: the precision of the arithmetic, where it is not
    `expected`'s. `n`: terms reduced. `scale`: magnitude of the operands, where the result cancels. `exception`: a name
    in `EXCEPTIONS`. `what` opens the message. NaNs must stand in the same places, infinities must be equal.
    """
    got, want = as_array(actual), as_array(expected)
    assert got.shape == want.shape, f"{what} shape {got.shape}, expected {want.shape}".strip()
    if check_dtype:
        assert got.dtype == want.dtype, f"{what} dtype {got.dtype}, expected {want.dtype}".strip()
    if not is_float(want.dtype):
        same = got == want
        assert np.all(same), _report(what, got, want, ~np.asarray(same), 0.0)
        return
    limit = tolerance(want, _coarser(got.dtype, want.dtype) if dtype is None else dtype, n, scale)
    limit *= EXCEPTIONS[exception][0] if exception else 1.0
    got, want = got.astype(_wide(got.dtype)), want.astype(_wide(want.dtype))
    with np.errstate(invalid="ignore"):
        near = (got == want) | (np.isnan(got) & np.isnan(want)) | (np.abs(got - want) <= limit)
    assert np.all(near), _report(what, got, want, ~np.asarray(near), limit)


def _coarser(a: np.dtype, b: np.dtype) -> np.dtype:
    """The float dtype of the two with the larger epsilon."""
    return a if is_float(a) and EPS[a.name] > EPS[b.name] else b


def _wide(dtype: np.dtype) -> type:
    return np.complex128 if dtype.kind == "c" else np.float64


def _report(what: str, got: np.ndarray, want: np.ndarray, wrong: np.ndarray, limit: float) -> str:
    """How many elements differ, and the worst of them."""
    places = np.argwhere(np.atleast_1d(wrong))
    with np.errstate(invalid="ignore"):
        distance = np.abs(np.asarray(got, np.float64) - np.asarray(want, np.float64)) if got.dtype.kind != "c" else None
    if distance is None or not np.any(np.isfinite(distance[wrong])):
        worst = tuple(int(i) for i in places[0])
    else:
        ranked = np.atleast_1d(np.where(wrong & np.isfinite(distance), distance, -1.0))
        worst = tuple(int(i) for i in np.unravel_index(int(np.argmax(ranked)), ranked.shape))
    got1, want1 = np.atleast_1d(got), np.atleast_1d(want)
    head = f"{what}: " if what else ""
    return (
        f"{head}{len(places)} of {wrong.size} elements differ by more than {limit:.3g}; "
        f"worst at {worst if got.ndim else '()'}: got {got1[worst]}, expected {want1[worst]}"
    )


#: Gradients beside central differences of fourth order in float64, by order of the derivative: relative to the sum of
#: the magnitudes that make up the slope, and never below that of 1. A second one is a difference of computed gradients.
DIFFERENCES = {1: 1e-8, 2: 1e-7}


def assert_slope(slope: float, difference: float, scale: float, order: int = 1, what: str = "") -> None:
    """Asserts that a computed directional derivative and the finite difference agree within the table."""
    limit = DIFFERENCES[order] * max(scale, 1.0)
    assert abs(slope - difference) <= limit, f"{what}: slope {slope}, finite difference {difference}, limit {limit:.3g}"
