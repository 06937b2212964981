"""`vmap`: every op on a batch gives what it gives for each element, whichever operands have the batch; and whole functions."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from tolerances import assert_close

import graphc as gc
from graphc.core.op import REGISTRY, Kind
from graphc.core.tape import TensorBase

SIZE = 3
#: ops without operands, with shapes that depend on values, or with bodies
OTHERWISE = {"full", "iota", "size", "nonzero"}
OPS = [
    name for name, op in REGISTRY.items() if name not in OTHERWISE and op.kind not in (Kind("control"), Kind("random"))
]


def batch_of(array: np.ndarray) -> np.ndarray:
    """The array, and others with the same elements in another order along the first axis."""
    return np.stack([np.roll(array, i, 0) if array.ndim else array for i in range(SIZE)])


@pytest.mark.parametrize("name", OPS)
def test_every_op(name):
    op = REGISTRY[name]
    for sample in islice((x for x in op.samples() if x.inputs), 6):
        arrays = [np.asarray(a) for a in sample.inputs]
        for which in {(True,) * len(arrays), *(tuple(i == j for j in range(len(arrays))) for i in range(len(arrays)))}:
            given = [gc.tensor(batch_of(a) if b else a) for a, b in zip(arrays, which, strict=True)]

            def apply(*operands, op=op, attrs=sample.attrs):
                return op(*operands, **attrs)

            found = gc.func.vmap(apply, in_dims=tuple(0 if b else None for b in which))(*given)
            rows = [apply(*[x[i] if b else x for x, b in zip(given, which, strict=True)]) for i in range(SIZE)]
            single = isinstance(found, TensorBase)
            for k, x in enumerate((found,) if single else found):
                wanted = np.stack([(row if single else row[k]).numpy() for row in rows])
                assert_close(x, wanted, n=16, what=f"{name} {which}")


W = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
X = np.random.default_rng(1).normal(size=(SIZE, 4)).astype(np.float32)
FUNCTIONS = {
    "softmax": lambda x: gc.softmax(x @ gc.tensor(W), -1),
    "layer norm": lambda x: gc.nn.functional.layer_norm(x, (4,)),
    "norms": lambda x: (x.norm(), x.mean(), x.var(), x.std(), x.argmax(), x.topk(2)[0], x.cumsum(0), x.sort()[1]),
    "shapes": lambda x: (
        x.reshape(2, 2).t(),
        x.flip(0),
        x[1:3],
        x[None].expand(2, 4),
        gc.cat([x, x * 2]),
        gc.stack([x, x]),
    ),
    "indexing": lambda x: (x[[0, 2]], x[x.argmax()], gc.tensor(W)[x.argmax()], x.gather(0, gc.tensor([1, 0]))),
    "windows": lambda x: gc.nn.functional.max_pool1d(gc.nn.functional.pad(x[None, None], (1, 1)), 2),
    "convolution": lambda x: gc.nn.functional.conv1d(x[None, None], gc.ones(1, 1, 3), padding=1),
    "loss": lambda x: gc.nn.functional.cross_entropy(x[None], gc.tensor([2])),
    "where": lambda x: gc.where(x > 0, x, -x).masked_fill(x > 1, 0.0),
    "einsum": lambda x: gc.einsum("i,ij,j->", x, gc.tensor(W), gc.tensor(W).sum(0)),
    "constants": lambda x: (gc.arange(3.0), x * gc.ones(4)),
    "gradient": lambda x: gc.func.grad(lambda t: (t.sin() * t).sum())(x),
    "hessian": lambda x: gc.func.hessian(lambda t: (t**3).sum())(x),
    "inner batch": lambda x: gc.func.vmap(lambda t: t * t)(x),
    "outer product": lambda x: gc.func.vmap(gc.mul, in_dims=(0, None))(x, x),
}


@pytest.mark.parametrize("through", [lambda f: f, gc.compile], ids=["eager", "compiled"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name, through):
    f, x = FUNCTIONS[name], gc.tensor(X)
    found = through(gc.func.vmap(f))(x)
    rows = [f(x[i]) for i in range(SIZE)]
    single = isinstance(found, TensorBase)
    for k, out in enumerate((found,) if single else found):
        assert_close(out, np.stack([(row if single else row[k]).numpy() for row in rows]), n=64, scale=1.0)


def test_gradients_flow_through_batches_and_to_what_is_outside():
    w, x = gc.tensor(W, requires_grad=True), gc.tensor(X, requires_grad=True)
    gc.func.vmap(lambda t: gc.tanh(t @ w).sum())(x).sum().backward()
    found, (w.grad, x.grad) = (w.grad, x.grad), (None, None)
    gc.tanh(x @ w).sum().backward()
    for a, b in zip(found, (w.grad, x.grad), strict=True):
        assert_close(a, b.numpy(), n=16)


def test_the_gradient_of_every_sample():
    model = gc.nn.Sequential(gc.nn.Linear(4, 3), gc.nn.Tanh(), gc.nn.Linear(3, 2))
    params = {name: p.detach() for name, p in model.named_parameters()}
    y = gc.tensor([0, 1, 1])

    def loss(p, x, t):
        return gc.nn.functional.cross_entropy(gc.func.functional_call(model, p, (x[None],)), t[None])

    found = gc.func.vmap(gc.func.grad(loss), in_dims=(None, 0, 0))(params, gc.tensor(X), y)
    for i in range(SIZE):
        model.zero_grad()
        gc.nn.functional.cross_entropy(model(gc.tensor(X[i : i + 1])), y[i : i + 1]).backward()
        for name, p in model.named_parameters():
            assert_close(found[name][i], p.grad.numpy(), n=16)


def test_the_function_runs_once_for_all():
    runs = []
    gc.func.vmap(lambda t: runs.append(1) or t * 2)(gc.tensor(X))
    assert runs == [1]


def test_random_numbers_and_writes():
    x, seen = gc.tensor(X), gc.zeros(())
    different = gc.func.vmap(lambda t: gc.rand(2), randomness="different")(x)
    assert len({tuple(row) for row in different.tolist()}) == SIZE
    same = gc.func.vmap(lambda t: gc.rand(2) + 0 * t[:2], randomness="same")(x)
    assert len({tuple(row) for row in same.tolist()}) == 1
    gc.func.vmap(lambda t: seen.add_(1) * t, randomness="different")(x)
    assert seen.item() == SIZE
    state = gc.get_rng_state()
    with pytest.raises(gc.errors.GradientError, match="random operation while in randomness error mode"):
        gc.func.vmap(lambda t: gc.rand(2))(x)
    assert bool((gc.get_rng_state() == state).all())


def test_what_is_refused():
    x = gc.tensor(X)
    for f, options, text in (
        (lambda t: 3, {}, "must only return Tensors, got type <class 'int'>"),
        (lambda t: t, {"in_dims": (0, 0)}, "in_dims is not compatible"),
        (lambda t: t, {"in_dims": None}, "in_dims is not compatible|must have a dimension"),
        (lambda t: t, {"out_dims": (0, 1)}, "does not fit 1 results"),
    ):
        with pytest.raises(gc.errors.ArgumentError, match=text):
            gc.func.vmap(f, **options)(x)
    with pytest.raises(gc.errors.GradientError, match="Only allowed values for randomness"):
        gc.func.vmap(lambda t: t, randomness="some")
    with pytest.raises(gc.errors.SymbolicError):
        gc.func.vmap(lambda t: t if t.sum() > 0 else -t)(x)


def test_a_batch_of_unknown_size():
    f = gc.compile(lambda x: gc.func.vmap(lambda t: gc.softmax(t, -1) * 2)(x), dynamic=True)
    for n in (2, 5, 7):
        x = gc.rand(n, 4)
        assert_close(f(x), (gc.softmax(x, -1) * 2).numpy(), n=8)
    assert len(f.recompiles) == 1


@pytest.mark.parametrize("through", [lambda f: f, gc.compile], ids=["eager", "compiled"])
def test_writes_to_what_is_mapped_over(through):
    x, w, shared = gc.tensor(X), gc.ones(4), gc.zeros(4)
    f = through(lambda x, w: gc.func.vmap(lambda t, u: t.mul_(2) + u.add_(1), in_dims=(0, None))(x, w))
    assert_close(f(x, w), X * 2 + 2)
    assert_close(x, X * 2)
    assert w.tolist() == [2] * 4
    with pytest.raises(RuntimeError, match=r"(?s)vmap: inplace arithmetic.*not vmapped over.*test_batching.py:\d+"):
        through(lambda x, u: gc.func.vmap(lambda t, u: u.add_(t), in_dims=(0, None))(x, u))(x, shared)
    assert not shared.any()


@pytest.mark.parametrize("through", [lambda f: f, gc.compile], ids=["eager", "compiled"])
def test_a_batch_of_nothing(through):
    for name, f in (
        *FUNCTIONS.items(),
        ("svd", lambda x: gc.linalg.svdvals(x[None])),
        ("random", lambda x: gc.rand(2)),
    ):
        found, row = through(gc.func.vmap(f, randomness="different"))(gc.zeros(0, 4)), f(gc.tensor(X[0]))
        single = isinstance(row, TensorBase)
        for a, b in zip((found,) if single else found, (row,) if single else row, strict=True):
            assert (tuple(a.shape), a.dtype) == ((0, *b.shape), b.dtype), name
