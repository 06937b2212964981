"""Operators, in-place forms and the public functions as methods, given to the Tensor class when it is made."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.aliasing import check_writable, write
from graphc.autodiff import may_be_same_shape
from graphc.core.context import STATE
from graphc.core.dims import Dim
from graphc.core.errors import ArgumentTypeError, DtypeError, GradientError, ShapeError
from graphc.core.tape import TensorBase
from graphc.core.tensor_types import (
    BOOL,
    FLOAT,
    DType,
    bfloat16,
    bool_,
    dtype_of,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
)
from graphc.functions import creation, linalg, pointwise
from graphc.functions.promotion import cast_to
from graphc.methods.memory import legacy_name
from graphc.primitives import arithmetic, comparison
from graphc.primitives.copying import copy as copy_op

_OPERAND_TYPES = (TensorBase, int, float, bool, np.generic, Dim)


def _binary_operator(name: str, fn: Callable[..., Any], op: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """`x + y` and its reflection: straight to the primitive where the operands are tensors of one dtype."""

    def forward(self: Any, other: Any) -> Any:
        if isinstance(other, TensorBase) and self._data.dtype is other._data.dtype:
            return op.call(self, other)
        if not isinstance(other, _OPERAND_TYPES):
            return fn(*_beside_array(name, self, other)) if isinstance(other, np.ndarray) else NotImplemented
        return fn(self, other)

    return forward, _reflected(name, fn)


def _plain_operator(name: str, fn: Callable[..., Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The same without a primitive of its own."""

    def forward(self: Any, other: Any) -> Any:
        if isinstance(other, _OPERAND_TYPES):
            return fn(self, other)
        return fn(*_beside_array(name, self, other)) if isinstance(other, np.ndarray) else NotImplemented

    return forward, _reflected(name, fn)


def _reflected(name: str, fn: Callable[..., Any]) -> Callable[..., Any]:
    def reflected(self: Any, other: Any) -> Any:
        if isinstance(other, _OPERAND_TYPES):
            return fn(other, self)
        return fn(*_beside_array(name, self, other)[::-1]) if isinstance(other, np.ndarray) else NotImplemented

    return reflected


def _beside_array(name: str, tensor: Any, array: Any) -> tuple[Any, Any]:
    """A tensor and an array as two tensors of the dtype NumPy would compute in, as PyTorch leaves it to NumPy.

    Raises GradientError, as PyTorch does, where the tensor wants a gradient.
    """
    if name in ("eq", "ne"):
        return tensor, creation.tensor(array)
    if name in ("lt", "le", "gt", "ge"):
        raise ArgumentTypeError(f"{name}: a Tensor and a numpy.ndarray cannot be compared", "torch.from_numpy(array)")
    if STATE.grad and tensor.requires_grad:
        raise GradientError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
    one, other = np.ones(1, tensor.dtype.np), np.ones(1, array.dtype)
    target = dtype_of(getattr(operator, f"__{name}__")(one, other).dtype)
    return cast_to(tensor, target), cast_to(creation.tensor(array), target)


def _in_place_operator(inplace: Callable[..., Any]) -> Callable[..., Any]:
    """`x += y`; with an array it is `x = x + y`, as in PyTorch."""

    def method(self: Any, other: Any) -> Any:
        return NotImplemented if isinstance(other, np.ndarray) else inplace(self, other)

    return method


def _make_inplace(name: str, fn: Callable[..., Any]) -> Callable[..., Any]:
    """`x.name_(...)`: the function's result written into x."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        first = self
        if STATE.grad and self.dtype.category == FLOAT:
            here = self._here()
            check_writable(here)
            if here._edge is not None or any(isinstance(a, TensorBase) and a._edge is not None for a in args):
                first = copy_op(self)
        out = fn(first, *args, **kwargs)
        if out.dtype is not self.dtype:
            if out.dtype.category > self.dtype.category and not (
                self.dtype.category != BOOL and out.dtype.category != FLOAT
            ):
                raise DtypeError(
                    f"result type {_pretty(out.dtype)} can't be cast to the desired output type {_pretty(self.dtype)}"
                )
            out = cast_to(out, self.dtype)
        if tuple(out.shape) != tuple(self.shape) and not _unified(out.shape, self.shape):
            raise ShapeError(
                f"output with shape {list(self.shape)} doesn't match the broadcast shape {list(out.shape)}"
            )
        return write(self, out)

    method.__name__ = name + "_"
    method.__doc__ = f"In-place `{name}`: writes the result into this tensor and returns it."
    return method


def _unified(a: Any, b: Any) -> bool:
    """Whether two shapes of a recording are equal as far as can be told; it is tested at each run."""
    unify = getattr(STATE.recorder, "unify", None)
    if unify is None or not may_be_same_shape(a, b):
        return False
    for x, y in zip(a, b, strict=True):
        if x != y:
            unify(x, y)
    return True


def _pretty(dtype: DType) -> str:
    return legacy_name(dtype).removesuffix("Tensor")


def attach(cls: Any, function_files: tuple[Any, ...]) -> None:
    """Gives the Tensor class the public functions as methods, their in-place forms and the operators."""
    for file in function_files:
        for name in getattr(file, "METHODS", ()):
            if name not in cls.__dict__:
                setattr(cls, name, getattr(file, name))
        for name in getattr(file, "INPLACE", ()):
            if name + "_" not in cls.__dict__:
                setattr(cls, name + "_", _make_inplace(name, getattr(file, name)))
        for name in getattr(file, "FILLS", ()):
            setattr(cls, name, getattr(file, name))
    for name, public in (*_ARITHMETIC.items(), *_COMPARISONS.items()):
        fn = getattr(linalg if name == "matmul" else pointwise, public)
        op = OPERATORS.get(f"__{name}__")
        forward, reflected = _plain_operator(name, fn) if op is None else _binary_operator(name, fn, op)
        setattr(cls, f"__{name}__", forward)
        if name in _ARITHMETIC:
            setattr(cls, f"__r{name}__", reflected)
            setattr(cls, f"__i{name}__", _in_place_operator(_make_inplace(public, fn)))
    for name, public in _UNARY.items():
        setattr(cls, f"__{name}__", _invert if name == "invert" else getattr(pointwise, public))
    for name, dtype in _CASTS.items():
        setattr(cls, name, _make_cast(name, dtype))


#: What an operator is where both operands are tensors of one dtype.
OPERATORS = {
    "__add__": arithmetic.add, "__sub__": arithmetic.subtract, "__mul__": arithmetic.multiply,
    "__eq__": comparison.equal, "__ne__": comparison.not_equal, "__lt__": comparison.less,
    "__le__": comparison.less_equal, "__gt__": comparison.greater, "__ge__": comparison.greater_equal,
}  # fmt: skip
#: Operators, with the public functions they are.
_ARITHMETIC = {
    "add": "add", "sub": "sub", "mul": "mul", "floordiv": "floor_divide", "truediv": "div", "mod": "remainder", "pow": "pow",
    "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor", "lshift": "bitwise_left_shift",
    "rshift": "bitwise_right_shift", "matmul": "matmul",
}  # fmt: skip
_COMPARISONS = {name: name for name in ("eq", "ne", "lt", "le", "gt", "ge")}
_UNARY = {"neg": "neg", "abs": "abs", "invert": "bitwise_not", "pos": "positive"}
#: What calls of operators are called: `x -= y` is a `sub_`. Not of `~`, which calls the public function by its name.
OPERATOR_NAMES = {
    **{f"__{name}__": public for name, public in (_ARITHMETIC | _COMPARISONS | _UNARY).items() if name != "invert"},
    **{f"__r{name}__": "rsub" if name == "sub" else public for name, public in _ARITHMETIC.items()},
    **{f"__i{name}__": f"{public}_" for name, public in _ARITHMETIC.items()},
    "__getitem__": "getitem", "__setitem__": "setitem",
}  # fmt: skip
_CASTS = {
    "float": float32, "double": float64, "half": float16, "bfloat16": bfloat16, "long": int64, "int": int32,
    "short": int16, "char": int8, "byte": uint8, "bool": bool_,
}  # fmt: skip


def _invert(self: Any) -> Any:
    """`~x`: all bits flipped, logical not for bools; ArgumentTypeError for floats."""
    if self.dtype.category == FLOAT:
        raise ArgumentTypeError("~ (operator.invert) is only implemented on integer and Boolean-type tensors")
    return pointwise.bitwise_not(self)


def _make_cast(name: str, dtype: DType) -> Callable[..., Any]:
    def method(self: Any, memory_format: Any = None) -> Any:
        return cast_to(self, dtype)

    method.__name__ = name
    method.__doc__ = f"This tensor in {dtype.name}."
    return method
