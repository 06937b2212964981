"""The OpenCL devices there are, each with its context and its queue."""

from __future__ import annotations

import atexit
import functools
import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakSet

import numpy as np

from graphc.backends.c_like.heads import OPENCL
from graphc.backends.c_like.tiles import Target
from graphc.backends.devices.opened import Opened
from graphc.core.errors import BackendError, DeviceError, GraphcError, OutOfMemoryError
from graphc.core.lazy import lazy_import

cl: Any = lazy_import("pyopencl")

#: Items of a group: what fills a processor's vectors, or hides a graphics card's memory.
_ITEMS_CPU, _ITEMS = 64, 256
#: What drivers answer once a device is gone: DEVICE_NOT_AVAILABLE, OUT_OF_RESOURCES, EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST,
#: INVALID_COMMAND_QUEUE, and NVIDIA's own code for a kernel that went astray.
_STOPPED = {-2, -5, -14, -36, -9999}
#: What they answer if there is no room: MEM_OBJECT_ALLOCATION_FAILURE, OUT_OF_HOST_MEMORY, INVALID_BUFFER_SIZE; and where a
#: buffer was asked for, OUT_OF_RESOURCES.
_NO_ROOM = {-4, -6, -61}
_BUILD_FAILURE, _OUT_OF_RESOURCES = -11, -5
_HELP = "install your graphics card's driver, or a runtime for processors (Debian: apt install pocl-opencl-icd)"
#: Bytes of patterns that a buffer can be filled with, from a multiple of them on.
_FILLS = {1, 2, 4, 8, 16, 32, 64, 128}


class Kernel:
    """A kernel with its arguments."""

    def __init__(self, device: Device, kernel: Any, groups: int, items: int):
        self.device, self.kernel = device, kernel
        self.size, self.group = (groups * items,), (items,)
        self.set_buffer: Callable[[int, Any], None] = kernel.set_arg
        # pyopencl's set_arg takes 6 us for a number, which it hands on to this one
        self.set_word: Callable[[int, Any], None] = getattr(kernel, "_set_arg_buf", kernel.set_arg)

    def start(self) -> None:
        """Starts it."""
        cl.enqueue_nd_range_kernel(self.device.queue, self.kernel, self.size, self.group)

    def clocked(self) -> Callable[[], int]:
        """Starts it; its event tells the time."""
        event = cl.enqueue_nd_range_kernel(self.device.queue, self.kernel, self.size, self.group)
        return lambda: int(event.profile.end - event.profile.start)


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
        #: what is said of it once it has stopped for good, with all that was on it
        self.lost = ""
        self.total_memory: int = device.global_mem_size
        self.identity = f"{device.platform.version.strip()}, {self.name}, {device.driver_version.strip()}"
        self.most = 0
        major, minor = device.version.split()[1].split(".")  # "OpenCL 3.0 ..."
        self.capability = int(major), int(minor)
        is_cpu = bool(device.type & cl.device_type.CPU)
        self.target = Target(
            items=min(_ITEMS_CPU if is_cpu else _ITEMS, _power_below(device.max_work_group_size)),
            local=device.local_mem_size,
            units=device.max_compute_units,
            vector=4 * max(device.native_vector_width_float, 1) if is_cpu else 0,
            arguments=device.max_parameter_size,
            wide_atomics="cl_khr_int64_base_atomics" in device.extensions,
        )
        self.double = "cl_khr_fp64" in device.extensions or bool(getattr(device, "double_fp_config", 0))
        exact = cl.device_fp_config.CORRECTLY_ROUNDED_DIVIDE_SQRT
        # a loop that cannot be vectorised is no news to users
        self.options = ["-w", *(["-cl-fp32-correctly-rounded-divide-sqrt"] if device.single_fp_config & exact else [])]
        self.kernels: dict[str, tuple[Any, str]] = {}
        self.holders: WeakSet[Any] = WeakSet()

    @contextmanager
    def held(self) -> Iterator[None]:
        """While it lasts the device belongs to this thread, and its errors are told as graphc's."""
        with self.lock:
            if self.lost:
                raise DeviceError(self.lost)
            try:
                yield
            except cl.Error as error:
                raise self._told(error) from error

    def _told(self, error: Any) -> GraphcError:
        """An error of the driver as graphc's."""
        if error.code in _NO_ROOM:
            return OutOfMemoryError(f"{self.name} has no room: {self._holds()} ({error})")
        if error.code not in _STOPPED or (error.code == _OUT_OF_RESOURCES and self._answers()):
            return BackendError(f"{self.name} does not do what graphc asks of it: {error}")
        self.lost = (
            f"{self.name} has stopped ({error}): the tensors on it are lost, those on the host are not\n"
            "  hint: the device is opened anew at its next use; move your tensors to it again"
        )
        return DeviceError(self.lost)

    def _answers(self) -> bool:
        """Whether it still works: drivers say OUT_OF_RESOURCES of a kernel that is too large for it, too."""
        try:
            self.finish()
        except cl.Error:
            return False
        return True

    def _holds(self) -> str:
        return f"tensors and runs hold {self.pool.active_bytes:,} of its {self.total_memory:,} bytes"

    def build(self, text: str) -> Any:
        """The built program of a text; BackendError shows the compiler's words."""
        try:
            with _BUILDING, warnings.catch_warnings():
                warnings.simplefilter("ignore", cl.CompilerWarning)  # words of a compiler that has done its work
                return cl.Program(self.context, text).build(self.options)
        except cl.RuntimeError as error:
            if error.code != _BUILD_FAILURE:
                raise
            raise BackendError(f"{self.name} cannot build a kernel: {error}\n{text}") from error

    def alloc(self, nbytes: int) -> Any:
        """A buffer, from a pool: it is used again by what is started after it was given back."""
        try:
            found = self.pool.allocate(nbytes)
        except cl.Error as error:
            if error.code not in _NO_ROOM and error.code != _OUT_OF_RESOURCES:
                raise
            most = self.device.max_mem_alloc_size
            limit = f"; one piece has at most {most:,}" if nbytes > most else ""
            raise OutOfMemoryError(f"{self.name} has no room for {nbytes:,} bytes: {self._holds()}{limit}") from error
        self.most = max(self.most, self.pool.active_bytes)
        return found

    def usage(self) -> tuple[int, int, int]:
        """Bytes in use, the most there ever were, and those held in all."""
        return self.pool.active_bytes, self.most, self.pool.managed_bytes

    def release(self) -> None:
        """Gives memory that nobody uses back to the driver, also what programs keep between their runs."""
        for holder in [*self.holders]:
            holder.release()
        self.holders.clear()
        self.pool.free_held()

    def lend(self, array: np.ndarray[Any, Any]) -> Any:
        """The array as a buffer, on a processor."""
        if not self.target.vector:
            return None
        access = cl.mem_flags.READ_WRITE if array.flags.writeable else cl.mem_flags.READ_ONLY
        return cl.Buffer(self.context, access | cl.mem_flags.USE_HOST_PTR, hostbuf=array)

    def copy_in(self, buffer: Any, at: int, array: np.ndarray[Any, Any]) -> None:
        """Sends bytes; few of them with the command itself, so that it waits for nothing."""
        if array.size in _FILLS and at % array.size == 0:
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

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Within, work goes to a queue whose events know their times."""
        with self.held():
            self.finish()
            before = self.queue
            self.queue = cl.CommandQueue(self.context, properties=cl.command_queue_properties.PROFILING_ENABLE)
        try:
            yield
        finally:
            with self.held():
                self.finish()
                self.queue = before

    def kernel(self, program: Any, name: str, groups: int, items: int, n_args: int) -> Kernel:
        """A kernel of a program."""
        return Kernel(self, cl.Kernel(program, name), groups, items)

    def largest_group(self, program: Any, name: str) -> int:
        """What the driver says: a kernel that needs many registers may be done by fewer items than others."""
        what = cl.kernel_work_group_info.WORK_GROUP_SIZE
        found: int = cl.Kernel(program, name).get_work_group_info(what, self.device)
        return found


def _power_below(n: int) -> int:
    return 1 << (n.bit_length() - 1)


@functools.cache
def devices() -> tuple[Any, ...]:
    """Every OpenCL device, graphics cards first; BackendError where there is none."""
    try:
        found = [device for platform in cl.get_platforms() for device in _devices_of(platform)]
    except (cl.LogicError, ImportError) as error:
        raise BackendError(f"no OpenCL platform was found ({error}): {_HELP}") from None
    if not found:
        raise BackendError(f"no OpenCL platform here has a device: {_HELP}")
    return tuple(sorted(found, key=lambda d: bool(d.type & cl.device_type.CPU)))


def _devices_of(platform: Any) -> list[Any]:
    """Those of one driver; none where it cannot say."""
    try:
        found: list[Any] = platform.get_devices()
    except cl.Error as error:
        logging.getLogger("graphc.opencl").warning("the driver %s names no devices: %s", platform.name, error)
        return []
    return found


#: One thread at a time builds: filters of warnings belong to the whole process.
_BUILDING = threading.Lock()


def device(number: int = 0) -> Device:
    """A device by its number, opened anew if it has stopped; BackendError where there is none."""
    found: Device = OPENED[number]
    return found


def _opened(number: int) -> Device:
    if number >= len(devices()):
        raise BackendError(f"there is no OpenCL device {number}: there are {len(devices())}")
    try:
        return Device(devices()[number])
    except cl.Error as error:
        raise BackendError(f"{devices()[number].name.strip()} cannot be opened: {error}") from error


OPENED = Opened("OpenCL", _opened, lambda: bool(devices.cache_info().currsize), anew=True)


def _finish_all() -> None:
    """Waits, when Python ends, for what was started: a driver whose threads still compile may not be torn down."""
    for found in OPENED.found.values():
        if not found.lost:
            with suppress(cl.Error):
                found.queue.finish()


atexit.register(_finish_all)
