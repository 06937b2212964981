"""`Tensor`: the object users hold, with PyTorch's methods. Most methods are the public functions, attached at the end."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from graphc.aliasing import finish_write, mark_detached, mark_lazily, refresh, write
from graphc.autodiff import pull_to_leaves, seeds_for
from graphc.core.context import EPOCH, SLOTS, STATE, set_grad
from graphc.core.devices import CPU, Device, check_device
from graphc.core.dims import Dim, is_size, product
from graphc.core.errors import (
    ArgumentTypeError,
    DtypeError,
    GradientError,
    NumberError,
    ShapeError,
    SymbolicError,
    user_line,
)
from graphc.core.tape import LEAF, Entry, TensorBase, TypeOnly, counter_of, edge_of
from graphc.core.tensor_types import (
    BOOL,
    DTYPE_OF,
    FLOAT,
    DType,
    as_dtype,
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
from graphc.functions.promotion import as_operand, cast_to
from graphc.primitives import arithmetic, comparison
from graphc.primitives.copying import copy as copy_op
from graphc.primitives.elementwise import add, cast
from graphc.printing import format_tensor

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


class RemovableHandle:
    """Takes a hook out again."""

    def __init__(self, hooks: dict[int, Any], key: int):
        self._hooks, self.id = hooks, key

    def remove(self) -> None:
        """Removes the hook; doing so twice is harmless."""
        self._hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


class _HookTable:
    """Numbers hooks so that each has its own handle."""

    count = 0

    @staticmethod
    def add(hooks: dict[int, Any], hook: Callable[..., Any]) -> RemovableHandle:
        _HookTable.count += 1
        hooks[_HookTable.count] = hook
        return RemovableHandle(hooks, _HookTable.count)


class GradFn:
    """What `tensor.grad_fn` shows of a tape entry."""

    def __init__(self, entry: Entry):
        self.entry = entry

    def name(self) -> str:
        """The op's name in PyTorch's manner: `MatmulBackward`."""
        return "".join(part.capitalize() for part in self.entry.op.name.strip("_").split("_")) + "Backward"

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        """Where the gradients of the op's inputs go."""
        found: list[tuple[Any, int]] = []
        for edge in self.entry.edges:
            if type(edge) is tuple:
                found.append((GradFn(edge[0]), edge[1]))
            else:
                found.append((edge, 0))
        return tuple(found)

    def __repr__(self) -> str:
        return f"<{self.name()}>"


class Tensor(TensorBase):
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

    # --- gradients ------------------------------------------------------------------------------------------------

    def _here(self) -> Any:
        """This tensor as the current context sees it: its shadow inside a trace."""
        recorder = STATE.recorder
        if recorder is None:
            if self._base is not None:
                refresh(self)
            return self
        shadow = recorder.shadow(self)
        refresh(shadow)
        return shadow

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to this tensor."""
        return self._here()._edge is not None

    @requires_grad.setter
    def requires_grad(self, on: bool) -> None:
        self.requires_grad_(on)

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Makes this leaf want a gradient, or not; returns self."""
        here = self._here()
        if bool(requires_grad) == (here._edge is not None):
            return self
        if requires_grad and self.dtype.category != FLOAT:
            raise GradientError("only Tensors of floating point dtype can require gradients")
        if here._edge is not None and here._edge is not LEAF:
            raise GradientError(
                "you can only change requires_grad flags of leaf variables. If you want to use a computed variable in a "
                "subgraph that doesn't require differentiation use var_no_grad = var.detach()."
            )
        here._edge = LEAF if requires_grad else None
        if "_watched" in self.__dict__:
            EPOCH.bump()
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether no op on the tape made this tensor."""
        edge = self._here()._edge
        return edge is None or edge is LEAF

    @property
    def grad(self) -> Any:
        """The gradient accumulated by `backward`, or None."""
        recorder = STATE.recorder
        if recorder is not None:
            return recorder.grad_of(self)
        try:
            return self._grad
        except AttributeError:
            return None

    def grad_outside(self) -> Any:
        """The gradient this concrete tensor has outside of what is being recorded."""
        return getattr(self, "_grad", None)

    @grad.setter
    def grad(self, value: Any) -> None:
        if value is not None:
            if not isinstance(value, TensorBase):
                raise ArgumentTypeError(f"assigned grad expected to be a Tensor or None but got {type(value).__name__}")
            if tuple(value.shape) != tuple(self.shape):
                raise ShapeError(
                    f"assigned grad has data of a different size: {tuple(value.shape)} for a tensor of {tuple(self.shape)}"
                )
            if value.dtype is not self.dtype:
                raise DtypeError(f"assigned grad has data of a different type: {value.dtype} for {self.dtype}")
        recorder = STATE.recorder
        if recorder is not None:
            recorder.set_grad_of(self, value)
            return
        if "_watched" in self.__dict__ and (value is None) != (self.grad_outside() is None):
            EPOCH.bump()
        self._grad = value

    @grad.deleter
    def grad(self) -> None:
        self.grad = None

    @property
    def grad_fn(self) -> GradFn | None:
        """What made this tensor, as the tape knows it; None for leaves."""
        edge = self._here()._edge
        return GradFn(edge[0]) if type(edge) is tuple else None

    @property
    def output_nr(self) -> int:
        """Which output of `grad_fn` this is."""
        edge = self._here()._edge
        return edge[1] if type(edge) is tuple else 0

    @property
    def _version_number(self) -> int:
        return counter_of(self).count

    def backward(
        self, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False, inputs: Any = None
    ) -> None:
        """Adds the gradient of this tensor with respect to every leaf to the leaf's `.grad`.

        `gradient`: the cotangent of this tensor, needed unless it has one element.
        Raises GradientError where the tape does not reach, was freed, or its data was changed.
        """
        backward([self], [gradient], retain_graph, create_graph, inputs)

    def register_hook(self, hook: Callable[[Any], Any]) -> RemovableHandle:
        """Calls `hook(grad)` when this tensor's gradient is computed; what it returns, if anything, replaces it."""
        here = self._here()
        if here._edge is None:
            raise GradientError("cannot register a hook on a tensor that doesn't require gradient")
        if here._edge is LEAF:
            return _HookTable.add(here.__dict__.setdefault("_hooks", {}), hook)
        entry, i = here._edge
        if entry.hooks is None:
            entry.hooks = {}
        return _HookTable.add(entry.hooks.setdefault(i, {}), hook)

    def retain_grad(self) -> None:
        """Keeps `.grad` of this non-leaf tensor too."""
        here = self._here()
        if here._edge is None:
            raise GradientError("can't retain_grad on Tensor that has requires_grad=False")
        if type(here._edge) is tuple:
            entry, i = here._edge
            if entry.retained is None:
                entry.retained = {}
            entry.retained[i] = weakref.ref(here)
            self.__dict__["_retains"] = True

    @property
    def retains_grad(self) -> bool:
        """Whether `retain_grad` was called on this non-leaf tensor."""
        return self.__dict__.get("_retains", False)

    def detach(self) -> Any:
        """The same elements without history; writes show on both sides."""
        here = self._here()
        out = SLOTS.new_tensor(here._data)
        mark_detached(out, here)
        return out

    def detach_(self) -> Any:
        """Cuts this tensor's history off in place."""
        here = self._here()
        if here._base is not None:
            raise GradientError("Can't detach views in-place. Use detach() instead.")
        here._edge = None
        return self

    @property
    def data(self) -> Any:
        """The same elements without history, not watched for changes (PyTorch's `.data`)."""
        return self.detach()

    @data.setter
    def data(self, value: Any) -> None:
        if not isinstance(value, TensorBase):
            raise ArgumentTypeError(f"Variable data has to be a tensor, but got {type(value).__name__}")
        recorder = STATE.recorder
        if recorder is not None:
            shadow = recorder.shadow(self)
            shadow._data = recorder.shadow(value)._data
            return
        if value._data is not self._data:
            self._data = value._data
            EPOCH.bump()

    # --- numbers --------------------------------------------------------------------------------------------------

    def _array(self, asked: str) -> Any:
        """The NumPy array; SymbolicError where only a run can know it."""
        if STATE.recorder is not None:
            return STATE.recorder.read_number(self, asked)
        if type(self._data) is not _ndarray:
            raise SymbolicError(
                f"{asked} of a symbolic tensor {self._data.type} at {user_line()}: its numbers are known only when the graph "
                "runs\n  hint: fetch it with Session.run, or return it from the compiled function"
            )
        return self._data

    def numpy(self, *, force: bool = False) -> Any:
        """The elements as a NumPy array that shares memory."""
        if not force and self._edge is not None and STATE.recorder is None:
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
        return bool((self == x).any().item())  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return format_tensor(self)

    def __format__(self, spec: str) -> str:
        if self.ndim == 0 and type(self._data) is _ndarray and STATE.recorder is None:
            return format(self.item(), spec)
        return object.__format__(self, spec)

    def __dir__(self) -> list[str]:
        return sorted(set(object.__dir__(self)))

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) in memo:
            return memo[id(self)]
        if self._edge is not None and self._edge is not LEAF:
            raise GradientError(
                "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment."
            )
        memo[id(self)] = out = self._like(self._array("a deep copy").copy(order="K"))
        grad = self.grad
        if grad is not None:
            out._grad = grad.__deepcopy__(memo)
        out.__dict__.update({k: v for k, v in self.__dict__.items() if k not in ("_watched", "_hooks")})
        return out

    def _like(self, array: Any) -> Any:
        """A leaf of this class around another array, wanting a gradient as this one does."""
        out = TensorBase.__new__(type(self))
        out._data = array
        out._edge = LEAF if self._edge is not None else None
        out._version = out._base = None
        return out

    def __reduce_ex__(self, protocol: Any) -> Any:
        return (_rebuild, (type(self), self._array("pickling"), self._edge is not None))

    # --- memory ---------------------------------------------------------------------------------------------------

    def data_ptr(self) -> int:
        """The address of the first element."""
        return int(self._array("data_ptr()").__array_interface__["data"][0])

    def stride(self, dim: int | None = None) -> Any:
        """Steps between neighbours along each dimension, in elements."""
        data = self._data
        if type(data) is _ndarray:
            steps = tuple(s // data.itemsize for s in data.strides)
        else:
            sizes = self._symbolic_type().shape
            steps = tuple(product(sizes[i + 1 :]) for i in range(len(sizes)))
        return steps if dim is None else steps[dim]

    def storage_offset(self) -> int:
        """How many elements into its base's memory a view begins."""
        if self._base is None:
            return 0
        return (self.data_ptr() - self._base.base.data_ptr()) // self.dtype.itemsize  # type: ignore[attr-defined]

    def is_contiguous(self, memory_format: Any = None) -> bool:
        """Whether the elements lie row by row without gaps (a symbolic tensor counts as so)."""
        return type(self._data) is not _ndarray or self._data.flags.c_contiguous

    def contiguous(self, memory_format: Any = None) -> Any:
        """This tensor if its elements lie row by row, else a copy that does."""
        if self.is_contiguous():
            return self
        out = copy_op(self)
        out._data = np.ascontiguousarray(out._data)
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
        data = self._data
        if type(data) is _ndarray and out is not self and data.size and not np.may_share_memory(out._data, data):
            raise ShapeError(
                "view size is not compatible with input tensor's size and stride (at least one dimension spans across two "
                "contiguous subspaces). Use .reshape(...) instead."
            )
        return out

    def _view_dtype(self, dtype: DType) -> Any:
        if dtype.itemsize != self.dtype.itemsize:
            raise ShapeError("view(dtype) needs a dtype of the same size")
        out = SLOTS.new_tensor(self._array("view(dtype)").view(dtype.np))
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
                dtype = arg.dtype
            elif isinstance(arg, DType):
                dtype = arg
            elif isinstance(arg, str | Device | int) and not isinstance(arg, bool):
                device = arg
        check_device(device)
        if dtype is not None and as_dtype(dtype) is not self.dtype:
            return cast(self, dtype=as_dtype(dtype))
        return copy_op(self) if copy else self

    def type(self, dtype: Any = None, non_blocking: bool = False) -> Any:  # type: ignore[override]
        """The name of this tensor's type, or the tensor cast to `dtype` (a DType or a name such as `torch.FloatTensor`)."""
        if dtype is None:
            return "torch." + legacy_name(self.dtype)
        return self.to(_from_legacy(dtype))

    def type_as(self, other: Any) -> Any:
        """This tensor in the other's dtype."""
        return self.to(other.dtype)

    def cpu(self, memory_format: Any = None) -> Any:
        """This tensor: it is on the CPU."""
        return self

    def cuda(self, device: Any = None, non_blocking: bool = False) -> Any:
        """Raises BackendError where there is no CUDA device."""
        check_device("cuda" if device is None else device)
        return self

    # --- in place -------------------------------------------------------------------------------------------------

    def copy_(self, src: Any, non_blocking: bool = False) -> Any:
        """Writes the elements of `src`, broadcast and cast, into this tensor."""
        src = as_operand(src)
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

    def __getitem__(self, key: Any) -> Any:
        if type(self._data) is _ndarray and STATE.recorder is None and (self._edge is None or not STATE.grad):
            parts = key if type(key) is tuple else (key,)
            if all(type(p) is int or (type(p) is slice and p.step is None) for p in parts) and len(parts) <= self._data.ndim:
                return self._basic_item(key, parts)
        return indexing.getitem(self, key)

    def _basic_item(self, key: Any, parts: tuple[Any, ...]) -> Any:
        """Ints and plain slices of an untracked eager tensor: NumPy's own view."""
        try:
            array = self._data[(*parts, ...)]
        except (IndexError, TypeError):
            return indexing.getitem(self, key)
        if self._base is not None:
            refresh(self)
        out = new_tensor(array)
        mark_lazily(out, self, lambda x: indexing.getitem(x, key))
        return out

    def set_(self, source: Any) -> Any:
        """Makes this tensor share the memory of `source`."""
        self.data = source
        return self

    def resize_(self, *sizes: Any) -> Any:
        """Gives this tensor another shape in place; new elements are zero."""
        shape = tuple(sizes[0]) if len(sizes) == 1 and not is_size(sizes[0]) else sizes
        array = np.resize(self._array("resize_()"), shape) if np.prod(shape, dtype=int) else np.empty(shape, self.dtype.np)
        self.data = SLOTS.new_tensor(array)
        return self

    # --- new_* ------------------------------------------------------------------------------------------------------

    def new_tensor(self, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
        """A tensor of `data`, of this one's dtype unless told otherwise."""
        return creation.tensor(data, dtype=dtype or self.dtype, requires_grad=requires_grad)

    def new_zeros(self, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
        """Zeros, of this one's dtype unless told otherwise."""
        return creation.zeros(*size, dtype=dtype or self.dtype, requires_grad=requires_grad)

    def new_ones(self, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
        """Ones, of this one's dtype unless told otherwise."""
        return creation.ones(*size, dtype=dtype or self.dtype, requires_grad=requires_grad)

    def new_empty(self, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
        """Memory with any content, of this one's dtype unless told otherwise."""
        return creation.empty(*size, dtype=dtype or self.dtype, requires_grad=requires_grad)

    def new_full(
        self, size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
    ) -> Any:
        """One number everywhere, of this one's dtype unless told otherwise."""
        return creation.full(size, fill_value, dtype=dtype or self.dtype, requires_grad=requires_grad)

    def new(self, *args: Any) -> Any:
        """Legacy constructor in this tensor's dtype: sizes, or data."""
        if not args or all(is_size(a) for a in args):
            return creation.empty(*(args or (0,)), dtype=self.dtype)
        return creation.tensor(args[0], dtype=self.dtype)

    def where(self, condition: Any, other: Any) -> Any:
        """This tensor where `condition` holds, else `other`."""
        return pointwise.where(condition, self, other)

    # --- shape properties -------------------------------------------------------------------------------------------

    @property
    def T(self) -> Any:  # noqa: N802
        """The dimensions in reverse order."""
        return shaping.permute(self, tuple(range(self.ndim - 1, -1, -1)))

    @property
    def mT(self) -> Any:  # noqa: N802
        """The last two dimensions swapped."""
        return shaping.matrix_transpose(self)

    H, mH, real = T, mT, property(lambda self: self)

    __array_priority__ = 1000



def _stretched(src: Any, target: Any) -> Any:
    """src expanded to the target's shape; ShapeError where it does not broadcast to it."""
    have, want = tuple(src.shape), tuple(target.shape)
    return src if have == want else shaping.expand(src, *want) if len(have) <= len(want) else shaping.reshape(src, want)


def _rebuild(cls: Any, array: Any, requires_grad: bool) -> Any:
    """Unpickling: a leaf of class `cls`."""
    out = TensorBase.__new__(cls)
    out._data, out._edge = array, LEAF if requires_grad else None
    out._version = out._base = None
    return out


def new_tensor(data: Any) -> Tensor:
    """A Tensor around an array, a program's value or a bare type, without history."""
    tensor = TensorBase.__new__(Tensor)
    tensor._data = data
    tensor._edge = tensor._version = tensor._base = None
    return tensor


SLOTS.new_tensor = new_tensor

_LEGACY = {
    "FloatTensor": float32, "DoubleTensor": float64, "HalfTensor": float16, "BFloat16Tensor": bfloat16,
    "LongTensor": int64, "IntTensor": int32, "ShortTensor": int16, "CharTensor": int8, "ByteTensor": uint8,
    "BoolTensor": bool_,
}  # fmt: skip


def legacy_name(dtype: DType) -> str:
    """PyTorch's class name for tensors of a dtype, `FloatTensor` for float32."""
    return next(name for name, d in _LEGACY.items() if d is dtype)


def _from_legacy(dtype: Any) -> DType:
    if isinstance(dtype, str) and dtype.rpartition(".")[2] in _LEGACY:
        return _LEGACY[dtype.rpartition(".")[2]]
    return getattr(dtype, "dtype", None) or as_dtype(dtype)


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


LEGACY_CONSTRUCTORS = {name: _LegacyConstructor(name, dtype) for name, dtype in _LEGACY.items()}


# --- backward -------------------------------------------------------------------------------------------------------


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """`autograd.backward`: adds gradients to the leaves' `.grad`; see `Tensor.backward`."""
    here = [t._here() for t in tensors]
    cotangents = None if grad_tensors is None else [None if g is None else as_operand(g) for g in grad_tensors]
    with set_grad(create_graph):
        roots = seeds_for(here, cotangents)
    retain = create_graph if retain_graph is None else retain_graph
    wanted = None
    if inputs is not None:
        wanted = [x._here() for x in ([inputs] if isinstance(inputs, TensorBase) else inputs)]
    taken = {id(g._data) for _, g in roots}
    pull_to_leaves(roots, functools.partial(_accumulate, taken, create_graph), retain, create_graph, wanted)


def _accumulate(taken: set[int], create_graph: bool, leaf: Any, g: Any) -> None:
    """Adds one cotangent to a leaf's gradient, which never shares memory with anything else."""
    have = leaf.grad
    if have is not None:
        if create_graph:
            leaf.grad = add(have, g)
        else:
            write(have, add(have, g))
        return
    if create_graph:
        leaf.grad = g
        return
    data = g._data
    if type(data) is _ndarray:
        if id(data) in taken or data.base is not None or not data.flags.writeable or hasattr(leaf, "_hooks"):
            data = np.array(data)
        taken.add(id(data))
    fresh = new_tensor(data)
    fresh._edge = None
    leaf.grad = fresh


# --- methods from functions -----------------------------------------------------------------------------------------


def _binary_operator(fn: Callable[..., Any], op: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """`x + y` and its reflection: straight to the primitive where the operands are tensors of one dtype."""

    def forward(self: Any, other: Any) -> Any:
        try:
            if self._data.dtype is other._data.dtype:
                return op.call(self, other)
        except AttributeError:
            if not isinstance(other, _OPERAND_TYPES):
                return NotImplemented
        return fn(self, other)

    def reflected(self: Any, other: Any) -> Any:
        return fn(as_operand_like(other, self), self) if isinstance(other, _OPERAND_TYPES) else NotImplemented

    return forward, reflected


_OPERAND_TYPES = (TensorBase, int, float, bool, np.generic, np.ndarray, Dim)


def as_operand_like(x: Any, other: Any) -> Any:
    """A left operand for a reflected operator: numbers stay weak, arrays become tensors."""
    return creation.tensor(x) if isinstance(x, np.ndarray) else x


def _make_inplace(name: str, fn: Callable[..., Any]) -> Callable[..., Any]:
    """`x.name_(...)`: the function's result written into x."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        first = self
        if STATE.grad and self.dtype.category == FLOAT:
            here = self._here()
            if here._edge is LEAF:
                raise GradientError("a leaf Variable that requires grad is being used in an in-place operation.")
            if here._edge is not None or any(isinstance(a, TensorBase) and a._edge is not None for a in args):
                first = copy_op(self)
        out = fn(first, *args, **kwargs)
        if out.dtype is not self.dtype:
            if out.dtype.category > self.dtype.category and not (self.dtype.category != BOOL and out.dtype.category != FLOAT):
                raise DtypeError(
                    f"result type {_pretty(out.dtype)} can't be cast to the desired output type {_pretty(self.dtype)}"
                )
            out = cast_to(out, self.dtype)
        if tuple(out.shape) != tuple(self.shape):
            raise ShapeError(
                f"output with shape {list(self.shape)} doesn't match the broadcast shape {list(out.shape)}"
            )
        return write(self, out)

    method.__name__ = name + "_"
    method.__doc__ = f"In-place `{name}`: writes the result into this tensor and returns it."
    return method


def _pretty(dtype: DType) -> str:
    return legacy_name(dtype).removesuffix("Tensor")


def _attach() -> None:
    """Gives Tensor the public functions as methods, their in-place forms and the operators."""
    for file in FUNCTION_FILES:
        for name in getattr(file, "METHODS", ()):
            if name not in Tensor.__dict__:
                setattr(Tensor, name, getattr(file, name))
        for name in getattr(file, "INPLACE", ()):
            if name + "_" not in Tensor.__dict__:
                setattr(Tensor, name + "_", _make_inplace(name, getattr(file, name)))
        for name in getattr(file, "FILLS", ()):
            setattr(Tensor, name, getattr(file, name))
    operators = {
        "add": (pointwise.add, arithmetic.add), "sub": (pointwise.sub, arithmetic.subtract),
        "mul": (pointwise.mul, arithmetic.multiply), "floordiv": (pointwise.floor_divide, None),
        "truediv": (pointwise.div, None), "mod": (pointwise.remainder, None), "pow": (pointwise.pow, None),
        "and": (pointwise.bitwise_and, None), "or": (pointwise.bitwise_or, None), "xor": (pointwise.bitwise_xor, None),
        "lshift": (pointwise.bitwise_left_shift, None), "rshift": (pointwise.bitwise_right_shift, None),
        "matmul": (linalg.matmul, None),
    }  # fmt: skip
    comparisons = {
        "eq": (pointwise.eq, comparison.equal), "ne": (pointwise.ne, comparison.not_equal),
        "lt": (pointwise.lt, comparison.less), "le": (pointwise.le, comparison.less_equal),
        "gt": (pointwise.gt, comparison.greater), "ge": (pointwise.ge, comparison.greater_equal),
    }  # fmt: skip
    for name, (fn, op) in {**operators, **comparisons}.items():
        forward, reflected = _binary_operator(fn, op) if op is not None else _plain_operator(fn)
        setattr(Tensor, f"__{name}__", forward)
        if name in operators:
            setattr(Tensor, f"__r{name}__", reflected)
            inplace = "bitwise_" + name if name in ("and", "or", "xor") else _INPLACE_NAMES.get(name, name)
            setattr(Tensor, f"__i{name}__", _make_inplace(inplace, fn))
    for name, fn in (("neg", pointwise.neg), ("abs", pointwise.abs), ("invert", pointwise.bitwise_not)):
        setattr(Tensor, f"__{name}__", fn)
    Tensor.__pos__ = lambda self: self  # type: ignore[attr-defined]
    for name, dtype in _CASTS.items():
        setattr(Tensor, name, _make_cast(name, dtype))


_INPLACE_NAMES = {"truediv": "div", "floordiv": "floor_divide", "mod": "remainder"}
_CASTS = {
    "float": float32, "double": float64, "half": float16, "bfloat16": bfloat16, "long": int64, "int": int32,
    "short": int16, "char": int8, "byte": uint8, "bool": bool_,
}  # fmt: skip


def _plain_operator(fn: Callable[..., Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def forward(self: Any, other: Any) -> Any:
        if not isinstance(other, _OPERAND_TYPES):
            return NotImplemented
        return fn(self, as_operand_like(other, self))

    def reflected(self: Any, other: Any) -> Any:
        return fn(as_operand_like(other, self), self) if isinstance(other, _OPERAND_TYPES) else NotImplemented

    return forward, reflected


def _make_cast(name: str, dtype: DType) -> Callable[..., Any]:
    def method(self: Any, memory_format: Any = None) -> Any:
        return cast_to(self, dtype)

    method.__name__ = name
    method.__doc__ = f"This tensor in {dtype.name}."
    return method


_attach()
__all__ = ["LEGACY_CONSTRUCTORS", "RemovableHandle", "Tensor", "TensorSize", "TypeOnly", "backward", "edge_of", "finish_write"]
