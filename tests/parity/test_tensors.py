"""What a Tensor is and how Python handles it, against PyTorch: properties, memory, conversions, protocols."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from side_by_side import agree, compare, refuse

import graphc as gc

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

X = np.arange(12.0).reshape(3, 4)
ONE = np.array(1.5)
K = np.arange(6).reshape(2, 3)
DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64")


def said(x: Any) -> Any:
    """A result without the library's name: dtypes, devices and sizes as plain text or tuples."""
    if isinstance(x, gc.dtype | torch.dtype | gc.device | torch.device):
        return str(x).replace("graphc.", "torch.")
    return tuple(x) if isinstance(x, gc.Size | torch.Size) else x


FACTS: dict[str, Any] = {
    "sizes": lambda m, x: [x.shape, x.size(), x.size(0), x.size(-1), x.ndim, x.dim(), x.ndimension(), x.shape.numel()],
    "counts": lambda m, x: [x.numel(), x.nelement(), x.element_size(), x.itemsize, x.nbytes],
    "dtype": lambda m, x: [x.dtype, x.is_floating_point(), x.is_complex(), x.is_signed()],
    "device": lambda m, x: [
        x.device,
        x.get_device(),
        x.is_cuda,
        x.is_sparse,
        x.is_quantized,
        x.is_mps,
        str(x.layout)[-7:],
    ],
    "strides": lambda m, x: [x.stride(), x.stride(0), x.t().stride(), x[:, 1:].stride(-1), x.storage_offset()],
    "offsets": lambda m, x: [x[1:].storage_offset(), x[1:, 2:].storage_offset(), x.t()[1].storage_offset()],
    "contiguity": lambda m, x: [
        x.is_contiguous(),
        x.t().is_contiguous(),
        x[:, ::2].is_contiguous(),
        x[1:].is_contiguous(),
    ],
    "same": lambda m, x: [
        x.contiguous() is x,
        x.to(x.dtype) is x,
        x.cpu() is x,
        x.share_memory_() is x,
        x.is_set_to(x.detach()),
    ],
    "addresses": lambda m, x: [
        x[1:].data_ptr() - x.data_ptr(),
        x.t().data_ptr() == x.data_ptr(),
        x.clone().data_ptr() == x.data_ptr(),
        x.t().contiguous().data_ptr() == x.data_ptr(),
    ],
    "types": lambda m, x: [x.type(), x.int().type(), x.type_as(x > 0).type()],
    "lists": lambda m, x: [
        x.tolist(),
        x[0].tolist(),
        x[0, 0].tolist(),
        (x > 3).tolist(),
        x[0, 0].item(),
        (x > 3)[0, 0].item(),
    ],
    "length": lambda m, x: [len(x), len(x[0]), len(x[:0])],
    "contains": lambda m, x: [3.0 in x, 99 in x, x[0, 1] in x],
    "numbers": lambda m, x: [
        float(x[0, 1]),
        int(x[1, 1]),
        bool(x[0, 0]),
        complex(x[1, 0]),
        [10, 20, 30][m.tensor(1)],
        x[2, 3].int().__index__(),
        f"{x[1, 1]:.2f}",
        round(float(x[2, 0]), 1),
    ],
    "hash": lambda m, x: [hash(x) == hash(x), hash(x) == hash(x.clone()), len({x, x, x.clone()})],
    "grad": lambda m, x: [x.requires_grad, x.is_leaf, x.grad_fn is None, x.grad is None, x.output_nr, x.retains_grad],
    "device objects": lambda m, x: [
        m.device("cpu"),
        m.device("cpu").type,
        m.device("cpu") == x.device,
        m.device("cpu").index,
    ],
    "size objects": lambda m, x: [
        m.Size([2, 3]),
        m.Size([2, 3]).numel(),
        m.Size([2, 3])[1:],
        (*m.Size([2]), 1),
        m.Size([2, 3]) == (2, 3),
        m.Size([2, 3]).__add__((4,)),
    ],
    "dtype objects": lambda m, x: [
        m.float32.itemsize,
        m.int8.is_floating_point,
        m.uint8.is_signed,
        str(m.bool),
        repr(m.half),
    ],
}


@pytest.mark.parametrize("name", FACTS)
@pytest.mark.parametrize("dtype", ["float32", "int64", "bfloat16"])
def test_facts(name: str, dtype: str) -> None:
    found = [[said(v) for v in FACTS[name](m, m.tensor(X.tolist()).to(getattr(m, dtype)))] for m in (gc, torch)]
    if name == "dtype objects":
        found[0] = [str(v).replace("graphc.", "torch.") for v in found[0]]
        found[1] = [str(v) for v in found[1]]
    assert found[0] == found[1]


MAKERS: dict[str, Any] = {
    "new_tensor": lambda m, x: (x.new_tensor([1, 2]), x.new_tensor(3.5), x.new_tensor([1], dtype=m.int32)),
    "new_zeros": lambda m, x: (
        x.new_zeros(2, 3),
        x.new_zeros((2,)),
        x.new_zeros(2, dtype=m.float64),
        x.new_ones(2),
        x.new_ones((1, 2)),
    ),
    "new_full": lambda m, x: (x.new_full((2,), 3.0), x.new_full((2, 2), 1, dtype=m.int64)),
    "new": lambda m, x: (
        x.new([1.0, 2.0]),
        m.zeros_like(x.new(2, 3)),
        m.zeros_like(x.new_empty(2, 3)),
        x.new_empty((0,)),
    ),
    "casts": lambda m, x: (
        x.half(),
        x.bfloat16(),
        x.float(),
        x.double(),
        x.int(),
        x.long(),
        x.short(),
        x.char(),
        x.byte(),
        x.bool(),
    ),
    "to": lambda m, x: (
        x.to(m.float64),
        x.to("cpu"),
        x.to("cpu", m.int32),
        x.to(m.zeros(1, dtype=m.int8)),
        x.to(dtype=m.half),
        x.to(device="cpu"),
        x.to(m.device("cpu"), copy=True),
        x.to("cpu", non_blocking=True),
    ),
    "type": lambda m, x: (x.type(m.float64), x.type("torch.IntTensor"), x.type_as(m.zeros(1, dtype=m.int8))),
    "copies": lambda m, x: (x.clone(), x.contiguous(), x.t().contiguous(), x.detach(), x.data, x.cpu()),
    "writes": lambda m, x: ((x * 1).copy_(m.ones(4)), (x * 1).fill_(3), (x * 1).zero_(), (x * 1).copy_(m.tensor(2))),
    "positions": lambda m, x: (x[1], x[-1, 2], x[:, 1:3], x[..., None], x[x > 3], x[m.tensor([2, 0])]),
    "legacy": lambda m, x: (
        m.Tensor([1, 2]),
        m.zeros_like(m.Tensor(2, 3)),
        m.FloatTensor([1, 2]),
        m.LongTensor([1]),
        m.DoubleTensor([1.5]),
        m.IntTensor([1]),
        m.ShortTensor([1]),
        m.CharTensor([1]),
        m.ByteTensor([1]),
        m.BoolTensor([True]),
        m.HalfTensor([1.5]),
        m.BFloat16Tensor([1.5]),
    ),
    "iteration": lambda m, x: (*x, *x[0]),
    "reversed": lambda m, x: tuple(reversed(list(x))),
    "bits": lambda m, x: (x.float().view(m.int32), x.float().view(3, 4)),
    "sizes": lambda m, x: ((x * 1).resize_(2, 3), (x * 1).resize_((4, 3))),
    "set_": lambda m, x: (x * 1).set_(m.ones(2, dtype=x.dtype)),
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("dtype", ["float32", "int64", "float64"])
def test_makers(name: str, dtype: str) -> None:
    agree(
        torch,
        MAKERS[name],
        X.astype(dtype),
        grad=name not in ("bits", "sizes", "set_", "new", "legacy", "positions", "to", "type"),
    )


REFUSED: dict[str, Any] = {
    "cuda": lambda m, x: x.cuda("cuda:7"),
    "cuda module": lambda m, x: m.nn.Linear(1, 1).cuda(7),
    "item": lambda m, x: x.item(),
    "bool": lambda m, x: bool(x),
    "float": lambda m, x: float(x),
    "int": lambda m, x: int(x),
    "no bool": lambda m, x: bool(x[:0]),
    "index": lambda m, x: [1, 2][x[0, 0]],
    "index many": lambda m, x: [1][x.long()],
    "len": lambda m, x: len(x[0, 0]),
    "iter": lambda m, x: iter(x[0, 0]),
    "numpy": lambda m, x: x.requires_grad_().numpy(),
    "array": lambda m, x: np.asarray(x.requires_grad_()),
    "contains": lambda m, x: "a" in x,
    "size": lambda m, x: x.size(5),
    "stride": lambda m, x: x.stride(5),
    "format": lambda m, x: f"{x:.2f}",
    "requires_grad": lambda m, x: x.long().requires_grad_(),
    "change of a result": lambda m, x: (x.requires_grad_() * 2).requires_grad_(False),
    "grad": lambda m, x: setattr(x, "grad", m.ones(2)),
    "grad kind": lambda m, x: setattr(x, "grad", 3),
    "grad dtype": lambda m, x: setattr(x, "grad", x.double() if x.dtype is m.float32 else x.float()),
    "data": lambda m, x: setattr(x, "data", 3),
    "deepcopy": lambda m, x: copy.deepcopy(x.requires_grad_() * 2),
    "copy_": lambda m, x: x.copy_(m.ones(5)),
    "copy_ kind": lambda m, x: x.copy_("a"),
    "fill_": lambda m, x: x.fill_(m.ones(2)),
    "view": lambda m, x: x.t().view(12),
    "hook": lambda m, x: x.register_hook(print),
    "retain": lambda m, x: x.retain_grad(),
    "detach_": lambda m, x: (x.requires_grad_() * 2)[0].detach_(),
    "to": lambda m, x: x.to("nowhere"),
    "device": lambda m, x: m.device("nowhere"),
    "new_full": lambda m, x: x.new_full(2),
    "new_zeros": lambda m, x: x.new_zeros(-1),
    "type": lambda m, x: x.type("torch.Nothing"),
    "attribute": lambda m, x: x.nothing,
    "leaf fill": lambda m, x: x.requires_grad_().fill_(0),
    "shape": lambda m, x: setattr(x, "shape", (1,)),
    "call": lambda m, x: x(),
    "backward": lambda m, x: x.backward(),
    "del": lambda m, x: x.__delitem__(0),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name: str) -> None:
    refuse(torch, REFUSED[name], X.astype(np.float32))


@pytest.mark.parametrize("dtype", DTYPES)
def test_copies_and_pickles(dtype: str) -> None:
    for make in (copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))):
        ours, theirs = (m.tensor([[1, 0], [2, 3]]).to(getattr(m, dtype)) for m in (gc, torch))
        mine, its = make(ours), make(theirs)
        compare(mine, its)
        mine.fill_(1)
        its.fill_(1)
        compare(ours, theirs)


def test_copies_keep_requires_grad_and_grad() -> None:
    for m in (gc, torch):
        x = m.ones(3, requires_grad=True)
        (x * 2).sum().backward()
        again = copy.deepcopy(x)
        assert again.is_leaf and again.requires_grad and again.grad is not x.grad and again.grad.tolist() == [2.0] * 3
        assert pickle.loads(pickle.dumps(x)).requires_grad
        both = copy.deepcopy([x, x])
        assert both[0] is both[1]


def test_numpy_shares_memory_both_ways() -> None:
    for m in (gc, torch):
        array = np.zeros(3, np.float32)
        x = m.from_numpy(array)
        array[0] = 1
        x[1] = 2
        assert x.tolist() == [1, 2, 0] and array.tolist() == [1, 2, 0]
        x.numpy()[2] = 3
        assert x.tolist() == [1, 2, 3] and np.asarray(x).tolist() == [1, 2, 3]
        assert m.as_tensor(array).data_ptr() == x.data_ptr() and m.tensor(array).data_ptr() != x.data_ptr()
        assert x.__array__(np.float64).dtype == np.float64
        assert m.ones(2, requires_grad=True).numpy(force=True).tolist() == [1, 1]


SHARING = {
    "detach": (lambda x: x.detach(), True),
    "data": (lambda x: x.data, True),
    "clone": (lambda x: x.clone(), False),
    "view": (lambda x: x.view(4, 3), True),
    "contiguous": (lambda x: x.contiguous(), True),
    "transposed": (lambda x: x.t().contiguous(), False),
    "to": (lambda x: x.to(copy=True, dtype=x.dtype), False),
    "copy": (lambda x: copy.copy(x), True),
    "getitem": (lambda x: x[1:], True),
    "index": (lambda x: x[[0, 1]], False),
    "float": (lambda x: x.float(), True),
    "double": (lambda x: x.double(), False),
}


@pytest.mark.parametrize("name", SHARING)
def test_sharing(name: str) -> None:
    make, shares = SHARING[name]
    for m in (gc, torch):
        x = m.zeros(3, 4)
        make(x).add_(1)
        assert bool(x.any()) == shares, m.__name__


def test_data_is_seen_and_not_watched() -> None:
    for m in (gc, torch):
        x = m.ones(2, requires_grad=True)
        x.data.mul_(3)
        assert x.tolist() == [3, 3] and x.is_leaf and not x.data.requires_grad
        x.data = m.zeros(2)
        assert x.tolist() == [0, 0] and x.requires_grad
        y = (x * 2).detach_()
        assert y.is_leaf and not y.requires_grad


@pytest.mark.parametrize("what", ["float32", "int64", "bool", "bfloat16", "float64"])
def test_repr(what: str) -> None:
    for values in ([1.0, 2.0, 3.0], [[1, 0], [0, 1]], 2.0):
        ours, theirs = (m.tensor(values).to(getattr(m, what)) for m in (gc, torch))
        assert repr(ours).replace("graphc.", "torch.") == repr(theirs)
        assert str(ours) == repr(ours)


def test_settings_of_the_library() -> None:
    for m in (gc, torch):
        x = m.rand(3, generator=m.Generator().manual_seed(3))
        assert x.tolist() == m.rand(3, generator=m.Generator().manual_seed(3)).tolist()


def test_arrays_of_tensors_that_want_a_gradient_where_none_is_recorded() -> None:
    for m in (gc, torch):
        x = m.ones(2, requires_grad=True)
        with m.no_grad():
            assert x.numpy().tolist() == np.asarray(x).tolist() == [1, 1]
            assert (x + np.ones(2)).dtype is m.float64
