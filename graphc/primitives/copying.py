"""`copy`: the same elements in memory of their own. In a graph, where values never change, it is the identity.

So are two ops that tell which way gradients go where a recorded body is differentiated: `stop_gradient`, through which none
flow, and `straight_through`, whose elements are those of its first operand, and whose gradient is that of the second.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphc.core.dims import same
from graphc.core.op import Elementwise, Sample, declare
from graphc.core.tensor_types import TensorType


def _infer(x: TensorType) -> TensorType:
    """x: T[*s] -> T[*s]."""
    return x


def _samples() -> Iterator[Sample]:
    yield Sample((np.array(1.5),))
    yield Sample((np.arange(6, dtype=np.float64).reshape(2, 3).T,))
    yield Sample((np.zeros((0, 3), np.float32),))
    yield Sample((np.array([np.nan, np.inf, -0.0], np.float32),))
    yield Sample((np.array([1, 2, 3], np.int64)[::-1],))
    yield Sample((np.array([True, False]),))


def _copied(x: Any) -> Any:
    # NumPy's own copy would lay the dimensions of an expanded array in another order than every ufunc, and PyTorch, does
    return np.maximum(x, x) if 0 in x.strides else x.copy(order="K")


def _write(out: Any, x: Any) -> None:
    np.copyto(out, x)


copy = declare(
    "copy",
    infer=_infer,
    eval=_copied,
    inplace=_write,
    kind=Elementwise(scalar=lambda x: x),
    vjp=(lambda g, out, x: g,),
    saves=((),),
    samples=_samples,
)


def _floats() -> Iterator[Sample]:
    for sample in _samples():
        if sample.inputs[0].dtype.kind == "f":
            yield Sample(sample.inputs, smooth=False)


stop_gradient = declare(
    "stop_gradient",
    infer=_infer,
    eval=_copied,
    inplace=_write,
    kind=Elementwise(scalar=lambda x: x),
    samples=_floats,
)


def _infer_both(value: TensorType, source: TensorType) -> TensorType:
    """value: T[*s], source: T[*s] -> T[*s]."""
    assert value.dtype is source.dtype
    for a, b in zip(value.shape, source.shape, strict=True):
        same(a, b, "the value does not have the shape of what gets its gradient")
    return value


def _pairs() -> Iterator[Sample]:
    for sample in _floats():
        (x,) = sample.inputs
        yield Sample((x, np.ones_like(x)), smooth=False)


# Written where gradients are off, a tensor has new elements and its old history.
straight_through = declare(
    "straight_through",
    infer=_infer_both,
    eval=lambda value, source: _copied(value),
    kind=Elementwise(scalar=lambda value, source: value),
    vjp=(None, lambda g, out, value, source: g),
    saves=((), ()),
    samples=_pairs,
)
