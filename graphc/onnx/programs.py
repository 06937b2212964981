"""Programs node by node, and the ops that have bodies: branches, loops, scans and running folds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphc.control import cond_op, scan_op, while_grad, while_op
from graphc.core import scalar as s
from graphc.core.dims import Size, is_static
from graphc.core.errors import SymbolicError
from graphc.core.op import ArgReduction, Cumulative, Elementwise, Op, Reduction, Scatter, View
from graphc.core.tensor_types import TensorType, bool_, int64
from graphc.ir.program import CONSTANT, INPUT, Node, Program, Value
from graphc.onnx import translations
from graphc.onnx.formulas import cast, write
from graphc.onnx.translations import TRANSLATIONS, Translation
from graphc.onnx.writer import Writer, typed, without_counterpart


def write_program(writer: Writer, program: Program, inputs: Sequence[Any]) -> list[Any]:
    """The values of a program's outputs for these values of its inputs."""
    values: dict[Value, Any] = dict(zip(program.inputs, inputs, strict=True))
    for node in program.nodes:
        if node.op is INPUT:
            continue
        if node.op is CONSTANT:
            values[node.outputs[0]] = writer.constant(node.attrs["data"].array)
            continue
        with writer.at(node):
            found = _translated(writer, node, [values[v] for v in node.inputs])
        for out, value in zip(node.outputs, found if isinstance(found, tuple) else (found,), strict=True):
            values[out] = typed(value, out.type)
    return [values[v] for v in program.outputs]


def _translated(writer: Writer, node: Node, operands: Sequence[Any]) -> Any:
    try:
        return translation_of(node.op)(writer, node, *operands)
    except SymbolicError:
        raise without_counterpart(node, "takes numbers in ONNX where sizes are unknown here") from None


def translation_of(op: Op) -> Translation:
    """How an op is written: by its own rule, or by its kind's."""
    found = TRANSLATIONS.get(op) or BODIES.get(op)
    return found or next((rule for kind, rule in KINDS.items() if isinstance(op.kind, kind)), translations.by_element)


_TRUTH = TensorType((), bool_)
_COUNT = TensorType((), int64)


def _results(writer: Writer, values: Sequence[Any], types: Sequence[TensorType]) -> list[Any]:
    return [writer.result(x, t, writer.fresh("result")) for x, t in zip(values, types, strict=True)]


def _types(values: Sequence[Value]) -> list[TensorType]:
    return [v.type for v in values]


def _tuple(found: Any) -> tuple[Any, ...]:
    return found if isinstance(found, tuple) else (found,)


def _condition(writer: Writer, program: Program, operands: Sequence[Any]) -> Any:
    return writer.reshape(write_program(writer, program, operands)[0], ())


# --- branches and loops ---------------------------------------------------------------------------------------------


def _branches(writer: Writer, node: Node, pred: Any, *operands: Any) -> Any:
    graphs = {}
    for name, program in (("then_branch", node.attrs["true"]), ("else_branch", node.attrs["false"])):
        inner = Writer(writer.opset, writer)
        found = write_program(inner, program, operands)
        graphs[name] = inner.graph(name, (), _results(inner, found, _types(node.outputs)))
    return _tuple(writer.op("If", pred, outputs=len(node.outputs), **graphs))


def _loop(writer: Writer, node: Node, *operands: Any) -> Any:
    return _loop_with(writer, node, operands, _types(node.outputs), history=False)


def _loop_with(
    writer: Writer, node: Node, operands: Sequence[Any], types: Sequence[TensorType], history: bool
) -> tuple[Any, ...]:
    """The last carry of a while_loop; with `history` also what each carry was before each step, stacked."""
    attrs, n = node.attrs, node.attrs["n_carry"]
    carry, rest = operands[:n], operands[n:]
    inner = Writer(writer.opset, writer)
    own = [inner.value("iteration", _COUNT), inner.value("going", _TRUTH), *(inner.value("carry", t) for t in types)]
    new = write_program(inner, attrs["body"], [*own[2:], *rest])
    going = _condition(inner, attrs["cond"], [*new, *rest])
    results = _results(inner, [going, *new], [_TRUTH, *types])
    kept = _results(inner, own[2:], types) if history else []
    body = inner.graph("body", own, [*results, *kept])
    first = _condition(writer, attrs["cond"], operands[: n + len(rest)])
    return _tuple(writer.op("Loop", None, first, *carry, outputs=n + len(kept), body=body))


def _loop_gradient(writer: Writer, node: Node, *operands: Any) -> Any:
    """The loop again with all its carries, then a loop back over them."""
    wanted, n = node.attrs["wanted"], node.attrs["n_carry"]
    given = _types(node.inputs)
    found = _loop_with(writer, node, operands[: len(wanted)], given[:n], history=True)
    rest, cotangents = operands[n : len(wanted)], operands[len(wanted) :]
    floats = [t for t, want in zip(given[:n], wanted, strict=False) if want]
    sums = [t for t, want in zip(given[n : len(wanted)], wanted[n:], strict=True) if want]
    totals = [writer.expand(writer.constant(0, t.dtype.np), t) for t in sums]
    steps = writer.op("Gather", writer.op("Shape", found[n]), writer.constant(0, np.int64), axis=0)
    inner, types = Writer(writer.opset, writer), [*floats, *sums]
    own = [inner.value("iteration", _COUNT), inner.value("going", _TRUTH), *(inner.value("sum", t) for t in types)]
    last = inner.op("Sub", steps, inner.constant(1, np.int64))
    place = inner.op("Sub", last, own[0])
    before = [typed(inner.op("Gather", x, place, axis=0), t) for x, t in zip(found[n:], given, strict=False)]
    got = write_program(inner, node.attrs["back"], [*before, *rest, *own[2 : 2 + len(floats)]])
    for i, (t, total) in enumerate(zip(sums, own[2 + len(floats) :], strict=True), len(floats)):
        got[i] = write(inner, s.leaf(0, t.dtype) + s.leaf(1, t.dtype), [total, got[i]])
    body = inner.graph("body", own, _results(inner, [own[1], *got], [_TRUTH, *types]))
    back = writer.op("Loop", steps, None, *cotangents, *totals, outputs=len(types), body=body)
    return _tuple(back)


# --- scans ----------------------------------------------------------------------------------------------------------

Step = Callable[[Writer, Sequence[Any], Sequence[Any]], tuple[Sequence[Any], Sequence[Any]]]


class _Steps(NamedTuple):
    """A loop along an axis of sequences: how long it is, which way it goes, types of carries, elements and what is stacked.

    A Loop, since onnxruntime's Scan ends the process where a sequence has no element.
    """

    length: Size
    axis: int
    reverse: bool
    carries: Sequence[TensorType]
    elements: Sequence[TensorType]
    stacked: Sequence[TensorType]

    def write(self, writer: Writer, carry: Sequence[Any], xs: Sequence[Any], step: Step) -> tuple[Any, ...]:
        """The last carries, then what was stacked along the axis, of `carry, y = step(body, carry, x)`."""
        inner, length = Writer(writer.opset, writer), writer.size(self.length)
        own = [inner.value("iteration", _COUNT), inner.value("going", _TRUTH)]
        own += [inner.value("carry", t) for t in self.carries]
        place = own[0]
        if self.reverse:
            place = inner.op("Sub", inner.op("Sub", length, inner.constant(1, np.int64)), place)
        found = [inner.op("Gather", x, place, axis=self.axis) for x in xs]
        new, ys = step(inner, own[2:], [typed(x, t) for x, t in zip(found, self.elements, strict=True)])
        results = _results(inner, [own[1], *new, *ys], [_TRUTH, *self.carries, *self.stacked])
        n = len(self.carries) + len(self.stacked)
        outs = writer.op("Loop", length, None, *carry, outputs=n, body=inner.graph("body", own, results))
        last, rows = _tuple(outs)[: len(self.carries)], _tuple(outs)[len(self.carries) :]
        return (*last, *(self._column(writer, y, t) for y, t in zip(rows, self.stacked, strict=True)))

    def _column(self, writer: Writer, y: Any, type: TensorType) -> Any:
        """What was stacked, in the order of the sequences and along their axis."""
        ndim = len(type.shape) + 1
        if not is_static(type.shape):  # of no steps onnxruntime makes zeros of these sizes
            y = writer.reshape(y, (self.length, *type.shape))
        if self.reverse:
            bounds = ([-1], [np.iinfo(np.int64).min], [0], [-1])
            y = writer.op("Slice", y, *(writer.constant(v, np.int64) for v in bounds))
        order = [*range(1, self.axis + 1), 0, *range(self.axis + 1, ndim)]
        return writer.op("Transpose", y, perm=order) if self.axis else y


def _scan(writer: Writer, node: Node, *operands: Any) -> Any:
    attrs, program = node.attrs, node.attrs["body"]
    n, n_const, history = attrs["n_carry"], attrs["n_const"], attrs["history"]
    carry, consts, xs = operands[:n], operands[n : n + n_const], operands[n + n_const :]
    given, made = _types(program.inputs), _types(program.outputs)

    def step(inner: Writer, own: Sequence[Any], elements: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
        found = write_program(inner, program, [*own, *consts, *elements])
        return found[:n], [*found[n:], *(own if history else ())]

    stacked = [*made[n:], *(given[:n] if history else ())]
    steps = _Steps(attrs["length"], 0, attrs["reverse"], given[:n], given[n + n_const :], stacked)
    return steps.write(writer, carry, xs, step)


def _running(writer: Writer, node: Node, *operands: Any) -> Any:
    """A running fold as a loop over its step; a carried bool tells a fold without a start that there is nothing before."""
    kind, axis, out = node.op.kind, node.attrs["axis"], node.outputs[0]
    assert isinstance(kind, Cumulative)
    widened = [translations.in_wide(writer, x, out.dtype) for x in operands]
    xs, wide = [x for x, _ in widened], widened[0][1]
    if kind.combine == "add":
        return cast(writer, writer.op("CumSum", xs[0], writer.constant(axis, np.int64)), wide, out.dtype)
    rest = TensorType(tuple(n for i, n in enumerate(out.shape) if i != axis), wide)
    start = 0 if kind.start is None else kind.start(wide)
    tree = kind.step(*(s.leaf(i, wide) for i in range(len(xs) + 1)))

    def step(inner: Writer, own: Sequence[Any], elements: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
        found = write(inner, tree, [own[0], *elements])
        if kind.start is None:
            found = inner.op("Where", own[1], elements[-1], found)
        return [found, inner.constant(False)], [found]

    before = writer.expand(writer.constant(np.asarray(start).astype(wide.np)), rest)
    steps = _Steps(out.shape[axis], axis, False, [rest, _TRUTH], [rest] * len(xs), [rest])
    return cast(writer, steps.write(writer, [before, writer.constant(True)], xs, step)[2], wide, out.dtype)


KINDS: Mapping[type, Translation] = {
    Elementwise: translations.elementwise, View: translations.view, Scatter: translations.scatter_by_place,
    Reduction: translations.reduction, ArgReduction: translations.arg_reduction, Cumulative: _running,
}  # fmt: skip
BODIES: Mapping[Op, Translation] = {cond_op: _branches, while_op: _loop, while_grad: _loop_gradient, scan_op: _scan}
