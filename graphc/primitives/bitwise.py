"""Bitwise logic and shifts of integers (and logic of bools)."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from graphc.core import scalar as s
from graphc.primitives.elementwise_op import LOGICAL, WHOLE, elementwise
from graphc.primitives.samples import BOOL, INTEGERS, binary_samples, unary_samples

_BITS = (BOOL, *INTEGERS)
_logic = partial(elementwise, accepts=LOGICAL, samples=lambda: binary_samples(_BITS, smooth=False), exact=True)

bitwise_and = _logic("bitwise_and", eval=np.bitwise_and, scalar=lambda x, y: x & y)
bitwise_or = _logic("bitwise_or", eval=np.bitwise_or, scalar=lambda x, y: x | y)
bitwise_xor = _logic("bitwise_xor", eval=np.bitwise_xor, scalar=lambda x, y: x ^ y)
bitwise_not = elementwise(
    "bitwise_not",
    eval=np.invert,
    scalar=lambda x: ~x,
    accepts=LOGICAL,
    samples=lambda: unary_samples(_BITS, smooth=False),
    exact=True,
)


def _beyond(x: Any, y: Any) -> Any:
    """Whether the shift is negative or as wide as the number."""
    return (y < 0) | (y >= 8 * x.dtype.itemsize)


def _shift_left(x: Any, y: Any) -> Any:
    return s.select(_beyond(x, y), 0, x << s.select(_beyond(x, y), 0, y))


def _shift_right(x: Any, y: Any) -> Any:
    if not x.dtype.is_signed:
        return s.select(_beyond(x, y), 0, x >> s.select(_beyond(x, y), 0, y))
    return x >> s.select(_beyond(x, y), 8 * x.dtype.itemsize - 1, y)


_shift = partial(
    elementwise,
    accepts=WHOLE,
    samples=lambda: binary_samples(INTEGERS, second=(0, 70), low=-100, high=100, smooth=False),
    exact=True,
)
shift_left = _shift("shift_left", eval=np.left_shift, scalar=_shift_left)
shift_right = _shift("shift_right", eval=np.right_shift, scalar=_shift_right)

__all__ = ["bitwise_and", "bitwise_not", "bitwise_or", "bitwise_xor", "shift_left", "shift_right"]
