"""`torch.utils.checkpoint`: what a function computed is not kept for the gradient, but computed again when it is needed.

In eager code the call is one entry of the tape, which keeps the arguments; its rule runs the function again and differentiates
that. In a recording it is a branch that is always taken (`control.recomputed`), whose gradient repeats it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from graphc.aliasing import check_writable, finish_write
from graphc.autodiff import Sweep, key_of, order_entries
from graphc.control import recomputed
from graphc.core.context import SLOTS, STATE, set_grad
from graphc.core.errors import ArgumentError, GradientError
from graphc.core.op import Kind
from graphc.core.tape import LEAF, Entry, Saved, TensorBase, check_unchanged, edge_of, is_float_meta
from graphc.functions.generators import default_generator
from graphc.nests import flatten, unflatten

Contexts = Callable[[], tuple[AbstractContextManager[Any], AbstractContextManager[Any]]]


class CheckpointError(GradientError):
    """A function that gave something else when it was run again."""


class Link:
    """The op of an entry that passes on what it gets: an argument inside of the function.

    Its entry has no edges while the function's own part of the tape is walked, so that the walk ends there.
    """

    name, kind, n_outputs = "checkpoint argument", Kind("opaque"), 1

    def pull_back(self, entry: Entry, gs: list[Any], needs: list[bool]) -> list[Any]:
        """What the sweep calls in place of rules."""
        return list(gs)


class Checkpoint:
    """The op of an entry that stands for a whole function: its rule runs the function again.

    `kept`: the arguments that are tensors, with write counts and edges; `leaves`: what else the function reads that wants a
    gradient. The entry's edges are those of the arguments, then of the leaves.
    """

    name, kind = "checkpoint", Kind("opaque")

    def __init__(self, run: Callable[..., Any], kept: list[tuple[Saved, Any]], leaves: list[Any], outputs: int):
        self.run, self.kept, self.leaves, self.n_outputs = run, kept, leaves, outputs

    def pull_back(self, entry: Entry, gs: list[Any], needs: list[bool]) -> list[Any]:
        """Runs the function on the tape and pulls the cotangents through it."""
        for saved, _ in self.kept:
            check_unchanged(saved, entry)
        create = STATE.grad
        with set_grad(True):
            links, arguments = linked([(saved.data, edge) for saved, edge in self.kept])
            found, _ = self.run(arguments)
        have = [x for x in found if isinstance(x, TensorBase)]
        if [(tuple(x.shape), x.dtype) for x in have] != [(tuple(s), d) for s, d in entry.out_metas]:
            raise CheckpointError(
                "torch.utils.checkpoint: Recomputed values have different metadata than those in forward."
            )
        roots = [(edge_of(x), g) for x, g in zip(have, gs, strict=True) if g is not None and x._edge is not None]
        # not `pull_to`, which would run the hooks of leaves: the sweep around this one does
        keys = [None if x._edge is None else key_of(edge_of(x)) for x in (*arguments, *self.leaves)]
        sweep = Sweep(True, {key for key in keys if key is not None})
        with set_grad(create):
            sweep.run(roots)
        results = [None if key is None else sweep.cotangents.get(key) for key in keys]
        for link, (_, edge) in zip(links, self.kept, strict=True):
            link.edges = (edge,)
        return [g if need else None for g, need in zip(results, needs, strict=True)]


def linked(pairs: Iterable[tuple[Any, Any]]) -> tuple[list[Entry], list[Any]]:
    """Tensors of this data as arguments of a function whose part of the tape is to end at them, and their entries."""
    entries, tensors = [], []
    for data, edge in pairs:
        tensor = SLOTS.new_tensor(data)
        meta = (data.shape, data.dtype)
        entry = Entry(Link(), {}, (), (meta,), (meta,), {})
        tensor._edge = None if edge is None else (entry, 0)
        entries.append(entry)
        tensors.append(tensor)
    return entries, tensors


def _restoring(function: Callable[..., Any], structure: Any, preserve: bool, contexts: Any) -> Callable[..., Any]:
    """The function of a list of tensors, run the first time or, with the random state and precision of then, again."""
    state = default_generator.get_state() if preserve else None
    precision, again = STATE.autocast, False

    def run(tensors: list[Any]) -> tuple[list[Any], Any]:
        nonlocal again
        args, kwargs = unflatten(structure, tensors)
        now, before = STATE.autocast, default_generator.get_state() if again and preserve else None
        context, again = contexts[again], True
        STATE.autocast = precision
        if before is not None:
            default_generator.set_state(state)
        try:
            with context:
                leaves: list[Any] = []
                result = flatten(function(*args, **kwargs), leaves)
                return [x._here() for x in leaves], result
        finally:
            STATE.autocast = now
            if before is not None:
                default_generator.set_state(before)

    return run


def _written(
    here: list[Any], links: list[Entry], arguments: list[Any], starts: list[Any], found: list[Any]
) -> list[Any]:
    """The results of a function that has written to arguments: what it began with is gone, so all that it computed is kept."""
    given: dict[int, Any] = {}
    for x, link, argument, start in zip(here, links, arguments, starts, strict=True):
        link.edges = (edge_of(x),)
        if argument._version is not None and argument._version.count:
            given[id(argument)] = x
            with set_grad(argument._edge is not start):
                check_writable(x)
                finish_write(x, argument)
    return [given.get(id(x), x) for x in found]


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool | None = None,
    context_fn: Contexts = lambda: (nullcontext(), nullcontext()),
    determinism_check: str = "default",
    debug: bool = False,
    preserve_rng_state: bool = True,
    early_stop: bool = True,
    **kwargs: Any,
) -> Any:
    """`function(*args, **kwargs)`, of which only the arguments are kept for the gradient: the rest is computed again then.

    The random state is what it was (`preserve_rng_state`), so that dropout drops the same. `context_fn` gives contexts for the
    first run and for the next. `use_reentrant`, `determinism_check`, `debug` and `early_stop` change nothing: gradients reach
    all that the function reads. CheckpointError if shapes or dtypes differ the second time. A function that writes to its
    arguments is not run again in eager code: what it computed is kept.
    """
    if use_reentrant and kwargs:
        raise ArgumentError("Unexpected keyword arguments: " + ",".join(kwargs))
    if not STATE.grad:
        return function(*args, **kwargs)
    if STATE.recorder is not None:
        return recomputed(function, args, kwargs)
    leaves: list[Any] = []
    structure = (tuple, flatten(args, leaves), flatten(kwargs, leaves))
    here = [x._here() for x in leaves]
    run = _restoring(function, structure, preserve_rng_state, context_fn())
    kept = [(Saved(x), edge_of(x)) for x in here]
    links, arguments = linked([(saved.data, edge) for saved, edge in kept])
    starts = [x._edge for x in arguments]
    found, result = run(arguments)
    if any(x._version is not None and x._version.count for x in arguments):
        return unflatten(result, _written(here, links, arguments, starts, found))
    inside = order_entries([x._edge[0] for x in found if type(x._edge) is tuple])
    read = {id(e): e for entry in inside for e in entry.edges if isinstance(e, TensorBase)}
    read |= {id(x): x for x in found if x._edge is LEAF}
    outputs = [SLOTS.new_tensor(x._data) for x in found]
    metas = tuple((x._data.shape, x.dtype) for x in (*here, *read.values()))
    out_metas = tuple((x._data.shape, x.dtype) for x in found)
    op = Checkpoint(run, kept, list(read.values()), len(outputs))
    edges = (*(edge for _, edge in kept), *read.values())
    entry = Entry(op, {}, edges, metas, out_metas, {"function": True})
    for i, (x, out) in enumerate(zip(found, outputs, strict=True)):
        if x._edge is not None and is_float_meta(out_metas[i]):
            out._edge = (entry, i)
    return unflatten(result, outputs)


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, **kwargs: Any
) -> Any:
    """The functions (or a Sequential's modules) one after another, in so many segments, each but the last checkpointed."""
    preserve = kwargs.pop("preserve_rng_state", True)
    if kwargs:
        raise ArgumentError("Unexpected keyword arguments: " + ",".join(kwargs))
    steps = list(functions.children()) if hasattr(functions, "children") else list(functions)
    size = len(steps) // segments

    def part(start: int, end: int) -> Callable[[Any], Any]:
        def run(x: Any) -> Any:
            for step in steps[start:end]:
                x = step(x)
            return x

        return run

    end = 0
    for start in range(0, size * (segments - 1), size):
        end = start + size
        input = checkpoint(part(start, end), input, use_reentrant=use_reentrant, preserve_rng_state=preserve)
    return part(end, len(steps))(input)


__all__ = ["CheckpointError", "checkpoint", "checkpoint_sequential"]
