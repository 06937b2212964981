"""What tests need of the device on which tensors are made (`GRAPHC_DEVICE`)."""

from __future__ import annotations

from typing import Any

import pytest

import graphc as gc
from graphc import config

#: The kind of the device on which tensors are made.
KIND = gc.get_default_device().type
#: The backend that compiles for it, and the language of its kernels.
BACKEND, LANGUAGE = {"cpu": ("llvm", "LLVM IR"), "opencl": ("opencl", "OpenCL C"), "cuda": ("cuda", "CUDA C")}[KIND]
#: What the code of each of its kernels begins with.
KERNEL_WORD = "define i64" if KIND == "cpu" else "KERNEL"
#: What eager code takes for a linear layer.
PRODUCT = "matmul" if KIND == "cpu" else "linear"


def here(array: Any) -> Any:
    """An array as a tensor where tensors are made, with its order in memory."""
    return gc.from_numpy(array).to(gc.get_default_device())


#: For tests of what only tensors on the host have: memory that NumPy arrays share.
shares_memory_with_numpy = pytest.mark.skipif(
    config.device != "cpu", reason="tensors of a device share no memory with NumPy arrays"
)
#: For tests of entries, regions, and the costs that eager code on the host counts.
runs_natively = pytest.mark.skipif(
    config.device != "cpu", reason="a device has no native runs: no entries, no regions side by side, no costs counted"
)
#: For tests of work that is done in forked processes.
works_in_forks = pytest.mark.skipif(
    config.device != "cpu", reason="a device that is in use does not work in forked processes"
)
#: For tests of the places of elements in memory, which eager code on the host takes over from operands.
keeps_memory_order = pytest.mark.skipif(
    config.device != "cpu", reason="a device keeps no gaps between elements, and its eager results lie row by row"
)
#: For tests of an error that processors raise.
raises_for_division_by_zero = pytest.mark.skipif(
    config.device != "cpu", reason="a device divides an integer by zero and gives a number"
)
#: For tests of what is printed of tensors, to the letter.
prints_no_device = pytest.mark.skipif(config.device != "cpu", reason="tensors of a device print its name")
