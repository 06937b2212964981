"""The OpenCL backend."""

from __future__ import annotations

from graphc.backends.devices.executable import DeviceBackend
from graphc.backends.opencl.devices import Device, device


class OpenClBackend(DeviceBackend):
    """Compiles programs for the first OpenCL device."""

    name = "opencl"

    def device(self) -> Device:
        """The device."""
        return device()
