"""`gc.estimate`: FLOPs, bytes, memory and time of a call that nobody makes."""

from __future__ import annotations

import json

import pytest

import graphc as gc
from graphc import nn, optim
from graphc.core.tensor_types import TensorType
from graphc.errors import ArgumentError, ArgumentTypeError, GraphError, ShapeError
from graphc.profiler.estimates import bytes_of, size

BACKENDS = pytest.mark.parametrize("backend", ["llvm", "numpy"])


def case(optimizer=optim.SGD):
    gc.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 50), nn.ReLU(), nn.Linear(50, 10))
    opt = optimizer(model.parameters(), lr=0.01)

    def step(x, y):
        opt.zero_grad()
        scores = model(x)
        loss = nn.functional.cross_entropy(scores, y)
        loss.backward()
        opt.step()
        return loss

    return model, step


def products(data):
    """The FLOPs of matrix products and convolutions."""
    return sum(x["flops"] for p in data["programs"] for x in p["steps"] if x["kind"] in ("product", "convolution", "numpy")
               and any(op in ("matmul", "matmul_add") or "convolution" in op for op in x["ops"]))  # fmt: skip


def plan_of(compiled):
    (executable,) = compiled.last_built().executables.values()
    return executable.plan


# --- what it says is what is so ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [optim.SGD, optim.Adam])
@BACKENDS
def test_the_peak_is_that_of_the_plan_and_of_the_timeline(backend, optimizer):
    _, step = case(optimizer)
    found = gc.estimate(step, gc.float32[32, 20], gc.int64[32], backend=backend)
    data = json.loads(json.dumps(found.data))
    assert data == found.data and found.data["backend"] == backend
    compiled = gc.compile(step, backend=backend)
    compiled(gc.rand(32, 20), gc.zeros(32, dtype=gc.int64))
    plan = plan_of(compiled)
    (program,) = data["programs"]
    assert found.peak_bytes == program["memory"]["peak_bytes"] == plan.peak
    assert max(x["bytes"] for x in program["timeline"]) == plan.peak
    assert all(x["live_bytes"] <= x["bytes"] for x in program["timeline"])
    assert len(program["timeline"]) == len(plan.regions if backend == "llvm" else plan.steps)
    assert max(x["offset"] + x["bytes"] for x in program["reuse"]) <= program["memory"]["arena_bytes"]


@BACKENDS
def test_its_flops_are_those_of_the_plan_that_runs(backend):
    _, step = case()
    found = gc.estimate(step, gc.float32[32, 20], gc.int64[32], backend=backend)
    told = gc.explain(gc.compile(step, backend=backend), gc.rand(32, 20), gc.zeros(32, dtype=gc.int64))
    cost = told.data["builds"][0]["plans"][0]["cost"]
    assert (found.flops, found.bytes) == (cost["flops"], cost["bytes_read"] + cost["bytes_written"])
    assert sum(x["flops"] for p in found.data["programs"] for x in p["lines"]) == pytest.approx(found.flops, rel=1e-3)


@BACKENDS
def test_an_mlp_has_the_flops_that_a_hand_counts(backend):
    forward = 2 * 32 * (20 * 50 + 50 * 10)
    _, step = case()
    found = gc.estimate(step, gc.float32[32, 20], gc.int64[32], backend=backend)
    added = (
        20 * 50 + 50 * 10 + 32 * (50 + 10) if backend == "llvm" else 0
    )  # sums made where products are: w - g, and biases
    assert products(found.data) == forward + (2 * forward - 2 * 32 * 20 * 50) + added


@BACKENDS
def test_a_convolution_has_the_flops_that_a_hand_counts(backend):
    conv = nn.Conv2d(3, 8, 5, padding=2, bias=False)
    with gc.no_grad():
        found = gc.estimate(conv, (4, 3, 16, 16), backend=backend)
    assert found.flops == 2 * 4 * 8 * 16 * 16 * 3 * 5 * 5


def test_an_lstm_counts_every_turn_of_its_loop():
    lstm = nn.LSTM(16, 32)

    def flops(turns):
        with gc.no_grad():
            return products(gc.estimate(lambda x: lstm(x)[0], (turns, 4, 16)).data)

    each = 2 * 4 * 4 * 32 * (16 + 32)  # products with x and h
    assert [flops(turns) / turns for turns in (5, 50)] == [each, each]


@BACKENDS
def test_of_two_branches_the_dearer_one_is_counted(backend):
    w = gc.rand(8, 8)

    def twice(x):
        return gc.cond(x.sum() > 0, lambda x: (x @ w).exp() @ w, lambda x: x @ w, x)

    found = gc.estimate(twice, (8, 8), backend=backend)
    with gc.no_grad():
        cost = gc.explain(gc.compile(twice, backend=backend), gc.rand(8, 8)).data["builds"][0]["plans"][0]["cost"]
    assert (found.flops, found.bytes) == (cost["flops"], cost["bytes_read"] + cost["bytes_written"])
    assert 2 * 2 * 8**3 < found.flops < 2.5 * 2 * 8**3
    assert sum(x["flops"] for x in found.data["programs"][0]["lines"]) == found.flops


def test_what_is_checkpointed_is_counted_once():
    net = nn.Linear(16, 16)

    def flops(run):
        return gc.estimate(run, (4, 16)).data["programs"][0]["flops"]

    plain = flops(lambda x: net(x).relu())
    assert flops(lambda x: gc.utils.checkpoint.checkpoint(lambda x: net(x).relu(), x, use_reentrant=False)) == plain > 0


@BACKENDS
def test_one_turn_is_counted_where_only_a_run_knows_how_many(backend):
    w = gc.rand(8, 8)

    def until(x):
        return gc.while_loop(lambda x: x.sum() < 100, lambda x: (x @ w,), (x,))[0]

    with gc.no_grad():
        found = gc.estimate(until, (8, 8), backend=backend)
    line = f"tests/test_estimate.py:{until.__code__.co_firstlineno + 1}"
    assert 2 * 8**3 < found.flops < 2.5 * 2 * 8**3 and found.predicted_ns > 0
    assert found.data["unknown_turns"] == found.data["programs"][0]["unknown_turns"] == [line]
    assert f"of loops whose turns only a run knows one turn is counted: {line}\n" in str(found)
    assert gc.estimate(lambda x: x * 2, (3,)).data["unknown_turns"] == []


def test_a_module_that_is_differentiated_outside_has_a_gradient_too():
    model, _ = case()
    data = gc.estimate(model, (32, 20)).data
    assert [x["name"] for x in data["programs"]] == ["forward", "gradient"]
    forward = 2 * 32 * (20 * 50 + 50 * 10)
    assert products(data) == forward + 32 * 60 + (2 * forward - 2 * 32 * 20 * 50)
    assert data["flops"] == sum(x["flops"] for x in data["programs"])
    assert data["peak_bytes"] == max(x["memory"]["peak_bytes"] for x in data["programs"])
    with gc.no_grad():
        assert [x["name"] for x in gc.estimate(model, (32, 20)).data["programs"]] == ["forward"]


def test_memory_is_told_apart():
    model, step = case(optim.Adam)
    found = gc.estimate(step, gc.float32[32, 20], gc.int64[32])
    memory = found.data["programs"][0]["memory"]
    weights = 4 * sum(p.numel() for p in model.parameters())
    assert memory["argument_bytes"] == 4 * 32 * 20 + 8 * 32
    assert 3 * weights <= memory["variable_bytes"] < 3 * weights + 200  # moments, and some numbers
    held = ("argument_bytes", "variable_bytes", "constant_bytes", "peak_bytes")
    assert found.needed_bytes == sum(memory[key] for key in held)
    largest = found.data["programs"][0]["largest"]
    assert [x["bytes"] for x in largest] == sorted((x["bytes"] for x in largest), reverse=True)
    assert (largest[0]["type"], largest[0]["is"]) == ("f32[32, 50]", "matmul_add")
    assert any("test_estimate.py" in line for line in largest[0]["lines"])


def test_it_tells_whether_it_fits():
    found = gc.estimate(lambda x: x + 1, gc.float32[1024, 1024])
    assert found.needed_bytes == 8 << 20
    assert found.fits("8 MiB") and found.fits(8 << 20) and not found.fits("8 MB") and found.fits("1GiB")
    assert [bytes_of(x) for x in ("1.5 KiB", "2k", "3 TB", "7", "7 b")] == [1536, 2000, 3 * 10**12, 7, 7]
    assert [size(n) for n in (12, 1536, 5 << 20, 3 << 30)] == ["12 B", "1.5 KiB", "5 MiB", "3 GiB"]
    with pytest.raises(ArgumentError, match="'much' is no number of bytes\n  need such as '8 GiB'"):
        found.fits("much")
    with pytest.raises(ArgumentTypeError, match=r"bytes are a number or a text, got 1\.5"):
        found.fits(1.5)


# --- nothing happens ---------------------------------------------------------------------------------------------------


def test_nothing_runs_and_nothing_changes():
    model, step = case()
    before = [p.detach().clone() for p in model.parameters()]
    seed = gc.rand(1)
    gc.manual_seed(3)
    drawn = gc.rand(2)
    gc.manual_seed(3)
    gc.estimate(step, gc.float32[32, 20], gc.int64[32])
    gc.estimate(lambda x: nn.functional.dropout(x) + gc.rand(3), gc.float32[3])
    assert gc.equal(gc.rand(2), drawn) and seed.shape == (1,)
    assert all(gc.equal(a, b) and b.grad is None for a, b in zip(before, model.parameters(), strict=True))


def test_what_is_larger_than_the_machine_is_told():
    found = gc.estimate(lambda x: x.sum(0), gc.float32[1 << 20, 1 << 22])
    assert found.needed_bytes == (1 << 44) + (1 << 24) and not found.fits("1 TiB")


def test_a_compiled_function_gets_no_build():
    f = gc.compile(lambda x: x * 2)
    assert gc.estimate(f, (3,)).flops == 3 and f.builds() == []
    assert gc.estimate(gc.compile(case()[0], backend="numpy"), (1, 20)).data["backend"] == "numpy"


# --- what may be given -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [gc.float32[2, 3], "f32[2, 3]", (2, 3), gc.ones(2, 3), TensorType((2, 3), gc.float32), gc.ones(2, 3).numpy()],
)
def test_types_are_given_in_many_ways(given):
    found = gc.estimate(lambda x, more, factor: (x + more[0]["y"]) * factor, given, [{"y": given}], 2.0)
    inputs = found.data["programs"][0]["memory"]["argument_bytes"]
    assert found.flops == 12 and inputs in (24, 48)  # one tensor given twice is one input


def test_other_arguments_are_themselves():
    def f(x, how, times=1):
        assert how == "twice" and times == 3
        return x * times

    assert gc.estimate(f, "f64[5]", "twice", times=3).flops == 5
    assert gc.float32[7] == TensorType((7,), gc.float32) and gc.int64[()].shape == ()


def test_graphs_are_estimated_for_fetches_and_shapes():
    model, _ = case()
    graph = gc.Graph()
    with graph.as_default():
        x = gc.placeholder((None, 20), name="x")
        y = gc.placeholder((None,), dtype=gc.int64, name="y")
        loss = nn.functional.cross_entropy(model(x), y)
        train = optim.SGD(model.parameters(), lr=0.1).minimize(loss)
    with pytest.raises(GraphError, match=r"nothing to estimate: name fetches, or fill graph\.outputs"):
        gc.estimate(graph)
    forward = 2 * 32 * (20 * 50 + 50 * 10)
    found = gc.estimate(graph, loss, train, x=(32, 20), y=gc.int64[32])
    assert products(found.data) == 3 * forward - 2 * 32 * 20 * 50 + 20 * 50 + 50 * 10 + 32 * 60
    graph.outputs["loss"] = loss
    assert products(gc.estimate(graph, x=(32, 20), y=(32,)).data) == forward + 32 * 60
    scale = gc.Graph()
    with scale.as_default():
        scale.outputs["y"] = gc.placeholder((), dtype=gc.float64, name="by") * 2
    assert all(gc.estimate(scale, by=x).flops == 1 for x in ((), gc.tensor(2.0), gc.float64[()]))
    with pytest.raises(ArgumentError, match=r"the placeholder x is f32\[.*\]: an estimate needs its sizes"):
        gc.estimate(graph, y=(32,))
    with pytest.raises(ArgumentError, match="the graph has no placeholder 'z'\n  need one of x, y"):
        gc.estimate(graph, z=(3,))
    with pytest.raises(ShapeError, match=r"x is f32\[.*\], the shape given is \[3\]"):
        gc.estimate(graph, x=(3,), y=(32,))
    with pytest.raises(ArgumentTypeError, match="x needs a shape, got 'wide'"):
        gc.estimate(graph, x="wide", y=(32,))
    with pytest.raises(ShapeError, match="sizes disagree"):
        gc.estimate(graph, x=(32, 20), y=(31,))


def test_sessions_are_estimated_by_their_own_backend():
    graph = gc.Graph("net")
    with graph.as_default():
        x = gc.placeholder((None, 20), name="x")
        graph.outputs["y"] = nn.Linear(20, 50)(x).relu()
    with gc.Session(graph, backend="numpy") as session:
        found = gc.estimate(session, x=(32, 20))
        assert (found.data["backend"], found.data["what"]) == ("numpy", "session of graph net")
        assert found.flops == gc.estimate(graph, x=(32, 20), backend="numpy").flops > 2 * 32 * 20 * 50
        assert gc.estimate(session, "y", x=(32, 20), backend="null").data["backend"] == "null"
        assert session.builds() == [] and session.recompiles == []
    assert gc.estimate(gc.Session(graph, backend="eager"), x=(3, 20)).data["backend"] == gc.config.backend


def test_what_cannot_be_estimated_is_refused():
    with pytest.raises(ArgumentTypeError, match="cannot estimate int\n  need a function or module, compiled or not"):
        gc.estimate(3)
    with pytest.raises(ArgumentTypeError, match=r"f32\[n\] has an unknown size: an estimate needs numbers"):
        gc.estimate(gc.exp, TensorType((gc.Dim.named("n"),), gc.float32))
    with pytest.raises(ShapeError, match=r"f32\[-1, 3\] has a negative size"):
        gc.estimate(gc.exp, (-1, 3))
    with pytest.raises(ArgumentError, match=r"'f32\[n, 3\]' has no sizes\n  need numbers, such as 'f32\[64, 1000\]'"):
        gc.estimate(gc.exp, "f32[n, 3]")
    with pytest.raises(ArgumentError, match=r"'f32\[3 4\]' has no sizes\n  need numbers, such as 'f32\[64, 1000\]'"):
        gc.estimate(gc.exp, "f32[3 4]")
    with pytest.raises(gc.errors.SymbolicError, match="test_estimate"):
        gc.estimate(lambda x: x if x.sum() > 0 else -x, (3,))
    with pytest.raises(gc.errors.BackendError, match="no backend is called 'abacus'"):
        gc.estimate(gc.exp, (3,), backend="abacus")


def test_the_text_names_lines_and_tensors():
    _, step = case()
    text = str(gc.estimate(step, gc.float32[32, 20], gc.int64[32]))
    assert text.startswith("estimate of case.<locals>.step: backend llvm, nothing was run\n")
    for word in (
        "FLOP, moves",
        "at once, of which a run allocates",
        "largest",
        "scores = model(x)",
        "f32[32, 50]",
        "regions",
    ):
        assert word in text, word
    assert "<pre>estimate of" in gc.estimate(step, gc.float32[32, 20], gc.int64[32])._repr_html_()
