"""What the conformance tests are made of: every op of the registry, its samples, and how to run and differentiate them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import graphc as gc
import graphc.control  # with it
import graphc.passes.pipelines  # and the ops that passes make
import graphc.primitives.collective
import graphc.primitives.effects  # and collectives and what runs show, the registry is whole
from graphc.core.op import REGISTRY, Joint, Op, Sample
from graphc.core.tensor_types import FLOAT, TensorType, type_of_array

OPS = tuple(REGISTRY.values())

#: Ops whose result shape is in the values: they run in eager mode only.
VALUE_DEPENDENT = {"nonzero"}


def sampled(
    ops: Sequence[Op] = OPS, which: str = "samples", keep: Callable[[Op, Any], bool] = lambda op, s: True
) -> Any:
    """One case per op and sample (or error sample)."""
    found = [(op, i, s) for op in ops for i, s in enumerate(getattr(op, which)())]
    return [pytest.param(op, s, id=f"{op.name}-{i}") for op, i, s in found if keep(op, s)]


def types_of(arrays: Sequence[Any]) -> list[TensorType]:
    return [type_of_array(np.asarray(x)) for x in arrays]


def is_float(x: Any) -> bool:
    """Whether an array or tensor is of a float dtype."""
    return (
        x.dtype.category == FLOAT if isinstance(x, gc.Tensor) else type_of_array(np.asarray(x)).dtype.category == FLOAT
    )


def parts(op: Op, result: Any) -> tuple[Any, ...]:
    """The outputs of an op, as a tuple."""
    return (result,) if op.n_outputs == 1 else tuple(result)


def evaluated(op: Op, arrays: Sequence[Any], attrs: Any) -> tuple[Any, ...]:
    """The outputs by `eval`, as arrays."""
    with np.errstate(all="ignore"):
        return tuple(np.asarray(y) for y in parts(op, op.eval(*arrays, **attrs)))


def terms(arrays: Sequence[Any]) -> int:
    """How many terms an output element may be made of."""
    return max([x.size for x in arrays], default=1)


def rearranged(array: Any) -> Any:
    """The same elements with gaps between them, in reverse and read-only."""
    wide = np.empty(tuple(2 * n for n in array.shape), array.dtype)
    view = wide[(..., *(slice(None, None, -2) for _ in array.shape))]
    view[...] = array
    view.flags.writeable = False
    return view


# --- gradients ------------------------------------------------------------------------------------------------------


def has_no_gradient(op: Op, sample: Sample) -> bool:
    """Whether an op says that it cannot be differentiated here, though floats go in and come out."""
    return op.name == "while_loop_grad" or sample.attrs.get("history") is False


def wanted_inputs(op: Op, sample: Sample) -> list[int]:
    """The positions of the inputs that have a gradient."""
    if op.vjp is None or op.name in VALUE_DEPENDENT or has_no_gradient(op, sample):
        return []
    if not any(t.dtype.category == FLOAT for t in op.output_types(*types_of(sample.inputs), **sample.attrs)):
        return []
    rules = [op.vjp.rule] * len(sample.inputs) if isinstance(op.vjp, Joint) else op.vjp
    return [i for i, x in enumerate(sample.inputs) if is_float(x) and rules[i] is not None]


def cotangents(op: Op, sample: Sample) -> list[Any]:
    """A deterministic cotangent for every float output."""
    rng = np.random.default_rng(7)
    types = op.output_types(*types_of(sample.inputs), **sample.attrs)
    return [np.asarray(rng.uniform(-1.5, 1.5, t.shape)).astype(t.dtype.np) for t in types if t.dtype.category == FLOAT]


def tensors_of(arrays: Sequence[Any], wanted: Sequence[int]) -> list[Any]:
    """Tensors of copies of the arrays, those at `wanted` wanting gradients."""
    tensors = [gc.from_numpy(np.array(x)) for x in arrays]
    for i in wanted:
        tensors[i].requires_grad_()
    return tensors


def forward_and_gradients(op: Op, sample: Sample, tensors: Sequence[Any], seeds: Sequence[Any], pull: Any) -> list[Any]:
    """The outputs and the gradients of the wanted inputs, in the current context; an unconnected input gives none."""
    outputs = parts(op, op(*tensors, **sample.attrs))
    wanted = wanted_inputs(op, sample)
    if not wanted:
        return list(outputs)
    found = pull([y for y in outputs if is_float(y)], [tensors[i] for i in wanted], list(seeds), allow_unused=True)
    return [*outputs, *(g for g in found if g is not None)]


def gradients(op: Op, sample: Sample, arrays: Sequence[Any], seeds: Sequence[Any]) -> list[Any]:
    """The gradient arrays of the wanted inputs in eager mode, zeros for an unconnected one."""
    tensors = tensors_of(arrays, wanted_inputs(op, sample))
    outputs = [y for y in parts(op, op(*tensors, **sample.attrs)) if is_float(y)]
    xs = [tensors[i] for i in wanted_inputs(op, sample)]
    found = gc.autograd.grad(outputs, xs, [gc.from_numpy(np.array(s)) for s in seeds], materialize_grads=True)
    return [g.numpy() for g in found]
