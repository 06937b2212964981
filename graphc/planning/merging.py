"""Neighbouring loops of a kernel joined where everything walks them as one: accesses, and what is computed from counters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod

from graphc.core import scalar as s
from graphc.core.scalar import Scalar
from graphc.core.tensor_types import int64
from graphc.ir.kernel import Access, Kernel

#: The key under which `coefficients` has what is added to the counters.
ADDED = -1


def coefficients(tree: Scalar) -> dict[int, int] | None:
    """The factor of each loop's counter in a number made of them, and what is added; None if it is made otherwise."""
    if tree.op == "const" and tree.dtype is int64:
        return {ADDED: tree.value}
    if tree.op == "index":
        return {tree.value: 1}
    parts = [coefficients(a) for a in tree.args] if tree.op in ("add", "mul") else [None]
    first, second = parts[0], parts[-1]
    if first is None or second is None:
        return None
    if tree.op == "add":
        return {axis: first.get(axis, 0) + second.get(axis, 0) for axis in first | second}
    if tree.args[1].op != "const":
        return None
    return {axis: c * tree.args[1].value for axis, c in first.items()}


def merge_loops(kernel: Kernel) -> Kernel:
    """The kernel with loops joined where all walk them as one; loops of one step dropped."""
    runs = _runs(kernel)
    if len(runs) == len(kernel.extents):
        return kernel

    def tree(x: Scalar) -> Scalar:
        return _with_sums(x, lambda sum_: _merged_sum(sum_, runs))

    def access(a: Access) -> Access:
        terms = tuple((tree(t), k) for t, k in a.computed)
        guard = None if a.guard is None else tree(a.guard)
        return Access(a.buffer, tuple(a.coefs[run[-1]] for run in runs), a.offset, terms, guard)

    sources = tuple(access(x) if isinstance(x, Access) else x for x in kernel.sources)
    statements = tuple(
        replace(
            x,
            tree=tree(x.tree),
            store=None if x.store is None else access(x.store),
            position=None if x.position is None else tree(x.position),
        )
        for x in kernel.statements
    )
    extents = tuple(prod(kernel.extents[a] for a in run) for run in runs)
    return Kernel(extents, sum(run[0] < kernel.n_outer for run in runs), sources, statements, kernel.buffers)


def _runs(kernel: Kernel) -> list[list[int]]:
    """The loops that become one, run by run."""
    walks = [dict(enumerate(a.coefs)) for a in kernel.accesses()] + _sums(kernel)
    runs: list[list[int]] = []
    for axis, extent in enumerate(kernel.extents):
        if extent == 1:
            continue
        last = runs[-1][-1] if runs else None
        level = None if last is None else (last < kernel.n_outer) == (axis < kernel.n_outer)
        if last is not None and level and all(w.get(last, 0) == w.get(axis, 0) * extent for w in walks):
            runs[-1].append(axis)
        else:
            runs.append([axis])
    if len(kernel.extents) > kernel.n_outer and not any(run[0] >= kernel.n_outer for run in runs):
        runs.append([len(kernel.extents) - 1])  # a fold over one step is still a fold
    return runs


def _sums(kernel: Kernel) -> list[dict[int, int]]:
    """The coefficients of all that trees compute from counters."""
    found: list[dict[int, int]] = []

    def note(sum_: dict[int, int]) -> Scalar:
        found.append(sum_)
        return s.const(0, int64)

    for tree in kernel.trees():
        _with_sums(tree, note)
    return found


def _with_sums(root: Scalar, change: Callable[[dict[int, int]], Scalar]) -> Scalar:
    """A tree with its largest sums of counters changed."""
    if not any(x.op == "index" for x in s.postorder(root)):
        return root
    known: dict[int, Scalar] = {}

    def changed(x: Scalar) -> Scalar:
        found = known.get(id(x))
        if found is None:
            sum_ = coefficients(x) if x.dtype is int64 and x.op in ("index", "add", "mul") else None
            if sum_ is not None and set(sum_) - {ADDED}:
                found = change(sum_)
            else:
                args = tuple(map(changed, x.args))
                same = all(a is b for a, b in zip(args, x.args, strict=True))
                found = x if same else Scalar(x.op, args, x.dtype, x.value)
            known[id(x)] = found
        return found

    return changed(root)


def _merged_sum(sum_: dict[int, int], runs: list[list[int]]) -> Scalar:
    """A sum of counters as one of the merged loops' counters; loops of one step count nothing."""
    total: Scalar | None = None
    for n, run in enumerate(runs):
        c = sum_.get(run[-1], 0)
        if c:
            term = s.index(n) if c == 1 else s.index(n) * c
            total = term if total is None else total + term
    added = sum_.get(ADDED, 0)
    if total is None:
        return s.const(added, int64)
    return total + added if added else total
