"""Training programs through every door, and the same training written again in NumPy.

A program is a class with parameters (`named()`), a `step(x, y) -> loss` in plain PyTorch style and, where it has one, a
`graph(x, y) -> (loss, train op)`. The references in this file know nothing of graphc: gradients are written by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import graphc as gc

STEPS = {"float64": 500, "float32": 50}
TOLERANCE = {"float64": 1e-9, "float32": 1e-3}
DTYPES = tuple(STEPS)


def numbers(*shape: int, seed: int = 0, scale: float = 1.0) -> Any:
    """Normal numbers, always the same ones."""
    return np.random.default_rng([seed, *shape]).normal(size=shape) * scale


def classification(n: int = 12, features: int = 4, classes: int = 3, batches: int = 3) -> list[tuple[Any, Any]]:
    """Batches of x: f64[n, features], y: i64[n]."""
    return [
        (numbers(n, features, seed=10 + i), np.random.default_rng(20 + i).integers(0, classes, n))
        for i in range(batches)
    ]


def to_dtype(array: Any, dtype: str) -> Any:
    """Floats in the training dtype, anything else as it is."""
    return array.astype(dtype) if array.dtype.kind == "f" else array


def parameter(array: Any, dtype: str) -> Any:
    """A tensor that wants a gradient, holding a copy of the array."""
    return gc.tensor(np.array(array, dtype), requires_grad=True)


class Run:
    """What a training run gave: the losses and the last value of everything named."""

    def __init__(self, losses: Sequence[float], final: dict[str, Any]):
        self.losses, self.final = np.array(losses, np.float64), final

    def check(self, other: Run, tolerance: float) -> None:
        """Asserts equality of both, per tensor relative to its largest element."""
        np.testing.assert_allclose(
            self.losses, other.losses, rtol=tolerance, atol=tolerance * np.abs(other.losses).max()
        )
        assert list(self.final) == list(other.final)
        for name, want in other.final.items():
            have = np.asarray(self.final[name], np.float64)
            assert have.shape == np.shape(want), name
            assert np.abs(have - want).max() <= tolerance * max(np.abs(want).max(), 1e-30), name


def arrays_of(program: Any) -> dict[str, Any]:
    """The named tensors of a program as arrays."""
    return {name: t.detach().numpy().copy() for name, t in program.named().items()}


def run_eager(program: Any, batches: Sequence[Any], steps: int) -> Run:
    """Every line as it is read."""
    return _run_steps(program, program.step, batches, steps)


def run_compiled(program: Any, batches: Sequence[Any], steps: int) -> Run:
    """The step as one compiled function, built as often as the program says (once)."""
    step = gc.compile(program.step)
    result = _run_steps(program, step, batches, steps)
    assert len(step.recompiles) == getattr(program, "builds", 1), step.recompiles
    return result


def _run_steps(program: Any, step: Callable[..., Any], batches: Sequence[Any], steps: int) -> Run:
    losses = []
    for i in range(steps):
        batch = [gc.tensor(to_dtype(a, program.dtype)) for a in batches[i % len(batches)]]
        losses.append(step(*batch).item())
        _after(program)
    return Run(losses, arrays_of(program))


def _after(program: Any) -> None:
    """What the program does eagerly after each step, whatever the door."""
    if hasattr(program, "after_step"):
        program.after_step()


def run_session(program: Any, batches: Sequence[Any], steps: int) -> Run:
    """The program as a graph, its unknown batch size included."""
    graph = gc.Graph()
    with graph.as_default():
        feeds = [
            gc.placeholder((None, *a.shape[1:]), getattr(gc, to_dtype(a, program.dtype).dtype.name), name=f"x{i}")
            for i, a in enumerate(batches[0])
        ]
        fetches = program.graph(*feeds)
    graph.finalize()
    losses = []
    with gc.Session(graph, strict=True) as session:
        for i in range(steps):
            fed = [to_dtype(a, program.dtype) for a in batches[i % len(batches)]]
            losses.append(session.run(fetches, dict(zip(feeds, fed, strict=True)))[0])
            _after(program)
        assert len(session.recompiles) == 1
    return Run(losses, arrays_of(program))


DOORS = {"eager": run_eager, "compiled": run_compiled, "session": run_session}


# --- the same again in NumPy ------------------------------------------------------------------------------------------


def softmax_cross_entropy(z: Any, y: Any) -> tuple[float, Any]:
    """The mean loss of logits z: f64[N, C] and its gradient."""
    z = z - z.max(1, keepdims=True)
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    rows = np.arange(len(y))
    g = p.copy()
    g[rows, y] -= 1
    return float(-np.log(p[rows, y]).mean()), g / len(y)


class TwoLayers:
    """tanh(x w1 + b1) w2 + b2 with cross entropy: loss and gradients by hand."""

    def __init__(self, dtype: str, features: int = 4, hidden: int = 6, classes: int = 3):
        start = {
            "w1": numbers(features, hidden, scale=0.4), "b1": numbers(hidden, scale=0.1),
            "w2": numbers(hidden, classes, scale=0.4), "b2": numbers(classes, scale=0.1),
        }  # fmt: skip
        self.p = {k: v.astype(dtype).astype(np.float64) for k, v in start.items()}

    def gradients(self, x: Any, y: Any, mask: Any = 1.0) -> tuple[float, dict[str, Any]]:
        """Loss and gradients; `mask` multiplies the hidden layer."""
        p = self.p
        h = np.tanh(x @ p["w1"] + p["b1"])
        loss, g = softmax_cross_entropy((h * mask) @ p["w2"] + p["b2"], y)
        gh = (g @ p["w2"].T) * mask * (1 - h * h)
        return loss, {"w1": x.T @ gh, "b1": gh.sum(0), "w2": (h * mask).T @ g, "b2": g.sum(0)}


class NumpySGD:
    """SGD with momentum, weight decay and nesterov, as Sutskever et al. 2013 in PyTorch's form."""

    def __init__(self, lr: float, momentum: float = 0.0, weight_decay: float = 0.0, nesterov: bool = False):
        self.lr, self.momentum, self.decay, self.nesterov, self.v = lr, momentum, weight_decay, nesterov, {}

    def step(self, p: dict[str, Any], grads: dict[str, Any]) -> None:
        for k, g in grads.items():
            g = g + self.decay * p[k]
            if self.momentum:
                self.v[k] = self.momentum * self.v[k] + g if k in self.v else g
                g = g + self.momentum * self.v[k] if self.nesterov else self.v[k]
            p[k] = p[k] - self.lr * g


class NumpyAdam:
    """Adam (Kingma and Ba 2015), or AdamW (Loshchilov and Hutter 2019) with `decoupled`."""

    def __init__(
        self,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        decay: float = 0.0,
        decoupled: bool = False,
    ):
        self.lr, self.betas, self.eps, self.decay, self.decoupled = lr, betas, eps, decay, decoupled
        self.t, self.m, self.v = 0, {}, {}

    def step(self, p: dict[str, Any], grads: dict[str, Any]) -> None:
        self.t += 1
        b1, b2 = self.betas
        for k, g in grads.items():
            if self.decoupled:
                p[k] = p[k] * (1 - self.lr * self.decay)
            else:
                g = g + self.decay * p[k]
            self.m[k] = b1 * self.m.get(k, 0.0) + (1 - b1) * g
            self.v[k] = b2 * self.v.get(k, 0.0) + (1 - b2) * g * g
            m, v = self.m[k] / (1 - b1**self.t), self.v[k] / (1 - b2**self.t)
            p[k] = p[k] - self.lr * m / (np.sqrt(v) + self.eps)


def numpy_training(net: Any, optimizer: Any, batches: Sequence[Any], steps: int, dtype: str) -> Run:
    """A plain loop: gradients, then the update."""
    losses = []
    for i in range(steps):
        x, y = (to_dtype(a, dtype) for a in batches[i % len(batches)])
        loss, grads = net.gradients(x.astype(np.float64), y)
        optimizer.step(net.p, grads)
        losses.append(loss)
    return Run(losses, net.p)


def philox_bits(seed: int, offset: int, count: int) -> Any:
    """`count` words of 32 bits from Philox 4x32-10 (Salmon et al. 2011), slow and plain."""
    mask, words = 0xFFFFFFFF, []
    for block in range(-(-count // 4)):
        c = [block & mask, block >> 32, offset & mask, offset >> 32]
        k0, k1 = seed & mask, (seed >> 32) & mask
        for _ in range(10):
            a, b = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
            c = [(b >> 32) ^ c[1] ^ k0, b & mask, (a >> 32) ^ c[3] ^ k1, a & mask]
            k0, k1 = (k0 + 0x9E3779B9) & mask, (k1 + 0xBB67AE85) & mask
        words += c
    return np.array(words[:count], np.uint32)
