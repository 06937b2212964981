"""Closed sub-programs: the bodies of cond, while_loop and scan, and the programs of their gradients.

A body is traced by a child recorder on a table of its own, shared by all bodies of one graph: its inputs are interned by
position and type, so equal bodies are one object and equal loops one node. Tensors from outside become extra inputs
(closures); what the body writes of them and of its operands comes back as extra outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphc.aliasing import apart, refresh, root_of
from graphc.autodiff import pull_to, zeros_of
from graphc.core.arrays import is_array
from graphc.core.context import SLOTS, STATE, coming_from, recording, set_grad
from graphc.core.errors import AliasError, SymbolicError, show_line, user_line
from graphc.core.op import Op
from graphc.core.tape import LEAF, TensorBase, TypeOnly, counter_of, edge_of
from graphc.core.tensor_types import FLOAT, TensorType
from graphc.ir.program import CONSTANT, INPUT, Program, Table, Value, toposort
from graphc.primitives.copying import stop_gradient, straight_through
from graphc.tracing import Recorder


class Operand(NamedTuple):
    """What a body is given. `outside`: the tensor it is all of (`whole`) or a part of; None: only the body knows its memory."""

    type: TensorType
    wants_grad: bool
    outside: Any = None
    whole: bool = False


class Write(NamedTuple):
    """A write to a tensor from outside: that tensor, its name in the body, its new value, and whether the tape was on."""

    outside: Any
    symbol: Any
    value: Value
    tracked: bool


class BodyTrace(Recorder):
    """Records a body. `parent` is the recorder around it; None for a body that has no outside."""

    def __init__(self, table: Table, parent: Any):
        super().__init__(table)
        self.parent = parent
        self.inputs: list[Value] = []
        #: (tensor of the parent, symbol here)
        self.closures: list[tuple[Any, Any]] = []
        #: values to whose operands a replay on the tape sends gradients; the value that an edge was made with
        self._taped: set[Value] = set()
        self._made_with: dict[Any, Value] = {}
        if parent is not None:
            self.aliases, self.checks = parent.aliases, parent.checks
            self.guards, self.functions, self._scopes = parent.guards, parent.functions, parent._scopes
            self.layouts, self.kind = parent.layouts, parent.kind

    def add_input(self, type_: TensorType, wants_grad: bool, outside: Any = None) -> Any:
        """The next input of the body. A write to it is checked as one to the tensor `outside`, if there is one."""
        value = self.table.input(f"in{len(self.inputs)}", self.resolve(type_))
        self.inputs.append(value)
        symbol = SLOTS.new_tensor(value)
        symbol._edge = LEAF if wants_grad else None
        symbol.__dict__.update(_start=(value, symbol._edge), _outside=outside, is_fed=outside is None)
        if wants_grad and self.parent is not None:
            self._taped.add(value)
        return symbol

    def operand(self, given: Operand) -> Any:
        """The symbol of an operand; a tensor that is given twice has one, which stands for it also as a closure."""
        if not given.whole:
            return self.add_input(given.type, given.wants_grad, given.outside)
        symbol = self._stand_in(given.outside)
        return self.shadows.setdefault(id(given.outside), (given.outside, symbol))[1]

    def _stand_in(self, outer: Any) -> Any:
        """The next input of the body, for a tensor of the parent."""
        symbol = self.add_input(outer._data.type, outer._edge is not None, outer)
        symbol._layout = getattr(outer, "_layout", None)
        self.layouts.sharing.close_over(symbol, outer)
        return symbol

    def apply(self, op: Op, inputs: tuple[Any, ...], attrs: Mapping[str, Any]) -> Any:
        """Records one op; where the tape says something else than the values do, an op tells it to who replays them."""
        if not self._taped:
            return super().apply(op, inputs, attrs)
        symbols = tuple(map(self.shadow, inputs))
        if STATE.grad:
            symbols = tuple(map(self.as_taped, symbols))
        out = super().apply(op, symbols, attrs)
        if op.vjp is not None and any(s._data in self._taped for s in symbols):
            for found in out if isinstance(out, tuple) else (out,):
                if found.dtype.category == FLOAT:
                    self._taped.add(found._data)
                    if type(found._edge) is tuple:
                        self._made_with[found._edge] = found._data
        return out

    def as_taped(self, symbol: Any) -> Any:
        """The symbol, or one of its elements and edge with a value whose gradient goes where the edge says."""
        if symbol._base is not None:
            refresh(symbol)
        value, edge = symbol._data, symbol._edge
        source = symbol.__dict__.get("_start", (None,))[0] if edge is LEAF else self._made_with.get(edge)
        if source is value or (source is None and (type(edge) is tuple or value not in self._taped)):
            return symbol
        op, operands = (stop_gradient, (value,)) if source is None else (straight_through, (value, source))
        node = self.table.node(op, operands, {}, lambda: (value.type,), (self.origin(),))
        if source is not None:
            self._taped.add(node.outputs[0])
        found = SLOTS.new_tensor(node.outputs[0])
        found._edge, found._base, found._version = edge_of(symbol), symbol._base, counter_of(symbol)
        found._layout = getattr(symbol, "_layout", None)
        return found

    def resolve(self, x: Any) -> Any:
        """Sizes unified in the parent are unified here."""
        return super().resolve(x) if self.parent is None else self.parent.resolve(x)

    def unify(self, a: Any, b: Any) -> None:
        """Sizes that meet here meet in the parent."""
        if self.parent is None:
            super().unify(a, b)
        else:
            self.parent.unify(a, b)
            self.aliases = self.parent.aliases

    def shadow(self, tensor: Any) -> Any:
        """The symbol for a tensor; one from outside becomes an input."""
        data = tensor._data
        if not is_array(data) and (isinstance(data, TypeOnly) or data.node.table is self.table):
            return tensor
        if self.parent is None:
            raise SymbolicError(f"a closed body met a tensor from outside at {user_line()}")
        outer = self.parent.shadow(tensor)
        known = self.shadows.get(id(outer))
        if known is None:
            symbol = self._stand_in(outer)
            self.closures.append((outer, symbol))
            known = self.shadows[id(outer)] = (outer, symbol)
        return known[1]

    def live(self, owner: Any, key: Any) -> Any:
        """A run-time number, through the parent."""
        return self.shadow(self.parent.live(owner, key))

    def guard(self, owner: Any, name: str, value: Any) -> None:
        """Guards belong to the outermost recorder."""
        if self.parent is not None:
            self.parent.guard(owner, name, value)

    def grad_of(self, tensor: Any) -> Any:
        """`.grad` cannot be read inside a body."""
        raise SymbolicError(
            f".grad was used inside the body of a control op at {user_line()}: read it outside and pass it in"
        )

    def set_grad_of(self, tensor: Any, grad: Any) -> None:
        """`.grad` cannot be written inside a body."""
        self.grad_of(tensor)

    def writes(self, symbols: Iterable[tuple[Any, Any]]) -> list[Write]:
        """What the body has written to (tensor outside, symbol)s."""
        found = [(outer, s, *s.__dict__["_start"]) for outer, s in symbols]
        return [
            Write(outer, s, self.as_taped(s)._data, s._edge is not edge)
            for outer, s, value, edge in found
            if s._data is not value
        ]


def body_table(table: Table) -> Table:
    """The table on which the bodies of a graph's control ops live."""
    if table.bodies is None:
        table.bodies = Table()
    return table.bodies


class Body:
    """A traced body: the program, its closures and what it gave.

    `written`: writes to closures and whole operands; `changed`: those to other operands, by their place.
    """

    def __init__(self, parent: Any, fn: Callable[..., Sequence[Any]], operands: Sequence[Operand]):
        self.trace = trace = BodyTrace(body_table(parent.table), parent)
        symbols = [trace.operand(x) for x in operands]
        whole = [trace.shadows[id(x.outside)] for x in operands if x.whole]
        with recording(trace), trace.layouts.sharing.body():
            found = list(fn(*symbols))
            outputs = [trace.as_taped(trace.shadow(as_symbol(trace, t))) for t in found]
        for t in outputs:
            trace.layouts.sharing.note_read(t, (t._data,))
        self.values = [t._data for t in outputs]
        self.closures = [outer for outer, _ in trace.closures]
        with recording(trace):
            self.written = trace.writes([*trace.closures, *{id(s): (outer, s) for outer, s in whole}.values()])
            parts = [(i, x.outside, s) for i, (x, s) in enumerate(zip(operands, symbols, strict=True)) if not x.whole]
            self.changed = {i: write for i, outer, s in parts for write in trace.writes([(outer, s)])}
        given = {
            id(s): (outer, s) for outer, s in (*whole, *((outer, s) for _, outer, s in parts if outer is not None))
        }
        self._check_apart([*trace.closures, *given.values()])

    def _check_apart(self, outsiders: Sequence[tuple[Any, Any]]) -> None:
        """Raises AliasError where the body writes to memory that it also knows by another name, which would not change."""
        writes = [w for w in (*self.written, *self.changed.values()) if w.outside is not None]
        if not writes:
            return
        values = [*self.values, *(w.value for w in writes)]
        read = {node.outputs[0] for node in toposort(values) if node.op is INPUT}
        by_root: dict[int, list[tuple[Any, Any]]] = {}
        for outer, symbol in outsiders:
            if symbol._start[0] in read or symbol._start[0] is not symbol._data:
                by_root.setdefault(id(root_of(outer)), []).append((outer, symbol))
        for w in writes:
            for outer, symbol in by_root.get(id(root_of(w.outside)), ()):
                if symbol is not w.symbol and (outer is w.outside or not apart(outer, w.outside)):
                    raise _shared(w, outer)

    @property
    def written_closures(self) -> list[Any]:
        """The outside tensors the body changes."""
        return [found.outside for found in self.written]

    def program(self, extra_outputs: Sequence[Value] = ()) -> Program:
        """The closed program, with some more outputs."""
        return Program(self.trace.table, tuple(self.trace.inputs), (*self.values, *extra_outputs))


def _shared(written: Write, other: Any) -> AliasError:
    error = AliasError(
        f"the body of a control op writes into {written.outside.tensor_type}, and also uses {other.tensor_type}, which shares "
        "memory with it: a graph cannot follow that\n  hint: use one of them there, and take views of it in the body"
    )
    spot = counter_of(written.symbol).line
    error.line = show_line(*spot) if spot else error.line
    return error


def as_symbol(trace: Any, x: Any) -> Any:
    """A body's output as a tensor: numbers become constants."""
    return (
        x if isinstance(x, TensorBase) else trace.constant(np.asarray(x, np.float32 if isinstance(x, float) else None))
    )


def replay_body(program: Program, tensors: Sequence[Any]) -> list[Any]:
    """Applies a body's nodes to tensors, through `apply`, in the current context."""
    env: dict[Value, Any] = dict(zip(program.inputs, tensors, strict=True))
    for node in program.nodes:
        if node.op is INPUT:
            continue
        if node.op is CONSTANT:
            env[node.outputs[0]] = STATE.recorder.constant(node.attrs["data"].array)  # type: ignore[union-attr]
            continue
        with coming_from(node.origins[0] if node.origins else None):
            out = node.op(*[env[v] for v in node.inputs], **node.attrs)
        for value, tensor in zip(node.outputs, out if isinstance(out, tuple) else (out,), strict=True):
            env[value] = tensor
    return [env[v] for v in program.outputs]


def vjp_program(body: Program, wanted: Sequence[bool]) -> Program:
    """The gradient of a body: from its inputs and the cotangents of its float outputs to those of its wanted inputs."""
    trace = BodyTrace(body.table, None)
    symbols = [trace.add_input(v.type, w) for v, w in zip(body.inputs, wanted, strict=True)]
    seeds = [trace.add_input(v.type, False) for v in body.outputs if v.dtype.category == FLOAT]
    with recording(trace):
        with set_grad(True):
            outputs = [o for o in replay_body(body, symbols) if o.dtype.category == FLOAT]
        roots = [(edge_of(o), s) for o, s in zip(outputs, seeds, strict=True) if o._edge is not None]
        xs = [s for s, w in zip(symbols, wanted, strict=True) if w]
        found = pull_to(roots, xs, retain_graph=False, create_graph=False) if roots else [None] * len(xs)
        gradients = [zeros_of(x._data.type) if g is None else g for x, g in zip(xs, found, strict=True)]
    return Program(body.table, tuple(trace.inputs), tuple(g._data for g in gradients))
