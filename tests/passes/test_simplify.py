"""Algebra: each rule before and after, and what must stay because of signed zeros, NaN or rounding."""

from __future__ import annotations

from typing import Any

import pytest
from pass_checks import check_pass
from program_samples import n

from graphc.core.tensor_types import (
    bfloat16,
    bool_,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
)  # fmt: skip
from graphc.passes.simplify import holds_all, simplify
from graphc.primitives import copying, elementwise, joining, reductions, views

e = elementwise
F, W, B = ((n, 3), float64), ((n, 3), int32), ((n, 3), bool_)

REWRITES: dict[str, tuple[Any, ...]] = {
    "x * 1": (lambda b, x: b(e.multiply, x, b.full(1.0)), lambda b, x: x, F),
    "1 * x": (lambda b, x: b(e.multiply, b.full(1.0), x), lambda b, x: x, F),
    "x * ones of x's shape": (lambda b, x: b(e.multiply, x, b.full(1.0, (n, 3))), lambda b, x: x, F),
    "x * wider ones": (
        lambda b, x: b(e.multiply, x, b.full(1.0, (2, n, 3))), lambda b, x: b(views.expand, x, shape=(2, n, 3)), F,
    ),
    "x * constant 1": (lambda b, x: b(e.multiply, x, b.constant(1.0)), lambda b, x: x, F),
    "x * expanded 1": (
        lambda b, x: b(e.multiply, x, b(views.expand, b.full(1.0), shape=(n, 3))), lambda b, x: x, F,
    ),
    "x * -1": (lambda b, x: b(e.multiply, x, b.full(-1.0)), lambda b, x: b(e.negate, x), F),
    "x * True": (lambda b, x: b(e.multiply, x, b.full(True, dtype=bool_)), lambda b, x: x, B),
    "int x * 0": (lambda b, x: b(e.multiply, x, b.full(0, dtype=int32)), lambda b, x: b.full(0, (n, 3), int32), W),
    "x + -0.0": (lambda b, x: b(e.add, x, b.full(-0.0)), lambda b, x: x, F),
    "x - 0.0": (lambda b, x: b(e.subtract, x, b.full(0.0)), lambda b, x: x, F),
    "-0.0 - x": (lambda b, x: b(e.subtract, b.full(-0.0), x), lambda b, x: b(e.negate, x), F),
    "int x + 0": (lambda b, x: b(e.add, x, b.full(0, dtype=int32)), lambda b, x: x, W),
    "int 0 + x": (lambda b, x: b(e.add, b.full(0, dtype=int32), x), lambda b, x: x, W),
    "int 0 - x": (lambda b, x: b(e.subtract, b.full(0, dtype=int32), x), lambda b, x: b(e.negate, x), W),
    "int x - x": (lambda b, x: b(e.subtract, x, x), lambda b, x: b.full(0, (n, 3), int32), W),
    "x + -y": (lambda b, x, y: b(e.add, x, b(e.negate, y)), lambda b, x, y: b(e.subtract, x, y), F, F),
    "-x + y": (lambda b, x, y: b(e.add, b(e.negate, x), y), lambda b, x, y: b(e.subtract, y, x), F, F),
    "x - -y": (lambda b, x, y: b(e.subtract, x, b(e.negate, y)), lambda b, x, y: b(e.add, x, y), F, F),
    "-x * -y": (
        lambda b, x, y: b(e.multiply, b(e.negate, x), b(e.negate, y)), lambda b, x, y: b(e.multiply, x, y), F, F,
    ),
    "-x / -y": (lambda b, x, y: b(e.divide, b(e.negate, x), b(e.negate, y)), lambda b, x, y: b(e.divide, x, y), F, F),
    "- - x": (lambda b, x: b(e.negate, b(e.negate, x)), lambda b, x: x, F),
    "- - - x": (lambda b, x: b(e.negate, b(e.negate, b(e.negate, x))), lambda b, x: b(e.negate, x), F),
    "x / 1": (lambda b, x: b(e.divide, x, b.full(1.0)), lambda b, x: x, F),
    "x / 4": (lambda b, x: b(e.divide, x, b.full(4.0)), lambda b, x: b(e.multiply, x, b.full(0.25)), F),
    "x / -0.5": (lambda b, x: b(e.divide, x, b.full(-0.5)), lambda b, x: b(e.multiply, x, b.full(-2.0)), F),
    "int x // 1": (lambda b, x: b(e.floor_divide, x, b.full(1, dtype=int32)), lambda b, x: x, W),
    "(x + 2) + 3": (
        lambda b, x: b(e.add, b(e.add, x, b.full(2, dtype=int32)), b.full(3, dtype=int32)),
        lambda b, x: b(e.add, x, b.full(5, dtype=int32)), W,
    ),
    "(x * 2^20) * 2^20 wraps": (
        lambda b, x: b(e.multiply, b(e.multiply, x, b.full(1 << 20, dtype=int32)), b.full((1 << 11) + 1, dtype=int32)),
        lambda b, x: b(e.multiply, x, b.full((1 << 20) - (1 << 31), dtype=int32)), W,
    ),
    "x ** 1": (lambda b, x: b(e.power, x, b.full(1.0)), lambda b, x: x, F),
    "x ** 2": (lambda b, x: b(e.power, x, b.full(2.0)), lambda b, x: b(e.multiply, x, x), F),
    "x ** 0": (lambda b, x: b(e.power, x, b.full(0.0)), lambda b, x: b.full(1.0, (n, 3)), F),
    "int x ** 2": (lambda b, x: b(e.power, x, b.full(2, dtype=int32)), lambda b, x: b(e.multiply, x, x), W),
    "copy": (lambda b, x: b(copying.copy, x), lambda b, x: x, F),
    "cast to itself": (lambda b, x: b(e.cast, x, dtype=float64), lambda b, x: x, F),
    "cast up and back": (lambda b, x: b(e.cast, b(e.cast, x, dtype=float64), dtype=float32), lambda b, x: x, ((n,), float32)),
    "cast up and half": (
        lambda b, x: b(e.cast, b(e.cast, x, dtype=float64), dtype=float16), lambda b, x: b(e.cast, x, dtype=float16),
        ((n,), float32),
    ),
    "cast int up and down": (
        lambda b, x: b(e.cast, b(e.cast, x, dtype=int64), dtype=int8), lambda b, x: b(e.cast, x, dtype=int8), W,
    ),
    "cast int to float and back": (lambda b, x: b(e.cast, b(e.cast, x, dtype=float64), dtype=int32), lambda b, x: x, W),
    "cast bool twice": (
        lambda b, x: b(e.cast, b(e.cast, x, dtype=float16), dtype=int8), lambda b, x: b(e.cast, x, dtype=int8), B,
    ),
    "not not x": (lambda b, x: b(e.logical_not, b(e.logical_not, x)), lambda b, x: x, B),
    "~ ~ x": (lambda b, x: b(e.bitwise_not, b(e.bitwise_not, x)), lambda b, x: x, W),
    "not x == y": (
        lambda b, x, y: b(e.logical_not, b(e.equal, x, y)), lambda b, x, y: b(e.not_equal, x, y), F, F,
    ),
    "int not x < y": (
        lambda b, x, y: b(e.logical_not, b(e.less, x, y)), lambda b, x, y: b(e.greater_equal, x, y), W, W,
    ),
    "int x <= x": (lambda b, x: b(e.less_equal, x, x), lambda b, x: b.full(True, (n, 3), bool_), W),
    "int x != x": (lambda b, x: b(e.not_equal, x, x), lambda b, x: b.full(False, (n, 3), bool_), W),
    "where True": (lambda b, x, y: b(e.where, b.full(True, dtype=bool_), x, y), lambda b, x, y: x, F, F),
    "where False, wider": (
        lambda b, x, y: b(e.where, b.full(False, (2, n, 3), bool_), x, y),
        lambda b, x, y: b(views.expand, y, shape=(2, n, 3)), F, F,
    ),
    "where x, x": (lambda b, c, x: b(e.where, c, x, x), lambda b, c, x: x, B, F),
    "where not c": (
        lambda b, c, x, y: b(e.where, b(e.logical_not, c), x, y), lambda b, c, x, y: b(e.where, c, y, x), B, F, F,
    ),
    "x and True": (lambda b, x: b(e.logical_and, x, b.full(True, dtype=bool_)), lambda b, x: x, B),
    "False and x": (lambda b, x: b(e.logical_and, b.full(False, dtype=bool_), x), lambda b, x: b.full(False, (n, 3), bool_), B),
    "x and x": (lambda b, x: b(e.logical_and, x, x), lambda b, x: x, B),
    "x or False": (lambda b, x: b(e.logical_or, x, b.full(False, dtype=bool_)), lambda b, x: x, B),
    "x or True": (lambda b, x: b(e.logical_or, x, b.full(True, dtype=bool_)), lambda b, x: b.full(True, (n, 3), bool_), B),
    "x xor x": (lambda b, x: b(e.logical_xor, x, x), lambda b, x: b.full(False, (n, 3), bool_), B),
    "x & -1": (lambda b, x: b(e.bitwise_and, x, b.full(-1, dtype=int32)), lambda b, x: x, W),
    "x & 0": (lambda b, x: b(e.bitwise_and, x, b.full(0, dtype=int32)), lambda b, x: b.full(0, (n, 3), int32), W),
    "x | 0": (lambda b, x: b(e.bitwise_or, x, b.full(0, dtype=int32)), lambda b, x: x, W),
    "u8 x | 255": (
        lambda b, x: b(e.bitwise_or, x, b.full(255, dtype=uint8)), lambda b, x: b.full(255, (n,), uint8), ((n,), uint8),
    ),
    "x ^ x": (lambda b, x: b(e.bitwise_xor, x, x), lambda b, x: b.full(0, (n, 3), int32), W),
    "x << 0": (lambda b, x: b(e.shift_left, x, b.full(0, dtype=int32)), lambda b, x: x, W),
    "max(x, x)": (lambda b, x: b(e.maximum, x, x), lambda b, x: x, F),
    "max(max(x, y), y)": (
        lambda b, x, y: b(e.maximum, b(e.maximum, x, y), y), lambda b, x, y: b(e.maximum, x, y), F, F,
    ),
    "min(y, min(x, y))": (
        lambda b, x, y: b(e.minimum, y, b(e.minimum, x, y)), lambda b, x, y: b(e.minimum, x, y), W, W,
    ),
    "floor(ceil(x))": (lambda b, x: b(e.floor, b(e.ceil, x)), lambda b, x: b(e.ceil, x), F),
    "abs(-x)": (lambda b, x: b(e.absolute, b(e.negate, x)), lambda b, x: b(e.absolute, x), F),
    "u8 abs(-x)": (
        lambda b, x: b(e.absolute, b(e.negate, x)), lambda b, x: b(e.absolute, b(e.negate, x)), ((n,), uint8),
    ),
    "abs(abs(x))": (lambda b, x: b(e.absolute, b(e.absolute, x)), lambda b, x: b(e.absolute, x), F),
    "sum over nothing": (lambda b, x: b(reductions.reduce_sum, x, axes=()), lambda b, x: x, W),
    "max of max": (
        lambda b, x: b(reductions.reduce_max, b(reductions.reduce_max, x, axes=(1,)), axes=(0, 1)),
        lambda b, x: b(reductions.reduce_max, x, axes=(0, 1, 2)), ((n, 2, 3), float64),
    ),
    "sum of sum": (
        lambda b, x: b(reductions.reduce_sum, b(reductions.reduce_sum, x, axes=(0,)), axes=(1,)),
        lambda b, x: b(reductions.reduce_sum, x, axes=(0, 2)), ((n, 2, 3), int32),
    ),
    "concat of one": (lambda b, x: b(joining.concat, x, axis=0), lambda b, x: x, F),
    "concat with nothing": (
        lambda b, x, y, z: b(joining.concat, x, y, z, axis=1), lambda b, x, y, z: b(joining.concat, x, z, axis=1),
        F, ((n, 0), float64), F,
    ),
}  # fmt: skip

STAYS: dict[str, tuple[Any, ...]] = {
    "x + 0.0 (-0.0 would change)": (lambda b, x: b(e.add, x, b.full(0.0)), F),
    "x - -0.0": (lambda b, x: b(e.subtract, x, b.full(-0.0)), F),
    "0.0 - x": (lambda b, x: b(e.subtract, b.full(0.0), x), F),
    "x * 0.0 (NaN would change)": (lambda b, x: b(e.multiply, x, b.full(0.0)), F),
    "x - x": (lambda b, x: b(e.subtract, x, x), F),
    "x / x": (lambda b, x: b(e.divide, x, x), F),
    "x == x": (lambda b, x: b(e.equal, x, x), F),
    "not x < y (NaN)": (lambda b, x, y: b(e.logical_not, b(e.less, x, y)), F, F),
    "-(x - y) (signed zero)": (lambda b, x, y: b(e.negate, b(e.subtract, x, y)), F, F),
    "(x + 2.0) + 3.0 (rounding)": (lambda b, x: b(e.add, b(e.add, x, b.full(2.0)), b.full(3.0)), F),
    "x / 3 (rounding)": (lambda b, x: b(e.divide, x, b.full(3.0)), F),
    "x / 2^1023 (subnormal)": (lambda b, x: b(e.divide, x, b.full(2.0**1023)), F),
    "x / 0.0": (lambda b, x: b(e.divide, x, b.full(0.0)), F),
    "x ** 0.5 (-inf)": (lambda b, x: b(e.power, x, b.full(0.5)), F),
    "cast down and up": (lambda b, x: b(e.cast, b(e.cast, x, dtype=float32), dtype=float64), F),
    "cast to float and down to int": (lambda b, x: b(e.cast, b(e.cast, x, dtype=float64), dtype=int8), W),
    "logical_not twice of ints": (lambda b, x: b(e.logical_not, b(e.logical_not, x)), W),
    "logical_and of an int with True": (lambda b, x: b(e.logical_and, x, x), W),
    "sum of max": (
        lambda b, x: b(reductions.reduce_sum, b(reductions.reduce_max, x, axes=(0,)), axes=(0,)), ((3, 2), int32),
    ),
    "x * 1 of another constant": (lambda b, x: b(e.multiply, x, b.constant([1.0, 1.0, 1.0])), F),
    "scalar first, other op": (lambda b, x: b(e.maximum, b.full(1.0), x), F),
}  # fmt: skip


@pytest.mark.parametrize("name", REWRITES)
def test_rewrites(name: str) -> None:
    before, after, *types = REWRITES[name]
    check_pass(simplify, before, after, *types)


@pytest.mark.parametrize("name", STAYS)
def test_stays(name: str) -> None:
    before, *types = STAYS[name]
    check_pass(simplify, before, None, *types)


def test_a_number_goes_second() -> None:
    check_pass(simplify, lambda b, x: b(e.add, b.full(2.0), x), lambda b, x: b(e.add, x, b.full(2.0)), F)


def test_half_precision_divisions_keep_their_bits() -> None:
    for dtype in (float16, float32):
        check_pass(
            simplify,
            lambda b, x, dtype=dtype: b(e.divide, x, b.full(8.0, dtype=dtype)),
            lambda b, x, dtype=dtype: b(e.multiply, x, b.full(0.125, dtype=dtype)),
            ((n,), dtype),
        )


def test_which_dtypes_hold_which() -> None:
    yes = [
        (int64, int32), (float64, int32), (float32, int16), (float16, uint8), (int16, uint8), (float32, bfloat16),
        (uint8, bool_),
    ]  # fmt: skip
    no = [
        (float32, int32), (float64, int64), (uint8, int8), (int8, uint8), (bfloat16, int16), (float16, bfloat16),
        (bool_, int8),
    ]  # fmt: skip
    assert all(holds_all(wide, narrow) for wide, narrow in yes)
    assert not any(holds_all(wide, narrow) for wide, narrow in no)
