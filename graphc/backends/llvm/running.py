"""Running folds: one inner loop that carries its value along, rows side by side in vectors where they are neighbours.

Along a row that is contiguous itself an associative fold is done a vector at a time: the lanes are folded in pairs, then in
fours, and so on, each with what is so many lanes before it, and what came before the vector is folded in last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from graphc.backends.llvm.accesses import Loops
from graphc.backends.llvm.registers import literal, register_type
from graphc.backends.llvm.scalars import print_trees
from graphc.core import scalar as s
from graphc.core.tensor_types import DType
from graphc.ir.kernel import Kernel

#: The operations of folds whose parts may be folded apart.
ASSOCIATIVE = {"add": "add", "multiply": "mul", "maximum": "max", "minimum": "min"}
#: Rows that lie apart are done side by side if there are so many.
SIDE_BY_SIDE = 8


class Nest(Loops, Protocol):
    """What running folds ask of the printer of kernels."""

    lanes: int
    inner: list[int]
    extents: list[str]

    def enter(self, axis: int, counter: str) -> dict[int, str]:
        """Moves every access along a loop; returns where they were."""

    def leave(self, axis: int, saved: dict[int, str]) -> None:
        """Back to where the accesses were before the loop."""

    def vectors(self, axis: int, start: str, carry: list[tuple[str, str]], body: object) -> list[str]:
        """A loop in whole vectors, then what is left."""

    def compute(self, numbers: list[int], lanes: int) -> None:
        """Statements of one place; `made` has their values."""

    def finish(self, n: int, value: str, lanes: int) -> None:
        """Stores a statement's value."""


def running_axis(kernel: Kernel) -> int | None:
    """The loop whose steps are lanes: rows where they are neighbours, else the row itself where the fold allows it."""
    last = kernel.n_outer - 1
    if last >= 0 and all(a.coefs[last] in (0, 1) for a in kernel.accesses()):
        return last
    if kernel.running in ASSOCIATIVE and len(kernel.extents) == kernel.n_outer + 1:
        return kernel.n_outer
    return last if last >= 0 and kernel.extents[last] >= SIDE_BY_SIDE else None


def run(nest: Nest) -> None:
    """The inner loops of the kernel's one statement."""
    statement = nest.kernel.statements[0]
    scans = nest.axis in nest.inner and nest.lanes > 1
    lanes = 1 if scans else nest.lanes
    kind = register_type(statement.dtype, lanes)
    carry = [(kind, literal(statement.identity, statement.dtype, lanes))]
    if scans:
        nest.vectors(nest.inner[0], "0", carry, lambda carried: [_vector(nest, statement.dtype, carried[0])])
    else:
        _steps(nest, nest.inner, carry)


def _steps(nest: Nest, axes: Sequence[int], carry: list[tuple[str, str]]) -> list[str]:
    """The loops `axes`, one step after another; the value after the last."""
    if not axes:
        lanes = 1 if nest.axis in nest.inner else nest.lanes
        nest.before = carry[0][1]
        nest.compute([0], lanes)
        nest.finish(0, nest.made[0], lanes)
        return [nest.made[0]]
    with nest.f.loop("0", nest.extents[axes[0]], 1, carry) as turn:
        saved = nest.enter(axes[0], turn.index)
        turn.next = _steps(nest, axes[1:], [(carry[0][0], turn.carried[0])])
        nest.leave(axes[0], saved)
    return turn.results


def _vector(nest: Nest, dtype: DType, before: str) -> str:
    """One vector of a row, after all that came before; what is carried on."""
    f, lanes, statement = nest.f, nest.lanes, nest.kernel.statements[0]
    kind, one = register_type(dtype, lanes), register_type(dtype, 1)
    start = literal(statement.identity, dtype, lanes)
    nest.before = start
    nest.compute([0], lanes)
    value = nest.made[0]
    step = 1
    while step < lanes:
        places = ", ".join(f"i32 {n - step if n >= step else lanes}" for n in range(lanes))
        earlier = f.let(f"shufflevector {kind} {value}, {kind} {start}, <{lanes} x i32> <{places}>")
        value, step = _joined(nest, earlier, value, dtype, lanes), step * 2
    nest.finish(0, _joined(nest, nest.splat(before, one), value, dtype, lanes), lanes)
    return _joined(nest, before, f.let(f"extractelement {kind} {value}, i64 {lanes - 1}"), dtype, 1)


def _joined(nest: Nest, first: str, second: str, dtype: DType, lanes: int) -> str:
    tree = s.node(ASSOCIATIVE[nest.kernel.running or ""], s.leaf(0, dtype), s.leaf(1, dtype))
    return print_trees(nest.f, [tree], lanes, lambda x: (first, second)[x.value], lambda axis: "")[0]
