"""What goes wrong with devices, and what stays right then."""

from __future__ import annotations

import gc as cycles
import glob
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

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

PRELUDE = """
import numpy as np
import graphc as gc
from graphc import nn

def error_of(kind, f):
    try:
        f()
    except kind as error:
        return str(error)
    raise AssertionError("nothing was raised")
"""


def start(code, **environment):
    """A process of its own that runs code; helpers of `PRELUDE` are there."""
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(code)],
        env=os.environ | {"PYTHONPATH": str(Path(gc.__file__).parent.parent)} | environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def told(process):
    """What a process prints, which must end well and complain of nothing."""
    out, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")
    return out.strip()


def run(code, **environment):
    return told(start(code, **environment))


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


def test_no_platform(tmp_path):
    run(
        """
        assert not gc.opencl.is_available() and gc.opencl.device_count() == gc.opencl.memory_allocated() == 0
        gc.opencl.empty_cache()
        for f in (
            lambda: gc.zeros(1, device="opencl"),
            lambda: gc.ones(2).to("opencl:0"),
            lambda: nn.Linear(2, 2).to("opencl"),
            lambda: gc.compile(lambda x: x + 1, backend="opencl")(gc.ones(2)),
        ):
            said = error_of(RuntimeError, f)
            assert "no OpenCL platform was found" in said and "apt install pocl-opencl-icd" in said, said
        assert "graphc doctor" in error_of(gc.errors.DeviceError, gc.opencl.synchronize)
        assert gc.compile(lambda x: x + 1)(gc.ones(2)).sum().item() == 4
        assert nn.DataParallel(nn.Linear(2, 2))(gc.ones(3, 2)).shape == (3, 2)
        """,
        OCL_ICD_VENDORS=str(tmp_path),
    )


TWO_DEVICES = """
    assert gc.opencl.device_count() == 2
    a, b = gc.ones(3, 4, device="opencl:0"), gc.ones(3, 4, device="opencl:1")
    assert (a + 1).sum().item() == (b + 1).sum().item() == 24
    for f in (lambda: a + b, lambda: gc.compile(lambda x, y: x + y)(a, b)):
        said = error_of(gc.errors.DeviceError, f)
        assert "same device" in said and "opencl:0" in said and "opencl:1" in said, said
    assert (a + b.to(a.device)).device == gc.device("opencl:0")
    assert gc.compile(lambda x, y: x + y)(a.to(b.device), b).device == gc.device("opencl:1")
    x = a.clone().requires_grad_()
    (x.to("opencl:1") * b).sum().backward()
    assert x.grad.device == gc.device("opencl:0")
    b.zero_().copy_(a)
    assert b.sum().item() == 12

    found = []
    X = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    for ids in (["opencl:0"], ["opencl:0", "opencl:1"], ["opencl:1", "opencl:0"]):
        gc.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).to(ids[0])
        parallel, optimizer = nn.DataParallel(model, ids), gc.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            out = parallel(gc.from_numpy(X).to(ids[0]))
            nn.functional.cross_entropy(out, gc.tensor([0, 1, 2, 1, 0, 2, 2], device=ids[0])).backward()
            optimizer.step()
        found.append([p.detach().cpu().numpy() for p in model.parameters()])
    for other in found[1:]:
        for p, q in zip(found[0], other, strict=True):
            np.testing.assert_allclose(q, p, rtol=1e-4, atol=1e-5)

    from graphc.doctor import examine
    seen = {f.name.split()[0]: f.works for f in examine()}
    assert seen["opencl:0"] and seen["opencl:1"], seen
"""


@opencl
def test_two_platforms(tmp_path):
    """One driver listed twice is two platforms; OTHER_OPENCL names the library of another (Intel's libintelocl.so)."""
    folder = os.environ.get("OCL_ICD_VENDORS", "/etc/OpenCL/vendors")
    first = Path(sorted(glob.glob(f"{folder}/*.icd"))[0]).read_text().strip()
    devices.device()
    loaded = [line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "/" in line]
    path = next(x for x in loaded if Path(x).name.startswith(Path(first).name.split(".so")[0]))
    (tmp_path / "one.icd").write_text(first)
    (tmp_path / "two.icd").write_text(os.environ.get("OTHER_OPENCL", path))
    run(TWO_DEVICES, OCL_ICD_VENDORS=str(tmp_path))


@opencl
def test_two_devices_of_one_platform():
    if "Portable" not in devices.devices()[0].platform.name:
        pytest.skip("only PoCL can be asked for a second device")
    run(TWO_DEVICES, POCL_DEVICES="pthread basic")


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
    monkeypatch.setattr(devices, "_OPEN", {})
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
    @pytest.mark.parametrize("make", [gc.optim.SGD, gc.optim.Adam])
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
        assert "4,000,000: f32[1000, 1000] made at " in message
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
        assert "4,000,000: f32[1000, 1000] made at " in message
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

    def test_for_real(self):
        if "Portable" not in devices.devices()[0].platform.name:
            pytest.skip("PoCL's memory can be limited")
        run(
            """
            device = "opencl:0"
            OutOfMemoryError = gc.opencl.OutOfMemoryError
            x = gc.ones(20_000, 1, device=device)
            f = gc.compile(lambda x: (x @ x.t()).softmax(1).sum(0))
            said = error_of(OutOfMemoryError, lambda: gc.zeros(40_000, 10_000, device=device))
            assert "1,600,000,000" in said and "one piece has at most" in said, said
            for _ in range(3):
                assert "1,600,000,000: f32[20000, 20000]" in error_of(OutOfMemoryError, lambda: x @ x.t())
                assert "3,200,160,000 bytes at its peak" in error_of(OutOfMemoryError, lambda: f(x))
            assert gc.opencl.memory_allocated() < 200_000
            assert abs(f(x[:100]).sum().item() - 100) < 1e-3
            """,
            POCL_MEMORY_LIMIT="1",
        )


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

    def lose(code=-36, function="enqueue_nd_range_kernel"):
        real = getattr(cl, function)

        def gone(*args, **kwargs):
            monkeypatch.setattr(cl, function, real)
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
        lose(-54)
        with pytest.raises(BackendError, match="does not do what graphc asks of it"):
            x * 4
        np.testing.assert_array_equal((x * 4).cpu().numpy(), X * 4)
        lose(-6)
        with pytest.raises(OutOfMemoryError, match="has no room"):
            x * 4


# --- processes and threads ------------------------------------------------------------------------------------------------


@opencl
class TestEnding:
    @pytest.mark.parametrize("cold", [False, True])
    def test_with_work_queued(self, tmp_path, cold):
        """Also while the driver's threads still compile: nothing is in its cache then."""
        run(
            """
            from graphc import nn
            x = gc.ones(200, 200, device="opencl:0")
            for _ in range(20):
                x = x @ x
            """,
            **({"POCL_CACHE_DIR": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)} if cold else {}),
        )

    def test_with_an_error(self):
        process = start('x = gc.ones(300, 300, device="opencl:0")\nfor _ in range(30): y = x @ x\nraise SystemExit(3)')
        assert process.communicate(timeout=120) == ("", "")
        assert process.returncode == 3

    def test_of_a_forked_process(self):
        run(
            """
            import os
            x = gc.ones(4, device="opencl:0") + 1
            child = os.fork()
            if not child:
                for f in (lambda: x + 1, x.cpu, lambda: gc.ones(2, device="opencl:0")):
                    assert "before this process was forked" in error_of(gc.errors.DeviceError, f)
                assert (gc.ones(2) + 1).sum().item() == 4
                raise SystemExit(0)
            assert os.waitpid(child, 0)[1] == 0
            assert x.sum().item() == 8
            """
        )


@opencl
@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent otherwise there")
@pytest.mark.parametrize("on_host", [False, True])
def test_an_interrupt_ends_the_run_only(on_host):
    x = gc.full((200, 200), 0.001).to("cpu" if on_host else DEVICE)
    f = gc.compile(lambda x: ((x @ x) @ x).tanh(), backend="opencl" if on_host else None)
    want = f(x).sum().item()
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        while True:
            f(x).sum().item()
    timer.join()
    assert f(x).sum().item() == want


TRAIN = """
    gc.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.2), nn.Linear(8, 3)).to("opencl:0")
    optimizer = gc.optim.Adam(model.parameters(), lr=0.01)
    def step(x, y):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss
    x = gc.randn(4, 5, device="opencl:0")
    y = gc.tensor([0, 1, 2, 1], device="opencl:0")
    fast = gc.compile(step)
    print([f(x, y).item() for f in [step, fast] * 20])
"""


@opencl
def test_processes_share_a_device():
    alone = run(TRAIN)
    both = [start(TRAIN), start(TRAIN)]
    assert [told(x) for x in both] == [alone, alone]


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
