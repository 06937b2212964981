"""Scalar trees compiled into OpenCL kernels over arrays."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.backends.c_like.heads import OPENCL
from graphc.backends.c_like.scalars import memory_type, print_trees, register_type, to_memory
from graphc.backends.c_like.writing import Source
from graphc.backends.opencl.devices import cl, device
from graphc.core import scalar as s
from graphc.core.tensor_types import DType, bool_

ITEMS = 64


@functools.lru_cache(maxsize=64)
def program(trees: tuple[s.Scalar, ...], dtypes: tuple[DType, ...]) -> Any:
    source = Source()
    arguments = [f"GLOBAL const {memory_type(d)} *x{i}" for i, d in enumerate(dtypes)]
    arguments += [f"GLOBAL {memory_type(t.dtype)} *y{i}" for i, t in enumerate(trees)]
    with source.function(f"KERNEL({ITEMS}) run({', '.join(arguments)}, const i32 count)") as f:
        f.do(f"const i32 i = GROUP * {ITEMS} + ITEM")
        f.do("if (i >= count) return")

        def leaf(x: s.Scalar) -> str:
            return f.let(register_type(x.dtype), f"x{x.value}[i]" + (" != 0" if x.dtype is bool_ else ""))

        for n, (tree, value) in enumerate(zip(trees, print_trees(f, trees, leaf, lambda _: "(i64)i"), strict=True)):
            f.do(f"y{n}[i] = {to_memory(value, tree.dtype)}")
    return device().build(source.text(OPENCL))


def run(trees: Sequence[s.Scalar], arrays: Sequence[Any], dtypes: Sequence[DType]) -> list[Any]:
    """The trees' values on the first OpenCL device."""
    here, flags, count = device(), cl.mem_flags, arrays[0].size
    inputs = [np.ascontiguousarray(a).reshape(-1).view(np.uint8) for a in arrays]
    buffers = [cl.Buffer(here.context, flags.READ_ONLY | flags.COPY_HOST_PTR, hostbuf=a) for a in inputs]
    outputs = [np.empty(count, t.dtype.np) for t in trees]
    buffers += [cl.Buffer(here.context, flags.WRITE_ONLY, y.nbytes) for y in outputs]
    kernel = cl.Kernel(program(tuple(trees), tuple(dtypes)), "run")
    kernel(here.queue, (-(-count // ITEMS) * ITEMS,), (ITEMS,), *buffers, np.int32(count))
    for y, buffer in zip(outputs, buffers[len(inputs) :], strict=True):
        cl.enqueue_copy(here.queue, y.view(np.uint8), buffer)
    return outputs
