"""How tensors show themselves: PyTorch's layout, and the type of a symbolic tensor."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.aliasing import refresh
from graphc.core.arrays import DeviceArray, host, is_array
from graphc.core.errors import ArgumentError
from graphc.core.tape import LEAF
from graphc.core.tensor_types import FLOAT, bool_, defaults, dtype_of, int64

_PREFIX = "tensor("


@dataclass
class _Options:
    """What `set_printoptions` sets."""

    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


OPTIONS = _Options()
_PROFILES: dict[str, dict[str, Any]] = {
    "default": {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80},
    "short": {"precision": 2, "threshold": 1000, "edgeitems": 2, "linewidth": 80},
    "full": {"precision": 4, "threshold": math.inf, "edgeitems": 3, "linewidth": 80},
}


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Sets how tensors are printed; None leaves a setting as it is, but for `sci_mode`, where it means "as fits".

    `precision`: digits after the point. `threshold`: tensors with more elements show only `edgeitems` at each end of each
    dimension. `linewidth`: characters a line. `profile`: "default", "short" or "full", set first. Raises ArgumentError for
    another profile.
    """
    if profile is not None and profile not in _PROFILES:
        raise ArgumentError(f"set_printoptions: there is no profile {profile!r}", need="default, short or full")
    chosen = dict(_PROFILES[profile]) if profile is not None else {}
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    chosen.update({name: x for name, x in given.items() if x is not None})
    for name, x in chosen.items():
        setattr(OPTIONS, name, x)
    OPTIONS.sci_mode = sci_mode


def format_tensor(tensor: Any) -> str:
    """PyTorch's `tensor([...], dtype=..., requires_grad=True)`, or the type of a symbolic tensor."""
    data = tensor._data
    if not is_array(data):
        return f"Tensor({data.type}, symbolic)"
    body = format_array(host(data), len(_PREFIX))
    return _with_notes(_PREFIX + body, _notes(tensor, data), len(_PREFIX)) + ")"


def format_array(data: np.ndarray[Any, Any], indent: int = 0) -> str:
    """The elements alone, in nested brackets; lines after the first begin with `indent` spaces."""
    if data.size == 0:
        return "[]"
    summarised = data.size > OPTIONS.threshold
    shown = _element(_edges(data) if summarised else data)
    return _block(data, indent, summarised, shown)


def _notes(tensor: Any, data: Any) -> list[str]:
    """What stands behind the elements: size of an empty tensor, unusual dtype, place in the graph."""
    notes = []
    refresh(tensor)
    dtype = dtype_of(data.dtype)
    usual = (defaults.float_dtype,) if data.size == 0 else (defaults.float_dtype, int64, bool_)
    if data.size == 0 and data.ndim != 1:
        notes.append(f"size={data.shape}")
    if type(data) is DeviceArray:
        notes.append(f"device='{data.memory.device}'")
    if dtype not in usual:
        notes.append(f"dtype={dtype}")
    if tensor._edge is LEAF:
        notes.append("requires_grad=True")
    elif tensor._edge is not None:
        notes.append(f"grad_fn={tensor.grad_fn}")
    return notes


def _with_notes(text: str, notes: Sequence[str], indent: int) -> str:
    """Appends the notes; one that would reach past the line's width begins a new line."""
    width = len(text) - text.rfind("\n") + 1
    for note in notes:
        if width + len(note) + 2 > OPTIONS.linewidth:
            text += ",\n" + " " * indent + note
            width = indent + len(note)
        else:
            text += ", " + note
            width += len(note) + 2
    return text


def _edges(data: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The elements that a summary shows."""
    edge = OPTIONS.edgeitems
    for axis, size in enumerate(data.shape):
        if size > 2 * edge:
            kept = [*range(edge), *range(size - edge, size)]
            data = np.take(data, kept, axis=axis)
    return data


@dataclass
class _Shown:
    """How one element is written, and how wide they all are made."""

    text: Callable[[Any], str]
    width: int

    def __call__(self, x: Any) -> str:
        return self.text(x).rjust(self.width)


def _element(data: np.ndarray[Any, Any]) -> _Shown:
    """One way to write every element of these."""
    if dtype_of(data.dtype).category != FLOAT:
        return _Shown(str, max(len(str(x)) for x in data.ravel().tolist()))
    numbers = data.astype(np.float64).ravel()
    numbers = numbers[np.isfinite(numbers) & (numbers != 0)]
    digits = OPTIONS.precision
    whole = bool((numbers == np.ceil(numbers)).all())
    scientific, width = False, 1
    if numbers.size:
        sizes = np.abs(numbers)
        least, greatest = float(sizes.min()), float(sizes.max())
        scientific = greatest / least > 1000 or greatest > 1e8 or least < 1e-4
        if OPTIONS.sci_mode is not None:
            scientific = OPTIONS.sci_mode
        text = _writer(scientific, whole, digits)
        width = max(len(text(x)) for x in numbers.tolist())
    return _Shown(_writer(scientific, whole, digits), width)


def _writer(scientific: bool, whole: bool, digits: int) -> Callable[[float], str]:
    """Writes one float: `1.2346e+05`, `12.` or `12.3457`."""
    if scientific:
        return lambda x: f"{x:.{digits}e}"
    if whole:
        return lambda x: f"{x:.0f}." if math.isfinite(x) else f"{x:.0f}"
    return lambda x: f"{x:.{digits}f}"


def _block(data: np.ndarray[Any, Any], indent: int, summarised: bool, shown: _Shown) -> str:
    """The elements in as many brackets as there are dimensions."""
    if data.ndim == 0:
        return shown(data.item())
    edge = OPTIONS.edgeitems
    cut = summarised and len(data) > 2 * edge
    parts = [data] if not cut else [data[:edge], data[len(data) - edge :]]
    if data.ndim == 1:
        groups = [[shown(x) for x in part.tolist()] for part in parts]
        return _row([*groups[0], " ...", *groups[1]] if cut else groups[0], indent, shown.width)
    inner = [[_block(x, indent + 1, summarised, shown) for x in part] for part in parts]
    blocks = [*inner[0], "...", *inner[1]] if cut else inner[0]
    return "[" + ("," + "\n" * (data.ndim - 1) + " " * (indent + 1)).join(blocks) + "]"


def _row(words: Sequence[str], indent: int, width: int) -> str:
    """Words in brackets, as many on a line as fit."""
    count = max(1, (OPTIONS.linewidth - indent) // (width + 2))
    lines = [", ".join(words[i : i + count]) for i in range(0, len(words), count)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"


__all__ = ["format_array", "format_tensor", "set_printoptions"]
