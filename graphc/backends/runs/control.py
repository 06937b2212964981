"""Control ops as instructions: loops whose slots advance along sequences, branches, and where their bodies find what they read.

A body's kernels name slots and offsets as those of the whole program do. Closed-over tensors, constants and working memory
are where they are; only what changes from step to step has a slot of its own, set when the loop begins and moved after
each step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from graphc.backends.runs.instructions import Branch, Copy, Loop, Slot, Swap, While
from graphc.backends.runs.places import Scope, Where, beyond
from graphc.core.tensor_types import TensorType
from graphc.planning.native_plan import (
    Carry,
    CondPlan,
    NativePlan,
    ScanPlan,
    WhilePlan,
)
from graphc.planning.plan import nbytes_of
from graphc.planning.steps import ControlStep, Strided

#: The instructions that something becomes once its code is there.
Draft: TypeAlias = Callable[[Any], list[Any]]


class Translator(Protocol):
    """What control ops ask of the translation around them."""

    def new_slot(self) -> int:
        """A slot nobody else uses."""

    def body(
        self, plan: NativePlan, inputs: Sequence[Where], outputs: Sequence[Where], arena: Where
    ) -> Callable[[Any], tuple[Any, ...]]:
        """A body's instructions over these places."""

    def copies(self, copies: Sequence[tuple[TensorType, Where, Where]], number: int) -> Draft:
        """Copies of whole tensors, from the first to the second place."""


def control(to: Translator, step: ControlStep, number: int, scope: Scope) -> Draft:
    """The instructions of a control op."""
    plan = scope.plan.controls[step]
    match plan:
        case ScanPlan():
            return _ScanDraft(to, plan, number, scope).draft()
        case WhilePlan():
            return _while(to, plan, number, scope)
        case CondPlan():
            return _cond(to, plan, scope)


# --- scan -----------------------------------------------------------------------------------------------------------------


@dataclass
class _Slots:
    """The slots of a loop and how they move."""

    to: Translator
    placed: list[Slot] = field(default_factory=list)
    moves: list[Copy | Swap] = field(default_factory=list)

    def new(self, at: Where, stride: int = 0) -> Where:
        """A slot that begins there and advances."""
        slot = self.to.new_slot()
        self.placed.append(Slot(slot, *at, stride))
        return slot, 0

    def in_turn(self, init: Where, first: Where, second: Where) -> tuple[Where, Where]:
        """Where a carry is read and written that lies in two buffers in turn."""
        read, write, other = self.new(init), self.new(first), self.new(second)
        self.moves += [Copy(read[0], write[0]), Swap(write[0], other[0])]
        return read, write


class _ScanDraft:
    """A scan: one loop, its last step by itself where a carry's history is the carry's place."""

    def __init__(self, to: Translator, plan: ScanPlan, number: int, scope: Scope):
        self.to, self.plan, self.number = to, plan, number
        node = self.node = plan.step.node
        self.length, self.reverse = int(node.attrs["length"]), bool(node.attrs["reverse"])
        self.operands = plan.step.operands
        self.work = scope.place(plan.step)
        self.at = [scope.element(x) for x in self.operands]
        self.outputs = [scope.place(value) for value in node.outputs]
        self.slots = _Slots(to)
        self.last: list[Slot] = []
        self.before: list[tuple[TensorType, Where, Where]] = []
        self.after: list[tuple[TensorType, Where, Where]] = []

    def draft(self) -> Draft:
        plan, to, number = self.plan, self.to, self.number
        types = [value.type for value in self.node.outputs]
        carried = range(len(plan.carries))
        if self.length == 0:
            return to.copies([(types[i], self.at[i], self.outputs[i]) for i in carried], number)
        places = [self.carry(i, carry, types[i]) for i, carry in enumerate(plan.carries)]
        n_fixed = len(places) + self.node.attrs["n_const"]
        inputs = [read for read, _ in places] + self.at[len(places) : n_fixed]
        inputs += [self.sequence(at, x) for at, x in zip(self.at[n_fixed:], self.operands[n_fixed:], strict=True)]
        outputs = [write for _, write in places] + [self.stacked(n) for n in plan.stacked]
        body = to.body(plan.body, inputs, outputs, beyond(self.work, plan.arena))
        before, after = to.copies(self.before, number), to.copies(self.after, number)
        return lambda found: [*before(found), *self.loops(body(found)), *after(found)]

    def loops(self, body: tuple[Any, ...]) -> list[Any]:
        placed, moves = tuple(self.slots.placed), tuple(self.slots.moves)
        if not self.last:
            return [Loop(self.length, body, placed, moves)]
        if self.length == 1:
            return [Loop(1, body, (*placed, *self.last))]
        return [Loop(self.length - 1, body, placed, moves), Loop(1, body, tuple(self.last))]

    def carry(self, i: int, carry: Carry, type_: TensorType) -> tuple[Where, Where]:
        """Where a carry is read and where its next value goes."""
        init, final, n = self.at[i], self.outputs[i], nbytes_of(type_)
        stride, first = self.along(n)
        if carry.kept is not None:
            start = beyond(self.outputs[carry.kept], first)
            self.before.append((type_, init, start))
            read, write = self.slots.new(start, stride), self.slots.new(beyond(start, stride), stride)
            self.last.append(Slot(write[0], *final))
            return read, write
        if carry.made is not None:
            rows = self.outputs[carry.made]
            read, write = self.slots.new(init), self.slots.new(beyond(rows, first), stride)
            self.slots.moves.append(Copy(read[0], write[0]))
            self.after.append((type_, beyond(rows, 0 if self.reverse else (self.length - 1) * n), final))
            return read, write
        if self.length == 1:
            return init, final
        spare = beyond(self.work, carry.spare[0])
        return self.slots.in_turn(init, *((final, spare) if self.length % 2 else (spare, final)))

    def along(self, nbytes: int) -> tuple[int, int]:
        """Stride and first offset of a sequence whose elements are so many bytes apart."""
        return (-nbytes, (self.length - 1) * nbytes) if self.reverse else (nbytes, 0)

    def sequence(self, at: Where, x: Strided) -> Where:
        stride, first = self.along(x.strides[0] * x.value.dtype.itemsize)
        return self.slots.new(beyond(at, first), stride)

    def stacked(self, n: int) -> Where:
        stride, first = self.along(nbytes_of(self.node.outputs[n].type) // self.length)
        return self.slots.new(beyond(self.outputs[n], first), stride)


# --- while_loop and cond --------------------------------------------------------------------------------------------------


def _while(to: Translator, plan: WhilePlan, number: int, scope: Scope) -> Draft:
    work, slots = scope.place(plan.step), _Slots(to)
    at = [scope.element(x) for x in plan.step.operands]
    places = [
        slots.in_turn(init, *(beyond(work, offset) for offset in carry.spare))
        for init, carry in zip(at, plan.carries, strict=False)
    ]
    inputs = [read for read, _ in places] + at[len(places) :]
    test, arena = beyond(work, plan.test), beyond(work, plan.arena)
    condition = to.body(plan.condition, inputs, [test], arena)
    body = to.body(plan.body, inputs, [write for _, write in places], arena)
    outputs = plan.step.node.outputs
    after = to.copies([(v.type, read, scope.place(v)) for v, (read, _) in zip(outputs, places, strict=True)], number)
    placed, moves = tuple(slots.placed), tuple(slots.moves)
    return lambda found: [While(condition(found), *test, body(found), placed, moves), *after(found)]


def _cond(to: Translator, plan: CondPlan, scope: Scope) -> Draft:
    which, *inputs = [scope.element(x) for x in plan.step.operands]
    outputs = [scope.place(value) for value in plan.step.node.outputs]
    arena = beyond(scope.place(plan.step), plan.arena)
    true, false = (to.body(branch, inputs, outputs, arena) for branch in plan.bodies)
    return lambda found: [Branch(*which, true(found), false(found))]
