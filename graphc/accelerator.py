"""`torch.accelerator`: the kind of device that a program should use, CUDA or what the user has put in its place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from graphc import cuda, opencl
from graphc.core.config import config
from graphc.core.devices import Device, kind_of_device
from graphc.core.errors import DeviceError


def _devices() -> Any:
    """The namespace of the devices that are meant."""
    return opencl if config.device.startswith("opencl") else cuda


def _some() -> Any:
    if not is_available():
        raise DeviceError("Cannot access accelerator device when none is available: `graphc doctor` tells why")
    return _devices()


def current_accelerator(check_available: bool = False) -> Device | None:
    """The kind of the device, None where there is none."""
    return Device(kind_of_device("cuda")) if is_available() else None


def is_available() -> bool:
    """Whether there is a CUDA device, or an OpenCL device that the user has named (`GRAPHC_DEVICE=opencl`)."""
    found: bool = _devices().is_available()
    return found


def device_count() -> int:
    """How many devices there are."""
    found: int = _devices().device_count()
    return found


def current_device_index() -> int:
    """The number of the current device."""
    found: int = _some().current_device()
    return found


def set_device_index(device: Any) -> None:
    """Makes a device the current one."""
    _some().set_device(device)


current_device_idx, set_device_idx = current_device_index, set_device_index


@contextmanager
def device_index(device: int | None) -> Iterator[None]:
    """Within, a device is the current one."""
    if device is None:
        yield
        return
    with _some().device(device):
        yield


def current_stream(device: Any = None) -> Any:
    """A device's queue."""
    return _some().current_stream(device)


def set_stream(stream: Any) -> None:
    """Nothing: a device has one queue."""
    _some()


def synchronize(device: Any = None) -> None:
    """Waits until all that was started on a device is done."""
    _some().synchronize(device)


def empty_cache() -> None:
    """Gives memory that nobody uses back to the driver."""
    _some().empty_cache()


def memory_allocated(device: Any = None) -> int:
    """Bytes that tensors and runs hold on a device."""
    found: int = _some().memory_allocated(device)
    return found


def max_memory_allocated(device: Any = None) -> int:
    """The most bytes that tensors and runs ever held on a device."""
    found: int = _some().max_memory_allocated(device)
    return found


def memory_reserved(device: Any = None) -> int:
    """Bytes that were asked of the driver and not given back."""
    found: int = _some().memory_reserved(device)
    return found


max_memory_reserved = memory_reserved


def memory_stats(device: Any = None) -> dict[str, int]:
    """The numbers of bytes under PyTorch's names."""
    found: dict[str, int] = _some().memory_stats(device)
    return found


def get_memory_info(device: Any = None) -> tuple[int, int]:
    """The bytes nothing of ours is in, and all bytes of a device."""
    found: tuple[int, int] = _some().mem_get_info(device)
    return found


def reset_peak_memory_stats(device: Any = None) -> None:
    """Counts `max_memory_allocated` anew from now on."""
    _some().reset_peak_memory_stats(device)


reset_accumulated_memory_stats = reset_peak_memory_stats

__all__ = [
    "current_accelerator", "current_device_idx", "current_device_index", "current_stream", "device_count", "device_index",
    "empty_cache", "get_memory_info", "is_available", "max_memory_allocated", "max_memory_reserved", "memory_allocated",
    "memory_reserved", "memory_stats", "reset_accumulated_memory_stats", "reset_peak_memory_stats", "set_device_idx",
    "set_device_index", "set_stream", "synchronize",
]  # fmt: skip
