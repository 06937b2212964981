"""What users may rely on of graphs and sessions."""

from __future__ import annotations

import re
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest

import graphc as gc
from graphc import nn, optim
from graphc.core.arrays import host
from graphc.core.errors import (
    BackendError,
    FeedError,
    GradientError,
    GraphError,
    GraphGrowthWarning,
    RecompileError,
    SymbolicError,
    VerifyError,
)  # fmt: skip
from graphc.session import SharedLock

HERE = rf"{Path(__file__).name}:\d+"
X = np.arange(6, dtype=np.float32).reshape(2, 3)


def regression():
    """A graph with parameters, a loss and a train op, filled in as a user does."""
    gc.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    graph = gc.Graph()
    with graph.as_default():
        x = gc.placeholder((None, 3), name="x")
        loss = (model(x) ** 2).mean()
        train = optim.SGD(model.parameters(), lr=0.1, momentum=0.9).minimize(loss)
    graph.outputs["loss"] = loss
    graph.outputs["train"] = train
    return graph, model


# --- the graph --------------------------------------------------------------------------------------------------------


def test_a_graph_lists_itself():
    graph, model = regression()
    assert list(graph.inputs) == ["x"] and list(graph.outputs) == ["loss", "train"]
    assert [id(p) for p in graph.parameters.values()] == [id(p) for p in model.parameters()]
    assert [name.split(".")[-1] for name in graph.parameters] == ["weight", "bias", "weight", "bias"]
    assert len(set(graph.parameters)) == 4
    assert {n.op.name for n in graph.nodes} >= {"matmul", "tanh", "subtract"}


def test_the_same_code_prints_the_same_text():
    (a, _), (b, _) = regression(), regression()
    assert str(a) == str(b) and "matmul" in str(a) and "x: f32[x_0, 3]" in str(a)


def test_finalize_refuses_any_further_node():
    graph, _model = regression()
    before = str(graph)
    assert graph.finalize() is graph
    with graph.as_default():
        for add in (
            lambda: graph.inputs["x"] * 5,
            lambda: gc.placeholder((2,)),
            lambda: gc.gradients(graph.outputs["loss"], graph.inputs["x"]),
        ):
            with pytest.raises(GraphError, match=rf"the graph is finalized: no node can be added \(at .*{HERE}\)"):
                add()
    assert str(graph) == before
    gc.Session(graph).run(["loss", "train"], {"x": X})


def test_placeholders_check_their_arguments():
    graph = gc.Graph()
    with pytest.raises(GraphError, match=rf"no default graph at .*{HERE}"):
        gc.placeholder((2,))
    with graph.as_default():
        gc.placeholder((2,), name="x")
        with pytest.raises(GraphError, match="has a placeholder or variable named 'x' already"):
            gc.placeholder((2,), name="x")
        for shape, name in ((("a",), "y"), ((-2,), "y"), ((1.5,), "y"), ((2,), ""), ((2,), 3)):
            with pytest.raises(TypeError, match=r"placeholder (shape|name)"):
                gc.placeholder(shape, name=name)
    assert list(graph.inputs) == ["x"]


def test_a_refused_placeholder_leaves_no_trace():
    graph = gc.Graph()
    with graph.as_default():
        with pytest.raises(TypeError):
            gc.placeholder((2,), dtype="no such dtype", name="x")
        gc.placeholder((2,), name="x")
    assert list(graph.inputs) == ["x"]


def test_another_thread_stays_eager():
    found = []
    with gc.Graph().as_default():
        thread = threading.Thread(target=lambda: found.append(gc.ones(2) + 1))
        thread.start()
        thread.join()
    assert found[0].tolist() == [2, 2]


def test_eagerly_is_the_way_out():
    with gc.Graph().as_default():
        w = gc.ones(2)
        assert w.is_symbolic
        with gc.eagerly():
            assert (gc.ones(2) + 1).tolist() == [2, 2]


# --- backends, modes --------------------------------------------------------------------------------------------------


def test_an_unknown_backend_lists_those_there_are():
    graph, _ = regression()
    with pytest.raises(BackendError, match=r"unknown backend 'tpu': there are .*numpy.*, eager") as raised:
        gc.Session(graph, backend="tpu")
    assert isinstance(raised.value, ValueError) and isinstance(raised.value, RuntimeError)


@pytest.mark.parametrize("options", [{"backend": "eager"}, {"optimize": False}, {"verify": True}, {"backend": "numpy"}])
def test_every_way_to_run_gives_the_same(options):
    results = []
    for chosen in ({}, options):
        graph, model = regression()
        with gc.Session(graph, **chosen) as session:
            losses = [session.run(["loss", "train"], {"x": X})[0] for _ in range(5)]
        results.append([*losses, *(p.detach().numpy() for p in model.parameters())])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_the_eager_backend_takes_unknown_sizes():
    graph = gc.Graph()
    with graph.as_default():
        x, y = gc.placeholder((None, 3), name="x"), gc.placeholder((None,), name="y")
        out = (x + y.view(-1, 1)).sum() / x.shape[0]
        ones = gc.ones(x.shape[0] * 2)
    session = gc.Session(graph, backend="eager")
    for n in (2, 5):
        assert session.run(out, {x: np.ones((n, 3), np.float32), y: np.ones(n, np.float32)}) == 6
        assert session.run(ones, {x: np.ones((n, 3), np.float32)}).shape == (2 * n,)


def test_verify_notices_a_wrong_result(monkeypatch):
    graph, _ = regression()
    session = gc.Session(graph, verify=True)
    session.run("loss", {"x": X})
    built = next(iter(session._prepared.values())).built
    monkeypatch.setattr(built, "executable", lambda *_: lambda arrays: [np.array(99.0, np.float32)])
    with pytest.raises(VerifyError, match=rf"(?s)output 0 differs from the recorded program: .*{HERE}"):
        session.run("loss", {"x": X})


def test_verify_stops_a_wrong_update(monkeypatch):
    graph, model = regression()
    session = gc.Session(graph, verify=True)
    session.run("train", {"x": X})
    before = [p.detach().numpy().copy() for p in model.parameters()]
    built = next(iter(session._prepared.values())).built
    right = built.executable
    monkeypatch.setattr(built, "executable", lambda *xs: lambda arrays: [host(a) + 1 for a in right(*xs)(arrays)])
    with pytest.raises(VerifyError):
        session.run("train", {"x": X})
    for p, old in zip(model.parameters(), before, strict=True):
        np.testing.assert_array_equal(p.detach().numpy(), old)


# --- results ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", [None, "eager"])
def test_results_share_no_memory(backend):
    graph, model = regression()
    weight = model[0].weight
    with graph.as_default():
        x = graph.inputs["x"]
        view, twice = x.t(), x * 2
    session = gc.Session(graph, backend=backend)
    feed = X.copy()
    fetches = [x, view, weight, twice, twice, x]
    results = session.run(fetches, {x: feed})
    arrays = [*results, feed, weight.detach().numpy(), *session.run(fetches, {x: feed})]
    for i, a in enumerate(arrays):
        for b in arrays[i + 1 :]:
            assert not np.shares_memory(a, b)
        assert type(a) is np.ndarray and (a.flags.writeable or i >= len(results))
    kept = [r.copy() for r in results]
    feed += 100
    with gc.no_grad():
        weight.fill_(7)
    session.run(fetches, {x: feed})
    for r, k in zip(results, kept, strict=True):
        np.testing.assert_array_equal(r, k)
    for r in results:
        r.fill(-1)
    np.testing.assert_array_equal(session.run(weight, {}), np.full((4, 3), 7, np.float32))


@pytest.mark.parametrize("backend", [None, "eager"])
def test_a_run_never_writes_into_a_feed(backend):
    graph = gc.Graph()
    with graph.as_default():
        x = gc.placeholder((None,), name="x")
        x.add_(1)
        x[0] = 5
        out = x * 1
        graph.outputs["writes"] = gc.updates()
    feed = np.ones(3, np.float32)
    session = gc.Session(graph, backend=backend)
    assert session.run([out, "writes"], {"x": feed})[0].tolist() == [5, 2, 2]
    assert session.run(x, {"x": feed}).tolist() == [5, 2, 2]
    assert feed.tolist() == [1, 1, 1]


def test_a_fetched_parameter_shows_its_value_at_the_start():
    graph, model = regression()
    session = gc.Session(graph)
    for p in model.parameters():
        before = p.detach().numpy().copy()
        shown, _ = session.run([p, "train"], {"x": X})
        np.testing.assert_array_equal(shown, before)
        assert not np.array_equal(p.detach().numpy(), before)


def test_eager_changes_reach_the_session_and_back():
    graph, model = regression()
    session = gc.Session(graph)
    with gc.no_grad():
        model[2].weight.zero_()
        model[2].bias.fill_(3)
    assert session.run("loss", {"x": X}) == 9
    model[2].bias.data = gc.tensor([2.0])
    assert session.run("loss", {"x": X}) == 4
    session.run("train", {"x": X})
    loss = (model(gc.tensor(X)) ** 2).mean().item()
    assert loss < 4 and session.run("loss", {"x": X}) == pytest.approx(loss, rel=1e-6)


def test_a_variable_of_another_shape_or_dtype_is_refused():
    graph, model = regression()
    session = gc.Session(graph)
    session.run("loss", {"x": X})
    model[2].bias.data = gc.zeros(2)
    with pytest.raises(
        GraphError, match=rf"variable .*bias is now float32\[2\], the graph was built for f32\[1\] .*{HERE}"
    ):
        session.run("loss", {"x": X})


# --- writes -----------------------------------------------------------------------------------------------------------


def test_recorded_writes_run_with_a_train_op_and_only_then():
    norm = nn.BatchNorm1d(3)
    graph = gc.Graph()
    with graph.as_default():
        x = gc.placeholder((None, 3), name="x")
        loss = norm(x).pow(2).mean() + norm.weight.sum()
        train = optim.SGD(norm.parameters(), lr=0.1).minimize(loss)
    session = gc.Session(graph)
    session.run(loss, {x: X})
    assert norm.num_batches_tracked.item() == 0 and not norm.running_mean.numpy().any()
    session.run(train, {x: X})
    assert norm.num_batches_tracked.item() == 1
    np.testing.assert_allclose(norm.running_mean.numpy(), 0.1 * X.mean(0), rtol=1e-6)


def test_updates_is_every_write_so_far():
    a, b = gc.zeros(2), gc.zeros(2)
    graph = gc.Graph()
    with graph.as_default():
        x = gc.placeholder((2,), name="x")
        a.add_(x)
        first = gc.updates(graph)
        b.copy_(a * 2)
        a.mul_(10)
    session = gc.Session(graph)
    assert session.run(first, {x: [1, 2]}) is None
    assert a.tolist() == [1, 2] and b.tolist() == [0, 0]
    session.run(gc.updates(graph), {x: [1, 1]})
    assert a.tolist() == [20, 30] and b.tolist() == [4, 6]
    assert gc.Graph().nodes == () and repr(gc.updates(graph)) == "<train op: 2 recorded writes>"


def test_updates_outside_a_graph():
    with pytest.raises(GraphError, match="no default graph"):
        gc.updates()


def test_a_layer_keeps_the_mode_it_was_defined_in():
    drop, norm = nn.Dropout(0.5), nn.BatchNorm1d(3)
    graph = gc.Graph()
    with graph.as_default():
        x = gc.placeholder((None, 3), name="x")
        training = drop(norm(x))
        drop.eval(), norm.eval()
        evaluating = drop(norm(x))
    session = gc.Session(graph)
    drop.train(), norm.train()
    np.testing.assert_allclose(session.run(evaluating, {x: X}), X / np.sqrt(1 + 1e-5), rtol=1e-6)
    drop.eval()
    assert (session.run(training, {x: np.random.default_rng(0).normal(size=(50, 3)).astype("f4")}) == 0).any()


# --- gradients --------------------------------------------------------------------------------------------------------


def test_gradients_return_a_tuple_and_touch_no_grad():
    graph, model = regression()
    params = list(model.parameters())
    with graph.as_default():
        x, loss = graph.inputs["x"], graph.outputs["loss"]
        grads = gc.gradients(loss, [*params, x])
        single = gc.gradients(loss, x)
        inner = gc.gradients([loss], [model(x)], allow_unused=True)
    assert type(grads) is tuple and len(grads) == 5 and type(single) is tuple and inner == (None,)
    values = gc.Session(graph).run(list(grads), {"x": X})
    assert all(p.grad is None for p in params)
    (model(eager := gc.tensor(X, requires_grad=True)) ** 2).mean().backward()
    for value, p in zip(values, [*params, eager], strict=True):
        np.testing.assert_allclose(value, p.grad.numpy(), rtol=1e-5, atol=1e-7)


def test_a_non_scalar_y_means_ones_and_cotangents_are_taken():
    graph = gc.Graph()
    with graph.as_default():
        x = gc.placeholder((None,), name="x")
        y = x**2
        ones, weighted = gc.gradients(y, x), gc.gradients(y, x, grad_outputs=x)
        (second,) = gc.gradients(ones[0], x)
        twice = gc.gradients([y, y * x], [x], grad_outputs=[None, gc.ones(x.shape[0])])
    session = gc.Session(graph)
    assert [a.tolist() for a in session.run([ones[0], weighted[0], second, twice[0]], {x: [1, 3]})] == [
        [2, 6], [2, 18], [2, 2], [5, 33],
    ]  # fmt: skip


def test_an_unconnected_x_is_named():
    graph, _model = regression()
    with graph.as_default():
        z = gc.placeholder((2,), name="z")
        with pytest.raises(
            GradientError, match=rf"xs\[1\], z: f32\[2\] made at .*{HERE}, is not connected to ys"
        ) as raised:
            gc.gradients(graph.outputs["loss"], [graph.inputs["x"], z])
        assert "allow_unused=True" in str(raised.value)
        assert gc.gradients(graph.outputs["loss"], [graph.inputs["x"], z], allow_unused=True)[1] is None
        with pytest.raises(GradientError, match=r"does not depend on anything that wants a gradient"):
            gc.gradients(gc.ones(2) * 2, graph.inputs["x"])
    with pytest.raises(
        GraphError, match=rf"gradients of graph tensors are built under `with graph.as_default\(\):` \(at .*{HERE}"
    ):
        gc.gradients(graph.outputs["loss"], graph.inputs["x"])


def test_eager_gradients_follow_the_same_rules():
    x = gc.tensor([1.0, 2.0], requires_grad=True)
    assert gc.gradients(x * x, x)[0].tolist() == [2, 4]
    with pytest.raises(GradientError, match=r"xs\[0\], an eager tensor f32\[1\], is not connected"):
        gc.gradients(x * x, gc.ones(1, requires_grad=True))


# --- symbolic values --------------------------------------------------------------------------------------------------


def test_a_data_dependent_if_names_the_line():
    with gc.Graph().as_default():
        x = gc.placeholder((), name="x")
        for ask in (
            lambda: bool(x > 0),
            lambda: float(x),
            lambda: int(x),
            x.item,
            x.tolist,
            x.numpy,
            lambda: [0, 1][x.long()],
        ):
            with pytest.raises(SymbolicError, match=rf"(?s)at .*{HERE}.*gc.cond") as raised:
                ask()
            assert isinstance(raised.value, RuntimeError)


def test_a_symbolic_value_outside_its_graph():
    a, b = gc.Graph(), gc.Graph()
    with a.as_default():
        x = gc.placeholder((2,), name="x")
        y = x * 2
    where = rf"a symbolic tensor f32\[2\].* used .*{HERE}"
    with pytest.raises(SymbolicError, match=where):
        y + 1
    with pytest.raises(SymbolicError, match=where):
        gc.ones(2) + y
    with (
        b.as_default(),
        pytest.raises(SymbolicError, match=rf"made at .*{HERE} was used at .*{HERE}, outside the trace or graph"),
    ):
        y + 1
    with pytest.raises(SymbolicError, match="passed to a compiled function outside of its own trace"):
        gc.compile(lambda t: t)(y)
    with pytest.raises(SymbolicError):
        y.numpy()
    with pytest.raises(SymbolicError):
        y.sum().backward()
    assert "symbolic" in repr(y)


# --- builds -----------------------------------------------------------------------------------------------------------


def test_one_record_per_build():
    graph, _ = regression()
    session = gc.Session(graph)
    for n in (64, 1, 17, 0, 3):
        session.run(["loss", "train"], {"x": np.ones((n, 3), np.float32)})
    session.run(["loss", "train"], {"x": X})
    (record,) = session.recompiles
    assert re.search(HERE, record.line) and record.ms > 0
    assert {"argument", "dim", "old", "new", "line", "ms"} <= set(record.__dataclass_fields__)
    session.run("loss", {"x": X})
    session.run(["loss"], {"x": X})
    assert len(session.recompiles) == 2


def test_no_recompile_stops_a_session_before_any_work():
    graph, model = regression()
    before = [p.detach().numpy().copy() for p in model.parameters()]
    session = gc.Session(graph)
    with gc.no_recompile(), pytest.raises(RecompileError, match=rf"Session.run would need a build .* at .*{HERE}"):
        session.run("train", {"x": X})
    assert not session.recompiles
    for p, old in zip(model.parameters(), before, strict=True):
        np.testing.assert_array_equal(p.detach().numpy(), old)
    session.run("train", {"x": X})
    with gc.no_recompile():
        session.run("train", {"x": np.ones((9, 3), np.float32)})
        found = []
        thread = threading.Thread(target=lambda: found.append(session.run("loss", {"x": X})))
        thread.start()
        thread.join()
    assert len(found) == 1


def run_all(session, make, numbers):
    """Runs what `make` adds to the graph for each number."""
    for i in numbers:
        session.run(make(i), {"x": X})


def test_nodes_may_be_added_after_a_run_and_growth_is_told_once():
    graph, _ = regression()
    x = graph.inputs["x"]
    session = gc.Session(graph)

    def grow(i):
        with graph.as_default():
            return (x * float(i)).sum()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        session.run("loss", {"x": X})
        session.run(grow(2), {"x": X})
    with pytest.warns(GraphGrowthWarning, match=rf"{HERE} adds nodes to the graph again after a run") as told:
        run_all(session, grow, range(3, 8))
    assert len(told) == 1 and Path(told[0].filename).name == Path(__file__).name
    assert session.run(grow(2), {"x": X}) == 30


def test_strict_makes_growth_an_error():
    graph, _ = regression()
    x = graph.inputs["x"]

    def grow(i):
        with graph.as_default():
            return x * float(i)

    session = gc.Session(graph, strict=True)
    with pytest.raises(GraphError, match=rf"{HERE} adds nodes to the graph again") as raised:
        run_all(session, grow, range(5))
    assert isinstance(raised.value, GraphGrowthWarning)
    with gc.Session(graph) as session, pytest.warns(GraphGrowthWarning):
        run_all(session, grow, range(10, 15))


def test_a_loop_before_the_first_run_is_no_growth():
    graph, _ = regression()
    with warnings.catch_warnings(), graph.as_default():
        warnings.simplefilter("error")
        y = graph.inputs["x"]
        for i in range(5):
            y = y + float(i)
    assert gc.Session(graph).run(y, {"x": X}).shape == (2, 3)


# --- threads ----------------------------------------------------------------------------------------------------------


def test_writing_runs_exclude_each_other_and_readers_see_whole_updates():
    a, b = gc.zeros(200), gc.zeros(200)
    graph = gc.Graph()
    with graph.as_default():
        step = gc.placeholder((), name="step")
        a.add_(step)
        b.sub_(step)
        both = gc.updates(graph)
        total = a + b
    session = gc.Session(graph)
    with graph.as_default():
        pass
    session.run(both, {"step": 0.0})
    read = [a, b]
    torn, errors = [], []

    def write():
        try:
            for _ in range(100):
                session.run(both, {"step": 1.0})
        except Exception as error:  # told below
            errors.append(error)

    def look():
        try:
            for _ in range(100):
                x, y = session.run(read)
                torn.append(bool((x != -y).any()) or len(set(x.tolist())) != 1)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=f) for f in (write, write, look, look)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and not any(torn) and len(torn) == 200
    assert a.tolist() == [200] * 200 and b.tolist() == [-200] * 200
    assert session.run(total, {"step": 0.0}).tolist() == [0] * 200
    assert len(session.recompiles) == 3


def test_two_sessions_of_one_graph_share_the_lock_of_its_variables():
    a = gc.zeros(50)
    graph = gc.Graph()
    with graph.as_default():
        a.add_(1)
        add = gc.updates(graph)
    sessions = [gc.Session(graph) for _ in range(2)]

    def write(session):
        for _ in range(100):
            session.run(add)

    threads = [threading.Thread(target=write, args=(s,)) for s in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(a.tolist()) <= set(range(201)) and len(set(a.tolist())) == 1


def test_a_failed_run_leaves_the_lock_free():
    graph, _ = regression()
    session = gc.Session(graph)
    for _ in range(2):
        with pytest.raises(FeedError):
            session.run("train", {})
    session.run("train", {"x": X})


def test_what_the_graph_computes_is_no_variable():
    with gc.Graph().as_default():
        w = gc.zeros(3, requires_grad=True)
        with pytest.raises(
            GraphError, match=rf"made at .*{HERE} is not a variable\n  hint: .* make it before the graph"
        ):
            optim.SGD([w], lr=0.1).minimize((w * w).sum())


def test_an_interrupt_while_a_run_waits_lets_others_run():
    lock, raised = SharedLock(), [AssertionError("it waits for a run that is over"), KeyboardInterrupt()]

    def interrupted():
        raise raised.pop()

    with lock.held(write=False):
        lock._changed.wait = interrupted
        with pytest.raises(KeyboardInterrupt), lock.held(write=True):
            pass
        with lock.held(write=False):
            pass
    with lock.held(write=True):
        pass
