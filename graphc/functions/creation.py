"""Tensors from data, numbers and sizes. Sizes may be loose numbers, a sequence, or unknown (`Dim`)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from itertools import chain
from typing import Any

import numpy as np

from graphc.core.arrays import device_of, memory_of, shares_memory
from graphc.core.context import SLOTS, STATE, making_in, place, set_grad
from graphc.core.dims import Dim, Size, size_max
from graphc.core.errors import ArgumentError, ArgumentTypeError, DtypeError, ShapeError
from graphc.core.tape import LEAF, TensorBase
from graphc.core.tensor_types import (
    DTYPE_OF,
    FLOAT,
    INT,
    DType,
    as_dtype,
    bool_,
    defaults,
    dtype_of,
    float64,
    int64,
    promote_dtypes,
    scalar_dtype,
)
from graphc.functions.placing import on
from graphc.functions.promotion import cast_to, is_number, plain, scalar_operand
from graphc.functions.sizes import as_size, as_sizes
from graphc.primitives.comparison import equal, less
from graphc.primitives.copying import copy
from graphc.primitives.creation import full as full_op
from graphc.primitives.creation import iota
from graphc.primitives.elementwise import where
from graphc.primitives.joining import concat
from graphc.primitives.views import expand, reshape

# --- from data -------------------------------------------------------------------------------------------------------


def from_array(array: Any) -> Any:
    """A tensor of a NumPy array: around its memory in eager code, a constant in a trace or graph."""
    recorder = STATE.recorder
    return SLOTS.new_tensor(array) if recorder is None else recorder.constant(array)


def finished(x: Any, requires_grad: bool, device: Any) -> Any:
    """x on a device, as a leaf whose gradient is wanted if so; DtypeError for a dtype that has none."""
    if device is not None or STATE.memory is not None:
        memory = place(device)
        if STATE.recorder is None:
            x = on(x, memory)
    if requires_grad:
        if x.dtype.category != FLOAT:
            raise DtypeError("Only Tensors of floating point dtype can require gradients", f"not {x.dtype!r}")
        x._edge = LEAF
    return x


def _is_nested(x: Any) -> bool:
    if isinstance(x, np.ndarray):
        return x.ndim > 0
    return isinstance(x, Sequence) and not isinstance(x, str | bytes)


def _flatten(data: Any) -> tuple[list[Any], tuple[int, ...]]:
    """The leaves of nested sequences, row by row, and their shape; raises for ragged ones."""
    level: Any = data
    shape = [len(level)]
    while len(level) and _is_nested(level[0]):
        size = len(level[0])
        for row in level:
            if not _is_nested(row):
                raise ArgumentTypeError("not a sequence", f"length {size} at dim {len(shape)}, got {row!r}")
            if len(row) != size:
                raise ArgumentError(f"expected sequence of length {size} at dim {len(shape)} (got {len(row)})")
        shape.append(size)
        level = list(chain.from_iterable(level))
    return list(level), tuple(shape)


def _leaf_dtype(kind: type, leaf: Any) -> DType:
    """The dtype one element stands for."""
    if issubclass(kind, np.generic | np.ndarray):
        return dtype_of(leaf.dtype)
    if isinstance(leaf, TensorBase):
        if leaf.shape != () and any(s != 1 for s in leaf.shape):
            raise ArgumentTypeError("only integer tensors of a single element can be converted to an index")
        return leaf.dtype
    if is_number(leaf):
        return scalar_dtype(leaf)
    if isinstance(leaf, str):
        raise ArgumentError("too many dimensions 'str'", "numbers")
    if _is_nested(leaf):
        raise ArgumentTypeError(f"{kind.__name__!r} object cannot be interpreted as an integer", "numbers at one depth")
    raise DtypeError(f"Could not infer dtype of {kind.__name__}", "numbers, arrays, tensors or sequences")


def _check_range(array: Any, dtype: DType) -> None:
    """Raises DtypeError if numbers do not fit an integer dtype (a negative one wraps in uint8, as in PyTorch)."""
    info = np.iinfo(dtype.np)
    low = info.min or -info.max
    with np.errstate(invalid="ignore"):
        fits = np.all((array >= low) & (array <= info.max))
    if not fits:
        raise DtypeError(f"value cannot be converted to type {dtype.name} without overflow", f"{low} to {info.max}")


def _converted(leaves: Any, dtype: DType) -> Any:
    """Python numbers as a NumPy array of `dtype`."""
    try:
        array = np.asarray(leaves)
        if array.dtype == object:
            array = np.asarray(leaves, np.float64 if dtype.category == FLOAT else np.int64)
    except OverflowError:
        raise ArgumentError("Overflow when unpacking long long", f"{-(2**63)} to {2**63 - 1}") from None
    if dtype.category == INT and array.dtype.kind in "iuf" and array.size:
        if array.dtype.kind == "u" and dtype is int64:
            raise ArgumentError("Overflow when unpacking long long", f"{-(2**63)} to {2**63 - 1}")
        _check_range(array, dtype)
    with np.errstate(all="ignore"):
        return array.astype(dtype.np)


def _from_leaves(leaves: list[Any], shape: tuple[int, ...], dtype: DType | None) -> Any:
    kinds = {type(x): x for x in leaves}
    found: DType | None = None
    for kind, leaf in kinds.items():
        here = _leaf_dtype(kind, leaf)
        found = here if found is None else promote_dtypes(found, here)
    tensors = any(issubclass(kind, TensorBase) for kind in kinds)
    if tensors:
        for leaf in leaves:
            found = promote_dtypes(found or bool_, _leaf_dtype(type(leaf), leaf))
    dtype = dtype or found or defaults.float_dtype
    if STATE.recorder is not None and (tensors or any(issubclass(kind, Dim) for kind in kinds)):
        return _joined(leaves, shape, dtype)
    values = [_number(x, "data") if isinstance(x, TensorBase) else x for x in leaves] if tensors else leaves
    return from_array(_converted(values, dtype).reshape(shape))


def _joined(leaves: list[Any], shape: tuple[int, ...], dtype: DType) -> Any:
    """The same for elements known only at run time."""
    with set_grad(False):
        parts = [cast_to(x, dtype) if isinstance(x, TensorBase) else scalar_operand(x, dtype) for x in leaves]
        return reshape(concat(*(reshape(part, shape=(1,)) for part in parts), axis=0), shape=shape)


def tensor(
    data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False
) -> Any:
    """A new tensor that holds a copy of `data`: a number, nested sequences, a NumPy array or a tensor.

    The dtype is int64, bool or the default float dtype by the numbers' kind; arrays keep theirs. Raises ArgumentError
    for ragged sequences, DtypeError for what has no dtype.
    """
    want = None if dtype is None else as_dtype(dtype)
    return finished(_built(data, want), requires_grad, device)


def _built(data: Any, want: DType | None) -> Any:
    if isinstance(data, TensorBase):
        with set_grad(False):
            return copy(data) if want is None or want is data.dtype else cast_to(data, want)
    if isinstance(data, np.ndarray | np.generic):
        return from_array(np.array(data, (want or dtype_of(data.dtype)).np, order="C"))
    if isinstance(data, Dim):
        return scalar_operand(data, want or int64)
    if is_number(data):
        return from_array(_converted(data, want or scalar_dtype(data)))
    if isinstance(data, str):
        raise ArgumentTypeError("new(): invalid data type 'str'")
    if isinstance(data, complex):
        raise ArgumentTypeError("complex numbers are not supported", "real numbers")
    if hasattr(data, "__array__"):
        return _built(np.asarray(data), want)
    if not _is_nested(data):
        raise DtypeError(f"Could not infer dtype of {type(data).__name__}", "numbers, arrays, tensors or sequences")
    if len(data) and all(isinstance(x, np.ndarray) for x in data) and len({x.shape for x in data}) == 1:
        return _built(np.stack(data), want)
    leaves, shape = _flatten(data)
    return _from_leaves(leaves, shape, want)


def from_numpy(ndarray: Any) -> Any:
    """A tensor around the memory of a NumPy array; ArgumentTypeError for anything else and for dtypes graphc lacks."""
    if not isinstance(ndarray, np.ndarray):
        raise ArgumentTypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    if ndarray.dtype not in DTYPE_OF:
        known = dtype_of(ndarray.dtype)
        raise ArgumentError(f"given numpy array of {known.name} has byte order different from the native byte order")
    if not ndarray.flags.writeable:
        warnings.warn(
            "The given NumPy array is not writable: writing to this tensor will fail. Copy the array to write to it.",
            UserWarning,
            stacklevel=2,
        )
    return from_array(ndarray.view(np.ndarray))


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Any:
    """`data` as a tensor, without a copy where it is a tensor or NumPy array of that dtype already."""
    want = None if dtype is None else as_dtype(dtype)
    if isinstance(data, TensorBase):
        out = data if want is None else cast_to(data, want)
        return out if device is None else finished(out, False, device)
    if isinstance(data, np.ndarray) and data.dtype in DTYPE_OF:
        return finished(from_array(data if want is None else np.asarray(data, want.np)), False, device)
    return finished(_built(data, want), False, device)


def asarray(obj: Any, *, dtype: Any = None, device: Any = None, copy: Any = None, requires_grad: bool = False) -> Any:
    """`obj` as a tensor: `copy=True` always copies, `copy=False` raises ArgumentError where a copy is needed."""
    if copy:
        return tensor(obj, dtype=dtype, requires_grad=requires_grad, device=device)
    out = as_tensor(obj, dtype, device)
    if copy is False and out is not obj and not (isinstance(obj, np.ndarray) and shares_memory(out._data, obj, False)):
        raise ArgumentError("can't alias arbitrary sequence into a tensor", "copy=None or copy=True")
    if out is obj and requires_grad != (out._edge is not None):
        out = out.detach()
    return finished(out, requires_grad, out.device)


def scalar_tensor(s: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
    """A 0-d tensor of one number, in the default float dtype unless told otherwise."""
    return full((), s, dtype=dtype or defaults.float_dtype, requires_grad=requires_grad, device=device)


# --- one number everywhere -------------------------------------------------------------------------------------------


def full(
    size: Any,
    fill_value: Any,
    *,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Any:
    """`fill_value` everywhere, in its own kind's dtype unless told otherwise."""
    if not isinstance(size, Sequence) or isinstance(size, str):
        raise ArgumentTypeError(f"full(): argument 'size' must be tuple of ints, not {type(size).__name__}")
    if isinstance(fill_value, TensorBase | Dim):
        return finished(_filled_with(as_sizes(size), fill_value, dtype), requires_grad, device)
    if not is_number(fill_value):
        raise ArgumentTypeError(f"full(): argument 'fill_value' must be Number, not {type(fill_value).__name__}")
    chosen = scalar_dtype(fill_value) if dtype is None else as_dtype(dtype)
    return finished(filled(as_sizes((size,)), fill_value, chosen), requires_grad, device)


def filled(shape: tuple[Size, ...], value: Any, dtype: DType) -> Any:
    """A number everywhere, as one primitive."""
    if dtype.category == INT and value not in (0, 1):
        _check_range(np.asarray(value), dtype)
    return full_op(shape=shape, value=plain(value, dtype), dtype=dtype)


def _filled_with(shape: tuple[Size, ...], value: Any, dtype: Any) -> Any:
    """A number only known at run time, everywhere."""
    if isinstance(value, Dim):
        value = scalar_operand(value, int64 if dtype is None else as_dtype(dtype))
    elif value.shape != ():
        raise ShapeError("fill_value must be a number", f"a 0-d tensor, got {len(value.shape)} dimensions")
    with set_grad(False):
        return copy(expand(cast_to(value, value.dtype if dtype is None else as_dtype(dtype)), shape=shape))


def _sizes(args: tuple[Any, ...], size: Any, name: str) -> tuple[Size, ...]:
    if size is not None:
        args = (size,)
    elif not args:
        raise ArgumentTypeError(f'{name}() missing 1 required positional arguments: "size"')
    elif len(args) > 1 and any(isinstance(a, Sequence) for a in args):
        raise ArgumentTypeError(f"{name}() takes 1 positional argument but {len(args)} were given")
    return as_sizes(args)


def zeros(
    *args: Any,
    size: Any = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Any:
    """Zeros of the given sizes: `zeros(2, 3)` or `zeros((2, 3))`, in the default float dtype unless told otherwise."""
    chosen = defaults.float_dtype if dtype is None else as_dtype(dtype)
    return finished(filled(_sizes(args, size, "zeros"), 0, chosen), requires_grad, device)


def ones(
    *args: Any,
    size: Any = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Any:
    """Ones of the given sizes, in the default float dtype unless told otherwise."""
    chosen = defaults.float_dtype if dtype is None else as_dtype(dtype)
    return finished(filled(_sizes(args, size, "ones"), 1, chosen), requires_grad, device)


def empty(
    *args: Any,
    size: Any = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
    memory_format: Any = None,
) -> Any:
    """A tensor whose content does not matter (it is zero, so that runs repeat)."""
    chosen = defaults.float_dtype if dtype is None else as_dtype(dtype)
    return finished(filled(_sizes(args, size, "empty"), 0, chosen), requires_grad, device)


def _like(name: str, input: Any, value: Any, dtype: Any, requires_grad: bool, device: Any) -> Any:
    if not isinstance(input, TensorBase):
        raise ArgumentTypeError(f"{name}(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}")
    chosen = input.dtype if dtype is None else as_dtype(dtype)
    where = device_of(input._data) if device is None else device
    return full(tuple(input.shape), value, dtype=chosen, requires_grad=requires_grad, device=where)


def zeros_like(
    input: Any,
    *,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    memory_format: Any = None,
) -> Any:
    """Zeros of the input's shape and dtype."""
    return _like("zeros_like", input, 0, dtype, requires_grad, device)


def ones_like(
    input: Any,
    *,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    memory_format: Any = None,
) -> Any:
    """Ones of the input's shape and dtype."""
    return _like("ones_like", input, 1, dtype, requires_grad, device)


def empty_like(
    input: Any,
    *,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    memory_format: Any = None,
) -> Any:
    """A tensor of the input's shape and dtype whose content does not matter."""
    return _like("empty_like", input, 0, dtype, requires_grad, device)


def full_like(
    input: Any,
    fill_value: Any,
    *,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    memory_format: Any = None,
) -> Any:
    """`fill_value` everywhere, in the input's shape and dtype."""
    return _like("full_like", input, fill_value, dtype, requires_grad, device)


# --- counting --------------------------------------------------------------------------------------------------------


def _number(x: Any, what: str) -> Any:
    """A Python number or Dim from an argument that may be a 0-d tensor."""
    if isinstance(x, TensorBase):
        return x.item()  # type: ignore[attr-defined]
    if not is_number(x):
        raise ArgumentTypeError(f"argument {what!r} must be Number, not {type(x).__name__}")
    x = x.item() if isinstance(x, np.generic) else x
    return int(x) if isinstance(x, bool) else x


def _count(start: Any, end: Any, step: Any) -> Any:
    """How many numbers there are from start to end (excluded)."""
    if step == 0:
        raise ShapeError("step must be nonzero")
    if not any(isinstance(x, Dim) for x in (start, end)):
        if not (math.isfinite(start) and math.isfinite(end)):
            raise ShapeError(f"unsupported range: {start} -> {end}", "finite numbers")
        if (end - start) * (1 if step > 0 else -1) < 0:
            raise ShapeError("upper bound and lower bound inconsistent with step sign")
        if isinstance(start, int) and isinstance(end, int) and isinstance(step, int):
            return -((start - end) // step)
        return math.ceil((end - start) / step)
    sign = 1 if step > 0 else -1
    return (end - start + step - sign) // step


def arange(
    start: Any = 0,
    end: Any = None,
    step: Any = 1,
    *,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Any:
    """start, start + step, ... below end: int64 for whole numbers, else the default float dtype.

    `end` may be an unknown size. Raises ShapeError if the step's sign does not lead from start to end.
    """
    if end is None:
        start, end = 0, start
    start, end, step = _number(start, "start"), _number(end, "end"), _number(step, "step")
    whole = not any(isinstance(x, float) for x in (start, end, step))
    chosen = as_dtype(dtype) if dtype is not None else int64 if whole else defaults.float_dtype
    if chosen is bool_:
        raise DtypeError("arange is not implemented for 'Bool'", "a number dtype")
    if not whole and chosen.category == INT:
        start, end, step = (x if isinstance(x, Dim) else int(x) for x in (start, end, step))
    size = _count(start, end, step)
    with making_in(STATE.memory if whole else None):  # not every device has float64, in which others are counted
        out = iota(size=size, start=start, step=step, dtype=chosen)
    return finished(out, requires_grad, device)


def _spaced(start: Any, end: Any, steps: Any) -> Any:
    """f64[steps] from start to end, each half counted from its own end so that both ends are exact."""
    count = as_size(steps, "steps")
    if isinstance(count, int) and count < 0:
        raise ShapeError("number of steps must be non-negative")
    first, last = (scalar_operand(x, float64) if is_number(x) else cast_to(x, float64) for x in (start, end))
    i = iota(size=count, start=0.0, step=1.0, dtype=float64)
    if count == 1 or count == 0:
        return i * 0.0 + first
    gaps = scalar_operand(size_max(count - 1, 1), float64)
    step = (last - first) / gaps
    half = scalar_operand(count // 2, float64)
    return where(less(i, half), i * step + first, last - (gaps - i) * step)


def _counting(*ends: Any) -> AbstractContextManager[None]:
    """Within, float64 is computed where the ends are; between numbers on the host, for not every device has it."""
    return making_in(next((memory_of(x._data) for x in ends if isinstance(x, TensorBase)), None))


def linspace(
    start: Any,
    end: Any,
    steps: Any,
    *,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Any:
    """`steps` numbers at equal distances from start to end, both included."""
    chosen = defaults.float_dtype if dtype is None else as_dtype(dtype)
    with set_grad(False), _counting(start, end):
        out = cast_to(_spaced(start, end, steps), chosen)
    return finished(out, requires_grad, device)


def logspace(
    start: Any,
    end: Any,
    steps: Any,
    base: float = 10.0,
    *,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Any:
    """`steps` numbers at equal ratios from base**start to base**end, both included."""
    chosen = defaults.float_dtype if dtype is None else as_dtype(dtype)
    with set_grad(False), _counting(start, end):
        out = cast_to(base ** _spaced(start, end, steps), chosen)
    return finished(out, requires_grad, device)


def index_grid(rows: Size, columns: Size) -> tuple[Any, Any]:
    """Row numbers i64[rows, 1] and column numbers i64[1, columns]."""
    row = iota(size=rows, start=0, step=1, dtype=int64)
    column = iota(size=columns, start=0, step=1, dtype=int64)
    return reshape(row, shape=(rows, 1)), reshape(column, shape=(1, columns))


def eye(
    n: Any,
    m: Any = None,
    *,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Any:
    """[n, m] with ones on the diagonal; m defaults to n."""
    rows = as_size(n, "n")
    columns = rows if m is None else as_size(m, "m")
    for name, count in (("n", rows), ("m", columns)):
        if isinstance(count, int) and count < 0:
            raise ShapeError(f"{name} must be greater or equal to 0, got {count}")
    chosen = defaults.float_dtype if dtype is None else as_dtype(dtype)
    return finished(cast_to(equal(*index_grid(rows, columns)), chosen), requires_grad, device)


def _triangle(row: int, col: int, keep: Any, dtype: Any) -> Any:
    if row < 0 or col < 0:
        raise ShapeError(f"row and col must be non-negative, got row={row}, col={col}")
    mask = keep(np.ones((row, col), bool))
    return from_array(np.stack(np.nonzero(mask)).astype(as_dtype(dtype or int64).np))


def tril_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None) -> Any:
    """i64[2, n]: rows and columns of the elements on and below diagonal `offset` of a [row, col] matrix."""
    return _triangle(row, col, lambda ones: np.tril(ones, offset), dtype)


def triu_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None) -> Any:
    """i64[2, n]: rows and columns of the elements on and above diagonal `offset` of a [row, col] matrix."""
    return _triangle(row, col, lambda ones: np.triu(ones, offset), dtype)


METHODS: tuple[str, ...] = ()
INPLACE: tuple[str, ...] = ()
__all__ = [
    "tensor", "as_tensor", "asarray", "from_numpy", "scalar_tensor", "zeros", "ones", "full", "empty", "zeros_like",
    "ones_like", "full_like", "empty_like", "arange", "linspace", "logspace", "eye", "tril_indices", "triu_indices",
]  # fmt: skip
