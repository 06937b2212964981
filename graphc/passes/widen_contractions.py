"""Products of half-precision matrices are computed in float32, where processors have no arithmetic of their own for them."""

from __future__ import annotations

from graphc.core.scalar import is_half
from graphc.core.tensor_types import float32
from graphc.ir.program import Node, Program
from graphc.passes.rewrite import Build, Replacement, Rules, rewrite
from graphc.primitives.arithmetic import cast
from graphc.primitives.contraction import matmul


def widen(node: Node, build: Build) -> Replacement:
    """matmul(a, b) of halves => cast(matmul(cast(a), cast(b)))"""
    a, b = node.inputs
    if not is_half(a.dtype):
        return None
    wide = [build(cast, x, dtype=float32) for x in (a, b)]
    return build(cast, build(matmul, *wide, **node.attrs), dtype=a.dtype)


RULES = Rules({matmul: (widen,)})


def widen_contractions(program: Program) -> Program:
    """Casts the operands of half-precision products to float32, and their results back."""
    return rewrite(program, RULES, "widen_contractions")
