"""Dimension arguments, read once: negative ones wrapped, ranges checked, tuples sorted; primitives get plain axes."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from graphc.core.errors import ArgumentTypeError, DimensionError, ShapeError
from graphc.core.tape import TensorBase
from graphc.primitives.views import reshape

F = TypeVar("F", bound=Callable[..., Any])
_NUMPY_NAMES = {"axis": "dim", "keepdims": "keepdim"}


def numpy_names(fn: F) -> F:
    """Lets `fn` also take NumPy's `axis=` and `keepdims=` for `dim=` and `keepdim=`, as PyTorch's functions do."""

    @functools.wraps(fn)
    def renamed(*args: Any, **kwargs: Any) -> Any:
        if kwargs:
            kwargs = {_NUMPY_NAMES.get(name, name): value for name, value in kwargs.items()}
        return fn(*args, **kwargs)

    renamed.__dict__["other_names"] = _NUMPY_NAMES  # `graphc port` reads it
    return cast(F, renamed)


def tensor_argument(x: Any, fn: str, name: str = "input") -> Any:
    """x if it is a tensor; ArgumentTypeError otherwise, also for numbers."""
    if isinstance(x, TensorBase):
        return x
    raise ArgumentTypeError(f"{fn}(): argument {name!r} must be Tensor, not {type(x).__name__}")


def as_int(x: Any, what: str = "dim") -> int:
    """x as a Python int (NumPy integers are taken, bools and floats are not); ArgumentTypeError otherwise."""
    if type(x) is int:
        return x
    if not isinstance(x, bool):
        try:
            return operator.index(x)
        except TypeError:
            pass
    raise ArgumentTypeError(f"argument {what!r} must be int, not {type(x).__name__}")


def normalize_dim(dim: Any, ndim: int) -> int:
    """`dim` counted from 0; a 0-d tensor counts as having one dimension. DimensionError if it is out of range."""
    at = as_int(dim)
    count = ndim or 1
    if not -count <= at < count:
        raise DimensionError(
            f"Dimension out of range (expected to be in range of [{-count}, {count - 1}], but got {at})"
        )
    return at + count if at < 0 else at


def normalize_dims(dim: Any, ndim: int) -> tuple[int, ...]:
    """The axes an int, a sequence of ints or None (all) names, sorted; none for a 0-d tensor.

    An empty sequence names all, as in PyTorch's reductions. A dimension named twice is refused with ShapeError.
    """
    if dim is None:
        return tuple(range(ndim))
    if type(dim) is int:
        axis = normalize_dim(dim, ndim)
        return (axis,) if ndim else ()
    given = dim if isinstance(dim, Sequence) and not isinstance(dim, str) else (dim,)
    if not len(given):
        return tuple(range(ndim))
    axes: list[int] = []
    for d in given:
        axis = normalize_dim(d, ndim)
        if axis in axes:
            raise ShapeError(f"dim {axis} appears multiple times in the list of dims")
        axes.append(axis)
    return tuple(sorted(axes)) if ndim else ()


def kept_shape(shape: Sequence[Any], axes: Sequence[int]) -> tuple[Any, ...]:
    """`shape` with the sizes of `axes` replaced by 1: what `keepdim=True` gives."""
    return tuple(1 if i in axes else s for i, s in enumerate(shape))


def dropped_shape(shape: Sequence[Any], axes: Sequence[int]) -> tuple[Any, ...]:
    """`shape` without `axes`: what a reduction gives."""
    return tuple(s for i, s in enumerate(shape) if i not in axes)


def with_kept(out: Any, shape: Sequence[Any], axes: Sequence[int], keepdim: bool) -> Any:
    """`out`, a reduction of a tensor of `shape`, with its axes back as ones if `keepdim`."""
    return reshape(out, shape=kept_shape(shape, axes)) if keepdim and axes else out


def at_least_1d(x: Any) -> Any:
    """x, a 0-d tensor as one of one element: what functions along a dimension see."""
    return x if len(x.shape) else reshape(x, shape=(1,))


def like_input(out: Any, x: Any) -> Any:
    """`out`, computed along a dimension of `at_least_1d(x)`, in x's number of dimensions."""
    return out if len(x.shape) else reshape(out, shape=())
