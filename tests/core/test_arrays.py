"""Shadows: where elements on a device lie, told by arrays that take no memory."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from graphc.core.arrays import new_shadow, new_shadow_like

SIDE = 600  # 600 x 600 float32 are more than a MiB


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((SIDE, SIDE), np.float32), np.zeros((SIDE, SIDE), np.float32).T,
        np.zeros((20, 30, SIDE, 9)).transpose(2, 0, 3, 1), np.zeros((SIDE, SIDE), np.float32)[:, None].T,
        np.broadcast_to(np.zeros((1, SIDE), np.float32), (SIDE, SIDE)), np.zeros((SIDE, 1, SIDE), np.float32)[::-1],
        np.zeros((SIDE, 2 * SIDE), np.float32)[:, ::2], np.zeros((3, 4), np.float32).T, np.zeros((0, 5)), np.zeros(()),
    ],
)  # fmt: skip
def test_elements_lie_as_numpy_puts_them(array: np.ndarray) -> None:
    for dtype in (None, np.float64):
        found, want = new_shadow_like(array, dtype), np.empty_like(array, dtype)
        assert (found.shape, found.strides, found.dtype) == (want.shape, want.strides, want.dtype)
        assert found.flags.writeable
    rows = new_shadow(array.shape, array.dtype)
    assert rows.flags.c_contiguous and rows.shape == array.shape
    assert np.shares_memory(rows, rows.T) == (rows.size > 0)
    assert not np.may_share_memory(rows, found)


@pytest.mark.skipif(sys.platform != "linux", reason="limits are others there")
def test_no_memory_is_set_apart() -> None:
    code = """
import resource
import numpy as np
from graphc.core.arrays import new_shadow, new_shadow_like
small = np.zeros(1, np.float32)
resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30))
try:
    np.empty(1 << 29, np.float32)
except MemoryError:
    pass
else:
    raise AssertionError("the limit is none")
shadow = new_shadow((1 << 29,), np.float32)
new_shadow_like(shadow)
new_shadow_like(np.broadcast_to(small, (1 << 40,)))
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_too_large_is_refused_as_numpy_does() -> None:
    with pytest.raises(MemoryError):
        new_shadow((1 << 58,), np.uint8)
    with pytest.raises(ValueError, match=r"too large|too big|Maximum"):
        new_shadow((1 << 62, 8), np.uint8)
