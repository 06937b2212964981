"""Collation: a list of samples becomes one batch of tensors in the same nesting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.core.context import SLOTS, eagerly
from graphc.core.errors import ArgumentTypeError, GraphcError
from graphc.core.tape import TensorBase
from graphc.functions.joining import stack


class CollateError(GraphcError, RuntimeError):
    """Samples that cannot stand in one batch."""


def default_collate(batch: Any) -> Any:
    """Samples -> batch: tensors, arrays and numbers get a new first dimension; dicts, tuples and lists are collated by
    entry.

    Python floats become float64, ints int64, as in PyTorch; strings stay lists. Raises ArgumentTypeError for anything
    else and CollateError (a RuntimeError) where samples differ in length.
    """
    with eagerly():
        return _collate(batch)


def _collate(batch: Any) -> Any:
    first = batch[0]
    if isinstance(first, TensorBase):
        return _stack(list(batch))
    if isinstance(first, np.ndarray | np.generic):
        _check_array(first)
        return SLOTS.new_tensor(np.stack([np.asarray(x) for x in batch]))
    if isinstance(first, float):
        return SLOTS.new_tensor(np.asarray(batch, np.float64))
    if isinstance(first, int):
        return SLOTS.new_tensor(np.asarray(batch, np.bool_ if isinstance(first, bool) else np.int64))
    if isinstance(first, str | bytes):
        return batch
    if isinstance(first, Mapping):
        return _same_kind(first, {key: _collate([sample[key] for sample in batch]) for key in first})
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*map(_collate, zip(*batch, strict=True)))
    if isinstance(first, Sequence):
        return _collate_sequences(first, batch)
    raise ArgumentTypeError(
        f"default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {type(first)}"
    )


def _collate_sequences(first: Sequence[Any], batch: Any) -> Any:
    if any(len(sample) != len(first) for sample in batch):
        raise CollateError("each element in list of batch should be of equal size")
    collated = [_collate(entries) for entries in zip(*batch, strict=True)]
    return collated if isinstance(first, tuple) else _same_kind(first, collated)


def default_convert(data: Any) -> Any:
    """One sample with its arrays as tensors, for loading without batches; what cannot be converted stays."""
    with eagerly():
        return _convert(data)


def _convert(data: Any) -> Any:
    if isinstance(data, TensorBase | str | bytes):
        return data
    if isinstance(data, np.ndarray | np.generic):
        return data if data.dtype.kind in "SUO" else SLOTS.new_tensor(np.asarray(data))
    if isinstance(data, Mapping):
        return _same_kind(data, {key: _convert(value) for key, value in data.items()})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*map(_convert, data))
    if isinstance(data, tuple):
        return list(map(_convert, data))
    return _same_kind(data, list(map(_convert, data))) if isinstance(data, Sequence) else data


def _stack(tensors: list[Any]) -> Any:
    """`stack`, at once on the arrays where nothing has to be promoted, refused or put on the tape."""
    first = tensors[0]._data
    if isinstance(first, np.ndarray):
        kind = first.shape, first.dtype
        arrays = [x._data for x in tensors if isinstance(x, TensorBase) and x._edge is None]
        if len(arrays) == len(tensors) and all((a.shape, a.dtype) == kind for a in arrays):
            return SLOTS.new_tensor(np.stack(arrays))
    return stack(tensors, 0)


def _check_array(x: Any) -> None:
    if x.dtype.kind in "SUO":
        raise ArgumentTypeError(
            f"default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {x.dtype}"
        )


def _same_kind(like: Any, values: Any) -> Any:
    """`values` in a container of `like`'s class, where that can be made from them."""
    try:
        return type(like)(values)
    except TypeError:
        return values
