"""What a tensor is: its sizes, dtype, device."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.aliasing import refresh
from graphc.core.arrays import device_of, is_array
from graphc.core.devices import Device, kind_of_device
from graphc.core.dims import product
from graphc.core.tape import TensorBase
from graphc.core.tensor_types import DTYPE_OF, FLOAT, DType, dtype_of

_ndarray = np.ndarray


class TensorSize(tuple[Any, ...]):
    """The sizes of a tensor: a tuple that also counts the elements. Public as `graphc.Size`."""

    __slots__ = ()

    def numel(self) -> Any:
        """How many elements a tensor of this shape has."""
        return product(tuple(self))

    def __getitem__(self, key: Any) -> Any:
        found = tuple.__getitem__(self, key)
        return TensorSize(found) if isinstance(key, slice) else found

    def __add__(self, other: Any) -> Any:
        return TensorSize(tuple.__add__(self, tuple(other)))

    def __repr__(self) -> str:
        return f"graphc.Size([{', '.join(map(str, self))}])"


class Shapes(TensorBase):
    """What can be asked of any tensor, symbolic ones too."""

    __slots__ = ()

    @property
    def shape(self) -> TensorSize:
        """The sizes; unknown ones are `Dim`s."""
        data = self._data
        return TensorSize(data.shape if type(data) is _ndarray else self._symbolic_type().shape)

    def _symbolic_type(self) -> Any:
        if self._base is not None:
            refresh(self)
        return self._data.type

    def size(self, dim: int | None = None) -> Any:
        """The sizes, or that of one dimension."""
        return self.shape if dim is None else self.shape[dim]

    @property
    def dtype(self) -> DType:
        """The element type."""
        data = self._data
        return (DTYPE_OF.get(data.dtype) or dtype_of(data.dtype)) if type(data) is _ndarray else data.type.dtype

    @property
    def ndim(self) -> int:
        """How many dimensions."""
        return len(self._data.shape)

    def dim(self) -> int:
        """How many dimensions."""
        return len(self._data.shape)

    ndimension = dim

    def numel(self) -> Any:
        """How many elements."""
        return product(tuple(self._data.shape))

    nelement = numel

    def element_size(self) -> int:
        """Bytes of one element."""
        return self.dtype.itemsize

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self.dtype.itemsize

    @property
    def nbytes(self) -> Any:
        """Bytes of all elements."""
        return self.numel() * self.dtype.itemsize

    @property
    def device(self) -> Device:
        """Where the elements are; of a symbolic tensor, the CPU: what a graph runs on is told by what it is fed."""
        return device_of(self._data)

    @property
    def is_cuda(self) -> bool:
        """Whether the elements are on a CUDA device, or on one that stands for it (`GRAPHC_DEVICE=opencl`)."""
        return self.device.type == kind_of_device("cuda")

    is_sparse = is_quantized = is_complex_ = is_mps = False
    layout = "strided"

    def is_floating_point(self) -> bool:
        """Whether the dtype is a float type."""
        return self.dtype.category == FLOAT

    def is_complex(self) -> bool:
        """False: graphc has no complex dtypes."""
        return False

    def is_signed(self) -> bool:
        """Whether the dtype has negative numbers."""
        return self.dtype.is_signed

    @property
    def is_symbolic(self) -> bool:
        """Whether this stands for a value of a graph or trace, instead of holding numbers."""
        return not is_array(self._data)

    def get_device(self) -> int:
        """The number of the device; -1 for the CPU."""
        index = self.device.index
        return -1 if index is None else index
