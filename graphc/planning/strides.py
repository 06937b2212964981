"""Views of something in memory, as strides and an offset."""

from __future__ import annotations

from collections.abc import Callable

from graphc.core.op import View
from graphc.ir.program import Value
from graphc.planning.index_maps import Index, Space, Split


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of C order, in elements."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


def view_of_memory(value: Value, in_memory: Callable[[Value], bool]) -> tuple[Value, tuple[int, ...], int] | None:
    """What the value is a view of, its strides and its offset in that; None if it is no plain view of anything in memory."""
    shape = tuple(map(int, value.shape))
    space = Space(shape)
    parts = [[axis] for axis in range(len(shape))]
    while True:
        try:
            found = _position(value, in_memory, tuple([space.flat(loops) for loops in parts]), space)
        except Split as split:  # an axis that goes through several of the source's is walked in pieces
            new = space.split(split.axis, split.inner)
            loops = next(loops for loops in parts if split.axis in loops)
            loops.insert(loops.index(split.axis) + 1, new)
        else:
            break
    if found is None:
        return None
    source, total = found
    if value.type.size == 0:
        return source, contiguous(shape), 0
    if total.computed:
        return None
    strides: list[int] = []
    for loops in parts:
        step = _stride(total, [a for a in loops if space.extents[a] > 1], space)
        if step is None:
            return None
        strides.append(step)
    return source, tuple(strides), total.offset


def _position(
    value: Value, in_memory: Callable[[Value], bool], index: tuple[Index, ...], space: Space
) -> tuple[Value, Index] | None:
    """What the value is a view of, and where its element at `index` lies."""
    source = value
    while not in_memory(source):
        node = source.node
        if not isinstance(node.op.kind, View):
            return None
        source = node.inputs[0]
        if value.type.size:
            found = node.op.kind.index(index, source.type, **node.attrs)
            index = tuple([Index(space, {}, i) if isinstance(i, int) else i for i in found])
    total = space.flat(())
    if value.type.size:
        for i, step in zip(index, contiguous(tuple(map(int, source.shape))), strict=True):
            total = total + i * step
    return source, total


def _stride(total: Index, loops: list[int], space: Space) -> int | None:
    """The one stride of an axis walked by these loops, outermost first; None where they do not line up."""
    steps = [total.coefs.get(axis, 0) for axis in loops]
    for outer, inner, axis in zip(steps, steps[1:], loops[1:], strict=False):
        if outer != inner * space.extents[axis]:
            return None
    return steps[-1] if steps else 0
