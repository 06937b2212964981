"""What to change in the source: things a program could do better, each with the user's line and what to write instead."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from graphc.core.dims import is_static, product
from graphc.core.op import View
from graphc.core.tensor_types import FLOAT, float64
from graphc.ir.program import Node, Origin, Program, Value
from graphc.planning.descriptions import Data
from graphc.primitives.arithmetic import cast, divide, subtract
from graphc.primitives.reductions import reduce_max, reduce_sum
from graphc.primitives.transcendental import exp, log
from graphc.tracing import Capture

#: Fewer elements than this are not worth a word.
WORTH = 256
#: So many values of one argument in a row are a habit.
HABIT = 3
#: So many equal ops of one line are a loop.
UNROLLED = 24
#: Names in one piece of advice.
MOST_NAMES = 4


def said(line: str, says: str) -> Data:
    """One piece of advice."""
    return {"line": line, "says": says}


def of_recompiles(recompiles: Sequence[Any]) -> list[Data]:
    """Of the builds of a function: plain values that are another one at each call."""
    met: dict[str, list[Any]] = {}
    for found in recompiles:
        if found.argument and found.dim is None and type(found.new) in (int, float):
            met.setdefault(found.argument, []).append(found)
    return [
        said(
            founds[-1].line,
            f"{name} is a plain number that changes ({', '.join(str(x.new) for x in founds[-HABIT:])}): each value is a build "
            "of its own; a tensor, such as gc.tensor(x), is read at each call",
        )
        for name, founds in met.items()
        if len(founds) >= HABIT
    ]


def of_build(
    recorded: Program, program: Program, written: Mapping[Any, Value], sources: Sequence[Any], plans: Sequence[Data]
) -> list[Data]:
    """Of a build, by the program recorded, the one it runs, what its inputs stand for, the new values that those get which
    are written, and its described plans."""
    return [
        *_unrolled(recorded), *_softmaxes(recorded), *_not_updated(recorded, written, sources), *_wide(program),
        *_by_python(plans),
    ]  # fmt: skip


# --- what was recorded -------------------------------------------------------------------------------------------------


def _unrolled(recorded: Program) -> Iterator[Data]:
    """Lines that recorded the same op again and again: a loop of Python's, each turn of which is compiled."""
    turns: dict[Origin, Counter[Any]] = {}
    for node in recorded.nodes:
        if node.inputs and node.origins and node.origins[0].role == "forward":
            turns.setdefault(node.origins[0], Counter())[node.op, node.outputs[0].type] += 1
    most = {origin: max(counts.values()) for origin, counts in turns.items()}
    longest = max(most, key=lambda origin: most[origin], default=None)
    if longest is not None and most[longest] >= UNROLLED:
        lines = sum(n >= UNROLLED for n in most.values())
        more = f" (and {lines - 1} more lines like it)" if lines > 1 else ""
        yield said(
            str(longest),
            f"recorded {most[longest]} times{more}: a loop of Python's is unrolled, and each turn is compiled; gc.scan, "
            "or a layer such as nn.LSTM, keeps a loop, whose code does not grow with its turns",
        )


def _softmaxes(recorded: Program) -> Iterator[Data]:
    """Logarithms of a softmax, and softmaxes of one."""
    for node in recorded.nodes:
        if not node.origins or node.origins[0].role != "forward":
            continue
        line = str(node.origins[0])
        if node.op is log and _is_softmax(_bare(node.inputs[0])):
            yield said(
                line,
                "the logarithm of a softmax is -inf where that is rounded to 0, and its gradient NaN; log_softmax, or a loss "
                "that takes logits (cross_entropy), is exact there",
            )
        if node.op is subtract and _is_softmax(_bare(node.inputs[0])) and _is_largest(node.inputs[1], node.inputs[0]):
            yield said(
                line,
                "the softmax of a softmax: cross_entropy and log_softmax take logits, and these are probabilities already, so "
                "that the loss can hardly fall; leave out the first softmax",
            )


def _bare(value: Value) -> Value:
    """A value, before views and changes of its dtype."""
    while isinstance(value.node.op.kind, View) or value.node.op is cast:
        value = value.node.inputs[0]
    return value


def _is_softmax(value: Value) -> bool:
    """Whether this is exp(x) / sum(exp(x))."""
    if value.node.op is not divide or value.node.inputs[0].node.op is not exp:
        return False
    powers, total = value.node.inputs
    return (found := _bare(total)).node.op is reduce_sum and found.node.inputs[0] is powers


def _is_largest(value: Value, of: Value) -> bool:
    found = _bare(value)
    return found.node.op is reduce_max and _bare(found.node.inputs[0]) is _bare(of)


def _not_updated(recorded: Program, written: Mapping[Any, Value], sources: Sequence[Any]) -> Iterator[Data]:
    """Parameters that a training step reads, and its optimizer does not change."""

    def is_parameter(x: Any) -> bool:
        return isinstance(x, Capture) and x.grad_of is None and getattr(x.tensor, "requires_grad", False)

    updated = [x for x, value in written.items() if is_parameter(x) and _is_update(value.node)]
    inputs = dict(zip(sources, recorded.inputs, strict=True))
    left = {x: value for x, value in inputs.items() if is_parameter(x) and x not in written}
    if updated and left:
        read = set(left.values())
        first = next(node for node in recorded.nodes if read.intersection(node.inputs))
        names = [x.name for x in left]
        more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        what = f"{', '.join(names[:MOST_NAMES])}{more}"
        yield said(
            str(first.origins[0]) if first.origins else "",
            f"{what} {'require' if len(names) > 1 else 'requires'} a gradient, and the step, which updates others, does not "
            "update them; if that is not meant, give them to the optimizer, else requires_grad_(False) saves their gradients",
        )


def _is_update(node: Node) -> bool:
    return any(origin.role == "update" for origin in node.origins)


# --- what runs ---------------------------------------------------------------------------------------------------------


def _wide(program: Program) -> Iterator[Data]:
    """float32 that becomes float64 in the forward pass: it moves twice the bytes from there on."""
    for node in program.nodes:
        if node.op is not cast or not _is_large(node) or not node.origins or node.origins[0].role != "forward":
            continue
        (x,) = node.inputs
        if node.outputs[0].dtype is float64 and x.dtype.category == FLOAT and x.dtype is not float64:
            yield said(
                str(node.origins[0]),
                f"{x.type} becomes float64 here: what follows moves more bytes; if that is not meant, make the float64 tensor "
                f"that it meets {x.dtype.name}, such as t.to(gc.{x.dtype.name})",
            )


def _is_large(node: Node) -> bool:
    shape = node.outputs[0].shape
    return not is_static(shape) or int(product(shape)) >= WORTH


def _by_python(plans: Sequence[Data]) -> Iterator[Data]:
    """Steps that native code waits for."""
    for plan in plans:
        for step in plan.get("steps", ()):
            if "reason" in step:
                yield said(
                    next(iter(step["lines"]), ""),
                    f"native code stops for {', '.join(step['ops'])}, which Python does ({step['reason']}); outside of the "
                    "step, or once for many steps, it would not be waited for",
                )


__all__ = ["HABIT", "WORTH", "of_build", "of_recompiles"]
