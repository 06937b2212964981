"""The gradient of a compiled call: a program of its own, and the one tape entry that stands for the call.

The gradient is first recorded as one *joint* program, from the call's inputs and cotangents to gradients. It is then cut
where it reads forward values: those are the residuals, which the forward program gives as extra outputs or which are inputs
themselves. The recorded tape of the call is kept: a gradient that is differentiated in its turn has its own tape recorded from
it, which says what `detach`, `no_grad` and custom functions said of the call, and is one entry on the tape again.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from graphc.autodiff import order_entries, pull_to, zeros_of
from graphc.control import scan_op
from graphc.core.arrays import duplicate
from graphc.core.context import SLOTS, STATE, apply, recording, set_grad
from graphc.core.dims import Dim, Size, substitute
from graphc.core.op import Elementwise, Kind, View
from graphc.core.tape import LEAF, Entry, Saved, TensorBase, check_unchanged, edge_of, type_of_data, type_of_meta
from graphc.core.tensor_types import TensorType
from graphc.executable import Built
from graphc.ir.program import INPUT, Node, Program, Table, Value, toposort
from graphc.ir.specialise import specialise
from graphc.planning.plan import nbytes_of
from graphc.tracing import Capture, Trace, plain_name, symbolic


@dataclass
class Tape:
    """The recorded tape of a call, or of a gradient of one.

    inputs: what the recorded values follow from, beside further captures of `trace`; leaves: the recorded tensors of which
    gradients are wanted, places: their numbers among the inputs; roots: what was computed, edges and types.
    """

    trace: Trace
    inputs: tuple[Value, ...]
    leaves: list[Any]
    places: list[int]
    roots: list[tuple[Any, Any]]
    lock: Any = field(default_factory=threading.RLock)

    def pull(self, create_graph: bool = False) -> tuple[list[Any], list[Any]]:
        """Recorded cotangents of the roots, and the gradient of each leaf, None where no root follows from it."""
        trace = self.trace
        seeds = [symbolic(trace, f"cotangent_{k}", type_, create_graph) for k, (_, type_) in enumerate(self.roots)]
        seeded = [(edge, seed) for (edge, _), seed in zip(self.roots, seeds, strict=True)]
        with recording(trace):
            return seeds, pull_to(seeded, self.leaves, retain_graph=True, create_graph=create_graph)

    def captures(self, values: Sequence[Value]) -> list[Capture]:
        """The captures that are no inputs and that these values follow from."""
        inputs = set(self.inputs)
        needed = {node.outputs[0] for node in toposort(values) if node.op is INPUT} - inputs
        return [c for c in self.trace.captures.values() if c.value in needed]


@dataclass
class _Kept:
    """What one call keeps for its backward: inputs (`Saved`, or a bare array), their edges, computed residuals, sizes."""

    inputs: list[Any]
    edges: list[Any]
    residuals: list[Any]
    sizes: Mapping[str, int]


class Gradient:
    """Stands on the tape as the op of which it computes the gradient.

    joint: from the inputs of what is differentiated, `captured` and cotangents to gradients; wants: which inputs get one.
    """

    name = "compiled"
    kind = Kind("opaque")
    n_outputs = -1

    def __init__(self, tape: Tape, joint: Program, wants: list[int], captured: Sequence[Capture] = ()):
        self.tape, self.joint, self.wants, self.captured = tape, joint, wants, captured

    @classmethod
    def of(cls, tape: Tape) -> Gradient:
        """The gradient that a tape gives."""
        seeds, found = tape.pull()
        connected = [(place, g._data) for place, g in zip(tape.places, found, strict=True) if g is not None]
        gradients = tuple([g for _, g in connected])
        captured = tape.captures(gradients)
        inputs = (*tape.inputs, *(c.value for c in captured), *(seed._data for seed in seeds))
        return cls(tape, Program(tape.trace.table, inputs, gradients), [place for place, _ in connected], captured)

    def pull_back(self, entry: Entry, gs: list[Any], needs: list[bool]) -> list[Any]:
        """The gradients, on the tape themselves where it is on."""
        kept: _Kept = entry.saved[0]
        cotangents = [
            zeros_of(type_of_meta(meta)) if g is None else g for g, meta in zip(gs, entry.out_metas, strict=True)
        ]
        with set_grad(False):
            results = self._values(kept, cotangents, entry)
        if STATE.grad:
            results = self._taped(kept, cotangents, entry, results)
        # the last result may be a turn of effects
        return [g if need else None for g, need in zip(results, needs, strict=False)]

    def _values(self, kept: _Kept, cotangents: Sequence[Any], entry: Entry) -> list[Any]:
        """The gradients, which no tape knows of."""
        tensors = [_tensor(x, edge, entry) for x, edge in zip(kept.inputs, kept.edges, strict=True)]
        return replay(self.joint, [*tensors, *map(_captured, self.captured), *cotangents])

    # --- the gradient of the gradient -----------------------------------------------------------------------------

    def _taped(self, kept: _Kept, cotangents: Sequence[Any], entry: Entry, results: list[Any]) -> list[Any]:
        """The gradients on the tape: one entry for all."""
        for x in kept.inputs:
            _array(x, entry)  # unchanged since
        more = [*map(_captured, self.captured), *cotangents]
        edges = [*kept.edges, *map(edge_of, more)]
        if all(edge is None for edge in edges):
            return results
        with self.tape.lock:
            derivative, sources = self._derivative
        places = [k for k in sources if any(edges[i] is not None for i in sources[k])]
        if not places:
            return results
        known = _Kept([*kept.inputs, *map(Saved, more)], edges, [], kept.sizes)
        metas = tuple(_type_of(known.inputs[i]) for i in derivative.wants)
        out_metas = tuple(results[k].tensor_type for k in sources)
        made = Entry(derivative, {}, tuple(edges[i] for i in derivative.wants), metas, out_metas, {0: known})
        results = [SLOTS.new_tensor(x._data) for x in results]  # one may be a cotangent itself
        for n, k in enumerate(sources):
            if k in places:
                results[k]._edge = (made, n)
        return results

    @cached_property
    def _derivative(self) -> tuple[Gradient, dict[int, list[int]]]:
        """The gradient of these gradients; and of which of them, with the inputs that each follows from on the tape."""
        tape = self.tape
        seeds, found = tape.pull(create_graph=True)
        connected = [g for g in found if g is not None]
        inputs = (*tape.inputs, *(c.value for c in self.captured), *(seed._data for seed in seeds))
        leaves = [*zip(tape.leaves, tape.places, strict=True)]
        leaves += [(c.shadow, len(tape.inputs) + k) for k, c in enumerate(self.captured) if c.shadow._edge is LEAF]
        leaves += [(seed, len(inputs) - len(seeds) + k) for k, seed in enumerate(seeds)]
        at = {id(x): place for x, place in leaves}
        sources = {k: _reached(edge_of(g), at) for k, g in enumerate(connected) if g._edge is not None}
        roots = [(edge_of(connected[k]), connected[k]._data.type) for k in sources]
        following = Tape(tape.trace, inputs, [x for x, _ in leaves], [*at.values()], roots, tape.lock)
        return Gradient.of(following), sources


class Backward(Gradient):
    """The gradient of a compiled call, compiled: of the joint program the gradient part, and the forward values it reads.

    offset: where the computed residuals begin in the forward program's outputs.
    """

    def __init__(
        self, tape: Tape, joint: Program, parts: tuple[Program, tuple[Value, ...]], wants: list[int], offset: int,
        built: Built,
    ):  # fmt: skip
        super().__init__(tape, joint, wants)
        self.offset, self.built = offset, built
        places = {id(v): i for i, v in enumerate(joint.inputs)}
        #: for each residual the number of the input it is, or None where the forward program computes it
        self.residual_inputs = [places.get(id(v)) for v in parts[1]]

    def entry(
        self, tensors: Sequence[Any], arrays: Sequence[Any], written: Collection[int], results: list[Any],
        outputs: Sequence[Any], sizes: Mapping[str, int],
    ) -> Entry:  # fmt: skip
        """The tape entry of one call, made before its updates are carried over.

        tensors: the concrete tensor behind each input (None for a number); arrays: what the run has read; written: the inputs
        that the call itself is about to change, which are copied; sizes: the number of each unknown size.
        """
        kept: list[Any] = []
        for i, (tensor, array) in enumerate(zip(tensors, arrays, strict=True)):
            kept.append(duplicate(array) if i in written else array if tensor is None else Saved(tensor))
        edges = [None if t is None else edge_of(t) for t in tensors]
        metas = tuple((arrays[i].shape, arrays[i].dtype) for i in self.wants)
        out_metas = tuple((array.shape, array.dtype) for array in outputs)
        saved = {0: _Kept(kept, edges, results[self.offset :], sizes)}
        return Entry(self, {}, tuple(edges[i] for i in self.wants), metas, out_metas, saved)

    def _values(self, kept: _Kept, cotangents: Sequence[Any], entry: Entry) -> list[Any]:
        if STATE.recorder is not None:
            return super()._values(kept, cotangents, entry)
        computed = iter(kept.residuals)
        arrays = [next(computed) if i is None else _array(kept.inputs[i], entry) for i in self.residual_inputs]
        return [SLOTS.new_tensor(a) for a in self.built.run([*arrays, *(g._data for g in cotangents)], kept.sizes)]


def _reached(edge: Any, places: Mapping[int, int]) -> list[int]:
    """The places of the leaves that a tape leads to."""
    met = {id(edge)} | {id(e) for entry in order_entries([edge[0]] if type(edge) is tuple else []) for e in entry.edges}
    return [place for leaf, place in places.items() if leaf in met]


def _array(kept: Any, entry: Entry) -> Any:
    """The array of a kept input; GradientError if it was changed in place since."""
    if isinstance(kept, Saved):
        check_unchanged(kept, entry)
        return kept.data
    return kept


def _tensor(kept: Any, edge: Any, entry: Entry) -> Any:
    """A kept input as a tensor at its place on the tape."""
    array = _array(kept, entry)
    if isinstance(edge, TensorBase) and edge._data is array:
        return edge
    tensor = SLOTS.new_tensor(array)
    tensor._edge = edge
    return tensor


def _type_of(kept: Any) -> TensorType:
    return type_of_data(kept.data if isinstance(kept, Saved) else kept)


def _captured(capture: Capture) -> Any:
    """What a captured tensor or number is now."""
    target = capture.target()
    return SLOTS.new_tensor(capture.read()) if target is None else target


def cut(joint: Program, n_inputs: int, recompute: Collection[Value] | None = None) -> tuple[Program, tuple[Value, ...]]:
    """Splits a joint program where its gradient part reads forward values.

    `joint.inputs` are `n_inputs` forward inputs, then cotangents. Returns the gradient part as a program from residuals and
    cotangents, and the forward values that are its residuals. `recompute`: inputs that may be read to compute forward values
    (whose sizes are numbers) again; those are not kept that elementwise ops and views make from these inputs and from what
    takes hardly more room.
    """
    table, cotangents = joint.table, joint.inputs[n_inputs:]
    depends: set[int] = {v.node.number for v in cotangents}
    from_inputs: set[int] = {v.node.number for v in joint.inputs}
    order = joint.nodes
    for node in order:
        if any(v.node.number in depends for v in node.inputs):
            depends.add(node.number)
        if any(v.node.number in from_inputs for v in node.inputs):
            from_inputs.add(node.number)
    gradient = [node for node in order if node.number in depends and node.op is not INPUT]
    again = set() if recompute is None else _computed_again(joint, from_inputs - depends, gradient, recompute)
    residuals: dict[Value, Value] = {}
    env: dict[Value, Value] = {v: v for v in cotangents}

    def translate(value: Value) -> Value:
        if value in env:
            return env[value]
        if value.node.number not in from_inputs:
            return value
        if value not in residuals:
            residuals[value] = table.input(f"residual_{len(residuals)}", value.type)
        return residuals[value]

    for node in order:
        if node.number not in depends | again or node.op is INPUT:
            continue
        operands = tuple(translate(v) for v in node.inputs)
        copy = _copied(table, node, operands)
        env.update(zip(node.outputs, copy.outputs, strict=True))
    outputs = tuple(translate(v) for v in joint.outputs)
    return Program(table, (*residuals.values(), *cotangents), outputs), tuple(residuals)


#: How much more room the sources of a value may take than the value itself, to be kept in its place.
_SLACK = 1.25


def _computed_again(joint: Program, forward: set[int], gradient: Sequence[Node], inputs: Collection[Value]) -> set[int]:
    """The numbers of the forward nodes that the gradient part computes again from what is kept and from these inputs."""
    read = [v for node in gradient for v in node.inputs] + [*joint.outputs]
    wanted = dict.fromkeys(v for v in read if v.node.number in forward and v.node.op is not INPUT)
    free, kept = set(inputs), set[Value]()
    again: set[int] = set()
    for value in sorted(wanted, key=lambda v: v.node.number):
        sources, path = _sources(value, forward, free | kept)
        may = path and not any(v.node.op is INPUT for v in sources - free)
        if may and sum(nbytes_of(v.type) for v in sources - free - kept) <= _SLACK * nbytes_of(value.type):
            kept |= sources - free
            again |= path
        else:
            kept.add(value)
    return again


def _sources(value: Value, forward: set[int], known: set[Value]) -> tuple[set[Value], set[int]]:
    """What `value` follows from by elementwise ops and views, but for constants, and those nodes' numbers.

    `known`: values that are not followed further back.
    """
    sources: set[Value] = set()
    path: set[int] = set()
    pending = [value]
    while pending:
        v = pending.pop()
        node = v.node
        if (
            v in known
            or node.op is INPUT
            or (node.number in forward and not isinstance(node.op.kind, Elementwise | View))
        ):
            sources.add(v)
        elif node.number in forward and node.number not in path:
            path.add(node.number)
            pending += node.inputs
    return sources, path


def _copied(table: Table, node: Node, operands: tuple[Value, ...]) -> Node:
    return table.node(node.op, operands, node.attrs, lambda: [v.type for v in node.outputs], node.origins)


def replay(program: Program, tensors: Sequence[Any], aliases: Mapping[str, Size] | None = None) -> list[Any]:
    """Applies a program's nodes one by one to tensors, through `apply`: so they are taped, or recorded elsewhere.

    `aliases`: names of sizes that were found equal to others while the program was recorded.
    """
    env: dict[Value, Any] = dict(zip(program.inputs, tensors, strict=True))
    sizes: dict[str, Any] = {}
    for value, tensor in zip(program.inputs, tensors, strict=True):
        for want, have in zip(value.type.shape, tensor.shape, strict=True):
            for name in (plain_name(want), plain_name(substitute(want, aliases or {}))):
                if name is not None:
                    sizes.setdefault(name, have)
    for name, size in (aliases or {}).items():
        sizes.setdefault(name, substitute(size, sizes))
    for node in program.nodes:
        if node.op is INPUT:
            continue
        if not node.inputs and "data" in node.attrs:
            env[node.outputs[0]] = _constant(node.attrs["data"].array)
            continue
        attrs = {k: _known(v, sizes) for k, v in node.attrs.items()} if sizes else node.attrs
        # a gradient's scan kept no history; what it puts out beyond its outputs is read by none but its rule
        if node.op is scan_op:
            attrs = {**attrs, "history": attrs["history"] or STATE.grad}
        out = apply(node.op, tuple(env[v] for v in node.inputs), attrs)
        for value, tensor in zip(node.outputs, out if isinstance(out, tuple) else (out,), strict=False):
            env[value] = tensor
    return [env[v] for v in program.outputs]


def _constant(array: Any) -> Any:
    return SLOTS.new_tensor(array) if STATE.recorder is None else STATE.recorder.constant(array)


def _known(x: Any, sizes: dict[str, Any]) -> Any:
    if isinstance(x, Dim):
        return x.substitute(sizes)
    if isinstance(x, tuple):
        return tuple(_known(v, sizes) for v in x)
    if isinstance(x, Program):
        return specialise(x, sizes)
    return x
