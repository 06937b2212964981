"""Sorts as native code: both ways of it, every dtype, equal elements in their order, NaN last."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from conformance.cases import evaluated
from native_ops import check_samples, compiled, kinds

import graphc as gc
from graphc.backends.llvm.pool import get_num_threads, set_num_threads
from graphc.core.op import REGISTRY
from graphc.planning.steps import HostStep, SortStep

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
