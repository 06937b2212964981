"""Graph files: what comes back, what is refused, and that nothing is half-written."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import graphc as gc
from graphc import nn, optim
from graphc.core.errors import FeedError, FileFormatError, GradientError, GraphError

HERE = rf"{Path(__file__).name}:\d+"
X = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
Y = np.random.default_rng(1).integers(0, 2, 5)


def trained(steps=3, dropout=0.0):
    gc.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(dropout), nn.Tanh(), nn.Linear(4, 2))
    opt = optim.Adam(model.parameters(), lr=0.05)
    graph = gc.Graph("classifier")
    with graph.as_default():
        x, y = gc.placeholder((None, 3), name="x"), gc.placeholder((None,), dtype=gc.int64, name="y")
        logits = model(x)
        loss = nn.functional.cross_entropy(logits, y)
        graph.outputs["train"] = opt.minimize(loss)
    graph.outputs["logits"], graph.outputs["loss"] = logits, loss
    session = gc.Session(graph)
    for _ in range(steps):
        session.run("train", {"x": X, "y": Y})
    return graph, model, opt


def losses(session, steps=4):
    return [float(session.run(["loss", "train"], {"x": X, "y": Y})[0]) for _ in range(steps)]


def test_a_loaded_graph_lists_the_same_and_goes_on_training(tmp_path):
    graph, model, _ = trained()
    path = tmp_path / "model.graph"
    assert gc.save_graph(graph, path) is None
    loaded = gc.load_graph(path)
    assert list(loaded.inputs) == ["x", "y"] and set(loaded.outputs) == {"train", "logits", "loss"}
    assert list(loaded.parameters) == list(graph.parameters)
    for name, p in loaded.parameters.items():
        np.testing.assert_array_equal(p.detach().numpy(), graph.parameters[name].detach().numpy())
        assert p.requires_grad and p is not graph.parameters[name]
    assert str(loaded.inputs["x"].tensor_type) == "f32[x_0, 3]"
    with gc.Session(loaded) as session:
        again = losses(session)
        assert len(session.recompiles) == 1
        for n in (1, 7):
            assert session.run("logits", {"x": np.ones((n, 3), np.float32)}).shape == (n, 2)
    np.testing.assert_allclose(again, losses(gc.Session(graph)), rtol=1e-6)
    running = [v for name, v in loaded.variables.items() if "running_mean" in name]
    np.testing.assert_allclose(running[0].numpy(), model[1].running_mean.numpy(), rtol=1e-5)


def test_random_state_travels_with_the_graph(tmp_path):
    graph, _, _ = trained(dropout=0.5)
    gc.save_graph(graph, tmp_path / "g")
    np.testing.assert_allclose(losses(gc.Session(gc.load_graph(tmp_path / "g"))), losses(gc.Session(graph)), rtol=1e-6)


def test_a_loaded_graph_can_be_differentiated(tmp_path):
    graph, _model, _ = trained()
    gc.save_graph(graph, tmp_path / "g")
    loaded = gc.load_graph(tmp_path / "g")
    with loaded.as_default():
        grads = gc.gradients(loaded.outputs["loss"], [*loaded.parameters.values(), loaded.inputs["x"]])
    found = gc.Session(loaded).run(list(grads), {"x": X, "y": Y})
    with graph.as_default():
        wanted = gc.gradients(graph.outputs["loss"], [*graph.parameters.values(), graph.inputs["x"]])
    for a, b in zip(found, gc.Session(graph).run(list(wanted), {"x": X, "y": Y}), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_saved_for_inference(tmp_path):
    graph, _model, _ = trained()
    gc.save_graph(graph, tmp_path / "all")
    gc.save_graph(graph, tmp_path / "inference", inference=True)
    assert (tmp_path / "inference").stat().st_size < (tmp_path / "all").stat().st_size
    loaded = gc.load_graph(tmp_path / "inference")
    assert set(loaded.outputs) == {"logits", "loss"}
    np.testing.assert_allclose(
        gc.Session(loaded).run("logits", {"x": X}), gc.Session(graph).run("logits", {"x": X}), rtol=1e-6
    )
    with (
        loaded.as_default(),
        pytest.raises(GraphError, match="this graph was saved pruned for inference: it cannot be differentiated"),
    ):
        gc.gradients(loaded.outputs["loss"], loaded.inputs["x"])
    with loaded.as_default(), pytest.raises(GradientError, match="does not require grad"):
        loaded.outputs["loss"].backward()


def test_only_what_the_outputs_need_is_written(tmp_path):
    graph = gc.Graph()
    used, unused = nn.Linear(2, 2), nn.Linear(100, 100)
    with graph.as_default():
        x, z = gc.placeholder((None, 2), name="x"), gc.placeholder((None, 100), name="z")
        graph.outputs["out"] = used(x)
        unused(z)
    gc.save_graph(graph, tmp_path / "g")
    assert (tmp_path / "g").stat().st_size < 20_000
    loaded = gc.load_graph(tmp_path / "g")
    assert gc.Session(loaded).run("out", {"x": np.ones((1, 2), np.float32)}).shape == (1, 2)
    with pytest.raises(FeedError, match=r"placeholder 'x' .* is not fed"):
        gc.Session(loaded).run("out")


def test_it_runs_in_a_new_process_without_the_source(tmp_path):
    graph, _, _ = trained()
    gc.save_graph(graph, tmp_path / "g")
    np.save(tmp_path / "x.npy", X)
    code = (
        "import sys, numpy as np, graphc as gc\n"
        f"g = gc.load_graph({str(tmp_path / 'g')!r})\n"
        f"x = np.load({str(tmp_path / 'x.npy')!r})\n"
        "s = gc.Session(g)\n"
        f"s.run('train', {{'x': x, 'y': np.array({Y.tolist()})}})\n"
        f"np.save({str(tmp_path / 'out.npy')!r}, s.run('logits', {{'x': x}}))\n"
        "assert 'graphc.nn' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(Path(gc.__file__).parents[1])})
    session = gc.Session(graph)
    session.run("train", {"x": X, "y": Y})
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), session.run("logits", {"x": X}), rtol=1e-5, atol=1e-6)


class Doubled(gc.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, g):
        return g * 3


def test_a_python_function_is_refused_by_name(tmp_path):
    graph = gc.Graph()
    with graph.as_default():
        x = gc.placeholder((2,), name="x")
        graph.outputs["out"] = Doubled.apply(x).sum()
    with pytest.raises(
        GraphError, match=rf"the graph holds the Python function Doubled \(used at .*{HERE}\), which no file can hold"
    ):
        gc.save_graph(graph, tmp_path / "g")
    assert not (tmp_path / "g").exists()
    gc.save_graph(graph, tmp_path / "g", inference=True)
    assert gc.Session(gc.load_graph(tmp_path / "g")).run("out", {"x": [1, 2]}) == 6


def test_nothing_to_save(tmp_path):
    with pytest.raises(GraphError, match=r"nothing to save: fill graph.outputs"):
        gc.save_graph(gc.Graph(), tmp_path / "g")
    graph = gc.Graph()
    graph.outputs["wrong"] = 3
    with pytest.raises(GraphError, match="output 'wrong' is int, neither a tensor nor a train op"):
        gc.save_graph(graph, tmp_path / "g")
    with graph.as_default():
        graph.outputs.clear()
        graph.outputs["train"] = gc.updates()
    with pytest.raises(GraphError, match="nothing to save"):
        gc.save_graph(graph, tmp_path / "g", inference=True)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_save_leaves_the_old_file(tmp_path):
    graph, _, _ = trained()
    path = tmp_path / "g"
    gc.save_graph(graph, path)
    before = path.read_bytes()
    with graph.as_default():
        graph.outputs["bad"] = Doubled.apply(graph.inputs["x"])
    with pytest.raises(GraphError):
        gc.save_graph(graph, path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["g"]


def damaged(path):
    """The same file, damaged in many ways."""
    good = path.read_bytes()
    size = int.from_bytes(good[:8], "little")
    header = json.loads(good[8 : 8 + size])
    yield b""
    yield b"not a graph at all"
    yield good[: len(good) // 2]
    yield good[:-1]
    yield (2**60).to_bytes(8, "little") + good[8:]
    yield good[:8] + b"x" + good[9:]

    def changed(edit, raw=False):
        meta = json.loads(header["__metadata__"]["graphc_graph"])
        new = dict(header, __metadata__=dict(header["__metadata__"]))
        result = edit(meta)
        new["__metadata__"]["graphc_graph"] = result if raw else json.dumps(meta)
        text = json.dumps(new).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text + good[8 + size :]

    yield changed(lambda meta: meta.update(kind="other"))
    yield changed(lambda meta: meta.update(format=99))
    yield changed(lambda meta: "{broken", raw=True)
    yield changed(lambda meta: "[]", raw=True)
    for key in ("program", "inputs", "variables", "outputs", "random", "name", "placeholders"):
        yield changed(lambda meta, key=key: meta.pop(key))
        yield changed(lambda meta, key=key: meta.update({key: 12345}))
    yield changed(lambda meta: meta.update(sharing=12345))
    yield changed(lambda meta: meta["sharing"]["tuple"].pop())
    yield changed(lambda meta: meta["sharing"]["tuple"][1]["tuple"].append({"tuple": ["reshape", True]}))
    yield changed(lambda meta: meta["inputs"].pop())
    yield changed(lambda meta: meta["inputs"].reverse())
    yield changed(lambda meta: meta["inputs"].__setitem__(0, {"variable": 999}))
    yield changed(lambda meta: meta["variables"].pop())
    yield changed(lambda meta: meta["outputs"].update(loss={"value": 10**6}))
    yield changed(lambda meta: meta["outputs"]["train"]["updates"][0].__setitem__(0, -1000))


def refused(path, i):
    gc.load_graph(path)
    raise AssertionError(f"damage {i} was not noticed")


def test_damaged_files_are_refused(tmp_path):
    graph, _, _ = trained()
    good, bad = tmp_path / "good", tmp_path / "bad"
    gc.save_graph(graph, good)
    state = gc.get_rng_state().tolist()
    for i, content in enumerate(damaged(good)):
        bad.write_bytes(content)
        with pytest.raises(FileFormatError, match=re.escape(str(bad))) as raised:
            refused(bad, i)
        assert isinstance(raised.value, RuntimeError) and isinstance(raised.value, ValueError)
    assert gc.get_rng_state().tolist() == state
    gc.load_graph(good)


def test_a_view_that_was_not_read_since_its_base_was_written(tmp_path):
    graph = gc.Graph()
    with graph.as_default():
        x = gc.placeholder((None, 3), name="x")
        graph.outputs["rows"] = x[1:]
        x.add_(5.0)
    gc.save_graph(graph, tmp_path / "g")
    found = gc.Session(gc.load_graph(tmp_path / "g")).run("rows", {"x": np.ones((3, 3), np.float32)})
    np.testing.assert_array_equal(found, np.full((2, 3), 6.0))


def test_foreign_files(tmp_path):
    gc.save({"a": gc.ones(2)}, tmp_path / "state")
    with pytest.raises(FileFormatError, match=r"holds no graph: load it with graphc.load"):
        gc.load_graph(tmp_path / "state")
    with pytest.raises(FileNotFoundError):
        gc.load_graph(tmp_path / "missing")
    import pickle

    (tmp_path / "pickle").write_bytes(pickle.dumps({"a": print}))
    with pytest.raises(FileFormatError):
        gc.load_graph(tmp_path / "pickle")
    graph, _, _ = trained()
    gc.save_graph(graph, tmp_path / "g")


def test_graphs_with_control_flow_and_shared_sizes(tmp_path):
    graph = gc.Graph()
    w = gc.ones(2, requires_grad=True)
    with graph.as_default():
        x, y = gc.placeholder((None, 2), name="x"), gc.placeholder((None,), name="y")
        total, ys = gc.scan(lambda c, v: (c * w + v, c.sum()), gc.zeros(2), x)
        graph.outputs["total"], graph.outputs["ys"] = total, ys + y
        graph.outputs["sum"] = gc.while_loop(
            lambda i, s: i < 3, lambda i, s: (i + 1, s + x.sum()), (gc.tensor(0), gc.tensor(0.0))
        )[1]
        graph.outputs["either"] = gc.cond(y.sum() > 0, lambda: x.sum(), lambda: -x.sum()) / x.shape[0]
        (graph.outputs["grad"],) = gc.gradients(ys.sum() + total.sum(), w)
    gc.save_graph(graph, tmp_path / "g")
    loaded = gc.load_graph(tmp_path / "g")
    for n in (3, 1, 5):
        feeds = {"x": np.arange(2 * n, dtype=np.float32).reshape(n, 2), "y": np.ones(n, np.float32)}
        names = list(graph.outputs)
        for a, b in zip(gc.Session(loaded).run(names, feeds), gc.Session(graph).run(names, feeds), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)
    with pytest.raises(FeedError, match="sizes disagree"):
        gc.Session(loaded).run("ys", {"x": np.ones((3, 2), np.float32), "y": np.ones(4, np.float32)})
    gc.save_graph(loaded, tmp_path / "again")
    assert gc.Session(gc.load_graph(tmp_path / "again")).run("sum", {"x": np.ones((2, 2), np.float32)}) == 12
