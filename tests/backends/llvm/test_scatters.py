"""Scatters as native code: samples, random places, the same bits every time, indices tested before anything is written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from conformance.cases import evaluated
from native_ops import check_samples, compiled, kinds
from tolerances import assert_close

import graphc as gc
from graphc import nn
from graphc.backends.llvm.backend import LlvmBackend, LlvmExecutable
from graphc.backends.llvm.pool import get_num_threads, set_num_threads
from graphc.core.op import REGISTRY, Op, Scatter
from graphc.planning.steps import HostStep, ScatterStep

OPS = [op for op in REGISTRY.values() if isinstance(op.kind, Scatter)]
INDEX_PUT, SCATTER, SCATTER_ADD = (REGISTRY[name] for name in ("index_put", "scatter", "scatter_add"))


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """As many threads afterwards as before."""
    before = get_num_threads()
    yield
    set_num_threads(before)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("op", OPS, ids=str)
def test_samples_have_no_host_step_and_equal_eval(op: Op) -> None:
    check_samples(op)


def numbers(rng: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    if dtype is bool:
        return rng.random(shape) < 0.3
    return (
        rng.integers(-99, 99, shape).astype(dtype)
        if np.dtype(dtype).kind in "iu"
        else rng.normal(size=shape).astype(dtype)
    )


def rows_case(rng: Any, dtype: Any, rows: int, columns: tuple[int, ...], n: tuple[int, ...], accumulate: bool) -> Any:
    arrays = [numbers(rng, (rows, *columns), dtype), numbers(rng, (*n, *columns), dtype), rng.integers(-rows, rows, n)]
    return INDEX_PUT, arrays, {"axes": (0,), "accumulate": accumulate}


def random_case(rng: Any) -> tuple[Op, list[Any], dict[str, Any]]:
    """Any scatter: few places for many values, or many for few; rows of one vector, several, none whole."""
    dtype = rng.choice([np.float32, np.float64, np.int8, np.int64, np.float16, bool])
    shape = tuple(int(rng.choice([1, 2, 3, 17, 70])) for _ in range(rng.integers(1, 4)))
    axis = int(rng.integers(len(shape)))
    if rng.random() < 0.5:
        taken = tuple(
            int(rng.choice([1, 5, 300])) if i == axis else int(rng.integers(1, n + 1)) for i, n in enumerate(shape)
        )
        index = rng.integers(-shape[axis], shape[axis], taken)
        arrays = [numbers(rng, shape, dtype), index, numbers(rng, taken, dtype)]
        return (SCATTER_ADD if rng.random() < 0.6 else SCATTER), arrays, {"axis": axis}
    axes = tuple(sorted({axis, int(rng.integers(len(shape)))}))
    common = tuple(int(rng.choice([1, 4, 100])) for _ in range(rng.integers(0, 3)))
    indices = [rng.integers(-shape[a], shape[a], common) for a in axes]
    attrs = {"axes": axes, "accumulate": bool(rng.random() < 0.6)}
    value = np.empty(REGISTRY["index"].eval(np.empty(shape), *indices, axes=axes).shape)
    return INDEX_PUT, [numbers(rng, shape, dtype), numbers(rng, value.shape, dtype), *indices], attrs


def check(op: Op, arrays: Any, attrs: Any) -> None:
    """Equal to NumPy, and to itself on any number of threads."""
    arrays = [np.asarray(x) for x in arrays]
    found = []
    for n in (1, 2, 5):
        set_num_threads(n)
        executable = compiled(op, arrays, attrs)
        assert HostStep not in kinds(executable)
        found += [executable(arrays)[0] for _ in range(2)]
    (want,) = evaluated(op, arrays, attrs)
    assert_close(found[0], want, n=max(x.size for x in arrays))
    assert all(x.tobytes() == found[0].tobytes() for x in found)


@pytest.mark.parametrize("seed", range(40))
def test_random_places(seed: int) -> None:
    check(*random_case(np.random.default_rng(seed)))


@pytest.mark.parametrize(
    ("rows", "columns", "n"),
    [
        (96, (64,), (32, 32)), (5, (100,), (3000,)), (1, (33,), (700,)), (4000, (768,), (50,)), (300, (2, 3, 5), (40, 7)),
        (50, (), (9000,)), (7, (16,), (0,)), (7, (0,), (5,)), (0, (4,), (0,)), (3, (1,), (513,)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_rows(rows: int, columns: tuple[int, ...], n: tuple[int, ...], dtype: Any) -> None:
    for accumulate in (True, False):
        check(*rows_case(np.random.default_rng(rows), dtype, rows, columns, n, accumulate))


def test_halves_add_up_in_float32() -> None:
    ones = np.ones((5000, 3), np.float16)
    found = compiled(SCATTER_ADD, [ones[:2], np.zeros((5000, 3), np.int64), ones], {"axis": 0})(
        [ones[:2], np.zeros((5000, 3), np.int64), ones]
    )
    np.testing.assert_array_equal(found[0], [[5000] * 3, [1] * 3])  # 2048 + 1 is 2048 in float16


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[LlvmExecutable]:
    """What the backend compiles."""
    found: list[LlvmExecutable] = []
    compile_ = LlvmBackend.compile

    def kept(self: Any, *args: Any) -> LlvmExecutable:
        found.append(compile_(self, *args))
        return found[-1]

    monkeypatch.setattr(LlvmBackend, "compile", kept)
    return found


def embedding_step(backend: str) -> tuple[Any, Any]:
    gc.manual_seed(0)
    embed, head = nn.Embedding(50, 20, padding_idx=3), nn.Linear(20, 7)
    optimizer = gc.optim.Adam([*embed.parameters(), *head.parameters()], lr=0.01)

    def step(ids: Any, target: Any) -> Any:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(head(embed(ids)).mean(1), target)
        loss.backward()
        optimizer.step()
        return loss

    return gc.compile(step, backend=backend), embed


def test_the_gradient_of_an_embedding_is_native(made: list[LlvmExecutable]) -> None:
    rng = np.random.default_rng(0)
    ids, target = gc.tensor(rng.integers(0, 50, (6, 30))), gc.tensor(rng.integers(0, 7, 6))
    weights = []
    for backend in ("numpy", "llvm"):
        step, embed = embedding_step(backend)
        for _ in range(5):
            step(ids, target)
        weights.append(embed.weight.detach().numpy())
    np.testing.assert_allclose(weights[1], weights[0], atol=2e-5)
    steps = set().union(*map(kinds, made))
    assert ScatterStep in steps and HostStep not in steps
    assert "  scatter index_put\n" in made[0].plan.text


def test_a_bad_index_changes_nothing(made: list[LlvmExecutable]) -> None:
    step, embed = embedding_step("llvm")
    ids, target = gc.zeros(6, 30, dtype=gc.int64), gc.zeros(6, dtype=gc.int64)
    step(ids, target)
    before = embed.weight.detach().numpy().copy()
    for bad in (50, -51):
        ids[2, 3] = bad
        with pytest.raises(IndexError, match=f"index {bad} is out of bounds"):
            step(ids, target)
    np.testing.assert_array_equal(embed.weight.detach().numpy(), before)


def test_a_buffer_is_written_where_it_is(made: list[LlvmExecutable]) -> None:
    """No copy, and after all tests of indices; a bad index leaves it alone."""
    buffer = gc.zeros(1000, 8)

    def put(at: Any, rows: Any) -> Any:
        buffer.index_add_(0, at, rows)
        return rows.sum()

    run = gc.compile(put, backend="llvm")
    run(gc.tensor([3, 3, -1]), gc.ones(3, 8))
    want = np.zeros((1000, 8))
    want[3], want[-1] = 2, 1
    np.testing.assert_array_equal(buffer.numpy(), want)
    text = made[0].plan.text
    assert "scatter index_put\n    f32[1000, 8] -> input" in text and "copy" not in text
    assert made[0].plan.arena_bytes < 1000
    with pytest.raises(IndexError):
        run(gc.tensor([3, 3, 1000]), gc.ones(3, 8))
    np.testing.assert_array_equal(buffer.numpy(), want)


def test_a_buffer_that_is_read_in_the_same_run() -> None:
    """Values from the buffer itself, old values returned, two writes in a row."""
    for backend in ("numpy", "llvm"):
        buffer = gc.arange(12.0).reshape(4, 3)

        def put(at: Any, buffer: Any = buffer) -> Any:
            old = buffer * 1.0
            buffer.index_add_(0, at, buffer[at] * 2)
            buffer.index_copy_(0, at[:1], buffer[at[1:2]])
            return old, buffer.sum()

        old, total = gc.compile(put, backend=backend)(gc.tensor([1, 2, 1]))
        want = np.arange(12.0).reshape(4, 3)
        np.testing.assert_array_equal(old.numpy(), want)
        want[1], want[2] = want[1] * 5, want[2] * 3
        want[1] = want[2]
        np.testing.assert_array_equal(buffer.numpy(), want)
        assert float(total) == want.sum()


def test_several_gradients_of_one_table_share_memory(made: list[LlvmExecutable]) -> None:
    """Two look-ups: the second scatter goes on in the memory of the first."""
    table = nn.Parameter(gc.ones(40, 16))

    def gradient(a: Any, b: Any) -> Any:
        loss = (table[a] * 2).sum() + (table[b] * 3).sum()
        return gc.autograd.grad(loss, table)[0] * 1.5

    found = gc.compile(gradient, backend="llvm")(gc.tensor([0, 0, 5]), gc.tensor([0, 7]))
    want = np.zeros((40, 16))
    want[[0, 5, 7]] = [[4 + 3], [2], [3]]
    np.testing.assert_array_equal(found.numpy(), want * 1.5)
    assert not any(HostStep in kinds(executable) for executable in made)


def test_what_begins_a_scatter_is_not_done_after_it() -> None:
    """One kernel makes new contents of a parameter, which may wait for the end of the run, and sums that may not."""
    for backend in ("numpy", "llvm"):
        weight = gc.arange(24.0).reshape(8, 3)

        def step(at: Any, more: Any, weight: Any = weight) -> Any:
            sums = weight.sum(1)
            weight.mul_(0.5)
            return sums.index_add(0, at, more)

        found = gc.compile(step, backend=backend)(gc.tensor([1, 1, -1]), gc.tensor([10.0, 20.0, 30.0]))
        want = np.arange(24.0).reshape(8, 3).sum(1)
        want[1], want[-1] = want[1] + 30, want[-1] + 30
        np.testing.assert_array_equal(found.numpy(), want)
        np.testing.assert_array_equal(weight.numpy(), np.arange(24.0).reshape(8, 3) / 2)


def test_a_scatter_that_is_two_outputs() -> None:
    def twice(x: Any, at: Any) -> Any:
        y = x.index_add(0, at, x[at])
        return y, y.to(gc.float32), y.index_add(0, at, y[at] * 2)

    x, at = np.arange(12, dtype=np.float32).reshape(4, 3), np.array([3, 3])
    found = gc.compile(twice, backend="llvm")(gc.tensor(x), gc.tensor(at))
    want = x * [[1], [1], [1], [3]]
    for y, factor in zip(found, (1, 1, 5), strict=True):
        np.testing.assert_array_equal(y.numpy(), want * [[1], [1], [1], [factor]])
