"""DataParallel: parts of a batch, joined to what one call would give."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gc
from graphc import nn
from graphc.nn.parallel import data_parallel, gather, parallel_apply, replicate, scatter
from graphc.nn.parallel.scatter_gather import scatter_kwargs

X = np.random.default_rng(0).normal(size=(10, 5)).astype(np.float32)


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.sizes = nn.Linear(5, 3), []

    def forward(self, x, scale=1.0):
        self.sizes.append(len(x))
        return self.linear(x) * scale


def pair():
    gc.manual_seed(0)
    model = Counting().to("cpu")
    return model, nn.DataParallel(model, device_ids=["cpu"] * 4)


def test_once_per_part_and_equal_to_the_whole():
    model, parallel = pair()
    whole = model.linear(gc.from_numpy(X))
    found = parallel(gc.from_numpy(X))
    assert model.sizes == [3, 3, 3, 1]  # as chunk splits
    np.testing.assert_allclose(found.detach().numpy(), whole.detach().numpy(), rtol=1e-6)


def test_a_short_batch_has_fewer_parts():
    model, parallel = pair()
    parallel(gc.from_numpy(X[:2]))
    assert model.sizes == [1, 1]


def test_gradients_equal_those_of_the_whole():
    grads = []
    for which in (0, 1):
        models = pair()
        models[which](gc.from_numpy(X), scale=2.0).pow(2).sum().backward()
        grads.append(models[0].linear.weight.grad.numpy())
    np.testing.assert_allclose(grads[1], grads[0], rtol=1e-5)


def test_in_a_compiled_step():
    losses = []
    for which in (0, 1):
        models = pair()
        model, optimizer = models[which], gc.optim.SGD(models[0].parameters(), lr=0.05)

        def step(x, model=model, optimizer=optimizer):
            optimizer.zero_grad()
            loss = model(x).pow(2).mean()
            loss.backward()
            optimizer.step()
            return loss

        compiled = gc.compile(step)
        losses.append([compiled(gc.from_numpy(X)).item() for _ in range(3)])
        if which:
            assert models[0].sizes == [3, 3, 3, 1]  # at the one trace
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)


def test_without_devices_the_module_just_runs():
    model, _ = pair()
    nn.DataParallel(model)(gc.from_numpy(X))
    assert model.sizes == [10]


def test_nests_and_numbers():
    class Nested(nn.Module):
        def forward(self, batch, name):
            x, y = batch["x"], batch["y"]
            return {"sum": x + y, "pair": (x, y), "mean": x.mean(), "name": None}

    found = nn.DataParallel(Nested(), device_ids=["cpu", "cpu"])
    with pytest.warns(UserWarning, match="scalars"):
        out = found({"x": gc.from_numpy(X), "y": gc.from_numpy(X)}, name="a")
    np.testing.assert_allclose(out["sum"].numpy(), X + X)
    assert [tuple(t.shape) for t in out["pair"]] == [(10, 5), (10, 5)]
    assert out["mean"].shape == (2,)
    assert out["name"] is None


def test_in_functional_form_and_along_another_dimension():
    found = data_parallel(nn.Softmax(0), gc.from_numpy(X), ["cpu", "cpu"], dim=1)
    np.testing.assert_allclose(found.numpy(), gc.softmax(gc.from_numpy(X), 0).numpy(), rtol=1e-6)


def test_state_dict_has_the_module_inside():
    _, parallel = pair()
    assert list(parallel.state_dict()) == ["module.linear.weight", "module.linear.bias"]


def test_mistakes():
    model, _ = pair()
    with pytest.raises(TypeError, match="device_ids"):
        nn.DataParallel(model, device_ids=[1.5])
    with pytest.raises(RuntimeError, match="no mps device"):
        nn.DataParallel(model, device_ids=["mps"])
    with pytest.raises(ValueError, match="split into 1 and 2 parts"):
        nn.DataParallel(nn.Bilinear(5, 5, 2).to("cpu"), device_ids=["cpu"] * 2)(gc.from_numpy(X), gc.from_numpy(X[:1]))


def test_what_is_no_tensor_is_in_every_part():
    seen = []

    class Numbers(nn.Module):
        def forward(self, n, word="a"):
            seen.append((n, word))
            return [gc.ones(1) * n]

    (found,) = nn.DataParallel(Numbers(), device_ids=["cpu", "cpu"])(2, word="b")
    assert seen == [(2, "b"), (2, "b")]
    assert found.tolist() == [2, 2]
    assert scatter_kwargs((), None, ["cpu", "cpu"]) == (((),), ({},))
    assert scatter_kwargs((1,), {"a": 2}, ["cpu", "cpu"]) == (((1,), (1,)), ({"a": 2}, {"a": 2}))


@pytest.mark.parametrize("through", [lambda fn: fn, gc.compile], ids=["eager", "compiled"])
def test_by_hand_as_data_parallel_does_it(through):
    model, parallel = pair()

    def forward(x, scale):
        parts = scatter((x, {"scale": scale}), ["cpu"] * 4)
        modules = replicate(model, ["cpu"] * 4)[: len(parts)]
        return gather(parallel_apply(modules, [p[0] for p in parts], [p[1] for p in parts]), "cpu")

    grads, outs = [], []
    for fn in (through(forward), parallel):
        model.zero_grad()
        out = fn(gc.from_numpy(X), 2.0)
        out.pow(2).sum().backward()
        outs.append(out.detach().numpy())
        grads.append(model.linear.weight.grad.numpy())
    np.testing.assert_allclose(outs[0], outs[1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(grads[0], grads[1], rtol=1e-5, atol=1e-6)


def test_parts_of_a_tensor_are_chunks():
    x = gc.from_numpy(X)
    parts = scatter(x, ["cpu"] * 3, dim=1)
    assert type(parts) is tuple
    assert [p.tolist() for p in parts] == [p.tolist() for p in x.chunk(3, 1)]
    assert type(scatter([x], ["cpu"] * 3)) is list
    assert gather(parts, "cpu", dim=1).tolist() == x.tolist()


def test_detached_replicas_learn_nothing():
    model = nn.Linear(5, 3)
    a, b = replicate(model, ["cpu", "cpu"], detach=True)
    assert a is not b
    assert a is not model
    assert not a(gc.ones(5)).requires_grad
    assert replicate(model, ["cpu"])[0](gc.ones(5)).requires_grad
    assert [type(m) for m in replicate(nn.Sequential(nn.Linear(1, 1)), ["cpu"])[0]] == [nn.Linear]


def test_unequal_numbers_of_modules():
    for more in (([1, 2],), ([1], [{}, {}]), ([1], None, ["cpu", "cpu"])):
        with pytest.raises(AssertionError, match="The number of modules 1 is not equal to the number of"):
            parallel_apply([nn.ReLU()], *more)
    with pytest.raises(TypeError, match="a module's result of type int cannot be joined"):
        gather([1, 2], "cpu")
    with pytest.raises(ValueError, match="All dicts must have the same number of keys"):
        gather([{"a": None}, {"b": None}], "cpu")


@pytest.mark.opencl
def test_on_two_devices():
    model, _ = pair()
    x = gc.from_numpy(X)
    whole = model(x)
    whole.sum().backward()
    want = model.linear.weight.grad.clone()
    model.zero_grad()
    found = nn.DataParallel(model, device_ids=["cpu", "opencl:0"])(x)
    assert found.device == gc.device("cpu")
    np.testing.assert_allclose(found.detach().numpy(), whole.detach().numpy(), rtol=1e-5)
    found.sum().backward()
    np.testing.assert_allclose(model.linear.weight.grad.numpy(), want.numpy(), rtol=1e-5)
    with pytest.raises(ValueError, match=r"must have its parameters and buffers on device opencl:0"):
        nn.DataParallel(model, device_ids=["opencl:0", "cpu"])(x)
