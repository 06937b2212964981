"""Nested containers of tensors: taken apart into leaves and a comparable structure, and put together again."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from types import FunctionType
from typing import Any

import numpy as np

from graphc.core.dims import Dim, Size, substitute
from graphc.core.tape import TensorBase
from graphc.core.tensor_types import DType
from graphc.ir.program import attr_key

_MAPPINGS = (dict, OrderedDict)
_PLAIN = (bool, int, float, str, bytes, type(None), Dim, DType, complex, slice, type(Ellipsis))


class _LeafMark:
    def __repr__(self) -> str:
        return "*"


LEAF_MARK = _LeafMark()


class Other:
    """A non-tensor in a nest. Plain values compare by type and bits, arrays by content, other objects by identity."""

    __slots__ = ("key", "value")

    def __init__(self, value: Any):
        self.value = value
        if isinstance(value, _PLAIN):
            self.key: Any = (type(value), repr(value)) if isinstance(value, slice | complex) else attr_key(value)
        elif isinstance(value, set | frozenset) and all(isinstance(x, _PLAIN) for x in value):
            self.key = (type(value), frozenset(map(attr_key, value)))
        elif isinstance(value, np.generic):
            self.key = (value.dtype.str, value.tobytes())
        elif isinstance(value, np.ndarray):
            self.key = (value.dtype.str, value.shape, value.tobytes())
        else:
            self.key = ("object", id(value))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Other) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return repr(self.value)

    def shown(self) -> Any:
        """The value where it is a plain one, else a text for which no code of its own is run."""
        if isinstance(self.value, _PLAIN):
            return self.value
        is_known = isinstance(self.value, np.generic | np.ndarray | type | FunctionType)
        return repr(self.value) if is_known else object.__repr__(self.value)


def flatten(nest: Any, leaves: list[Any], paths: list[str] | None = None, path: str = "") -> Any:
    """Appends the tensors of a nest to `leaves` (and their paths, such as `args[0]['x']`) and returns its structure."""
    if isinstance(nest, TensorBase):
        leaves.append(nest)
        if paths is not None:
            paths.append(path)
        return LEAF_MARK
    kind = type(nest)
    if kind is list or isinstance(nest, tuple):
        if paths is None:
            return (kind, *[flatten(x, leaves) for x in nest])
        return (kind, *[flatten(x, leaves, paths, f"{path}[{i}]") for i, x in enumerate(nest)])
    if kind in _MAPPINGS:
        if paths is None:
            return (kind, tuple(nest), *[flatten(x, leaves) for x in nest.values()])
        return (kind, tuple(nest), *[flatten(x, leaves, paths, f"{path}[{k!r}]") for k, x in nest.items()])
    if hasattr(kind, "__dataclass_fields__"):
        fields = tuple(f.name for f in dataclasses.fields(nest) if hasattr(nest, f.name))
        parts = [flatten(getattr(nest, name), leaves, paths, f"{path}.{name}") for name in fields]
        return (_Record(kind), fields, *parts)
    return Other(nest)


def tensors_in(nest: Any) -> list[Any]:
    """The tensors of a nest, in order."""
    leaves: list[Any] = []
    flatten(nest, leaves)
    return leaves


@dataclasses.dataclass(frozen=True)
class _Record:
    """The kind of a nest that is a dataclass instance."""

    kind: type

    def make(self, values: Mapping[str, Any]) -> Any:
        """An instance with these fields, made without calling its __init__."""
        made: Any = object.__new__(self.kind)
        for name, value in values.items():
            object.__setattr__(made, name, value)
        return made


def _parts(structure: Any) -> Any:
    return structure[2:] if structure[0] in _MAPPINGS or type(structure[0]) is _Record else structure[1:]


def objects_in(structure: Any) -> Iterator[Any]:
    """The objects in a structure that are neither tensors nor plain values."""
    if isinstance(structure, Other):
        if isinstance(structure.key, tuple) and structure.key[:1] == ("object",):
            yield structure.value
    elif structure is not LEAF_MARK:
        for part in _parts(structure):
            yield from objects_in(part)


def changed_value(old: Any, new: Any, path: str = "") -> tuple[str, Any, Any] | None:
    """The first place where two structures that are otherwise alike have other values: its path, and both, or their text."""
    if isinstance(old, Other) and isinstance(new, Other):
        return None if old == new else (path, old.shown(), new.shown())
    if type(old) is not tuple or type(new) is not tuple or old[0] != new[0] or len(old) != len(new):
        return None
    names: Any = [f"[{i}]" for i in range(len(old) - 1)]
    if len(_parts(old)) < len(old) - 1:  # keys or fields come first
        if old[1] != new[1]:
            return None
        names = [f".{name}" if type(old[0]) is _Record else f"[{name!r}]" for name in old[1]]
    for name, a, b in zip(names, _parts(old), _parts(new), strict=True):
        found = changed_value(a, b, path + name)
        if found is not None:
            return found
    return None


def has_sizes(structure: Any) -> bool:
    """Whether unknown sizes are among the plain values of a structure."""
    if isinstance(structure, Other):
        return isinstance(structure.value, Dim)
    return type(structure) is tuple and any(map(has_sizes, structure))


def with_sizes(structure: Any, sizes: Mapping[str, Size]) -> Any:
    """The structure with numbers for the unknown sizes among its plain values."""
    if isinstance(structure, Other):
        return Other(substitute(structure.value, sizes)) if isinstance(structure.value, Dim) else structure
    return tuple(with_sizes(part, sizes) for part in structure) if type(structure) is tuple else structure


def unflatten(structure: Any, leaves: Sequence[Any]) -> Any:
    """The nest of that structure around these leaves."""
    if structure is LEAF_MARK:
        (leaf,) = leaves
        return leaf
    found, used = _build(structure, leaves, 0)
    assert used == len(leaves)
    return found


def _build(structure: Any, leaves: Sequence[Any], at: int) -> tuple[Any, int]:
    if structure is LEAF_MARK:
        return leaves[at], at + 1
    if isinstance(structure, Other):
        return structure.value, at
    kind = structure[0]
    items = []
    for part in _parts(structure):
        item, at = _build(part, leaves, at)
        items.append(item)
    if kind in _MAPPINGS:
        return kind(zip(structure[1], items, strict=True)), at
    if type(kind) is _Record:
        return kind.make(dict(zip(structure[1], items, strict=True))), at
    if kind is list:
        return items, at
    return (kind(*items) if hasattr(kind, "_fields") else kind(items)), at


class Mutables:
    """The lists and dicts of a call's arguments, and whether the call has changed what they hold."""

    def __init__(self, args: Sequence[Any], kwargs: Mapping[str, Any]):
        self.found: list[tuple[tuple[Any, ...], Any, Any]] = []
        for i, arg in enumerate(args):
            self._look(arg, (i,))
        for name, arg in kwargs.items():
            self._look(arg, (name,))

    def _look(self, nest: Any, path: tuple[Any, ...]) -> None:
        kind = type(nest)
        if kind is list or kind in _MAPPINGS:
            self.found.append((path, nest, kind(nest)))
        if kind is list or isinstance(nest, tuple):
            for i, part in enumerate(nest):
                self._look(part, (*path, i))
        elif kind in _MAPPINGS:
            for key, part in nest.items():
                self._look(part, (*path, key))

    def changed(self) -> list[tuple[tuple[Any, ...], Any]]:
        """The outermost containers that hold something else than before, with the way to them from the arguments."""
        paths: list[tuple[Any, ...]] = []
        out = []
        for path, nest, before in self.found:
            keys = [*nest] if type(nest) is not list else range(len(nest))
            old = [*before] if type(before) is not list else range(len(before))
            same = [*keys] == [*old] and all(nest[k] is before[k] for k in keys)
            if not same and not any(path[: len(p)] == p for p in paths):
                paths.append(path)
                out.append((path, nest))
        return out


def refill(args: Sequence[Any], kwargs: Mapping[str, Any], path: tuple[Any, ...], content: Any) -> None:
    """Gives the list or dict at that place of the arguments new content, in place."""
    found: Any = kwargs if isinstance(path[0], str) else args
    for key in path:
        found = found[key]
    if isinstance(found, list):
        found[:] = content
    else:
        found.clear()
        found.update(content)
