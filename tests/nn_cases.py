"""What the tests of `nn` share: numbers, and a small module."""

from __future__ import annotations

import numpy as np

import graphc as gc
from graphc import nn


def rng(seed=0):
    return np.random.default_rng(seed)


def f32(*shape, seed=0, scale=1.0):
    return (rng(seed).normal(size=shape) * scale).astype(np.float32)


def f64(*shape, seed=0):
    return rng(seed).normal(size=shape)


def unit(*shape, seed=0):
    return rng(seed).uniform(0.05, 0.95, size=shape)


def ints(high, *shape, seed=0):
    return rng(seed).integers(0, high, size=shape)


def signs(*shape, seed=0):
    return np.where(rng(seed).random(shape) < 0.5, -1.0, 1.0)


X = f64(4, 5)
LOGP = np.log(np.exp(f64(4, 5)) / np.exp(f64(4, 5)).sum(1, keepdims=True))
T = ints(5, 4)
T_IGNORED = np.array([1, -100, 3, 0])
IMAGE, IMAGE_T = f64(2, 3, 4, 5), ints(3, 2, 4, 5)
PROBS = np.exp(f64(4, 5, seed=3)) / np.exp(f64(4, 5, seed=3)).sum(1, keepdims=True)
W5 = unit(5, seed=2)


class Net(nn.Module):
    """Two layers, a buffer, a plain attribute."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.second = nn.Linear(4, 2, bias=False)
        self.scale = nn.Parameter(gc.ones(2))
        self.register_buffer("count", gc.zeros(1))
        self.register_buffer("scratch", gc.zeros(1), persistent=False)
        self.power = 1

    def forward(self, x):
        return self.second(self.first(x)) * self.scale**self.power
