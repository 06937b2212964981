"""The code that programs share whatever they compute: the runtime, matrix products, convolutions' chains."""

from __future__ import annotations

from collections.abc import Iterator

from graphc.backends.llvm import blas, chains, gemm_kernels, gemm_library
from graphc.backends.llvm.host import machine
from graphc.backends.llvm.native_code import begin, code
from graphc.backends.llvm.runtime import host_text


def texts() -> Iterator[tuple[str, str]]:
    """Label and LLVM IR of each."""
    target, library = machine(), blas.library()
    yield "runtime", host_text()
    for dtype in ("float32", "float64"):
        yield f"large products of {dtype}", gemm_kernels.module(dtype, target, copies=True)
        yield f"small products of {dtype}", gemm_kernels.module(dtype, target, copies=False)
        if library is not None:
            yield f"{library.name} for {dtype}", gemm_library.module(dtype, target, library.int_bits)
    yield "chains of convolutions", chains.module(target)


def prepare() -> None:
    """Begins to compile the runtime where it is not on the disk: every program needs it, and much can be done meanwhile.

    Then nothing else is there either, and so are large products begun, whose text takes LLVM longer than any other.
    """
    if begin(host_text()):
        begin(gemm_kernels.module("float32", machine(), copies=True))


def warm() -> None:
    """Compiles them all, as many at once as there are CPUs; what is on the disk already is left."""
    wanted = list(texts())
    for _, text in wanted:
        begin(text)
    for label, text in wanted:
        code(text, label)


__all__ = ["prepare", "texts", "warm"]
