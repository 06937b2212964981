"""`Graph`: a program under construction in the manner of TensorFlow 1, with placeholders, and what is asked of it.

Under `graph.as_default()` every op of this thread is recorded, also on concrete tensors: parameters become inputs that are
read at the start of each run. `minimize` and in-place writes record updates; a run applies those its fetches ask for.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from graphc.aliasing import refresh
from graphc.autodiff import pull_to, seeds_for
from graphc.core.arrays import is_array
from graphc.core.context import SLOTS, STATE, recording
from graphc.core.dims import Dim, is_size
from graphc.core.errors import (
    ArgumentTypeError,
    FetchError,
    GradientError,
    GraphError,
    GraphGrowthError,
    GraphGrowthWarning,
    user_frame,
    user_line,
)
from graphc.core.tape import LEAF, TensorBase
from graphc.core.tensor_types import FLOAT, TensorType, as_dtype, defaults
from graphc.effects import is_turn
from graphc.functions.creation import filled
from graphc.ir.program import INPUT, Node, Program, Value, toposort
from graphc.ir.specialise import dims_of
from graphc.ir.text import program_text
from graphc.tracing import Capture, Recorder, paused_gc, symbolic


class UpdateGroup:
    """A train op: variables and the values a run gives them. Fetching it applies them and yields None.

    `minimize` and `updates` make these; `loss` is what was minimised, if anything.
    """

    def __init__(self, pairs: Sequence[tuple[Any, Any]], loss: Any = None):
        recorder = STATE.recorder
        if not isinstance(recorder, Graph):
            raise GraphError("a train op belongs to a graph: call minimize under `with graph.as_default():`")
        self.graph = recorder
        self.loss = loss
        #: (capture, new value) of each variable
        self.pairs: list[tuple[Capture, Value]] = []
        for tensor, new in pairs:
            shadow = recorder.shadow(tensor)
            self.pairs.append((recorder.capture_behind(shadow), recorder.shadow(new)._data))

    def __repr__(self) -> str:
        return f"<train op: {len(self.pairs)} updates>"


class AllUpdates:
    """The train op of every write recorded in a graph, made by `updates`."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.pairs = graph.writes()

    def __repr__(self) -> str:
        return f"<train op: {len(self.pairs)} recorded writes>"


class Graph(Recorder):
    """A graph to be run by a `Session`.

    `inputs`: name -> placeholder. `outputs`: name -> tensor or train op, filled by the user. `parameters`: name -> the
    module's own Parameter. `nodes`: everything recorded so far. `str(graph)` is the same for the same code.
    """

    def __init__(self, name: str = "graph") -> None:
        super().__init__()
        self.layouts.sharing.table = self.table
        self.name = name
        self.inputs: dict[str, Any] = {}
        #: name -> what is fed for it; a write to a placeholder changes what the placeholder shows, not this
        self.fed: dict[str, Value] = {}
        self.outputs: dict[str, Any] = {}
        #: "inference" where a file held no more than its outputs need; gradients are refused then
        self.pruned_for = ""
        self._final = False
        self._strict = False
        self._runs = 0
        self._growth: dict[str, int] = {}
        self._warned: set[str] = set()

    # --- building -------------------------------------------------------------------------------------------------

    @contextmanager
    def as_default(self) -> Iterator[Graph]:
        """Within, ops of this thread are recorded here."""
        with recording(self):
            yield self

    def placeholder(self, shape: Any = (), dtype: Any = None, name: str | None = None) -> Any:
        """A tensor to be fed at each run; None in `shape` is a size known only then, a Dim one shared with others."""
        self.before_node()
        sizes = (shape,) if shape is None or is_size(shape) else tuple(shape)
        if name is not None and (not isinstance(name, str) or not name):
            raise ArgumentTypeError(f"placeholder name must be a string, got {name!r}")
        if name in self.names:
            raise GraphError(f"the graph has a placeholder or variable named {name!r} already")
        name = name or self.fresh_free("placeholder")
        for size in sizes:
            if not (size is None or is_size(size)) or (isinstance(size, int) and size < -1):
                raise ArgumentTypeError(f"placeholder shape takes sizes and None, got {size!r} in {sizes}")
        dims = tuple(
            Dim.named(f"{name}_{i}") if d is None or (isinstance(d, int) and d == -1) else d
            for i, d in enumerate(sizes)
        )
        type_ = TensorType(dims, as_dtype(dtype) if dtype is not None else defaults.float_dtype)
        tensor = symbolic(self, name, type_, type_.dtype.category == FLOAT)
        tensor.is_fed = True
        self.inputs[name], self.fed[name] = tensor, tensor._data
        return tensor

    def fresh_free(self, stem: str) -> str:
        """A name nobody has: `stem`, `stem_1`, ..."""
        count, name = 0, stem
        while name in self.names:
            count += 1
            name = f"{stem}_{count}"
        return name

    def finalize(self) -> Graph:
        """Refuses any further node; returns self."""
        self._final = True
        return self

    @property
    def strict(self) -> bool:
        """Whether a line that goes on adding nodes between runs is an error."""
        return self._strict

    @property
    def finalized(self) -> bool:
        """Whether `finalize` was called."""
        return self._final

    def before_node(self) -> None:
        """Refuses nodes once final."""
        if self._final:
            raise GraphError(f"the graph is finalized: no node can be added (at {user_line()})")

    def apply(self, op: Any, inputs: tuple[Any, ...], attrs: Any) -> Any:
        """Records one op; tells once a line that goes on adding nodes between runs."""
        before = self.table.count
        out = super().apply(op, inputs, attrs)
        if self._runs and self.table.count > before:
            self._note_growth()
        return out

    def _note_growth(self) -> None:
        line = user_line()
        last = self._growth.get(line)
        self._growth[line] = self._runs
        if last is not None and last < self._runs and line not in self._warned:
            text = (
                f"{line} adds nodes to the graph again after a run: the graph grows at each step\n"
                "  hint: build the graph once before the loop and feed what changes, "
                "or call graph.finalize() to find such lines"
            )
            if self._strict:
                raise GraphGrowthError(text)
            self._warned.add(line)
            frame = user_frame()
            place = (frame.f_code.co_filename, frame.f_lineno) if frame else ("<graphc>", 0)
            warnings.warn_explicit(text, GraphGrowthWarning, *place)

    def derive_anew(self, view: Any) -> None:
        """Brings a fetched view up to date with writes recorded after it; also in a final graph, and without warning."""
        final, runs, self._final, self._runs = self._final, self._runs, False, 0
        try:
            with recording(self):
                refresh(view)
        finally:
            self._final, self._runs = final, runs

    def note_run(self) -> None:
        """A session has run this graph."""
        self._runs += 1

    # --- what is in it --------------------------------------------------------------------------------------------

    def note_capture(self, tensor: Any) -> None:
        """Graphs read captured tensors anew at each run and guard nothing."""

    def not_replayed(self, call: str, hint: str) -> None:
        """Nothing: while a graph is made, Python's state changes between its runs."""

    def at_start(self, tensor: Any) -> Any:
        """A variable's value when a run starts, whatever writes are recorded so far."""
        shadow = self.shadow(tensor)
        found = next(
            (c.value for c in self.captures.values() if c.shadow is shadow and c.value is not shadow._data), None
        )
        return tensor if found is None else SLOTS.new_tensor(found)

    def first_grad(self, tensor: Any) -> Any:
        """`.grad` in a graph is a variable that counts as zeros where it is None."""
        return self.capture_grad(tensor)

    def set_grad_of(self, tensor: Any, grad: Any) -> None:
        """Records `tensor.grad = grad`; None sets a gradient that the graph has read to zeros, for the next run to read."""
        super().set_grad_of(tensor, grad)
        shadow = self.shadow(tensor)
        if grad is None and ("grad", id(shadow.__dict__.get("_stands_for"))) in self.captures:
            shadow.__dict__["_grad_cleared"] = filled(shadow._data.type.shape, 0, shadow.dtype)._data

    @property
    def parameters(self) -> dict[str, Any]:
        """name -> the Parameter (or other tensor that wants a gradient) the graph reads."""
        return {c.name: c.tensor for c in self.captures.values() if c.tensor is not None and c.tensor._edge is LEAF}

    @property
    def variables(self) -> dict[str, Any]:
        """name -> every concrete tensor the graph reads or writes."""
        return {c.name: c.tensor for c in self.captures.values() if c.tensor is not None}

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Every node recorded so far, in order."""
        return tuple(self.table.nodes.values())

    def capture_behind(self, shadow: Any) -> Capture:
        """The input a variable's shadow stands for."""
        if shadow._base is not None:
            shadow = shadow._base.base
        for capture in self.captures.values():
            if capture.shadow is shadow:
                return capture
        raise GraphError(
            f"{shadow._data.type} made at {shadow._data.origin_text()} is not a variable\n"
            "  hint: a variable is a tensor of numbers: make it before the graph, or within `with gc.eagerly():`"
        )

    def writes(self) -> list[tuple[Capture, Value]]:
        """Every write user code or layers have recorded so far: (variable, new value)."""
        set_anew = [(t, shadow) for t, shadow in self.shadows.values() if shadow.__dict__.get("_grad_set")]
        forgotten = {("grad", id(tensor)) for tensor, _ in set_anew}
        found = [
            (c, c.shadow._data)
            for key, c in self.captures.items()
            if c.shadow._data is not c.value and key not in forgotten
        ]
        for tensor, shadow in set_anew:
            grad, capture = shadow._grad, self.captures.get(("grad", id(tensor)))
            if grad is not None:
                found.append((capture or self.capture_behind(self.capture_grad(tensor)), grad._data))
            elif capture is not None:
                found.append((capture, shadow.__dict__["_grad_cleared"]))
        return found

    def implied_writes(self, train: Any) -> list[tuple[Capture, Value]]:
        """Recorded writes, such as running statistics, that a train op applies too: those that need nothing fed which it
        does not need anyway."""
        if isinstance(train, AllUpdates):
            return []
        fed = set(self.fed.values())
        mine = {n.outputs[0] for n in toposort([v for _, v in train.pairs]) if n.op is INPUT} & fed
        taken = {id(c) for c, _ in train.pairs}
        return [
            (capture, value)
            for capture, value in self.writes()
            if id(capture) not in taken
            and capture.grad_of is None
            and {n.outputs[0] for n in toposort([value]) if n.op is INPUT} & fed <= mine
        ]

    def random_advances(self, values: Sequence[Value]) -> list[tuple[Capture, Value]]:
        """The writes that move random generators on which the values draw from."""
        needed = {n.outputs[0] for n in toposort(values) if n.op is INPUT}
        return [(c, v) for c, v in self.writes() if c.value in needed and c.advances]

    def effects(self) -> list[tuple[Capture, Value]]:
        """The state that gives recorded effects their order, with its value after the last of them; [] without any."""
        return [(c, v) for c, v in self.writes() if is_turn(v)]

    def program(self, outputs: Sequence[Value]) -> Program:
        """The part of the graph that these values need, with the placeholders that only give a size."""
        inputs = [n.outputs[0] for n in toposort(outputs) if n.op is INPUT]
        program = Program(self.table, tuple(inputs), tuple(outputs), tuple(self.checks))
        known = self._names_in(v.type.shape for v in inputs)
        missing = self._names_in(dims_of(node) for node in program.nodes) - known
        for value in self.fed.values() if missing else ():
            if value not in inputs and not missing.isdisjoint(found := self._names_in([value.type.shape])):
                inputs.append(value)
                missing -= found
        return Program(self.table, tuple(inputs), tuple(outputs), tuple(self.checks))

    def _names_in(self, shapes: Iterable[Iterable[Any]]) -> set[str]:
        """The unknowns in some sizes, each under its one name."""
        sizes = (self.resolve(d) for shape in shapes for d in shape if isinstance(d, Dim))
        return {name for d in sizes if isinstance(d, Dim) for name in d.names()}

    def __str__(self) -> str:
        values = [v for node in self.nodes for v in node.outputs]
        return program_text(self.program(values))

    def __repr__(self) -> str:
        return f"<Graph {self.name}: {len(self.inputs)} inputs, {len(self.parameters)} parameters, {self.table.count} nodes>"


def default_graph() -> Graph:
    """The graph that records this thread's ops; GraphError outside `as_default`."""
    recorder = STATE.recorder
    if not isinstance(recorder, Graph):
        raise GraphError(
            f"no default graph at {user_line()}: write `with graph.as_default():` around the code that builds it"
        )
    return recorder


def placeholder(shape: Any = (), dtype: Any = None, name: str | None = None) -> Any:
    """A tensor of the default graph that each run feeds; see `Graph.placeholder`."""
    return default_graph().placeholder(shape, dtype, name)


def updates(graph: Graph | None = None) -> AllUpdates:
    """A train op made of every write recorded in the graph so far."""
    return AllUpdates(graph or default_graph())


def gradients(ys: Any, xs: Any, grad_outputs: Any = None, allow_unused: bool = False) -> tuple[Any, ...]:
    """The gradients of ys with respect to xs, as tensors of the graph (or eager tensors outside one).

    Like `torch.autograd.grad`, except that a non-scalar y without cotangent means ones. xs may be parameters, placeholders
    or any node. Raises GradientError for an x that ys do not depend on, unless `allow_unused` gives None for it.
    """
    ys = [ys] if isinstance(ys, TensorBase) else list(ys)
    xs = [xs] if isinstance(xs, TensorBase) else list(xs)
    grad_outputs = [grad_outputs] if isinstance(grad_outputs, TensorBase) else grad_outputs
    owner = next((y._data.node.table for y in ys if not is_array(y._data)), None)
    recorder = STATE.recorder
    if owner is not None and (recorder is None or recorder.table is not owner):  # type: ignore[attr-defined]
        raise GraphError(f"gradients of graph tensors are built under `with graph.as_default():` (at {user_line()})")
    if isinstance(recorder, Graph) and recorder.pruned_for:
        raise GraphError(
            f"this graph was saved pruned for {recorder.pruned_for}: it cannot be differentiated; save it with inference=False"
        )
    here_ys, here_xs = [y._here() for y in ys], [x._here() for x in xs]
    for y in here_ys:
        if y._edge is None:
            raise GradientError(f"{_named(recorder, y)} does not depend on anything that wants a gradient")
    with paused_gc():
        roots = seeds_for(here_ys, grad_outputs, implicit_ones=True)
        found = pull_to(roots, here_xs, retain_graph=True, create_graph=True)
    for i, (x, g) in enumerate(zip(xs, found, strict=True)):
        if g is None and not allow_unused:
            raise GradientError(
                f"xs[{i}], {_named(recorder, x)}, is not connected to ys: its gradient does not exist\n"
                "  hint: pass allow_unused=True to get None for it"
            )
    return tuple(found)


def _named(recorder: Any, x: Any) -> str:
    shadow = recorder.shadow(x) if recorder is not None else x
    if is_array(shadow._data):
        return f"an eager tensor {shadow.tensor_type}"
    node = shadow._data.node
    name = f"{node.attrs['name']}: " if node.op is INPUT else ""
    return f"{name}{shadow._data.type} made at {shadow._data.origin_text()}"


def check_fetchable(graph: Graph, x: Any) -> None:
    """Raises FetchError for a tensor of another graph."""
    if x._data.node.table is not graph.table:
        raise FetchError(f"a tensor {x._data.type} made at {x._data.origin_text()} belongs to another graph")
