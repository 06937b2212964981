"""Convolutions as columns and products: the two kernels on the oracle, against what their docstrings say; blocks."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
import pytest
from planning.reference_run import KernelRun

from graphc.core.tensor_types import float32, float64
from graphc.planning import convolutions
from graphc.planning.convolutions import Convolution, blocks, columns_kernel, folding_kernel

#: Padded, strided (sizes that strides divide and do not), dilated, grouped; one, two and three dimensions.
CASES = [
    Convolution(float64, 1, 1, 2, 4, (6,), (3,), (6,), (1,), (1,), (1,)),
    Convolution(float64, 1, 2, 2, 4, (6, 4), (3, 3), (3, 2), (2, 2), (1, 1), (1, 1)),
    Convolution(float64, 1, 1, 4, 4, (7, 5), (2, 3), (4, 3), (2, 1), (1, 0), (1, 1)),
    Convolution(float64, 1, 1, 2, 4, (6, 7), (2, 2), (4, 3), (1, 2), (0, 0), (2, 1)),
    Convolution(float64, 1, 3, 2, 4, (4, 3, 4), (2, 1, 3), (4, 3, 2), (1, 1, 2), (1, 0, 1), (1, 1, 1)),
    Convolution(float64, 1, 1, 1, 4, (1,), (1,), (1,), (1,), (0,), (1,)),
]


def meetings(c: Convolution) -> Iterator[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]:
    """Places of the kernel, windows, and the elements where they meet."""
    for k in np.ndindex(*c.kernel):
        for p in np.ndindex(*c.counts):
            at = tuple(q * s + j * d - low for q, s, j, d, low in zip(p, c.stride, k, c.dilation, c.low, strict=True))
            if all(0 <= i < n for i, n in zip(at, c.sizes, strict=True)):
                yield k, p, at


def run(kernel: Any, source: Any, size: int) -> Any:
    target = np.full(size, np.nan)
    KernelRun(kernel, [source.reshape(-1), target]).run()
    return target


def x_of(c: Convolution) -> Any:
    return np.random.default_rng(0).normal(size=(c.groups * c.channels, *c.sizes))


@pytest.mark.parametrize("c", CASES)
def test_columns(c: Convolution) -> None:
    x = x_of(c)
    want = np.zeros((len(x), *c.kernel, *c.counts))
    for k, p, at in meetings(c):
        want[(slice(None), *k, *p)] = x[(slice(None), *at)]
    assert np.array_equal(run(columns_kernel(c, 1), x, want.size).reshape(want.shape), want)


@pytest.mark.parametrize("c", [c for c in CASES if c.counts[0] % 2 == 0])
def test_columns_of_a_block_of_rows(c: Convolution) -> None:
    """The outermost loop is the block: all write the same memory, the last one stays."""
    x = x_of(c)
    want = np.zeros((len(x), *c.kernel, *c.counts))
    for k, p, at in meetings(c):
        want[(slice(None), *k, *p)] = x[(slice(None), *at)]
    half = want[(slice(None), *(slice(None) for _ in c.kernel), slice(c.counts[0] // 2, None))]
    kernel = columns_kernel(c, 2)
    assert kernel.extents[0] == 2
    assert np.array_equal(run(kernel, x, half.size).reshape(half.shape), half)


@pytest.mark.parametrize("n_blocks", [1, 2])
@pytest.mark.parametrize("c", CASES)
def test_folded_columns(c: Convolution, n_blocks: int) -> None:
    if c.channels % n_blocks:
        return
    channels = c.channels // n_blocks
    columns = np.random.default_rng(1).normal(size=(c.groups, channels, *c.kernel, *c.counts))
    want = np.zeros((c.groups, channels, *c.sizes))
    both = (slice(None), slice(None))
    for k, p, at in meetings(c):
        want[(*both, *at)] += columns[(*both, *k, *p)]
    found = run(folding_kernel(c, n_blocks), columns, c.groups * c.channels * prod(c.sizes))
    found = found.reshape(c.groups, c.channels, *c.sizes)
    assert np.allclose(found[:, :channels], want)
    assert np.isnan(found[:, channels:]).all(), "another block's channels"


def test_blocks_fit_the_cache_and_leave_enough_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    small = Convolution(float32, 64, 1, 32, 64, (14, 14), (3, 3), (14, 14), (1, 1), (1, 1), (1, 1))
    assert blocks(small, False) == blocks(small, True) == 1
    large = small._replace(sizes=(56, 56), counts=(56, 56))
    rows = 56 // blocks(large, False)
    assert 56 % rows == 0 and 32 * 9 * rows * 56 * 4 <= convolutions.COLUMNS < 32 * 9 * 2 * rows * 56 * 4
    channels = 32 // blocks(large, True)
    assert channels * 9 * 56 * 56 * 4 <= convolutions.COLUMNS
    alone = large._replace(batch=1)
    assert blocks(alone, False) >= convolutions.PIECES
    wide = large._replace(channels=512, filters=512)
    assert 56 // blocks(wide, False) > 1, "not fewer columns than the weights are worth"
    monkeypatch.setattr(convolutions, "COLUMNS", 1)
    assert blocks(small._replace(filters=1, channels=1), False) == 14
