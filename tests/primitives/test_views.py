"""Views beyond what the conformance suite asks of every op: shared memory, and Dims that pass through."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphc.core.dims import Dim, assumptions
from graphc.core.errors import ShapeError
from graphc.core.op import REGISTRY, Op
from graphc.core.tensor_types import TensorType, float32
from graphc.primitives import contraction, joining, views

n, m = Dim.named("n"), Dim.named("m")


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
