"""Algebraic simplification: nodes whose result is already there, or is cheaper another way.

Rules of arithmetic are in `algebra.py`; here are casts, truth values, bits, choices, extremes, reductions and joins.
"""

from __future__ import annotations

from collections.abc import Mapping

from graphc.core.op import Op
from graphc.core.tensor_types import BOOL, FLOAT, INT, DType
from graphc.ir.program import Node, Program
from graphc.passes.algebra import ALGEBRA, category, number_second
from graphc.passes.rewrite import Build, Replacement, Rule, Rules, rewrite
from graphc.passes.splats import filled, fit, is_splat
from graphc.primitives.copying import copy, stop_gradient, straight_through
from graphc.primitives.elementwise import (
    absolute,
    bitwise_and,
    bitwise_not,
    bitwise_or,
    bitwise_xor,
    cast,
    ceil,
    equal,
    floor,
    greater,
    greater_equal,
    less,
    less_equal,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    maximum,
    minimum,
    negate,
    not_equal,
    round_,
    shift_left,
    shift_right,
    trunc,
    where,
)
from graphc.primitives.joining import concat
from graphc.primitives.reductions import (
    reduce_all,
    reduce_any,
    reduce_max,
    reduce_min,
    reduce_prod,
    reduce_sum,
)

# Bits of an integer (without sign) that a float dtype holds exactly.
_MANTISSA = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}


# --- copies and casts --------------------------------------------------------------------------------------------------


def copy_is_itself(node: Node, build: Build) -> Replacement:
    """copy(x) => x"""
    return node.inputs[0]


def gradient_way_is_its_value(node: Node, build: Build) -> Replacement:
    """stop_gradient(x), straight_through(x, y) => x"""
    return node.inputs[0]


def cast_to_itself(node: Node, build: Build) -> Replacement:
    """cast(x: f32, f32) => x"""
    (x,) = node.inputs
    return x if x.dtype is node.attrs["dtype"] else None


def holds_all(wide: DType, narrow: DType) -> bool:
    """Whether every number of `narrow` is exactly a number of `wide`."""
    if wide is narrow or narrow.category == BOOL:
        return True
    if wide.category == BOOL or wide.category < narrow.category:
        return False
    if narrow.category == FLOAT:
        return wide.itemsize > narrow.itemsize
    bits = narrow.itemsize * 8 - narrow.is_signed
    if wide.category == FLOAT:
        return _MANTISSA[wide.name] >= bits
    return wide.itemsize * 8 - wide.is_signed >= bits and (wide.is_signed or not narrow.is_signed)


def cast_of_cast(node: Node, build: Build) -> Replacement:
    """cast(cast(x, wide), t) => cast(x, t), where wide holds every number of x's dtype"""
    (x,) = node.inputs
    if x.node.op is not cast:
        return None
    inner, target = x.node.inputs[0], node.attrs["dtype"]
    if not holds_all(x.dtype, inner.dtype):
        return None
    # What a number out of range becomes depends on the dtype it comes from.
    if (
        target.category == INT
        and FLOAT in (x.dtype.category, inner.dtype.category)
        and not holds_all(target, inner.dtype)
    ):
        return None
    return build(cast, inner, dtype=target)


# --- truth values and choices ------------------------------------------------------------------------------------------


_OPPOSITE: Mapping[Op, Op] = {equal: not_equal, not_equal: equal}
_OPPOSITE_ORDERED: Mapping[Op, Op] = {
    less: greater_equal,
    greater_equal: less,
    greater: less_equal,
    less_equal: greater,
}


def not_not(node: Node, build: Build) -> Replacement:
    """not not x => x"""
    (x,) = node.inputs
    if x.node.op is node.op and x.node.inputs[0].dtype is node.outputs[0].dtype:
        return x.node.inputs[0]
    return None


def not_comparison(node: Node, build: Build) -> Replacement:
    """not (x == y) => x != y; integers: not (x < y) => x >= y (a NaN is neither)"""
    (x,) = node.inputs
    opposite = _OPPOSITE.get(x.node.op)
    if opposite is None and x.node.inputs and category(x.node) != FLOAT:
        opposite = _OPPOSITE_ORDERED.get(x.node.op)
    return None if opposite is None else build(opposite, *x.node.inputs)


def compare_itself(node: Node, build: Build) -> Replacement:
    """integers: x == x => True, x < x => False, ..."""
    x, y = node.inputs
    if x is not y or category(node) == FLOAT:
        return None
    return filled(build, node.outputs[0].type, node.op in (equal, less_equal, greater_equal))


def where_known(node: Node, build: Build) -> Replacement:
    """where(True, x, y) => x; where(False, x, y) => y"""
    condition, x, y = node.inputs
    for truth, taken in ((True, x), (False, y)):
        if is_splat(condition, truth):
            return fit(build, taken, node.outputs[0].type)
    return None


def where_same(node: Node, build: Build) -> Replacement:
    """where(c, x, x) => x"""
    _, x, y = node.inputs
    return fit(build, x, node.outputs[0].type) if x is y else None


def where_not(node: Node, build: Build) -> Replacement:
    """where(not c, x, y) => where(c, y, x)"""
    condition, x, y = node.inputs
    if condition.node.op is not logical_not or condition.node.inputs[0].dtype.category != BOOL:
        return None
    return build(where, condition.node.inputs[0], y, x)


def _all_ones(node: Node) -> int | bool:
    dtype = node.inputs[0].dtype
    if dtype.category == BOOL:
        return True
    return -1 if dtype.is_signed else (1 << (8 * dtype.itemsize)) - 1


def and_known(node: Node, build: Build) -> Replacement:
    """x & ~0 => x; x & 0 => 0; x & x => x; and so for `and` of bools"""
    x, y = node.inputs
    result = node.outputs[0].type
    if x.dtype is not result.dtype or x.dtype.category == FLOAT:
        return None
    if is_splat(y, 0):
        return filled(build, result, 0)
    return fit(build, x, result) if x is y or is_splat(y, _all_ones(node)) else None


def or_known(node: Node, build: Build) -> Replacement:
    """x | 0 => x; x | ~0 => ~0; x | x => x; and so for `or` of bools"""
    x, y = node.inputs
    result = node.outputs[0].type
    if x.dtype is not result.dtype or x.dtype.category == FLOAT:
        return None
    if is_splat(y, _all_ones(node)):
        return filled(build, result, _all_ones(node))
    return fit(build, x, result) if x is y or is_splat(y, 0) else None


def xor_known(node: Node, build: Build) -> Replacement:
    """x ^ 0 => x; x ^ x => 0; and so for `xor` of bools"""
    x, y = node.inputs
    result = node.outputs[0].type
    if x.dtype is not result.dtype or x.dtype.category == FLOAT:
        return None
    if x is y:
        return filled(build, result, 0)
    return fit(build, x, result) if is_splat(y, 0) else None


def shift_by_nothing(node: Node, build: Build) -> Replacement:
    """x << 0 => x, and so for >>"""
    x, y = node.inputs
    return fit(build, x, node.outputs[0].type) if is_splat(y, 0) else None


# --- functions that repeat themselves ----------------------------------------------------------------------------------


def extreme_of_itself(node: Node, build: Build) -> Replacement:
    """maximum(x, x) => x; maximum(maximum(x, y), y) => maximum(x, y); and so for minimum"""
    x, y = node.inputs
    if x is y:
        return x
    for outer, other in ((x, y), (y, x)):
        if outer.node.op is node.op and other in outer.node.inputs:
            return fit(build, outer, node.outputs[0].type)
    return None


def rounded_already(node: Node, build: Build) -> Replacement:
    """floor(ceil(x)) => ceil(x), and so for any two of floor, ceil, trunc, round_"""
    (x,) = node.inputs
    return x if x.node.op in (floor, ceil, trunc, round_) else None


def absolute_of_sign(node: Node, build: Build) -> Replacement:
    """abs(-x) => abs(x) but for unsigned x; abs(abs(x)) => abs(x)"""
    (x,) = node.inputs
    if x.node.op is absolute:
        return x
    return build(absolute, x.node.inputs[0]) if x.node.op is negate and x.dtype.is_signed else None


# --- reductions and joins ----------------------------------------------------------------------------------------------


def reduce_nothing(node: Node, build: Build) -> Replacement:
    """reduce(x, axes=()) => x"""
    return node.inputs[0] if node.attrs["axes"] == () else None


def reduce_of_reduce(node: Node, build: Build) -> Replacement:
    """reduce(reduce(x, a), b) => reduce(x, a and b); sums and products are associated anew"""
    (x,) = node.inputs
    if x.node.op is not node.op:
        return None
    (inner,) = x.node.inputs
    first = x.node.attrs["axes"]
    left = [axis for axis in range(inner.type.ndim) if axis not in first]
    axes = tuple(sorted((*first, *(left[axis] for axis in node.attrs["axes"]))))
    return build(node.op, inner, axes=axes)


def concat_of_one(node: Node, build: Build) -> Replacement:
    """concat(x) => x"""
    return node.inputs[0] if len(node.inputs) == 1 else None


def concat_of_empty(node: Node, build: Build) -> Replacement:
    """concat(x, y of no elements along the axis) => concat(x)"""
    axis = node.attrs["axis"]
    kept = [value for value in node.inputs if value.type.shape[axis] != 0]
    if not kept or len(kept) == len(node.inputs):
        return None
    return build(concat, *kept, axis=axis)


_LOGIC: dict[Op, tuple[Rule, ...]] = {
    logical_not: (not_not, not_comparison),
    bitwise_not: (not_not,),
    logical_and: (number_second, and_known),
    bitwise_and: (number_second, and_known),
    logical_or: (number_second, or_known),
    bitwise_or: (number_second, or_known),
    logical_xor: (number_second, xor_known),
    bitwise_xor: (number_second, xor_known),
    shift_left: (shift_by_nothing,),
    shift_right: (shift_by_nothing,),
    where: (where_known, where_same, where_not),
}
_REDUCTIONS = (reduce_sum, reduce_prod, reduce_max, reduce_min, reduce_any, reduce_all)

RULES = Rules(
    {
        **ALGEBRA,
        **_LOGIC,
        copy: (copy_is_itself,),
        stop_gradient: (gradient_way_is_its_value,),
        straight_through: (gradient_way_is_its_value,),
        cast: (cast_to_itself, cast_of_cast),
        **dict.fromkeys((equal, not_equal, less, less_equal, greater, greater_equal), (compare_itself,)),
        **dict.fromkeys((maximum, minimum), (extreme_of_itself,)),
        **dict.fromkeys((floor, ceil, trunc, round_), (rounded_already,)),
        absolute: (absolute_of_sign,),
        **dict.fromkeys(_REDUCTIONS, (reduce_nothing, reduce_of_reduce)),
        concat: (concat_of_one, concat_of_empty),
    }
)


def simplify(program: Program) -> Program:
    """Applies algebra that keeps every result (see the rules for the few that may change a last bit)."""
    return rewrite(program, RULES, "simplify")
