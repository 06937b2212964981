"""The DataLoader: batches of a dataset, sampled, fetched and collated under the eager context."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

from graphc.core.context import eagerly
from graphc.core.errors import ArgumentError
from graphc.utils.data.collate import default_collate, default_convert
from graphc.utils.data.dataset import IterableDataset, rows
from graphc.utils.data.sampler import BatchSampler, RandomSampler, SequentialSampler

_FIXED = ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers")
_warned_of_workers = False


def get_worker_info() -> None:
    """What a worker process knows about itself: None, since batches are loaded in the main process."""
    return None


class DataLoader:
    """Iterates over a dataset in batches, as `torch.utils.data.DataLoader`.

    `shuffle` draws from `generator`, or from the default generator. `pin_memory`, `worker_init_fn` and the options of
    worker processes are accepted; `num_workers > 0` loads in the main process and says so once. Raises ArgumentError
    for options that exclude each other.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Any = None,
        batch_sampler: Any = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: Any = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ):
        _check_workers(num_workers, timeout, prefetch_factor, persistent_workers)
        self._stream = isinstance(dataset, IterableDataset)
        if self._stream:
            _check_stream(shuffle, sampler, batch_sampler)
        _check_sampling(batch_size, shuffle, sampler, batch_sampler, drop_last)
        if batch_sampler is not None:
            batch_size, drop_last = None, False
        elif not self._stream:
            if sampler is None:
                sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
            if batch_size is not None:
                batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.dataset, self.batch_size, self.drop_last = dataset, batch_size, drop_last
        self.sampler, self.batch_sampler, self.generator = sampler, batch_sampler, generator
        batches = batch_size is not None or batch_sampler is not None
        self.collate_fn = collate_fn or (default_collate if batches else default_convert)
        self.num_workers, self.timeout, self.worker_init_fn = num_workers, timeout, worker_init_fn
        self.multiprocessing_context, self.prefetch_factor = multiprocessing_context, prefetch_factor
        self.persistent_workers, self.in_order = persistent_workers, in_order
        self.pin_memory, self.pin_memory_device = pin_memory, pin_memory_device
        self._ready = True

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FIXED and self.__dict__.get("_ready"):
            raise ArgumentError(f"{name} attribute should not be set after {type(self).__name__} is initialized")
        super().__setattr__(name, value)

    def __iter__(self) -> Iterator[Any]:
        return _Batches(self)

    def __len__(self) -> int:
        if self._stream:
            whole, rest = divmod(len(self.dataset), self.batch_size or 1)
            return whole + (rest > 0 and not self.drop_last)
        return len(self.sampler if self.batch_sampler is None else self.batch_sampler)


class _Batches:
    """One pass over a loader. Each batch is drawn under the eager context; the consumer's code between is not."""

    def __init__(self, loader: DataLoader):
        self._loader = loader
        with eagerly():
            source = self._from_stream() if loader._stream else self._from_index()
            self._source: Iterator[Any] = source

    def __iter__(self) -> Iterator[Any]:
        return self

    def __len__(self) -> int:
        return len(self._loader)

    def __next__(self) -> Any:
        with eagerly():
            return next(self._source)

    def _from_index(self) -> Iterator[Any]:
        loader = self._loader
        dataset, collate = loader.dataset, loader.collate_fn
        if loader.batch_sampler is None:
            for index in loader.sampler:
                yield collate(dataset[index])
            return
        for indices in loader.batch_sampler:
            batch = rows(dataset, indices) if collate is default_collate else None
            if batch is None:
                fetch = getattr(dataset, "__getitems__", None)
                batch = collate(fetch(indices) if fetch is not None else [dataset[i] for i in indices])
            yield batch

    def _from_stream(self) -> Iterator[Any]:
        loader = self._loader
        if loader.batch_size is None:
            for sample in loader.dataset:
                yield loader.collate_fn(sample)
            return
        samples: list[Any] = []
        for sample in loader.dataset:
            samples.append(sample)
            if len(samples) == loader.batch_size:
                yield loader.collate_fn(samples)
                samples = []
        if samples and not loader.drop_last:
            yield loader.collate_fn(samples)


def _check_workers(num_workers: int, timeout: float, prefetch_factor: Any, persistent_workers: bool) -> None:
    global _warned_of_workers
    if num_workers < 0:
        raise ArgumentError("num_workers option should be non-negative; use num_workers=0 to disable multiprocessing.")
    if timeout < 0:
        raise ArgumentError("timeout option should be non-negative")
    if num_workers == 0 and prefetch_factor is not None:
        raise ArgumentError(
            "prefetch_factor option could only be specified in multiprocessing. let num_workers > 0 to enable "
            "multiprocessing, otherwise set prefetch_factor to None."
        )
    if prefetch_factor is not None and prefetch_factor < 0:
        raise ArgumentError("prefetch_factor option should be non-negative")
    if persistent_workers and num_workers == 0:
        raise ArgumentError("persistent_workers option needs num_workers > 0")
    if num_workers > 0 and not _warned_of_workers:
        _warned_of_workers = True
        warnings.warn(
            f"DataLoader: num_workers={num_workers} was asked for, but graphc starts no worker processes yet: batches "
            "are loaded in the main process",
            stacklevel=3,
        )


def _check_stream(shuffle: Any, sampler: Any, batch_sampler: Any) -> None:
    for name, value in (("shuffle", shuffle or None), ("sampler", sampler), ("batch_sampler", batch_sampler)):
        if value is not None:
            raise ArgumentError(
                f"DataLoader with IterableDataset: expected unspecified {name} option, but got {name}={value}"
            )


def _check_sampling(batch_size: Any, shuffle: Any, sampler: Any, batch_sampler: Any, drop_last: bool) -> None:
    if sampler is not None and shuffle:
        raise ArgumentError("sampler option is mutually exclusive with shuffle")
    if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
        raise ArgumentError(
            "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last"
        )
    if batch_sampler is None and batch_size is None and drop_last:
        raise ArgumentError("batch_size=None option disables auto-batching and is mutually exclusive with drop_last")
