"""`gc.debug`: a run done again in eager mode, node by node, with values, and compared with what was compiled.

The recorded program is what the user's lines said; each of its nodes is evaluated by its meaning in NumPy, on the arrays that
the run would read, and nothing is written. So each step has the user's line, and what it read and made. Bodies of loops and
branches are stepped through as they run. The compiled run is made on copies of the same arrays; where the two differ, the
search of `verify=True` says which pass or kernel is to blame, and the first node that differs.
"""

from __future__ import annotations

import functools
import linecache
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from graphc.backends.nan_checks import is_finite, may_be_blamed, range_of
from graphc.build import CompiledFunction
from graphc.core.arrays import host
from graphc.core.context import silently
from graphc.core.errors import ArgumentError, ArgumentTypeError, VerifyError
from graphc.core.op import Kind
from graphc.core.quiet import quiet, quiet_reset, quiet_set
from graphc.debugging.showing import stop_with
from graphc.executable import Built
from graphc.graphs import Graph
from graphc.ir.blame import blame
from graphc.ir.interpret import evaluate, last_uses
from graphc.ir.program import CONSTANT, INPUT, Node, Origin, Program, Value
from graphc.primitives.effects import EFFECT
from graphc.session import Session
from graphc.verifying import calls_of

#: Steps that the text of a replay shows.
MOST_SHOWN = 60
_LEAVES = (INPUT, CONSTANT)


@dataclass(frozen=True, eq=False)
class Step:
    """One node of a replay: what it read and made, as arrays, and where the user wrote it.

    `inside`: the loops and branches it is in, outermost first, each with the number of the turn. `role`: forward, backward or
    update; the line of a gradient's node is that of the forward op it belongs to.
    """

    node: Node
    operands: tuple[np.ndarray[Any, Any], ...]
    results: tuple[np.ndarray[Any, Any], ...]
    inside: tuple[str, ...] = ()

    @property
    def op(self) -> str:
        """The op's name, as it was before passes and fusion."""
        return self.node.op.name

    @property
    def result(self) -> np.ndarray[Any, Any]:
        """The first result."""
        return self.results[0]

    @property
    def origin(self) -> Origin | None:
        """File, line, module and role, None where nobody knows."""
        return self.node.origins[0] if self.node.origins else None

    @property
    def line(self) -> str:
        """`path:LINE` of the user's line."""
        return str(self.origin) if self.origin else ""

    @property
    def text(self) -> str:
        """That line itself."""
        return linecache.getline(self.origin.file, self.origin.line).strip() if self.origin else ""

    @property
    def module(self) -> str:
        """The path of the module that was running, "" outside of modules."""
        return self.origin.module if self.origin else ""

    @property
    def role(self) -> str:
        """What the node is for."""
        return self.origin.role if self.origin else ""

    @property
    def is_culprit(self) -> bool:
        """Whether it makes a NaN or an infinity of finite operands."""
        made = zip(self.node.outputs, self.results, strict=True)
        read = zip(self.node.inputs, self.operands, strict=True)
        return (
            may_be_blamed(self.node)
            and not all(is_finite(value, array) for value, array in made)
            and all(is_finite(value, array) for value, array in read)
        )

    def __str__(self) -> str:
        made = ", ".join(_shown(v, x) for v, x in zip(self.node.outputs, self.results, strict=True))
        read = ", ".join(_shown(v, x) for v, x in zip(self.node.inputs, self.operands, strict=True))
        place = self.origin.place if self.origin else ""
        inside = f"  in {', '.join(self.inside)}" if self.inside else ""
        return f"{made} = {self.op}({read})" + (f"  at {place}" if place else "") + inside


def _shown(value: Value, array: Any) -> str:
    return f"{value.type}{range_of(array)}"


class Replay:
    """A run again, node by node: iterate over it for its `Step`s; `str()` says where it differs from the compiled run.

    Where the run ends with an error, an iteration raises it, and the rest has the steps up to it.
    Each iteration evaluates the program anew, prints what `gc.print` prints, and stops at breakpoints. Nothing is written:
    parameters, gradients and random generators stay as they are.
    """

    def __init__(self, name: str, built: Built, arrays: Sequence[Any], compares: bool = True):
        self.name, self._built, self._compares = name, built, compares
        self._arrays = [np.array(host(array)) for array in arrays]
        self._given = list(arrays)
        ways = built.ways(built.sizes([a.shape for a in arrays]))
        self.program: Program = ways.static(ways.recorded)
        self._breakpoints: list[tuple[str, int, Callable[[Step], Any] | None]] = []

    def __iter__(self) -> Iterator[Step]:
        for step in self._walk(self.program, self._arrays, ()):
            self._stop_at(step)
            yield step

    def run(self) -> Replay:
        """Goes through all steps, for what they print and for breakpoints; returns itself."""
        for _ in self:
            pass
        return self

    def at(self, where: int | str) -> list[Step]:
        """The steps of a line, given as `breakpoint_at` takes it."""
        file, line = self._place(where)
        return self._reached(lambda step: _is_at(step.node, file, line))[0]

    def breakpoint_at(self, where: int | str, call: Callable[[Step], Any] | None = None) -> Replay:
        """Has iterations stop in the debugger after each node that a line made, or calls `call(step)`; returns itself.

        where: the number of a line, or `file.py:LINE`. Raises ArgumentError for a line that made no node.
        """
        self._breakpoints.append((*self._place(where), call))
        return self

    @cached_property
    def difference(self) -> str | None:
        """Where the compiled run first differs from the recorded program: pass or kernel, op, line; None where not."""
        if not self._compares:
            return None
        try:
            with silently():
                self._built.run(self._given, verify=True)
        except VerifyError as error:
            return str(error)
        return None

    @cached_property
    def first_bad(self) -> Step | None:
        """The first step that makes a NaN or an infinity of finite operands."""
        return next(iter(self._reached(lambda step: step.is_culprit)[0]), None)

    def __str__(self) -> str:
        steps, error = self._reached(lambda step: step.node.op.kind != EFFECT)
        lines = len({step.line for step in steps})
        backend = self._built.backend.name if self._compares else "eager"
        found = [f"replay of {self.name} on {backend}: {len(steps)} steps of {lines} lines"]
        if error is not None:
            found.append(f"it ends with {type(error).__name__}: {error}")
        elif self._compares:
            found.append(self.difference or "the compiled run agrees with it")
        found += [f"first not finite: {self.first_bad}"] if self.first_bad else []
        found += [f"  {n}: {step}" for n, step in enumerate(steps[:MOST_SHOWN])]
        return "\n".join([*found, *([f"  ... and {len(steps) - MOST_SHOWN} more"] if len(steps) > MOST_SHOWN else [])])

    __repr__ = __str__

    def _reached(self, wanted: Callable[[Step], bool]) -> tuple[list[Step], Exception | None]:
        """The wanted steps up to the error that ends the run, and that error."""
        found: list[Step] = []
        try:
            with silently():
                found.extend(filter(wanted, self._walk(self.program, self._arrays, ())))
        except Exception as error:
            return found, error
        return found, None

    # --- steps ----------------------------------------------------------------------------------------------------

    def _walk(self, program: Program, arrays: Sequence[Any], inside: tuple[str, ...]) -> Iterator[Step]:
        env: dict[Value, Any] = dict(zip(program.inputs, arrays, strict=True))
        dying = last_uses(program)
        for node in program.nodes:
            if node.op is CONSTANT:
                env[node.outputs[0]] = node.attrs["data"].array
            if node.op in _LEAVES:
                continue
            operands = tuple([env[v] for v in node.inputs])
            if node.op.kind == Kind("control"):
                yield from self._bodies(node, operands, inside)
            results = _evaluated(node, operands)
            yield Step(node, operands, results, inside)
            env.update(zip(node.outputs, results, strict=True))
            for value in dying.get(node, ()):
                env.pop(value, None)

    def _bodies(self, node: Node, operands: Sequence[Any], inside: tuple[str, ...]) -> Iterator[Step]:
        """The steps of what a control op runs."""
        with silently():
            calls = list(calls_of(node, operands))
        for turn, (name, body, inputs) in enumerate(calls):
            yield from self._walk(body, inputs, (*inside, f"{name} {turn} of {node.op.name}"))

    # --- breakpoints ----------------------------------------------------------------------------------------------

    def _place(self, where: int | str) -> tuple[str, int]:
        """File ("" for any) and line, of which some node must be."""
        file, _, number = str(where).rpartition(":")
        if not number.isdigit():
            raise ArgumentError(f"no line: {where!r}", "the number of a line, or file.py:LINE")
        nodes = list(_nodes(self.program))
        if not any(_is_at(node, file, int(number)) for node in nodes):
            lines = ", ".join(sorted({str(origin) for node in nodes for origin in node.origins}))
            raise ArgumentError(f"no node was made at {where}", f"one of {lines or 'no line, as no node has one'}")
        return file, int(number)

    def _stop_at(self, step: Step) -> None:
        for file, line, call in self._breakpoints:
            if not _is_at(step.node, file, line):
                continue
            if call is not None:
                call(step)
            else:
                stop_with(step, step.origin.place if step.origin else "")


def _nodes(program: Program) -> Iterator[Node]:
    """The nodes of a program and of the bodies in it."""
    for node in program.nodes:
        yield node
        for body in node.attrs.values():
            if isinstance(body, Program):
                yield from _nodes(body)


def _is_at(node: Node, file: str, line: int) -> bool:
    return any(
        o.line == line and (not file or _ends_with(o.file, file) or _ends_with(str(o), f"{file}:{line}"))
        for o in node.origins
    )


def _ends_with(path: str, end: str) -> bool:
    """Whether a path is this one or ends with these whole parts."""
    return path == end or path.endswith((f"/{end}", f"{os.sep}{end}"))


def _evaluated(node: Node, operands: Sequence[Any]) -> tuple[Any, ...]:
    """A node's results; those of its bodies' effects were shown as they were stepped through."""
    token = quiet_set(quiet)
    try:
        if node.op.kind != Kind("control"):
            return evaluate(node, operands)
        with silently():
            return evaluate(node, operands)
    except Exception as error:
        raise blame(error, node) from error.__cause__
    finally:
        quiet_reset(token)


# --- what can be replayed -------------------------------------------------------------------------------------------------


def debug(x: Any, /, *args: Any, **kwargs: Any) -> Replay:
    """Replays a run in eager mode, node by node, with values; nothing is changed by it.

    x: a compiled function or module, or one that is not compiled yet, with the arguments of a call; a Session or a Graph, with
    those of `Session.run`. The result is iterated over for its steps; its text says where the compiled run first differs, and
    which step first makes a NaN. Raises ArgumentTypeError for anything else, and what the call itself raises before it runs.
    """
    if isinstance(x, Graph):
        x = Session(x)
    if isinstance(x, Session):
        prepared, arrays = x.arrays_for(*args, **kwargs)
        return Replay(f"a run of graph {x.graph.name}", prepared.built, arrays, x.backend != "eager")
    run, given = _compiled(x, args)
    build, arrays = run.arrays_for(*given, **kwargs)
    return Replay(f"compiled {getattr(run.fn, '__name__', type(run.fn).__name__)}", build.built, arrays)


def _compiled(x: Any, args: tuple[Any, ...]) -> tuple[CompiledFunction, tuple[Any, ...]]:
    """The compiled function behind something that is called, and its arguments."""
    if isinstance(x, functools.partial) and isinstance(
        x.func, CompiledFunction
    ):  # a compiled method, bound to its object
        return x.func, (*x.args, *args)
    run = x if isinstance(x, CompiledFunction) else getattr(x, "_run", None)
    if isinstance(run, CompiledFunction):
        return run, args
    if not callable(x):
        need = "a compiled function or module, a function, a Session or a Graph"
        raise ArgumentTypeError(f"cannot replay {type(x).__name__}", need)
    return CompiledFunction(x), args


__all__ = ["Replay", "Step", "debug"]
