"""The window ops beside their definition, element by element, and their adjoints beside the inner products."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from tolerances import assert_close

import graphc as gc
from graphc.core.dims import Dim, assumptions, substitute
from graphc.core.op import REGISTRY
from graphc.core.tensor_types import TensorType, float32, int64
from graphc.primitives.windows import window_max, window_max_gradient, window_sum, window_sum_gradient

RNG = np.random.default_rng(0)


def settings(seed: int) -> tuple[tuple[int, ...], dict[str, Any]]:
    """Random sizes and windows of 1 to 3 dimensions; every window of theirs meets an element."""
    rng = np.random.default_rng(seed)
    sizes, axes = [], []
    for _ in range(rng.integers(1, 4)):
        kernel, stride, dilation = (int(rng.integers(1, high)) for high in (5, 4, 3))
        reach = dilation * (kernel - 1) + 1
        low = int(rng.integers(0, kernel))
        sizes.append(int(rng.integers(max(reach - low, dilation, 1), 8)))
        high = int(rng.integers(0, max(1, min(reach, stride))))
        axes.append((kernel, stride, (low, high), dilation))
    kernel, stride, padding, dilation = zip(*axes, strict=True)
    return tuple(sizes), {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}


def met(sizes: tuple[int, ...], window: dict[str, Any]) -> dict[tuple[int, ...], list[tuple[int, ...]]]:
    """The positions inside that each window meets, in order, as the definition says."""
    columns = list(zip(sizes, *window.values(), strict=True))
    counts = [(n + low + high - d * (k - 1) - 1) // s + 1 for n, k, s, (low, high), d in columns]
    found = {}
    for at in itertools.product(*map(range, counts)):
        taps = itertools.product(*(range(k) for _, k, *_ in columns))
        places = [
            tuple(o * s - p[0] + j * d for o, j, (_, _, s, p, d) in zip(at, tap, columns, strict=True)) for tap in taps
        ]
        found[at] = [p for p in places if all(0 <= i < n for i, n in zip(p, sizes, strict=True))]
    return found


@pytest.mark.parametrize("seed", range(40))
def test_maxima_sums_and_adjoints_equal_their_definition(seed: int) -> None:
    sizes, window = settings(seed)
    windows = met(sizes, window)
    if not all(windows.values()):
        pytest.skip("a window outside of the input has no maximum")
    x = np.random.default_rng(seed).integers(-3, 4, sizes).astype(np.float64)
    if seed % 3 == 0:
        x[np.random.default_rng(seed).random(sizes) < 0.2] = np.nan
    best, indices = window_max.eval(x, **window)
    total = window_sum.eval(np.nan_to_num(x), **window)
    g = RNG.normal(size=best.shape)
    spread, routed = np.zeros(sizes), np.zeros(sizes)
    for at, places in windows.items():
        values = [x[p] for p in places]
        odd = [p for p in places if np.isnan(x[p])]
        place = odd[-1] if odd else places[int(np.argmax(values))]
        assert indices[at] == np.ravel_multi_index(place, sizes)
        assert np.array_equal(best[at], x[place], equal_nan=True)
        assert_close(total[at], np.nansum(values), n=len(values), scale=10.0)
        routed[place] += g[at]
        for p in places:
            spread[p] += g[at]
    assert_close(window_sum_gradient.eval(g, input_size=sizes, **window), spread, n=64)
    assert_close(window_max_gradient.eval(g, indices, input_size=sizes, **window), routed, n=64)


def test_wide_windows_keep_their_places() -> None:
    """More positions than a byte can tell."""
    x = np.random.default_rng(0).normal(size=(2, 3, 700))
    window = {"kernel": (3, 600), "stride": (1, 50), "padding": ((1, 1), (299, 0)), "dilation": (1, 1)}
    best, indices = window_max.eval(x, **window)
    for n, i, j in np.ndindex(*best.shape):
        rows, columns = slice(max(i - 1, 0), i + 2), slice(max(50 * j - 299, 0), 50 * j + 301)
        assert best[n, i, j] == x[n, rows, columns].max() == x[n].reshape(-1)[indices[n, i, j]]


def test_unknown_sizes() -> None:
    h, w = Dim.named("h"), Dim.named("w")
    x = TensorType((2, h, w), float32)
    window = {"kernel": (2, 3), "stride": (2, 1), "padding": ((0, 0), (1, 1)), "dilation": (1, 1)}
    values, indices = window_max.infer(x, **window)
    assert values == TensorType((2, h // 2, w), float32) and indices == TensorType((2, h // 2, w), int64)
    assert window_sum.infer(x, **window).shape == (2, h // 2, w)
    assert window_sum_gradient.infer(values, input_size=(h, w), **window) == x
    # a padding that depends on the size: as many windows as elements, rounded up
    up = {**window, "padding": ((0, -h + 2 * ((h + 1) // 2)), (1, 1))}
    (rows,) = {window_sum.infer(x, **up).shape[1]}
    assert [substitute(rows, {"h": size}) for size in (1, 4, 5)] == [1, 2, 3]
    whole = {"kernel": (h, w), "stride": (1, 1), "padding": ((0, 0),) * 2, "dilation": (1, 1)}
    assert window_max.infer(x, **whole)[0].shape == (2, 1, 1)
    noted: list[Any] = []
    with assumptions(lambda a, b: noted.append((a, b))):
        window_sum_gradient.infer(TensorType((2, 3, 5), float32), input_size=(h, w), **window)
    assert noted == [(3, h // 2), (5, w)]


def test_nothing_is_written_or_shared_by_windows_over_no_dimension() -> None:
    x = np.arange(3.0)
    none: dict[str, Any] = {"kernel": (), "stride": (), "padding": (), "dilation": ()}
    best, indices = window_max.eval(x, **none)
    assert best.tolist() == x.tolist() and indices.tolist() == [0, 0, 0]
    for y in (best, window_sum.eval(x, **none), window_sum_gradient.eval(x, input_size=(), **none)):
        assert not np.shares_memory(x, y)


def test_half_precision_sums_are_added_up_in_float32() -> None:
    x = np.full((1, 4096), 1.0, np.float16)
    window = {"kernel": (4096,), "stride": (1,), "padding": ((0, 0),), "dilation": (1,)}
    assert window_sum.eval(x, **window).tolist() == [[4096.0]]
    ones = {"kernel": (3,), "stride": (1,), "padding": ((1, 1),), "dilation": (1,)}
    g = window_sum_gradient.eval(x, input_size=(4096,), **ones)
    assert g.dtype == np.float16 and g[0, :3].tolist() == [2.0, 3.0, 3.0]


def test_four_ops_are_of_the_kind() -> None:
    ops = {name for name, op in REGISTRY.items() if getattr(op.kind, "name", "") == "window"}
    assert ops == {"window_max", "window_max_gradient", "window_sum", "window_sum_gradient"}
    x = gc.randn(2, 4, requires_grad=True)
    values, indices = window_max(x, kernel=(2,), stride=(2,), padding=((0, 0),), dilation=(1,))
    assert values.requires_grad and not indices.requires_grad
