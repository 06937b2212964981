"""Kernels: loops over an index space, and what happens to one element inside them.

A `Kernel` runs its outer loops (independent of each other, so that they can be done in parts) and, inside them, one or more
passes over its inner loops (the reduced axes). A statement gives one value for each step of the outer loops ("row" level) or
for each step of outer and inner loops: a scalar tree over loads and over earlier statements, perhaps folded over the inner
loops, perhaps stored. Views are in the index maps of loads and stores; they cost nothing.

    softmax of rows:   m = fold maximum of x          (stage 0, inner)
                       e = exp(x - m)                 (stage 1, inner, kept for the next pass)
                       t = fold add of e              (stage 1, inner)
                       store e / t                    (stage 2, inner)
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from graphc.core.scalar import Scalar, postorder
from graphc.core.tensor_types import DType, int64


class Access(NamedTuple):
    """An element of a buffer: `offset + sum(coefs[a] * counter of loop a) + sum(k * tree)`, in elements.

    `guard`: a condition; where it is false nothing is read, and the value is of no account.
    """

    buffer: int
    coefs: tuple[int, ...]
    offset: int
    computed: tuple[tuple[Scalar, int], ...] = ()
    guard: Scalar | None = None


class Made(NamedTuple):
    """The value that statement number `statement` has made for the same element or row."""

    statement: int


Source: TypeAlias = Access | Made

#: What a scatter does where values meet.
LAST, ADD = "last", "add"


@dataclass(frozen=True)
class Statement:
    """One value. `tree`'s leaves are the kernel's sources.

    `stage`: the pass over the inner loops it belongs to; a row-level statement runs before that pass. `inner`: whether it is
    made for each step of the inner loops. `combine`: the fold over the inner loops ("add", ...), whose result is row-level and
    ready at the next stage; `identity`: what the fold starts from. `store`: where the value goes. `kept`: an inner value that
    a later stage reads again. `fails`: where the value is true, the run stops (an index that does not exist).

    `position`: what an arg-fold gives instead of the extreme value: an int64 tree, made for each step; a negative one takes
    no part. Its `combine` is "maximum" or "minimum": the first of equals, and the first NaN if there is one; or
    "maximum_last_nan": the last NaN. Loops are stepped through so that positions rise.

    `scatter`: how the store deals with places that several steps of the inner loops name: LAST (the last step's value stays)
    or ADD (each is added to what is there). Those loops are stepped through one after another; rows never share a place.
    The first computed index of the store is one of `places`.

    `running`: the tree reads, as `Made` of its own number, the value of the step before; `identity` is read at the first. The
    name tells what the tree folds ("add", ...; see core/op.py). A statement that scatters or runs is its kernel's only one.
    """

    tree: Scalar
    stage: int = 0
    inner: bool = False
    combine: str | None = None
    identity: float | int | bool | None = None
    store: Access | None = None
    kept: bool = False
    fails: bool = False
    position: Scalar | None = None
    scatter: str | None = None
    places: int = 0
    running: str | None = None

    @property
    def dtype(self) -> DType:
        """The dtype of the value."""
        return self.tree.dtype if self.position is None else int64


@dataclass(frozen=True)
class Kernel:
    """Loops (`extents`; the first `n_outer` are the outer ones, from outermost to innermost) and their statements.

    `buffers`: the dtype of each buffer that loads and stores name.
    """

    extents: tuple[int, ...]
    n_outer: int
    sources: tuple[Source, ...]
    statements: tuple[Statement, ...]
    buffers: tuple[DType, ...]

    @property
    def n_stages(self) -> int:
        """How many passes over the inner loops there are."""
        return 1 + max((s.stage for s in self.statements), default=0)

    def accesses(self) -> Iterator[Access]:
        """Every load and store."""
        yield from (source for source in self.sources if isinstance(source, Access))
        yield from (s.store for s in self.statements if s.store is not None)

    def trees(self) -> Iterator[Scalar]:
        """Every scalar tree: of statements, of computed indices and of guards."""
        for statement in self.statements:
            yield statement.tree
            if statement.position is not None:
                yield statement.position
        for access in self.accesses():
            yield from (tree for tree, _ in access.computed)
            if access.guard is not None:
                yield access.guard

    @property
    def scatters(self) -> bool:
        """Whether the inner loops store in places that may meet, so that their order counts."""
        return any(x.scatter for x in self.statements)

    @property
    def running(self) -> str | None:
        """What the one statement of the kernel folds step by step, if it does."""
        return self.statements[0].running if self.statements else None

    @functools.cached_property
    def operations(self) -> int:
        """Scalar operations for one step of the loops, folds included."""
        leaves = ("leaf", "const", "index")
        return sum(x.op not in leaves for s in self.statements for x in postorder(s.tree)) + sum(
            s.combine is not None for s in self.statements
        )
