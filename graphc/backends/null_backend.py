"""The null backend: a program as the kernels that a device would run, in either dialect, and no device.

All that a renderer adds is here: a plan is translated, and its source printed. What it writes is compared with files
(tests/backends/c_like) and given to compilers that need no device (tests/backends/nvidia).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from graphc.backends.c_like.heads import OPENCL, Dialect
from graphc.backends.c_like.tiles import Target
from graphc.backends.devices.translation import Translation, plan_for
from graphc.core.errors import BackendError
from graphc.ir.program import Program

#: A small graphics card.
TARGET = Target(items=64, local=1 << 15, units=16, vector=0)


class NullBackend:
    """Writes programs and runs none."""

    name = "null"
    fuses = True

    def compile(self, program: Program, updates: Mapping[int, int] | None = None) -> NullExecutable:
        """The kernels of a program whose sizes are numbers."""
        return NullExecutable(Translation(plan_for(TARGET, program, updates or {}), TARGET))


class NullExecutable:
    """A program's kernels. `peak`: the bytes a run would hold in arena and outputs."""

    def __init__(self, translation: Translation):
        self.translation = translation
        self.peak = translation.arena_bytes + translation.plan.output_bytes

    def text(self, dialect: Dialect = OPENCL) -> str:
        """The kernels as a compiler of that dialect reads them."""
        return self.translation.source.text(dialect)

    @property
    def steps(self) -> str:
        """The steps as text, then the kernels."""
        return f"{self.translation.plan.text}\n{self.text()}"

    def __call__(self, arrays: Sequence[Any]) -> NoReturn:
        """Raises BackendError."""
        raise BackendError(
            "the backend 'null' writes kernels and runs none\n  hint: backend='llvm' runs on the processor, 'opencl' on devices"
        )
