"""Checkpointing: equal gradients in every way to run, functions run again only when needed, random numbers as they were."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
from where import KIND

import graphc as gc
from graphc.utils.checkpoint import CheckpointError, checkpoint, checkpoint_sequential

X = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)


def network():
    gc.manual_seed(0)
    return gc.nn.Sequential(gc.nn.Linear(4, 5), gc.nn.Tanh(), gc.nn.Linear(5, 3))


def gradients(model, through, checkpointed):
    def loss(x):
        h = x * 2
        y = checkpoint(model, h, use_reentrant=False) if checkpointed else model(h)
        return (y.exp() * y).sum()

    x = gc.tensor(X, requires_grad=True)
    model.zero_grad()
    value = through(loss)(x)
    value.backward()
    return [value.detach(), x.grad, *(p.grad for p in model.parameters())]


@pytest.mark.parametrize("through", [lambda f: f, gc.compile], ids=["eager", "compiled"])
def test_gradients_are_the_same(through):
    model = network()
    plain = gradients(model, lambda f: f, False)
    for a, b in zip(gradients(model, through, True), plain, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-6)


def test_in_a_graph():
    model = network()
    graph = gc.Graph()
    with graph.as_default():
        x = gc.placeholder((2, 4), name="x")
        loss = checkpoint(model, x).sum()
        fetches = gc.gradients(loss, list(model.parameters()))
    with gc.Session(graph) as session:
        found = session.run(list(fetches), feed_dict={x: X})
    model(gc.tensor(X)).sum().backward()
    for a, p in zip(found, model.parameters(), strict=True):
        np.testing.assert_allclose(np.asarray(a), p.grad.numpy(), rtol=1e-5)


def test_a_function_runs_again_when_its_gradient_is_wanted_and_not_before():
    runs = []

    def f(x):
        runs.append(gc.is_grad_enabled())
        return x.exp().sin()

    x = gc.tensor(X, requires_grad=True)
    y = checkpoint(f, x)
    assert len(runs) == 1
    y.sum().backward()
    assert len(runs) == 2
    with gc.no_grad():
        checkpoint(f, x)
    assert runs[2:] == [False]


def test_what_the_function_computed_is_not_kept():
    inner = []

    def f(x):
        h = x * 2
        inner.append(weakref.ref(h))
        return (h.exp() * h).sum()

    x = gc.tensor(X, requires_grad=True)
    y = checkpoint(f, x)
    assert inner[0]() is None
    y.backward()
    assert x.grad is not None


def test_a_compiled_gradient_reads_the_arguments_alone():
    def chain(x):
        for _ in range(8):
            x = gc.tanh(x @ x)
        return x

    def peak(f):
        x = gc.rand(96, 96, requires_grad=True)
        call = gc.compile(f)
        call(x).sum().backward()
        (build,) = call.builds()
        return len(build.backward.residual_inputs)

    assert peak(chain) > 8
    assert peak(lambda x: checkpoint(chain, x)) <= 2


@pytest.mark.parametrize("through", [lambda f: f, gc.compile], ids=["eager", "compiled"])
def test_random_numbers_are_the_same_again(through):
    def step(x):
        y = checkpoint(lambda t: gc.nn.functional.dropout(t, 0.5) * 1.0, x)
        gc.rand(3)
        y.sum().backward()
        return y

    x = gc.ones(200, requires_grad=True)
    gc.manual_seed(5)
    y = through(step)(x)
    after = gc.rand(2).tolist()
    assert np.array_equal(x.grad.numpy(), y.detach().numpy())
    gc.manual_seed(5)
    gc.nn.functional.dropout(gc.ones(200), 0.5)
    gc.rand(3)
    assert gc.rand(2).tolist() == after


def test_autocast_is_the_same_again():
    seen = []

    def f(x):
        y = x @ x.t()
        seen.append(y.dtype)
        return y

    x = gc.tensor(X, requires_grad=True)
    with gc.autocast(KIND):
        y = checkpoint(f, x)
    y.float().sum().backward()
    assert seen == [gc.get_autocast_dtype(KIND)] * 2


def test_second_derivatives():
    w, x = gc.tensor([2.0, 3.0], requires_grad=True), gc.tensor([1.0, 2.0], requires_grad=True)
    found = []
    for f in (lambda t: (w * t * t).sin(), lambda t: checkpoint(lambda u: (w * u * u).sin(), t)):
        (g,) = gc.autograd.grad(f(x * 1.5).sum(), x, create_graph=True)
        found.append([t.numpy() for t in gc.autograd.grad(g.sum(), [x, w])])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)


def test_hooks_of_what_the_function_reads_run_once():
    w, x, seen = gc.ones(2, requires_grad=True), gc.ones(2, requires_grad=True), []
    w.register_hook(lambda g: seen.append("w") or g * 10)
    x.register_hook(lambda g: seen.append("x"))
    checkpoint(lambda t: t * w, x).sum().backward()
    assert sorted(seen) == ["w", "x"] and w.grad.tolist() == [10.0, 10.0]


def test_nests_keywords_and_what_is_no_tensor():
    def f(pair, scale=1.0):
        a, b = pair["a"], pair["b"]
        return {"sum": (a + b) * scale, "b": b, "note": "x", "whole": a.long()}

    a, b = gc.ones(2, requires_grad=True), gc.ones(2)
    found = checkpoint(f, {"a": a, "b": b}, scale=3.0)
    assert found["note"] == "x" and not found["b"].requires_grad and found["whole"].dtype is gc.int64
    found["sum"].sum().backward()
    assert a.grad.tolist() == [3.0, 3.0] and b.grad is None


def test_contexts_for_both_runs():
    entered = []

    class Noted:
        def __init__(self, name):
            self.name = name

        def __enter__(self):
            entered.append(self.name)

        def __exit__(self, *_):
            pass

    x = gc.ones(2, requires_grad=True)
    checkpoint(lambda t: t.exp(), x, context_fn=lambda: (Noted("first"), Noted("again"))).sum().backward()
    assert entered == ["first", "again"]


def test_what_is_refused():
    x = gc.ones(3, requires_grad=True)
    sizes = iter((3, 2))
    y = checkpoint(lambda t: t[: next(sizes)] * 2, x)
    with pytest.raises(CheckpointError, match="different metadata than those in forward"):
        y.sum().backward()
    z = checkpoint(lambda t: t.exp(), h := x * 1)
    with gc.no_grad():
        h.add_(1)
    with pytest.raises(gc.errors.GradientError, match="modified by an inplace operation"):
        z.sum().backward()
    with pytest.raises(ValueError, match="Unexpected keyword arguments: k"):
        checkpoint(lambda t, k: t, x, k=1, use_reentrant=True)
    with pytest.raises(ValueError, match="Unexpected keyword arguments: k"):
        checkpoint_sequential([lambda t: t], 1, x, k=1)


@pytest.mark.opencl
@pytest.mark.parametrize("through", [lambda f: f, gc.compile], ids=["eager", "compiled"])
def test_on_a_device(through):
    model = network()
    wanted = gradients(model, lambda f: f, False)
    model.to("opencl")

    def loss(x):
        y = checkpoint(model, x * 2)
        return (y.exp() * y).sum()

    x = gc.tensor(X, device="opencl", requires_grad=True)
    model.zero_grad()
    through(loss)(x).backward()
    for a, b in zip([x.grad, *(p.grad for p in model.parameters())], wanted[1:], strict=True):
        np.testing.assert_allclose(a.cpu().numpy(), b.numpy(), rtol=1e-4, atol=1e-6)
