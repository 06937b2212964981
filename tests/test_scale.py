"""What must grow with the size of a program and with nothing else: nodes, visits of nodes, what a run leaves behind.

Times are `benchmarks/`' business; no test here looks at a clock.
"""

from __future__ import annotations

import gc as collector
import importlib.util
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import graphc as gc
from graphc.core.config import config
from graphc.core.op import REGISTRY
from graphc.executable import Built
from graphc.functions import promotion
from graphc.ir.program import Table
from graphc.passes import rewrite

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def benchmark(name):
    """A script of benchmarks/ as a module."""
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


scale, page = benchmark("scale"), benchmark("page")  # costs.py imports both
costs = benchmark("costs")


# --- programs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("name", ["chain", "diamonds", "random"])
def test_nodes_are_linear_in_the_size_of_the_program(name, gradient):
    body, _ = scale.PROGRAMS[name]
    small, large = scale.measure(body, 100, gradient), scale.measure(body, 200, gradient)
    assert 1.5 < large.nodes / small.nodes < 2.5
    assert 1.5 < large.left / small.left < 2.5


@pytest.mark.parametrize("name", ["chain", "diamonds", "random"])
def test_passes_visit_each_node_a_bounded_number_of_times(name, monkeypatch):
    visits = Counter()
    of = rewrite.Rules.of

    def counted(self, op):
        visits[op] += 1
        return of(self, op)

    monkeypatch.setattr(rewrite.Rules, "of", counted)
    body, _ = scale.PROGRAMS[name]
    measured = scale.measure(body, 100, True)
    assert sum(visits.values()) < 16 * measured.nodes


@pytest.mark.parametrize("name", ["chain", "diamonds", "random"])
def test_tracing_and_differentiating_ask_for_a_bounded_number_of_nodes(name, monkeypatch):
    asked = Counter()
    node = Table.node

    def counted(self, op, inputs, attrs, infer, origins=()):
        asked[op.name] += 1
        return node(self, op, inputs, attrs, infer, origins)

    monkeypatch.setattr(Table, "node", counted)
    body, _ = scale.PROGRAMS[name]
    graph = gc.Graph()
    with graph.as_default():
        x = gc.placeholder((4,), name="x")
        loss = body(x, 100)
        forward = sum(asked.values())
        gc.gradients(loss, x)
    recorded = len(graph.nodes)
    assert forward < 2 * recorded
    assert sum(asked.values()) < 4 * recorded


def test_stacked_diamonds_compute_what_numpy_computes():
    body, _ = scale.PROGRAMS["diamonds"]
    x = np.linspace(-1, 1, 5)
    expected = x
    for _ in range(100):
        expected = np.sin(expected) + np.cos(expected)
    compiled = gc.compile(lambda x: body(x, 100))
    np.testing.assert_allclose(compiled(gc.from_numpy(x)).numpy(), expected.sum(), rtol=1e-12)


def test_the_random_program_reads_every_result():
    body, _ = scale.PROGRAMS["random"]
    graph = gc.Graph()
    with graph.as_default():
        loss = body(gc.placeholder((4,), name="x"), 300)
    assert len(graph.program([loss._data]).nodes) == len(graph.nodes)


# --- what runs leave behind --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("door", "way"), [("eager", "numpy"), ("eager", "compiled"), ("compiled", "auto"), ("session", "auto")]
)
def test_runs_leave_nothing_behind(door, way, monkeypatch):
    monkeypatch.setattr(config, "eager", way)  # when eager code compiles depends on what ran before in this process
    run = costs.train_steps()[door]
    for _ in range(5):
        run()
    constants = len(promotion._CONSTANTS)
    counted = []
    for _ in range(2):  # the interpreter's own free lists fill in the first
        collector.collect()
        before = costs.Held.now()
        for _ in range(200):
            run()
        after = costs.Held.now()
        counted.append((after.objects - before.objects, after.blocks - before.blocks))
    objects, blocks = counted[-1]
    assert objects < 20
    assert blocks < 200
    assert len(promotion._CONSTANTS) == constants


def test_runs_make_no_cycles():
    """What a step makes is freed by counting references, also while the collector rests."""
    steps = costs.train_steps()
    for run in steps.values():
        run()
    collector.collect()
    for name, run in steps.items():
        for _ in range(20):
            run()
        assert collector.collect() < 20, name


def test_caches_of_a_session_and_a_compiled_function_stay_as_they_are():
    graph = gc.Graph()
    with graph.as_default():
        x = gc.placeholder((None, 3), name="x")
        y = (x * 2).sum(1)
    compiled = gc.compile(lambda x: (x * 2).sum(1))
    with gc.Session(graph) as session:
        for rows in (4, 1, 7):
            session.run(y, {x: np.ones((rows, 3), np.float32)})
            compiled(gc.ones(rows, 3))
        built = [len(session.recompiles), len(compiled.recompiles), len(graph.nodes)]
        for i in range(100):
            rows = (4, 1, 7)[i % 3]
            session.run([y, {"again": y}], {x: np.ones((rows, 3), np.float32)})
            session.run(y, {"x": np.ones((rows, 3), np.float32)})
            compiled(gc.ones(rows, 3))
        assert [len(session.recompiles), len(compiled.recompiles), len(graph.nodes)] == [
            built[0] + 1,
            built[1],
            built[2],
        ]
        assert len(session._known_outputs) <= 2
        assert len(session._prepared) <= 2


def test_many_sizes_do_not_fill_the_caches(monkeypatch):
    monkeypatch.setattr(gc.config, "largest_cache", 4)
    compiled = gc.compile(lambda x: x * 2 + x.shape[0], dynamic=True)
    for rows in range(2, 20):
        compiled(gc.ones(rows))
    built = compiled.last_built()
    assert len(built.executables) <= 4
    assert len(built.agreed) <= 4
    assert len(compiled.recompiles) == 1


def test_the_constants_of_eager_code_are_bounded():
    x = gc.ones(2)
    for i in range(3000):
        x + (i + 0.5)
    assert len(promotion._CONSTANTS) <= 1026


def test_sizes_that_disagree_are_refused_each_time():
    graph = gc.Graph()
    with graph.as_default():
        a, b = gc.placeholder((None,), name="a"), gc.placeholder((None,), name="b")
        total = a + b
    three, four = np.ones(3, np.float32), np.ones(4, np.float32)
    with gc.Session(graph) as session:
        for _ in range(3):
            np.testing.assert_array_equal(session.run(total, {a: three, b: three}), 2 * three)
            with pytest.raises(gc.errors.FeedError, match=r"sizes disagree|has size"):
                session.run(total, {a: three, b: four})


def test_a_write_recorded_after_a_run_is_part_of_the_next():
    """The session remembers what fetches need; writes recorded later must not be missed."""
    graph = gc.Graph()
    counter = gc.zeros(())
    with graph.as_default():
        gc.placeholder((), name="x")
        counter.add_(1)
        first = gc.updates(graph)
    with gc.Session(graph) as session:
        session.run(first)
        with graph.as_default():
            counter.add_(10)
            both = gc.updates(graph)
        session.run(both)
    assert counter.item() == 12


# --- importing ---------------------------------------------------------------------------------------------------------


def test_importing_graphc_loads_little():
    """Heavy or optional modules wait for their first use."""
    code = "import sys, numpy, ml_dtypes; known = set(sys.modules); import graphc; print(*set(sys.modules) - known)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=BENCHMARKS.parent,
        env={**os.environ, "GRAPHC_DEVICE": "cpu"},
    )  # fmt: skip
    loaded = set(done.stdout.split())
    assert "graphc.tensors" in loaded
    late = {"tqdm", "networkx", "safetensors", "torch", "ssl", "secrets", "hashlib", "multiprocessing", "asyncio"}
    ours = {
        "graphc.build",
        "graphc.session",
        "graphc.tracing",
        "graphc.nn",
        "graphc.optim",
        "graphc.data",
        "graphc.viz",
    }
    assert loaded & (late | ours) == set()


def test_every_registered_op_keeps_one_eager_closure():
    x = gc.ones(3)
    for _ in range(3):
        x + x
    add = REGISTRY["add"].call
    for _ in range(100):
        x + x
    assert REGISTRY["add"].call is add


def test_built_remembers_the_shapes_that_agree():
    compiled = gc.compile(lambda x: x + 1, dynamic=True)
    compiled(gc.ones(3))
    built = compiled.last_built()
    assert isinstance(built, Built)
    assert built.agreed == {((3,),)}
