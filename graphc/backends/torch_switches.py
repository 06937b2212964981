"""`torch.backends.*`: switches of libraries that are not here. They can be asked and set, and change nothing.

Each is a module of its own (`import graphc.backends.cudnn`), made here and not by a file, so that this folder holds
backends only.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType, SimpleNamespace
from typing import Any


def _no() -> bool:
    return False


def _unknown() -> None:
    return None


def _flags(**switches: Any) -> AbstractContextManager[None]:
    """A context in which nothing is different."""
    return nullcontext()


def _switches(name: str, **values: Any) -> ModuleType:
    """A module `graphc.backends.name` with these attributes, `is_available` and `is_built`."""
    module = ModuleType(
        f"graphc.backends.{name}", f"`torch.backends.{name}`: it is not here; its switches change nothing."
    )
    module.__dict__.update(is_available=_no, is_built=_no, **values)
    sys.modules[module.__name__] = module
    return module


cudnn = _switches(
    "cudnn",
    enabled=True,
    benchmark=False,
    benchmark_limit=10,
    deterministic=False,
    allow_tf32=True,
    version=_unknown,
    flags=_flags,
)
cuda = _switches("cuda", matmul=SimpleNamespace(allow_tf32=False, allow_fp16_reduced_precision_reduction=True))
mkl = _switches("mkl")
mkldnn = _switches("mkldnn", enabled=True, deterministic=False, flags=_flags)
mps = _switches("mps")
openmp = _switches("openmp")

__all__ = ["cuda", "cudnn", "mkl", "mkldnn", "mps", "openmp"]
