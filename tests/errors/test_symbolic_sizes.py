"""`x.shape[0]` where PyTorch takes an int, and the few places where a number must be known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import graphc as gc
from graphc import nn
from graphc.core.errors import FeedError, ShapeError, SymbolicError

HERE = rf"{Path(__file__).name}:\d+"

USES = {
    "view": lambda x: x.view(x.shape[0] * 3),
    "view tuple": lambda x: x.view((3, x.size(0))),
    "minus one": lambda x: x.view(-1),
    "view size": lambda x: x.view(x.size()),
    "reshape": lambda x: x.reshape(x.shape[0], 3, 1),
    "expand": lambda x: x[:, :1].expand(x.shape[0], 7),
    "expand new": lambda x: gc.ones(1, 2).expand(x.size(0), -1),
    "arange": lambda x: gc.arange(x.shape[0]),
    "arange sum": lambda x: gc.arange(1, x.shape[0] + 1),
    "arange step": lambda x: gc.arange(0, x.shape[0] * 2, 2),
    "zeros": lambda x: gc.zeros(x.shape[0], 2),
    "zeros shape": lambda x: gc.zeros(x.shape),
    "ones": lambda x: gc.ones((x.size(0) + 1, 2)),
    "full": lambda x: gc.full((x.shape[0],), 3.0),
    "eye": lambda x: gc.eye(x.shape[0]),
    "zeros_like": gc.zeros_like,
    "new_zeros": lambda x: x.new_zeros(x.shape[0], 2),
    "empty": lambda x: gc.empty(x.shape[0]) * 0,
    "divide": lambda x: x.sum() / x.shape[0],
    "times": lambda x: x * x.shape[0],
    "plus": lambda x: x.size(0) + x,
    "minus": lambda x: x.shape[0] - x.long(),
    "floor": lambda x: (
        x.long() // x.shape[0].__add__(1) if not isinstance(x.shape[0], int) else x.long() // (x.shape[0] + 1)
    ),
    "power": lambda x: (x / 4) ** x.shape[0],
    "compare": lambda x: x < x.shape[0],
    "numel": lambda x: x.sum() / x.numel(),
    "mean": lambda x: x.mean(0),
    "var": lambda x: x.var(),
    "slice": lambda x: x[: x.shape[0] - 1],
    "half": lambda x: x[: x.shape[0] // 2],
    "last": lambda x: x[x.shape[0] - 1],
    "negative": lambda x: x[-1],
    "steps": lambda x: x[::2],
    "narrow": lambda x: x.narrow(0, 1, x.shape[0] - 1),
    "select": lambda x: x.select(0, x.shape[0] - 1),
    "repeat": lambda x: x.repeat(x.shape[0], 1),
    "tile": lambda x: x.tile((2, x.shape[0])),
    "cat": lambda x: gc.cat([x, gc.zeros(x.shape[0], 1)], 1),
    "stack": lambda x: gc.stack([x, x.flip(0)]),
    "split": lambda x: x.split(1, 1)[2],
    "chunk": lambda x: x.chunk(3, 1)[1],
    "flatten": lambda x: x.flatten(),
    "unflatten": lambda x: x.flatten().unflatten(0, (x.shape[0], 3)),
    "t": lambda x: x.t() @ x,
    "matmul": lambda x: x @ x.t(),
    "softmax": lambda x: x.softmax(0),
    "tril": lambda x: (x @ x.t()).tril(),
    "cumsum": lambda x: x.cumsum(0),
    "sort": lambda x: x.sort(0)[0],
    "argmax": lambda x: x.argmax(0),
    "max": lambda x: x.max(),
    "gather": lambda x: x.gather(1, gc.zeros(x.shape[0], 1, dtype=gc.int64)),
    "index": lambda x: x[gc.arange(x.shape[0]), 0],
    "linspace": lambda x: gc.linspace(0, 1, x.shape[0]),
    "one_hot": lambda x: nn.functional.one_hot(gc.arange(x.shape[0]) % 3, 3),
    "pad": lambda x: nn.functional.pad(x, (0, 0, 1, 1)),
    "roll": lambda x: x.roll(1, 0),
    "tensor": lambda x: gc.full((), 2.0) * x.shape[0] ** 2,
    "unsqueeze": lambda x: x.unsqueeze(1).expand(-1, x.shape[0], -1).sum(1),
    "write": lambda x: gc.zeros(x.shape[0], 3).copy_(x).add_(x.shape[0]),
    "write slice": lambda x: _written(x),
    "layer": lambda x: nn.functional.layer_norm(x, (3,)),
    "modulo": lambda x: gc.zeros(x.shape[0] % 2 + 1),
    "diagonal": lambda x: (x @ x.t()).diagonal(),
    "where": lambda x: gc.where(x > 0, x, gc.zeros(x.shape)),
}


def _written(x):
    out = gc.zeros(x.shape[0] + 1, 3)
    out[1:] = x
    out[0] = x.shape[0]
    return out


@pytest.mark.parametrize("name", USES)
def test_a_size_stands_for_an_int(name):
    use = USES[name]
    graph = gc.Graph()
    with graph.as_default():
        x = gc.placeholder((None, 3), name="x")
        out = use(x)
    session, compiled = gc.Session(graph), gc.compile(use)
    for n in (4, 1, 6):
        array = np.random.default_rng(n).normal(size=(n, 3)).astype(np.float32)
        want = use(gc.tensor(array))
        found = session.run(out, {x: array})
        np.testing.assert_allclose(found, want.numpy(), rtol=1e-5, atol=1e-6, equal_nan=True)
        assert found.dtype == want.numpy().dtype and found.shape == tuple(want.shape)
        again = compiled(gc.tensor(array))
        np.testing.assert_allclose(again.numpy(), want.numpy(), rtol=1e-5, atol=1e-6, equal_nan=True)
    assert len(session.recompiles) == 1


ZERO = [
    "view",
    "minus one",
    "expand",
    "arange",
    "zeros",
    "times",
    "cat",
    "flatten",
    "matmul",
    "cumsum",
    "write",
    "index",
    "where",
    "steps",
]


@pytest.mark.parametrize("name", ZERO)
def test_zero_rows(name):
    use = USES[name]
    graph = gc.Graph()
    with graph.as_default():
        x = gc.placeholder((None, 3), name="x")
        out = use(x)
    array = np.zeros((0, 3), np.float32)
    found, want = gc.Session(graph).run(out, {x: array}), use(gc.tensor(array)).numpy()
    assert found.shape == want.shape and found.dtype == want.dtype
    compiled = gc.compile(use)
    for n in (2, 0, 3, 0):
        assert compiled(gc.zeros(n, 3)).shape == use(gc.zeros(n, 3)).shape


def test_a_minus_one_is_resolved_on_definition():
    with gc.Graph().as_default() as graph:
        x = gc.placeholder((None, 4), name="x")
        y = x.view(-1, 2)
        z = x.reshape(x.shape[0], -1)
        assert y.shape == (x.shape[0] * 2, 2) and z.shape == (x.shape[0], 4)
    for n in (3, 0):
        a, b = gc.Session(graph).run([y, z], {x: np.ones((n, 4), np.float32)})
        assert a.shape == (2 * n, 2) and b.shape == (n, 4)


def test_sizes_compare_equal_to_the_same_unknown():
    with gc.Graph().as_default():
        x, y = gc.placeholder((None, 3), name="x"), gc.placeholder((None, 3), name="y")
        n = x.shape[0]
        assert n == x.size(0) and n + 1 == 1 + n and 2 * n == n + n and n - n == 0 and (2 * n) // 2 == n
        assert n != y.shape[0] and n != 3 and x.shape == (n, 3) and str(n) == "x_0"
        assert isinstance(n, gc.Dim) and hash(n) == hash(x.size(0))


@pytest.mark.parametrize(
    ("ask", "what"),
    [
        (int, r"int\(\)"),
        (bool, "the truth"),
        (lambda n: n < 3, "a comparison"),
        (lambda n: n >= 3, "a comparison"),
        (range, "the number"),
        (lambda n: [0, 1][n], "the number"),
        (float, r"float\(\)"),
        (lambda n: n / 2, "true division"),
        (lambda n: max(n, 3), "a comparison"),
        (lambda n: [0] * n, "the number"),
    ],
)
def test_what_needs_a_number_names_the_line(ask, what):
    with gc.Graph().as_default():
        n = gc.placeholder((None, 3), name="x").shape[0]
        with pytest.raises(
            SymbolicError,
            match=rf"{what} of the unknown size x_0 at .*{HERE}: its number is known only when the graph runs",
        ):
            ask(n)


def test_a_compiled_function_that_needs_the_number_is_built_for_it():
    def fn(x):
        total = x[0] * 0
        for i in range(x.shape[0]):
            total = total + x[i] * i
        return total / max(x.shape[0], 2)

    compiled = gc.compile(fn)
    for n in (3, 4, 3, 5, 4):
        x = gc.arange(n * 2, dtype=gc.float32).view(n, 2)
        assert compiled(x).tolist() == fn(x).tolist()
    assert len(compiled.recompiles) == 3


def test_sizes_that_meet_are_tested_on_the_feed():
    graph = gc.Graph()
    with graph.as_default():
        a, b, c = (gc.placeholder((None,), name=name) for name in "abc")
        d = gc.placeholder((None, 2), name="d")
        ab, bc, fixed = a + b, b * c, a + gc.ones(4)
        double = gc.cat([a, b]) + d.view(-1)
        lone = c * 2
        half = a.view(2, -1)
    session = gc.Session(graph)
    ok = np.ones(4, np.float32)
    assert session.run([ab, bc, fixed, double], dict.fromkeys("abc", ok) | {"d": np.ones((4, 2), np.float32)})[
        3
    ].shape == (8,)
    for fetch, feeds in [
        (ab, {"a": np.ones(4), "b": np.ones(3)}),
        (bc, {"b": np.ones(4), "c": np.ones(5)}),
        (fixed, {"a": np.ones(5)}),
        (double, {"a": np.ones(4), "b": np.ones(4), "d": np.ones((3, 2))}),
        ([bc, lone], {"b": np.ones(4), "c": np.ones(2)}),
    ]:
        with pytest.raises(
            FeedError,
            match=rf"(?s).*(= 3|= 5|= 6|= 2|size 5|size 2 in dimension 0 where 4 is needed, made so at).*{HERE}",
        ):
            session.run(fetch, {k: v.astype(np.float32) for k, v in feeds.items()})
    assert session.run(half, {"a": ok}).shape == (2, 2)


def test_a_size_that_does_not_divide():
    graph = gc.Graph()
    with graph.as_default():
        x = gc.placeholder((None,), name="x")
        y = x.view(-1, 4)
    session = gc.Session(graph)
    assert session.run(y, {x: np.ones(8, np.float32)}).shape == (2, 4)
    with pytest.raises(RuntimeError, match=rf"(?s).*{HERE}"):
        session.run(y, {x: np.ones(7, np.float32)})
    assert session.run(y, {x: np.ones(0, np.float32)}).shape == (0, 4)


def test_an_unknown_never_broadcasts_by_surprise():
    graph = gc.Graph()
    with graph.as_default():
        x, y = gc.placeholder((None,), name="x"), gc.placeholder((None,), name="y")
        z, one = x + y, x + gc.ones(1)
    session = gc.Session(graph)
    with pytest.raises(FeedError, match="sizes disagree"):
        session.run(z, {x: [1.0], y: [1.0, 2.0]})
    assert session.run(one, {x: [1.0, 2.0]}).tolist() == [2, 3]
    with pytest.raises(FeedError):
        session.run(z, {x: [1.0, 2.0], y: [1.0]})


def test_two_known_sizes_that_differ_raise_on_definition():
    with gc.Graph().as_default():
        x = gc.placeholder((None, 3), name="x")
        with pytest.raises(ShapeError, match=rf"(?s).*made at .*{HERE}"):
            x + gc.placeholder((None, 4), name="y")


def test_a_size_alone_can_be_fetched_through_a_tensor():
    graph = gc.Graph()
    with graph.as_default():
        x = gc.placeholder((None, 3), name="x")
        rows = gc.zeros(x.shape[0]).sum() + x.shape[0]
    session = gc.Session(graph)
    assert session.run(rows, {"x": np.ones((5, 3), np.float32)}) == 5
    with pytest.raises(FeedError, match=r"placeholder 'x' .* is not fed"):
        session.run(rows)
