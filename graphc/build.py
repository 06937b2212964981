"""`compile`: traces a function once per kind of call, builds the program, replays it.

A build is found by what the arguments are (structure, plain values, dtypes, ranks, sizes, aliasing), the mode (tape on or
off), and guards on what the trace read elsewhere. Guarded things move one global epoch when they change; a call compares the
epoch and re-validates only if it moved. A dimension that changed once becomes unknown in the next build.
"""

from __future__ import annotations

import functools
import inspect
import random
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphc.aliasing import refresh
from graphc.autodiff import order_entries, pull_to
from graphc.compiled_backward import Backward, cut
from graphc.core.config import config
from graphc.core.context import EPOCH, SLOTS, STATE, recording, set_grad
from graphc.core.dims import Dim, Size, comparisons, is_static, substitute
from graphc.core.errors import (
    GradientError,
    RecompileError,
    ShapeError,
    SymbolicError,
    VerifyError,
    is_internal,
    user_line,
)
from graphc.core.op import Kind
from graphc.core.tape import LEAF, Entry, counter_of, edge_of
from graphc.core.tensor_types import TensorType
from graphc.executable import Built
from graphc.ir.program import INPUT, Program, Table, Value, toposort
from graphc.nests import Mutables, Other, flatten, has_sizes, objects_in, refill, unflatten, with_sizes
from graphc.surroundings import Surroundings
from graphc.tracing import Capture, Guard, Trace, ask, paused_gc, plain_name, symbolic

_ndarray = np.ndarray


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


def check_may_build(what: str, why: str) -> None:
    """Raises RecompileError inside `no_recompile()`."""
    if _NO_RECOMPILE.on:
        raise RecompileError(f"{what} would need a build ({why}) inside no_recompile(), at {user_line()}")


class _Spent:
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
    static_only: bool = False
    shows_sizes: bool = False
    #: sizes the user's own code has compared, and what the answer was
    compared: list[tuple[Size, Size, bool]] = field(default_factory=list)
    #: arguments the function also reaches by itself, by their place; the other tensors it reaches
    met_outside: dict[int, Any] = field(default_factory=dict)
    #: the lists and dicts among the arguments that the call changes; their contents are returned beside the result
    refilled: list[tuple[Any, ...]] = field(default_factory=list)
    #: outputs that are leaves made by the call, with the result that is their gradient
    leaves: dict[int, int | None] = field(default_factory=dict)
    reached: dict[int, Any] = field(default_factory=dict)

    def knows(self, call: _Call) -> bool:
        """Whether the same arguments are tensors that the function also reaches by itself."""
        if self.met_outside and any(call.leaves[i] is not tensor for i, tensor in self.met_outside.items()):
            return False
        return self.reached.keys().isdisjoint(map(id, call.leaves))

    def holds(self) -> bool:
        """Whether nothing the build depends on has changed."""
        if not self.surroundings.hold():
            return False
        if self.epoch != EPOCH.value:
            if not all(guard.holds() for guard in self.guards):
                return False
            self.epoch = EPOCH.value
        return True

    def failed(self) -> tuple[str, Any, Any]:
        """What changed: its name, what it was, what it is."""
        changed = self.surroundings.changed()
        if changed is not None:
            return changed
        for guard in self.guards:
            if not guard.holds():
                return f"{type(guard.owner).__name__}.{guard.name}", guard.value, ask(guard.owner, guard.name)
        return "", None, None


_NO_KEYWORDS = flatten({}, [])


@dataclass(slots=True)
class _Call:
    """One call's arguments, taken apart."""

    leaves: list[Any]
    structure: Any
    shapes: tuple[tuple[int, ...], ...]
    key: Any
    paths: list[str]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class CompiledFunction:
    """What `compile` returns: the function, traced and built at its first call of each kind, replayed after that.

    `recompiles` lists every build with its reason. Calls from several threads are safe.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        backend: str | None = None,
        optimize: bool = True,
        verify: bool = False,
        keep_grads: bool = False,
        dynamic: bool | None = None,
    ):
        functools.update_wrapper(self, fn, updated=())
        self.fn, self.backend, self.optimize, self.verify = fn, backend, optimize, verify
        self.keep_grads, self.dynamic = keep_grads, dynamic
        self.recompiles: list[Recompile] = []
        self._groups: OrderedDict[Any, list[Build]] = OrderedDict()
        self._retrace: dict[Any, Table] = {}
        self._by_identity: dict[Any, Build] = {}
        self._lock = threading.RLock()
        self._names = _parameter_names(fn)

    def __get__(self, owner: Any, kind: Any = None) -> Any:
        return self if owner is None else functools.partial(self, owner)

    def __reduce__(self) -> Any:
        """The function and its options, without what was built; the name alone of one that stands in its module."""
        name = getattr(self.fn, "__qualname__", "")
        if getattr(sys.modules.get(getattr(self.fn, "__module__", "")), name, None) is self:
            return name
        return CompiledFunction, (self.fn, self.backend, self.optimize, self.verify, self.keep_grads, self.dynamic)

    def last_built(self) -> Built | None:
        """The program of the newest build, None before the first call."""
        builds = [*self._by_identity.values(), *(b for group in self._groups.values() for b in group)]
        return builds[-1].built if builds else None

    def __repr__(self) -> str:
        return f"<compiled {getattr(self.fn, '__qualname__', self.fn)}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if STATE.recorder is not None:
            return self.fn(*args, **kwargs)
        call = self._take_apart(args, kwargs)
        with self._lock:
            build = self._find(call)
            if build.updates or build.grads or build.flags:
                if build.updates and call.leaves and _memory_meets(build, call):
                    return self.fn(*args, **kwargs)
                return self._run(build, call)
        return self._run(build, call)

    # --- finding a build ------------------------------------------------------------------------------------------

    def _take_apart(self, args: Any, kwargs: Any) -> _Call:
        leaves: list[Any] = []
        structure = (tuple, flatten(args, leaves), flatten(kwargs, leaves) if kwargs else _NO_KEYWORDS)
        shapes, parts = [], []
        seen: dict[int, int] = {}
        for i, x in enumerate(leaves):
            array = x._data
            if type(array) is not _ndarray:
                raise SymbolicError(
                    f"a symbolic tensor {array.type} was passed to a compiled function outside of its own trace, at {user_line()}"
                )
            shapes.append(array.shape)
            fixed = id(x) if type(x).__name__ in ("Parameter", "Buffer") else None
            tracked = x._edge is not None if x._base is None else x.requires_grad
            has_grad = tracked and getattr(x, "_grad", None) is not None
            parts.append((array.dtype.num, array.ndim, tracked, has_grad, seen.setdefault(id(x), i), fixed))
        return _Call(leaves, structure, tuple(shapes), (structure, tuple(parts), STATE.grad), [], args, kwargs)

    def _find(self, call: _Call) -> Build:
        if self._retrace:
            table = self._retrace.get(call.key)
            if table is not None:
                return self._trace_again(call, table)
        group = self._groups.get(call.key)
        if group is None:
            return self._new_build(call, [], ("", None, None, None))
        if len(self._groups) > 1:
            self._groups.move_to_end(call.key)
        for build in group:
            if _matches(build.pattern, call.shapes) and build.knows(call) and build.holds() and self._sizes_agree(build, call):
                return build
        return self._new_build(call, group, self._why(group, call))

    def _sizes_agree(self, build: Build, call: _Call) -> bool:
        if not build.built.places:
            return True
        shapes = [_array_of(s, call).shape for s in build.sources]
        try:
            build.built.check(shapes, [""] * len(build.sources))
        except ShapeError:
            return False
        sizes = build.built.sizes(shapes) if build.compared else {}
        return all((substitute(a, sizes) == substitute(b, sizes)) is equal for a, b, equal in build.compared)

    def _why(self, group: list[Build], call: _Call) -> tuple[str, int | None, Any, Any]:
        latest = group[-1]
        for build in group:
            if _matches(build.pattern, call.shapes):
                name, old, new = build.failed()
                if name:
                    return name, None, old, new
        self._name_paths(call)
        for path, pattern, shape in zip(call.paths, latest.pattern, call.shapes, strict=True):
            for axis, (want, have) in enumerate(zip(pattern, shape, strict=True)):
                if want is not None and want != have:
                    return path, axis, want, have
        return "", None, None, None

    def _name_paths(self, call: _Call) -> None:
        if not call.paths:
            args, kwargs = unflatten(call.structure, call.leaves)
            for i, arg in enumerate(args):
                flatten(arg, [], call.paths, self._names[i] if i < len(self._names) else f"arg{i}")
            for name, arg in kwargs.items():
                flatten(arg, [], call.paths, name)

    def _new_build(self, call: _Call, group: list[Build], why: tuple[str, int | None, Any, Any]) -> Build:
        name = getattr(self.fn, "__name__", "function")
        check_may_build(f"compiled {name}", f"{why[0]} {why[2]} -> {why[3]}" if why[0] else "its first call of this kind")
        self._name_paths(call)
        start = time.perf_counter()
        pattern = self._pattern(group, call, why)
        state = _host_random_state()
        try:
            trace, build = self._trace(call, pattern)
            if not self._sizes_agree(build, call):
                raise ShapeError("the sizes of this call break what was assumed of unknown ones")
        except (SymbolicError, ShapeError):
            if is_static_pattern(pattern):
                raise
            _restore_host_random(state)
            pattern = call.shapes
            trace, build = self._trace(call, pattern)
            build.static_only = True
        if _host_random_state() != state:
            self._retrace[call.key] = trace.table
            self._by_identity[self._identity(call, build)] = build
        else:
            kept = [b for b in group if not (why[0] and why[1] is not None and not b.static_only and _covers(pattern, b.pattern))]
            self._groups[call.key] = [*kept, build][-config.largest_cache :]
            while len(self._groups) > config.largest_cache:
                self._groups.popitem(last=False)
        self.recompiles.append(Recompile(why[0], why[1], why[2], why[3], user_line(), (time.perf_counter() - start) * 1e3))
        return build

    def _pattern(self, group: list[Build], call: _Call, why: Any) -> tuple[tuple[int | None, ...], ...]:
        """The sizes the new build is made for: unknown where they differ from a build that failed for its sizes alone."""
        if self.dynamic:  # a size of 1 broadcasts, so it is another program: it stays a number
            return tuple(tuple(1 if size == 1 else None for size in shape) for shape in call.shapes)
        related = [b for b in group if not b.static_only]
        if self.dynamic is False or not related or why[1] is None or any(b.static_only for b in group):
            return call.shapes
        latest = related[-1].pattern
        return tuple(
            tuple(have if want == have else None for want, have in zip(old, new, strict=True))
            for old, new in zip(latest, call.shapes, strict=True)
        )

    def _identity(self, call: _Call, build: Build) -> Any:
        program = build.built.recorded
        return (call.key, call.shapes, program.identity, tuple(i for _, i in build.updates), len(build.grads))

    def _trace_again(self, call: _Call, table: Table) -> Build:
        """A trace that drew from the host's random state: traced at each call, built once per program."""
        self._name_paths(call)
        start = time.perf_counter()
        made: list[Build] = []

        def reuse(candidate: Build) -> Build | None:
            return self._by_identity.get(self._identity(call, candidate))

        _, build = self._trace(call, call.shapes, table, reuse)
        identity = self._identity(call, build)
        if identity not in self._by_identity:
            check_may_build(f"compiled {getattr(self.fn, '__name__', 'function')}", "a program not met before")
            build.built = self._make_built(build.built.recorded, {})
            self._by_identity[identity] = build
            while len(self._by_identity) > config.largest_cache:
                self._by_identity.pop(next(iter(self._by_identity)))
            ms = (time.perf_counter() - start) * 1e3
            self.recompiles.append(Recompile("host random state", None, None, None, user_line(), ms))
        made.clear()
        return build

    # --- tracing --------------------------------------------------------------------------------------------------

    def _make_built(self, program: Program, aliases: Any) -> Built:
        name = getattr(self.fn, "__name__", "function")
        return Built(program, aliases, self.backend, self.optimize, self.verify, name)

    def _trace(
        self,
        call: _Call,
        pattern: tuple[tuple[int | None, ...], ...],
        table: Table | None = None,
        reuse: Callable[[Build], Build | None] | None = None,
    ) -> tuple[Trace, Build]:
        trace = Trace(table)
        surroundings = Surroundings(self.fn, objects_in(call.structure))
        arguments, symbols = _symbols(trace, call, pattern)
        args, kwargs = unflatten(call.structure, symbols)
        mutables = Mutables(args, kwargs)
        compared: list[tuple[Size, Size, bool]] = []
        with paused_gc(), recording(trace), comparisons(_decider(symbols, call, compared)):
            result = self.fn(*args, **kwargs)
        refilled = mutables.changed()
        if refilled:
            result = (result, [content for _, content in refilled])
        refilled = [path for path, _ in refilled]
        del args, kwargs, mutables
        given = set(map(id, call.leaves))
        surroundings.settle(t for t, _ in trace.shadows.values() if id(t) not in given)
        build = _Assembly(trace, call, pattern, arguments, symbols, result, surroundings, self.keep_grads).finish(
            self._make_built, reuse
        )
        del result
        trace.check_leaks(symbols)
        symbols.clear()
        build.compared, build.shows_sizes = compared, has_sizes(build.structure)
        build.met_outside, build.refilled = trace.met_outside, refilled
        build.reached = {id(t): t for t, _ in trace.shadows.values() if id(t) not in given}
        build.epoch = EPOCH.value
        return trace, build

    # --- running --------------------------------------------------------------------------------------------------

    def _run(self, build: Build, call: _Call) -> Any:
        arrays = [_array_of(source, call) for source in build.sources]
        if self.verify:
            self._verify(build, arrays)
        results = build.built.run(arrays)
        taped = None
        if build.backward is not None:
            tensors = [_tensor_of(source, call) for source in build.sources]
            written = {k for k, source in enumerate(build.sources) if any(source is s for s, _ in build.updates)}
            made = [results[build.outputs[i][1]] for i in build.taped]
            sizes = build.built.sizes([a.shape for a in arrays])
            taped = build.backward.entry(tensors, arrays, written, results, made, sizes)
        outputs = []
        new_tensor = SLOTS.new_tensor
        for i, (kind, what) in enumerate(build.outputs):
            if kind == "value":
                tensor = new_tensor(results[what])
                if taped is not None and i in build.taped:
                    tensor._edge = (taped, build.taped.index(i))
                elif i in build.leaves:
                    tensor._edge, grad = LEAF, build.leaves[i]
                    if grad is not None:
                        tensor._grad = new_tensor(results[grad])
                elif i in build.spent:
                    tensor._edge = (Entry(_Spent, {}, (), (), ((tensor._data.shape, tensor._data.dtype),), None), 0)
                outputs.append(tensor)
            else:
                outputs.append(call.leaves[what] if kind == "argument" else outputs[what] if kind == "same" else what)
        if build.updates or build.flags or build.grads:
            _carry_over(build, call, results)
        structure = build.structure
        if build.shows_sizes:
            structure = with_sizes(structure, build.built.sizes([a.shape for a in arrays]))
        returned = unflatten(structure, outputs)
        if build.refilled:
            returned, contents = returned
            for path, content in zip(build.refilled, contents, strict=True):
                refill(call.args, call.kwargs, path, content)
        return returned

    def _verify(self, build: Build, arrays: list[Any]) -> None:
        expected = build.built.reference(arrays)
        actual = build.built.run(arrays)
        for i, (a, b) in enumerate(zip(actual, expected, strict=True)):
            close = np.allclose(a.astype(np.float64), b.astype(np.float64), rtol=1e-3 if a.itemsize < 8 else 1e-9, equal_nan=True)
            if not close:
                node = build.built.recorded.outputs[i].node
                made = build.built.recorded.outputs[i].origin_text()
                raise VerifyError(f"output {i} of the optimised program differs from the recorded one: {node} made at {made}")


class _Assembly:
    """Turns what a trace recorded into a Build."""

    def __init__(
        self, trace: Trace, call: _Call, pattern: Any, arguments: list[Value], symbols: list[Any], result: Any,
        surroundings: Surroundings, keep_grads: bool,
    ):  # fmt: skip
        self.trace, self.call, self.pattern, self.arguments = trace, call, pattern, arguments
        self.symbols, self.surroundings, self.keep_grads = symbols, surroundings, keep_grads
        self.returned: list[Any] = []
        self.structure = flatten(result, self.returned)
        self.values: list[Value] = []
        self.at: dict[int, int] = {}
        self.leaves: dict[int, int | None] = {}

    def place(self, value: Value) -> int:
        """The number of the program output that gives this value."""
        self.values.append(value)
        return len(self.values) - 1

    def finish(self, make: Callable[..., Built], reuse: Callable[[Build], Build | None] | None) -> Build:
        """Checks for leaks and aliases, collects outputs and updates, differentiates, builds."""
        trace = self.trace
        symbolic_out = [t for t in self.returned if t.is_symbolic]
        trace.check_leaks([*symbolic_out, *self.symbols])
        trace.check_aliases()
        outputs = self.outputs()
        taped, spent = self.differentiable(outputs)
        updates = self.updates()
        grads, flags = self.gradients()
        wants, joint = self.pull(taped)
        sources, inputs = self.inputs([*self.values, *(joint.outputs if joint else ())])
        backward_parts = None
        computed: tuple[Value, ...] = ()
        if joint is not None:
            joint = Program(trace.table, (*inputs, *joint.inputs), joint.outputs)
            backward_parts = cut(joint, len(inputs))
            computed = tuple(v for v in backward_parts[1] if v.node.op is not INPUT)
        program = Program(trace.table, tuple(inputs), (*self.values, *computed), tuple(trace.checks))
        at = {id(v): i for i, v in enumerate(inputs)}
        guards = [Guard(g.owner, g.name, ask(g.owner, g.name) if g.name == "_guard_state" else g.value) for g in trace.guards.values()]
        build = Build(
            self.pattern, self.structure, outputs, sources, updates, grads, flags, _NotBuilt(program),  # type: ignore[arg-type]
            None, taped, [at[id(w)] for w in wants], guards, self.surroundings, spent, leaves=self.leaves,
        )  # fmt: skip
        known = None if reuse is None else reuse(build)
        if known is not None:
            build.built, build.backward = known.built, known.backward
            return build
        build.built = make(program, trace.aliases)
        if joint is not None and backward_parts is not None:
            positions = [at[id(w)] for w in wants]
            offset = len(self.values)
            build.backward = Backward(joint, backward_parts, positions, offset, make(backward_parts[0], trace.aliases))
        return build

    def outputs(self) -> list[tuple[str, Any]]:
        """Where each returned tensor comes from; one that is returned twice is one object."""
        first: dict[int, int] = {}
        found: list[tuple[str, Any]] = []
        for i, tensor in enumerate(self.returned):
            known = first.setdefault(id(tensor), i)
            found.append(self.output(tensor) if known == i else ("same", known))
        return found

    def output(self, tensor: Any) -> tuple[str, Any]:
        """Where a returned tensor comes from: an argument, an object that exists, or a value of the program."""
        if not tensor.is_symbolic:
            return ("object", tensor)
        for i, symbol in enumerate(self.symbols):
            if tensor is symbol:
                return ("argument", i)
        concrete = tensor.__dict__.get("_stands_for")
        if concrete is not None:
            return ("object", concrete)
        with recording(self.trace):
            refresh(tensor)
        return ("value", self.place(tensor._data))

    def differentiable(self, outputs: list[tuple[str, Any]]) -> tuple[list[int], set[int]]:
        """The outputs whose gradient is still to come, and those whose gradient the call has used up."""
        taped, spent = [], set()
        for i, ((kind, _), tensor) in enumerate(zip(outputs, self.returned, strict=True)):
            if kind != "value" or tensor._edge is None or not STATE.grad:
                continue
            if tensor._edge is LEAF:
                grad = getattr(tensor, "_grad", None)
                self.leaves[i] = None if grad is None else self.place(grad._data)
                continue
            edge = edge_of(tensor)
            entries = order_entries([edge[0]]) if type(edge) is tuple else []
            if any(entry.saved is None for entry in entries):
                spent.add(i)
            else:
                taped.append(i)
        return taped, spent

    def updates(self) -> list[tuple[Any, int]]:
        """The arguments and captured tensors the trace has written, with the output that gives the new value."""
        found: list[tuple[Any, int]] = []
        seen: set[int] = set()
        for i, (symbol, value) in enumerate(zip(self.symbols, self.arguments, strict=True)):
            if id(symbol) not in seen and symbol._data is not value:
                found.append((i, self.place(symbol._data)))
            seen.add(id(symbol))
        for capture in self.trace.captures.values():
            if capture.shadow._data is not capture.value:
                found.append((capture, self.place(capture.shadow._data)))
        return found

    def gradients(self) -> tuple[list[tuple[Any, int | None]], list[tuple[Any, bool]]]:
        """What becomes of `.grad` and `requires_grad` of the tensors the trace has touched."""
        grads: list[tuple[Any, int | None]] = []
        flags: list[tuple[Any, bool]] = []
        known = [(i, s) for i, s in enumerate(self.symbols)]
        known += [(concrete, s) for concrete, s in self.trace.shadows.values() if not any(s is x for x in self.symbols)]
        for owner, shadow in known:
            state = shadow.__dict__
            concrete = self.call.leaves[owner] if isinstance(owner, int) else owner
            if (shadow._edge is LEAF) != (concrete._edge is not None) and (shadow._edge is LEAF or shadow._edge is None):
                flags.append((owner, shadow._edge is LEAF))
            if not state.get("_grad_set"):
                continue
            grad = getattr(shadow, "_grad", None)
            if grad is None or (state.get("_consumed") and state.get("_cleared") and not self.keep_grads):
                grads.append((owner, None))
            else:
                grads.append((owner, self.place(grad._data)))
        return grads, flags

    def pull(self, taped: list[int]) -> tuple[list[Value], Program | None]:
        """The gradient of the taped outputs with respect to every input that wants one, recorded on the same table."""
        if not taped:
            return [], None
        trace = self.trace
        leaves = [s for s in (*self.symbols, *(c.shadow for c in trace.captures.values())) if _is_leaf_input(s)]
        leaves = list({id(s): s for s in leaves}.values())
        for leaf in leaves:  # the eager tape below this call runs them
            leaf.__dict__.pop("_hooks", None)
        roots, seeds = [], []
        for k, i in enumerate(taped):
            tensor = self.returned[i]
            seed = symbolic(trace, f"cotangent_{k}", tensor._data.type, False)
            roots.append((edge_of(tensor), seed))
            seeds.append(seed._data)
        with paused_gc(), recording(trace):
            found = pull_to(roots, leaves, retain_graph=False, create_graph=False)
            connected = [(s, g) for s, g in zip(leaves, found, strict=True) if g is not None]
        inputs = {id(s): v for s, v in zip(self.symbols, self.arguments, strict=True)}
        inputs |= {id(c.shadow): c.value for c in trace.captures.values()}
        wants = [inputs[id(s)] for s, _ in connected]
        return wants, Program(trace.table, tuple(seeds), tuple(g._data for _, g in connected))

    def inputs(self, outputs: Sequence[Value]) -> tuple[list[Any], list[Value]]:
        """The inputs the outputs need, with where each is read from; arguments always, for their sizes."""
        needed = {node.outputs[0] for node in toposort(outputs) if node.op is INPUT}
        sources: list[Any] = []
        inputs: list[Value] = []
        for i, value in enumerate(self.arguments):
            if value not in inputs:
                sources.append(i)
                inputs.append(value)
        for capture in self.trace.captures.values():
            if capture.value in needed:
                sources.append(capture)
                inputs.append(capture.value)
        return sources, inputs


class _NotBuilt:
    """Holds a program until it is known whether an equal one is built already."""

    def __init__(self, recorded: Program):
        self.recorded = recorded
        self.places: dict[str, Any] = {}


def _is_leaf_input(symbol: Any) -> bool:
    return symbol._edge is LEAF


def _symbols(trace: Trace, call: _Call, pattern: Any) -> tuple[list[Value], list[Any]]:
    """A symbolic tensor for each argument tensor, one for two arguments that are the same object."""
    values: list[Value] = []
    symbols: list[Any] = []
    seen: dict[int, Any] = {}
    for leaf, sizes, shape, path in zip(call.leaves, pattern, call.shapes, call.paths, strict=True):
        known = seen.get(id(leaf))
        if known is None:
            name = "".join(c if c.isalnum() else "_" for c in path).strip("_") or "x"
            dims = tuple(
                Dim.named(f"{name}_{axis}") if want is None else have for axis, (want, have) in enumerate(zip(sizes, shape, strict=True))
            )
            known = symbolic(trace, name, TensorType(dims, leaf.dtype), leaf.requires_grad)
            known.__dict__["_argument"] = len(symbols), leaf
            seen[id(leaf)] = known
            trace.shadows[id(leaf)] = (leaf, known)
        values.append(known._data)
        symbols.append(known)
    return values, symbols


def _decider(symbols: list[Any], call: _Call, compared: list[tuple[Size, Size, bool]]) -> Callable[[Size, Size], bool] | None:
    """Answers comparisons of sizes in the traced code itself by the sizes of this call, and notes them."""
    sizes: dict[str, Size] = {}
    for symbol, shape in zip(symbols, call.shapes, strict=True):
        for size, have in zip(symbol._data.type.shape, shape, strict=True):
            name = plain_name(size)
            if name is not None:
                sizes[name] = have
    if not sizes:
        return None

    def decide(a: Size, b: Size) -> bool:
        if is_internal(sys._getframe(2).f_code.co_filename):
            return False
        equal = substitute(a, sizes) == substitute(b, sizes)
        compared.append((a, b, equal))
        return equal

    return decide


def _matches(pattern: Any, shapes: Any) -> bool:
    return pattern == shapes or all(
        want is None or want == have for old, new in zip(pattern, shapes, strict=True) for want, have in zip(old, new, strict=True)
    )


def _covers(pattern: Any, other: Any) -> bool:
    return _matches(pattern, other)


def is_static_pattern(pattern: Any) -> bool:
    """Whether a build pattern leaves no size open."""
    return all(is_static(shape) for shape in pattern)


def _tensor_of(source: int | Capture, call: _Call) -> Any:
    if isinstance(source, int):
        return call.leaves[source]
    return source.target() if source.argument is None else call.leaves[source.argument].grad


def _array_of(source: int | Capture, call: _Call) -> Any:
    if isinstance(source, int):
        return call.leaves[source]._data
    return source.read() if source.argument is None else call.leaves[source.argument].grad._data


def _memory_meets(build: Build, call: _Call) -> bool:
    """Whether an argument shares memory with another input or variable and one of both is written: the program, which
    takes them for independent, would not follow that."""
    written = [source for source, _ in build.updates]
    places: dict[int, list[tuple[Any, bool]]] = {}
    for i in {id(leaf): i for i, leaf in enumerate(call.leaves)}.values():
        array = call.leaves[i]._data
        places.setdefault(id(_owner(array)), []).append((array, any(source == i for source in written if isinstance(source, int))))
    if any(len(found) > 1 for found in places.values()) and any(
        (a_written or b_written) and np.shares_memory(a, b)
        for found in places.values()
        for n, (a, a_written) in enumerate(found)
        for b, b_written in found[n + 1 :]
    ):
        return True
    captured = {id(s): s for s in (*build.sources, *written) if isinstance(s, Capture) and s.tensor is not None}
    for source in captured.values():
        array = source.tensor._data
        for other, other_written in places.get(id(_owner(array)), ()):
            if (other_written or any(source is s for s in written)) and np.shares_memory(array, other):
                return True
    return False


def _owner(array: Any) -> Any:
    """The object that holds an array's memory."""
    while type(array) is _ndarray and array.base is not None:
        array = array.base
    return array


def write_array(tensor: Any, array: Any) -> None:
    """Gives a concrete tensor new elements: in its own memory, so that whoever shares it sees them."""
    if tensor._data.shape == array.shape and tensor._data.flags.writeable:
        np.copyto(tensor._data, array)
    else:
        tensor._data = array
    if tensor._version is not None:
        tensor._version.count += 1


def _carry_over(build: Build, call: _Call, results: list[Any]) -> None:
    """Writes what the run has computed into arguments, captured tensors and gradients."""
    for source, k in build.updates:
        target = _tensor_of(source, call)
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


def _parameter_names(fn: Callable[..., Any]) -> list[str]:
    try:
        return list(inspect.signature(fn).parameters)
    except (TypeError, ValueError):
        return []


def _host_random_state() -> Any:
    legacy: Any = np.random.get_state()
    return random.getstate(), legacy[1].tobytes(), legacy[2:]


def _restore_host_random(state: Any) -> None:
    random.setstate(state[0])
    words = np.frombuffer(state[1], np.uint32)
    np.random.set_state(("MT19937", words, *state[2]))


def compile(
    model: Any = None,
    *,
    backend: str | None = None,
    optimize: bool = True,
    verify: bool = False,
    keep_grads: bool = False,
    dynamic: bool | None = None,
    fullgraph: bool = True,
    mode: str | None = None,
    options: Any = None,
    disable: bool = False,
) -> Any:
    """Compiles a function of tensors, nested containers and plain values, or a Module.

    The function is traced at its first call of each kind: ops become a graph, which is optimised and run by `backend` from
    then on. Tensors it captures are read at each run, writes to them are carried out, `backward` and optimizer steps inside
    are part of the graph. `compile(module)` gives a Module that shares parameters. Called under grad mode, results are on the
    eager tape. `optimize=False` turns the passes off; `verify=True` compares each run with the recorded program;
    `keep_grads=True` stores also gradients an optimizer inside has used up; `dynamic=True` leaves every size open,
    `dynamic=False` none. `fullgraph`, `mode` and `options` are PyTorch's and change nothing. Usable as a decorator.
    """
    if model is None:
        return functools.partial(
            compile, backend=backend, optimize=optimize, verify=verify, keep_grads=keep_grads, dynamic=dynamic, disable=disable
        )
    if disable:
        return model
    if backend in ("inductor", "eager", "aot_eager", "cudagraphs"):
        backend = None
    options_: dict[str, Any] = {
        "backend": backend, "optimize": optimize, "verify": verify, "keep_grads": keep_grads, "dynamic": dynamic,
    }  # fmt: skip
    if hasattr(model, "__compiled__"):
        return model.__compiled__(CompiledFunction(model, **options_))
    return CompiledFunction(model, **options_)


__all__ = ["Backward", "CompiledFunction", "GradientError", "Other", "Recompile", "Size", "compile", "counter_of", "no_recompile", "set_grad"]
