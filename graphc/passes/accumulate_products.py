"""Sums with a matrix product are made where the product is: a bias, a running sum, `w - lr * (x.T @ g)`.

What a product is added to is read where its result is written, so that neither the product nor its sum passes through
memory once more; a gradient that is used once, by the step that subtracts it, is never stored.
"""

from __future__ import annotations

from graphc.core.op import Kind, View
from graphc.core.tensor_types import float32, float64
from graphc.ir.program import Node, Program, Value
from graphc.passes.rewrite import Build, Replacement, Rules, rewrite
from graphc.primitives.arithmetic import add, cast, multiply, subtract
from graphc.primitives.contraction import matmul, matmul_add
from graphc.primitives.creation import full

_IN_MEMORY = (Kind("leaf"), Kind("contraction"), Kind("convolution"), Kind("control"))


def _is_in_memory(value: Value) -> bool:
    """Whether the value, or what it is a view of, is stored whatever becomes of the sum."""
    while isinstance(value.node.op.kind, View):
        value = value.node.inputs[0]
    return value.node.op.kind in _IN_MEMORY


def _scaled(value: Value, build: Build) -> tuple[Value, float, Value | None] | None:
    """A product nobody else reads, the constant and the number it is multiplied with."""
    if build.uses(value) != 1:
        return None
    if value.node.op is matmul:
        return (value, 1.0, None) if value.dtype in (float32, float64) else None
    if value.node.op is not multiply:
        return None
    for factor, x in (value.node.inputs, value.node.inputs[::-1]):
        if x.node.op is not matmul or x.shape != value.shape or build.uses(x) != 1 or x.dtype not in (float32, float64):
            continue
        if factor.node.op is full:
            return x, float(factor.node.attrs["value"]), None
        if factor.shape == ():
            wide = factor.node.op is cast and factor.node.inputs[0].dtype is float64
            return x, 1.0, factor.node.inputs[0] if wide else factor
    return None


def _sum(node: Node, c: Value, term: Value, sign: float, build: Build) -> Value | None:
    """c + sign * term as one node, where term is a product and c is in memory."""
    found = _scaled(term, build)
    if found is None or not _is_in_memory(c) or c is term or not c.shape:
        return None
    product, constant, scale = found
    if product.shape != node.outputs[0].shape or product.shape[-1] != c.shape[-1]:
        return None
    operands = (*product.node.inputs, c, *(() if scale is None else (scale,)))
    return build.joined(product.node, matmul_add, *operands, **product.node.attrs, alpha=sign * constant)


def add_product(node: Node, build: Build) -> Replacement:
    """add(c, multiply(s, matmul(a, b))) => matmul_add(a, b, c, s), if nothing else reads the product"""
    x, y = node.inputs
    return _sum(node, x, y, 1.0, build) or _sum(node, y, x, 1.0, build)


def subtract_product(node: Node, build: Build) -> Replacement:
    """subtract(c, multiply(s, matmul(a, b))) => matmul_add(a, b, c, s, alpha=-1.0), if nothing else reads the product"""
    x, y = node.inputs
    return _sum(node, x, y, -1.0, build)


RULES = Rules({add: (add_product,), subtract: (subtract_product,)})


def accumulate_products(program: Program) -> Program:
    """Has matrix products add themselves to what they are summed with."""
    return rewrite(program, RULES, "accumulate_products")
