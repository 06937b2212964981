"""Groups: loops under construction, to which the planner adds values one after another until they become a kernel.

A group has a domain (a shape it loops over), perhaps some of its axes folded (the inner loops), and statements in the order
they were added. `lower` writes a value as a scalar tree: what is in memory becomes a load, what the group has made is taken
from there, everything else is written out in place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from graphc.core import scalar as s
from graphc.core.op import ArgReduction, Cumulative, Elementwise, Reduction, Scatter, View
from graphc.core.scalar import Scalar
from graphc.core.tensor_types import DType, bool_, float32, int32, int64
from graphc.ir.kernel import ADD, LAST, Access, Kernel, Made, Source, Statement
from graphc.ir.program import Node, Value
from graphc.planning.index_maps import Index, Space, Split, computed, refined_tree
from graphc.planning.merging import merge_loops

Indices = tuple[Index, ...]


#: Why a value does not join loops over other sizes.
OTHER_LOOPS = "it has another number of elements than the kernel's loops"


class NotFusable(Exception):  # noqa: N818  control flow: the value needs a group of its own
    """The value cannot be made in this group; the text says why."""


class Memory(Protocol):
    """What a group asks of the planner."""

    def number(self, value: Value) -> Any:
        """The one number a value holds everywhere, None if it is no such constant."""

    def level(self, value: Value) -> int | None:
        """The level of the step that puts the value in memory (0: it is there from the start), None if none does."""

    def check(self, index: Value, size: int, node: Node) -> int:
        """Sees to it that every element of `index` is tested against `size`; the level at which that is done."""


@dataclass(eq=False)
class Draft:
    """A statement under construction: the value it makes, at which index, and where (`stage`, `inner`)."""

    value: Value
    index: Indices
    tree: Scalar
    stage: int
    inner: bool
    combine: str | None = None
    identity: Any = None
    position: Scalar | None = None
    scatter: str | None = None
    places: int = 0
    running: str | None = None

    @property
    def dtype(self) -> DType:
        """The dtype of the value as it is made."""
        return self.tree.dtype if self.position is None else int64

    @property
    def is_alone(self) -> bool:
        """Whether it must be its kernel's only statement."""
        return self.scatter is not None or self.running is not None

    @property
    def ready(self) -> int:
        """The first stage that may read it."""
        return self.stage + (self.combine is not None)


@dataclass(frozen=True)
class Load:
    """A read of a value in memory."""

    value: Value
    indices: tuple[Index, ...]
    guard: Scalar | None = None


class Group:
    """Loops and statements under construction."""

    def __init__(self, memory: Memory, shape: Sequence[int], level: int):
        self.memory, self.level = memory, level
        self.shape = tuple(shape)
        self.space = Space(self.shape)
        self.inner: list[int] = []
        self.drafts: list[Draft] = []
        self.at: dict[Value, int] = {}
        self.sources: list[Load | Made] = []
        self.source_numbers: dict[Any, int] = {}
        self.written_out: dict[Any, Scalar] = {}

    # --- adding values --------------------------------------------------------------------------------------------

    @property
    def outer(self) -> list[int]:
        """The loops that are not folded."""
        return [axis for axis in self.space.order if axis not in self.inner]

    def size(self, axes: Sequence[int]) -> int:
        """How many steps these loops take together."""
        total = 1
        for axis in axes:
            total *= self.space.extents[axis]
        return total

    def add(self, value: Value) -> None:
        """Adds a value as a statement; NotFusable where its loops are not this group's."""
        before = self._state()
        while True:
            try:
                draft = self._draft(value)
            except Split as split:
                self.refine(split.axis, split.inner)
            except NotFusable:
                self._restore(*before)
                raise
            else:
                break
        self.at[value] = len(self.drafts)
        self.drafts.append(draft)

    def _state(self) -> tuple[Any, ...]:
        """What an attempt to add a value may change."""
        drafts = [(draft.index, draft.tree, draft.position, draft.inner) for draft in self.drafts]
        return self.space.extents[:], self.space.order[:], self.inner[:], self.sources[:], drafts

    def _restore(self, extents: Any, order: Any, inner: Any, sources: Any, drafts: Any) -> None:
        """Undoes the attempt: finer loops and reads nobody needs would stay otherwise."""
        if len(drafts) != len(self.drafts):  # a test of indices that was asked for on the way added a value here
            return
        self.space.extents, self.space.order, self.inner, self.sources = extents, order, inner, sources
        for draft, saved in zip(self.drafts, drafts, strict=True):
            draft.index, draft.tree, draft.position, draft.inner = saved
        self.source_numbers = {self._key(source): i for i, source in enumerate(sources)}
        self.written_out.clear()

    def _draft(self, value: Value) -> Draft:
        node = value.node
        kind = node.op.kind
        if self.drafts and (self.drafts[0].is_alone or isinstance(kind, Scatter | Cumulative)):
            raise NotFusable("a scatter or a running fold is its kernel's only statement")
        if isinstance(kind, Scatter):
            return self._scatter(value, node, kind)
        if isinstance(kind, Cumulative):
            return self._running(value, node, kind)
        if isinstance(node.op.kind, Reduction | ArgReduction):
            return self._fold(value, node)
        shape = tuple(map(int, value.shape))
        n = value.type.size
        if n == self.size(self.space.order):
            index, inner = self.space.over(shape, self.space.order), bool(self.inner)
        elif self.inner and n == self.size(self.outer):
            index, inner = self.space.over(shape, self.outer), False
        else:
            raise NotFusable(OTHER_LOOPS)
        tree = self.written(value, index)
        return Draft(value, index, tree, self._stage(tree, inner), inner)

    def _fold(self, value: Value, node: Node) -> Draft:
        x = node.inputs[0]
        if x.type.size != self.size(self.space.order):
            raise NotFusable(OTHER_LOOPS)
        index = self.space.over(tuple(map(int, x.shape)), self.space.order)
        axes = node.attrs["axes"] if "axes" in node.attrs else (node.attrs["axis"],)
        folded = {a for n in axes for a in index[n].coefs}
        kept = {a for n in range(x.type.ndim) if n not in axes for a in index[n].coefs}
        trivial = {a for a in self.space.order if self.space.extents[a] == 1}
        if any(i.computed for i in index):  # which loops are folded cannot be told
            raise NotFusable("its elements are looked up, so which loops it folds cannot be told")
        if folded & kept or (self.inner and folded != set(self.inner) - trivial):
            raise NotFusable("it folds other dimensions than the kernel does")
        tree = self.lower(x, index)
        inner = self.inner or [a for a in self.space.order if a in folded]
        if not inner:  # axes of size 1 only: any loop of one step will do
            inner = [self._unit_loop()]
        if not self.inner:
            self._fold_over(inner)
        kind = node.op.kind
        if s.is_half(tree.dtype):
            tree = s.cast(tree, float32)
        out = self.space.over(tuple(map(int, value.shape)), self.outer)
        if isinstance(kind, Reduction):
            return Draft(value, out, tree, self._stage(tree, True), True, kind.combine, kind.identity(tree.dtype))
        assert isinstance(kind, ArgReduction)
        position = self.lower(node.inputs[1], index) if len(node.inputs) > 1 else index[axes[0]].tree()
        tree = s.cast(tree, int32) if tree.dtype is bool_ else tree
        stage = max(self._stage(tree, True), self._stage(position, True))
        return Draft(value, out, tree, stage, True, kind.combine, 0, position)

    def _scatter(self, value: Value, node: Node, kind: Scatter) -> Draft:
        """Loops over the elements that are put; those in which places may meet become the inner ones."""
        source = node.inputs[kind.value]
        index = self.space.over(tuple(map(int, source.shape)), self.space.order)
        types = [x.type for x in node.inputs]
        places = self.indices(kind.place(Operands(self, node, index, None), index, *types, **node.attrs))
        tree = self.lower(source, index)
        apart = {axis for i in places if not i.computed for axis in i.coefs}
        self.inner = [axis for axis in self.space.order if axis not in apart]
        scatter = ADD if kind.adds(**node.attrs) else LAST
        sizes = [int(n) for n, i in zip(reversed(value.shape), reversed(places), strict=True) if i.computed]
        return Draft(value, places, tree, 0, bool(self.inner), scatter=scatter, places=sizes[0] if sizes else 0)

    def _running(self, value: Value, node: Node, kind: Cumulative) -> Draft:
        """One inner loop, stepped through; the statement reads its own value of the step before."""
        index = self.space.over(tuple(map(int, value.shape)), self.space.order)
        elements = [self.lower(x, index) for x in node.inputs]
        along = index[node.attrs["axis"]]
        tree = kind.step(self._source(Made(0), elements[-1].dtype), *elements)
        if kind.start is None:
            tree = s.select(s.eq(along.tree(), s.const(0, int64)), elements[-1], tree)
        self.inner = [axis for axis in self.space.order if axis in along.coefs] or [self._unit_loop()]
        start = 0 if kind.start is None else kind.start(tree.dtype)
        return Draft(value, index, tree, 0, True, identity=start, running=kind.combine)

    def _unit_loop(self) -> int:
        for axis in self.space.order:
            if self.space.extents[axis] == 1:
                return axis
        self.space.extents.append(1)
        self.space.order.append(len(self.space.extents) - 1)
        return self.space.order[-1]

    def _fold_over(self, inner: list[int]) -> None:
        """Makes these the inner loops: what was made so far was made for each of their steps."""
        self.inner = inner
        for draft in self.drafts:
            draft.inner = True

    def _stage(self, tree: Scalar, inner: bool) -> int:
        """The first stage in which all that the tree reads is there."""
        stage = 0
        if not self.inner:
            return stage
        for x in s.postorder(tree):
            if x.op == "leaf":
                source = self.sources[x.value]
                if isinstance(source, Made):
                    made = self.drafts[source.statement]
                    if made.inner and not inner and made.combine is None:
                        raise NotFusable("it reads single elements of rows that the kernel passes over")
                    stage = max(stage, made.ready)
                else:
                    stage = max([stage, *(self._stage(t, inner) for i in source.indices for t, _ in i.computed)])
                    stage = stage if source.guard is None else max(stage, self._stage(source.guard, inner))
        return stage

    def refine(self, axis: int, inner: int) -> None:
        """Splits a loop and rewrites everything in terms of the two."""
        new = self.space.split(axis, inner)
        if axis in self.inner:
            self.inner.insert(self.inner.index(axis) + 1, new)

        def tree(x: Scalar) -> Scalar:
            return refined_tree(x, axis, inner, new)

        for i, source in enumerate(self.sources):
            if isinstance(source, Load):
                indices = tuple(x.refined(axis, inner, new) for x in source.indices)
                self.sources[i] = Load(source.value, indices, None if source.guard is None else tree(source.guard))
        self.source_numbers = {self._key(source): i for i, source in enumerate(self.sources)}
        self.written_out.clear()
        for draft in self.drafts:
            draft.index = tuple(x.refined(axis, inner, new) for x in draft.index)
            draft.tree = tree(draft.tree)
            draft.position = None if draft.position is None else tree(draft.position)

    # --- scalar trees ---------------------------------------------------------------------------------------------

    def lower(self, value: Value, index: Indices, guard: Scalar | None = None) -> Scalar:
        """The element of `value` at `index` as a tree."""
        number = self.memory.number(value)
        if number is not None:
            return s.const(number, value.dtype)
        made = self.at.get(value)
        if made is not None:
            if self.drafts[made].index != index:
                raise NotFusable(
                    "it reads other elements of what the kernel makes than the one that is made at the time"
                )
            dtype = self.drafts[made].dtype
            tree = self._source(Made(made), dtype)
            return tree if dtype is value.dtype else s.cast(tree, value.dtype)
        level = self.memory.level(value)
        if level is not None:
            self.come_after(level)
            return self._source(Load(value, index, guard), value.dtype)
        key = (value, tuple([i.key for i in index]), guard)
        found = self.written_out.get(key)
        if found is None:
            found = self.written_out[key] = self.written(value, index, guard)
        return found

    def come_after(self, level: int) -> None:
        """Sees to it that the group runs after that level: an empty one moves, others refuse."""
        if level >= self.level:
            if self.drafts:
                raise NotFusable("it reads what is ready only after the kernel has begun")
            self.level = level + 1

    def written(self, value: Value, index: Indices, guard: Scalar | None = None) -> Scalar:
        """The same with the value's own op written out."""
        node = value.node
        kind = node.op.kind
        if isinstance(kind, View):
            where = kind.index(index, node.inputs[0].type, **node.attrs)
            return self.lower(node.inputs[0], self.indices(where), guard)
        if isinstance(kind, Elementwise):
            trees = [self.lower(x, self._broadcast(x, index), guard) for x in node.inputs]
            tree: Scalar = kind.scalar(*trees, **node.attrs)
            return tree
        if node.op.element is None:
            raise NotFusable("it reads what no kernel can write out")
        found: Scalar = node.op.element(
            Operands(self, node, index, guard), index, *[x.type for x in node.inputs], **node.attrs
        )
        return found

    def _broadcast(self, operand: Value, index: Indices) -> Indices:
        shape = operand.shape
        own = index[len(index) - len(shape) :]
        return tuple([Index(self.space, {}, 0) if n == 1 else i for i, n in zip(own, shape, strict=True)])

    def indices(self, where: Sequence[Index | int]) -> Indices:
        """Index expressions, plain numbers among them."""
        return tuple([Index(self.space, {}, x) if isinstance(x, int) else x for x in where])

    def _source(self, source: Load | Made, dtype: DType) -> Scalar:
        key = self._key(source)
        number = self.source_numbers.get(key)
        if number is None:
            number = self.source_numbers[key] = len(self.sources)
            self.sources.append(source)
        return s.leaf(number, dtype)

    def _key(self, source: Load | Made) -> Any:
        if isinstance(source, Made):
            return source
        return (source.value, tuple([i.key for i in source.indices]), source.guard)


class Operands:
    """The operands of a node as its `element` formula reads them: `at(0, index)` is an element of the first."""

    def __init__(self, group: Group, node: Node, index: Indices, guard: Scalar | None):
        self.group, self.node, self.guard = group, node, guard

    def __call__(self, operand: int, index: Sequence[Index | int], guard: Scalar | None = None) -> Scalar:
        """The element of an operand at `index`; where `guard` is false nothing is read."""
        both = guard if self.guard is None else self.guard if guard is None else self.guard & guard
        return self.group.lower(self.node.inputs[operand], self.group.indices(index), both)

    def tree(self, index: Index | int) -> Scalar:
        """An index as an int64 tree."""
        return s.const(index, int64) if isinstance(index, int) else index.tree()

    def computed(self, tree: Scalar) -> Index:
        """An int64 tree as an index."""
        return computed(self.group.space, tree)

    def looked_up(self, operand: int, index: Sequence[Index | int], size: int) -> Index:
        """The element of an integer operand as an index into `size` places, negative ones wrapped; tested before the kernel."""
        self.group.come_after(self.group.memory.check(self.node.inputs[operand], size, self.node))
        tree = s.cast(self(operand, index), int64)
        return computed(self.group.space, s.select(tree < 0, tree + size, tree))


# --- from a group to a kernel --------------------------------------------------------------------------------------------


class Part(NamedTuple):
    """A part of a value that is put together from several: of `whole`, from `start` on along `axis`."""

    whole: Value
    axis: int
    start: int


def finish(
    group: Group, stored: Callable[[Value], bool], again: Mapping[Value, Sequence[Any]] | None = None
) -> tuple[Kernel, tuple[Any, ...]]:
    """The kernel of a group and the values its buffers hold. `stored` tells which of the group's values others need.

    `again`: where else values are stored: in a buffer of its own (a hashable with a `type`) or in a `Part`.
    """
    again = again or {}
    loops = [*group.outer, *(a for a in group.space.order if a in group.inner)]
    buffers: dict[Any, int] = {}
    numbers, sources = _used_sources(group)
    place = {axis: n for n, axis in enumerate(loops)}
    keep = _kept(group, stored)

    def tree(x: Scalar) -> Scalar:
        def rule(n: Scalar) -> Scalar:
            if n.op == "leaf":
                return s.leaf(numbers[n.value], n.dtype)
            return s.index(place[n.value]) if n.op == "index" else n

        return s.rebuild(x, rule)

    def access(value: Value, indices: Indices, guard: Scalar | None = None, target: Any = None) -> Access:
        if isinstance(target, Part):
            indices = tuple([i + target.start if n == target.axis else i for n, i in enumerate(indices)])
            value, target = target.whole, None
        buffer = buffers.setdefault(value if target is None else target, len(buffers))
        coefs, offset, step = [0] * len(loops), 0, 1
        terms: list[tuple[Scalar, int]] = []
        for index, size in zip(reversed(indices), reversed(value.shape), strict=True):
            for axis, c in index.coefs.items():
                coefs[place[axis]] += c * step
            offset += index.offset * step
            terms.extend((tree(t), k * step) for t, k in index.computed)
            step *= int(size)
        return Access(buffer, tuple(coefs), offset, tuple(terms), None if guard is None else tree(guard))

    made: list[Source] = [x if isinstance(x, Made) else access(x.value, x.indices, x.guard) for x in sources]
    statements = tuple(
        Statement(
            tree(d.tree), d.stage, d.inner, d.combine, d.identity,
            access(d.value, d.index) if stored(d.value) else None, n in keep,
            position=None if d.position is None else tree(d.position), scatter=d.scatter, places=d.places,
            running=d.running,
        )
        for n, d in enumerate(group.drafts)
    )  # fmt: skip
    for n, d in enumerate(group.drafts):
        for target in again.get(d.value, ()):
            whole = s.leaf(len(made), d.tree.dtype)
            inner = d.inner and d.combine is None
            statements += (Statement(whole, d.ready, inner, store=access(d.value, d.index, None, target)),)
            made.append(Made(n))
    extents = tuple(group.space.extents[a] for a in loops)
    kernel = Kernel(extents, len(group.outer), tuple(made), statements, tuple(v.type.dtype for v in buffers))
    return merge_loops(kernel), tuple(buffers)


def _used_sources(group: Group) -> tuple[dict[int, int], list[Load | Made]]:
    """The sources that statements read, renumbered."""
    numbers: dict[int, int] = {}
    sources: list[Load | Made] = []

    def visit(tree: Scalar) -> None:
        for x in s.postorder(tree):
            if x.op != "leaf" or x.value in numbers:
                continue
            source = group.sources[x.value]
            if isinstance(source, Load):
                for index in source.indices:
                    for t, _ in index.computed:
                        visit(t)
                if source.guard is not None:
                    visit(source.guard)
            numbers[x.value] = len(sources)
            sources.append(source)

    for draft in group.drafts:
        visit(draft.tree)
        if draft.position is not None:
            visit(draft.position)
        for index in draft.index:
            for t, _ in index.computed:
                visit(t)
    return numbers, sources


def _kept(group: Group, stored: Callable[[Value], bool]) -> set[int]:
    """The inner values that a later stage reads."""
    keep: set[int] = set()
    for draft in group.drafts:
        if draft.stage == 0:
            continue
        reads = _reads_made(group, draft.tree)
        if draft.position is not None:
            reads |= _reads_made(group, draft.position)
        for number in reads:
            made = group.drafts[number]
            if made.inner and made.combine is None and made.stage < draft.stage:
                keep.add(number)
    return keep


def _reads_made(group: Group, tree: Scalar) -> set[int]:
    found: set[int] = set()
    pending = [tree]
    while pending:
        for x in s.postorder(pending.pop()):
            if x.op == "leaf":
                source = group.sources[x.value]
                if isinstance(source, Made):
                    found.add(source.statement)
                else:
                    pending.extend(t for i in source.indices for t, _ in i.computed)
                    if source.guard is not None:
                        pending.append(source.guard)
    return found
