"""What runs of neighbours have in common is computed once for each run: a block of random words serves four elements.

A tree that depends on the lanes only through `place >> k`, where `place` rises by one from lane to lane, is the same in runs of
`1 << k` lanes. It is printed for a vector that has one lane for each run, and its lanes are repeated then.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from graphc.backends.llvm.accesses import INSIDE, Loops, Reader
from graphc.backends.llvm.registers import register_type
from graphc.backends.llvm.scalars import print_trees
from graphc.core import scalar as s
from graphc.core.scalar import Scalar
from graphc.core.tensor_types import int64
from graphc.ir.kernel import Access, Kernel
from graphc.planning.merging import coefficients

#: Fewer operations than this are not worth the shuffles; longer runs than `1 << MOST_BITS` are not looked for.
FEWEST, MOST_BITS = 16, 3


class Shared(NamedTuple):
    """Trees for all lanes, with own leaves: `runs`, what runs have in common, and `places`, the number of a lane in its run."""

    trees: list[Scalar]
    runs: dict[Scalar, Scalar]
    places: list[Scalar]


def run_bits(kernel: Kernel, axis: int | None) -> int:
    """k where much of a kernel is the same in runs of `1 << k` steps of the loop `axis`; 0 where nothing is."""
    trees = [x.tree for x in kernel.statements]
    found = {x.args[1].value for x in s.postorder(*trees) if x.op == "shr" and x.args[1].op == "const"}
    for bits in sorted(found, reverse=True):
        if axis is not None and 0 < bits <= MOST_BITS and shared(kernel, trees, bits, axis).runs:
            return int(bits)
    return 0


def shared(kernel: Kernel, trees: Sequence[Scalar], bits: int, axis: int) -> Shared:
    """Splits trees into what runs of `1 << bits` lanes share and what each lane does alone."""
    nodes = list(dict.fromkeys(s.postorder(*trees)))  # equal ones have one leaf
    work = _work(kernel, nodes, bits, axis)
    wanted = {a for x in nodes if work[x] is None for a in x.args}.union(trees)
    found = Shared([], {}, [])
    new: dict[Scalar, Scalar] = {}
    for x in nodes:
        number = -1 - len(found.runs) - len(found.places)
        if x in wanted and (work[x] or 0) >= FEWEST:
            new[x] = found.runs[x] = s.leaf(number, x.dtype)
        elif _is_place_in_run(x, bits, axis):
            new[x] = s.leaf(number, x.dtype)
            found.places.append(new[x])
        else:
            new[x] = Scalar(x.op, tuple([new[a] for a in x.args]), x.dtype, x.value)
    found.trees.extend(new[x] for x in trees)
    return found


def _work(kernel: Kernel, nodes: Sequence[Scalar], bits: int, axis: int) -> dict[Scalar, int | None]:
    """For each node: how many operations runs share in it; 0 where all lanes have it in common, None where each has its own."""
    work: dict[Scalar, int | None] = {}
    for x in nodes:
        parts = [work[a] for a in x.args]
        if _is_run(x, bits, axis):
            work[x] = 1
        elif (x.op == "index" and x.value == axis) or (x.op == "leaf" and _varies(kernel, x, axis)) or None in parts:
            work[x] = None
        else:
            work[x] = min(sum(n or 0 for n in parts) + any(parts), FEWEST)
    return work


def _varies(kernel: Kernel, leaf: Scalar, axis: int) -> bool:
    """Whether a leaf may differ from lane to lane: all but plain loads of one number."""
    if leaf.value == INSIDE.value:
        return True
    source = kernel.sources[leaf.value]
    return not isinstance(source, Access) or bool(source.coefs[axis] or source.computed) or source.guard is not None


def _is_run(x: Scalar, bits: int, axis: int) -> bool:
    is_shift = x.op == "shr" and x.args[1].op == "const" and x.args[1].value == bits
    return is_shift and _is_aligned(x.args[0], bits, axis)


def _is_place_in_run(x: Scalar, bits: int, axis: int) -> bool:
    is_rest = x.op == "and" and x.args[1].op == "const" and x.args[1].value == (1 << bits) - 1
    return is_rest and _is_aligned(x.args[0], bits, axis)


def _is_aligned(tree: Scalar, bits: int, axis: int) -> bool:
    """Whether a number rises by one along `axis`, from a multiple of `1 << bits` where the counter is one."""
    coefs = coefficients(tree)
    return (
        tree.dtype is int64 and coefs is not None and coefs.pop(axis, 0) == 1
        and not any(c % (1 << bits) for c in coefs.values())
    )  # fmt: skip


def print_in_runs(
    nest: Loops, reader: Reader, trees: Sequence[Scalar], bits: int, summed: Collection[int]
) -> list[str]:
    """The registers of trees, for all lanes of the reader; what runs of `1 << bits` lanes share is printed once a run."""
    if not bits or reader.lanes <= 1 << bits or nest.axis is None:
        return print_trees(nest.f, trees, reader.lanes, reader.leaf, reader.index, summed)
    split = shared(nest.kernel, trees, bits, nest.axis)
    own = _Runs(nest, bits, reader.lanes, nest.axis).registers(split)

    def leaf(x: Scalar) -> str:
        return own[x.value] if x.value in own else reader.leaf(x)

    return print_trees(nest.f, split.trees, reader.lanes, leaf, reader.index, summed)


class _Runs:
    """Prints for one lane a run."""

    def __init__(self, nest: Loops, bits: int, lanes: int, axis: int):
        self.nest, self.f, self.bits, self.lanes, self.axis = nest, nest.f, bits, lanes, axis
        self.single, self.runs = Reader(nest, 1), lanes >> bits
        self.numbers: list[str] = []

    def registers(self, split: Shared) -> dict[int, str]:
        """Those of the leaves that `split` has of its own, for all lanes."""
        trees = [s.rebuild(x, self.numbered) for x in split.runs]
        values = print_trees(self.f, trees, self.runs, self.leaf, self.index)
        order = ", ".join(f"i32 {n >> self.bits}" for n in range(self.lanes))
        found = {}
        for x, value in zip(split.runs.values(), values, strict=True):
            kind = register_type(x.dtype, self.runs)
            found[x.value] = self.f.let(f"shufflevector {kind} {value}, {kind} poison, <{self.lanes} x i32> <{order}>")
        places = ", ".join(f"i64 {n & (1 << self.bits) - 1}" for n in range(self.lanes))
        found.update((x.value, f"<{places}>") for x in split.places)
        return found

    def numbered(self, x: Scalar) -> Scalar:
        """The number of a run as a leaf: that of the first lane, and one more from run to run."""
        if not _is_run(x, self.bits, self.axis):
            return x
        (first,) = print_trees(self.f, [x], 1, self.single.leaf, self.single.index)
        counted = ", ".join(f"i64 {n}" for n in range(self.runs))
        kind = f"<{self.runs} x i64>"
        self.numbers.append(self.f.let(f"add nsw {kind} {self.nest.splat(first, 'i64', self.runs)}, <{counted}>"))
        return s.leaf(-len(self.numbers), x.dtype)

    def leaf(self, x: Scalar) -> str:
        """The number of a run, or what all lanes have in common."""
        if x.value < 0:
            return self.numbers[-1 - x.value]
        return self.nest.splat(self.single.leaf(x), register_type(x.dtype, 1), self.runs)

    def index(self, axis: int) -> str:
        """The counter of another loop."""
        return self.nest.splat(self.nest.counters[axis], "i64", self.runs)
