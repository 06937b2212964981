"""The numbers of tensors: reading them, showing them, copying them as Python objects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphc.aliasing import refresh
from graphc.core.arrays import DeviceArray, duplicate, host, is_array
from graphc.core.context import STATE, place
from graphc.core.dims import Dim
from graphc.core.errors import ArgumentTypeError, GradientError, NumberError, SymbolicError, user_line
from graphc.core.tape import LEAF, TensorBase
from graphc.core.tensor_types import FLOAT, bfloat16
from graphc.functions import shaping
from graphc.functions.promotion import is_number
from graphc.methods.gradients import Gradients
from graphc.printing import format_tensor


class Numbers(Gradients):
    """What needs the elements themselves; SymbolicError where only a run can know them."""

    __slots__ = ()

    def _concrete(self, asked: str) -> None:
        """Raises SymbolicError where only a run can know the elements."""
        if STATE.recorder is not None:
            STATE.recorder.read_number(self, asked)
        if not is_array(self._data):
            raise SymbolicError(
                f"{asked} of a symbolic tensor {self._data.type} at {user_line()}: its numbers are known only when the graph "
                "runs\n  hint: fetch it with Session.run, or return it from the compiled function"
            )

    def _array(self, asked: str) -> Any:
        """The elements as a NumPy array, a copy of those on a device; SymbolicError where only a run can know them."""
        self._concrete(asked)
        return host(self._data)

    def numpy(self, *, force: bool = False) -> Any:
        """The elements as a NumPy array, which shares the tensor's memory unless that is a device's."""
        if self._base is not None:
            refresh(self)
        if not force and STATE.grad and self._edge is not None and STATE.recorder is None and is_array(self._data):
            raise GradientError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        return self._array("numpy()")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        array = self.numpy()
        if dtype is not None and array.dtype != dtype:
            return array.astype(dtype)
        return array.copy() if copy else array

    def item(self) -> Any:
        """The one element as a Python number."""
        array = self._array("item()")
        if array.size != 1:
            raise NumberError(f"a Tensor with {array.size} elements cannot be converted to Scalar")
        value = array.item()
        return float(value) if self.dtype is bfloat16 else value

    def tolist(self) -> Any:
        """The elements as nested lists of Python numbers."""
        array = self._array("tolist()")
        return (array.astype(np.float32) if self.dtype is bfloat16 else array).tolist()

    def __bool__(self) -> bool:
        array = self._array("the truth value")
        if array.size != 1:
            raise NumberError(
                "Boolean value of Tensor with no values is ambiguous"
                if array.size == 0
                else "Boolean value of Tensor with more than one value is ambiguous"
            )
        return bool(array.reshape(()))

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.dtype.category == FLOAT or self.numel() != 1:
            raise ArgumentTypeError("only integer tensors of a single element can be converted to an index")
        return int(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __len__(self) -> int:
        if self.ndim == 0:
            raise ArgumentTypeError("len() of a 0-d tensor")
        size = self.shape[0]
        return size.__index__() if isinstance(size, Dim) else size

    def __iter__(self) -> Iterator[Any]:
        if self.ndim == 0:
            raise ArgumentTypeError("iteration over a 0-d tensor")
        return iter(shaping.unbind(self, 0))

    def __contains__(self, x: Any) -> bool:
        if not isinstance(x, TensorBase) and not is_number(x):
            raise NumberError(
                f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a {type(x).__name__}."
            )
        return bool((self == x).any().item())

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return format_tensor(self)

    def __format__(self, spec: str) -> str:
        if self.ndim == 0 and is_array(self._data) and STATE.recorder is None:
            return format(self.item(), spec)
        return object.__format__(self, spec)

    def __dir__(self) -> list[str]:
        return sorted(set(object.__dir__(self)))

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) in memo:
            return memo[id(self)]
        if not self.is_leaf:
            raise GradientError(
                "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment."
            )
        self._concrete("a deep copy")
        memo[id(self)] = out = self._like(duplicate(self._data))
        grad = self.grad
        if grad is not None:
            out._grad = grad.__deepcopy__(memo)
        out.__dict__.update(
            {k: v for k, v in self.__dict__.items() if k not in ("_watched", "_grad_watched", "_hooks", "_grad_hooks")}
        )
        return out

    def _like(self, array: Any) -> Any:
        """A leaf of this class around another array, wanting a gradient as this one does."""
        out = TensorBase.__new__(type(self))
        out._data = array
        out._edge = LEAF if self._edge is not None else None
        out._version = out._base = None
        return out

    def __reduce_ex__(self, protocol: Any) -> Any:
        array = self._array("pickling")
        device = str(self.device) if type(self._data) is DeviceArray else None
        return (_rebuild, (type(self), array, self._edge is not None, device))


def _rebuild(cls: Any, array: Any, requires_grad: bool, device: str | None = None) -> Any:
    """Unpickling: a leaf of class `cls`, on the device where it was."""
    out = TensorBase.__new__(cls)
    out._data = array if device is None else place(device).put(array)
    out._edge = LEAF if requires_grad else None
    out._version = out._base = None
    return out
