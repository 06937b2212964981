"""Where an element of an operand lies, as a function of the loops of a kernel.

An `Index` is an affine combination of loop counters, plus terms computed from data (an index read from a tensor). View ops
map tuples of them (`View.index`), so that any chain of views costs nothing at run time. A quotient or remainder of a counter
is made affine by splitting its loop in two: `Split` says which loop and where.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.core import scalar as s
from graphc.core.scalar import Scalar
from graphc.core.tensor_types import int64


class Split(Exception):  # noqa: N818  control flow: the space is refined and the work tried again
    """Loop `axis` must be split into an outer one and an inner one of `inner` steps."""

    def __init__(self, axis: int, inner: int):
        super().__init__(axis, inner)
        self.axis, self.inner = axis, inner


class Space:
    """The loops of a kernel: `extents[i]` steps of loop i; `order` lists loops from outermost to innermost."""

    def __init__(self, shape: Sequence[int]):
        self.extents = list(shape)
        self.order = list(range(len(shape)))

    def counter(self, axis: int) -> Index:
        """The counter of one loop."""
        return Index(self, {axis: 1} if self.extents[axis] != 1 else {}, 0)

    def split(self, axis: int, inner: int) -> int:
        """Splits a loop; the outer one keeps its number, the inner one's is returned."""
        self.extents[axis] //= inner
        self.extents.append(inner)
        new = len(self.extents) - 1
        self.order.insert(self.order.index(axis) + 1, new)
        return new

    def flat(self, axes: Sequence[int]) -> Index:
        """The row-major position within the loops `axes`."""
        coefs, step = {}, 1
        for axis in reversed(axes):
            if self.extents[axis] != 1:
                coefs[axis] = step
            step *= self.extents[axis]
        return Index(self, coefs, 0)

    def over(self, shape: Sequence[int], axes: Sequence[int]) -> tuple[Index, ...]:
        """The index into a tensor of `shape` laid row-major over the loops `axes`; raises Split where loops must be finer."""
        if [self.extents[a] for a in axes] == list(shape):
            return tuple([self.counter(a) for a in axes])
        left, found = self.flat(axes), []
        for n, size in enumerate(reversed(shape)):
            last = n == len(shape) - 1
            found.append(left if last else left % size)
            left = left if last else left // size
        return tuple(reversed(found))


class Index:
    """`sum(coefs[a] * counter a) + offset + sum(coef * tree)`. Compared by value."""

    __slots__ = ("_key", "coefs", "computed", "offset", "space")

    def __init__(self, space: Space, coefs: dict[int, int], offset: int, computed: tuple[tuple[Scalar, int], ...] = ()):
        self.space, self.coefs, self.offset, self.computed = space, coefs, offset, computed
        self._key: tuple[Any, ...] | None = None

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal indices have equal keys."""
        if self._key is None:
            self._key = (tuple(sorted(self.coefs.items())), self.offset, self.computed)
        return self._key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Index) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        terms = [f"{c}*i{a}" if c != 1 else f"i{a}" for a, c in sorted(self.coefs.items())]
        terms += [f"{c}*{t!r}" for t, c in self.computed]
        return " + ".join([*terms, str(self.offset)] if self.offset or not terms else terms)

    def __add__(self, other: Index | int) -> Index:
        if isinstance(other, int):
            return Index(self.space, self.coefs, self.offset + other, self.computed)
        coefs = dict(self.coefs)
        for axis, c in other.coefs.items():
            total = coefs.get(axis, 0) + c
            if total:
                coefs[axis] = total
            else:
                coefs.pop(axis, None)
        return Index(self.space, coefs, self.offset + other.offset, self.computed + other.computed)

    __radd__ = __add__

    def __sub__(self, other: Index | int) -> Index:
        return self + other * -1

    def __mul__(self, k: int) -> Index:
        if k == 0:
            return Index(self.space, {}, 0)
        return Index(
            self.space,
            {a: c * k for a, c in self.coefs.items()},
            self.offset * k,
            tuple((t, c * k) for t, c in self.computed),
        )

    __rmul__ = __mul__

    def __floordiv__(self, k: int) -> Index:
        return self._divided(k)[0]

    def __mod__(self, k: int) -> Index:
        return self._divided(k)[1]

    def _divided(self, k: int) -> tuple[Index, Index]:
        """Quotient and remainder by a positive number; the index itself is never negative."""
        if k <= 1:  # 0: nothing is there to be found
            return (self if k else Index(self.space, {}, 0)), Index(self.space, {}, 0)
        rest = {a: c for a, c in self.coefs.items() if c % k}
        low = sum(c * (self.space.extents[a] - 1) for a, c in rest.items() if c < 0)
        high = sum(c * (self.space.extents[a] - 1) for a, c in rest.items() if c > 0)
        part = self.offset % k
        if all(c % k == 0 for _, c in self.computed) and part + low >= 0 and part + high < k:
            whole = {a: c // k for a, c in self.coefs.items() if c % k == 0}
            terms = tuple((t, c // k) for t, c in self.computed)
            return Index(self.space, whole, self.offset // k, terms), Index(self.space, rest, part)
        if not self.computed:
            for axis, c in rest.items():
                inner = k // c if c > 0 and k % c == 0 else 0
                if inner and inner < self.space.extents[axis] and self.space.extents[axis] % inner == 0:
                    raise Split(axis, inner)
        tree = self.tree()
        quotient = s.quot(tree, s.const(k, int64))
        return self._of_tree(quotient), self._of_tree(tree - quotient * k)

    def _of_tree(self, tree: Scalar) -> Index:
        return Index(self.space, {}, 0, ((tree, 1),))

    def tree(self) -> Scalar:
        """The index as a scalar tree of int64."""
        total: Scalar | None = None
        terms = [(s.index(axis), c) for axis, c in sorted(self.coefs.items())] + list(self.computed)
        for x, c in terms:
            term = x if c == 1 else x * c
            total = term if total is None else total + term
        if total is None:
            return s.const(self.offset, int64)
        return total + self.offset if self.offset else total

    def refined(self, axis: int, inner: int, new: int) -> Index:
        """The same index after loop `axis` was split."""
        coefs = dict(self.coefs)
        c = coefs.pop(axis, 0)
        if c:
            if self.space.extents[axis] != 1:
                coefs[axis] = c * inner
            coefs[new] = c
        computed = tuple((refined_tree(t, axis, inner, new), k) for t, k in self.computed)
        return Index(self.space, coefs, self.offset, computed)


def computed(space: Space, tree: Scalar) -> Index:
    """An index read or computed at run time (int64)."""
    return Index(space, {}, 0, ((tree, 1),))


def refined_tree(tree: Scalar, axis: int, inner: int, new: int) -> Scalar:
    """A tree after loop `axis` was split."""

    def rule(x: Scalar) -> Scalar:
        return s.index(axis) * inner + s.index(new) if x.op == "index" and x.value == axis else x

    return s.rebuild(tree, rule) if any(x.op == "index" for x in s.postorder(tree)) else tree
