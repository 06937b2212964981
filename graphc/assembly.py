"""Turns what a trace recorded into a build: outputs, updates, gradients, and the program that gives them."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.aliasing import refresh
from graphc.autodiff import order_entries, pull_to
from graphc.builds import Build, Call
from graphc.compiled_backward import Backward, Tape, cut
from graphc.core.context import STATE, recording
from graphc.core.dims import Dim, Size, substitute
from graphc.core.errors import is_internal
from graphc.core.tape import LEAF, edge_of
from graphc.core.tensor_types import TensorType
from graphc.effects import apart, is_turn
from graphc.executable import Built
from graphc.ir.program import INPUT, Program, Value, toposort
from graphc.layouts import Decision, Layouts
from graphc.nests import flatten
from graphc.surroundings import Surroundings
from graphc.tracing import Guard, Trace, ask, paused_gc, plain_name, symbolic


class Assembly:
    """Turns what a trace recorded into a Build."""

    def __init__(
        self, trace: Trace, call: Call, pattern: Any, arguments: list[Value], symbols: list[Any], result: Any,
        surroundings: Surroundings, keep_grads: bool, rereads: bool | None = None,
    ):  # fmt: skip
        self.trace, self.call, self.pattern, self.arguments = trace, call, pattern, arguments
        self.symbols, self.surroundings, self.keep_grads = symbols, surroundings, keep_grads
        #: whether the gradient computes again what costs little, and reads the inputs for that; None: it keeps what it reads
        self.rereads = rereads
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
        sources, inputs = self.inputs([*self.values, *(joint.outputs if joint else ()), *wants])
        backward_parts = None
        computed: tuple[Value, ...] = ()
        if joint is not None:
            joint = Program(trace.table, (*inputs, *joint.inputs), joint.outputs)
            backward_parts = cut(joint, len(inputs), None if self.rereads is None else inputs if self.rereads else ())
            computed = tuple(v for v in backward_parts[1] if v.node.op is not INPUT)
        program = Program(trace.table, tuple(inputs), (*self.values, *computed), tuple(trace.checks))
        at = {id(v): i for i, v in enumerate(inputs)}
        guards = [
            Guard(g.owner, g.name, ask(g.owner, g.name) if g.name == "_guard_state" else g.value)
            for g in trace.guards.values()
        ]
        build = Build(
            self.pattern, self.structure, outputs, sources, updates, grads, flags, _NotBuilt(program),  # type: ignore[arg-type]
            None, taped, [at[id(w)] for w in wants], guards, self.surroundings, spent, leaves=self.leaves,
        )  # fmt: skip
        build.layouts, build.decisions = trace.layouts.assumed()
        gradient = None if joint is None else (joint.identity, tuple(build.wants), len(self.values))
        build.identity = program.identity, gradient, tuple(sorted(replaced_inputs(build).items()))
        known = None if reuse is None else reuse(build)
        if known is not None:
            build.built, build.backward = known.built, known.backward
            return build
        build.built = make(program, trace.aliases, replaced_inputs(build) if joint is None else None)
        if joint is not None and backward_parts is not None:
            positions = [at[id(w)] for w in wants]
            offset = len(self.values)
            tape = self.tape(taped, inputs)
            build.backward = Backward(
                tape, joint, backward_parts, positions, offset, make(backward_parts[0], trace.aliases)
            )
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
            if (shadow._edge is LEAF) != (concrete._edge is not None) and (
                shadow._edge is LEAF or shadow._edge is None
            ):
                flags.append((owner, shadow._edge is LEAF))
            if not state.get("_grad_set"):
                continue
            grad = getattr(shadow, "_grad", None)
            if grad is None or (state.get("_consumed") and state.get("_cleared") and not self.keep_grads):
                grads.append((owner, None))
            else:
                grads.append((owner, self.place(grad._data)))
        return grads, flags

    def leaf_inputs(self) -> list[Any]:
        """The symbols of arguments and captured tensors that want gradients."""
        known = {id(s): s for s in (*self.symbols, *(c.shadow for c in self.trace.captures.values()))}
        return [s for s in known.values() if s._edge is LEAF]

    def tape(self, taped: list[int], inputs: list[Value]) -> Tape:
        """What is needed to differentiate the gradient of the taped outputs, and holds nothing of this call's arguments."""
        values = self.input_values()
        leaves = [s for s in self.leaf_inputs() if values[id(s)] in inputs]
        trace = self.trace.successor()
        for leaf in leaves:
            leaf.__dict__.pop("_argument", None)
        roots = [(edge_of(self.returned[i]), self.returned[i]._data.type) for i in taped]
        return Tape(trace, tuple(inputs), leaves, [inputs.index(values[id(s)]) for s in leaves], roots)

    def input_values(self) -> dict[int, Value]:
        """By the symbol's id, the input that an argument or a captured tensor is."""
        found = {id(s): v for s, v in zip(self.symbols, self.arguments, strict=True)}
        return found | {id(c.shadow): c.value for c in self.trace.captures.values()}

    def pull(self, taped: list[int]) -> tuple[list[Value], Program | None]:
        """The gradient of the taped outputs with respect to every input that wants one, recorded on the same table."""
        if not taped:
            return [], None
        trace = self.trace
        leaves = self.leaf_inputs()
        for leaf in leaves:  # the eager tape below this call runs them
            leaf.__dict__.pop("_hooks", None)
        roots, seeds = [], []
        for k, i in enumerate(taped):
            tensor = self.returned[i]
            seed = symbolic(trace, f"cotangent_{k}", tensor._data.type, False)
            roots.append((edge_of(tensor), seed))
            seeds.append(seed._data)
        turns = {id(c): c.shadow._data for c in trace.captures.values()}
        with paused_gc(), recording(trace):
            found = pull_to(roots, leaves, retain_graph=True, create_graph=False)
            connected = [(s, g) for s, g in zip(leaves, found, strict=True) if g is not None]
            gradients = self.with_effects([g._data for _, g in connected], turns)
        values = self.input_values()
        wants = [values[id(s)] for s, _ in connected]
        return wants, Program(trace.table, tuple(seeds), tuple(gradients))

    def with_effects(self, gradients: list[Value], before: dict[int, Value]) -> list[Value]:
        """The gradients, and after them the last turn of what is shown while they are computed, which is a run of its own.

        `before`: what captured tensors were when the call itself was recorded.
        """
        for capture in self.trace.captures.values():
            start, last = before.get(id(capture), capture.value), capture.shadow._data
            if last is not start and is_turn(last):
                capture.shadow._data = start
                fresh = self.trace.constant(np.zeros((), np.int64))._data
                gradients = apart([*gradients, last], start, fresh)
        return gradients

    def inputs(self, outputs: Sequence[Value]) -> tuple[list[Any], list[Value]]:
        """The inputs the outputs need, with where each is read from; arguments always, for their sizes.

        An input that gets a gradient is one too, also where the call overwrites it and never reads its old value.
        """
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


def replaced_inputs(build: Build) -> dict[int, int]:
    """Which outputs of the program take the place of which inputs, once the call is done."""
    return {k: i for source, k in build.updates for i, known in enumerate(build.sources) if known is source}


def argument_symbols(trace: Trace, call: Call, pattern: Any) -> tuple[list[Value], list[Any]]:
    """A symbolic tensor for each argument tensor, one for two arguments that are the same object."""
    values: list[Value] = []
    symbols: list[Any] = []
    seen: dict[int, Any] = {}
    for leaf, sizes, shape, path in zip(call.leaves, pattern, call.shapes, call.paths, strict=True):
        known = seen.get(id(leaf))
        if known is None:
            name = "".join(c if c.isalnum() else "_" for c in path).strip("_") or "x"
            dims = tuple(
                Dim.named(f"{name}_{axis}") if want is None else have
                for axis, (want, have) in enumerate(zip(sizes, shape, strict=True))
            )
            known = symbolic(trace, name, TensorType(dims, leaf.dtype), leaf.requires_grad)
            known._layout = trace.layouts.give(len(symbols), leaf._data, dims)
            trace.layouts.sizes.update((d, have) for d, have in zip(map(plain_name, dims), shape, strict=True) if d)
            known.__dict__["_argument"] = len(symbols), leaf
            seen[id(leaf)] = known
            trace.shadows[id(leaf)] = (leaf, known)
        values.append(known._data)
        symbols.append(known)
    return values, symbols


def size_decider(layouts: Layouts, compared: list[Decision]) -> Callable[[Size, Size], bool] | None:
    """Answers comparisons of sizes in the traced code itself by the sizes of this call, and notes them."""
    sizes = layouts.sizes
    if not sizes:
        return None

    def decide(a: Size, b: Size) -> bool:
        if is_internal(sys._getframe(2).f_code.co_filename):
            return False
        equal = substitute(a, sizes) == substitute(b, sizes)
        compared.append(Decision(operator.eq, (a, b), equal))
        return equal

    return decide
