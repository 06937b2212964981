"""The llvm backend: a program becomes one native call in which kernels and products follow each other over one arena."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import numpy as np

from graphc.backends import nan_checks
from graphc.backends.llvm.launcher import Launcher
from graphc.backends.llvm.pool import pool
from graphc.backends.llvm.runner import assemble
from graphc.backends.llvm.translation import Translation
from graphc.backends.runs.host import elements, evaluated
from graphc.backends.runs.places import Scope
from graphc.core.context import repeating
from graphc.core.errors import BackendError, GraphcError
from graphc.ir.interpret import interpret
from graphc.ir.program import Program, Value
from graphc.planning.costs import CYCLES_A_NANOSECOND
from graphc.planning.descriptions import describe_native
from graphc.planning.native_plan import NativePlan
from graphc.planning.plan import nbytes_of
from graphc.planning.regions import plan_regions
from graphc.planning.room import no_room
from graphc.planning.steps import ControlStep, HostStep, Step, Strided

_empty = np.empty

#: Estimated cycles of a whole run below which the GIL is kept.
SHORT_RUN = 20_000


class LlvmBackend:
    """Compiles programs for the CPU we run on."""

    name = "llvm"
    fuses = True
    checks_nans = True

    def compile(
        self, program: Program, updates: Mapping[int, int] | None = None, check_nans: bool = False
    ) -> LlvmExecutable:
        """An executable for a program whose sizes are numbers; BackendError where LLVM refuses a kernel.

        `updates`: output number -> number of the input whose array it is written over, which is then that output.
        `check_nans`: a run raises NonFiniteError for the first op that makes a NaN or an infinity; nothing is in place then.
        """
        return LlvmExecutable(plan_regions(program, {} if check_nans else updates or {}), check_nans)


@dataclass(frozen=True)
class Memory:
    """The bytes that a run holds, known before it begins; runs at the same time share the constants only.

    `block`: table and arena, in which products and convolutions have their working memory; `outputs`: new arrays;
    `host`: what the largest step gives that Python does, until it is copied to its place. What such a step needs within, and
    a BLAS for itself, is not known.
    """

    block: int
    outputs: int
    constants: int
    host: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.block + self.outputs + self.constants + self.host


class LlvmExecutable:
    """A compiled plan. `memory`: what a run holds; `peak`: all bytes of it."""

    def __init__(self, plan: NativePlan, check_nans: bool = False):
        self.plan, self.program = plan, plan.program
        after_region = self._check_nans if check_nans else None
        self.translation = Translation(self.plan, pool().threads, self._host, after_region)
        layout = self.layout = self.translation.layout
        in_place = self.plan.in_place
        self._overwritten = sorted(in_place.values())
        self._outputs = [(in_place.get(k, -1), v.shape, v.dtype.np) for k, v in enumerate(self.program.outputs)]
        self._native = assemble(self.translation.instructions)
        self._launchers: WeakSet[Launcher] = WeakSet()
        self._times: Any = None
        self._measuring = False
        self._launcher = self._new_launcher(range(1, layout.arena), {})
        self._launch = self._launcher.call
        hosts = [step.node for step in self.translation.steps if isinstance(step, HostStep)]
        self.memory = Memory(
            self._launcher.block_bytes,
            self.plan.output_bytes,
            sum(x.nbytes for x in self.translation.constants.values()),
            max((sum(nbytes_of(v.type) for v in node.outputs) for node in hosts), default=0),
        )
        self.peak = self.memory.total

    def _new_launcher(self, slots: Sequence[int], bound: Mapping[int, Any]) -> Launcher:
        code = self.translation
        found = Launcher(self._native, code.slots, slots, self.layout.arena, code.arena_bytes)
        constants = {slot: np.ascontiguousarray(x) for slot, x in code.constants.items()}
        found.bind({**constants, **bound})
        self._launchers.add(found)
        if self._measuring:
            found.measure(self._times)
        return found

    def launcher(self, inputs: Sequence[int], outputs: Sequence[int], bound: Mapping[int, Any]) -> Launcher | None:
        """A launcher that takes arrays for these inputs and outputs only; `bound` are the arrays of the other inputs.

        Given arrays must be as the program's types say, and in C order. None where a bound array is not.
        """
        if not all(x.flags.c_contiguous and x.flags.writeable for x in bound.values()):
            return None
        slots = [1 + i for i in inputs] + [1 + self.layout.inputs + k for k in outputs]
        return self._new_launcher(slots, {1 + i: array for i, array in bound.items()})

    @property
    def steps(self) -> str:
        """The regions as text: what each step computes and where the result goes."""
        return self.plan.text

    def __call__(self, arrays: Sequence[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        """The outputs for one array per input, each new memory but those written over an input. Errors name the user's line."""
        inputs = [a if a.flags.c_contiguous else np.ascontiguousarray(a).reshape(a.shape) for a in arrays]
        for i in self._overwritten:
            if not inputs[i].flags.writeable:
                inputs[i] = inputs[i].copy()
        return self._run(self._launch, inputs)

    def _run(self, launch: Callable[..., object], inputs: list[Any]) -> list[Any]:
        try:
            outputs = [_empty(shape, dtype) if i < 0 else inputs[i] for i, shape, dtype in self._outputs]
            if launch(*inputs, *outputs):
                self._explain_failure(inputs)
        except MemoryError as error:
            if isinstance(error, GraphcError):
                raise
            values = [v for v in self.plan.places if isinstance(v, Value)]
            raise no_room("no room for a run", self.program, values, self.peak) from error
        return outputs

    # --- what it is and how long it takes -------------------------------------------------------------------------

    def timed(self, arrays: Sequence[np.ndarray[Any, Any]], runs: int = 5) -> list[int]:
        """Nanoseconds of each step on copies of these arrays, the least of some runs; of loops, all turns.

        The steps are those of `translation.steps`; those of a region share its time. Other runs of the executable are not
        measured.
        """
        launcher = self._new_launcher(range(1, self.layout.arena), {})
        times, least = self._no_times(), None
        launcher.measure(times)
        for _ in range(1 + runs):
            times[:] = 0
            self._run(launcher.call, [np.array(a, order="C") for a in arrays])
            found = self.translation.wall_times(times)
            least = found if least is None else [*map(min, least, found)]
        assert least is not None
        return least

    @contextmanager
    def measured(self) -> Iterator[Callable[[], Callable[[], list[int]]]]:
        """Within, runs are measured: `mark()` ends a stretch of them, and what it gives tells the nanoseconds of each step."""
        if self._times is None:
            # kept for good: runs of other threads may add to it for as long as they last
            self._times = self._no_times()
        times, before = self._times, self._times.copy()

        def mark() -> Callable[[], list[int]]:
            now = times.copy()
            passed, before[:] = now - before, now
            return lambda: self.translation.wall_times(passed)

        self._measure(times)
        try:
            yield mark
        finally:
            self._measure(None)

    def _measure(self, times: Any) -> None:
        self._measuring = times is not None
        for launcher in [*self._launchers]:
            launcher.measure(times)

    def _no_times(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.zeros(1 + len(self.translation.steps) + len(self.translation.regions), np.int64)

    def describe(self, times: Sequence[int] | None = None) -> dict[str, Any]:
        """The plan as plain data, with how each step is computed and its LLVM IR; `times` are those of `timed`."""
        notes: dict[Step, dict[str, Any]] = {}
        for code in self.translation.codes:
            if isinstance(code.step, ControlStep):  # copies around its bodies
                continue
            known = notes.setdefault(
                code.step, {"sources": [], "how": code.how, "parts": code.parts, "estimated_ns": 0}
            )
            known["sources"] += code.sources
            known["estimated_ns"] += int(code.cycles / CYCLES_A_NANOSECOND)
        for step, ns in zip(self.translation.steps, times or (), strict=times is not None):
            notes.setdefault(step, {})["measured_ns"] = ns
        found = describe_native(self.plan, notes)
        found["threads"] = self.translation.threads
        found["memory"] |= {"working_bytes": self.translation.scratch, "peak_bytes": self.peak}
        return found

    def _explain_failure(self, inputs: list[Any]) -> None:
        """Raises what the program raises where Python runs it op by op: the same fault, with the user's line."""
        with repeating():
            interpret(self.program, inputs)
        raise BackendError("a native step failed where the same program in NumPy does not")

    def _check_nans(self, region: tuple[Step, ...], scope: Scope, table: int) -> None:
        """Raises NonFiniteError if a step of the region that has just run is to blame for something not finite."""
        for step in region:
            nan_checks.check_step(
                step,
                lambda value: self._array(value, scope, table).reshape(value.shape),
                lambda x: self._operand(x, scope, table),
            )

    # --- steps that Python does -----------------------------------------------------------------------------------

    def _host(self, step: HostStep, scope: Scope, table: int) -> None:
        """Evaluates a node on the arrays of the run whose table stands at that address."""
        results = evaluated(step.node, [self._operand(x, scope, table) for x in step.operands])
        for value, result in zip(step.node.outputs, results, strict=True):
            self._array(value, scope, table)[...] = np.asarray(result).reshape(-1)

    def _array(self, value: Value, scope: Scope, table: int) -> Any:
        """The flat elements of a value in a run."""
        slot, offset = scope.place(value)
        address = ctypes.c_int64.from_address(table + 8 * slot).value + offset
        n = nbytes_of(value.type)
        if not n:
            return np.empty(0, value.dtype.np)
        return np.frombuffer(memoryview((ctypes.c_char * n).from_address(address)), value.dtype.np)

    def _operand(self, x: Strided, scope: Scope, table: int) -> Any:
        return elements(self._array(x.value, scope, table), x)
