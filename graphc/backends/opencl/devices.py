"""The OpenCL devices there are, each with its context and its queue."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from graphc.backends.c_like.heads import OPENCL
from graphc.backends.c_like.tiles import Target
from graphc.core.errors import BackendError, DeviceError, OutOfMemoryError
from graphc.core.lazy import lazy_import

cl: Any = lazy_import("pyopencl")

#: Items of a group: what fills a processor's vectors, or hides a graphics card's memory.
_ITEMS_CPU, _ITEMS = 64, 256
#: What drivers answer once a device is gone: DEVICE_NOT_AVAILABLE, OUT_OF_RESOURCES, EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST,
#: INVALID_COMMAND_QUEUE, and NVIDIA's own code for a kernel that went astray.
_STOPPED = {-2, -5, -14, -36, -9999}
#: Bytes of patterns that a buffer can be filled with.
_FILLS = {1, 2, 4, 8, 16, 32, 64, 128}


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
    """A device (`devices/protocol.py` tells what it must offer), with a queue that does what it is given in order."""

    kind, dialect = "opencl", OPENCL

    def __init__(self, device: Any):
        self.device = device
        self.name = device.name.strip()
        self.context = cl.Context([device])
        self.queue = cl.CommandQueue(self.context)
        self.pool = cl.tools.MemoryPool(cl.tools.ImmediateAllocator(self.queue))
        self.lock = threading.RLock()
        #: whether it has stopped for good, with all that was on it
        self.lost = False
        self.total_memory: int = device.global_mem_size
        self.identity = f"{device.platform.version.strip()}, {self.name}, {device.driver_version.strip()}"
        self.most = 0
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
        self.kernels: dict[str, tuple[Any, str]] = {}

    @contextmanager
    def held(self) -> Iterator[None]:
        """While it lasts the device belongs to this thread, and its errors are told as graphc's."""
        with self.lock:
            try:
                yield
            except cl.MemoryError as error:
                raise OutOfMemoryError(
                    f"{self.name} has no room: tensors and runs hold {self.pool.active_bytes:,} bytes of "
                    f"{self.device.global_mem_size:,} ({error})"
                ) from error
            except cl.Error as error:
                if error.code not in _STOPPED:
                    raise
                self.lost = True
                raise DeviceError(
                    f"{self.name} has stopped ({error}): the tensors on it are lost, those on the host are not\n"
                    "  hint: the device is opened anew at its next use; move your tensors to it again"
                ) from error

    def build(self, text: str) -> Any:
        """The built program of a text; BackendError shows the compiler's words."""
        try:
            return cl.Program(self.context, text).build(self.options)
        except cl.RuntimeError as error:
            raise BackendError(f"{self.name} cannot build a kernel: {error}\n{text}") from error

    def alloc(self, nbytes: int) -> Any:
        """A buffer, from a pool: it is used again by what is started after it was given back."""
        found = self.pool.allocate(nbytes)
        self.most = max(self.most, self.pool.active_bytes)
        return found

    def usage(self) -> tuple[int, int, int]:
        """Bytes in use, the most there ever were, and those held in all."""
        return self.pool.active_bytes, self.most, self.pool.managed_bytes

    def release(self) -> None:
        """Gives memory that nobody uses back to the driver."""
        self.pool.free_held()

    def lend(self, array: np.ndarray[Any, Any]) -> Any:
        """The array as a buffer, on a processor."""
        if not self.target.vector:
            return None
        access = cl.mem_flags.READ_WRITE if array.flags.writeable else cl.mem_flags.READ_ONLY
        return cl.Buffer(self.context, access | cl.mem_flags.USE_HOST_PTR, hostbuf=array)

    def copy_in(self, buffer: Any, at: int, array: np.ndarray[Any, Any]) -> None:
        """Sends bytes; few of them with the command itself, so that it waits for nothing."""
        if array.size in _FILLS:
            cl.enqueue_fill_buffer(self.queue, buffer, array, at, array.size)
        else:
            cl.enqueue_copy(self.queue, buffer, array, dst_offset=at)

    def copy_out(self, array: np.ndarray[Any, Any], buffer: Any, at: int) -> None:
        """Fetches bytes."""
        cl.enqueue_copy(self.queue, array, buffer, src_offset=at)

    def copy_within(self, target: Any, to: int, source: Any, at: int, nbytes: int) -> None:
        """Copies bytes from one buffer to another."""
        cl.enqueue_copy(self.queue, target, source, byte_count=nbytes, src_offset=at, dst_offset=to)

    def finish(self) -> None:
        """Waits."""
        self.queue.finish()

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


_OPEN: dict[int, Device] = {}


def device(number: int = 0) -> Device:
    """A device by its number, opened anew if it has stopped; BackendError where there is none."""
    found = _OPEN.get(number)
    if found is None or found.lost:
        if number >= len(devices()):
            raise BackendError(f"there is no OpenCL device {number}: there are {len(devices())}")
        found = _OPEN[number] = Device(devices()[number])
    return found
