"""`Tensor`: the object users hold, with PyTorch's methods; most are the public functions, attached at the end."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.aliasing import refresh
from graphc.core.context import SLOTS
from graphc.core.devices import CPU, Device, check_device
from graphc.core.dims import is_size, product
from graphc.core.tape import TensorBase
from graphc.core.tensor_types import DTYPE_OF, FLOAT, DType, dtype_of, float32
from graphc.functions import (
    activations,
    creation,
    indexing,
    joining,
    linalg,
    matching,
    norms,
    pointwise,
    random,
    reductions,
    running,
    shaping,
    softmaxes,
    sorting,
    statistics,
)
from graphc.methods.attached import attach
from graphc.methods.gradients import RemovableHandle, backward
from graphc.methods.memory import LEGACY, Memory

FUNCTION_FILES = (
    pointwise, activations, reductions, running, softmaxes, norms, statistics, sorting, matching, shaping, joining, creation,
    linalg, indexing, random,
)  # fmt: skip
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

class Tensor(Memory):
    """An n-dimensional array with PyTorch's methods; in a trace or graph, a symbol for one.

    `Tensor(data)` follows PyTorch's legacy constructor: sizes give an uninitialised float tensor, data a float32 one.
    """

    def __new__(cls, *args: Any, device: Any = None) -> Any:
        if not args and cls is Tensor:
            return creation.empty(0)
        if args and all(is_size(a) for a in args):
            return creation.empty(*args)
        if len(args) == 1 and isinstance(args[0], TensorSize):
            return creation.empty(*args[0])
        if len(args) == 1 and isinstance(args[0], TensorBase):
            return args[0].detach()  # type: ignore[attr-defined]
        check_device(device)
        return creation.tensor(*args, dtype=float32)

    # --- what it is ---------------------------------------------------------------------------------------------

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
        """Where the elements are."""
        return CPU

    is_cuda = is_sparse = is_quantized = is_complex_ = is_mps = False
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
        return type(self._data) is not _ndarray

    def get_device(self) -> int:
        """-1: the CPU has no number."""
        return -1

    # --- shape properties -------------------------------------------------------------------------------------------

    @property
    def T(self) -> Any:  # noqa: N802
        """The dimensions in reverse order."""
        return shaping.permute(self, tuple(range(self.ndim - 1, -1, -1)))

    @property
    def mT(self) -> Any:  # noqa: N802
        """The last two dimensions swapped."""
        return shaping.matrix_transpose(self)

    H, mH, real = T, mT, property(lambda self: self)  # noqa: N815

    __array_priority__ = 1000


def new_tensor(data: Any) -> Tensor:
    """A Tensor around an array, a program's value or a bare type, without history."""
    tensor = TensorBase.__new__(Tensor)
    tensor._data = data
    tensor._edge = tensor._version = tensor._base = None
    return tensor


SLOTS.new_tensor = new_tensor


class _LegacyConstructor:
    """`FloatTensor(data)`, `LongTensor(2, 3)`: PyTorch's old constructors."""

    def __init__(self, name: str, dtype: DType):
        self.__name__, self.dtype = name, dtype

    def __call__(self, *args: Any) -> Any:
        if not args or all(is_size(a) for a in args):
            return creation.empty(*(args or (0,)), dtype=self.dtype)
        return creation.tensor(args[0], dtype=self.dtype)

    def __instancecheck__(self, x: Any) -> bool:
        return isinstance(x, Tensor) and x.dtype is self.dtype


LEGACY_CONSTRUCTORS = {name: _LegacyConstructor(name, dtype) for name, dtype in LEGACY.items()}

attach(Tensor, FUNCTION_FILES)
__all__ = ["LEGACY_CONSTRUCTORS", "RemovableHandle", "Tensor", "TensorSize", "backward"]
