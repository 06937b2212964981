"""Convolutions, their transposes, unfold and fold against PyTorch: results, gradients, layers and kinds of errors."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from nn_cases import f32, f64
from side_by_side import agree, compare, pair, refuse
from test_nn import both, check_layer

import graphc as gc
from graphc.nn import functional as F

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]


def fn(module):
    """`nn.functional` of either library."""
    return F if module is gc else torch.nn.functional


SIZES = {1: (9,), 2: (9, 8), 3: (6, 7, 5)}
KERNELS = {1: (3,), 2: (3, 2), 3: (2, 3, 2)}
SETTINGS = {
    "plain": {},
    "stride": {"stride": 2},
    "padding": {"padding": 2},
    "dilation": {"dilation": 2},
    "groups": {"groups": 2},
    "all": {"stride": 2, "padding": 1, "dilation": 2, "groups": 2},
    "same": {"padding": "same", "dilation": 2},
    "valid": {"padding": "valid", "stride": 3},
    "list of one": {"stride": [2], "padding": (1,), "dilation": [1]},
}


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("setting", SETTINGS)
def test_convolutions(dims, setting):
    options, groups = SETTINGS[setting], SETTINGS[setting].get("groups", 1)
    x, w, b = f64(2, 4, *SIZES[dims]), f64(6, 4 // groups, *KERNELS[dims], seed=1), f64(6, seed=2)
    name = f"conv{dims}d"
    agree(torch, lambda m, x, w, b: getattr(fn(m), name)(x, w, b, **options), x, w, b, n=400)
    agree(torch, lambda m, x, w: getattr(m, name)(x, w, **options), x.astype(np.float32), w.astype(np.float32), n=400)
    agree(torch, lambda m, x, w, b: getattr(fn(m), name)(x, w, b, **options), x[0], w, b, n=400)


TRANSPOSED = {
    "plain": {},
    "stride": {"stride": 2},
    "padding": {"padding": 1},
    "dilation": {"dilation": 2},
    "groups": {"groups": 2},
    "output padding": {"stride": 3, "output_padding": 2},
    "output padding beyond the stride": {"stride": 2, "dilation": 4, "output_padding": 3},
    "all": {"stride": 3, "padding": 1, "output_padding": 1, "dilation": 2, "groups": 2},
}


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("setting", TRANSPOSED)
def test_transposed_convolutions(dims, setting):
    options, groups = TRANSPOSED[setting], TRANSPOSED[setting].get("groups", 1)
    x, w, b = f64(2, 4, *KERNELS[dims]), f64(4, 3, *KERNELS[dims], seed=1), f64(3 * groups, seed=2)
    name = f"conv_transpose{dims}d"
    agree(torch, lambda m, x, w, b: getattr(fn(m), name)(x, w, b, **options), x, w, b, n=400)
    agree(torch, lambda m, x, w: getattr(m, name)(x, w, **options), x.astype(np.float32), w.astype(np.float32), n=400)
    agree(torch, lambda m, x, w, b: getattr(fn(m), name)(x, w, b, **options), x[0], w, b, n=400)


def test_different_settings_for_each_dimension():
    x, w = f64(2, 4, 9, 8), f64(6, 2, 3, 2, seed=1)
    agree(torch, lambda m, x, w: fn(m).conv2d(x, w, None, (2, 1), (0, 3), (1, 4), 2), x, w, n=400)
    agree(torch, lambda m, x, w: fn(m).conv2d(x, w, None, 1, "same", (2, 3), 2), x, w, n=400)
    x, w = f64(2, 4, 3, 4), f64(4, 3, 3, 2, seed=1)
    agree(torch, lambda m, x, w: fn(m).conv_transpose2d(x, w, None, (2, 3), (1, 0), (1, 2), 2, (1, 3)), x, w, n=400)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_halves(dtype):
    x, w = f32(2, 3, 6, 6).astype(dtype), f32(4, 3, 3, 3, seed=1).astype(dtype)
    agree(torch, lambda m, x, w: fn(m).conv2d(x, w, padding=1), x, w, n=30, scale=16.0)
    x, w = f32(2, 3, 3, 3).astype(dtype), f32(3, 2, 3, 3, seed=1).astype(dtype)
    agree(torch, lambda m, x, w: fn(m).conv_transpose2d(x, w, stride=2), x, w, n=30, scale=16.0)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.int32, np.int64])
def test_whole_numbers(dtype):
    x, w = np.arange(50).reshape(1, 2, 5, 5).astype(dtype), np.arange(24).reshape(3, 2, 2, 2).astype(dtype)
    agree(torch, lambda m, x, w: fn(m).conv2d(x, w, stride=2, padding=1), x, w)
    if dtype is np.int64:
        agree(torch, lambda m, x, w: fn(m).conv_transpose2d(x, w, stride=2), x[:, :1], w[:1])


def test_no_samples():
    agree(torch, lambda m, x, w: fn(m).conv2d(x, w, padding=1), f64(0, 2, 5, 5), f64(3, 2, 3, 3))
    agree(torch, lambda m, x, w: fn(m).conv_transpose2d(x, w), f64(0, 2, 5, 5), f64(2, 3, 3, 3))
    agree(torch, lambda m, x: fn(m).unfold(x, 2), f64(0, 2, 5, 5), grad=False)


def test_second_derivatives():
    def twice(m, x, w, b):
        out = fn(m).conv2d(x, w, b, stride=2, padding=1).tanh()
        first = m.autograd.grad((out * out).sum(), [x, w, b], create_graph=True)
        return m.autograd.grad(sum((g * g).sum() for g in first), [x, w, b])

    x, w, b = f64(2, 2, 5, 4), f64(3, 2, 3, 2, seed=1), f64(3, seed=2)
    agree(torch, twice, x, w, b, n=4000)


WINDOWS = [
    ((2, 3, 7, 8), (2,), {}),
    ((2, 3, 7, 8), ((3, 2),), {"dilation": 2, "padding": 1, "stride": (1, 2)}),
    ((3, 7, 8), ((2, 3), (2, 1), (0, 1), (2, 1)), {}),
    ((1, 2, 6, 6), (3,), {"stride": 3}),
    ((2, 2, 4, 4), (1,), {}),
    ((2, 2, 4, 5), ((4, 5),), {}),
]


@pytest.mark.parametrize("case", WINDOWS)
def test_unfold_and_fold(case):
    shape, args, options = case
    agree(torch, lambda m, x: fn(m).unfold(x, *args, **options), f64(*shape), n=32)
    columns = torch.nn.functional.unfold(torch.zeros(*shape), *args, **options).shape
    size = shape[-2:]
    agree(torch, lambda m, x: fn(m).fold(x, size, *args, **options), f64(*columns), n=64)


def test_unfold_of_bools():
    agree(torch, lambda m, x: fn(m).unfold(x, 2), f64(1, 2, 3, 3) > 0)


IMAGES = f32(2, 4, 9, 8)
LAYERS = {
    "Conv1d(4, 6, 3)": f32(2, 4, 9),
    "Conv1d(4, 6, 4, padding='same', groups=2)": f32(2, 4, 9),
    "Conv1d(4, 6, 3, 2, 3, padding_mode='circular', bias=False)": f32(2, 4, 9),
    "Conv2d(4, 6, 3)": IMAGES,
    "Conv2d(4, 6, (3, 2), 2, (1, 0), 2, 2, False)": IMAGES,
    "Conv2d(4, 6, 3, padding=(2, 1), padding_mode='reflect')": IMAGES,
    "Conv2d(4, 6, (3, 4), padding='same', padding_mode='replicate')": IMAGES,
    "Conv2d(4, 6, 3, padding='valid', padding_mode='circular')": IMAGES,
    "Conv3d(2, 3, 2, padding=1, stride=(1, 2, 1))": f32(2, 2, 3, 4, 5),
    "Conv3d(2, 3, (1, 2, 3), padding=1, padding_mode='replicate')": f32(2, 2, 3, 4, 5),
    "ConvTranspose1d(4, 6, 3, 2, output_padding=1)": f32(2, 4, 5),
    "ConvTranspose2d(4, 6, (3, 2), 2, 1, (1, 0), 2, False, 2)": IMAGES,
    "ConvTranspose3d(2, 3, 2, 2)": f32(2, 2, 3, 2, 2),
    "Unfold((3, 2), dilation=2, padding=1, stride=(1, 2))": IMAGES,
    "Fold((9, 8), (2, 1))": f32(2, 4, 64),
    "Fold(5, 2, 1, 0, 1)": f32(2, 4, 16),
}


@pytest.mark.parametrize("text", LAYERS)
def test_layers(text):
    check_layer(lambda n: eval("n." + text, {"n": n}), LAYERS[text], n=400)
    ours, theirs = both(lambda n: eval("n." + text, {"n": n}))
    public = {k: v for k, v in vars(theirs).items() if not k.startswith("_")}
    assert {k: getattr(ours, k) for k in public} == public
    a, b = pair(torch, LAYERS[text][0])
    compare(ours(a), theirs(b), n=400)


@pytest.mark.parametrize("size", [(9, 9), (10, 9), [2, 3, 9, 10]])
def test_transposed_layers_reach_a_size(size):
    ours, theirs = both(lambda n: n.ConvTranspose2d(2, 3, 3, stride=2))
    a, b = pair(torch, f32(2, 2, 4, 4))
    compare(ours(a, output_size=size), theirs(b, output_size=size), n=64)


X, W, V = f64(1, 2, 5, 5), f64(3, 2, 3, 3), f64(2, 3, 3, 3)
REFUSED = {
    "bools": (lambda m, x, w: fn(m).conv2d(x > 0, w > 0), X, W),
    "dtypes": (lambda m, x, w: fn(m).conv2d(x.float(), w), X, W),
    "bias dtype": (lambda m, x, w: fn(m).conv2d(x, w, m.zeros(3, dtype=m.float32)), X, W),
    "five dims": (lambda m, x, w: fn(m).conv2d(x, w), X[None], W),
    "weight dims": (lambda m, x, w: fn(m).conv2d(x, w), X, W[0]),
    "channels": (lambda m, x, w: fn(m).conv2d(x, w), f64(1, 4, 5, 5), W),
    "groups": (lambda m, x, w: fn(m).conv2d(x, w, groups=2), f64(1, 4, 5, 5), W),
    "no groups": (lambda m, x, w: fn(m).conv2d(x, w, groups=0), X, W),
    "small": (lambda m, x, w: fn(m).conv2d(x, w), X[..., :2], W),
    "stride": (lambda m, x, w: fn(m).conv2d(x, w, stride=0), X, W),
    "strides": (lambda m, x, w: fn(m).conv2d(x, w, stride=(1, 1, 1)), X, W),
    "float stride": (lambda m, x, w: fn(m).conv2d(x, w, stride=1.5), X, W),
    "bool stride": (lambda m, x, w: fn(m).conv2d(x, w, stride=True), X, W),
    "padding": (lambda m, x, w: fn(m).conv2d(x, w, padding=-1), X, W),
    "padding name": (lambda m, x, w: fn(m).conv2d(x, w, padding="full"), X, W),
    "same": (lambda m, x, w: fn(m).conv2d(x, w, padding="same", stride=2), X, W),
    "dilation": (lambda m, x, w: fn(m).conv2d(x, w, dilation=0), X, W),
    "bias": (lambda m, x, w: fn(m).conv2d(x, w, m.zeros(4, dtype=m.float64)), X, W),
    "list": (lambda m, x, w: fn(m).conv2d([1.0], w), X, W),
    "no outputs": (lambda m, x, w: fn(m).conv2d(x, w[:0]), X, W),
    "no kernel": (lambda m, x, w: fn(m).conv2d(x, w[:, :, :0]), X, W),
    "transposed dims": (lambda m, x, w: fn(m).conv_transpose2d(x, w), X[None], V),
    "transposed channels": (lambda m, x, w: fn(m).conv_transpose2d(x, w), f64(1, 4, 5, 5), V),
    "transposed groups": (lambda m, x, w: fn(m).conv_transpose2d(x, w, groups=2), f64(1, 3, 5, 5), W),
    "output padding": (lambda m, x, w: fn(m).conv_transpose2d(x, w, output_padding=1), X, V),
    "negative extra": (lambda m, x, w: fn(m).conv_transpose2d(x, w, stride=2, output_padding=-1), X, V),
    "nothing left": (lambda m, x, w: fn(m).conv_transpose2d(x, w, padding=2), X[..., :1, :1], V),
    "transposed name": (lambda m, x, w: fn(m).conv_transpose2d(x, w, padding="same"), X, V),
    "transposed bias": (lambda m, x, w: fn(m).conv_transpose2d(x, w, m.zeros(2, dtype=m.float64)), X, V),
    "transposed stride": (lambda m, x, w: fn(m).conv_transpose2d(x, w, stride=0), X, V),
    "transposed dilation": (lambda m, x, w: fn(m).conv_transpose2d(x, w, dilation=0), X, V),
    "unfold two dims": (lambda m, x: fn(m).unfold(x, 2), X[0, 0]),
    "unfold five dims": (lambda m, x: fn(m).unfold(x, 2), X[None]),
    "unfold large": (lambda m, x: fn(m).unfold(x, 6), X),
    "unfold kernel": (lambda m, x: fn(m).unfold(x, 0), X),
    "unfold stride": (lambda m, x: fn(m).unfold(x, 2, stride=0), X),
    "unfold dilation": (lambda m, x: fn(m).unfold(x, 2, dilation=0), X),
    "unfold padding": (lambda m, x: fn(m).unfold(x, 2, padding=-1), X),
    "unfold three": (lambda m, x: fn(m).unfold(x, (2, 2, 2)), X),
    "unfold one": (lambda m, x: fn(m).unfold(x, (2,)), X),
    "unfold float": (lambda m, x: fn(m).unfold(x, 2.0), X),
    "unfold list": (lambda m, x: fn(m).unfold([1.0], 2), X),
    "unfold no channels": (lambda m, x: fn(m).unfold(x[:, :0], 2), X),
    "fold dims": (lambda m, x: fn(m).fold(x, 5, 2), X),
    "fold channels": (lambda m, x: fn(m).fold(x, 5, 2), f64(1, 7, 16)),
    "fold columns": (lambda m, x: fn(m).fold(x, 5, 2), f64(1, 8, 15)),
    "fold small": (lambda m, x: fn(m).fold(x, 1, 2), f64(1, 8, 16)),
    "fold three": (lambda m, x: fn(m).fold(x, (5, 5, 5), 2), f64(1, 8, 16)),
    "layer groups in": (lambda m, x: m.nn.Conv2d(3, 4, 3, groups=2), X),
    "layer groups out": (lambda m, x: m.nn.Conv2d(4, 3, 3, groups=2), X),
    "layer no groups": (lambda m, x: m.nn.Conv2d(4, 4, 3, groups=0), X),
    "layer mode": (lambda m, x: m.nn.Conv2d(4, 4, 3, padding_mode="wrap"), X),
    "layer padding": (lambda m, x: m.nn.Conv2d(4, 4, 3, padding="full"), X),
    "layer same": (lambda m, x: m.nn.Conv2d(4, 4, 3, padding="same", stride=2), X),
    "layer kernel": (lambda m, x: m.nn.Conv2d(2, 4, (3, 3, 3))(x.float()), X),
    "layer input": (lambda m, x: m.nn.Conv2d(2, 4, 3)(x[0, 0].float()), X),
    "layer reflects too far": (lambda m, x: m.nn.Conv2d(2, 4, 3, padding=5, padding_mode="reflect")(x.float()), X),
    "transposed mode": (lambda m, x: m.nn.ConvTranspose2d(4, 4, 3, padding_mode="reflect"), X),
    "transposed too large": (lambda m, x: m.nn.ConvTranspose2d(2, 3, 3, 2)(x.float(), output_size=(13, 13)), X),
    "transposed sizes": (lambda m, x: m.nn.ConvTranspose2d(2, 3, 3, 2)(x.float(), output_size=(11,)), X),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    code, *arrays = REFUSED[name]
    refuse(torch, code, *arrays)
