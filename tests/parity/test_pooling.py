"""Pooling and the norm layers beside PyTorch: values, places, gradients, layers' state and text, kinds of errors."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from nn_cases import f32, f64
from side_by_side import agree, compare, pair, refuse
from tolerances import assert_close

import graphc as gc
from graphc import nn

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

SPATIAL = (1, 2, 3)
SIZES = {1: (7,), 2: (7, 5), 3: (5, 4, 6)}
NAN = np.nan


def shapes(spatial: int) -> list[tuple[int, ...]]:
    """An input with and one without a batch."""
    return [(2, 3, *SIZES[spatial]), (2, *SIZES[spatial])]


def call(m: Any, name: str, spatial: int) -> Any:
    return getattr(m.nn.functional, name.format(f"{spatial}d"))


# --- maximum ----------------------------------------------------------------------------------------------------------


MAX_SETTINGS: list[dict[str, Any]] = [
    {"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1}, {"kernel_size": 2, "stride": 3, "ceil_mode": True},
    {"kernel_size": 3, "stride": 1, "dilation": 2}, {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
    {"kernel_size": 2, "stride": 2, "padding": 1, "dilation": 2, "ceil_mode": True}, {"kernel_size": 1, "stride": 2},
    {"kernel_size": [4], "stride": (), "padding": (1,)},
]  # fmt: skip


@pytest.mark.parametrize("spatial", SPATIAL)
@pytest.mark.parametrize("settings", MAX_SETTINGS, ids=str)
def test_max_pool(spatial: int, settings: dict[str, Any]) -> None:
    if spatial == 3 and settings == {"kernel_size": 3, "stride": 1, "dilation": 2}:
        settings = {"kernel_size": 2, "stride": 1, "dilation": 2}
    for shape in shapes(spatial):
        agree(torch, lambda m, x: call(m, "max_pool{}", spatial)(x, **settings), f64(*shape))
        agree(torch, lambda m, x: call(m, "max_pool{}", spatial)(x, return_indices=True, **settings), f32(*shape))
        agree(torch, lambda m, x: call(m, "max_pool{}_with_indices", spatial)(x, **settings), f64(*shape))


def test_sizes_for_each_dimension() -> None:
    agree(
        torch, lambda m, x: m.nn.functional.max_pool2d(x, (3, 2), (2, 1), (1, 0), (1, 2), True, True), f64(2, 2, 6, 5)
    )
    agree(torch, lambda m, x: m.nn.functional.avg_pool2d(x, (3, 2), (2, 1), (1, 1), True, False), f64(2, 2, 6, 5), n=6)
    agree(torch, lambda m, x: m.nn.functional.max_pool3d(x, (1, 2, 3), padding=(0, 1, 1)), f64(1, 2, 2, 4, 5))


def test_names_of_the_root() -> None:
    x = f64(2, 3, 7)
    agree(torch, lambda m, x: (m.max_pool1d(x, 2), m.avg_pool1d(x, 2), m.adaptive_avg_pool1d(x, 3)), x, n=4)
    agree(torch, lambda m, x: m.max_pool1d_with_indices(x, 3, 2, 1), x)
    agree(torch, lambda m, x: m.max_pool2d(x, 2), f64(2, 4, 4))
    agree(torch, lambda m, x: m.max_pool3d(x, 2), f64(2, 4, 4, 4))


@pytest.mark.parametrize("spatial", SPATIAL)
@pytest.mark.parametrize(
    "row", [[3, 3, 1, 3], [NAN, 1, NAN, 2], [1, NAN, NAN, 2], [-np.inf] * 4, [np.inf, 0, np.inf, 1]]
)
def test_ties_and_odd_numbers(spatial: int, row: list[float]) -> None:
    shape = (1, 1, *(1,) * (spatial - 1), 4)
    kernel = (*(1,) * (spatial - 1), 4)
    for dtype in (np.float32, np.float64, np.float16, ml_dtypes.bfloat16):
        x = np.array(row).reshape(shape).astype(dtype)
        agree(torch, lambda m, x: call(m, "max_pool{}", spatial)(x, kernel, return_indices=True), x)
        agree(torch, lambda m, x: call(m, "adaptive_max_pool{}", spatial)(x, 1, return_indices=True), x)


def test_ties_across_rows() -> None:
    x = np.array([[1.0, 2, 0, 2], [2, 1, NAN, 0], [2, NAN, 3, 3], [NAN, 0, 3, 3]])[None]
    for kernel, stride in itertools.product((2, 3, 4), (1, 2)):
        agree(torch, lambda m, x: m.nn.functional.max_pool2d(x, kernel, stride, 1, return_indices=True), x)  # noqa: B023


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.int32, np.int64])
def test_max_pool_of_integers(dtype: Any) -> None:
    x = np.random.default_rng(0).integers(0, 9, (2, 5, 6)).astype(dtype)
    agree(torch, lambda m, x: m.nn.functional.max_pool2d(x, 3, 2, 1, return_indices=True), x)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision(dtype: Any) -> None:
    x = f32(2, 3, 6, 6).astype(dtype)
    agree(torch, lambda m, x: m.nn.functional.max_pool2d(x, 2, return_indices=True), x)
    agree(torch, lambda m, x: m.nn.functional.avg_pool2d(x, 3, 2, 1), x, n=9)
    agree(torch, lambda m, x: m.nn.functional.adaptive_avg_pool2d(x, (4, 1)), x, n=12)
    agree(torch, lambda m, x: m.nn.functional.adaptive_max_pool2d(x, (4, 2)), x)


def test_empty_batches() -> None:
    for code in (
        lambda m, x: m.nn.functional.max_pool2d(x, 2, return_indices=True),
        lambda m, x: m.nn.functional.avg_pool2d(x, 2, padding=1, count_include_pad=False),
        lambda m, x: m.nn.functional.adaptive_avg_pool2d(x, (3, 2)),
        lambda m, x: m.nn.functional.adaptive_max_pool2d(x, (3, 2)),
    ):
        agree(torch, code, np.zeros((0, 3, 4, 4)))


# --- mean and norm ----------------------------------------------------------------------------------------------------


AVG_SETTINGS: list[dict[str, Any]] = [
    {"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1}, {"kernel_size": 2, "stride": 3, "ceil_mode": True},
    {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}, {"kernel_size": 4, "stride": 3, "ceil_mode": True},
    {"kernel_size": [4], "stride": 1, "padding": (2,)},
]  # fmt: skip


@pytest.mark.parametrize("spatial", SPATIAL)
@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("settings", AVG_SETTINGS, ids=str)
def test_avg_pool(spatial: int, settings: dict[str, Any], padded: bool) -> None:
    for shape in shapes(spatial):
        agree(
            torch,
            lambda m, x: call(m, "avg_pool{}", spatial)(x, count_include_pad=padded, **settings),
            f64(*shape),
            n=27,
        )
    if spatial > 1:
        settings = settings | {"divisor_override": 5}
        agree(
            torch,
            lambda m, x: call(m, "avg_pool{}", spatial)(x, count_include_pad=padded, **settings),
            f64(*shape),
            n=27,
        )


def test_avg_pool_of_integers_rounds_towards_zero() -> None:
    x = np.random.default_rng(0).integers(-9, 9, (2, 5, 6))
    agree(torch, lambda m, x: m.nn.functional.avg_pool2d(x, 2, 2, 1), x)
    agree(torch, lambda m, x: m.nn.functional.avg_pool2d(x, 2, 2, 1, count_include_pad=False), x)


@pytest.mark.parametrize("spatial", SPATIAL)
@pytest.mark.parametrize("p", [1, 2, 3.0])
def test_lp_pool(spatial: int, p: float) -> None:
    for shape, ceil_mode in itertools.product(shapes(spatial), (False, True)):
        agree(
            torch,
            lambda m, x: call(m, "lp_pool{}", spatial)(x.abs(), p, 3, 2, ceil_mode),  # noqa: B023
            f64(*shape),
            n=81,
        )
    agree(torch, lambda m, x: call(m, "lp_pool{}", spatial)(x, p, 2), np.zeros((1, 1, *(4,) * spatial)))
    agree(torch, lambda m, x: call(m, "lp_pool{}", spatial)(x, 2, 2), np.ones((1, 1, *(4,) * spatial), np.int64))


# --- adaptive ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spatial", SPATIAL)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 0])
def test_adaptive_pools(spatial: int, size: int) -> None:
    grad = size > 0  # PyTorch has no gradient of nothing
    for shape in shapes(spatial):
        agree(torch, lambda m, x: call(m, "adaptive_avg_pool{}", spatial)(x, size), f64(*shape), grad=grad, n=64)
        agree(torch, lambda m, x: call(m, "adaptive_max_pool{}", spatial)(x, size), f64(*shape), grad=grad)
        agree(
            torch,
            lambda m, x: call(m, "adaptive_max_pool{}", spatial)(x, size, return_indices=True),
            f32(*shape),
            grad=grad,
        )
        agree(torch, lambda m, x: call(m, "adaptive_max_pool{}_with_indices", spatial)(x, size), f64(*shape), grad=grad)


@pytest.mark.parametrize("sizes", [(None, 2), (3, None), (None, None), (7, 4), (1, 5), (7, 5)])
def test_adaptive_sizes_for_each_dimension(sizes: tuple[Any, ...]) -> None:
    agree(torch, lambda m, x: m.nn.functional.adaptive_avg_pool2d(x, sizes), f64(2, 3, 7, 5), n=35)
    agree(torch, lambda m, x: m.nn.functional.adaptive_max_pool2d(x, sizes, True), f64(2, 3, 7, 5))


def test_adaptive_pools_of_odd_numbers() -> None:
    x = f64(2, 7, 5)
    x[0, 2, 3], x[1, 4, 0], x[1, 4, 4] = np.inf, np.nan, -np.inf
    for sizes in ((2, 3), (7, 5), (4, 2), (1, 1)):
        agree(torch, lambda m, x: m.nn.functional.adaptive_max_pool2d(x, sizes, True), x)  # noqa: B023
        agree(torch, lambda m, x: m.nn.functional.adaptive_avg_pool2d(x, sizes), x, n=35, grad=False)  # noqa: B023


# --- the way back -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spatial", SPATIAL)
def test_max_unpool(spatial: int) -> None:
    def code(m: Any, x: Any, output_size: Any = None, **settings: Any) -> Any:
        values, indices = call(m, "max_pool{}", spatial)(x, return_indices=True, **settings)
        return call(m, "max_unpool{}", spatial)(values, indices, **settings, output_size=output_size)

    for shape in ((2, 3, *(6,) * spatial), (2, *(6,) * spatial)):
        agree(torch, lambda m, x: code(m, x, kernel_size=2), f64(*shape))
        agree(torch, lambda m, x: code(m, x, (7,) * spatial, kernel_size=2), f64(*shape))
        agree(torch, lambda m, x: code(m, x, (1, 1, *(7,) * spatial), kernel_size=2, stride=2), f64(*shape))
    agree(torch, lambda m, x: code(m, x, kernel_size=2, stride=2, padding=1), f64(2, 3, *(6,) * spatial))


# --- layers -----------------------------------------------------------------------------------------------------------


LAYERS = {
    "MaxPool1d(2)": (2, 3, 7), "MaxPool2d(3, 2, 1)": (2, 3, 7, 5), "MaxPool3d(2, ceil_mode=True)": (2, 3, 5, 4, 3),
    "MaxPool2d((2, 3), dilation=(1, 1), return_indices=True)": (3, 7, 5), "AvgPool1d(3, 2, 1)": (2, 3, 7),
    "AvgPool1d((2,))": (2, 7), "AvgPool2d(3, padding=1, count_include_pad=False)": (2, 3, 7, 5),
    "AvgPool2d((2, 3), divisor_override=4)": (2, 3, 7, 5), "AvgPool3d(2, ceil_mode=True)": (2, 3, 5, 4, 3),
    "AdaptiveAvgPool1d(3)": (2, 3, 7), "AdaptiveAvgPool2d((None, 2))": (2, 3, 7, 5), "AdaptiveAvgPool3d(2)": (2, 5, 4, 3),
    "AdaptiveMaxPool1d(3, return_indices=True)": (2, 3, 7), "AdaptiveMaxPool2d((3, 2))": (2, 3, 7, 5),
    "AdaptiveMaxPool3d((2, 2, 3), True)": (2, 5, 4, 3), "LPPool1d(2, 3)": (2, 3, 7),
    "LPPool2d(2.0, (2, 3), 2, True)": (3, 7, 5), "LPPool3d(1, 2)": (2, 3, 5, 4, 3),
    "LocalResponseNorm(3)": (2, 5, 4), "LocalResponseNorm(2, 0.5, 0.6, 2.0)": (2, 5, 4, 3),
}  # fmt: skip


def made(text: str) -> tuple[Any, Any]:
    """The same layer of both libraries."""
    ours, theirs = eval("nn." + text), eval("torch.nn." + text)
    assert repr(ours) == repr(theirs)
    assert {k for k in vars(theirs) if not k.startswith("_")} <= set(vars(ours))
    return ours, theirs


@pytest.mark.parametrize("text", LAYERS)
def test_layers(text: str) -> None:
    ours, theirs = made(text)
    agree(torch, lambda m, x: (ours if m is gc else theirs)(x.abs()), f64(*LAYERS[text]), n=27)


@pytest.mark.parametrize("spatial", SPATIAL)
def test_unpooling_layers(spatial: int) -> None:
    ours, theirs = made(f"MaxUnpool{spatial}d(2)")
    made(f"MaxUnpool{spatial}d(3, 2, 1)")

    def code(m: Any, x: Any) -> Any:
        pooled = getattr(m.nn, f"MaxPool{spatial}d")(2, return_indices=True)(x)
        return (ours if m is gc else theirs)(*pooled, output_size=x.shape)

    agree(torch, code, f64(2, 3, *(7,) * spatial))


NORMS = {
    "InstanceNorm1d(3)": (2, 3, 5), "InstanceNorm1d(3, affine=True)": (3, 5), "InstanceNorm2d(3, eps=0.1)": (2, 3, 4, 5),
    "InstanceNorm2d(3, momentum=0.3, affine=True, track_running_stats=True)": (2, 3, 4, 5),
    "InstanceNorm2d(3, momentum=None, track_running_stats=True)": (2, 3, 4, 5),
    "InstanceNorm2d(3, affine=True, bias=False)": (2, 3, 4, 5), "InstanceNorm3d(2, track_running_stats=True)": (2, 3, 2, 4),
    "BatchNorm2d(3, momentum=None)": (2, 3, 4, 5), "BatchNorm2d(3, affine=False)": (2, 3, 4, 5),
    "BatchNorm3d(2, track_running_stats=False)": (2, 2, 3, 2, 2), "BatchNorm1d(3, bias=False)": (2, 3, 4),
    "GroupNorm(3, 6)": (2, 6, 4, 3), "GroupNorm(1, 4, bias=False)": (2, 4, 3), "LayerNorm((4, 3))": (2, 6, 4, 3),
    "RMSNorm(3)": (2, 6, 3),
}  # fmt: skip


@pytest.mark.parametrize("text", NORMS)
def test_norm_layers_in_training_and_evaluation(text: str) -> None:
    ours, theirs = made(text)
    start = {k: np.asarray(v.numpy()) for k, v in theirs.state_dict().items()}
    assert list(ours.state_dict()) == list(start)
    ours.load_state_dict({k: gc.tensor(v.copy()) for k, v in start.items()})
    shape = NORMS[text]
    if "InstanceNorm3d" in text:
        shape = (2, *shape)
    for mode, seed in (("train", 0), ("train", 1), ("eval", 2)):
        getattr(ours, mode)(), getattr(theirs, mode)()
        agree(torch, lambda m, x: (ours if m is gc else theirs)(x), f32(*shape, seed=seed) * 2 + 1, n=64, scale=8.0)
        for key, value in theirs.state_dict().items():
            assert_close(ours.state_dict()[key], value, n=64, what=key)
    for layer in (ours, theirs):
        if hasattr(layer, "reset_running_stats"):
            layer.reset_running_stats()
        layer.reset_parameters()
    for key, value in theirs.state_dict().items():
        assert_close(ours.state_dict()[key], value, what=key)


def test_norm_functions() -> None:
    stats = (np.array([0.5, -1.0, 0.0]), np.array([1.0, 2.0, 0.5]))

    def kept(m: Any, x: Any, mean: Any, var: Any) -> Any:
        mean, var = mean.detach().clone(), var.detach().clone()
        out = m.nn.functional.instance_norm(x, mean, var, momentum=0.2)
        return out, mean, var, m.nn.functional.instance_norm(x, mean, var, use_input_stats=False)

    agree(torch, kept, f64(2, 3, 4), *stats, n=24)
    for size in (1, 2, 3, 7):
        agree(torch, lambda m, x: m.nn.functional.local_response_norm(x, size, 0.3), f64(2, 5, 4), n=8)  # noqa: B023
    agree(torch, lambda m, x: m.nn.functional.local_response_norm(x, 2), f32(1, 5, 4).astype(np.float16), n=8)
    agree(torch, lambda m, x: m.nn.functional.local_response_norm(x, 2), f64(1, 5, 4, 2, 3, 2), n=8)
    agree(torch, lambda m, x: m.nn.functional.local_response_norm(x, 2), np.zeros((0, 3, 4)))


def test_an_old_file_of_an_instance_norm_is_refused() -> None:
    state = {"running_mean": np.zeros(3, np.float32), "running_var": np.ones(3, np.float32)}
    for m in (gc, torch):
        with pytest.raises(RuntimeError, match=r"Unexpected running stats buffer"):
            m.nn.InstanceNorm1d(3).load_state_dict({k: m.tensor(v.tolist()) for k, v in state.items()})
        m.nn.InstanceNorm1d(3, track_running_stats=True).load_state_dict({k: m.tensor(v) for k, v in state.items()})


def test_another_number_of_channels_warns_where_it_does_not_matter() -> None:
    for m in (gc, torch):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(UserWarning, match="does not match num_features"):
                m.nn.InstanceNorm1d(4)(m.zeros(2, 3, 5))
    a, b = pair(torch, f32(2, 3, 5))
    compare(nn.InstanceNorm1d(4)(a), torch.nn.InstanceNorm1d(4)(b), n=5)


# --- what is refused --------------------------------------------------------------------------------------------------


X = {spatial: np.ones((2, 3, *(6,) * spatial)) for spatial in SPATIAL}
REFUSED: dict[str, Any] = {
    "kernel 0": lambda f, x: f(x, 0),
    "kernel negative": lambda f, x: f(x, -2),
    "stride 0": lambda f, x: f(x, 2, 0),
    "padding too large": lambda f, x: f(x, 2, 2, 2),
    "padding negative": lambda f, x: f(x, 2, 2, -1),
    "kernel too long": lambda f, x: f(x, (2,) * 5),
    "stride too long": lambda f, x: f(x, 2, (2,) * 5),
    "padding too long": lambda f, x: f(x, 2, 2, (1,) * 5),
    "kernel float": lambda f, x: f(x, 2.0),
    "kernel None": lambda f, x: f(x, None),
    "kernel text": lambda f, x: f(x, "2"),
    "kernel bool": lambda f, x: f(x, True),
    "kernel beyond the input": lambda f, x: f(x, 9),
    "too many dimensions": lambda f, x: f(x[None], 2),
    "too few dimensions": lambda f, x: f(x[0, 0], 2),
    "none": lambda f, x: f(x.sum(), 2),
    "no channel": lambda f, x: f(x[:, :0], 2),
    "no element": lambda f, x: f(x[..., :0], 2),
    "no tensor": lambda f, x: f(3, 2),
    "bools": lambda f, x: f(x > 0, 2),
}  # fmt: skip


@pytest.mark.parametrize("spatial", SPATIAL)
@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("name", ["max_pool{}", "avg_pool{}"])
def test_refused_windows(name: str, case: str, spatial: int) -> None:
    refuse(torch, lambda m, x: REFUSED[case](call(m, name, spatial), x), X[spatial])


ADAPTIVE_REFUSED: dict[str, Any] = {
    "negative": lambda f, x: f(x, -1),
    "too long": lambda f, x: f(x, (2,) * 4),
    "much too long": lambda f, x: f(x, (2,) * 5),
    "None": lambda f, x: f(x, None),
    "float": lambda f, x: f(x, 2.5),
    "too many dimensions": lambda f, x: f(x[None], 2),
    "too few dimensions": lambda f, x: f(x[0, 0], 2),
    "no element": lambda f, x: f(x[..., :0], 2),
    "integers": lambda f, x: f(x.int(), 2),
}  # fmt: skip


@pytest.mark.parametrize("spatial", SPATIAL)
@pytest.mark.parametrize("case", ADAPTIVE_REFUSED)
@pytest.mark.parametrize("name", ["adaptive_max_pool{}", "adaptive_avg_pool{}"])
def test_refused_adaptive_windows(name: str, case: str, spatial: int) -> None:
    refuse(torch, lambda m, x: ADAPTIVE_REFUSED[case](call(m, name, spatial), x), X[spatial])


@pytest.mark.parametrize("spatial", SPATIAL)
def test_refused_settings(spatial: int) -> None:
    refuse(torch, lambda m, x: call(m, "max_pool{}", spatial)(x, 2, dilation=0), X[spatial])
    if spatial > 1:
        refuse(torch, lambda m, x: call(m, "avg_pool{}", spatial)(x, 2, divisor_override=0), X[spatial])
    refuse(torch, lambda m, x: call(m, "lp_pool{}", spatial)(x, 0, 2), X[spatial])


@pytest.mark.parametrize("spatial", SPATIAL)
def test_refused_unpooling(spatial: int) -> None:
    def code(change: Any, **settings: Any) -> Any:
        def run(m: Any, x: Any) -> Any:
            values, indices = call(m, "max_pool{}", spatial)(x, 2, return_indices=True)
            return call(m, "max_unpool{}", spatial)(*change(values, indices), 2, **settings)

        return run

    refuse(torch, code(lambda x, i: (x, i.int())), X[spatial])
    refuse(torch, code(lambda x, i: (x, i[:1])), X[spatial])
    refuse(torch, code(lambda x, i: (x, i[..., :1])), X[spatial])
    refuse(torch, code(lambda x, i: (x, i + 6**spatial)), X[spatial])
    refuse(torch, code(lambda x, i: (x, i - 6**spatial)), X[spatial])
    refuse(torch, code(lambda x, i: (x[0, 0], i[0, 0])), X[spatial])
    refuse(torch, code(lambda x, i: (x[..., :0], i[..., :0])), X[spatial])
    refuse(torch, code(lambda x, i: (x.int(), i)), X[spatial])
    for sizes in ((9,) * spatial, (4,) * spatial, (6,) * (spatial + 1)):
        refuse(torch, code(lambda x, i: (x, i), output_size=sizes), X[spatial])


NORMS_REFUSED: dict[str, Any] = {
    "instance: one element": lambda m: m.nn.InstanceNorm1d(3)(m.zeros(2, 3, 1)),
    "instance: dimensions": lambda m: m.nn.InstanceNorm2d(3)(m.zeros(2, 3)),
    "instance: channels": lambda m: m.nn.InstanceNorm1d(4, affine=True)(m.zeros(2, 3, 5)),
    "instance: no spatial dimension": lambda m: m.nn.functional.instance_norm(m.zeros(2, 3)),
    "instance: one statistic": lambda m: m.nn.functional.instance_norm(m.zeros(2, 3, 4), m.zeros(3)),
    "instance: statistics": lambda m: m.nn.functional.instance_norm(m.zeros(2, 3, 4), m.zeros(2), m.ones(2)),
    "instance: weight": lambda m: m.nn.functional.instance_norm(m.zeros(2, 3, 4), weight=m.ones(2)),
    "instance: none": lambda m: m.nn.functional.instance_norm(m.zeros(2, 3, 4), use_input_stats=False),
    "batch: dimensions": lambda m: m.nn.functional.batch_norm(m.zeros(3), None, None, training=True),
    "batch: statistics": lambda m: m.nn.functional.batch_norm(m.zeros(2, 3), m.zeros(2), m.ones(2)),
    "batch: 3d": lambda m: m.nn.BatchNorm3d(3)(m.zeros(2, 3, 4, 5)),
    "group: weight": lambda m: m.nn.functional.group_norm(m.zeros(2, 4, 3), 2, m.ones(1)),
    "group: channels": lambda m: m.nn.functional.group_norm(m.zeros(2, 4, 3), 3),
    "response: dimensions": lambda m: m.nn.functional.local_response_norm(m.zeros(2, 3), 2),
    "response: size": lambda m: m.nn.functional.local_response_norm(m.zeros(2, 3, 4), 0),
}  # fmt: skip


@pytest.mark.parametrize("case", NORMS_REFUSED)
def test_refused_norms(case: str) -> None:
    refuse(torch, NORMS_REFUSED[case])
