"""Results with named parts, such as the values and indices of `max(x, dim)`. Public as `graphc.return_types`."""

from __future__ import annotations

from collections import namedtuple
from typing import Any, NamedTuple


class _ValuesIndices(NamedTuple):
    values: Any
    indices: Any


class _MinMax(NamedTuple):
    min: Any
    max: Any


def _show(self: Any) -> str:
    parts = ",\n".join(f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))
    return f"graphc.return_types.{type(self).__name__}(\n{parts})"


def _named(name: str, *fields: Any) -> Any:
    """The class of results with these names, or those of a class that has them."""
    parts = fields[0] if isinstance(fields[0], type) else namedtuple(name, fields)
    return type(name, (parts,), {"__slots__": (), "__repr__": _show, "__module__": __name__})


max = _named("max", _ValuesIndices)
min = _named("min", _ValuesIndices)
median = _named("median", _ValuesIndices)
nanmedian = _named("nanmedian", _ValuesIndices)
mode = _named("mode", _ValuesIndices)
kthvalue = _named("kthvalue", _ValuesIndices)
sort = _named("sort", _ValuesIndices)
topk = _named("topk", _ValuesIndices)
cummax = _named("cummax", _ValuesIndices)
cummin = _named("cummin", _ValuesIndices)
aminmax = _named("aminmax", _MinMax)


linalg_slogdet = _named("linalg_slogdet", "sign", "logabsdet")
linalg_qr, qr = _named("linalg_qr", "Q", "R"), _named("qr", "Q", "R")
linalg_svd, svd = _named("linalg_svd", "U", "S", "Vh"), _named("svd", "U", "S", "V")
linalg_eigh = _named("linalg_eigh", "eigenvalues", "eigenvectors")
linalg_cholesky_ex = _named("linalg_cholesky_ex", "L", "info")
linalg_inv_ex = _named("linalg_inv_ex", "inverse", "info")
linalg_solve_ex = _named("linalg_solve_ex", "result", "info")
linalg_lstsq = _named("linalg_lstsq", "solution", "residuals", "rank", "singular_values")
linalg_lu_factor = _named("linalg_lu_factor", "LU", "pivots")
linalg_lu_factor_ex = _named("linalg_lu_factor_ex", "LU", "pivots", "info")
linalg_lu, lu_unpack = _named("linalg_lu", "P", "L", "U"), _named("lu_unpack", "P", "L", "U")
triangular_solve = _named("triangular_solve", "solution", "cloned_coefficient")

__all__ = [
    "aminmax", "cummax", "cummin", "kthvalue", "linalg_cholesky_ex", "linalg_eigh", "linalg_inv_ex", "linalg_lstsq",
    "linalg_lu", "linalg_lu_factor", "linalg_lu_factor_ex", "linalg_qr", "linalg_slogdet", "linalg_solve_ex", "linalg_svd",
    "lu_unpack", "max", "median", "min", "mode", "nanmedian", "qr", "sort", "svd", "topk", "triangular_solve",
]  # fmt: skip
