"""A small convolutional net (after LeCun et al. 1998) trained through every door, equal to the same training in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from training import DOORS, DTYPES, TOLERANCE, NumpyAdam, NumpySGD, numbers, numpy_training, softmax_cross_entropy

import graphc as gc
from graphc import nn, optim
from graphc.nn import functional as F

STEPS = {"float64": 60, "float32": 25}
BATCHES = [(numbers(6, 1, 10, 10, seed=40 + i), np.random.default_rng(50 + i).integers(0, 3, 6)) for i in range(3)]
START = {
    "w1": numbers(4, 1, 3, 3, scale=0.4), "b1": numbers(4, scale=0.1),
    "w2": numbers(6, 2, 3, 3, scale=0.3), "b2": numbers(6, scale=0.1),
    "w3": numbers(6 * 3 * 3, 3, scale=0.3), "b3": numbers(3, scale=0.1),
}  # fmt: skip


def places(x, k, m, size, stride):
    """What the weight at (k, m) meets."""
    return x[:, :, k : k + (size - 1) * stride + 1 : stride, m : m + (size - 1) * stride + 1 : stride]


def convolved(x, w, stride):
    """Sums over the places of the kernel; w: [O, C, K, K]."""
    size = (x.shape[2] - w.shape[2]) // stride + 1
    return sum(
        np.einsum("nchw,oc->nohw", places(x, k, m, size, stride), w[:, :, k, m]) for k, m in np.ndindex(w.shape[2:])
    )


def pulled_back(g, x, w, stride):
    """The gradients of x and w."""
    gx, gw, size = np.zeros(x.shape), np.zeros(w.shape), g.shape[2]
    for k, m in np.ndindex(w.shape[2:]):
        places(gx, k, m, size, stride)[...] += np.einsum("nohw,oc->nchw", g, w[:, :, k, m])
        gw[:, :, k, m] = np.einsum("nohw,nchw->oc", g, places(x, k, m, size, stride))
    return gx, gw


class LeNet:
    """tanh(conv of stride 2), padded tanh(conv in two groups), the 6 by 6 image averaged by 2 by 2, linear: in NumPy."""

    def __init__(self, dtype):
        self.p = {k: v.astype(dtype).astype(np.float64) for k, v in START.items()}

    def gradients(self, x, y):
        p, n = self.p, len(x)
        h1 = np.tanh(convolved(x, p["w1"], 2) + p["b1"][:, None, None])
        padded = np.pad(h1, ((0, 0), (0, 0), (2, 2), (2, 2)))
        halves = [(padded[:, 2 * i : 2 * i + 2], p["w2"][3 * i : 3 * i + 3]) for i in range(2)]
        h2 = np.tanh(np.concatenate([convolved(x, w, 1) for x, w in halves], 1) + p["b2"][:, None, None])
        pooled = h2.reshape(n, 6, 3, 2, 3, 2).mean((3, 5)).reshape(n, -1)
        loss, g = softmax_cross_entropy(pooled @ p["w3"] + p["b3"], y)
        grads = {"w3": pooled.T @ g, "b3": g.sum(0)}
        g = (g @ p["w3"].T).reshape(n, 6, 3, 1, 3, 1) / 4 * np.ones((2, 1, 2))
        g = g.reshape(h2.shape) * (1 - h2 * h2)
        pulled = [pulled_back(g[:, 3 * i : 3 * i + 3], *half, 1) for i, half in enumerate(halves)]
        grads |= {"w2": np.concatenate([gw for _, gw in pulled]), "b2": g.sum((0, 2, 3))}
        g = np.concatenate([gx for gx, _ in pulled], 1)[:, :, 2:-2, 2:-2] * (1 - h1 * h1)
        _, gw = pulled_back(g, x, p["w1"], 2)
        return loss, {k: (grads | {"w1": gw, "b1": g.sum((0, 2, 3))})[k] for k in p}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, stride=2)
        self.conv2 = nn.Conv2d(4, 6, 3, padding=2, groups=2)
        self.head = nn.Linear(54, 3)

    def forward(self, x):
        x = self.conv2(self.conv1(x).tanh()).tanh()
        x = x.reshape(-1, 6, 3, 2, 3, 2).mean((3, 5))
        return self.head(x.flatten(1))


class Program:
    """The net with an optimizer."""

    def __init__(self, dtype, make):
        self.dtype, self.model = dtype, Net().to(getattr(gc, dtype))
        with gc.no_grad():
            for i, layer in zip("123", self.model.children(), strict=True):
                layer.weight.copy_(gc.tensor(START["w" + i].T.copy() if i == "3" else START["w" + i]))
                layer.bias.copy_(gc.tensor(START["b" + i]))
        self.opt = make(self.model.parameters())

    def named(self):
        layers = dict(zip("123", self.model.children(), strict=True))
        named = {k: getattr(layers[k[1]], "weight" if k[0] == "w" else "bias") for k in START}
        return named | {"w3": named["w3"].t()}

    def step(self, x, y):
        self.opt.zero_grad()
        loss = F.cross_entropy(self.model(x), y)
        loss.backward()
        self.opt.step()
        return loss

    def graph(self, x, y):
        loss = F.cross_entropy(self.model(x), y)
        return loss, self.opt.minimize(loss)


OPTIMIZERS = {
    "sgd": (lambda p: optim.SGD(p, lr=0.1, momentum=0.9), lambda: NumpySGD(0.1, 0.9)),
    "adam": (lambda p: optim.Adam(p, lr=0.01), lambda: NumpyAdam(0.01)),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_equals_numpy_through_every_door(name, dtype):
    ours, theirs = OPTIMIZERS[name]
    expected = numpy_training(LeNet(dtype), theirs(), BATCHES, STEPS[dtype], dtype)
    assert expected.losses[-1] < expected.losses[0] / 2
    for run in DOORS.values():
        run(Program(dtype, ours), BATCHES, STEPS[dtype]).check(expected, TOLERANCE[dtype])
