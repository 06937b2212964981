"""`torch.cuda` where there is no CUDA device: questions are answered with no, work on a device is refused."""

from __future__ import annotations

from typing import Any, NoReturn

from graphc.core.errors import DeviceError


def is_available() -> bool:
    """False: eager tensors live on the CPU."""
    return False


def is_initialized() -> bool:
    """False: there is nothing to initialise."""
    return False


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """False, for want of a device."""
    return False


def device_count() -> int:
    """0."""
    return 0


def manual_seed(seed: int) -> None:
    """Seeds no device: there is none. `graphc.manual_seed` seeds the CPU's generator."""


def manual_seed_all(seed: int) -> None:
    """Seeds no device: there is none."""


def empty_cache() -> None:
    """Has nothing to free."""


def memory_allocated(device: Any = None) -> int:
    """0 bytes."""
    return 0


def max_memory_allocated(device: Any = None) -> int:
    """0 bytes."""
    return 0


def memory_reserved(device: Any = None) -> int:
    """0 bytes."""
    return 0


def _refuse(name: str) -> NoReturn:
    raise DeviceError(
        f"cuda.{name}: graphc has no CUDA device\n  hint: ask cuda.is_available() first, it is False here"
    )


def current_device() -> int:
    """Raises DeviceError (an AssertionError, as in a PyTorch without CUDA)."""
    _refuse("current_device")


def set_device(device: Any) -> None:
    """Raises DeviceError."""
    _refuse("set_device")


def synchronize(device: Any = None) -> None:
    """Raises DeviceError."""
    _refuse("synchronize")


def get_device_name(device: Any = None) -> str:
    """Raises DeviceError."""
    _refuse("get_device_name")


def get_device_properties(device: Any = None) -> Any:
    """Raises DeviceError."""
    _refuse("get_device_properties")


__all__ = [
    "current_device", "device_count", "empty_cache", "get_device_name", "get_device_properties", "is_available",
    "is_bf16_supported", "is_initialized", "manual_seed", "manual_seed_all", "max_memory_allocated", "memory_allocated",
    "memory_reserved", "set_device", "synchronize",
]  # fmt: skip
