"""Transposes folded into contractions: a matrix that is only read transposed is never moved."""

from __future__ import annotations

from graphc.ir.program import Node, Program, Value
from graphc.passes.rewrite import Build, Replacement, Rules, rewrite
from graphc.primitives.contraction import matmul
from graphc.primitives.views import permute


def _swaps_last_two(node: Node) -> bool:
    axes = node.attrs["axes"]
    rank = len(axes)
    return rank >= 2 and axes == (*range(rank - 2), rank - 1, rank - 2)


def _untransposed(value: Value) -> Value | None:
    node = value.node
    return node.inputs[0] if node.op is permute and _swaps_last_two(node) else None


def operand_of_matmul(node: Node, build: Build) -> Replacement:
    """matmul(permute(a), b) => matmul(a, b, transpose_a=True), and so for b"""
    a, b = node.inputs
    flags = dict(node.attrs)
    inner_a, inner_b = _untransposed(a), _untransposed(b)
    if inner_a is None and inner_b is None:
        return None
    if inner_a is not None:
        a, flags["transpose_a"] = inner_a, not flags["transpose_a"]
    if inner_b is not None:
        b, flags["transpose_b"] = inner_b, not flags["transpose_b"]
    return build(matmul, a, b, **flags)


def result_of_matmul(node: Node, build: Build) -> Replacement:
    """permute(matmul(a, b)) => matmul(b, a) of the transposed operands, if nothing else reads the product"""
    (x,) = node.inputs
    if x.node.op is not matmul or build.uses(x) != 1 or not _swaps_last_two(node):
        return None
    a, b = x.node.inputs
    flags = x.node.attrs
    return build(matmul, b, a, transpose_a=not flags["transpose_b"], transpose_b=not flags["transpose_a"])


RULES = Rules({matmul: (operand_of_matmul,), permute: (result_of_matmul,)})


def fold_transposes(program: Program) -> Program:
    """Turns transposes around matrix products into their flags."""
    return rewrite(program, RULES, "fold_transposes")
