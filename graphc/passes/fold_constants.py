"""Constant folding: what needs no input is computed once, here.

Small results become constants. A result whose elements are all one number stays a `full`, whatever its size, so that views
and elementwise ops of filled tensors vanish without taking memory. Random, control and opaque ops are never folded, and
nothing that raises is: the error belongs to the run.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.core.config import config
from graphc.core.dims import Dim, is_static
from graphc.core.op import Kind
from graphc.core.quiet import quiet, quiet_reset, quiet_set
from graphc.core.tensor_types import type_of_array
from graphc.ir.program import CONSTANT, Node, Program, Value
from graphc.passes.rewrite import Build, Replacement, Rules, rewrite
from graphc.passes.splats import filled, splat
from graphc.primitives.creation import full, size

_NEVER = {Kind(name) for name in ("random", "control", "opaque", "collective", "effect", "create", "leaf")}


def _evaluated(node: Node, arrays: list[Any]) -> tuple[Any, ...] | None:
    """The node's results on these arrays, None where it raises."""
    token = quiet_set(quiet)
    try:
        result = node.op.eval(*arrays, **node.attrs)
    except Exception:
        return None
    finally:
        quiet_reset(token)
    return (result,) if node.op.n_outputs == 1 else tuple(result)


def _small(value: Value) -> bool:
    nbytes: Any = value.type.nbytes
    return is_static(value.type.shape) and nbytes <= config.largest_fold


def _is_known(value: Value) -> bool:
    op = value.node.op
    return op is CONSTANT or (op is full and _small(value))


def _elements(value: Value) -> Any:
    node = value.node
    return node.attrs["data"].array if node.op is CONSTANT else full.eval(**node.attrs)


def size_of_number(node: Node, build: Build) -> Replacement:
    """size(dim=3) => constant 3"""
    dim = node.attrs["dim"]
    return None if isinstance(dim, Dim) else build(full, shape=(), value=dim, dtype=node.outputs[0].dtype)


def view_of_full(node: Node, build: Build) -> Replacement:
    """view(full(v)) => full(v) of the view's type"""
    (x,) = node.inputs
    if x.node.op is not full:
        return None
    return filled(build, node.outputs[0].type, x.node.attrs["value"])


def elementwise_of_fulls(node: Node, build: Build) -> Replacement:
    """f(full(a), full(b)) => full(f(a, b))"""
    numbers = []
    for value in node.inputs:
        number = splat(value)
        if number is None:
            return None
        numbers.append(np.asarray(number).astype(value.dtype.np))
    found = _evaluated(node, numbers)
    return None if found is None else filled(build, node.outputs[0].type, np.asarray(found[0]))


def known_operands(node: Node, build: Build) -> Replacement:
    """f(constants) => constant"""
    for value in node.inputs:
        if not _is_known(value):
            return None
    if not node.inputs or node.op.kind in _NEVER or not all(map(_small, node.outputs)):
        return None
    results = _evaluated(node, [_elements(value) for value in node.inputs])
    if results is None:
        return None
    arrays = [np.array(result) for result in results]
    if [type_of_array(a) for a in arrays] != [value.type for value in node.outputs]:
        return None
    return tuple([build.constant(array) for array in arrays])


RULES = Rules(
    {size: (size_of_number,)},
    elementwise=(elementwise_of_fulls, known_operands),
    views=(view_of_full, known_operands),
    others=(known_operands,),
)


def fold_constants(program: Program) -> Program:
    """Computes what needs no input, up to `config.largest_fold` bytes a result."""
    return rewrite(program, RULES, "fold_constants")
