"""Reads pickles of plain data without running them: dicts, lists, numbers, strings, bytes and NumPy arrays of numbers.

CIFAR's files are pickles. A pickle may name any function and have it called; this reader knows four names, and its own
small classes answer for them. FileFormatError for everything else.
"""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np

from graphc.core.errors import FileFormatError


class _Type:
    """Stands for a `numpy.dtype` while its state comes in."""

    def __init__(self, code: Any, align: Any = False, copy: Any = False):
        self.code, self.order = code, "="

    def __setstate__(self, state: Any) -> None:
        self.order = state[1] if state[1] in ("<", ">", "|") else "="

    def read(self) -> np.dtype[Any]:
        """The dtype; only bools, numbers and text of fixed length have one here."""
        found = np.dtype(self.code).newbyteorder(self.order)
        if found.kind not in "biufSU" or found.names is not None:
            raise FileFormatError(f"an array of {found} is no plain data")
        return found


class _Array:
    """Stands for a `numpy.ndarray` while its state comes in."""

    array: Any = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, content = state
        content = content.encode("latin1") if isinstance(content, str) else content
        if not isinstance(dtype, _Type) or not isinstance(content, bytes):
            raise FileFormatError("an array without bytes")
        self.array = np.frombuffer(content, dtype.read()).reshape(shape, order="F" if fortran else "C").copy()


def _new_array(*_: Any) -> _Array:
    return _Array()


def _encoded(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise FileFormatError(f"bytes written as {encoding}")
    return text.encode("latin1")


_KNOWN = {
    ("numpy", "ndarray"): _Array, ("numpy", "dtype"): _Type, ("_codecs", "encode"): _encoded,
    ("numpy.core.multiarray", "_reconstruct"): _new_array, ("numpy._core.multiarray", "_reconstruct"): _new_array,
}  # fmt: skip


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Our own stand-in for a name of NumPy's arrays."""
        if (module, name) not in _KNOWN:
            raise FileFormatError(f"it asks for {module}.{name}, and only plain data is read")
        return _KNOWN[module, name]


def read_plain(path: str) -> Any:
    """What the pickle in a file holds, text of Python 2 as latin1. FileFormatError, naming the file, if not plain data."""
    with open(path, "rb") as source:
        try:
            return _finished(_Reader(source, encoding="latin1").load())
        except FileFormatError as error:
            raise FileFormatError(f"{path}: refused: {error}") from error
        except Exception as error:  # a damaged pickle fails in any way
            raise FileFormatError(f"{path}: not a pickle of plain data: {type(error).__name__}: {error}") from error


def _finished(found: Any) -> Any:
    """The arrays in place of what stood for them."""
    if isinstance(found, _Array):
        return found.array
    if isinstance(found, dict):
        return {_finished(key): _finished(value) for key, value in found.items()}
    if isinstance(found, list | tuple):
        return type(found)(_finished(x) for x in found)
    if not isinstance(found, str | bytes | int | float | None):
        raise FileFormatError(f"it holds a {type(found).__name__}")
    return found
