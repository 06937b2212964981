"""`cuda`, `opencl` and `accelerator`: what they answer without a device, and an unedited CUDA script on OpenCL."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from test_layers import ROOT

import graphc as gc


def test_without_a_device_questions_have_answers(monkeypatch):
    monkeypatch.setattr(gc.cuda._cuda, "device_count", lambda: 0)
    assert (gc.cuda.memory_stats(), gc.cuda.max_memory_reserved()) == ({}, 0)
    gc.cuda.reset_max_memory_allocated()
    for ask in ("get_device_capability", "memory_summary", "mem_get_info", "current_stream"):
        with pytest.raises(gc.errors.DeviceError, match=f"cuda.{ask}: graphc has no CUDA device here"):
            getattr(gc.cuda, ask)()


@pytest.mark.parametrize(
    "ask", ["synchronize", "current_stream", "memory_allocated", "current_device_index", "empty_cache"]
)
def test_an_accelerator_that_there_is_not(ask, monkeypatch):
    monkeypatch.setattr(gc.accelerator, "is_available", lambda: False)
    assert gc.accelerator.current_accelerator() is None
    with pytest.raises(gc.errors.DeviceError, match="Cannot access accelerator device when none is available"):
        getattr(gc.accelerator, ask)()


def test_events_that_say_no_time():
    with pytest.raises(gc.errors.ArgumentError, match="enable_timing=True"):
        gc.cuda.Event().elapsed_time(gc.cuda.Event())
    timed = gc.cuda.Event(enable_timing=True)
    with pytest.raises(gc.errors.ArgumentError, match="must be recorded"):
        timed.elapsed_time(timed)


SCRIPT = """
import torch
assert torch.cuda.is_available() and torch.accelerator.is_available() and torch.cuda.device_count() > 0
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
model = torch.nn.Linear(3, 2).to(device)
x = torch.ones(4, 3).to(device)
assert x.is_cuda and isinstance(x, torch.cuda.FloatTensor) and torch.cuda.LongTensor([1, 2]).sum().item() == 3
start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
start.record()
with torch.autocast(device_type=device.type):
    y = model(x.cuda())
end.record()
torch.cuda.synchronize()
assert y.dtype is torch.float16 and start.elapsed_time(end) > 0 and end.query()
scaler = torch.cuda.amp.GradScaler(init_scale=8.0)
opt = torch.optim.SGD(model.parameters(), lr=0.1)
scaler.scale(y.float().sum()).backward()
scaler.step(opt)
scaler.update()
assert scaler.get_scale() == 8.0
major, minor = torch.cuda.get_device_capability()
assert "MiB" in torch.cuda.memory_summary() and major >= 1
with torch.cuda.stream(torch.cuda.Stream()):
    torch.cuda.current_stream().wait_stream(torch.cuda.default_stream())
torch.cuda.reset_peak_memory_stats()
free, total = torch.cuda.mem_get_info()
assert free <= total and torch.accelerator.memory_allocated() >= 0
with torch.cuda.device(0), torch.accelerator.device_index(0):
    torch.accelerator.synchronize()
print(torch.accelerator.current_accelerator())
"""


@pytest.mark.opencl
def test_a_cuda_script_runs_on_opencl(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "GRAPHC_DEVICE": "opencl"}
    command = [sys.executable, "-m", "graphc", "run", "script.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "opencl"), done.stderr


@pytest.mark.opencl
def test_events_and_streams_of_opencl():
    first, second = gc.opencl.Event(enable_timing=True), gc.opencl.Stream().record_event()
    first.record()
    second.record(gc.opencl.current_stream())
    assert first.elapsed_time(second) > 0 and gc.opencl.Stream() == gc.opencl.default_stream()
    assert gc.opencl.memory_stats()["allocated_bytes.all.peak"] >= gc.opencl.memory_allocated()


def test_threads_are_those_of_the_native_runs():
    code = "import graphc as gc, sys; gc.set_num_threads(1); assert gc.get_num_threads() == 1\n"
    code += "f = gc.compile(lambda x: x + 1); f(gc.zeros(100000))\n"
    code += "from graphc.backends.llvm.pool import pool; assert pool().threads == 1; gc.set_num_threads(2)\n"
    code += "assert pool().threads == 2 == gc.get_num_threads()"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_the_precision_of_products_is_a_word():
    assert gc.get_float32_matmul_precision() == "highest"
    gc.set_float32_matmul_precision("high")
    with pytest.warns(UserWarning, match="low is not one of 'highest', 'high', or 'medium'"):
        gc.set_float32_matmul_precision("low")
    assert gc.get_float32_matmul_precision() == "high"
    gc.set_float32_matmul_precision("highest")
