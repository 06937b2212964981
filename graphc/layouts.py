"""Where the elements of recorded tensors lie in memory: as they would in eager code.

A program knows no memory. But strides decide whether `reshape` gives a view or a copy and whether `view` is refused, and so
what the writes of a program reach. While code is recorded each tensor therefore has a layout: that of the array for an
argument or a captured tensor, moved along by views, kept by elementwise ops in NumPy's way, row by row for the result of any
other op. Strides count elements. Where sizes are unknown, strides are too; what they decide is decided for the present call,
and noted so that a later call can tell whether it would decide alike. A graph has no present call: it decides by numbers that
divide well, and keeps how to tell anew for sizes that are fed whether `reshape` gives a view (`sharing.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from graphc.aliasing import mark_view
from graphc.core.arrays import shadow_of
from graphc.core.dims import Dim, Shape, Size, is_static, substitute
from graphc.core.errors import SymbolicError, user_line
from graphc.core.op import OUT, Elementwise, Op, View
from graphc.core.tape import Entry
from graphc.core.tensor_types import TensorType
from graphc.primitives.views import reshape
from graphc.sharing import Call, Doubt, Sharing, refusal

Attrs = tuple[tuple[str, Any], ...]
Strides = tuple[Size, ...]
#: How an array lies: None for rows, ("order", dimensions from the outermost in) where it has no gaps, ("strides", bytes).
Form = tuple[str, tuple[int, ...]] | None


class Layout(NamedTuple):
    """The strides of a recorded tensor, None for rows; and, as bits, the inputs it follows from.

    A tensor without a layout lies in rows, however the inputs lie. `anew`: the number of the step that tells the strides of
    a graph's tensor for sizes that are fed, -1 where these hold for all.
    """

    strides: Strides | None
    given: int
    anew: int = -1


class Lying(NamedTuple):
    """A graph's tensor that was read: its type and its layout."""

    type: TensorType
    layout: Layout


class Step(NamedTuple):
    """An op of a graph of which the result's strides are told anew for sizes that are fed."""

    op: Op
    attrs: Attrs
    operands: tuple[Lying, ...]
    shape: Shape


class Question(NamedTuple):
    """Whether a tensor's elements show under a shape where they are; None: whether they lie in rows."""

    source: Lying
    shape: Shape | None


class Decision(NamedTuple):
    """What was decided for the sizes of one call: `rule(*sizes)` was `answer`."""

    rule: Callable[..., Any]
    sizes: Any
    answer: Any
    #: the shape of a tensor of which memory was decided: where it has no elements, any answer will do
    shape: Shape = ()

    def holds(self, known: Mapping[str, Size]) -> bool:
        """Whether these sizes give the same answer."""
        if 0 in substituted(self.shape, known):
            return True
        return bool(self.rule(*substituted(self.sizes, known)) == substituted(self.answer, known))


def substituted(x: Any, known: Mapping[str, Size]) -> Any:
    """A size, or a nest of tuples of sizes, with the names in `known` replaced."""
    if isinstance(x, tuple):
        return tuple([substituted(part, known) for part in x])
    return substitute(x, known) if isinstance(x, Dim) else x


# --- arrays -----------------------------------------------------------------------------------------------------------


def form_of(array: Any) -> Form:
    """How an array lies in memory."""
    array = shadow_of(array)
    if array.flags.c_contiguous:
        return None
    order = tuple(sorted(range(array.ndim), key=lambda axis: -array.strides[axis]))
    return ("order", order) if array.transpose(order).flags.c_contiguous else ("strides", array.strides)


def lies(array: Any, form: Form) -> bool:
    """Whether an array lies in this form."""
    return bool(array.flags.c_contiguous) if form is None else form_of(array) == form


def shown(form: Form) -> str:
    """A form in words."""
    if form is None:
        return "row by row"
    return f"dimensions in the order {form[1]}" if form[0] == "order" else f"strides {form[1]}"


# --- strides ----------------------------------------------------------------------------------------------------------


def packed(shape: Shape, order: Sequence[int]) -> Strides:
    """The strides of elements without gaps, `order` naming the dimensions from the outermost in."""
    strides: list[Size] = [0] * len(shape)
    step: Size = 1
    for axis in reversed(order):
        strides[axis] = step
        step = step * shape[axis]
    return tuple(strides)


def strides_of(tensor: Any) -> Strides:
    """The strides of a recorded tensor."""
    found = own_strides(tensor)
    shape = tuple(tensor._data.type.shape)
    return packed(shape, range(len(shape))) if found is None else found


def own_strides(tensor: Any) -> Strides | None:
    """The strides of a recorded tensor, None for rows."""
    layout = getattr(tensor, "_layout", None)
    return None if layout is None else layout.strides


def in_rows(shape: Shape, strides: Strides) -> bool:
    """Whether elements with these strides lie row by row without gaps; of unknown sizes, whether they do for sure."""
    step: Size = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1 and stride != step:
            return any(n == 0 for n in shape)
        step = step * size
    return True


def reshaped(shape: Shape, strides: Strides, new: Shape, number: Callable[[Size], int] = int) -> Strides | None:
    """The strides under which elements of one shape show as another where they are; None if they would have to move.

    `number` tells the sizes by which it is decided.
    """
    if any(number(size) == 0 for size in shape):
        return packed(new, range(len(new)))
    runs = _runs(shape, strides, number)
    left, step = runs.pop(0) if runs else (1, 1)
    found: list[Size] = []
    for size in reversed(new):
        if left == 1 and runs and number(size) != 1:
            left, step = runs.pop(0)
        if left % number(size):
            return None
        found.append(step)
        left //= number(size)
        step = step * size
    return tuple(reversed(found))


def _runs(shape: Shape, strides: Strides, number: Callable[[Size], int]) -> list[tuple[int, Size]]:
    """Elements that follow each other at equal distances, the innermost first: how many, at which distance."""
    runs: list[tuple[int, Size]] = []
    reach = 0  # from the first element of a run to the one after its last
    for size, stride in zip(map(number, reversed(shape)), reversed(strides), strict=True):
        if size == 1:
            continue
        if runs and reach == number(stride):
            runs[-1] = (runs[-1][0] * size, runs[-1][1])
        else:
            runs.append((size, stride))
        reach = size * number(stride)
    return runs


def _ones_moved(shape: Shape, strides: Strides, new: Shape) -> Strides:
    """The strides of a shape that differs in dimensions of size 1 only."""
    rest = [stride for size, stride in zip(shape, strides, strict=True) if size != 1]
    found: list[Size] = []
    for i in range(len(new) - 1, -1, -1):
        last = found[-1] * new[i + 1] if found else 1
        found.append(rest.pop() if new[i] != 1 else last)
    return tuple(reversed(found))


@lru_cache(4096)
def viewed(op: Op, attrs: Attrs, type_: TensorType, strides: Strides | None, shape: Shape) -> Strides | None:
    """The strides of a view whose `index` is affine: how far one step along each of its dimensions leads."""
    given = packed(type_.shape, range(type_.ndim)) if strides is None else strides

    def place(index: tuple[int, ...]) -> Size:
        found: Size = 0
        for i, stride in zip(op.kind.index(index, type_, **dict(attrs)), given, strict=True):  # type: ignore[union-attr]
            found = found + i * stride
        return found

    ndim = len(shape)
    first = place((0,) * ndim)
    found = tuple([place((*(0,) * axis, 1, *(0,) * (ndim - axis - 1))) - first for axis in range(ndim)])
    return None if in_rows(shape, found) else found


@lru_cache(4096)
def kept(op: Op, attrs: Attrs, types: tuple[TensorType, ...], strides: Any, shape: Shape) -> Strides | None:
    """The strides of an elementwise result, for operands of known sizes (None: rows)."""
    given = [packed(t.shape, range(t.ndim)) if s is None else s for t, s in zip(types, strides, strict=True)]
    operands = zip([t.shape for t in types], given, strict=True)
    found = packed(shape, kept_order(op, attrs, tuple([t.dtype.np for t in types]), *operands))
    return None if in_rows(shape, found) else found


def kept_order(op: Op, attrs: Attrs, dtypes: tuple[Any, ...], *operands: Any) -> tuple[int, ...]:
    """The dimensions of an elementwise result from the outermost in, for operands given as (shape, strides)."""
    shapes, ranks = [], []
    for shape, strides in operands:
        steps = [s if n > 1 else 0 for n, s in zip(shape, strides, strict=True)]
        met = [0, *sorted({abs(s) for s in steps if s})]
        shapes.append(tuple([min(n, 2) for n in shape]))
        ranks.append(tuple([(1 << met.index(abs(s)) >> 1) * (-1 if s < 0 else 1) for s in steps]))
    return _order_of(op, attrs, dtypes, tuple(shapes), tuple(ranks))


@lru_cache(4096)
def _order_of(op: Op, attrs: Attrs, dtypes: Any, shapes: Any, strides: Any) -> tuple[int, ...]:
    """NumPy decides: the op is evaluated on arrays of two elements a side whose dimensions lie in the same order."""
    arrays = []
    for dtype, shape, steps in zip(dtypes, shapes, strides, strict=True):
        spans = [(n - 1) * s for n, s in zip(shape, steps, strict=True) if n]
        memory = np.ones(1 + sum(map(abs, spans)), dtype)
        first = -sum(s for s in spans if s < 0)
        arrays.append(np.lib.stride_tricks.as_strided(memory[first:], shape, [s * memory.itemsize for s in steps]))
    with np.errstate(all="ignore"):
        found = np.asarray(op.eval(*arrays, **dict(attrs)))
    return tuple(sorted(range(found.ndim), key=lambda axis: -abs(found.strides[axis])))


def strides_anew(op: Op, attrs: Attrs, operands: Sequence[tuple[TensorType, Strides]], shape: Shape) -> Strides:
    """The strides of an op's result, where all sizes are numbers."""
    if isinstance(op.kind, Elementwise):
        dtypes = tuple([t.dtype.np for t, _ in operands])
        return packed(shape, kept_order(op, attrs, dtypes, *[(t.shape, strides) for t, strides in operands]))
    ((type_, strides),) = operands
    found = reshaped(type_.shape, strides, shape) if op is reshape else viewed(op, attrs, type_, strides, shape)
    return packed(shape, range(len(shape))) if found is None else found


# --- what a recorder keeps --------------------------------------------------------------------------------------------


class Layouts:
    """What a recorder, and those of the bodies inside, knows and has assumed of memory."""

    def __init__(self) -> None:
        #: the unknown sizes in this call, and the numbers by which is decided
        self.sizes: dict[str, int] = {}
        self.numbers: dict[str, int] = {}
        #: arguments and captured tensors, and how their arrays lie
        self.given: list[tuple[Any, Form]] = []
        #: inputs (as bits) that decisions follow from, and those of which the strides tell nothing for other sizes
        self.read = self.fixed = 0
        self.decisions: list[Decision] = []
        #: whether anything comes of the decisions: something was written, or the user's code was told
        self.matter = False
        self.sharing = Sharing()
        self.steps: list[Step] = []

    def give(self, source: Any, array: Any, shape: Shape) -> Layout:
        """The layout of an input, which each run will read from `source`."""
        form, bit = form_of(array), 1 << len(self.given)
        self.given.append((source, form))
        if form is None:
            return Layout(None, bit)
        if form[0] == "order":
            return Layout(packed(shape, form[1]), bit)
        if not is_static(shape):
            self.fixed |= bit
        return Layout(tuple([s // array.itemsize for s in array.strides]), bit)

    def assumed(self) -> tuple[list[tuple[Any, Form]], list[Decision]]:
        """What a run must find again: inputs that lie alike, sizes for which all is decided alike.

        Raises SymbolicError where that cannot be told with sizes left open.
        """
        if not self.matter:
            return [], []
        if self.read & self.fixed:
            raise SymbolicError("the memory layout of an argument with gaps tells nothing for other sizes")
        return [given for i, given in enumerate(self.given) if self.read >> i & 1], self.decisions

    # --- results of ops -------------------------------------------------------------------------------------------

    def record(self, op: Op, attrs: Mapping[str, Any], operands: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Gives the results of an op their layout, and marks as a view what shares memory."""
        if isinstance(op.kind, Elementwise):
            given, rows, met = 0, True, False
            for x in operands:
                layout = getattr(x, "_layout", None)
                if layout is not None:
                    given, met = given | layout.given, True
                    rows = rows and layout.strides is None
            if met:
                found, undecided = (None, False) if rows else self._kept(op, attrs, operands, outputs[0])
                outputs[0]._layout = Layout(found, given, self._anew(op, attrs, operands, outputs[0], undecided))
        elif op is reshape:
            source, out = operands[0], outputs[0]
            shares = self._shares(source, out)
            if shares:
                mark_view(out, source, op, attrs)
            self._doubt("reshape", source, out, shares, tuple(out._data.type.shape))
        elif isinstance(op.kind, View):
            source, out = operands[0], outputs[0]
            layout = getattr(source, "_layout", None) or _ROWS
            found = viewed(op, tuple(attrs.items()), source._data.type, layout.strides, out._data.type.shape)
            if found is not None or layout is not _ROWS:
                out._layout = Layout(found, layout.given, self._anew(op, attrs, operands, out))
            mark_view(out, source, op, attrs)

    def _kept(self, op: Op, attrs: Mapping[str, Any], operands: Sequence[Any], out: Any) -> tuple[Strides | None, bool]:
        """The strides of an elementwise result, and whether other sizes may give others."""
        types = tuple([x._data.type for x in operands])
        shape = tuple(out._data.type.shape)
        strides = tuple(map(own_strides, operands))
        if all(is_static(t.shape) for t in types) and all(s is None or is_static(s) for s in strides):
            return kept(op, tuple(attrs.items()), types, strides, shape), False
        rule = partial(kept_order, op, tuple(attrs.items()), tuple([t.dtype.np for t in types]))
        sizes = tuple([(tuple(x._data.type.shape), strides_of(x)) for x in operands])
        order = rule(*self._numbers(sizes))
        self.note(rule, sizes, order, shape)
        found = packed(shape, order)
        return None if in_rows(shape, found) else found, True

    def _shares(self, source: Any, out: Any) -> bool:
        """Whether a reshape shares memory: what lies in rows does, and what only gains or loses dimensions of size 1."""
        layout = getattr(source, "_layout", None)
        if layout is None:
            return True
        old, new = tuple(source._data.type.shape), tuple(out._data.type.shape)
        same = [d for d in old if d != 1] == [d for d in new if d != 1]
        undecided = not same and layout.strides is not None and _has_unknown((old, layout.strides, new))
        anew = self._anew(reshape, {}, (source,), out, undecided)
        if not same:
            self.read |= layout.given
        if layout.strides is None:
            out._layout = Layout(None, layout.given, anew) if same or anew >= 0 else None
            return True
        if same:
            out._layout = Layout(_ones_moved(old, layout.strides, new), layout.given, anew)
            return True
        strides = reshaped(old, layout.strides, new, self.number)
        self.note(reshaped, (old, layout.strides, new), strides, new)
        if strides is not None or anew >= 0:
            rows = strides is None or in_rows(new, strides)
            out._layout = Layout(None if rows else strides, layout.given, anew)
        return strides is not None

    # --- for sizes that are fed -----------------------------------------------------------------------------------

    def _anew(
        self, op: Op, attrs: Mapping[str, Any], operands: Sequence[Any], out: Any, undecided: bool = False
    ) -> int:
        """The number of a new step, in a graph, where the result's strides follow from others told anew or are `undecided`."""
        if self.sharing.table is None:
            return -1
        given = [Lying(x._data.type, getattr(x, "_layout", None) or _ROWS) for x in operands]
        if not undecided and all(x.layout.anew < 0 for x in given):
            return -1
        self.steps.append(Step(op, tuple(attrs.items()), tuple(given), tuple(out._data.type.shape)))
        return len(self.steps) - 1

    def _doubt(self, name: str, source: Any, out: Any, shared: bool, shape: Shape | None) -> None:
        """Notes a call, if sizes that are fed may give another answer."""
        layout = getattr(source, "_layout", None)
        if self.sharing.table is None or layout is None:
            return
        lying = Lying(source._data.type, layout)
        open_ = layout.strides is not None and _has_unknown((tuple(lying.type.shape), layout.strides, shape or ()))
        if open_ or layout.anew >= 0:
            self.sharing.doubt(Call(name, shared, Question(lying, shape), user_line()), source, out)

    def gave_rows(self, source: Any, out: Any) -> None:
        """Notes that `contiguous` gave the tensor itself, or a copy."""
        self._doubt("contiguous", source, out, out is source, None)

    def check_doubt(self, doubt: Doubt, sizes: Mapping[str, int]) -> None:
        """Raises ShapeError, naming the line, where these sizes give a view and a copy was recorded, or the other way round."""
        source, shape = doubt.call.question
        found = self._lies(source, sizes)
        new = substituted(shape, sizes)
        if found is None or _has_unknown(new):
            return  # it hangs on what is not fed
        type_, strides = found
        shares = in_rows(type_.shape, strides) if new is None else reshaped(type_.shape, strides, new) is not None
        if shares != doubt.call.shared and 0 not in type_.shape:
            parts = (*source.type.shape, *(source.layout.strides or ()))
            names = dict.fromkeys(name for size in parts if isinstance(size, Dim) for name in size.names())
            raise refusal(doubt.call, source.type, type_, {name: sizes[name] for name in names})

    def _lies(self, x: Lying, sizes: Mapping[str, int]) -> tuple[TensorType, Strides] | None:
        """A tensor's type and strides for these sizes; None where they do not tell all that it needs."""
        known: dict[int, Strides] = {}
        for place in self._steps_for(x.layout.anew):
            step = self.steps[place]
            operands = [_put_in(operand, sizes, known) for operand in step.operands]
            if _has_unknown(tuple(operands)):
                return None
            attrs, shape = substituted(step.attrs, sizes), substituted(step.shape, sizes)
            known[place] = strides_anew(step.op, attrs, operands, shape)
        found = _put_in(x, sizes, known)
        return None if _has_unknown(found) else found

    def _steps_for(self, last: int) -> list[int]:
        """The steps that a step follows from and itself, in order."""
        needed, places = {last}, []
        for place in range(last, -1, -1):
            if place in needed:
                places.append(place)
                needed.update(x.layout.anew for x in self.steps[place].operands)
        return places[::-1]

    # --- decisions ------------------------------------------------------------------------------------------------

    def number(self, size: Size) -> int:
        """A size in this call; where it is not known, or 0, a number that divides well and is no other size's."""
        if isinstance(size, Dim):
            for name in size.names():
                if name not in self.numbers:
                    self.numbers[name] = self.sizes.get(name) or 2520 * (2 * len(self.numbers) + 101)
            size = substitute(size, self.numbers)
        assert isinstance(size, int)
        return size

    def note(self, rule: Callable[..., Any], sizes: Any, answer: Any, shape: Shape = ()) -> None:
        """Keeps a decision that other sizes may change."""
        if _has_unknown(sizes):
            self.decisions.append(Decision(rule, sizes, answer, shape))

    def _numbers(self, x: Any) -> Any:
        return tuple([self._numbers(part) for part in x]) if isinstance(x, tuple) else self.number(x)

    # --- what is asked --------------------------------------------------------------------------------------------

    def are_rows(self, tensor: Any) -> bool:
        """Whether a recorded tensor lies row by row."""
        layout = getattr(tensor, "_layout", None)
        if layout is None:
            return True
        self.read |= layout.given
        if layout.strides is None:
            return True
        sizes = (tuple(tensor._data.type.shape), layout.strides)
        answer = 0 in substituted(sizes[0], self.sizes) or in_rows(*self._numbers(sizes))
        self.note(in_rows, sizes, answer)
        return answer

    def told(self, tensor: Any) -> Strides:
        """The strides of a recorded tensor, for the user's code to see."""
        layout = getattr(tensor, "_layout", None)
        self.read |= 0 if layout is None else layout.given
        self.matter = True
        return strides_of(tensor)


def layout_of_constant(array: Any) -> Layout | None:
    """The layout of a tensor whose array is known."""
    return None if array.flags.c_contiguous else Layout(tuple([s // array.itemsize for s in array.strides]), 0)


_ROWS = Layout(None, 0)


def _put_in(x: Lying, sizes: Mapping[str, Size], known: Mapping[int, Strides]) -> tuple[TensorType, Strides]:
    """Type and strides with the sizes put in; `known`: the strides of steps."""
    shape = substituted(tuple(x.type.shape), sizes)
    strides = known.get(x.layout.anew, x.layout.strides)
    rows = strides is None
    return TensorType(shape, x.type.dtype), packed(shape, range(len(shape))) if rows else substituted(strides, sizes)


def _has_unknown(x: Any) -> bool:
    return any(map(_has_unknown, x)) if isinstance(x, tuple) else isinstance(x, Dim)


def save_layouts(entry: Entry, operands: Sequence[Any], outputs: Sequence[Any]) -> None:
    """Notes the layouts of what an entry of the tape keeps."""
    for place, kept in entry.saved.items():
        if place == OUT:
            for one, out in zip(kept, outputs, strict=True):
                if one is not None:
                    one.layout = getattr(out, "_layout", None)
        else:
            kept.layout = getattr(operands[place], "_layout", None)
