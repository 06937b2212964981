"""Programs on an OpenCL device: the same numbers as the other backends, faults that change nothing, no waits in a run."""

from __future__ import annotations

import logging
import re

import numpy as np
import pytest
from tolerances import assert_close

import graphc as gc
from graphc import nn
from graphc.backends.c_like import kernels as c_like
from graphc.backends.c_like import lanes
from graphc.backends.opencl.devices import cl, device
from graphc.executable import Built

pytestmark = pytest.mark.opencl

N = 70
X = np.random.default_rng(0).normal(size=(N, N)).astype(np.float32)


def step_of(model, optimizer, loss):
    def step(x, y):
        optimizer.zero_grad()
        out = loss(model(x), y)
        out.backward()
        optimizer.step()
        return out

    return step


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.out = nn.LSTM(6, 9, batch_first=True), nn.Linear(9, 4)

    def forward(self, x):
        return self.out(self.rnn(x)[0][:, -1])


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.attention = nn.Embedding(11, 12), nn.MultiheadAttention(12, 3, batch_first=True)
        self.norm, self.out = nn.LayerNorm(12), nn.Linear(12, 4)

    def forward(self, x):
        h = self.table(x)
        return self.out(self.norm(h + self.attention(h, h, h, need_weights=False)[0]).mean(1))


def convolutional():
    return nn.Sequential(
        nn.Conv2d(1, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(5, 6, 3, stride=2),
        nn.Flatten(), nn.Linear(6 * 9, 4), nn.Dropout(0.1),
    )  # fmt: skip


def perceptron():
    return nn.Sequential(nn.Linear(20, 33), nn.GELU(), nn.Linear(33, 4))


MODELS = {
    "perceptron": (perceptron, lambda rng: rng.normal(size=(17, 20)).astype(np.float32)),
    "convolutional": (convolutional, lambda rng: rng.normal(size=(8, 1, 14, 14)).astype(np.float32)),
    "recurrent": (Recurrent, lambda rng: rng.normal(size=(5, 12, 6)).astype(np.float32)),
    "attending": (Attending, lambda rng: rng.integers(0, 11, (6, 10))),
}
OPTIMIZERS = {
    "SGD": lambda p: gc.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
    "Adam": lambda p: gc.optim.Adam(p, lr=0.01, eps=1e-4),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", MODELS)
def test_training_equals_numpy(name, optimizer):
    make, inputs = MODELS[name]
    found = {}
    for backend in ("numpy", "opencl"):
        gc.manual_seed(3)
        rng = np.random.default_rng(1)
        model = make()
        step = gc.compile(
            step_of(model, OPTIMIZERS[optimizer](model.parameters()), nn.functional.cross_entropy), backend=backend
        )
        losses = []
        for _ in range(6):
            x = inputs(rng)
            losses.append(step(gc.from_numpy(x), gc.from_numpy(rng.integers(0, 4, len(x)))).item())
        found[backend] = [np.array(losses), *(p.detach().numpy() for p in model.parameters())]
    for a, b in zip(found["opencl"], found["numpy"], strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4)


def built(f, *arrays):
    """The executable of a function on the device, and what it gives."""
    graph = gc.Graph()
    with graph.as_default():
        xs = [gc.placeholder(a.shape, dtype=gc.from_numpy(a).dtype) for a in arrays]
        out = f(*xs)
    program = graph.program([out._data])
    made = Built(program, graph.aliases, backend="opencl")
    return made.executable([a.shape for a in arrays]), made.run(list(arrays))[0]


@pytest.mark.parametrize(
    "f",
    [
        lambda x: gc.softmax(x, 1), lambda x: gc.softmax(x, 0), lambda x: gc.tanh(x) @ x.t() + 1, lambda x: x.cumsum(0),
        lambda x: x.var(0), lambda x: x.sum(), lambda x: x[:, ::3].flip(1), lambda x: x.to(gc.float16) * 3,
    ],
)  # fmt: skip
def test_a_run_waits_only_for_its_results(f):
    executable, found = built(f, X)
    assert_close(found, f(gc.from_numpy(X)).numpy(), n=N)
    assert executable.waits == 0


def test_a_while_loop_waits_for_its_condition():
    def f(x):
        return gc.while_loop(lambda i, x: i < 5, lambda i, x: (i + 1, x * 1.5), (gc.tensor(0), x))[1]

    executable, found = built(f, X)
    np.testing.assert_allclose(found, X * 1.5**5, rtol=1e-6)
    assert executable.waits == 6


def test_a_bad_index_is_found_before_anything_is_written():
    w = gc.ones(5, requires_grad=True)

    def step(i):
        loss = w[i].sum()
        loss.backward()
        with gc.no_grad():
            w.sub_(w.grad)
        w.grad = None
        return loss

    compiled = gc.compile(step, backend="opencl")
    assert compiled(gc.tensor([1, 4])).item() == 2
    before = w.detach().numpy().copy()
    with pytest.raises(IndexError, match=r"(?s)index 5 .*test_backend\.py:\d+"):
        compiled(gc.tensor([1, 5]))
    np.testing.assert_array_equal(w.detach().numpy(), before)
    compiled(gc.tensor([0, 0]))
    assert w.detach().numpy()[0] == before[0] - 2


def test_other_sizes_share_their_kernels():
    f = gc.compile(lambda x: gc.softmax(x * 2, 1).sum(0), backend="opencl")
    for n in (40, 64, 17):
        x = np.random.default_rng(n).normal(size=(n, 33)).astype(np.float32)
        np.testing.assert_allclose(
            f(gc.from_numpy(x)).numpy(), gc.softmax(gc.from_numpy(x) * 2, 1).sum(0).numpy(), rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("at", [0, 4, 64, 192])
@pytest.mark.parametrize("size", [1, 8, 100, 128])
def test_bytes_are_sent_to_any_place(at, size):
    buffer, sent, got = device().alloc(512), np.arange(size, dtype=np.uint8), np.empty(512, np.uint8)
    device().copy_in(buffer, 0, np.full(512, 255, np.uint8))
    device().copy_in(buffer, at, sent)
    device().copy_out(got, buffer, 0)
    np.testing.assert_array_equal(got[at : at + size], sent)
    assert np.delete(got, np.s_[at : at + size]).min() == 255


def test_what_python_does_is_told(caplog):
    def slope(x):
        _, y = gc.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, y * x), (gc.tensor(0), x))
        return gc.gradients(y.sum(), x)[0]

    with caplog.at_level(logging.WARNING, "graphc.opencl"):
        executable, found = built(slope, X)
    np.testing.assert_allclose(found, 4 * X**3, rtol=1e-4, atol=1e-5)
    assert "done by Python, between waits: while_loop_grad" in caplog.text
    assert executable.waits > 0


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize(("shape", "axis"), [((5, 7), 0), ((3, 40, 2), 1), ((2049, 3), 0), ((1,), 0)])
@pytest.mark.parametrize("dtype", [gc.float32, gc.int64, gc.float16, gc.bool, gc.uint8])
def test_sorts(dtype, shape, axis, descending):
    values = np.random.default_rng(0).integers(0, 20, shape).astype(np.float32)
    if dtype is gc.float32:
        values.reshape(-1)[1::5] = np.nan
    x = gc.from_numpy(values).to(dtype)
    found = gc.compile(lambda x: (*x.sort(axis, descending=descending), *x.topk(1, axis)), backend="opencl")(x)
    for got, want in zip(found, (*x.sort(axis, descending=descending), *x.topk(1, axis)), strict=True):
        np.testing.assert_array_equal(got.to(gc.float64).numpy(), want.to(gc.float64).numpy())


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (3, 0), (1,), (1, 1)])
def test_nothing_and_one(shape):
    x = np.full(shape, 2.0, np.float32)
    for f in (lambda x: x * 2, lambda x: x.sum(), lambda x: gc.exp(x).reshape(-1), lambda x: (x + 1).sum(-1)):
        _, found = built(f, x)
        assert_close(found, f(gc.from_numpy(x)).numpy())


def test_what_a_compiler_says_about_a_sound_kernel_is_no_news(monkeypatch):
    text = "#warning it speaks\n__kernel void k(__global float *x) { x[0] = 1; }"
    here = device()
    monkeypatch.setattr(here, "options", [])
    with pytest.warns(cl.CompilerWarning):
        cl.Program(here.context, text).build()
    here.build(text)  # warnings are errors here


def test_an_item_that_has_one_step_of_a_row_at_most(monkeypatch):
    monkeypatch.setattr(c_like, "SHORT_ROW", 1)
    monkeypatch.setattr(lanes, "FEWEST_STEPS", 10**9)  # no vectors of rows
    x = X[:6, :4].astype(np.float64)

    def f(x):
        y = x.erf()
        return (y - y.prod(1, keepdim=True)).cos().sum(1) + x.abs().cos().sum()

    executable, found = built(f, x)
    assert "if (live && slice < 4)" in executable.steps
    assert_close(found, f(gc.from_numpy(x)).numpy(), n=24)


@pytest.mark.parametrize("columns", [20, 70, 300])
def test_a_row_is_read_by_all_items_before_one_writes_over_it(columns):
    """All divide by the new state, which one stores in the memory of the old."""
    x = np.random.default_rng(0).random((20, columns), np.float32)
    start = np.arange(1, 21, dtype=np.float32)
    state = gc.from_numpy(start.copy())

    @gc.compile(backend="opencl")
    def step(x):
        state.mul_(0.9).add_(x.amax(1) * 0.1)
        return x / state[:, None]

    want = start * np.float32(0.9) + x.max(1) * np.float32(0.1)
    np.testing.assert_allclose(step(gc.from_numpy(x)).numpy(), x / want[:, None], rtol=1e-6)
    np.testing.assert_allclose(state.numpy(), want, rtol=1e-6)


def test_folds_take_turns_with_local_memory():
    def f(x):
        y = x.double()
        return gc.stack([
            *[(x * k).sum(1).double() for k in range(6)], x.amax(1), x.argmax(1), x.argmin(1), (y * y).sum(1), y.amin(1),
            (x > 0).sum(1), (x > 2).any(1),
        ])  # fmt: skip

    executable, found = built(f, X[:50])
    for kernel in executable.steps.split("KERNEL")[1:]:
        kinds = re.findall(r"LOCAL (\w+) \w+\[", kernel)
        assert len(kinds) <= len({*kinds}) + (kinds.count("i64") > 1)
    assert_close(found, f(gc.from_numpy(X[:50])).numpy(), np.float32, n=N, scale=10.0)


def test_groups_are_smaller_where_a_kernel_needs_it(monkeypatch):
    monkeypatch.setattr(type(device()), "largest_group", lambda self, program, name: 16)
    executable, found = built(lambda x: gc.softmax(x, 1), X[:50])
    assert {x.printed.items for x in executable.translation.launches} == {16}
    assert_close(found, gc.softmax(gc.from_numpy(X[:50]), 1).numpy(), n=N)
