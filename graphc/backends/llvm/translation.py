"""From a native plan to instructions: kernels and products as tasks in regions, everything else as calls of Python."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from graphc.backends.llvm import blas, gemm, host
from graphc.backends.llvm.kernels import Printed, print_kernel
from graphc.backends.llvm.native_code import addresses
from graphc.backends.llvm.runner import Call, Host, Instruction, Region, Task
from graphc.core.errors import BackendError
from graphc.ir.kernel import Kernel
from graphc.planning.fusion import (
    Buffered,
    CheckStep,
    ContractionStep,
    HostStep,
    KernelStep,
    Step,
    Strided,
    contiguous,
)
from graphc.planning.memory import aligned
from graphc.planning.regions import BYTES, CONSTANTS, INPUTS, OUTPUTS, NativePlan, step_text

#: Cycles below which handing a part to another thread costs more than it brings.
SMALLEST_SHARED = 6_000
CYCLES_A_NANOSECOND = 3
#: Parts for each thread: enough to even out what parts take.
PARTS_A_THREAD = 4


@dataclass(frozen=True)
class Layout:
    """The slots of a run's table: 0 the run state, then inputs, outputs, the arena, constants."""

    inputs: int
    outputs: int
    constants: int

    @property
    def arena(self) -> int:
        """The arena's slot."""
        return 1 + self.inputs + self.outputs

    @property
    def slots(self) -> int:
        """How many slots there are."""
        return self.arena + 1 + self.constants

    def place(self, area: str, at: int) -> tuple[int, int]:
        """Slot and byte offset of a place."""
        if area == BYTES:
            return self.arena, at
        return {INPUTS: 1, OUTPUTS: 1 + self.inputs, CONSTANTS: self.arena + 1}[area] + at, 0


@dataclass(frozen=True)
class KernelCode:
    """A kernel step as it was printed, for explanations."""

    step: KernelStep | CheckStep
    printed: Printed
    parts: int


class Translation:
    """The instructions of a plan on a number of threads. `steps[n - 1]` is the step that a failure numbered n names."""

    def __init__(self, plan: NativePlan, threads: int, host_step: Callable[[HostStep, int], object]):
        self.plan, self.threads, self.host_step = plan, threads, host_step
        self.layout = Layout(len(plan.program.inputs), len(plan.program.outputs), len(plan.constants))
        self.machine = host.machine()
        self.steps: list[Step] = []
        self.kernels: list[KernelCode] = []
        self.ways: list[tuple[ContractionStep, gemm.Gemm, gemm.Way]] = []
        self.wanted: list[tuple[str, str]] = []
        self.scratch_start = aligned(plan.arena_bytes)
        self.scratch = 0
        drafts = [self._region(region) for region in plan.regions]
        self.found = addresses(self.wanted)
        self.instructions: list[Instruction] = [made for draft in drafts for made in draft(self.found)]
        self.arena_bytes = self.scratch_start + self.scratch

    def _region(self, region: tuple[Step, ...]) -> Callable[[list[int]], list[Instruction]]:
        """What a region becomes once the addresses of its functions are known."""
        drafts: list[Callable[[list[int]], Task]] = []
        hosts: list[Host] = []
        cycles, used = 0.0, 0
        for step in region:
            self.steps.append(step)
            number = len(self.steps)
            if isinstance(step, HostStep):
                hosts.append(Host(self._host(step, number), number))
                continue
            try:
                draft, cost, scratch = (
                    self._product(step, number, used)
                    if isinstance(step, ContractionStep)
                    else (*self._kernel(step, number), 0)
                )
            except RuntimeError as error:
                raise BackendError(f"{step_text(step)} cannot be compiled: {error}") from error
            drafts.append(draft)
            cycles += cost
            used += aligned(scratch)
        self.scratch = max(self.scratch, used)
        work = int(cycles / CYCLES_A_NANOSECOND)

        def make(found: list[int]) -> list[Instruction]:
            tasks = tuple(draft(found) for draft in drafts)
            made: list[Instruction] = [Region(tasks, work)] if tasks else []
            return [*made, *hosts]

        return make

    def _host(self, step: HostStep, number: int) -> Callable[[int], object]:
        return lambda table: self.host_step(step, table)

    def place(self, value: Buffered) -> tuple[int, int]:
        """Slot and byte offset of a value."""
        return self.layout.place(*self.plan.places[value])

    def _want(self, text: str, symbol: str) -> int:
        self.wanted.append((text, symbol))
        return len(self.wanted) - 1

    def _kernel(self, step: KernelStep | CheckStep, number: int) -> tuple[Callable[[list[int]], Task], float]:
        kernel = step.kernel
        printed = print_kernel(kernel, self.machine)
        at = self._want(printed.text, "task")
        places = [word for value in step.buffers for word in self.place(value)]
        extent = kernel.extents[0] if kernel.n_outer else 1
        cycles = estimate(kernel, printed.lanes)
        parts = int(max(1, min(self.threads * PARTS_A_THREAD, cycles / SMALLEST_SHARED)))
        grain = printed.lanes if printed.axis == 0 and kernel.n_outer else 1
        if self.threads == 1:
            parts = 1
        self.kernels.append(KernelCode(step, printed, parts))
        args = (*places, *printed.words)
        return lambda found: Task((Call(found[at], args, number),), extent, parts, grain), cycles

    def _product(self, step: ContractionStep, number: int, used: int) -> tuple[Callable[[list[int]], Task], float, int]:
        out = step.node.outputs[0]
        *batch, m, n = map(int, out.shape)
        k = step.a.shape[-1]
        c = Strided(out, (*batch, m, n), contiguous((*batch, m, n)), 0)
        product = gemm.Gemm(
            out.dtype.name, m, n, k, self._matrix(step.a, batch), self._matrix(step.b, batch), self._matrix(c, batch),
            tuple(batch),
        )  # fmt: skip
        library = blas.library()
        way = gemm.choose(product, self.threads, self.machine, library)
        at = self._want(way.module, way.symbol)
        scratch = (self.layout.arena, self.scratch_start + used)
        args = gemm.words(product, way, self.machine, library, scratch)
        self.ways.append((step, product, way))
        cycles = float(way.cycles) * way.parts
        return lambda found: Task((Call(found[at], args, number),), way.extent, way.parts), cycles, way.total_scratch

    def _matrix(self, x: Strided, batch: list[int]) -> gemm.Matrix:
        slot, offset = self.place(x.value)
        missing = len(batch) - (len(x.shape) - 2)
        own = zip(x.shape[:-2], x.strides[:-2], strict=True)
        steps = (0,) * missing + tuple(0 if size == 1 else step for size, step in own)
        return gemm.Matrix(slot, offset + x.offset * x.value.dtype.itemsize, x.strides[-2], x.strides[-1], steps)


def estimate(kernel: Kernel, lanes: int) -> float:
    """Cycles of a kernel on one thread, roughly: what its arithmetic and its loads take."""
    steps = 1
    for n in kernel.extents:
        steps *= n
    each = kernel.operations / 2 + sum(1 for _ in kernel.accesses())
    return steps * each / (8 if lanes > 1 else 1)
