"""Transposes around matrix products become flags."""

from __future__ import annotations

from typing import Any

import pytest
from pass_checks import check_pass
from program_samples import Builder, n, plain_data

from graphc.core.tensor_types import float64, int64
from graphc.ir.interpret import interpret
from graphc.passes.fold_transposes import fold_transposes
from graphc.primitives import contraction, elementwise, views


def product(b: Builder, x: Any, y: Any, ta: bool = False, tb: bool = False) -> Any:
    return b(contraction.matmul, x, y, transpose_a=ta, transpose_b=tb)


def swapped(b: Builder, x: Any) -> Any:
    rank = len(x.shape)
    return b(views.permute, x, axes=(*range(rank - 2), rank - 1, rank - 2))


A, K = ((n, 4), int64), ((2, 3, 4), int64)


@pytest.mark.parametrize("ta", [False, True])
@pytest.mark.parametrize("tb", [False, True])
def test_operands(ta: bool, tb: bool) -> None:
    a, c = (3, 4) if ta else (4, 3), (5, 3) if tb else (3, 5)
    check_pass(
        fold_transposes,
        lambda b, x, y: product(b, swapped(b, x), swapped(b, y), ta, tb),
        lambda b, x, y: product(b, x, y, not ta, not tb),
        (a[::-1], int64), (c[::-1], int64),
    )  # fmt: skip


def test_batches() -> None:
    check_pass(
        fold_transposes,
        lambda b, x, y: product(b, x, swapped(b, y)), lambda b, x, y: product(b, x, y, False, True), K, ((2, 5, 4), int64),
    )  # fmt: skip


def test_results_read_once() -> None:
    check_pass(
        fold_transposes,
        lambda b, x, y: swapped(b, product(b, x, y, True)), lambda b, x, y: product(b, y, x, True, False),
        ((3, n), int64), ((3, 4), int64),
    )  # fmt: skip


def test_results_read_twice_stay() -> None:
    def both(b: Builder, x: Any, y: Any) -> Any:
        z = product(b, x, y)
        return swapped(b, z), z

    check_pass(fold_transposes, both, None, ((2, 3), int64), ((3, 4), int64))


def test_permutes_of_batches_stay() -> None:
    check_pass(
        fold_transposes,
        lambda b, x, y: product(b, b(views.permute, x, axes=(1, 0, 2)), y), None, ((3, 2, 4), int64), ((2, 4, 5), int64),
    )  # fmt: skip


def test_floats_agree() -> None:
    b = Builder()
    x, y = b.input("x", (4, 3), float64), b.input("y", (5, 4), float64)
    program = b.program(b(elementwise.tanh, product(b, swapped(b, x), swapped(b, y))))
    arrays = [plain_data(x.type), plain_data(y.type)]
    (got,), (want,) = interpret(fold_transposes(program), arrays), interpret(program, arrays)
    assert abs(got - want).max() < 1e-14
