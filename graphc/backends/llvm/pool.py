"""The threads of the native run: how many, how they wait, when they start and leave. What they do is in pool.ll.

Workers start at the first region that is worth sharing, again in a child after fork, and leave at exit. They never touch
the interpreter, and no caller ever waits for one that sleeps: a pool that is missing, busy or asleep costs only speed.

Three kinds, `GRAPHC_POOL` chooses: `futex` (Linux), `portable` (the locks that Python itself is built on, on every
system), `serial` (no workers).
"""

from __future__ import annotations

import atexit
import ctypes
import math
import os
import platform
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from graphc.backends.llvm.cpus import available_cpus
from graphc.backends.llvm.runtime import FUTEX, address_of, has_futex, new_memory, python_function, runtime
from graphc.core.config import config
from graphc.core.errors import ArgumentError, BackendError

#: Bytes of a seat and of the head of a block of seats, and where their words stand (pool.ll, %Seat %Workers %Pool).
_SEAT = 128
_LOCK, _SPINS = 8, 16
_WORKERS, _STARTER = 8, 16

#: Idle workers spin this long before they sleep: no wake-up between the steps of a run, no CPU burnt after it.
SPIN_NANOSECONDS = 600_000

#: With more threads than CPUs a spinning thread keeps a working one from running.
CROWDED_SPINS = 50

#: What `PyThread_start_new_thread` returns where the system refuses.
_REFUSED = ctypes.c_ulong(-1).value

KINDS = ("futex", "portable", "serial")


class Pool:
    """The workers of this process. `kind`: one of `KINDS`; `threads`: how many work on a run, the caller counted."""

    def __init__(self, kind: str, threads: int):
        self.kind = kind
        self.threads = threads
        self._native = runtime()
        self._dismiss = self._native.function("dismiss", None, ctypes.c_void_p)
        self._install = self._native.function("install", ctypes.c_int32, ctypes.c_void_p)
        self._forget = self._native.function("forget", None)
        self._lock = threading.Lock()
        self._workers = 0
        # The runtime keeps the address of this bound method.
        self._starter = self._start
        python_function("Py_IncRef", None, ctypes.py_object)(self._starter)
        if kind == "futex":
            self._native.set("futex", FUTEX[platform.machine()])
            self._native.set("syscall", address_of(ctypes.CDLL(None).syscall))
        self._set_up()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)
        atexit.register(self._leave)

    def resize(self, threads: int) -> None:
        """Changes the number of threads, the caller counted; waits for a region that is being run."""
        with self._lock:
            self.threads = threads
            self._replace(0)
            self._set_up()

    @property
    def workers(self) -> int:
        """Workers that have been started."""
        return _word(self._workers).value if self._workers else 0

    def _set_up(self) -> None:
        """Where the caller sleeps, and who starts the workers."""
        caller = self._native.address("caller")
        if self.kind == "portable" and not _word(caller + _LOCK).value:
            _word(caller + _LOCK).value = _new_lock()
        _word(caller + _SPINS).value = self._spins()
        wanted = self.kind != "serial" and self.threads > 1
        _word(self._native.address("pool") + _STARTER).value = id(self._starter) if wanted else 0

    def _start(self) -> None:
        """Starts the workers; called by the first caller who could use them."""
        starter = _word(self._native.address("pool") + _STARTER)
        with self._lock:
            if self._workers or not starter.value:
                return
            starter.value = 0
            block = (new_memory(_SEAT * (self.threads + 1)) + _SEAT - 1) & -_SEAT  # never freed
            try:
                self._hire(block, self.threads - 1)
                self._replace(block if _word(block).value else 0)
            except BaseException:  # Ctrl-C
                self._dismiss(block)
                starter.value = id(self._starter)
                raise

    def _hire(self, block: int, n: int) -> None:
        """Puts a new thread on each seat of the block, on fewer where the system refuses."""
        start = python_function("PyThread_start_new_thread", ctypes.c_ulong, ctypes.c_void_p, ctypes.c_void_p)
        worker, spins = self._native.address("worker"), self._spins()
        with _signals_blocked():
            for i in range(n):
                seat = block + _SEAT * (i + 1)
                _word(seat + _LOCK).value = _new_lock() if self.kind == "portable" else 0
                _word(seat + _SPINS).value = spins
                if start(worker, seat) == _REFUSED:
                    break
                _word(block).value = i + 1

    def _replace(self, workers: int) -> None:
        """Puts other workers in place of those there are, which then leave."""
        while not self._install(workers):
            time.sleep(0.0002)
        if self._workers:
            self._dismiss(self._workers)
        self._workers = workers

    def _spins(self) -> int:
        """How often a waiting thread pauses before it sleeps."""
        if self.threads > available_cpus():
            return CROWDED_SPINS
        return int(SPIN_NANOSECONDS / _pause_nanoseconds())

    def _after_fork(self) -> None:
        """In a forked child no worker lives, and no lock of the parent's means anything."""
        self._lock = threading.Lock()
        self._workers = 0
        self._forget()
        self._native.set("main_thread", threading.get_ident())
        _word(self._native.address("caller") + _LOCK).value = 0
        self._set_up()

    def _leave(self) -> None:
        """At exit: starts no more workers and sends away those there are, without waiting."""
        _word(self._native.address("pool") + _STARTER).value = 0
        if self._workers:
            self._dismiss(self._workers)


def _word(address: int) -> ctypes.c_int64:
    return ctypes.c_int64.from_address(address)


def _new_lock() -> int:
    """One of Python's own locks, taken: acquiring it again waits until somebody releases it."""
    lock = python_function("PyThread_allocate_lock", ctypes.c_void_p)()
    python_function("PyThread_acquire_lock", ctypes.c_int, ctypes.c_void_p, ctypes.c_int)(lock, 1)
    return int(lock)


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Threads started here leave all signals to Python's threads."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@cache
def _pause_nanoseconds() -> float:
    """How long a pause of a spinning thread takes: 1 to 50 ns, it depends on the processor."""
    pause = runtime().function("pause", None, ctypes.c_int64)
    pause(100)
    best = math.inf
    for _ in range(3):
        start = time.perf_counter_ns()
        pause(500)
        best = min(best, (time.perf_counter_ns() - start) / 500)
    return max(best, 0.2)


def _kind() -> str:
    """The kind `GRAPHC_POOL` asks for, else the best there is."""
    if config.pool and config.pool not in KINDS:
        raise ArgumentError(f"GRAPHC_POOL is {config.pool!r}", need=f"one of {', '.join(KINDS)}")
    return config.pool or ("futex" if has_futex() else "portable")


_lock = threading.Lock()
if hasattr(os, "register_at_fork"):
    # No child is born while another thread is making the pool: the child could never finish that.
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


@cache
def _make() -> Pool:
    return Pool(_kind(), config.threads or available_cpus())


def pool() -> Pool:
    """The pool of this process, made at the first call."""
    with _lock:
        return _make()


def set_num_threads(n: int) -> None:
    """Sets how many threads a run may use, the calling one counted; BackendError if n is no such number.

    NumPy's BLAS, which eager code uses until it is compiled, has threads of its own.
    """
    if not isinstance(n, int):
        raise BackendError(f"set_num_threads expects an int, but got {type(n).__name__}")
    if n < 1:
        raise BackendError(f"set_num_threads expects a positive integer, got {n} threads")
    config.threads = n
    if _make.cache_info().currsize:
        pool().resize(n)


def get_num_threads() -> int:
    """How many threads a run may use, the calling one counted."""
    return pool().threads if _make.cache_info().currsize else config.threads or available_cpus()
