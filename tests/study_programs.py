"""Programs that people write while they study, in plain PyTorch style.

Each is made for one library (`torch` is graphc or PyTorch), gives a `loss` of a batch, and most are written again in NumPy,
with gradients by hand. All run in float64 with plain gradient descent unless they say otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

STEPS = 30


class Program:
    """`parameters` are trained by `optimizer` on `batches`; `reference()` gives their final values."""

    rate = 0.1
    batches: Sequence[tuple[Any, ...]]

    def __init__(self, torch: Any):
        self.torch = torch
        self.parameters = [torch.tensor(a).requires_grad_() for a in self.initial()]
        self.optimizer = torch.optim.SGD(self.parameters, lr=self.rate)

    def initial(self) -> list[Any]:
        """The parameters' first values."""
        raise NotImplementedError

    def loss(self, *batch: Any) -> Any:
        """The scalar to be made small."""
        raise NotImplementedError

    def gradients(self, p: list[Any], *batch: Any) -> list[Any]:
        """The same gradient in NumPy."""
        raise NotImplementedError

    def step(self, *batch: Any) -> Any:
        """One step; returns the loss."""
        self.optimizer.zero_grad()
        loss = self.loss(*batch)
        loss.backward()
        self.optimizer.step()
        return loss

    def reference(self) -> list[Any]:
        """The final parameters, computed without any library."""
        p = [a.copy() for a in self.initial()]
        for i in range(STEPS):
            g = self.gradients(p, *self.batches[i % len(self.batches)])
            p = [a - self.rate * b for a, b in zip(p, g, strict=True)]
        return p


def _rng(seed: int) -> Any:
    return np.random.default_rng(seed)


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


class Polynomial(Program):
    """sin(x) by a polynomial of third order: the first page of PyTorch's tutorial."""

    rate = 1e-6

    def __init__(self, torch: Any):
        x = np.linspace(-math.pi, math.pi, 200)
        self.batches = [(x, np.sin(x))]
        super().__init__(torch)

    def initial(self) -> list[Any]:
        return [np.array(v) for v in _rng(0).normal(size=4)]

    def loss(self, x: Any, y: Any) -> Any:
        a, b, c, d = self.parameters
        return (a + b * x + c * x**2 + d * x**3 - y).pow(2).sum()

    def gradients(self, p: list[Any], x: Any, y: Any) -> list[Any]:
        error = 2 * (p[0] + p[1] * x + p[2] * x**2 + p[3] * x**3 - y)
        return [(error * x**k).sum() for k in range(4)]


class LogisticRegression(Program):
    """Two classes, weight decay written into the loss; batches of different sizes."""

    rate = 0.5

    def __init__(self, torch: Any):
        x = _rng(1).normal(size=(40, 5))
        y = (x @ _rng(2).normal(size=5) > 0).astype(float)
        self.batches = [(x[:20], y[:20]), (x[20:33], y[20:33]), (x[33:], y[33:])]
        super().__init__(torch)

    def initial(self) -> list[Any]:
        return [np.zeros(5), np.zeros(1)]

    def loss(self, x: Any, y: Any) -> Any:
        w, b = self.parameters
        z = x @ w + b
        return self.torch.nn.functional.binary_cross_entropy_with_logits(z, y) + 0.01 * (w**2).sum()

    def gradients(self, p: list[Any], x: Any, y: Any) -> list[Any]:
        error = (_sigmoid(x @ p[0] + p[1]) - y) / len(y)
        return [x.T @ error + 0.02 * p[0], error.sum(keepdims=True)]


class MatrixFactorisation(Program):
    """Ratings by products of embeddings; rows that appear twice in a batch add up."""

    rate = 1.0

    def __init__(self, torch: Any):
        rng = _rng(3)
        self.batches = [(rng.integers(0, 9, n), rng.integers(0, 7, n), rng.random(n)) for n in (16, 16, 5)]
        super().__init__(torch)

    def initial(self) -> list[Any]:
        return [_rng(4).normal(size=(9, 3)), _rng(5).normal(size=(7, 3))]

    def loss(self, users: Any, items: Any, ratings: Any) -> Any:
        u, v = self.parameters
        embedding = self.torch.nn.functional.embedding
        return self.torch.nn.functional.mse_loss((embedding(users, u) * v[items]).sum(-1), ratings)

    def gradients(self, p: list[Any], users: Any, items: Any, ratings: Any) -> list[Any]:
        u, v = p
        error = 2 * ((u[users] * v[items]).sum(-1) - ratings)[:, None] / len(ratings)
        gu, gv = np.zeros_like(u), np.zeros_like(v)
        np.add.at(gu, users, error * v[items])
        np.add.at(gv, items, error * u[users])
        return [gu, gv]


class SkipGram(Program):
    """word2vec with negative samples: a batched product between two tables of embeddings."""

    rate = 1.0

    def __init__(self, torch: Any):
        rng = _rng(6)
        self.batches = [(rng.integers(0, 12, 8), rng.integers(0, 12, 8), rng.integers(0, 12, (8, 5))) for _ in range(3)]
        super().__init__(torch)

    def initial(self) -> list[Any]:
        return [_rng(7).normal(size=(12, 4)), _rng(8).normal(size=(12, 4))]

    def loss(self, center: Any, context: Any, negative: Any) -> Any:
        inner, outer = self.parameters
        log_sigmoid = self.torch.nn.functional.logsigmoid
        c = inner[center]
        near = log_sigmoid((c * outer[context]).sum(1))
        far = log_sigmoid(-self.torch.bmm(outer[negative], c.unsqueeze(2)).squeeze(2)).sum(1)
        return -(near + far).mean()

    def gradients(self, p: list[Any], center: Any, context: Any, negative: Any) -> list[Any]:
        inner, outer = p
        n = len(center)
        c, o, far = inner[center], outer[context], outer[negative]
        g_near = -_sigmoid(-(c * o).sum(1))[:, None] / n
        g_far = _sigmoid(np.einsum("nkd,nd->nk", far, c))[:, :, None] / n
        gi, go = np.zeros_like(inner), np.zeros_like(outer)
        np.add.at(gi, center, g_near * o + (g_far * far).sum(1))
        np.add.at(go, context, g_near * c)
        np.add.at(go, negative, g_far * c[:, None])
        return [gi, go]


class NormalisedCharacters(Program):
    """Characters predicted from three before them: looked-up rows, batch norm written by hand, tanh, cross entropy."""

    def __init__(self, torch: Any):
        rng = _rng(9)
        self.batches = [(rng.integers(0, 6, (n, 3)), rng.integers(0, 6, n)) for n in (10, 7)]
        super().__init__(torch)

    def initial(self) -> list[Any]:
        rng = _rng(10)
        return [rng.normal(size=s) * 0.5 for s in ((6, 2), (6, 8), (1, 8), (1, 8), (8, 6), (6,))]

    def loss(self, x: Any, y: Any) -> Any:
        table, w1, gain, bias, w2, b2 = self.parameters
        h = table[x].view(x.shape[0], -1) @ w1
        centred = h - h.mean(0, keepdim=True)
        normal = centred * (h.var(0, keepdim=True) + 1e-5) ** -0.5
        return self.torch.nn.functional.cross_entropy(self.torch.tanh(gain * normal + bias) @ w2 + b2, y)

    def gradients(self, p: list[Any], x: Any, y: Any) -> list[Any]:
        table, w1, gain, bias, w2, b2 = p
        n = len(x)
        rows = table[x].reshape(n, -1)
        h = rows @ w1
        inverse = (h.var(0, ddof=1, keepdims=True) + 1e-5) ** -0.5
        normal = (h - h.mean(0, keepdims=True)) * inverse
        a = np.tanh(gain * normal + bias)
        logits = a @ w2 + b2
        g = np.exp(logits - logits.max(1, keepdims=True))
        g /= g.sum(1, keepdims=True)
        g[np.arange(n), y] -= 1
        g /= n
        ga = (g @ w2.T) * (1 - a**2)
        gn = ga * gain
        gh = inverse * (gn - gn.mean(0) - normal * (gn * normal).sum(0) / (n - 1))
        gt = np.zeros_like(table)
        np.add.at(gt, x, (gh @ w1.T).reshape(n, 3, 2))
        return [gt, rows.T @ gh, (ga * normal).sum(0, keepdims=True), ga.sum(0, keepdims=True), a.T @ g, g.sum(0)]


class PhysicsInformed(Program):
    """u'' = -sin(x) for u = sum of w_k sin(k x), where u'' comes from differentiating u twice."""

    rate = 1e-3

    def __init__(self, torch: Any):
        self.batches = [(np.linspace(0.1, 3, 11),), (np.linspace(0.2, 2, 6),)]
        super().__init__(torch)

    def initial(self) -> list[Any]:
        return [_rng(11).normal(size=4)]

    def loss(self, x: Any) -> Any:
        torch = self.torch
        (w,) = self.parameters
        x = x.clone().requires_grad_()
        u = torch.sin(x[:, None] * torch.arange(1, 5)) @ w
        (du,) = torch.autograd.grad(u.sum(), x, create_graph=True)
        (d2u,) = torch.autograd.grad(du, x, grad_outputs=torch.ones_like(du), create_graph=True)
        return ((d2u + torch.sin(x)) ** 2).mean()

    def gradients(self, p: list[Any], x: Any) -> list[Any]:
        k = np.arange(1, 5)
        basis = -(k**2) * np.sin(x[:, None] * k)
        return [2 * basis.T @ (basis @ p[0] + np.sin(x)) / len(x)]


PROGRAMS = (Polynomial, LogisticRegression, MatrixFactorisation, SkipGram, NormalisedCharacters, PhysicsInformed)


class CausalAttention(Program):
    """A block of a GPT by hand: split heads, causal mask, softmax, layer norm, tied embedding; AdamW in two groups."""

    def __init__(self, torch: Any):
        rng = _rng(12)
        tokens = [rng.integers(0, 11, (n, 6)) for n in (4, 2)]
        self.batches = [(t, (t + 1) % 11) for t in tokens]
        super().__init__(torch)
        groups = [
            {"params": self.parameters[:4], "weight_decay": 0.1},
            {"params": self.parameters[4:], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.95))

    def initial(self) -> list[Any]:
        rng = _rng(13)
        return [rng.normal(size=s) * 0.3 for s in ((11, 8), (6, 8), (24, 8), (8, 8), (8,), (8,))]

    def loss(self, x: Any, y: Any) -> Any:
        torch, f = self.torch, self.torch.nn.functional
        table, places, w_qkv, w_out, gain, bias = self.parameters
        b, t = x.size()
        h = f.embedding(x, table) + places[torch.arange(t)]
        normal = f.layer_norm(h, (8,), gain, bias)
        q, k, v = (a.view(b, t, 2, 4).transpose(1, 2) for a in f.linear(normal, w_qkv).split(8, dim=2))
        scores = (q @ k.transpose(-2, -1)) / math.sqrt(k.size(-1))
        scores = scores.masked_fill(torch.tril(torch.ones(t, t)) == 0, float("-inf"))
        mixed = (f.softmax(scores, dim=-1) @ v).transpose(1, 2).contiguous().view(b, t, 8)
        logits = (h + f.gelu(f.linear(mixed, w_out))) @ table.T
        return f.cross_entropy(logits.view(-1, 11), y.view(-1), label_smoothing=0.1)


class AutoEncoder(Program):
    """A variational auto-encoder: two heads, reparameterised noise, reconstruction and divergence; Adam."""

    def __init__(self, torch: Any):
        rng = _rng(14)
        self.batches = [(rng.random((n, 6)), rng.normal(size=(n, 2))) for n in (8, 3)]
        super().__init__(torch)
        self.optimizer = torch.optim.Adam(self.parameters, lr=0.01)

    def initial(self) -> list[Any]:
        rng = _rng(15)
        return [rng.normal(size=s) * 0.5 for s in ((4, 6), (4,), (6, 2), (6,))]

    def loss(self, x: Any, noise: Any) -> Any:
        torch, f = self.torch, self.torch.nn.functional
        w, b, w2, b2 = self.parameters
        mean, log_var = f.linear(x, w, b).chunk(2, dim=1)
        made = torch.sigmoid(f.linear(mean + noise * torch.exp(0.5 * log_var), w2, b2))
        divergence = -0.5 * torch.sum(1 + log_var - mean.pow(2) - log_var.exp())
        return (f.binary_cross_entropy(made, x, reduction="sum") + divergence) / x.shape[0]


class GradientPenalty(Program):
    """A critic whose slope between real and made points is held at one: a gradient inside the loss; Adam."""

    def __init__(self, torch: Any):
        rng = _rng(16)
        self.batches = [(rng.normal(size=(n, 3)), rng.normal(size=(n, 3)), rng.random((n, 1))) for n in (8, 5)]
        super().__init__(torch)
        self.optimizer = torch.optim.Adam(self.parameters, lr=0.01, betas=(0.0, 0.9))

    def initial(self) -> list[Any]:
        rng = _rng(17)
        return [rng.normal(size=s) for s in ((5, 3), (5,), (1, 5))]

    def critic(self, x: Any) -> Any:
        w, b, v = self.parameters
        f = self.torch.nn.functional
        return f.linear(f.gelu(f.linear(x, w, b)), v)

    def loss(self, real: Any, made: Any, part: Any) -> Any:
        torch = self.torch
        between = (part * real + (1 - part) * made).requires_grad_(True)
        out = self.critic(between)
        (slope,) = torch.autograd.grad(out, between, grad_outputs=torch.ones_like(out), create_graph=True)
        penalty = ((slope.norm(2, dim=1) - 1) ** 2).mean()
        return self.critic(made).mean() - self.critic(real).mean() + 10 * penalty


MORE = (CausalAttention, AutoEncoder, GradientPenalty)
