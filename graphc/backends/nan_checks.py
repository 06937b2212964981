"""Debug checks of `check_nans=True`: which op made a NaN or an infinity from finite operands, and where the user wrote it.

What a program is given, its constants, and what was filled with an infinity may hold what they like: only an op whose operands
are all finite is to blame. Of a fused kernel only stored results are looked at; if one is bad, the kernel's nodes are evaluated
one by one and the bad elements followed back to the op that made them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np

from graphc.core.errors import NonFiniteError
from graphc.core.op import Kind, Scatter
from graphc.core.quiet import quiet, quiet_reset, quiet_set
from graphc.core.tensor_types import FLOAT, dtype_of
from graphc.ir.blame import operand_lines, user_line_of
from graphc.ir.interpret import evaluate
from graphc.ir.program import CONSTANT, INPUT, Node, Value
from graphc.planning.steps import CheckStep, ControlStep, CopyStep, KernelStep, OutputCopy, SortStep, Step, Strided

Array = Any


def is_finite(value: Value, array: Array) -> bool:
    """Whether a value has no NaN and no infinity; integers have none."""
    return value.dtype.category != FLOAT or bool(np.isfinite(array).all())


def may_be_blamed(node: Node) -> bool:
    """Whether the node has operands, and no infinity among its attributes that was written there on purpose."""
    return bool(node.inputs) and not any(isinstance(x, float) and not isfinite(x) for x in node.attrs.values())


def range_of(array: Array) -> str:
    """The least and the largest finite number of an array, for messages; "" for bools and empty arrays."""
    if array.dtype.kind == "b" or not array.size:
        return ""
    if not is_float(array):
        low, high, bad = str(array.min()), str(array.max()), 0
    else:
        finite = array[np.isfinite(array)]
        bad = array.size - finite.size
        if not finite.size:
            return f", {bad} of {bad} not finite"
        low, high = (f"{float(x):.4g}" for x in (finite.min(), finite.max()))
    return (f" all {low}" if low == high else f" in [{low}, {high}]") + (f", {bad} not finite" if bad else "")


def is_float(array: Array) -> bool:
    """Whether elements are floats, also those that NumPy does not know."""
    return bool(dtype_of(array.dtype).category == FLOAT)


def problem_of(array: Array) -> str:
    """What is wrong with results that were made of finite operands."""
    bad, has_nan = ~np.isfinite(array), bool(np.isnan(array).any())
    what = "NaN and infinity" if has_nan and np.isinf(array).any() else "NaN" if has_nan else "infinity"
    first = np.argwhere(bad)[0].tolist()
    where = f", the first at {first}" if first else ""
    return f"made {what} from finite operands, in {int(bad.sum())} of {bad.size} elements{where}"


def accusation(value: Value, array: Array, operands: Sequence[Array] = ()) -> NonFiniteError:
    """The error that names the op that made the value; `operands`: what it read, for their ranges."""
    node, error = value.node, NonFiniteError(problem_of(array))
    ranges = [range_of(x) for x in operands] or [""] * len(node.inputs)
    named = zip(operand_lines(node.inputs), ranges, strict=True)
    error.about(node.op.name, tuple([(name, kind + r, line) for (name, kind, line), r in named]), user_line_of(node))
    return error


def check_node(node: Node, results: Iterable[Array], operands: Sequence[Array]) -> None:
    """Raises NonFiniteError for results of a node that may be blamed and whose operands were finite."""
    for value, array in zip(node.outputs, results, strict=True):
        if not is_finite(value, array):
            raise accusation(value, array, operands)


# --- steps of a native plan ----------------------------------------------------------------------------------------------


def check_step(step: Step, read: Callable[[Value], Array], operand: Callable[[Strided], Array]) -> None:
    """Raises NonFiniteError if the step, which has just run, made something bad of finite operands.

    `read` gives the elements of a value in memory, in its shape; `operand` those of a strided operand. Loops and branches are
    checked step by step in their bodies. A sort makes no number, and what nobody reads of its rows is not there.
    """
    if isinstance(step, CheckStep | ControlStep | CopyStep | SortStep):
        return
    for value, array in _made(step, read):
        if is_finite(value, array):
            continue
        if isinstance(step, KernelStep):
            loaded = {x: read(x) for x in step.buffers if isinstance(x, Value) and x not in step.made}
            _follow(value, array, loaded)
        elif may_be_blamed(value.node) and all(is_finite(x.value, operand(x)) for x in step.operands):
            raise accusation(value, array, _operands(value.node, step.operands, operand))


def _operands(node: Node, known: Sequence[Strided], operand: Callable[[Strided], Array]) -> list[Array]:
    """What a node of a step read, [] where the step reads it in another form."""
    found = [operand(x) for x in known]
    return found if len(found) == len(node.inputs) else []


def _made(step: Step, read: Callable[[Value], Array]) -> Iterator[tuple[Value, Array]]:
    """What the step made, and where that is: in memory of its own, of a scatter that goes on there, of a concatenation other
    parts of which may not be there yet."""
    nodes = set(step.nodes)
    for made in step.made:
        if isinstance(made, OutputCopy):
            continue
        value = made
        while value.node not in nodes and isinstance(value.node.op.kind, Scatter):
            value = value.node.inputs[0]
        if value.node in nodes:
            yield value, read(made)
            continue
        assert value.node.op.kind == Kind("concat")
        axis, start = value.node.attrs["axis"], 0
        for part in value.node.inputs:
            end = start + int(part.shape[axis])
            if part.node in nodes:
                yield part, read(made)[(slice(None),) * axis + (slice(start, end),)]
            start = end


def _follow(bad: Value, array: Array, loaded: Mapping[Value, Array]) -> None:
    """Evaluates what leads to a bad value in a kernel, and raises for the first op there that had finite operands.

    A scatter is followed to what it puts in place; what it began with was looked at before, its sums are not blamed.
    """
    scatter = bad.node.op.kind
    if isinstance(scatter, Scatter):
        bad = bad.node.inputs[scatter.value]
    env = dict(loaded)
    order = list(_between(bad, loaded))
    token = quiet_set(quiet)
    try:
        for node in order:
            if node.op is CONSTANT:
                env[node.outputs[0]] = node.attrs["data"].array
            else:
                env.update(zip(node.outputs, evaluate(node, [env[x] for x in node.inputs]), strict=True))
    finally:
        quiet_reset(token)
    if is_finite(bad, env[bad]):
        if isinstance(scatter, Scatter) or not all(is_finite(x, found) for x, found in loaded.items()):
            return
        # native code rounds otherwise: the op itself is to blame
        raise accusation(bad, array, [env[x] for x in bad.node.inputs if x in env])
    pending, culprits = [bad], list[Value]()
    seen = {bad}
    while pending:
        value = pending.pop()
        if value in loaded or not may_be_blamed(value.node):
            continue
        worse = [x for x in value.node.inputs if not is_finite(x, env[x])]
        if not worse:
            culprits.append(value)
        pending += [x for x in worse if x not in seen]
        seen.update(worse)
    if culprits:
        first = min(culprits, key=lambda value: value.node.number)
        raise accusation(first, env[first], [env[x] for x in first.node.inputs])


def _between(value: Value, loaded: Mapping[Value, Array]) -> Iterator[Node]:
    """The nodes from what is loaded to a value, operands first."""
    found: dict[Node, None] = {}
    pending = [value]
    while pending:
        at = pending.pop()
        if at not in loaded and at.node not in found:
            assert at.node.op is not INPUT, f"{at!r} is not in memory"
            found[at.node] = None
            pending += at.node.inputs
    return iter(sorted(found, key=lambda node: node.number))
