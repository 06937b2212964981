"""What collectives do with the elements of arrays, whoever carries them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

#: What is made of the elements of two processes, by the reduction's name.
COMBINE: dict[str, np.ufunc] = {
    "sum": np.add, "prod": np.multiply, "min": np.minimum, "max": np.maximum,
    "band": np.bitwise_and, "bor": np.bitwise_or, "bxor": np.bitwise_xor,
}  # fmt: skip


def as_bytes(array: Any) -> memoryview:
    """The memory of an array in C order."""
    return memoryview(array.reshape(-1).view(np.uint8))


def reduced(parts: Sequence[Any], how: str) -> Any:
    """A new array: the parts taken together, first to last."""
    if len(parts) == 1:
        return parts[0].copy()
    total = np.empty_like(parts[0])
    combine = COMBINE[how]
    combine(parts[0], parts[1], out=total)
    for part in parts[2:]:
        combine(total, part, out=total)
    return total


def borders(count: int, parts: int) -> list[tuple[int, int]]:
    """`count` elements in so many parts of nearly equal length, as (begin, end)."""
    edges = [count * k // parts for k in range(parts + 1)]
    return list(pairwise(edges))


__all__ = ["COMBINE", "as_bytes", "borders", "reduced"]
