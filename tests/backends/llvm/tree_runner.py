"""Scalar trees compiled into loops over arrays."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from graphc.backends.llvm.emit import Module
from graphc.backends.llvm.host import Code, Machine, compile_module, load_object, machine
from graphc.backends.llvm.registers import memory_type, to_memory, to_register
from graphc.backends.llvm.scalars import print_trees
from graphc.core import scalar as s
from graphc.core.tensor_types import DType


def module_text(trees: Sequence[s.Scalar], dtypes: Sequence[DType], lanes: int, target: Machine) -> str:
    """A module whose function `run(inputs..., outputs..., count)` computes trees of arrays, `lanes` elements a turn."""
    module = Module(target)
    names = [f"x{i}" for i in range(len(dtypes))] + [f"y{i}" for i in range(len(trees))]
    f = module.function("run", [*(("ptr noalias", n) for n in names), ("i64", "count")])
    with f.loop("0", "%count", lanes) as turn:

        def place(name: str, dtype: DType) -> str:
            return f.let(f"getelementptr {memory_type(dtype, 1)}, ptr %{name}, i64 {turn.index}")

        def leaf(x: s.Scalar) -> str:
            where = place(f"x{x.value}", x.dtype)
            loaded = f.let(f"load {memory_type(x.dtype, lanes)}, ptr {where}, align {x.dtype.itemsize}")
            return to_register(f, loaded, x.dtype, lanes)

        def index(axis: int) -> str:
            return turn.index if lanes == 1 else vector_index(f, turn.index, lanes)

        for i, (tree, value) in enumerate(zip(trees, print_trees(f, trees, lanes, leaf, index), strict=True)):
            stored = to_memory(f, value, tree.dtype, lanes)
            where = place(f"y{i}", tree.dtype)
            f.do(f"store {memory_type(tree.dtype, lanes)} {stored}, ptr {where}, align {tree.dtype.itemsize}")
    f.do("ret void")
    return module.text()


def vector_index(f: Any, start: str, lanes: int) -> str:
    """start, start + 1, ... as a vector."""
    one = f.let(f"insertelement <{lanes} x i64> poison, i64 {start}, i64 0")
    all_ = f.let(f"shufflevector <{lanes} x i64> {one}, <{lanes} x i64> poison, <{lanes} x i32> zeroinitializer")
    steps = ", ".join(f"i64 {i}" for i in range(lanes))
    return f.let(f"add <{lanes} x i64> {all_}, <{steps}>")


def compiled(trees: Sequence[s.Scalar], dtypes: Sequence[DType], lanes: int, target: Machine) -> Code:
    return load_object(compile_module(module_text(trees, dtypes, lanes, target), target))


@lru_cache(maxsize=64)
def _function(trees: tuple[s.Scalar, ...], dtypes: tuple[DType, ...], lanes: int, target: Machine) -> Any:
    code = compiled(trees, dtypes, lanes, target)
    kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * (len(dtypes) + len(trees)), ctypes.c_int64)
    function = kind(code.address("run"))
    function.code = code
    return function


def run(
    trees: Sequence[s.Scalar], arrays: Sequence[Any], dtypes: Sequence[DType], lanes: int = 16, target: Any = None
) -> list[Any]:
    """The trees on broadcast arrays."""
    shape = np.broadcast_shapes(*(x.shape for x in arrays)) if arrays else ()
    count = int(np.prod(shape))
    padded = -(-max(count, 1) // lanes) * lanes
    inputs = []
    for x in arrays:
        flat = np.ones(padded, x.dtype)
        flat[:count] = np.broadcast_to(x, shape).reshape(-1)
        inputs.append(flat)
    outputs = [np.empty(padded, tree.dtype.np) for tree in trees]
    function = _function(tuple(trees), tuple(dtypes), lanes, target or machine())
    function(*(a.ctypes.data for a in (*inputs, *outputs)), padded)
    return [y[:count].reshape(shape) for y in outputs]
