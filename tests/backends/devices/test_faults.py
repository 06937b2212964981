"""What goes wrong with devices, and what stays right then."""

from __future__ import annotations

import gc as cycles
import os
import re
import signal
import sys
import threading

import numpy as np
import pytest

import graphc as gc
from graphc import nn
from graphc.backends.devices import ops
from graphc.backends.opencl import devices
from graphc.errors import BackendError, DeviceError, OutOfMemoryError

cl = devices.cl
opencl = pytest.mark.opencl

DEVICE = "opencl:0"
RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 5)).astype(np.float32)
FEED = np.ones((2, 5), np.float32)


def there(array=X):
    return gc.from_numpy(array.copy()).to(DEVICE)


def training(device=DEVICE, seed=0):
    """A model, its optimizer, and a training step."""
    gc.manual_seed(seed)
    model = nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.2), nn.Linear(8, 3)).to(device)
    optimizer = gc.optim.Adam(model.parameters(), lr=0.01)

    def step(x, y):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return model, optimizer, step


def batch(device=DEVICE):
    return gc.from_numpy(X.copy()).to(device), gc.tensor([0, 1, 2, 1], device=device)


def driver_error(code, kind=cl.LogicError):
    return kind(cl._cl._ErrorRecord("clTest", code, ""))


# --- platforms and devices ------------------------------------------------------------------------------------------------


def test_a_driver_that_cannot_say_what_it_has(monkeypatch, caplog):
    class Platform:
        name = "Broken"

        def get_devices(self):
            raise driver_error(-33)

    monkeypatch.setattr(cl, "get_platforms", lambda: [Platform()])
    with pytest.raises(BackendError, match="no OpenCL platform here has a device"):
        devices.devices.__wrapped__()
    assert "the driver Broken names no devices" in caplog.text


# --- float64 --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def narrow(monkeypatch):
    """The device as if it had no float64; what was made for it goes afterwards."""
    monkeypatch.setattr(devices.OPENED, "found", {})
    monkeypatch.setattr(ops, "_MEMORIES", {})
    monkeypatch.setattr(devices.device(), "double", False)


@opencl
class TestNoFloat64:
    def test_arithmetic_is_refused_with_its_line(self, narrow):
        x = there()
        for f in (lambda: x.double(), lambda: gc.ones(3, dtype=gc.float64).to(DEVICE) * 2):
            with pytest.raises(BackendError, match=r"(?s)has no float64.* at .*test_faults.py:\d+"):
                f()
        for options in ({}, {"backend": "opencl"}):
            f = gc.compile(lambda x: x.double().exp().sum(), **options)
            with pytest.raises(BackendError, match=r"(?s)has no float64.* made at .*test_faults.py:\d+"):
                f(gc.ones(2) if options else x)
        assert (x + 1).sum().isfinite()

    def test_moving_is_no_arithmetic(self, narrow):
        x = gc.arange(6, dtype=gc.float64).reshape(2, 3)
        np.testing.assert_array_equal(x.to(DEVICE).t()[1:].cpu().numpy(), x.t()[1:].numpy())

    @pytest.mark.parametrize("compiled", [False, True])
    @pytest.mark.parametrize("make", [gc.optim.SGD, gc.optim.Adam, gc.optim.Rprop])
    def test_training_needs_none(self, narrow, make, compiled):
        """Learning rates and step counts are numbers in float64, which the host computes with."""
        found = []
        for device in ("cpu", DEVICE):
            gc.manual_seed(0)
            model = nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.2), nn.Linear(8, 3)).to(device)
            optimizer = make(model.parameters(), lr=0.05)

            def step(x, y, optimizer=optimizer, model=model):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(x), y)
                loss.backward()
                optimizer.step()
                return loss

            run = gc.compile(step) if compiled else step
            losses = [run(*batch(device)).item() for _ in range(3)]
            optimizer.param_groups[0]["lr"] = 0.5  # a changed rate is seen
            found.append([*losses, *[run(*batch(device)).item() for _ in range(2)]])
        np.testing.assert_allclose(found[1], found[0], rtol=2e-3)

    def test_halves_and_random_numbers_need_none(self, narrow):
        x = there()
        for dtype in (gc.float16, gc.bfloat16):
            assert ((x.to(dtype) @ x.to(dtype).t()).exp().cpu().dtype) is dtype
        gc.manual_seed(3)
        got = gc.randn(100, device=DEVICE)
        gc.manual_seed(3)
        np.testing.assert_allclose(got.cpu().numpy(), gc.randn(100).numpy(), rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("compiled", [False, True])
    def test_powers_and_grids_of_numbers_need_none(self, narrow, compiled):
        """Powers of float32 are computed in pairs of floats, grids that no array goes into on the host."""
        functions = [
            lambda x: x.abs() ** 1.7,
            lambda x: 1.7**x,
            lambda x: x.norm(p=1.5, dim=0),
            lambda x: x + gc.linspace(0, 1, 5, device=x.device),
            lambda x: x + gc.arange(0, 0.45, 0.1, device=x.device),
            lambda x: x + gc.arange(5, dtype=gc.float32, device=x.device),
            lambda x: x * gc.logspace(0, 1, 3, device=x.device)[[2, 0, 1, 1, 0]],
            lambda x: x * gc.linspace(0, 1, 4, device=x.device).reshape(4, 1)[: len(x)],
        ]
        for f in functions:
            run = gc.compile(f) if compiled else f
            np.testing.assert_allclose(run(there()).cpu().numpy(), f(there().cpu()).numpy(), rtol=1e-6, atol=1e-6)


# --- memory ---------------------------------------------------------------------------------------------------------------


class Limited:
    """A pool with room for so many bytes."""

    def __init__(self, pool, limit):
        self.pool, self.limit = pool, limit

    def __getattr__(self, name):
        return getattr(self.pool, name)

    def allocate(self, nbytes):
        if self.pool.active_bytes + nbytes > self.limit:
            raise driver_error(-4, cl.MemoryError)
        return self.pool.allocate(nbytes)


@pytest.fixture
def limited(monkeypatch):
    """The device with room for a million bytes more than are held."""
    gc.opencl.empty_cache()
    device = devices.device()
    monkeypatch.setattr(device, "pool", Limited(device.pool, device.pool.active_bytes + 1_000_000))


def leaks(f):
    """The message of the third of three failures, behind which as much is held as behind the first."""
    held, cycles_on = [], cycles.isenabled()
    cycles.disable()  # an error that keeps its operands alive by a cycle is found
    try:
        for _ in range(3):
            with pytest.raises(OutOfMemoryError) as caught:
                f()
            message = str(caught.value)
            del caught
            held.append(gc.opencl.memory_allocated())
    finally:
        if cycles_on:
            cycles.enable()
    assert held[1] == held[2], held
    return message


@opencl
class TestOutOfMemory:
    big = np.zeros((1000, 1000), np.float32)

    def test_of_tensors(self, limited):
        before = gc.opencl.memory_allocated()
        for f in (
            lambda: gc.from_numpy(self.big).to(DEVICE),
            lambda: gc.zeros(1000, 1000, device=DEVICE),
            lambda: nn.Linear(1000, 1000).to(DEVICE),
        ):
            message = leaks(f)
            assert "no room for 4,000,000 bytes" in message
            assert "for a tensor f32[1000, 1000], 4,000,000 bytes, at " in message
            assert "test_faults.py:" in message
            assert gc.opencl.memory_allocated() == before
        assert (there(self.big[:100]) + 1).sum().item() == 100_000

    @pytest.mark.parametrize(
        "f", [lambda x: x @ x.t(), lambda x: x + x.t(), lambda x: (x - x.t()).softmax(1), lambda x: x.expand(-1, 1000).sort()]
    )  # fmt: skip
    def test_of_eager_ops(self, limited, f):
        x = there(self.big[0, :, None]).requires_grad_()
        message = leaks(lambda: f(x))
        assert "4,000,000: f32[1000, 1000]" in message
        assert "the run at " in message
        assert "test_faults.py:" in message
        assert x.grad is None
        f(x[:10].detach())
        np.testing.assert_array_equal(x.detach().cpu().numpy(), 0)

    def test_of_a_backward_pass(self, limited):
        x = there(self.big[0, :100, None]).requires_grad_()
        out = ((x - x.t()) ** 2).sum()
        full = []
        with pytest.raises(OutOfMemoryError):  # noqa: PT012
            while True:
                full.append(gc.empty(5_000, device=DEVICE))
        with pytest.raises(OutOfMemoryError, match=r"f32\[100, 100\]"):
            out.backward()
        assert x.grad is None
        full.clear()
        ((x - x.t()) ** 2).sum().backward()
        assert x.grad.abs().sum().item() == 0

    @pytest.mark.parametrize("options", [{}, {"backend": "opencl"}])
    def test_of_compiled_steps(self, limited, options):
        device = "cpu" if options else DEVICE
        gc.manual_seed(0)
        model = nn.Linear(1, 1000).to(device)
        optimizer = gc.optim.Adam(model.parameters())

        @gc.compile(**options)
        def step(x):
            optimizer.zero_grad()
            loss = (model(x).softmax(1) ** 2).sum()
            loss.backward()
            optimizer.step()
            return loss

        x = gc.from_numpy(self.big[0, :, None]).to(device)
        step(x[:2])
        before = [p.detach().cpu().numpy().copy() for p in model.parameters()]
        message = leaks(lambda: step(x))
        assert "bytes at its peak beside inputs of " in message
        assert re.search(r"4,000,000: f32\[1000, 1000\] \w+ made at ", message)
        assert message.count("test_faults.py:") >= 2
        for p, q in zip(before, model.parameters(), strict=True):
            np.testing.assert_array_equal(p, q.detach().cpu().numpy())
        step(x[:2])
        assert any((p != q.detach().cpu().numpy()).any() for p, q in zip(before, model.parameters(), strict=True))

    def test_of_sessions(self, limited):
        weight = nn.Parameter(there(self.big[:1]))
        graph = gc.Graph()
        with graph.as_default():
            x = gc.placeholder((None, 1))
            loss = ((x @ weight).softmax(1) ** 2).sum()
            train = gc.optim.SGD([weight], lr=0.1).minimize(loss)
        session = gc.Session(graph)
        message = leaks(lambda: session.run([loss, train], {x: self.big[0, :, None]}))
        assert re.search(r"4,000,000: f32\[1000, 1000\] \w+ made at ", message)
        assert session.run([loss, train], {x: self.big[0, :10, None]})[0] == pytest.approx(10 / 1000, rel=1e-4)

    def test_idle_programs_give_back_what_they_keep(self, limited):
        f = gc.compile(lambda x: (x @ x.t()).softmax(1).sum(0))
        x = there(self.big[0, :, None])
        for n in (100, 200, 300, 320, 340, 300):  # each needs up to 920,000 bytes, which two have not together
            f(x[:n])
        held = gc.opencl.memory_allocated()
        gc.opencl.empty_cache()
        assert gc.opencl.memory_allocated() < held
        assert f(x[:100]).sum().item() == pytest.approx(100)


# --- kernels that cannot be built -----------------------------------------------------------------------------------------


@opencl
def test_a_build_failure_shows_source_log_and_lines(monkeypatch):
    real = cl.Program

    def broken(context, text):
        return real(context, text.replace("\nKERNEL(", "\noops KERNEL(", 1) if "sinh" in text else text)

    monkeypatch.setattr(cl, "Program", broken)
    x = there(RNG.normal(size=(3, 7)).astype(np.float32))
    f = gc.compile(lambda x: ((x * 3).sinh() + 1).sum(1))
    with pytest.raises(BackendError) as caught:
        f(x)
    message = str(caught.value)
    assert "cannot build a kernel" in message
    assert "oops" in message  # the compiler's words, and the source
    assert "sinh_" in message
    assert "it does " in message
    assert "test_faults.py:" in message.split("it does ")[1]
    with pytest.raises(BackendError, match=r"(?s)oops.*sinh at .*test_faults.py:\d+"):
        x.sinh()
    monkeypatch.undo()
    np.testing.assert_allclose(f(x).cpu().numpy(), (np.sinh(x.cpu().numpy() * 3) + 1).sum(1), rtol=1e-4)


# --- lost devices ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def lose(monkeypatch):
    """Makes the driver say that the device is gone, once."""

    def lose(code=-36, function="enqueue_nd_range_kernel", answers=False):
        real, device = getattr(cl, function), devices.device()

        def finish():
            raise driver_error(code)

        def gone(*args, **kwargs):
            monkeypatch.setattr(cl, function, real)
            if not answers:
                monkeypatch.setattr(device, "finish", finish)
            raise driver_error(code)

        monkeypatch.setattr(cl, function, gone)

    return lose


@opencl
class TestLost:
    @pytest.mark.parametrize("code", [-2, -5, -14, -36, -9999])
    def test_is_told(self, lose, code):
        x, y = there(), gc.from_numpy(X)
        (x + 1).sum()
        lose(code)
        with pytest.raises(DeviceError, match=r"has stopped.*\n.*opened anew at its next use"):
            x + 1
        for f in (
            lambda: x + 1,
            x.cpu,
            lambda: repr(x),
            lambda: x[0] * 2,
            x.t().contiguous,
            lambda: x.add_(1),
            x.tolist,
        ):
            with pytest.raises(DeviceError, match=r"a tensor f32\[.*\] was on opencl:0 when that stopped"):
                f()
        with pytest.raises(DeviceError, match="was on opencl:0"):
            there() + x
        with pytest.raises(DeviceError, match="was on opencl:0"):
            gc.compile(lambda x: x + 1)(x)
        assert gc.opencl.memory_allocated() < 1000
        np.testing.assert_array_equal((y.to(DEVICE) + 1).cpu().numpy(), X + 1)

    def test_in_a_copy(self, lose):
        x = there()
        lose(function="enqueue_copy")
        with pytest.raises(DeviceError, match="has stopped"):
            x.cpu()
        np.testing.assert_array_equal(there().cpu().numpy(), X)

    @pytest.mark.parametrize("compiled", [False, True])
    def test_training_goes_on_from_what_was_saved(self, lose, compiled):
        model, optimizer, step = training()
        run = gc.compile(step) if compiled else step
        run(*batch())
        saved = {k: v.cpu() for k, v in model.state_dict().items()}
        state = optimizer.state_dict()
        state["state"] = {k: {n: t.cpu() for n, t in s.items()} for k, s in state["state"].items()}
        generator = gc.get_rng_state()
        want = [run(*batch()).item() for _ in range(2)]
        x, y = batch()
        lose()
        with pytest.raises(DeviceError, match="has stopped"):
            run(x, y)
        with pytest.raises(DeviceError, match="was on opencl:0"):
            run(*batch())
        model.load_state_dict(saved)
        optimizer.load_state_dict(state)
        gc.set_rng_state(generator)
        assert [run(*batch()).item() for _ in range(2)] == pytest.approx(want)

    def test_sessions_and_runs_on_host_arrays(self, lose):
        weight = nn.Parameter(there())
        graph = gc.Graph()
        with graph.as_default():
            x = gc.placeholder((2, 5))
            loss = ((x @ weight.t()) ** 2).sum()
        session, f = gc.Session(graph), gc.compile(lambda x: (x * 2).sum(1), backend="opencl")
        first, second = session.run(loss, {x: FEED}), f(gc.from_numpy(FEED))
        lose()
        with pytest.raises(DeviceError):
            f(gc.from_numpy(FEED))
        np.testing.assert_array_equal(f(gc.from_numpy(FEED)).numpy(), second.numpy())
        with pytest.raises(DeviceError, match="was on opencl:0"):
            session.run(loss, {x: FEED})
        weight.data = there()
        assert session.run(loss, {x: FEED}) == first

    def test_the_default_device_stays(self, lose):
        with gc.device(DEVICE):
            x = gc.ones(2)
            lose()
            with pytest.raises(DeviceError):
                x * 3
            assert (gc.ones(2) * 3).sum().item() == 6

    def test_other_errors_of_a_driver_are_told_too(self, lose):
        x = there()
        for code in (-54, -5):  # a kernel that is too large is no reason to give up the device, which still answers
            lose(code, answers=True)
            with pytest.raises(BackendError, match="does not do what graphc asks of it"):
                x * 4
            np.testing.assert_array_equal((x * 4).cpu().numpy(), X * 4)
        lose(-6, answers=True)
        with pytest.raises(OutOfMemoryError, match="has no room"):
            x * 4


# --- interrupts and threads ------------------------------------------------------------------------------------------------


@opencl
@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent otherwise there")
@pytest.mark.parametrize("on_host", [False, True])
def test_an_interrupt_ends_the_run_only(on_host):
    x = gc.full((200, 200), 0.001).to("cpu" if on_host else DEVICE)
    f = gc.compile(lambda x: ((x @ x) @ x).tanh(), backend="opencl" if on_host else None)
    want = f(x).sum().item()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background is born deaf to it
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012
            for _ in range(100_000):
                f(x).sum().item()
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)
    assert f(x).sum().item() == want


@opencl
@pytest.mark.parametrize("compiled", [False, True])
def test_threads_share_a_device(compiled):
    """Each trains its own model, and all use one function whose program is there for all."""
    shared = gc.compile(lambda x: (x @ x.t()).softmax(1)) if compiled else lambda x: (x @ x.t()).softmax(1)
    want, failed, lock = {}, [], threading.Lock()

    def work(seed, found):
        with lock:  # the generator is one for all
            _, _, step = training(seed=seed)
        rng = np.random.default_rng(seed)
        fast = gc.compile(step) if compiled else step
        x = gc.from_numpy(rng.normal(size=(4 + seed, 5)).astype(np.float32)).to(DEVICE)
        y = gc.from_numpy(rng.integers(0, 3, 4 + seed)).to(DEVICE)
        try:
            for _ in range(4):
                found.setdefault(seed, []).append(shared(x).cpu().numpy())
                fast(x, y).item()
        except BaseException as error:
            failed.append(error)

    for seed in range(4):
        work(seed, want)
    got = {}
    threads = [threading.Thread(target=work, args=(seed, got)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    for seed in range(4):
        np.testing.assert_array_equal(got[seed], want[seed])
