"""Where the values of a plan are in the table of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from graphc.planning.native_plan import BYTES, CONSTANTS, INPUTS, OUTPUTS, NativePlan
from graphc.planning.steps import Buffered, ControlStep, Strided

#: Slot and byte offset.
Where: TypeAlias = tuple[int, int]


@dataclass(frozen=True)
class Scope:
    """Where a plan's inputs, outputs, constants and arena are in the table of a run."""

    plan: NativePlan
    inputs: tuple[Where, ...]
    outputs: tuple[Where, ...]
    constants: tuple[Where, ...]
    arena: Where

    def place(self, value: Buffered | ControlStep) -> Where:
        """Slot and byte offset of a value, or of a loop's working memory."""
        area, at = self.plan.places[value]
        if area == BYTES:
            return beyond(self.arena, at)
        return {INPUTS: self.inputs, OUTPUTS: self.outputs, CONSTANTS: self.constants}[area][at]

    def element(self, x: Strided) -> Where:
        """Where the first element is."""
        return beyond(self.place(x.value), x.offset * x.value.dtype.itemsize)


def beyond(where: Where, nbytes: int) -> Where:
    """The place so many bytes further on."""
    return where[0], where[1] + nbytes
