"""Where the elements of recorded tensors lie in memory, as they would in eager code.

A program knows no memory. But whether `reshape` gives a view or a copy, and whether `view` is refused, depends on strides,
and so do the writes that a program performs. While code is recorded each tensor therefore has a layout: that of the array
for an argument or a captured tensor, moved along by views, kept by elementwise ops as NumPy keeps it, row by row for the
result of any other op. Strides count elements and may be unknown sizes; a decision is taken for the sizes of the present
call, and noted so that it can be taken again for others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from graphc.aliasing import mark_view
from graphc.core.dims import Dim, Shape, Size, is_static, substitute
from graphc.core.errors import SymbolicError
from graphc.core.op import OUT, Elementwise, Op, View
from graphc.core.tape import Entry
from graphc.primitives.views import reshape

Strides = tuple[Size, ...]
#: How an array lies: None for rows, the order of its dimensions in memory where it has no gaps, else its strides.
Form = tuple[str, tuple[int, ...]] | None


class Layout(NamedTuple):
    """The strides of a recorded tensor, None for rows, and (as bits) the given layouts they follow from.

    A tensor without a layout lies in rows whatever was given.
    """

    strides: Strides | None
    given: int


class Decision(NamedTuple):
    """What the recorded code has made depend on sizes: `rule(*sizes)` was `answer`."""

    rule: Callable[..., Any]
    sizes: Any
    answer: Any

    def holds(self, known: Mapping[str, Size]) -> bool:
        """Whether the answer is the same for these sizes."""
        return bool(self.rule(*substituted(self.sizes, known)) == substituted(self.answer, known))


def substituted(x: Any, known: Mapping[str, Size]) -> Any:
    """A size, or a nest of tuples of sizes, with the names in `known` replaced."""
    if isinstance(x, tuple):
        return tuple([substituted(part, known) for part in x])
    return substitute(x, known) if isinstance(x, Dim) else x


# --- strides ----------------------------------------------------------------------------------------------------------


def packed(shape: Shape, order: Sequence[int]) -> Strides:
    """The strides of elements without gaps, `order` naming the dimensions from the outermost to the innermost."""
    strides: list[Size] = [0] * len(shape)
    step: Size = 1
    for axis in reversed(order):
        strides[axis] = step
        step = step * shape[axis]
    return tuple(strides)


def in_rows(shape: Shape, strides: Strides) -> bool:
    """Whether elements with these strides lie row by row without gaps; of unknown sizes, whether they surely do."""
    step: Size = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1 and stride != step:
            return any(n == 0 for n in shape)
        step = step * size
    return True


def form_of(array: Any) -> Form:
    """How an array lies in memory."""
    if array.flags.c_contiguous:
        return None
    order = tuple(sorted(range(array.ndim), key=lambda axis: -array.strides[axis]))
    return ("order", order) if array.transpose(order).flags.c_contiguous else ("strides", array.strides)


def lies(array: Any, form: Form) -> bool:
    """Whether an array lies in this form."""
    return bool(array.flags.c_contiguous) if form is None else form_of(array) == form


def shown(form: Form) -> str:
    """A form in words."""
    return "row by row" if form is None else f"{'dimensions in the order' if form[0] == 'order' else 'strides'} {form[1]}"


def strides_of(tensor: Any) -> Strides:
    """The strides of a recorded tensor."""
    layout = getattr(tensor, "_layout", None)
    shape = tensor._data.type.shape
    found: Strides | None = None if layout is None else layout.strides
    return packed(shape, range(len(shape))) if found is None else found


def reshaped(shape: Shape, strides: Strides, new: Shape, number: Callable[[Size], int] = int) -> Strides | None:
    """The strides under which elements of one shape show as another without moving; None where they have to move."""
    if any(number(size) == 0 for size in shape):
        return packed(new, range(len(new)))
    runs: list[tuple[int, int, Size]] = []  # of elements at equal distances: how many, their extent, the distance
    for size, stride in zip(map(number, reversed(shape)), reversed(strides), strict=True):
        if runs and runs[-1][1] == number(stride):
            runs[-1] = (runs[-1][0] * size, runs[-1][1] * size, runs[-1][2])
        elif size != 1:
            runs.append((size, size * number(stride), stride))
    runs.reverse()
    left, _, step = runs.pop() if runs else (1, 1, 1)
    found: list[Size] = []
    for size in reversed(new):
        if left == 1 and number(size) != 1 and runs:
            left, _, step = runs.pop()
        if left % number(size):
            return None
        found.append(step)
        left //= number(size)
        step = step * size
    return tuple(reversed(found))


def viewed(op: Op, attrs: Mapping[str, Any], type_: Any, strides: Strides, ndim: int) -> Strides:
    """The strides of a view whose `index` is affine: how far an element moves with each of its own indices."""

    def place(index: tuple[int, ...]) -> Size:
        found: Size = 0
        for i, stride in zip(op.kind.index(index, type_, **attrs), strides, strict=True):  # type: ignore[union-attr]
            found = found + i * stride
        return found

    first = place((0,) * ndim)
    return tuple([place((0,) * axis + (1,) + (0,) * (ndim - axis - 1)) - first for axis in range(ndim)])


def save_layouts(entry: Entry, operands: Sequence[Any], outputs: Sequence[Any]) -> None:
    """Notes the layouts of what an entry of the tape keeps."""
    for place, kept in entry.saved.items():
        if place == OUT:
            for one, out in zip(kept, outputs, strict=True):
                if one is not None:
                    one.layout = getattr(out, "_layout", None)
        else:
            kept.layout = getattr(operands[place], "_layout", None)


# --- elementwise ops --------------------------------------------------------------------------------------------------


def kept_order(op: Op, attrs: tuple[Any, ...], dtypes: tuple[Any, ...], *operands: Any) -> tuple[int, ...]:
    """In which order the dimensions of an elementwise result lie, for operands given as (shape, strides)."""
    shapes, ranks = [], []
    for shape, strides in operands:
        wide = [s if n > 1 else 0 for n, s in zip(shape, strides, strict=True)]
        met = [0, *sorted({abs(s) for s in wide if s})]
        shapes.append(tuple([min(n, 2) for n in shape]))
        ranks.append(tuple([(1 << met.index(abs(s)) >> 1) * (1 if s > 0 else -1) for s in wide]))
    return _order_of(op, attrs, dtypes, tuple(shapes), tuple(ranks))


@lru_cache(4096)
def _order_of(op: Op, attrs: tuple[Any, ...], dtypes: Any, shapes: Any, strides: Any) -> tuple[int, ...]:
    """NumPy decides: the op is evaluated on arrays of two elements a side that lie in the same order."""
    arrays = []
    for dtype, shape, steps in zip(dtypes, shapes, strides, strict=True):
        spans = [(n - 1) * s for n, s in zip(shape, steps, strict=True) if n]
        start = -sum(s for s in spans if s < 0)
        memory = np.ones(1 + sum(map(abs, spans)), dtype)
        steps_in_bytes = [s * memory.itemsize for s in steps]
        arrays.append(np.lib.stride_tricks.as_strided(memory[start:], shape, steps_in_bytes))
    with np.errstate(all="ignore"):
        found = np.asarray(op.eval(*arrays, **dict(attrs)))
    return tuple(sorted(range(found.ndim), key=lambda axis: -abs(found.strides[axis])))


# --- what a recorder keeps --------------------------------------------------------------------------------------------


class Layouts:
    """The layouts of what one recorder records, and what the recording has assumed of them."""

    def __init__(self) -> None:
        #: unknown sizes in this call
        self.sizes: dict[str, int] = {}
        #: the layouts of arguments and captured tensors, which came in this form
        self.given: list[tuple[Any, Form]] = []
        self.decisions: list[Decision] = []
        #: the given layouts a decision has depended on, and those that say something about the present sizes only
        self.read = self.fixed = 0
        #: whether something came of the decisions: a write, or an answer to the user's code
        self.matter = False

    def give(self, source: Any, array: Any, shape: Shape) -> Layout:
        """The layout of an input, which `source` will give in each run."""
        form, bit = form_of(array), 1 << len(self.given)
        self.given.append((source, form))
        if form is None:
            return Layout(None, bit)
        kind, numbers = form
        if kind == "order":
            return Layout(packed(shape, numbers), bit)
        if not is_static(shape):
            self.fixed |= bit
        return Layout(tuple([s // array.itemsize for s in numbers]), bit)

    @staticmethod
    def fix(array: Any) -> Layout | None:
        """The layout of a constant."""
        found = tuple([s // array.itemsize for s in array.strides])
        return None if array.flags.c_contiguous else Layout(found, 0)

    def record(self, op: Op, attrs: Mapping[str, Any], operands: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Gives the results of an op their layout, and marks a view as one where it shares memory."""
        if isinstance(op.kind, Elementwise):
            given, rows = 0, True
            for x in operands:
                layout = getattr(x, "_layout", None)
                if layout is not None:
                    given |= layout.given
                    rows = rows and layout.strides is None
            if given or not rows:
                outputs[0]._layout = Layout(None if rows else self._kept(op, attrs, operands, outputs[0]), given)
        elif isinstance(op.kind, View):
            source, out = operands[0], outputs[0]
            if op is not reshape:
                self._view(op, attrs, source, out)
            elif not self._reshape(source, out):
                return
            mark_view(out, source, op, attrs)

    def _kept(self, op: Op, attrs: Mapping[str, Any], operands: Sequence[Any], out: Any) -> Strides | None:
        rule = partial(kept_order, op, tuple(attrs.items()), tuple([x._data.type.dtype.np for x in operands]))
        order = self.decide(rule, *[(tuple(x._data.type.shape), strides_of(x)) for x in operands])
        return _plain(tuple(out._data.type.shape), packed(out._data.type.shape, order))

    def _view(self, op: Op, attrs: Mapping[str, Any], source: Any, out: Any) -> None:
        layout = getattr(source, "_layout", None)
        shape = tuple(out._data.type.shape)
        strides = _plain(shape, viewed(op, attrs, source._data.type, strides_of(source), len(shape)))
        if strides is not None or layout is not None:
            out._layout = Layout(strides, 0 if layout is None else layout.given)

    def _reshape(self, source: Any, out: Any) -> bool:
        """Whether a reshape shares memory; it does for sure where it only adds or drops dimensions of size 1."""
        layout = getattr(source, "_layout", None)
        if layout is None:
            return True
        old, new = tuple(source._data.type.shape), tuple(out._data.type.shape)
        if [d for d in old if d != 1] != [d for d in new if d != 1]:
            self.read |= layout.given
        elif layout.strides is None:
            out._layout = layout
        if layout.strides is None:
            return True
        strides = reshaped(old, layout.strides, new, self.number)
        self.note(reshaped, (old, layout.strides, new), strides)
        if strides is None:
            return False
        out._layout = Layout(_plain(new, strides), layout.given)
        return True

    # --- decisions ------------------------------------------------------------------------------------------------

    def number(self, size: Size) -> int:
        """A size in this call; where there is no call, a number that divides well and is no other size's."""
        if isinstance(size, Dim):
            for name in size.names():
                self.sizes.setdefault(name, 2520 * (2 * len(self.sizes) + 101))
            size = substitute(size, self.sizes)
        assert isinstance(size, int)
        return size

    def decide(self, rule: Callable[..., Any], *sizes: Any) -> Any:
        """`rule(*sizes)` for the sizes of this call."""
        numbers = self._numbers(sizes)
        answer = rule(*numbers)
        self.note(rule, sizes, answer)
        return answer

    def note(self, rule: Callable[..., Any], sizes: Any, answer: Any) -> None:
        """Keeps a decision that may be another one for other sizes."""
        if self._has_unknown(sizes):
            self.decisions.append(Decision(rule, sizes, answer))

    def _numbers(self, x: Any) -> Any:
        return tuple([self._numbers(part) for part in x]) if isinstance(x, tuple) else self.number(x)

    def _has_unknown(self, x: Any) -> bool:
        return any(map(self._has_unknown, x)) if isinstance(x, tuple) else isinstance(x, Dim)

    def assumed(self) -> tuple[list[tuple[Any, Form]], list[Decision]]:
        """What a run must find again: inputs that lie as they did, decisions with the same answer.

        Raises SymbolicError where that cannot be said with the sizes left open.
        """
        if not self.matter:
            return [], []
        if self.read & self.fixed:
            raise SymbolicError("the memory layout of an argument with gaps depends on its sizes")
        return [given for i, given in enumerate(self.given) if self.read >> i & 1], self.decisions

    # --- answers to code that asks --------------------------------------------------------------------------------

    def are_rows(self, tensor: Any) -> bool:
        """Whether a recorded tensor lies row by row."""
        layout = getattr(tensor, "_layout", None)
        if layout is None:
            return True
        self.read |= layout.given
        return layout.strides is None or self.decide(in_rows, tuple(tensor._data.type.shape), layout.strides)

    def told(self, tensor: Any) -> Strides:
        """The strides of a recorded tensor, told to the user's code."""
        layout = getattr(tensor, "_layout", None)
        self.read |= 0 if layout is None else layout.given
        self.matter = True
        return strides_of(tensor)


def _plain(shape: Shape, strides: Strides) -> Strides | None:
    return None if in_rows(shape, strides) else strides
