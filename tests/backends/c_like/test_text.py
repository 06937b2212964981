"""Kernels as text, in both dialects, as they stand in the files of `goldens`; the null backend, which writes them.

Where a change of the text is meant: GRAPHC_WRITE_GOLDENS=1 pytest tests/backends/c_like, then read the diff.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.backends import null_backend
from graphc.backends.c_like.heads import CUDA, OPENCL, Dialect
from graphc.backends.c_like.kernels import print_kernel
from graphc.backends.c_like.writing import Source
from graphc.backends.null_backend import NullExecutable
from graphc.core import scalar as s
from graphc.core.errors import BackendError
from graphc.core.tensor_types import float32
from graphc.ir.kernel import Access, Kernel, Statement

GOLDENS = Path(__file__).parent / "goldens"
ENDINGS = {OPENCL: "cl", CUDA: "cu"}


def floats(*shape: int) -> Any:
    return gc.from_numpy(np.ones(shape, np.float32))


def chain(x: Any, y: Any, z: Any) -> Any:
    """A row of y for each of x, a number of z for all, of three dtypes; a bool and a half are stored."""
    total = (x * 2 + y).relu() - z
    return total, total > x, total.to(gc.float16)


#: name -> function and operands. 50 and 70 are no powers of two; 3 is part of the text, larger sizes are arguments.
PROGRAMS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "chain": (chain, (floats(3, 70), floats(70), gc.tensor(0.5, dtype=gc.float64))),
    "row_softmax": (lambda x: gc.softmax(x, 1), (floats(50, 70),)),
    "column_sum": (lambda x: x.sum(0), (floats(50, 70),)),
    "gather": (lambda x, i: x[i], (floats(50, 70), gc.arange(8))),
    "product_with_bias": (lambda x, w, b: x @ w.t() + b, (floats(50, 70), floats(20, 70), floats(20))),
    "together": (lambda x, y, z: (x * 2, y * 2, z.sin()), (floats(50, 70), floats(9), floats(9))),
    "cumsum": (lambda x: x.cumsum(1), (floats(50, 70),)),
}


def written(name: str) -> NullExecutable:
    """A program as the null backend has it."""
    fn, operands = PROGRAMS[name]
    build, arrays = gc.compile(fn, backend="null", dynamic=False).arrays_for(*operands)
    executable = build.built.executable([a.shape for a in arrays])
    assert isinstance(executable, NullExecutable)
    return executable


@pytest.mark.parametrize("dialect", ENDINGS, ids=lambda d: d.name)
@pytest.mark.parametrize("name", PROGRAMS)
def test_text(name: str, dialect: Dialect) -> None:
    golden, text = GOLDENS / f"{name}.{ENDINGS[dialect]}", written(name).text(dialect)
    if os.environ.get("GRAPHC_WRITE_GOLDENS"):
        golden.write_text(text)
    kept = golden.read_text()
    if text != kept:
        lines = difflib.unified_diff(kept.splitlines(), text.splitlines(), str(golden), "now", lineterm="")
        head = "the text has changed; if that is meant: GRAPHC_WRITE_GOLDENS=1 pytest tests/backends/c_like"
        pytest.fail("\n".join([head, *lines]), pytrace=False)


def test_no_golden_is_left_over() -> None:
    assert {p.name for p in GOLDENS.iterdir()} == {f"{name}.{x}" for name in PROGRAMS for x in ENDINGS.values()}


def test_null_writes_and_runs_nothing() -> None:
    executable = written("column_sum")
    assert executable.peak == 70 * 4
    assert executable.steps.startswith("plan: 1 regions") and executable.text(OPENCL) in executable.steps
    fn, operands = PROGRAMS["column_sum"]
    compiled = gc.compile(fn, backend="null")
    with pytest.raises(BackendError, match="'null' writes kernels and runs none\n  hint: backend='llvm'"):
        compiled(*operands)
    assert "__kernel" in str(gc.explain(compiled, *operands))


@pytest.mark.parametrize(("rows", "wide"), [(2**31 - 100, True), (2**31 - 10_000, False)])
def test_rows_of_the_last_group_are_numbers_too(rows: int, wide: bool) -> None:
    x = s.leaf(0, float32)
    kernel = Kernel(
        (rows,), 1, (Access(0, (1,), 0),), (Statement(x + x, store=Access(1, (1,), 0)),), (float32, float32)
    )
    printed = print_kernel(Source(), kernel, 256)
    assert printed.wide == wide
    assert wide or printed.groups * printed.items < 2**31


@pytest.mark.parametrize(("units", "groups"), [(16, 64), (132, 256)])
def test_a_card_is_filled_by_a_full_fold(units: int, groups: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(null_backend, "TARGET", replace(null_backend.TARGET, units=units, items=256))
    build, arrays = gc.compile(lambda x: (x * 2).sum(), backend="null", dynamic=False).arrays_for(floats(1024, 1024))
    executable = build.built.executable([a.shape for a in arrays])
    assert [x.printed.groups for x in executable.translation.launches] == [groups, 1]
