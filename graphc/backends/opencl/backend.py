"""The OpenCL backend: a run is a row of kernels in one queue, with no wait before its results are fetched."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.backends.c_like.heads import OPENCL
from graphc.backends.devices.runs import Base, follow, strided
from graphc.backends.devices.translation import HostCall, Launch, Translation
from graphc.backends.opencl.devices import Device, cl, device
from graphc.core.errors import BackendError
from graphc.core.quiet import quiet, quiet_reset, quiet_set
from graphc.core.tensor_types import float64
from graphc.ir.blame import blame
from graphc.ir.interpret import interpret
from graphc.ir.program import Program
from graphc.planning.native_plan import NativePlan
from graphc.planning.plan import nbytes_of
from graphc.planning.regions import plan_regions

_log = logging.getLogger("graphc.opencl")


class OpenClBackend:
    """Compiles programs for the first OpenCL device."""

    name = "opencl"
    fuses = True

    def compile(self, program: Program, updates: Mapping[int, int] | None = None) -> OpenClExecutable:
        """An executable for a program whose sizes are numbers; BackendError where the device cannot do what it asks."""
        return OpenClExecutable(plan_regions(program, updates or {}), device())


class OpenClExecutable:
    """A plan compiled for a device. `waits` counts how often a run waited for the device before it fetched results."""

    def __init__(self, plan: NativePlan, target: Device):
        self.plan, self.program, self.device = plan, plan.program, target
        self.translation = Translation(plan, target.items)
        self.waits = 0
        self.peak = self.translation.arena_bytes + plan.output_bytes
        self._functions: dict[int, _Function] = {}
        self._table: list[Base] | None = None
        self._tell_host_steps()
        text = self.translation.source.text(OPENCL)
        if "f64" in text and not target.double:
            raise BackendError(f"{target.name} has no {float64.name}")
        self._program = target.program(text)

    @property
    def steps(self) -> str:
        """The steps as text."""
        return self.plan.text

    def __call__(self, arrays: Sequence[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        """The outputs for one array per input, each new memory but those written over an input. Errors name the user's line."""
        with self.device.lock:
            table = self._table = self._table or self._new_table()
            queue, inputs = self.device.queue, [np.ascontiguousarray(a).reshape(a.shape) for a in arrays]
            for i, array in enumerate(inputs):
                if array.nbytes:
                    cl.enqueue_copy(queue, table[1 + i][0], _raw(array), is_blocking=False)
            cl.enqueue_copy(queue, table[0][0], np.zeros(1, np.int32), is_blocking=False)
            follow(self, self.translation.instructions, table)
            return self._fetch(arrays, inputs, table)

    def _fetch(self, arrays: Sequence[Any], inputs: Sequence[Any], table: list[Base]) -> list[Any]:
        fault, queue = np.empty(1, np.int32), self.device.queue
        cl.enqueue_copy(queue, fault, table[0][0])
        if fault[0]:
            interpret(self.program, list(inputs))
            raise BackendError("a kernel found a fault where the same program in NumPy does not")
        outputs = []
        for k, value in enumerate(self.program.outputs):
            i = self.plan.in_place.get(k)
            out = arrays[i] if i is not None else np.empty(tuple(map(int, value.shape)), value.dtype.np)
            base = table[1 + i] if i is not None else table[1 + len(inputs) + k]
            if out.nbytes:
                target = out if out.flags.c_contiguous and out.flags.writeable else np.empty(out.shape, out.dtype)
                cl.enqueue_copy(queue, _raw(target), base[0])
                if target is not out and out.flags.writeable:
                    out[...] = target
                elif target is not out:
                    out = target
            outputs.append(out)
        return outputs

    def _new_table(self) -> list[Base]:
        code, flags = self.translation, cl.mem_flags
        sizes = [4, *(nbytes_of(v.type) for v in self.program.inputs)]
        sizes += [0 if k in self.plan.in_place else nbytes_of(v.type) for k, v in enumerate(self.program.outputs)]
        table: list[Base] = [
            (cl.Buffer(self.device.context, flags.READ_WRITE, max(n, 16)), 0) for n in (*sizes, code.arena_bytes)
        ]
        table += [(None, 0)] * (code.slots - len(table))
        for slot, array in code.constants.items():
            raw = _raw(np.ascontiguousarray(array))
            kept = cl.mem_flags.READ_ONLY | cl.mem_flags.COPY_HOST_PTR
            table[slot] = (
                cl.Buffer(self.device.context, kept, hostbuf=raw if raw.nbytes else np.zeros(16, np.uint8)),
                0,
            )
        return table

    # --- what a run asks (devices/runs.py) ------------------------------------------------------------------------

    def launch(self, launch: Launch, table: list[Base]) -> None:
        """Starts a kernel."""
        function = self._functions.get(id(launch))
        if function is None:
            function = self._functions[id(launch)] = _Function(launch, self._program, self.device)
        function(table)

    def host(self, call: HostCall, table: list[Base]) -> None:
        """Does what only Python can: fetches, evaluates, sends."""
        node = call.step.node
        token = quiet_set(quiet)
        try:
            operands = [self._operand(x, table[slot], offset) for x, (slot, offset) in call.operands]
            found = node.op.eval(*operands, **node.attrs)
        except Exception as error:
            raise blame(error, node) from error.__cause__
        finally:
            quiet_reset(token)
        results = (found,) if node.op.n_outputs == 1 else found
        for (type_, (slot, offset)), result in zip(call.results, results, strict=True):
            array = _raw(np.ascontiguousarray(np.asarray(result, type_.dtype.np)))
            buffer, at = table[slot]
            if array.nbytes:
                cl.enqueue_copy(self.device.queue, buffer, array, dst_offset=at + offset)

    def test(self, base: Base, offset: int) -> bool:
        """Reads a bool, which waits for all that was started."""
        self.waits += 1
        found = np.empty(1, np.uint8)
        cl.enqueue_copy(self.device.queue, found, base[0], src_offset=base[1] + offset)
        return bool(found[0])

    def _operand(self, x: Any, base: Base, offset: int) -> Any:
        self.waits += 1
        array = np.empty(nbytes_of(x.value.type), np.uint8)
        if array.nbytes:
            cl.enqueue_copy(self.device.queue, array, base[0], src_offset=base[1] + offset)
        return strided(array.view(x.value.dtype.np), x.shape, x.strides, x.offset)

    def _tell_host_steps(self) -> None:
        hosts = [x.step.node.op.name for x in self.translation.instructions if isinstance(x, HostCall)]
        if hosts:
            _log.warning("%s: done by Python, between waits: %s", self.device.name, ", ".join(dict.fromkeys(hosts)))


class _Function:
    """The kernel of one launch; arguments are set only where they have changed."""

    def __init__(self, launch: Launch, program: Any, target: Device):
        printed = launch.printed
        self.kernel = cl.Kernel(program, printed.name)
        # pyopencl's set_arg takes 6 us for a number, which it hands on to this one
        self.set_word = getattr(self.kernel, "_set_arg_buf", self.kernel.set_arg)
        self.queue, self.places = target.queue, launch.places
        self.size = (printed.groups * printed.items,)
        self.group = (printed.items,)
        self.known: list[Base] = [(None, -1)] * len(launch.places)
        word = np.int64 if printed.wide else np.int32
        first = 2 * len(launch.places)
        for n, number in enumerate(printed.words):
            self.set_word(first + n, word(number))
        self.last = first + len(printed.words)
        self.fault: Any = None

    def __call__(self, table: list[Base]) -> None:
        kernel = self.kernel
        for n, (slot, offset, size) in enumerate(self.places):
            base = table[slot]
            if base != self.known[n]:
                self.known[n] = base
                kernel.set_arg(2 * n, base[0])
                self.set_word(2 * n + 1, np.int64((base[1] + offset) // size))
        if table[0][0] is not self.fault:
            self.fault = table[0][0]
            kernel.set_arg(self.last, self.fault)
        cl.enqueue_nd_range_kernel(self.queue, kernel, self.size, self.group)


def _raw(array: Any) -> Any:
    """The bytes of an array."""
    return array.reshape(-1).view(np.uint8)
