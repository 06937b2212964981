"""Shapes, views, splits, repetitions, diagonals: the same results, gradients, aliasing and refusals as PyTorch."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from side_by_side import agree, compare, pair, refuse

import graphc as gc

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 3))
Y = RNG.normal(size=(2, 3, 4))
V = RNG.normal(size=6)
ONE = np.array(1.5)
EMPTY = np.zeros((0, 3))
WIDE = RNG.normal(size=(1, 3, 1, 2, 1))


def cases(table: dict[str, tuple[Any, ...]]) -> Any:
    return [pytest.param(code, arrays, id=name) for name, (code, *arrays) in table.items()]


SHAPES = {
    "reshape-args": (lambda m, x: x.reshape(3, 2), X),
    "reshape-tuple": (lambda m, x: m.reshape(x, (3, -1)), X),
    "reshape-shape": (lambda m, x: m.reshape(x, shape=[-1]), X),
    "reshape-int": (lambda m, x: x.reshape(-1), Y),
    "reshape-transposed": (lambda m, x: x.t().reshape(6), X),
    "reshape-0d": (lambda m, x: x.reshape(()), ONE),
    "reshape-0d-up": (lambda m, x: x.reshape(1, 1), ONE),
    "reshape-empty": (lambda m, x: x.reshape(-1, 3), EMPTY),
    "view": (lambda m, x: x.view(4, -1), Y),
    "view-size": (lambda m, x: x.view(x.size(0), -1), Y),
    "view-empty": (lambda m, x: x.view(-1, 3), EMPTY),
    "view_as": (lambda m, x: x.view_as(m.zeros(3, 2)), X),
    "reshape_as": (lambda m, x: x.t().reshape_as(m.zeros(6)), X),
    "flatten": (lambda m, x: m.flatten(x), Y),
    "flatten-dims": (lambda m, x: x.flatten(1, 2), Y),
    "flatten-start": (lambda m, x: x.flatten(start_dim=1), Y),
    "flatten-0d": (lambda m, x: x.flatten(), ONE),
    "ravel": (lambda m, x: x.t().ravel(), X),
    "unflatten": (lambda m, x: m.unflatten(x, -1, (2, -1)), Y),
    "unflatten-method": (lambda m, x: x.unflatten(0, (2, 3)), V),
    "squeeze": (lambda m, x: x.squeeze(), WIDE),
    "squeeze-dim": (lambda m, x: m.squeeze(x, 2), WIDE),
    "squeeze-kept": (lambda m, x: m.squeeze(x, 1), WIDE),
    "squeeze-tuple": (lambda m, x: x.squeeze((0, -1, 1)), WIDE),
    "squeeze-0d": (lambda m, x: x.squeeze(0), ONE),
    "unsqueeze": (lambda m, x: m.unsqueeze(x, -1), X),
    "unsqueeze-front": (lambda m, x: x.unsqueeze(0), X),
    "unsqueeze-0d": (lambda m, x: x.unsqueeze(-1), ONE),
    "atleast": (lambda m, x: (m.atleast_1d(x), m.atleast_2d(x), m.atleast_3d(x)), V),
    "atleast-0d": (lambda m, x: (m.atleast_1d(x), m.atleast_2d(x), m.atleast_3d(x)), ONE),
    "atleast-many": (lambda m, x, y: m.atleast_2d(x, y), V, ONE),
    "numpy's axis": (
        lambda m, x: (
            x.unsqueeze(axis=0),
            m.unsqueeze(x, axis=1),
            x[:1].squeeze(axis=0),
            x.clone().unsqueeze_(axis=1).squeeze_(axis=1),
            x.repeat_interleave(2, axis=1),
            m.slice_scatter(x, x[:, :1], axis=1, end=1),
            *x.chunk(2, axis=1),
            *m.tensor_split(x, 2, axis=1),
            *x.unbind(axis=0),
            m.take_along_dim(x, x.argsort(axis=1), axis=1),
            m.trapezoid(x.float(), axis=0),
            m.cumulative_trapezoid(x.float(), axis=1),
        ),
        X,
    ),
    "transpose": (lambda m, x: m.transpose(x, 0, -1), Y),
    "transpose-0d": (lambda m, x: x.transpose(0, -1), ONE),
    "swapaxes": (lambda m, x: (m.swapaxes(x, 0, 1), x.swapdims(1, 2)), Y),
    "t": (lambda m, x: x.t(), X),
    "t-1d": (lambda m, x: m.t(x), V),
    "T": (lambda m, x: x.T, X),
    "mT": (lambda m, x: x.mT, Y),
    "adjoint": (lambda m, x: x.adjoint(), Y),
    "permute": (lambda m, x: x.permute(2, 0, 1), Y),
    "permute-tuple": (lambda m, x: m.permute(x, (-1, 0, 1)), Y),
    "permute-dims": (lambda m, x: m.permute(x, dims=(1, 0, 2)), Y),
    "movedim": (lambda m, x: m.movedim(x, 0, -1), Y),
    "movedim-many": (lambda m, x: x.moveaxis((0, 1), (-1, 0)), Y),
    "expand": (lambda m, x: x.unsqueeze(1).expand(2, 5, 3), X),
    "expand-minus": (lambda m, x: x.expand(4, -1, -1), X),
    "expand-0d": (lambda m, x: x.expand(2, 3), ONE),
    "expand-zero": (lambda m, x: x[:1].expand(0, 3), X),
    "expand_as": (lambda m, x, y: x[:1].expand_as(y), X, X),
    "broadcast_to": (lambda m, x: m.broadcast_to(x, (2, 2, 3)), X),
    "broadcast_tensors": (lambda m, x, y: m.broadcast_tensors(x[:, :1], y[0]), X, X),
    "broadcast_shapes": (lambda m, x: tuple(m.broadcast_shapes((2, 1), (3,), (1, 1, 1))), X),
    "repeat": (lambda m, x: x.repeat(2, 3), X),
    "repeat-lead": (lambda m, x: x.repeat(2, 1, 2), X),
    "repeat-zero": (lambda m, x: x.repeat(0, 1), X),
    "repeat-tuple": (lambda m, x: x.repeat((2, 1)), X),
    "tile": (lambda m, x: m.tile(x, (2,)), X),
    "tile-lead": (lambda m, x: x.tile(2, 1, 1), X),
    "tile-dims": (lambda m, x: m.tile(x, dims=(2, 2)), X),
    "repeat_interleave": (lambda m, x: m.repeat_interleave(x, 2), X),
    "repeat_interleave-dim": (lambda m, x: x.repeat_interleave(3, dim=1), X),
    "repeat_interleave-counts": (lambda m, x: x.repeat_interleave(m.tensor([2, 0, 1]), dim=1), X),
    "repeat_interleave-size": (lambda m, x: x.repeat_interleave(m.tensor([0, 3]), dim=0, output_size=3), X),
    "repeat_interleave-positions": (lambda m, x: m.repeat_interleave(m.tensor([0, 2, 0, 3, 0])), X),
}

PARTS = {
    "narrow": (lambda m, x: m.narrow(x, 2, 1, 2), Y),
    "narrow-negative": (lambda m, x: x.narrow(-1, -2, 2), Y),
    "narrow-empty": (lambda m, x: x.narrow(0, 2, 0), Y),
    "select": (lambda m, x: m.select(x, 1, -1), Y),
    "unbind": (lambda m, x: m.unbind(x), X),
    "unbind-dim": (lambda m, x: x.unbind(-1), Y),
    "split": (lambda m, x: m.split(x, 2, dim=-1), X),
    "split-exact": (lambda m, x: x.split(2, 2), Y),
    "split-sections": (lambda m, x: x.split([1, 0, 3], dim=2), Y),
    "split-big": (lambda m, x: x.split(10), X),
    "split-empty": (lambda m, x: x.split(2), EMPTY),
    "split-zero": (lambda m, x: x.split(0), EMPTY),
    "split_with_sizes": (lambda m, x: x.split_with_sizes([2, 4]), V),
    "chunk": (lambda m, x: m.chunk(x, 4), V),
    "chunk-few": (lambda m, x: x.chunk(5, dim=-1), Y),
    "chunk-one": (lambda m, x: x.chunk(1, 1), Y),
    "tensor_split": (lambda m, x: m.tensor_split(x, 4), V),
    "tensor_split-indices": (lambda m, x: x.tensor_split((1, 1, -2, 9), dim=0), V),
    "tensor_split-more": (lambda m, x: x.tensor_split(5, dim=1), X),
    "hsplit": (lambda m, x: (m.hsplit(x, 3), x.hsplit([1])), X),
    "hsplit-1d": (lambda m, x: m.hsplit(x, 3), V),
    "vsplit": (lambda m, x: m.vsplit(x, 2), X),
    "dsplit": (lambda m, x: m.dsplit(x, (1, 3)), Y),
    "unfold": (lambda m, x: x.unfold(0, 3, 2), V),
    "unfold-2d": (lambda m, x: x.unfold(2, 2, 1).unfold(1, 2, 1), Y),
    "unfold-0d": (lambda m, x: x.unfold(0, 1, 1), ONE),
    "flip": (lambda m, x: m.flip(x, (0, 2)), Y),
    "flip-args": (lambda m, x: x.flip(0, -1), Y),
    "flip-dims": (lambda m, x: m.flip(x, dims=[1]), Y),
    "flip-empty": (lambda m, x: x.flip(0), EMPTY),
    "flip-lr-ud": (lambda m, x: (m.fliplr(x), m.flipud(x)), X),
    "rot90": (lambda m, x: [m.rot90(x, k) for k in (-1, 0, 1, 2, 3, 4)], X),
    "rot90-dims": (lambda m, x: [m.rot90(x, k, (2, 1)) for k in (1, 2, 3)], Y),
    "roll": (lambda m, x: (m.roll(x, 1), m.roll(x, -2)), X),
    "roll-dims": (lambda m, x: m.roll(x, (1, -1), (0, 2)), Y),
    "roll-dim": (lambda m, x: x.roll(5, dims=1), X),
    "roll-zero": (lambda m, x: x.roll(0, 0), X),
    "roll-empty": (lambda m, x: x.roll(1, 0), EMPTY),
    "diagonal": (lambda m, x: m.diagonal(x), X),
    "diagonal-offset": (lambda m, x: x.diagonal(1, -1, 0), Y),
    "diag-1d": (lambda m, x: (m.diag(x), m.diag(x, 1), x.diag(-2)), V),
    "diag-2d": (lambda m, x: (m.diag(x), m.diag(x, 1), m.diag(x, 5)), X),
    "diag_embed": (lambda m, x: (m.diag_embed(x), m.diag_embed(x, -1)), X),
    "diag_embed-dims": (lambda m, x: m.diag_embed(x, 1, 0, 2), X),
    "diagflat": (lambda m, x: (m.diagflat(x), m.diagflat(x, -1)), X),
    "diagonal_scatter": (lambda m, x, y: m.diagonal_scatter(x, y, 1), X, V[:2]),
    "slice_scatter": (lambda m, x, y: m.slice_scatter(x, y.reshape(2, 3)[:, :2], 1, 0, None, 2), X, V),
    "select_scatter": (lambda m, x, y: x.select_scatter(y[:2], 1, -1), X, V),
    "tril": (lambda m, x: (m.tril(x), x.tril(-1), m.tril(x, diagonal=1)), Y),
    "triu": (lambda m, x: (m.triu(x), x.triu(1), m.triu(x, diagonal=-1)), Y),
}


@pytest.mark.parametrize(("code", "arrays"), cases({**SHAPES, **PARTS}))
@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "bool", "bfloat16"])
def test_same_as_pytorch(code: Any, arrays: Any, dtype: str) -> None:
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    scaled = [(a * 8).astype(kind) if dtype == "int64" else a.astype(kind) for a in arrays]
    agree(torch, code, *scaled)


def test_triangles_hide_nan() -> None:
    agree(torch, lambda m, x: (m.tril(x), m.triu(x)), np.array([[1.0, np.nan], [np.inf, 2.0]]))


REFUSED = {
    "reshape": (lambda m, x: x.reshape(4, -1), X),
    "reshape-count": (lambda m, x: x.reshape(5), X),
    "reshape-two": (lambda m, x: x.reshape(-1, -1), X),
    "reshape-negative": (lambda m, x: x.reshape(-2, -3), X),
    "reshape-ambiguous": (lambda m, x: x.reshape(0, -1), EMPTY),
    "reshape-none": (lambda m, x: x.reshape(), X),
    "reshape-float": (lambda m, x: x.reshape(2.0, 3), X),
    "view": (lambda m, x: x.view(5), X),
    "view-strides": (lambda m, x: x.t().view(6), X),
    "flatten": (lambda m, x: x.flatten(1, 0), X),
    "unflatten": (lambda m, x: x.unflatten(1, (2, 2)), X),
    "unflatten-empty": (lambda m, x: x.unflatten(1, ()), X),
    "squeeze": (lambda m, x: x.squeeze(5), X),
    "unsqueeze": (lambda m, x: x.unsqueeze(4), X),
    "transpose": (lambda m, x: x.transpose(0, 3), X),
    "t": (lambda m, x: x.t(), Y),
    "permute-count": (lambda m, x: x.permute(0), X),
    "permute-twice": (lambda m, x: x.permute(0, 0), X),
    "permute-range": (lambda m, x: x.permute(0, 5), X),
    "movedim-count": (lambda m, x: x.movedim((0, 1), (1,)), X),
    "movedim-twice": (lambda m, x: x.movedim((0, 0), (1, 0)), X),
    "expand-few": (lambda m, x: x.expand(3), X),
    "expand-lead": (lambda m, x: x.expand(-1, 2, 3), X),
    "expand-size": (lambda m, x: x.expand(2, 4), X),
    "expand-negative": (lambda m, x: x.expand(2, -2), X),
    "broadcast_tensors": (lambda m, x: m.broadcast_tensors(x, m.zeros(4)), X),
    "broadcast_shapes": (lambda m, x: m.broadcast_shapes((2,), (3,)), X),
    "flip-twice": (lambda m, x: x.flip(0, 0), X),
    "flip-range": (lambda m, x: x.flip(3), X),
    "fliplr": (lambda m, x: m.fliplr(x), V),
    "rot90": (lambda m, x: m.rot90(x), V),
    "rot90-same": (lambda m, x: m.rot90(x, 1, (0, 0)), X),
    "roll": (lambda m, x: x.roll((1, 2)), X),
    "roll-count": (lambda m, x: x.roll((1, 2), (0,)), X),
    "repeat-few": (lambda m, x: x.repeat(2), X),
    "repeat-negative": (lambda m, x: x.repeat(-1, 2), X),
    "repeat_interleave": (lambda m, x: x.repeat_interleave(-1), X),
    "repeat_interleave-size": (lambda m, x: x.repeat_interleave(m.tensor([1, 2, 3]), dim=0), X),
    "repeat_interleave-float": (lambda m, x: x.repeat_interleave(m.tensor([1.0, 2.0]), dim=0), X),
    "narrow-long": (lambda m, x: x.narrow(0, 1, 5), X),
    "narrow-start": (lambda m, x: x.narrow(0, -3, 1), X),
    "narrow-negative": (lambda m, x: x.narrow(0, 0, -1), X),
    "select": (lambda m, x: x.select(0, 5), X),
    "select-0d": (lambda m, x: x.select(0, 0), ONE),
    "unbind-0d": (lambda m, x: x.unbind(), ONE),
    "split-zero": (lambda m, x: x.split(0), X),
    "split-negative": (lambda m, x: x.split(-1), X),
    "split-sum": (lambda m, x: x.split([1, 2]), X),
    "split-sections": (lambda m, x: x.split([3, -1]), X),
    "split-0d": (lambda m, x: x.split(1), ONE),
    "chunk": (lambda m, x: x.chunk(0), X),
    "tensor_split": (lambda m, x: x.tensor_split(0), X),
    "hsplit": (lambda m, x: m.hsplit(x, 2), X),
    "vsplit": (lambda m, x: m.vsplit(x, 2), V),
    "dsplit": (lambda m, x: m.dsplit(x, 2), X),
    "unfold-long": (lambda m, x: x.unfold(0, 3, 1), X),
    "unfold-step": (lambda m, x: x.unfold(0, 1, 0), X),
    "unfold-range": (lambda m, x: x.unfold(3, 1, 1), X),
    "diagonal-same": (lambda m, x: x.diagonal(0, 0, 0), X),
    "diagonal-range": (lambda m, x: x.diagonal(0, 0, 2), X),
    "diag": (lambda m, x: m.diag(x), Y),
    "diag_embed": (lambda m, x: m.diag_embed(x, 0, 0, 0), X),
    "tril": (lambda m, x: m.tril(x), V),
    "mT": (lambda m, x: x.mT, V),
    "atleast": (lambda m, x: m.atleast_2d(1), X),
}


@pytest.mark.parametrize(("code", "arrays"), cases(REFUSED))
def test_refuses_what_pytorch_refuses(code: Any, arrays: Any) -> None:
    refuse(torch, code, *arrays)


ALIASING = {
    "reshape": lambda m, x: x.reshape(6),
    "view": lambda m, x: x.view(3, 2),
    "reshape-copy": lambda m, x: x.t().reshape(6),
    "flatten": lambda m, x: x.flatten(),
    "squeeze": lambda m, x: x.unsqueeze(0).squeeze(),
    "t": lambda m, x: x.t(),
    "permute": lambda m, x: x.permute(1, 0),
    "narrow": lambda m, x: x.narrow(1, 1, 2),
    "select": lambda m, x: x.select(0, 1),
    "unbind": lambda m, x: x.unbind()[1],
    "split": lambda m, x: x.split(2, 1)[0],
    "chunk": lambda m, x: x.chunk(2)[0],
    "diagonal": lambda m, x: x.diagonal(),
    "diag": lambda m, x: m.diag(x),
    "flip": lambda m, x: x.flip(0),
    "rot90": lambda m, x: m.rot90(x),
    "roll": lambda m, x: x.roll(0, 0),
    "repeat": lambda m, x: x.repeat(1, 1),
    "tile": lambda m, x: m.tile(x, (1, 1)),
    "tril": lambda m, x: x.tril(5),
    "repeat_interleave": lambda m, x: x.repeat_interleave(1, dim=0),
    "movedim": lambda m, x: x.movedim(0, 1),
    "unflatten": lambda m, x: x.unflatten(1, (3, 1)),
}


@pytest.mark.parametrize("name", ALIASING)
def test_views_and_copies_are_the_same(name: str) -> None:
    ours, theirs = pair(torch, X)
    for m, x in ((gc, ours), (torch, theirs)):
        ALIASING[name](m, x).mul_(10.0)
    compare(ours, theirs)
    ours, theirs = pair(torch, X)
    seen = []
    for m, x in ((gc, ours), (torch, theirs)):
        out = ALIASING[name](m, x)
        x.add_(1.0)
        seen.append(out)
    compare(*seen)
