"""Tensors as the lower floors see them, and the tape.

A tensor holds data: a NumPy array (eager), a `Value` of a program (recorded), or only a type (what a vjp rule gets for an
operand it said it would not read). `apply` records a tape `Entry` whatever the data is, so the one reverse sweep serves
the eager tape and the graph alike. Entries point backwards only: there are no cycles, reference counts free the tape.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from graphc.core.errors import GradientError, show_line
from graphc.core.op import OUT, Elementwise, Joint, Kind, Op
from graphc.core.tensor_types import DType, TensorType, dtype_of, type_of_array

_LIBRARY = Kind("opaque")


class TypeOnly:
    """Data of an operand that is not kept: only its type is known."""

    __slots__ = ("dtype", "shape", "type")
    __array_ufunc__ = None

    def __init__(self, type: TensorType):
        self.type = type
        self.shape, self.dtype = type


class _Leaf:
    """The edge of a tensor whose gradient is wanted and that no op made."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "LEAF"


LEAF = _Leaf()


class Counter:
    """How often a piece of memory was written; shared by a base, its views and what the tape saved of them.

    `line`: file and number of the user's line that wrote it last, where the tape may have saved it before.
    """

    __slots__ = ("count", "line")

    def __init__(self) -> None:
        self.count = 0
        self.line: tuple[str, int] | None = None


class ViewOf:
    """How a view came from its base: a chain of (view op, attributes), and the base's write count when it was derived.

    `chain` may be given as a function that finds it when it is first needed. An empty chain is a detached tensor.
    """

    __slots__ = ("_chain", "base", "stamp", "tracked")

    def __init__(self, base: TensorBase, chain: Any, stamp: int, tracked: bool):
        self.base, self._chain, self.stamp, self.tracked = base, chain, stamp, tracked

    @property
    def chain(self) -> tuple[tuple[Op, Mapping[str, Any]], ...]:
        """The view ops from the base to the view."""
        chain = self._chain
        if callable(chain):
            chain = self._chain = chain()
        return chain


class TensorBase:
    """The slots every tensor has. `_data` is an array (of the host or a device), a program's value, or `TypeOnly`.

    `_edge`: None (no gradient), `LEAF`, or `(entry, output index)`. `_version`: the write counter, None until someone
    needs one. `_base`: a `ViewOf` for views. `_grad`: unset or the gradient of a leaf. `_layout`: unset, or where the elements
    of a recorded tensor lie (`layouts.py`).
    """

    __slots__ = ("_base", "_data", "_edge", "_grad", "_layout", "_version")

    _data: Any
    _edge: Any
    _version: Counter | None
    _base: ViewOf | None
    _grad: Any
    _layout: Any

    @property
    def tensor_type(self) -> TensorType:
        """Shape and dtype (`type` is PyTorch's method)."""
        return type_of_data(self._data)

    @property
    def shape(self) -> Any:
        """The sizes, unknown ones as `Dim`."""
        return self._data.shape if isinstance(self._data, np.ndarray) else self._data.type.shape

    @property
    def dtype(self) -> DType:
        """The element type."""
        return dtype_of(self._data.dtype) if isinstance(self._data, np.ndarray) else self._data.type.dtype


def counter_of(tensor: TensorBase) -> Counter:
    """The tensor's write counter, made now if nobody needed it before."""
    counter = tensor._version
    if counter is None:
        counter = tensor._version = Counter()
    return counter


class Saved:
    """Data the tape keeps for a rule, and the write count it had then; of recorded tensors also their layout."""

    __slots__ = ("counter", "data", "layout", "stamp")

    layout: Any

    def __init__(self, tensor: TensorBase):
        self.data, self.counter = tensor._data, counter_of(tensor)
        self.stamp = self.counter.count


class Entry:
    """One op on the tape.

    `edges[i]`: where the gradient of input i goes: `(entry, output index)`, a leaf tensor, or None.
    `metas`, `out_metas`: per operand and result `(shape, dtype)`, a TensorType or a raw pair with a NumPy dtype.
    `saved`: what the rules of the wanted gradients read, by position; None once a backward pass has freed it.
    """

    # What few entries have lives in the instance dict, which is only made for those that do.
    __slots__ = ("__dict__", "__weakref__", "attrs", "edges", "metas", "op", "out_metas", "saved")

    #: hooks by output number; weak references to outputs that retain their gradient; the recorded line
    hooks: dict[int, Any] | None = None
    retained: dict[int, Any] | None = None
    line: Any = ""

    def __init__(
        self, op: Any, attrs: Mapping[str, Any], edges: tuple[Any, ...], metas: Any, out_metas: Any, saved: Any
    ):
        self.op = op
        self.attrs = attrs
        self.edges = edges
        self.metas = metas
        self.out_metas = out_metas
        self.saved = saved


def type_of_meta(meta: Any) -> TensorType:
    """The TensorType of an entry's meta."""
    return meta if type(meta) is TensorType else TensorType(meta[0], dtype_of(meta[1]))


def edge_of(tensor: TensorBase) -> Any:
    """What an entry stores for an operand: its edge, or the tensor itself for a leaf."""
    edge = tensor._edge
    return tensor if edge is LEAF else edge


def positions_saved(op: Op, edges: tuple[Any, ...]) -> tuple[int | str, ...]:
    """Which operands (by position) and whether the outputs (`OUT`) the rules of the wanted gradients read."""
    if isinstance(op.vjp, Joint):
        if op.saves[:1] == ("all",):  # every operand
            return (*range(len(edges)), *op.saves[1:])
        return tuple(p for p in op.saves if p == OUT or p < len(edges))  # type: ignore[operator,misc]
    read: list[int | str] = []
    for i, edge in enumerate(edges):
        if edge is not None and i < len(op.saves):
            read += [p for p in op.saves[i] if p not in read]  # type: ignore[union-attr]
    return tuple(read)


def is_float_meta(meta: Any) -> bool:
    """Whether gradients flow through a tensor of this (shape, dtype)."""
    dtype = meta[1]
    return dtype.category == 2 if type(dtype) is DType else dtype_of(dtype).category == 2


def tape_entry(
    op: Op,
    attrs: Mapping[str, Any],
    inputs: tuple[Any, ...],
    outputs: tuple[Any, ...],
    metas: tuple[Any, ...],
    out_metas: tuple[Any, ...],
) -> Entry | None:
    """Puts an op on the tape and gives the differentiable outputs their edges; None where no gradient can flow.

    The caller has checked that the tape is on and that some input has an edge.
    """
    vjp = op.vjp
    if vjp is None:
        return None
    if type(vjp) is tuple:
        edges = tuple([None if rule is None else edge_of(x) for x, rule in zip(inputs, vjp, strict=True)])
        if all(e is None for e in edges):
            return None
    else:
        edges = tuple([edge_of(x) for x in inputs])
    differentiable = [is_float_meta(meta) for meta in out_metas]
    if not any(differentiable):
        return None
    # Of several outputs (sort), rules read the indices, not the values, which may then be changed in place; those of
    # decompositions read all.
    kept = [op.n_outputs < 2 or not d or op.kind == _LIBRARY for d in differentiable]
    saved = {
        p: tuple([Saved(o) if k else None for o, k in zip(outputs, kept, strict=True)])
        if p == OUT
        else Saved(inputs[int(p)])
        for p in positions_saved(op, edges)
    }
    entry = Entry(op, attrs, edges, metas, out_metas, saved)
    for i, out in enumerate(outputs):
        if differentiable[i]:
            out._edge = (entry, i)
    return entry


def check_unchanged(saved: Saved, entry: Entry) -> None:
    """Raises GradientError if saved data was written since the forward pass.

    A control op saves all that its bodies may read, more than their steps would in eager mode; as it is recorded, what it
    saved is a value that no write changes, so it is not tested.
    """
    if getattr(entry.op.kind, "name", "") == "control":
        return
    if saved.counter.count != saved.stamp:
        where = f" (recorded at {entry.line})" if entry.line else ""
        written = show_line(*saved.counter.line) if saved.counter.line else ""
        error = GradientError(
            "one of the variables needed for gradient computation has been modified by an inplace operation: "
            f"{entry.op.name}{where} saved a {type_of_data(saved.data)} that is now at version {saved.counter.count}; "
            f"expected version {saved.stamp} instead{written and f', written at {written}'}\n"
            "  hint: write `x = x + y` instead of `x += y`, or change a clone()"
        )
        error.line = written or error.line
        raise error


def type_of_data(data: Any) -> TensorType:
    """The TensorType of a tensor's data."""
    return type_of_array(data) if isinstance(data, np.ndarray) else data.type


__all__ = [
    "LEAF", "Counter", "Elementwise", "Entry", "Saved", "TensorBase", "TypeOnly", "ViewOf", "check_unchanged", "counter_of",
    "edge_of", "is_float_meta", "positions_saved", "tape_entry", "type_of_data", "type_of_meta",
]  # fmt: skip
