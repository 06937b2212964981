"""How two partial results of a fold become one, as trees over the registers of both."""

from __future__ import annotations

from graphc.core import scalar as s
from graphc.core.scalar import Scalar
from graphc.core.tensor_types import FLOAT, DType, int64

_PLAIN = {"add": "add", "multiply": "mul", "maximum": "max", "minimum": "min", "or": "or", "and": "and"}


def joined(combine: str, dtype: DType) -> Scalar:
    """Leaves 0 and 1 as one."""
    return s.node(_PLAIN[combine], s.leaf(0, dtype), s.leaf(1, dtype))


def joined_found(combine: str, dtype: DType, in_order: bool) -> tuple[Scalar, Scalar]:
    """Value and position of the best so far, leaves 0 and 1, and of another part, leaves 2 and 3, as one.

    `in_order`: the other part comes later; else it may come earlier.
    """
    best, at, key, place = s.leaf(0, dtype), s.leaf(1, int64), s.leaf(2, dtype), s.leaf(3, int64)
    better = key < best if combine == "minimum" else key > best
    last = combine == "maximum_last_nan"
    if not in_order:
        better = better | (s.eq(key, best) & (place < at))
    if dtype.category == FLOAT:
        nan = s.ne(key, key)
        if in_order:
            better = better | (nan if last else nan & s.eq(best, best))
        else:
            better = better | (nan & (s.eq(best, best) | (place > at if last else place < at)))
    take = (place >= 0) & ((at < 0) | better)
    return s.select(take, key, best), s.select(take, place, at)
