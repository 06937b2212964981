"""Programs for the native runner (runner.ll): instructions described as dataclasses, assembled into arrays of words.

A run is `entry()(table, program.address)`: one native call that follows the instructions over a table of base pointers.
Slot 0 of the table points to the run state; what the other slots are is up to whoever writes the program. The call
returns 0, the step number of the task that failed, or `STOPPED`; an exception of a host callback, or of a signal
handler such as Ctrl-C's, comes out of it as it is. A program never changes: many threads may run it at once, each with
a table of its own.

Words of the run state (int64): `ERROR` 0 and its details 1 to 7, written by the task that failed (several may fail
at once: a task takes the record by changing word 0 from 0 atomically, and writes details only then); `STOP` 8, which
another thread may set to end the run at the next region or iteration; `TIMES` 9, the address of an int64 per step that
nanoseconds are added to, 0 for none (a region's and a host's step: wall time; a call's step: the sum over parts); `STEP`
10, the step that failed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.backends.llvm.pool import pool
from graphc.backends.llvm.runtime import runtime
from graphc.backends.runs.instructions import Branch, Copy, Loop, Swap, While

#: What a run returns when its stop flag was set.
STOPPED = -1

#: The run state: how many words, and where they stand.
STATE_WORDS = 16
ERROR, STOP, TIMES, STEP = 0, 8, 9, 10

#: The most parts of one region: they are counted in 20 bits.
MOST_PARTS = (1 << 20) - 1

#: Nanoseconds of work worth waking everybody for.
PLENTY = 1 << 40

_END, _REGION, _LOOP, _BRANCH, _HOST = range(5)
_ENDLESS = (1 << 63) - 1


@dataclass(frozen=True)
class Call:
    """A task function, `i64 f(ptr table, ptr args, i64 begin, i64 end)`, and the words of its `args`."""

    function: int
    args: tuple[int, ...] = ()
    step: int = 1


@dataclass(frozen=True)
class Task:
    """Calls over a range, split into parts; in each part one call follows the other over the same `[begin, end)`."""

    calls: tuple[Call, ...]
    extent: int = 1
    parts: int = 1
    grain: int = 1


@dataclass(frozen=True)
class Region:
    """Tasks whose parts may all run at once; whatever follows the region waits for all of them.

    `work`: about how many nanoseconds it takes on one thread; 0 keeps it on the calling one. Workers that are awake help
    whatever it is; sleepers are woken when enough work was done without them.
    """

    tasks: tuple[Task, ...]
    work: int = PLENTY
    step: int = 0


@dataclass(frozen=True)
class Host:
    """Calls `callback(address of the table)` with the GIL held; its exception ends the run and leaves it."""

    callback: Callable[[int], object]
    step: int = 1


Instruction = Region | Loop | While | Branch | Host


class Program:
    """Assembled instructions at `address`. Keeps alive what they point to."""

    def __init__(self, code: np.ndarray[Any, np.dtype[np.int64]], callbacks: list[Callable[[int], object]]):
        self.code = code
        self.address: int = code.ctypes.data
        self._callbacks = callbacks


def assemble(instructions: Sequence[Instruction]) -> Program:
    """The program of these instructions."""
    assembler = _Assembler()
    assembler.body(instructions)
    return assembler.program()


def entry(held: bool = False) -> Callable[[int, int], int]:
    """The function that runs programs, `run(table address, code address)`; `held` keeps the GIL: for short runs."""
    pool()
    return runtime().run_held if held else runtime().run


def borders(extent: int, parts: int, grain: int = 1) -> list[tuple[int, int]]:
    """`[0, extent)` in at most `parts` even ranges whose borders are multiples of `grain`; none is empty but of nothing."""
    units = -(-extent // grain)
    parts = max(1, min(parts, units))
    ends = [min(extent, grain * (units * (i + 1) // parts)) for i in range(parts)]
    return list(zip([0, *ends[:-1]], ends, strict=True))


class _Assembler:
    """Collects words; the words of arguments follow the instructions, and pointers to them are set at the end.

    Every instruction begins with its code and its size in words. Offsets inside it are words from its beginning.
    """

    def __init__(self) -> None:
        self._words: list[int] = []
        self._args: dict[tuple[int, ...], list[int]] = {}
        self._callbacks: list[Callable[[int], object]] = []

    def program(self) -> Program:
        """The array of all words."""
        places: list[tuple[int, list[int]]] = []
        words = self._words
        for args, uses in self._args.items():
            places.append((len(words), uses))
            words += args or (0,)
        code = np.array(words, np.int64)
        for place, uses in places:
            code[uses] = code.ctypes.data + 8 * place
        code.flags.writeable = False
        return Program(code, self._callbacks)

    def body(self, instructions: Sequence[Instruction]) -> None:
        """The instructions and an end."""
        for instruction in instructions:
            match instruction:
                case Region():
                    self._region(instruction)
                case Loop():
                    self._loop(instruction, instruction.count, instruction.count_slot, (), 0, 0)
                case While():
                    self._loop(instruction, _ENDLESS, -1, instruction.condition, instruction.slot, instruction.offset)
                case Branch():
                    self._branch(instruction)
                case Host():
                    self._callbacks.append(instruction.callback)
                    self._words += [_HOST, 4, instruction.step, id(instruction.callback)]
        self._words += [_END, 0]

    def _region(self, region: Region) -> None:
        """Code, size, parts, work, step; chain, begin, end of each part; the chains: length; function, args, step."""
        start = len(self._words)
        ranges = [borders(task.extent, task.parts, task.grain) for task in region.tasks]
        n = sum(map(len, ranges))
        assert n <= MOST_PARTS, f"{n} parts"
        self._words += [_REGION, 0, n, region.work if n > 1 else 0, region.step]
        chain = len(self._words) - start + 3 * n
        for task, parts in zip(region.tasks, ranges, strict=True):
            for begin, end in parts:
                self._words += [chain, begin, end]
            chain += 1 + 3 * len(task.calls)
        for task in region.tasks:
            assert task.calls, "a task without calls"
            self._words.append(len(task.calls))
            for call in task.calls:
                assert call.step > 0, "steps count from 1: 0 means that a run went well"
                self._args.setdefault(call.args, []).append(len(self._words) + 1)
                self._words += [call.function, 0, call.step]
        self._words[start + 1] = len(self._words) - start

    def _loop(
        self,
        loop: Loop | While,
        count: int,
        count_slot: int,
        condition: Sequence[Instruction],
        slot: int,
        offset: int,
    ) -> None:
        """Code, size, count, its slot, condition, slot and offset of its bool, body, numbers of slots and of moves."""
        start = len(self._words)
        self._words += [_LOOP, 0, count, count_slot, 0, slot, offset, 0, len(loop.slots), len(loop.moves)]
        for placed in loop.slots:
            self._words += [placed.slot, placed.source, placed.start, placed.stride]
        for move in loop.moves:
            match move:
                case Copy():
                    self._words += [0, move.to, move.source]
                case Swap():
                    self._words += [1, move.first, move.second]
        if isinstance(loop, While):
            self._words[start + 4] = len(self._words) - start
            self.body(condition)
        self._words[start + 7] = len(self._words) - start
        self.body(loop.body)
        self._words[start + 1] = len(self._words) - start

    def _branch(self, branch: Branch) -> None:
        """Code, size, slot, offset, where the other body is; the first body."""
        start = len(self._words)
        self._words += [_BRANCH, 0, branch.slot, branch.offset, 0]
        self.body(branch.then)
        self._words[start + 4] = len(self._words) - start
        self.body(branch.otherwise)
        self._words[start + 1] = len(self._words) - start
