"""What `graphc.cuda` and `graphc.opencl` answer about the devices of their kind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from graphc.backends import device_count
from graphc.core.context import making_in, place
from graphc.core.devices import Device
from graphc.core.errors import DeviceError


class Properties(NamedTuple):
    """A device's name, the bytes of its memory, and how many units compute at once."""

    name: str
    total_memory: int
    multi_processor_count: int


class Accelerator:
    """The devices of a kind, "cuda" or "opencl". A device is named by its number, a `device`, or None: the current one."""

    def __init__(self, kind: str, shown: str):
        self.kind, self.shown = kind, shown
        self.current = 0

    def is_available(self) -> bool:
        """Whether there is a device of this kind."""
        return self.device_count() > 0

    def is_initialized(self) -> bool:
        """Whether there is a device, which is opened when it is first used."""
        return self.is_available()

    def device_count(self) -> int:
        """How many devices there are."""
        return device_count(self.kind)

    def memory(self, device: Any = None) -> Any:
        """The memory of a device; DeviceError where there is none."""
        if isinstance(device, str | Device):
            found = Device(device)
            if found.type != self.kind:
                raise DeviceError(f"Expected a {self.kind} device, but got: {found}")
            device = found.index
        return place(Device(self.kind, self.current if device is None else device))

    def current_device(self) -> int:
        """The number of the device that is meant where none is named; DeviceError without a device."""
        self._need("current_device")
        return self.current

    def set_device(self, device: Any) -> None:
        """Makes a device the current one."""
        self._need("set_device")
        self.current = self.memory(device).device.index

    @contextmanager
    def device(self, device: Any) -> Iterator[None]:
        """Within, a device is the current one, and tensors are made there."""
        before = self.current
        self.set_device(device)
        try:
            with making_in(self.memory()):
                yield
        finally:
            self.current = before

    def synchronize(self, device: Any = None) -> None:
        """Waits until all that was started on a device is done."""
        self._need("synchronize")
        self.memory(device).synchronize()

    def get_device_name(self, device: Any = None) -> str:
        """What its maker calls a device."""
        self._need("get_device_name")
        name: str = self.memory(device).driver.name
        return name

    def get_device_properties(self, device: Any = None) -> Properties:
        """Name, memory and units of a device."""
        self._need("get_device_properties")
        driver = self.memory(device).driver
        return Properties(driver.name, driver.total_memory, driver.target.units)

    def memory_allocated(self, device: Any = None) -> int:
        """Bytes that tensors and runs hold on a device; 0 without one."""
        return self._usage(device)[0]

    def max_memory_allocated(self, device: Any = None) -> int:
        """The most bytes that tensors and runs ever held on a device; 0 without one."""
        return self._usage(device)[1]

    def memory_reserved(self, device: Any = None) -> int:
        """Bytes that were asked of the driver and not given back; 0 without a device."""
        return self._usage(device)[2]

    def reset_peak_memory_stats(self, device: Any = None) -> None:
        """Counts `max_memory_allocated` anew from now on."""
        if self.is_available():
            driver = self.memory(device).driver
            driver.most = driver.usage()[0]

    def empty_cache(self) -> None:
        """Gives memory that nobody uses back to the driver."""
        if self.is_available():
            driver = self.memory().driver
            with driver.held():
                driver.release()

    def manual_seed(self, seed: int) -> None:
        """Nothing of its own: `graphc.manual_seed` seeds the one generator, whose numbers are the same on every device."""

    manual_seed_all = manual_seed

    def is_bf16_supported(self, including_emulation: bool = True) -> bool:
        """Whether there is a device: bfloat16 is computed with in float32 on all."""
        return including_emulation and self.is_available()

    def _usage(self, device: Any) -> tuple[int, int, int]:
        found: tuple[int, int, int] = self.memory(device).driver.usage() if self.is_available() else (0, 0, 0)
        return found

    def _need(self, asked: str) -> None:
        if not self.is_available():
            raise DeviceError(
                f"{self.kind}.{asked}: graphc has no {self.shown} device here\n"
                f"  hint: ask {self.kind}.is_available() first, it is False here; `graphc doctor` tells why"
            )


#: The public names.
NAMES = (
    "current_device", "device", "device_count", "empty_cache", "get_device_name", "get_device_properties", "is_available",
    "is_bf16_supported", "is_initialized", "manual_seed", "manual_seed_all", "max_memory_allocated", "memory_allocated",
    "memory_reserved", "reset_peak_memory_stats", "set_device", "synchronize",
)  # fmt: skip

__all__ = ["NAMES", "Accelerator", "Properties"]
