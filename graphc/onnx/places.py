"""Elements at any places: what the rules `View.index`, `Scatter.place` and `element` of ops say, as look-ups in flat arrays.

A `Place` is one coordinate of an element: an int64 tree over counters, sizes and what was looked up, which are ONNX values
that broadcast against each other. Reading an element at places is one Gather, putting elements there one ScatterElements.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.core import scalar as s
from graphc.core.dims import Dim, Size
from graphc.core.scalar import Scalar
from graphc.core.tensor_types import BOOL, DType, TensorType, int32, int64
from graphc.ir.program import Node
from graphc.onnx.formulas import cast, computed_in, write
from graphc.onnx.writer import Writer

#: a coordinate that is out of range whatever it is multiplied by
_NOWHERE = -(2**40)


class Place:
    """A coordinate; sums, products, quotients and remainders with numbers, sizes and other coordinates."""

    def __init__(self, at: Elements, tree: Scalar):
        self.at, self._tree = at, tree

    def tree(self) -> Scalar:
        """The coordinate as an int64 tree."""
        return self._tree

    def _with(self, op: Any, other: Any) -> Place:
        return Place(self.at, op(self._tree, self.at.tree(other)))

    def __add__(self, other: Any) -> Place:
        return self if isinstance(other, int) and other == 0 else self._with(lambda a, b: a + b, other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Place:
        return self if isinstance(other, int) and other == 0 else self._with(lambda a, b: a - b, other)

    def __mul__(self, other: Any) -> Place:
        return self if isinstance(other, int) and other == 1 else self._with(lambda a, b: a * b, other)

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> Place:
        return self if isinstance(other, int) and other == 1 else self._with(s.quot, other)

    def __mod__(self, other: Any) -> Place:
        return self._with(s.rem, other)


class Elements:
    """What the rules of a node read its operands with (`at`), all elements of a shape at once.

    Trees made here have ONNX values as leaves: `values[i]` is leaf i.
    """

    def __init__(self, writer: Writer, node: Node, operands: Sequence[Any]):
        self.writer, self.node, self.operands = writer, node, operands
        self.values: list[Any] = []
        self._leaves: dict[Any, Scalar] = {}
        self._flat: dict[int, Any] = {}
        self._written: dict[Scalar, Any] = {}

    def counters(self, shape: Sequence[Size]) -> tuple[Place, ...]:
        """The coordinates of every element of a shape, one tensor an axis."""
        found = []
        for axis, size in enumerate(shape):
            row = (-1, *(1 for _ in shape[axis + 1 :]))
            if isinstance(size, int):
                value = self.writer.constant(np.arange(size, dtype=np.int64).reshape(row))
            else:
                ends = self.writer.constant(0, np.int64), self.writer.size(size), self.writer.constant(1, np.int64)
                value = self.writer.op("Reshape", self.writer.op("Range", *ends), self.writer.shape(row))
            found.append(Place(self, self._leaf(value, int64)))
        return tuple(found)

    def _leaf(self, value: Any, dtype: DType) -> Scalar:
        self.values.append(value)
        return s.leaf(len(self.values) - 1, dtype)

    # --- what rules ask for ---------------------------------------------------------------------------------------

    def tree(self, place: Any) -> Scalar:
        """A coordinate or size as an int64 tree."""
        if isinstance(place, Place):
            return place.tree()
        if isinstance(place, Dim):
            if place not in self._leaves:
                self._leaves[place] = self._leaf(self.writer.size(place), int64)
            return self._leaves[place]
        return place if isinstance(place, Scalar) else s.const(int(place), int64)

    def computed(self, tree: Scalar) -> Place:
        """An int64 tree as a coordinate."""
        return Place(self, tree)

    def looked_up(self, operand: int, where: Sequence[Any], size: Size) -> Place:
        """The element of an integer operand as a coordinate, negative ones counted from the end.

        One that does not exist leads far out of the flattened operand, wherever the other axes are: runtimes refuse it.
        """
        tree, end = s.cast(self(operand, where), int64), self.tree(size)
        place = s.select(tree < 0, tree + end, tree)
        return Place(self, s.select((place >= 0) & (place < end), place, _NOWHERE))

    def __call__(self, operand: int, where: Sequence[Any], guard: Scalar | None = None) -> Scalar:
        """The element of an operand at a place; where `guard` does not hold, any."""
        type = self.node.inputs[operand].type
        if type.size == 0:
            return s.const(type.dtype.np.type(0).item(), type.dtype)
        if not type.shape:
            return self._leaf(self.operands[operand], type.dtype)
        position = self.position(type.shape, where)
        if guard is not None:
            position = s.select(guard, position, 0)
        if operand not in self._flat:
            self._flat[operand] = self.writer.flat(self.operands[operand])
        return self._leaf(self.writer.op("Gather", self._flat[operand], self.written(position), axis=0), type.dtype)

    def position(self, shape: Sequence[Size], where: Sequence[Any]) -> Scalar:
        """The place of an element in the flattened array."""
        flat = self.tree(where[0])
        for size, place in zip(shape[1:], where[1:], strict=True):
            flat = flat * self.tree(size) + self.tree(place)
        return flat

    def written(self, tree: Scalar) -> Any:
        """The value of a tree."""
        if tree not in self._written:
            self._written[tree] = write(self.writer, tree, self.values)
        return self._written[tree]

    # --- whole results --------------------------------------------------------------------------------------------

    def all(self, tree: Scalar, shape: Sequence[Size]) -> Any:
        """The value of a tree for all elements of a shape."""
        return self.writer.expand(self.written(tree), TensorType(tuple(shape), tree.dtype))

    def put(self, base: Any, value: Any, type: TensorType, own: TensorType, where: Sequence[Any], adds: bool) -> Any:
        """`base` with the elements of `value` put, or added, at their places."""
        if type.size == 0 or own.size == 0:
            return self.writer.op("Identity", base)
        flat = self.written(self.position(type.shape, where)) if where else self.writer.constant(0, np.int64)
        index = self.writer.flat(self.writer.expand(flat, own.with_dtype(int64)))
        base, value = self.writer.flat(base), self.writer.flat(value)
        return self.writer.reshape(put_along(self.writer, base, index, value, type.dtype, 0, adds), type.shape)


def put_along(writer: Writer, base: Any, index: Any, value: Any, dtype: DType, axis: int, adds: bool) -> Any:
    """`base` with `value` put, or added, at `index` along an axis; sums of small types are made in wide ones."""
    if not adds:
        return writer.op("ScatterElements", base, index, value, axis=axis)
    wide = int32 if dtype.category == BOOL else computed_in(dtype)
    base, value = (cast(writer, x, dtype, wide) for x in (base, value))
    found = writer.op("ScatterElements", base, index, value, axis=axis, reduction="add")
    return cast(writer, found, wide, dtype)


__all__ = ["Elements", "Place", "put_along"]
