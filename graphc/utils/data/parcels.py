"""Parcels: values on their way from a worker to the main process, their arrays in memory that both map.

A parcel is a pickle whose arrays lie beside it (protocol 5). Both go into an anonymous file, of which only the descriptor
is sent: it has no name, so that nothing is left behind whichever process ends when. Small parcels go through the pipe.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import pickle
import tempfile
from typing import Any

import numpy as np

from graphc.core.lazy import lazy_import

reduction = lazy_import("multiprocessing.reduction")

#: bytes up to which a parcel goes through the pipe; where files cannot be mapped (Windows), all do
_SMALL = 4096 if hasattr(mmap, "MAP_SHARED") else float("inf")
_ALIGN = 64


class _Mapping:
    """The memory of an anonymous file, for NumPy; unmapped with its last array. It keeps no descriptor open."""

    def __init__(self, handle: int, size: int):
        # `mmap.mmap` would hold a descriptor for each batch that is alive
        library = ctypes.CDLL(None, use_errno=True)
        library.mmap.restype = ctypes.c_void_p
        library.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
        library.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
        address = library.mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, flags, handle, 0)
        if address is None or address == ctypes.c_void_p(-1).value:
            raise OSError(ctypes.get_errno(), f"a worker's batch of {size} bytes cannot be mapped")
        self._address, self._size, self._unmap = address, size, library.munmap
        self.__array_interface__ = {"data": (address, False), "shape": (size,), "typestr": "|u1", "version": 3}

    def __del__(self) -> None:
        if hasattr(self, "_address"):
            self._unmap(self._address, self._size)


def packed(value: Any) -> list[Any]:
    """The pickle of a value, and its arrays."""
    buffers: list[Any] = []
    pickled = pickle.dumps(value, 5, buffer_callback=buffers.append)
    return [memoryview(pickled), *(buffer.raw() for buffer in buffers)]


def send(connection: Any, head: tuple[Any, ...], parts: list[Any], receiver: int) -> None:
    """Sends a head of plain values, and what `packed` gave, to the process `receiver`."""
    sizes = [part.nbytes for part in parts]
    if sum(sizes) <= _SMALL:
        connection.send_bytes(pickle.dumps((head, sizes, [bytes(part) for part in parts])))
        return
    handle = _anonymous_file()
    try:
        at = 0
        for part in parts:
            _write(handle, part, at)
            at += _padded(part.nbytes)
        os.ftruncate(handle, at)
        connection.send_bytes(pickle.dumps((head, sizes, None)))
        reduction.send_handle(connection, handle, receiver)
    finally:
        os.close(handle)


def receive(connection: Any) -> tuple[tuple[Any, ...], list[Any]]:
    """The next head and its parts; EOFError where the other side has ended."""
    head, sizes, inline = pickle.loads(connection.recv_bytes())
    if inline is not None:
        return head, [bytearray(part) for part in inline]
    handle = reduction.recv_handle(connection)
    try:
        memory = np.asarray(_Mapping(handle, sum(map(_padded, sizes))))
    finally:
        os.close(handle)
    parts, at = [], 0
    for size in sizes:
        parts.append(memory[at : at + size])
        at += _padded(size)
    return head, parts


def unpacked(parts: list[Any]) -> Any:
    """The value that `packed` was given; its arrays lie in the parts."""
    return pickle.loads(parts[0], buffers=parts[1:])


def _padded(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("graphc-batch")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _write(handle: int, part: Any, at: int) -> None:
    rest = memoryview(part).cast("B")
    while rest:
        written = os.pwrite(handle, rest, at)
        rest, at = rest[written:], at + written
