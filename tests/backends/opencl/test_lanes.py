"""Kernels for processors, whose innermost loops count the lanes of vectors: the same results as any other way."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import assert_close

import graphc as gc
from graphc.backends.c_like import lanes
from graphc.backends.c_like.tiles import Target
from graphc.backends.c_like.writing import Source
from graphc.core import scalar as s
from graphc.core.tensor_types import float32
from graphc.ir.kernel import Access, Kernel, Statement

pytestmark = pytest.mark.opencl

FUNCTIONS = {
    "sum": lambda x: x.sum(-1), "column sum": lambda x: x.sum(0), "variance": lambda x: x.var(-1, correction=0),
    "column variance": lambda x: x.var(0, correction=0), "largest": lambda x: x.amax(-1),
    "column product": lambda x: (x / 8).prod(0),
    "softmax": lambda x: gc.softmax(x, -1), "column softmax": lambda x: gc.softmax(x, 0),
    "log softmax": lambda x: gc.log_softmax(x * 2, -1), "layer norm": lambda x: gc.nn.functional.layer_norm(x, x.shape[-1:]),
    "greatest": lambda x: x.argmax(-1), "column greatest": lambda x: x.argmax(0), "least": lambda x: x.flip(-1).argmin(-1),
    "all": lambda x: (x > -3).all(-1), "any": lambda x: (x > 2).any(0), "both": lambda x: (x.sum(-1), x.sum(0), x.exp()),
    "centred": lambda x: x - x.mean(-1, keepdim=True), "column centred": lambda x: x - x.mean(0, keepdim=True),
    "gathered": lambda x: (x[gc.arange(x.shape[0]).flip(0)] * x).sum(-1), "transposed": lambda x: x.mT.sum(-1) * 2,
}  # fmt: skip
SHAPES = [(70, 70), (128, 33), (1, 300), (300, 1), (3, 40, 50)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_folds(name, shape, monkeypatch):
    monkeypatch.setattr(lanes, "FEWEST_STEPS", 0)
    f, values = FUNCTIONS[name], np.random.default_rng(0).normal(size=shape)
    for dtype in (gc.float32, gc.float64) if shape == SHAPES[0] else (gc.float32,):
        x = gc.from_numpy(values).to(dtype)
        found, want = gc.compile(f, backend="opencl")(x), f(x)
        for a, b in zip(*(y if isinstance(y, tuple) else (y,) for y in (found, want)), strict=True):
            assert_close(a.numpy(), b.numpy(), n=max(shape) * 4)


@pytest.mark.parametrize("dtype", [gc.int32, gc.uint8, gc.float16, gc.bfloat16])
def test_other_dtypes(dtype, monkeypatch):
    monkeypatch.setattr(lanes, "FEWEST_STEPS", 0)
    x = gc.from_numpy(np.random.default_rng(0).integers(0, 9, (70, 90))).to(dtype)

    def f(x):
        return x.sum(-1), x.amax(0), x.argmin(-1), (x > 2).to(gc.int64).sum(0)

    for a, b in zip(gc.compile(f, backend="opencl")(x), f(x), strict=True):
        assert_close(a.to(gc.float64).numpy(), b.to(gc.float64).numpy(), dtype=np.dtype("float16"), n=90)


def test_nan_stays(monkeypatch):
    monkeypatch.setattr(lanes, "FEWEST_STEPS", 0)
    values = np.random.default_rng(0).normal(size=(40, 75)).astype(np.float32)
    values[3, 70], values[5, 2], values[7, [9, 60]] = np.nan, np.nan, np.nan
    x = gc.from_numpy(values)
    for f in (lambda x: x.amax(-1), lambda x: x.argmax(-1), lambda x: x.argmin(0), lambda x: x.amin(0)):
        np.testing.assert_array_equal(gc.compile(f, backend="opencl")(x).numpy(), f(x).numpy())


def test_which_kernels_have_lanes():
    def kernel(extents, n_outer, coefs):
        load, store = Access(0, coefs, 0), Access(1, (*coefs[:n_outer], *[0] * (len(extents) - n_outer)), 0)
        fold = Statement(s.leaf(0, float32), 0, True, "add", 0.0, store)
        return Kernel(extents, n_outer, (load,), (fold,), (float32, float32))

    processor, card = Target(64, 1 << 15, 2, 64), Target(64, 1 << 15, 16, 0)
    for rows in (kernel((100, 200), 1, (200, 1)), kernel((200, 100), 1, (1, 200))):
        assert lanes.print_lanes(Source(), rows, processor) is not None
        assert lanes.print_lanes(Source(), rows, card) is None
    assert lanes.print_lanes(Source(), kernel((10, 20), 1, (20, 1)), processor) is None
    assert lanes.print_lanes(Source(), kernel((1000, 20), 1, (20, 1)), processor) is None
