"""A recorded function for a whole batch: what an op does with a dimension more in front follows from its kind.

Elementwise ops, reductions, running folds, sorts and look-ups along an axis, views, paddings, joins and products take the new
dimension along. Of what has no rule here (random bits and loops among it) the elements are done one after another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from graphc.aliasing import write
from graphc.bodies import Body, Operand, Write
from graphc.core.context import SLOTS, STATE, set_grad
from graphc.core.errors import GradientError, ShapeError
from graphc.core.op import Elementwise
from graphc.core.tensor_types import TensorType
from graphc.effects import is_turn
from graphc.functions.creation import filled
from graphc.functions.joining import stack
from graphc.functions.splitting import slice_axis
from graphc.ir.program import CONSTANT, INPUT, Node, Program, Value
from graphc.primitives.views import expand, reshape
from graphc.tracing import Trace


class Recorded(NamedTuple):
    """A function of one element: its program, and the tensors from outside that it reads, in the order of the last inputs.

    `changed`: the operands it writes to; their new values are the program's last outputs.
    """

    program: Program
    outside: list[Any]
    #: whether it writes to any of them, as drawing random numbers does; whether it prints
    writes: bool
    shows: bool
    changed: dict[int, Write]


class Batched(NamedTuple):
    """A tensor, and whether its first dimension is the batch's."""

    tensor: Any
    has_batch: bool


def record(fn: Callable[..., Sequence[Any]], batches: Sequence[Batched]) -> Recorded:
    """The program of a function for single elements of these; it may read tensors from outside."""
    around: Any = STATE.recorder or Trace()
    given = [
        Operand(
            _type_of_one(x), x.tensor.requires_grad, x.tensor if STATE.recorder is None else around.shadow(x.tensor)
        )
        for x in batches
    ]
    body = Body(around, fn, given)
    outside = body.closures
    if STATE.recorder is None:
        concrete = {id(shadow): tensor for tensor, shadow in around.shadows.values()}
        numbers = {id(c.shadow): c for c in around.captures.values() if c.owner is not None}
        outside = [concrete[id(x)] if id(x) in concrete else SLOTS.new_tensor(numbers[id(x)].read()) for x in outside]
    turns = [is_turn(found.symbol._data) for found in body.written]
    program = body.program([found.value for found in body.changed.values()])
    return Recorded(program, outside, not all(turns), any(turns), body.changed)


def _type_of_one(x: Batched) -> TensorType:
    type_: TensorType = x.tensor.tensor_type
    return type_.with_shape(type_.shape[1:]) if x.has_batch else type_


def write_operands(recorded: Recorded, operands: Sequence[Batched], found: Sequence[Batched], size: Any) -> None:
    """Writes to operands what the function has written to their elements; `found`: the last outputs of a run."""
    for (i, change), new in zip(recorded.changed.items(), found, strict=True):
        x = operands[i]
        if new.has_batch and not x.has_batch:
            raise GradientError(
                "vmap: inplace arithmetic is not possible because the tensor that is written is not vmapped over, and what is "
                f"written is (at {change.symbol._data.origin_text()})"
            )
        with set_grad(STATE.grad and change.tracked):
            write(x.tensor, whole(new, size) if x.has_batch else new.tensor)


def run(recorded: Recorded, operands: Sequence[Batched], size: Any) -> list[Batched]:
    """The program's outputs for a batch of that size."""
    program = recorded.program
    given = [*operands, *(Batched(x, False) for x in recorded.outside)]
    env: dict[Value, Batched] = dict(zip(program.inputs, given, strict=True))
    for node in program.nodes:
        if node.op is INPUT:
            continue
        if node.op is CONSTANT:
            array = node.attrs["data"].array
            made = SLOTS.new_tensor(array) if STATE.recorder is None else STATE.recorder.constant(array)
            env[node.outputs[0]] = Batched(made, False)
            continue
        env.update(zip(node.outputs, _applied(node, [env[v] for v in node.inputs], size), strict=True))
    return [env[v] for v in program.outputs]


def _applied(node: Node, operands: list[Batched], size: Any) -> list[Batched]:
    """One node for the batch, or once for all where nothing of it is batched."""
    if not any(x.has_batch for x in operands):
        found, has_batch = node.op(*[x.tensor for x in operands], **node.attrs), False
    else:
        rule = _RULES.get(node.op.name) or (_aligned if isinstance(node.op.kind, Elementwise) else _one_by_one)
        found, has_batch = rule(node, operands, size), True
    return [Batched(x, has_batch) for x in (found if isinstance(found, tuple) else (found,))]


def whole(x: Batched, size: Any) -> Any:
    """The tensor with the batch's dimension, the same for every element if it had none."""
    return x.tensor if x.has_batch else expand(x.tensor, shape=(size, *x.tensor.shape))


def _ranked(x: Batched, ndim: int) -> Any:
    """A batched tensor whose elements have `ndim` dimensions, new ones of size 1 in front."""
    if not x.has_batch:
        return x.tensor
    size, *shape = x.tensor.shape
    return x.tensor if len(shape) == ndim else reshape(x.tensor, shape=(size, *(1,) * (ndim - len(shape)), *shape))


def _aligned(node: Node, operands: list[Batched], size: Any) -> Any:
    """Operands that are broadcast against each other."""
    ndim = max(len(v.type.shape) for v in node.inputs)
    return node.op(*[_ranked(x, ndim) for x in operands], **node.attrs)


def _with(change: Callable[[Mapping[str, Any], Any], dict[str, Any]]) -> Callable[..., Any]:
    """The op on operands that all have the batch's dimension, with other attributes."""

    def rule(node: Node, operands: list[Batched], size: Any) -> Any:
        return node.op(*[whole(x, size) for x in operands], **{**node.attrs, **change(node.attrs, size)})

    return rule


def _expanded(node: Node, operands: list[Batched], size: Any) -> Any:
    shape = node.attrs["shape"]
    return node.op(_ranked(operands[0], len(shape)), shape=(size, *shape))


def _looked_up(node: Node, operands: list[Batched], size: Any) -> Any:
    """Rows of a table, whose places are batched; other look-ups are done one by one."""
    if node.attrs["axes"] == (0,) and not operands[0].has_batch:
        return node.op(*[x.tensor for x in operands], **node.attrs)
    return _one_by_one(node, operands, size)


def _one_by_one(node: Node, operands: list[Batched], size: Any) -> Any:
    if not isinstance(size, int):
        raise ShapeError(
            f"vmap: {node.op.name} is done for one element after another, so the batch must have a known size"
        )
    rows = []
    for i in range(size):
        parts = [_element(x.tensor, i) if x.has_batch else x.tensor for x in operands]
        found = node.op(*parts, **node.attrs)
        rows.append(found if isinstance(found, tuple) else (found,))
    if not rows:
        empty = tuple(filled((0, *v.type.shape), 0, v.dtype) for v in node.outputs)
        return empty if node.op.n_outputs != 1 else empty[0]
    columns = tuple(stack(column) for column in zip(*rows, strict=True))
    return columns if node.op.n_outputs != 1 else columns[0]


def _element(x: Any, i: int) -> Any:
    return reshape(slice_axis(x, 0, i, i + 1), shape=tuple(x.shape)[1:])


_AXIS = _with(lambda attrs, size: {"axis": attrs["axis"] + 1})
_AXES = _with(lambda attrs, size: {"axes": tuple([axis + 1 for axis in attrs["axes"]])})
_PART = _with(
    lambda attrs, size: {
        "starts": (0, *attrs["starts"]),
        "limits": (size, *attrs["limits"]),
        "strides": (1, *attrs["strides"]),
    }
)
_DIAGONAL = _with(lambda attrs, size: {"axis1": attrs["axis1"] + 1, "axis2": attrs["axis2"] + 1})
_RULES: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(
        ("reduce_sum", "reduce_prod", "reduce_max", "reduce_min", "reduce_any", "reduce_all", "flip"), _AXES
    ),
    **dict.fromkeys(
        ("argmax", "argmin", "sort", "gather", "scatter", "scatter_add", "concat", "linear_recurrence"), _AXIS
    ),
    **{f"cumulative_{name}": _AXIS for name in ("sum", "prod", "max", "min", "logsumexp")},
    **dict.fromkeys(("copy", "straight_through"), _with(lambda attrs, size: {})),
    "reshape": _with(lambda attrs, size: {"shape": (size, *attrs["shape"])}),
    "permute": _with(lambda attrs, size: {"axes": (0, *[axis + 1 for axis in attrs["axes"]])}),
    "expand": _expanded,
    "slice_": _PART,
    "slice_put": _PART,
    "diagonal": _DIAGONAL,
    "diagonal_put": _DIAGONAL,
    "pad": _with(lambda attrs, size: {"low": (0, *attrs["low"]), "high": (0, *attrs["high"])}),
    "matmul": _aligned,
    "checked_index": _with(lambda attrs, size: {}),
    "index": _looked_up,
}

__all__ = ["Batched", "Recorded", "record", "run", "whole", "write_operands"]
