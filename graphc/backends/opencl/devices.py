"""The OpenCL devices there are, each with its context and its queue."""

from __future__ import annotations

import functools
import threading
from typing import Any

from graphc.core.errors import BackendError
from graphc.core.lazy import lazy_import

cl: Any = lazy_import("pyopencl")

#: Items of a group: what fills a processor's vectors, or hides a graphics card's memory.
_ITEMS_CPU, _ITEMS = 64, 256


class Device:
    """A device: `queue` does what it is given in order; `items`: how many a group should have."""

    def __init__(self, device: Any):
        self.device = device
        self.name = device.name.strip()
        self.context = cl.Context([device])
        self.queue = cl.CommandQueue(self.context)
        self.lock = threading.RLock()
        is_cpu = bool(device.type & cl.device_type.CPU)
        self.items = min(_ITEMS_CPU if is_cpu else _ITEMS, _power_below(device.max_work_group_size))
        self.double = "cl_khr_fp64" in device.extensions or bool(getattr(device, "double_fp_config", 0))
        exact = cl.device_fp_config.CORRECTLY_ROUNDED_DIVIDE_SQRT
        self.options = ["-cl-fp32-correctly-rounded-divide-sqrt"] if device.single_fp_config & exact else []
        self._programs: dict[str, Any] = {}

    def program(self, text: str) -> Any:
        """The built program of a text; BackendError shows the compiler's words."""
        found = self._programs.get(text)
        if found is None:
            try:
                found = self._programs[text] = cl.Program(self.context, text).build(self.options)
            except cl.RuntimeError as error:
                raise BackendError(f"{self.name} cannot build a kernel: {error}\n{text}") from error
        return found


def _power_below(n: int) -> int:
    return 1 << (n.bit_length() - 1)


@functools.cache
def devices() -> tuple[Any, ...]:
    """Every OpenCL device, graphics cards first."""
    try:
        platforms = cl.get_platforms()
    except cl.LogicError as error:
        raise BackendError(
            f"no OpenCL platform was found ({error}): install your graphics card's driver, or a runtime for processors "
            "(Debian: apt install pocl-opencl-icd)"
        ) from None
    found = [device for platform in platforms for device in platform.get_devices()]
    return tuple(sorted(found, key=lambda d: bool(d.type & cl.device_type.CPU)))


@functools.cache
def device(number: int = 0) -> Device:
    """A device by its number; BackendError where there is none."""
    if number >= len(devices()):
        raise BackendError(f"there is no OpenCL device {number}: there are {len(devices())}")
    return Device(devices()[number])
