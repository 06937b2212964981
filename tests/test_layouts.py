"""Recorded tensors lie in memory as those of eager code do: views, copies, refusals and writes come out alike."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from where import here, keeps_memory_order

import graphc as gc
from graphc.core.context import STATE
from graphc.core.errors import ShapeError
from graphc.core.op import REGISTRY, Elementwise, View
from graphc.layouts import in_rows, kept_order, packed, reshaped
from tests.fuzz.generator import generate
from tests.fuzz.runner import Stage, tensors_of

REFUSED = "view size is not compatible"


def moved(array: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
    """A copy whose dimensions lie in this order, the outermost first."""
    return array.transpose(order).copy().transpose(np.argsort(order).astype(int))


def in_order(shape: tuple[int, ...], order: tuple[int, ...], dtype: Any = np.float64) -> np.ndarray:
    """Distinct numbers whose dimensions lie in this order."""
    return moved(np.arange(1, 1 + np.prod(shape, dtype=int), dtype=dtype).reshape(shape), order)


def with_gaps(shape: tuple[int, ...]) -> np.ndarray:
    """Distinct numbers, every second element in memory."""
    wide = np.zeros((*shape[:-1], 2 * shape[-1]))
    wide[..., ::2] = in_order(shape, tuple(range(len(shape))))
    return wide[..., ::2]


def layouts(shape: tuple[int, ...]) -> list[np.ndarray]:
    """Arrays of one shape that lie in every order of dimensions, and one with gaps."""
    return [*(in_order(shape, order) for order in itertools.permutations(range(len(shape)))), with_gaps(shape)]


def steps(array: np.ndarray) -> tuple[int, ...]:
    return tuple(s // array.itemsize for s in array.strides)


# --- the rules against NumPy ------------------------------------------------------------------------------------------


def splits(count: int) -> list[tuple[int, ...]]:
    """Shapes of that many elements."""
    found = [(count,)]
    for n in range(1, count + 1):
        if count % n == 0:
            found += [(n, count // n)] + [(n, m, count // n // m) for m in (1, 2, 3) if count // n % m == 0]
    return found


@pytest.mark.parametrize("shape", [(2, 3, 4), (4, 1, 3), (1, 6), (2, 2, 2, 3), (12,), (), (0, 3)])
def test_a_reshape_shares_memory_where_numpys_does(shape):
    arrays = [*layouts(shape)] if shape else [np.ones(())]
    arrays += [a[::-1] for a in arrays if a.ndim] + [
        np.broadcast_to(a[:1], a.shape) for a in arrays if a.ndim and a.size
    ]
    shared = 0
    for array in arrays:
        for new in splits(array.size) if array.size else [(0,), (3, 0)]:
            found = reshaped(shape, steps(array), new)
            try:
                want = np.reshape(array, new, copy=False)
            except ValueError:
                assert found is None, (steps(array), new)
                continue
            assert found is not None, (steps(array), new)
            shared += 1
            if array.size:
                assert [s for s, n in zip(found, new, strict=True) if n != 1] == [
                    s for s, n in zip(steps(want), new, strict=True) if n != 1
                ]
        assert in_rows(shape, steps(array)) == array.flags.c_contiguous
    assert shared


ELEMENTWISE = [op for op in REGISTRY.values() if isinstance(op.kind, Elementwise)]


@pytest.mark.parametrize("op", ELEMENTWISE, ids=lambda op: op.name)
def test_an_elementwise_result_lies_as_told(op):
    for sample in op.samples():
        variants = []
        for x in map(np.asarray, sample.inputs):
            found = [moved(x, order) for order in itertools.permutations(range(x.ndim))]
            found += (
                [np.broadcast_to(x[:1], x.shape), np.broadcast_to(x[..., :1], x.shape)] if x.ndim and x.size else []
            )
            variants.append(found)
        for operands in itertools.islice(itertools.product(*variants), 12):
            with np.errstate(all="ignore"):
                out = np.asarray(op.eval(*operands, **sample.attrs))
            dtypes = tuple(x.dtype for x in operands)
            order = kept_order(op, tuple(sample.attrs.items()), dtypes, *[(x.shape, steps(x)) for x in operands])
            want = packed(out.shape, order)
            assert out.size == 0 or all(
                a == b for a, b, n in zip(want, steps(out), out.shape, strict=True) if n != 1
            ), [steps(x) for x in operands]


OTHERS = [op for op in REGISTRY.values() if not isinstance(op.kind, Elementwise | View) and op.n_outputs != -1]


@pytest.mark.parametrize("op", OTHERS, ids=lambda op: op.name)
def test_any_other_result_lies_in_rows(op):
    for sample in op.samples():
        operands = [here(np.array(x, order="F")) for x in sample.inputs]
        found = op(*operands, **sample.attrs)
        assert all(x.is_contiguous() for x in (found if isinstance(found, tuple) else (found,)))


# --- whole programs ---------------------------------------------------------------------------------------------------


def noted(tensor: Any) -> Any:
    """Shape and strides as numbers, also while recording; strides along dimensions of size 1 mean nothing."""
    number = int if STATE.recorder is None else STATE.recorder.layouts.number
    shape = tuple(map(number, tensor.shape))
    strides = tuple(number(s) for n, s in zip(shape, tensor.stride(), strict=True) if n != 1)
    return (shape, 0) if 0 in shape else (shape, strides, tensor.is_contiguous())


def noting(program: Any, stage: Stage, seen: list[Any]) -> Any:
    """The program as a function that also notes where each of its values lies, as soon as it is made."""
    states = {leaf.name: state for leaf, state in zip(program.states, stage.states, strict=True)}
    lines = [f"def program({', '.join(leaf.name for leaf in program.arguments)}):"]
    for step in program.steps:
        lines += ["    " + line for line in step.text.splitlines()]
        if step.targets:
            lines.append(f"    note({', '.join(step.targets)})")
    lines.append(f"    return ({', '.join(program.outputs)},)")
    note = {"note": lambda *tensors: seen.append([noted(x) for x in tensors])}
    space: dict[str, Any] = {"gc": gc, "F": gc.nn.functional, **note, **states}
    exec("\n".join(lines), space)
    return space["program"]


@keeps_memory_order
@pytest.mark.parametrize("first", range(300, 480, 20))
def test_random_programs_lie_in_memory_as_in_eager_code(first):
    for program in map(generate, range(first, first + 20)):
        stage, seen = Stage(program), []
        plain = noting(program, stage, seen)
        compiled = gc.compile(plain)
        for k in (0, 1):
            runs = []
            for run in (plain, compiled):
                stage.reset()
                seen.clear()
                run(*tensors_of(program.arguments, k))
                runs.append(list(seen))
            eager, told = runs
            assert not told or told[-len(eager) :] == eager, f"{program}\nfeed {k}"


def both(fn, *arrays):
    """What eager and compiled code return for fresh arguments, and leave in them."""
    outcomes = []
    for run in (fn, gc.compile(fn)):
        given = [here(a.copy(order="K") if a.flags.forc else with_gaps(a.shape)) for a in arrays]
        out = run(*given)
        outcomes.append([x.detach().numpy().copy() for x in (out, *given)])
    return outcomes


def assert_alike(fn, *arrays):
    for a, b in zip(*both(fn, *arrays), strict=True):
        np.testing.assert_array_equal(a, b)


def halve_every_other(x):
    x.reshape(-1)[::2].mul_(0.5)
    return x * 1


@pytest.mark.parametrize(
    "write",
    [
        lambda x: x.transpose(0, 1).reshape(-1)[::2].mul_(0.5),
        lambda x: x.transpose(0, 2).reshape(-1)[::2].mul_(0.5),
        lambda x: x.transpose(1, 2).contiguous()[0].zero_(),
        lambda x: x.flatten(1)[0].zero_(),
        lambda x: gc.ravel(x).fill_(2),
        lambda x: (x + 1).transpose(0, 1).reshape(-1).add_(x.reshape(-1)),
        lambda x: x[:, 0].reshape(-1)[1:].neg_(),
        lambda x: x[..., None].reshape(-1, 4)[1].neg_(),
    ],
)
@pytest.mark.parametrize("layout", [*range(5), pytest.param(5, marks=keeps_memory_order), 6])
def test_a_write_reaches_what_it_reaches_in_eager_code(write, layout):
    def fn(x):
        y = x * 2
        write(x)
        write(y)
        return y

    assert_alike(fn, layouts((2, 3, 4))[layout])


def view_of(x):
    return x.transpose(0, -1).view(-1)


@pytest.mark.parametrize("layout", range(7))
def test_view_is_refused_where_eager_code_refuses_it(layout):
    array = layouts((2, 3, 4))[layout]
    compiled = gc.compile(view_of)
    try:
        want = view_of(here(array))
    except ShapeError:
        for _ in range(2):
            with pytest.raises(ShapeError, match=REFUSED):
                compiled(here(array))
        return
    np.testing.assert_array_equal(compiled(here(array)).numpy(), want.numpy())


def test_programs_that_random_tests_found():
    def first(x, y):
        v = y.transpose(2, 0)
        v.view(-1)[::2].mul_(x)
        return v * 1

    def second(x):
        x.transpose(1, 2).view(-1)[::2].mul_(0.5)
        return x * 1

    assert_alike(first, np.array(2.0), in_order((3, 4, 3), (2, 1, 0)))
    assert_alike(second, in_order((1, 4, 5), (2, 1, 0)))


# --- builds -----------------------------------------------------------------------------------------------------------


def test_one_build_serves_every_layout_where_none_matters():
    compiled = gc.compile(lambda x: (x * 2).reshape(-1) + x.flatten())
    for array in layouts((2, 3)):
        np.testing.assert_array_equal(compiled(here(array)).numpy(), 3 * array.reshape(-1))
    assert len(compiled.recompiles) == 1


@keeps_memory_order
def test_a_build_is_kept_for_each_layout_that_matters():
    compiled = gc.compile(halve_every_other)
    for _ in range(2):
        for array in layouts((2, 3)):
            assert_same_writes(compiled, array)
    assert len(compiled.recompiles) == 3
    assert compiled.recompiles[1].argument == "memory layout of x"
    assert (compiled.recompiles[1].old, compiled.recompiles[1].new) == ("row by row", "dimensions in the order (1, 0)")
    assert compiled.recompiles[2].new == "strides (48, 16)"


def assert_same_writes(compiled, array):
    mine, theirs = (here(array.copy(order="K") if array.flags.forc else with_gaps(array.shape)) for _ in "ab")
    np.testing.assert_array_equal(compiled(mine).numpy(), halve_every_other(theirs).numpy())
    np.testing.assert_array_equal(mine.numpy(), theirs.numpy())


def test_layouts_are_followed_with_sizes_left_open():
    compiled = gc.compile(halve_every_other)
    for shape in ((2, 3), (4, 5), (3, 3), (2, 7), (1, 4), (5, 1), (6, 2), (1, 1)):
        for order in ((0, 1), (1, 0)):
            assert_same_writes(compiled, in_order(shape, order))
    count = len(compiled.recompiles)
    for n in range(8, 20):
        for order in ((0, 1), (1, 0)):
            assert_same_writes(compiled, in_order((n, n + 2), order))
    assert len(compiled.recompiles) == count


def test_known_sizes_may_lie_at_unknown_distances():
    def fn(x):
        column = x[:, 1] * 2
        column.reshape(-1, 1).add_(x[:, :1])
        return column

    compiled = gc.compile(fn, dynamic=True)
    for n in (3, 5):
        x = here(in_order((2, n), (0, 1)))
        np.testing.assert_array_equal(compiled(x).numpy(), fn(x).numpy())


@keeps_memory_order
def test_an_argument_with_gaps_is_built_for_its_sizes():
    compiled = gc.compile(halve_every_other)
    for _ in range(2):
        for n in (3, 4, 5):
            assert_same_writes(compiled, with_gaps((2, n)))
    assert len(compiled.recompiles) == 3


def test_sizes_that_happen_to_fit_are_another_build():
    def fn(x):
        y = x.t().reshape(x.shape[0], x.shape[1])
        y.mul_(2)
        return y

    compiled = gc.compile(fn)
    for shape in ((2, 3), (4, 5), (3, 3), (1, 6), (5, 4), (7, 7)):
        a, b = (here(in_order(shape, (0, 1))) for _ in "ab")
        np.testing.assert_array_equal(compiled(a).numpy(), fn(b).numpy())
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=str(shape))


def test_a_captured_tensor_that_comes_to_lie_otherwise():
    state = gc.zeros(2, 3)

    def fn():
        state.t().reshape(-1)[0].add_(1)
        return state * 1

    compiled = gc.compile(fn)
    for order in ((0, 1), (1, 0), (0, 1)):
        state.data = here(in_order((2, 3), order))
        before = state.numpy().copy()
        compiled()
        after = state.numpy().copy()
        state.data = here(before.copy() if order == (0, 1) else np.asfortranarray(before))
        fn()
        np.testing.assert_array_equal(after, state.numpy())
    assert len(compiled.recompiles) >= 2


def test_a_branch_on_the_layout_is_taken_for_each():
    compiled = gc.compile(lambda x: x * 2 if x.is_contiguous() else x * 3)
    strides = gc.compile(lambda x: x * x.stride(0))
    for order, factor, step in (((0, 1), 2, 3), ((1, 0), 3, 1)):
        x = here(in_order((2, 3), order))
        np.testing.assert_array_equal(compiled(x).numpy(), x.numpy() * factor)
        np.testing.assert_array_equal(strides(x).numpy(), x.numpy() * step)


def test_contiguous_gives_the_tensor_itself_or_a_copy():
    def fn(x):
        x.contiguous().zero_()
        return x * 1

    for array in layouts((2, 3)):
        assert_alike(fn, array)


def test_a_placeholder_lies_in_rows():
    with gc.Graph().as_default():
        x = gc.placeholder((None, 3), name="x")
        assert x.view(-1)._base is not None
        assert x.is_contiguous() and not x.t().is_contiguous() and x.stride(1) == 1
        with pytest.raises(ShapeError, match=REFUSED):
            x.t().view(-1)


# --- eager code -------------------------------------------------------------------------------------------------------


def test_a_gradient_lies_as_its_leaf_does():
    for use in (lambda w: gc.ones(2, 4) @ w.t(), lambda w: w.sum(0).exp(), lambda w: w.t().exp(), lambda w: w * 1):
        for order in ((0, 1), (1, 0)):
            w = here(in_order((3, 4), order, np.float32)).requires_grad_()
            use(w).sum().backward()
            assert w.grad.stride() == w.stride()


def test_a_copy_of_an_expanded_tensor_lies_in_rows():
    wide = gc.ones(1, 3, 4).expand(5, 3, 4)
    for copied in (wide.clone(), wide.double(), wide * 2):
        assert copied.is_contiguous() and copied.view(-1).shape == (60,)


def test_indexing_a_view_sees_what_was_written_to_its_base():
    x = gc.ones(3, requires_grad=True)
    base = gc.zeros(3)
    view = base.view(-1)
    base.copy_(x * 2)
    for part in (view[:1], view[0], view[1:2]):
        assert part.requires_grad
    view[:2].sum().backward()
    assert x.grad.tolist() == [2, 2, 0]
    for refused in (lambda v: v.numpy(), lambda v: np.asarray(v)):
        other, base = gc.zeros(3), x * 1
        stale = other.view(-1)
        other.copy_(base)
        with pytest.raises(gc.errors.GradientError, match="numpy"):
            refused(stale)


def test_a_write_through_a_broadcast_of_assumed_sizes():
    def fn(x):
        y = gc.cat([x, x], 1)[:, 1::2]
        gc.broadcast_tensors(x, y)[0].add_(1)
        return x * 1

    compiled = gc.compile(fn)
    for n in (3, 5, 4):
        a, b = (here(in_order((3, n), (0, 1))) for _ in "ab")
        np.testing.assert_array_equal(compiled(a).numpy(), fn(b).numpy())
        np.testing.assert_array_equal(a.numpy(), b.numpy())
