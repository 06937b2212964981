"""`compile`: traces a function once per kind of call, builds the program, replays it.

A build is found by what the arguments are (structure, plain values, dtypes, ranks, sizes, aliasing; how they lie in memory
where that decides what is a view), the mode (tape on or off), and guards on what the trace read elsewhere. Guarded things
move one global epoch when they change; a call compares the epoch and re-validates only if it moved. A dimension that changed
once becomes unknown in the next build.
"""

from __future__ import annotations

import functools
import inspect
import random
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from graphc.assembly import Assembly, argument_symbols, size_decider
from graphc.backends import find_backend
from graphc.builds import (
    Build,
    Call,
    Recompile,
    Retraced,
    Spent,
    array_of,
    carry_over,
    check_may_build,
    is_static_pattern,
    matches,
    memory_meets,
    no_recompile,
    tensor_of,
)
from graphc.core.arrays import is_array
from graphc.core.config import config
from graphc.core.context import EPOCH, SLOTS, STATE, recording
from graphc.core.dims import comparisons
from graphc.core.errors import ShapeError, SymbolicError, user_line
from graphc.core.tape import LEAF, Entry
from graphc.core.tensor_types import defaults
from graphc.entries import SLOW, make_entry
from graphc.executable import Built
from graphc.functions.casting import kind_of_all
from graphc.ir.program import Program, Table
from graphc.layouts import Decision, form_of, lies, shown
from graphc.nests import Mutables, changed_value, flatten, has_sizes, objects_in, refill, unflatten, with_sizes
from graphc.surroundings import Surroundings
from graphc.tracing import Trace, paused_gc

_NO_KEYWORDS = flatten({}, [])


class CompiledFunction:
    """What `compile` returns: the function, traced and built at its first call of each kind, replayed after that.

    `recompiles` lists the builds, the latest thousand of them, with their reasons. Calls from several threads are safe.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        backend: str | None = None,
        optimize: bool = True,
        verify: bool = False,
        keep_grads: bool = False,
        dynamic: bool | None = None,
        check_nans: bool = False,
    ):
        functools.update_wrapper(self, fn, updated=())
        # It loads now, so that the first call need not, and an unknown name is told here.
        find_backend(backend or config.backend)
        self.fn, self.backend, self.optimize, self.verify = fn, backend, optimize, verify
        self.keep_grads, self.dynamic, self.check_nans = keep_grads, dynamic, check_nans
        self.recompiles: list[Recompile] = []
        self._groups: OrderedDict[Any, list[Build]] = OrderedDict()
        self._retrace: dict[Any, Retraced] = {}
        self._by_identity: dict[Any, Build] = {}
        self._lock = threading.RLock()
        self._entry: Callable[[tuple[Any, ...]], Any] | None = None
        self._last_way: Any = None
        self._names = _parameter_names(fn)

    def __get__(self, owner: Any, kind: Any = None) -> Any:
        return self if owner is None else functools.partial(self, owner)

    def __reduce__(self) -> Any:
        """The function and its options, without what was built; the name alone of one that stands in its module."""
        name = getattr(self.fn, "__qualname__", "")
        if getattr(sys.modules.get(getattr(self.fn, "__module__", "")), name, None) is self:
            return name
        return CompiledFunction, (self.fn, *self.options.values())

    @property
    def options(self) -> dict[str, Any]:
        """The options it was compiled with."""
        names = ("backend", "optimize", "verify", "keep_grads", "dynamic", "check_nans")
        return {name: getattr(self, name) for name in names}

    def last_built(self) -> Built | None:
        """The program of the newest build, None before the first call."""
        builds = self.builds()
        return builds[-1].built if builds else None

    def builds(self) -> list[Build]:
        """Every build there is now."""
        with self._lock:
            return [*self._by_identity.values(), *(b for group in self._groups.values() for b in group)]

    def arrays_for(self, *args: Any, **kwargs: Any) -> tuple[Build, list[Any]]:
        """The build for a call with these arguments, made if there is none, and the arrays it would read; nothing runs."""
        state = _host_random_state()
        call = self._take_apart(args, kwargs)
        with self._lock:
            build = self._find(call)
            _restore_host_random(state)
            return build, [array_of(source, call) for source in build.sources]

    def __repr__(self) -> str:
        return f"<compiled {getattr(self.fn, '__qualname__', self.fn)}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._entry is not None and not kwargs:
            found = self._entry(args)
            if found is not SLOW:
                return found
        if STATE.recorder is not None:
            return self.fn(*args, **kwargs)
        call = self._take_apart(args, kwargs)
        with self._lock:
            build = self._find(call)
            if build.updates or build.grads or build.flags:
                if build.updates and call.leaves and memory_meets(build, call):
                    return self.fn(*args, **kwargs)
                result = self._run(build, call)
                self._open_entry(build, call)
                return result
        result = self._run(build, call)
        self._open_entry(build, call)
        return result

    def _open_entry(self, build: Build, call: Call) -> None:
        """Makes the short way for calls like this one, if it is the second in a row that took the long way."""
        if not build.may_be_short:
            return
        again, self._last_way = self._last_way == (build, call.shapes), (build, call.shapes)
        if again and not self.verify and not self._retrace:
            self._entry = make_entry(build, call, self._lock)
            build.may_be_short = self._entry is not None

    # --- finding a build ------------------------------------------------------------------------------------------

    def _take_apart(self, args: Any, kwargs: Any) -> Call:
        leaves: list[Any] = []
        structure = (tuple, flatten(args, leaves), flatten(kwargs, leaves) if kwargs else _NO_KEYWORDS)
        shapes, parts = [], []
        seen: dict[int, int] = {}
        for i, x in enumerate(leaves):
            array = x._data
            if not is_array(array):
                raise SymbolicError(
                    f"a symbolic tensor {array.type} was passed to a compiled function outside of its own trace, at "
                    f"{user_line()}"
                )
            shapes.append(array.shape)
            fixed = id(x) if type(x).__name__ in ("Parameter", "Buffer") else None
            tracked = x._edge is not None if x._base is None else x.requires_grad
            has_grad = tracked and getattr(x, "_grad", None) is not None
            parts.append((array.dtype.num, array.ndim, tracked, has_grad, seen.setdefault(id(x), i), fixed))
        precision = STATE.autocast and (STATE.autocast, kind_of_all(leaves))
        return Call(
            leaves, structure, tuple(shapes), (structure, tuple(parts), STATE.grad, precision), [], args, kwargs
        )

    def _find(self, call: Call) -> Build:
        if self._retrace:
            retraced = self._retrace.get(call.key)
            if retraced is not None:
                return self._trace_again(call, retraced)
        group = self._groups.get(call.key)
        if group is None:
            return self._new_build(call, [], self._other_value(call))
        if len(self._groups) > 1:
            self._groups.move_to_end(call.key)
        for build in group:
            if (
                matches(build.pattern, call.shapes)
                and build.knows(call)
                and build.holds()
                and self._sizes_agree(build, call)
            ):
                return build
        return self._new_build(call, group, self._why(group, call))

    def _sizes_agree(self, build: Build, call: Call) -> bool:
        if not build.built.places or call.shapes in build.agreed:
            return True
        shapes = [array_of(s, call).shape for s in build.sources]
        try:
            build.built.check(shapes, [""] * len(build.sources))
        except ShapeError:
            return False
        sizes = build.built.sizes(shapes) if build.decisions else {}
        if not all(decision.holds(sizes) for decision in build.decisions):
            return False
        if len(build.agreed) >= config.largest_cache:
            build.agreed.clear()
        build.agreed.add(call.shapes)
        return True

    def _why(self, group: list[Build], call: Call) -> tuple[str, int | None, Any, Any]:
        alike = [build for build in group if build.fits(call)]
        self._name_paths(call)
        if not alike:
            return self._lies_otherwise(group[-1], call)
        latest = alike[-1]
        for build in alike:
            if matches(build.pattern, call.shapes):
                name, old, new = build.failed()
                if name:
                    return name, None, old, new
        for path, pattern, shape in zip(call.paths, latest.pattern, call.shapes, strict=True):
            for axis, (want, have) in enumerate(zip(pattern, shape, strict=True)):
                if want is not None and want != have:
                    return path, axis, want, have
        return "", None, None, None

    def _other_value(self, call: Call) -> tuple[str, int | None, Any, Any]:
        """The plain argument that is another one than in the call that was built for last."""
        if self._groups:
            _, old_args, old_kwargs = next(reversed(self._groups))[0]
            _, args, kwargs = call.structure
            names = [*self._names, *(f"arg{i}" for i in range(len(self._names), len(args)))]
            pairs = [*zip(names, old_args[1:], args[1:], strict=False)]
            if old_kwargs[1] == kwargs[1]:
                pairs += zip(kwargs[1], old_kwargs[2:], kwargs[2:], strict=True)
            for name, a, b in pairs:
                found = changed_value(a, b, name)
                if found is not None:
                    return found[0], None, found[1], found[2]
        return "", None, None, None

    def _lies_otherwise(self, build: Build, call: Call) -> tuple[str, int | None, Any, Any]:
        """The input of which the memory layout differs from what a build was made for."""
        for source, form in build.layouts:
            array = array_of(source, call)
            if not lies(array, form):
                name = call.paths[source] if isinstance(source, int) else source.name
                return f"memory layout of {name}", None, shown(form), shown(form_of(array))
        return "", None, None, None

    def _name_paths(self, call: Call) -> None:
        if not call.paths:
            args, kwargs = unflatten(call.structure, call.leaves)
            for i, arg in enumerate(args):
                flatten(arg, [], call.paths, self._names[i] if i < len(self._names) else f"arg{i}")
            for name, arg in kwargs.items():
                flatten(arg, [], call.paths, name)

    def _new_build(self, call: Call, group: list[Build], why: tuple[str, int | None, Any, Any]) -> Build:
        name = getattr(self.fn, "__name__", type(self.fn).__name__)
        check_may_build(
            f"compiled {name}", f"{why[0]} {why[2]} -> {why[3]}" if why[0] else "its first call of this kind"
        )
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
            self._retrace[call.key] = Retraced(trace.table)
            while len(self._retrace) > config.largest_cache:
                self._retrace.pop(next(iter(self._retrace)))
            self._keep_by_identity(self._identity(call, build), build)
        else:
            kept = [
                b
                for b in group
                if not (
                    why[0] and why[1] is not None and not b.static_only and matches(pattern, b.pattern) and b.fits(call)
                )
            ]
            self._groups[call.key] = [*kept, build][-config.largest_cache :]
            while len(self._groups) > config.largest_cache:
                self._groups.popitem(last=False)
        self._note_build(*why, start)
        return build

    def _pattern(self, group: list[Build], call: Call, why: Any) -> tuple[tuple[int | None, ...], ...]:
        """The sizes the new build is made for: unknown where they differ from a build that failed for its sizes alone."""
        if self.dynamic:  # a size of 1 broadcasts, so it is another program: it stays a number
            return tuple(tuple(1 if size == 1 else None for size in shape) for shape in call.shapes)
        related = [b for b in group if b.fits(call)]
        if self.dynamic is False or not related or why[1] is None or any(b.static_only for b in related):
            return call.shapes
        latest = related[-1].pattern
        return tuple(
            tuple(have if want == have else None for want, have in zip(old, new, strict=True))
            for old, new in zip(latest, call.shapes, strict=True)
        )

    def _identity(self, call: Call, build: Build) -> Any:
        return (call.key, call.shapes, *build.identity)

    def _trace_again(self, call: Call, retraced: Retraced) -> Build:
        """A trace that drew from the host's random state: traced at each call, built once per program."""
        self._name_paths(call)
        start = time.perf_counter()

        def reuse(candidate: Build) -> Build | None:
            known = self._by_identity.get(self._identity(call, candidate))
            if known is None:
                check_may_build(f"compiled {getattr(self.fn, '__name__', 'function')}", "a program not met before")
            return known

        full = retraced.is_full()
        if full:
            for identity in [x for x in self._by_identity if x[0] == call.key]:
                del self._by_identity[identity]
            self._last_way = None
            retraced.begin_anew()
        _, build = self._trace(call, call.shapes, retraced.table, reuse)
        if full:
            retraced.note_start()
        identity = self._identity(call, build)
        if identity not in self._by_identity:
            self._keep_by_identity(identity, build)
            self._note_build("host random state", None, None, None, start)
        return build

    def _keep_by_identity(self, identity: Any, build: Build) -> None:
        self._by_identity[identity] = build
        while len(self._by_identity) > config.largest_cache:
            self._by_identity.pop(next(iter(self._by_identity)))

    def _note_build(self, argument: str, dim: int | None, old: Any, new: Any, start: float) -> None:
        """Adds to `recompiles`, of which the latest are kept."""
        self.recompiles.append(Recompile(argument, dim, old, new, user_line(), (time.perf_counter() - start) * 1e3))
        del self.recompiles[: -config.largest_history]

    # --- tracing --------------------------------------------------------------------------------------------------

    def _make_built(self, program: Program, aliases: Any, updates: Mapping[int, int] | None = None) -> Built:
        name = getattr(self.fn, "__name__", type(self.fn).__name__)
        return Built(program, aliases, self.backend, self.optimize, self.verify, name, updates, self.check_nans)

    def _trace(
        self,
        call: Call,
        pattern: tuple[tuple[int | None, ...], ...],
        table: Table | None = None,
        reuse: Callable[[Build], Build | None] | None = None,
    ) -> tuple[Trace, Build]:
        trace = Trace(table)
        trace.kind = kind_of_all(call.leaves)
        trace.guard(defaults, "float_dtype", defaults.float_dtype)
        surroundings = Surroundings(self.fn, objects_in(call.structure))
        arguments, symbols = argument_symbols(trace, call, pattern)
        args, kwargs = unflatten(call.structure, symbols)
        mutables = Mutables(args, kwargs)
        compared: list[Decision] = []
        with paused_gc(), recording(trace), comparisons(size_decider(trace.layouts, compared)):
            result = self.fn(*args, **kwargs)
        refilled = mutables.changed()
        if refilled:
            result = (result, [content for _, content in refilled])
        refilled = [path for path, _ in refilled]
        del args, kwargs, mutables
        given = set(map(id, call.leaves))
        _settle(surroundings, trace, given)
        build = Assembly(trace, call, pattern, arguments, symbols, result, surroundings, self.keep_grads).finish(
            self._make_built, reuse
        )
        del result
        trace.check_leaks(symbols)
        symbols.clear()
        build.decisions += compared
        build.shows_sizes = has_sizes(build.structure)
        build.met_outside, build.refilled = trace.met_outside, refilled
        build.reached = {id(t): t for t, _ in trace.shadows.values() if id(t) not in given}
        build.epoch, build.moves = EPOCH.value, EPOCH.moves
        return trace, build

    # --- running --------------------------------------------------------------------------------------------------

    def _run(self, build: Build, call: Call) -> Any:
        arrays = [array_of(source, call) for source in build.sources]
        results = build.built.run(arrays)
        taped = None
        if build.backward is not None:
            tensors = [tensor_of(source, call) for source in build.sources]
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
                    tensor._edge = (Entry(Spent, {}, (), (), ((tensor._data.shape, tensor._data.dtype),), None), 0)
                outputs.append(tensor)
            else:
                outputs.append(call.leaves[what] if kind == "argument" else outputs[what] if kind == "same" else what)
        if build.updates or build.flags or build.grads:
            carry_over(build, call, results)
        structure = build.structure
        if build.shows_sizes:
            structure = with_sizes(structure, build.built.sizes([a.shape for a in arrays]))
        returned = unflatten(structure, outputs)
        if build.refilled:
            returned, contents = returned
            for path, content in zip(build.refilled, contents, strict=True):
                refill(call.args, call.kwargs, path, content)
        return returned


def _settle(surroundings: Surroundings, trace: Trace, given: set[int]) -> None:
    """Has the build guard what modules report that the function names, and watch what modules do not report."""
    for module in surroundings.modules():
        trace.guard(module, "_guard_state", None)  # asked when the trace is assembled
    modules = [guard.owner for guard in trace.guards.values() if guard.name == "_guard_state"]
    surroundings.settle((t for t, _ in trace.shadows.values() if id(t) not in given), modules)


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
    check_nans: bool = False,
    fullgraph: bool = True,
    mode: str | None = None,
    options: Any = None,
    disable: bool = False,
) -> Any:
    """Compiles a function of tensors, nested containers and plain values, or a Module.

    The function is traced at its first call of each kind: ops become a graph, which is optimised and run by `backend` from
    then on. Tensors it captures are read at each run, writes to them are carried out, `backward` and optimizer steps inside
    are part of the graph. `compile(module)` gives a Module that shares parameters. Called under grad mode, results are on the
    eager tape. `optimize=False` turns the passes off; `verify=True` compares each run with the recorded program and raises
    VerifyError where they differ, naming the first pass or step, op and line, before anything is written; `keep_grads=True`
    stores also gradients an optimizer inside has used up; `dynamic=True` leaves every size open, `dynamic=False` none;
    `check_nans=True` looks at every step's results and raises NonFiniteError, naming op, line and module, for the first NaN or
    infinity made from finite operands, before anything is changed. `fullgraph`, `mode` and `options` are PyTorch's and change
    nothing. Usable as a decorator.
    """
    if model is None:
        return functools.partial(
            compile,
            backend=backend,
            optimize=optimize,
            verify=verify,
            keep_grads=keep_grads,
            dynamic=dynamic,
            check_nans=check_nans,
            disable=disable,
        )
    if disable:
        return model
    if backend in ("inductor", "eager", "aot_eager", "cudagraphs"):
        backend = None
    options_: dict[str, Any] = {
        "backend": backend, "optimize": optimize, "verify": verify, "keep_grads": keep_grads, "dynamic": dynamic,
        "check_nans": check_nans,
    }  # fmt: skip
    if hasattr(model, "__compiled__"):
        return model.__compiled__(CompiledFunction(model, **options_))
    return CompiledFunction(model, **options_)


__all__ = ["CompiledFunction", "Recompile", "compile", "no_recompile"]
