"""What a run does besides its steps: loops that move slots along sequences, and branches.

A run has a table of slots, each of which says where some memory begins. What a step reads and writes is told by slots and
offsets, so that the steps of a loop's body are the same at every turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Slot:
    """A slot a loop sets: to `source + start` bytes before the first iteration, `stride` bytes on after each."""

    slot: int
    source: int
    start: int = 0
    stride: int = 0


@dataclass(frozen=True)
class Copy:
    """After each iteration slot `to` becomes slot `source`."""

    to: int
    source: int


@dataclass(frozen=True)
class Swap:
    """After each iteration two slots change places."""

    first: int
    second: int


@dataclass(frozen=True)
class Loop:
    """Runs the body `count` times, or as often as the int64 at byte `count` of slot `count_slot` says.

    After each iteration first the moves are made, in their order, then the slots advance.
    """

    count: int
    body: tuple[Any, ...]
    slots: tuple[Slot, ...] = ()
    moves: tuple[Copy | Swap, ...] = ()
    count_slot: int = -1


@dataclass(frozen=True)
class While:
    """Runs `condition`, then the body while the bool at byte `offset` of slot `slot` is true; slots as in `Loop`."""

    condition: tuple[Any, ...]
    slot: int
    offset: int
    body: tuple[Any, ...]
    slots: tuple[Slot, ...] = ()
    moves: tuple[Copy | Swap, ...] = ()


@dataclass(frozen=True)
class Branch:
    """Runs one of two bodies by the bool at byte `offset` of slot `slot`."""

    slot: int
    offset: int
    then: tuple[Any, ...]
    otherwise: tuple[Any, ...] = ()
