"""The DataLoader: batches of a dataset, sampled, fetched and collated under the eager context."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from graphc.core.context import eagerly
from graphc.core.errors import ArgumentError, ArgumentTypeError
from graphc.core.lazy import lazy_import
from graphc.functions.generators import default_generator
from graphc.utils.data.collate import default_collate, default_convert
from graphc.utils.data.dataset import IterableDataset
from graphc.utils.data.fetching import Sampling, Source, check_length, tell_of_recording
from graphc.utils.data.sampler import BatchSampler, RandomSampler, SequentialSampler
from graphc.utils.data.workers import WorkerBatches

multiprocessing = lazy_import("multiprocessing")
_accelerator = lazy_import("graphc.accelerator")

#: batches ahead of each worker, where no prefetch_factor is given
_AHEAD = 2
_FIXED = ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers")


class DataLoader:
    """Iterates over a dataset in batches, as `torch.utils.data.DataLoader`.

    `shuffle` draws from `generator`, or from the default generator. `num_workers`: batches are made by so many processes
    (workers.py) and arrive in the same order; `multiprocessing_context` says how these start. `pin_memory` pins nothing.
    Raises ArgumentError for options that exclude each other.
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
        context = _context(multiprocessing_context, num_workers)
        stream = isinstance(dataset, IterableDataset)
        if stream:
            _check_stream(shuffle, sampler, batch_sampler)
        _check_sampling(batch_size, shuffle, sampler, batch_sampler, drop_last)
        if batch_sampler is not None:
            batch_size, drop_last = None, False
        elif not stream:
            if sampler is None:
                sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
            if batch_size is not None:
                batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.dataset, self.batch_size, self.drop_last = dataset, batch_size, drop_last
        self.sampler, self.batch_sampler, self.generator = sampler, batch_sampler, generator
        batches = batch_size is not None or batch_sampler is not None
        self.collate_fn = collate_fn or (default_collate if batches else default_convert)
        self.num_workers, self.timeout, self.worker_init_fn = num_workers, timeout, worker_init_fn
        self.multiprocessing_context = context
        self.prefetch_factor = _AHEAD if prefetch_factor is None and num_workers > 0 else prefetch_factor
        self.persistent_workers, self.in_order = persistent_workers, in_order
        self.pin_memory, self.pin_memory_device = pin_memory, pin_memory_device
        self._batched, self._stream = batches, stream
        self._kept: WorkerBatches | None = None
        self._told: int | None = None
        self._ready = True
        _warn_of_many(num_workers)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FIXED and self.__dict__.get("_ready"):
            raise ArgumentError(f"{name} attribute should not be set after {type(self).__name__} is initialized")
        super().__setattr__(name, value)

    @property
    def _source(self) -> Source:
        """As the attributes are now; `collate_fn` may be set later."""
        return Source(self.dataset, self.collate_fn, self._batched, self._stream, self.batch_size, self.drop_last)

    @property
    def _sampling(self) -> Sampling:
        return Sampling(self.sampler if self.batch_sampler is None else self.batch_sampler, self._source)

    def __iter__(self) -> Iterator[Any]:
        if self._kept is not None and not self._kept.ended:
            self._kept.told = self._told
            self._kept.start()
            return self._kept
        if self.pin_memory and not _accelerator.is_available():
            warnings.warn(
                "'pin_memory' argument is set as true but no accelerator is found, then device pinned memory won't be used.",
                UserWarning,
                stacklevel=2,
            )
        if self.num_workers == 0:
            return _Batches(self)
        _warn_of_many(self.num_workers)
        with eagerly():
            base_seed = (self.generator or default_generator).worker_seed()
        batches = WorkerBatches(self, base_seed)
        if self.persistent_workers:
            self._kept = batches
        return batches

    def __len__(self) -> int:
        if self._stream:
            self._told = len(self.dataset)
        return len(self._sampling)


class _Batches:
    """One pass in this process. Each batch is drawn under the eager context; the consumer's code between is not."""

    def __init__(self, loader: DataLoader):
        self._sampling = loader._sampling
        self._told, self._dataset, self._given = loader._told, loader.dataset, 0
        with eagerly():
            self._indices, self._read = iter(loader._sampling), loader._source.reader()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __len__(self) -> int:
        return len(self._sampling)

    def __next__(self) -> Any:
        tell_of_recording()
        with eagerly():
            batch = self._read(next(self._indices))
        self._given += 1
        check_length(self._told, self._given, self._dataset, 0)
        return batch


def _warn_of_many(num_workers: int) -> None:
    """Warns of more worker processes than there are processors for this process."""
    most = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if num_workers > most:
        warnings.warn(
            f"This DataLoader will create {num_workers} worker processes in total. Our suggested max number of worker in "
            f"current system is {most}, which is smaller than what this DataLoader is going to create. Please be aware that "
            "excessive worker creation might get DataLoader running slow or even freeze, lower the worker number to avoid "
            "potential slowness/freeze if necessary.",
            UserWarning,
            stacklevel=3,
        )


def _check_workers(num_workers: int, timeout: float, prefetch_factor: Any, persistent_workers: bool) -> None:
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


def _context(asked: Any, num_workers: int) -> Any:
    """The context of `multiprocessing` that was asked for, itself or by its start method; None: the usual one."""
    if asked is None:
        return None
    if num_workers == 0:
        raise ArgumentError(
            "multiprocessing_context can only be used with multi-process loading (num_workers > 0), but got num_workers=0"
        )
    methods = multiprocessing.get_all_start_methods()
    if isinstance(asked, str):
        if asked not in methods:
            raise ArgumentError(
                f"multiprocessing_context option should specify a valid start method in {methods!r}, but got "
                f"multiprocessing_context={asked!r}"
            )
        return multiprocessing.get_context(asked)
    if not isinstance(asked, multiprocessing.context.BaseContext):
        raise ArgumentTypeError(
            "multiprocessing_context option should be a valid context object or a string specifying the start method, "
            f"but got multiprocessing_context={asked!r}"
        )
    return asked


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
