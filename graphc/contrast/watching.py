"""One eager call seen op by op: what each op made and for which line, what the tape keeps, which bytes were alive when.

Every op of the registry, compiled calls and modules are replaced by ones that look at what they give, and put back
afterwards. What an op takes only while it runs (an arena, what NumPy makes in between) is not seen.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from graphc.build import CompiledFunction
from graphc.core.arrays import Buffer, is_array, memory_owner
from graphc.core.context import STATE
from graphc.core.errors import user_frame
from graphc.core.op import REGISTRY, Op
from graphc.core.tape import Entry, Saved, TensorBase
from graphc.eager import specialise
from graphc.eager_calls import EagerCall
from graphc.ir.program import Origin
from graphc.methods import gradients
from graphc.methods.attached import OPERATORS
from graphc.nests import flatten
from graphc.nn.modules.module import Module
from graphc.optim.optimizer import Optimizer
from graphc.tensors import Tensor
from graphc.tracing import ModuleScopes
from graphc.viz.tape_pictures import TapeDrawing


class MemoryEvent(NamedTuple):
    """Bytes that were taken (or, negative, given back), where, and by which op."""

    change: int
    origin: Origin | None
    op: str


class EagerWatch:
    """`with EagerWatch() as watch: step()`. `events`: memory, in order; `tape`: what the first backward pass found."""

    def __init__(self) -> None:
        self.events: list[MemoryEvent] = []
        self.tape: TapeDrawing | None = None
        #: what the tape's nodes say of themselves before the pass frees what they keep
        self.tape_nodes: list[tuple[str, dict[str, Any]]] = []
        self._alive: dict[int, Any] = {}
        #: operands that were there before, held so that their ids stay theirs
        self._older: dict[int, Any] = {}
        self._scopes = ModuleScopes()
        self._undo: list[tuple[Any, str, Any]] = []
        self._updating = False
        self._on = False
        #: the frame of the user's in which all of this happens
        self._around: Any = None

    # --- replacing -----------------------------------------------------------------------------------------------------

    def __enter__(self) -> EagerWatch:
        for op in REGISTRY.values():
            self._put(op, "call", self._op(op, op.call))
        for name, op in OPERATORS.items():
            self._put(Tensor, name, self._seen(vars(Tensor)[name], op.name))
        self._put(EagerCall, "__call__", self._compiled(EagerCall.__call__, lambda call: call.fn))
        self._put(CompiledFunction, "__call__", self._compiled(CompiledFunction.__call__, lambda call: call.fn))
        self._put(Module, "__call__", self._module(Module.__call__))
        for kind in (Optimizer, *_below(Optimizer)):
            if "step" in vars(kind):
                self._put(kind, "step", self._update(vars(kind)["step"]))
        self._put(gradients, "pull_to_leaves", self._sweep(vars(gradients)["pull_to_leaves"]))
        self._on, self._around = True, user_frame()
        return self

    def __exit__(self, *_: object) -> None:
        self._on, self._around = False, None
        for owner, name, value in reversed(self._undo):
            setattr(owner, name, value)

    def _put(self, owner: Any, name: str, value: Any) -> None:
        self._undo.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    def _op(self, op: Op, known: Callable[..., Any]) -> Callable[..., Any]:
        closure: list[Callable[..., Any]] = [] if known == op.apply else [known]

        def call(*inputs: Any, **attrs: Any) -> Any:
            if STATE.recorder is not None:
                return STATE.recorder.apply(op, inputs, attrs)
            if not closure:
                closure.append(specialise(op, len(inputs)))
            self._meet(inputs)
            result = closure[0](*inputs, **attrs)
            self._made(result, op.name)
            return result

        return call

    def _seen(self, fn: Callable[..., Any], name: str) -> Callable[..., Any]:
        @functools.wraps(fn)
        def call(*args: Any) -> Any:
            if STATE.recorder is not None:
                return fn(*args)
            self._meet(args)
            result = fn(*args)
            self._made(result, name)
            return result

        return call

    def _compiled(self, fn: Callable[..., Any], function: Callable[[Any], Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        def call(run: Any, /, *args: Any, **kwargs: Any) -> Any:
            if STATE.recorder is not None:
                return fn(run, *args, **kwargs)
            leaves: list[Any] = []
            flatten((args, kwargs), leaves)
            self._meet(leaves)
            result = fn(run, *args, **kwargs)
            self._made(result, getattr(function(run), "__name__", "compiled"))
            return result

        return call

    def _module(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        def call(module: Any, /, *args: Any, **kwargs: Any) -> Any:
            if STATE.recorder is not None:
                return fn(module, *args, **kwargs)
            self._scopes.enter(module)
            try:
                return fn(module, *args, **kwargs)
            finally:
                self._scopes.leave()

        return call

    def _update(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        def call(*args: Any, **kwargs: Any) -> Any:
            before, self._updating = self._updating, True
            try:
                return fn(*args, **kwargs)
            finally:
                self._updating = before

        return call

    def _sweep(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        def call(roots: Any, /, *args: Any, **kwargs: Any) -> Any:
            if STATE.recorder is None and self.tape is None:
                edge, cotangent = roots[0]
                self.tape = TapeDrawing(edge, cotangent.tensor_type)
                self.tape_nodes = list(self.tape.nodes())
            return fn(roots, *args, **kwargs)

        return call

    # --- looking -------------------------------------------------------------------------------------------------------

    def origin(self) -> Origin | None:
        """The user's line that is running, or, in a backward pass, the one whose gradient is being computed."""
        forward = STATE.forward
        if forward:
            return Origin(forward.file, forward.line, forward.module, STATE.role)
        frame = user_frame(2)
        if frame is None or frame is self._around:
            return None
        role = "update" if self._updating else STATE.role
        return Origin(frame.f_code.co_filename, frame.f_lineno, self._scopes.shown, role)

    def _meet(self, operands: Iterable[Any]) -> None:
        """Operands that no op was seen to make were there before."""
        for x in operands:
            if isinstance(x, TensorBase) and is_array(x._data):
                owner = memory_owner(x._data)
                if id(owner) not in self._alive:
                    self._older[id(owner)] = owner

    def _made(self, result: Any, op: str) -> None:
        """Notes the memory and the tape entries of what an op gave."""
        origin = self.origin()
        for x in result if isinstance(result, tuple | list) else (result,):
            if not isinstance(x, TensorBase) or not is_array(x._data):
                continue
            self._take(x._data, origin, op)
            pending = [x._edge]
            while pending:
                edge = pending.pop()
                if type(edge) is not tuple or "line" in edge[0].__dict__:
                    continue
                entry = edge[0]
                entry.line = origin or ""
                pending += entry.edges
                for array in _arrays_kept(entry):
                    self._take(array, origin, op)

    def _take(self, array: Any, origin: Origin | None, op: str) -> None:
        owner = memory_owner(array)
        key = id(owner)
        if key in self._alive or key in self._older or not isinstance(owner, np.ndarray | Buffer):
            return
        nbytes = int(owner.root.nbytes if isinstance(owner, Buffer) else owner.nbytes)

        def free(_: Any) -> None:
            self._alive.pop(key, None)
            if self._on:
                self.events.append(MemoryEvent(-nbytes, self.origin(), op))

        self._alive[key] = weakref.ref(owner, free)
        self.events.append(MemoryEvent(nbytes, origin, op))


def _arrays_kept(entry: Entry) -> Iterator[Any]:
    """The arrays that a tape entry keeps."""
    for kept in (entry.saved or {}).values():
        for x in kept if isinstance(kept, tuple) else (kept,):
            if isinstance(x, Saved):
                yield x.data
            else:  # of a compiled call
                yield from (a for a in getattr(x, "residuals", ()) if is_array(a))


def _below(kind: Any) -> Iterator[Any]:
    for child in kind.__subclasses__():
        yield child
        yield from _below(child)
