"""`gc.profile`: what is measured, whom it belongs to, and that measuring changes nothing."""

from __future__ import annotations

import inspect
import json
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from where import BACKEND, runs_natively

import graphc as gc
from graphc import autodiff, nn, optim, tanh
from graphc.errors import ArgumentError, ArgumentTypeError, BackendError
from graphc.ir.program import Origin
from graphc.profiler import profile as torch_profile
from graphc.profiler import record_function
from graphc.profiler.lines import LineWatch
from graphc.profiler.rates import Rates
from graphc.profiler.tallies import planned_steps, shares_of
from graphc.profiler.watching import Watch


class Case:
    """A model with dropout, an optimizer, data, and a training step."""

    def __init__(self):
        gc.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))
        self.opt = optim.Adam(self.model.parameters(), lr=0.01)
        self.x, self.y = gc.randn(8, 6), gc.arange(8) % 3

    def step(self, x, y):
        self.opt.zero_grad()
        scores = self.model(x)
        scaled = scores * 2 - 1
        loss = nn.functional.cross_entropy(scaled, y)
        loss.backward()
        self.opt.step()
        return loss

    def line(self, text):
        """The number of the step's line that has this text."""
        lines, first = inspect.getsourcelines(Case.step)
        return first + next(i for i, line in enumerate(lines) if text in line)


def at(data, line):
    return next(x for x in data["lines"] if x["line"] == line)


def adds_up(data):
    """That lines and what is outside are the measured time, by construction, and that the data is plain."""
    assert json.loads(json.dumps(data)) == data
    assert sum(x["ns"] for x in data["lines"]) + data["outside_ns"] == data["ns_per_call"]
    assert sum(x["share"] for x in data["lines"]) <= 1 + 1e-9 or data["outside_ns"] < 0
    return data


@pytest.mark.parametrize("backend", [None, "llvm", "numpy"])
def test_lines_and_outside_add_up_to_the_time_of_a_call(backend):
    case = Case()
    data = adds_up(gc.profile(case.step, case.x, case.y, calls=6, backend=backend).data)
    assert (data["mode"], data["backend"]) == (("eager", "eager") if backend is None else ("compiled", backend))
    assert data["what"] == "Case.step" and data["calls"] == 6
    assert data["overhead"]["profiled_ns"] == data["ns_per_call"] > 0 and data["overhead"]["unprofiled_ns"] > 0
    model, loss = at(data, case.line("self.model(x)")), at(data, case.line("cross_entropy"))
    assert model["text"] == "scores = self.model(x)" and model["file"].endswith("test_profile.py")
    assert 0 < model["backward_ns"] < model["ns"] and loss["ns"] > 0
    assert {"Sequential.0", "Sequential.3"} <= set(model["modules"])
    assert at(data, case.line("opt.step()"))["ns"] > 0


@pytest.mark.parametrize("backend", [None, "llvm", "numpy"])
def test_a_profiled_step_does_what_another_does(backend):
    plain, profiled = Case(), Case()
    step = plain.step if backend is None else gc.compile(plain.step, backend=backend)
    gc.manual_seed(1)
    for _ in range(2 + 3 + 2 * 5):  # two to warm up, three turns of two, two and one
        loss = step(plain.x, plain.y)
    drawn = gc.rand(3)
    gc.manual_seed(1)
    found = gc.profile(profiled.step, profiled.x, profiled.y, calls=5, warmup=2, backend=backend)
    assert gc.equal(found.result, loss) and gc.equal(gc.rand(3), drawn)
    for a, b in zip(plain.model.parameters(), profiled.model.parameters(), strict=True):
        assert gc.equal(a, b)


def test_each_op_and_gradient_rule_of_eager_code_has_its_line():
    case = Case()
    data = gc.profile(case.step, case.x, case.y, calls=3).data
    steps = {x["id"]: x for x in data["steps"]}
    scaled = [steps[i] for i in at(data, case.line("scores * 2 - 1"))["steps"]]
    assert {(x["kind"], x["title"]) for x in scaled} == {
        ("function", "mul"), ("function", "sub"), ("gradient", "MultiplyBackward"), ("gradient", "SubtractBackward"),
    }  # fmt: skip
    assert {tuple(x["roles"]) for x in scaled if x["kind"] == "gradient"} == {("backward",)}
    assert [x["title"] for x in data["steps"] if x["kind"] == "update"] == ["Optimizer.step#Adam.step"]
    model = [steps[i] for i in at(data, case.line("self.model(x)"))["steps"]]
    assert {"Linear", "ReLU", "Dropout", "Sequential"} == {x["title"] for x in model if x["kind"] == "module"}
    assert "Sequential.0" in at(data, case.line("self.model(x)"))["modules"]
    backward = [x for x in data["steps"] if x["kind"] == "backward"]
    assert [x["lines"][0].rpartition(":")[2] for x in backward] == [str(case.line("loss.backward()"))]


def test_operators_without_a_method_of_their_name_have_lines():
    x, y = gc.rand(50, requires_grad=True), gc.rand(50)

    def step():
        z = x.exp() / y
        z.sum().backward()

    data = gc.profile(step, calls=2).data
    steps = {x["id"]: x["title"] for x in data["steps"]}
    line = next(x for x in data["lines"] if x["text"] == "z = x.exp() / y")
    assert {"div", "DivideBackward"} <= {steps[i] for i in line["steps"]}


def test_named_stretches_within_a_step_are_no_calls():
    def step(x):
        with record_function("part"):
            return x.exp()

    assert [x["title"] for x in gc.profile(step, gc.ones(3), calls=2).data["steps"]] == ["exp"]


def test_a_module_may_have_a_keyword_of_any_name():
    class Net(nn.Module):
        def forward(self, x, module):
            return x * module

    assert gc.profile(Net(), gc.ones(3), module=2.0, calls=1).result.tolist() == [2.0] * 3


def test_gradients_that_meet_are_added_at_the_line_they_come_from():
    x = gc.ones(3, requires_grad=True)

    def step():
        y = x.exp()
        z = y * 2
        (y * z).sum().backward()

    before = autodiff.add
    data = gc.profile(step, calls=2).data
    (added,) = [s for s in data["steps"] if s["title"] == "add"]
    assert added["roles"] == ["backward"] and autodiff.add is before
    line = next(x for x in data["lines"] if added["id"] in x["steps"])
    assert line["text"] == "z = y * 2" and line["backward_ns"] > 0


def test_a_session_and_a_compiled_model_have_their_kernels():
    case = Case()
    graph = gc.Graph()
    with graph.as_default():
        x = gc.placeholder((None, 6), name="x")
        y = gc.placeholder((None,), dtype=gc.int64, name="y")
        loss = nn.functional.cross_entropy(case.model(x), y)
        train = case.opt.minimize(loss)
    with gc.Session(graph) as session:
        data = adds_up(gc.profile(session, [loss, train], {x: case.x, y: case.y}, calls=4).data)
    assert (data["mode"], data["backend"]) == ("session", BACKEND)
    assert {"forward", "backward", "update"} <= {role for step in data["steps"] for role in step["roles"]}

    fast = gc.compile(case.model)

    def step(x, y):
        case.opt.zero_grad()
        loss = nn.functional.cross_entropy(fast(x), y)
        loss.backward()
        case.opt.step()

    data = adds_up(gc.profile(step, case.x, case.y, calls=4).data)
    kernels = [x for x in data["steps"] if x["id"][0] == "K"]
    assert data["mode"] == "eager" and {"forward", "backward"} <= {role for x in kernels for role in x["roles"]}
    assert all(x["ns"] > 0 for x in kernels if x["kind"] == "product")


def test_modules_and_bound_methods_are_compiled_things_too():
    case = Case()
    assert gc.profile(gc.compile(case.model), case.x, calls=1).data["mode"] == "compiled"

    class Net:
        @gc.compile
        def run(self, x):
            return x * 2

    data = gc.profile(Net().run, case.x, calls=1).data
    assert (data["mode"], data["what"].rpartition(".")[2]) == ("compiled", "run")


# --- kernels -----------------------------------------------------------------------------------------------------------


def node(op, line, flops, nbytes, role="forward"):
    where = [{"file": "f.py", "line": line, "module": "", "role": role}] if line else []
    return {"op": op, "at": where, "flops": flops, "bytes": nbytes}


def test_a_kernel_is_shared_among_its_lines_by_cost():
    described = {"kind": "kernel", "nodes": [node("exp", 3, 10, 20), node("add", 4, 30, 20), node("mul", 3, 0, 20)]}
    shares = {(s.origin, s.op): s.part for s in shares_of(described)}
    assert shares == {(Origin("f.py", 3), "exp"): 0.3, (Origin("f.py", 4), "add"): 0.5, (Origin("f.py", 3), "mul"): 0.2}
    described["nodes"] = [node("full", 1, 0, 0), node("full", None, 0, 0)]
    assert [(s.origin, s.part) for s in shares_of(described)] == [(Origin("f.py", 1), 0.5), (None, 0.5)]


def test_a_node_of_several_lines_is_due_to_the_first():
    both = node("exp", 3, 10, 20)
    both["at"] += node("exp", 5, 0, 0)["at"]
    assert [(s.origin.line, s.part) for s in shares_of({"kind": "kernel", "nodes": [both]})] == [(3, 1.0)]


def described_step(**more):
    cost = {"flops": 100, "bytes_read": 30, "bytes_written": 10}
    made = [{"name": "%1", "type": "f32[3]", "place": ""}]
    return {"kind": "kernel", "ops": ["exp"], "nodes": [node("exp", 3, 100, 40)], "cost": cost, "makes": made, **more}


def test_steps_of_loops_count_all_their_turns():
    loop = described_step(kind="scan", bodies={"body": [described_step()]}, turns=7)
    forever = described_step(kind="while_loop", bodies={"body": [described_step()]})
    steps = planned_steps([loop, forever, described_step()], lambda flops, nbytes, dtype: flops + nbytes, 4)
    assert [x.id for x in steps] == ["K5", "K6", "K7", "K8", "K9"]
    assert [(x.flops, x.bytes, x.floor_ns) for x in steps] == [
        (None, None, None), (700, 280, 980), (None, None, None), (None, None, None), (100, 40, 140),
    ]  # fmt: skip


def test_of_two_branches_the_dearer_one_counts():
    cheap, dear = described_step(), described_step(cost={"flops": 300, "bytes_read": 3, "bytes_written": 1})
    inner = described_step(kind="cond", bodies={"true": [cheap], "false": [dear]})
    outer = described_step(kind="cond", bodies={"true": [inner], "false": [cheap]})
    assert [x.taken for x in planned_steps([outer, cheap], lambda *_: 1)] == [None, True, False, True, False, None]


@pytest.mark.parametrize("positive", [True, False])
def test_of_two_branches_what_ran_is_measured(positive):
    def step(x):
        return gc.cond(x.sum() > 0, lambda x: x.exp(), lambda x: (x.exp() / 3 + x.sin()).sqrt(), x)

    x = gc.full((100,), 1.0 if positive else -1.0)
    steps = gc.profile(step, x, calls=2, backend="llvm").data["steps"]
    told = [x["flops"] for x in steps if "exp" in x["ops"]]
    assert told == ([100, 0] if positive else [0, 500])


@runs_natively
def test_steps_side_by_side_share_the_time_of_their_region():
    f = gc.compile(lambda x: ((x + 1).sum(), (x @ x).exp()))
    f(gc.ones(64, 64))
    (executable,) = f.last_built().executables.values()
    code = executable.translation
    n = len(code.steps)
    region = next(k for k, numbers in enumerate(code.regions) if len(numbers) > 1)
    first, second = code.regions[region][:2]
    times = np.zeros(1 + n + len(code.regions), np.int64)
    times[first], times[second], times[1 + n + region] = 300, 100, 200
    found = code.wall_times(times)
    assert (found[first - 1], found[second - 1], sum(found)) == (150, 50, 200)


@pytest.mark.parametrize("backend", ["llvm", "numpy"])
def test_steps_are_measured_only_while_asked_to(backend):
    f = gc.compile(lambda x: (x @ x).exp(), backend=backend)
    x = gc.ones(64, 64)
    f(x)
    (executable,) = f.last_built().executables.values()
    with executable.measured() as mark:
        f(x)
        first = mark()()
        assert any(first) and not any(mark()())
    f(x)
    assert len(first) == len(executable.describe(first)["steps"])
    with executable.measured() as mark:
        assert not any(mark()())


@runs_natively
def test_entries_are_measured_like_other_calls():
    f = gc.compile(lambda x: x.exp() * 2)
    x = gc.ones(100)
    for _ in range(3):
        f(x)
    assert f._entry is not None
    data = gc.profile(f, x, calls=3).data
    assert [x["ops"] for x in data["steps"]] == [["exp", "multiply"]] and data["steps"][0]["ns"] > 0


# --- rates -------------------------------------------------------------------------------------------------------------


def test_a_floor_is_the_longer_of_arithmetic_and_memory():
    rates = Rates({"f32": 100.0, "f64": 50.0}, ((1024, 4.0), (1 << 20, 2.0)))
    assert rates.floor_ns(1_000_000, 0) == 10_000 and rates.floor_ns(1_000_000, 0, "f64") == 20_000
    assert rates.floor_ns(0, 512) == 128 and rates.floor_ns(0, 1 << 30) == 1 << 29
    assert rates.copy_rate(1 << 15) == pytest.approx(3.0)
    assert rates.floor_ns(1_000_000, 1 << 20) == 1 << 19


def test_rates_are_measured_once_and_kept(monkeypatch, tmp_path):
    from graphc.profiler import rates

    kept: dict[str, bytes] = {}
    monkeypatch.setattr(rates, "_KNOWN", {})
    monkeypatch.setattr(rates, "disk", SimpleNamespace(get=kept.get, put=lambda key, data, _: kept.update({key: data})))
    monkeypatch.setattr(rates, "_SECONDS", 0.0)
    monkeypatch.setattr(rates, "_BYTES", (1 << 13, 1 << 17))
    monkeypatch.setattr(rates, "_ROWS", (64,))
    found = rates.rates_of("llvm")
    assert len(kept) == 1 and set(found.flops) == {"f32", "f64"} and len(found.copies) == 2
    assert found.floor_ns(10**9, 0) > found.floor_ns(10**6, 0) > 0
    monkeypatch.setattr(rates, "_KNOWN", {})
    monkeypatch.setattr(rates, "_measured", None)  # not called again
    assert rates.rates_of("numpy") == found == rates.rates_of("llvm")


# --- what is shown -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", [None, "llvm"])
def test_the_text_shows_lines_and_kernels(backend):
    case = Case()
    text = str(gc.profile(case.step, case.x, case.y, calls=2, backend=backend))
    assert text.startswith("profile of Case.step: ") and "outside of all lines" in text and "so measuring costs" in text
    assert "scores = self.model(x)" in text and ("product" if backend else "SubtractBackward") in text
    assert "<pre>profile of Case.step" in gc.profile(case.step, case.x, case.y, calls=1)._repr_html_()


#: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU, complete events and metadata.
TRACE_SCHEMA = {
    "type": "object",
    "required": ["traceEvents"],
    "properties": {
        "displayTimeUnit": {"enum": ["ms", "ns"]},
        "otherData": {"type": "object"},
        "traceEvents": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["ph", "name", "pid", "tid"],
                "properties": {
                    "name": {"type": "string"}, "cat": {"type": "string"}, "pid": {"type": "integer"},
                    "tid": {"type": "integer"}, "args": {"type": "object"}, "ts": {"type": "number", "minimum": 0},
                    "dur": {"type": "number", "minimum": 0}, "ph": {"enum": ["X", "M"]},
                },
                "additionalProperties": False,
                "oneOf": [
                    {"properties": {"ph": {"const": "X"}}, "required": ["ts", "dur", "cat"]},
                    {"properties": {"ph": {"const": "M"}, "name": {"enum": ["process_name", "thread_name"]}},
                     "required": ["args"]},
                ],
            },
        },
    },
    "additionalProperties": False,
}  # fmt: skip


@pytest.mark.parametrize("backend", [None, "llvm", "numpy"])
def test_a_trace_is_one_and_its_events_lie_within_each_other(backend, tmp_path):
    jsonschema = pytest.importorskip("jsonschema")
    case = Case()
    found = gc.profile(case.step, case.x, case.y, calls=3, backend=backend)
    found.export_chrome_trace(tmp_path / "trace.json")
    trace = json.loads((tmp_path / "trace.json").read_text())
    jsonschema.validate(trace, TRACE_SCHEMA)
    events = [e for e in trace["traceEvents"] if e["ph"] == "X"]
    assert [e["name"] for e in events if e["cat"] == "call"] == ["call 1", "call 2", "call 3"]
    assert {e["cat"] for e in events} == {"call", "phase", "step", "line"}
    assert {"forward", "backward", "update"} == {e["name"] for e in events if e["cat"] == "phase"}
    assert any(
        e["name"].endswith(f"test_profile.py:{case.line('self.model(x)')}") for e in events if e["cat"] == "line"
    )
    spans = sorted((round(1e3 * e["ts"]), -round(1e3 * (e["ts"] + e["dur"]))) for e in events)
    open_ends: list[int] = []
    for start, end in spans:
        while open_ends and open_ends[-1] <= start:
            open_ends.pop()
        assert not open_ends or -end <= open_ends[-1], "an event ends within another one"
        open_ends.append(-end)
    calls = [e for e in events if e["cat"] == "call"]
    assert all(a["ts"] + a["dur"] <= b["ts"] for a, b in pairwise(calls))


# --- what is refused, and what is left behind --------------------------------------------------------------------------


def test_nothing_is_different_afterwards():
    case = Case()
    before = (gc.Tensor.__add__, nn.Module.__call__, gc.exp, optim.Adam.step, gc.build.CompiledFunction.__call__)
    gc.profile(case.step, case.x, case.y, calls=2)
    with pytest.raises(ZeroDivisionError):
        gc.profile(lambda: 1 / 0, warmup=0)
    assert before == (
        gc.Tensor.__add__,
        nn.Module.__call__,
        gc.exp,
        optim.Adam.step,
        gc.build.CompiledFunction.__call__,
    )
    assert Watch.running is None


def test_what_cannot_be_profiled_is_refused():
    graph = gc.Graph()
    with graph.as_default():
        x = gc.placeholder((3,), name="x")
        graph.outputs["y"] = x * 2
    with pytest.raises(
        ArgumentTypeError, match="cannot profile Graph\n  need a function or module, compiled or not, or"
    ):
        gc.profile(graph)
    with pytest.raises(ArgumentTypeError, match="cannot profile int"):
        gc.profile(3)
    with pytest.raises(ArgumentError, match="0 calls after 3 cannot be measured\n  need calls >= 1 and warmup >= 0"):
        gc.profile(gc.exp, gc.ones(3), calls=0)
    with pytest.raises(ArgumentError, match=r"2\.5 calls after 3 cannot be measured"):
        gc.profile(gc.exp, gc.ones(3), calls=2.5)
    with pytest.raises(ArgumentError, match="runs on the backend 'numpy', not on 'llvm'\n  need `backend` left out"):
        gc.profile(gc.compile(gc.exp, backend="numpy"), gc.ones(3), backend="llvm")
    with (
        gc.Session(graph, backend="eager") as session,
        pytest.raises(BackendError, match="'eager' of a session has no plan"),
    ):
        gc.profile(session, "y", {"x": [1, 2, 3]})
    with torch_profile(), pytest.raises(BackendError, match="a profiler is running"):
        gc.profile(gc.exp, gc.ones(3))


def test_a_backend_that_cannot_tell_times_is_refused():
    class Silent:
        name, fuses = "silent", False

        def compile(self, program, updates=None):
            class Runs:
                peak, steps = 0, ""

                def __call__(self, arrays):
                    return [np.zeros(tuple(v.shape), v.dtype.np) for v in program.outputs]

            return Runs()

    gc.backends.register_backend("silent", Silent)
    with pytest.raises(BackendError, match="the backend 'silent' cannot tell the time of its steps"):
        gc.profile(lambda x: x + 1, gc.ones(3), backend="silent")


def test_functions_that_a_script_has_imported_by_name_are_seen():
    script = {"__name__": "__main__"}
    exec("from graphc import exp\ndef step(x):\n    return exp(x)\n", script)
    before = script["exp"]
    data = gc.profile(script["step"], gc.ones(3), calls=2).data
    assert [x["title"] for x in data["steps"]] == ["exp"] and script["exp"] is before
    assert [x["title"] for x in gc.profile(by_name, gc.ones(3), calls=2).data["steps"]] == ["tanh"]


def by_name(x):
    return tanh(x)


def test_only_the_thread_that_profiles_is_seen():
    import threading

    watch, seen = LineWatch(), []
    watch.start()
    try:
        other = threading.Thread(target=lambda: seen.append(gc.exp(gc.ones(3))))
        other.start()
        other.join()
        assert len(seen) == 1 and watch.events == []
        gc.exp(gc.ones(3))
        assert [e.name for e in watch.events] == ["ones", "exp"]
    finally:
        watch.stop()
