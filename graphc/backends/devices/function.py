"""The start of one kernel, over and over, with buffers that may change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.backends.devices.protocol import Device
from graphc.backends.devices.runs import Base
from graphc.backends.devices.translation import Launch


class Function:
    """The kernel of one launch; arguments are set only where they have changed."""

    def __init__(self, launch: Launch, program: Any, name: str, device: Device):
        printed, first = launch.printed, 2 * len(launch.places)
        self.places, self.last = launch.places, first + len(printed.words)
        self.kernel = device.kernel(program, name, printed.groups, printed.items, self.last + 1)
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
        if 0 not in own:
            self.fault = None

    def __call__(self, table: list[Base]) -> None:
        self._set(table)
        self.kernel.start()

    def clocked(self, table: list[Base]) -> Callable[[], int]:
        """The same; what it gives tells how many nanoseconds it took, once all is done."""
        self._set(table)
        return self.kernel.clocked()

    def _set(self, table: list[Base]) -> None:
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
