"""The three convolution ops against their definition, element by element, and the ways they are computed in parts."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from tolerances import assert_close

from graphc.primitives import convolution as ops

#: (input, weight, settings), among them every setting alone and all together
CASES: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "line": ((2, 3, 7), (4, 3, 3), {}),
    "plane": ((3, 2, 6, 5), (4, 2, 3, 2), {}),
    "space": ((2, 2, 4, 5, 3), (3, 2, 2, 3, 1), {}),
    "stride": ((2, 2, 8, 7), (3, 2, 3, 2), {"stride": (3, 2)}),
    "padding": ((2, 2, 4, 3), (3, 2, 3, 3), {"padding": ((1, 1), (2, 0))}),
    "dilation": ((2, 2, 7, 6), (3, 2, 3, 2), {"dilation": (2, 3)}),
    "groups": ((2, 6, 4, 4), (4, 3, 2, 2), {"groups": 2}),
    "depthwise": ((2, 4, 5, 5), (8, 1, 3, 3), {"groups": 4}),
    "each to itself": ((2, 4, 5, 5), (4, 1, 3, 3), {"groups": 4}),
    "pointwise": ((2, 4, 3, 3), (5, 4, 1, 1), {}),
    "wide steps": ((2, 1, 9), (2, 1, 2), {"stride": (4,)}),
    "all": (
        (3, 4, 9, 8),
        (6, 2, 3, 2),
        {"stride": (2, 3), "padding": ((0, 2), (3, 1)), "dilation": (2, 1), "groups": 2},
    ),
}


def settings(spatial: int, **given: Any) -> dict[str, Any]:
    plain = {"stride": (1,) * spatial, "padding": ((0, 0),) * spatial, "dilation": (1,) * spatial, "groups": 1}
    return {**plain, **given}


def operands(name: str) -> tuple[Any, Any, dict[str, Any]]:
    x, w, given = CASES[name]
    rng = np.random.default_rng(len(name))
    return rng.normal(size=x), rng.normal(size=w), settings(len(x) - 2, **given)


def meetings(x: Any, w: Any, attrs: Any) -> Iterator[tuple[Any, Any, Any]]:
    """(place in out, place in x, place in w) of every product of the definition."""
    sizes = ops.output_sizes(x.shape[2:], w.shape[2:], attrs["stride"], attrs["padding"], attrs["dilation"])
    outputs, inputs = w.shape[0] // attrs["groups"], w.shape[1]
    for n, o, *p in np.ndindex(x.shape[0], w.shape[0], *sizes):
        for c, *k in np.ndindex(*w.shape[1:]):
            columns = zip(p, attrs["stride"], k, attrs["dilation"], attrs["padding"], strict=True)
            at = [i * s + j * d - low for i, s, j, d, (low, _) in columns]
            if all(0 <= i < size for i, size in zip(at, x.shape[2:], strict=True)):
                yield (n, o, *p), (n, o // outputs * inputs + c, *at), (o, c, *k)


@pytest.mark.parametrize("name", CASES)
def test_the_three_ops_are_their_definition(name: str) -> None:
    x, w, attrs = operands(name)
    found = ops.convolution.eval(x, w, **attrs)
    g = np.random.default_rng(1).normal(size=found.shape)
    out, gx, gw = np.zeros(found.shape), np.zeros(x.shape), np.zeros(w.shape)
    for at_out, at_x, at_w in meetings(x, w, attrs):
        out[at_out] += x[at_x] * w[at_w]
        gx[at_x] += g[at_out] * w[at_w]
        gw[at_w] += g[at_out] * x[at_x]
    assert_close(found, out, n=64)
    assert_close(ops.convolution_input_gradient.eval(g, w, input_size=x.shape[2:], **attrs), gx, n=64)
    assert_close(ops.convolution_weight_gradient.eval(x, g, kernel_size=w.shape[2:], **attrs), gw, n=256)


def all_three(x: Any, w: Any, attrs: Any) -> list[Any]:
    out = ops.convolution.eval(x, w, **attrs)
    g = np.cos(np.arange(out.size)).reshape(out.shape).astype(x.dtype)
    return [
        out,
        ops.convolution_input_gradient.eval(g, w, input_size=x.shape[2:], **attrs),
        ops.convolution_weight_gradient.eval(x, g, kernel_size=w.shape[2:], **attrs),
    ]


@pytest.mark.parametrize("scratch", [1, 400, 3000])
@pytest.mark.parametrize("name", CASES)
def test_parts_of_the_batch_and_of_an_image_give_the_whole(
    name: str, scratch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, w, attrs = operands(name)
    wanted = all_three(x, w, attrs)
    monkeypatch.setattr(ops, "_scratch_bytes", lambda weights: scratch)
    for got, want in zip(all_three(x, w, attrs), wanted, strict=True):
        assert_close(got, want, n=256)


@pytest.mark.parametrize(("batch", "sizes"), [(5, (7,)), (3, (4, 6)), (1, (9, 2)), (0, (3,)), (7, (1, 1))])
def test_parts_cover_everything_once(batch: int, sizes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = np.zeros((2, 3, 4))
    for scratch in (1, 500, 2000, 10**6):
        monkeypatch.setattr(ops, "_scratch_bytes", lambda weights, scratch=scratch: scratch)
        seen = np.zeros((batch, *sizes))
        for samples, rows in ops._parts(batch, sizes, weights):
            part = seen[samples, rows]
            part += 1
            smallest = part.shape[0] == part.shape[1] == 1
            assert smallest or part.size * 2 * 4 * 8 <= scratch  # groups, elements of a window, bytes
        assert (seen == 1).all()


def test_the_unrolled_input_is_never_whole_in_memory() -> None:
    x, w = np.ones((2, 8, 128, 128), np.float32), np.ones((1, 8, 5, 5), np.float32)
    unrolled = 2 * 8 * 25 * 124 * 124 * 4
    tracemalloc.start()
    try:
        out, gx, gw = all_three(x, w, settings(2))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - out.nbytes - gx.nbytes - gw.nbytes < unrolled / 8
    assert (out == 200).all()


@pytest.mark.parametrize("name", ["plane", "all", "depthwise"])
def test_written_into_a_strided_result(name: str) -> None:
    x, w, attrs = operands(name)
    out, gx, gw = all_three(x, w, attrs)
    g = np.cos(np.arange(out.size)).reshape(out.shape)
    for op, inputs, more, want in (
        (ops.convolution, (x, w), {}, out),
        (ops.convolution_input_gradient, (g, w), {"input_size": x.shape[2:]}, gx),
        (ops.convolution_weight_gradient, (x, g), {"kernel_size": w.shape[2:]}, gw),
    ):
        into = np.full([2 * n for n in want.shape], np.nan)[tuple(slice(None, None, -2) for _ in want.shape)]
        op.inplace(into, *inputs, **more, **attrs)
        assert_close(into, want, n=64)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_halves_are_added_in_float32(dtype: Any) -> None:
    """Four thousand times a number whose running sum in a half would stop growing."""
    x, w = np.full((1, 4096, 2), 0.1).astype(dtype), np.ones((1, 4096, 1)).astype(dtype)
    out, gx, gw = all_three(x, w, settings(1))
    total = np.float32(x[0, 0, 0]) * 4096
    assert out.dtype == gx.dtype == gw.dtype == dtype
    assert_close(out.astype(np.float32), np.full((1, 1, 2), total, np.float32), dtype=out.dtype)


def test_padding_and_skipped_elements_get_no_gradient() -> None:
    x, w, attrs = np.ones((1, 1, 6)), np.ones((1, 1, 2)), settings(1, stride=(4,), padding=((3, 0),))
    g = np.array([[[5.0, 7.0]]])  # windows at -3, -2 and at 1, 2
    gx = ops.convolution_input_gradient.eval(g, w, input_size=(6,), **attrs)
    assert gx.tolist() == [[[0.0, 7.0, 7.0, 0.0, 0.0, 0.0]]]
    assert ops.convolution.eval(x, w, **attrs).tolist() == [[[0.0, 2.0]]]
