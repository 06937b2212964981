"""Tensors from data, numbers and sizes; joining and padding: as PyTorch makes them."""

from __future__ import annotations

import warnings
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from side_by_side import agree, compare, pair, refuse

import graphc as gc

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 3))
Y = RNG.normal(size=(2, 3, 4))
V = RNG.normal(size=3)
NONE = np.zeros((0,))
NAN, INF = float("nan"), float("inf")

MADE = {
    "int": lambda m: m.tensor(3),
    "float": lambda m: m.tensor(2.5),
    "bool": lambda m: m.tensor(True),
    "nested": lambda m: m.tensor([[1, 2], [3, 4]]),
    "mixed": lambda m: m.tensor([1, 2.5, True]),
    "bool-int": lambda m: m.tensor([True, 2]),
    "bools": lambda m: m.tensor([[True], [False]]),
    "tuple": lambda m: m.tensor(((1.0, 2.0), (3.0, 4.0))),
    "range": lambda m: m.tensor(range(4)),
    "empty": lambda m: m.tensor([]),
    "empty-2d": lambda m: m.tensor([[], []]),
    "dtype": lambda m: m.tensor([1, 2], dtype=m.float16),
    "to-int": lambda m: m.tensor([1.7, -1.7], dtype=m.int32),
    "to-bool": lambda m: m.tensor([0.0, 0.5, NAN], dtype=m.bool),
    "to-uint8": lambda m: m.tensor([-1, 255], dtype=m.uint8),
    "to-bfloat16": lambda m: m.tensor([1.0, 2.001], dtype=m.bfloat16),
    "overflow-float": lambda m: m.tensor([1e40, -1e40, NAN, INF], dtype=m.float32),
    "large-int": lambda m: m.tensor([2**62, -(2**63)]),
    "array": lambda m: m.tensor(np.arange(6, dtype=np.int16).reshape(2, 3)),
    "array-dtype": lambda m: m.tensor(np.arange(3), dtype=m.float64),
    "array-f64": lambda m: m.tensor(np.linspace(0, 1, 3)),
    "array-order": lambda m: m.tensor(np.arange(6.0).reshape(2, 3).T),
    "numpy-scalar": lambda m: m.tensor(np.float32(2)),
    "numpy-scalars": lambda m: m.tensor([np.float64(2), np.float64(3)]),
    "numpy-f32s": lambda m: m.tensor([np.float32(2), 3.0]),
    "numpy-i32": lambda m: m.tensor([np.int32(2)]),
    "tensors": lambda m: m.tensor([m.tensor(1), m.tensor(2.0)]),
    "tensor-f64": lambda m: m.tensor([m.tensor(1.0, dtype=m.float64), 2]),
    "requires_grad": lambda m: m.tensor([1.0, 2.0], requires_grad=True),
    "as_tensor": lambda m: m.as_tensor([1, 2.0]),
    "as_tensor-dtype": lambda m: m.as_tensor(m.tensor([1, 2]), dtype=m.float32),
    "asarray": lambda m: m.asarray([1, 2.0], dtype=m.int32),
    "asarray-grad": lambda m: m.asarray([1.0], requires_grad=True),
    "scalar_tensor": lambda m: (m.scalar_tensor(3), m.scalar_tensor(3, dtype=m.int64)),
    "zeros": lambda m: (m.zeros(2, 3), m.zeros((2, 3)), m.zeros([2]), m.zeros(()), m.zeros(0, 2), m.zeros(size=(2,))),
    "zeros-shape": lambda m: m.zeros(m.ones(2, 3).shape),
    "zeros-dtype": lambda m: (m.zeros(2, dtype=m.bool), m.zeros(2, dtype=m.bfloat16)),
    "ones": lambda m: (m.ones(2, 1), m.ones(2, dtype=m.int8), m.ones(2, device="cpu", requires_grad=True)),
    "full": lambda m: (m.full((2,), 1), m.full((2,), True), m.full((), 2.5), m.full([2], 1.5, dtype=m.int64)),
    "full-tensor": lambda m: (m.full((2,), m.tensor(3.0)), m.full((2,), m.tensor(3), dtype=m.float64)),
    "full-special": lambda m: m.full((2,), -INF),
    "empty-shape": lambda m: tuple(m.empty(2, 0, dtype=m.int8).shape),
    "zeros_like": lambda m: (m.zeros_like(m.ones(2, 3)), m.zeros_like(m.tensor([1]), dtype=m.float64)),
    "ones_like": lambda m: (m.ones_like(m.tensor(2)), m.ones_like(m.zeros(0, 2), requires_grad=True)),
    "full_like": lambda m: (m.full_like(m.tensor([1, 2]), 2.7), m.full_like(m.ones(2), 3, dtype=m.int32)),
    "empty_like": lambda m: tuple(m.empty_like(m.ones(2, 3)).shape),
    "arange": lambda m: (m.arange(5), m.arange(2, 5), m.arange(1, 10, 3), m.arange(5, 1, -2), m.arange(0)),
    "arange-float": lambda m: (m.arange(3.0), m.arange(0, 1, 0.1), m.arange(1, 0, -0.25), m.arange(0.5, 3)),
    "arange-dtype": lambda m: (m.arange(5, dtype=m.float16), m.arange(0, 5, 2.5, dtype=m.int64)),
    "arange-names": lambda m: m.arange(start=1, end=4, step=2),
    "arange-tensor": lambda m: m.arange(m.tensor(4)),
    "linspace": lambda m: (m.linspace(0, 1, 5), m.linspace(3, -2, 4), m.linspace(1, 1, 3), m.linspace(0, 1, 1)),
    "linspace-more": lambda m: (m.linspace(0, 1, 0), m.linspace(start=0.5, end=10, steps=100)),
    "linspace-dtype": lambda m: (m.linspace(0, 10, 4, dtype=m.int64), m.linspace(0, 1, 3, dtype=m.float64)),
    "logspace": lambda m: (m.logspace(0, 2, 3), m.logspace(0, 3, 4, base=2.0, dtype=m.float64)),
    "eye": lambda m: (m.eye(3), m.eye(2, 3), m.eye(3, 2, dtype=m.int64), m.eye(0), m.eye(2, dtype=m.bool)),
    "tril_indices": lambda m: (m.tril_indices(3, 4), m.tril_indices(3, 3, -1), m.tril_indices(0, 3)),
    "triu_indices": lambda m: (m.triu_indices(3, 4, 1), m.triu_indices(3, 2, offset=-1, dtype=m.int32)),
    "new": lambda m: (m.ones(2, dtype=m.int64).new_zeros(3), m.ones(2).new_full((2,), 7), m.ones(1).new_tensor([1, 2])),
}


@pytest.mark.parametrize("name", MADE)
def test_same_as_pytorch(name: str) -> None:
    compare(MADE[name](gc), MADE[name](torch))


REFUSED = {
    "ragged": lambda m: m.tensor([[1, 2], [3]]),
    "ragged-deep": lambda m: m.tensor([[[1], [2]], [[3], [4, 5]]]),
    "ragged-number": lambda m: m.tensor([[1, 2], 3]),
    "ragged-list": lambda m: m.tensor([1, [2]]),
    "string": lambda m: m.tensor("a"),
    "strings": lambda m: m.tensor(["a"]),
    "none": lambda m: m.tensor(None),
    "nones": lambda m: m.tensor([None]),
    "dict": lambda m: m.tensor({1: 2}),
    "uint8": lambda m: m.tensor(300, dtype=m.uint8),
    "int8": lambda m: m.tensor([1, 200], dtype=m.int8),
    "nan-int": lambda m: m.tensor([NAN], dtype=m.int64),
    "int65": lambda m: m.tensor(2**64),
    "int64": lambda m: m.tensor([2**63]),
    "grad": lambda m: m.tensor([1], requires_grad=True),
    "grad-zeros": lambda m: m.zeros(2, dtype=m.int64, requires_grad=True),
    "zeros-negative": lambda m: m.zeros(2, -1),
    "zeros-float": lambda m: m.zeros(2.5),
    "zeros-floats": lambda m: m.zeros((2, 3.0)),
    "zeros-bool": lambda m: m.zeros(True),
    "zeros-nothing": lambda m: m.zeros(),
    "zeros-two": lambda m: m.zeros([2], [3]),
    "zeros_like": lambda m: m.zeros_like(2),
    "full": lambda m: m.full(2, 1.5),
    "full-nan": lambda m: m.full((2,), NAN, dtype=m.int64),
    "arange-zero": lambda m: m.arange(1, 2, 0),
    "arange-sign": lambda m: m.arange(1, -2),
    "arange-inf": lambda m: m.arange(INF),
    "arange-bool": lambda m: m.arange(3, dtype=m.bool),
    "linspace": lambda m: m.linspace(0, 1, -1),
    "eye": lambda m: m.eye(-2),
    "eye-m": lambda m: m.eye(2, -3),
    "tril_indices": lambda m: m.tril_indices(-1, 2),
    "from_numpy": lambda m: m.from_numpy([1]),
    "from_numpy-strings": lambda m: m.from_numpy(np.array(["a"])),
    "from_numpy-order": lambda m: m.from_numpy(np.arange(3, dtype=">i4")),
    "device": lambda m: m.zeros(2, device="nowhere"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_what_pytorch_refuses(name: str) -> None:
    refuse(torch, REFUSED[name])


def test_ragged_lists_are_named_as_in_pytorch() -> None:
    for data in ([[1, 2], [3]], [[[1], [2]], [[3], [4, 5]]]):
        with pytest.raises(ValueError, match="expected sequence of length") as theirs:
            torch.tensor(data)
        with pytest.raises(ValueError, match="expected sequence of length") as ours:
            gc.tensor(data)
        assert str(ours.value).partition("\n  at ")[0] == str(theirs.value)


def test_memory_of_arrays() -> None:
    for m in (gc, torch):
        array = np.zeros(3)
        shared = [m.from_numpy(array), m.as_tensor(array), m.asarray(array)]
        copied = [m.tensor(array), m.asarray(array, copy=True), m.as_tensor(array, dtype=m.float32)]
        array[0] = 5.0
        assert [float(x[0]) for x in shared] == [5.0] * 3
        assert [float(x[0]) for x in copied] == [0.0] * 3
        shared[0][1] = 7.0
        assert array[1] == 7.0
        x = m.ones(2)
        assert m.as_tensor(x) is x
        assert m.asarray(x) is x
        assert m.tensor(x.tolist()) is not x


def test_read_only_arrays_warn() -> None:
    array = np.arange(3.0)
    array.flags.writeable = False
    for m in (gc, torch):
        with pytest.warns(UserWarning, match="not writable"):
            m.from_numpy(array)


def test_bfloat16_arrays_of_ml_dtypes() -> None:
    array = np.array([1.0, 2.5], ml_dtypes.bfloat16)
    assert gc.from_numpy(array).dtype is gc.bfloat16
    assert gc.tensor(array).tolist() == [1.0, 2.5]


def test_reversed_arrays_are_taken() -> None:
    assert gc.from_numpy(np.arange(3)[::-1]).tolist() == [2, 1, 0]


# --- joining ---------------------------------------------------------------------------------------------------------

JOINED = {
    "cat": (lambda m, x, y: m.cat([x, y]), X, X),
    "cat-dim": (lambda m, x, y: m.cat((x, y, x), dim=-1), X, X),
    "cat-one": (lambda m, x: m.cat([x]), X),
    "cat-all-empty": (lambda m, x: m.cat([x, x]), NONE),
    "cat-axis": (lambda m, x, y: m.concatenate((x, y), axis=1), X, X),
    "concat": (lambda m, x, y: m.concat([x, y], 1), X, X),
    "stack": (lambda m, x, y: (m.stack([x, y]), m.stack((x, y), dim=-1), m.stack([x, y], 1)), X, X),
    "stack-0d": (lambda m, x, y: m.stack([x, y]), np.array(1.0), np.array(2.0)),
    "hstack": (lambda m, x, y: (m.hstack([x, x]), m.hstack((y, y))), X, V),
    "vstack": (lambda m, x, y: (m.vstack([x, y]), m.row_stack((y, y))), X, V),
    "dstack": (lambda m, x, y: (m.dstack([x, x]), m.dstack((y, y))), X, V),
    "column_stack": (lambda m, x, y: m.column_stack([x.t(), y, x.t()]), X, V),
    "column_stack-0d": (lambda m, x: m.column_stack([x, x]), np.array(1.0)),
    "block_diag": (lambda m, x, y, z: m.block_diag(x, y, z), X, V, np.array(2.0)),
    "meshgrid": (lambda m, x, y: m.meshgrid(x, y, indexing="ij"), V, V[:2]),
    "meshgrid-xy": (lambda m, x, y: m.meshgrid([x, y, x], indexing="xy"), V, V[:2]),
    "meshgrid-0d": (lambda m, x, y: m.meshgrid(x, y, indexing="ij"), V, np.array(2.0)),
    "cartesian_prod": (lambda m, x, y: (m.cartesian_prod(x, y), m.cartesian_prod(x)), V, V[:2]),
    "combinations": (lambda m, x: (m.combinations(x), m.combinations(x, 3), m.combinations(x, 2, True)), V),
    "combinations-few": (lambda m, x: (m.combinations(x, 4), m.combinations(x, r=1)), V),
}


@pytest.mark.parametrize("name", JOINED)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int32, np.bool_, ml_dtypes.bfloat16])
def test_joined_as_in_pytorch(name: str, dtype: Any) -> None:
    code, *arrays = JOINED[name]
    agree(torch, code, *((a * 4).astype(dtype) for a in arrays))


def test_cat_takes_empty_vectors_beside_anything() -> None:
    agree(torch, lambda m, x, y: m.cat([y, x, y]), X, NONE, grad=False)


@pytest.mark.parametrize("kinds", [("float32", "float64"), ("int64", "float32"), ("bool", "uint8"), ("int8", "uint8")])
def test_cat_promotes(kinds: tuple[str, str]) -> None:
    agree(torch, lambda m, x, y: (m.cat([x, y]), m.stack([x, y])), *(np.ones((2, 2), kind) for kind in kinds))


JOINED_REFUSED = {
    "cat-nothing": (lambda m: m.cat([]),),
    "cat-tensor": (lambda m, x: m.cat(x), X),
    "cat-number": (lambda m, x: m.cat([x, 2]), X),
    "cat-0d": (lambda m, x: m.cat([x, x]), np.array(1.0)),
    "cat-ndim": (lambda m, x, y: m.cat([x, y]), X, V),
    "cat-size": (lambda m, x: m.cat([x, x.t()]), X),
    "cat-dim": (lambda m, x: m.cat([x, x], dim=2), X),
    "stack-nothing": (lambda m: m.stack([]),),
    "stack-size": (lambda m, x: m.stack([x, x.t()]), X),
    "stack-dim": (lambda m, x: m.stack([x, x], 3), X),
    "block_diag": (lambda m, x: m.block_diag(x), Y),
    "meshgrid-2d": (lambda m, x: m.meshgrid(x, indexing="ij"), X),
    "meshgrid-indexing": (lambda m, x: m.meshgrid(x, x, indexing="zz"), V),
    "meshgrid-nothing": (lambda m: m.meshgrid(),),
    "cartesian_prod": (lambda m, x: m.cartesian_prod(x, x), X),
    "combinations": (lambda m, x: m.combinations(x), X),
}


@pytest.mark.parametrize("name", JOINED_REFUSED)
def test_joining_refuses_what_pytorch_refuses(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        refuse(torch, *JOINED_REFUSED[name])


# --- padding ---------------------------------------------------------------------------------------------------------


def padded(m: Any, *args: Any, **kwargs: Any) -> Any:
    return (torch.nn.functional.pad if m is torch else gc.functions.joining.pad)(*args, **kwargs)


PADS = {
    "constant": (lambda m, x: padded(m, x, (1, 2)), X),
    "constant-value": (lambda m, x: padded(m, x, (1, 0, 0, 2), value=1.5), Y),
    "constant-negative": (lambda m, x: padded(m, x, (-1, 2, 1, -1)), Y),
    "constant-none": (lambda m, x: padded(m, x, ()), X),
    "reflect": (lambda m, x: padded(m, x, (2, 1), mode="reflect"), X),
    "reflect-2d": (lambda m, x: padded(m, x, (1, 3, 2, 1), mode="reflect"), Y),
    "reflect-negative": (lambda m, x: padded(m, x, (-1, 2), mode="reflect"), X),
    "replicate": (lambda m, x: padded(m, x, (4, 2), mode="replicate"), X),
    "replicate-2d": (lambda m, x: padded(m, x, (1, 0, 2, 3), mode="replicate"), Y),
    "replicate-negative": (lambda m, x: padded(m, x, (-1, 2), mode="replicate"), X),
    "circular": (lambda m, x: padded(m, x, (3, 1), mode="circular"), X),
    "circular-2d": (lambda m, x: padded(m, x, (0, 2, 1, 1), mode="circular"), Y),
    "circular-negative": (lambda m, x: padded(m, x, (-1, 2), mode="circular"), X),
}


@pytest.mark.parametrize("name", PADS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_padded_as_in_pytorch(name: str, dtype: Any) -> None:
    code, *arrays = PADS[name]
    agree(torch, code, *(a.astype(dtype) for a in arrays))


def test_integers_are_padded_too() -> None:
    agree(torch, lambda m, x: (padded(m, x, (1, 1), value=2.5), padded(m, x, (2, 1), mode="constant")), np.arange(4))


PADS_REFUSED = {
    "odd": (lambda m, x: padded(m, x, (1,)), X),
    "many": (lambda m, x: padded(m, x, (1, 1, 1, 1, 1, 1)), X),
    "negative": (lambda m, x: padded(m, x, (-2, -2)), X),
    "reflect": (lambda m, x: padded(m, x, (3, 3), mode="reflect"), X),
    "circular": (lambda m, x: padded(m, x, (4, 4), mode="circular"), X),
    "mode": (lambda m, x: padded(m, x, (1, 1), mode="zzz"), X),
}


@pytest.mark.parametrize("name", PADS_REFUSED)
def test_padding_refuses_what_pytorch_refuses(name: str) -> None:
    refuse(torch, *PADS_REFUSED[name])


def test_joined_tensors_are_copies() -> None:
    ours, theirs = pair(torch, X)
    for m, x in ((gc, ours), (torch, theirs)):
        m.cat([x]).mul_(3.0)
        padded(m, x, (0, 0)).mul_(3.0)
        m.meshgrid(x[0], indexing="ij")[0].add_(1.0)
    compare(ours, theirs)
