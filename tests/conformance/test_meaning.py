"""Every op: `infer` tells what `eval` gives, `eval` takes arrays as they come, and the kind's rule says the same as `eval`."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from conformance.cases import OPS, VALUE_DEPENDENT, evaluated, rearranged, sampled, terms, types_of
from tolerances import assert_close

import graphc as gc
from graphc.core import scalar
from graphc.core.dims import Dim, assumptions, substitute
from graphc.core.op import ArgReduction, Cumulative, Elementwise, Op, Reduction, Sample, View
from graphc.core.tensor_types import TensorType, type_of_array

CASES = sampled()


def of_kind(kind: Any) -> Any:
    return sampled([op for op in OPS if isinstance(op.kind, kind)])


@pytest.mark.parametrize("op", OPS, ids=str)
def test_every_op_has_samples_of_every_sort(op: Op) -> None:
    samples = list(op.samples())
    assert len(samples) >= 3
    operands = [x for s in samples for x in s.inputs]
    assert all(isinstance(x, np.ndarray) for x in operands)
    for sample in samples:
        hash(tuple(sample.attrs.items()))  # attributes are plain values
    if not operands or op.name == "size":
        return
    assert any(x.ndim == 0 for x in operands) or op.name in NEEDS_DIMENSIONS, "0-d"
    assert any(x.size == 0 for x in operands) or op.name == "random_bits", "empty"
    if op.name != "random_bits":
        assert any(not x.flags.c_contiguous for x in operands), "non-contiguous"
    if any(type_of_array(x).dtype.is_floating_point for x in operands):
        assert any(not np.isfinite(x.astype(np.float64)).all() for x in operands), "NaN and infinities"


#: Ops that work along an axis: a 0-d operand has none.
NEEDS_DIMENSIONS = {
    "cholesky", "determinant", "eigh", "log_determinant", "lu_factor", "matrix_exponential", "qr", "row_order", "solve",
    "solve_triangular", "svd",
    "argmax", "argmin", "concat", "convolution", "convolution_input_gradient", "convolution_weight_gradient",
    "convolution_weight_parts", "cumulative_logsumexp", "cumulative_max", "cumulative_min", "cumulative_prod",
    "cumulative_sum", "diagonal", "diagonal_put", "gather", "linear_recurrence", "matmul", "scatter", "scatter_add", "sort",
}  # fmt: skip


@pytest.mark.parametrize(("op", "sample"), CASES)
def test_infer_equals_eval(op: Op, sample: Sample) -> None:
    outs = evaluated(op, sample.inputs, sample.attrs)
    types = op.output_types(*types_of(sample.inputs), **sample.attrs)
    if op.name in VALUE_DEPENDENT:
        types = tuple(TensorType(y.shape, t.dtype) for y, t in zip(outs, types, strict=True))
    assert tuple(types_of(outs)) == tuple(types)


@pytest.mark.parametrize(("op", "sample"), CASES)
def test_infer_of_unknown_sizes_says_the_same_once_they_are_known(op: Op, sample: Sample) -> None:
    """Once with an unknown of its own for each dimension, once with one for each number, in attributes too."""
    outs = evaluated(op, sample.inputs, sample.attrs)
    for by_number in (False, True):
        known: dict[str, Any] = {}

        def unknown(size: int, name: str, known: Any = known) -> Any:
            known[name] = size
            return size if size == 1 else Dim.named(name)  # a size of 1 broadcasts: it is another program

        types = [
            t.with_shape(unknown(n, f"n{n}" if by_number else f"n{i}_{k}") for k, n in enumerate(t.shape))
            for i, t in enumerate(types_of(sample.inputs))
        ]
        attrs = dict(sample.attrs)
        if by_number and "shape" in attrs:
            attrs["shape"] = tuple(unknown(n, f"n{n}") for n in attrs["shape"])
        met: list[Any] = []
        with assumptions(lambda a, b, met=met: met.append((a, b))):
            found = op.output_types(*types, **attrs)
        for a, b in met:
            assert substitute(a, known) == substitute(b, known)
        for t, y in zip(found, outs, strict=True):
            known["nonzero"] = y.shape[0] if y.ndim else 0
            assert TensorType(tuple(substitute(n, known) for n in t.shape), t.dtype) == type_of_array(y)


@pytest.mark.parametrize(("op", "sample"), CASES)
def test_eval_takes_arrays_of_any_layout_and_leaves_them_alone(op: Op, sample: Sample) -> None:
    kept = [np.array(x) for x in sample.inputs]
    wanted = evaluated(op, kept, sample.attrs)
    for layout in (rearranged, lambda x: np.array(x, order="F")):
        operands = [layout(x) for x in kept]
        for x in operands:
            x.flags.writeable = False
        found = evaluated(op, operands, sample.attrs)
        for y, want in zip(found, wanted, strict=True):
            assert_close(y, want, n=terms(kept))
            if not isinstance(op.kind, View):
                assert not any(np.shares_memory(y, x) for x in operands), "only views share memory"
        for x, before in zip(operands, kept, strict=True):
            assert x.tobytes() == before.tobytes()


# --- the rules of the kinds -----------------------------------------------------------------------------------------


def bits(array: Any) -> Any:
    """NaN counts as equal to NaN; zeros keep their sign."""
    if array.dtype.kind in "biu":
        return array
    wide = array.astype(np.float64)
    return np.where(np.isnan(wide), np.nan, wide), np.signbit(np.where(np.isnan(wide), 0.0, wide))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("op", "sample"), of_kind(Elementwise))
def test_formula_on_one_element_equals_eval(op: Op, sample: Sample) -> None:
    assert isinstance(op.kind, Elementwise)
    (out,) = evaluated(op, sample.inputs, sample.attrs)
    tree = op.kind.scalar(*(scalar.leaf(i, t.dtype) for i, t in enumerate(types_of(sample.inputs))), **sample.attrs)
    with np.errstate(all="ignore"):
        again = np.asarray(scalar.evaluate(tree, sample.inputs))
    assert tree.dtype.np == again.dtype == out.dtype
    if op.name == "sigmoid":  # the formula holds where e^-x overflows, too; NumPy's is the shorter one
        eps = float(np.finfo(out.dtype).eps) if out.dtype.kind == "f" else 2.0**-7
        np.testing.assert_allclose(again.astype(float), out.astype(float), rtol=4 * eps, atol=1e-37)
        return
    np.testing.assert_equal(bits(np.broadcast_to(again, out.shape)), bits(out))


@pytest.mark.parametrize(("op", "sample"), of_kind(View))
def test_view_index_and_put(op: Op, sample: Sample) -> None:
    assert isinstance(op.kind, View)
    (x,) = sample.inputs
    out = op.eval(x, **sample.attrs)
    assert out.size == 0 or np.shares_memory(out, x) or op.name == "reshape"
    seen = np.zeros(x.shape, bool)
    for at in itertools.product(*map(range, out.shape)):
        source = op.kind.index(at, type_of_array(x), **sample.attrs)
        assert len(source) == x.ndim
        seen[source] = True
        np.testing.assert_array_equal(out[at], x[source])
    if op.kind.put is None:
        assert op.name == "expand"
        return
    base, value = gc.from_numpy(np.array(x)), np.array(np.flip(out))
    same = op.kind.put(base, gc.from_numpy(np.array(out)), **sample.attrs).numpy()
    np.testing.assert_array_equal(same, x)
    put = op.kind.put(base, gc.from_numpy(value), **sample.attrs).numpy()
    np.testing.assert_array_equal(op.eval(put, **sample.attrs), value)
    np.testing.assert_array_equal(put[~seen], x[~seen])


COMBINE: dict[str, Any] = {
    "add": np.add, "multiply": np.multiply, "maximum": np.maximum, "minimum": np.minimum, "or": np.logical_or,
    "and": np.logical_and,
}  # fmt: skip


def wide(array: Any) -> Any:
    """Sums and products of 16-bit floats are kept in float32."""
    return array.astype(np.float32) if array.dtype.itemsize == 2 and array.dtype.kind not in "iu" else array


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize(("op", "sample"), of_kind(Reduction))
def test_fold_of_combine_from_identity_equals_eval(op: Op, sample: Sample) -> None:
    assert isinstance(op.kind, Reduction)
    (x,), axes, combine = sample.inputs, sample.attrs["axes"], COMBINE[op.kind.combine]
    (out,) = evaluated(op, sample.inputs, sample.attrs)
    identity = np.asarray(op.kind.identity(type_of_array(x).dtype)).astype(x.dtype)
    folded = np.full(out.shape, identity, wide(x).dtype)
    kept = [a for a in range(x.ndim) if a not in axes]
    for at in np.ndindex(*x.shape):
        place = tuple(at[a] for a in kept)
        folded[place] = combine(folded[place], wide(x)[at])
    assert_close(folded.astype(x.dtype), out, n=x.size)


@pytest.mark.parametrize(("op", "sample"), [p for p in of_kind(ArgReduction) if "axis" in p.values[1].attrs])
def test_position_of_the_first_extreme_equals_eval(op: Op, sample: Sample) -> None:
    assert isinstance(op.kind, ArgReduction)
    (x,), axis = sample.inputs, sample.attrs["axis"]
    (out,) = evaluated(op, sample.inputs, sample.attrs)
    rows = np.moveaxis(wide(x), axis, -1)
    for at in np.ndindex(*out.shape):
        best = 0
        for k, element in enumerate(rows[at]):
            beats = element > rows[at][best] if op.kind.combine == "maximum" else element < rows[at][best]
            if beats or (element != element and rows[at][best] == rows[at][best]):
                best = k
        assert out[at] == best


@pytest.mark.parametrize(("op", "sample"), [p for p in of_kind(ArgReduction) if "axes" in p.values[1].attrs])
def test_place_of_the_first_maximum_or_last_nan_equals_eval(op: Op, sample: Sample) -> None:
    (x, places), axes = sample.inputs, sample.attrs["axes"]
    (out,) = evaluated(op, sample.inputs, sample.attrs)
    ends = tuple(range(x.ndim - len(axes), x.ndim))
    keys, at = (np.moveaxis(a, axes, ends) for a in (wide(x), places))
    for where in np.ndindex(*out.shape):
        pairs = [(k, p) for k, p in zip(keys[where].ravel(), at[where].ravel(), strict=True) if p >= 0]
        lost = [p for k, p in pairs if k != k]
        most = max((k for k, _ in pairs), default=0)
        assert out[where] == (lost[-1] if lost else next((p for k, p in pairs if k == most), -1))


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize(("op", "sample"), of_kind(Cumulative))
def test_running_fold_equals_eval(op: Op, sample: Sample) -> None:
    kind = op.kind
    assert isinstance(kind, Cumulative)
    (out,), axis = evaluated(op, sample.inputs, sample.attrs), sample.attrs["axis"]
    elements = [np.moveaxis(wide(x), axis, 0) for x in sample.inputs]
    running, dtype = elements[-1].copy(), type_of_array(elements[-1]).dtype
    tree = kind.step(*(scalar.leaf(i, dtype) for i in range(len(elements) + 1)))
    with np.errstate(all="ignore"):
        for k in range(1, len(running)):
            running[k] = scalar.evaluate(tree, [running[k - 1], *(x[k] for x in elements)])
        if kind.start is not None and len(running):
            start = np.full(running[0].shape, kind.start(dtype), running.dtype)
            first = scalar.evaluate(tree, [start, *(x[0] for x in elements)])
            np.testing.assert_array_equal(first, running[0])
    assert_close(np.moveaxis(running, 0, axis).astype(out.dtype), out, n=out.size)
