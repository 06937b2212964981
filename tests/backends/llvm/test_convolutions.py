"""Convolutions, windows and positions of extremes as native code: samples, random numbers, blocks, whole nets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conformance.cases import evaluated, terms
from native_ops import check_samples, compiled, kinds
from tolerances import assert_close

import graphc as gc
from graphc import nn
from graphc.backends.llvm.backend import LlvmBackend, LlvmExecutable
from graphc.backends.llvm.pool import get_num_threads, set_num_threads
from graphc.core.op import REGISTRY, Op, Sample
from graphc.core.tensor_types import type_of_array
from graphc.nn import functional as F
from graphc.planning import convolutions
from graphc.planning.steps import ConvolutionStep, HostStep

OPS = [
    REGISTRY[name]
    for name in (
        "windows", "window_places", "meeting_windows", "windows_by_place", "place_of_maximum", "window_max",
        "window_max_gradient", "window_sum", "window_sum_gradient", "argmax", "argmin", "convolution",
        "convolution_input_gradient", "convolution_weight_gradient",
    )
]  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("op", OPS, ids=str)
def test_samples_have_no_host_step_and_equal_eval(op: Op) -> None:
    """On the oracle and in native code."""
    check_samples(op)


# --- products on columns ------------------------------------------------------------------------------------------------


def random_convolution(rng: Any) -> tuple[Any, Any, dict[str, Any], tuple[int, ...]]:
    """Input, weights, attributes, and the shape of the result."""
    d, groups = int(rng.integers(1, 4)), int(rng.choice([1, 1, 2, 3]))
    channels, filters, batch = int(rng.integers(1, 5)), int(rng.integers(2, 7)), int(rng.choice([1, 2, 8]))
    kernel, stride, dilation = (tuple(map(int, rng.integers(1, n, d))) for n in (4, 4, 3))
    padding = tuple((int(a), int(b)) for a, b in rng.integers(0, 3, (d, 2)))
    reach = [k_d * (k - 1) + 1 for k, k_d in zip(kernel, dilation, strict=True)]
    sizes = tuple(max(int(rng.integers(1, 9)), r - low - high) for r, (low, high) in zip(reach, padding, strict=True))
    dtype = rng.choice([np.float32, np.float64])
    x = rng.normal(size=(batch, groups * channels, *sizes)).astype(dtype)
    w = rng.normal(size=(groups * filters, channels, *kernel)).astype(dtype)
    attrs = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return x, w, attrs, REGISTRY["convolution"].infer(type_of_array(x), type_of_array(w), **attrs).shape


def three_ops(rng: Any) -> Any:
    x, w, attrs, shape = random_convolution(rng)
    g = rng.normal(size=shape).astype(x.dtype)
    yield REGISTRY["convolution"], Sample((x, w), attrs)
    yield REGISTRY["convolution_input_gradient"], Sample((g, w), {"input_size": x.shape[2:], **attrs})
    yield REGISTRY["convolution_weight_gradient"], Sample((x, g), {"kernel_size": w.shape[2:], **attrs})


@pytest.mark.parametrize("cache", [None, 2000])
@pytest.mark.parametrize("seed", range(8))
def test_random_convolutions(seed: int, cache: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As folds and as products, of several samples at once and of one in blocks."""
    if cache is not None:
        monkeypatch.setattr(convolutions, "COLUMNS", cache)
    for op, sample in three_ops(np.random.default_rng(seed)):
        executable = compiled(op, sample.inputs, sample.attrs)
        assert HostStep not in kinds(executable)
        (found,) = executable(list(sample.inputs))
        (again,) = executable(list(sample.inputs))
        assert found.tobytes() == again.tobytes(), "the same bits each time"
        (want,) = evaluated(op, sample.inputs, sample.attrs)
        assert_close(found, want, n=100 * terms(sample.inputs))


def test_many_filters_are_products_in_equal_parts_of_the_batch() -> None:
    """Several samples at once where they have few windows: whole groups in each part, alone where there are none."""
    rng = np.random.default_rng(0)
    attrs = {"stride": (2,), "padding": ((1, 1),), "dilation": (1,), "groups": 1}
    for batch, samples in ((32, 4), (13, 1), (24, 3)):
        x, w = rng.normal(size=(batch, 5, 6)), rng.normal(size=(6, 5, 3))
        g = rng.normal(size=(batch, 6, 3))
        cases = {
            "convolution": ((x, w), {}), "convolution_input_gradient": ((g, w), {"input_size": (6,)}),
            "convolution_weight_gradient": ((x, g), {"kernel_size": (3,)}),
        }  # fmt: skip
        for name, (arrays, more) in cases.items():
            executable = compiled(REGISTRY[name], arrays, {**attrs, **more})
            (step,) = [s for region in executable.plan.regions for s in region if isinstance(s, ConvolutionStep)]
            parts = step.node.attrs.get("parts", 0)
            assert convolutions.grouped(convolutions.convolution_of(step.node), parts).samples == samples
            (found,) = executable(list(arrays))
            (want,) = evaluated(REGISTRY[name], arrays, {**attrs, **more})
            assert_close(found, want, n=1000)


@pytest.mark.parametrize("threads", [1, 3])
def test_the_weights_gradient_has_the_same_bits_on_any_number_of_threads(threads: int) -> None:
    rng = np.random.default_rng(0)
    x, g = rng.normal(size=(7, 4, 6, 6)), rng.normal(size=(7, 8, 6, 6))
    attrs = {"stride": (1, 1), "padding": ((1, 1),) * 2, "dilation": (1, 1), "groups": 1, "kernel_size": (3, 3)}
    op = REGISTRY["convolution_weight_gradient"]
    (want,) = compiled(op, (x, g), attrs)([x, g])
    before = get_num_threads()
    set_num_threads(threads)
    try:
        (found,) = compiled(op, (x, g), attrs)([x, g])
    finally:
        set_num_threads(before)
    assert found.tobytes() == want.tobytes()


# --- positions ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint8])
@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_positions_in_long_rows(name: str, dtype: Any) -> None:
    """Ties between the lanes of a vector and between vectors, rows of one number, NaN anywhere."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 9, (40, 205)).astype(dtype)
    x[3] = 7
    if x.dtype.kind == "f":
        x[5], x[6, [9, 70, 204]], x[7] = np.inf, np.nan, -np.inf
        x[8] = np.nan
    for axis in (0, 1):
        (found,) = compiled(REGISTRY[name], (x,), {"axis": axis})([x])
        assert np.array_equal(found, getattr(np, name)(x, axis))


def test_the_last_nan_of_long_rows() -> None:
    x = np.random.default_rng(0).integers(0, 5, (6, 300)).astype(np.float32)
    x[1, [3, 44, 170]], x[2, 299], x[3] = np.nan, np.nan, -np.inf
    places = np.arange(1800).reshape(6, 300)
    places[4, :100] = -1
    op = REGISTRY["place_of_maximum"]
    (found,) = compiled(op, (x, places), {"axes": (1,)})([x, places])
    assert np.array_equal(found, op.eval(x, places, axes=(1,)))


# --- nets ---------------------------------------------------------------------------------------------------------------


class Block(nn.Module):
    """The residual block of He et al. 2015."""

    def __init__(self, n: int, m: int, stride: int):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(n, m, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(m)
        self.conv2, self.norm2 = nn.Conv2d(m, m, 3, padding=1, bias=False), nn.BatchNorm2d(m)
        self.short = nn.Conv2d(n, m, 1, stride=stride)

    def forward(self, x: Any) -> Any:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.short(x))


def lenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 9, 10),
    )  # fmt: skip


def residual() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(3, 2, 1), Block(4, 8, 2), nn.AvgPool2d(2, 1),
        nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10),
    )  # fmt: skip


def losses(make: Any, backend: str) -> tuple[list[float], Any]:
    gc.manual_seed(0)
    net = make()
    optimizer = gc.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    rng = np.random.default_rng(1)
    x, y = gc.from_numpy(rng.normal(size=(6, 1, 12, 12)).astype(np.float32)), gc.from_numpy(rng.integers(0, 10, 6))

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss

    run = gc.compile(step, backend=backend)
    return [float(run(x, y)) for _ in range(6)], run


@pytest.mark.parametrize("make", [lenet, residual])
def test_training_is_native_and_equal(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    want, _ = losses(make, "numpy")
    made: list[LlvmExecutable] = []
    compile_ = LlvmBackend.compile

    def kept(self: Any, *args: Any) -> LlvmExecutable:
        made.append(compile_(self, *args))
        return made[-1]

    monkeypatch.setattr(LlvmBackend, "compile", kept)
    found, _ = losses(make, "llvm")
    np.testing.assert_allclose(found, want, rtol=2e-4)
    assert made and not any(HostStep in kinds(executable) for executable in made)


def test_pooling_of_all_kinds() -> None:
    def pools(x: Any) -> list[Any]:
        values, places = F.max_pool2d(x, 2, 2, return_indices=True)
        return [
            values, places, F.max_pool2d(x, 3, 1, 1), F.max_pool2d(x, 2, 1, 0, 2), F.avg_pool2d(x, 3, 2, 1),
            F.adaptive_max_pool2d(x, (5, 3)), F.adaptive_avg_pool2d(x, (5, 3)), F.max_pool2d(x, 3, 3, 1, ceil_mode=True),
        ]  # fmt: skip

    def both(x: Any) -> list[Any]:
        x = x.clone().requires_grad_()
        found = pools(x)
        sum((y * y).sum() for y in found if y.dtype is x.dtype).backward()
        return [*found, x.grad]

    x = gc.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 18, 14)).astype(np.float32))
    for found, want in zip(gc.compile(both, backend="llvm")(x), gc.compile(both, backend="numpy")(x), strict=True):
        np.testing.assert_allclose(found.detach().numpy(), want.detach().numpy(), rtol=1e-5, atol=1e-5)
