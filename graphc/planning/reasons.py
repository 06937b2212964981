"""Why steps are steps of their own: the planner's walk once more, by one that notes what each group was refused for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from graphc.ir.program import Node, Program, Value
from graphc.planning.descriptions import Data, python_reason
from graphc.planning.fusion import Fuser
from graphc.planning.groups import Group
from graphc.planning.native_plan import NativePlan
from graphc.planning.steps import (
    CheckStep,
    ContractionStep,
    ControlStep,
    ConvolutionStep,
    CopyStep,
    HostStep,
    KernelStep,
    ScatterStep,
    SortStep,
    Step,
)

#: Reasons told of a step.
MOST = 4

_BY_KIND: dict[type, str] = {
    ContractionStep: "a product runs in a kernel made for products, which reads its operands from memory",
    ConvolutionStep: "a convolution runs in a kernel made for convolutions, which reads its operands from memory",
    ControlStep: "a loop or a branch: its body has steps of its own",
    SortStep: "a sort needs whole rows at once",
    CheckStep: "indices are tested before anything is read through them",
    ScatterStep: "a scatter puts elements one after another, in memory that other steps have begun",
    CopyStep: "the value has memory already, and is needed in other memory too: as an output, or in the place of an old value",
}


class _Asker(Fuser):
    """Fuses as the planner does, and notes refusals: (value, group, why)."""

    def __init__(self, program: Program):
        super().__init__(program)
        self.refusals: list[tuple[Value, Group, str]] = []

    def unsuited(self, value: Value, group: Group, n: Any) -> str:
        return self._noted(value, group, super().unsuited(value, group, n))

    def refused(self, value: Value, group: Group) -> str:
        return self._noted(value, group, super().refused(value, group))

    def _noted(self, value: Value, group: Group, why: str) -> str:
        if why:
            self.refusals.append((value, group, why))
        return why


def add_reasons(plan: NativePlan, steps: Sequence[Data]) -> None:
    """Adds to each described step of a plan, and of its loops' bodies, `alone_because`: why it did not join others."""
    refusals = _refusals(plan.program)
    planned = [step for region in plan.regions for step in region]
    for step, data in zip(planned, steps, strict=True):
        data["alone_because"] = list(dict.fromkeys(_reasons(step, refusals)))[:MOST]
        if isinstance(step, ControlStep):
            for body, inside in zip(plan.controls[step].bodies, data["bodies"].values(), strict=True):
                add_reasons(body, inside)


def _refusals(program: Program) -> dict[tuple[Node, ...], list[str]]:
    """By the nodes of a kernel's statements, why some of them are in no other kernel."""
    asker = _Asker(program)
    asker.run()
    found: dict[tuple[Node, ...], list[str]] = {}
    for value, group, why in asker.refusals:
        home = asker.homes.get(value)
        if isinstance(home, Group) and home is not group:
            nodes = tuple(draft.value.node for draft in home.drafts)
            text = f"{value.node.op.name} is not in the kernel of {_title(group)}: {why}"
            found.setdefault(nodes, []).append(text)
    return found


def _reasons(step: Step, refusals: dict[tuple[Node, ...], list[str]]) -> Iterator[str]:
    if isinstance(step, HostStep):
        yield python_reason(step.node)
    elif type(step) in _BY_KIND:
        yield _BY_KIND[type(step)]
    if isinstance(step, KernelStep) and not isinstance(step, CopyStep):
        yield from refusals.get(step.nodes, ("no kernel before it makes or reads what it reads",))


def _title(group: Group) -> str:
    names = list(dict.fromkeys(draft.value.node.op.name for draft in group.drafts))
    return " ".join(names[:3]) + (" ..." if len(names) > 3 else "")


__all__ = ["add_reasons"]
