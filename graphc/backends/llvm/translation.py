"""From a native plan to instructions: kernels and products as tasks in regions, everything else as calls of Python."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from graphc.backends.llvm import blas, chains, convolutions, gemm, host, sorting
from graphc.backends.llvm.kernels import print_kernel
from graphc.backends.llvm.native_code import addresses, begin
from graphc.backends.llvm.runner import Call, Host, Instruction, Region, Task
from graphc.backends.runs.control import Draft, control
from graphc.backends.runs.places import Scope, Where
from graphc.core.errors import BackendError
from graphc.core.tensor_types import TensorType
from graphc.ir.kernel import Kernel
from graphc.planning.convolutions import convolution_of
from graphc.planning.costs import CYCLES_A_NANOSECOND, SMALLEST_SHARED, kernel_cycles
from graphc.planning.fusion import contiguous
from graphc.planning.memory import aligned
from graphc.planning.native_plan import NativePlan, step_text
from graphc.planning.steps import (
    CheckStep,
    ContractionStep,
    ControlStep,
    ConvolutionStep,
    HostStep,
    KernelStep,
    SortStep,
    Step,
    Strided,
    copy_kernel,
)

#: Parts for each thread: enough to even out what parts take.
PARTS_A_THREAD = 4
#: The same for convolutions, each part of which has working memory of its own.
CHAINS_A_THREAD = 2


@dataclass(frozen=True)
class Layout:
    """The first slots of a run's table: 0 the run state, then inputs, outputs, the arena; behind it constants and loops."""

    inputs: int
    outputs: int

    @property
    def arena(self) -> int:
        """The arena's slot."""
        return 1 + self.inputs + self.outputs


@dataclass(frozen=True)
class StepCode:
    """What a step became, for explanations: how it is computed, in how many parts, cycles of all parts together (estimated),
    the IR written for it alone."""

    step: Step
    how: str
    parts: int
    cycles: float
    sources: tuple[str, ...] = ()


class Translation:
    """The instructions of a plan on a number of threads. `steps[n - 1]` is the step that a failure numbered n names.

    `slots`: how many the table has; `constants`: the arrays of those that hold one. `host_step(step, scope, table)` does
    the steps that Python does; `after_region(region, scope, table)`, if there is one, is called when a region is done.
    """

    def __init__(
        self,
        plan: NativePlan,
        threads: int,
        host_step: Callable[[HostStep, Scope, int], object],
        after_region: Callable[[tuple[Step, ...], Scope, int], object] | None = None,
    ):
        self.plan, self.threads, self.host_step, self.after_region = plan, threads, host_step, after_region
        layout = self.layout = Layout(len(plan.program.inputs), len(plan.program.outputs))
        self.slots = layout.arena + 1
        self.constants: dict[int, Any] = {}
        self.machine = host.machine()
        self.steps: list[Step] = []
        #: the numbers of the steps of each region that is run; their times stand behind those of steps
        self.regions: list[tuple[int, ...]] = []
        self.codes: list[StepCode] = []
        self.wanted: list[tuple[str, str]] = []
        #: the step that each of them is for
        self._wanting: list[Step] = []
        self.scratch_start = aligned(plan.arena_bytes)
        self.scratch = 0
        slots = range(1, layout.arena)
        inputs, outputs = ([(slot, 0) for slot in part] for part in (slots[: layout.inputs], slots[layout.inputs :]))
        draft = self.body(plan, inputs, outputs, (layout.arena, 0))
        try:
            self.found = addresses(self.wanted)
        except RuntimeError as error:
            raise self._refused(error) from error
        self.instructions = draft(self.found)
        self.arena_bytes = self.scratch_start + self.scratch

    def new_slot(self) -> int:
        """A slot nobody else uses."""
        self.slots += 1
        return self.slots - 1

    def body(
        self, plan: NativePlan, inputs: Sequence[Where], outputs: Sequence[Where], arena: Where
    ) -> Callable[[list[int]], tuple[Instruction, ...]]:
        """The instructions of a plan whose inputs, outputs and arena are there."""
        constants = []
        for array in plan.constants:
            slot = self.new_slot()
            self.constants[slot] = array
            constants.append((slot, 0))
        scope = Scope(plan, tuple(inputs), tuple(outputs), tuple(constants), arena)
        drafts = [self._region(region, scope) for region in plan.regions]
        return lambda found: tuple([made for draft in drafts for made in draft(found)])

    def _region(self, region: tuple[Step, ...], scope: Scope) -> Draft:
        """What a region becomes once the addresses of its functions are known."""
        drafts: list[Callable[[list[int]], Task]] = []
        others: list[Draft] = []
        numbers: list[int] = []
        cycles, used = 0.0, 0
        for step in region:
            self.steps.append(step)
            number = len(self.steps)
            if isinstance(step, HostStep):
                others.append(self._host(step, number, scope))
                continue
            if isinstance(step, ControlStep):
                others.append(control(self, step, number, scope))
                continue
            try:
                if isinstance(step, ContractionStep):
                    draft, cost, scratch = self._product(step, number, used, scope)
                elif isinstance(step, ConvolutionStep):
                    draft, cost, scratch = self._convolution(step, number, used, scope)
                elif isinstance(step, SortStep):
                    draft, cost, scratch = self._sort(step, number, used, scope)
                else:
                    draft, cost, scratch = *self._kernel(step, number, scope), 0
            except RuntimeError as error:
                raise _not_compiled(step, error) from error
            drafts.append(draft)
            numbers.append(number)
            cycles += cost
            used += aligned(scratch)
        self.scratch = max(self.scratch, used)
        tasks, after = self._tasks(drafts, cycles, numbers), self._after(region, scope)
        return lambda found: [*tasks(found), *(other for draft in others for other in draft(found)), *after]

    def _tasks(
        self, drafts: Sequence[Callable[[list[int]], Task]], cycles: float, numbers: Sequence[int]
    ) -> Callable[[list[int]], list[Instruction]]:
        """The region of these tasks, which belong to steps of these numbers."""
        if not drafts:
            return lambda found: []
        self.regions.append(tuple(numbers))
        n, work = len(self.regions), int(cycles / CYCLES_A_NANOSECOND)
        return lambda found: [Region(tuple([draft(found) for draft in drafts]), work, len(self.steps) + n)]

    def wall_times(self, times: Any) -> list[int]:
        """Nanoseconds of each step, from what runs have added up: what steps of one region took together is shared out."""
        n = len(self.steps)
        steps, regions = self._in_regions
        found = np.array(times[1 : n + 1], np.float64)
        tasks, found[steps] = found[steps] + 1e-9, 0.0  # of all threads; a clock may not have seen any time pass
        together = np.bincount(regions, tasks, len(self.regions))[regions]
        np.add.at(found, steps, np.asarray(times[n + 1 :], np.float64)[regions] * tasks / together)
        return [round(x) for x in found.tolist()]

    @functools.cached_property
    def _in_regions(self) -> tuple[Any, Any]:
        """The steps that are tasks of regions, counted from 0, and their regions."""
        pairs = [(step - 1, n) for n, numbers in enumerate(self.regions) for step in dict.fromkeys(numbers)]
        steps, regions = zip(*pairs, strict=True) if pairs else ((), ())
        return np.array(steps, np.intp), np.array(regions, np.intp)

    def _after(self, region: tuple[Step, ...], scope: Scope) -> list[Instruction]:
        """What is called when a region is done; its time belongs to no step."""
        call = self.after_region
        return [] if call is None else [Host(lambda table: call(region, scope, table), 0)]

    def _host(self, step: HostStep, number: int, scope: Scope) -> Draft:
        return lambda found: [Host(lambda table: self.host_step(step, scope, table), number)]

    def copies(self, copies: Sequence[tuple[TensorType, Where, Where]], number: int) -> Draft:
        """Copies of whole tensors from one place to another."""
        drafts: list[Callable[[list[int]], Task]] = []
        cycles = 0.0
        for type_, source, target in copies:
            draft, cost = self._task(copy_kernel(type_), (*source, *target), number)
            drafts.append(draft)
            cycles += cost
        return self._tasks(drafts, cycles, [number])

    def _refused(self, error: RuntimeError) -> Exception:
        """The error for the first text that LLVM refuses, in terms of the step that it is for."""
        for wanted, step in zip(self.wanted, self._wanting, strict=True):
            try:
                addresses([wanted])
            except RuntimeError as found:
                return _not_compiled(step, found)
        return error

    def _want(self, text: str, symbol: str) -> int:
        begin(text)
        self.wanted.append((text, symbol))
        self._wanting.append(self.steps[-1])
        return len(self.wanted) - 1

    def _kernel(
        self, step: KernelStep | CheckStep, number: int, scope: Scope
    ) -> tuple[Callable[[list[int]], Task], float]:
        return self._task(step.kernel, [word for value in step.buffers for word in scope.place(value)], number)

    def _task(self, kernel: Kernel, places: Sequence[int], number: int) -> tuple[Callable[[list[int]], Task], float]:
        """The task of a kernel on buffers at these places, and its cycles."""
        printed = print_kernel(kernel, self.machine)
        at = self._want(printed.text, "task")
        cycles = kernel_cycles(kernel, printed.lanes)
        most = self.threads * (1 if printed.scans or self.threads == 1 else PARTS_A_THREAD)
        parts = int(max(1, min(most, cycles / SMALLEST_SHARED)))
        how = f"vectors of {printed.lanes}" if printed.lanes > 1 else "one element at a time"
        self.codes.append(StepCode(self.steps[number - 1], how, parts, cycles, (printed.text,)))
        args = (*places, *printed.words)
        return lambda found: Task((Call(found[at], args, number),), printed.extent, parts, printed.grain), cycles

    def _product(
        self, step: ContractionStep, number: int, used: int, scope: Scope
    ) -> tuple[Callable[[list[int]], Task], float, int]:
        out = step.node.outputs[0]
        *batch, m, n = map(int, out.shape)
        k = step.a.shape[-1]
        c = Strided(out, (*batch, m, n), contiguous((*batch, m, n)), 0)
        a, b, result = (self._matrix(x, batch, scope) for x in (step.a, step.b, c))
        added = None if step.c is None else self._matrix(step.c, batch, scope)
        if added is not None and n == 1:
            added = replace(added, column=1)
        product = gemm.Gemm(
            out.dtype.name, m, n, k, a, b, result, tuple(batch),
            alpha=float(step.node.attrs.get("alpha", 1.0)), beta=0.0 if added is None else 1.0, d=added,
            alpha_at=None if step.scale is None else (*scope.element(step.scale), step.scale.value.dtype.name),
        )  # fmt: skip
        way = gemm.choose(product, self.threads, self.machine, blas.library)
        at = self._want(way.module, way.symbol)
        scratch = (self.layout.arena, self.scratch_start + used)
        args = gemm.words(product, way, self.machine, scratch)
        cycles = float(way.cycles) * way.parts
        how = f"{gemm.described(product, way)}, m {m} n {n} k {k}" + (f", {product.batches} times" if batch else "")
        self.codes.append(StepCode(step, how, way.parts, cycles))
        return lambda found: Task((Call(found[at], args, number),), way.extent, way.parts), cycles, way.total_scratch

    def _convolution(
        self, step: ConvolutionStep, number: int, used: int, scope: Scope
    ) -> tuple[Callable[[list[int]], Task], float, int]:
        node = step.node
        a, b = map(scope.element, step.operands)
        scratch = (self.layout.arena, self.scratch_start + used)
        parts = node.attrs.get("parts", 1 if self.threads == 1 else CHAINS_A_THREAD * self.threads)
        numbers = convolution_of(node)
        made = convolutions.chain(
            node.op.name, numbers, a, b, scope.place(node.outputs[0]), scratch, parts, self.machine
        )
        own = tuple([text for text, symbol in made.texts if symbol == "task"])
        how = f"{made.extent} blocks of columns, each laid out and multiplied"
        self.codes.append(StepCode(step, how, made.parts, made.cycles, own))
        at = self._want(chains.module(self.machine), "chain")
        links = [self._want(*wanted) for wanted in made.texts]
        grain = made.blocks if "parts" in node.attrs else 1

        def task(found: list[int]) -> Task:
            args = made.words([found[n] for n in links])
            return Task((Call(found[at], args, number),), made.extent, made.parts, grain)

        return task, made.cycles, made.scratch

    def _sort(
        self, step: SortStep, number: int, used: int, scope: Scope
    ) -> tuple[Callable[[list[int]], Task], float, int]:
        """Rows along an axis; each part has working memory of its own."""
        node, (x,) = step.node, step.operands
        axis, dtype, shape = node.attrs["axis"], x.value.dtype, x.shape
        rows, apart = math.prod(shape[:axis] + shape[axis + 1 :]), math.prod(shape[axis + 1 :])
        cycles, room = rows * sorting.cycles(dtype, shape[axis]), sorting.scratch_bytes(dtype, shape[axis])
        most = self.threads * PARTS_A_THREAD if self.threads > 1 else 1
        parts = int(max(1, min(rows, most, cycles / SMALLEST_SHARED)))
        places = [scope.element(x), *map(scope.place, node.outputs), (self.layout.arena, self.scratch_start + used)]
        numbers = (max(rows, 1), parts, shape[axis], max(apart, 1), room, step.count)
        args = (*(word for place in places for word in place), *numbers)
        text = sorting.module(dtype, node.attrs["descending"], self.machine)
        at = self._want(text, "sort")
        self.codes.append(StepCode(step, f"the first {step.count} of rows of {shape[axis]}", parts, cycles, (text,)))
        return lambda found: Task((Call(found[at], args, number),), rows, parts), cycles, room * parts

    def _matrix(self, x: Strided, batch: list[int], scope: Scope) -> gemm.Matrix:
        missing = len(batch) - (len(x.shape) - 2)
        own = zip(x.shape[:-2], x.strides[:-2], strict=True)
        steps = (0,) * missing + tuple(0 if size == 1 else step for size, step in own)
        return gemm.Matrix(*scope.element(x), x.strides[-2], x.strides[-1], steps)


def _not_compiled(step: Step, error: RuntimeError) -> BackendError:
    """The error for a step that LLVM refuses, with its ops and the user's lines."""
    made = dict.fromkeys(f"{x.op.name} made at {x.origins[0].place}" for x in step.nodes if x.origins)
    found = BackendError(
        "\n".join([f"{step_text(step)} cannot be compiled: {error}", *(f"  it does {x}" for x in made)])
    )
    found.line = next((x.origins[0].place for x in step.nodes if x.origins), found.line)
    return found
