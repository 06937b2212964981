"""`DataParallel`: one batch in parts, each on a device of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphc.backends import device_count
from graphc.core.arrays import memory_of
from graphc.core.context import STATE, place
from graphc.core.errors import ArgumentError
from graphc.nn.modules.module import Module
from graphc.nn.parallel.replicate import replica
from graphc.nn.parallel.scatter_gather import as_device, gathered, moved_to, scatter_kwargs


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
        parts = zip(*scatter_kwargs(inputs, kwargs, self.device_ids, self.dim), memories, strict=False)
        results = [replica(self.module, memory)(*args, **named) for args, named, memory in parts]
        if len(results) == 1:
            return moved_to(results[0], place(self.output_device))
        return gathered(results, place(self.output_device), self.dim)

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


__all__ = ["DataParallel", "data_parallel"]
