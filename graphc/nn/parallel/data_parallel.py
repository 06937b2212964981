"""`DataParallel`: one batch in parts, each on a device of its own."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from graphc.backends import device_count
from graphc.core.arrays import memory_of
from graphc.core.context import STATE, place
from graphc.core.devices import Device
from graphc.core.errors import ArgumentError, ArgumentTypeError
from graphc.core.tape import TensorBase
from graphc.functions.joining import cat
from graphc.functions.placing import on
from graphc.functions.shaping import unsqueeze
from graphc.functions.splitting import chunk
from graphc.nests import flatten, unflatten
from graphc.nn.modules.module import Module


class DataParallel(Module):
    """Splits each batch along `dim` as `chunk` does, calls the module once for each part, and joins the results.

    `device_ids`: numbers of CUDA devices (of OpenCL devices where there are no CUDA ones), or names such as "cpu" and
    "opencl:1"; the module must be on the first. A short batch has fewer parts than there are devices. Left out, all CUDA
    devices; without any the module just runs. Results come to `output_device`, the first if it is left out. In a compiled
    function the parts are parts of one program, which runs where the module is.

    Buffers that other devices' parts write are lost, as in PyTorch; what looks across the batch, as BatchNorm does, sees its
    part of it.
    """

    def __init__(self, module: Any, device_ids: Sequence[Any] | None = None, output_device: Any = None, dim: int = 0):
        super().__init__()
        if device_ids is None:
            device_ids = range(device_count("cuda"))
        self.module, self.dim = module, dim
        self.device_ids = [as_device(x) for x in device_ids]
        if not self.device_ids:
            self.output_device = None
            return
        self.output_device = as_device(self.device_ids[0] if output_device is None else output_device)
        for device in (*self.device_ids, self.output_device):
            place(device)

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """What the module gives for the whole batch."""
        if not self.device_ids:
            return self.module(*inputs, **kwargs)
        memories = [place(device) for device in self.device_ids]
        if STATE.recorder is None:
            self._check_home(memories[0])
        parts = scatter((inputs, kwargs), memories, self.dim) or [((), {})]
        results = []
        for (args, named), memory in zip(parts, memories, strict=False):
            results.append(replica(self.module, memory)(*args, **named))
        if len(results) == 1:
            return moved_to(results[0], place(self.output_device))
        return gather(results, place(self.output_device), self.dim)

    def _check_home(self, memory: Any) -> None:
        for tensor in (*self.module.parameters(), *self.module.buffers()):
            if memory_of(tensor._data) is not memory:
                raise ArgumentError(
                    f"module must have its parameters and buffers on device {self.device_ids[0]} (device_ids[0]) but found "
                    f"one of them on device: {tensor.device}"
                )


def data_parallel(
    module: Any,
    inputs: Any,
    device_ids: Sequence[Any] | None = None,
    output_device: Any = None,
    dim: int = 0,
    module_kwargs: Mapping[str, Any] | None = None,
) -> Any:
    """One call of a module as `DataParallel` makes it."""
    args = inputs if isinstance(inputs, tuple) else () if inputs is None else (inputs,)
    return DataParallel(module, device_ids, output_device, dim)(*args, **(module_kwargs or {}))


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


def scatter(nest: Any, memories: Sequence[Any], dim: int) -> list[Any]:
    """The nest once for each part that its tensors have along `dim`, in that part's memory; other things are in every part."""
    tensors: list[Any] = []
    flatten(nest, tensors)
    chunks = {id(x): chunk(x, len(memories), dim) for x in tensors if x.ndim}
    count = max((len(parts) for parts in chunks.values()), default=1 if tensors else 0)
    short = {len(parts) for parts in chunks.values()}
    if len(short) > 1:
        raise ArgumentError(
            f"tensors of one batch split into {' and '.join(map(str, sorted(short)))} parts along dim {dim}"
        )

    def part(n: int) -> Any:
        return moved_to(_mapped(nest, lambda x: chunks[id(x)][n] if id(x) in chunks else x), memories[n])

    return [part(n) for n in range(count)] if tensors else []


def gather(results: Sequence[Any], memory: Any, dim: int) -> Any:
    """The parts' results as one nest, their tensors joined along `dim`; numbers become vectors."""
    first = results[0]
    if isinstance(first, TensorBase):
        tensors = [moved_to(x, memory) for x in results]
        if not tensors[0].ndim:
            warnings.warn("gathering along dimension 0 scalars: they are joined to a vector", UserWarning, stacklevel=4)
            return cat([unsqueeze(x, 0) for x in tensors], 0)
        return cat(tensors, dim)
    if first is None:
        return None
    if isinstance(first, Mapping):
        if any(r.keys() != first.keys() for r in results):
            raise ArgumentError("All dicts must have the same number of keys")
        return type(first)({key: gather([r[key] for r in results], memory, dim) for key in first})  # type: ignore[call-arg]
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*(gather(list(x), memory, dim) for x in zip(*results, strict=True)))
    if isinstance(first, Sequence) and not isinstance(first, str):
        return type(first)([gather(list(x), memory, dim) for x in zip(*results, strict=True)])  # type: ignore[call-arg]
    raise ArgumentTypeError(f"a module's result of type {type(first).__name__} cannot be joined")


def replica(module: Any, memory: Any) -> Any:
    """The module with its tensors in that memory; gradients go back to the module's own. Itself where they are there."""
    tensors = [*module.parameters(), *module.buffers()]
    if STATE.recorder is not None or all(memory_of(x._data) is memory for x in tensors):
        return module
    there = {id(x): on(x, memory) for x in tensors}
    return _replica(module, there, {})


def _replica(module: Any, there: Mapping[int, Any], made: dict[int, Any]) -> Any:
    found = made.get(id(module))
    if found is None:
        found = made[id(module)] = copy.copy(module)
        fields = found.__dict__
        for group in ("_parameters", "_buffers"):
            fields[group] = {k: None if x is None else there[id(x)] for k, x in fields[group].items()}
        fields["_modules"] = {k: None if x is None else _replica(x, there, made) for k, x in fields["_modules"].items()}
    return found


def _mapped(nest: Any, fn: Any) -> Any:
    """The nest with `fn` of each of its tensors."""
    tensors: list[Any] = []
    structure = flatten(nest, tensors)
    return unflatten(structure, [fn(x) for x in tensors])


__all__ = ["DataParallel", "data_parallel"]
