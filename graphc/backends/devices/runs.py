"""A run: instructions followed over a table of buffers, whatever device does the launches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from graphc.backends.devices.translation import HostCall, Launch, Look
from graphc.backends.runs.instructions import Branch, Copy, Loop, Slot, Swap, While

#: What a slot holds: a buffer, and the byte where its memory begins in it.
Base = tuple[Any, int]


class Run(Protocol):
    """What instructions ask of the run that they belong to."""

    def launch(self, launch: Launch, table: list[Base]) -> None:
        """Starts a kernel."""

    def host(self, call: HostCall, table: list[Base]) -> None:
        """Does what only Python can."""

    def look(self, look: Look, table: list[Base]) -> None:
        """Looks at what a region has made."""

    def test(self, base: Base, offset: int) -> bool:
        """Reads a bool, which waits for all that was started."""


def follow(run: Run, instructions: Sequence[Any], table: list[Base]) -> None:
    """Does instructions in their order."""
    for x in instructions:
        match x:
            case Launch():
                run.launch(x, table)
            case HostCall():
                run.host(x, table)
            case Look():
                run.look(x, table)
            case Loop():
                assert x.count_slot < 0
                _place(x.slots, table)
                for _ in range(x.count):
                    follow(run, x.body, table)
                    _move(x, table)
            case While():
                _place(x.slots, table)
                while True:
                    follow(run, x.condition, table)
                    if not run.test(table[x.slot], x.offset):
                        break
                    follow(run, x.body, table)
                    _move(x, table)
            case Branch():
                follow(run, x.then if run.test(table[x.slot], x.offset) else x.otherwise, table)


def _place(slots: Sequence[Slot], table: list[Base]) -> None:
    for x in slots:
        buffer, at = table[x.source]
        table[x.slot] = buffer, at + x.start


def _move(loop: Loop | While, table: list[Base]) -> None:
    for x in loop.moves:
        match x:
            case Copy():
                table[x.to] = table[x.source]
            case Swap():
                table[x.first], table[x.second] = table[x.second], table[x.first]
    for slot in loop.slots:
        if slot.stride:
            buffer, at = table[slot.slot]
            table[slot.slot] = buffer, at + slot.stride
