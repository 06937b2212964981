"""Sequences of different lengths: padded, and packed so that no step holds padding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from graphc.core.arrays import host, is_array
from graphc.core.context import STATE, eagerly
from graphc.core.errors import ArgumentError, ShapeError, SymbolicError, user_line
from graphc.core.tensor_types import INT
from graphc.functions.arguments import need_tensor
from graphc.functions.creation import from_array
from graphc.functions.indexing import index_select
from graphc.functions.joining import pad, stack
from graphc.functions.shaping import transpose
from graphc.functions.splitting import slice_axis
from graphc.nn.losses import number
from graphc.primitives.elementwise import where
from graphc.primitives.indexing import index
from graphc.primitives.views import reshape


class _Packed(NamedTuple):
    data: Any
    batch_sizes: Any
    sorted_indices: Any
    unsorted_indices: Any


class PackedSequence(_Packed):
    """Sequences step by step without padding: data [sum of lengths, *], batch_sizes i64[T], how many go on at each step.

    `sorted_indices` brings the batch into order of falling length, `unsorted_indices` back; both None if it was in order.
    """

    def __new__(
        cls, data: Any, batch_sizes: Any = None, sorted_indices: Any = None, unsorted_indices: Any = None
    ) -> PackedSequence:
        if batch_sizes is None:
            if not isinstance(data, list | tuple) or len(data) != 2:
                raise AssertionError("Expected data to be a list or tuple of length 2")
            data, batch_sizes = data
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def _with(self, data: Any) -> PackedSequence:
        return self if data is self.data else type(self)(data, *self[1:])

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """With the data moved or cast as `Tensor.to` does; self if nothing changes."""
        return self._with(self.data.to(*args, **kwargs))

    def cpu(self) -> PackedSequence:
        """With the data on the CPU."""
        return self._with(self.data.cpu())

    def cuda(self, device: Any = None) -> PackedSequence:
        """With the data on a CUDA device; BackendError where there is none."""
        return self._with(self.data.cuda(device))

    def double(self) -> PackedSequence:
        """With the data as float64."""
        return self._with(self.data.double())

    def float(self) -> PackedSequence:
        """With the data as float32."""
        return self._with(self.data.float())

    def half(self) -> PackedSequence:
        """With the data as float16."""
        return self._with(self.data.half())

    def long(self) -> PackedSequence:
        """With the data as int64."""
        return self._with(self.data.long())

    def int(self) -> PackedSequence:
        """With the data as int32."""
        return self._with(self.data.int())

    def short(self) -> PackedSequence:
        """With the data as int16."""
        return self._with(self.data.short())

    def char(self) -> PackedSequence:
        """With the data as int8."""
        return self._with(self.data.char())

    def byte(self) -> PackedSequence:
        """With the data as uint8."""
        return self._with(self.data.byte())

    @property
    def is_cuda(self) -> bool:
        """Whether the data is on a CUDA device."""
        return bool(self.data.is_cuda)


class Layout(NamedTuple):
    """Where the rows of a PackedSequence stand in a padded batch of `steps` x `width`, in order of falling length."""

    steps: int
    width: int
    time: np.ndarray[Any, Any]
    place: np.ndarray[Any, Any]

    @property
    def lengths(self) -> np.ndarray[Any, Any]:
        """The length of each sequence: i64[width]."""
        return np.bincount(self.place, minlength=self.width)

    def rows(self) -> tuple[Any, Any]:
        """The row of data of each step and place (0 where there is none), i64[steps, width], and where there is one."""
        at = np.zeros((self.steps, self.width), np.int64)
        valid = np.zeros((self.steps, self.width), bool)
        at[self.time, self.place] = np.arange(len(self.time))
        valid[self.time, self.place] = True
        return from_array(at), from_array(valid)


def _known(array: Any) -> Any:
    """An i64 tensor whose numbers can be read here, also while a graph is recorded."""
    with eagerly():
        return from_array(np.asarray(array, np.int64))


def reordered(x: Any, dim: int, permutation: Any) -> Any:
    """x with the parts along `dim` in the order of a permutation i64[N]; x itself for None."""
    if permutation is None:
        return x
    known = is_array(permutation._data)
    return index_select(x, dim, from_array(host(permutation._data)) if known else permutation)


def _layout(counts: Sequence[int]) -> Layout:
    sizes = np.asarray(counts, np.int64)
    time = np.repeat(np.arange(len(sizes)), sizes)
    place = np.concatenate([np.arange(n) for n in sizes]) if len(sizes) else time
    return Layout(len(sizes), int(sizes[0]) if len(sizes) else 0, time, place)


def layout_of(sequence: PackedSequence) -> Layout:
    """The layout that batch_sizes tell; SymbolicError where only a run could know them."""
    sizes = sequence.batch_sizes
    made_here = is_array(sequence.data._data) == (STATE.recorder is None)
    if not is_array(sizes._data) or not made_here:
        raise SymbolicError(
            f"the lengths of a PackedSequence that was made outside are known only when the graph runs (at {user_line()})"
            "\n  hint: call pack_padded_sequence inside the traced function, with lengths as a list of ints"
        )
    return _layout(host(sizes._data).tolist())


def _as_lengths(lengths: Any) -> list[int]:
    """Lengths as ints; RuntimeError unless they are a vector of positive whole numbers."""
    if hasattr(lengths, "tensor_type"):
        if len(lengths.shape) != 1 or lengths.dtype.category != INT:
            raise ShapeError(
                f"'lengths' argument should be a 1D CPU int64 tensor, but got {len(lengths.shape)}D {lengths.dtype.name}"
            )
        try:
            lengths = lengths.tolist()
        except SymbolicError:
            raise SymbolicError(
                f"the lengths of the sequences are known only when the graph runs (at {user_line()})\n"
                "  hint: give them as a list of ints, which makes a build for each list, or leave the batch padded and mask "
                "what lies behind the ends: torch.arange(steps) < lengths[:, None]"
            ) from None
    found = [int(n) for n in lengths]
    if not found or min(found) <= 0:
        raise ShapeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' that is <= 0"
        )
    return found


def invert_permutation(permutation: Any) -> Any:
    """The permutation that undoes `permutation` (i64[N], or None for none)."""
    if permutation is None:
        return None
    with eagerly():
        return from_array(np.argsort(permutation.numpy(), kind="stable").astype(np.int64))


def pack_padded_sequence(input: Any, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True) -> Any:
    """A PackedSequence of the first `lengths` steps of a padded batch; input: [T, N, *] (`batch_first`: [N, T, *]).

    RuntimeError for lengths that are not positive, do not fit the batch, or, with `enforce_sorted`, do not fall.
    """
    x, counts = need_tensor(input), _as_lengths(lengths)
    time_axis, batch_axis = (1, 0) if batch_first else (0, 1)
    order = None
    if not enforce_sorted:
        order = np.argsort(-np.asarray(counts), kind="stable").astype(np.int64)
        counts = [counts[i] for i in order]
    if any(a < b for a, b in pairwise(counts)):
        raise ShapeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can pass "
            "`enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to sidestep this requirement if you do not "
            "need ONNX exportability."
        )
    batch, steps = x.shape[batch_axis], x.shape[time_axis]
    if isinstance(batch, int) and batch != len(counts):
        raise ShapeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(counts)} (batch_size={batch})"
        )
    if isinstance(steps, int) and counts[0] > steps:
        raise ShapeError(f"pack_padded_sequence: a length of {counts[0]} in a batch of {steps} steps")
    sizes = [sum(n > t for n in counts) for t in range(counts[0])]
    layout = _layout(sizes)
    place = layout.place if order is None else order[layout.place]
    at = (layout.time, place) if not batch_first else (place, layout.time)
    data = index(x, *map(from_array, at), axes=(0, 1))
    return PackedSequence(data, _known(sizes), None if order is None else _known(order))


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Any, Any]:
    """The padded batch [T, N, *] (`batch_first`: [N, T, *]) of a PackedSequence, and the lengths i64[N].

    ValueError if `total_length` is less than the longest sequence.
    """
    layout = layout_of(sequence)
    if total_length is not None and total_length < layout.steps:
        raise ArgumentError(
            "Expected total_length to be at least the length of the longest sequence in input, but got "
            f"total_length={total_length} and max sequence length being {layout.steps}"
        )
    out = padded(sequence.data, layout, padding_value)
    if total_length is not None and total_length > layout.steps:
        widths = (0, 0) * (len(out.shape) - 1) + (0, total_length - layout.steps)
        out = pad(out, widths, value=padding_value)
    out = reordered(out, 1, sequence.unsorted_indices)
    with eagerly():
        lengths = reordered(_known(layout.lengths), 0, sequence.unsorted_indices)
    return transpose(out, 0, 1) if batch_first else out, lengths


def padded(data: Any, layout: Layout, padding_value: Any = 0.0) -> Any:
    """Packed rows [sum of lengths, *] as [steps, width, *], in order of falling length."""
    at, valid = layout.rows()
    found = index(data, at, axes=(0,))
    valid = reshape(valid, shape=(layout.steps, layout.width, *(1 for _ in data.shape[1:])))
    return where(valid, found, number(padding_value, data))


def packed(x: Any, layout: Layout) -> Any:
    """The rows of a padded batch [steps, width, *] that belong to sequences: the inverse of `padded`."""
    return index(x, from_array(layout.time), from_array(layout.place), axes=(0, 1))


def pad_sequence(
    sequences: Any, batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Any:
    """Sequences [L_i, *] as one batch [T, N, *] (`batch_first`: [N, T, *]), filled up to the longest at one side.

    RuntimeError for no sequence, sequences of other trailing sizes, or another side than left and right.
    """
    if not isinstance(sequences, Iterable):
        raise ShapeError(f"pad_sequence: Expected iterable for input sequences, but got arg of type: {type(sequences)}")
    parts = list(sequences)
    if not parts:
        raise ShapeError("received an empty list of sequences")
    if padding_side not in ("left", "right"):
        raise ShapeError(f"Expected padding_side to be one of left or right, but got {padding_side}.")
    longest = max(len(x) for x in parts)
    made = []
    for x in parts:
        gap = longest - len(x)
        widths = (0, 0) * (len(x.shape) - 1) + ((gap, 0) if padding_side == "left" else (0, gap))
        made.append(pad(x, widths, value=padding_value) if gap else x)
    return stack(made, 0 if batch_first else 1)


def unpad_sequence(padded_sequences: Any, lengths: Any, batch_first: bool = False) -> list[Any]:
    """The sequences [L_i, *] of a padded batch [T, N, *] (`batch_first`: [N, T, *])."""
    batch = padded_sequences if batch_first else transpose(padded_sequences, 0, 1)
    return [slice_axis(x, 0, 0, int(n)) for x, n in zip(batch, lengths, strict=True)]


def pack_sequence(sequences: Any, enforce_sorted: bool = True) -> Any:
    """A PackedSequence of sequences [L_i, *]; RuntimeError if `enforce_sorted` and their lengths do not fall."""
    return pack_padded_sequence(pad_sequence(sequences), [len(x) for x in sequences], enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Any]:
    """The sequences [L_i, *] of a PackedSequence, in the order of the batch."""
    whole, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(whole, lengths.numpy().tolist(), batch_first=True)


__all__ = [
    "PackedSequence", "invert_permutation", "pack_padded_sequence", "pack_sequence", "pad_packed_sequence", "pad_sequence",
    "unpack_sequence", "unpad_sequence",
]  # fmt: skip
