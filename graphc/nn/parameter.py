"""Parameter and Buffer: tensors that a Module registers by being assigned to it."""

from __future__ import annotations

from typing import Any

from graphc.core.arrays import is_array
from graphc.core.context import eagerly
from graphc.core.errors import ArgumentTypeError, GradientError, SymbolicError, user_line
from graphc.core.tape import LEAF, TensorBase, counter_of
from graphc.core.tensor_types import FLOAT
from graphc.functions.creation import empty
from graphc.tensors import Tensor


def _adopt(tensor: Tensor, data: Any, requires_grad: bool) -> None:
    """Makes `tensor` a leaf over the memory of `data`, a base of its own."""
    if data is None:
        with eagerly():
            data = empty(0)
    if not isinstance(data, TensorBase):
        raise ArgumentTypeError(f"{type(tensor).__name__}: data must be a Tensor, not {type(data).__name__}")
    if not is_array(data._data):
        raise SymbolicError(
            f"{type(tensor).__name__} cannot be made from a symbolic tensor {data.tensor_type} at {user_line()}: its numbers "
            "are known only when the graph runs\n  hint: make its data inside `with gc.eagerly():`"
        )
    if requires_grad and data.dtype.category != FLOAT:
        raise GradientError("Only Tensors of floating point and complex dtype can require gradients")
    tensor._data, tensor._version, tensor._base = data._data, counter_of(data), None
    tensor._edge = LEAF if requires_grad else None


class Parameter(Tensor):
    """A tensor that a Module optimises: assigned as an attribute it appears in `parameters()`.

    Shares the memory of `data` (None: a new empty tensor). Raises TypeError if `data` is no tensor, RuntimeError if it is an
    integer or symbolic tensor.
    """

    def __new__(cls, data: Any = None, requires_grad: bool = True) -> Any:
        self = TensorBase.__new__(cls)
        _adopt(self, data, requires_grad)
        return self

    def __init__(self, data: Any = None, requires_grad: bool = True) -> None:
        """All is done in `__new__`."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        with eagerly():
            return super().__deepcopy__(memo)

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return "Parameter containing:\n" + super().__repr__()


class Buffer(Tensor):
    """A tensor that belongs to a Module's state but is not optimised; `persistent` ones are in its state_dict."""

    persistent = True

    def __new__(cls, data: Any = None, *, persistent: bool = True) -> Any:
        self = TensorBase.__new__(cls)
        _adopt(self, data, False)
        self.persistent = persistent
        return self

    def __init__(self, data: Any = None, *, persistent: bool = True) -> None:
        """All is done in `__new__`."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        with eagerly():
            return super().__deepcopy__(memo)


__all__ = ["Buffer", "Parameter"]
