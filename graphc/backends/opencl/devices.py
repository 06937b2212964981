"""The OpenCL devices there are, each with its context and its queue."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.backends.c_like.heads import OPENCL
from graphc.backends.c_like.tiles import Target
from graphc.core.errors import BackendError
from graphc.core.lazy import lazy_import

cl: Any = lazy_import("pyopencl")

#: Items of a group: what fills a processor's vectors, or hides a graphics card's memory.
_ITEMS_CPU, _ITEMS = 64, 256


class Kernel:
    """A kernel with its arguments."""

    def __init__(self, queue: Any, kernel: Any, groups: int, items: int):
        self.queue, self.kernel = queue, kernel
        self.size, self.group = (groups * items,), (items,)
        self.set_buffer: Callable[[int, Any], None] = kernel.set_arg
        # pyopencl's set_arg takes 6 us for a number, which it hands on to this one
        self.set_word: Callable[[int, Any], None] = getattr(kernel, "_set_arg_buf", kernel.set_arg)

    def start(self) -> None:
        """Starts it."""
        cl.enqueue_nd_range_kernel(self.queue, self.kernel, self.size, self.group)


class Device:
    """A device (`devices/executable.py` tells what it must offer), with a queue that does what it is given in order."""

    kind, dialect = "opencl", OPENCL

    def __init__(self, device: Any):
        self.device = device
        self.name = device.name.strip()
        self.context = cl.Context([device])
        self.queue = cl.CommandQueue(self.context)
        self.lock = threading.RLock()
        is_cpu = bool(device.type & cl.device_type.CPU)
        self.target = Target(
            items=min(_ITEMS_CPU if is_cpu else _ITEMS, _power_below(device.max_work_group_size)),
            local=device.local_mem_size,
            units=device.max_compute_units,
            vector=4 * max(device.native_vector_width_float, 1) if is_cpu else 0,
        )
        self.double = "cl_khr_fp64" in device.extensions or bool(getattr(device, "double_fp_config", 0))
        exact = cl.device_fp_config.CORRECTLY_ROUNDED_DIVIDE_SQRT
        # a loop that cannot be vectorised is no news to users
        self.options = ["-w", *(["-cl-fp32-correctly-rounded-divide-sqrt"] if device.single_fp_config & exact else [])]
        self._programs: dict[str, Any] = {}

    def held(self) -> threading.RLock:
        """While it lasts the device belongs to this thread."""
        return self.lock

    def build(self, text: str) -> Any:
        """The built program of a text; BackendError shows the compiler's words."""
        found = self._programs.get(text)
        if found is None:
            try:
                found = self._programs[text] = cl.Program(self.context, text).build(self.options)
            except cl.RuntimeError as error:
                raise BackendError(f"{self.name} cannot build a kernel: {error}\n{text}") from error
        return found

    def alloc(self, nbytes: int) -> Any:
        """A buffer."""
        return cl.Buffer(self.context, cl.mem_flags.READ_WRITE, nbytes)

    def lend(self, array: np.ndarray[Any, Any]) -> Any:
        """The array as a buffer, on a processor."""
        if not self.target.vector:
            return None
        access = cl.mem_flags.READ_WRITE if array.flags.writeable else cl.mem_flags.READ_ONLY
        return cl.Buffer(self.context, access | cl.mem_flags.USE_HOST_PTR, hostbuf=array)

    def copy_in(self, buffer: Any, at: int, array: np.ndarray[Any, Any]) -> None:
        """Sends bytes."""
        cl.enqueue_copy(self.queue, buffer, array, dst_offset=at, is_blocking=False)

    def copy_out(self, array: np.ndarray[Any, Any], buffer: Any, at: int) -> None:
        """Fetches bytes."""
        cl.enqueue_copy(self.queue, array, buffer, src_offset=at)

    def regain(self, buffer: Any) -> None:
        """What was written to lent memory can be read."""
        mapped, _ = cl.enqueue_map_buffer(self.queue, buffer, cl.map_flags.READ, 0, (buffer.size,), np.uint8)
        mapped.base.release(self.queue)

    def kernel(self, program: Any, name: str, groups: int, items: int, n_args: int) -> Kernel:
        """A kernel of a program."""
        return Kernel(self.queue, cl.Kernel(program, name), groups, items)


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
