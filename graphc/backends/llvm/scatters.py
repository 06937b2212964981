"""The loops of scatters: inner ones in order, and inside them the row that is put in its place, in vectors.

Where all of a row goes to the place that one index names, the task's range is one of places: a part looks through all indices
and takes those that are its own, so that parts share no memory and each place gets its rows in the same order every time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from graphc.backends.llvm.accesses import Loops, Reader
from graphc.backends.llvm.scalars import print_trees
from graphc.core import scalar as s
from graphc.core.scalar import Scalar
from graphc.ir.kernel import Access, Kernel, Made

#: So many indices are looked through before their rows are put in place.
BLOCK = 256
#: The fewest columns of a part: parts of one row's columns write to the same lines of the cache where they meet.
FEWEST_COLUMNS = 256


class Nest(Loops, Protocol):
    """What the loops of a scatter ask of the printer of kernels."""

    extents: list[str]
    by_places: bool

    def enter(self, axis: int, counter: str) -> dict[int, str]:
        """Moves every access along a loop; returns where they were."""

    def leave(self, axis: int, saved: dict[int, str]) -> None:
        """Back to where the accesses were before the loop."""


def walks_rows(kernel: Kernel) -> bool:
    """Whether a scatter does the last outer loop inside the inner ones: it stores neighbours in neighbours."""
    if not kernel.scatters or kernel.n_outer == len(kernel.extents):
        return False
    return kernel.n_outer == 0 or _store(kernel).coefs[kernel.n_outer - 1] == 1


def splits_places(kernel: Kernel) -> bool:
    """Whether its parts are ranges of places: there is one loop over columns at most, and the index is that of the row."""
    if not walks_rows(kernel) or kernel.n_outer > 1 or not _store(kernel).computed:
        return False
    return kernel.n_outer == 0 or not _varies(kernel, _store(kernel).computed[0][0])


def _store(kernel: Kernel) -> Access:
    (store,) = [x.store for x in kernel.statements if x.store is not None]
    return store


def _varies(kernel: Kernel, tree: Scalar) -> bool:
    """Whether a tree varies from column to column."""
    for x in s.postorder(tree):
        if x.op == "index" and x.value < kernel.n_outer:
            return True
        if x.op == "leaf":
            source = kernel.sources[x.value]
            assert not isinstance(source, Made), "a scatter is a kernel of its own"
            guard = () if source.guard is None else (source.guard,)
            if any(source.coefs[: kernel.n_outer]):
                return True
            if any(_varies(kernel, inner) for inner in (*(tree for tree, _ in source.computed), *guard)):
                return True
    return False


def along_rows(nest: Nest, axes: Sequence[int], row: Callable[[], object]) -> None:
    """The inner loops `axes`, and in them `row`."""
    if not axes:
        row()
        return
    axis = axes[0]
    if len(axes) == 1 and nest.by_places:
        _in_blocks(nest, axis, row)
        return
    with nest.f.loop("0", nest.extents[axis], 1) as turn:
        saved = nest.enter(axis, turn.index)
        along_rows(nest, axes[1:], row)
        nest.leave(axis, saved)


def _in_blocks(nest: Nest, axis: int, row: Callable[[], object]) -> None:
    """One loop a block at a time: first the steps whose places lie in the task's range are noted, then their rows are done."""
    f, extent = nest.f, nest.extents[axis]
    noted = f.place(f"[{BLOCK} x i64]")
    span = f.let("sub i64 %end, %begin")
    with f.loop("0", extent, BLOCK) as block:
        last = f.let(f"add nsw i64 {block.index}, {BLOCK}")
        last = f.call("llvm.smin.i64", "i64", ("i64", last), ("i64", extent))
        with f.loop(block.index, last, 1, [("i64", "0")]) as turn:
            saved = nest.enter(axis, turn.index)
            reader = Reader(nest, 1)
            tree = _store(nest.kernel).computed[0][0]
            (place,) = print_trees(f, [tree], 1, reader.leaf, reader.index)
            nest.leave(axis, saved)
            (count,) = turn.carried
            f.do(f"store i64 {turn.index}, ptr {f.let(f'getelementptr i64, ptr {noted}, i64 {count}')}, align 8")
            ahead = f.let(f"sub i64 {place}, %begin")
            inside = f.let(f"zext i1 {f.let(f'icmp ult i64 {ahead}, {span}')} to i64")
            turn.next = [f.let(f"add nsw i64 {count}, {inside}")]
        with f.loop("0", turn.results[0], 1) as own:
            step = f.let(f"load i64, ptr {f.let(f'getelementptr i64, ptr {noted}, i64 {own.index}')}, align 8")
            saved = nest.enter(axis, step)
            row()
            nest.leave(axis, saved)
