"""How results of eager code lie in memory, against PyTorch: on it depends what `view` takes and what a `reshape` shares."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc as gc

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity


def operand(order: tuple[int, ...], gaps: bool = False) -> np.ndarray:
    """f64[2, 3, 4] whose dimensions lie in this order."""
    data = np.random.default_rng(0).random((2, 3, 4)) + 0.1
    found = data.transpose(order).copy().transpose(np.argsort(order))
    if gaps:
        wide = np.zeros((2, 3, 8))
        wide[..., ::2] = found
        return wide[..., ::2]
    return found


OPERANDS = {
    "rows": operand((0, 1, 2)), "columns": operand((2, 1, 0)), "turned": operand((1, 0, 2)), "gaps": operand((0, 1, 2), True),
}  # fmt: skip

RESULTS: dict[str, Any] = {
    "elementwise": lambda m, x: (x + 1, x.exp(), x * x, x > 0.5, m.where(x > 0.5, x, 0.0), x.clamp(0.2, 0.5), x**2),
    "broadcast": lambda m, x: (x + m.ones(4, dtype=m.float64), x * m.ones(1, 3, 1, dtype=m.float64)),
    "copies": lambda m, x: (x.clone(), x.float(), x.to(m.float32), x.contiguous(), x.detach()),
    "expanded copies": lambda m, x: [f(x[:1].expand(5, 3, 4)) for f in (m.clone, lambda y: y.float(), lambda y: y + 1)],
    "folds": lambda m, x: (x.sum(0), x.sum(1), x.sum((0, 2)), x.mean(1), x.amax(1), x.var(0), x.argmax(1), x.norm(dim=1)),
    "kept folds": lambda m, x: (x.sum(0, keepdim=True).shape, x.logsumexp(1), x.std(2)),
    "running": lambda m, x: (x.cumsum(1), x.cumprod(0), x.logcumsumexp(2)),
    "products": lambda m, x: (x @ m.ones(4, 2, dtype=m.float64), x[0].t() @ x[1], m.einsum("abc,abd->acd", x, x)),
    "joined": lambda m, x: (m.cat([x, x], 1), m.stack([x, x]), x.repeat(2, 1, 1), x.roll(1, 1), x.repeat_interleave(2, 1)),
    "picked": lambda m, x: (x.index_select(1, m.tensor([0, 1])), x.gather(1, m.zeros(2, 3, 4, dtype=m.int64)), x[x > 0.5]),
    "written": lambda m, x: (x.scatter(1, m.zeros(2, 1, 4, dtype=m.int64), 1.0), x.index_add(1, m.tensor([0]), x[:, :1])),
    "views": lambda m, x: (x.transpose(0, 2), x.permute(1, 2, 0), x[:, 1:], x[..., ::2], x[0], x.movedim(0, 1)),
    "diagonals": lambda m, x: (x.diagonal(0, 0, 1), x.diagonal(1, 1, 2), x.transpose(0, 1).diagonal(-1, 0, 1)),
    "reshapes": lambda m, x: (x.reshape(6, 4), x.reshape(-1), x.reshape(2, 12), x.unflatten(2, (2, 2)), x.flatten(1)),
    "gradients": lambda m, x: [grad_of(m, x, f) for f in (m.exp, lambda w: w.transpose(0, 1) * 2, lambda w: w.sum(0))],
}  # fmt: skip


def grad_of(m: Any, x: Any, f: Any) -> Any:
    leaf = x.detach().requires_grad_()
    f(leaf).sum().backward()
    return leaf.grad


def lie(results: Any) -> list[Any]:
    """Shapes with their strides, but for dimensions of size 1, whose strides say nothing."""
    return [
        tuple(x) if not hasattr(x, "stride") else [(n, s) for n, s in zip(x.shape, x.stride(), strict=True) if n != 1]
        for x in results
    ]


@pytest.mark.parametrize("layout", OPERANDS)
@pytest.mark.parametrize("name", RESULTS)
def test_results_lie_as_pytorchs(name: str, layout: str) -> None:
    if name == "gradients" and layout == "gaps":
        pytest.skip("PyTorch lays the gradient of a leaf with gaps in rows")
    array = OPERANDS[layout]
    assert lie(RESULTS[name](gc, gc.from_numpy(array))) == lie(RESULTS[name](torch, torch.from_numpy(array)))


SHAPES = [(24,), (6, 4), (2, 12), (2, 3, 2, 2), (2, 1, 3, 4), (4, 6), (8, 3), (3, 8), (1, 24)]


@pytest.mark.parametrize("layout", OPERANDS)
def test_view_takes_the_shapes_pytorch_takes(layout: str) -> None:
    taken = 0
    for turn in (
        lambda x: x,
        lambda x: x.transpose(0, 1),
        lambda x: x.transpose(0, 2),
        lambda x: x + 1,
        lambda x: x.permute(1, 2, 0),
    ):
        mine, theirs = turn(gc.from_numpy(OPERANDS[layout])), turn(torch.from_numpy(OPERANDS[layout]))
        for shape in SHAPES:
            try:
                want = theirs.view(shape)
            except RuntimeError:
                with pytest.raises(RuntimeError, match="view size is not compatible"):
                    mine.view(shape)
                with pytest.raises(RuntimeError, match="view size is not compatible"):
                    gc.compile(lambda x: turn(x).view(shape))(gc.from_numpy(OPERANDS[layout]))  # noqa: B023
            else:
                assert lie([mine.view(shape)]) == lie([want])
                taken += 1
    assert taken >= 9
