"""Plans: the steps of a run in order, and where each value lives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from graphc.core.tensor_types import TensorType
from graphc.ir.program import Node, Program, Value
from graphc.ir.text import node_text, value_names

#: Where a buffer lives: in the arena at an offset; in memory of its own that becomes an output; in memory that a kernel
#: allocates by itself and that is let go at the last use.
ARENA, OUTPUT, FRESH = "arena", "output", "fresh"

#: How a step makes its value: as another view of a buffer; written into a buffer; written over an operand; as a new array.
VIEW, INTO, INPLACE, EVAL = "view", "into", "inplace", "eval"


@dataclass(eq=False)
class Buffer:
    """Contiguous memory (C order) that one or several values share in turn. `offset` counts in an ARENA only.

    Lives from step `first`, which writes it, to step `last`, which is the last to read it; `len(steps)` means to the end.
    """

    index: int
    nbytes: int
    place: str
    first: int
    last: int
    offset: int = 0

    def __str__(self) -> str:
        if self.place == ARENA:
            return f"arena[{self.offset}:{self.offset + self.nbytes}]"
        return f"{self.place} memory of {self.nbytes} bytes"


class Step(NamedTuple):
    """One node to run. `over`: the operand whose buffer an INPLACE step writes over; `frees`: values not read again."""

    node: Node
    how: str
    over: Value | None
    frees: tuple[Value, ...]


class Location(NamedTuple):
    """Where a value's elements are: in a buffer, or (None) in an input or constant of the program.

    `root`: the input, constant or first value of the buffer. `is_view`: whether it is a view of that root.
    """

    buffer: Buffer | None
    root: Value
    is_view: bool


class Output(NamedTuple):
    """An output of the program, and whether it must be copied: it is, or shares memory with, something else that stays."""

    value: Value
    copied: bool


@dataclass(frozen=True, eq=False)
class Plan:
    """How a program with known sizes runs. Every output is new memory in C order that nothing else shares.

    `constants`: the arrays that are there before any step, those of constant leaves and of small tensors made of nothing.
    """

    program: Program
    steps: tuple[Step, ...]
    buffers: tuple[Buffer, ...]
    locations: dict[Value, Location]
    constants: dict[Value, Any]
    outputs: tuple[Output, ...]
    arena_bytes: int
    transient_bytes: int

    @property
    def output_bytes(self) -> int:
        """The bytes of all outputs."""
        return sum(nbytes_of(output.value.type) for output in self.outputs)

    @property
    def peak(self) -> int:
        """The most bytes a run holds at once: arena, outputs, and arrays that kernels allocate by themselves.

        Inputs and constants do not count, nor what a kernel allocates and frees within one step.
        """
        return self.arena_bytes + self.output_bytes + self.transient_bytes

    @property
    def text(self) -> str:
        """One line a step: what it computes and where the result goes."""
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        names = value_names(self.program)
        yield (
            f"plan: {len(self.steps)} steps, arena {self.arena_bytes} bytes, outputs {self.output_bytes} bytes, "
            f"other arrays {self.transient_bytes} bytes, peak {self.peak} bytes"
        )
        for step in self.steps:
            at = self.locations[step.node.outputs[0]]
            if step.how == VIEW:
                where = f"view of {names[step.node.inputs[0]]}"
            elif step.how == INPLACE:
                assert step.over is not None
                where = f"over {names[step.over]}, {at.buffer}"
            else:
                where = ", ".join(str(self.locations[value].buffer) for value in step.node.outputs)
            yield f"  {node_text(step.node, names)}  -> {where}"
        for i, (value, copied) in enumerate(self.outputs):
            yield f"  output {i}: {names[value]}" + (" (copied)" if copied else "")


def nbytes_of(of: TensorType) -> int:
    """The bytes of a tensor of known sizes."""
    size: Any = of.nbytes
    return int(size)
