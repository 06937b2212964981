"""Launchers: a program, its table of pointers and its arena behind one native function that takes NumPy arrays.

A call costs about as much as a call of an empty Python function: native code reads the data pointers of the arrays, takes
the block for table and arena that the last run left, and runs the program (launcher.ll).
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from graphc.backends.llvm.pool import pool
from graphc.backends.llvm.runner import STATE_WORDS, Program
from graphc.backends.llvm.runtime import new_memory, python_function, runtime

#: Words of a record, and bytes of the head of a block and of its alignment (launcher.ll).
_CODE, _SLOTS, _TEMPLATE, _VERSION, _KEEPER, _RELEASES, _TIMES, _BYTES, _OFFSET, _ARENA, _COUNT = range(11)
_HEAD, _ALIGNMENT = 256, 128

#: Numbers of templates: no two launchers share one, since they share blocks.
_versions = itertools.count(1)

_incref = python_function("Py_IncRef", None, ctypes.py_object)
_decref = python_function("Py_DecRef", None, ctypes.py_object)
_capsule = python_function("PyCapsule_New", ctypes.py_object, *[ctypes.c_void_p] * 3)


class Launcher:
    """Runs a program, in any number of threads at once.

    A table has `slots` slots: 0 is the run state, `arena_slot` (if not 0) an arena of `arena_bytes` that is this run's
    alone, and `call(*arrays)` takes an array for each slot of `arguments`, whose number is all it checks. The other slots
    are set by `bind`. `held` keeps the GIL during runs.

    `call` returns 0, or bytes for `failure` when a task failed or the run was stopped. It raises what a host callback
    or a signal handler raised, and MemoryError where there is no room for the arena.
    """

    def __init__(
        self,
        program: Program,
        slots: int,
        arguments: Sequence[int] = (),
        arena_slot: int = 0,
        arena_bytes: int = 0,
        held: bool = False,
    ):
        pool()
        native = runtime()
        self._program = program
        self._template = np.zeros(slots, np.int64)
        self._bound: dict[int, Any] = {}
        self._kept: Any = None
        words = _COUNT + 1 + len(arguments)
        address = new_memory(8 * words)
        arena = -(-(_HEAD + 8 * slots) // _ALIGNMENT) * _ALIGNMENT
        #: Bytes that each of the runs at the same time needs for itself.
        self.block_bytes = arena + arena_bytes + _ALIGNMENT
        self._record = np.ctypeslib.as_array((ctypes.c_int64 * words).from_address(address))
        self._record[:_COUNT] = [
            *(program.address, slots, self._template.ctypes.data, 0, 0, not held, 0),
            *(arena + arena_bytes, arena, arena_slot),
        ]
        self._record[_COUNT:] = [len(arguments), *arguments]
        self.bind({})
        self._capsule = _capsule(address, None, native.address("destroy"))
        self.call: Callable[..., int | bytes] = native.method("launch", self._capsule)

    def bind(self, arrays: Mapping[int, Any]) -> None:
        """Puts arrays (constants, variables) into slots for all runs that begin from now on, and keeps them alive."""
        self._bound.update(arrays)
        for slot, array in arrays.items():
            self._template[slot] = array.ctypes.data
        # A run holds what is kept when it begins: arrays replaced meanwhile live until it ends.
        before, self._kept = self._kept, (self._program, self._template, *self._bound.values())
        _incref(self._kept)
        self._record[_KEEPER] = id(self._kept)
        self._record[_VERSION] = next(_versions)
        if before is not None:
            _decref(before)

    def measure(self, times: np.ndarray[Any, np.dtype[np.int64]] | None) -> None:
        """Adds the nanoseconds of each step to `times: i64[steps + 1]` from now on; None measures no more."""
        self.times = times
        self._record[_TIMES] = 0 if times is None else times.ctypes.data


def failure(state: bytes) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The run state of a call that did not go well: words `ERROR` to 7, and at `STEP` the step or `STOPPED`."""
    return np.frombuffer(state, np.int64, STATE_WORDS)
