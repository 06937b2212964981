"""The memory of tensors: strides, views, copies, casts, writes, and new tensors like an old one."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.aliasing import mark_detached, mark_lazily, refresh, write
from graphc.core.arrays import DeviceArray, device_of, is_array, memory_of, moved, shadow_of
from graphc.core.context import SLOTS, STATE, place
from graphc.core.devices import Device
from graphc.core.dims import is_size
from graphc.core.errors import ArgumentError, ArgumentTypeError, ShapeError
from graphc.core.tape import TensorBase
from graphc.core.tensor_types import (
    DType,
    as_dtype,
    bfloat16,
    bool_,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
)
from graphc.functions import creation, indexing, pointwise, shaping
from graphc.functions.placing import on
from graphc.functions.promotion import as_operand, is_number, scalar_operand
from graphc.layouts import in_rows, strides_of
from graphc.methods.numbers import Numbers
from graphc.primitives.copying import copy as copy_op
from graphc.primitives.elementwise import cast

_ndarray = np.ndarray


class Memory(Numbers):
    """Where the elements lie, in which dtype, and how they are written."""

    __slots__ = ()

    def data_ptr(self) -> int:
        """The address of the first element; on a device, of the place that stands for it."""
        self._concrete("data_ptr()")
        data = self._data
        return int(shadow_of(data).__array_interface__["data"][0])

    def stride(self, dim: int | None = None) -> Any:
        """Steps between neighbours along each dimension, in elements."""
        data, recorder = self._data, STATE.recorder
        if recorder is not None:
            steps: tuple[Any, ...] = recorder.layouts.told(recorder.shadow(self))
        elif is_array(data):
            steps = tuple(s // data.itemsize for s in data.strides)
        else:
            steps = strides_of(self)
        return steps if dim is None else steps[dim]

    def storage_offset(self) -> int:
        """How many elements into its base's memory a view begins."""
        if self._base is None:
            return 0
        return (self.data_ptr() - self._base.base.data_ptr()) // self.dtype.itemsize  # type: ignore[attr-defined]

    def is_contiguous(self, memory_format: Any = None) -> bool:
        """Whether the elements lie row by row without gaps."""
        recorder = STATE.recorder
        if recorder is not None:
            recorder.layouts.matter = True
            return bool(recorder.layouts.are_rows(recorder.shadow(self)))
        data = self._data
        return bool(data.flags.c_contiguous) if is_array(data) else in_rows(self.shape, strides_of(self))

    def contiguous(self, memory_format: Any = None) -> Any:
        """This tensor if its elements lie row by row, else a copy that does."""
        recorder = STATE.recorder
        here = self if recorder is None else recorder.shadow(self)
        rows = self.is_contiguous() if recorder is None else recorder.layouts.are_rows(here)
        out = self if rows else copy_op(self)
        if not rows:
            if is_array(out._data):
                out._data = _in_rows(out._data)
            out._layout = None
        if recorder is not None:
            recorder.layouts.gave_rows(here, here if rows else out)
        return out

    def clone(self, *, memory_format: Any = None) -> Any:
        """The same elements in memory of their own; gradients flow through."""
        return copy_op(self)

    def view(self, *shape: Any) -> Any:
        """The same memory under another shape (or dtype of equal size).

        Raises ShapeError where the strides do not allow it (`reshape` copies then).
        """
        if len(shape) == 1 and isinstance(shape[0], DType):
            return self._view_dtype(shape[0])
        out = shaping.view(self, *shape)
        if STATE.recorder is not None:
            STATE.recorder.layouts.matter = True
        if out._base is None and 0 not in out.shape:
            raise ShapeError(
                "view size is not compatible with input tensor's size and stride (at least one dimension spans across two "
                "contiguous subspaces). Use .reshape(...) instead."
            )
        return out

    def _view_dtype(self, dtype: DType) -> Any:
        if dtype.itemsize != self.dtype.itemsize:
            raise ShapeError("view(dtype) needs a dtype of the same size")
        self._concrete("view(dtype)")
        data = self._data
        viewed = data.view(data.shadow.view(dtype.np)) if type(data) is DeviceArray else data.view(dtype.np)
        out = SLOTS.new_tensor(viewed)
        mark_detached(out, self)
        return out

    def is_set_to(self, other: Any) -> bool:
        """Whether both tensors are the same memory with the same shape and strides."""
        return self.data_ptr() == other.data_ptr() and self.shape == other.shape and self.stride() == other.stride()

    def share_memory_(self) -> Any:
        """Returns self: tensors are not moved into shared memory."""
        return self

    def pin_memory(self, device: Any = None) -> Any:
        """Returns self: CPU memory needs no pinning here."""
        return self

    # --- dtype and device -----------------------------------------------------------------------------------------

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """This tensor in another dtype and/or on another device; itself where nothing changes.

        Takes `to(dtype)`, `to(device)`, `to(device, dtype)`, `to(other)`, with `non_blocking` and `copy`.
        """
        dtype, device, copy = kwargs.get("dtype"), kwargs.get("device"), kwargs.get("copy", False)
        for arg in args:
            if isinstance(arg, TensorBase):
                dtype, device = arg.dtype, device_of(arg._data)
            elif isinstance(arg, DType):
                dtype = arg
            elif isinstance(arg, str | Device | int) and not isinstance(arg, bool):
                device = arg
        memory = None if device is None else place(device)
        out = self if dtype is None or as_dtype(dtype) is self.dtype else cast(self, dtype=as_dtype(dtype))
        if device is not None and is_array(self._data) and STATE.recorder is None:
            out = on(out, memory)
        return copy_op(self) if copy and out is self else out

    def type(self, dtype: Any = None, non_blocking: bool = False) -> Any:
        """The name of this tensor's type, or the tensor cast to `dtype` (a DType or a name such as `torch.FloatTensor`)."""
        if dtype is None:
            return "torch." + legacy_name(self.dtype)
        return self.to(from_legacy(dtype))

    def type_as(self, other: Any) -> Any:
        """This tensor in the other's dtype, on its device."""
        return self.to(other)

    def cpu(self, memory_format: Any = None) -> Any:
        """This tensor on the CPU; itself if it is there."""
        return self.to("cpu")

    def cuda(self, device: Any = None, non_blocking: bool = False) -> Any:
        """This tensor on a CUDA device; DeviceError where there is none."""
        return self.to("cuda" if device is None else Device(device))

    # --- in place -------------------------------------------------------------------------------------------------

    def copy_(self, src: Any, non_blocking: bool = False) -> Any:
        """Writes the elements of `src`, broadcast and cast, into this tensor."""
        src = scalar_operand(src, self.dtype) if is_number(src) else as_operand(src)
        if src.dtype is not self.dtype:
            src = cast(src, dtype=self.dtype)
        return write(self, _stretched(src, self))

    def fill_(self, value: Any) -> Any:
        """Writes one number everywhere."""
        return self.copy_(value)

    def zero_(self) -> Any:
        """Writes zeros everywhere."""
        return self.copy_(creation.scalar_tensor(0, dtype=self.dtype))

    def __setitem__(self, key: Any, value: Any) -> None:
        indexing.setitem(self, key, value)

    def __delitem__(self, key: Any) -> None:
        raise ArgumentTypeError("Tensor does not support deleting items")

    def __getitem__(self, key: Any) -> Any:
        if self._base is not None and STATE.recorder is None:
            refresh(self)
        if type(self._data) is _ndarray and STATE.recorder is None and (self._edge is None or not STATE.grad):
            parts = key if type(key) is tuple else (key,)
            if (
                all(type(p) is int or (type(p) is slice and p.step is None) for p in parts)
                and len(parts) <= self._data.ndim
            ):
                return self._basic_item(key, parts)
        return indexing.getitem(self, key)

    def _basic_item(self, key: Any, parts: tuple[Any, ...]) -> Any:
        """Ints and plain slices of an untracked eager tensor: NumPy's own view."""
        try:
            array = self._data[(*parts, ...)]
        except (IndexError, TypeError):
            return indexing.getitem(self, key)
        out = SLOTS.new_tensor(array)
        mark_lazily(out, self, lambda x: indexing.getitem(x, key))
        return out

    def set_(self, source: Any) -> Any:
        """Makes this tensor share the memory of `source`."""
        self.data = source
        return self

    def resize_(self, *sizes: Any) -> Any:
        """Gives this tensor another shape in place; new elements are zero."""
        shape = tuple(sizes[0]) if len(sizes) == 1 and not is_size(sizes[0]) else sizes
        array = (
            np.resize(self._array("resize_()"), shape) if np.prod(shape, dtype=int) else np.empty(shape, self.dtype.np)
        )
        self.data = SLOTS.new_tensor(moved(array, memory_of(self._data)))
        return self

    # --- new_* ------------------------------------------------------------------------------------------------------

    def new_tensor(self, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
        """A tensor of `data`, of this one's dtype unless told otherwise."""
        return creation.tensor(
            data, dtype=dtype or self.dtype, requires_grad=requires_grad, device=device or self.device
        )

    def new_zeros(self, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
        """Zeros, of this one's dtype unless told otherwise."""
        return creation.zeros(
            *size, dtype=dtype or self.dtype, requires_grad=requires_grad, device=device or self.device
        )

    def new_ones(self, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
        """Ones, of this one's dtype unless told otherwise."""
        return creation.ones(
            *size, dtype=dtype or self.dtype, requires_grad=requires_grad, device=device or self.device
        )

    def new_empty(self, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
        """Memory with any content, of this one's dtype unless told otherwise."""
        return creation.empty(
            *size, dtype=dtype or self.dtype, requires_grad=requires_grad, device=device or self.device
        )

    def new_full(
        self, size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
    ) -> Any:
        """One number everywhere, of this one's dtype unless told otherwise."""
        return creation.full(
            size, fill_value, dtype=dtype or self.dtype, requires_grad=requires_grad, device=device or self.device
        )

    def new(self, *args: Any) -> Any:
        """Legacy constructor in this tensor's dtype: sizes, or data."""
        if not args or all(is_size(a) for a in args):
            return creation.empty(*(args or (0,)), dtype=self.dtype, device=self.device)
        return creation.tensor(args[0], dtype=self.dtype, device=self.device)

    def where(self, condition: Any, other: Any) -> Any:
        """This tensor where `condition` holds, else `other`."""
        return pointwise.where(condition, self, other)


def _in_rows(data: Any) -> Any:
    return data.memory.rows(data) if type(data) is DeviceArray else np.ascontiguousarray(data)


def _stretched(src: Any, target: Any) -> Any:
    """src expanded to the target's shape; ShapeError where it does not broadcast to it."""
    have, want = tuple(src.shape), tuple(target.shape)
    return src if have == want else shaping.expand(src, *want) if len(have) <= len(want) else shaping.reshape(src, want)


LEGACY = {
    "FloatTensor": float32, "DoubleTensor": float64, "HalfTensor": float16, "BFloat16Tensor": bfloat16,
    "LongTensor": int64, "IntTensor": int32, "ShortTensor": int16, "CharTensor": int8, "ByteTensor": uint8,
    "BoolTensor": bool_,
}  # fmt: skip


def legacy_name(dtype: DType) -> str:
    """PyTorch's class name for tensors of a dtype, `FloatTensor` for float32."""
    return next(name for name, d in LEGACY.items() if d is dtype)


def from_legacy(dtype: Any) -> DType:
    if isinstance(dtype, str) and dtype.rpartition(".")[2] in LEGACY:
        return LEGACY[dtype.rpartition(".")[2]]
    if isinstance(dtype, str):
        raise ArgumentError(f"invalid type: {dtype!r}", "a dtype, or a name such as 'torch.FloatTensor'")
    return getattr(dtype, "dtype", None) or as_dtype(dtype)
