"""Shape changes in place: the tensor itself becomes a view of what it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphc.aliasing import check_writable, write
from graphc.core.context import EPOCH, STATE
from graphc.core.errors import GradientError, ShapeError
from graphc.core.tensor_types import int64
from graphc.functions import shaping
from graphc.functions.arithmetic import remainder
from graphc.functions.axes import numpy_names
from graphc.functions.creation import scalar_tensor
from graphc.functions.promotion import cast_to
from graphc.functions.sizes import as_sizes
from graphc.methods.memory import Memory
from graphc.primitives.creation import iota
from graphc.primitives.elementwise import add, equal, where
from graphc.primitives.indexing import index


class Reshaping(Memory):
    """`squeeze_`, `transpose_` and their like. Views taken before keep the memory and their own shape."""

    __slots__ = ()

    def _become(self, change: Callable[[Any], Any]) -> Any:
        """Takes over shape, strides and history of the view `change(self)`; the elements are not touched."""
        here = self._here()
        if STATE.recorder is not None and here is not self:
            raise GradientError(
                "the shape of a captured tensor cannot change in place in a graph\n  hint: use the form without underscore"
            )
        check_writable(here)
        out = change(here)
        if here._base is not None and out is not here:
            here._base = out._base
        here._data, here._edge = out._data, out._edge
        if STATE.recorder is not None:
            here._layout = getattr(out, "_layout", None)
        if "_watched" in self.__dict__:
            EPOCH.bump()
        return self

    @numpy_names
    def squeeze_(self, dim: Any = None) -> Any:
        """In-place `squeeze`."""
        return self._become(lambda x: shaping.squeeze(x, dim))

    @numpy_names
    def unsqueeze_(self, dim: int) -> Any:
        """In-place `unsqueeze`."""
        return self._become(lambda x: shaping.unsqueeze(x, dim))

    def transpose_(self, dim0: int, dim1: int) -> Any:
        """In-place `transpose`."""
        return self._become(lambda x: shaping.transpose(x, dim0, dim1))

    swapaxes_ = swapdims_ = transpose_

    def t_(self) -> Any:
        """In-place `t`."""
        return self._become(shaping.t)

    def as_strided(self, size: Any, stride: Any, storage_offset: int | None = None) -> Any:
        """Elements picked by strides from this tensor's memory, as a copy: writes to it do not show in this tensor.

        The tensor must lie row by row (ShapeError otherwise), and every position must lie inside of it.
        """
        if not self.is_contiguous():
            raise ShapeError("as_strided needs a contiguous tensor\n  hint: call .contiguous() first")
        sizes, strides, first = as_sizes((size,), "size"), tuple(stride), storage_offset or 0
        if len(sizes) != len(strides):
            raise ShapeError("mismatch in length of strides and shape")
        last = first + sum((s - 1) * step for s, step in zip(sizes, strides, strict=True))
        if min(strides, default=0) < 0 or first < 0:
            raise ShapeError("as_strided: Negative strides are not supported at the moment")
        if 0 not in sizes and last >= self.numel():
            raise ShapeError(
                f"setStorage: sizes {list(sizes)} and strides {list(strides)} reach beyond {self.numel()} elements"
            )
        at = scalar_tensor(first, dtype=int64)
        for axis, (s, step) in enumerate(zip(sizes, strides, strict=True)):
            steps = iota(size=s, start=0, step=step, dtype=int64)
            at = add(at, shaping.reshape(steps, (*(1,) * axis, s, *(1,) * (len(sizes) - axis - 1))))
        return index(shaping.reshape(self, -1), at, axes=(0,))

    def fill_diagonal_(self, fill_value: Any, wrap: bool = False) -> Any:
        """Writes a number on the main diagonal; `wrap` starts it again below a block of a tall matrix."""
        if self.ndim < 2:
            raise ShapeError("dimensions must larger than 1")
        if self.ndim > 2 and len(set(self.shape)) > 1:
            raise ShapeError("all dimensions of input must be of equal length")
        if self.ndim == 2:
            return self._fill_matrix(fill_value, wrap)
        step = sum(int(self.shape[0]) ** i for i in range(self.ndim))
        place = shaping.reshape(iota(size=self.numel(), start=0, step=1, dtype=int64), self.shape)
        hit = equal(remainder(place, step), scalar_tensor(0, dtype=int64))
        return self._write_where(hit, fill_value)

    def _fill_matrix(self, fill_value: Any, wrap: bool) -> Any:
        rows, columns = self.shape
        row = shaping.reshape(iota(size=rows, start=0, step=1, dtype=int64), (rows, 1))
        column = iota(size=columns, start=0, step=1, dtype=int64)
        return self._write_where(equal(remainder(row, columns + 1) if wrap else row, column), fill_value)

    def _write_where(self, hit: Any, value: Any) -> Any:
        return write(self, where(hit, cast_to(scalar_tensor(value), self.dtype), self))
