"""Shape functions, creation and contractions recorded with unknown sizes, run for several numbers, equal eager code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from side_by_side import flat
from tolerances import assert_close

import graphc as gc
from graphc.core.dims import Dim
from graphc.core.errors import ShapeError, SymbolicError
from graphc.core.tensor_types import TensorType, float64
from graphc.functions.joining import pad
from graphc.ir.interpret import interpret
from graphc.ir.program import Program
from graphc.ir.specialise import specialise
from graphc.tracing import Recorder, run_recorded, symbolic

COUNTS = lambda: gc.tensor([1, 0, 2, 0, 0, 1])  # noqa: E731
n, m = Dim.named("n"), Dim.named("m")

SAME = {
    "reshape": lambda x: x.reshape(-1, 3),
    "reshape-size": lambda x: x.reshape(x.shape[0], 2, -1),
    "view": lambda x: x.view(x.size(0) * 2, 3),
    "flatten": lambda x: (gc.flatten(x), x.unsqueeze(1).flatten(1)),
    "unflatten": lambda x: (x.unflatten(1, (2, -1)), x.unflatten(0, (-1, 1))),
    "squeeze": lambda x: x.unsqueeze(0).squeeze(),
    "permute": lambda x: (x.t(), x.permute(1, 0), x.movedim(0, 1), x.T),
    "expand": lambda x: (x.unsqueeze(0).expand(3, -1, -1), x.narrow(0, 1, 1).expand(x.shape[0], -1), x.sum().expand_as(x)),
    "broadcast": lambda x: gc.broadcast_tensors(x, x[:, :1]),
    "repeat": lambda x: (x.repeat(2, 1), x.repeat(1, 2, 1), gc.tile(x, (2,))),
    "repeat_interleave": lambda x: (x.repeat_interleave(2, dim=0), x.repeat_interleave(COUNTS(), 1, output_size=4)),
    "narrow": lambda x: (x.narrow(1, 2, 3), x.narrow(0, 1, x.shape[0] - 1)),
    "select": lambda x: (x.select(0, -1), x.select(1, 2), x[0], x[-1]),
    "split": lambda x: (x.split(4, 1), x.split(x.shape[0], 0), x.split([1, x.shape[0] - 1])),
    "chunk": lambda x: (x.chunk(3, 1), x.repeat(4, 1).chunk(4, 0)),
    "tensor_split": lambda x: x.tensor_split(2),
    "unbind": lambda x: x.unbind(1),
    "unfold": lambda x: (x.unfold(0, 2, 1), x.unfold(1, 2, 2)),
    "flip": lambda x: (x.flip(0), gc.rot90(x), gc.fliplr(x)),
    "roll": lambda x: (x.roll(1, 0), x.roll((-1, 2), (0, 1)), x.roll(4)),
    "diagonal": lambda x: (x.diagonal(), (x @ x.t()).diagonal(), x.diagonal(-1)),
    "diag": lambda x: (gc.diag(x[:, 0]), gc.diag_embed(x, 1)),
    "triangles": lambda x: (gc.tril(x), gc.triu(x, 1)),
    "cat": lambda x: (gc.cat([x, x[:1], x]), gc.cat([x, x], 1), gc.stack([x, x], 1), gc.hstack([x, x])),
    "block_diag": lambda x: gc.block_diag(x, x[:1]),
    "meshgrid": lambda x: gc.meshgrid(x[:, 0], x[0], indexing="xy"),
    "cartesian_prod": lambda x: gc.cartesian_prod(x[:, 0], x[:, 1]),
    "pad": lambda x: (pad(x, (1, 2, 3, 0)), pad(x, (0, 0, -1, 1)), pad(x, (0, 0, 1, 1), mode="reflect")),
    "pad-edges": lambda x: (pad(x, (0, 0, 2, 1), mode="replicate"), pad(x, (0, 0, 1, 2), mode="circular")),
    "zeros": lambda x: (gc.zeros(x.shape[0], 2), gc.ones_like(x), gc.full((x.shape[0],), 2.5), x.new_zeros(x.shape)),
    "arange": lambda x: (gc.arange(x.shape[0]), gc.arange(1, x.shape[0] + 3, 2), gc.arange(x.shape[0], dtype=gc.float32)),
    "linspace": lambda x: (gc.linspace(0, 1, x.shape[0]), gc.linspace(-1, 3, 2 * x.shape[0] + 1, dtype=gc.float64)),
    "eye": lambda x: (gc.eye(x.shape[0]), gc.eye(x.shape[0], 3)),
    "full-size": lambda x: gc.full((2,), x.shape[0]),
    "tensor": lambda x: (gc.tensor([[1, 2], [3, 4]]), gc.tensor([1.0, x.shape[0]]), gc.tensor([x[0, 0], 2])),
    "tensor-size": lambda x: (gc.tensor(x.shape[0]), gc.tensor([x.shape[0]]), gc.tensor(x.shape[0], dtype=gc.float32)),
    "matmul": lambda x: (x @ x.t(), x.t() @ x, x @ x[0], x[:, 0] @ x, x.unsqueeze(1) @ x[0]),
    "einsum": lambda x: (gc.einsum("ij,kj->ik", x, x), gc.einsum("ij,ij->i", x, x), gc.einsum("i...->...", x)),
    "products": lambda x: (gc.addmm(x[:, 0], x, x.t()), gc.outer(x[:, 0], x[0]), gc.inner(x, x), gc.kron(x, x[:1])),
    "tensordot": lambda x: (gc.tensordot(x, x, dims=([0], [0])), gc.functions.linalg.multi_dot([x, x.t(), x])),
    "squares": lambda x: (gc.matrix_power(x @ x.t(), 3), gc.matrix_power(x @ x.t(), 0), gc.trace(x @ x.t())),
    "cdist": lambda x: gc.cdist(x, x + 1.0),
    "vander": lambda x: gc.vander(x[:, 0], 3),
}  # fmt: skip


def record(code: Any, *shapes: Any) -> tuple[Program, Any]:
    recorder = Recorder()
    inputs = [symbolic(recorder, f"x{i}", TensorType(shape, float64), True) for i, shape in enumerate(shapes)]
    results = flat(run_recorded(recorder, code, *inputs))
    constants = [recorder.shadow(x)._data for x in results]
    held = [capture.value for capture in recorder.captures.values()]
    assert not held, "nothing concrete should be captured"
    return Program(recorder.table, tuple(x._data for x in inputs), tuple(constants)), results


@pytest.mark.parametrize("name", SAME)
def test_recorded_with_an_unknown_size(name: str) -> None:
    program, _ = record(SAME[name], (n, 6))
    for rows in (3, 5, 8):
        x = np.random.default_rng(rows).normal(size=(rows, 6))
        found = interpret(specialise(program, {"n": rows}), [x])
        expected = flat(SAME[name](gc.tensor(x)))
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            b = np.asarray(b)
            assert_close(a, b, n=64, scale=max(10.0, float(np.abs(b).max(initial=0))))


@pytest.mark.parametrize("name", SAME)
def test_gradients_recorded_with_an_unknown_size(name: str) -> None:
    def gradient(x: Any) -> Any:
        results = [r for r in flat(SAME[name](x)) if r.requires_grad]
        total = sum(((r * r).sum() for r in results), x.sum())
        total.backward()
        return x.grad

    program, _ = record(gradient, (n, 6))
    for rows in (3, 4):
        x = np.random.default_rng(rows).normal(size=(rows, 6))
        (found,) = interpret(specialise(program, {"n": rows}), [x])
        expected = gradient(gc.tensor(x, requires_grad=True))
        assert_close(found, expected, n=10_000, scale=float(np.abs(expected.numpy()).max()))


def test_zero_rows_work_where_the_shape_was_inferred_from_an_unknown() -> None:
    program, _ = record(lambda x: (x.view(-1, 6), x.flatten(1)), (n, 2, 3))
    found = interpret(specialise(program, {"n": 0}), [np.zeros((0, 2, 3))])
    assert [a.shape for a in found] == [(0, 6), (0, 6)]


def test_unknown_sizes_that_meet_become_one() -> None:
    _, (out,) = record(lambda x, y: gc.cat([x, y], 1), (n, 2), (m, 3))
    assert out.shape[1] == 5
    _, (out,) = record(lambda x, y: x.t() @ y, (n, 2), (m, 3))
    assert tuple(out.shape) == (2, 3)


@pytest.mark.parametrize(
    "code",
    [
        lambda x: x.unbind(0),
        lambda x: x.split(2, 0),
        lambda x: x.repeat_interleave(gc.tensor([1, 2, 3, 0, 0, 0]), 1),
        lambda x: gc.combinations(x[:, 0]),
    ],
)
def test_what_needs_the_number_says_so(code: Any) -> None:
    with pytest.raises(SymbolicError):
        record(code, (n, 6))


def test_wrong_shapes_are_refused_while_recording() -> None:
    with pytest.raises(ShapeError, match="invalid for input of size"):
        record(lambda x: x.reshape(4), (2, 3))
    with pytest.raises(ShapeError, match="inner sizes differ"):
        record(lambda x, y: x @ y, (n, 3), (4, n))
