"""What a traced function reads around itself: its own closure, defaults and globals, compared before each replay."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_MISSING = object()


def _is_plain(x: Any, depth: int = 3) -> bool:
    if isinstance(x, _PLAIN) or isinstance(x, np.generic):
        return True
    if depth and isinstance(x, tuple | list | set | frozenset):
        return len(x) < 1000 and all(_is_plain(v, depth - 1) for v in x)
    if depth and isinstance(x, dict):
        return len(x) < 1000 and all(_is_plain(v, depth - 1) for pair in x.items() for v in pair)
    return False


def _same(old: Any, new: Any) -> bool:
    if type(old) is not type(new):
        return False
    return repr(old) == repr(new) if isinstance(old, float) else bool(old == new)


class Surroundings:
    """The names a function reads outside its own frame, and what they held when it was traced.

    Plain values (and containers of them) are compared by value, other objects by identity. What functions it calls read for
    themselves is not looked at.
    """

    def __init__(self, fn: Callable[..., Any]):
        self.readers: list[tuple[str, Callable[[], Any]]] = []
        function = fn.__func__ if isinstance(fn, MethodType) else fn
        if isinstance(function, FunctionType):
            self._add_names(function)
        self.held: list[tuple[str, Callable[[], Any], bool, Any]] = []
        for name, read in self.readers:
            value = read()
            if isinstance(value, ModuleType | FunctionType | type):
                continue
            plain = _is_plain(value)
            self.held.append((name, read, plain, copy.deepcopy(value) if plain else value))

    def _add_names(self, function: FunctionType) -> None:
        names = function.__globals__
        for name in function.__code__.co_names:
            if name in names:
                self.readers.append((name, lambda name=name: names.get(name, _MISSING)))  # type: ignore[misc]
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            self.readers.append((name, lambda cell=cell: _content(cell)))  # type: ignore[misc]
        for name, default in (function.__kwdefaults__ or {}).items():
            self.readers.append((name, lambda d=function.__kwdefaults__, n=name, v=default: d.get(n, v)))  # type: ignore[misc]
        if function.__defaults__:
            self.readers.append(("defaults", lambda: function.__defaults__))

    def settle(self) -> None:
        """After the trace: what the function itself has changed counts as it is now, so a replay is not taken for stale."""
        self.held = [(name, read, plain, copy.deepcopy(read()) if plain else value) for name, read, plain, value in self.held]

    def hold(self) -> bool:
        """Whether every name still holds what it held."""
        for _, read, plain, value in self.held:
            now = read()
            if now is not value and not (plain and _same(value, now)):
                return False
        return True

    def changed(self) -> tuple[str, Any, Any] | None:
        """The first name that holds something else: (name, old, new)."""
        for name, read, plain, value in self.held:
            now = read()
            if now is not value and not (plain and _same(value, now)):
                return name, value, now
        return None


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _MISSING
