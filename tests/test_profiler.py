"""The profiler: what it sees, that it leaves no trace, what it writes."""

from __future__ import annotations

import gzip
import json

import pytest

import graphc as gc
from graphc.profiler import ProfilerActivity, profile, record_function, schedule, tensorboard_trace_handler
from graphc.profiler.watching import Watch


def step(model, opt, x):
    opt.zero_grad()
    loss = gc.nn.functional.mse_loss(model(x) + 1, gc.zeros(2, 3))
    loss.backward()
    opt.step()


def seen_by(prof):
    return {event.key: event.count for event in prof.key_averages()}


def test_functions_rules_and_steps_are_seen():
    model = gc.nn.Sequential(gc.nn.Linear(4, 3), gc.nn.ReLU())
    opt, double = gc.optim.SGD(model.parameters(), lr=0.1), gc.compile(lambda x: x * 2)
    x = gc.ones(2, 4)
    with profile() as prof:
        for _ in range(2):
            step(model, opt, x)
            double(x)
            with record_function("part"):
                gc.matmul(x, x.t())
    found = seen_by(prof)
    assert found["aten::linear"] == found["aten::mse_loss"] == found["part"] == 2
    assert found["Optimizer.step#SGD.step"] == found["compiled <lambda>"] == 2
    assert found["aten::matmul"] == 2 and any(name.endswith("Backward") for name in found)


def test_a_compiled_step_of_an_optimizer_bears_its_name(monkeypatch):
    monkeypatch.setattr(gc.config, "eager", "compiled")
    model = gc.nn.Linear(4, 3)
    opt = gc.optim.SGD(model.parameters(), lr=0.1)
    with profile() as prof:
        step(model, opt, gc.ones(2, 4))
    assert seen_by(prof)["compiled SGD.step"] == seen_by(prof)["Optimizer.step#SGD.step"] == 1


def test_nothing_is_different_before_and_after():
    before = (gc.Tensor.__add__, gc.nn.functional.linear, gc.ones, gc.Tensor.relu, gc.optim.SGD.step)
    with profile():
        assert gc.ones is not before[2]
    with pytest.raises(ZeroDivisionError), profile():
        raise ZeroDivisionError
    assert before == (gc.Tensor.__add__, gc.nn.functional.linear, gc.ones, gc.Tensor.relu, gc.optim.SGD.step)
    assert profile().events() == []
    assert Watch.running is None


def test_a_function_that_is_recorded_is_not_timed():
    f = gc.compile(lambda x: gc.exp(x) + 1)
    with profile() as prof:
        f(gc.ones(3))
    assert set(seen_by(prof)) == {"compiled <lambda>", "aten::ones"}


def test_times_add_up():
    with profile() as prof, record_function("outer"):
        for _ in range(5):
            gc.exp(gc.ones(1000))
    events = prof.events()
    outer = next(e for e in events if e.name == "outer")
    inner = [e for e in events if e.name == "aten::exp"]
    assert outer.depth == 0 and {e.depth for e in inner} == {1}
    assert outer.cpu_time_total >= sum(e.cpu_time_total for e in inner)
    assert prof.key_averages().self_cpu_time_total == pytest.approx(outer.cpu_time_total)


def test_stretches_that_overlap_add_up():
    with profile(schedule=schedule(wait=0, warmup=0, active=3)) as prof:
        for _ in range(2):
            with record_function("whole"):
                gc.exp(gc.ones(1000))
                prof.step()
                gc.exp(gc.ones(10))
    events = prof.events()
    names = [e.name for e in events if not e.name.startswith("aten")]
    assert names == ["ProfilerStep#0", "whole", "ProfilerStep#1", "whole", "ProfilerStep#2"]
    assert min(e.self_cpu_time_total for e in events) >= 0
    whole = max(e.end for e in events) - min(e.start for e in events)
    assert events.self_cpu_time_total <= whole / 1e3 * (1 + 1e-9)
    assert all(e.start < e.end for e in events)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda x: x / x, "div"), (lambda x: 1 / x, "div"), (lambda x: 2 - x, "rsub"), (lambda x: x // x, "floor_divide"),
        (lambda x: x % 3, "remainder"), (lambda x: x & x, "bitwise_and"), (lambda x: x | 1, "bitwise_or"),
        (lambda x: 1 ^ x, "bitwise_xor"), (lambda x: x << 1, "bitwise_left_shift"), (lambda x: ~x, "bitwise_not"),
        (lambda x: -x, "neg"), (lambda x: x ** 2, "pow"), (lambda x: x == x, "eq"), (lambda x: x.__iadd__(1), "add_"),
        (lambda x: x.__ior__(1), "bitwise_or_"), (lambda x: x[0], "getitem"), (lambda x: x.__setitem__(0, 1), "setitem"),
    ],
)  # fmt: skip
def test_every_operator_is_seen_once(call, name):
    x = gc.tensor([1, 2])
    with profile() as prof:
        call(x)
    assert seen_by(prof)[f"aten::{name}"] == 1


def test_shapes_are_told_if_asked_for():
    with profile(record_shapes=True) as prof:
        gc.exp(gc.ones(2, 3))
        gc.exp(gc.ones(4))
    averages = prof.key_averages(group_by_input_shape=True)
    assert [a.input_shapes for a in averages if a.key == "aten::exp"] == [[[2, 3]], [[4]]]
    assert "[[2, 3]]" in averages.table(sort_by="count")
    with pytest.raises(gc.errors.ArgumentError, match="cannot be sorted by 'beauty'"):
        averages.table(sort_by="beauty")


def test_traces_are_written(tmp_path):
    with profile() as prof:
        gc.ones(2) + 1
    prof.add_metadata("run", "first")
    for name in ("trace.json", "trace.json.gz"):
        prof.export_chrome_trace(str(tmp_path / name))
    plain = json.loads((tmp_path / "trace.json").read_text())
    assert plain["run"] == "first"
    assert {e["name"] for e in plain["traceEvents"]} >= {"aten::ones", "aten::add"}
    assert json.loads(gzip.decompress((tmp_path / "trace.json.gz").read_bytes())) == plain
    tensorboard_trace_handler(str(tmp_path / "logs"), "me", use_gzip=True)(prof)
    assert len(list((tmp_path / "logs").glob("me.*.pt.trace.json.gz"))) == 1


def test_only_the_steps_of_the_schedule_are_seen():
    rounds = []
    with profile(
        schedule=schedule(wait=1, warmup=1, active=2, repeat=2),
        on_trace_ready=lambda p: rounds.append([e.name for e in p.events() if e.name.startswith("Prof")]),
    ) as prof:
        for _ in range(10):
            gc.ones(2) + 1
            prof.step()
    assert rounds == [["ProfilerStep#2", "ProfilerStep#3"], ["ProfilerStep#6", "ProfilerStep#7"]]


def test_one_at_a_time_and_no_stacks():
    with profile() as prof, pytest.raises(gc.errors.BackendError, match="a profiler is running"):
        profile().start()
    with pytest.raises(gc.errors.BackendError, match="no stacks are noted"):
        prof.export_stacks("file")
    with pytest.raises(gc.errors.BackendError, match="didn't finish running"), gc.autograd.profiler.profile() as older:
        older.key_averages()
    with gc.autograd.profiler.profile(enabled=False) as off:
        gc.ones(1)
    with pytest.raises(gc.errors.BackendError, match="didn't finish running"):
        off.table()


@record_function("whole")
def decorated():
    return gc.ones(1)


def test_a_decorated_function():
    decorated()
    with profile() as prof:
        decorated()
    assert seen_by(prof)["whole"] == 1


@pytest.mark.opencl
def test_work_on_a_device_is_waited_for():
    x = gc.rand(64, 64, device="opencl")
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as prof:
        x @ x
    assert seen_by(prof) == {"aten::matmul": 1}
