"""The FLOP rate of an OpenCL device: fused multiply-adds of vectors, in chains that do not wait for each other.

    python benchmarks/opencl_peak.py

Prints floating-point operations a second, the best of some widths of vectors and numbers of chains.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from graphc.backends.opencl.devices import Device, device

#: The length of a chain.
STEPS = 1 << 14
WIDTHS, CHAINS = (4, 8, 16), (8, 12)
TRIES = 20


def text(width: int, chains: int, items: int) -> str:
    """Each item does so many chains x = a x + b; their sum is stored, lest a compiler leaves them out."""
    kind, names = f"f32x{width}", [f"x{n}" for n in range(chains)]
    starts = "".join(f"  {kind} {x} = ({kind})(b + {n}.0f);\n" for n, x in enumerate(names))
    steps = "".join(f"    {x} = fma({x}, ({kind})(a), ({kind})(b));\n" for x in names)
    return (
        f"KERNEL({items}) chains(GLOBAL f32 *out, const f32 a, const f32 b) {{\n{starts}"
        f"  for (int i = 0; i < {STEPS}; ++i) {{\n{steps}  }}\n"
        f"  const {kind} sum = {' + '.join(names)};\n"
        f"  out[GROUP * {items} + ITEM] = {' + '.join(f'sum.s{n:x}' for n in range(width))};\n}}\n"
    )


def prepared(found: Device, width: int, chains: int) -> tuple[Any, Any, int]:
    """A kernel that can be started, the buffer of its items' sums, and how many there are."""
    items, groups = (1, 16 * found.target.units) if found.target.vector else (256, 8 * found.target.units)
    program = found.build(found.dialect.head + text(width, chains, items))
    kernel, sums = found.kernel(program, "chains", groups, items, 3), found.alloc(4 * groups * items)
    kernel.set_buffer(0, sums)
    kernel.set_word(1, np.float32(0.75))
    kernel.set_word(2, np.float32(0.25))
    return kernel, sums, groups * items


def rate(found: Device, width: int, chains: int) -> float:
    """FLOPs a second of one kind of kernel, the best of some tries."""
    kernel, _, items = prepared(found, width, chains)
    best = float("inf")
    for _ in range(TRIES):
        before = time.perf_counter()
        kernel.start()
        found.finish()
        best = min(best, time.perf_counter() - before)
    return 2.0 * width * chains * STEPS * items / best


if __name__ == "__main__":
    opened = device()
    print(max(rate(opened, width, chains) for width in WIDTHS for chains in CHAINS))
