"""What a device must offer: memory, copies, a compiler, kernels that it does in the order in which they are started."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol
from weakref import WeakSet

from graphc.backends.c_like.heads import Dialect
from graphc.backends.c_like.tiles import Target


class Kernel(Protocol):
    """A kernel with its arguments."""

    def set_buffer(self, n: int, buffer: Any) -> None:
        """Argument n from now on."""

    def set_word(self, n: int, word: Any) -> None:
        """Argument n from now on, a NumPy scalar."""

    def start(self) -> None:
        """Starts it behind all that was started before."""

    def clocked(self) -> Callable[[], int]:
        """Starts it, while the device is `measuring`; what it gives tells, once all is done, the nanoseconds it took there."""


class Device(Protocol):
    """A device, which does what it is given in order.

    `target`: what texts for it should fit; `double`: whether it has float64; `lost`: what is said of it once it has stopped for
    good, "" before; `identity`: device and driver with their versions; `capability`: the version of what it
    can do; `most`: the most bytes ever in use; `kernels`: those
    built so far (devices/kernels.py); `holders`: programs that keep memory between their runs. Arrays that are copied are
    bytes, and contiguous. A buffer that nobody has any more is freed when what was started with it is done.
    """

    name: str
    kind: str
    dialect: Dialect
    target: Target
    double: bool
    lost: str
    total_memory: int
    identity: str
    capability: tuple[int, int]
    most: int
    kernels: dict[str, tuple[Any, str]]
    holders: WeakSet[Any]

    def held(self) -> AbstractContextManager[Any]:
        """While it lasts the device belongs to this thread. Raises OutOfMemoryError, and DeviceError if the device stops or has
        stopped."""

    def build(self, text: str) -> Any:
        """The program of a text; BackendError shows the compiler's words."""

    def alloc(self, nbytes: int) -> Any:
        """A buffer of its memory, freed when nobody has it."""

    def usage(self) -> tuple[int, int, int]:
        """Bytes in use, the most there ever were, and those held in all, of a device that is held."""

    def release(self) -> None:
        """Gives memory that nobody uses back to the driver, also what `holders` keep."""

    def lend(self, array: Any) -> Any:
        """A buffer that is the array itself, for a device without memory of its own; None for others."""

    def regain(self, buffer: Any) -> None:
        """Sees to it that what was written to a lent buffer is in the array, when all that was started is done."""

    def copy_in(self, buffer: Any, at: int, array: Any) -> None:
        """Sends an array to byte `at` of a buffer. It may be changed when this returns."""

    def copy_out(self, array: Any, buffer: Any, at: int) -> None:
        """Fills an array from byte `at` of a buffer, when all that was started is done."""

    def copy_within(self, target: Any, to: int, source: Any, at: int, nbytes: int) -> None:
        """Copies bytes from one buffer to another."""

    def finish(self) -> None:
        """Waits until all that was started is done."""

    def measuring(self) -> AbstractContextManager[None]:
        """Within, the time of kernels can be told (`Kernel.clocked`). It begins and ends when all that was started is done."""

    def kernel(self, program: Any, name: str, groups: int, items: int, n_args: int) -> Kernel:
        """A kernel of a program, for so many groups of so many items."""

    def largest_group(self, program: Any, name: str) -> int:
        """The most items of a group that it can do this kernel with."""
