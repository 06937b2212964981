"""What a session refuses to feed and to fetch: class, text, line, and nothing changed."""

from __future__ import annotations

import re
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import graphc as gc
from graphc import nn, optim
from graphc.core.errors import FeedError, FetchError, GraphError

HERE = rf"{Path(__file__).name}:\d+"


@pytest.fixture
def net():
    """A graph with a train op, its session, and a check that state is as it was."""

    class Net:
        pass

    found = Net()
    found.layer = nn.Linear(3, 2)
    found.optimizer = optim.Adam(found.layer.parameters(), lr=0.1)
    found.graph = gc.Graph()
    with found.graph.as_default():
        found.x = gc.placeholder((None, 3), name="x")
        found.y = gc.placeholder((None,), dtype=gc.int64, name="y")
        hidden = found.layer(found.x)
        found.loss = nn.CrossEntropyLoss()(hidden, found.y)
        found.train = found.optimizer.minimize(found.loss)
    found.graph.outputs["loss"] = found.loss
    found.session = gc.Session(found.graph)
    found.good = {"x": np.ones((4, 3), np.float32), "y": np.zeros(4, np.int64)}
    found.session.run(found.train, found.good)
    before = state(found)
    yield found
    assert state(found) == before
    found.session.run(found.train, found.good)
    assert state(found) != before


def state(net):
    held = net.optimizer.state_dict()["state"]
    return [p.detach().numpy().tobytes() for p in net.layer.parameters()] + [
        v.numpy().tobytes() for s in held.values() for v in s.values()
    ]


def refused(net, feeds, match):
    before = len(net.session.recompiles)
    with pytest.raises(FeedError, match=match) as raised:
        net.session.run([net.loss, net.train], feeds)
    assert isinstance(raised.value, RuntimeError) and isinstance(raised.value, ValueError)
    assert re.search(HERE, str(raised.value))
    assert len(net.session.recompiles) <= before + 1
    return str(raised.value)


def test_a_missing_feed_shows_the_path(net):
    text = refused(net, {"x": net.good["x"]}, r"placeholder 'y' i64\[y_0\] is not fed, and the fetch needs it")
    assert re.search(rf"path from the fetch:\n    \w+: f32.*made at .*{HERE}", text)
    assert re.search(rf"placeholder 'y'  made at .*{HERE}$", text)


def test_a_missing_feed_of_a_train_op_alone(net):
    with pytest.raises(FeedError, match=r"placeholder 'x' .* is not fed, and the train op needs it"):
        net.session.run(net.train, {"y": net.good["y"]})


def test_an_unknown_name(net):
    refused(
        net, net.good | {"z": 1.0}, "cannot feed 'z': it is not a placeholder of this graph; the placeholders are x, y"
    )


def test_a_foreign_placeholder_and_an_inner_tensor(net):
    with gc.Graph().as_default():
        other = gc.placeholder((2,), name="x")
    for key in (other, net.loss, gc.ones(2), net.layer.weight):
        refused(
            net,
            {**net.good, key: np.ones(2, np.float32)},
            "it is not a placeholder of this graph; the placeholders are x, y",
        )


@pytest.mark.parametrize("shape", [(3,), (4, 4), (4, 3, 1), ()])
def test_a_wrong_shape(net, shape):
    refused(
        net,
        net.good | {"x": np.ones(shape, np.float32)},
        rf"x is f32\[x_0, 3\], the feed has shape {re.escape(str(list(shape)))}",
    )


def test_two_feeds_that_disagree(net):
    text = refused(net, net.good | {"y": np.zeros(5, np.int64)}, "sizes disagree: y_0 = 5, x_0 = 4, made equal at")
    assert len(re.findall(HERE, text)) == 2


@pytest.mark.parametrize(
    ("name", "array", "advice"),
    [
        ("x", np.ones((4, 3)), r"x is f32\[x_0, 3\], the feed is f64\[4, 3\]: write `.astype\('float32'\)`"),
        ("x", np.ones((4, 3), np.int64), r"`.astype\('float32'\)`"),
        ("x", np.ones((4, 3), np.float16), r"the feed is f16\[4, 3\]"),
        ("y", np.zeros(4, np.int32), r"y is i64\[y_0\], the feed is i32\[4\]: write `.astype\('int64'\)`"),
        ("y", np.zeros(4, bool), r"the feed is bool\[4\]"),
        ("x", np.ones((4, 3), np.complex64), "x: .*complex64"),
        ("x", np.array([["a"] * 3]), "x: .*"),
        ("x", np.array([[None] * 3]), "x: .*"),
    ],
)
def test_a_wrong_dtype(net, name, array, advice):
    refused(net, net.good | {name: array}, advice)


def test_a_tensor_of_a_wrong_dtype(net):
    refused(net, net.good | {"x": gc.ones(4, 3, dtype=gc.float64)}, r"`.astype\('float32'\)`")


@pytest.mark.parametrize("value", [[[1.0, 2.0, 3.0], [1.0]], "text", {"a": 1}, None, object(), [["a", "b", "c"]]])
def test_what_is_no_array_at_all(net, value):
    refused(net, net.good | {"x": value}, "cannot be fed to it")


def test_a_symbolic_tensor(net):
    refused(net, net.good | {"x": net.loss}, "x: a symbolic tensor cannot be fed")


def test_one_placeholder_fed_twice(net):
    refused(net, {**net.good, net.x: net.good["x"]}, "x is fed twice")


def test_feeds_that_are_no_dict(net):
    with pytest.raises(
        FeedError, match="feed_dict must be a dict from placeholders or their names to values, got list"
    ):
        net.session.run(net.loss, [net.good["x"]])


def test_integers_a_dtype_cannot_hold():
    graph = gc.Graph()
    with graph.as_default():
        x = gc.placeholder((None,), dtype=gc.uint8, name="x")
        flag = gc.placeholder((), dtype=gc.bool, name="flag")
        out = x + 1
        same = ~flag
    session = gc.Session(graph)
    assert session.run(out, {x: [1, 2]}).tolist() == [2, 3]
    assert session.run(same, {flag: True}) == np.False_
    for bad in ([300], [-1], [1.5]):
        with pytest.raises(FeedError, match=r"x is u8\[x_0\], and .* cannot be fed to it"):
            session.run(out, {x: bad})


# --- what is accepted -------------------------------------------------------------------------------------------------


def test_values_of_every_kind():
    graph = gc.Graph()
    with graph.as_default():
        x = gc.placeholder((None, 2), name="x")
        out = x * 2
    session = gc.Session(graph)
    want = np.array([[2, 4], [6, 8]], np.float32)
    base = np.array([[1, 2], [3, 4]], np.float32)
    strided = np.zeros((4, 4), np.float32)[::2, ::2]
    strided[...] = base
    read_only = base.copy()
    read_only.flags.writeable = False
    values = [
        base, np.asfortranarray(base), base.T.copy().T, base[::-1].copy()[::-1], strided, read_only, base.astype(">f4"),
        gc.tensor(base), gc.tensor(base.T.copy()).t(), [[1, 2], [3, 4]], ((1.0, 2.0), (3.0, 4.0)), [base[0], base[1]],
        [[np.float64(1), 2], [3, 4]], [[True, 2], [3, 4]], memoryview(base),
    ]  # fmt: skip
    for value in values:
        for key in (x, "x"):
            found = session.run(out, {key: value})
            np.testing.assert_array_equal(found, want)
            assert found.dtype == np.float32
    assert len(session.recompiles) == 1


def test_a_tensor_that_wants_a_gradient_may_be_fed():
    graph = gc.Graph()
    with graph.as_default():
        x = gc.placeholder((), name="x")
        out = x * 2
    fed = gc.tensor(3.0, requires_grad=True)
    assert gc.Session(graph).run(out, {x: fed}) == 6
    assert gc.Session(graph).run(out, {x: 3}).shape == ()


def test_bfloat16_goes_in_and_comes_out():
    graph = gc.Graph()
    with graph.as_default():
        x = gc.placeholder((2,), dtype=gc.bfloat16, name="x")
        out = x + 1
    session = gc.Session(graph)
    for value in ([1, 2], np.array([1, 2], ml_dtypes.bfloat16), gc.tensor([1.0, 2.0], dtype=gc.bfloat16)):
        found = session.run(out, {x: value})
        assert found.dtype == ml_dtypes.bfloat16 and found.tolist() == [2, 3]


# --- fetches ----------------------------------------------------------------------------------------------------------


def refused_fetch(session, fetches, match):
    with pytest.raises(FetchError, match=match) as raised:
        session.run(fetches, {})
    assert isinstance(raised.value, RuntimeError) and isinstance(raised.value, ValueError)
    assert re.search(HERE, str(raised.value))


def test_fetches_that_cannot_be(net):
    with gc.Graph().as_default():
        foreign = gc.placeholder((2,)) * 2
    refused_fetch(net.session, "lost", "no output named 'lost': graph.outputs has 'loss'")
    refused_fetch(net.session, [net.loss, foreign], r"a tensor f32\[2\] made at .* belongs to another graph")
    refused_fetch(net.session, gc.ones(2), r"a tensor f32\[2\] that the graph does not use was fetched")
    refused_fetch(net.session, 3, "cannot fetch 3: fetches are tensors, names in graph.outputs and train ops")
    refused_fetch(net.session, {"a": None}, "cannot fetch None")


def test_an_unknown_name_in_a_graph_without_outputs():
    refused_fetch(
        gc.Session(gc.Graph()), "loss", r"no output named 'loss': graph.outputs has nothing \(fill graph.outputs\)"
    )


def test_a_train_op_of_another_graph(net):
    other = gc.Graph()
    with other.as_default():
        train = net.optimizer.minimize(nn.CrossEntropyLoss()(net.layer(gc.placeholder((2, 3))), gc.tensor([0, 1])))
    refused_fetch(net.session, train, "this train op belongs to another graph")
    refused_fetch(net.session, gc.updates(other), "this train op belongs to another graph")


def test_two_train_ops_that_write_one_variable(net):
    with net.graph.as_default():
        again = optim.SGD([net.layer.bias], lr=0.0).minimize(net.loss)
    with pytest.raises(FetchError, match=rf"two train ops of one run write .*bias.*{HERE}"):
        net.session.run([net.train, again], net.good)
    # one of them twice is no conflict
    assert net.session.run([again, again], net.good) == [None, None]


def test_nested_fetches_keep_their_nesting():
    from typing import NamedTuple

    class Pair(NamedTuple):
        a: object
        b: object

    graph = gc.Graph()
    with graph.as_default():
        x = gc.placeholder((2,), name="x")
        double, total = x * 2, x.sum()
    graph.outputs["total"] = total
    graph.outputs["nothing"] = gc.updates(graph)
    found = gc.Session(graph).run(
        {"pair": Pair(double, "total"), "list": [x, (total,)], "none": "nothing", "empty": []}, {x: [1, 2]}
    )
    assert list(found) == ["pair", "list", "none", "empty"]
    assert isinstance(found["pair"], Pair) and found["pair"].a.tolist() == [2, 4] and found["pair"].b == 3
    assert isinstance(found["list"], list) and isinstance(found["list"][1], tuple)
    assert found["none"] is None and found["empty"] == []
    assert type(found["pair"].b) is np.ndarray and found["pair"].b.shape == ()


def test_a_closed_session_and_a_wrong_graph():
    graph = gc.Graph()
    with graph.as_default():
        out = gc.ones(2) * 2
    session = gc.Session(graph)
    assert session.run(out).tolist() == [2, 2]
    session.close()
    session.close()
    with pytest.raises(GraphError, match=rf"this session is closed \(at .*{HERE}\)"):
        session.run(out)
    with gc.Session(graph) as again:
        assert again.run(out).tolist() == [2, 2]
        again.close()
    with pytest.raises(GraphError, match="closed"):
        again.run(out)
    with pytest.raises(GraphError, match="Session takes a Graph, got Linear"):
        gc.Session(nn.Linear(1, 1))
