"""The one reverse sweep. It walks tape entries, whatever their tensors hold, so it differentiates eager code and graphs.

`sweep` pulls cotangents back from some tensors to every leaf, or to the tensors asked for. Each entry's rules are written
in ops and run through `apply`: on arrays they compute, under a recorder they build the backward graph, and with
`create_graph` they are put on the tape themselves, so that gradients have gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from graphc.core.arrays import memory_of
from graphc.core.context import SLOTS, STATE, making_in, playing, set_grad
from graphc.core.errors import GradientError, ShapeError
from graphc.core.op import OUT, Elementwise, Joint
from graphc.core.tape import (
    LEAF,
    Entry,
    TensorBase,
    TypeOnly,
    check_unchanged,
    edge_of,
    is_float_meta,
    type_of_meta,
)
from graphc.core.tensor_types import TensorType
from graphc.primitives.creation import full
from graphc.primitives.elementwise import add
from graphc.primitives.reductions import reduce_sum
from graphc.primitives.views import expand, reshape

_FREED = (
    "Trying to backward through the graph a second time (or directly access saved tensors after they have already been "
    "freed). Saved intermediate values of the graph are freed when you call .backward() or autograd.grad(). "
    "Specify retain_graph=True if you need to backward through the graph a second time"
)


def zeros_of(type_: TensorType) -> Any:
    """A tensor of zeros of that type."""
    return full(shape=type_.shape, value=_number(type_, 0), dtype=type_.dtype)


def ones_of(type_: TensorType) -> Any:
    """A tensor of ones of that type."""
    return full(shape=type_.shape, value=_number(type_, 1), dtype=type_.dtype)


def _number(type_: TensorType, value: int) -> Any:
    return float(value) if type_.dtype.is_floating_point else value


def fit(g: Any, shape: Any) -> Any:
    """Sums a cotangent over the dimensions its operand was broadcast along (or stretches a constant one)."""
    have = tuple(g._data.shape)
    if have == shape:
        return g
    lead = len(have) - len(shape)
    if lead < 0:
        return expand(g, shape=shape)
    axes = (*range(lead), *(lead + i for i, d in enumerate(shape) if d == 1 and have[lead + i] != 1))
    if axes:
        g = reduce_sum(g, axes=axes)
        have = tuple(g._data.shape)
    if have != shape:
        g = reshape(g, shape=shape) if len(have) != len(shape) else expand(g, shape=shape)
    return g


def order_entries(roots: Iterable[Entry]) -> list[Entry]:
    """Every entry the roots depend on, each after the entries it depends on. Iterative: depth has no limit."""
    order: list[Entry] = []
    seen: set[int] = set()
    stack: list[tuple[Entry, int]] = []
    for root in roots:
        if id(root) in seen:
            continue
        seen.add(id(root))
        stack.append((root, 0))
        while stack:
            entry, at = stack.pop()
            edges = entry.edges
            while at < len(edges):
                edge = edges[at]
                at += 1
                if type(edge) is tuple and id(edge[0]) not in seen:
                    seen.add(id(edge[0]))
                    stack.append((entry, at))
                    stack.append((edge[0], 0))
                    break
            else:
                order.append(entry)
    return order


def key_of(edge: Any) -> Any:
    """What cotangents are kept under: a leaf's identity, or an entry's with the output's number."""
    return (id(edge[0]), edge[1]) if type(edge) is tuple else id(edge)


def _reaching(order: list[Entry], wanted: set[Any]) -> set[int]:
    """The entries from which some wanted edge can be reached."""
    found: set[int] = set()
    for entry in order:
        for edge in entry.edges:
            if edge is not None and (key_of(edge) in wanted or (type(edge) is tuple and id(edge[0]) in found)):
                found.add(id(entry))
                break
    return found


class Watch:
    """Whether any leaf has ever asked to be told when its gradient is there; until then nobody looks for such leaves."""

    begun = False


def _last_uses(order: list[Entry]) -> dict[int, list[Any]]:
    """By entry, the leaves with hooks on their finished gradient that a sweep meets there for the last time."""
    found: dict[int, list[Any]] = {}
    seen: set[int] = set()
    for entry in order:
        for edge in entry.edges:
            if isinstance(edge, TensorBase) and id(edge) not in seen and getattr(edge, "_grad_hooks", None):
                seen.add(id(edge))
                found.setdefault(id(entry), []).append(edge)
    return found


class Sweep:
    """One reverse pass: cotangents by edge, and what to do when one reaches a leaf."""

    def __init__(self, retain_graph: bool, wanted: set[Any] | None):
        self.retain_graph, self.wanted = retain_graph, wanted
        self.cotangents: dict[Any, Any] = {}
        self.leaves: dict[int, Any] = {}
        #: what is done with a leaf's cotangent as soon as it is whole, for leaves that ask for it
        self.deliver: Callable[[Any, Any], None] | None = None

    def send(self, edge: Any, g: Any) -> None:
        """Adds a cotangent to what an edge has already."""
        key = key_of(edge)
        have = self.cotangents.get(key)
        self.cotangents[key] = g if have is None else add(have, g)
        if type(edge) is not tuple:
            self.leaves[key] = edge

    def run(self, roots: Sequence[tuple[Any, Any]]) -> None:
        """Sends the seeds and visits every entry, last first."""
        for edge, g in roots:
            self.send(edge, g)
        order = order_entries(edge[0] for edge, _ in roots if type(edge) is tuple)
        reach = None if self.wanted is None else _reaching(order, self.wanted)
        ends = _last_uses(order) if self.deliver is not None and Watch.begun else {}
        with playing("backward"):
            for entry in reversed(order):
                STATE.forward = entry.line
                self.visit(entry, reach)
                if ends and id(entry) in ends:
                    for leaf in ends[id(entry)]:
                        self._finish(leaf)

    def visit(self, entry: Entry, reach: set[int] | None) -> None:
        """Applies one entry's rules to the cotangents of its outputs."""
        gs = []
        for i in range(len(entry.out_metas)):
            key = (id(entry), i)
            g = self.cotangents.get(key)
            if g is not None:
                g = self._observe(entry, i, g)
                if self.wanted is None or key not in self.wanted:
                    del self.cotangents[key]
                else:
                    self.cotangents[key] = g
            gs.append(g)
        if all(g is None for g in gs) or (reach is not None and id(entry) not in reach):
            return
        needs = [
            edge is not None
            and (reach is None or key_of(edge) in self.wanted or (type(edge) is tuple and id(edge[0]) in reach))  # type: ignore[operator]
            for edge in entry.edges
        ]
        memory = memory_of(next(g for g in gs if g is not None)._data)
        if memory is STATE.memory:
            found = pull_back(entry, gs, needs)
        else:
            with making_in(memory):
                found = pull_back(entry, gs, needs)
        for edge, g in zip(entry.edges, found, strict=True):
            if g is not None:
                self.send(edge, g)
        if not self.retain_graph and entry.saved:
            entry.saved = None

    def _finish(self, leaf: Any) -> None:
        """Delivers the cotangent of a leaf that nothing is sent to any more."""
        assert self.deliver is not None
        key = id(leaf)
        if key in self.leaves and (self.wanted is None or key in self.wanted):
            del self.leaves[key]
            self.deliver(leaf, self.cotangents.pop(key))

    def _observe(self, entry: Entry, i: int, g: Any) -> Any:
        """Runs tensor hooks on the cotangent of one output and keeps it where `retain_grad` asked for it."""
        if entry.hooks is not None and i in entry.hooks:
            g = run_hooks(entry.hooks[i], g)
        if entry.retained is not None and i in entry.retained:
            tensor = entry.retained[i]()
            if tensor is not None:
                tensor.grad = g
        return g


def run_hooks(hooks: Any, g: Any) -> Any:
    """Passes a gradient through a tensor's hooks; a hook that returns None leaves it as it is."""
    for hook in list(hooks.values()):
        changed = hook(g)
        if changed is not None:
            g = changed
    return g


def pull_back(entry: Entry, gs: list[Any], needs: list[bool]) -> list[Any]:
    """The cotangents of one entry's inputs, None where not wanted."""
    if entry.saved is None:
        where = f" (recorded at {entry.line})" if entry.line else ""
        raise GradientError(f"{_FREED}: {entry.op.name}{where}")
    op = entry.op
    if hasattr(op, "pull_back"):
        return op.pull_back(entry, gs, needs)
    inputs, outputs = _operands(entry)
    if op.n_outputs == 1:
        g, out = gs[0], outputs[0]
    else:
        g = tuple(
            zeros_of(type_of_meta(meta)) if one is None and is_float_meta(meta) else one
            for one, meta in zip(gs, entry.out_metas, strict=True)
        )
        out = tuple(outputs)
    if isinstance(op.vjp, Joint):
        results = list(op.vjp.rule(g, out, *inputs, needs=tuple(needs), **entry.attrs))
    else:
        results = [
            rule(g, out, *inputs, **entry.attrs) if need and rule is not None else None
            for rule, need in zip(op.vjp, needs, strict=True)
        ]
    elementwise = isinstance(op.kind, Elementwise)
    for i, result in enumerate(results):
        if result is None or not needs[i]:
            results[i] = None
        elif elementwise:
            results[i] = fit(result, entry.metas[i][0])
        elif not same_shape(result._data.shape, entry.metas[i][0]):
            if not may_be_same_shape(result._data.shape, entry.metas[i][0]):
                assert STATE.recorder is not None, f"{op.name}: cotangent {i} has another shape"
                raise ShapeError(
                    f"the gradient of {op.name} needs the shape {list(entry.metas[i][0])}, and what was assumed of unknown "
                    f"sizes gives {list(result._data.shape)}"
                )
            results[i] = expand(result, shape=tuple(entry.metas[i][0]))  # unknown sizes that were assumed equal
    return results


def same_shape(a: Any, b: Any) -> bool:
    """Whether two shapes are equal, also where a recorder has since given their unknown sizes one name."""
    if tuple(a) == tuple(b):
        return True
    resolve = getattr(STATE.recorder, "resolve", tuple)
    return bool(resolve(tuple(a)) == resolve(tuple(b)))


def may_be_same_shape(a: Any, b: Any) -> bool:
    """Whether two shapes may turn out to be equal: no two numbers differ, nor does a 1 meet an unknown size."""
    return len(a) == len(b) and all(
        x == y or not (isinstance(x, int) and (x == 1 or isinstance(y, int))) for x, y in zip(a, b, strict=True)
    )


def _operands(entry: Entry) -> tuple[list[Any], list[Any]]:
    """The entry's inputs and outputs as tensors: with data where saved, else with their type only."""
    new = SLOTS.new_tensor
    saved = entry.saved
    inputs = []
    for i, meta in enumerate(entry.metas):
        kept = saved.get(i)
        if kept is None:
            inputs.append(new(TypeOnly(type_of_meta(meta))))
            continue
        check_unchanged(kept, entry)
        edge = entry.edges[i]
        if isinstance(edge, TensorBase) and edge._data is kept.data:
            inputs.append(edge)
        else:
            tensor = new(kept.data)
            tensor._layout = getattr(kept, "layout", None)
            tensor._edge = edge
            tensor._version = kept.counter
            inputs.append(tensor)
    outputs = []
    kept_out = saved.get(OUT)
    for i, meta in enumerate(entry.out_metas):
        if kept_out is None or kept_out[i] is None:
            outputs.append(new(TypeOnly(type_of_meta(meta))))
            continue
        check_unchanged(kept_out[i], entry)
        tensor = new(kept_out[i].data)
        tensor._layout = getattr(kept_out[i], "layout", None)
        tensor._edge = (entry, i) if is_float_meta(meta) else None
        tensor._version = kept_out[i].counter
        outputs.append(tensor)
    return inputs, outputs


def seeds_for(
    outputs: Sequence[Any], cotangents: Sequence[Any] | None, implicit_ones: bool = False
) -> list[tuple[Any, Any]]:
    """The (edge, cotangent) pairs a sweep starts from, checked as PyTorch does.

    `implicit_ones`: a non-scalar output without cotangent means ones, instead of an error.
    """
    given = list(cotangents) if cotangents is not None else [None] * len(outputs)
    if len(given) != len(outputs):
        raise GradientError(f"got {len(outputs)} tensors and {len(given)} gradients")
    roots = []
    for i, (y, g) in enumerate(zip(outputs, given, strict=True)):
        if y._edge is None:
            raise GradientError(f"element {i} of tensors does not require grad and does not have a grad_fn")
        shape = tuple(y._data.shape)
        if g is None:
            if not implicit_ones and any(d != 1 for d in shape):
                raise GradientError("grad can be implicitly created only for scalar outputs")
            with making_in(memory_of(y._data)):
                g = ones_of(y.tensor_type)
        elif not may_be_same_shape(g.shape, shape):
            raise ShapeError(
                f"Mismatch in shape: grad_output[{i}] has a shape of {tuple(g.shape)} and output[{i}] has a shape of {shape}."
            )
        elif g.dtype is not y.dtype:
            raise GradientError(f"gradient {i} has dtype {g.dtype}, its output {y.dtype}")
        elif not same_shape(g.shape, shape):
            g = expand(g, shape=shape)  # unknown sizes that meet here are assumed equal, as in any op
        roots.append((edge_of(y), g))
    return roots


def pull_to_leaves(
    roots: Sequence[tuple[Any, Any]],
    accumulate: Callable[[Any, Any], None],
    retain_graph: bool,
    create_graph: bool,
    inputs: Sequence[Any] | None = None,
) -> None:
    """`backward`: sweeps and hands every leaf's cotangent to `accumulate(leaf, g)`, where hooks wait for it at once."""
    wanted = None if inputs is None else {key_of(edge_of(x)) for x in inputs}
    sweep = Sweep(retain_graph, wanted)

    def deliver(leaf: Any, g: Any) -> None:
        hooks = getattr(leaf, "_hooks", None)
        accumulate(leaf, run_hooks(hooks, g) if hooks else g)
        finished = getattr(leaf, "_grad_hooks", None)
        for hook in list(finished.values()) if finished else ():
            hook(leaf)

    sweep.deliver = deliver
    before, STATE.after_backward = STATE.after_backward, []
    try:
        with set_grad(create_graph):
            sweep.run(roots)
            for key, leaf in sweep.leaves.items():
                if wanted is None or key in wanted:
                    deliver(leaf, sweep.cotangents[key])
            for x in inputs or ():
                if x._edge is not LEAF and key_of(edge_of(x)) in sweep.cotangents:
                    accumulate(x, sweep.cotangents[key_of(edge_of(x))])
        for call in STATE.after_backward:
            call()
    finally:
        STATE.after_backward = before


def pull_to(
    roots: Sequence[tuple[Any, Any]], inputs: Sequence[Any], retain_graph: bool, create_graph: bool
) -> list[Any]:
    """`grad`: the cotangents of `inputs`, None where an input is not connected; no leaf's `.grad` is touched."""
    keys = [None if x._edge is None else key_of(edge_of(x)) for x in inputs]
    sweep = Sweep(retain_graph, {key for key in keys if key is not None})
    with set_grad(create_graph):
        sweep.run(roots)
        found = []
        for x, key in zip(inputs, keys, strict=True):
            g = None if key is None else sweep.cotangents.get(key)
            hooks = getattr(x, "_hooks", None) if x._edge is LEAF else None
            found.append(run_hooks(hooks, g) if hooks and g is not None else g)
    return found
