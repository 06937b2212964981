"""`copy`: the same elements in memory of their own. In a graph, where values never change, it is the identity."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

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
