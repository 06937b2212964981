"""Tensor methods against PyTorch: the forms of public functions that other parity tests call as functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from side_by_side import agree, refuse

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

RNG = np.random.default_rng(7)
A = RNG.normal(size=(3, 4))
B = RNG.normal(size=(4, 5))
S = RNG.normal(size=(3, 3))
V = RNG.normal(size=4)
W = RNG.normal(size=3)
C = RNG.normal(size=(2, 3, 4))
D = RNG.normal(size=(2, 4, 5))
F3 = RNG.normal(size=(3, 5))
I = np.array([3, 1, 2, 1, 0])  # noqa: E741
M = np.array([[1, 0, 2], [0, 3, 3]])
POS = np.array([0, 2])

CALLS: dict[str, tuple[Any, ...]] = {
    "H": (lambda m, x: x.H, A),
    "mH": (lambda m, x: x.mH, C),
    "real": (lambda m, x: (x.real, m.real(x)), A),
    "addbmm": (lambda m, x, a, b: x.addbmm(a, b, beta=0.5, alpha=2), F3, C, D),
    "addr": (lambda m, x, a, b: x.addr(a, b, alpha=2), A, W, V),
    "baddbmm": (lambda m, x, a, b: x.baddbmm(a, b), F3, C, D),
    "in-place addmm": (lambda m, x, a, b: (x * 1).addmm_(a, b, beta=2), F3, A, B),
    "in-place addmv": (lambda m, x, a, b: (x * 1).addmv_(a, b), W, A, V),
    "in-place addr": (lambda m, x, a, b: (x * 1).addr_(a, b), A, W, V),
    "in-place addbmm": (lambda m, x, a, b: (x * 1).addbmm_(a, b), F3, C, D),
    "in-place baddbmm": (lambda m, x, a, b: x.expand(2, 3, 5).clone().baddbmm_(a, b), F3, C, D),
    "allclose": (lambda m, x: [x.allclose(x), x.allclose(x + 1), x.equal(x), x.equal(x + 1)], A),
    "amin": (lambda m, x: (x.amin(), x.amin(1, True)), A),
    "aminmax": (lambda m, x: tuple(x.aminmax(dim=0)), A),
    "argmin": (lambda m, x: (x.argmin(), x.argmin(1, keepdim=True)), A),
    "argsort": (lambda m, x: (x.argsort(), x.argsort(0, True), x.argsort(stable=True)), A),
    "argwhere": (lambda m, x: (x.argwhere(), x.nonzero(), x.nonzero(as_tuple=True)), M),
    "bincount": (lambda m, x: (x.bincount(), x.bincount(minlength=9)), I),
    "broadcast_to": (lambda m, x: x.broadcast_to((2, 3, 4)), A),
    "cov": (lambda m, x: (x.cov(), x.corrcoef()), A),
    "count_nonzero": (lambda m, x: (x.count_nonzero(), x.count_nonzero(dim=0)), M),
    "cross": (lambda m, x: x.cross(x.flip(0), dim=1), S),
    "cummax": (lambda m, x: (*x.cummax(0), *x.cummin(1)), A),
    "cumsum": (lambda m, x: (x.cumsum(0), x.cumprod(1), x.logcumsumexp(0), x.cumsum(0, dtype=m.float64)), A),
    "in-place cumsum": (lambda m, x: ((x * 1).cumsum_(0), (x * 1).cumprod_(1)), A),
    "diag_embed": (lambda m, x: (x.diag_embed(), x.diagflat(1)), V),
    "diagonal_scatter": (lambda m, x, y: x.diagonal_scatter(y), S, W),
    "diff": (lambda m, x: (x.diff(), x.diff(2, 0)), A),
    "dist": (lambda m, x: (x.dist(x * 2), x.dist(x + 1, 1), x.norm(), x.norm(1, 0)), A),
    "dot": (lambda m, x: (x.dot(x * 2), x.inner(x + 1), x.outer(x), x.vdot(x)), V),
    "mv": (lambda m, x, y: x.mv(y), A, V),
    "dsplit": (lambda m, x: x.dsplit(2), C),
    "vsplit": (lambda m, x: x.vsplit([1]), A),
    "split": (lambda m, x: x.split(2, dim=1), A),
    "flips": (lambda m, x: (x.fliplr(), x.flipud(), x.rot90(), x.rot90(2, (1, 0))), A),
    "histc": (lambda m, x: x.histc(4, -1, 1), A),
    "index_copy": (
        lambda m, x, y: (
            x.index_copy(1, m.tensor(POS.tolist()), y[:, :2]),
            (x * 1).index_copy_(1, m.tensor(POS.tolist()), y[:, :2]),
        ),
        A,
        A,
    ),
    "index_fill": (
        lambda m, x: ((x * 1).index_fill_(0, m.tensor([2, 0]), 3.5), m.index_fill(x, 1, m.tensor([1]), 2.0)),
        A,
    ),
    "index_add": (
        lambda m, x, y: (
            m.index_add(x, 0, m.tensor([1, 1]), y[:2], alpha=2),
            m.index_copy(x, 0, m.tensor([1, 0]), y[:2]),
        ),
        A,
        A,
    ),
    "index_put": (
        lambda m, x, y: (
            m.index_put(x, (m.tensor([0, 2]), m.tensor([1, 1])), y[:2]),
            x.index_put((m.tensor([1, 1]),), y, accumulate=True),
        ),
        A,
        V,
    ),
    "kron": (lambda m, x: x.kron(x[:2, :2]), A),
    "kthvalue": (lambda m, x: (*x.kthvalue(2), *x.kthvalue(1, 0, True)), A),
    "logsumexp": (lambda m, x: (x.logsumexp(0), x.logsumexp((0, 1), keepdim=True)), A),
    "mode": (lambda m, x: tuple(x.mode()), M),
    "msort": (lambda m, x: (x.msort(), *x.topk(2), *x.topk(1, 0, False)), A),
    "nan": (lambda m, x: (x.nanmean(), x.nansum(0), x.nanmedian(), x.nanquantile(0.3), x.quantile(0.7, 0)), A),
    "renorm": (lambda m, x: (x.renorm(2, 0, 1.0), (x * 1).renorm_(1, 1, 0.5)), A),
    "scatter_reduce": (lambda m, x, y: (x * 1).scatter_reduce_(0, m.tensor([[0, 1, 2, 0]]), y[:1], "sum"), A, A),
    "scatters": (
        lambda m, x, y: (
            m.scatter_add(x, 0, m.tensor([[0, 1, 1, 0]]), y[:1]),
            m.scatter_reduce(x, 1, m.tensor([[0], [1], [3]]), y[:, :1], "amax"),
        ),
        A,
        A,
    ),
    "slice_scatter": (lambda m, x, y: (x.slice_scatter(y[:, :2], 1, 1, 3), m.select_scatter(x, y[0], 0, 1)), A, A),
    "swapaxes": (
        lambda m, x: (x.swapaxes(0, 2), m.swapdims(x, 0, 1), m.moveaxis(x, 0, 1), m.adjoint(x), m.ravel(x)),
        C,
    ),
    "take": (
        lambda m, x: (
            m.take(x, m.tensor([0, 5])),
            x.take_along_dim(m.tensor([[0], [1], [2]]), 1),
            m.put(x, m.tensor([1, 4]), m.tensor([9.0, 8.0], dtype=x.dtype)),
        ),
        A,
    ),
    "tril": (lambda m, x: ((x * 1).tril_(), (x * 1).triu_(1)), A),
    "unflatten": (lambda m, x: (x.unflatten(1, (2, 2)), m.split_with_sizes(x, [1, 2])), A),
    "unique": (
        lambda m, x: (x.unique(), x.unique_consecutive(), *x.unique(return_inverse=True, return_counts=True)),
        I,
    ),
    "where": (lambda m, x: x.where(x > 0, m.zeros_like(x)), A),
    "masked": (lambda m, x, y: (m.masked_fill(x, x > 0, 2.0), m.masked_scatter(x, x > 0, y)), A, A),
    "vdot": (lambda m, x: (m.vdot(x, x), m.ger(x, x), m.chain_matmul(x.reshape(1, 4), x.reshape(4, 1))), V),
    "resolve": (lambda m, x: (m.conj_physical(x), m.resolve_conj(x), m.resolve_neg(x)), A),
    "squeeze_": (lambda m, x: ((x * 1).reshape(3, 1, 4).squeeze_(), (x * 1).reshape(3, 1, 4).squeeze_(1)), A),
    "unsqueeze_": (lambda m, x: ((x * 1).unsqueeze_(1), (x * 1).unsqueeze_(-1) * 2), A),
    "transpose_": (lambda m, x: ((x * 1).transpose_(0, 1), (x * 1).swapaxes_(0, 1) + 1, (x * 1).swapdims_(-1, 0)), A),
    "t_": (lambda m, x: ((x * 1).t_() * 3, (x * 1)[1:].t_()), A),
    "as_strided": (
        lambda m, x: (x.as_strided((2, 3), (1, 4), 1), x.as_strided((2, 2), (0, 1)), x.as_strided((), ())),
        A,
    ),
    "fill_": (lambda m, x: ((x * 1).fill_(0.7), (x * 1).copy_(m.tensor(0.7)), (x * 9).long().fill_(-1.9)), A),
    "fill_diagonal_": (lambda m, x: ((x * 1).fill_diagonal_(7.0), (x * 1).t().fill_diagonal_(1)), A),
    "fill_diagonal_ tall": (
        lambda m, x: ((x * 1).fill_diagonal_(7.0, wrap=True), (x * 1).fill_diagonal_(7.0)),
        RNG.normal(size=(7, 3)),
    ),
    "fill_diagonal_ cube": (lambda m, x: (x * 1).fill_diagonal_(5), RNG.normal(size=(3, 3, 3))),
    "is_same_size": (lambda m, x: [x.is_same_size(x + 1), m.is_same_size(x, x[0])], A),
}


@pytest.mark.parametrize("name", CALLS)
def test_method(name: str) -> None:
    code, *arrays = CALLS[name]
    agree(torch, code, *arrays, n=20)


@pytest.mark.parametrize("name", [n for n, c in CALLS.items() if c[1].dtype.kind == "f"])
def test_method_in_float32(name: str) -> None:
    code, *arrays = CALLS[name]
    agree(torch, code, *(a.astype(np.float32) for a in arrays), n=40, scale=8.0)


REFUSED: dict[str, tuple[Any, ...]] = {
    "addr": (lambda m, x: x.addr(x, x), A),
    "allclose": (lambda m, x: x.allclose(3), A),
    "argsort": (lambda m, x: x.argsort(2), A),
    "bincount": (lambda m, x: x.bincount(), A),
    "cross": (lambda m, x: x.cross(x), V),
    "cummax": (lambda m, x: x.cummax(5), A),
    "dot": (lambda m, x: x.dot(x), A),
    "dsplit": (lambda m, x: x.dsplit(2), A),
    "index_copy": (lambda m, x: x.index_copy(0, m.tensor([9]), x[:1]), A),
    "index_fill": (lambda m, x: x.index_fill(0, m.tensor([0.5]), 1.0), A),
    "kthvalue": (lambda m, x: x.kthvalue(9), A),
    "renorm": (lambda m, x: x.renorm(2, 0, 1.0), V),
    "topk": (lambda m, x: x.topk(9), A),
    "unflatten": (lambda m, x: x.unflatten(1, (3, 2)), A),
    "where": (lambda m, x: x.where(x, x), A),
    "squeeze_ of a leaf": (lambda m, x: x.requires_grad_().squeeze_(), A),
    "transpose_": (lambda m, x: x.transpose_(0, 2), A),
    "t_": (lambda m, x: x.t_(), C),
    "unsqueeze_": (lambda m, x: x.unsqueeze_(4), A),
    "as_strided": (lambda m, x: x.as_strided((2, 2), (1,)), A),
    "as_strided beyond": (lambda m, x: x.as_strided((9, 9), (9, 1)), A),
    "as_strided backwards": (lambda m, x: x.as_strided((2,), (-1,)), A),
    "fill_diagonal_": (lambda m, x: x.fill_diagonal_(1), V),
    "fill_diagonal_ uneven": (lambda m, x: x.fill_diagonal_(1), C),
    "scatter_reduce": (lambda m, x: x.scatter_reduce_(0, m.tensor([[0]]), x, "nothing"), A),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name: str) -> None:
    code, *arrays = REFUSED[name]
    refuse(torch, code, *arrays)


IN_PLACE = [
    "abs",
    "acos",
    "arccos",
    "arcsin",
    "arctan",
    "asin",
    "atan",
    "ceil",
    "clamp_max",
    "clamp_min",
    "conj_physical",
    "cos",
    "cosh",
    "deg2rad",
    "erf",
    "erfc",
    "exp",
    "exp2",
    "expm1",
    "fix",
    "floor",
    "frac",
    "neg",
    "negative",
    "rad2deg",
    "round",
    "sigmoid",
    "sin",
    "sinc",
    "sinh",
    "square",
    "tan",
    "tanh",
    "trunc",
    "arcsinh",
    "asinh",
    "arctanh",
    "atanh",
]
POSITIVE = ["acosh", "arccosh", "log", "log10", "log1p", "log2", "reciprocal", "rsqrt", "sqrt"]


@pytest.mark.parametrize("name", IN_PLACE + POSITIVE)
def test_in_place_functions(name: str) -> None:
    x = np.linspace(0.1, 0.9, 6) + (1 if name in POSITIVE else 0)
    extra = (0.5,) if name.startswith("clamp_") else ()
    grad = not name.endswith(("sinh", "cosh", "tanh")) or name in (
        "sinh",
        "cosh",
        "tanh",
    )  # PyTorch has no derivative of asinh_
    agree(torch, lambda m, t: getattr(m, name + "_")(t * 1, *extra), x, n=4, grad=grad)
    agree(torch, lambda m, t: getattr(t * 1, name + "_")(*extra), x, n=4, grad=grad)
    refuse(torch, lambda m, t: getattr(m, name + "_")(t, 1, 2, 3), x)


def test_in_place_functions_with_arguments() -> None:
    x = np.linspace(0.1, 0.9, 6)
    agree(
        torch,
        lambda m, t: (m.clamp_(t * 1, 0.2, 0.5), m.clip_(t * 1, max=0.5), m.logit_(t * 1), m.nan_to_num_(t * 1)),
        x,
    )
    agree(torch, lambda m, t: (m.fill_(t * 1, 2.0), m.zero_(t * 1), m.xlogy_(t * 1, t), m.ldexp_(t * 1, t)), x)
    agree(torch, lambda m, t: (m.relu_(t - 0.5), m.selu_(t - 0.5), m.celu_(t - 0.5), m.threshold_(t * 1, 0.3, 0.0)), x)
    agree(
        torch, lambda m, t: (m.index_put_(t * 1, (m.tensor([0]),), t[1]), m.detach(t), m.clone(t), m.detach_(t * 1)), x
    )
