"""The native runtime: loaded once, and linked to libc and to Python.

The thread pool (pool.ll), the runner (runner.ll) and what Python calls (entry.ll, launcher.ll) are all LLVM IR, so that
neither installing nor running needs a C compiler. The object needs no outside symbol: addresses of libc's and Python's
functions are written into its tables after loading.
"""

from __future__ import annotations

import ctypes
import functools
import platform
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from graphc.backends.llvm.host import machine
from graphc.backends.llvm.native_code import code

_WINDOWS = sys.platform == "win32"

#: The number of the futex system call.
FUTEX = {"x86_64": 202, "aarch64": 98, "riscv64": 98}

#: Tells the processor that a thread spins.
_RELAX = {
    "x86_64": ("llvm.x86.sse2.pause()", "llvm.x86.sse2.pause()"),
    "aarch64": ("llvm.aarch64.hint(i32)", "llvm.aarch64.hint(i32 1)"),
    "arm64": ("llvm.aarch64.hint(i32)", "llvm.aarch64.hint(i32 1)"),
}

#: Nanoseconds since some moment. Windows counts hundreds of them.
_POSIX_CLOCK = """
define internal i64 @now() {
  %time = alloca { i64, i64 }, align 8
  %clock = load ptr, ptr @graphc_clock
  %id = load i64, ptr @graphc_clock_id
  %id.int = trunc i64 %id to i32
  %ignored = call i32 %clock(i32 %id.int, ptr %time)
  %rest.at = getelementptr { i64, i64 }, ptr %time, i64 0, i32 1
  %seconds = load i64, ptr %time
  %rest = load i64, ptr %rest.at
  %whole = mul i64 %seconds, 1000000000
  %sum = add i64 %whole, %rest
  ret i64 %sum
}
"""
_WINDOWS_CLOCK = """
define internal i64 @now() {
  %time = alloca i64, align 8
  %clock = load ptr, ptr @graphc_clock
  call void %clock(ptr %time)
  %hundreds = load i64, ptr %time
  %nanoseconds = mul i64 %hundreds, 100
  ret i64 %nanoseconds
}
"""

#: Names in the .ll files -> functions of Python's C interface. None of them is newer than Python 3.11.
_PYTHON = {
    "save_thread": "PyEval_SaveThread",
    "restore_thread": "PyEval_RestoreThread",
    "check_signals": "PyErr_CheckSignals",
    "thread_ident": "PyThread_get_thread_ident",
    "call_no_args": "PyObject_CallNoArgs",
    "call_one_arg": "PyObject_CallOneArg",
    "decref": "Py_DecRef",
    "as_pointer": "PyLong_AsVoidPtr",
    "from_pointer": "PyLong_FromVoidPtr",
    "from_integer": "PyLong_FromLongLong",
    "acquire_lock": "PyThread_acquire_lock",
    "release_lock": "PyThread_release_lock",
    "incref": "Py_IncRef",
    "allocate": "PyMem_RawMalloc",
    "free": "PyMem_RawFree",
    "no_memory": "PyErr_NoMemory",
    "bad_argument": "PyErr_BadArgument",
    "from_bytes": "PyBytes_FromStringAndSize",
    "capsule_pointer": "PyCapsule_GetPointer",
}


#: What else has a name here: words of this system, and what the pool and the runner offer.
_NAMES = (
    *_PYTHON,
    *("syscall", "futex", "madvise", "clock", "clock_id", "main_thread", "data_offset", "pool", "caller", "worker"),
    *("install", "dismiss", "forget", "pause", "destroy", "method_run", "method_run_held", "method_launch"),
)


def runtime_text(architecture: str, windows: bool = False) -> str:
    """The IR of the runtime for a processor (`x86_64`, `aarch64`, any other) and a kind of system."""
    folder = Path(__file__).parent
    texts = [
        (folder / name).read_text(encoding="utf-8") for name in ("pool.ll", "runner.ll", "entry.ll", "launcher.ll")
    ]
    if architecture in _RELAX:
        declared, called = _RELAX[architecture]
        relax = f"declare void @{declared}\ndefine internal void @relax() {{\n  call void @{called}\n  ret void\n}}\n"
    else:
        relax = "define internal void @relax() {\n  ret void\n}\n"
    # One table of all addresses: looking up a symbol costs a tenth of a millisecond.
    names = ", ".join(f"ptr @graphc_{name}" for name in _NAMES)
    table = f"@graphc_names = global [{len(_NAMES)} x ptr] [{names}]\n"
    return "\n".join([*texts, relax, _WINDOWS_CLOCK if windows else _POSIX_CLOCK, table])


@functools.cache
def host_text() -> str:
    """The IR of the runtime for the machine we run on."""
    return runtime_text(machine().triple.partition("-")[0], _WINDOWS)


def address_of(function: Any) -> int:
    """The address of a ctypes function."""
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def python_function(name: str, result: Any, *arguments: Any) -> Any:
    """A function of Python's C interface for ctypes, with types of our own: those in `ctypes.pythonapi` are shared."""
    return ctypes.PYFUNCTYPE(result, *arguments)(address_of(getattr(ctypes.pythonapi, name)))


def new_memory(size: int) -> int:
    """The address of zeroed memory that is freed by nobody but native code; raises MemoryError."""
    found = python_function("PyMem_RawCalloc", ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t)(1, size)
    if not found:
        raise MemoryError(f"no {size} bytes")
    return int(found)


def data_offset() -> int:
    """Bytes from an array object to its data pointer: NumPy's structure has it right after the object's head."""
    offset, array = object.__basicsize__, np.zeros(1)
    assert ctypes.c_void_p.from_address(id(array) + offset).value == array.ctypes.data, "an unknown layout of arrays"
    return offset


class Runtime:
    """The loaded runtime. It stays loaded: its workers may outlive everything that Python knows about."""

    def __init__(self) -> None:
        self._code = code(host_text(), "runtime")
        names = (ctypes.c_int64 * len(_NAMES)).from_address(self._code.address("graphc_names"))
        self._addresses = dict(zip(_NAMES, names, strict=True))
        for name, function in _PYTHON.items():
            self.set(name, address_of(getattr(ctypes.pythonapi, function)))
        self._link_system()
        self.set("main_thread", threading.main_thread().ident or 0)
        self.set("data_offset", data_offset())
        self.run = self.method("run")
        self.run_held = self.method("run_held")

    def address(self, name: str) -> int:
        """The address of the function or table `graphc_<name>`."""
        return self._addresses[name]

    def set(self, name: str, value: int) -> None:
        """Writes the word called `graphc_<name>`."""
        ctypes.c_int64.from_address(self.address(name)).value = value

    def function(self, name: str, result: Any, *arguments: Any) -> Any:
        """The native function `graphc_<name>` for ctypes; the GIL stays held."""
        return ctypes.PYFUNCTYPE(result, *arguments)(self.address(name))

    def method(self, name: str, owner: Any = None) -> Any:
        """A new builtin function that runs `graphc_method_<name>` with `owner` as its self."""
        make = python_function(
            "PyCFunction_NewEx", ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p
        )
        return make(self.address(f"method_{name}"), owner, None)

    def _link_system(self) -> None:
        if _WINDOWS:
            library = ctypes.CDLL("kernel32")
            self.set("clock", address_of(library.GetSystemTimePreciseAsFileTime))
        else:
            self.set("clock", address_of(ctypes.CDLL(None).clock_gettime))
            self.set("clock_id", time.CLOCK_MONOTONIC)
        if sys.platform == "linux":
            self.set("madvise", address_of(ctypes.CDLL(None).madvise))


_lock = threading.Lock()


@functools.cache
def _load() -> Runtime:
    return Runtime()


def runtime() -> Runtime:
    """The runtime, loaded at the first call."""
    with _lock:
        return _load()


def has_futex() -> bool:
    """Whether this system has futexes that we know how to call."""
    return sys.platform == "linux" and platform.machine() in FUTEX and hasattr(ctypes.CDLL(None), "syscall")
