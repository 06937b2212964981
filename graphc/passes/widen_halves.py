"""What adds up many half-precision numbers does so in float32, where processors have no arithmetic of their own for them."""

from __future__ import annotations

from graphc.core.scalar import is_half
from graphc.core.tensor_types import float32
from graphc.ir.program import Node, Program
from graphc.passes.rewrite import Build, Replacement, Rules, rewrite
from graphc.primitives.arithmetic import cast
from graphc.primitives.contraction import matmul
from graphc.primitives.cumulative import (
    cumulative_logsumexp,
    cumulative_max,
    cumulative_min,
    cumulative_prod,
    cumulative_sum,
    linear_recurrence,
)
from graphc.primitives.indexing import index_put, scatter_add


def widen(node: Node, build: Build) -> Replacement:
    """op(a, ...) of halves => cast(op(cast(a), ...))"""
    dtype = node.outputs[0].dtype
    if not is_half(dtype) or not node.attrs.get("accumulate", True):
        return None
    wide = [build(cast, x, dtype=float32) if is_half(x.dtype) else x for x in node.inputs]
    return build(cast, build(node.op, *wide, **node.attrs), dtype=dtype)


RULES = Rules(
    dict.fromkeys(
        (
            *(matmul, scatter_add, index_put, linear_recurrence),
            *(cumulative_sum, cumulative_prod, cumulative_max, cumulative_min, cumulative_logsumexp),
        ),
        (widen,),
    )
)


def widen_halves(program: Program) -> Program:
    """Casts the half-precision operands of products, scatters and running folds to float32, and their results back."""
    return rewrite(program, RULES, "widen_halves")
