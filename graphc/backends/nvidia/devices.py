"""The CUDA devices there are, each with its stream. CuPy knows the driver."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

import numpy as np

from graphc.backends.c_like.heads import CUDA
from graphc.backends.c_like.tiles import Target
from graphc.backends.devices.opened import Opened
from graphc.backends.nvidia.nvrtc import cuda, machine_code, missing
from graphc.core.errors import BackendError, DeviceError, GraphcError, OutOfMemoryError
from graphc.core.lazy import lazy_import

cupy: Any = lazy_import("cupy")

#: Items of a group: eight warps.
_ITEMS = 256
#: The bytes of arguments that a kernel takes on every card.
_ARGUMENTS = 4096
#: The status by which both of CUDA's interfaces say that there is no room.
_OUT_OF_MEMORY = 2
#: Bytes that were sent and may not have been read yet; where they are more, it is waited for.
_MOST_SENT = 1 << 24


class Kernel:
    """A kernel with its arguments. A buffer is handed over as its address: its owner keeps it."""

    def __init__(self, function: Any, groups: int, items: int, n_args: int):
        self.function, self.grid, self.block = function, (groups, 1, 1), (items, 1, 1)
        self.args: list[Any] = [None] * n_args

    def set_buffer(self, n: int, buffer: Any) -> None:
        """Argument n from now on."""
        self.args[n] = np.int64(buffer.ptr)

    def set_word(self, n: int, word: Any) -> None:
        """Argument n from now on, a NumPy scalar."""
        self.args[n] = word

    def start(self) -> None:
        """Starts it in the stream of the thread."""
        self.function(self.grid, self.block, self.args)

    def clocked(self) -> Callable[[], int]:
        """Starts it between two events, which tell the time."""
        before, after = cuda.Event(), cuda.Event()
        before.record()
        self.start()
        after.record()
        return lambda: round(1e6 * cuda.get_elapsed_time(before, after))


class Memory:
    """A buffer, which counts as used while somebody has it."""

    def __init__(self, pointer: Any, nbytes: int, freed: list[int]):
        self.pointer, self.nbytes, self.freed = pointer, nbytes, freed
        self.ptr: int = pointer.ptr

    def __add__(self, at: int) -> Any:
        return self.pointer + at

    def __del__(self) -> None:
        self.freed.append(self.nbytes)  # at any time, in any thread: the count is changed where the device is held


class Device:
    """A device (`devices/protocol.py` tells what it must offer), with a stream that does what it is given in order."""

    kind, dialect, double = "cuda", CUDA, True

    def __init__(self, number: int):
        self.device = cuda.Device(number)
        properties = cuda.runtime.getDeviceProperties(number)
        self.name = properties["name"].decode()
        local, units = properties["sharedMemPerBlock"], properties["multiProcessorCount"]
        self.architecture = f"sm_{self.device.compute_capability}"
        major, minor = divmod(int(self.device.compute_capability), 10)  # "90"
        self.capability = major, minor
        self.target = Target(_ITEMS, local, units, vector=0, arguments=_ARGUMENTS, wide_atomics=major >= 6)
        self.lock = threading.RLock()
        with self.device:
            self.stream = cuda.Stream(non_blocking=True)
        self.kernels: dict[str, tuple[Any, str]] = {}
        self.holders: WeakSet[Any] = WeakSet()
        #: what is said of it once it has stopped for good, with all that was on it
        self.lost = ""
        self.total_memory: int = properties["totalGlobalMem"]
        self.identity = f"CUDA {cuda.runtime.driverGetVersion()}, {self.name}"
        self.most = self.used = 0
        #: bytes of buffers that nobody has any more, not yet taken off those in use
        self.freed: list[int] = []
        #: what was sent and may not have been read yet, and its bytes
        self.sent: list[Any] = []
        self.sent_bytes = 0

    @contextmanager
    def held(self) -> Iterator[None]:
        """While it lasts the device belongs to this thread, and its stream is the one of the thread."""
        with self.lock:
            if self.lost:
                raise DeviceError(self.lost)
            try:
                with self.device, self.stream:
                    yield
            except (cuda.runtime.CUDARuntimeError, cuda.driver.CUDADriverError) as error:
                raise self._told(error) from error

    def _told(self, error: Any) -> GraphcError:
        """An error of CUDA as graphc's. One that ends CUDA's context is the answer to all that is asked afterwards."""
        if not self.lost:
            if error.status == _OUT_OF_MEMORY:
                return OutOfMemoryError(f"{self.name} has no room: {self._holds()} ({error})")
            if self._answers():
                return BackendError(f"{self.name} does not do what graphc asks of it: {error}")
            self.lost = (
                f"{self.name} has stopped ({error}): the tensors on it are lost, "
                "and CUDA works again only in a new process"
            )
        return DeviceError(self.lost)

    def _answers(self) -> bool:
        """Whether it still works."""
        try:
            self.finish()
        except RuntimeError:  # what CuPy raises for every failure of CUDA
            return False
        return True

    def _holds(self) -> str:
        return f"tensors and runs hold {self._in_use():,} of its {self.total_memory:,} bytes"

    def build(self, text: str) -> Any:
        """The loaded module of a text; BackendError shows the compiler's words."""
        with self.held():
            found = cuda.Module()
            code = machine_code(text, self.architecture)
            try:
                found.load(code)
            except cuda.driver.CUDADriverError as error:
                if error.status != _OUT_OF_MEMORY:
                    raise
                self.release()
                found.load(code)
        return found

    def alloc(self, nbytes: int) -> Any:
        """A buffer, from CuPy's pool."""
        try:
            found = Memory(cuda.alloc(nbytes), nbytes, self.freed)
        except MemoryError as error:  # CuPy's own
            raise OutOfMemoryError(f"{self.name} has no room for {nbytes:,} bytes: {self._holds()}") from error
        self.used += nbytes
        self.most = max(self.most, self._in_use())
        return found

    def _in_use(self) -> int:
        """Bytes of the buffers that somebody has. CuPy would walk through all of them."""
        while self.freed:
            self.used -= self.freed.pop()
        return self.used

    def usage(self) -> tuple[int, int, int]:
        """Bytes in use, the most there ever were, and those held in all, CuPy's other users' among them."""
        return self._in_use(), self.most, cupy.get_default_memory_pool().total_bytes()

    def release(self) -> None:
        """Gives memory that nobody uses back to the driver, also what programs keep between their runs."""
        for holder in [*self.holders]:
            holder.release()
        self.holders.clear()
        cupy.get_default_memory_pool().free_all_blocks()

    def lend(self, array: np.ndarray[Any, Any]) -> None:
        """A card has memory of its own."""

    def regain(self, buffer: Any) -> None:
        """Nothing is lent."""

    def copy_in(self, buffer: Any, at: int, array: np.ndarray[Any, Any]) -> None:
        """Sends bytes. CUDA may read them later: few are copied and kept until then, where they are many it is waited for."""
        if self.sent and self.stream.done:
            self._forget_sent()
        sent = array if array.nbytes > _MOST_SENT else array.copy()
        (buffer + at).copy_from_host_async(sent.ctypes.data, sent.nbytes, self.stream)
        self.sent.append(sent)
        self.sent_bytes += sent.nbytes
        if self.sent_bytes > _MOST_SENT:
            self.finish()

    def _forget_sent(self) -> None:
        self.sent.clear()
        self.sent_bytes = 0

    def copy_out(self, array: np.ndarray[Any, Any], buffer: Any, at: int) -> None:
        """Fetches bytes."""
        (buffer + at).copy_to_host_async(array.ctypes.data, array.nbytes, self.stream)
        self.finish()

    def copy_within(self, target: Any, to: int, source: Any, at: int, nbytes: int) -> None:
        """Copies bytes from one buffer to another."""
        (target + to).copy_from_device_async(source + at, nbytes, self.stream)

    def finish(self) -> None:
        """Waits."""
        self.stream.synchronize()
        self._forget_sent()

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Events are there at all times."""
        with self.held():
            self.finish()
        try:
            yield
        finally:
            with self.held():
                self.finish()

    def kernel(self, program: Any, name: str, groups: int, items: int, n_args: int) -> Kernel:
        """A kernel of a module."""
        return Kernel(program.get_function(name), groups, items, n_args)

    def largest_group(self, program: Any, name: str) -> int:
        """NVRTC was told how many there are, and gives each the registers that are left."""
        return _ITEMS


@functools.cache
def count() -> int:
    """How many devices there are; BackendError where CUDA cannot be asked."""
    try:
        found: int = cuda.runtime.getDeviceCount()
    except ImportError as error:
        raise missing(error) from None
    except RuntimeError as error:  # what CuPy raises for every failure of CUDA
        raise BackendError(
            f"no CUDA device was found ({error}): install NVIDIA's driver (the command nvidia-smi then lists the card)"
        ) from None
    return found


def device(number: int = 0) -> Device:
    """A device by its number; BackendError where there is none."""
    found: Device = OPENED[number]
    return found


def _opened(number: int) -> Device:
    if number >= count():
        raise BackendError(f"there is no CUDA device {number}: there are {count()}")
    try:
        return Device(number)
    except cuda.runtime.CUDARuntimeError as error:
        raise BackendError(f"the CUDA device {number} cannot be opened: {error}") from error


OPENED = Opened("CUDA", _opened, lambda: bool(count.cache_info().currsize), anew=False)
