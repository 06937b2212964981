"""Entries: the short way into a build, for calls that need no deciding.

A call of a compiled function takes its arguments apart, finds the build that fits, reads what the build captured and writes
back what it changed. Most calls are like the one before, and for them one Python function is generated per build: it compares
what could differ (types, sizes, strides, grad mode, the epoch of guarded things, captured arrays), makes the outputs' arrays,
and launches the native run. Whatever does not compare equal goes the long way, which decides anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.builds import Build, Call, Spent, array_of
from graphc.core.arrays import DeviceArray, memory_owner
from graphc.core.autocast import AUTOCAST
from graphc.core.context import EPOCH, SLOTS, STATE
from graphc.core.tape import Entry as TapeEntry
from graphc.nests import unflatten
from graphc.tracing import Capture

#: What an entry gives back when the call must go the long way.
SLOW = object()


class _Writer:
    """Lines of the generated function and the objects its names stand for."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[str, Any] = {}

    def name(self, stem: str, value: Any) -> str:
        """A name for an object."""
        name = f"{stem}{len(self.names)}"
        self.names[name] = value
        return name

    def function(self, head: str) -> Callable[..., Any]:
        """The generated function."""
        text = f"def entry({head}):\n" + "\n".join(f"    {line}" for line in self.lines)
        exec(compile(text, "<graphc entry>", "exec"), self.names)
        found: Callable[..., Any] = self.names["entry"]
        return found


def make_entry(build: Build, call: Call, lock: Any) -> Callable[[tuple[Any, ...]], Any] | None:
    """The entry for calls like this one, None where each call must decide for itself."""
    if any(type(array_of(source, call)) is DeviceArray for source in build.sources):
        return None
    shapes = [_shape_of(source, call) for source in build.sources]
    executable = build.built.executable(shapes)
    if not hasattr(executable, "launcher") or not _is_plain(build, call, executable):
        return None
    bound = {i: _bound(source) for i, source in enumerate(build.sources) if isinstance(source, Capture)}
    given = {i: f"x{source}" for i, source in enumerate(build.sources) if isinstance(source, int)}
    new = [k for k in range(len(executable.program.outputs)) if k not in executable.plan.in_place]
    launcher = executable.launcher(sorted(given), new, bound)
    if launcher is None:
        return None
    w = _Writer()
    w.names |= {"STATE": STATE, "EPOCH": EPOCH, "BUILD": build, "SLOW": SLOW, "Tensor": type(call.args[0])}
    w.names |= {"ndarray": np.ndarray, "empty": np.empty, "new_tensor": SLOTS.new_tensor, "owner_of": memory_owner}
    w.names |= {"AUTOCAST": AUTOCAST, "PRECISION": STATE.autocast}
    n = len(call.leaves)
    w.lines.append(
        f"if len(args) != {n} or STATE.recorder is not None or STATE.grad is not {STATE.grad} "
        "or (EPOCH.value != BUILD.epoch and not BUILD.guards_hold()) "
        "or (AUTOCAST.used and STATE.autocast != PRECISION): return SLOW"
    )
    if build.surroundings.held:
        w.names["holds"] = build.surroundings.hold
        w.lines.append("if not holds(): return SLOW")
    w.lines.append(f"{', '.join(f'a{i}' for i in range(n))}, = args")
    for i, leaf in enumerate(call.leaves):
        _argument(w, build, i, leaf._data)
    for i, array in bound.items():
        _captured(w, build.sources[i], array)
    _grads(w, build)
    _launch(w, executable, launcher, given, new)
    _finish(w, build)
    if build.updates or any(isinstance(source, Capture) and source.owner is not None for source in build.sources):
        w.lines = ["with LOCK:", *("    " + line for line in w.lines)]
        w.names["LOCK"] = lock
    return w.function("args")


def _shape_of(source: int | Capture, call: Call) -> tuple[int, ...]:
    if isinstance(source, int):
        shape: tuple[int, ...] = call.leaves[source]._data.shape
        return shape
    return tuple(np.shape(source.read()))


def _is_plain(build: Build, call: Call, executable: Any) -> bool:
    """Whether a call does no more than launch, bump versions, and give back new tensors."""
    captures = [s for s in build.sources if isinstance(s, Capture)]
    arguments = call.leaves
    return (
        not call.kwargs
        and bool(arguments)
        and len(call.args) == len(arguments)
        and all(a is b and type(a) is type(SLOTS.new_tensor(None)) for a, b in zip(call.args, arguments, strict=True))
        and len({id(a) for a in arguments}) == len(arguments)
        and build.backward is None
        and not (build.taped or build.refilled or build.shows_sizes or build.leaves or build.flags or build.met_outside)
        and all(kind == "value" for kind, _ in build.outputs)
        and all(grad is None and not isinstance(owner, int) for owner, grad in build.grads)
        and all(c.argument is None and c.grad_of is None for c in captures)
        and all(c.owner is not None or c.tensor is not None for c in captures)
        and all(isinstance(source, Capture) and k in executable.plan.in_place for source, k in build.updates)
        and not any(a._edge is not None for a in arguments)
        # native code reads memory in C order; that later arguments have the same strides is tested
        and all(a._data.flags.c_contiguous for a in arguments)
        and not build.built.unknown
    )


def _argument(w: _Writer, build: Build, i: int, array: Any) -> None:
    """An argument must be an untracked tensor like the one before, of memory that nothing captured shares."""
    dtype, shape, strides = w.name("d", array.dtype), w.name("s", array.shape), w.name("t", array.strides)
    w.lines.append(f"if type(a{i}) is not Tensor or a{i}._edge is not None: return SLOW")
    w.lines.append(f"x{i} = a{i}._data")
    here = f"type(x{i}) is not ndarray or x{i}.dtype is not {dtype}"  # what is on a device has dtype and shape too
    w.lines.append(f"if {here} or x{i}.shape != {shape} or x{i}.strides != {strides}: return SLOW")
    w.lines.append(f"if a{i}._base is not None and a{i}.requires_grad: return SLOW")
    if build.reached:
        reached = w.name("r", frozenset(build.reached))
        w.lines.append(f"if id(a{i}) in {reached}: return SLOW")
    if build.updates:
        owners = {
            id(memory_owner(c.tensor._data)) for c in build.sources if isinstance(c, Capture) and c.tensor is not None
        }
        name = w.name("o", frozenset(owners))
        w.lines.append(
            f"if id(x{i}) in {name} or (x{i}.base is not None and id(owner_of(x{i})) in {name}): return SLOW"
        )


def _bound(source: Capture) -> Any:
    """The array that stands for a captured input in every launch: the tensor's own, or one that its number is written into."""
    return source.read() if source.owner is not None else source.tensor._data


def _captured(w: _Writer, source: Any, bound: Any) -> None:
    """A captured tensor must hold the array that is bound; a number is written into the array that is."""
    array = w.name("y", bound)
    if source.owner is None:
        tensor = w.name("c", source.tensor)
        w.lines.append(f"if {tensor}._data is not {array}: return SLOW")
        return
    keys = source.key if isinstance(source.key, tuple) else (source.key,)
    owner, last = w.name("h", source.owner), w.name("l", [None])
    w.lines.append(f"v = {owner}{''.join(f'[{key!r}]' for key in keys)}")
    w.lines.append(f"if v is not {last}[0]: {array}[()] = float(v); {last}[0] = v")


def _grads(w: _Writer, build: Build) -> None:
    if build.grads:
        owners = w.name("g", [owner for owner, _ in build.grads])
        w.lines.append(f"for p in {owners}:")
        w.lines.append("    if p.grad is not None: return SLOW")


def _launch(w: _Writer, executable: Any, launcher: Any, given: dict[int, str], new: Sequence[int]) -> None:
    """Makes the arrays of new outputs, `z0`, `z1`, ... by their numbers, and runs."""
    for k in new:
        value = executable.program.outputs[k]
        shape, dtype = w.name("s", tuple(value.shape)), w.name("d", value.dtype.np)
        w.lines.append(f"z{k} = empty({shape}, {dtype})")
    function = w.name("launch", launcher.call)
    w.names["keep"] = launcher
    operands = [given[i] for i in sorted(given)] + [f"z{k}" for k in new]
    w.lines.append(f"if {function}({', '.join(operands)}): return SLOW")


def _finish(w: _Writer, build: Build) -> None:
    """Counts writes, and wraps what is returned."""
    for source, _ in build.updates:
        assert isinstance(source, Capture)
        tensor = w.name("u", source.tensor)
        w.lines.append(f"if {tensor}._version is not None: {tensor}._version.count += 1")
    made = []
    for i, (_, what) in enumerate(build.outputs):
        w.lines.append(f"r{i} = new_tensor(z{what})")
        if i in build.spent:
            w.names |= {"Spent": Spent, "TapeEntry": TapeEntry}
            w.lines.append(
                f"r{i}._edge = (TapeEntry(Spent, {{}}, (), (), ((r{i}._data.shape, r{i}._data.dtype),), None), 0)"
            )
        made.append(f"r{i}")
    if len(made) != 1 or unflatten(build.structure, [SLOW]) is not SLOW:
        w.names |= {"structure": build.structure, "unflatten": unflatten}
        w.lines.append(f"return unflatten(structure, [{', '.join(made)}])")
    else:
        w.lines.append(f"return {made[0]}")
