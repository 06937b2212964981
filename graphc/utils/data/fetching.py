"""Fetching: from what a sampler gives to a collated batch, in the main process and in workers alike."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any, NamedTuple

from graphc.core.context import STATE
from graphc.utils.data.collate import default_collate
from graphc.utils.data.dataset import rows


class Source(NamedTuple):
    """What batches are made of. `batched`: an index stands for several samples; `batch_size` is a stream's."""

    dataset: Any
    collate: Callable[[Any], Any]
    batched: bool
    stream: bool
    batch_size: int | None
    drop_last: bool

    def reader(self) -> Callable[[Any], Any]:
        """A function from what the sampler gives (of a stream: anything) to the next batch; StopIteration at a stream's end."""
        return _StreamReader(self) if self.stream else self._at

    def _at(self, index: Any) -> Any:
        if not self.batched:
            return self.collate(self.dataset[index])
        batch = rows(self.dataset, index) if self.collate is default_collate else None
        if batch is None:
            fetch = getattr(self.dataset, "__getitems__", None)
            batch = self.collate(fetch(index) if fetch is not None else [self.dataset[i] for i in index])
        return batch


class _StreamReader:
    """One pass over an iterable dataset."""

    def __init__(self, source: Source):
        self._source = source
        self._samples = iter(source.dataset)
        self._ended = False

    def __call__(self, index: Any) -> Any:
        source = self._source
        if self._ended:
            raise StopIteration
        if source.batch_size is None:
            return source.collate(next(self._samples))
        samples: list[Any] = []
        for sample in self._samples:
            samples.append(sample)
            if len(samples) == source.batch_size:
                return source.collate(samples)
        self._ended = True
        if not samples or source.drop_last:
            raise StopIteration
        return source.collate(samples)


def tell_of_recording() -> None:
    """Warns where a function that is being traced reads a batch: it would be the same one at each call."""
    if STATE.recorder is not None:
        hint = "read the batch outside, and give it to the compiled function: each call would see this one again"
        STATE.recorder.not_replayed("reading a batch of a DataLoader", hint)


def check_length(told: int | None, given: int, dataset: Any, num_workers: int) -> None:
    """Warns where a stream has given more batches than its loader told as its length, if it was asked."""
    if told is None or given <= told:
        return
    text = (
        f"Length of IterableDataset {dataset} was reported to be {told}(when accessing len(dataloader)), but {given} samples "
        "have been fetched. "
    )
    if num_workers > 0:
        text += (
            "For multiprocessing data-loading, this could be caused by not properly configuring the IterableDataset replica at "
            "each worker. Please see https://pytorch.org/docs/stable/data.html#torch.utils.data.IterableDataset for examples."
        )
    warnings.warn(text, UserWarning, stacklevel=3)


class Sampling:
    """What is fetched: the indices of a sampler, or of batches; where there is none, a stream until its end."""

    def __init__(self, sampler: Any, source: Source):
        self._sampler, self._source = sampler, source

    def __iter__(self) -> Iterator[Any]:
        return repeat(None) if self._source.stream else iter(self._sampler)

    def __len__(self) -> int:
        if not self._source.stream:
            return len(self._sampler)
        whole, rest = divmod(len(self._source.dataset), self._source.batch_size or 1)
        return whole + (rest > 0 and not self._source.drop_last)
