"""Backends compile a program for a machine. They load when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from graphc.backends.torch_switches import cuda, cudnn, mkl, mkldnn, mps, openmp
from graphc.core.errors import BackendError
from graphc.core.lazy import lazy_import
from graphc.ir.program import Program


class Executable(Protocol):
    """A compiled program: call it with one array per input, get one new array per output.

    One that can tell more of itself has `describe(times=None) -> dict`, its plan as plain data, `timed(arrays) -> list[int]`,
    nanoseconds of each step of a run that changes nothing (`gc.explain` shows both), and `measured()`, within which runs are
    measured: a context manager that gives `mark()`, which ends a stretch of runs and gives what tells the nanoseconds of each
    step (for `gc.profile`). What runs on a device takes `memory` for arrays of its own, in calls and in `timed`.
    """

    peak: int

    def __call__(self, arrays: Sequence[Any]) -> list[Any]:
        """Runs the program; several threads may call one executable at once."""

    @property
    def steps(self) -> str:
        """The steps as text."""


class Backend(Protocol):
    """What every backend offers."""

    name: str
    #: whether it joins ops into kernels: such a backend gets programs that were prepared for that
    fuses: bool

    def compile(self, program: Program, updates: Mapping[int, int] | None = None) -> Executable:
        """An executable for a program whose sizes are numbers; BackendError where the backend cannot do what it asks.

        `updates`: output number -> number of an input that this output replaces. The executable may write it over that input's
        array, when nothing can fail any more, and give back that array. A backend that has `checks_nans = True` also takes
        `check_nans`: whether a run raises NonFiniteError for the first op that makes a NaN or an infinity of finite operands.
        """


_LOADERS: dict[str, Callable[[], Backend]] = {}
_LOADED: dict[str, Backend] = {}


def register_backend(name: str, load: Callable[[], Backend]) -> None:
    """Makes a backend known; `load` is called when it is first asked for."""
    _LOADERS[name] = load
    _LOADED.pop(name, None)


def backend_names() -> list[str]:
    """The names of the backends there are."""
    return list(_LOADERS)


def find_backend(name: str) -> Backend:
    """The backend of that name, loaded now if it was not; BackendError lists those there are."""
    found = _LOADED.get(name)
    if found is None:
        if name not in _LOADERS:
            raise BackendError(f"no backend is called {name!r}: there are {', '.join(_LOADERS)}")
        found = _LOADED[name] = _LOADERS[name]()
    return found


def device_count(kind: str) -> int:
    """How many devices of a kind ("cuda", "opencl") there are; 0 also where its driver cannot be asked."""
    backend: Any = find_backend(kind)
    try:
        found: int = backend.count()
    except BackendError:
        return 0
    return found


def _load_llvm() -> Backend:
    _common.prepare()  # compiles, if it must, while Python imports the rest
    return _llvm.LlvmBackend()


_numpy = lazy_import("graphc.backends.numpy_backend")
_common = lazy_import("graphc.backends.llvm.common")
_llvm = lazy_import("graphc.backends.llvm.backend")
_opencl = lazy_import("graphc.backends.opencl.backend")
_nvidia = lazy_import("graphc.backends.nvidia.backend")
_null = lazy_import("graphc.backends.null_backend")
register_backend("numpy", lambda: _numpy.NumpyBackend())
register_backend("llvm", _load_llvm)
register_backend("opencl", lambda: _opencl.OpenClBackend())
register_backend("cuda", lambda: _nvidia.CudaBackend())
register_backend("null", lambda: _null.NullBackend())

__all__ = [
    "Backend", "Executable", "backend_names", "cuda", "cudnn", "device_count", "find_backend", "mkl", "mkldnn", "mps", "openmp",
    "register_backend",
]  # fmt: skip
