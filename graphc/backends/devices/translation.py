"""From a native plan to launches: every step a kernel, but for those that no kernel exists for, which Python does."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from graphc.backends.c_like.kernels import ATOMIC, PAIR, WIDE_ATOMIC, Printed, argument_bytes, print_kernel
from graphc.backends.c_like.lanes import print_lanes
from graphc.backends.c_like.products import print_product
from graphc.backends.c_like.tiles import Target, Tile
from graphc.backends.c_like.together import print_together
from graphc.backends.c_like.writing import Source
from graphc.backends.runs.control import Draft, control
from graphc.backends.runs.places import Scope, Where
from graphc.core.config import config
from graphc.core.tensor_types import TensorType
from graphc.ir.kernel import Kernel
from graphc.ir.program import Program
from graphc.planning import sort_kernels
from graphc.planning.convolutions import convolution_of
from graphc.planning.for_devices import plan_for_device
from graphc.planning.memory import aligned
from graphc.planning.native_plan import INPUTS, NativePlan
from graphc.planning.product_kernels import convolution_kernel, product_kernel
from graphc.planning.sort_kernels import Rows, counting_kernel, exchange_kernels
from graphc.planning.steps import (
    CheckStep,
    ContractionStep,
    ControlStep,
    ConvolutionStep,
    KernelStep,
    NodeStep,
    SortStep,
    Step,
    Strided,
    copy_kernel,
)

#: Steps of a kernel that is small: it shares a start with others. Larger ones of a processor are lanes (c_like/lanes.py).
_SMALL, _SMALL_CARD = 1 << 13, 1 << 18


@dataclass(frozen=True, eq=False)
class Launch:
    """A kernel and where its buffers are: slot, byte offset, and bytes of an element. Scratch memory comes last.

    `steps`: those of the plan that it does. `small`: whether it may share a start with others of its region.
    """

    printed: Printed
    places: tuple[tuple[int, int, int], ...]
    steps: tuple[Step, ...] = ()
    small: bool = False


@dataclass(frozen=True, eq=False)
class HostCall:
    """A node that Python evaluates: its operands are fetched, its results sent."""

    step: NodeStep | SortStep
    operands: tuple[tuple[Strided, Where], ...]
    results: tuple[tuple[TensorType, Where], ...]


@dataclass(frozen=True, eq=False)
class Look:
    """After a region: its results are fetched and looked at."""

    region: tuple[Step, ...]
    scope: Scope


class Translation:
    """The instructions of a plan for a device; `source` has the kernels.

    Slots of a run's table: 0 the fault word, then inputs, outputs, the arena, constants (`constants`: their arrays), and those
    of loops; `slots` are there in all. `tile(kernel)`: the tile of a sum of products, None for the usual choice. `looks`:
    whether a `Look` follows each region.
    """

    def __init__(
        self,
        plan: NativePlan,
        target: Target,
        tile: Callable[[Kernel], Tile | None] = lambda kernel: None,
        looks: bool = False,
    ):
        self.plan, self.target, self.tile, self.source, self.looks = plan, target, tile, Source(), looks
        #: by what sums may be added up in any order; processors have few items, each of which does a share in order
        self.atomic = (
            {} if target.vector or config.deterministic else ATOMIC | (WIDE_ATOMIC if target.wide_atomics else {})
        )
        self.n_inputs, self.n_outputs = len(plan.program.inputs), len(plan.program.outputs)
        self.arena = 1 + self.n_inputs + self.n_outputs
        self.slots = self.arena + 1
        self.constants: dict[int, Any] = {}
        #: whether a kernel may set the fault word
        self.fails = False
        #: every launch there is
        self.launches: dict[Launch, None] = {}
        self.scratch_start = self.arena_bytes = aligned(plan.arena_bytes)
        inputs = [(1 + i, 0) for i in range(self.n_inputs)]
        outputs = [(1 + self.n_inputs + k, 0) for k in range(self.n_outputs)]
        self.instructions = self.body(plan, inputs, outputs, (self.arena, 0))(None)
        self.source.keep({x.printed.name for x in self.launches})

    def new_slot(self) -> int:
        """A slot nobody else uses."""
        self.slots += 1
        return self.slots - 1

    def body(
        self, plan: NativePlan, inputs: Sequence[Where], outputs: Sequence[Where], arena: Where
    ) -> Callable[[Any], tuple[Any, ...]]:
        """The instructions of a plan whose inputs, outputs and arena are there."""
        constants = []
        for array in plan.constants:
            slot = self.new_slot()
            self.constants[slot] = array
            constants.append((slot, 0))
        scope = Scope(plan, tuple(inputs), tuple(outputs), tuple(constants), arena)
        regions = [[self.step(step, scope) for step in region] for region in plan.regions]
        looks = [[Look(region, scope)] if self.looks else [] for region in plan.regions]
        return lambda found: tuple(
            [
                instruction
                for drafts, look in zip(regions, looks, strict=True)
                for instruction in [*self.together([made for draft in drafts for made in draft(found)]), *look]
            ]
        )

    def together(self, instructions: list[Any]) -> list[Any]:
        """The instructions of a region, whose steps do not need each other: small kernels share starts."""
        small = [x for x in instructions if isinstance(x, Launch) and x.small]
        if len(small) < 2:
            return instructions
        joint = []
        while small:
            n, printed, places = print_together(
                self.source, [(x.printed, x.places) for x in small], self.target.arguments
            )
            joint.append(
                small[0] if n == 1 else Launch(printed, tuple(places), tuple(s for x in small[:n] for s in x.steps))
            )
            small = small[n:]
        kept = [x for x in instructions if not (isinstance(x, Launch) and x.small)]
        for x in instructions:
            self.launches.pop(x, None)
        self.launches |= dict.fromkeys(x for x in [*kept, *joint] if isinstance(x, Launch))
        return [*kept, *joint]

    def step(self, step: Step, scope: Scope) -> Draft:
        """What a step becomes."""
        match step:
            case ControlStep():
                return control(self, step, 0, scope)
            case KernelStep() | CheckStep():
                places = [scope.place(value) for value in step.buffers]
                inputs = [scope.plan.places[value].area == INPUTS for value in step.buffers]
                kernel = _apart(step.kernel) if isinstance(step, CheckStep) and not self.target.vector else step.kernel
                return self.launch(kernel, places, step, careful=any(inputs[i] for i in _stored(kernel)))
            case ContractionStep():
                return self.product(step, scope)
            case ConvolutionStep():
                kernel = convolution_kernel(
                    step.node.op.name, convolution_of(step.node), step.node.attrs.get("parts", 1)
                )
                places = [*map(scope.element, step.operands), scope.place(step.node.outputs[0])]
                return self.launch(kernel, places, step)
            case SortStep():
                return self.sort(step, scope)
        call = HostCall(
            step,
            tuple((x, scope.place(x.value)) for x in step.operands),
            tuple((value.type, scope.place(value)) for value in step.node.outputs),
        )
        return lambda found: [call]

    def product(self, step: ContractionStep, scope: Scope) -> Draft:
        """A stack of matrix products."""
        out = step.node.outputs[0]
        shape = tuple(map(int, out.shape))
        kernel = product_kernel(
            step.a, step.b, out.dtype, shape, float(step.node.attrs.get("alpha", 1.0)), step.c, step.scale
        )
        values = [step.a.value, step.b.value, out, *(x.value for x in (step.scale, step.c) if x is not None)]
        return self.launch(kernel, [scope.place(v) for v in values], step, careful=True)

    def sort(self, step: SortStep, scope: Scope) -> Draft:
        """Rows put in order."""
        (x,), axis = step.operands, step.node.attrs["axis"]
        shape, dtype = x.shape, x.value.dtype
        rows = Rows(
            dtype, math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :]),
            bool(step.node.attrs["descending"]), step.count,
        )  # fmt: skip
        if not math.prod(shape):
            return lambda found: []
        source, results = scope.element(x), [scope.place(value) for value in step.node.outputs]
        if rows.n <= sort_kernels.LONGEST_COUNTED:
            kernel = counting_kernel(rows)
            return self.launch(kernel, [source, *results], step)
        room = rows.before * rows.behind * rows.filled
        scratch = [self.scratch_start, self.scratch_start + aligned(room * dtype.itemsize)]
        self.arena_bytes = max(self.arena_bytes, scratch[1] + aligned(room * 4))
        filled = [(self.arena, at) for at in scratch]
        first, *exchanges, last = exchange_kernels(rows)
        launches = [(first, [source, *filled]), *((x, filled) for x in exchanges), (last, [*filled, *results])]
        # sizes that are arguments: most of the exchanges share one text
        drafts = [self.launch(kernel, places, step, baked=0) for kernel, places in launches]
        return lambda found: [made for draft in drafts for made in draft(found)]

    def launch(
        self,
        kernel: Kernel,
        places: Sequence[Where],
        step: Step | None,
        careful: bool = False,
        baked: int | None = None,
    ) -> Draft:
        """The launch of a kernel on buffers at these places."""
        if not math.prod(kernel.extents[: kernel.n_outer]):
            return lambda found: []
        self.fails |= any(x.fails for x in kernel.statements)
        printed = (
            print_product(self.source, kernel, self.target, self.tile(kernel))
            or print_lanes(self.source, kernel, self.target, careful)
            or print_kernel(self.source, kernel, self.target.items, careful, baked, self.atomic)
        )
        used = self.scratch_start
        found = [(*where, d.itemsize) for where, d in zip(places, kernel.buffers, strict=True)]
        kept = [x for x in kernel.statements if x.kept]
        for nbytes, statement in zip(printed.scratch, kept, strict=False):
            found.append((self.arena, used, statement.dtype.itemsize))
            used += aligned(nbytes)
        self.arena_bytes = max(self.arena_bytes, used)
        most = _SMALL if self.target.vector else _SMALL_CARD
        # sort kernels need each other, and kernels that use scratch memory use the same
        small = isinstance(step, KernelStep) and printed.apart and not printed.scratch and not printed.wide
        small = small and math.prod(kernel.extents) <= most and not any(x.fails for x in kernel.statements)
        launch = Launch(printed, tuple(found), () if step is None else (step,), small)
        self.launches[launch] = None
        return lambda _: [launch]

    def copies(self, copies: Sequence[tuple[TensorType, Where, Where]], number: int) -> Draft:
        """Copies of whole tensors from one place to another."""
        drafts = [self.launch(copy_kernel(type_), (source, target), None) for type_, source, target in copies]
        return lambda found: [made for draft in drafts for made in draft(found)]


def plan_for(target: Target, program: Program, updates: Mapping[int, int]) -> NativePlan:
    """The plan of a program, with kernels whose arguments the device takes. `updates`: as of `plan_regions`."""
    most, groups = target.arguments, 0 if target.vector else 2 * target.units
    return plan_for_device(program, updates, lambda x: argument_bytes(x) <= most, most // PAIR, groups)


def _apart(check: Kernel) -> Kernel:
    """A check with an item for each index, of which any may set the fault word."""
    (statement,) = check.statements
    alone = replace(statement, inner=False, combine=None, identity=None)
    return replace(check, n_outer=len(check.extents), statements=(alone,))


def _stored(kernel: Kernel) -> set[int]:
    return {x.store.buffer for x in kernel.statements if x.store is not None}
