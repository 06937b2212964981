"""`autograd.functional` and `func` against PyTorch: values, shapes, nests, what stays on the tape, refusals."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from side_by_side import flat, refuse
from tolerances import assert_close

import graphc as gc

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

with warnings.catch_warnings():  # loads parts of PyTorch that must not meet the recorder
    warnings.simplefilter("ignore")
    torch.func.jacfwd(torch.sin)(torch.ones(1))
X, W = [1.0, 2.0, 3.0], [0.5, 1.0, 2.0]
Y = [[0.5, 1.0], [2.0, 3.0], [1.0, 1.0]]


def func_of(m: Any) -> Any:
    return import_module(f"{m.__name__}.func")


def double(m: Any, numbers: Any) -> Any:
    return m.tensor(numbers, dtype=m.float64)


def agreed(case: Any) -> None:
    """Runs `case(m, namespace)` on both and compares the tensors it gives."""
    name = case.__module__ and case.__name__
    ours, theirs = flat(case(gc)), flat(case(torch))
    assert len(ours) == len(theirs), name
    for a, b in zip(ours, theirs, strict=True):
        if isinstance(b, torch.Tensor):
            assert a.requires_grad == b.requires_grad
            assert_close(a.detach(), b.detach(), n=16)
        else:
            assert a == b


def two(a: Any, b: Any) -> Any:
    return a * a @ b, a.exp()


def one(a: Any, b: Any) -> Any:
    return (a * a @ b).prod() + (a.exp() * b[:, 0]).sum()


def products(m: Any) -> Any:
    f, x, y = m.autograd.functional, double(m, X), double(m, Y)
    v, u = (double(m, [1.0, 2.0]), double(m, X)), (double(m, W), double(m, Y) * 2)
    return [
        f.vjp(two, (x, y), v), f.jvp(two, (x, y), u), f.vhp(one, (x, y), u), f.hvp(one, (x, y), u),
        f.vjp(lambda a: a.sum(), x), f.jvp(lambda a: a * 2, x[:1]), f.vhp(lambda a: (a**3).sum(), x, v[1]),
    ]  # fmt: skip


def matrices(m: Any) -> Any:
    f, x, y = m.autograd.functional, double(m, X), double(m, Y)
    return [
        f.jacobian(two, (x, y)), f.hessian(one, (x, y)), f.jacobian(lambda a: a.sin(), x),
        f.hessian(lambda a: a.sin().sum(), x), f.jacobian(lambda a: a.sum(), x), f.jacobian(lambda a: m.ones(2).double(), x),
        f.jacobian(lambda a: a * 2, x, vectorize=True, strategy="forward-mode"),
    ]  # fmt: skip


def on_the_tape(m: Any) -> Any:
    f, x = m.autograd.functional, double(m, X).requires_grad_()
    found = [
        f.jacobian(lambda a: a**3, x, create_graph=True), f.hvp(lambda a: (a**3).sum(), x, double(m, W), create_graph=True)[1],
        f.vjp(lambda a: a**3, x, double(m, W), create_graph=True)[1], f.jacobian(lambda a: a**3, x),
    ]  # fmt: skip
    (found[0].sum() + found[1].sum() + found[2].sum()).backward()
    return [*found, x.grad]


def derivatives(m: Any) -> Any:
    f, x, w = func_of(m), double(m, X), double(m, W)

    def g(a: Any, b: Any) -> Any:
        return (a * a * b).sin().sum()

    out, pull = f.vjp(lambda a, b: (a * b, a.exp()), x, w)
    aux_out, aux_pull, aux = f.vjp(lambda a: (a * 2, a.sum()), x, has_aux=True)
    return [
        f.grad(g)(x, w), f.grad(g, argnums=(0, 1))(x, w), f.grad_and_value(g)(x, w), f.grad(g, argnums=-1)(x, w),
        f.grad(lambda a: f.grad(g)(a, w).sum())(x), f.grad(lambda d: (d["x"] * d["w"]).sum())({"x": x, "w": w})["w"],
        f.grad(lambda a: (a.sum() * 2, a * 3), has_aux=True)(x), f.grad_and_value(lambda a: (a.sum(), a), has_aux=True)(x),
        out, pull((x, w)), aux_out, aux_pull(w), aux,
        f.jvp(lambda a, b: (a * b).sin(), (x, w), (w, x)), f.jvp(lambda a: (a * 2, a), (x,), (w,), has_aux=True),
        f.jacrev(lambda a: a.sin())(x), f.jacfwd(lambda a, b: a * b.sum(), argnums=1)(x, w),
        f.jacrev(lambda a: (a.sin(), a.sum()))(x), f.jacrev(lambda a, b: a * b, argnums=(0, 1))(x, w),
        f.jacrev(lambda a: (a * 2, a), has_aux=True)(x), f.hessian(lambda a: (a**3).sum())(x),
    ]  # fmt: skip


def closures(m: Any) -> Any:
    f, x = func_of(m), double(m, X)
    w = double(m, W).requires_grad_()
    found = f.grad(lambda a: (a * a * w).sum())(x)
    found.sum().backward()
    with m.no_grad():
        quiet = f.grad(lambda a: (a * a).sum())(x)
    return [found, w.grad, quiet, f.grad(lambda a: a.sum())(x)]


def batches(m: Any) -> Any:
    f = func_of(m)
    x, w = m.arange(6, dtype=m.float64).reshape(2, 3), double(m, X)
    return [
        f.vmap(m.dot)(x, x), f.vmap(m.dot, in_dims=(0, None))(x, w), f.vmap(lambda a: a * 2, in_dims=1, out_dims=1)(x),
        f.vmap(f.grad(lambda a, b: (a * a * b).sum()), in_dims=(0, None))(x, w), f.vmap(lambda a: (a.sum(), a.max()))(x),
        f.vmap(f.vmap(lambda a: a * 3))(x), f.vmap(lambda d: d["a"] + d["b"], in_dims=({"a": 0, "b": None},))({"a": x, "b": w}),
        f.vmap(lambda a, k=1: a * k)(x, k=2), f.vmap(lambda a: a + 0 * m.rand(3).double(), randomness="different")(x),
    ]  # fmt: skip


def modules(m: Any) -> Any:
    f, x = func_of(m), m.ones(2, 3)
    nets = [m.nn.Sequential(m.nn.Linear(3, 2), m.nn.BatchNorm1d(2)) for _ in range(2)]
    with m.no_grad():
        for k, net in enumerate(nets):
            net[0].weight.copy_(m.arange(6.0).reshape(2, 3) + k)
            net[0].bias.fill_(k)
            net.eval()
    params, buffers = f.stack_module_state(nets)
    other = {"0.weight": m.ones(2, 3).requires_grad_()}
    found = f.functional_call(nets[0], other, (x,))
    found.sum().backward()
    ensemble = f.vmap(lambda p, b: f.functional_call(nets[0], (p, b), (x,)))(params, buffers)
    return [found, other["0.weight"].grad, ensemble, sorted(params), sorted(buffers), nets[0](x)]


@pytest.mark.parametrize("case", [products, matrices, on_the_tape, derivatives, closures, batches, modules])
def test_agrees(case: Any) -> None:
    agreed(case)


REFUSED: dict[str, Any] = {
    "vjp of a list": lambda m: m.autograd.functional.vjp(lambda a: a, [m.ones(2)]),
    "vjp without v": lambda m: m.autograd.functional.vjp(lambda a: a, m.ones(2)),
    "v of another size": lambda m: m.autograd.functional.vjp(lambda a: a, m.ones(2), m.ones(3)),
    "strict": lambda m: m.autograd.functional.jacobian(lambda a: m.ones(2), m.ones(2), strict=True),
    "hessian of a vector": lambda m: m.autograd.functional.hessian(lambda a: a, m.ones(2)),
    "grad of a vector": lambda m: func_of(m).grad(lambda a: a)(m.ones(2)),
    "grad of nothing": lambda m: func_of(m).grad(lambda a: 3.0)(m.ones(2)),
    "argnums": lambda m: func_of(m).grad(lambda a: a.sum(), argnums=2)(m.ones(2)),
    "jvp": lambda m: func_of(m).jvp(lambda a: a, m.ones(2), m.ones(2)),
    "randomness": lambda m: func_of(m).vmap(lambda a: a + m.rand(2))(m.ones(3, 2)),
    "sizes": lambda m: func_of(m).vmap(m.dot)(m.ones(2, 3), m.ones(3, 3)),
    "no dimension": lambda m: func_of(m).vmap(lambda a: a, in_dims=None)(m.ones(3)),
    "a name": lambda m: func_of(m).functional_call(m.nn.Linear(1, 1), {"x": m.ones(1)}, m.ones(1), strict=True),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    refuse(torch, REFUSED[name])


def test_derivatives_compile() -> None:
    x = gc.tensor(X)
    for f in (
        lambda a: gc.func.grad(lambda b: (b * b).sin().sum())(a),
        lambda a: gc.func.hessian(lambda b: (b**3).sum())(a),
        lambda a: gc.func.vmap(lambda b: b * b)(a),
        lambda a: gc.autograd.functional.hvp(lambda b: (b**3).sum(), a, a)[1],
    ):
        np.testing.assert_allclose(gc.compile(f)(x).numpy(), f(x).numpy(), rtol=1e-6)
