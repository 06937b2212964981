"""DataParallel: parts of a batch, joined to what one call would give."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gc
from graphc import nn
from graphc.nn.parallel import data_parallel

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
