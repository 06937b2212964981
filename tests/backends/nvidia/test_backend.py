"""The CUDA backend without a CUDA device: what it says then, and programs on a stand-in for CuPy (stand_in.py)."""

from __future__ import annotations

import gc as cycles
import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from backends.nvidia import stand_in
from tolerances import assert_close

import graphc as gc
from graphc import nn
from graphc.backends.devices import ops
from graphc.backends.nvidia import devices, nvrtc
from graphc.core.errors import BackendError, DeviceError, OutOfMemoryError
from graphc.core.lazy import lazy_import

X = np.random.default_rng(0).normal(size=(70, 33)).astype(np.float32)


@pytest.fixture
def cupy(monkeypatch: Any) -> Iterator[Any]:
    """`use(module)`: what is CuPy's CUDA module in this test."""

    def use(module: Any) -> None:
        monkeypatch.setattr(devices, "cuda", module)
        monkeypatch.setattr(nvrtc, "cuda", module)
        monkeypatch.setattr(devices, "cupy", stand_in.whole)
        monkeypatch.setattr(ops, "_MEMORIES", {})
        monkeypatch.setattr(devices.OPENED, "found", {})
        devices.count.cache_clear()

    yield use
    devices.count.cache_clear()
    for left in (stand_in.failures, stand_in.given_back, stand_in.sending):
        left.clear()


def run(f: Any, *arrays: Any) -> Any:
    return gc.compile(f, backend="cuda")(*map(gc.from_numpy, arrays))


def test_without_cupy(cupy: Any) -> None:
    cupy(lazy_import("there_is_no_cupy.cuda"))
    with pytest.raises(BackendError, match=r'needs CuPy and NVRTC: pip install "graphc\[cuda\]"\n.*there_is_no_cupy'):
        run(lambda x: x + 1, X)
    with pytest.raises(BackendError, match=r'needs CuPy and NVRTC: pip install "graphc\[cuda\]"'):
        nvrtc.machine_code("", "sm_90")


def refuse(*_: Any) -> Any:
    raise RuntimeError("cudaErrorInsufficientDriver")


def test_without_nvrtc(cupy: Any) -> None:
    cupy(SimpleNamespace(nvrtc=SimpleNamespace(createProgram=refuse)))
    with pytest.raises(BackendError, match=r'needs CuPy and NVRTC: pip install "graphc\[cuda\]"\n  cudaError'):
        nvrtc.machine_code("", "sm_90")


def test_without_a_device(cupy: Any) -> None:
    cupy(SimpleNamespace(runtime=SimpleNamespace(getDeviceCount=refuse)))
    with pytest.raises(
        BackendError, match=r"no CUDA device was found \(cudaErrorInsufficientDriver\): install NVIDIA's"
    ):
        run(lambda x: x + 1, X)
    cupy(SimpleNamespace(runtime=SimpleNamespace(getDeviceCount=lambda: 0)))
    with pytest.raises(BackendError, match="there is no CUDA device 0: there are 0"):
        run(lambda x: x + 1, X)


@pytest.mark.opencl
@pytest.mark.parametrize(
    "f",
    [
        lambda x: gc.softmax(x, 1), lambda x: gc.tanh(x) @ x.t() + 1, lambda x: x.cumsum(0), lambda x: x.double().var(0),
        lambda x: x[:, ::3].flip(1), lambda x: x.to(gc.float16) * 3, lambda x: x[gc.tensor([1, -1])], lambda x: x[:0] + 1,
        lambda x: gc.while_loop(lambda i, x: i < 5, lambda i, x: (i + 1, x * 1.5), (gc.tensor(0), x))[1],
    ],
)  # fmt: skip
def test_functions(cupy: Any, f: Any) -> None:
    cupy(stand_in)
    assert_close(run(f, X).numpy(), f(gc.from_numpy(X)).numpy(), n=70)
    assert not stand_in.current


@pytest.mark.opencl
def test_tensors(cupy: Any) -> None:
    cupy(stand_in)
    grads = []
    for device in ("cpu", "cuda"):
        x = gc.from_numpy(X).to(device).requires_grad_()
        (gc.softmax(x[:, 1:], 1) * x.flip(1)[:, :32]).sum().backward()
        assert x.is_cuda == (device == "cuda") and x.grad.device == x.device
        grads.append(x.grad.cpu().numpy())
    assert_close(grads[1], grads[0], n=70)
    assert gc.cuda.is_available() and gc.cuda.get_device_name() == "a stand-in"
    gc.cuda.synchronize()
    assert not stand_in.current


@pytest.mark.opencl
def test_training(cupy: Any) -> None:
    cupy(stand_in)
    found = {}
    for backend in ("numpy", "cuda"):
        gc.manual_seed(3)
        rng = np.random.default_rng(1)
        model = nn.Sequential(nn.Linear(6, 9), nn.Dropout(0.1), nn.GELU(), nn.Linear(9, 4))
        optimizer = gc.optim.Adam(model.parameters(), lr=0.01, eps=1e-4)

        def step(x: Any, y: Any, model: Any = model, optimizer: Any = optimizer) -> Any:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        compiled = gc.compile(step, backend=backend)
        for _ in range(4):
            x, y = rng.normal(size=(17, 6)).astype(np.float32), rng.integers(0, 4, 17)
            loss = compiled(gc.from_numpy(x), gc.from_numpy(y))
        found[backend] = [loss.detach().numpy(), *(p.detach().numpy() for p in model.parameters())]
    for a, b in zip(found["cuda"], found["numpy"], strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4)


@pytest.mark.opencl
def test_faults_and_what_python_does(cupy: Any, caplog: Any) -> None:
    cupy(stand_in)
    take = gc.compile(lambda x, i: x[i], backend="cuda")
    with pytest.raises(IndexError, match=r"(?s)index 70 .*test_backend\.py:\d+"):
        take(gc.from_numpy(X), gc.tensor([0, 70]))
    np.testing.assert_array_equal(take(gc.from_numpy(X), gc.tensor([0, 69])).numpy(), X[[0, 69]])

    def slope(x: Any) -> Any:
        x = x.detach().requires_grad_()
        _, y = gc.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, y * x), (gc.tensor(0), x))
        return gc.autograd.grad(y.sum(), x)[0]

    with caplog.at_level(logging.WARNING, "graphc.cuda"):
        np.testing.assert_allclose(run(slope, X).numpy(), 4 * X**3, rtol=1e-5)
    assert "a stand-in: done by Python, between waits: while_loop_grad" in caplog.text


# --- faults -----------------------------------------------------------------------------------------------------------


@pytest.mark.opencl
def test_what_nobody_uses_is_given_back_where_there_is_no_room(cupy: Any) -> None:
    cupy(stand_in)
    x = gc.from_numpy(X).to("cuda")
    stand_in.failures["alloc"] = [stand_in.NoRoom("Out of memory")]
    y = x + 1
    assert len(stand_in.given_back) == 1
    np.testing.assert_array_equal(y.cpu().numpy(), X + 1)
    stand_in.failures["alloc"] = [stand_in.NoRoom("Out of memory")] * 2
    with pytest.raises(OutOfMemoryError) as caught:
        gc.zeros(70, 33, device="cuda")
    assert str(caught.value).count("has no room") == 1
    assert "a stand-in has no room for 9,240 bytes: tensors and runs hold " in str(caught.value)
    assert "for a tensor f32[70, 33], 9,240 bytes, at " in str(caught.value)
    stand_in.failures["load"] = [stand_in.CUDADriverError(2)]
    np.testing.assert_array_equal((x - 3).cpu().numpy(), X - 3)
    stand_in.failures["start"] = [stand_in.CUDADriverError(2)]
    with pytest.raises(OutOfMemoryError, match=r"has no room: .*CUDA_ERROR 2"):
        x + 1
    np.testing.assert_array_equal((x + 1).cpu().numpy(), X + 1)


@pytest.mark.opencl
def test_the_hosts_memory_is_not_the_devices(cupy: Any) -> None:
    cupy(stand_in)
    with pytest.raises(MemoryError) as caught, devices.device().held():
        raise MemoryError("of the host")
    assert type(caught.value) is MemoryError


@pytest.mark.opencl
@pytest.mark.parametrize("error", [stand_in.CUDADriverError(701), stand_in.CUDARuntimeError(1)])
def test_an_error_behind_which_it_works_on(cupy: Any, error: Exception) -> None:
    cupy(stand_in)
    x = gc.from_numpy(X).to("cuda")
    x + 1
    stand_in.failures["start"] = [error]
    with pytest.raises(BackendError, match=r"a stand-in does not do what graphc asks of it: .*(701|1)") as caught:
        x + 1
    assert not isinstance(caught.value, DeviceError)
    np.testing.assert_array_equal((x + 1).cpu().numpy(), X + 1)


@pytest.mark.opencl
def test_an_error_that_stays(cupy: Any) -> None:
    """It is what every function of CUDA answers from then on, also those that make a device the thread's."""
    cupy(stand_in)
    x = gc.from_numpy(X).to("cuda")
    (x + 1).cpu()

    stand_in.failures[""] = [stand_in.CUDARuntimeError(700)]
    for f in (lambda: x + 1, x.cpu, lambda: gc.ones(3, device="cuda"), gc.cuda.synchronize, lambda: run(gc.tanh, X)):
        with pytest.raises(DeviceError, match=r"has stopped \(cudaError 700\).* only in a new process"):
            f()
    assert not stand_in.current
    stand_in.failures.clear()
    with pytest.raises(DeviceError, match="has stopped"):
        x + 1


@pytest.mark.opencl
def test_an_error_that_stays_comes_within_a_run(cupy: Any, monkeypatch: Any) -> None:
    cupy(stand_in)
    x = gc.from_numpy(X).to("cuda")
    x + 1

    def start(kernel: devices.Kernel) -> None:
        stand_in.failures[""] = [stand_in.CUDARuntimeError(700)]
        stand_in.ask("start")

    monkeypatch.setattr(devices.Kernel, "start", start)
    with pytest.raises(DeviceError, match="has stopped"):
        x + 1
    assert not stand_in.current
    with pytest.raises(DeviceError, match="has stopped"):
        x.cpu()


@pytest.mark.opencl
@pytest.mark.parametrize("most", [1 << 24, 1 << 10])
def test_what_was_sent_may_be_changed(cupy: Any, monkeypatch: Any, most: int) -> None:
    """CUDA reads memory of the host when it comes to that."""
    cupy(stand_in)
    monkeypatch.setattr(devices, "_MOST_SENT", most)
    array = X.copy()
    x = gc.from_numpy(array).to("cuda")
    array[:] = 0
    np.testing.assert_array_equal(x.cpu().numpy(), X)
    f = gc.compile(lambda x: x * 2, backend="cuda")
    np.testing.assert_array_equal(f(gc.from_numpy(X)).numpy(), X * 2)
    device = devices.device()
    assert device.sent_bytes == sum(x.nbytes for x in device.sent) <= most


@pytest.mark.opencl
def test_bytes_in_use(cupy: Any) -> None:
    cupy(stand_in)
    before = gc.cuda.memory_allocated()
    x = gc.from_numpy(X).to("cuda")
    assert gc.cuda.memory_allocated() == before + X.nbytes <= gc.cuda.max_memory_allocated()
    assert gc.cuda.memory_reserved() == 1 << 20
    assert gc.cuda.mem_get_info() == ((1 << 30) - (1 << 20), 1 << 30)
    del x
    cycles.collect()
    assert gc.cuda.memory_allocated() == before
    gc.cuda.reset_peak_memory_stats()
    assert gc.cuda.max_memory_allocated() == before


@pytest.mark.opencl
def test_a_forked_process_is_told(cupy: Any, monkeypatch: Any) -> None:
    cupy(stand_in)
    monkeypatch.setattr(devices.OPENED, "forked", "")
    x = gc.from_numpy(X).to("cuda")
    devices.OPENED.after_fork()
    for f in (lambda: x + 1, x.cpu, lambda: gc.zeros(3, device="cuda"), lambda: run(gc.tanh, X)):
        with pytest.raises(DeviceError, match=r"forked, and does not work in it\n.*get_context\('spawn'\)"):
            f()


def test_a_forked_process_may_ask_what_its_parent_has_not(cupy: Any, monkeypatch: Any) -> None:
    cupy(SimpleNamespace(runtime=SimpleNamespace(getDeviceCount=refuse)))
    monkeypatch.setattr(devices.OPENED, "forked", "")
    with pytest.raises(BackendError, match="no CUDA device was found"):
        devices.device()
    devices.OPENED.after_fork()
    assert not devices.OPENED.forked
