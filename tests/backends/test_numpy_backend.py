"""The numpy backend: results, errors, threads, memory and the cost of a call."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest
from program_samples import Builder, edge_data
from tolerances import assert_close

import graphc as gc
from graphc import backends
from graphc.backends import backend_names, find_backend, register_backend
from graphc.backends.numpy_backend import NumpyBackend, NumpyExecutable
from graphc.core.errors import BackendError, DimensionError
from graphc.core.op import REGISTRY, Kind, Op, Sample
from graphc.core.tensor_types import float32, int64, type_of_array
from graphc.ir.interpret import interpret
from graphc.ir.program import Program
from graphc.primitives import contraction, elementwise, indexing, joining, sorting, views


def compiled(program: Program) -> NumpyExecutable:
    return NumpyBackend().compile(program)


def samples() -> list[Any]:
    ops = [op for op in REGISTRY.values() if op.kind not in (Kind("control"), Kind("opaque"))]
    found = []
    for op in ops:
        for i, sample in enumerate(op.samples()):
            try:
                op.output_types(*map(type_of_array, sample.inputs), **sample.attrs)
            except Exception:  # sizes that only a run can know: no program holds such an op
                continue
            found.append(pytest.param(op, sample, id=f"{op.name}-{i}"))
    return found


@pytest.mark.parametrize(("op", "sample"), samples())
def test_every_sample_as_its_op_says_alone_and_in_a_plan(op: Op, sample: Sample) -> None:
    b = Builder()
    inputs = [b.input(f"x{i}", x.shape, type_of_array(x).dtype) for i, x in enumerate(sample.inputs)]
    alone = b.node(op, *inputs, **sample.attrs)
    # pad by nothing puts each operand into memory of the plan
    moved = [b(joining.pad, v, low=(0,) * len(v.shape), high=(0,) * len(v.shape), value=0) for v in inputs]
    inside = b.node(op, *moved, **sample.attrs)
    program = b.program(*alone.outputs, *inside.outputs)
    with np.errstate(all="ignore"):
        result = op.eval(*sample.inputs, **sample.attrs)
    wanted = [np.asarray(x) for x in (result if op.n_outputs > 1 else (result,))]
    single = compiled(b.program(*alone.outputs))(sample.inputs)
    for got, want in zip([*single, *compiled(program)(sample.inputs)], [*wanted, *wanted, *wanted], strict=True):
        assert_close(got, want, n=64)
        assert got.dtype == want.dtype


def test_backends_by_name() -> None:
    assert "numpy" in backend_names()
    assert find_backend("numpy") is find_backend("numpy")
    assert find_backend("numpy").name == "numpy"
    with pytest.raises(BackendError, match=r"no backend is called 'nmpy': there are numpy"):
        find_backend("nmpy")


def test_a_backend_loads_when_it_is_asked_for() -> None:
    loaded = []
    register_backend("for this test", lambda: loaded.append(1) or NumpyBackend())  # type: ignore[func-returns-value]
    try:
        assert "for this test" in backend_names() and not loaded
        find_backend("for this test")
        find_backend("for this test")
        assert loaded == [1]
    finally:
        del backends._LOADERS["for this test"], backends._LOADED["for this test"]


@pytest.mark.parametrize("steps", [1, 3])
def test_errors_of_kernels_keep_their_class_and_name_the_line(steps: int) -> None:
    b = Builder()
    x, at = b.input("x", (3, 2)), b.input("at", (1, 2), int64)
    b.line = 40
    y = b(indexing.gather, x, at, axis=0)
    for _ in range(steps - 1):
        y = b(elementwise.negate, y)
    run = compiled(b.program(y))
    bad = [np.zeros((3, 2)), np.array([[0, 7]])]
    with pytest.raises(DimensionError, match=r"gather(.|\n)*a: f64\[3, 2\](.|\n)*\n  at model.py:41 in module \S+$"):
        run(bad)
    with pytest.raises(IndexError):
        interpret(b.program(y), bad)
    assert run([np.ones((3, 2)), np.array([[0, 2]])])[0].shape == (1, 2)


def test_plain_errors_of_kernels_name_the_line_too() -> None:
    def fail(x: Any) -> Any:
        raise KeyError("what the user's function raised")

    op = Op("own", infer=lambda x: x, eval=fail, kind=Kind("opaque"))
    b = Builder()
    y = b(elementwise.negate, b(op, b.input("x", (2,))))
    for run in (compiled(b.program(y)), lambda arrays: interpret(b.program(y), arrays)):
        with pytest.raises(KeyError, match=r"function raised(?s:.*)at model.py:1") as raised:
            run([np.ones(2)])
        assert raised.value.args == ("what the user's function raised",)


def test_numpy_warns_of_nothing_and_its_settings_stay() -> None:
    b = Builder()
    x = b.input("x", (3,))
    run = compiled(b.program(b(elementwise.log, b(elementwise.divide, x, x))))
    before = np.geterr()
    assert np.isnan(run([np.array([0.0, np.inf, np.nan])])[0]).all()
    assert np.geterr() == before


def test_threads_share_an_executable() -> None:
    b = Builder()
    x = b.input("x", (40, 40))
    y = x
    for _ in range(6):
        y = b(elementwise.tanh, b(contraction.matmul, y, x, transpose_a=False, transpose_b=True))
        y = b(views.permute, b(elementwise.add, y, x), axes=(1, 0))
    program = b.program(y, b(elementwise.negate, y))
    run = compiled(program)
    data = [np.random.default_rng(i).normal(size=(40, 40)) for i in range(4)]
    wanted = [interpret(program, [x]) for x in data]
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(40):
            for got, want in zip(run([data[i]]), wanted[i], strict=True):
                if not np.allclose(got, want, rtol=1e-9, atol=1e-9):
                    wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_function_that_calls_its_own_executable() -> None:
    runs: list[Any] = []

    def again(x: Any) -> Any:
        return x + 1 if x[0] >= 3 else runs[0]([x + 1])[0]

    op = Op("recurse", infer=lambda x: x, eval=again, kind=Kind("opaque"))
    b = Builder()
    x = b.input("x", (2,))
    twice = b(joining.concat, x, x, axis=0)
    kept = b(views.slice_, twice, starts=(0,), limits=(2,), strides=(1,))
    runs.append(compiled(b.program(b(elementwise.add, b(op, kept), kept))))
    # f(3) = 4 + 3, f(2) = f(3) + 2, f(1) = f(2) + 1
    np.testing.assert_array_equal(runs[0]([np.array([1.0, 1.0])])[0], [10.0, 10.0])


def test_kernels_that_hand_back_an_operand() -> None:
    same = Op("same", infer=lambda x: x, eval=lambda x: x, kind=Kind("opaque"))
    part = Op("part", infer=lambda x: x, eval=lambda x: x[:], kind=Kind("opaque"))
    b = Builder()
    x = b.input("x", (3,))
    for op in (same, part):
        for outputs in ([b(op, x)], [b(elementwise.negate, b(op, x)), b(op, x)]):
            data = np.arange(3.0)
            for result in compiled(b.program(*outputs))([data]):
                assert not np.shares_memory(result, data)
                result[...] = 9
            np.testing.assert_array_equal(data, [0, 1, 2])


def test_inputs_in_any_layout() -> None:
    b = Builder()
    x = b.input("x", (4, 6))
    flat = b(views.reshape, x, shape=(24,))
    turned = b(views.reshape, b(views.permute, x, axes=(1, 0)), shape=(24,))
    program = b.program(b(elementwise.negate, turned), flat, turned, b(elementwise.add, flat, turned))
    run = compiled(program)
    whole = np.arange(96.0).reshape(8, 12)
    for data in (whole[:4, :6].copy(), whole[:6, :4].T, whole[::2, ::-2], np.asfortranarray(whole[:4, :6])):
        before = data.copy()
        for got, want in zip(run([data]), interpret(program, [data]), strict=True):
            np.testing.assert_array_equal(got, want)
            assert not np.shares_memory(got, data)
            got[...] = -1
        np.testing.assert_array_equal(data, before)


def test_several_outputs_of_one_kernel() -> None:
    b = Builder()
    x = b.input("x", (2, 5), float32)
    values, order = b.node(sorting.sort, x, axis=1, descending=False, stable=True).outputs
    program = b.program(order, b(elementwise.negate, values))
    data = edge_data(x.type)
    for got, want in zip(compiled(program)([data]), interpret(program, [data]), strict=True):
        np.testing.assert_array_equal(got, want)


def test_no_steps_and_no_outputs() -> None:
    b = Builder()
    x, c = b.input("x", (2,)), b.constant([1.0, 2.0])
    (got, const, number) = compiled(b.program(x, c, b.full(3.5)))([np.array([5.0, 6.0])])
    assert got.tolist() == [5.0, 6.0] and const.tolist() == [1.0, 2.0] and number == 3.5
    const[0] = 7  # a copy, so the next run has the constant
    assert compiled(b.program(x, c))([got])[1].tolist() == [1.0, 2.0]
    assert compiled(b.program())([got]) == []


def test_memory_of_the_run_is_let_go() -> None:
    b = Builder()
    x = b.input("x", (1000,))
    y = x
    for _ in range(5):
        y = b(elementwise.erf, b(elementwise.add, y, x))
    run = compiled(b.program(y))
    assert run.peak == run.plan.peak <= 4 * 8000
    assert run.steps == run.plan.text


@pytest.mark.slow
def test_one_op_costs_little_more_than_numpy() -> None:
    b = Builder()
    x, y = b.input("x", (4,), float32), b.input("y", (4,), float32)
    run = compiled(b.program(b(elementwise.add, x, y)))
    arrays = [np.ones(4, np.float32)] * 2

    def best(call: Any) -> float:
        times = []
        for _ in range(20):
            start = time.perf_counter()
            for _ in range(1000):
                call()
            times.append(time.perf_counter() - start)
        return min(times) * 1e3

    assert best(lambda: run(arrays)) - best(lambda: np.add(*arrays)) < 5.0  # microseconds


def test_a_run_that_not_even_a_plan_has_room_for():
    f = gc.compile(lambda x: x.reshape(2, 1, 1).expand(2, 1 << 24, 1 << 24) * 2, backend="numpy")
    with pytest.raises(gc.errors.OutOfMemoryError) as raised:
        f(gc.ones(2))
    number = f.fn.__code__.co_firstlineno
    text = str(raised.value)
    assert "holds at least 2,251,799,813,685,248 bytes at its peak beside inputs of 8; its largest tensors:\n" in text
    assert f"f32[2, 16777216, 16777216] multiply made at tests/backends/test_numpy_backend.py:{number}" in text
