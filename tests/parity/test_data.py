"""The DataLoader and its parts against PyTorch: same batches, same types, same error classes."""

from __future__ import annotations

from collections import OrderedDict, namedtuple

import numpy as np
import pytest

import graphc.utils.data as ours
from graphc.functions.creation import tensor

torch = pytest.importorskip("torch")
theirs = pytest.importorskip("torch.utils.data")
pytestmark = pytest.mark.parity

Pair = namedtuple("Pair", "x y")


def shown(x):
    """A batch as plain values with the names of its types."""
    if hasattr(x, "tolist"):
        return str(x.dtype).rpartition(".")[2], tuple(x.shape), x.tolist()
    if isinstance(x, dict):
        return type(x).__name__, [(key, shown(value)) for key, value in x.items()]
    if isinstance(x, list | tuple):
        return type(x).__name__, [shown(value) for value in x]
    return x


SAMPLES = {
    "floats": lambda t: [1.0, 2.0],
    "ints": lambda t: [1, 2],
    "bools": lambda t: [True, False],
    "strings": lambda t: ["a", "b"],
    "tensors": lambda t: [t([1.0]), t([2.0])],
    "arrays": lambda t: [np.ones((2, 3), np.float32), np.zeros((2, 3), np.float32)],
    "scalars": lambda t: [np.float32(1), np.float32(2)],
    "tuples": lambda t: [(1, t(2.0)), (3, t(4.0))],
    "lists": lambda t: [[1, "a"], [2, "b"]],
    "dicts": lambda t: [{"x": 1, "y": (t([1]), 2.0)}, {"x": 2, "y": (t([3]), 4.0)}],
    "ordered": lambda t: [OrderedDict(b=1, a=2)] * 2,
    "named": lambda t: [Pair(1, 2.0), Pair(3, 4.0)],
    "uneven": lambda t: [(1, 2), (1,)],
    "nothing": lambda t: [None, None],
    "objects": lambda t: [object()] * 2,
    "text-arrays": lambda t: [np.array(["a"])] * 2,
    "sizes": lambda t: [t([1.0]), t([1.0, 2.0])],
}


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("function", ["default_collate", "default_convert"])
def test_collation(name, function):
    make = SAMPLES[name]
    if function == "default_convert" and name == "objects":
        return
    try:
        want = shown(getattr(theirs, function)(make(torch.tensor)))
    except Exception as error:
        with pytest.raises(type(error)):
            getattr(ours, function)(make(tensor))
        return
    assert shown(getattr(ours, function)(make(tensor))) == want


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch_size": 3},
        {"batch_size": 3, "drop_last": True},
        {"batch_size": None},
        {"batch_size": 2, "sampler": [4, 0, 3]},
        {"batch_sampler": [[0, 1], [4]]},
        {"batch_size": 2, "collate_fn": len},
    ],
    ids=str,
)
def test_loaders(options):
    x, y = np.arange(10.0).reshape(5, 2), np.arange(5)
    mine = ours.DataLoader(ours.TensorDataset(tensor(x), tensor(y)), **options)
    its = theirs.DataLoader(theirs.TensorDataset(torch.tensor(x), torch.tensor(y)), **options)
    assert len(mine) == len(its)
    assert shown(list(mine)) == shown(list(its))
    for name in ("batch_size", "drop_last", "num_workers", "pin_memory", "timeout", "prefetch_factor"):
        assert getattr(mine, name) == getattr(its, name)


CALLS = {
    "no samples": lambda d, t: d.RandomSampler([]),
    "no draws": lambda d, t: d.RandomSampler([1], num_samples=0),
    "flag": lambda d, t: d.RandomSampler([1], replacement=1),
    "weights": lambda d, t: d.WeightedRandomSampler([[1.0]], 1),
    "no weighted draws": lambda d, t: d.WeightedRandomSampler([1.0], 0),
    "batch": lambda d, t: d.BatchSampler([1], 0, False),
    "drop": lambda d, t: d.BatchSampler([1], 1, 1),
    "lengths": lambda d, t: d.random_split([1, 2], [3]),
    "fractions": lambda d, t: d.random_split([1, 2], [1.5, -0.5]),
    "rows": lambda d, t: d.TensorDataset(t([1]), t([1, 2])),
    "stack": lambda d, t: d.StackDataset([1], [1, 2]),
    "concat": lambda d, t: d.ConcatDataset([]),
    "concat index": lambda d, t: d.ConcatDataset([[1]])[-2],
    "abstract": lambda d, t: d.Dataset()[0],
    "workers": lambda d, t: d.DataLoader([1], num_workers=-1),
    "timeout": lambda d, t: d.DataLoader([1], timeout=-1),
    "prefetch": lambda d, t: d.DataLoader([1], prefetch_factor=1),
    "persistent": lambda d, t: d.DataLoader([1], persistent_workers=True),
    "sampler": lambda d, t: d.DataLoader([1], sampler=[0], shuffle=True),
    "batch sampler": lambda d, t: d.DataLoader([1], batch_sampler=[[0]], drop_last=True),
    "no batch": lambda d, t: d.DataLoader([1], batch_size=None, drop_last=True),
    "stream": lambda d, t: d.DataLoader(d.ChainDataset([]), shuffle=True),
    "abstract stream": lambda d, t: d.IterableDataset(),
    "set later": lambda d, t: setattr(d.DataLoader([1]), "batch_size", 3),
}


@pytest.mark.parametrize("name", CALLS)
def test_error_classes(name):
    with pytest.raises(Exception) as error:  # noqa: PT011  whatever PyTorch raises
        CALLS[name](theirs, torch.tensor)
    with pytest.raises(error.type):
        CALLS[name](ours, tensor)
