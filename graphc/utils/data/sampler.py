"""Samplers: in which order, and in which batches, samples are drawn. Random ones draw from a graphc generator."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from graphc.core.context import eagerly
from graphc.core.errors import ArgumentError, ArgumentTypeError
from graphc.core.lazy import lazy_import
from graphc.core.tape import TensorBase
from graphc.core.tensor_types import float64
from graphc.functions.generators import Generator
from graphc.functions.random import rand, randint, randperm

groups = lazy_import("graphc.distributed.groups")

T_co = TypeVar("T_co", covariant=True)


class Sampler(Generic[T_co]):
    """Base of samplers; a subclass defines `__iter__` and mostly `__len__`."""

    def __init__(self, data_source: Any = None):
        self.data_source = data_source

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError("Subclasses of Sampler should implement __iter__.")


class SequentialSampler(Sampler[int]):
    """0, 1, 2, ..."""

    def __init__(self, data_source: Any):
        super().__init__(data_source)

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


def _permutation(n: int, generator: Any) -> list[int]:
    with eagerly():
        return list(randperm(n, generator=generator).tolist())


def _check_flag(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise ArgumentTypeError(f"{name} should be a boolean value, but got {name}={value}")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


class RandomSampler(Sampler[int]):
    """All indices in random order, or `num_samples` draws with replacement; ArgumentError unless num_samples > 0."""

    def __init__(
        self, data_source: Any, replacement: bool = False, num_samples: int | None = None, generator: Any = None
    ):
        super().__init__(data_source)
        _check_flag("replacement", replacement)
        self.replacement, self._num_samples, self.generator = replacement, num_samples, generator
        if not _is_count(self.num_samples):
            raise ArgumentError(
                f"num_samples should be a positive integer value, but got num_samples={self.num_samples}"
            )

    @property
    def num_samples(self) -> int:
        """How many indices are drawn: the length of the data where that was not said."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        n = len(self.data_source)
        if self.replacement:
            with eagerly():
                drawn = randint(0, n, (self.num_samples,), generator=self.generator).tolist()
            yield from drawn
            return
        left = self.num_samples
        while left > 0 and n > 0:
            yield from _permutation(n, self.generator)[:left]
            left -= n

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler[int]):
    """The given indices in random order."""

    def __init__(self, indices: Sequence[int], generator: Any = None):
        super().__init__()
        self.indices, self.generator = indices, generator

    def __iter__(self) -> Iterator[int]:
        for i in _permutation(len(self.indices), self.generator):
            yield self.indices[i]

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler[int]):
    """`num_samples` indices drawn with probabilities in proportion to `weights`.

    Raises ArgumentError unless weights are 1-d, none negative, their sum positive, and num_samples > 0.
    """

    def __init__(self, weights: Any, num_samples: int, replacement: bool = True, generator: Any = None):
        super().__init__()
        if not _is_count(num_samples):
            raise ArgumentError(f"num_samples should be a positive integer value, but got num_samples={num_samples}")
        if not isinstance(replacement, bool):
            raise ArgumentError(f"replacement should be a boolean value, but got replacement={replacement}")
        plain: Any = weights.tolist() if isinstance(weights, TensorBase) else weights  # type: ignore[attr-defined]
        self._shares = np.asarray(plain, np.float64)
        if self._shares.ndim != 1:
            raise ArgumentError(
                f"weights should be a 1d sequence but given weights have shape {tuple(self._shares.shape)}"
            )
        self.weights, self.num_samples, self.replacement, self.generator = weights, num_samples, replacement, generator

    def __iter__(self) -> Iterator[int]:
        shares = self._shares
        if not (np.isfinite(shares).all() and (shares >= 0).all() and shares.sum() > 0):
            raise ArgumentError("weights must be finite, none negative, and some positive")
        if not self.replacement and np.count_nonzero(shares) < self.num_samples:
            raise ArgumentError("cannot draw more samples than there are positive weights without replacement")
        count = self.num_samples if self.replacement else len(shares)
        with eagerly():
            uniform = np.array(rand(count, dtype=float64, generator=self.generator).tolist())
        return iter(_draw(shares, uniform, self.num_samples, self.replacement))

    def __len__(self) -> int:
        return self.num_samples


def _draw(shares: Any, uniform: Any, count: int, replacement: bool) -> list[int]:
    """Indices drawn from uniform numbers: by the inverse of the cumulative sum, or the `count` first arrivals of
    exponential clocks with rates `shares` (Efraimidis and Spirakis 2006)."""
    if replacement:
        sums = np.cumsum(shares)
        last = int(np.flatnonzero(shares)[-1])
        return [int(i) for i in np.minimum(np.searchsorted(sums, uniform * sums[-1], side="right"), last)]
    with np.errstate(divide="ignore"):
        arrivals = -np.log1p(-uniform) / shares
    return [int(i) for i in np.argsort(np.where(shares > 0, arrivals, np.inf), kind="stable")[:count]]


class BatchSampler(Sampler[list[int]]):
    """Lists of `batch_size` indices of another sampler; `drop_last` leaves out a shorter last one."""

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool):
        super().__init__()
        if not _is_count(batch_size):
            raise ArgumentError(f"batch_size should be a positive integer value, but got batch_size={batch_size}")
        if not isinstance(drop_last, bool):
            raise ArgumentError(f"drop_last should be a boolean value, but got drop_last={drop_last}")
        self.sampler: Any = sampler
        self.batch_size, self.drop_last = batch_size, drop_last

    def __iter__(self) -> Iterator[list[int]]:
        batch: list[int] = []
        for index in self.sampler:
            batch.append(index)
            if len(batch) == self.batch_size:
                yield batch
                batch = []
        if batch and not self.drop_last:
            yield batch

    def __len__(self) -> int:
        whole, rest = divmod(len(self.sampler), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)


class DistributedSampler(Sampler[int]):
    """The share of one of `num_replicas` processes: every num_replicas-th index of one order, from the `rank`-th on.

    All have equally many: the first indices come again at the end, or the last ones are left out (`drop_last`). With
    `shuffle` the order is that of the generator `seed + epoch`, so call `set_epoch` before each epoch. Without rank and
    number of processes, those of the default group. ArgumentError for a rank that does not exist.
    """

    def __init__(
        self,
        dataset: Any,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ):
        super().__init__()
        num_replicas = groups.get_world_size() if num_replicas is None else num_replicas
        rank = groups.get_rank() if rank is None else rank
        if not 0 <= rank < num_replicas:
            raise ArgumentError(f"Invalid rank {rank}, rank should be in the interval [0, {num_replicas - 1}]")
        self.dataset, self.num_replicas, self.rank = dataset, num_replicas, rank
        self.shuffle, self.seed, self.drop_last, self.epoch = shuffle, seed, drop_last, 0
        n = len(dataset)
        self.num_samples = n // num_replicas if drop_last else math.ceil(n / num_replicas)
        self.total_size = self.num_samples * num_replicas

    def __iter__(self) -> Iterator[int]:
        n = len(self.dataset)
        order = _permutation(n, Generator().manual_seed(self.seed + self.epoch)) if self.shuffle else list(range(n))
        if n:
            order = (order * math.ceil(self.total_size / n))[: self.total_size]
        return iter(order[self.rank : self.total_size : self.num_replicas])

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """The epoch that begins: with `shuffle`, each has an order of its own."""
        self.epoch = epoch
