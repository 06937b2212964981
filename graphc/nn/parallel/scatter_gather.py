"""A nest of tensors in parts, each on a device of its own, and such parts joined again."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from graphc.backends import device_count
from graphc.core.context import STATE, place
from graphc.core.devices import Device
from graphc.core.errors import ArgumentError, ArgumentTypeError
from graphc.core.tape import TensorBase
from graphc.functions.joining import cat
from graphc.functions.placing import on
from graphc.functions.shaping import unsqueeze
from graphc.functions.splitting import chunk
from graphc.nests import flatten, unflatten


def as_device(x: Any) -> Device:
    """A device from its name or number."""
    if isinstance(x, bool) or not isinstance(x, int | str | Device):
        raise ArgumentTypeError(f"device_ids: expected numbers or names of devices, not {type(x).__name__}")
    if isinstance(x, int):
        return Device("cuda" if device_count("cuda") else "opencl", x)
    return Device(x)


def moved_to(nest: Any, memory: Any) -> Any:
    """A nest with its tensors in one memory (as they are, in a trace)."""
    return _mapped(nest, lambda x: on(x, memory) if STATE.recorder is None else x)


def scatter(inputs: Any, target_gpus: Sequence[Any], dim: int = 0) -> Any:
    """The nest once for each device, its tensors split along `dim` as `chunk` splits; other things are in every part.

    A tuple of parts for a tensor, else a list of nests; fewer than there are devices where the tensors are short. ArgumentError
    where they split into different numbers of parts.
    """
    tensors: list[Any] = []
    flatten(inputs, tensors)
    chunks = {id(x): chunk(x, len(target_gpus), dim) for x in tensors if x.ndim}
    numbers = {len(parts) for parts in chunks.values()}
    if len(numbers) > 1:
        raise ArgumentError(
            f"tensors of one batch split into {' and '.join(map(str, sorted(numbers)))} parts along dim {dim}"
        )
    memories = [place(as_device(x)) for x in target_gpus] if tensors else target_gpus
    found = []
    for n, memory in enumerate(memories[: numbers.pop()] if numbers else memories):
        part = _mapped(inputs, lambda x, n=n: chunks[id(x)][n] if id(x) in chunks else x)
        found.append(moved_to(part, memory) if tensors else part)
    return tuple(found) if isinstance(inputs, TensorBase) else found


def scatter_kwargs(
    inputs: tuple[Any, ...], kwargs: Mapping[str, Any] | None, target_gpus: Sequence[Any], dim: int = 0
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """`scatter` of positional and named arguments at once; one empty part where there are none."""
    if not inputs and not kwargs:
        return ((),), ({},)
    parts = scatter((inputs, dict(kwargs or {})), target_gpus, dim)
    return tuple(args for args, _ in parts), tuple(named for _, named in parts)


def gather(outputs: Sequence[Any], target_device: Any, dim: int = 0) -> Any:
    """The parts as one nest on `target_device`, their tensors joined along `dim`; 0-d tensors become a vector.

    ArgumentError for dicts of different keys, ArgumentTypeError for what cannot be joined.
    """
    return gathered(outputs, place(as_device(target_device)), dim)


def gathered(outputs: Sequence[Any], memory: Any, dim: int) -> Any:
    """`gather` into a memory."""
    first = outputs[0]
    if isinstance(first, TensorBase):
        tensors = [moved_to(x, memory) for x in outputs]
        if not tensors[0].ndim:
            warnings.warn("gathering along dimension 0 scalars: they are joined to a vector", UserWarning, stacklevel=4)
            return cat([unsqueeze(x, 0) for x in tensors], 0)
        return cat(tensors, dim)
    if first is None:
        return None
    if isinstance(first, Mapping):
        if any(r.keys() != first.keys() for r in outputs):
            raise ArgumentError("All dicts must have the same number of keys")
        return type(first)({key: gathered([r[key] for r in outputs], memory, dim) for key in first})  # type: ignore[call-arg]
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*(gathered(list(x), memory, dim) for x in zip(*outputs, strict=True)))
    if isinstance(first, Sequence) and not isinstance(first, str):
        return type(first)([gathered(list(x), memory, dim) for x in zip(*outputs, strict=True)])  # type: ignore[call-arg]
    raise ArgumentTypeError(f"a module's result of type {type(first).__name__} cannot be joined")


def _mapped(nest: Any, fn: Any) -> Any:
    """The nest with `fn` of each of its tensors."""
    tensors: list[Any] = []
    structure = flatten(nest, tensors)
    return unflatten(structure, [fn(x) for x in tensors])


__all__ = ["gather", "scatter", "scatter_kwargs"]
