"""Training in mixed precision: a small CNN and a GPT under autocast, in bfloat16 and in float16 with a GradScaler, have equal
losses, scales and weights in eager code, compiled on every backend, and with PyTorch."""

from __future__ import annotations

import functools
import math
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from training import numbers

import graphc as gc

STEPS = 10
#: rounding errors of the lower precision, relative to a loss and to a tensor's largest element, that the steps may add up to
EPS = {"bfloat16": 2.0**-8, "float16": 2.0**-11}
ROOM = {"loss": 4, "weight": 16}
#: the batch of this step is infinite, so that the scaler skips its update
OVERFLOW = 4


def cnn(m: Any) -> Any:
    nn = m.nn
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, stride=2),
        nn.GELU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 5),
    )  # fmt: skip


def gpt(m: Any) -> Any:
    nn, width = m.nn, 16

    class Block(nn.Module):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

        def forward(self, x: Any) -> Any:
            heads = [a.unflatten(-1, (2, -1)).transpose(1, 2) for a in self.qkv(self.before(x)).chunk(3, -1)]
            y = nn.functional.scaled_dot_product_attention(*heads, is_causal=True)
            x = x + self.project(y.transpose(1, 2).flatten(2))
            return x + self.mlp(self.between(x))

    class GPT(nn.Module):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.words, self.places = nn.Embedding(11, width), nn.Embedding(6, width)
            self.blocks, self.norm = nn.Sequential(Block(), Block()), nn.LayerNorm(width)
            self.head = nn.Linear(width, 11, bias=False)

        def forward(self, x: Any) -> Any:
            # floats, so that the overflowing batch can say so: a word and what it is scaled by
            h = self.words(x[..., 0].long()) * x[..., 1:] + self.places(m.arange(6))
            return self.head(self.norm(self.blocks(h))).transpose(1, 2)

    return GPT()


def batch(name: str, i: int) -> tuple[Any, Any]:
    """A batch of floats and of classes."""
    rng = np.random.default_rng(i % 3)
    scale = math.inf if i == OVERFLOW else 1.0
    if name == "cnn":
        return rng.normal(size=(8, 1, 8, 8)).astype(np.float32) * scale, rng.integers(0, 5, 8)
    words = rng.integers(0, 11, (4, 7))
    floats = np.stack([words[:, :-1], np.full((4, 6), scale)], -1).astype(np.float32)
    return floats, words[:, 1:].copy()


def filled(m: Any, model: Any) -> Any:
    """The model with the same weights in every library."""
    with m.no_grad():
        for i, p in enumerate(model.parameters()):
            p.copy_(m.from_numpy((numbers(*p.shape, seed=i, scale=0.3) + (p.dim() == 1)).astype(np.float32)))
    return model


def trained(m: Any, name: str, precision: str, through: Any) -> tuple[list[float], list[float], list[Any]]:
    """Losses and scales of each step, and the weights in the end."""
    model = filled(m, {"cnn": cnn, "gpt": gpt}[name](m))
    parameters = model.parameters()
    optimizer = m.optim.SGD(parameters, 0.05, momentum=0.9) if name == "cnn" else m.optim.AdamW(parameters, lr=1e-2)
    scaler = m.amp.GradScaler("cpu", enabled=precision == "float16", init_scale=2.0**10, growth_interval=3)

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        with m.autocast("cpu", dtype=getattr(m, precision)):
            loss = m.nn.functional.cross_entropy(model(x), y)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        m.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        return loss.detach()

    call, losses, scales = through(step), [], []
    for i in range(STEPS):
        if i == OVERFLOW and (precision == "bfloat16" or name == "cnn"):
            continue  # without a scaler nothing is skipped, and running statistics keep an infinity
        x, y = batch(name, i)
        losses.append(call(m.from_numpy(x), m.from_numpy(y)).item())
        scales.append(scaler.get_scale())
    return losses, scales, [p.detach().numpy() for p in model.parameters()]


@functools.cache
def eager(name: str, precision: str) -> tuple[list[float], list[float], list[Any]]:
    return trained(gc, name, precision, lambda f: f)


def through(way: str) -> tuple[ModuleType | Any, Any]:
    if way == "torch":
        return pytest.importorskip("torch"), lambda f: f
    return gc, functools.partial(gc.compile, backend=way)


WAYS = [
    "numpy",
    "llvm",
    pytest.param("opencl", marks=pytest.mark.opencl),
    pytest.param("torch", marks=pytest.mark.parity),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("precision", EPS)
@pytest.mark.parametrize("name", ["cnn", "gpt"])
def test_training_is_that_of_eager_code(name: str, precision: str, way: str) -> None:
    losses, scales, weights = trained(through(way)[0], name, precision, through(way)[1])
    want_losses, want_scales, want_weights = eager(name, precision)
    assert scales == want_scales
    np.testing.assert_allclose(losses, want_losses, rtol=ROOM["loss"] * EPS[precision])
    if name == "cnn":  # Adam makes whole steps of what is rounding in gradients that are zero
        for have, want in zip(weights, want_weights, strict=True):
            assert np.abs(have - want).max() <= ROOM["weight"] * EPS[precision] * np.abs(want).max()


@pytest.mark.parametrize("precision", EPS)
@pytest.mark.parametrize("name", ["cnn", "gpt"])
def test_training_gets_somewhere(name: str, precision: str) -> None:
    losses, scales, _ = eager(name, precision)
    assert losses[-1] < 0.8 * losses[0]
    if precision == "float16":
        assert max(scales) > scales[0], "the scale grew"
        if name == "gpt":
            assert scales[OVERFLOW] == scales[OVERFLOW - 1] / 2, "the step that overflowed was skipped"
