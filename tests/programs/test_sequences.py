"""Sequence programs: a char-LSTM cell from primitives with scan, truncated backpropagation, embeddings with tied weights."""

from __future__ import annotations

import numpy as np
import pytest
from training import (
    DOORS,
    DTYPES,
    STEPS,
    TOLERANCE,
    NumpySGD,
    numbers,
    numpy_training,
    parameter,
    softmax_cross_entropy,
    to_dtype,
)

import graphc as gc
from graphc import nn, optim
from graphc.nn import functional as F

V, E, H, T, N = 5, 3, 4, 4, 3
TOKENS = [
    (np.random.default_rng(30 + i).integers(0, V, (N, T)), np.random.default_rng(40 + i).integers(0, V, (N, T)))
    for i in range(2)
]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def start(shapes, dtype):
    return {k: numbers(*s, seed=len(k), scale=0.5).astype(dtype).astype(np.float64) for k, s in shapes.items()}


LSTM = {"emb": (V, E), "wx": (E, 4 * H), "wh": (H, 4 * H), "b": (4 * H,), "wo": (H, V), "bo": (V,)}


class NumpyLSTM:
    """Forward and backpropagation through time by hand."""

    def __init__(self, dtype):
        self.p = start(LSTM, dtype)

    def gradients(self, x, y):
        x, p = x.astype(np.int64), self.p
        h, c, tape = np.zeros((len(x), H)), np.zeros((len(x), H)), []
        for t in range(x.shape[1]):
            e = p["emb"][x[:, t]]
            i, f, g, o = np.split(e @ p["wx"] + h @ p["wh"] + p["b"], 4, 1)
            i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
            c_new = f * c + i * g
            tape.append((e, h, c, i, f, g, o, c_new))
            h, c = o * np.tanh(c_new), c_new
        hs = np.concatenate([o * np.tanh(c_new) for *_, o, c_new in tape])
        loss, gz = softmax_cross_entropy(hs @ p["wo"] + p["bo"], y.T.reshape(-1))
        grads = {k: np.zeros_like(v) for k, v in p.items()}
        grads["wo"], grads["bo"] = hs.T @ gz, gz.sum(0)
        gh_all = (gz @ p["wo"].T).reshape(x.shape[1], len(x), H)
        gh, gc_ = np.zeros((len(x), H)), np.zeros((len(x), H))
        for t in reversed(range(x.shape[1])):
            e, h, c, i, f, g, o, c_new = tape[t]
            gh = gh + gh_all[t]
            tanh_c = np.tanh(c_new)
            gc_ = gc_ + gh * o * (1 - tanh_c**2)
            ga = np.concatenate(
                [gc_ * g * i * (1 - i), gc_ * c * f * (1 - f), gc_ * i * (1 - g * g), gh * tanh_c * o * (1 - o)], 1
            )
            grads["wx"] += e.T @ ga
            grads["wh"] += h.T @ ga
            grads["b"] += ga.sum(0)
            np.add.at(grads["emb"], x[:, t], ga @ p["wx"].T)
            gh, gc_ = ga @ p["wh"].T, gc_ * f
        return loss, grads


class CharLSTM:
    def __init__(self, dtype):
        self.dtype = dtype
        for name, array in start(LSTM, dtype).items():
            setattr(self, name, parameter(array, dtype))
        self.opt = optim.SGD(list(self.named().values()), lr=0.2)

    def named(self):
        return {name: getattr(self, name) for name in LSTM}

    def cell(self, carry, e):
        h, c = carry
        i, f, g, o = (e @ self.wx + h @ self.wh + self.b).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        return (h, c), h

    def loss(self, x, y):
        zeros = gc.zeros(x.shape[0], H, dtype=self.wh.dtype)
        _, hs = gc.scan(self.cell, (zeros, zeros), self.emb[x], dim=1)
        return F.cross_entropy((hs @ self.wo + self.bo).reshape(-1, V), y.t().reshape(-1))

    def step(self, x, y):
        self.opt.zero_grad()
        loss = self.loss(x, y)
        loss.backward()
        self.opt.step()
        return loss

    def graph(self, x, y):
        loss = self.loss(x, y)
        return loss, self.opt.minimize(loss)


class NumpyTied:
    """One matrix as embedding and as output layer."""

    def __init__(self, dtype):
        self.p = start({"emb": (V, E)}, dtype)

    def gradients(self, x, y):
        x, emb = x.astype(np.int64), self.p["emb"]
        e = np.tanh(emb[x]).reshape(-1, E)
        loss, gz = softmax_cross_entropy(e @ emb.T, y.reshape(-1))
        grad = gz.T @ e
        np.add.at(grad, x.reshape(-1), (gz @ emb) * (1 - e * e))
        return loss, {"emb": grad}


class Tied(CharLSTM):
    def __init__(self, dtype):
        self.dtype = dtype
        self.embedding, self.head = nn.Embedding(V, E), nn.Linear(E, V, bias=False)
        self.model = nn.ModuleList([self.embedding, self.head]).to(getattr(gc, dtype))
        self.head.weight = self.embedding.weight
        with gc.no_grad():
            self.embedding.weight.copy_(gc.tensor(start({"emb": (V, E)}, dtype)["emb"]))
        self.opt = optim.SGD(self.model.parameters(), lr=0.2)
        assert len(self.opt.param_groups[0]["params"]) == 1

    def named(self):
        return {"emb": self.embedding.weight}

    def loss(self, x, y):
        z = self.head(self.embedding(x).tanh())
        return F.cross_entropy(z.flatten(0, 1), y.flatten())


RNN = {"wx": (E, H), "wh": (H, H), "wo": (H, 1)}
SERIES = [(numbers(N, T, E, seed=50 + i), numbers(N, 1, seed=60 + i)) for i in range(3)]


class NumpyTruncated:
    """A tanh RNN whose state goes on from call to call, gradients cut in between."""

    def __init__(self, dtype):
        self.p = start(RNN, dtype)
        self.h = np.zeros((N, H))

    def gradients(self, x, y):
        p, hs = self.p, [self.h]
        for t in range(T):
            hs.append(np.tanh(x[:, t] @ p["wx"] + hs[-1] @ p["wh"]))
        self.h = hs[-1]
        error = hs[-1] @ p["wo"] - y
        grads = {"wx": 0, "wh": 0, "wo": hs[-1].T @ error * (2 / error.size)}
        gh = (2 / error.size) * error @ p["wo"].T
        for t in reversed(range(T)):
            ga = gh * (1 - hs[t + 1] ** 2)
            grads["wx"] = grads["wx"] + x[:, t].T @ ga
            grads["wh"] = grads["wh"] + hs[t].T @ ga
            gh = ga @ p["wh"].T
        return float((error**2).mean()), grads


class Truncated(CharLSTM):
    def __init__(self, dtype):
        self.dtype = dtype
        for name, array in start(RNN, dtype).items():
            setattr(self, name, parameter(array, dtype))
        self.h = gc.zeros(N, H, dtype=getattr(gc, dtype))
        self.opt = optim.SGD([self.wx, self.wh, self.wo], lr=0.05)

    def named(self):
        return {name: getattr(self, name) for name in RNN}

    def loss(self, x, y):
        h = self.h.clone()
        for t in range(T):
            h = (x[:, t] @ self.wx + h @ self.wh).tanh()
        self.h.copy_(h.detach())
        return ((h @ self.wo - y) ** 2).mean()


PROGRAMS = {
    "lstm": (CharLSTM, NumpyLSTM, TOKENS, 0.2),
    "tied embedding": (Tied, NumpyTied, TOKENS, 0.2),
    "truncated": (Truncated, NumpyTruncated, SERIES, 0.05),
}
REFERENCES = {}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_sequence_programs_equal_numpy(name, door, dtype):
    make, reference, batches, lr = PROGRAMS[name]
    expected = REFERENCES.get((name, dtype))
    if expected is None:
        expected = REFERENCES[name, dtype] = numpy_training(
            reference(dtype), NumpySGD(lr), batches, STEPS[dtype], dtype
        )
    DOORS[door](make(dtype), batches, STEPS[dtype]).check(expected, TOLERANCE[dtype])


@pytest.mark.parametrize("door", ["eager", "compiled", "session"])
def test_the_state_of_a_truncated_run_is_that_of_numpy(door):
    program, reference = Truncated("float64"), NumpyTruncated("float64")
    DOORS[door](program, SERIES, 7)
    numpy_training(reference, NumpySGD(0.05), SERIES, 7, "float64")
    np.testing.assert_allclose(program.h.numpy(), to_dtype(reference.h, "float64"), rtol=1e-9)
    assert not program.h.requires_grad
