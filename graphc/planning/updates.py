"""Outputs that replace an input (a parameter after its step) are written over that input's memory, at the end of a run.

Steps whose results nobody in the run reads are moved to the last region, behind every step that may fail: a run that fails
or is stopped has changed nothing. A step there may write over the input it makes anew if it reads no more of it than the
element it writes; other new values are copied over their inputs when everything else is done.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from graphc.core import scalar as s
from graphc.ir.kernel import Access, Kernel, Statement
from graphc.ir.program import CONSTANT, INPUT, Program, Value
from graphc.planning.fusion import contiguous
from graphc.planning.steps import (
    Buffered,
    ContractionStep,
    CopyStep,
    KernelStep,
    NodeStep,
    OutputCopy,
    ScatterStep,
    Step,
    Strided,
    copy_step,
)


def reads(step: Step) -> Iterator[Value]:
    """The values in memory that a step reads or writes."""
    if isinstance(step, ContractionStep | NodeStep):
        yield from (x.value for x in step.operands)
    else:
        yield from (x for x in step.buffers if isinstance(x, Value))


def settle(
    steps: list[Step], program: Program, updates: Mapping[int, int]
) -> tuple[list[Step], dict[int, int], dict[Buffered, int]]:
    """The steps, sorted by level; the updates that are done in place; the input in whose memory a value is made.

    `updates`: output number -> input number, of equal types. What cannot be done in place stays an output of its own.
    """
    wanted = {k: i for k, i in updates.items() if _is_plain(program, k, i)}
    makers: dict[Buffered, list[Step]] = {}
    readers: dict[Value, list[Step]] = {}
    for step in steps:
        for made in step.made:
            makers.setdefault(made, []).append(step)
        for value in dict.fromkeys(reads(step)):
            if value not in step.made:
                readers.setdefault(value, []).append(step)
    last = 1 + max((step.level for step in steps), default=0)
    moved: set[Step] = set()
    for k, i in wanted.items():
        step = makers[program.outputs[k]][-1]
        is_last = all(v not in readers and makers[v][-1] is step for v in step.made)
        if is_last and _may_move(makers[program.outputs[k]], program.inputs[i]):
            moved.add(step)
    homes: dict[Buffered, int] = {}
    added: list[Step] = []
    dropped: set[Step] = set()
    for k, i in wanted.items():
        value, old = program.outputs[k], program.inputs[i]
        *before, step = makers[value]
        others = [x for x in readers.get(old, []) if x is not step and x in moved]
        if step in moved and not others and _overwrites(step, value, old):
            homes[value] = i
            dropped.update(before)
        else:
            target = OutputCopy(k, value)
            homes[target] = i
            added.append(copy_step(value, target, last + 1))
    settled = [dataclasses.replace(x, level=last) if x in moved else x for x in steps if x not in dropped]
    return sorted([*settled, *added], key=lambda step: step.level), wanted, homes


def _is_plain(program: Program, k: int, i: int) -> bool:
    """Whether output k is a value the run computes, for this output alone, and of the input's type."""
    value = program.outputs[k]
    if value.node.op is INPUT or value.node.op is CONSTANT or program.outputs.count(value) > 1:
        return False
    return value.type == program.inputs[i].type


def _may_move(makers: list[Step], old: Value) -> bool:
    """Whether the last of a value's makers can be done at the end of the run: the only one, or what follows a copy of `old`."""
    *before, step = makers
    if isinstance(step, ScatterStep):
        return len(before) == 1 and isinstance(before[0], CopyStep) and before[0].buffers[0] is old
    return not before and isinstance(step, KernelStep | ContractionStep)


def _overwrites(step: Step, value: Value, old: Value) -> bool:
    """Whether the step may write `value` over `old`: it reads `old` only where, and not after, it writes `value`."""
    if isinstance(step, ContractionStep):
        c = step.c
        added = c is None or c.value is not old or c == Strided(old, c.shape, contiguous(c.shape), 0)
        return added and all(x is None or x.value is not old for x in (step.a, step.b, step.scale))
    assert isinstance(step, KernelStep)
    if old not in step.buffers or isinstance(step, ScatterStep):
        return old not in step.buffers
    kernel = step.kernel
    source, target = step.buffers.index(old), step.buffers.index(value)
    writer, *others = [x for x in kernel.statements if x.store is not None and x.store.buffer == target]
    if others:
        return False
    loads = {n for n, x in enumerate(kernel.sources) if isinstance(x, Access) and x.buffer == source}
    assert writer.store is not None
    return all(
        kernel.sources[n] == writer.store._replace(buffer=source) and _readers_agree(kernel, n, writer) for n in loads
    )


def _readers_agree(kernel: Kernel, source: int, writer: Statement) -> bool:
    """Whether all that read a source are done when the writer stores: its own pass and level, or an earlier pass."""
    indirect = [tree for access in kernel.accesses() for tree in _inside(access)]
    if any(_has_leaf(tree, source) for tree in indirect):
        return False
    return all(
        x.stage < writer.stage or (x.stage == writer.stage and x.inner == writer.inner and not x.combine)
        for x in kernel.statements
        if any(_has_leaf(tree, source) for tree in (x.tree, x.position) if tree is not None)
    )


def _inside(access: Access) -> Iterator[s.Scalar]:
    yield from (tree for tree, _ in access.computed)
    if access.guard is not None:
        yield access.guard


def _has_leaf(tree: s.Scalar, source: int) -> bool:
    return any(x.op == "leaf" and x.value == source for x in s.postorder(tree))
