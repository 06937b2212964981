"""Symbolic sizes: integer polynomials over named unknowns, with opaque floor-division, minimum and maximum.

A size is an `int` where it is known and a `Dim` where it is not. Arithmetic collapses to `int` as soon as the unknowns
cancel. Two Dims are equal when they are the same polynomial; anything that would need the number itself raises.

Example: `n = Dim.named("n")`; `(2 * n) // 2 == n`, `(n + 1) - n == 1`, `(n + 1) // 2` stays opaque.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

from graphc.core.errors import ShapeError, SymbolicError, user_line

# A factor is a name, or an opaque operation on two sizes; a monomial is a sorted tuple of factors.
Factor: TypeAlias = str | tuple[str, "Size", "Size"]
Monomial: TypeAlias = tuple[Factor, ...]


class Dim:
    """An unknown size. Build one with `Dim.named`; arithmetic builds the others."""

    __slots__ = ("_hash", "terms")

    def __init__(self, terms: Mapping[Monomial, int]):
        self.terms = tuple(sorted(terms.items(), key=lambda item: (-len(item[0]), repr(item[0]))))
        self._hash = hash(self.terms)

    @staticmethod
    def named(name: str) -> Dim:
        """The unknown called `name`."""
        return Dim({(name,): 1})

    @staticmethod
    def _of(terms: Mapping[Monomial, int]) -> Size:
        kept = {monomial: c for monomial, c in terms.items() if c}
        if not kept:
            return 0
        if len(kept) == 1 and () in kept:
            return kept[()]
        return Dim(kept)

    def _unfit(self, other: object) -> Any:
        """What arithmetic with something that is no size gives: an error for a float, the other side's turn for a tensor."""
        if isinstance(other, float):
            raise self._unknown(f"arithmetic with {other}")
        return NotImplemented

    def __add__(self, other: Size) -> Size:
        if not is_size(other):
            return self._unfit(other)
        mine = dict(self.terms)
        for monomial, c in _terms(other):
            mine[monomial] = mine.get(monomial, 0) + c
        return Dim._of(mine)

    __radd__ = __add__

    def __neg__(self) -> Size:
        return self * -1

    def __sub__(self, other: Size) -> Size:
        return self + -other if is_size(other) else self._unfit(other)

    def __rsub__(self, other: Size) -> Size:
        return (-self) + other if is_size(other) else self._unfit(other)

    def __mul__(self, other: Size) -> Size:
        if not is_size(other):
            return self._unfit(other)
        out: dict[Monomial, int] = {}
        for a, ca in self.terms:
            for b, cb in _terms(other):
                monomial = tuple(sorted(a + b, key=repr))
                out[monomial] = out.get(monomial, 0) + ca * cb
        return Dim._of(out)

    __rmul__ = __mul__

    def __truediv__(self, other: object) -> Any:
        if is_size(other):
            raise self._unknown("true division")
        return self._unfit(other)

    def __rtruediv__(self, other: object) -> Any:
        return self.__truediv__(other)

    def __floordiv__(self, other: Size) -> Size:
        return floordiv(self, other) if is_size(other) else NotImplemented

    def __rfloordiv__(self, other: Size) -> Size:
        return floordiv(other, self) if is_size(other) else NotImplemented

    def __mod__(self, other: Size) -> Size:
        return self - other * floordiv(self, other) if is_size(other) else NotImplemented

    def __rmod__(self, other: Size) -> Size:
        return other - self * floordiv(other, self) if is_size(other) else NotImplemented

    def __pow__(self, other: int) -> Size:
        return product((self,) * other) if isinstance(other, int) and other >= 0 else NotImplemented

    def __eq__(self, other: object) -> bool:
        if self is other or (isinstance(other, Dim) and self.terms == other.terms):
            return True
        ask = _ASSUMPTIONS.compare
        return ask is not None and isinstance(other, int | Dim) and ask(self, other)

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[object, ...]:
        return (Dim, (dict(self.terms),))

    def _unknown(self, asked: str) -> SymbolicError:
        return SymbolicError(
            f"{asked} of the unknown size {self} at {user_line()}: its number is known only when the graph runs\n"
            f"  hint: use {self} itself in shapes and tensor arithmetic, or give the placeholder a fixed size"
        )

    def __int__(self) -> int:
        raise self._unknown("int()")

    def __index__(self) -> int:
        raise self._unknown("the number")

    def __float__(self) -> float:
        raise self._unknown("float()")

    def __bool__(self) -> bool:
        raise self._unknown("the truth")

    def __lt__(self, other: object) -> bool:
        raise self._unknown("a comparison")

    __le__ = __gt__ = __ge__ = __lt__

    def __str__(self) -> str:
        text = ""
        for monomial, c in self.terms:
            alone = c == 1 and len(monomial) == 1  # else `2*(n)//(3)` would be read as `(2*n)//3`
            factors = [f"({_show_factor(f)})" if f[:1] == ("//",) and not alone else _show_factor(f) for f in monomial]
            if abs(c) != 1 or not factors:
                factors.insert(0, str(abs(c)))
            text += (" - " if c < 0 else " + ") + "*".join(factors)
        return text[3:] if text.startswith(" + ") else "-" + text[3:]

    __repr__ = __str__

    def names(self) -> Iterator[str]:
        """The unknowns this size depends on, with repetitions."""
        for monomial, _ in self.terms:
            for factor in monomial:
                if isinstance(factor, str):
                    yield factor
                else:
                    for size in factor[1:]:
                        if isinstance(size, Dim):
                            yield from size.names()

    def substitute(self, known: Mapping[str, Size]) -> Size:
        """This size with the names in `known` replaced."""
        total: Size = 0
        for monomial, c in self.terms:
            product: Size = c
            for factor in monomial:
                product = product * _substitute_factor(factor, known)
            total = total + product
        return total


Size: TypeAlias = int | Dim
Shape: TypeAlias = tuple[Size, ...]


def is_size(x: object) -> bool:
    """Whether x is an int or a Dim (bools are not sizes)."""
    return (isinstance(x, int) and not isinstance(x, bool)) or isinstance(x, Dim)


def _terms(x: Size) -> tuple[tuple[Monomial, int], ...]:
    return x.terms if isinstance(x, Dim) else (((), int(x)),)


def _show_factor(factor: Factor) -> str:
    if isinstance(factor, str):
        return factor if factor.isidentifier() else f"size({factor!r})"
    op, a, b = factor
    return f"({a})//({b})" if op == "//" else f"{op}({a}, {b})"


_OPAQUE: dict[str, Callable[[Size, Size], Size]] = {}


def _substitute_factor(factor: Factor, known: Mapping[str, Size]) -> Size:
    if isinstance(factor, str):
        return known[factor] if factor in known else Dim.named(factor)
    op, a, b = factor
    return _OPAQUE[op](substitute(a, known), substitute(b, known))


def substitute(size: Size, known: Mapping[str, Size]) -> Size:
    """`size` with the names in `known` replaced by their sizes."""
    return size.substitute(known) if isinstance(size, Dim) else size


def floordiv(a: Size, b: Size) -> Size:
    """a // b; exact division by a constant or a single monomial is done term by term, anything else is opaque."""
    if isinstance(a, int) and isinstance(b, int):
        return a // b
    divisor = _terms(b)
    if len(divisor) == 1 and divisor[0][1]:
        monomial, c = divisor[0]
        whole: dict[Monomial, int] = {}
        rest: dict[Monomial, int] = {}
        for m, k in _terms(a):
            left = _without(m, monomial)
            if left is not None and k % c == 0:
                whole[left] = whole.get(left, 0) + k // c
            else:
                rest[m] = k
        if not rest:
            return Dim._of(whole)
        if whole:
            return Dim._of(whole) + floordiv(Dim._of(rest), b)
    if a == b:
        return 1
    return Dim({(("//", a, b),): 1})


def _without(monomial: Monomial, divisor: Monomial) -> Monomial | None:
    left = list(monomial)
    for factor in divisor:
        if factor not in left:
            return None
        left.remove(factor)
    return tuple(left)


def size_min(a: Size, b: Size) -> Size:
    """The smaller size; decided when the difference is a number, or one side is 0 (sizes are never negative)."""
    return _extreme("min", a, b, lambda gap: gap <= 0)


def size_max(a: Size, b: Size) -> Size:
    """The larger size; decided when the difference is a number, or one side is 0."""
    return _extreme("max", a, b, lambda gap: gap >= 0)


def _extreme(op: str, a: Size, b: Size, first: Callable[[int], bool]) -> Size:
    gap = a - b
    if isinstance(gap, int):
        return a if first(gap) else b
    low, high = (a, b) if _never_negative(b - a) else (b, a) if _never_negative(gap) else (None, None)
    if low is not None and high is not None:
        return low if op == "min" else high
    return Dim({((op, a, b) if repr(a) < repr(b) else (op, b, a),): 1})


def _never_negative(x: Size) -> bool:
    """Whether x is surely >= 0: no negative term, every factor a plain unknown size."""
    return all(
        c >= 0 and all(isinstance(f, str) or (f[0] == "//" and all(map(_never_negative, f[1:]))) for f in m)
        for m, c in _terms(x)
    )


_OPAQUE.update({"//": floordiv, "min": size_min, "max": size_max})


class _Assumptions(threading.local):
    collect: Callable[[Size, Size], None] | None = None
    #: decides a comparison that the user's own code makes of two sizes that differ in form
    compare: Callable[[Size, Size], bool] | None = None


_ASSUMPTIONS = _Assumptions()


class assumptions:  # noqa: N801  entered once per recorded op, where a generator would cost as much as the shape rule
    """Within, `same(a, b)` of two sizes that may be equal calls `collect(a, b)` instead of raising."""

    __slots__ = ("before", "collect")

    def __init__(self, collect: Callable[[Size, Size], None]):
        self.collect = collect

    def __enter__(self) -> None:
        self.before, _ASSUMPTIONS.collect = _ASSUMPTIONS.collect, self.collect

    def __exit__(self, *_: object) -> None:
        _ASSUMPTIONS.collect = self.before


@contextmanager
def comparisons(decide: Callable[[Size, Size], bool] | None) -> Iterator[None]:
    """Within, `decide(a, b)` answers whether two sizes that differ in form are equal; else they count as different."""
    before, _ASSUMPTIONS.compare = _ASSUMPTIONS.compare, decide
    try:
        yield
    finally:
        _ASSUMPTIONS.compare = before


def same(a: Size, b: Size, what: str = "sizes differ", need: str = "", hint: str = "") -> Size:
    """Insists that two sizes are equal and returns the better known of them.

    Two sizes that may be equal (at least one unknown) are reported to the collector that the caller of the shape rule
    opened; without one, or where both are numbers, a ShapeError is raised.
    """
    if a == b:
        return a
    gap = a - b
    if isinstance(gap, int) or _ASSUMPTIONS.collect is None:
        raise ShapeError(what, need or f"equal sizes, got {a} and {b}", hint)
    _ASSUMPTIONS.collect(a, b)
    return a if isinstance(a, int) else b


def broadcast_sizes(a: Size, b: Size) -> Size:
    """The size two broadcast dimensions have together.

    A literal 1 stretches to anything; an unknown beside k > 1 is assumed to be k, two unknowns are assumed equal.
    """
    if a == b:
        return a
    if isinstance(a, int) and a == 1:
        return b
    if isinstance(b, int) and b == 1:
        return a
    return same(a, b, "shapes do not broadcast", f"equal sizes or 1, got {a} and {b}")


def broadcast_shapes(*shapes: Shape) -> Shape:
    """The common shape of operands, aligned at the last dimension (NumPy's rule)."""
    out = shapes[0]
    for shape in shapes[1:]:
        if shape == out:
            continue
        long, short = (out, shape) if len(out) >= len(shape) else (shape, out)
        lead = len(long) - len(short)
        out = long[:lead] + tuple(broadcast_sizes(x, y) for x, y in zip(long[lead:], short, strict=True))
    return out


def product(sizes: Shape) -> Size:
    """The number of elements of a shape."""
    total: Size = 1
    for size in sizes:
        total = total * size
    return total


def is_static(shape: Shape) -> bool:
    """Whether every size is a number."""
    return all(type(size) is int for size in shape)
