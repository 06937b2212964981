"""Rules of algebra for `simplify`: arithmetic with known numbers, negations, products and powers.

All are exact under IEEE for every operand, signed zeros, infinities and NaN included, except where the docstring says so:
x + 0.0 changes -0.0 and stays, x * 0.0 and x - x change NaN and stay; for integers they go.
"""

from __future__ import annotations

import math
from typing import Any

from graphc.core.op import Op
from graphc.core.tensor_types import BOOL, FLOAT, INT
from graphc.ir.program import Node, Value
from graphc.passes.rewrite import Build, Replacement
from graphc.passes.splats import filled, fit, is_splat, splat
from graphc.primitives.creation import full
from graphc.primitives.elementwise import add, divide, floor_divide, multiply, negate, power, subtract


def category(node: Node) -> int:
    """BOOL, INT or FLOAT: what the node's first operand holds."""
    return node.inputs[0].dtype.category


def number_second(node: Node, build: Build) -> Replacement:
    """f(1, x) => f(x, 1) for add, multiply and the commutative bit and truth operations"""
    a, b = node.inputs
    if splat(a) is None or splat(b) is not None:
        return None
    return build(node.op, b, a)


def add_nothing(node: Node, build: Build) -> Replacement:
    """x + (-0.0) => x; integers: x + 0 => x; bool: x + False => x"""
    x, y = node.inputs
    zero = -0.0 if category(node) == FLOAT else 0
    return fit(build, x, node.outputs[0].type) if is_splat(y, zero) else None


def subtract_nothing(node: Node, build: Build) -> Replacement:
    """x - 0.0 => x; integers: x - 0 => x"""
    x, y = node.inputs
    zero = 0.0 if category(node) == FLOAT else 0
    return fit(build, x, node.outputs[0].type) if is_splat(y, zero) else None


def subtract_from_nothing(node: Node, build: Build) -> Replacement:
    """-0.0 - x => -x; integers: 0 - x => -x"""
    x, y = node.inputs
    zero = -0.0 if category(node) == FLOAT else 0
    if not is_splat(x, zero):
        return None
    return fit(build, build(negate, y), node.outputs[0].type)


def subtract_itself(node: Node, build: Build) -> Replacement:
    """integers: x - x => 0"""
    x, y = node.inputs
    return filled(build, node.outputs[0].type, 0) if x is y and category(node) == INT else None


def _negated(value: Value) -> Value | None:
    return value.node.inputs[0] if value.node.op is negate else None


def add_negated(node: Node, build: Build) -> Replacement:
    """x + (-y) => x - y; (-x) + y => y - x"""
    x, y = node.inputs
    if (inner := _negated(y)) is not None:
        return build(subtract, x, inner)
    if (inner := _negated(x)) is not None:
        return build(subtract, y, inner)
    return None


def subtract_negated(node: Node, build: Build) -> Replacement:
    """x - (-y) => x + y"""
    x, y = node.inputs
    inner = _negated(y)
    return None if inner is None else build(add, x, inner)


def both_negated(node: Node, build: Build) -> Replacement:
    """(-x) * (-y) => x * y, and so for /"""
    x, y = map(_negated, node.inputs)
    return None if x is None or y is None else build(node.op, x, y)


def negate_negated(node: Node, build: Build) -> Replacement:
    """-(-x) => x"""
    return _negated(node.inputs[0])


def multiply_by_one(node: Node, build: Build) -> Replacement:
    """x * 1 => x; bool: x * True => x"""
    x, y = node.inputs
    return fit(build, x, node.outputs[0].type) if is_splat(y, 1) else None


def multiply_by_minus_one(node: Node, build: Build) -> Replacement:
    """x * -1 => -x"""
    x, y = node.inputs
    if category(node) == BOOL or not x.dtype.is_signed or not is_splat(y, -1):
        return None
    return fit(build, build(negate, x), node.outputs[0].type)


def multiply_by_zero(node: Node, build: Build) -> Replacement:
    """integers and bool: x * 0 => 0"""
    exact = category(node) != FLOAT and is_splat(node.inputs[1], 0)
    return filled(build, node.outputs[0].type, 0) if exact else None


def divide_by_one(node: Node, build: Build) -> Replacement:
    """x / 1 => x; integers: x // 1 => x"""
    x, y = node.inputs
    if node.op is floor_divide and category(node) != INT:
        return None
    return fit(build, x, node.outputs[0].type) if is_splat(y, 1) else None


def divide_by_power_of_two(node: Node, build: Build) -> Replacement:
    """x / 2^k => x * 2^-k, where both are normal numbers of the dtype"""
    x, y = node.inputs
    number = splat(y)
    if not isinstance(number, float) or not math.isfinite(number) or number == 0 or abs(number) == 1:
        return None
    mantissa, exponent = math.frexp(number)
    most = {"float16": 13, "bfloat16": 125, "float32": 125, "float64": 1021}[x.dtype.name]
    if abs(mantissa) != 0.5 or abs(exponent) > most:
        return None
    inverse = build(full, shape=y.type.shape, value=1.0 / number, dtype=y.dtype)
    return build(multiply, x, inverse)


def combine_numbers(node: Node, build: Build) -> Replacement:
    """integers: (x + 2) + 3 => x + 5, and so for *; both wrap around alike"""
    x, y = node.inputs
    b = splat(y)
    if category(node) != INT or b is None or x.node.op is not node.op:
        return None
    inner, c = x.node.inputs
    a = splat(c)
    if a is None:
        return None
    number = _wrapped(node.op, int(a), int(b), y)
    value = build(full, shape=(), value=number, dtype=y.dtype)
    return fit(build, build(node.op, inner, value), node.outputs[0].type)


def _wrapped(op: Op, a: int, b: int, like: Value) -> int:
    bits = like.dtype.itemsize * 8
    number = (a + b if op is add else a * b) & ((1 << bits) - 1)
    return number - (1 << bits) if like.dtype.is_signed and number >> (bits - 1) else number


def power_of_number(node: Node, build: Build) -> Replacement:
    """x ** 1 => x; x ** 0 => 1; x ** 2 => x * x, which is the rounded square where pow may be off by one unit"""
    x, y = node.inputs
    result = node.outputs[0].type
    number = splat(y)
    if number is None:
        return None
    if number == 1:
        return fit(build, x, result)
    if number == 0:
        return filled(build, result, 1)
    return fit(build, build(multiply, x, x), result) if number == 2 else None


ALGEBRA: dict[Op, tuple[Any, ...]] = {
    add: (number_second, add_nothing, add_negated, combine_numbers),
    subtract: (subtract_nothing, subtract_from_nothing, subtract_itself, subtract_negated),
    multiply: (
        number_second, multiply_by_one, multiply_by_minus_one, multiply_by_zero, both_negated, combine_numbers,
    ),
    divide: (divide_by_one, both_negated, divide_by_power_of_two),
    floor_divide: (divide_by_one,),
    negate: (negate_negated,),
    power: (power_of_number,),
}  # fmt: skip

__all__ = ["ALGEBRA", "category", "number_second"]
