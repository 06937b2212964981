"""Runs a product on NumPy arrays, part after part, for the tests of GEMM."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np

from graphc.backends.llvm import blas, host
from graphc.backends.llvm.gemm import Gemm, Matrix, Way, choose, words

TASK = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


@cache
def loaded(module: str, symbol: str, machine: host.Machine) -> Any:
    """A task function; its code stays loaded with it."""
    code = host.load_object(host.compile_module(module, machine))
    function = TASK(code.address(symbol))
    function.code = code
    return function


def matrix(slot: int, array: np.ndarray) -> Matrix:
    """An array's last two axes, behind its batch axes."""
    *batch, row, column = (stride // array.itemsize for stride in array.strides)
    return Matrix(slot, 0, row, column, tuple(batch))


def described(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray | None = None, **scales: Any) -> Gemm:
    """The product of A (slot 1) and B (slot 2) into C (slot 3), with D in slot 4 if there is one; batch axes broadcast."""
    batch = c.shape[:-2]
    if d is not None:
        scales["d"] = matrix(4, np.broadcast_to(d, c.shape))
    a = np.broadcast_to(a, (*batch, *a.shape[-2:]))
    b = np.broadcast_to(b, (*batch, *b.shape[-2:]))
    operands = matrix(1, a), matrix(2, b), matrix(3, c)
    return Gemm(c.dtype.name, *c.shape[-2:], a.shape[-1], *operands, batch, **scales)


def aligned(count: int) -> np.ndarray:
    """Bytes at an address that is a multiple of 64, filled with what no result may depend on."""
    room = np.full(count + 64, 255, np.uint8)
    start = -room.ctypes.data % 64
    return room[start : start + count]


def run(
    gemm: Gemm,
    arrays: list[np.ndarray],
    threads: int = 1,
    machine: host.Machine | None = None,
    library: blas.Library | None = None,
    way: Way | None = None,
) -> Way:
    """Computes the product; `arrays` stand in slots 1, 2, ..., the working memory in slot 0."""
    machine = machine or host.machine()
    way = way or choose(gemm, threads, machine, lambda: library)
    guard = 256
    scratch = aligned(way.total_scratch + guard)
    table = np.array([scratch.ctypes.data, *(x.ctypes.data for x in arrays)], np.uint64)
    args = np.array(words(gemm, way, machine, (0, 0)), np.int64)
    function = loaded(way.module, way.symbol, machine)
    for begin, end in reversed(way.borders):
        assert function(table.ctypes.data, args.ctypes.data, begin, end) == 0
    assert (scratch[-guard:] == 255).all(), "wrote behind its working memory"
    return way
