"""What a traced function reads around itself, compared before each replay: its own closure, defaults and globals, and the
places in plain objects and containers where it found tensors."""

from __future__ import annotations

import copy
import dis
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from graphc.core.tape import TensorBase

_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_MISSING = object()


def _is_plain(x: Any, depth: int = 3) -> bool:
    if isinstance(x, (*_PLAIN, np.generic)):
        return True
    if depth and isinstance(x, tuple | list | set | frozenset):
        return len(x) < 1000 and all(_is_plain(v, depth - 1) for v in x)
    if depth and isinstance(x, dict):
        return len(x) < 1000 and all(_is_plain(v, depth - 1) for pair in x.items() for v in pair)
    return False


def _is_small_array(x: Any) -> bool:
    """Whether x is an array whose elements are compared too; of a large one only the identity is."""
    return isinstance(x, np.ndarray) and not x.dtype.hasobject and x.nbytes <= 1 << 20


def _same(old: Any, new: Any) -> bool:
    if type(old) is not type(new):
        return False
    if isinstance(old, np.ndarray):
        return bool(old.dtype == new.dtype and old.shape == new.shape and old.tobytes() == new.tobytes())
    return repr(old) == repr(new) if isinstance(old, float) else bool(old == new)


class Surroundings:
    """The names a function reads outside its own frame, and what they held when it was traced.

    Plain values (and containers of them) are compared by value, other objects by identity. Plain values that called functions
    read for themselves are not looked at. `arguments` are objects the call was given.
    """

    def __init__(self, fn: Callable[..., Any], arguments: Iterable[Any] = ()):
        self.roots: list[Any] = [fn, *arguments]
        self.readers: list[tuple[str, Callable[[], Any]]] = []
        objects = self.roots[1:]
        function: Any = fn
        while not isinstance(function, FunctionType):
            if isinstance(function, partial):
                function = function.func
            elif isinstance(function, MethodType):
                objects.append(function.__self__)
                function = function.__func__
            else:  # a module or another object that is called
                kind = type(function)
                function = getattr(kind, "forward", None) or (kind.__call__ if callable(function) else None)
                if not isinstance(function, FunctionType):
                    break
        if isinstance(function, FunctionType):
            self._add_names(function)
            self._add_attributes(function, objects)
        self.held: list[tuple[str, Callable[[], Any], bool, Any]] = []
        for name, read in self.readers:
            value = read()
            if isinstance(value, ModuleType | FunctionType | type):
                continue
            plain = _is_plain(value) or _is_small_array(value)
            self.held.append((name, read, plain, copy.deepcopy(value) if plain else value))

    def _add_names(self, function: FunctionType) -> None:
        names = function.__globals__
        for name in function.__code__.co_names:
            if name in names:
                self.readers.append((name, lambda name=name: names.get(name, _MISSING)))  # type: ignore[misc]
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            self.readers.append((name, lambda cell=cell: _content(cell)))  # type: ignore[misc]
        self.readers.append(("defaults", lambda: function.__defaults__))
        self.readers.append(("keyword defaults", lambda: function.__kwdefaults__))

    def _add_attributes(self, function: FunctionType, arguments: Iterable[Any]) -> None:
        """The plain attributes of the user's own objects that the function reads directly: `self.scale` in a method."""
        reads = _attributes_read(function)
        parameters = function.__code__.co_varnames[
            : function.__code__.co_argcount + function.__code__.co_kwonlyargcount
        ]
        of_parameters = {name for variable, name in reads if variable in parameters}
        found = [(owner, name) for owner in arguments for name in of_parameters]
        found += [(read(), name) for known, read in list(self.readers) for variable, name in reads if variable == known]
        for owner, name in found:
            held = getattr(owner, "__dict__", None)
            if isinstance(held, dict) and _is_plain(held.get(name, _MISSING)) and not _reports_itself(type(owner)):
                self.readers.append((f"{type(owner).__name__}.{name}", partial(held.get, name, _MISSING)))

    def settle(self, captured: Iterable[Any] = ()) -> None:
        """After the trace: what the function itself has changed counts as it is now, so a replay is not taken for stale.

        The places where `captured` tensors were found are watched from here on.
        """
        held, self.held = self.held, []
        for name, read, plain, value in held:
            now = read() if plain else value
            plain = plain and (_is_plain(now) or _is_small_array(now))
            self.held.append((name, read, plain, copy.deepcopy(now) if plain else now))
        wanted = {id(t) for t in captured}
        for name, read, tensor in _places_of(wanted, self.roots) if wanted else ():
            self.held.append((name, read, False, tensor))
        self.roots = []

    def hold(self) -> bool:
        """Whether every name still holds what it held."""
        for _, read, plain, value in self.held:
            now = read()
            if not _holds(value, now, plain):
                return False
        return True

    def changed(self) -> tuple[str, Any, Any] | None:
        """The first name that holds something else: (name, old, new)."""
        for name, read, plain, value in self.held:
            now = read()
            if not _holds(value, now, plain):
                return name, value, now
        return None


def _holds(value: Any, now: Any, plain: bool) -> bool:
    """Whether a name still stands for `value`, a copy of which was kept where it is plain."""
    return now is value or (plain and _same(value, now))


def _attributes_read(function: FunctionType) -> set[tuple[str, str]]:
    """(variable, attribute) wherever the function's own code reads an attribute straight from a variable."""
    found = set()
    before: Any = None
    for instruction in dis.get_instructions(function):
        if instruction.opname in ("LOAD_ATTR", "LOAD_METHOD") and before is not None:
            found.add((before, instruction.argval))
        loads = instruction.opname.startswith("LOAD") and not instruction.opname.startswith(("LOAD_CONST", "LOAD_ATTR"))
        name = instruction.argval
        if isinstance(name, tuple):  # from Python 3.13 on one instruction may load two variables
            name = name[-1] if name else None
        before = name if loads and isinstance(name, str) else None
    return found


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _MISSING


def _places_of(wanted: set[int], roots: Iterable[Any]) -> Iterator[tuple[str, Callable[[], Any], Any]]:
    """Where, reachable from the roots, tensors with these ids are held: (name, how to read the place, tensor).

    Modules and optimizers are left out: they report changes themselves.
    """
    queue: list[Any] = list(roots)
    seen: set[int] = set()
    for owner in queue:
        if id(owner) in seen or len(seen) > 10_000:
            continue
        seen.add(id(owner))
        for name, read in _parts(owner):
            value = read()
            if isinstance(value, TensorBase):
                if id(value) in wanted:
                    yield name, read, value
            elif not isinstance(value, (*_PLAIN, np.ndarray, np.generic)):
                queue.append(value)


def _reports_itself(kind: type) -> bool:
    """Whether objects of this class move the epoch when they change, or are none of the user's."""
    return hasattr(kind, "fact") or hasattr(kind, "__compiled__") or kind.__module__.startswith("graphc.")


def _parts(owner: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    """The places an object holds others in."""
    if isinstance(owner, FunctionType):
        names = owner.__globals__
        for name in owner.__code__.co_names:
            if name in names:
                yield name, lambda name=name: names.get(name, _MISSING)  # type: ignore[misc]
        for name, cell in zip(owner.__code__.co_freevars, owner.__closure__ or (), strict=True):
            yield name, lambda cell=cell: _content(cell)  # type: ignore[misc]
        yield "defaults", lambda: owner.__defaults__
    elif isinstance(owner, MethodType):
        yield "self", lambda: owner.__self__
        yield "function", lambda: owner.__func__
    elif isinstance(owner, partial):
        yield "function", lambda: owner.func
        yield "args", lambda: owner.args
        yield "keywords", lambda: owner.keywords
    elif isinstance(owner, dict):
        for key in list(owner):
            yield f"[{key!r}]", lambda key=key: owner.get(key, _MISSING)  # type: ignore[misc]
    elif isinstance(owner, list | tuple):
        for i in range(len(owner)):
            yield f"[{i}]", lambda i=i: owner[i] if i < len(owner) else _MISSING  # type: ignore[misc]
    elif "__wrapped__" in getattr(owner, "__dict__", ()):
        yield "wrapped", lambda: owner.__wrapped__
    elif not isinstance(owner, ModuleType | type) and not _reports_itself(type(owner)):
        held = getattr(owner, "__dict__", None) or {}
        for name in list(held):
            yield f"{type(owner).__name__}.{name}", lambda name=name: held.get(name, _MISSING)  # type: ignore[misc]
