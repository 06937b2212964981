"""Parameter and Buffer: tensors that a Module registers by being assigned to it."""

from __future__ import annotations

from typing import Any, ClassVar

from graphc.core.arrays import is_array
from graphc.core.context import EPOCH, eagerly
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


class _Uninitialized:
    """What a parameter or buffer without a shape can do: be given one, moved and cast."""

    __slots__ = ()  # so that the object may change its class
    _becomes: ClassVar[type[Any]]
    _data: Any
    _version: Any

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Makes this an ordinary parameter or buffer of that shape, its content yet to be filled."""
        with eagerly():  # a recording would keep the tensor that has no shape
            own = Tensor.detach(self)  # type: ignore[arg-type]
            made = empty(tuple(shape), dtype=dtype or own.dtype, device=own.device if device is None else device)
        object.__setattr__(self, "__class__", self._becomes)
        self._data, self._version = made._data, counter_of(made)
        EPOCH.bump()

    @property
    def shape(self) -> Any:
        """There is none yet: RuntimeError."""
        raise RuntimeError(
            "Can't access the shape of an uninitialized parameter or buffer. This error usually happens in `load_state_dict` "
            "when trying to load an uninitialized parameter into an initialized one. Call `forward` to initialize the "
            "parameters before accessing their attributes."
        )

    def share_memory_(self) -> None:
        """There is no memory yet: RuntimeError."""
        raise RuntimeError(
            "Can't share memory on an uninitialized parameter or buffer. Call `forward` to initialize the parameters before "
            "calling `module.share_memory()`."
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class UninitializedParameter(_Uninitialized, Parameter):  # type: ignore[misc]
    """A parameter that has no shape yet; `materialize` gives it one."""

    _becomes = Parameter

    def __new__(cls, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> Any:
        with eagerly():
            return Parameter.__new__(cls, empty(0, device=device, dtype=dtype), requires_grad)

    def __init__(self, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> None:
        """All is done in `__new__`."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        made = memo[id(self)] = type(self)(self.requires_grad, Tensor.detach(self).device, self.dtype)
        return made

    def __reduce_ex__(self, protocol: Any) -> Any:
        return (type(self), (self.requires_grad,))


class UninitializedBuffer(_Uninitialized, Buffer):  # type: ignore[misc]
    """A buffer that has no shape yet; `materialize` gives it one."""

    _becomes = Buffer

    def __new__(
        cls, requires_grad: bool = False, device: Any = None, dtype: Any = None, persistent: bool = True
    ) -> Any:
        with eagerly():
            return Buffer.__new__(cls, empty(0, device=device, dtype=dtype), persistent=persistent)

    def __init__(
        self, requires_grad: bool = False, device: Any = None, dtype: Any = None, persistent: bool = True
    ) -> None:
        """All is done in `__new__`."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        made = memo[id(self)] = type(self)(False, Tensor.detach(self).device, self.dtype, self.persistent)
        return made

    def __reduce_ex__(self, protocol: Any) -> Any:
        return (type(self), (False,))


def is_lazy(param: Any) -> bool:
    """Whether `param` is a parameter or buffer without a shape."""
    return isinstance(param, _Uninitialized)


__all__ = ["Buffer", "Parameter", "UninitializedBuffer", "UninitializedParameter", "is_lazy"]
