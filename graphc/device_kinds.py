"""What `graphc.cuda`, `graphc.opencl` and `graphc.accelerator` answer about the devices of their kind."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from graphc.backends import device_count
from graphc.core.context import making_in, place
from graphc.core.devices import Device, kind_of_device
from graphc.core.errors import ArgumentError, DeviceError


class Properties(NamedTuple):
    """A device's name, the bytes of its memory, how many units compute at once, and its version in two numbers."""

    name: str
    total_memory: int
    multi_processor_count: int
    major: int
    minor: int


class Stream:
    """A device's queue. A device has one, which does all it is given in order; so every stream is that queue."""

    kind = "cuda"

    def __init__(self, device: Any = None, priority: int = 0):
        self.device = Device(self.kind if device is None else device)
        self._memory = place(self.device)

    def synchronize(self) -> None:
        """Waits until all that was started is done."""
        self._memory.synchronize()

    def query(self) -> bool:
        """Whether all that was started is done: it is, when this returns."""
        self.synchronize()
        return True

    def wait_stream(self, stream: Any) -> None:
        """Nothing: one queue keeps its order."""

    def wait_event(self, event: Any) -> None:
        """Nothing: one queue keeps its order."""

    def record_event(self, event: Any = None) -> Event:
        """The time at which all that was started is done."""
        event = event or Event(enable_timing=True)
        event.record(self)
        return event

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and self._memory is other._memory

    def __hash__(self) -> int:
        return id(self._memory)


class Event:
    """A moment: `record` waits until all that was started on the device is done, and notes the time."""

    stream_type = Stream

    def __init__(self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False, **_: Any):
        self._timed = enable_timing
        self._at: float | None = None

    def record(self, stream: Any = None) -> None:
        """Notes the time at which all that was started is done."""
        (stream or self.stream_type()).synchronize()
        self._at = time.perf_counter()

    def synchronize(self) -> None:
        """Nothing: `record` has waited."""

    def wait(self, stream: Any = None) -> None:
        """Nothing: `record` has waited."""

    def query(self) -> bool:
        """Whether what was recorded is done: `record` has waited."""
        return True

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds from this event to another. ArgumentError unless both were made to be timed and have been recorded."""
        if not (self._timed and end_event._timed):
            raise ArgumentError("Both events must be created with argument 'enable_timing=True'.")
        if self._at is None or end_event._at is None:
            raise ArgumentError("Both events must be recorded before calculating elapsed time.")
        return (end_event._at - self._at) * 1e3


class Accelerator:
    """The devices of a kind, "cuda" or "opencl". A device is named by its number, a `device`, or None: the current one.

    `GRAPHC_DEVICE=opencl` lets OpenCL answer for CUDA, so that a script's CUDA branch runs there.
    """

    def __init__(self, name: str, shown: str):
        self.name, self.shown = name, shown
        self.current = 0

    @property
    def kind(self) -> str:
        """The kind of the devices that answer."""
        return kind_of_device(self.name)

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
            if kind_of_device(found.type) != self.kind:
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
        return Properties(driver.name, driver.total_memory, driver.target.units, *driver.capability)

    def get_device_capability(self, device: Any = None) -> tuple[int, int]:
        """A CUDA device's compute capability, an OpenCL device's OpenCL version."""
        self._need("get_device_capability")
        found: tuple[int, int] = self.memory(device).driver.capability
        return found

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
            driver.most = self._usage(device)[0]

    reset_max_memory_allocated = reset_peak_memory_stats

    def max_memory_reserved(self, device: Any = None) -> int:
        """As `memory_reserved`: what was given back is not remembered."""
        return self.memory_reserved(device)

    def mem_get_info(self, device: Any = None) -> tuple[int, int]:
        """The bytes nothing of ours is in, and all bytes of a device."""
        self._need("mem_get_info")
        total: int = self.memory(device).driver.total_memory
        return total - self._usage(device)[2], total

    def memory_stats(self, device: Any = None) -> dict[str, int]:
        """The numbers of bytes under PyTorch's names; empty without a device."""
        if not self.is_available():
            return {}
        used, most, held = self._usage(device)
        return {
            "allocated_bytes.all.current": used, "allocated_bytes.all.peak": most, "reserved_bytes.all.current": held,
            "reserved_bytes.all.peak": held,
        }  # fmt: skip

    def memory_summary(self, device: Any = None, abbreviated: bool = False) -> str:
        """The numbers of bytes as text."""
        self._need("memory_summary")
        rows = [f"{name:<30}{value / 2**20:>14.2f} MiB" for name, value in self.memory_stats(device).items()]
        return "\n".join([f"Memory of {self.get_device_name(device)}", *rows])

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

    def current_stream(self, device: Any = None) -> Stream:
        """The one queue of a device."""
        self._need("current_stream")
        return Stream(self.memory(device).device)

    default_stream = current_stream

    def set_stream(self, stream: Any) -> None:
        """Nothing: a device has one queue."""

    @contextmanager
    def stream(self, stream: Any) -> Iterator[None]:
        """Nothing is different within: a device has one queue."""
        yield

    def _usage(self, device: Any) -> tuple[int, int, int]:
        if not self.is_available():
            return 0, 0, 0
        driver = self.memory(device).driver
        with driver.held():
            found: tuple[int, int, int] = driver.usage()
        return found

    def _need(self, asked: str) -> None:
        if not self.is_available():
            raise DeviceError(
                f"{self.name}.{asked}: graphc has no {self.shown} device here\n"
                f"  hint: ask {self.name}.is_available() first, it is False here; `graphc doctor` tells why"
            )


#: The public names.
NAMES = (
    "current_device", "current_stream", "default_stream", "device", "device_count", "empty_cache", "get_device_capability",
    "get_device_name", "get_device_properties", "is_available", "is_bf16_supported", "is_initialized", "manual_seed",
    "manual_seed_all", "max_memory_allocated", "max_memory_reserved", "mem_get_info", "memory_allocated", "memory_reserved",
    "memory_stats", "memory_summary", "reset_max_memory_allocated", "reset_peak_memory_stats", "set_device", "set_stream",
    "stream", "synchronize",
)  # fmt: skip

__all__ = ["NAMES", "Accelerator", "Event", "Properties", "Stream"]
