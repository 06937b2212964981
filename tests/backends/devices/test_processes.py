"""Faults of devices that need a process of their own: which drivers there are, how it ends, a device that two share."""

from __future__ import annotations

import glob
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import graphc as gc
from graphc.backends.opencl import devices

opencl = pytest.mark.opencl

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
        GRAPHC_DEVICE="cpu",
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


@opencl
def test_out_of_memory_for_real():
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
