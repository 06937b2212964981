"""Convolution layers: equal through all doors with unknown sizes, differentiable twice, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from layer_cases import CONVOLUTIONS as LAYERS
from layer_cases import normal
from tolerances import as_array, assert_close

import graphc as gc
from graphc import nn
from graphc.gradcheck import gradcheck, gradgradcheck
from graphc.nn import functional as F


def made(text: str) -> Any:
    gc.manual_seed(3)
    return eval("nn." + text, {"nn": nn}).double()


def results(module: Any, x: Any) -> list[Any]:
    """The output, and the gradients of its square's sum with respect to the input and the parameters."""
    x = gc.tensor(x, requires_grad=True)
    module.zero_grad()
    out = module(x)
    (out * out).sum().backward()
    return [out.detach(), x.grad, *(p.grad for p in module.parameters())]


@pytest.mark.parametrize("text", LAYERS)
def test_eager_compiled_and_session_agree(text: str) -> None:
    module, x = made(text), LAYERS[text]
    expected = [as_array(y).copy() for y in results(module, x)]
    for a, b in zip(results(gc.compile(module), x), expected, strict=True):
        assert_close(a, b, n=256)
    fixed = (1, 2) if text.startswith("Fold") else (1,)  # dimensions that are part of the layer
    for known in (fixed, range(1, x.ndim)):
        graph = gc.Graph()
        with graph.as_default():
            feed = gc.placeholder(tuple(n if i in known else None for i, n in enumerate(x.shape)), dtype=gc.float64)
            out = module(feed)
            grads = gc.gradients((out * out).sum(), [feed, *module.parameters()])
        with gc.Session(graph) as session:
            for a, b in zip(session.run([out, *grads], {feed: x}), expected, strict=True):
                assert_close(a, b, n=256)
            assert_close(session.run(out, {feed: x[:1]}), expected[0][:1], n=256)


@pytest.mark.parametrize("text", LAYERS)
def test_gradients_are_finite_differences_twice(text: str) -> None:
    module, x = made(text), gc.tensor(LAYERS[text][:1], requires_grad=True)
    names, parameters = zip(*module.named_parameters(), strict=True) if list(module.parameters()) else ((), ())

    def run(x: Any, *parameters: Any) -> Any:
        module._parameters.update(zip(names, parameters, strict=True))
        return module(x)

    assert gradcheck(run, (x, *parameters))
    assert gradgradcheck(run, (x, *parameters))


@pytest.mark.parametrize("text", [t for t in LAYERS if not t.startswith("Fold")])
def test_without_a_batch(text: str) -> None:
    module, x = made(text), gc.tensor(LAYERS[text])
    assert_close(module(x[0]), module(x)[0], n=64)


def test_a_spatial_size_chosen_when_the_graph_runs() -> None:
    """The halves of an autoencoder meet again, for even and odd sizes."""
    down, up, graph = made("Conv1d(1, 2, 2, 2)"), made("ConvTranspose1d(2, 1, 2, 2)"), gc.Graph()
    with graph.as_default():
        x = gc.placeholder((None, 1, None), dtype=gc.float64)
        y = up(down(x), output_size=x.shape[2:])
        loss = ((y - x) ** 2).sum()
        (grad,) = gc.gradients(loss, [down.weight])
    with gc.Session(graph) as session:
        for size in (8, 9):
            data = normal(2, 1, size)
            eager = gc.tensor(data)
            again = up(down(eager), output_size=(size,))
            down.zero_grad()
            ((again - eager) ** 2).sum().backward()
            found = session.run([y, grad], {x: data})
            assert_close(found[0], again, n=64)
            assert_close(found[1], down.weight.grad, n=256)


def test_fold_adds_what_unfold_copied() -> None:
    x = gc.tensor(normal(2, 3, 6, 5))
    setting = {"kernel_size": (3, 2), "padding": 1, "stride": (2, 1)}
    counts = F.fold(F.unfold(gc.ones_like(x), **setting), (6, 5), **setting)
    assert_close(F.fold(F.unfold(x, **setting), (6, 5), **setting), counts * x, n=8)
    assert F.unfold(x, 1).flatten().data_ptr() != x.data_ptr()


def test_unfold_is_the_left_half_of_a_convolution() -> None:
    x, w = gc.tensor(normal(2, 3, 6, 5)), gc.tensor(normal(4, 3, 3, 2))
    by_hand = (w.reshape(4, -1) @ F.unfold(x, (3, 2), stride=2)).reshape(2, 4, 2, 2)
    assert_close(F.conv2d(x, w, stride=2), by_hand, n=64)


def test_infinities_stay_where_they_are() -> None:
    x = gc.zeros(1, 1, 3, 3)
    x[0, 0, 1, 1] = float("inf")
    assert int(F.unfold(x, 2).isnan().sum()) == 0
    assert F.fold(F.unfold(x, 2), 3, 2).isnan().sum().item() == 0


REFUSED = {
    "dimensions": (lambda x, w: F.conv2d(x[0, 0], w), RuntimeError, r"3D \(unbatched\) or 4D \(batched\) input to conv2d"),
    "weight": (lambda x, w: F.conv2d(x, w[0]), RuntimeError, "Expected 4-dimensional weight"),
    "channels": (lambda x, w: F.conv2d(x[:, :1], w), RuntimeError, "to have 2 channels, but got 1 channels"),
    "groups": (lambda x, w: F.conv2d(x, w, groups=2), RuntimeError, "divisible by 2"),
    "too small": (lambda x, w: F.conv2d(x[..., :1], w), RuntimeError, r"\(5 x 1\).*can't be greater"),
    "stride": (lambda x, w: F.conv2d(x, w, stride=0), RuntimeError, "non-positive stride"),
    "strides": (lambda x, w: F.conv2d(x, w, stride=(1, 1, 1)), RuntimeError, "a list of 2 values"),
    "same": (lambda x, w: F.conv2d(x, w, stride=2, padding="same"), RuntimeError, "not supported for strided"),
    "padding": (lambda x, w: F.conv2d(x, w, padding="full"), RuntimeError, "Invalid padding string: 'full'"),
    "bias": (lambda x, w: F.conv2d(x, w, gc.zeros(2)), RuntimeError, "expected bias to be 1-dimensional with 3 elements"),
    "bias of two": (lambda x, w: F.conv2d(x, w, gc.zeros(3, 1)), RuntimeError, "bias of size"),
    "bias dtype": (lambda x, w: F.conv2d(x, w, gc.zeros(3).double()), RuntimeError, "bias type .* should be the same"),
    "no outputs": (lambda x, w: F.conv2d(x, w[:0]), RuntimeError, "at least 1 at dimension 0"),
    "dtypes": (lambda x, w: F.conv2d(x.double(), w), RuntimeError, "expected scalar type"),
    "list": (lambda x, w: F.conv2d(x.tolist(), w), TypeError, "must be Tensor, not list"),
    "transposed dims": (lambda x, w: F.conv_transpose2d(x[0, 0], w), RuntimeError, "input to conv_transpose2d"),
    "transposed": (lambda x, w: F.conv_transpose2d(x, w), RuntimeError, "to have 3 channels, but got 2 channels"),
    "transposed groups": (lambda x, w: F.conv_transpose2d(x, w, groups=2), RuntimeError, "divisible by 2 at dimension 0"),
    "no groups": (lambda x, w: F.conv_transpose2d(x, w, groups=0), RuntimeError, "non-positive groups"),
    "transposed stride": (lambda x, w: F.conv_transpose2d(x, w, stride=0), RuntimeError, "non-positive stride"),
    "transposed dilation": (lambda x, w: F.conv_transpose2d(x, w, dilation=0), RuntimeError, "greater than zero"),
    "transposed padding": (lambda x, w: F.conv_transpose2d(x, w, padding="same"), TypeError, "not str"),
    "negative padding": (lambda x, w: F.conv_transpose2d(x, w, padding=-1), RuntimeError, "negative padding"),
    "output padding": (lambda x, w: F.conv_transpose2d(x, w, output_padding=1), RuntimeError, "must be smaller than"),
    "negative extra": (lambda x, w: F.conv_transpose2d(x, w, output_padding=-1), RuntimeError, "negative output_padding"),
    "nothing left": (lambda x, w: F.conv_transpose2d(x, w, padding=9), RuntimeError, "Output size is too small"),
    "unfold dims": (lambda x, w: F.unfold(x[None], 2), RuntimeError, "Expected 3D or 4D"),
    "unfold few dims": (lambda x, w: F.unfold(x[0, 0], 2), IndexError, "dimensions of an image are missing"),
    "unfold kernel": (lambda x, w: F.unfold(x, 0), RuntimeError, "kernel size should be greater than zero"),
    "unfold padding": (lambda x, w: F.unfold(x, 2, padding=-1), RuntimeError, "padding should be non-negative"),
    "unfold three": (lambda x, w: F.unfold(x, (2, 2, 2)), RuntimeError, "kernel_size equals to 2, but got size 3"),
    "unfold too large": (lambda x, w: F.unfold(x, 7), RuntimeError, "can't be greater than actual input size"),
    "fold dims": (lambda x, w: F.fold(x, 5, 2), RuntimeError, "Expected 2D or 3D"),
    "fold channels": (lambda x, w: F.fold(x[0], 5, 2), RuntimeError, "divisible by the product of kernel_size"),
    "fold blocks": (lambda x, w: F.fold(x[0], 5, 2), RuntimeError, r"sliding blocks 4 \* 4 = 16"),
    "mode": (lambda x, w: nn.Conv2d(1, 1, 1, padding_mode="wrap"), ValueError, "padding_mode must be one of"),
    "in channels": (lambda x, w: nn.Conv1d(3, 2, 1, groups=2), ValueError, "in_channels must be divisible"),
    "out channels": (lambda x, w: nn.Conv1d(2, 3, 1, groups=2), ValueError, "out_channels must be divisible"),
    "zero groups": (lambda x, w: nn.Conv1d(2, 3, 1, groups=0), ValueError, "groups must be a positive integer"),
    "layer padding": (lambda x, w: nn.Conv1d(2, 3, 1, padding="full"), ValueError, "Invalid padding string 'full'"),
    "layer same": (lambda x, w: nn.Conv1d(2, 3, 1, 2, "same"), ValueError, "not supported for strided"),
    "transposed mode": (
        lambda x, w: nn.ConvTranspose2d(1, 1, 1, padding_mode="reflect"), ValueError, 'Only "zeros" padding mode',
    ),
    "output size": (
        lambda x, w: nn.ConvTranspose2d(2, 1, 2, 2)(x, output_size=(10, 13)), ValueError, r"range from \[10, 10\] to",
    ),
    "output sizes": (
        lambda x, w: nn.ConvTranspose2d(2, 1, 2, 2)(x, output_size=(10,)), ValueError, r"must have 2 or 4 elements \(got 1\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    code, error, text = REFUSED[name]
    if name.startswith("fold"):
        x = gc.ones(1, 4, 6, 16) if name == "fold channels" else gc.ones(1, 4, 8, 15)
    else:
        x = gc.ones(1, 2, 5, 5)
    with pytest.raises(error, match=text):
        code(x, gc.ones(3, 2, 3, 3))


def test_initial_weights_are_uniform_in_their_bound() -> None:
    gc.manual_seed(0)
    layer = nn.Conv2d(8, 64, 3, groups=2)
    bound = 1 / np.sqrt(4 * 9)
    for p in (layer.weight, layer.bias):
        values = as_array(p.detach())
        assert np.abs(values).max() <= bound and abs(values.mean()) < bound / 5
    assert as_array(layer.weight).std() == pytest.approx(bound / np.sqrt(3), rel=0.05)
    first = as_array(layer.weight).copy()
    gc.manual_seed(0)
    again = nn.Conv2d(8, 64, 3, groups=2)
    np.testing.assert_array_equal(as_array(again.weight), first)
    again.reset_parameters()
    assert not np.array_equal(as_array(again.weight), first)


def test_a_saved_graph_with_unknown_sizes_runs_and_differentiates_again(tmp_path: Any) -> None:
    gc.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, 2, (2, 1), groups=2), nn.Tanh(), nn.ConvTranspose2d(4, 2, 2, 2, bias=False)
    )
    graph, data = gc.Graph(), normal(3, 2, 6, 7).astype(np.float32)
    with graph.as_default():
        x = gc.placeholder((None, 2, None, None), name="x")
        graph.outputs["y"] = model(x)
    gc.save_graph(graph, tmp_path / "net")
    loaded = gc.load_graph(tmp_path / "net")
    with loaded.as_default():
        y = loaded.outputs["y"]
        (grad,) = gc.gradients((y * y).sum(), [loaded.inputs["x"]])
    with gc.Session(loaded) as session:
        found = session.run([y, grad], {"x": data})
    for got, want in zip(found, results(model, data)[:2], strict=True):
        assert_close(got, want, n=256)
