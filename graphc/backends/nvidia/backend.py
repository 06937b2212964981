"""The CUDA backend."""

from __future__ import annotations

from graphc.backends.devices.executable import DeviceBackend
from graphc.backends.nvidia.devices import Device, device


class CudaBackend(DeviceBackend):
    """Compiles programs for the first CUDA device."""

    name = "cuda"

    def device(self) -> Device:
        """The device."""
        return device()
