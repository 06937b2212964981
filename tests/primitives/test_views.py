"""Views: infer agrees with eval, index maps tell where elements come from, memory is shared, Dims pass through."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.core.dims import Dim, assumptions
from graphc.core.errors import ShapeError
from graphc.core.op import REGISTRY, Op, View
from graphc.core.tensor_types import TensorType, float32, type_of_array
from graphc.primitives import contraction, creation, joining, views

OPS = [
    views.reshape, views.permute, views.expand, views.slice_, views.flip, views.diagonal, views.slice_put,
    views.diagonal_put, creation.full, creation.iota, creation.size, joining.pad, joining.concat, contraction.matmul,
]  # fmt: skip
VIEWS = [op for op in OPS if isinstance(op.kind, View)]
n, m = Dim.named("n"), Dim.named("m")


def sampled(ops: list[Op], which: str = "samples") -> Any:
    return [pytest.param(op, s, id=f"{op.name}-{i}") for op in ops for i, s in enumerate(getattr(op, which)())]


@pytest.mark.parametrize(("op", "sample"), sampled(OPS))
def test_infer_equals_eval(op: Op, sample: Any) -> None:
    with np.errstate(all="ignore"):
        out = np.asarray(op.eval(*sample.inputs, **sample.attrs))
    assert type_of_array(out) == op.infer(*map(type_of_array, sample.inputs), **sample.attrs)
    hash(tuple(sample.attrs.items()))


@pytest.mark.parametrize(("op", "sample"), sampled(OPS, "errors"))
def test_refuses(op: Op, sample: Any) -> None:
    with pytest.raises(sample.error, match=sample.match):
        op.infer(*map(type_of_array, sample.inputs), **sample.attrs)


SMOOTH = [
    pytest.param(op, s, id=f"{op.name}-{i}")
    for op in OPS
    for i, s in enumerate(op.samples())
    if s.inputs and s.smooth and all(x.dtype == np.float64 and x.size for x in s.inputs)
]


def weighted(op: Op, tensors: Any, attrs: Any) -> Any:
    out = op(*tensors, **attrs)
    weight = gc.tensor(np.cos(np.arange(out.numel())).reshape(tuple(out.shape)))
    return (out * out * weight).sum()


@pytest.mark.parametrize(("op", "sample"), SMOOTH)
def test_gradients_are_finite_differences(op: Op, sample: Any) -> None:
    tensors = [gc.tensor(x, requires_grad=True) for x in sample.inputs]
    weighted(op, tensors, sample.attrs).backward()
    for k, x in enumerate(sample.inputs):
        for at in np.ndindex(x.shape):
            ends = []
            for step in (1e-6, -1e-6):
                moved = [np.array(a) for a in sample.inputs]
                moved[k][at] += step
                ends.append(float(weighted(op, [gc.tensor(a) for a in moved], sample.attrs)))
            slope = (ends[0] - ends[1]) / 2e-6
            assert abs(float(tensors[k].grad[at]) - slope) <= 1e-5 * max(abs(slope), 1.0)


@pytest.mark.parametrize(("op", "sample"), SMOOTH)
def test_rules_are_differentiable_again(op: Op, sample: Any) -> None:
    tensors = [gc.tensor(x, requires_grad=True) for x in sample.inputs]
    weighted(op, tensors, sample.attrs).backward(create_graph=True)
    total = sum((x.grad * x.grad).sum() for x in tensors)
    assert total.requires_grad
    total.backward()
    assert all(x.grad.shape == x.shape for x in tensors)


@pytest.mark.parametrize(("op", "sample"), sampled(VIEWS))
def test_index_tells_where_elements_come_from(op: Op, sample: Any) -> None:
    (x,) = sample.inputs
    out = op.eval(x, **sample.attrs)
    for at in itertools.product(*map(range, out.shape)):
        source = op.kind.index(at, type_of_array(x), **sample.attrs)
        assert len(source) == x.ndim
        np.testing.assert_array_equal(out[at], x[source])


def test_views_share_memory() -> None:
    x = np.arange(24.0).reshape(2, 3, 4)
    for op, attrs in [
        (views.reshape, {"shape": (6, 4)}),
        (views.permute, {"axes": (2, 0, 1)}),
        (views.expand, {"shape": (5, 2, 3, 4)}),
        (views.slice_, {"starts": (0, 1, 0), "limits": (2, 3, 4), "strides": (1, 1, 2)}),
        (views.flip, {"axes": (0, 2)}),
        (views.diagonal, {"offset": 1, "axis1": 1, "axis2": 2}),
    ]:
        out = op.eval(x, **attrs)
        assert np.shares_memory(out, x), op
        assert out.flags.writeable or op is views.expand


@pytest.mark.parametrize(
    ("op", "types", "attrs", "shape"),
    [
        (views.reshape, [(n, 6)], {"shape": (n * 2, 3)}, (n * 2, 3)),
        (views.permute, [(n, 6)], {"axes": (1, 0)}, (6, n)),
        (views.expand, [(1, 6)], {"shape": (n, 6)}, (n, 6)),
        (views.slice_, [(n, 6)], {"starts": (1, 0), "limits": (n, 6), "strides": (1, 4)}, (n - 1, 2)),
        (views.slice_, [(n,)], {"starts": (0,), "limits": (n,), "strides": (2,)}, ((n + 1) // 2,)),
        (views.flip, [(n, 6)], {"axes": (0,)}, (n, 6)),
        (views.diagonal, [(n, n)], {"offset": 0, "axis1": 0, "axis2": 1}, (n,)),
        (joining.pad, [(n, 6)], {"low": (1, 0), "high": (2, m), "value": 0.0}, (n + 3, m + 6)),
        (joining.concat, [(n, 6), (m, 6), (2, 6)], {"axis": 0}, (n + m + 2, 6)),
        (contraction.matmul, [(n, 6), (6, m)], {"transpose_a": False, "transpose_b": False}, (n, m)),
        (contraction.matmul, [(n, 6), (m, n)], {"transpose_a": True, "transpose_b": True}, (6, m)),
        (contraction.matmul, [(m, n, 6), (6, 3)], {"transpose_a": False, "transpose_b": False}, (m, n, 3)),
    ],
)
def test_unknown_sizes(op: Op, types: Any, attrs: Any, shape: Any) -> None:
    out = op.infer(*(TensorType(t, float32) for t in types), **attrs)
    assert out == TensorType(shape, float32)


def test_unknown_sizes_that_meet_are_assumed_equal() -> None:
    met: list[Any] = []
    with assumptions(lambda a, b: met.append((a, b))):
        views.reshape.infer(TensorType((n, 4), float32), shape=(m, 4))
        contraction.matmul.infer(
            TensorType((2, n), float32), TensorType((5, 3), float32), transpose_a=False, transpose_b=False
        )
    assert met == [(4 * n, 4 * m), (n, 5)]
    with pytest.raises(ShapeError, match="invalid for input of size"):
        views.reshape.infer(TensorType((n, 4), float32), shape=(m, 4))


def test_reshape_index_keeps_untouched_axes_plain() -> None:
    source = views.reshape.kind.index((n, m, 5), TensorType((7, 4, 6), float32), shape=(7, 8, 3))
    assert source[0] is n
    assert REGISTRY["reshape"] is views.reshape
