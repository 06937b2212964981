"""The OpenCL backend."""

from __future__ import annotations

from graphc.backends.devices.executable import DeviceBackend
from graphc.backends.opencl.devices import Device, device, devices


class OpenClBackend(DeviceBackend):
    """Compiles programs for OpenCL devices."""

    name = "opencl"

    def count(self) -> int:
        """How many devices there are."""
        return len(devices())

    def device(self, number: int = 0) -> Device:
        """The device of that number."""
        return device(number)
