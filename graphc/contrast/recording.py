"""What the trace of a step is asked to tell beside its program: where it called backward, which gradients came out, and what
the first run of each build read."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from graphc.core.arrays import duplicate
from graphc.core.context import STATE
from graphc.executable import Built
from graphc.ir.program import Node, Value
from graphc.methods import gradients
from graphc.tracing import Recorder, Trace


@dataclass
class BackwardCall:
    """A call of backward in a trace: from which values, whether with cotangents of their own, and the gradient of each leaf."""

    outputs: list[Value]
    seeded: bool
    grads: list[tuple[Value, Value]]


class Notes:
    """`with Notes() as notes: compiled(...)`."""

    def __init__(self) -> None:
        self.backward: dict[int, list[BackwardCall]] = {}
        #: by node, which of its operands a gradient could flow to, where it was recorded
        self.attached: dict[Node, list[bool]] = {}
        #: by the build's program: copies of the arrays that its first run read
        self.first_reads: dict[int, list[Any]] = {}
        self._undo: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> Notes:
        self._put(gradients, "seeds_for", self._seeds(vars(gradients)["seeds_for"]))
        self._put(gradients, "pull_to_leaves", self._pull(vars(gradients)["pull_to_leaves"]))
        self._put(Recorder, "apply", self._apply(Recorder.apply))
        self._put(Built, "run", self._run(Built.run))
        return self

    def __exit__(self, *_: object) -> None:
        for owner, name, value in reversed(self._undo):
            setattr(owner, name, value)

    def _put(self, owner: Any, name: str, value: Any) -> None:
        self._undo.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    def of(self, built: Built) -> list[BackwardCall]:
        """The calls of backward in the trace that a build came from."""
        return self.backward.get(id(built.recorded.table), [])

    def _seeds(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        def seeds_for(outputs: Any, cotangents: Any, *rest: Any) -> Any:
            if type(STATE.recorder) is Trace:
                table = STATE.recorder.table
                call = BackwardCall([x._data for x in outputs], any(x is not None for x in cotangents or ()), [])
                self.backward.setdefault(id(table), []).append(call)
            return fn(outputs, cotangents, *rest)

        return seeds_for

    def _pull(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        def pull_to_leaves(roots: Any, accumulate: Any, *rest: Any) -> Any:
            if type(STATE.recorder) is not Trace:
                return fn(roots, accumulate, *rest)
            call = self.backward[id(STATE.recorder.table)][-1]

            def note(leaf: Any, g: Any) -> None:
                call.grads.append((leaf._data, g._data))
                accumulate(leaf, g)

            return fn(roots, note, *rest)

        return pull_to_leaves

    def _apply(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        def apply(recorder: Any, op: Any, inputs: Any, attrs: Any) -> Any:
            if type(recorder) is not Trace:
                return fn(recorder, op, inputs, attrs)
            flags = [STATE.grad and recorder.shadow(x)._edge is not None for x in inputs]
            result = fn(recorder, op, inputs, attrs)
            node = (result[0] if isinstance(result, tuple) else result)._data.node
            before = self.attached.get(node, flags)
            self.attached[node] = [a or b for a, b in zip(before, flags, strict=True)]
            return result

        return apply

    def _run(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        def run(built: Built, arrays: Any, *rest: Any) -> Any:
            if id(built) not in self.first_reads:
                self.first_reads[id(built)] = [duplicate(a) for a in arrays]
            return fn(built, arrays, *rest)

        return run
