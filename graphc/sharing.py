"""Which tensors of a graph share memory only for some sizes, and whether a run can tell.

`reshape` and `contiguous` give a view or a copy. With sizes left open that may differ from feed to feed, and a graph has
recorded one of the two. It shows only where one side was written and the other was read afterwards. So a graph notes each
such call as a doubt, then the writes to either side, then what reads the other one; a session asks the doubts whose readers
it runs whether they hold for the sizes it is fed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from typing import Any, NamedTuple

from graphc.core.errors import ShapeError
from graphc.core.tape import Counter, TensorBase, counter_of
from graphc.core.tensor_types import TensorType

#: The view ops through which a tensor came from its memory, None where that is not known.
Steps = Sequence[Any] | None


class Call(NamedTuple):
    """A call that gave a view or a copy: its name, what was recorded, where; `question` is what `Layouts` asks again."""

    name: str
    shared: bool
    question: Any
    line: str


class Doubt:
    """A call of which the answer may differ for other sizes: the memory it read, and that of its result.

    Where a view was recorded both are one, and what came through `step` is the result's side.
    """

    def __init__(self, call: Call, source: Counter, out: Counter, root: TensorBase | None = None, step: Any = None):
        self.call, self.source, self.out, self.root, self.step = call, source, out, root, step
        self.wrote_source = self.wrote_out = False
        #: values made from one side after the other was written; None: something that every run may show
        self.readers: set[Any] = set()
        #: values of one side that were fetched after the other was written
        self.fetched: set[Any] = set()

    def shows_in(self, values: Set[Any], outputs: Iterable[Any]) -> bool:
        """Whether a run that computes these values and gives these outputs can tell a view from a copy."""
        return None in self.readers or not (self.readers.isdisjoint(values) and self.fetched.isdisjoint(outputs))

    def sides(self, memory: Counter, tensor: TensorBase | None, steps: Steps) -> tuple[bool, bool]:
        """Whether a tensor with this memory is on the side that was read, and on that of the result."""
        if self.source is not self.out:
            return memory is self.source, memory is self.out
        if steps is None or self.step is None:
            return True, True
        inside = any(step is self.step for step in steps)
        # What the tape kept has lost its steps; it was met when it was kept, and has not been written since.
        return not inside and (bool(steps) or tensor is self.root), inside


class Sharing:
    """What a graph, with the bodies inside, knows of doubts. `table` is the graph's; without one nothing is noted."""

    def __init__(self) -> None:
        self.table: Any = None
        self.doubts: list[Doubt] = []
        #: how often a reader was added
        self.events = 0
        self._resting = False
        self._around: dict[Counter, list[Doubt]] = {}
        #: what a body calls a tensor from outside -> that tensor
        self._outside: dict[Counter, TensorBase] = {}
        #: memory that is read after all that is recorded: variables in the next run; what a loop closes over in its next turn
        self._variables: set[Counter] = set()
        self._closed: set[Counter] = set()

    def keep(self, variable: TensorBase) -> None:
        """Notes a tensor that lives on when a run has ended."""
        if self.table is not None:
            self._variables.add(counter_of(variable))

    def close_over(self, symbol: TensorBase, outer: TensorBase) -> None:
        """Notes what a body calls a tensor from outside."""
        if self.table is not None:
            self._outside[counter_of(symbol)] = outer
            self._closed.add(self._found(outer)[0])

    @contextmanager
    def body(self) -> Iterator[None]:
        """Within, a body is recorded, which may be a loop's."""
        before, self._closed = self._closed, set(self._closed)
        try:
            yield
        finally:
            self._closed = before

    def doubt(self, call: Call, source: TensorBase, out: TensorBase) -> None:
        """Adds a doubt: `out` was recorded as a view of `source`, `source` itself or a copy."""
        step = out._base.chain[-1] if call.shared and out is not source and out._base is not None else None
        memory, root, _ = self._found(source)
        found = Doubt(call, memory, memory if call.shared else counter_of(out), root, step)
        self.doubts.append(found)
        for memory in {found.source, found.out}:
            self._around.setdefault(memory, []).append(found)

    def restore(self, call: Call, readers: Sequence[Any], fetched: Sequence[Any]) -> None:
        """Adds a doubt of a graph that comes from a file, where no more is known of who writes and reads."""
        found = Doubt(call, Counter(), Counter())
        self.doubts.append(found)
        self._add(found.readers, readers)
        self._add(found.fetched, fetched)

    def _found(self, tensor: TensorBase) -> tuple[Counter, TensorBase, list[Any]]:
        """The memory of a tensor, the tensor that owns it, and the view ops in between."""
        steps: list[Any] = []
        while True:
            if tensor._base is not None:
                steps += tensor._base.chain
                tensor = tensor._base.base
                continue
            memory = counter_of(tensor)
            if memory not in self._outside:
                return memory, tensor, steps
            tensor = self._outside[memory]

    # --- what is recorded -----------------------------------------------------------------------------------------

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Within, a base is read only to derive its views, which count when they are read themselves."""
        before, self._resting = self._resting, True
        try:
            yield
        finally:
            self._resting = before

    def note_read(self, tensor: TensorBase, values: Sequence[Any]) -> None:
        """A tensor is read, and these values are made of it."""
        if self.doubts and not self._resting and tensor._version is not None:
            for doubt in self._told_apart(tensor):
                self._add(doubt.readers, [v if v.node.table is self.table else None for v in values])

    def note_fetch(self, tensor: TensorBase) -> None:
        """A tensor is fetched, or is an output of the graph."""
        if self.doubts and tensor._version is not None:
            for doubt in self._told_apart(tensor):
                self._add(doubt.fetched, [tensor._data])

    def _told_apart(self, tensor: TensorBase) -> list[Doubt]:
        """The doubts of which a tensor is on one side, and the other side was written."""
        memory, owner, steps = self._found(tensor)
        found = []
        for doubt in self._around.get(memory, ()):
            if doubt.wrote_source or doubt.wrote_out:
                source, out = doubt.sides(memory, owner, steps)
                if (source and doubt.wrote_out) or (out and doubt.wrote_source):
                    found.append(doubt)
        return found

    def note_write(self, tensor: TensorBase) -> None:
        """A tensor is written: so is, for some sizes, all that a doubt connects with it."""
        if not self.doubts:
            return
        reached: list[tuple[Counter, TensorBase | None, Steps, Doubt | None]] = [(*self._found(tensor), None)]
        for memory, owner, steps, through in reached:
            for doubt in self._around.get(memory, ()):
                if doubt is through:
                    continue
                source, out = doubt.sides(memory, owner, steps)
                doubt.wrote_source, doubt.wrote_out = doubt.wrote_source or source, doubt.wrote_out or out
                closed = not self._closed.isdisjoint((doubt.source, doubt.out))
                if closed or (out and doubt.source in self._variables):
                    self._add(doubt.readers, [None])
                if doubt.source is not doubt.out:  # a copy is new, so memories and doubts form a tree
                    reached.append((doubt.out if source else doubt.source, None, None, doubt))

    def _add(self, known: set[Any], values: Sequence[Any]) -> None:
        if not known.issuperset(values):
            known.update(values)
            self.events += 1


def refusal(call: Call, recorded: TensorType, now: TensorType, sizes: Mapping[str, int]) -> ShapeError:
    """The error for sizes that give a view where a copy was recorded, or the other way round."""
    here, there = ("a copy", "a view") if call.shared else ("a view", "a copy")
    fed = ", ".join(f"{name} = {size}" for name, size in sizes.items()) or "these sizes"
    error = ShapeError(
        f"with {fed} it gives {here} where the graph recorded {there}, and a write that is seen elsewhere depends on it",
        hint="call .clone() on its result before the write, or build a graph with these sizes given as numbers",
    )
    error.about(call.name, (("input", f"{recorded}, now {now}", ""),), call.line)
    return error
