"""Running folds as native code: along rows that are contiguous, rows side by side, in any memory order, step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conformance.cases import evaluated
from native_ops import check_samples, compiled, kinds
from tolerances import assert_close

import graphc as gc
from graphc.backends.llvm.backend import LlvmBackend, LlvmExecutable
from graphc.backends.llvm.pool import get_num_threads, set_num_threads
from graphc.core.op import REGISTRY, Cumulative, Op
from graphc.planning.steps import HostStep

OPS = [op for op in REGISTRY.values() if isinstance(op.kind, Cumulative)]
#: Shape and axis: one row, few long ones, many short ones, neighbours beside each other, rests of vectors, nothing.
CASES = [
    ((5000,), 0), ((3, 1000), 1), ((3, 1000), 0), ((70, 33), 1), ((70, 33), 0), ((5, 17, 40), 1), ((1, 1), 0), ((2, 1), 1),
    ((600, 5), 1), ((4, 0), 0), ((0, 4), 0), ((16,), 0), ((7, 3, 2, 65), 2),
]  # fmt: skip


def operands(op: Op, shape: tuple[int, ...], dtype: Any) -> list[Any]:
    rng = np.random.default_rng(len(shape))
    if np.dtype(dtype).kind == "i":
        return [rng.integers(-9, 9, shape).astype(dtype)]
    near_one = [rng.uniform(0.9, 1.1, shape).astype(dtype), rng.normal(size=shape).astype(dtype)]
    return (
        near_one if op.name == "linear_recurrence" else near_one[:1] if op.name == "cumulative_prod" else near_one[1:]
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("op", OPS, ids=str)
def test_samples_have_no_host_step_and_equal_eval(op: Op) -> None:
    check_samples(op)


@pytest.mark.parametrize("op", OPS, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int8])
def test_shapes(op: Op, dtype: Any) -> None:
    """Equal to NumPy, and to the last bit on any number of threads."""
    if np.dtype(dtype).kind == "i" and op.name in ("linear_recurrence", "cumulative_logsumexp"):
        return
    before = get_num_threads()
    for shape, axis in CASES:
        arrays, attrs = operands(op, shape, dtype), {"axis": axis}
        found = []
        for threads in (1, 3):
            set_num_threads(threads)
            found += [compiled(op, arrays, attrs)(arrays)[0] for _ in range(2)]
        (want,) = evaluated(op, arrays, attrs)
        assert_close(found[0], want, n=shape[axis])
        assert all(x.tobytes() == found[0].tobytes() for x in found)
    set_num_threads(before)


@pytest.mark.parametrize("op", [op for op in OPS if op.name != "linear_recurrence"], ids=str)
def test_nan_and_infinity_reach_all_that_follows_and_nothing_before(op: Op) -> None:
    for shape, axis in (((40, 50), 1), ((40, 50), 0), ((90,), 0)):
        x = np.full(shape, 0.5, np.float32)
        x[tuple(n // 2 for n in shape)] = np.nan
        x[tuple(n // 3 for n in shape)] = np.inf
        (want,) = evaluated(op, [x], {"axis": axis})
        assert_close(compiled(op, [x], {"axis": axis})([x])[0], want, n=50)


def test_what_is_around_them_is_read_in_place() -> None:
    """Operands that are views, reversed and computed; results that are reversed, outputs twice, parts of others, gradients."""
    x = gc.tensor(np.random.default_rng(0).uniform(0.5, 1.5, (6, 50)).astype(np.float32), requires_grad=True)

    def step(x: Any) -> Any:
        y = gc.cumsum(gc.flip(x * 2, (1,)).t(), 0)
        z = gc.cumprod(x[:, ::2], 1)
        loss = (y * 0.1).sum() + (z * z).sum() + gc.logcumsumexp(x, 0).sum() + gc.cummax(x, 1)[0].sum()
        return y, y.to(gc.float32), gc.cat([z, gc.cummin(x, 1)[0]], 1), loss, gc.autograd.grad(loss, x)[0]

    want, found = (gc.compile(step, backend=backend)(x) for backend in ("numpy", "llvm"))
    for a, b in zip(want, found, strict=True):
        np.testing.assert_allclose(b.detach().numpy(), a.detach().numpy(), rtol=3e-5, atol=1e-5)


def test_no_host_step_in_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[LlvmExecutable] = []
    compile_ = LlvmBackend.compile

    def kept(self: Any, *args: Any) -> LlvmExecutable:
        made.append(compile_(self, *args))
        return made[-1]

    monkeypatch.setattr(LlvmBackend, "compile", kept)
    x = gc.ones(3, 40, requires_grad=True)
    for function in (gc.cumsum, gc.cumprod, gc.logcumsumexp):
        run = gc.compile(lambda x, f=function: gc.autograd.grad(f(x, 1).sum(), x)[0], backend="llvm")
        assert run(x).shape == (3, 40)
    assert len(made) == 3 and not any(HostStep in kinds(executable) for executable in made)
