"""What a traced and built call is: how it is recognised, what it reads, what it writes back."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from graphc.compiled_backward import Backward
from graphc.core.arrays import memory_of, memory_owner, moved, shares_memory, write_elements
from graphc.core.context import EPOCH, SLOTS
from graphc.core.dims import is_static
from graphc.core.errors import RecompileError, user_line
from graphc.core.op import Kind
from graphc.executable import Built
from graphc.ir.program import Table
from graphc.layouts import Decision, Form, lies
from graphc.surroundings import Surroundings
from graphc.tracing import Capture, Guard, ask, overlapping


@dataclass(frozen=True)
class Recompile:
    """Why and where a build was made. `argument` and `dim` name what differed from the build before, `old` and `new` how."""

    argument: str
    dim: int | None
    old: Any
    new: Any
    line: str
    ms: float


class _NoRecompile(threading.local):
    on = False


_NO_RECOMPILE = _NoRecompile()


@contextmanager
def no_recompile() -> Iterator[None]:
    """Within, a build that would be needed raises RecompileError before any work (in this thread)."""
    before, _NO_RECOMPILE.on = _NO_RECOMPILE.on, True
    try:
        yield
    finally:
        _NO_RECOMPILE.on = before


def may_build() -> bool:
    """Whether this thread is outside of `no_recompile()`."""
    return not _NO_RECOMPILE.on


def check_may_build(what: str, why: str) -> None:
    """Raises RecompileError inside `no_recompile()`."""
    if not may_build():
        raise RecompileError(f"{what} would need a build ({why}) inside no_recompile(), at {user_line()}")


@dataclass(slots=True)
class Call:
    """One call's arguments, taken apart."""

    leaves: list[Any]
    structure: Any
    shapes: tuple[tuple[int, ...], ...]
    key: Any
    paths: list[str]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Spent:
    """Stands on the tape for a gradient that the compiled call has computed and freed itself."""

    name = "compiled"
    kind = Kind("opaque")
    n_outputs = 1


@dataclass(eq=False)
class Build:
    """One traced and built call."""

    pattern: tuple[tuple[int | None, ...], ...]
    structure: Any
    outputs: list[tuple[str, Any]]
    sources: list[int | Capture]
    updates: list[tuple[int | Capture, int]]
    grads: list[tuple[Any, int | None]]
    flags: list[tuple[Any, bool]]
    built: Built
    backward: Backward | None
    taped: list[int]
    wants: list[int]
    guards: list[Guard]
    surroundings: Surroundings
    spent: set[int] = field(default_factory=set)
    epoch: int = 0
    moves: int = 0
    static_only: bool = False
    shows_sizes: bool = False
    #: what was decided for the sizes of the first call
    decisions: list[Decision] = field(default_factory=list)
    #: shapes of arguments for which all is decided alike
    agreed: set[tuple[tuple[int, ...], ...]] = field(default_factory=set)
    #: inputs and how they lie in memory, where that matters
    layouts: list[tuple[int | Capture, Form]] = field(default_factory=list)
    #: arguments the function also reaches by itself, by their place; the other tensors it reaches
    met_outside: dict[int, Any] = field(default_factory=dict)
    #: the lists and dicts among the arguments that the call changes; their contents are returned beside the result
    refilled: list[tuple[Any, ...]] = field(default_factory=list)
    #: outputs that are leaves made by the call, with the result that is their gradient
    leaves: dict[int, int | None] = field(default_factory=dict)
    reached: dict[int, Any] = field(default_factory=dict)
    #: equal in builds that may share their code: the programs of the call and of its gradient, and what replaces which input
    identity: tuple[Any, ...] = ()
    #: whether an entry may still be made; asked once, not at every call
    may_be_short: bool = True

    def knows(self, call: Call) -> bool:
        """Whether the same arguments are tensors that the function also reaches by itself, and lie in memory as they did."""
        if self.layouts and not self.fits(call):
            return False
        if self.met_outside and any(call.leaves[i] is not tensor for i, tensor in self.met_outside.items()):
            return False
        return self.reached.keys().isdisjoint(map(id, call.leaves))

    def fits(self, call: Call) -> bool:
        """Whether the inputs lie in memory as they did."""
        return all(lies(array_of(source, call), form) for source, form in self.layouts)

    def holds(self) -> bool:
        """Whether nothing the build depends on has changed."""
        return self.surroundings.hold() and (self.epoch == EPOCH.value or self.guards_hold())

    def guards_hold(self) -> bool:
        """Whether what moves the epoch has left everything the build depends on as it was; if so, the epoch is noted."""
        if not all(guard.holds() for guard in self.guards):
            return False
        if self.moves != EPOCH.moves:
            if self.meeting() is not None:
                return False
            self.moves = EPOCH.moves
        self.epoch = EPOCH.value
        return True

    def meeting(self) -> Capture | None:
        """A captured tensor that is written and now shares memory with another one, which the program does not follow."""
        written = {id(source) for source, _ in self.updates if isinstance(source, Capture)}
        if not written:
            return None
        captured = {id(s): s for s in (*self.sources, *(s for s, _ in self.updates)) if isinstance(s, Capture)}
        found = overlapping(captured.values(), lambda capture: id(capture) in written)
        return None if found is None else found[2]

    def failed(self) -> tuple[str, Any, Any]:
        """What changed: its name, what it was, what it is."""
        changed = self.surroundings.changed()
        if changed is not None:
            return changed
        for guard in self.guards:
            if not guard.holds():
                return f"{type(guard.owner).__name__}.{guard.name}", guard.value, ask(guard.owner, guard.name)
        meeting = self.meeting() if self.moves != EPOCH.moves else None
        return ("", None, None) if meeting is None else (f"memory of {meeting.name}", "its own", "shared")


class Retraced:
    """The table on which calls that draw from the host's random state are traced one after another.

    What they share are nodes of programs built before; what is new in each, as noise that NumPy made, stays there too.
    """

    def __init__(self, table: Table):
        self.table = table
        self.note_start()

    def note_start(self) -> None:
        """Its first call is done."""
        self._start = self.table.weight

    def is_full(self) -> bool:
        """Whether it holds so much more than after its first call that another table should take its place."""
        (nodes, nbytes), (first_nodes, first_nbytes) = self.table.weight, self._start
        return nodes > 50_000 + 16 * first_nodes or nbytes > (1 << 26) + 2 * first_nbytes

    def begin_anew(self) -> None:
        """Another table takes its place. What the old one held goes now: its nodes and values refer to each other."""
        self.table = Table()
        gc.collect()


def matches(pattern: Any, shapes: Any) -> bool:
    """Whether arguments of these shapes fit a build made for `pattern` (None: any size)."""
    return pattern == shapes or all(
        want is None or want == have
        for old, new in zip(pattern, shapes, strict=True)
        for want, have in zip(old, new, strict=True)
    )


def is_static_pattern(pattern: Any) -> bool:
    """Whether a build pattern leaves no size open."""
    return all(is_static(shape) for shape in pattern)


def tensor_of(source: int | Capture, call: Call) -> Any:
    """The concrete tensor behind an input of this call, None for a number."""
    if isinstance(source, int):
        return call.leaves[source]
    return source.target() if source.argument is None else call.leaves[source.argument].grad


def array_of(source: int | Capture, call: Call) -> Any:
    """The array an input has in this call."""
    if isinstance(source, int):
        return call.leaves[source]._data
    return source.read() if source.argument is None else call.leaves[source.argument].grad._data


def memory_meets(build: Build, call: Call) -> bool:
    """Whether an argument shares memory with another input or variable and one of both is written: the program, which
    takes them for independent, would not follow that."""
    written = [source for source, _ in build.updates]
    places: dict[int, list[tuple[Any, bool]]] = {}
    for i in {id(leaf): i for i, leaf in enumerate(call.leaves)}.values():
        array = call.leaves[i]._data
        places.setdefault(id(memory_owner(array)), []).append(
            (array, any(source == i for source in written if isinstance(source, int)))
        )
    if any(len(found) > 1 for found in places.values()) and any(
        (a_written or b_written) and shares_memory(a, b)
        for found in places.values()
        for n, (a, a_written) in enumerate(found)
        for b, b_written in found[n + 1 :]
    ):
        return True
    captured = {id(s): s for s in (*build.sources, *written) if isinstance(s, Capture) and s.tensor is not None}
    for source in captured.values():
        array = source.tensor._data
        for other, other_written in places.get(id(memory_owner(array)), ()):
            if (other_written or any(source is s for s in written)) and shares_memory(array, other):
                return True
    return False


def write_array(tensor: Any, array: Any) -> None:
    """Gives a concrete tensor new elements: in its own memory, so that whoever shares it sees them."""
    if tensor._data is array:
        pass  # written in place by the run
    elif tensor._data.shape == array.shape and tensor._data.flags.writeable:
        write_elements(tensor._data, array)
    else:
        tensor._data = moved(array, memory_of(tensor._data))
    if tensor._version is not None:
        tensor._version.count += 1


def carry_over(build: Build, call: Call, results: list[Any]) -> None:
    """Writes what the run has computed into arguments, captured tensors and gradients."""
    for source, k in build.updates:
        target = tensor_of(source, call)
        if target is not None:
            write_array(target, results[k])
    for owner, on in build.flags:
        tensor = call.leaves[owner] if isinstance(owner, int) else owner
        tensor.requires_grad_(on)
    for owner, grad in build.grads:
        tensor = call.leaves[owner] if isinstance(owner, int) else owner
        if grad is not None:
            tensor.grad = SLOTS.new_tensor(results[grad])
        elif tensor.grad is not None:
            tensor.grad = None
