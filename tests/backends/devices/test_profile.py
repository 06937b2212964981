"""Profiles of what runs on devices: kernels timed by the devices' own events."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from backends.nvidia import stand_in

import graphc as gc
from graphc import nn, optim
from graphc.backends.devices import ops
from graphc.backends.nvidia import devices, nvrtc
from graphc.profiler import rates

pytestmark = pytest.mark.opencl


@pytest.fixture(params=["opencl", "cuda"])
def backend(request: Any, monkeypatch: Any) -> Any:
    """OpenCL, and CUDA by the stand-in for CuPy; its rates are measured in a hurry and not kept."""
    monkeypatch.setattr(rates, "_KNOWN", {})
    monkeypatch.setattr(rates, "disk", SimpleNamespace(get=lambda key: None, put=lambda *entry: None))
    for name, value in (("_ROWS", (16,)), ("_BYTES", (1 << 13,)), ("_SECONDS", 0.0)):
        monkeypatch.setattr(rates, name, value)
    if request.param == "cuda":
        monkeypatch.setattr(devices, "cuda", stand_in)
        monkeypatch.setattr(nvrtc, "cuda", stand_in)
        monkeypatch.setattr(devices, "cupy", stand_in.whole)
        monkeypatch.setattr(ops, "_MEMORIES", {})
        monkeypatch.setattr(devices.OPENED, "found", {})
        devices.count.cache_clear()
    yield request.param
    devices.count.cache_clear()


def training():
    gc.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 9), nn.Dropout(0.5), nn.ReLU(), nn.Linear(9, 4))
    opt = optim.SGD(model.parameters(), lr=0.1)

    def step(x):
        opt.zero_grad()
        hidden = model(x)
        loss = (hidden * hidden).sum()
        loss.backward()
        opt.step()
        return loss

    return model, step


def test_kernels_are_timed_and_nothing_else_is_different(backend):
    (model, step), (other, same) = training(), training()
    x = gc.rand(5, 6)
    run = gc.compile(same, backend=backend)
    gc.manual_seed(1)
    for _ in range(1 + 3 + 2 * 3):
        loss = run(x)
    gc.manual_seed(1)
    found = gc.profile(step, x, calls=3, warmup=1, backend=backend)
    data = found.data
    assert gc.equal(found.result, loss)
    assert all(gc.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    assert (data["mode"], data["backend"]) == ("compiled", backend)
    assert sum(line["ns"] for line in data["lines"]) + data["outside_ns"] == data["ns_per_call"]
    kernels = [x for x in data["steps"] if x["ns"]]
    assert {"product", "kernel"} <= {x["kind"] for x in kernels}
    assert {"forward", "backward"} <= {role for x in kernels for role in x["roles"]}
    assert all(x["floor_ns"] is not None for x in kernels)


def test_steps_that_share_a_start_share_its_time(backend):
    f = gc.compile(lambda x, y: (x.exp() + 1, y.sin() * 2), backend=backend)
    x, y = gc.rand(50), gc.rand(200)
    f(x, y)
    (executable,) = f.last_built().executables.values()
    (launch,) = executable.translation.launches
    assert len(launch.steps) == 2
    with executable.measured() as mark:
        f(x, y)
        first = mark()()
        assert sum(first) > 0 and mark()() == [0] * len(first)
    costs = [x["cost"] for x in executable.describe(first)["steps"]]
    weights = [1 + c["flops"] + c["bytes_read"] + c["bytes_written"] for c in costs]
    assert first[0] / sum(first) == pytest.approx(weights[0] / sum(weights), abs=2 / sum(first))
    launches = executable.launches
    f(x, y)
    assert executable.launches == launches + 1


def test_eager_calls_on_a_device_wait_for_what_they_start(backend):
    model, step = training()
    model.to(backend)
    x = gc.rand(5, 6).to(backend)
    data = gc.profile(step, x, calls=2).data
    assert sum(line["ns"] for line in data["lines"]) + data["outside_ns"] == data["ns_per_call"]
    hidden = next(line for line in data["lines"] if line["text"] == "hidden = model(x)")
    assert 0 < hidden["backward_ns"] < hidden["ns"]
    data = gc.profile(gc.compile(step), x, calls=2).data
    assert data["backend"] == backend and all(x["id"][0] == "K" for x in data["steps"])


def test_what_a_step_would_take_on_a_device(backend):
    _, step = training()
    found = gc.estimate(step, (5, 6), backend=backend)
    assert found.data["backend"] == backend and found.predicted_ns > 0
