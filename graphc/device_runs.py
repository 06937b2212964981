"""Programs whose inputs are partly on a device and partly numbers on the host.

A step counter, a seed or a learning rate that is a number on the host stays one: what follows from such numbers alone is
computed there, so that a run need not wait for the device to give it back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphc.core.arrays import DeviceArray, Memory
from graphc.core.errors import DeviceError
from graphc.core.op import Kind
from graphc.ir.interpret import interpreter
from graphc.ir.program import INPUT, Program, Value


class Where(NamedTuple):
    """The device memory that a run's arrays are in, and which inputs are numbers on the host."""

    memory: Memory
    numbers: tuple[int, ...]


def where_are(arrays: Sequence[Any]) -> Where | None:
    """Where arrays are, None if all are on the host. DeviceError for arrays of two devices."""
    found = {a.memory for a in arrays if type(a) is DeviceArray}
    if not found:
        return None
    if len(found) > 1:
        names = " and ".join(sorted(str(memory.device) for memory in found))
        raise DeviceError(f"Expected all tensors to be on the same device, but found at least two devices, {names}!")
    return Where(found.pop(), tuple([i for i, a in enumerate(arrays) if type(a) is np.ndarray and not a.ndim]))


class Divided:
    """A program in two: outputs that follow from numbers of the host alone are computed there, the others on the device."""

    def __init__(
        self,
        program: Program,
        updates: Mapping[int, int],
        where: Where,
        build: Callable[[Program, Mapping[int, int]], Any],
    ):
        self.memory = where.memory
        small = _numbers(program, {program.inputs[i] for i in where.numbers})
        self.here = [k for k, value in enumerate(program.outputs) if value in small]
        self.there = [k for k, value in enumerate(program.outputs) if value not in small]
        self._compute = (
            interpreter(program.with_outputs([program.outputs[k] for k in self.here])) if self.here else None
        )
        on_device = program.with_outputs([program.outputs[k] for k in self.there])
        self.executable = build(on_device, {n: updates[k] for n, k in enumerate(self.there) if k in updates})
        self.peak: int = self.executable.peak

    @property
    def steps(self) -> str:
        """The steps as text."""
        text: str = self.executable.steps
        return text

    def __call__(self, arrays: Sequence[Any]) -> list[Any]:
        """The outputs for one array per input."""
        found: dict[int, Any] = {}
        if self._compute is not None:
            found = dict(zip(self.here, map(np.array, self._compute(arrays)), strict=True))
        found |= zip(self.there, self.executable(arrays, self.memory), strict=True)
        return [found[k] for k in range(len(found))]


def _numbers(program: Program, given: set[Value]) -> set[Value]:
    """The values that follow from these inputs and constants alone, and from one of them at least, and are numbers."""
    small, known = set(given), set(given)
    for node in program.nodes:
        if node.op is INPUT or node.op.kind == Kind("control"):
            continue
        if all(v in known for v in node.inputs) and all(v.type.size == 1 for v in node.outputs):
            known.update(node.outputs)
            if any(v in small for v in node.inputs):
                small.update(node.outputs)
    return small
