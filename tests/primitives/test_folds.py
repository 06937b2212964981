"""Reductions, running folds and sort: infer agrees with eval, in-place forms with both, rules with finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.autodiff import pull_to, seeds_for
from graphc.core.dims import Dim
from graphc.core.op import Op
from graphc.core.tensor_types import TensorType, float32, int64, type_of_array
from graphc.functions.creation import from_array
from graphc.primitives import cumulative, reductions, sorting

FOLDS = [
    reductions.reduce_sum, reductions.reduce_prod, reductions.reduce_max, reductions.reduce_min, reductions.reduce_any,
    reductions.reduce_all, reductions.argmax, reductions.argmin,
]  # fmt: skip
RUNNING = [
    cumulative.cumulative_sum, cumulative.cumulative_prod, cumulative.cumulative_max, cumulative.cumulative_min,
    cumulative.cumulative_logsumexp, cumulative.linear_recurrence,
]  # fmt: skip
OPS = [*FOLDS, *RUNNING, sorting.sort]
SMOOTH = [op for op in OPS if op.vjp is not None]


def sampled(ops: list[Op], which: str = "samples") -> Any:
    return [pytest.param(op, s, id=f"{op.name}-{i}") for op in ops for i, s in enumerate(getattr(op, which)())]


def evaluated(op: Op, sample: Any) -> tuple[Any, ...]:
    with np.errstate(all="ignore"):
        out = op.eval(*sample.inputs, **sample.attrs)
    return tuple(np.asarray(part) for part in (out if op.n_outputs > 1 else (out,)))


@pytest.mark.parametrize(("op", "sample"), sampled(OPS))
def test_infer_equals_eval(op: Op, sample: Any) -> None:
    outs = evaluated(op, sample)
    types = op.output_types(*map(type_of_array, sample.inputs), **sample.attrs)
    assert tuple(map(type_of_array, outs)) == types
    hash(tuple(sample.attrs.items()))
    if op.inplace is not None:
        target = np.empty_like(outs[0])
        with np.errstate(all="ignore"):
            op.inplace(target, *sample.inputs, **sample.attrs)
        assert target.tobytes() == outs[0].tobytes()


@pytest.mark.parametrize(("op", "sample"), sampled(OPS, "errors"))
def test_refuses(op: Op, sample: Any) -> None:
    with pytest.raises(sample.error, match=sample.match):
        op.infer(*map(type_of_array, sample.inputs), **sample.attrs)


def first_output(op: Op, tensors: list[Any], attrs: Any) -> Any:
    return op(*tensors, **attrs)[0] if op.n_outputs > 1 else op(*tensors, **attrs)


def gradients(op: Op, arrays: list[Any], attrs: Any, seed: Any, probes: list[Any] | None = None) -> list[Any]:
    """The gradients of sum(seed * op(*arrays)); with `probes`, those of sum(probe * gradient)."""
    leaves = [from_array(a.copy()).requires_grad_(True) for a in arrays]
    out = first_output(op, leaves, attrs)
    found = pull_to(seeds_for([out], [from_array(seed)]), leaves, True, probes is not None)
    if probes is not None:
        live = [(g, p) for g, p in zip(found, probes, strict=True) if g is not None and g.requires_grad]
        if not live:
            return [np.zeros_like(a) for a in arrays]
        found = pull_to(seeds_for([g for g, _ in live], [from_array(p) for _, p in live]), leaves, True, False)
    return [np.zeros_like(a) if g is None else g.numpy() for g, a in zip(found, arrays, strict=True)]


def differences(value: Any, arrays: list[Any], step: float = 1e-6) -> list[Any]:
    """Central differences of `value(arrays)` by every element."""
    found = []
    for i, x in enumerate(arrays):
        slope = np.zeros_like(x)
        for at in np.ndindex(x.shape):
            ends = []
            for sign in (1, -1):
                moved = [a.copy() for a in arrays]
                moved[i][at] += sign * step
                ends.append(value(moved))
            slope[at] = (ends[0] - ends[1]) / (2 * step)
        found.append(slope)
    return found


@pytest.mark.parametrize(
    ("op", "sample"), [p for p in sampled(SMOOTH) if p.values[1].smooth and p.values[1].inputs[0].dtype == np.float64]
)
def test_rules_equal_finite_differences_twice(op: Op, sample: Any) -> None:
    arrays = [np.array(x) for x in sample.inputs]
    rng = np.random.default_rng(2)
    seed = rng.uniform(0.5, 1.5, evaluated(op, sample)[0].shape)
    probes = [rng.uniform(0.5, 1.5, a.shape) for a in arrays]

    def value(xs: list[Any]) -> float:
        out = op.eval(*xs, **sample.attrs)
        return float(np.sum(seed * (out[0] if op.n_outputs > 1 else out)))

    def slope(xs: list[Any]) -> float:
        return float(sum(np.sum(g * p) for g, p in zip(gradients(op, xs, sample.attrs, seed), probes, strict=True)))

    for got, want in zip(gradients(op, arrays, sample.attrs, seed), differences(value, arrays), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    second = gradients(op, arrays, sample.attrs, seed, probes)
    for got, want in zip(second, differences(slope, arrays), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_unknown_sizes_pass_through() -> None:
    n, m = Dim.named("n"), Dim.named("m")
    x = TensorType((n, 3, m), float32)
    assert reductions.reduce_sum.infer(x, axes=(0, 2)) == TensorType((3,), float32)
    assert reductions.reduce_max.infer(x, axes=(1,)) == TensorType((n, m), float32)
    assert reductions.argmax.infer(x, axis=2) == TensorType((n, 3), int64)
    assert cumulative.cumulative_sum.infer(x, axis=0) == x
    assert sorting.sort.infer(x, axis=2, descending=True, stable=True) == (x, x.with_dtype(int64))


def test_extremes_of_a_size_that_turns_out_to_be_zero() -> None:
    for op, attrs in ((reductions.reduce_max, {"axes": (0,)}), (reductions.argmin, {"axis": 0})):
        with pytest.raises(IndexError, match="non-zero size"):
            op.eval(np.zeros((0, 2)), **attrs)


def test_identities_change_nothing() -> None:
    for op in FOLDS[:6]:
        for sample in op.samples():
            x = np.asarray(sample.inputs[0])
            identity = np.asarray(op.kind.identity(type_of_array(x).dtype)).astype(x.dtype)
            wider = np.concatenate([np.full((1, *x.shape), identity, x.dtype), x[None]])
            with np.errstate(all="ignore"):
                np.testing.assert_array_equal(op.eval(wider, axes=(0,)).astype(float), x.astype(float))


def test_long_float32_columns_are_added_in_blocks() -> None:
    x = np.full((1 << 18, 2), 0.1, np.float32)
    np.testing.assert_allclose(reductions.reduce_sum.eval(x, axes=(0,)), 0.1 * (1 << 18), rtol=1e-5)
    x = np.arange(3 * 517 * 5, dtype=np.float64).reshape(3, 517, 5)
    for axes in ((1,), (0, 1), (1, 2), (0, 2)):
        np.testing.assert_allclose(reductions.reduce_sum.eval(x, axes=axes), x.sum(axis=axes), rtol=1e-14)


def test_ties_of_a_running_maximum_go_to_the_last_place() -> None:
    x = gc.tensor([1.0, 3.0, 3.0, 2.0], requires_grad=True)
    cumulative.cumulative_max(x, axis=0).sum().backward()
    assert x.grad.tolist() == [1.0, 1.0, 2.0, 0.0]
