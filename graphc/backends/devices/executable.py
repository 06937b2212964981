"""Programs on a device: a run is a row of kernels in one queue, with no wait before its results are fetched.

What differs between devices is a `Device`: memory, copies, the compiler, the start of a kernel.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np

from graphc.backends.c_like.heads import Dialect
from graphc.backends.c_like.tiles import Target
from graphc.backends.devices.runs import Base, follow
from graphc.backends.devices.translation import HostCall, Launch, Translation
from graphc.backends.runs.host import elements, evaluated
from graphc.core.errors import BackendError
from graphc.core.tensor_types import float64
from graphc.ir.interpret import interpret
from graphc.ir.program import Program
from graphc.planning.native_plan import NativePlan
from graphc.planning.plan import nbytes_of
from graphc.planning.regions import plan_regions
from graphc.planning.steps import Strided


class Kernel(Protocol):
    """A kernel with its arguments."""

    def set_buffer(self, n: int, buffer: Any) -> None:
        """Argument n from now on."""

    def set_word(self, n: int, word: Any) -> None:
        """Argument n from now on, a NumPy scalar."""

    def start(self) -> None:
        """Starts it behind all that was started before."""


class Device(Protocol):
    """A device, which does what it is given in order. `target`: what texts for it should fit; `double`: whether it has float64.

    Arrays that are copied are bytes, and contiguous.
    """

    name: str
    kind: str
    dialect: Dialect
    target: Target
    double: bool

    def held(self) -> AbstractContextManager[Any]:
        """While it lasts the device belongs to this thread."""

    def build(self, text: str) -> Any:
        """The program of a text; BackendError shows the compiler's words."""

    def alloc(self, nbytes: int) -> Any:
        """A buffer of its memory, freed when nobody has it."""

    def lend(self, array: Any) -> Any:
        """A buffer that is the array itself, for a device without memory of its own; None for others."""

    def regain(self, buffer: Any) -> None:
        """Sees to it that what was written to a lent buffer is in the array, when all that was started is done."""

    def copy_in(self, buffer: Any, at: int, array: Any) -> None:
        """Sends an array to byte `at` of a buffer. Need not wait until it is there."""

    def copy_out(self, array: Any, buffer: Any, at: int) -> None:
        """Fills an array from byte `at` of a buffer, when all that was started is done."""

    def kernel(self, program: Any, name: str, groups: int, items: int, n_args: int) -> Kernel:
        """A kernel of a program, for so many groups of so many items."""


class DeviceBackend:
    """Compiles programs for a device."""

    name: str
    fuses = True

    def device(self) -> Device:
        """The device; BackendError where there is none."""
        raise NotImplementedError

    def compile(self, program: Program, updates: Mapping[int, int] | None = None) -> DeviceExecutable:
        """An executable for a program whose sizes are numbers; BackendError where the device cannot do what it asks."""
        return DeviceExecutable(plan_regions(program, updates or {}), self.device())


class DeviceExecutable:
    """A plan compiled for a device.

    `launches`: the kernels started so far, by all runs; `waits`: how often one waited for the device before it fetched results.
    """

    def __init__(self, plan: NativePlan, device: Device):
        self.plan, self.program, self.device = plan, plan.program, device
        self.translation = Translation(plan, device.target)
        self.launches = self.waits = 0
        self.peak = self.translation.arena_bytes + plan.output_bytes
        self._functions: dict[int, _Function] = {}
        self._table: list[Base] | None = None
        self._tell_host_steps()
        text = self.translation.source.text(device.dialect)
        if "f64" in text and not device.double:
            raise BackendError(f"{device.name} has no {float64.name}")
        self._program = device.build(text)

    @property
    def steps(self) -> str:
        """The steps as text."""
        return self.plan.text

    def __call__(self, arrays: Sequence[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        """The outputs for one array per input, each new memory but those written over an input. Errors name the user's line."""
        with self.device.held():
            code, n_inputs = self.translation, len(arrays)
            self._table = self._table or self._new_table()
            table = [*self._table]  # lent memory is held no longer than the run
            inputs, in_place = [np.ascontiguousarray(a).reshape(a.shape) for a in arrays], self.plan.in_place
            for i in in_place.values():
                if not inputs[i].flags.writeable:
                    inputs[i] = inputs[i].copy()
            outputs = [
                inputs[in_place[k]] if k in in_place else np.empty(tuple(map(int, value.shape)), value.dtype.np)
                for k, value in enumerate(self.program.outputs)
            ]
            slots = [1 + in_place[k] if k in in_place else 1 + n_inputs + k for k in range(len(outputs))]
            fresh = {slot: array for slot, array in zip(slots, outputs, strict=True) if slot > n_inputs}
            lent = {
                slot
                for slot, array in {**dict(enumerate(inputs, 1)), **fresh}.items()
                if self._lend(table, slot, array)
            }
            for slot, array in enumerate(inputs, 1):
                if slot not in lent:
                    self._send(table[slot][0], 0, array)
            self._send(table[0][0], 0, np.zeros(1, np.int32))
            follow(self, self.translation.instructions, table)
            fault = np.empty(1, np.int32)
            self._receive(fault, *table[0])
            if fault[0]:
                interpret(self.program, inputs)
                raise BackendError("a kernel found a fault where the same program in NumPy does not")
            for slot, array in zip(slots, outputs, strict=True):
                if slot in lent:
                    self.device.regain(table[slot][0])
                else:
                    self._receive(array, *table[slot])
            own = {code.arena, *code.constants}
            for function in self._functions.values():
                function.forget(own)
            return [self._given(k, out, arrays) for k, out in enumerate(outputs)]

    def _given(self, k: int, out: Any, arrays: Sequence[Any]) -> Any:
        """Output k: the input's array where it is written over one."""
        if k not in self.plan.in_place:
            return out
        array = arrays[self.plan.in_place[k]]
        if array is out or not array.flags.writeable:
            return out
        array[...] = out
        return array

    # --- memory ---------------------------------------------------------------------------------------------------

    def _new_table(self) -> list[Base]:
        """Buffers for the fault word, the arena and constants; those of arrays come with them, slots of loops as they run."""
        code = self.translation
        table: list[Base] = [(None, 0)] * code.slots
        table[0], table[code.arena] = (self._alloc(4), 0), (self._alloc(code.arena_bytes), 0)
        for slot, array in code.constants.items():
            table[slot] = self._alloc(array.nbytes), 0
            self._send(table[slot][0], 0, np.ascontiguousarray(array))
        return table

    def _lend(self, table: list[Base], slot: int, array: Any) -> bool:
        """Sees to it that a slot has memory for an array; whether that is the array's own."""
        lent = self.device.lend(_raw(array)) if array.nbytes else None
        if lent is not None:
            table[slot] = lent, 0
        elif table[slot][0] is None:
            assert self._table is not None
            self._table[slot] = table[slot] = self._alloc(array.nbytes), 0
        return lent is not None

    def _alloc(self, nbytes: int) -> Any:
        return self.device.alloc(max(nbytes, 16))

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
        function = self._functions.get(id(launch))
        if function is None:
            function = self._functions[id(launch)] = _Function(launch, self._program, self.device)
        function(table)

    def host(self, call: HostCall, table: list[Base]) -> None:
        """Does what only Python can: fetches, evaluates, sends."""
        operands = [self._operand(x, table[slot], offset) for x, (slot, offset) in call.operands]
        results = evaluated(call.step.node, operands)
        for (type_, (slot, offset)), result in zip(call.results, results, strict=True):
            buffer, at = table[slot]
            self._send(buffer, at + offset, np.ascontiguousarray(np.asarray(result, type_.dtype.np)))

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


class _Function:
    """The kernel of one launch; arguments are set only where they have changed."""

    def __init__(self, launch: Launch, program: Any, device: Device):
        printed, first = launch.printed, 2 * len(launch.places)
        self.places, self.last = launch.places, first + len(printed.words)
        self.kernel = device.kernel(program, printed.name, printed.groups, printed.items, self.last + 1)
        self.known: list[Base] = [(None, -1)] * len(launch.places)
        self.fault: Any = None
        word = np.int64 if printed.wide else np.int32
        for n, number in enumerate(printed.words):
            self.kernel.set_word(first + n, word(number))

    def forget(self, own: set[int]) -> None:
        """Holds only buffers of these slots any more."""
        for n, (slot, _, _) in enumerate(self.places):
            if slot not in own:
                self.known[n] = (None, -1)

    def __call__(self, table: list[Base]) -> None:
        kernel = self.kernel
        for n, (slot, offset, size) in enumerate(self.places):
            base = table[slot]
            if base != self.known[n]:
                self.known[n] = base
                kernel.set_buffer(2 * n, base[0])
                kernel.set_word(2 * n + 1, np.int64((base[1] + offset) // size))
        if table[0][0] is not self.fault:
            self.fault = table[0][0]
            kernel.set_buffer(self.last, self.fault)
        kernel.start()


def _raw(array: Any) -> Any:
    """The bytes of an array."""
    return array.reshape(-1).view(np.uint8)
