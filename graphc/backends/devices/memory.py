"""Tensors in the memory of a device: room for them, and copies, also between arrays that do not lie in rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.backends.c_like.writing import Lines, Source
from graphc.backends.devices.protocol import Device, Kernel
from graphc.core.arrays import Buffer, DeviceArray, new_shadow, new_shadow_like, shares_memory
from graphc.core.devices import Device as Name
from graphc.core.errors import DeviceError, OutOfMemoryError, user_line
from graphc.core.tensor_types import type_of_array

_KINDS = {1: "u8", 2: "i16", 4: "u32", 8: "u64"}


def room(driver: Device, nbytes: int) -> Any:
    """A buffer of a device that is held; if there is no room, what programs keep between their runs is given back first."""
    try:
        return driver.alloc(max(nbytes, 16))
    except OutOfMemoryError:
        driver.release()
    return driver.alloc(max(nbytes, 16))


class DeviceMemory:
    """The memory of a device (`core/arrays.py` says what it offers). It outlives the device's stopping, its elements do not."""

    def __init__(self, device: Name, opened: Callable[[], Device]):
        self.device, self._opened, self._driver = device, opened, opened()
        self._copies: dict[tuple[int, int], tuple[Kernel, int]] = {}

    @property
    def driver(self) -> Device:
        """The device, opened anew if it has stopped."""
        if self._driver.lost:
            self._driver, self._copies = self._opened(), {}
        return self._driver

    def over(self, shadow: np.ndarray[Any, Any]) -> DeviceArray:
        """Room for elements that lie as those of an array that is all of its memory."""
        driver = self.driver
        return DeviceArray(Buffer(self, driver, self._room(driver, shadow), shadow), shadow)

    def _room(self, driver: Device, shadow: np.ndarray[Any, Any]) -> Any:
        try:
            with driver.held():
                return room(driver, shadow.nbytes)
        except OutOfMemoryError as error:
            wanted = f"a tensor {type_of_array(shadow)}, {shadow.nbytes:,} bytes, at {user_line() or 'no line'}"
            raise OutOfMemoryError(f"{error}\n  it was wanted for {wanted}") from error.__cause__

    def handle(self, array: DeviceArray) -> Any:
        """What the driver calls the array's buffer; DeviceError if its elements were lost."""
        buffer = array.buffer
        if buffer.driver is not self.driver:
            raise DeviceError(
                f"a tensor {array.type} was on {self.device} when that stopped: its elements are lost\n"
                "  hint: move it there again from the host, or write all of it (copy_, load_state_dict)"
            )
        return buffer.handle

    def new(self, shape: tuple[int, ...], dtype: Any) -> DeviceArray:
        """Room for rows of elements."""
        return self.over(new_shadow(shape, dtype))

    def put(self, array: np.ndarray[Any, Any]) -> DeviceArray:
        """The elements of an array, in the order in which they lie."""
        made = self.over(new_shadow_like(array))
        if array.size:
            packed = np.ascontiguousarray(array.transpose(_order(made.shadow)))
            with self.driver.held():
                self.driver.copy_in(self.handle(made), 0, packed.reshape(-1).view(np.uint8))
        return made

    def get(self, array: DeviceArray) -> np.ndarray[Any, Any]:
        """A new array of these elements, in the order in which they lie."""
        found = np.empty_like(array.shadow)
        if array.size:
            order = _order(found)
            rows, packed = self.rows(array.view(array.shadow.transpose(order))), found.transpose(order)
            with self.driver.held():
                self.driver.copy_out(packed.reshape(-1).view(np.uint8), self.handle(rows), rows.offset)
        return found

    def rows(self, array: DeviceArray) -> DeviceArray:
        """The array, or a copy whose elements lie in rows."""
        if array.flags.c_contiguous:
            return array
        made = self.new(array.shape, array.dtype)
        self.copy(made, array)
        return made

    def copy(self, target: DeviceArray, source: DeviceArray) -> None:
        """Writes the elements of another array of the same shape and dtype, which may overlap. A buffer that was lost is made
        anew when all of it is written."""
        if not target.size:
            return
        buffer, flags = target.buffer, target.flags
        if (
            buffer.driver is not self.driver
            and target.size == buffer.root.size
            and (flags.c_contiguous or flags.f_contiguous)
        ):
            self.handle(source)  # if that is lost too, nothing changes
            buffer.handle, buffer.driver = self._room(self.driver, buffer.root), self.driver
        if source.buffer is target.buffer and shares_memory(source, target, exactly=False):
            apart = self.new(source.shape, source.dtype)
            self._copy(apart, source)
            source = apart
        self._copy(target, source)

    def _copy(self, target: DeviceArray, source: DeviceArray) -> None:
        to, at = self.handle(target), self.handle(source)
        with self.driver.held():
            if target.flags.c_contiguous and source.flags.c_contiguous:
                self.driver.copy_within(to, target.offset, at, source.offset, target.nbytes)
                return
            loops = _joined(target, source)
            kernel, total = self._kernel(target.itemsize, len(loops))
            kernel.set_buffer(0, to)
            kernel.set_buffer(1, at)
            numbers = [target.offset, source.offset, target.size * target.itemsize, total * target.itemsize]
            numbers += [n for loop in loops for n in loop]
            for n, number in enumerate(numbers, 2):
                kernel.set_word(n, np.int64(number // target.itemsize if n < 6 else number))
            kernel.start()

    def _kernel(self, itemsize: int, loops: int) -> tuple[Kernel, int]:
        """The kernel that copies so many nested loops of elements of that size, and the number of its items."""
        key = itemsize, loops
        if key not in self._copies:
            target, source = self.driver.target, Source()
            groups = 8 * target.units
            name = _print_copy(source, _KINDS[itemsize], loops, target.items)
            program = self.driver.build(source.text(self.driver.dialect))
            kernel = self.driver.kernel(program, name, groups, target.items, 6 + 3 * loops)
            self._copies[key] = kernel, groups * target.items
        return self._copies[key]

    def synchronize(self) -> None:
        """Waits until all that was started is done."""
        with self.driver.held():
            self.driver.finish()


def _order(array: np.ndarray[Any, Any]) -> list[int]:
    """The dimensions from that of the largest steps to that of the smallest."""
    return sorted(range(array.ndim), key=lambda axis: -array.strides[axis])


def _joined(target: DeviceArray, source: DeviceArray) -> list[tuple[int, int, int]]:
    """Loops over both arrays, outermost first: (size, stride in the target, stride in the source), strides in elements."""
    n = target.itemsize
    loops: list[tuple[int, int, int]] = []
    for size, to, at in zip(target.shape, target.strides, source.strides, strict=True):
        if size == 1:
            continue
        if loops and loops[-1][1] == to // n * size and loops[-1][2] == at // n * size:
            loops[-1] = (loops[-1][0] * size, to // n, at // n)
        else:
            loops.append((size, to // n, at // n))
    return loops


def _print_copy(source: Source, kind: str, loops: int, items: int) -> str:
    """A kernel whose items copy an element each, and then one `total` elements further on, until all are done."""
    f = Lines(source)
    with f.block(f"for (i64 i = GROUP * I64({items}) + ITEM; i < size; i += total)"):
        f.do("i64 rest = i, to = target0, at = source0")
        for n in reversed(range(loops)):
            f.do(f"to += rest % n{n} * t{n}")
            f.do(f"at += rest % n{n} * s{n}")
            f.do(f"rest /= n{n}")
        f.do("target[to] = source[at]")
    numbers = ["target0", "source0", "size", "total", *(f"{x}{n}" for n in range(loops) for x in "nts")]
    parameters = [f"GLOBAL {kind} *target", f"GLOBAL const {kind} *source", *(f"const i64 {x}" for x in numbers)]
    return source.add_kernel(items, parameters, f)
