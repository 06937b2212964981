"""Control ops in a native run: where carries, sequences and stacked outputs of a loop are in memory.

Bodies are planned like programs, over places of their own. What a body reads and writes is told apart only when it becomes
instructions: closed-over tensors are the operands themselves, sequences and stacked outputs are read and written in place
through slots that advance, carries are in two buffers in turn, or in the stacked output that holds them anyway.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from graphc.ir.program import Program, Value
from graphc.planning.memory import aligned
from graphc.planning.native_plan import Carry, CondPlan, ControlPlan, NativePlan, ScanPlan, WhilePlan
from graphc.planning.plan import nbytes_of
from graphc.planning.steps import ControlStep

Planner: TypeAlias = Callable[[Program], NativePlan]


def plan_control(step: ControlStep, plan: Planner) -> ControlPlan:
    """The plan of a control op; `plan` plans bodies."""
    return {"scan": _plan_scan, "while_loop": _plan_while, "cond": _plan_cond}[step.node.op.name](step, plan)


class _Memory:
    """The working memory of a loop, handed out piece by piece."""

    def __init__(self) -> None:
        self.size = 0

    def take(self, nbytes: int) -> int:
        at = self.size
        self.size += aligned(nbytes)
        return at


def _plan_scan(step: ControlStep, plan: Planner) -> ControlPlan:
    node = step.node
    body, n_carry = node.attrs["body"], node.attrs["n_carry"]
    if node.attrs["history"]:
        body = body.with_outputs((*body.outputs, *body.inputs[:n_carry]))
    length = int(node.attrs["length"])
    before, after, ys = body.inputs[:n_carry], body.outputs[:n_carry], body.outputs[n_carry:]
    memory = _Memory()
    free = dict(enumerate(ys, n_carry))
    carries = []
    for old, new in zip(before, after, strict=True):
        kept = _take(free, old)
        made = _take(free, new) if kept is None else None
        alone = kept is None and made is None and length > 1
        carries.append(Carry(kept, made, (memory.take(nbytes_of(old.type)),) if alone else ()))
    inner = plan(body.with_outputs((*after, *free.values())))
    arena = memory.take(inner.arena_bytes)
    return ScanPlan(step, inner, tuple(carries), tuple(free), arena, memory.size)


def _take(free: dict[int, Value], value: Value) -> int | None:
    """The number of a stacked output that holds this value, which then needs no storing of its own."""
    found = next((n for n, y in free.items() if y is value), None)
    if found is not None:
        del free[found]
    return found


def _plan_while(step: ControlStep, plan: Planner) -> ControlPlan:
    attrs: Any = step.node.attrs
    memory = _Memory()
    sizes = [nbytes_of(value.type) for value in step.node.outputs]
    carries = tuple(Carry(spare=(memory.take(n), memory.take(n))) for n in sizes)
    condition, body = plan(attrs["cond"]), plan(attrs["body"])
    test = memory.take(1)
    arena = memory.take(max(condition.arena_bytes, body.arena_bytes))
    return WhilePlan(step, condition, body, carries, test, arena, memory.size)


def _plan_cond(step: ControlStep, plan: Planner) -> ControlPlan:
    true, false = plan(step.node.attrs["true"]), plan(step.node.attrs["false"])
    return CondPlan(step, true, false, max(true.arena_bytes, false.arena_bytes))
