"""Gradients of gradients of compiled functions are those of the same code in eager mode, whatever the tape says."""

from __future__ import annotations

import gc as garbage
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from derivative_cases import CASES, derivatives

import graphc as gc

X, W = np.array([0.7, -1.1, 0.4]), np.array([0.9, 0.3, -0.6])


def eager(name):
    return lambda x, w: CASES[name](gc, x, w)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dynamic", [None, True], ids=["numbers", "unknown sizes"])
def test_derivatives_of_compiled_functions(name, dynamic):
    want = derivatives(gc, eager(name), (X, W))
    found = derivatives(gc, gc.compile(eager(name), dynamic=dynamic), (X, W))
    assert len(found) == len(want)
    for a, b in zip(found, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_derivatives_within_an_outer_function(name):
    inner = gc.compile(eager(name))

    def outer(x, w):
        found = gc.autograd.grad(inner(x, w).sum(), [x, w], create_graph=True, allow_unused=True)
        return sum(((g**2).sum() for g in found if g is not None), gc.zeros((), dtype=gc.float64))

    x, w = (gc.tensor(a, requires_grad=True) for a in (X, W))
    total = gc.compile(outer)(x, w)
    found = gc.autograd.grad(total, [x, w], allow_unused=True) if total.requires_grad else [None, None]
    want = derivatives(gc, eager(name), (X, W), orders=2)[2:] or [np.zeros(3)] * 2
    for a, b in zip(found, want, strict=True):
        np.testing.assert_allclose(np.zeros(3) if a is None else a.numpy(), b, rtol=1e-9, atol=1e-10)


def test_what_a_custom_gradient_reads_is_read_anew():
    scale = gc.tensor(2.0, dtype=gc.float64, requires_grad=True)

    class Scaled(gc.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            return g * scale * ctx.saved_tensors[0]

    f = gc.compile(lambda x: Scaled.apply(x).sum())
    x = gc.tensor(X, requires_grad=True)
    for factor in (2.0, 5.0):
        with gc.no_grad():
            scale.fill_(factor)
        (g,) = gc.autograd.grad(f(x), x, create_graph=True)
        np.testing.assert_allclose(g.detach().numpy(), factor * X)
        dx, ds = gc.autograd.grad(g.sum(), [x, scale])
        np.testing.assert_allclose(dx.numpy(), [factor] * 3)
        np.testing.assert_allclose(ds.numpy(), X.sum())


def test_what_was_changed_since_is_refused():
    f = gc.compile(lambda x, w: (x * w).exp())
    x, w = gc.tensor(X, requires_grad=True), gc.tensor(W)
    (g,) = gc.autograd.grad(f(x, w).sum(), x, create_graph=True)
    w.add_(1)
    with pytest.raises(gc.errors.GradientError, match="modified by an inplace operation"):
        gc.autograd.grad(g.sum(), x)


def test_a_freed_gradient_is_not_differentiated_again():
    x = gc.tensor(X, requires_grad=True)
    (g,) = gc.autograd.grad(gc.compile(lambda x: x.exp())(x).sum(), x, create_graph=True)
    total = g.sum()
    gc.autograd.grad(total, x)
    with pytest.raises(gc.errors.GradientError, match="a second time"):
        gc.autograd.grad(total, x)


def test_arguments_of_the_first_call_are_not_kept():
    f = gc.compile(lambda x, w: (x * w.detach()).exp())
    x = gc.tensor(X, requires_grad=True)
    w = gc.tensor(W, requires_grad=True)
    seen = [weakref.ref(x), weakref.ref(w)]
    derivatives(gc, f, (X, W))
    gc.autograd.grad(f(x, w).sum(), x)
    del x, w
    garbage.collect()
    assert [ref() for ref in seen] == [None, None]
    first = [gc.tensor(X, requires_grad=True), gc.tensor(W, requires_grad=True)]
    other = gc.compile(lambda x, w: (x * w.detach()).exp())
    other(*first).sum().backward()
    seen = [*map(weakref.ref, first)]
    del first
    garbage.collect()
    assert [ref() for ref in seen] == [None, None]


def test_threads_differentiate_one_function():
    f = gc.compile(eager("no_grad between"))
    want = derivatives(gc, eager("no_grad between"), (X, W))
    f(gc.tensor(X, requires_grad=True), gc.tensor(W, requires_grad=True))
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: derivatives(gc, f, (X, W)), range(8)):
            for a, b in zip(found, want, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)
