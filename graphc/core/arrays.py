"""What the data of a concrete tensor is: a NumPy array, or a `DeviceArray`, whose elements are in a device's memory.

A device array has a *shadow*: a NumPy array of the same shape, dtype and strides whose elements nobody reads or writes. A view
is a view of the shadow, so NumPy itself tells where elements lie and which arrays share memory. Memory of a shadow is never
touched, so that it takes address space and nothing else.
"""

from __future__ import annotations

import math
import mmap
from typing import Any, Protocol, TypeAlias

import numpy as np

from graphc.core.devices import CPU, Device
from graphc.core.tensor_types import TensorType, type_of_array


class Memory(Protocol):
    """The memory of a device, and copies into it, out of it and within it, each behind all that was started before."""

    device: Device

    @property
    def driver(self) -> Any:
        """What stands for the device now: something new when it has stopped and was opened anew."""

    def handle(self, array: DeviceArray) -> Any:
        """What the driver calls the array's buffer; DeviceError if its elements were lost with the device."""

    def over(self, shadow: np.ndarray[Any, Any]) -> DeviceArray:
        """Room for elements that lie as those of an array that is all of its memory; with any content."""

    def put(self, array: np.ndarray[Any, Any]) -> DeviceArray:
        """The elements of an array, in the order in which they lie."""

    def rows(self, array: DeviceArray) -> DeviceArray:
        """The array, or a copy whose elements lie in rows."""

    def get(self, array: DeviceArray) -> np.ndarray[Any, Any]:
        """A new array of these elements, in the order in which they lie, when all that was started is done."""

    def copy(self, target: DeviceArray, source: DeviceArray) -> None:
        """Writes the elements of another array of the same shape and dtype, which may overlap."""

    def synchronize(self) -> None:
        """Waits until all that was started is done."""


class Buffer:
    """A piece of a device's memory: what its driver calls it, and the shadow of all of it."""

    __slots__ = ("__weakref__", "driver", "handle", "memory", "root", "start")

    def __init__(self, memory: Memory, driver: Any, handle: Any, root: np.ndarray[Any, Any]):
        self.memory, self.driver, self.handle, self.root = memory, driver, handle, root
        self.start = int(root.__array_interface__["data"][0])


class DeviceArray:
    """An array in the memory of a device: a buffer, and the shadow that tells which part of it."""

    __slots__ = ("buffer", "shadow")
    __array_ufunc__ = None

    def __init__(self, buffer: Buffer, shadow: np.ndarray[Any, Any]):
        self.buffer, self.shadow = buffer, shadow

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes."""
        return self.shadow.shape

    @property
    def dtype(self) -> Any:
        """NumPy's dtype of the elements."""
        return self.shadow.dtype

    @property
    def strides(self) -> tuple[int, ...]:
        """Bytes between neighbours along each dimension."""
        return self.shadow.strides

    @property
    def ndim(self) -> int:
        """How many dimensions."""
        return self.shadow.ndim

    @property
    def size(self) -> int:
        """How many elements."""
        return self.shadow.size

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return self.shadow.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.shadow.nbytes

    @property
    def flags(self) -> Any:
        """Whether elements lie in rows, among other things; as NumPy's."""
        return self.shadow.flags

    @property
    def type(self) -> TensorType:
        """Shape and dtype."""
        return type_of_array(self.shadow)

    @property
    def memory(self) -> Memory:
        """The memory it is in."""
        return self.buffer.memory

    @property
    def offset(self) -> int:
        """The byte of the buffer where the first element is."""
        start: int = self.shadow.__array_interface__["data"][0]
        return start - self.buffer.start

    def view(self, shadow: np.ndarray[Any, Any]) -> DeviceArray:
        """Another part of the same buffer, or the same part in another shape."""
        return DeviceArray(self.buffer, shadow)

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"the elements are on {self.memory.device}: copy them with host(array)")

    def __repr__(self) -> str:
        return f"<{self.type} on {self.memory.device}>"


Array: TypeAlias = "np.ndarray[Any, Any] | DeviceArray"

#: The types that the data of a concrete tensor has.
ARRAYS = (np.ndarray, DeviceArray)


#: Bytes of a shadow from which on its memory is not asked for.
_LARGE = 1 << 20


class _Addresses:
    """So many bytes that are 0 and that nobody may write, so that the system need not set memory apart for them."""

    def __init__(self, nbytes: int):
        self.memory = mmap.mmap(-1, nbytes, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ)
        start = np.frombuffer(self.memory, np.uint8).__array_interface__["data"][0]
        self.__array_interface__ = {"version": 3, "shape": (nbytes,), "typestr": "|u1", "data": (start, False)}


def addresses(shape: tuple[int, ...], dtype: Any) -> np.ndarray[Any, Any]:
    """An array of zeros that takes no memory, however large it is, and must not be written, whatever its flags say."""
    nbytes = math.prod(shape) * np.dtype(dtype).itemsize
    if not nbytes or not hasattr(mmap, "PROT_READ"):  # Windows sets memory apart for all arrays alike
        return np.empty(shape, dtype)
    try:
        return np.asarray(_Addresses(nbytes)).view(dtype).reshape(shape)
    except (OSError, OverflowError):  # there are no such addresses
        return np.empty(shape, dtype)


def new_shadow(shape: tuple[int, ...], dtype: Any) -> np.ndarray[Any, Any]:
    """What tells of rows of elements where they are; it may be larger than the memory of the host."""
    large = math.prod(shape) * np.dtype(dtype).itemsize >= _LARGE
    return addresses(shape, dtype) if large else np.empty(shape, dtype)


def new_shadow_like(array: np.ndarray[Any, Any], dtype: Any = None) -> np.ndarray[Any, Any]:
    """The same of elements that lie in the order of those of an array."""
    dtype = array.dtype if dtype is None else np.dtype(dtype)
    if array.size * dtype.itemsize < _LARGE:
        return np.empty_like(array, dtype)
    order = [*range(array.ndim)]
    if array.flags.f_contiguous:
        order.reverse()
    else:
        order.sort(key=lambda axis: -abs(array.strides[axis]))
    return addresses(tuple(array.shape[axis] for axis in order), dtype).transpose(np.argsort(order))


def is_array(data: Any) -> bool:
    """Whether the data of a tensor is elements somewhere, rather than a value of a program or a bare type."""
    return isinstance(data, ARRAYS)


def memory_of(data: Any) -> Memory | None:
    """The device memory that elements are in, None for the host's."""
    return data.memory if type(data) is DeviceArray else None


def device_of(data: Any) -> Device:
    """The device that elements are on."""
    return data.memory.device if type(data) is DeviceArray else CPU


def shadow_of(data: Any) -> Any:
    """The NumPy array that tells where the elements lie: itself, or the shadow of what is on a device."""
    return data.shadow if type(data) is DeviceArray else data


def host(data: Any) -> Any:
    """The elements as a NumPy array: itself, or a copy of what is on a device."""
    return data.memory.get(data) if type(data) is DeviceArray else data


def moved(data: Any, memory: Memory | None) -> Any:
    """The elements in that memory: itself where they are there."""
    have = memory_of(data)
    if have is memory:
        return data
    array = host(data)
    return array if memory is None else memory.put(array)


def same_elements(data: Any) -> Any:
    """Another array of the same elements."""
    return data.view(data.shadow) if type(data) is DeviceArray else data.view()


def duplicate(data: Any) -> Any:
    """A copy of the elements where they are, in the order in which they lie."""
    if type(data) is not DeviceArray:
        return np.array(data, order="K")
    made = like(data)
    data.memory.copy(made, data)
    return made


def like(data: Any, dtype: Any = None) -> Any:
    """Room for such elements (or as many of another dtype), in the same memory and in the order in which they lie."""
    if type(data) is not DeviceArray:
        return np.empty_like(data, dtype)
    return data.memory.over(new_shadow_like(data.shadow, dtype))


def is_borrowed(data: Any) -> bool:
    """Whether the elements lie in memory that another array owns."""
    return data.shadow is not data.buffer.root if type(data) is DeviceArray else data.base is not None


def write_elements(target: Any, source: Any) -> None:
    """Writes the elements of `source`, wherever they are, over those of `target`, to whose shape they broadcast."""
    if type(target) is DeviceArray:
        here = moved(source, target.memory)
        if here.shape != target.shape:
            here = here.view(np.broadcast_to(here.shadow, target.shape))
        target.memory.copy(target, here)
    else:
        np.copyto(target, host(source))


def shares_memory(a: Any, b: Any, exactly: bool = True) -> bool:
    """Whether two arrays have elements in common; not `exactly`: whether their ranges of memory meet."""
    a, b = shadow_of(a), shadow_of(b)
    return bool(np.shares_memory(a, b) if exactly else np.may_share_memory(a, b))


def memory_owner(array: Any) -> Any:
    """The object that holds an array's memory."""
    if type(array) is DeviceArray:
        return array.buffer
    while type(array) is np.ndarray and array.base is not None:
        array = array.base
    return array


def extent(data: Any) -> tuple[int, int]:
    """The addresses between which the elements lie; those of device arrays meet where their buffers do."""
    low, high = np.lib.array_utils.byte_bounds(shadow_of(data))
    return low, high


__all__ = [
    "ARRAYS", "Array", "Buffer", "DeviceArray", "Memory", "addresses", "device_of", "duplicate", "extent", "host", "is_array",
    "is_borrowed", "like", "memory_of", "memory_owner", "moved", "new_shadow", "new_shadow_like", "shadow_of", "shares_memory",
    "write_elements",
]  # fmt: skip
