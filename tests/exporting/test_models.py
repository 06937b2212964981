"""Whole models by way of ONNX: sizes unknown when they are exported, others at run time, weights named as in `state_dict`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

import onnx
from tolerances import as_array, assert_close

import graphc as gc
from graphc import nn
from graphc.nests import flatten
from graphc.nn import functional as F

pytestmark = pytest.mark.onnx


def numbers(*shape: int) -> Any:
    return gc.tensor(np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32))


def words(*shape: int) -> Any:
    return gc.tensor(np.random.default_rng(sum(shape)).integers(0, 11, shape))


class AutoEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 8, 3, 2, 1))
        self.up = nn.Sequential(
            nn.ConvTranspose2d(8, 4, 3, 2, 1, output_padding=1), nn.ReLU(),
            nn.ConvTranspose2d(4, 1, 3, 2, 1, output_padding=1), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, x: Any) -> Any:
        code = self.down(x)
        return {"picture": self.up(code), "code": code.flatten(1)}


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width), nn.Dropout(0.1))

    def forward(self, x: Any) -> Any:
        batch, time, width = x.shape
        parts = self.qkv(self.first(x)).split(width, dim=2)
        q, k, v = (p.view(batch, time, self.heads, width // self.heads).transpose(1, 2) for p in parts)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).contiguous().view(batch, time, width))
        return x + self.mlp(self.second(x))


class GPT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(11, 16), nn.Embedding(32, 16)
        self.blocks = nn.ModuleList([Block(16, 4) for _ in range(2)])
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 11, bias=False)
        self.head.weight = self.words.weight

    def forward(self, x: Any) -> Any:
        x = self.words(x) + self.places(gc.arange(x.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class Tagger(nn.Module):
    """Recurrent layers over words, with their last states."""

    def __init__(self, kind: Any, **options: Any) -> None:
        super().__init__()
        self.words, self.rnn = nn.Embedding(11, 6), kind(6, 5, batch_first=True, **options)
        self.head = nn.Linear(5 * (1 + self.rnn.bidirectional), 3)

    def forward(self, x: Any) -> Any:
        hidden, last = self.rnn(self.words(x))
        return self.head(hidden), last


def cnn() -> Any:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.SiLU(), nn.AvgPool2d(2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(8, 10), nn.LogSoftmax(1),
    )  # fmt: skip
    model.train()
    model(numbers(6, 1, 12, 12))  # running statistics
    return model


BATCH, BATCH_TIME = {0: "batch"}, {0: "batch", 1: "time"}
IMAGE = {0: "batch", 2: "height", 3: "width"}

#: name -> a model, its unknown sizes, and arguments for a size
MODELS: dict[str, tuple[Callable[[], Any], Any, Callable[[int], Any]]] = {
    "CNN": (cnn, IMAGE, lambda n: numbers(n, 1, 8 + 4 * n, 16)),
    "LSTM": (lambda: Tagger(nn.LSTM, num_layers=2, bidirectional=True, dropout=0.2), BATCH_TIME, lambda n: words(n, 3 + n)),
    "GRU": (lambda: Tagger(nn.GRU), BATCH_TIME, lambda n: words(n, 3 + n)),
    "RNN": (lambda: Tagger(nn.RNN, nonlinearity="relu"), BATCH_TIME, lambda n: words(n, 3 + n)),
    "Transformer encoder": (
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), 2, enable_nested_tensor=False),
        BATCH_TIME, lambda n: numbers(n, 3 + n, 16),
    ),
    "GPT": (GPT, BATCH_TIME, lambda n: words(n, 3 + n)),
    "autoencoder": (AutoEncoder, IMAGE, lambda n: numbers(n, 1, 8 * n, 16)),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_models_with_other_sizes_at_run_time(name: str) -> None:
    make, sizes, example = MODELS[name]
    gc.manual_seed(1)
    model = make().eval()
    program = gc.onnx.export(model, (example(2),), dynamic_shapes=(sizes,))
    onnx.checker.check_model(program.model_proto, full_check=True)
    weights = {v.name: v.const_value.numpy() for v in program.model.graph.initializers.values()}
    aliases = [id(x) for x in model.parameters()]
    assert len(set(aliases)) == len(aliases)
    for key, parameter in model.named_parameters():
        np.testing.assert_array_equal(weights[key], parameter.detach().numpy())
    assert set(weights) & set(model.state_dict()) >= {k for k, _ in model.named_parameters()}
    for n in (2, 3, 1):
        found, wanted = program(example(n)), []
        flatten(model(example(n)), wanted)
        for got, want in zip(found, wanted, strict=True):
            assert_close(got, as_array(want), n=256, scale=max(1.0, float(want.abs().max())), what=name)


@pytest.mark.parametrize("dtype", [gc.float64, gc.float16, gc.bfloat16], ids=str)
def test_models_of_other_dtypes(dtype: Any) -> None:
    model = cnn().eval().to(dtype)
    program = gc.onnx.export(model, (numbers(2, 1, 12, 12).to(dtype),), dynamic_axes={"x": [0]}, input_names=["x"])
    x = numbers(3, 1, 12, 12).to(dtype)
    (found,) = program(x)
    want = model(x)
    assert found.dtype is dtype
    assert_close(found, as_array(want), n=16)


def test_training_step_of_a_graph() -> None:
    """A gradient is a program like others: the backward pass of a small CNN, exported from a graph."""
    graph, model = (
        gc.Graph(),
        nn.Sequential(nn.Conv2d(1, 3, 3, 2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 4)),
    )
    with graph.as_default():
        x, y = gc.placeholder((3, 1, 9, 9), name="x"), gc.placeholder((3,), dtype=gc.int64, name="y")
        loss = F.cross_entropy(model(x), y)
        graph.outputs["loss"] = loss
        for name, g in zip(graph.parameters, gc.gradients(loss, list(graph.parameters.values())), strict=True):
            graph.outputs[f"grad.{name}"] = g
    program = gc.onnx.export(graph)
    assert [v.name for v in program.model.graph.inputs] == ["x", "y"]
    feed = {"x": numbers(3, 1, 9, 9).numpy(), "y": words(3).numpy() % 4}
    with gc.Session(graph) as session:
        wanted = session.run(list(graph.outputs), feed_dict=feed)
    for got, want in zip(program.run(list(feed.values())), wanted, strict=True):
        assert_close(got, want, n=64, scale=max(1.0, float(np.abs(want).max())))


def test_control_flow_and_captured_tensors() -> None:
    scale = gc.tensor([2.0, 3.0])

    def steps(x: Any) -> Any:
        grown = gc.while_loop(lambda v: v.abs().max() < 100, lambda v: v * scale, x)
        chosen = gc.cond(x.sum() > 0, lambda v: v + scale, lambda v: v - 1, x)
        total, partial = gc.scan(lambda c, v: (c + v, c * v), gc.zeros(2), x, reverse=True)
        return grown, chosen, total, partial

    program = gc.onnx.export(steps, (gc.ones(3, 2),), dynamic_shapes=({0: "rows"},))
    assert {n.op_type for n in program.model.graph} >= {"Loop", "If"}
    for x in (numbers(3, 2), -numbers(5, 2), numbers(1, 2)):
        for got, want in zip(program(x), steps(x), strict=True):
            assert_close(got, as_array(want), n=8)


def test_indices_that_do_not_exist_are_refused_at_run_time() -> None:
    x = numbers(3, 4, 2)

    def looked_up(x: Any, i: Any, j: Any) -> Any:
        y = x.clone()
        y[i, j] = 0.0
        return x[i, j], y

    program = gc.onnx.export(looked_up, (x, words(5) % 3, words(5) % 4))
    for i, j in (([0, 1, 2, -1, -3], [3, -4, 0, 1, 2]), ([1] * 5, [0] * 5)):
        indices = gc.tensor(i), gc.tensor(j)
        for got, want in zip(program(x, *indices), looked_up(x, *indices), strict=True):
            assert_close(got, as_array(want))
    for i, j in ((3, 0), (0, 4), (0, -5), (-4, 3)):
        with pytest.raises(RuntimeError, match=r"Non-zero status code|indices element out of data bounds|invalid"):
            program(x, gc.tensor([i] * 5), gc.tensor([j] * 5))


def test_random_numbers_are_drawn_anew_at_each_run() -> None:
    with pytest.warns(UserWarning, match="while it is in training mode"):
        program = gc.onnx.export(nn.Dropout(0.25).train(), (gc.ones(2, 8),), dynamic_shapes=({0: "rows"},))
    first, second = (program(gc.ones(4000, 8))[0].numpy() for _ in range(2))
    for drawn in (first, second):
        assert set(np.unique(drawn)) == {np.float32(0), np.float32(1 / 0.75)}
        assert abs((drawn == 0).mean() - 0.25) < 0.02
    assert (first != second).any()
