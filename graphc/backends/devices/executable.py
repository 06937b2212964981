"""Programs on a device: a run is a row of kernels in one queue, with no wait before its results are fetched.

What differs between devices is a `Device`: memory, copies, the compiler, the start of a kernel.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from time import perf_counter_ns
from typing import Any

import numpy as np

from graphc.backends import nan_checks
from graphc.backends.c_like.tiles import Target
from graphc.backends.devices.function import Function
from graphc.backends.devices.kernels import built
from graphc.backends.devices.memory import DeviceMemory, room
from graphc.backends.devices.numbers import Apart, Numbers, apart
from graphc.backends.devices.protocol import Device
from graphc.backends.devices.runs import Base, follow
from graphc.backends.devices.translation import HostCall, Launch, Look, Translation, plan_for
from graphc.backends.devices.tuning import tuner_of
from graphc.backends.runs.host import elements, evaluated
from graphc.backends.runs.places import Scope
from graphc.core.arrays import DeviceArray, duplicate, host, write_elements
from graphc.core.context import repeating
from graphc.core.errors import BackendError, GraphcError
from graphc.ir.interpret import interpret
from graphc.ir.program import Program, Value
from graphc.planning.costs import step_costs
from graphc.planning.descriptions import describe_native
from graphc.planning.native_plan import NativePlan, every_step
from graphc.planning.plan import nbytes_of
from graphc.planning.room import no_room
from graphc.planning.steps import Step, Strided


class DeviceBackend:
    """Compiles programs for a device."""

    name: str
    fuses = True
    checks_nans = True

    def device(self, number: int = 0) -> Device:
        """A device by its number; BackendError where there is none."""
        raise NotImplementedError

    def count(self) -> int:
        """How many devices there are; BackendError where even that cannot be asked."""
        raise NotImplementedError

    def compile(
        self, program: Program, updates: Mapping[int, int] | None = None, number: int = 0, check_nans: bool = False
    ) -> DeviceExecutable:
        """An executable for a program whose sizes are numbers; BackendError where the device cannot do what it asks.

        `check_nans`: a run raises NonFiniteError for the first op that makes a NaN or an infinity; nothing is in place, and
        the run waits for the device after each region.
        """
        numbers, program = Apart(None, program) if self.device(number).double else apart(program)
        plan = plan_for(self.device(number).target, program, {} if check_nans else updates or {})
        return DeviceExecutable(plan, partial(self.device, number), numbers, check_nans)


class DeviceExecutable:
    """A plan compiled for a device. `numbers`: those of its last inputs that are computed from the others before each run.

    `launches`: the kernels started so far, by all runs; `waits`: how often one waited for the device before it fetched results.
    """

    def __init__(
        self,
        plan: NativePlan,
        opened: Callable[[], Device],
        numbers: Numbers | None = None,
        check_nans: bool = False,
    ):
        self.plan, self.program, self._opened, self._numbers = plan, plan.program, opened, numbers
        self.device = opened()
        self.launches = self.waits = 0
        self._translate(self.device.target, check_nans)
        n, in_place = len(self.program.inputs), plan.in_place
        #: where the outputs are in a run's table, and which of these are no inputs
        self._slots = [1 + in_place[k] if k in in_place else 1 + n + k for k in range(len(self.program.outputs))]
        self._fresh = [slot for slot in self._slots if slot > n]
        self._tell_host_steps()
        with self.device.held():
            self._build()

    def _translate(self, target: Target, looks: bool) -> None:
        fits = target == self.device.target  # which the tiles are known for
        tile = tuner_of(self.device).tile if fits else lambda kernel: None
        self.translation = Translation(self.plan, target, tile, looks)
        self.peak = self.translation.arena_bytes + self.plan.output_bytes

    def _build(self) -> None:
        """Gives the device its kernels, for smaller groups where it cannot do one of them for as large ones."""
        self._table: list[Base] | None = None
        self._functions: dict[int, Function] = {}
        self._kernels = built(self.translation.source, self.device, self._made_at)
        target = self.translation.target
        if target.items > 1 and not all(map(self._fits, self.translation.launches)):
            self._translate(replace(target, items=target.items // 2), self.translation.looks)
            self._build()

    def _fits(self, x: Launch) -> bool:
        return self.device.largest_group(*self._kernels[x.printed.name]) >= x.printed.items

    def release(self) -> None:
        """Gives back the memory that is kept from run to run."""
        self._table = None
        for function in self._functions.values():
            function.forget(set())

    def _made_at(self, kernel: str) -> tuple[str, str]:
        """The ops that a kernel does with the user's lines, and the first of these."""
        steps = [step for x in self.translation.launches if x.printed.name == kernel for step in x.steps]
        nodes = [node for step in steps for node in step.nodes]
        lines = dict.fromkeys(str(origin) for node in nodes for origin in node.origins[:1])
        line = next((node.origins[0].place for node in nodes if node.origins), "")
        return f"{' '.join(dict.fromkeys(n.op.name for n in nodes)) or 'a copy'}{_at(', '.join(lines))}", line

    @property
    def steps(self) -> str:
        """The steps as text, then the kernels."""
        return f"{self.plan.text}\n{self.translation.source.text(self.device.dialect)}"

    # --- what it is and how long it takes -------------------------------------------------------------------------

    def describe(self, times: Sequence[int] | None = None) -> dict[str, Any]:
        """The plan as plain data, with the kernels of each step; `times`: what `measured` gave."""
        notes: dict[Step, dict[str, Any]] = {}
        for launch in self.translation.launches:
            source = self.translation.source.alone(launch.printed.name)
            for step in launch.steps:
                sources = notes.setdefault(step, {"sources": []})["sources"]
                if source not in sources:
                    sources.append(source)
        for step, ns in zip(every_step(self.plan), times or (), strict=times is not None):
            notes.setdefault(step, {})["measured_ns"] = ns
        found = describe_native(self.plan, notes)
        found["memory"]["peak_bytes"] = self.peak
        return found

    def timed(self, arrays: Sequence[Any], memory: DeviceMemory | None = None, runs: int = 5) -> list[int]:
        """Nanoseconds of each step on copies of these arrays, the least of some runs; of loops, all turns."""
        least: list[int] | None = None
        with self.measured() as mark:
            for _ in range(1 + runs):
                self([*map(duplicate, arrays)], memory)
                found = mark()()
                least = found if least is None else [*map(min, least, found)]
        assert least is not None
        return least

    @contextmanager
    def measured(self) -> Iterator[Callable[[], Callable[[], list[int]]]]:
        """Within, runs are measured: `mark()` ends a stretch of them, and what it gives tells the nanoseconds of each step.

        Kernels are timed by the device; steps that share a start share its time by their costs.
        """
        clock = _Clock([*every_step(self.plan)], self.plan)

        def start(x: Launch, table: list[Base]) -> None:
            self.launches += 1
            clock.started.append((x.steps, self._function(x).clocked(table)))

        def evaluate(x: HostCall, table: list[Base]) -> None:
            before = perf_counter_ns()
            DeviceExecutable.host(self, x, table)
            clock.started.append(((x.step,), partial(int, perf_counter_ns() - before)))

        def mark() -> Callable[[], list[int]]:
            started, clock.started = clock.started, []

            def taken() -> list[int]:
                with self.device.held():
                    self.device.finish()
                    return clock.taken(started)

            return taken

        with self.device.measuring():
            self.__dict__.update(launch=start, host=evaluate)  # what a run asks, of this executable alone
            try:
                yield mark
            finally:
                del self.__dict__["launch"], self.__dict__["host"]

    def __call__(self, arrays: Sequence[Any], memory: DeviceMemory | None = None) -> list[Any]:
        """The outputs for one array per input, each new but those written over an input. Errors name the user's line.

        New outputs are in `memory`, this device's, if it is given; then the run waits for nothing, but to see whether an index
        was bad. Else they are on the host, whose memory is lent to the device where it can be.
        """
        device = self._opened()
        try:
            with device.held():
                if device is not self.device:  # that one has stopped
                    self.device = device
                    self._build()
                if self._numbers is not None:
                    arrays = [*arrays, *self._numbers(arrays)]
                return self._run(arrays, memory)
        except MemoryError as error:  # of the device or of the host
            self._settle()
            values = [v for v in self.plan.places if isinstance(v, Value)]
            problem = error.args[0] if isinstance(error, GraphcError) else f"no room for a run: {error}"
            raise no_room(problem, self.program, values, self.peak) from error.__cause__
        except BaseException:
            if memory is None:
                self._settle()
            raise

    def _settle(self) -> None:
        """After a run that failed: waits for what it has started, as it may use memory that the host has lent."""
        with suppress(GraphcError), self.device.held():
            self.release()
            self.device.finish()

    def _run(self, arrays: Sequence[Any], memory: DeviceMemory | None) -> list[Any]:
        code, in_place = self.translation, self.plan.in_place
        table = [*(self._table or self._new_table())]  # memory of arrays is held no longer than the run
        inputs = [self._input(array, i in in_place.values()) for i, array in enumerate(arrays)]
        made = [self._made(value, memory) for k, value in enumerate(self.program.outputs) if k not in in_place]
        places = dict(enumerate(inputs, 1)) | dict(zip(self._fresh, made, strict=True))
        lent = {slot for slot, array in places.items() if memory is None and self._lend(table, slot, array)}
        for slot, array in places.items():
            if type(array) is DeviceArray:
                table[slot] = array.memory.handle(array), array.offset
            elif slot not in lent:
                buffer = self._own(table, slot, array.nbytes)
                if slot <= len(inputs):
                    self._send(buffer, 0, array)
        if code.fails:
            self._send(table[0][0], 0, np.zeros(1, np.int32))
        follow(self, code.instructions, table)
        if code.fails:
            self._check(table, inputs)
        for slot in self._slots:
            if slot in lent:
                self.device.regain(table[slot][0])
            elif type(places[slot]) is not DeviceArray:
                self._receive(places[slot], *table[slot])
        if lent:
            self.device.finish()
        own = {0, code.arena, *code.constants}
        for function in self._functions.values():
            function.forget(own)
        return [self._given(k, places[slot], arrays) for k, slot in enumerate(self._slots)]

    def _input(self, array: Any, is_written: bool) -> Any:
        """An array as kernels read it, in rows."""
        if type(array) is DeviceArray:
            return array.memory.rows(array)
        rows = np.ascontiguousarray(array).reshape(array.shape)
        return rows if rows.flags.writeable or not is_written else rows.copy()

    def _made(self, value: Value, memory: DeviceMemory | None) -> Any:
        """A new array for an output."""
        shape, dtype = tuple(map(int, value.shape)), value.dtype.np
        return np.empty(shape, dtype) if memory is None else memory.new(shape, dtype)

    def _check(self, table: list[Base], inputs: Sequence[Any]) -> None:
        """Raises what the program raises, if a kernel has found a fault."""
        if self._fault(table):
            with repeating():
                interpret(self.program, list(map(host, inputs)))
            raise BackendError("a kernel found a fault where the same program in NumPy does not")

    def _fault(self, table: list[Base]) -> bool:
        """Whether a kernel has set the fault word."""
        fault = np.empty(1, np.int32)
        self._receive(fault, *table[0])
        return bool(fault[0])

    def _given(self, k: int, out: Any, arrays: Sequence[Any]) -> Any:
        """Output k: the input's array where it is written over one."""
        if k not in self.plan.in_place:
            return out
        array = arrays[self.plan.in_place[k]]
        if array is out or not array.flags.writeable:
            return out
        write_elements(array, out)
        return array

    # --- memory ---------------------------------------------------------------------------------------------------

    def _new_table(self) -> list[Base]:
        """Buffers for the fault word, the arena and constants; those of arrays come with them, slots of loops as they run."""
        code = self.translation
        table: list[Base] = [(None, 0)] * code.slots
        table[0], table[code.arena] = (room(self.device, 4), 0), (room(self.device, code.arena_bytes), 0)
        self._send(table[0][0], 0, np.zeros(1, np.int32))
        for slot, array in code.constants.items():
            table[slot] = room(self.device, array.nbytes), 0
            self._send(table[slot][0], 0, np.ascontiguousarray(array))
        self._table = table
        self.device.holders.add(self)
        return table

    def _lend(self, table: list[Base], slot: int, array: Any) -> bool:
        """Whether a slot's memory is that of a host's array."""
        if type(array) is DeviceArray or not array.nbytes:
            return False
        lent = self.device.lend(_raw(array))
        if lent is not None:
            table[slot] = lent, 0
        return lent is not None

    def _own(self, table: list[Base], slot: int, nbytes: int) -> Any:
        """A buffer for a slot, kept from run to run."""
        if table[slot][0] is None:
            table[slot] = room(self.device, nbytes), 0
            if self._table is not None:  # it is None when the room had to be looked for
                self._table[slot] = table[slot]
        return table[slot][0]

    def _send(self, buffer: Any, at: int, array: Any) -> None:
        if array.nbytes:
            self.device.copy_in(buffer, at, _raw(array))

    def _receive(self, array: Any, buffer: Any, at: int) -> None:
        if array.nbytes:
            self.device.copy_out(_raw(array), buffer, at)

    # --- what a run asks (devices/runs.py) ------------------------------------------------------------------------

    def launch(self, launch: Launch, table: list[Base]) -> None:
        """Starts a kernel."""
        self.launches += 1
        self._function(launch)(table)

    def _function(self, launch: Launch) -> Function:
        function = self._functions.get(id(launch))
        if function is None:
            function = self._functions[id(launch)] = Function(launch, *self._kernels[launch.printed.name], self.device)
        return function

    def host(self, call: HostCall, table: list[Base]) -> None:
        """Does what only Python can: fetches, evaluates, sends."""
        operands = [self._operand(x, table[slot], offset) for x, (slot, offset) in call.operands]
        results = evaluated(call.step.node, operands)
        for (type_, (slot, offset)), result in zip(call.results, results, strict=True):
            buffer, at = table[slot]
            self._send(buffer, at + offset, np.ascontiguousarray(np.asarray(result, type_.dtype.np)))

    def look(self, look: Look, table: list[Base]) -> None:
        """Raises NonFiniteError if a step of the region is to blame for something not finite."""
        if self.translation.fails and self._fault(table):
            return  # kernels have stopped: what is in memory says nothing
        for step in look.region:
            nan_checks.check_step(
                step,
                lambda value: self._elements(value, look.scope, table).reshape(value.shape),
                lambda x: elements(self._elements(x.value, look.scope, table), x),
            )

    def _elements(self, value: Value, scope: Scope, table: list[Base]) -> Any:
        """The flat elements of a value in a run."""
        self.waits += 1
        (slot, offset), array = scope.place(value), np.empty(nbytes_of(value.type), np.uint8)
        self._receive(array, table[slot][0], table[slot][1] + offset)
        return array.view(value.dtype.np)

    def test(self, base: Base, offset: int) -> bool:
        """Reads a bool, which waits for all that was started."""
        self.waits += 1
        found = np.empty(1, np.bool_)
        self._receive(found, base[0], base[1] + offset)
        return bool(found[0])

    def _operand(self, x: Strided, base: Base, offset: int) -> Any:
        self.waits += 1
        array = np.empty(nbytes_of(x.value.type), np.uint8)
        self._receive(array, base[0], base[1] + offset)
        return elements(array.view(x.value.dtype.np), x)

    def _tell_host_steps(self) -> None:
        hosts = [x.step.node.op.name for x in self.translation.instructions if isinstance(x, HostCall)]
        if hosts:
            logging.getLogger(f"graphc.{self.device.kind}").warning(
                "%s: done by Python, between waits: %s", self.device.name, ", ".join(dict.fromkeys(hosts))
            )


class _Clock:
    """Notes what starts take. `started`: the steps of each, and what tells its time once it is done."""

    def __init__(self, steps: Sequence[Step], plan: NativePlan):
        self.steps = steps
        self.weights = {x: 1 + cost.flops + cost.bytes for x, cost in step_costs(plan)}
        self.started: list[tuple[tuple[Any, ...], Callable[[], int]]] = []

    def taken(self, started: Sequence[tuple[tuple[Any, ...], Callable[[], int]]]) -> list[int]:
        """Nanoseconds of each step in these starts."""
        found = dict.fromkeys(self.steps, 0.0)
        for steps, tell in started:
            ns, whole = tell(), sum(self.weights[x] for x in steps)
            for x in steps:
                found[x] += ns * self.weights[x] / whole
        return [round(ns) for ns in found.values()]


def _at(lines: str) -> str:
    return f" made at {lines}" if lines else ""


def _raw(array: Any) -> Any:
    """The bytes of an array."""
    return array.reshape(-1).view(np.uint8)
