"""The DataLoader and its parts against PyTorch: same batches, same types, same error classes."""

from __future__ import annotations

import contextlib
import os
import random
import warnings
from collections import OrderedDict, namedtuple

import numpy as np
import pytest

import graphc as gc
import graphc.utils.data as ours
from graphc.functions.creation import tensor

torch = pytest.importorskip("torch")
theirs = pytest.importorskip("torch.utils.data")
worker_module = pytest.importorskip("torch.utils.data._utils.worker")
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
    "context": lambda d, t: d.DataLoader([1], num_workers=1, multiprocessing_context="none"),
    "kind of context": lambda d, t: d.DataLoader([1], num_workers=1, multiprocessing_context=1),
    "context without workers": lambda d, t: d.DataLoader([1], multiprocessing_context="fork"),
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


# --- worker processes -----------------------------------------------------------------------------------------------------


class Asking:
    """Elements that say who made them. `library` is the module of the loader."""

    def __init__(self, library, fails=()):
        self.library, self.fails = library, fails

    def __len__(self):
        return 9

    def __getitem__(self, i):
        if i in self.fails:
            raise self.fails[i]
        info = self.library.get_worker_info()
        return i, info.id, info.num_workers, info.dataset is self


def asking_stream(library, count):
    """An iterable dataset of which worker i takes every so manieth element, from i on."""

    class Stream(library.IterableDataset):
        def __iter__(self):
            info = library.get_worker_info()
            return iter(range(info.id, count, info.num_workers))

    return Stream()


@pytest.mark.parametrize(
    "options",
    [
        {"num_workers": 2, "batch_size": 2},
        {"num_workers": 2, "batch_size": 2, "drop_last": True, "prefetch_factor": 1},
        {"num_workers": 2, "batch_size": None, "persistent_workers": True},
        {"num_workers": 1, "sampler": [4, 0, 3], "multiprocessing_context": "fork"},
        {"num_workers": 2, "batch_sampler": [[0, 1], [4]], "timeout": 30, "worker_init_fn": int},
    ],
    ids=str,
)
def test_workers_make_the_same_batches(options):
    mine, its = (library.DataLoader(Asking(library), **options) for library in (ours, theirs))
    assert mine.prefetch_factor == its.prefetch_factor and len(mine) == len(its)
    for _ in range(2):
        assert shown(list(mine)) == shown(list(its))
    assert ours.get_worker_info() is theirs.get_worker_info() is None


@pytest.mark.parametrize(
    "options", [{}, {"batch_size": 3}, {"batch_size": 3, "drop_last": True}, {"batch_size": None}], ids=str
)
def test_workers_share_a_stream_in_the_same_order(options):
    mine, its = (library.DataLoader(asking_stream(library, 17), num_workers=2, **options) for library in (ours, theirs))
    assert shown(list(mine)) == shown(list(its))


class Two(Exception):
    def __init__(self, a, b):
        super().__init__(a, b)


@pytest.mark.parametrize("error", [ValueError("v"), KeyError("k"), IndexError(), Two(1, 2)], ids=repr)
def test_errors_of_workers_have_the_same_class_and_words(error):
    seen = []
    for library in (ours, theirs):
        loader, batches = iter(library.DataLoader(Asking(library, {3: error}), num_workers=2)), []
        with pytest.raises(Exception) as caught:  # noqa: PT011  whatever PyTorch raises
            batches.extend(batch[0].item() for batch in loader)
        lines = str(caught.value).splitlines()
        batches.extend(batch[0].item() for batch in loader)
        seen.append((caught.type, lines[:2], lines[-1], batches))
    assert seen[0] == seen[1]


def test_seeds_of_a_worker_follow_from_the_base_seed():
    """NumPy's and random's numbers are those that PyTorch's workers draw from the same base seed."""
    made = []

    class Drawing(Asking):
        def __getitem__(self, i):
            return self.library.get_worker_info().seed, random.random(), np.random.rand()

    for i, row in enumerate(ours.DataLoader(Drawing(ours), batch_size=None, num_workers=2, sampler=[0, 1])):
        base = row[0] - i
        random.seed(row[0])
        np.random.seed(worker_module._generate_state(base, i))
        assert row[1:] == [random.random(), np.random.rand()]
        made.append(base)
    assert made[0] == made[1]


def longer(d):
    """A stream that gives more than it says."""

    class Longer(d.IterableDataset):
        def __len__(self):
            return 2

        def __iter__(self):
            return iter([1.0, 2.0, 3.0, 4.0])

        def __repr__(self):
            return "Longer"

    return Longer()


@pytest.mark.filterwarnings("always")
def test_warnings():
    def seen(make, *, asked=True):
        found = []
        for m in (gc, torch):
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                loader = make(m.utils.data)
                if asked:
                    with contextlib.suppress(TypeError):
                        len(loader)
                list(loader)
            found.append([(w.category, str(w.message)) for w in told])
        return found

    many = len(os.sched_getaffinity(0)) + 1
    for make, count in (
        (lambda d: d.DataLoader([1.0, 2.0], num_workers=many), 2),
        (lambda d: d.DataLoader([1.0, 2.0], pin_memory=True), 1),
        (lambda d: d.DataLoader(longer(d)), 2),
        (lambda d: d.DataLoader(longer(d), batch_size=3), 0),
        (lambda d: d.DataLoader([1.0, 2.0]), 0),
    ):
        ours, theirs = seen(make)
        assert ours == theirs
        assert len(ours) == count
    assert seen(lambda d: d.DataLoader(longer(d)), asked=False) == [[], []]
