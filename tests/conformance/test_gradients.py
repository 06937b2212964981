"""Every op's rules: equal to finite differences, twice; the same in every float dtype; reading what `saves` says, no more
and no less."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from conformance.cases import (
    OPS,
    cotangents,
    evaluated,
    gradients,
    has_no_gradient,
    is_float,
    parts,
    sampled,
    tensors_of,
    terms,
    types_of,
    wanted_inputs,
)  # fmt: skip
from tolerances import assert_close, assert_slope

import graphc as gc
from graphc.core.context import SLOTS
from graphc.core.op import OUT, Joint, Op, Sample
from graphc.core.tape import TypeOnly, positions_saved
from graphc.core.tensor_types import FLOAT

#: Ops whose gradient cannot be differentiated again, with what they say.
ONCE_ONLY = {"while_loop": "cannot be differentiated again"}

#: (op, operand) that is saved and not read, with the reason.
SAVED_UNREAD = {("scan", 0): "the first carry, one step's worth: how many carries there are is an attribute"}

#: Smooth samples keep their distance from kinks: 2 * STEP is less.
STEP = 1e-3


def in_doubles(op: Op, sample: Sample) -> bool:
    """Whether finite differences say something about this sample."""
    wanted = wanted_inputs(op, sample)
    floats = [x.dtype for x in sample.inputs if is_float(x)] + [c.dtype for c in cotangents(op, sample)]
    return bool(wanted) and sample.smooth and all(d == np.float64 for d in floats)


def directions(arrays: Sequence[Any]) -> list[Any]:
    """A direction for each array, of no small element."""
    rng = np.random.default_rng(11)
    return [np.asarray(rng.uniform(0.5, 1.0, x.shape) * rng.choice([-1.0, 1.0], x.shape)) for x in arrays]


def difference(f: Callable[[Sequence[Any]], float], arrays: Sequence[Any], i: int, direction: Any) -> float:
    """The derivative of f along a direction of array i: central differences of fourth order."""

    def at(t: float) -> float:
        return f([np.asarray(x + t * STEP * direction) if k == i else x for k, x in enumerate(arrays)])

    return (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * STEP)


def inner(xs: Sequence[Any], ys: Sequence[Any]) -> float:
    return float(sum(np.sum(x * y) for x, y in zip(xs, ys, strict=True)))


@pytest.mark.parametrize(("op", "sample"), sampled(keep=in_doubles))
def test_rules_equal_finite_differences(op: Op, sample: Sample) -> None:
    seeds = cotangents(op, sample)
    found = gradients(op, sample, sample.inputs, seeds)

    def value(arrays: Sequence[Any]) -> float:
        return inner([y for y in evaluated(op, arrays, sample.attrs) if is_float(y)], seeds)

    along = directions(sample.inputs)
    for i, g in zip(wanted_inputs(op, sample), found, strict=True):
        assert g.dtype == np.float64 and g.shape == sample.inputs[i].shape
        slope = difference(value, sample.inputs, i, along[i])
        assert_slope(inner([g], [along[i]]), slope, float(np.sum(np.abs(g))), 1, f"input {i}")


def pulled_twice(
    op: Op, sample: Sample, arrays: Sequence[Any], seeds: Sequence[Any], probes: Sequence[Any]
) -> list[Any]:
    """The gradient of <probes, gradient> with respect to the wanted inputs and the cotangents."""
    wanted = wanted_inputs(op, sample)
    tensors, cots = tensors_of(arrays, wanted), tensors_of(seeds, range(len(seeds)))
    outputs = [y for y in parts(op, op(*tensors, **sample.attrs)) if is_float(y)]
    xs = [tensors[i] for i in wanted]
    first = gc.autograd.grad(outputs, xs, cots, create_graph=True, materialize_grads=True)
    live = [(g, p) for g, p in zip(first, tensors_of(probes, ()), strict=True) if g.requires_grad]
    if not live:
        return [np.zeros(x.shape) for x in (*xs, *cots)]
    found = gc.autograd.grad([g for g, _ in live], [*xs, *cots], [p for _, p in live], materialize_grads=True)
    return [g.numpy() for g in found]


@pytest.mark.parametrize(("op", "sample"), sampled(keep=in_doubles))
def test_rules_of_rules_equal_finite_differences(op: Op, sample: Sample) -> None:
    wanted, seeds = wanted_inputs(op, sample), cotangents(op, sample)
    probes = [np.asarray(d) for d in directions([sample.inputs[i] for i in wanted])]
    if op.name in ONCE_ONLY:
        with pytest.raises(gc.errors.GradientError, match=ONCE_ONLY[op.name]):
            pulled_twice(op, sample, sample.inputs, seeds, probes)
        return
    found = pulled_twice(op, sample, sample.inputs, seeds, probes)

    def slope_along_probes(arrays: Sequence[Any]) -> float:
        operands, cots = arrays[: len(sample.inputs)], arrays[len(sample.inputs) :]
        return inner(gradients(op, sample, operands, cots), probes)

    both = [*sample.inputs, *seeds]
    along = directions(both)
    for i, g in zip([*wanted, *range(len(sample.inputs), len(both))], found, strict=True):
        assert g.dtype == np.float64 and g.shape == both[i].shape
        slope = difference(slope_along_probes, both, i, along[i])
        assert_slope(inner([g], [along[i]]), slope, float(np.sum(np.abs(g))), 2, f"operand {i}")


def narrow(op: Op, sample: Sample) -> bool:
    """A smooth sample in a dtype too coarse for finite differences; bodies are typed, so control ops cannot be widened."""
    floats = [x for x in sample.inputs if is_float(x)]
    plain = getattr(op.kind, "name", "") != "control"
    return plain and sample.smooth and bool(wanted_inputs(op, sample)) and any(x.dtype != np.float64 for x in floats)


@pytest.mark.parametrize(("op", "sample"), sampled(keep=narrow))
def test_gradients_of_narrow_floats_are_those_of_float64(op: Op, sample: Sample) -> None:
    seeds = cotangents(op, sample)
    found = gradients(op, sample, sample.inputs, seeds)
    wider = [x.astype(np.float64) if is_float(x) else x for x in sample.inputs]
    types = op.output_types(*types_of(wider), **sample.attrs)
    wide_seeds = [
        s.astype(t.dtype.np) for s, t in zip(seeds, (t for t in types if t.dtype.category == FLOAT), strict=True)
    ]
    for i, got, want in zip(wanted_inputs(op, sample), found, gradients(op, sample, wider, wide_seeds), strict=True):
        assert got.dtype == sample.inputs[i].dtype
        assert_close(got, want, dtype=got.dtype, n=terms(sample.inputs), check_dtype=False, what=f"input {i}")


# --- saves ----------------------------------------------------------------------------------------------------------


def differentiated(op: Op, sample: Sample) -> bool:
    return bool(wanted_inputs(op, sample))


def rules_of(op: Op, sample: Sample) -> list[tuple[int | None, tuple[Any, ...]]]:
    """(input of the rule, None for a joint one; what it may read) of each rule with something to do."""
    wanted = wanted_inputs(op, sample)
    if isinstance(op.vjp, Joint):
        return [(None, positions_saved(op, tuple(range(len(sample.inputs)))))]
    assert len(op.saves) == len(op.vjp or ()), "one entry in saves for each rule"
    return [(i, tuple(op.saves[i])) for i in wanted]  # type: ignore[arg-type]


def pull_with(op: Op, sample: Sample, rule: int | None, readable: Sequence[Any]) -> list[Any]:
    """What one rule gives when only `readable` operands have data."""
    tensors = tensors_of(sample.inputs, ())
    with gc.no_grad():
        outputs = parts(op, op(*tensors, **sample.attrs))
    rest = iter(tensors_of(cotangents(op, sample), ()))
    g: Any = tuple(next(rest) if is_float(y) else None for y in outputs)

    def bare(x: Any) -> Any:
        return SLOTS.new_tensor(TypeOnly(x.tensor_type))

    operands = [x if i in readable else bare(x) for i, x in enumerate(tensors)]
    out: Any = tuple(y if OUT in readable else bare(y) for y in outputs)
    if op.n_outputs == 1:
        g, out = g[0], out[0]
    with gc.no_grad():
        if isinstance(op.vjp, Joint):
            needs = tuple(i in wanted_inputs(op, sample) for i in range(len(tensors)))
            found = op.vjp.rule(g, out, *operands, needs=needs, **sample.attrs)
            return [x.numpy() for x, need in zip(found, needs, strict=True) if need and x is not None]
        assert rule is not None and op.vjp is not None
        return [op.vjp[rule](g, out, *operands, **sample.attrs).numpy()]  # type: ignore[misc]


@pytest.mark.parametrize(("op", "sample"), sampled(keep=differentiated))
def test_rules_read_no_more_than_they_save(op: Op, sample: Sample) -> None:
    everything = [*range(len(sample.inputs)), OUT]
    for rule, saves in rules_of(op, sample):
        for got, want in zip(pull_with(op, sample, rule, saves), pull_with(op, sample, rule, everything), strict=True):
            assert_close(got, want)


@pytest.mark.parametrize("op", [op for op in OPS if op.vjp], ids=str)
def test_rules_save_no_more_than_they_read(op: Op) -> None:
    """What a rule lists, it cannot do without for some sample."""
    listed, needed = set(), set()
    for sample in op.samples():
        if not differentiated(op, sample):
            continue
        for rule, saves in rules_of(op, sample):
            for p in saves:
                if (rule, p) in needed:
                    continue
                listed.add((rule, p))
                try:
                    pull_with(op, sample, rule, [q for q in saves if q != p])
                except gc.errors.SymbolicError:
                    needed.add((rule, p))
    unread = {(rule, p) for rule, p in listed - needed if (op.name, p) not in SAVED_UNREAD}
    assert not unread, f"{op.name} saves without reading (rule, operand): {unread}"


def test_ops_that_cannot_be_differentiated_say_so() -> None:
    refused = [(op, s) for op in OPS for s in op.samples() if has_no_gradient(op, s)]
    assert {op.name for op, _ in refused} == {"while_loop_grad", "scan"}
    for op, sample in refused:
        tensors = tensors_of(sample.inputs, [i for i, x in enumerate(sample.inputs) if is_float(x)])
        y = next(y for y in parts(op, op(*tensors, **sample.attrs)) if is_float(y))
        with pytest.raises(gc.errors.GradientError, match=r"cannot be differentiated"):
            y.sum().backward()


@pytest.mark.parametrize("op", [op for op in OPS if op.vjp is None], ids=str)
def test_ops_without_rules_give_results_without_gradient(op: Op) -> None:
    for sample in op.samples():
        tensors = tensors_of(sample.inputs, [i for i, x in enumerate(sample.inputs) if is_float(x)])
        assert not any(y.requires_grad for y in parts(op, op(*tensors, **sample.attrs)))
