"""Loops and branches as native instructions: equal to the numpy backend, whatever carries, sequences and bodies are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc import nn
from graphc.backends.llvm.backend import LlvmExecutable
from graphc.control import cond_op, scan_op, while_grad, while_op
from graphc.core.dims import Dim
from graphc.core.op import Sample
from graphc.core.tensor_types import type_of_array
from graphc.ir.interpret import interpret
from graphc.ir.program import Program, Table
from graphc.planning.native_plan import NativePlan
from graphc.planning.regions import plan_regions
from graphc.planning.steps import HostStep


def data(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).uniform(-1, 1, shape)


def host_ops(plan: NativePlan) -> list[str]:
    """The ops that Python does, bodies included."""
    steps = [step for region in plan.regions for step in region]
    found = [step.node.op.name for step in steps if isinstance(step, HostStep)]
    for control in plan.controls.values():
        for body in control.bodies:
            found += host_ops(body)
    return found


def kernels_of(plan: NativePlan) -> int:
    """How many steps there are, bodies included."""
    inner = [body for control in plan.controls.values() for body in control.bodies]
    return sum(map(len, plan.regions)) + sum(map(kernels_of, inner))


def results(f: Any, backend: str, arrays: tuple[Any, ...], gradient: bool) -> list[Any]:
    leaves = [gc.tensor(a) for a in arrays]
    wants = [x.requires_grad_() for x in leaves if gradient and x.is_floating_point()]

    def step(*xs: Any) -> Any:
        outputs = f(*xs)
        outputs = tuple(outputs) if isinstance(outputs, tuple | list) else (outputs,)
        floats = [o for o in outputs if o.requires_grad]
        if not floats:
            return outputs
        loss = sum((gc.sin(o * (0.7 + 0.1 * i)).sum() for i, o in enumerate(floats)), gc.zeros((), dtype=gc.float64))
        grads = gc.autograd.grad(loss, [x for x in xs if x.requires_grad], allow_unused=True)
        return (*outputs, *(g for g in grads if g is not None))

    compiled = gc.compile(step, backend=backend)
    found = [x.detach().numpy() for x in compiled(*leaves)]
    assert wants or not gradient
    return found


def check(f: Any, *arrays: Any, gradient: bool = True) -> None:
    """f on llvm equals f on numpy, with the gradients of its float operands."""
    for got, want in zip(results(f, "llvm", arrays, gradient), results(f, "numpy", arrays, gradient), strict=True):
        assert got.dtype == want.dtype and got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)


# --- every sample of the ops ---------------------------------------------------------------------------------------------

SAMPLES = [
    pytest.param(op, sample, id=f"{op.name}-{i}")
    for op in (scan_op, while_op, while_grad, cond_op)
    for i, sample in enumerate(op.samples())
]


def program_of(op: Any, sample: Sample) -> Program:
    table = Table()
    inputs = [table.input(f"x{i}", type_of_array(x)) for i, x in enumerate(sample.inputs)]
    node = table.apply(op, inputs, sample.attrs)
    return Program(table, tuple(inputs), node.outputs)


@pytest.mark.parametrize(("op", "sample"), SAMPLES)
def test_samples(op: Any, sample: Sample) -> None:
    program = program_of(op, sample)
    executable = LlvmExecutable(plan_regions(program))
    assert host_ops(executable.plan) == (["while_loop_grad"] if op is while_grad else [])
    for got, want in zip(executable(sample.inputs), interpret(program, sample.inputs), strict=True):
        assert got.dtype == want.dtype and got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=1e-5 if got.dtype == np.float32 else 1e-12)


# --- carries -------------------------------------------------------------------------------------------------------------

LENGTHS = [0, 1, 2, 3, 6]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("reverse", [False, True])
def test_recurrence(length: int, reverse: bool) -> None:
    def f(h: Any, w: Any, xs: Any) -> Any:
        last, ys = gc.scan(lambda h, x: (gc.tanh(h @ w + x),) * 2, h, xs, reverse=reverse)
        return last, ys

    check(f, data(2, 3), data(3, 3, seed=1), data(length, 2, 3, seed=2))
    check(f, data(2, 3), data(3, 3, seed=1), data(length, 2, 3, seed=2), gradient=False)


@pytest.mark.parametrize("length", LENGTHS)
def test_carries_that_change_places(length: int) -> None:
    def f(a: Any, b: Any, xs: Any) -> Any:
        (a, b), ys = gc.scan(lambda s, x: ((s[1], s[0] + x), s[0] * x), (a, b), xs)
        return a, b, ys

    check(f, data(3), data(3, seed=1), data(length, 3, seed=2))


@pytest.mark.parametrize("length", LENGTHS)
def test_a_carry_that_stays(length: int) -> None:
    def f(a: Any, b: Any, xs: Any) -> Any:
        (a, b), ys = gc.scan(lambda s, x: ((s[0], gc.sin(s[1]) * s[0] + x), (s[0], s[1], x)), (a, b), xs)
        return a, b, *ys

    check(f, data(3), data(3, seed=1), data(length, 3, seed=2))


@pytest.mark.parametrize("length", LENGTHS)
def test_carries_that_begin_as_the_same_tensor_and_as_a_constant(length: int) -> None:
    def f(a: Any, xs: Any) -> Any:
        (b, c), ys = gc.scan(lambda s, x: ((s[0] * a + x, s[1] - a), s[1] * s[0]), (a, a), xs)
        return b, c, ys

    check(f, data(3), data(length, 3, seed=2))


@pytest.mark.parametrize("length", LENGTHS)
def test_results_that_are_one_value(length: int) -> None:
    def f(a: Any, b: Any, xs: Any) -> Any:
        def body(s: Any, x: Any) -> Any:
            y = s[0] * s[1] + x
            return (y, y), (y, y, gc.ones(2, dtype=gc.float64), x)

        (a, b), ys = gc.scan(body, (a, b), xs)
        return a, b, *ys

    check(f, data(3), data(3, seed=1), data(length, 3, seed=2))


def test_counting() -> None:
    def f(xs: Any) -> Any:
        (n, total), ys = gc.scan(lambda s, x: ((s[0] + 1, s[1] + x * s[0]), s[0]), (gc.tensor(0), gc.zeros(2)), xs)
        return n, total, ys

    check(f, data(5, 2).astype(np.float32), gradient=False)


def test_sequences_that_are_views() -> None:
    def f(h: Any, xs: Any) -> Any:
        parts = xs.transpose(0, 1), xs.transpose(0, 1).flip(0), xs.transpose(0, 1)[:, 1:2]
        last, ys = gc.scan(lambda h, x: (gc.tanh(h + x[0] * x[1] + x[2]), h * x[1]), h, parts)
        return last, ys

    check(f, data(3), data(3, 5, seed=1))
    check(lambda h, xs: gc.scan(lambda h, x: (h * x, h + x), h, xs[::2, 0])[1], data(3), data(8, 2, 3, seed=1))
    check(lambda h, xs: gc.scan(lambda h, x: (h * x, h + x), h, xs[0].expand(4, 3))[1], data(3), data(8, 3, seed=1))


# --- what bodies hold ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 4])
def test_loops_in_loops(length: int) -> None:
    def f(h: Any, w: Any, xs: Any) -> Any:
        def inner(h: Any, x: Any) -> Any:
            h = gc.tanh(h * w + x)
            return h, gc.cond(x > 0, lambda h: h * 2, lambda h: h - w, (h,))

        def outer(h: Any, x: Any) -> Any:
            h, ys = gc.scan(inner, h, x, reverse=True)
            return h, (ys, h)

        h, (ys, hs) = gc.scan(outer, h, xs)
        return h, ys, hs

    check(f, np.asarray(0.3), np.asarray(0.7), data(length, 3, seed=2))


def test_steps_of_python_in_bodies() -> None:
    def f(h: Any, xs: Any) -> Any:
        last, ys = gc.scan(lambda h, x: (gc.sort(h * x).values + x, gc.argsort(x)), h, xs)
        return last, ys

    check(f, data(4), data(5, 4, seed=1))


def test_reductions_and_products_in_bodies() -> None:
    def f(h: Any, w: Any, xs: Any) -> Any:
        def body(h: Any, x: Any) -> Any:
            a = gc.softmax(h @ w + x, -1)
            return a @ w.T - a.mean(), a.sum(-1)

        return gc.scan(body, h, xs)

    check(f, data(2, 3), data(3, 4, seed=1), data(5, 2, 4, seed=2))


def test_indices_in_bodies() -> None:
    def f(table: Any, h: Any, xs: Any) -> Any:
        return gc.scan(lambda h, i: (h * table[i], h.sum()), h, xs)

    check(f, data(4, 3), data(3, seed=1), np.array([3, 0, -1, 2]))
    compiled = gc.compile(f, backend="llvm")
    for _ in range(2):
        with pytest.raises(IndexError, match="9"):
            compiled(gc.tensor(data(4, 3)), gc.tensor(data(3)), gc.tensor([3, 9, 0]))
    found = compiled(gc.tensor(data(4, 3)), gc.tensor(data(3)), gc.tensor([3, 1, 0]))
    np.testing.assert_allclose(found[0].numpy(), data(3) * data(4, 3)[3] * data(4, 3)[1] * data(4, 3)[0])


# --- while_loop and cond -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_while(steps: int) -> None:
    def f(x: Any, y: Any, n: Any) -> Any:
        def body(i: Any, a: Any, b: Any) -> Any:
            return i + 1, b * y, gc.sin(a) + i

        return gc.while_loop(lambda i, a, b: i < n, body, (gc.tensor(0), x, x))

    check(f, data(3), data(3, seed=1), np.array(steps))
    check(f, data(3), data(3, seed=1), np.array(steps), gradient=False)


def test_while_in_a_scan_in_a_while() -> None:
    def f(x: Any, n: Any) -> Any:
        def inner(c: Any, x: Any) -> Any:
            _, c = gc.while_loop(lambda i, c: i < n, lambda i, c: (i + 1, gc.sin(c) + x), (gc.tensor(0), c))
            return c, c * 2

        def outer(i: Any, x: Any) -> Any:
            c, ys = gc.scan(inner, gc.zeros((), dtype=gc.float64), x)
            return i + 1, ys + c

        return gc.while_loop(lambda i, x: i < 3, outer, (gc.tensor(0), x))

    check(f, data(4), np.array(3), gradient=False)


@pytest.mark.parametrize("which", [True, False])
def test_cond(which: bool) -> None:
    def f(p: Any, x: Any, y: Any) -> Any:
        return gc.cond(p, lambda x: (x, gc.ones(2, dtype=gc.float64), x @ y), lambda x: (y, x[0, :2], x), (x,))

    check(f, np.array(which), data(3, 3), data(3, 3, seed=1))


# --- layers --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("batch_first", [False, True])
def test_layers(kind: str, batch_first: bool) -> None:
    gc.manual_seed(0)
    layer = getattr(nn, kind)(4, 5, num_layers=2, bidirectional=True, batch_first=batch_first).to(gc.float64)

    def f(x: Any) -> Any:
        y, state = layer(x)
        grads = gc.autograd.grad((y * y).sum(), [x, *layer.parameters()])
        return (y, *(state if isinstance(state, tuple) else (state,)), *grads)

    x = data(3, 7, 4)
    found = [gc.compile(f, backend=backend)(gc.tensor(x, requires_grad=True)) for backend in ("llvm", "numpy")]
    for got, want in zip(*found, strict=True):
        np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_backward_from_outside(kind: str) -> None:
    gc.manual_seed(0)
    layer = getattr(nn, kind)(4, 5, num_layers=2).to(gc.float64)
    found = []
    for backend in ("llvm", "numpy"):
        layer.zero_grad()
        run = gc.compile(lambda x: layer(x)[0], backend=backend)
        for _ in range(2):
            x = gc.tensor(data(6, 3, 4), requires_grad=True)
            (run(x) ** 2).sum().backward()
        found.append([x.grad.numpy().copy(), *(p.grad.numpy().copy() for p in layer.parameters())])
    for got, want in zip(*found, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)


def test_truncated_backpropagation_carries_state_over() -> None:
    gc.manual_seed(0)
    cells = []
    for backend in ("llvm", "numpy"):
        gc.manual_seed(0)
        layer, head = nn.LSTM(4, 5).to(gc.float64), nn.Linear(5, 2).to(gc.float64)
        opt = gc.optim.SGD([*layer.parameters(), *head.parameters()], lr=0.1, momentum=0.9)

        def step(x: Any, h: Any, c: Any, layer: Any = layer, head: Any = head, opt: Any = opt) -> Any:
            opt.zero_grad()
            y, (h, c) = layer(x, (h, c))
            loss = (head(y) ** 2).mean()
            loss.backward()
            opt.step()
            return loss, h.detach(), c.detach()

        run = gc.compile(step, backend=backend)
        h = c = gc.zeros(1, 3, 5, dtype=gc.float64)
        losses = []
        for i in range(5):
            loss, h, c = run(gc.tensor(data(6, 3, 4, seed=i)), h, c)
            losses.append(float(loss))
        cells.append((losses, h.numpy(), c.numpy()))
    np.testing.assert_allclose(cells[0][0], cells[1][0], rtol=1e-9)
    np.testing.assert_allclose(cells[0][1], cells[1][1], rtol=1e-9)


def test_as_many_kernels_for_any_length() -> None:
    layer = nn.LSTM(4, 5)
    counts = []
    for length in (32, 1000):

        @gc.compile(backend="llvm", dynamic=False)
        def step(x: Any) -> Any:
            loss = layer(x)[0].sum()
            return gc.autograd.grad(loss, list(layer.parameters()))

        step(gc.randn(length, 2, 4))
        (executable,) = step.last_built().executables.values()
        assert not host_ops(executable.plan)
        counts.append((kernels_of(executable.plan), len(executable.translation.codes)))
    assert counts[0] == counts[1]


def test_unknown_length() -> None:
    def f(h: Any, xs: Any) -> Any:
        return gc.scan(lambda h, x: (gc.tanh(h + x), h * x), h, xs)

    compiled, plain = gc.compile(f, backend="llvm"), gc.compile(f, backend="numpy")
    for length in (3, 7, 1, 4):
        h, xs = gc.tensor(data(3)), gc.tensor(data(length, 3, seed=length))
        for got, want in zip(compiled(h, xs), plain(h, xs), strict=True):
            np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-12)
    built = compiled.last_built()
    assert built is not None and isinstance(built.feed_types[1].shape[0], Dim)
