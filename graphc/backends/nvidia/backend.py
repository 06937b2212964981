"""The CUDA backend."""

from __future__ import annotations

from graphc.backends.devices.executable import DeviceBackend
from graphc.backends.nvidia.devices import Device, count, device


class CudaBackend(DeviceBackend):
    """Compiles programs for CUDA devices."""

    name = "cuda"

    def count(self) -> int:
        """How many devices there are."""
        return count()

    def device(self, number: int = 0) -> Device:
        """The device of that number."""
        return device(number)
