"""A stand-in for `cupy.cuda` over the first OpenCL device: what the backend asks of CuPy, where there is no CUDA device.

An address is the number of a buffer; machine code is the text, which is built with the other dialect's head. Memory is taken,
and kernels are started, only while a device and a stream are those of the thread, as CuPy's are. What is sent is read as late
as CUDA may read it: when something comes behind it in the stream. `failures` has errors to come.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import numpy as np

from graphc.backends.c_like.heads import CUDA, OPENCL
from graphc.backends.opencl import devices
from graphc.backends.opencl.devices import cl

#: What is the thread's, the innermost last.
current: list[str] = []
buffers: dict[int, Any] = {}
#: Copies from the host that were asked for.
sending: list[Callable[[], None]] = []
#: By the name of a function, what its next calls raise; under "": what all raise from now on.
failures: dict[str, list[Exception]] = {}
#: How often CuPy's pool was asked to give back what it keeps.
given_back: list[None] = []


class CUDARuntimeError(RuntimeError):
    def __init__(self, status: int):
        super().__init__(f"cudaError {status}")
        self.status = status


class CUDADriverError(RuntimeError):
    def __init__(self, status: int):
        super().__init__(f"CUDA_ERROR {status}")
        self.status = status


class NoRoom(MemoryError):
    """CuPy's OutOfMemoryError, which is nothing but this."""


def ask(name: str) -> None:
    """What a function does first."""
    if "" in failures:
        raise failures[""][0]
    if failures.get(name):
        raise failures[name].pop(0)


def send() -> None:
    """Does the copies from the host."""
    while sending:
        sending.pop(0)()


def bytes_at(address: int, size: int) -> Any:
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))


class _Current:
    """Something that can be the thread's."""

    def __enter__(self) -> None:
        ask("__enter__")
        current.append(type(self).__name__)

    def __exit__(self, *_: object) -> None:
        assert current.pop() == type(self).__name__
        ask("__exit__")


class Device(_Current):
    compute_capability = "90"

    def __init__(self, number: int):
        assert number == 0


class Stream(_Current):
    def __init__(self, non_blocking: bool):
        assert non_blocking and current == ["Device"]

    @property
    def done(self) -> bool:
        return not sending

    def synchronize(self) -> None:
        ask("synchronize")
        send()
        devices.device().queue.finish()


class Event:
    """A place in the stream; its time is that at which all before it is done."""

    def record(self) -> None:
        assert current[-2:] == ["Device", "Stream"]
        send()
        devices.device().queue.finish()
        self.time = perf_counter()


def get_elapsed_time(start: Event, end: Event) -> float:
    return 1e3 * (end.time - start.time)


class Pointer:
    """A place in a buffer."""

    def __init__(self, ptr: int, at: int = 0):
        self.ptr, self.at = ptr, at

    def __add__(self, at: int) -> Pointer:
        return Pointer(self.ptr, self.at + at)

    def copy_from_host_async(self, address: int, size: int, stream: Stream) -> None:
        def copy() -> None:
            cl.enqueue_copy(devices.device().queue, buffers[self.ptr], bytes_at(address, size), dst_offset=self.at)

        sending.append(copy)

    def copy_to_host_async(self, address: int, size: int, stream: Stream) -> None:
        send()
        cl.enqueue_copy(devices.device().queue, bytes_at(address, size), buffers[self.ptr], src_offset=self.at)

    def copy_from_device_async(self, source: Pointer, size: int, stream: Stream) -> None:
        send()
        cl.enqueue_copy(
            devices.device().queue, buffers[self.ptr], buffers[source.ptr], byte_count=size, src_offset=source.at,
            dst_offset=self.at,
        )  # fmt: skip


def alloc(size: int) -> Pointer:
    assert current[-2:] == ["Device", "Stream"]
    ask("alloc")
    buffers[len(buffers) + 1] = devices.device().alloc(size)
    return Pointer(len(buffers))


class Module:
    def load(self, code: bytes) -> None:
        ask("load")
        text = code.decode().replace(CUDA.head, OPENCL.head).replace(CUDA.double, OPENCL.double)
        self.program = devices.device().build(text)
        self.parameters = {
            name: found.split(", ") for name, found in re.findall(r"KERNEL\(\d+\) (\w+)\((.*)\) {", text)
        }

    def get_function(self, name: str) -> Any:
        kernel = cl.Kernel(self.program, name)

        def start(grid: tuple[int, ...], block: tuple[int, ...], args: list[Any]) -> None:
            assert current[-2:] == ["Device", "Stream"]
            ask("start")
            send()
            values = [buffers[x] if "*" in p else x for p, x in zip(self.parameters[name], args, strict=True)]
            kernel.set_args(*values)
            size = tuple(a * b for a, b in zip(grid, block, strict=True))
            cl.enqueue_nd_range_kernel(devices.device().queue, kernel, size, block)

        return start


class NVRTCError(RuntimeError):
    pass


def _compile(text: str, options: tuple[str, ...]) -> None:
    assert options[-1] == "--gpu-architecture=sm_90"


PROPERTIES = {"name": b"a stand-in", "sharedMemPerBlock": 1 << 15, "multiProcessorCount": 16, "totalGlobalMem": 1 << 30}
runtime = SimpleNamespace(
    getDeviceCount=lambda: 1, getDeviceProperties=lambda number: PROPERTIES, driverGetVersion=lambda: 12000,
    CUDARuntimeError=CUDARuntimeError,
)  # fmt: skip
driver = SimpleNamespace(CUDADriverError=CUDADriverError)


class Pool:
    """What is asked of `cupy` itself: the pool of the device that is the thread's."""

    def total_bytes(self) -> int:
        assert current[-2:] == ["Device", "Stream"]
        return 1 << 20

    def free_all_blocks(self) -> None:
        given_back.append(None)


whole = SimpleNamespace(get_default_memory_pool=Pool)
nvrtc = SimpleNamespace(
    createProgram=lambda text, name, headers, names: text, compileProgram=_compile, getCUBIN=str.encode,
    destroyProgram=lambda text: None, NVRTCError=NVRTCError,
)  # fmt: skip
