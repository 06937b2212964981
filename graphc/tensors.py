"""`Tensor`: the object users hold, with PyTorch's methods; most are the public functions, attached at the end."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.core.context import SLOTS
from graphc.core.devices import kind_of_device
from graphc.core.dims import is_size
from graphc.core.tape import TensorBase
from graphc.core.tensor_types import DType, float32
from graphc.functions import (
    activations,
    adaptive_pooling,
    convolutions,
    creation,
    decompositions,
    dtypes,
    gamma_functions,
    indexing,
    joining,
    linalg,
    matching,
    norms,
    pixels,
    pointwise,
    pooling,
    random,
    random_families,
    reductions,
    running,
    shaping,
    softmaxes,
    sorting,
    statistics,
)
from graphc.methods.attached import attach
from graphc.methods.gradients import RemovableHandle, backward
from graphc.methods.memory import LEGACY
from graphc.methods.missing import attach_missing
from graphc.methods.reshaping import Reshaping
from graphc.methods.shapes import TensorSize

FUNCTION_FILES = (
    pointwise, activations, reductions, running, softmaxes, norms, statistics, sorting, matching, shaping, joining, creation,
    linalg, convolutions, pooling, adaptive_pooling, indexing, random, dtypes, pixels, decompositions,
    gamma_functions, random_families,
)  # fmt: skip
_ndarray = np.ndarray


class Tensor(Reshaping):
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
        return creation.tensor(*args, dtype=float32, device=device)

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

    def __init__(self, name: str, dtype: DType, device: str = ""):
        self.__name__, self.dtype, self.device = name, dtype, device

    def __call__(self, *args: Any) -> Any:
        if not args or all(is_size(a) for a in args):
            return creation.empty(*(args or (0,)), dtype=self.dtype, device=self.device or None)
        return creation.tensor(args[0], dtype=self.dtype, device=self.device or None)

    def __instancecheck__(self, x: Any) -> bool:
        if not isinstance(x, Tensor) or x.dtype is not self.dtype:
            return False
        return not self.device or x.device.type == kind_of_device(self.device)


def constructors_on(device: str) -> dict[str, _LegacyConstructor]:
    """The old constructors of tensors on a kind of device."""
    return {name: _LegacyConstructor(name, dtype, device) for name, dtype in LEGACY.items()}


LEGACY_CONSTRUCTORS = constructors_on("")

attach(Tensor, FUNCTION_FILES)
attach_missing(Tensor)
__all__ = ["LEGACY_CONSTRUCTORS", "RemovableHandle", "Tensor", "TensorSize", "backward"]
