"""A BLAS of graphc's own: one copy of OpenBLAS that nobody else in the process sees, on one thread.

Preferred is the wheel scipy-openblas32, then a private copy of the OpenBLAS that NumPy brings; where neither can be had,
`library()` is None and GEMMs run on graphc's own kernels (`gemm_kernels.py`). OpenBLAS reads its environment once, while it
is loaded, so what we want of it is put there around the load only. Its own threads beside our pool would cost thirtyfold.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graphc.backends.llvm import host

#: What `Library.addresses` holds.
FUNCTIONS = ("sgemm", "dgemm", "sgemv", "dgemv")

_OF_NUMPY = "NumPy's OpenBLAS"

#: OpenBLAS's cores without 512-bit kernels: what it picks for processors it does not know, AMD's with AVX-512 among them.
LESSER_CORES = frozenset(
    {"haswell", "zen", "sandybridge", "nehalem", "prescott", "excavator", "steamroller", "bulldozer"}
)


@dataclass(frozen=True)
class Library:
    """A loaded BLAS: what it calls itself, the bits of its integers, the addresses of its CBLAS functions."""

    name: str
    core: str
    config: str
    int_bits: int
    addresses: Mapping[str, int]


@dataclass(frozen=True)
class _Candidate:
    """A file that may be an OpenBLAS, and how its symbols are spelled around their usual names."""

    name: str
    path: str
    prefix: str
    suffix: str
    int_bits: int
    shared: bool  # somebody else in the process uses this very file: load a copy of it


@functools.cache
def library() -> Library | None:
    """The BLAS of this process, loaded at the first call; None where there is none."""
    for candidate in _candidates():
        found = _load(candidate)
        if found is not None:
            return found
    return None


def wanted_core() -> str:
    """The core type OpenBLAS shall use, "" for its own choice.

    It knows processors by model number and takes AVX2 kernels for those it does not know.
    """
    if "OPENBLAS_CORETYPE" in os.environ:
        return ""
    return "SkylakeX" if host.machine().vector_bytes == 64 else ""


def one_thread_for_numpy() -> None:
    """NumPy's products use one thread from now on, where it brings an OpenBLAS (what else it may have is left as it is)."""
    for candidate in _candidates():
        if candidate.name == _OF_NUMPY:
            with suppress(OSError, AttributeError):
                _one_thread(ctypes.CDLL(candidate.path, mode=ctypes.RTLD_LOCAL), candidate)


def _one_thread(handle: Any, candidate: _Candidate) -> None:
    getattr(handle, f"{candidate.prefix}openblas_set_num_threads{candidate.suffix}")(1)


def _candidates() -> Iterator[_Candidate]:
    wheel = importlib.util.find_spec("scipy_openblas32")
    for folder in (wheel.submodule_search_locations or ()) if wheel else ():
        for path in sorted(Path(folder, "lib").glob("*scipy_openblas*")):
            if path.is_file():
                yield _Candidate("scipy-openblas32", str(path), "scipy_", "", 32, _is_loaded(str(path)))
    libraries = Path(np.__file__).parent.parent / "numpy.libs"
    for path in sorted(libraries.glob("libscipy_openblas64_*")):
        yield _Candidate(_OF_NUMPY, str(path), "scipy_", "64_", 64, True)
    for path in sorted(libraries.glob("libopenblas64_*")):
        yield _Candidate(_OF_NUMPY, str(path), "", "64_", 64, True)


def _is_loaded(path: str) -> bool:
    """Whether the process has this file mapped already; False where the system does not tell."""
    try:
        return os.path.realpath(path) in Path("/proc/self/maps").read_text()
    except OSError:
        return False


def _load(candidate: _Candidate) -> Library | None:
    """The candidate's functions, called once to see that they work; None if they cannot be had."""
    try:
        found = _open(candidate, candidate.shared)
        if found.core.lower() in LESSER_CORES and wanted_core():
            # Somebody loaded the file between our look and our load: a copy reads the environment again.
            found = _open(candidate, shared=True)
    except (OSError, AttributeError):
        return None
    return found


def _open(candidate: _Candidate, shared: bool) -> Library:
    """Loads the file, or a nameless copy of it, which the loader takes for another library; OSError, AttributeError."""
    with _environment(OPENBLAS_NUM_THREADS="1", OPENBLAS_CORETYPE=wanted_core()):
        handle = ctypes.CDLL(_copy(candidate.path) if shared else candidate.path, mode=ctypes.RTLD_LOCAL)

    def text(name: str) -> str:
        function = getattr(handle, f"{candidate.prefix}openblas_{name}{candidate.suffix}")
        function.restype = ctypes.c_char_p
        return str(function().decode())

    _one_thread(handle, candidate)
    addresses = {}
    for name in FUNCTIONS:
        function = getattr(handle, f"{candidate.prefix}cblas_{name}{candidate.suffix}")
        addresses[name] = ctypes.cast(function, ctypes.c_void_p).value or 0
    return Library(candidate.name, text("get_corename"), text("get_config"), candidate.int_bits, addresses)


@contextmanager
def _environment(**wanted: str) -> Iterator[None]:
    """Sets environment variables (those that are not ""), and puts back what was there."""
    before = {name: os.environ.get(name) for name, value in wanted.items() if value}
    os.environ.update({name: wanted[name] for name in before})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _copy(path: str) -> str:
    """The path of a nameless copy of a file in memory; OSError where the system has none.

    The descriptor stays open: the loader remembers libraries by path, and this path must never mean another file.
    """
    if not sys.platform.startswith("linux"):
        raise OSError("no nameless files on this system")
    target = os.memfd_create("graphc-blas", os.MFD_CLOEXEC)
    source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        left = os.fstat(source).st_size
        while left:
            left -= os.sendfile(target, source, None, left)
    finally:
        os.close(source)
    return f"/proc/self/fd/{target}"


__all__ = ["FUNCTIONS", "Library", "library", "wanted_core"]
