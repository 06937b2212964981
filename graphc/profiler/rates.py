"""How fast this machine multiplies and copies at best, and what steps take at least by that.

Measured once for each machine and device, by programs of graphc's own whose steps time themselves: square products of several
sizes for arithmetic, and for memory, sizes from a small cache's to far beyond all caches, an elementwise negation, which reads
and writes each byte once. The least time of several runs counts. Kept in the disk cache.
"""

from __future__ import annotations

import json
import math
import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.backends import find_backend
from graphc.core.errors import BackendError
from graphc.core.lazy import lazy_import
from graphc.core.tensor_types import DType, TensorType, float32, float64
from graphc.executable import Built
from graphc.ir.program import Program, Table
from graphc.primitives.arithmetic import negate
from graphc.primitives.contraction import matmul

disk = lazy_import("graphc.backends.llvm.cache")
host = lazy_import("graphc.backends.llvm.host")
pool = lazy_import("graphc.backends.llvm.pool")

#: Rows of square products; bytes moved by copies.
_ROWS, _BYTES = (256, 1024), tuple(1 << n for n in range(13, 28, 2))
#: Each is repeated at least so often and so long.
_RUNS, _SECONDS = 7, 0.03


@dataclass(frozen=True)
class Rates:
    """FLOPs in a nanosecond by dtype, and bytes in a nanosecond for numbers of bytes moved, which increase."""

    flops: dict[str, float]
    copies: tuple[tuple[int, float], ...]

    def copy_rate(self, nbytes: int) -> float:
        """The rate for so many bytes, between those measured by the logarithm of the size."""
        sizes = [size for size, _ in self.copies]
        at = bisect_left(sizes, nbytes)
        if at in (0, len(sizes)):
            return self.copies[min(at, len(sizes) - 1)][1]
        (a, low), (b, high) = self.copies[at - 1], self.copies[at]
        return low + (high - low) * math.log(nbytes / a) / math.log(b / a)

    def floor_ns(self, flops: int, nbytes: int, dtype: str = "f32") -> int:
        """Nanoseconds that arithmetic or memory takes at least, whichever takes longer; they can overlap."""
        by_flops = flops / self.flops.get(dtype, max(self.flops.values()))
        return round(max(by_flops, nbytes / self.copy_rate(nbytes) if nbytes else 0.0))


_KNOWN: dict[str, Rates] = {}


def rates_of(backend: str) -> Rates:
    """The rates of the machine (for the device that a backend compiles for), measured now if nobody has before."""
    name = backend if backend in ("opencl", "cuda") else "llvm"
    found: Any = find_backend(name)
    key = f"rates of {found.device(0).identity if hasattr(found, 'device') else machine_name()}"
    if key not in _KNOWN:
        kept = disk.get(key)
        if kept is None:
            kept = json.dumps(_measured(name)).encode()
            disk.put(key, kept, f"{name}: rates of products and copies")
        data = json.loads(kept)
        _KNOWN[key] = Rates(data["flops"], tuple((n, rate) for n, rate in data["copies"]))
    return _KNOWN[key]


def machine_name() -> str:
    """What tells this machine's rates from another's: the processor, and how many threads there are."""
    return f"{host.machine()}, {pool.get_num_threads()} threads"


def _measured(backend: str) -> dict[str, Any]:
    flops = {}
    for dtype in (float32, float64):
        try:
            flops[dtype.short] = max(2 * n**3 / _product_ns(backend, n, dtype) for n in _ROWS)
        except BackendError:  # a device without float64
            continue
    copies = [(n, n / _copy_ns(backend, n)) for n in _BYTES]
    return {"flops": flops, "copies": copies}


def _product_ns(backend: str, n: int, dtype: DType) -> float:
    table, type_ = Table(), TensorType((n, n), dtype)
    a, b = table.input("a", type_), table.input("b", type_)
    out = table.node(matmul, (a, b), {"transpose_a": False, "transpose_b": False}, lambda: [type_])
    return _least(backend, Program(table, (a, b), out.outputs), [np.ones((n, n), dtype.np)] * 2)


def _copy_ns(backend: str, nbytes: int) -> float:
    table, type_ = Table(), TensorType((nbytes // 8,), float32)  # half of them read, half written
    x = table.input("x", type_)
    out = table.node(negate, (x,), {}, lambda: [type_])
    return _least(backend, Program(table, (x,), out.outputs), [np.ones(nbytes // 8, np.float32)])


def _least(backend: str, program: Program, arrays: Sequence[Any]) -> float:
    """The least time of all steps of a run together."""
    executable = Built(program, {}, backend).executable([a.shape for a in arrays])
    least = math.inf
    with executable.measured() as mark:
        runs, end = 0, time.perf_counter() + _SECONDS
        while runs < _RUNS or time.perf_counter() < end:
            executable(arrays)
            least, runs = min(least, sum(mark()())), runs + 1
    return max(least, 1.0)


__all__ = ["Rates", "machine_name", "rates_of"]
