"""Size arguments, read once: loose numbers, a sequence or a shape; ints stay ints, unknown sizes stay `Dim`."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from graphc.core.dims import Dim, Shape, Size, product
from graphc.core.errors import ArgumentTypeError, ShapeError
from graphc.primitives.views import show


def as_size(x: Any, name: str = "size") -> Size:
    """x as an int or Dim; ArgumentTypeError for anything that is not a whole number."""
    if type(x) is int or isinstance(x, Dim):
        return x
    if not isinstance(x, bool):
        try:
            return operator.index(x)
        except TypeError:
            pass
    raise ArgumentTypeError(f"argument {name!r} must be tuple of ints, not {type(x).__name__}")


def as_sizes(sizes: Sequence[Any], name: str = "size") -> Shape:
    """The sizes in `f(2, 3)`, `f((2, 3))` or `f(x.shape)`, as given to `f(*sizes)`."""
    if len(sizes) == 1 and isinstance(sizes[0], Sequence) and not isinstance(sizes[0], str):
        sizes = sizes[0]
    return tuple([as_size(s, name) for s in sizes])


def inferred(shape: Shape, total: Size) -> Shape:
    """`shape` with its one -1 replaced so that it has `total` elements; ShapeError where there is no such number."""
    for i, size in enumerate(shape):
        if isinstance(size, int) and size < -1:
            raise ShapeError(f"invalid shape dimension {size} at index {i} of shape {show(shape)}")
    unknown = [i for i, size in enumerate(shape) if size == -1]
    if not unknown:
        return shape
    if len(unknown) > 1:
        raise ShapeError("only one dimension can be inferred", f"at most one -1 in {show(shape)}")
    (at,) = unknown
    known = product(shape[:at] + shape[at + 1 :])
    if known == 0:
        raise ShapeError(
            f"cannot reshape tensor of {total} elements into shape {show(shape)} because the unspecified dimension "
            "size -1 can be any value and is ambiguous"
        )
    if isinstance(total, int) and isinstance(known, int) and total % known:
        raise ShapeError(f"shape '{show(shape)}' is invalid for input of size {total}", f"a divisor of {total}")
    return (*shape[:at], total // known, *shape[at + 1 :])
