"""Plans for devices. A card has full folds done in as many parts as it does side by side. Where a kernel of the usual plan has
more arguments than the device takes, kernels get fewer buffers: values are put in memory where they would be written out, and
concatenations are made in parts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from graphc.core.op import Kind, View
from graphc.ir.kernel import Kernel
from graphc.ir.program import Node, Program, Value
from graphc.passes.rewrite import Build, Replacement, Rules, rewrite
from graphc.passes.split_reductions import split_for_groups
from graphc.planning.fusion import Fuser
from graphc.planning.groups import Group, Load
from graphc.planning.native_plan import NativePlan, every_step
from graphc.planning.regions import plan_regions
from graphc.planning.steps import KernelStep, Step

#: Fewer buffers are not tried: the operands of an op, and its result.
_LEAST = 8


def plan_for_device(
    program: Program, updates: Mapping[int, int], fits: Callable[[Kernel], bool], most: int, groups: int
) -> NativePlan:
    """The plan of a program, with kernels that fit; none of more than `most` buffers does. `groups`: what a card does side by
    side, 0 for a processor. `updates`: as of `plan_regions`."""
    program = split_for_groups(program, groups)
    plan = plan_regions(program, updates)
    while most > _LEAST and not all(fits(x.kernel) for x in every_step(plan) if isinstance(x, KernelStep)):
        most //= 2
        plan = plan_regions(rewrite(program, _cutting(most // 2), "few_buffers"), updates, partial(_fuse, most))
    return plan


def _cutting(most: int) -> Rules:
    def cut(node: Node, build: Build) -> Replacement:
        """concat(a, b, c, ...) => concat(concat(a, b), concat(c, ...), ...)"""
        if node.op.kind != Kind("concat") or len(node.inputs) <= most:
            return None
        parts = [node.inputs[n : n + most] for n in range(0, len(node.inputs), most)]
        made = [build(node.op, *part, **node.attrs) if len(part) > 1 else part[0] for part in parts]
        return build(node.op, *made, **node.attrs)

    return Rules({}, others=(cut,))


def _fuse(most: int, program: Program) -> list[Step]:
    return _Fuser(program, most).run()


class _Fuser(Fuser):
    """Fuses into kernels of `most` buffers, half of which a value that is written out may read."""

    def __init__(self, program: Program, most: int):
        super().__init__(program)
        self.most = most

    def wants_memory(self, node: Node) -> bool:
        while len(self.reads(node.outputs[0])) > self.most // 2:
            large = max(map(_source, node.inputs), key=lambda x: len(self.reads(x)))
            if self.level(large) is not None:
                break
            self.root(large)
        return super().wants_memory(node)

    def reads(self, value: Value) -> set[Value]:
        """What is in memory and read where the value is needed."""
        return {value} if self.level(value) is not None else {*self.neighbours(value)[1]}

    def unsuited(self, value: Value, group: Group, n: Any) -> str:
        has = {x.value for x in group.sources if isinstance(x, Load)} | {draft.value for draft in group.drafts}
        if len(has | {value, *self.neighbours(value)[1]}) > self.most:
            return "the kernel has as many buffers as the device takes"
        return super().unsuited(value, group, n)


def _source(value: Value) -> Value:
    """What a value is a view of."""
    while isinstance(value.node.op.kind, View):
        value = value.node.inputs[0]
    return value


__all__ = ["plan_for_device"]
