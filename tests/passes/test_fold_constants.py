"""Constant folding: what is folded, into what, and what never is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pass_checks import check_pass
from program_samples import Builder, n

from graphc.core.config import config
from graphc.core.op import Kind, Op
from graphc.core.tensor_types import bool_, float32, float64, int64, uint8
from graphc.passes.fold_constants import fold_constants
from graphc.passes.splats import splat
from graphc.primitives import creation, elementwise, indexing, reductions, sorting, views

e, v = elementwise, views
F = ((n, 3), float64)
TWO_BY_THREE = [[1.0, -2.0, 3.0], [4.0, np.nan, -0.0]]


def test_constants_are_computed() -> None:
    check_pass(
        fold_constants,
        lambda b, x: b(e.add, x, b(e.multiply, b.constant([1.0, 2.0, -0.0]), b.constant([3.0, -1.0, 5.0]))),
        lambda b, x: b(e.add, x, b.constant([3.0, -2.0, -0.0])),
        F,
    )


def test_views_and_reductions_of_constants() -> None:
    check_pass(
        fold_constants,
        lambda b: (
            b(v.permute, b.constant(TWO_BY_THREE), axes=(1, 0)),
            b(reductions.reduce_max, b.constant([1.0, 7.0]), axes=(0,)),
        ),
        lambda b: (b.constant(np.array(TWO_BY_THREE).T.copy()), b.constant(7.0)),
    )


def test_several_outputs() -> None:
    def before(b: Builder) -> Any:
        return b.node(sorting.sort, b.constant([3.0, 1.0]), axis=0, descending=False, stable=True).outputs

    check_pass(fold_constants, before, lambda b: (b.constant([1.0, 3.0]), b.constant(np.array([1, 0]))))


def test_filled_tensors_stay_filled_whatever_their_size() -> None:
    check_pass(
        fold_constants,
        lambda b: b(e.add, b.full(1.5, (1000, 1000)), b(v.expand, b.full(2.0), shape=(1000, 1000))),
        lambda b: b.full(3.5, (1000, 1000)),
    )
    check_pass(
        fold_constants,
        lambda b, x: b(e.add, x, b(v.reshape, b(e.less, b.full(1.0, (n, 3)), b.full(2.0)), shape=(3, n))),
        lambda b, x: b(e.add, x, b.full(True, (3, n), bool_)),
        ((3, n), bool_),
    )


def test_casts_of_numbers_round_and_wrap_as_the_dtype_does() -> None:
    check_pass(
        fold_constants,
        lambda b: (
            b(e.cast, b.full(0.1), dtype=float32),
            b(e.cast, b.full(300, dtype=int64), dtype=uint8),
            b(e.cast, b.full(-0.0), dtype=float32),
            b(e.cast, b.full(float("nan")), dtype=float32),
        ),
        lambda b: (
            b.full(float(np.float32(0.1)), dtype=float32),
            b.full(44, dtype=uint8),
            b.full(-0.0, dtype=float32),
            b.full(float("nan"), dtype=float32),
        ),
    )


def test_sizes_that_are_numbers() -> None:
    check_pass(fold_constants, lambda b: b(creation.size, dim=7), lambda b: b.full(7, dtype=int64))
    check_pass(fold_constants, lambda b, x: b(creation.size, dim=n + 1), None, F)


def test_large_results_are_not_stored() -> None:
    big = config.largest_fold // 8 + 1
    bounds = {"starts": (0,), "limits": (big,), "strides": (1,)}
    check_pass(fold_constants, lambda b: b(v.slice_, b.constant(np.arange(big + 5.0)), **bounds), None)
    check_pass(fold_constants, lambda b: b(creation.iota, size=5, start=0, step=1, dtype=int64), None)


@pytest.mark.parametrize("kind", ["random", "control", "opaque"])
def test_some_kinds_are_never_folded(kind: str) -> None:
    op = Op("own", infer=lambda x: x, eval=lambda x: x + 1, kind=Kind(kind))
    check_pass(fold_constants, lambda b: b(op, b.constant([1.0])), None)


def test_what_raises_belongs_to_the_run() -> None:
    b = Builder()
    program = b.program(b(indexing.gather, b.constant([1.0]), b.constant(np.array([3])), axis=0))
    assert fold_constants(program) is program


def test_no_input_no_warning() -> None:
    check_pass(fold_constants, lambda b: b(e.log, b.constant([0.0, 1.0])), lambda b: b.constant([-np.inf, 0.0]))


def test_splats() -> None:
    b = Builder()
    assert splat(b.full(2.5, (n, 3))) == 2.5
    assert splat(b(v.expand, b.constant([7.0]), shape=(4,))) == 7.0
    assert splat(b.constant([7.0, 7.0])) is None and splat(b.input("x", ())) is None
    assert splat(b.full(300, dtype=uint8)) == 44
