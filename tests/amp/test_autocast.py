"""Autocast in every way to run a program: eager, compiled, in a graph; what it keeps, and what devices do."""

from __future__ import annotations

import gc as collector

import numpy as np
import pytest
from where import KIND

import graphc as gc
from graphc.core.autocast import DEFAULTS, FULL, brought
from graphc.functions.casting import CACHE

X = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
W = np.linspace(-2, 1, 12, dtype=np.float32).reshape(3, 4)

#: what autocast computes in where tensors are made, and another precision; another kind of device
LOWER = DEFAULTS[KIND]
OTHER = gc.float16 if LOWER is gc.bfloat16 else gc.bfloat16
ELSEWHERE = "opencl" if KIND == "cpu" else "cpu"


def layer() -> gc.nn.Linear:
    made = gc.nn.Linear(3, 4)
    with gc.no_grad():
        made.weight.copy_(gc.tensor(W.T))
        made.bias.zero_()
    return made


def forward(model, x):
    with gc.autocast(KIND):
        return gc.nn.functional.mse_loss(model(x), gc.zeros(2, 4)), model(x)


def test_eager_compiled_and_session_agree():
    model = layer()
    loss, out = forward(model, gc.tensor(X))
    assert (loss.dtype, out.dtype) == (gc.float32, LOWER)
    compiled = [x.detach() for x in gc.compile(forward)(model, gc.tensor(X))]
    graph = gc.Graph()
    with graph.as_default():
        x = gc.placeholder((None, 3), name="x")
        fetches = forward(model, x)
    with gc.Session(graph) as session:
        run = session.run(list(fetches), feed_dict={x: X})
    for found in (compiled, run):
        assert np.array_equal(np.asarray(found[1]).astype(np.float32), out.float().detach().numpy())
        np.testing.assert_allclose(float(found[0]), loss.item(), rtol=1e-5)


def test_a_compiled_step_trains_as_the_eager_one_does():
    def trained(through):
        model = layer()
        opt = gc.optim.SGD(model.parameters(), lr=0.1)

        def step(x):
            opt.zero_grad()
            loss, _ = forward(model, x)
            loss.backward()
            opt.step()
            return loss

        call = through(step)
        return [call(gc.tensor(X)).item() for _ in range(4)], model.weight.detach().numpy()

    (a, v), (b, w) = trained(lambda f: f), trained(gc.compile)
    np.testing.assert_allclose(a, b, rtol=1e-2)
    np.testing.assert_allclose(v, w, atol=1e-2)


def test_a_compiled_function_is_built_for_each_precision_and_finds_its_builds_again():
    f = gc.compile(lambda x, w: x @ w)
    x, w = gc.tensor(X), gc.tensor(W)
    for _ in range(3):
        assert f(x, w).dtype is gc.float32
        with gc.autocast(KIND):
            assert f(x, w).dtype is LOWER
            assert f(x, w).dtype is LOWER
        with gc.autocast(KIND, dtype=OTHER):
            assert f(x, w).dtype is OTHER
    assert len(f.recompiles) == 3


def test_an_eager_compiled_call_is_not_mistaken(monkeypatch):
    monkeypatch.setattr(gc.config, "eager", "compiled")
    x, model = gc.tensor(X), layer()
    for _ in range(2):
        assert model(x).dtype is gc.float32
        with gc.autocast(KIND):
            assert model(x).dtype is LOWER
            normed = gc.nn.functional.layer_norm(model(x), (4,))
            assert normed.dtype is (LOWER if KIND == "cpu" else gc.float32)


def test_a_parameter_is_cast_once_per_context_and_anew_when_it_was_written():
    model, x = layer(), gc.tensor(X)
    with gc.autocast(KIND):
        first = model(x)
        assert len(CACHE.made) == 2  # weight and bias
        model(x)
        assert len(CACHE.made) == 2
        with gc.no_grad():
            model.weight.mul_(2)
        second = model(x)
    assert not CACHE.made
    np.testing.assert_allclose(second.float().detach().numpy(), 2 * first.float().detach().numpy())
    with gc.autocast(KIND, cache_enabled=False):
        model(x)
        assert not CACHE.made


def test_a_cast_made_without_the_tape_is_not_used_with_it():
    model, x = layer(), gc.tensor(X)
    with gc.autocast(KIND):
        with gc.no_grad():
            model(x)
        model(x).float().sum().backward()
    assert model.weight.grad.dtype is gc.float32


def test_rules_and_updates_run_without_autocast():
    a = gc.tensor(X, requires_grad=True)
    (a @ gc.tensor(W)).sum().backward()
    wanted, a.grad = a.grad, None
    y = (a @ gc.tensor(W)).sum()
    with gc.autocast(KIND):
        y.backward()
    assert a.grad.dtype is gc.float32
    assert np.array_equal(a.grad.numpy(), wanted.numpy())


def test_an_error_inside_leaves_autocast_as_it_was():
    with pytest.raises(gc.errors.ShapeError), gc.autocast(KIND):
        gc.tensor(X) @ gc.tensor(X)
    assert not gc.is_autocast_enabled(KIND)
    with gc.autocast(KIND):
        with pytest.raises(gc.errors.ShapeError):
            gc.nn.functional.linear(gc.tensor(X), gc.tensor(W))
        assert gc.is_autocast_enabled(KIND)


def test_only_tensors_of_that_device_are_cast():
    def product(x):
        return x @ w

    x, w, half, compiled = gc.tensor(X), gc.tensor(W), gc.tensor(X).half(), gc.compile(product)
    gc.set_autocast_enabled(ELSEWHERE, True)  # switches need no device
    try:
        assert product(x).dtype is compiled(x).dtype is gc.float32
        assert brought(FULL, half)[0] is half
        gc.set_autocast_enabled(KIND, True)
        assert product(x).dtype is compiled(x).dtype is LOWER
    finally:
        gc.set_autocast_enabled(ELSEWHERE, False)
        gc.set_autocast_enabled(KIND, False)
    assert product(x).dtype is compiled(x).dtype is gc.float32


def test_where_a_graph_runs_is_not_known_so_it_is_where_autocast_was_switched_on_last():
    graph = gc.Graph()
    with graph.as_default(), gc.autocast("cpu"):
        y = gc.placeholder((2, 3)) @ gc.placeholder((3, 4))
    assert y.dtype is gc.bfloat16


def test_a_body_in_a_compiled_function_is_where_the_function_is():
    x, w = gc.tensor(X), gc.tensor(W)
    compiled = gc.compile(lambda x, w: gc.cond(x.sum() < 9, lambda: x @ w, lambda: x @ (w + 1)))
    gc.set_autocast_enabled(ELSEWHERE, True)
    try:
        assert compiled(x, w).dtype is gc.float32
    finally:
        gc.set_autocast_enabled(ELSEWHERE, False)


def test_nothing_is_kept_alive():
    model = layer()
    with gc.autocast(KIND):
        model(gc.tensor(X))
    before = sum(issubclass(type(x), gc.Tensor) for x in collector.get_objects())
    for _ in range(3):
        with gc.autocast(KIND):
            model(gc.tensor(X))
    assert sum(issubclass(type(x), gc.Tensor) for x in collector.get_objects()) <= before


@pytest.mark.opencl
def test_devices_follow_the_list_for_cuda():
    x, w = gc.tensor(X, device="opencl"), gc.tensor(W, device="opencl")
    with gc.autocast("opencl"):
        y = x @ w
        assert y.dtype is gc.float16
        for f in (gc.exp, gc.sum, lambda t: gc.softmax(t, -1), lambda t: t**2.0, lambda t: gc.cumsum(t, 0), gc.norm):
            assert f(y).dtype is gc.float32
        assert gc.relu(y).dtype is gc.float16
        a, b = gc.tensor(X, device="cpu"), gc.tensor(W, device="cpu")
        assert (a @ b).dtype is gc.compile(lambda a, b: a @ b)(a, b).dtype is gc.float32
        assert gc.compile(lambda a, b: a @ b)(x, w).dtype is gc.float16


@pytest.mark.opencl
def test_a_compiled_step_on_a_device_and_autocast_of_the_host():
    model = layer().to("opencl")
    x = gc.tensor(X, device="opencl")
    with gc.autocast("cpu"):
        assert gc.compile(model)(x).dtype is model(x).dtype is gc.float32
        assert gc.compile(lambda: model(x).t() @ x)().dtype is gc.float32  # captured, not given


@pytest.mark.opencl
def test_a_scaler_on_a_device_skips_a_step():
    model = layer().to("opencl")
    opt = gc.optim.Adam(model.parameters(), lr=0.1)
    scaler = gc.amp.GradScaler("opencl", init_scale=4.0)
    for factor in (1.0, float("inf"), 1.0):
        before = model.weight.tolist()
        opt.zero_grad()
        loss = (model(gc.tensor(X * np.float32(factor), device="opencl")) ** 2).sum()
        scaler.scale(loss).backward()
        scaler.step(opt)
        scaler.update()
        assert (model.weight.tolist() == before) == (factor != 1.0)
    assert scaler.get_scale() == 2.0 and opt.state_dict()["state"][0]["step"].item() == 2
