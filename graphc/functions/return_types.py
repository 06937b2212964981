"""Results with named parts, such as the values and indices of `max(x, dim)`. Public as `graphc.return_types`."""

from __future__ import annotations

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


def _named(name: str, parts: type) -> Any:
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

__all__ = [
    "aminmax", "cummax", "cummin", "kthvalue", "max", "median", "min", "mode", "nanmedian", "sort", "topk",
]  # fmt: skip
