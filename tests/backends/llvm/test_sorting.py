"""Sorts as native code: both ways of it, every dtype, equal elements in their order, NaN last."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from conformance.cases import evaluated
from native_ops import check_samples, compiled, kinds
from program_samples import Builder

import graphc as gc
from graphc.backends.llvm.backend import LlvmBackend, LlvmExecutable
from graphc.backends.llvm.pool import get_num_threads, set_num_threads
from graphc.core.op import REGISTRY
from graphc.core.tensor_types import float32, type_of_array
from graphc.planning.steps import HostStep, SortStep
from graphc.primitives.elementwise import add
from graphc.primitives.views import flip, reshape, slice_

SORT = REGISTRY["sort"]
DTYPES = [
    bool, np.uint8, np.int8, np.int16, np.int32, np.int64, np.float16, ml_dtypes.bfloat16, np.float32, np.float64,
]  # fmt: skip
#: Rows that are merged and rows sorted by digits, at the border between the two, along every axis; no rows, empty rows.
CASES = [
    ((1,), 0), ((2,), 0), ((7, 100), 1), ((100, 7), 0), ((3, 1000), 1), ((600, 3), 0),
    *(((n + more,), 0) for n in (12, 24, 48, 96) for more in (0, 1)),
    ((4, 300, 5), 1), ((2, 9, 6), 1), ((0, 5), 1), ((5, 0), 1), ((5, 0), 0), ((70000,), 0),
]  # fmt: skip


def numbers(shape: tuple[int, ...], dtype: Any) -> Any:
    """Many equal ones, the extremes of the dtype, and what floats have besides."""
    rng = np.random.default_rng(len(shape))
    if dtype is bool:
        return rng.random(shape) < 0.5
    if np.dtype(dtype).kind in "iu":
        info = np.iinfo(dtype)
        x = rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
        return np.where(rng.random(shape) < 0.5, x % 7, x).astype(dtype)
    x = np.where(rng.random(shape) < 0.5, rng.integers(-3, 4, shape) / 2, rng.normal(size=shape) * 100)
    odd = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, -1e-40, 5e-324])
    return np.where(rng.random(shape) < 0.2, rng.choice(odd, shape), x).astype(dtype)


@pytest.mark.filterwarnings("ignore")
def test_samples_have_no_host_step_and_equal_eval() -> None:
    check_samples(SORT)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("descending", [False, True])
def test_rows(dtype: Any, descending: bool) -> None:
    before = get_num_threads()
    for threads, (shape, axis) in enumerate(CASES):
        set_num_threads(1 + threads % 3)
        with np.errstate(all="ignore"):
            x = numbers(shape, dtype)
        attrs = {"axis": axis, "descending": descending, "stable": True}
        executable = compiled(SORT, [x], attrs)
        assert kinds(executable) == {SortStep}
        values, order = executable([x])
        want_values, want_order = evaluated(SORT, [x], attrs)
        np.testing.assert_array_equal(order, want_order)
        assert values.tobytes() == np.ascontiguousarray(want_values).tobytes()
    set_num_threads(before)


def first_few(x: Any, axis: int, descending: bool, *counts: int) -> LlvmExecutable:
    """The first so many sorted values and, if there is a second number, places."""
    b = Builder()
    node = b.node(SORT, b.input("x", x.shape, type_of_array(x).dtype), axis=axis, descending=descending, stable=True)
    outputs = []
    for value, count in zip(node.outputs, counts, strict=False):
        limits = (*x.shape[:axis], count, *x.shape[axis + 1 :])
        outputs.append(b(slice_, value, starts=(0,) * x.ndim, limits=limits, strides=(1,) * x.ndim))
    found = LlvmBackend().compile(b.program(*outputs))
    assert isinstance(found, LlvmExecutable)
    return found


def sort_count(executable: LlvmExecutable) -> int:
    (step,) = [x for region in executable.plan.regions for x in region if isinstance(x, SortStep)]
    return step.count


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_first_few_of_long_rows(dtype: Any) -> None:
    """More or fewer than what the highest bits set apart, ties at the border, up to a quarter and beyond."""
    with np.errstate(all="ignore"):
        rows = [
            numbers((3, 3000), dtype),
            numbers((1500, 2), dtype),
            np.zeros((2, 2000), dtype),
            np.sort(numbers((1, 1024), dtype)),
        ]
    for x, axis in zip(rows, (1, 0, 1, 1), strict=True):
        for descending in (False, True):
            values, order = evaluated(SORT, [x], {"axis": axis, "descending": descending, "stable": True})
            for count in (1, 9, 256, x.shape[axis] // 4, x.shape[axis] // 4 + 1):
                executable = first_few(x, axis, descending, count, count)
                assert sort_count(executable) == count
                found = executable([x])
                for y, want in zip(found, (values, order), strict=True):
                    part = np.ascontiguousarray(np.moveaxis(np.moveaxis(want, axis, 0)[:count], 0, axis))
                    assert y.tobytes() == part.tobytes()


def test_how_many_are_read() -> None:
    x = np.zeros((3, 40), np.float32)
    assert sort_count(first_few(x, 1, True, 3, 5)) == 5
    assert sort_count(first_few(x, 1, True, 3)) == 3
    assert sort_count(first_few(x, 1, True, 0)) == 0
    assert sort_count(first_few(x, 0, True, 2, 1)) == 2

    def count(read: Any) -> int:
        b = Builder()
        node = b.node(SORT, b.input("x", x.shape, float32), axis=1, descending=False, stable=True)
        found = LlvmBackend().compile(b.program(read(b, node.outputs[0])))
        assert isinstance(found, LlvmExecutable)
        return sort_count(found)

    every_third = {"starts": (0, 2), "limits": (3, 12), "strides": (1, 3)}
    assert count(lambda b, y: b(slice_, y, **every_third)) == 12
    assert count(lambda b, y: y) == count(lambda b, y: b(add, y, y)) == count(lambda b, y: b(flip, y, axes=(1,))) == 40
    assert count(lambda b, y: b(reshape, y, shape=(8, 15))) == 40


def test_what_functions_make_of_it() -> None:
    """Chosen by rank, of operands that are views or computed, with gradients; native throughout."""
    x = gc.tensor(np.random.default_rng(0).normal(size=(6, 400)).astype(np.float32), requires_grad=True)

    def step(x: Any) -> Any:
        top, places = gc.topk(x * 2, 5, 1)
        ranked = gc.sort(x[:, ::3].t(), 0, descending=True)[0]
        loss = (top * top).sum() + (ranked * gc.arange(134.0)[:, None]).sum() + gc.median(x, 1)[0].sum()
        return places, gc.argsort(x, 1), ranked, loss, gc.autograd.grad(loss, x)[0]

    want, found = (gc.compile(step, backend=backend)(x) for backend in ("numpy", "llvm"))
    for a, b in zip(want, found, strict=True):
        np.testing.assert_allclose(b.detach().numpy(), a.detach().numpy(), rtol=1e-5)


def test_a_sort_in_a_loop_has_working_memory() -> None:
    def sorted_rows(x: Any) -> Any:
        return gc.scan(lambda carry, row: (carry + row.sort()[0], carry), gc.zeros(50), x)

    x = gc.tensor(np.random.default_rng(0).normal(size=(9, 50)).astype(np.float32))
    (want, _), (found, _) = (gc.compile(sorted_rows, backend=backend)(x) for backend in ("numpy", "llvm"))
    np.testing.assert_allclose(found.numpy(), want.numpy(), rtol=1e-6)


def test_no_step_of_a_selection_is_done_by_python() -> None:
    program = compiled(SORT, [np.zeros((3, 4), np.float32)], {"axis": 1, "descending": True, "stable": False})
    assert HostStep not in kinds(program) and "  sort sort\n" in program.plan.text
