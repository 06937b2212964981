"""Datasets, samplers, collation and the loader."""

from __future__ import annotations

from collections import Counter, OrderedDict, namedtuple
from types import SimpleNamespace

import numpy as np
import pytest

from graphc.core.arrays import is_array
from graphc.core.context import STATE, recording
from graphc.core.errors import ArgumentError, ArgumentTypeError
from graphc.functions.creation import tensor
from graphc.functions.random import Generator, manual_seed
from graphc.tensors import Tensor
from graphc.utils.data import (
    BatchSampler,
    ChainDataset,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    StackDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    default_convert,
    random_split,
)


class Squares(Dataset[int]):
    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        if not -self.n <= i < self.n:
            raise IndexError(i)
        return i * i


class Stream(IterableDataset[int]):
    def __init__(self, n):
        self.n = n

    def __iter__(self):
        return iter(range(self.n))

    def __len__(self):
        return self.n


def seeded(seed):
    return Generator().manual_seed(seed)


# --- datasets -------------------------------------------------------------------------------------------------------


def test_tensor_dataset():
    ds = TensorDataset(tensor(np.arange(6.0).reshape(3, 2)), tensor([4, 5, 6]))
    x, y = ds[1]
    assert (len(ds), x.tolist(), y.item()) == (3, [2.0, 3.0], 5)
    with pytest.raises(AssertionError, match="Size mismatch between tensors"):
        TensorDataset(tensor([1]), tensor([1, 2]))


def test_concat_chain_stack_subset():
    both = Squares(2) + Squares(3)
    assert isinstance(both, ConcatDataset)
    assert [both[i] for i in range(5)] == [0, 1, 0, 1, 4] and both[-1] == 4 and both.cumulative_sizes == [2, 5]
    with pytest.raises(ArgumentError, match="absolute value of index"):
        both[-6]
    with pytest.raises(AssertionError, match="should not be an empty iterable"):
        ConcatDataset([])
    with pytest.raises(AssertionError, match="does not support IterableDataset"):
        ConcatDataset([Stream(1)])
    chain = Stream(2) + Stream(1)
    assert isinstance(chain, ChainDataset) and list(chain) == [0, 1, 0] and len(chain) == 3
    with pytest.raises(AssertionError, match="only supports IterableDataset"):
        list(ChainDataset([Squares(1)]))
    assert StackDataset(Squares(3), Squares(3))[2] == (4, 4)
    assert StackDataset(a=Squares(3))[2] == {"a": 4} and len(StackDataset(a=Squares(3))) == 3
    with pytest.raises(ArgumentError, match="Size mismatch between datasets"):
        StackDataset(Squares(3), Squares(2))
    with pytest.raises(ArgumentError, match="At least one dataset"):
        StackDataset()
    with pytest.raises(ArgumentError, match="both types are given"):
        StackDataset(Squares(1), a=Squares(1))
    assert list(Subset(Squares(9), [8, 2])) == [64, 4]
    with pytest.raises(NotImplementedError, match="should implement __getitem__"):
        Dataset()[0]
    with pytest.raises(TypeError, match="abstract class IterableDataset"):
        IterableDataset()


def test_random_split_by_lengths_and_fractions():
    parts = random_split(Squares(10), [7, 3], generator=seeded(1))
    assert [len(p) for p in parts] == [7, 3]
    assert sorted(i for p in parts for i in p.indices) == list(range(10))
    assert [p.indices for p in random_split(Squares(10), [7, 3], seeded(1))] == [p.indices for p in parts]
    assert [len(p) for p in random_split(Squares(10), [0.5, 0.25, 0.25])] == [6, 2, 2]
    with pytest.raises(ArgumentError, match="Sum of input lengths"):
        random_split(Squares(10), [7, 2])
    with pytest.raises(ArgumentError, match="Fraction at index 0 is not between"):
        random_split(Squares(10), [1.5, -0.5])
    with pytest.warns(UserWarning, match="Length of split at index 1 is 0"):
        random_split(Squares(1), [0.5, 0.5])


# --- samplers ---------------------------------------------------------------------------------------------------------


def test_sequential_random_and_subset_samplers():
    assert list(SequentialSampler(range(3))) == [0, 1, 2]
    first = list(RandomSampler(range(20), generator=seeded(3)))
    assert sorted(first) == list(range(20)) and first != list(range(20))
    assert list(RandomSampler(range(20), generator=seeded(3))) == first
    assert all(type(i) is int for i in first)
    sampler = RandomSampler(range(3), num_samples=7)
    drawn = list(sampler)
    assert len(sampler) == len(drawn) == 7 and set(drawn[:3]) == set(drawn[3:6]) == {0, 1, 2}
    drawn = list(RandomSampler(range(3), replacement=True, num_samples=50, generator=seeded(0)))
    assert len(drawn) == 50 and set(drawn) == {0, 1, 2}
    subset = SubsetRandomSampler([5, 7, 9], seeded(0))
    assert sorted(subset) == [5, 7, 9] and len(subset) == 3


def test_the_default_generator_decides_where_none_is_given():
    manual_seed(5)
    first = list(RandomSampler(range(30)))
    second = list(RandomSampler(range(30)))
    manual_seed(5)
    assert list(RandomSampler(range(30))) == first != second


def test_weighted_sampler():
    counts = Counter(WeightedRandomSampler([0.0, 1.0, 3.0], 4000, generator=seeded(0)))
    assert counts[0] == 0 and abs(counts[2] / counts[1] - 3) < 0.4
    assert sorted(WeightedRandomSampler(tensor([1.0, 0.0, 5.0, 2.0]), 3, replacement=False)) == [0, 2, 3]
    firsts = Counter(next(iter(WeightedRandomSampler([1.0, 3.0], 2, False, seeded(i)))) for i in range(400))
    assert abs(firsts[1] / 400 - 0.75) < 0.08
    with pytest.raises(ArgumentError, match="without replacement"):
        iter(WeightedRandomSampler([1.0, 0.0], 2, replacement=False))
    with pytest.raises(ArgumentError, match="none negative"):
        iter(WeightedRandomSampler([1.0, -1.0], 2))


def test_batch_sampler():
    assert list(BatchSampler(range(5), 2, False)) == [[0, 1], [2, 3], [4]]
    assert list(BatchSampler(range(5), 2, True)) == [[0, 1], [2, 3]]
    assert (len(BatchSampler(range(5), 2, False)), len(BatchSampler(range(5), 2, True))) == (3, 2)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: RandomSampler([]), ArgumentError, "num_samples should be a positive integer"),
        (lambda: RandomSampler([1], num_samples=0), ArgumentError, "num_samples should be a positive integer"),
        (lambda: RandomSampler([1], replacement=1), ArgumentTypeError, "replacement should be a boolean"),
        (lambda: WeightedRandomSampler([1.0], 0), ArgumentError, "num_samples should be a positive integer"),
        (lambda: WeightedRandomSampler([1.0], 1, replacement=0), ArgumentError, "replacement should be a boolean"),
        (lambda: WeightedRandomSampler([[1.0]], 1), ArgumentError, "weights should be a 1d sequence"),
        (lambda: BatchSampler([1], 0, False), ArgumentError, "batch_size should be a positive integer"),
        (lambda: BatchSampler([1], 1, 1), ArgumentError, "drop_last should be a boolean"),
        (lambda: iter(Sampler()), NotImplementedError, "should implement __iter__"),
    ],
)
def test_errors_of_samplers(make, error, message):
    with pytest.raises(error, match=message):
        make()


# --- collation ----------------------------------------------------------------------------------------------------------

Pair = namedtuple("Pair", "x y")


def test_collate_keeps_the_nesting():
    samples = [{"a": 1, "b": (0.5, [True]), "c": "s", "p": Pair(tensor([1.0]), np.float32(2))} for _ in range(2)]
    got = default_collate(samples)
    assert got["a"].tolist() == [1, 1] and got["a"].dtype.name == "int64"
    assert type(got["b"]) is list and got["b"][0].dtype.name == "float64" and got["b"][1][0].dtype.name == "bool"
    assert got["c"] == ["s", "s"]
    assert type(got["p"]) is Pair and got["p"].x.shape == (2, 1) and got["p"].y.dtype.name == "float32"
    assert type(default_collate([OrderedDict(a=1)])) is OrderedDict
    with pytest.raises(RuntimeError, match="should be of equal size"):
        default_collate([(1, 2), (1,)])
    with pytest.raises(ArgumentTypeError, match="found <class 'NoneType'>"):
        default_collate([None])
    with pytest.raises(ArgumentTypeError, match="found <U1"):
        default_collate([np.array(["a"])])
    with pytest.raises(RuntimeError):
        default_collate([tensor([1]), tensor([1, 2])])


def test_convert_keeps_what_it_cannot_convert():
    got = default_convert({"a": np.ones(2), "b": "x", "c": (np.int64(3), 4)})
    assert isinstance(got["a"], Tensor) and got["b"] == "x" and got["c"][0].item() == 3 and got["c"][1] == 4


# --- the loader ---------------------------------------------------------------------------------------------------------


def plain(batches):
    return [b.tolist() for b in batches]


def test_batches_in_order_and_the_last_one():
    assert plain(DataLoader(Squares(5), batch_size=2)) == [[0, 1], [4, 9], [16]]
    loader = DataLoader(Squares(5), batch_size=2, drop_last=True)
    assert plain(loader) == [[0, 1], [4, 9]] and len(loader) == 2
    assert len(DataLoader(Squares(5), 2)) == 3 and len(DataLoader(Squares(5))) == 5


def test_shuffle_is_repeatable_under_a_seed_and_differs_between_epochs():
    manual_seed(7)
    loader = DataLoader(Squares(16), batch_size=4, shuffle=True)
    first, second = plain(loader), plain(loader)
    manual_seed(7)
    assert plain(loader) == first != second
    assert sorted(i for batch in first for i in batch) == [i * i for i in range(16)]
    one = plain(DataLoader(Squares(16), 4, shuffle=True, generator=seeded(1)))
    assert one == plain(DataLoader(Squares(16), 4, shuffle=True, generator=seeded(1)))


def test_the_fast_way_of_a_tensor_dataset_gives_the_same_batches():
    x, y = np.random.default_rng(0).normal(size=(10, 2, 3)).astype(np.float32), np.arange(10)
    ds = TensorDataset(tensor(x), tensor(y))
    subset = Subset(ds, [9, 3, 5, 1])
    for dataset in (ds, subset, Subset(subset, [2, 0, 1])):
        fast = list(DataLoader(dataset, batch_size=3))
        slow = list(DataLoader(dataset, batch_size=3, collate_fn=lambda samples: default_collate(samples)))
        assert len(fast) == len(slow)
        for a, b in zip(fast, slow, strict=True):
            assert type(a) is type(b) is list
            for u, v in zip(a, b, strict=True):
                assert u.dtype is v.dtype and u.tolist() == v.tolist()
    batch = next(iter(DataLoader(ds, batch_size=2)))
    batch[0].zero_()
    assert np.abs(ds.tensors[0].numpy()[:2]).min() > 0


def test_without_batches_and_with_samplers():
    assert list(DataLoader(Squares(3), batch_size=None)) == [0, 1, 4]
    assert plain(DataLoader(Squares(9), batch_size=2, sampler=[8, 1, 2])) == [[64, 1], [4]]
    assert plain(DataLoader(Squares(9), batch_sampler=[[1], [2, 3]])) == [[1], [4, 9]]
    loader = DataLoader(Squares(9), batch_sampler=[[1], [2, 3]], collate_fn=sum)
    assert list(loader) == [1, 13] and len(loader) == 2


def test_getitems_is_asked_once_a_batch():
    class Many(Squares):
        def __getitems__(self, indices):
            return [-i for i in indices]

    assert plain(DataLoader(Many(4), 2)) == [[0, -1], [-2, -3]]


def test_streams():
    assert plain(DataLoader(Stream(5), batch_size=2)) == [[0, 1], [2, 3], [4]]
    assert plain(DataLoader(Stream(5), batch_size=2, drop_last=True)) == [[0, 1], [2, 3]]
    assert (len(DataLoader(Stream(5), 2)), len(DataLoader(Stream(5), 2, drop_last=True))) == (3, 2)
    assert list(DataLoader(Stream(2), batch_size=None)) == [0, 1]


def test_batches_are_eager_inside_a_recording_context():
    seen = []

    class Watching(Squares):
        def __getitem__(self, i):
            seen.append(STATE.recorder)
            return tensor([float(i)])

    recorder = SimpleNamespace(apply=None, not_replayed=lambda *_: None)
    with recording(recorder):
        for batch in DataLoader(Watching(4), batch_size=2, shuffle=True):
            assert STATE.recorder is recorder
            assert is_array(batch._data)
    assert seen == [None] * 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_workers": -1}, "num_workers option should be non-negative"),
        ({"timeout": -1}, "timeout option should be non-negative"),
        ({"prefetch_factor": 2}, "prefetch_factor option could only be specified in multiprocessing"),
        ({"num_workers": 1, "prefetch_factor": -2}, "prefetch_factor option should be non-negative"),
        ({"persistent_workers": True}, "persistent_workers option needs num_workers > 0"),
        ({"sampler": [0], "shuffle": True}, "sampler option is mutually exclusive with shuffle"),
        ({"batch_sampler": [[0]], "batch_size": 2}, "batch_sampler option is mutually exclusive"),
        ({"batch_sampler": [[0]], "shuffle": True}, "batch_sampler option is mutually exclusive"),
        ({"batch_size": None, "drop_last": True}, "batch_size=None option disables auto-batching"),
        ({"batch_size": 0}, "batch_size should be a positive integer"),
    ],
)
def test_options_that_exclude_each_other(options, message):
    with pytest.raises(ArgumentError, match=message):
        DataLoader(Squares(3), **options)


def test_more_errors_of_the_loader():
    with pytest.raises(ArgumentError, match="expected unspecified shuffle option, but got shuffle=True"):
        DataLoader(Stream(3), shuffle=True)
    with pytest.raises(ArgumentError, match="expected unspecified sampler option"):
        DataLoader(Stream(3), sampler=[1])
    with pytest.raises(ArgumentError, match="expected unspecified batch_sampler option"):
        DataLoader(Stream(3), batch_sampler=[[1]])
    loader = DataLoader(Squares(3))
    with pytest.raises(ArgumentError, match="batch_size attribute should not be set after DataLoader is initialized"):
        loader.batch_size = 2
