"""Every form of indexing, and the functions that read and write at places, beside PyTorch: values, gradients, errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

DATA = np.arange(24.0, dtype=np.float32).reshape(2, 3, 4)

# Each key is a function of the library, so that it can hold that library's tensors.
KEYS: dict[str, Callable[[Any], Any]] = {
    "int": lambda t: 1,
    "negative": lambda t: -1,
    "ints": lambda t: (1, -2, 3),
    "numpy int": lambda t: np.int64(1),
    "slice": lambda t: slice(1, None),
    "steps": lambda t: (slice(None), slice(None, None, 2), slice(1, None, 2)),
    "negative slice": lambda t: (slice(-1, None), slice(-2, -1), slice(None, -1)),
    "beyond": lambda t: slice(5, 100),
    "backwards": lambda t: (slice(None), slice(2, 1)),
    "ellipsis": lambda t: (..., 0),
    "ellipsis between": lambda t: (0, ..., slice(1, 3)),
    "ellipsis alone": lambda t: ...,
    "two ellipses": lambda t: (..., ...),
    "none": lambda t: (None, slice(None), None, 1),
    "none alone": lambda t: None,
    "empty tuple": lambda t: (),
    "true": lambda t: True,
    "false": lambda t: False,
    "true twice": lambda t: (True, True),
    "true between": lambda t: (slice(None), True),
    "int and true": lambda t: (0, True, t.tensor([0, 1])),
    "0-d bool tensor": lambda t: t.tensor(True),
    "0-d tensor": lambda t: t.tensor(1),
    "0-d tensor slice": lambda t: slice(t.tensor(1), None),
    "tensor": lambda t: t.tensor([1, 0, 1]),
    "negative tensor": lambda t: t.tensor([-1, 0]),
    "int32 tensor": lambda t: t.tensor([1, 0], dtype=t.int32),
    "2-d tensor": lambda t: t.tensor([[1, 0], [0, 0]]),
    "empty tensor": lambda t: t.zeros(0, dtype=t.int64),
    "empty list": lambda t: ([], slice(None)),
    "list": lambda t: [1, 0],
    "range": lambda t: range(2),
    "lists": lambda t: ([0, 1], [2, 0]),
    "nested list": lambda t: [[0, 1], [1, 2]],
    "list of tensors": lambda t: [t.tensor(0), t.tensor(1)],
    "array": lambda t: np.array([1, 0]),
    "two tensors": lambda t: (t.tensor([0, 1, 1]), t.tensor([2, 0, 0])),
    "broadcast tensors": lambda t: (t.tensor([[0], [1]]), t.tensor([2, 0, 1])),
    "split tensors": lambda t: (t.tensor([0, 1]), slice(None), t.tensor([3, 0])),
    "later tensors": lambda t: (slice(None), t.tensor([0, 2]), t.tensor([3, 0])),
    "three tensors": lambda t: (t.tensor([0, 1]), t.tensor([2, 1]), t.tensor([3, 0])),
    "tensor and int": lambda t: (t.tensor([0, 1]), slice(None), 1),
    "int and tensor": lambda t: (1, slice(None), t.tensor([0, 1])),
    "0-d tensor and tensor": lambda t: (t.tensor(1), slice(None), t.tensor([0, 1])),
    "tensor and slice": lambda t: (slice(1, None), t.tensor([0, 2])),
    "tensor and none": lambda t: (t.tensor([0]), None, t.tensor([1])),
    "tensor and ellipsis": lambda t: (..., t.tensor([0, 2, 2])),
    "mask": lambda t: t.tensor(DATA) > 11,
    "empty mask": lambda t: t.tensor(DATA) > 100,
    "partial mask": lambda t: t.tensor([True, False]),
    "2-d mask": lambda t: t.tensor(DATA[:, :, 0] > 5),
    "later mask": lambda t: (slice(None), t.tensor([True, False, True])),
    "mask and int": lambda t: (slice(None), t.tensor([True, False, True]), 0),
    "mask and tensor": lambda t: (t.tensor([True, True]), t.tensor([0, 2])),
    "tensor and mask": lambda t: (t.tensor([0]), t.tensor(DATA[0] > 5)),
    "bool list": lambda t: [True, False],
    "bool array": lambda t: np.array([False, True]),
    "bool list and list": lambda t: ([True, False], [0]),
}


def both(call: Callable[[Any], Any]) -> tuple[Any, Any]:
    return call(gc), call(torch)


def equal(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, tuple | list):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            equal(a, b)
        return
    assert tuple(ours.shape) == tuple(theirs.shape)
    assert str(ours.dtype).split(".")[1] == str(theirs.dtype).split(".")[1]
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-6)


def gradient(t: Any, x: Any) -> Any:
    return t.zeros_like(x) if x.grad is None else x.grad


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")
def test_read(key: Callable[[Any], Any]) -> None:
    def run(t: Any) -> tuple[Any, ...]:
        x = t.tensor(DATA, requires_grad=True)
        y = x[key(t)]
        if not y.numel():
            return (y,)
        (y * t.arange(1.0, y.numel() + 1).reshape(y.shape)).sum().backward()
        return y, x.grad

    equal(*both(run))


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")
def test_read_shares_memory_where_pytorch_does(key: Callable[[Any], Any]) -> None:
    def run(t: Any) -> Any:
        x = t.tensor(DATA)
        x[key(t)].mul_(-1).sub_(100)
        return x

    equal(*both(run))


@pytest.mark.parametrize("value", ["number", "tensor", "row", "single"])
@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")
def test_write(key: Callable[[Any], Any], value: str) -> None:
    """Values, and the gradients of what was there and of what is written."""

    def run(t: Any) -> tuple[Any, ...]:
        x = t.tensor(DATA, requires_grad=True)
        shape = tuple(t.tensor(DATA)[key(t)].shape)
        if value == "row":
            shape = shape[-1:]
        v = t.full((), 2.0) if value == "single" else t.arange(100.0, 100 + int(np.prod(shape))).reshape(shape)
        v.requires_grad_()
        y = x * 1
        y[key(t)] = 7 if value == "number" else v
        # a tensor overwritten as a whole has no history here, where PyTorch sends zeros back
        if y.requires_grad:
            (y * t.arange(1.0, 25).reshape(2, 3, 4)).sum().backward()
        return y, gradient(t, x), gradient(t, v)

    equal(*both(run))


ERRORS: dict[str, Callable[[Any, Any], Any]] = {
    "out of range": lambda t, x: x[5],
    "negative out of range": lambda t, x: x[0, -4],
    "too many": lambda t, x: x[0, 0, 0, 0],
    "0-d": lambda t, x: t.tensor(1.0)[0],
    "0-d slice": lambda t, x: t.tensor(1.0)[:],
    "step 0": lambda t, x: x[::0],
    "negative step": lambda t, x: x[::-1],
    "float": lambda t, x: x[1.0],
    "float tensor": lambda t, x: x[t.tensor([1.0])],
    "int16 tensor": lambda t, x: x[t.tensor([1], dtype=t.int16)],
    "set": lambda t, x: x[{0}],
    "float slice": lambda t, x: x[0:1.5],
    "tensor out of range": lambda t, x: x[t.tensor([2])],
    "0-d tensor out of range": lambda t, x: x[t.tensor(2)],
    "mask of another shape": lambda t, x: x[t.tensor([True, False, True])],
    "tensors that do not broadcast": lambda t, x: x[t.tensor([0, 1]), t.tensor([0, 1, 2])],
    "value too large": lambda t, x: x.__setitem__(0, t.ones(3)),
    "value too large 0-d": lambda t, x: x.__setitem__((0, 0, 0), t.ones(2)),
    "value beside tensor": lambda t, x: x.__setitem__(t.tensor([0]), t.ones(3)),
    "value of another dtype": lambda t, x: x.__setitem__(t.tensor([0]), t.ones(4, dtype=t.int64)),
    "value beside mask": lambda t, x: x.__setitem__(x > 3, t.ones(3)),
    "a list as value": lambda t, x: x.__setitem__(0, [1, 2, 3, 4]),
    "a string as value": lambda t, x: x.__setitem__(0, "a"),
    "none as value": lambda t, x: x.__setitem__(0, None),
    "gather ndim": lambda t, x: t.gather(x, 0, t.tensor([1])),
    "gather size": lambda t, x: t.gather(x, 0, t.zeros(1, 9, 4, dtype=t.int64)),
    "gather dtype": lambda t, x: t.gather(x, 0, t.tensor([[[1.0]]])),
    "gather dim": lambda t, x: t.gather(x, 3, t.tensor([[[1]]])),
    "gather range": lambda t, x: t.gather(x, 0, t.tensor([[[5]]])),
    "scatter range": lambda t, x: x.scatter(0, t.tensor([[[5]]]), 1.0),
    "scatter dtype": lambda t, x: x.scatter(0, t.tensor([[[1]]]), t.tensor([[[1]]])),
    "scatter size": lambda t, x: x.scatter(0, t.tensor([[[1, 1]]]), t.tensor([[[1.0]]])),
    "scatter ndim": lambda t, x: x.scatter(0, t.tensor([[[1]]]), t.tensor(1.0)),
    "scatter reduce": lambda t, x: x.scatter(0, t.tensor([[[1]]]), 1.0, reduce="foo"),
    "scatter_reduce": lambda t, x: x.scatter_reduce(0, t.tensor([[[1]]]), t.tensor([[[1.0]]]), "foo"),
    "index_select range": lambda t, x: t.index_select(x, 0, t.tensor([5])),
    "index_select ndim": lambda t, x: t.index_select(x, 0, t.tensor([[0]])),
    "index_select dtype": lambda t, x: t.index_select(x, 0, t.tensor([0.0])),
    "index_add size": lambda t, x: x.index_add(0, t.tensor([1]), t.ones(2, 3, 4)),
    "index_add shape": lambda t, x: x.index_add(0, t.tensor([1]), t.ones(1, 3)),
    "index_add dtype": lambda t, x: x.index_add(0, t.tensor([1]), t.ones(1, 3, 4, dtype=t.int64)),
    "index_reduce size": lambda t, x: x.index_reduce(0, t.tensor([1]), t.ones(2, 3, 4), "mean"),
    "index_reduce dtype": lambda t, x: x.index_reduce(0, t.tensor([1]), t.ones(1, 3, 4, dtype=t.int64), "mean"),
    "index_reduce": lambda t, x: x.index_reduce(0, t.tensor([1]), t.ones(1, 3, 4), "sum"),
    "unravel_index dtype": lambda t, x: t.unravel_index(x, (2, 3)),
    "unravel_index shape": lambda t, x: t.unravel_index(t.tensor([1]), (2.5,)),
    "unravel_index negative": lambda t, x: t.unravel_index(t.tensor([1]), (-2,)),
    "index_copy size": lambda t, x: x.index_copy(0, t.tensor([1]), t.ones(2, 3, 4)),
    "index_fill ndim": lambda t, x: x.index_fill(0, t.tensor([1]), t.ones(1)),
    "index_put none": lambda t, x: x.index_put((None, t.tensor([0])), t.tensor(5.0)),
    "masked_fill ndim": lambda t, x: x.masked_fill(x > 5, t.ones(1)),
    "masked_fill dtype": lambda t, x: x.masked_fill(x, 1),
    "masked_select dtype": lambda t, x: x.masked_select(x),
    "masked_scatter short": lambda t, x: x.masked_scatter(x > 8, t.ones(2)),
    "masked_scatter dtype": lambda t, x: x.masked_scatter(x > 8, t.ones(24, dtype=t.int64)),
    "take range": lambda t, x: x.take(t.tensor([24])),
    "put size": lambda t, x: x.put(t.tensor([0, 1]), t.ones(1)),
    "take_along_dim": lambda t, x: t.take_along_dim(x, t.tensor([0, 1]), 1),
    "where one side": lambda t, x: t.where(x > 3, x),
    "where dtype": lambda t, x: t.where(x, x, x),
    "embedding range": lambda t, x: t.nn.functional.embedding(t.tensor([5]), x[0]),
    "embedding dtype": lambda t, x: t.nn.functional.embedding(t.tensor([0.0]), x[0]),
    "embedding ndim": lambda t, x: t.nn.functional.embedding(t.tensor([0]), x[0, 0]),
    "one_hot range": lambda t, x: t.nn.functional.one_hot(t.tensor([0, 2]), 2),
    "one_hot negative": lambda t, x: t.nn.functional.one_hot(t.tensor([-1]), 2),
    "one_hot dtype": lambda t, x: t.nn.functional.one_hot(t.tensor([0.0]), 2),
    "one_hot empty": lambda t, x: t.nn.functional.one_hot(t.zeros(0, dtype=t.int64)),
    "searchsorted side": lambda t, x: t.searchsorted(t.ones(2), t.ones(2), side="foo"),
    "searchsorted sides": lambda t, x: t.searchsorted(t.ones(2), t.ones(2), side="left", right=True),
    "searchsorted shape": lambda t, x: t.searchsorted(t.ones(2, 3), t.ones(3, 2)),
    "searchsorted number": lambda t, x: t.searchsorted(t.ones(2, 3), 1.0),
    "bucketize": lambda t, x: t.bucketize(t.ones(2), t.ones(2, 2)),
}


@pytest.mark.parametrize("call", ERRORS.values(), ids=ERRORS)
def test_errors(call: Callable[[Any, Any], Any]) -> None:
    with pytest.raises(Exception) as theirs:  # noqa: PT011
        call(torch, torch.tensor(DATA))
    with pytest.raises(Exception) as ours:  # noqa: PT011
        call(gc, gc.tensor(DATA))
    assert isinstance(ours.value, gc.errors.GraphcError)
    wanted = next(c for c in (IndexError, ValueError, TypeError, RuntimeError) if isinstance(theirs.value, c))
    assert isinstance(ours.value, wanted), (theirs.value, ours.value)


X34 = np.arange(12.0, dtype=np.float32).reshape(3, 4)
AT = np.array([[0, 2, 1, 0], [1, 0, 2, 2]])  # distinct in each column
TWICE = np.array([[0, 0, 1], [3, 3, 3], [2, 1, 2]])
SRC = np.linspace(-2, 3, 12, dtype=np.float32).reshape(3, 4)

CALLS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "gather 0": lambda t, x, s: t.gather(x, 0, t.tensor(AT)),
    "gather 1": lambda t, x, s: x.gather(1, t.tensor(TWICE)),
    "gather int32": lambda t, x, s: x.gather(-1, t.tensor(TWICE, dtype=t.int32)),
    "gather 0-d": lambda t, x, s: t.gather(x[0, 1], 0, t.tensor(0)),
    "gather 0-d by 1-d": lambda t, x, s: t.gather(x[0, 1], 0, t.tensor([0, 0])),
    "gather 1-d by 0-d": lambda t, x, s: t.gather(x[0], 0, t.tensor(2)),
    "take_along_dim": lambda t, x, s: t.take_along_dim(x, t.tensor([[0], [1], [2]]), 1),
    "take_along_dim broadcast": lambda t, x, s: t.take_along_dim(x, t.tensor([[0, 3]]), dim=1),
    "take_along_dim flat": lambda t, x, s: t.take_along_dim(x, t.tensor([[0], [1]])),
    "scatter": lambda t, x, s: x.scatter(0, t.tensor(AT), s[:2]),
    "scatter larger src": lambda t, x, s: x.detach().scatter(0, t.tensor(AT), s.detach()),
    "scatter_add larger src": lambda t, x, s: x.detach().scatter_add(1, t.tensor(TWICE), s.detach()),
    "scatter_reduce smaller index": lambda t, x, s: x.scatter_reduce(1, t.tensor(TWICE[:2, :2]), s[:2, :2], "amin"),
    "scatter number": lambda t, x, s: t.scatter(x, 0, t.tensor(AT), 5),
    "scatter value": lambda t, x, s: x.scatter(0, t.tensor(AT), value=5),
    "scatter add": lambda t, x, s: x.detach().scatter(1, t.tensor(TWICE), s.detach(), reduce="add"),
    "scatter multiply": lambda t, x, s: x.detach().scatter(1, t.tensor(TWICE), s.detach(), reduce="multiply"),
    "scatter multiply number": lambda t, x, s: x.detach().scatter(1, t.tensor(TWICE), 3.0, reduce="multiply"),
    "scatter_": lambda t, x, s: (x * 1).scatter_(0, t.tensor(AT), s[:2]),
    "scatter int": lambda t, x, s: x.long().scatter(0, t.tensor(AT), 1.5),
    "scatter_add": lambda t, x, s: x.scatter_add(1, t.tensor(TWICE), s[:, :3]),
    "scatter_add_": lambda t, x, s: (x * 1).scatter_add_(1, t.tensor(TWICE), s[:, 1:]),
    **{
        f"scatter_reduce {reduce} {own}": lambda t, x, s, reduce=reduce, own=own: x.scatter_reduce(
            1, t.tensor(TWICE), s[:, :3], reduce, include_self=own
        )
        for reduce in ("sum", "prod", "mean", "amax", "amin")
        for own in (True, False)
    },
    "scatter_reduce ties": lambda t, x, s: x.scatter_reduce(1, t.tensor(TWICE), s[:, :3] * 0 + 3, "amax"),
    "scatter_reduce int mean": lambda t, x, s: x.long().scatter_reduce(1, t.tensor(TWICE), s.long(), "mean"),
    "scatter_reduce int amax": lambda t, x, s: x.long().scatter_reduce(0, t.tensor(AT), s.long(), "amax"),
    "index_select": lambda t, x, s: x.index_select(1, t.tensor([3, 0, 0])),
    "index_select 0-d index": lambda t, x, s: x.index_select(0, t.tensor(1)),
    "index_select 0-d": lambda t, x, s: t.index_select(x[0, 0], 0, t.tensor([0])),
    "index_add": lambda t, x, s: x.index_add(0, t.tensor([1, 1, 0]), s, alpha=2),
    "index_add 1": lambda t, x, s: x.index_add(-1, t.tensor([1, 1, 0, 3]), s),
    "index_add_": lambda t, x, s: (x * 1).index_add_(0, t.tensor([1, 1, 0]), s),
    **{
        f"index_reduce {reduce} {own}": lambda t, x, s, reduce=reduce, own=own: x.index_reduce(
            0, t.tensor([1, 1, 0]), s + 0.3, reduce, include_self=own
        )
        for reduce in ("prod", "mean", "amax", "amin")
        for own in (True, False)
    },
    "index_reduce_": lambda t, x, s: (x * 1).index_reduce_(1, t.tensor([1, 1, 0, 3]), s, "amax"),
    "unravel_index": lambda t, x, s: t.unravel_index(t.tensor([[11, 0], [7, 30]]), (2, 3, 4)),
    "unravel_index number": lambda t, x, s: t.unravel_index(t.tensor(3), 2),
    "index_copy": lambda t, x, s: x.index_copy(0, t.tensor([2, 0, 1]), s),
    "index_fill": lambda t, x, s: x.index_fill(1, t.tensor([2, 0]), 7),
    "index_fill tensor": lambda t, x, s: x.index_fill(1, t.tensor([2, -1]), t.tensor(7.0)),
    "index_fill int": lambda t, x, s: x.long().index_fill(1, t.tensor([2, 0]), 1.5),
    "index_put": lambda t, x, s: x.index_put((t.tensor([2, 0, 1]),), s),
    "index_put accumulate": lambda t, x, s: x.index_put(
        (t.tensor([0, 0, 1]), t.tensor([1, 1, 2])), s[:, 0], accumulate=True
    ),
    "index_put single": lambda t, x, s: x.index_put((t.tensor([0, 2]),), t.tensor(5.0)),
    "index_put mask": lambda t, x, s: x.index_put((x > 5,), t.tensor(0.0)),
    "index_put_": lambda t, x, s: (x * 1).index_put_((t.tensor([0, 2]), t.tensor([1, 3])), s[0, :2]),
    "masked_fill": lambda t, x, s: x.masked_fill(x > 5, -1),
    "masked_fill tensor": lambda t, x, s: x.masked_fill(x > 5, s[0, 0]),
    "masked_fill broadcast": lambda t, x, s: x.masked_fill(t.tensor([True, False, False, True]), float("-inf")),
    "masked_fill larger": lambda t, x, s: x[0].masked_fill(x > 5, 1),
    "masked_fill int": lambda t, x, s: x.long().masked_fill(x > 5, 1.5),
    "masked_fill_": lambda t, x, s: (x * 1).masked_fill_(x > 5, 0.0),
    "masked_select": lambda t, x, s: x.masked_select(x > 8),
    "masked_select broadcast": lambda t, x, s: t.masked_select(x, t.tensor([True, False, False, True])),
    "masked_scatter": lambda t, x, s: x.masked_scatter(x > 7, s),
    "masked_scatter_": lambda t, x, s: (x * 1).masked_scatter_(x > 7, s),
    "take": lambda t, x, s: x.take(t.tensor([[0, -1], [5, 5]])),
    "put": lambda t, x, s: x.put(t.tensor([0, 5]), s[0, :2]),
    "put accumulate": lambda t, x, s: x.put(t.tensor([0, 0]), s[0, :2], accumulate=True),
    "put_": lambda t, x, s: (x * 1).put_(t.tensor([0, 5]), s[0, :2]),
    "nonzero": lambda t, x, s: t.nonzero(x > 8),
    "nonzero 0-d": lambda t, x, s: t.nonzero(t.tensor(3.0)),
    "nonzero tuple": lambda t, x, s: t.nonzero(x > 8, as_tuple=True),
    "nonzero tuple 0-d": lambda t, x, s: t.nonzero(t.tensor(3.0), as_tuple=True),
    "argwhere": lambda t, x, s: t.argwhere(x > 9),
    "where": lambda t, x, s: t.where(x > 5, x, s),
    "where numbers": lambda t, x, s: t.where(x > 5, 1, 0),
    "where number": lambda t, x, s: t.where(x > 5, x, 0),
    "where promotes": lambda t, x, s: t.where(x > 5, x.detach().long(), 0.5),
    "where alone": lambda t, x, s: t.where(x > 9),
    "embedding": lambda t, x, s: t.nn.functional.embedding(t.tensor([[0, 2], [2, 2]]), x),
    "embedding padding": lambda t, x, s: t.nn.functional.embedding(t.tensor([[0, 2], [2, 1]]), x, padding_idx=-1),
    "embedding 0-d": lambda t, x, s: t.nn.functional.embedding(t.tensor(1), x),
    "one_hot": lambda t, x, s: t.nn.functional.one_hot(t.tensor([[0, 2]])),
    "one_hot wide": lambda t, x, s: t.nn.functional.one_hot(t.tensor([0, 2]), 5),
    "one_hot 0-d": lambda t, x, s: t.nn.functional.one_hot(t.tensor(1), 3),
    "one_hot empty": lambda t, x, s: t.nn.functional.one_hot(t.zeros(0, dtype=t.int64), 3),
    "searchsorted": lambda t, x, s: t.searchsorted(x[0].detach(), t.tensor([[1.0, 1.5, -1], [9, 2, float("nan")]])),
    "searchsorted right": lambda t, x, s: t.searchsorted(x[0].detach(), t.tensor([1.0, 2.5]), right=True),
    "searchsorted rows": lambda t, x, s: t.searchsorted(x.detach(), s.detach(), side="right", out_int32=True),
    "searchsorted long": lambda t, x, s: t.searchsorted(t.arange(100.0) // 3, t.arange(-2.0, 40) / 1.3),
    "searchsorted long right": lambda t, x, s: t.searchsorted(t.arange(100.0) // 3, t.arange(-2.0, 40), right=True),
    "searchsorted number": lambda t, x, s: t.searchsorted(t.tensor([1, 3, 5]), 4),
    "searchsorted sorter": lambda t, x, s: t.searchsorted(
        t.tensor([3.0, 1.0]), t.tensor([2.0, 3.5]), sorter=t.tensor([1, 0])
    ),
    "bucketize": lambda t, x, s: t.bucketize(x.detach(), t.tensor([1.0, 4.0, 4.5, 9.0])),
    "bucketize number": lambda t, x, s: t.bucketize(3, t.tensor([1, 3, 5]), right=True),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.filterwarnings("ignore:The reduce argument of torch.scatter", "ignore:index_reduce.. is in beta")
def test_functions(call: Callable[[Any, Any, Any], Any]) -> None:
    def run(t: Any) -> tuple[Any, ...]:
        x, s = t.tensor(X34, requires_grad=True), t.tensor(SRC, requires_grad=True)
        y = call(t, x, s)
        if isinstance(y, tuple) or not y.requires_grad or not y.numel():
            return (y,)
        z = y.masked_fill(y.detach() == float("-inf"), 0.0) * t.arange(1.0, y.numel() + 1).reshape(y.shape)
        (z * z).sum().backward()
        return y, gradient(t, x), gradient(t, s)

    equal(*both(run))


def test_views_of_views_write_through() -> None:
    def run(t: Any) -> Any:
        x = t.tensor(DATA)
        row = x[1]
        row[::2, 1] = -1
        x[:, 0][0] += 50
        x[0].t()[1, 2].fill_(77)
        x[..., None][0, 0, 0, 0] = 5
        return x

    equal(*both(run))


def test_twice_differentiable() -> None:
    def run(t: Any) -> tuple[Any, ...]:
        x = t.tensor(X34, requires_grad=True)
        y = t.gather(x, 0, t.tensor(AT)).pow(3).sum() + x[t.tensor([0, 0, 2]), 1].pow(3).sum()
        y = y + x.scatter(0, t.tensor(AT), x[:2] * 2).pow(3).sum()
        (g,) = t.autograd.grad(y, x, create_graph=True)
        (h,) = t.autograd.grad(g.pow(2).sum(), x)
        return g, h

    equal(*both(run))


def test_embedding_max_norm() -> None:
    def run(t: Any) -> tuple[Any, ...]:
        weight = t.tensor(X34)
        out = t.nn.functional.embedding(t.tensor([1, 1, 0]), weight, max_norm=3.0)
        return out, weight

    equal(*both(run))
