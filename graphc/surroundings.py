"""What a traced function reads around itself, compared before each replay: its own closure, defaults and globals, attributes
it reads straight from objects, and the places in plain objects and containers where it found tensors."""

from __future__ import annotations

import dis
import inspect
import keyword
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, lru_cache, partial
from operator import is_
from types import (
    CellType,
    CodeType,
    FunctionType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any, NamedTuple

import numpy as np

from graphc.core.errors import is_internal
from graphc.core.tape import TensorBase
from graphc.ir.program import attr_key
from graphc.nests import Other

_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_CONTAINERS = (tuple, list, dict, set, frozenset)
_MISSING = object()
#: Parts of containers that lie deeper, or in longer ones, are not looked at.
_DEEPEST, _LONGEST = 4, 1000


class Place(NamedTuple):
    """Where something is found: the item `owner[key]`, or the attribute of that name."""

    owner: Any
    key: Any
    is_item: bool = False

    def read(self) -> Any:
        """What is there now."""
        try:
            if not self.is_item:
                return getattr(self.owner, self.key, _MISSING)
            return dict.get(self.owner, self.key, _MISSING) if isinstance(self.owner, dict) else self.owner[self.key]
        except (IndexError, ValueError):  # a shorter list, an empty cell
            return _MISSING


class Surroundings:
    """The names a function reads outside its own frame, and what they held when it was traced.

    Plain values are compared by type and bits, containers part by part, functions by code and closure, other objects by
    identity. What called functions read for themselves is not looked at. `arguments` are objects the call was given.
    """

    def __init__(self, fn: Callable[..., Any], arguments: Iterable[Any] = ()):
        self.roots: list[Any] = [fn, *arguments]
        #: names and what they held before the trace; of attributes only what they hold after it counts
        self.places: list[tuple[str, Place, Any]] = []
        self.held: list[tuple[str, Place, Any]] = []
        self._known: set[tuple[int, Any]] = set()
        #: attributes that the functions read from objects of the user's, and from what those hold
        self._asked: set[str] = set()
        objects = self.roots[1:]
        for function in self._functions(fn, objects):
            self._add_attributes(function, objects, self._add_names(function))
        self._objects = objects

    def _functions(self, fn: Any, objects: list[Any]) -> list[FunctionType]:
        """The user's own functions that a call of `fn` begins with, wrappers first; `objects` gets those they belong to."""
        found = []
        while fn is not None:
            if isinstance(fn, partial):
                self._add("arguments", Place(fn, "args"), fn.args)
                self._add("keywords", Place(fn, "keywords"), fn.keywords)
                objects += [*fn.args, *fn.keywords.values()]
                fn = fn.func
            elif isinstance(fn, MethodType):
                objects.append(fn.__self__)
                fn = fn.__func__
            elif isinstance(fn, FunctionType):
                if not is_internal(fn.__code__.co_filename):
                    found.append(fn)
                fn = vars(fn).get("__wrapped__")
            elif "__wrapped__" in getattr(fn, "__dict__", ()):
                fn = fn.__wrapped__
            else:  # a module or another object that is called
                objects.append(fn)
                kind: Any = type(fn)
                fn = getattr(kind, "forward", None) or (kind.__call__ if callable(fn) else None)
                if not isinstance(fn, FunctionType):
                    break
        return found

    def _add(self, name: str, place: Place, before: Any) -> None:
        if (id(place.owner), place.key) not in self._known:
            self._known.add((id(place.owner), place.key))
            self.places.append((name, place, before))

    def _add_names(self, function: FunctionType) -> dict[str, Any]:
        """The function's globals and closure; returns what they hold."""
        names, found = function.__globals__, {}
        for name in _reads(function.__code__).names:
            if name in names:
                found[name] = names[name]
                self._add(name, Place(names, name, True), names[name])
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            place = Place(cell, "cell_contents")
            found[name] = place.read()
            self._add(name, place, found[name])
        self._add("defaults", Place(function, "__defaults__"), function.__defaults__)
        self._add("keyword defaults", Place(function, "__kwdefaults__"), function.__kwdefaults__)
        return found

    def _add_attributes(self, function: FunctionType, objects: Iterable[Any], named: dict[str, Any]) -> None:
        """The attributes of the user's own objects that the function reads directly: `self.scale` in a method."""
        code = function.__code__
        parameters = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        reads = _reads(code)
        for variable, name in reads.attributes:
            for owner in objects if variable in parameters else [named[variable]] if variable in named else ():
                if hasattr(type(owner), "_guard_state") or not _reports_itself(owner):
                    self._asked.update(reads.through[variable])
                if not _reports_itself(owner) and _is_read_as_is(owner, name):
                    shown = owner if isinstance(owner, type | ModuleType) else type(owner)
                    self._add(f"{shown.__name__}.{name}", Place(owner, name), _MISSING)

    def modules(self) -> list[Any]:
        """The modules that the function names, or reads from objects it names: they tell what of them a build depends on."""
        found = [*self._objects, *(place.read() for _, place, _ in self.places)]
        return [x for x in found if hasattr(type(x), "_guard_state")]

    def settle(self, captured: Iterable[Any] = (), modules: Iterable[Any] = ()) -> None:
        """After the trace: what the function itself has changed counts as it is now, so a replay is not taken for stale.

        The places where `captured` tensors were found are watched from here on, and what these modules and those in them do
        not report.
        """
        for name, place, before in self.places:
            self.held.append((name, place, _copied(place.read() if _is_plain(before) else before)))
        for module in modules:
            for name, owner, key in module._unreported(frozenset(self._asked)):
                place = Place(owner, key, isinstance(owner, dict))
                if (id(owner), key) not in self._known:
                    self._known.add((id(owner), key))
                    self.held.append((name, place, _copied(place.read())))
        wanted = {id(t) for t in captured}
        for name, place, tensor in _places_of(wanted, self.roots) if wanted else ():
            if (id(place.owner), place.key) not in self._known:
                self.held.append((name, place, tensor))
        self.roots, self.places, self._objects, self._known = [], [], [], set()

    @cached_property
    def hold(self) -> Callable[[], bool]:
        """Tells whether every place still holds what it held: one function, made when it is first asked for."""
        return _comparison(self.held)

    def changed(self) -> tuple[str, Any, Any] | None:
        """The first name that holds something else: (name, old, new)."""
        for name, place, value in self.held:
            now = place.read()
            if not _same(value, now):
                return name, value, now
        return None


# --- comparing ----------------------------------------------------------------------------------------------------------


def _comparison(held: Iterable[tuple[str, Place, Any]]) -> Callable[[], bool]:
    """A function that reads all these places and tells whether each holds what it held.

    Every call of a compiled function asks it, so it is written out: a line for each name, one loop for tensors in containers.
    """
    tensors: list[tuple[Any, Any, Any]] = []
    names: dict[str, Any] = {"same": _same, "get": dict.get, "MISSING": _MISSING, "tensors": tensors}
    lines = []
    for i, (_, place, value) in enumerate(held):
        if place.is_item and isinstance(value, TensorBase) and not _is_odd(place.owner):
            tensors.append((place.owner, place.key, value))
            continue
        names |= {f"o{i}": place.owner, f"k{i}": place.key, f"v{i}": value, f"read{i}": place.read}
        text = _read_text(place, value).format(i=i)
        if value is _MISSING or not (_is_plain(value) or isinstance(value, FunctionType | MethodType)):
            lines.append(f"if {text} is not v{i}: return False")
        else:
            lines += [f"n = {text}", f"if n is not v{i} and not same(v{i}, n): return False"]
    if tensors:
        lines += ["for o, k, v in tensors:", "    if o[k] is not v: return False"]
    body = "\n".join(f"        {line}" for line in lines or ["pass"])
    gone = "AttributeError, IndexError, KeyError, ValueError"
    exec(f"def hold():\n    try:\n{body}\n    except ({gone}):\n        return False\n    return True", names)
    found: Callable[[], bool] = names["hold"]
    return found


def _read_text(place: Place, value: Any) -> str:
    """How generated code reads a place that holds `value`."""
    if place.is_item:
        return "get(o{i}, k{i}, MISSING)" if _is_odd(place.owner) else "o{i}[k{i}]"
    if isinstance(place.owner, CellType) and value is _MISSING:
        return "read{i}()"
    if value is _MISSING or not place.key.isidentifier() or keyword.iskeyword(place.key):
        return "getattr(o{i}, k{i}, MISSING)"
    return "o{i}." + place.key


def _is_odd(owner: Any) -> bool:
    """Whether a subscript of this container may run code: a dict that fills in what is missing."""
    return isinstance(owner, dict) and type(owner) is not dict


def _is_small_array(x: Any) -> bool:
    """Whether x is an array whose elements are compared too; of a large one only the identity is."""
    return isinstance(x, np.ndarray) and not x.dtype.hasobject and x.nbytes <= 1 << 20


def _is_plain(x: Any) -> bool:
    """Whether x is compared by value, or is not there."""
    return x is _MISSING or isinstance(x, (*_PLAIN, *_CONTAINERS, np.generic)) or _is_small_array(x)


def _copied(x: Any, depth: int = _DEEPEST) -> Any:
    """x, but for what can change in place: small arrays, and containers with their parts."""
    if _is_small_array(x):
        return x.copy()
    if not depth or not isinstance(x, _CONTAINERS) or len(x) >= _LONGEST:
        return x
    if isinstance(x, dict):
        return {key: _copied(part, depth - 1) for key, part in x.items()}
    if isinstance(x, set | frozenset):
        return frozenset(x) if isinstance(x, frozenset) else set(x)
    parts = [_copied(part, depth - 1) for part in x]
    if isinstance(x, tuple):
        return x if all(map(is_, parts, x)) else tuple(parts)
    return parts


def _same(old: Any, new: Any, depth: int = _DEEPEST) -> bool:
    """Whether `new` is what `old`, which `_copied` gave, was copied from, and nothing in it has changed."""
    if old is new:
        return True
    if isinstance(old, _CONTAINERS):
        if not depth or not isinstance(new, type(old)) or len(new) != len(old) or len(old) >= _LONGEST:
            return False
        if isinstance(old, set | frozenset):
            return frozenset(map(attr_key, old)) == frozenset(map(attr_key, new))
        a, b = ([*x, *x.values()] if isinstance(x, dict) else x for x in (old, new))
        return all(map(is_, a, b)) or all(p is q or _same(p, q, depth - 1) for p, q in zip(a, b, strict=False))
    if isinstance(old, FunctionType) and isinstance(new, FunctionType):
        return _same_function(_behind(old), _behind(new), depth)
    if type(old) is not type(new):
        return False
    if isinstance(old, MethodType):
        return old.__self__ is new.__self__ and _same(old.__func__, new.__func__, depth)
    if isinstance(old, np.ndarray):
        alike = old.dtype == new.dtype and old.shape == new.shape and _is_small_array(old)
        return bool(alike and old.tobytes() == new.tobytes())
    return isinstance(old, (*_PLAIN, np.generic)) and Other(old) == Other(new)


def _behind(function: FunctionType) -> Any:
    """The function itself, where what a profiler has put in its place while it runs is met."""
    return vars(function).get("_stands_for", function)


def _same_function(old: FunctionType, new: FunctionType, depth: int) -> bool:
    """Whether two functions are one, or were made by the same line around the same things."""
    if old is new:
        return True
    if not depth or old.__code__ != new.__code__ or old.__globals__ is not new.__globals__:
        return False
    cells = zip(old.__closure__ or (), new.__closure__ or (), strict=True)
    return (
        _same(old.__defaults__, new.__defaults__, depth - 1)
        and _same(old.__kwdefaults__, new.__kwdefaults__, depth - 1)
        and all(_same(_content(a), _content(b), depth - 1) for a, b in cells)
    )


def _content(cell: CellType) -> Any:
    return Place(cell, "cell_contents").read()


# --- what code reads ----------------------------------------------------------------------------------------------------


class _Reads(NamedTuple):
    """What code reads, functions within it included: global names, attributes straight from variables, and by variable those
    that it reads from there and from what it finds there, `a` and `b` of `self.a.b`."""

    names: tuple[str, ...]
    attributes: tuple[tuple[str, str], ...]
    through: dict[str, tuple[str, ...]]


@lru_cache(maxsize=1024)
def _reads(code: CodeType) -> _Reads:
    """What code reads, attributes also by `getattr` and `hasattr`."""
    names: dict[str, None] = {}
    attributes: dict[tuple[str, str], None] = {}
    through: dict[str, dict[str, None]] = {}
    #: the variables loaded last and before that, and the one from which attributes are being read
    before = called = root = None
    for instruction in dis.get_instructions(code):
        how, what = instruction.opname, instruction.argval
        if how == "PUSH_NULL":
            continue
        is_attribute = how in ("LOAD_ATTR", "LOAD_METHOD")
        if is_attribute or (how == "LOAD_CONST" and called in ("getattr", "hasattr") and isinstance(what, str)):
            if before is not None:
                attributes[before, what] = None
            if root is not None:
                through.setdefault(root, {})[what] = None
        if how in ("LOAD_GLOBAL", "LOAD_NAME"):
            names[what] = None
        # from Python 3.13 on one instruction may load two variables, or store one and load one
        variable = what[-1] if isinstance(what, tuple) and what else what
        loads = "LOAD" in how and not is_attribute and not how.startswith("LOAD_CONST")
        called, before = before, variable if loads and isinstance(variable, str) else None
        root = root if is_attribute else before
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            more = _reads(inner)
            names |= dict.fromkeys(more.names)
            attributes |= dict.fromkeys(more.attributes)
            for variable, found in more.through.items():
                through.setdefault(variable, {}).update(dict.fromkeys(found))
    return _Reads(tuple(names), tuple(attributes), {variable: tuple(found) for variable, found in through.items()})


@lru_cache(maxsize=1024)
def attributes_read(kind: Any, asked: frozenset[str]) -> frozenset[str]:
    """The attributes that a module's forward, the methods it calls, and others by the names `asked` read from the module.

    What nobody reads while the module runs, such as a list of losses that a training loop keeps there, is none of them.
    """
    names: set[str] = set()
    pending = ["forward", "__call__", *asked]
    while pending:
        name = pending.pop()
        if name in names:
            continue
        names.add(name)
        found = inspect.getattr_static(kind, name, None)
        found = found.fget if isinstance(found, property) else getattr(found, "__func__", found)
        while isinstance(found, FunctionType):
            if not is_internal(found.__code__.co_filename) and found.__code__.co_varnames:
                pending += _reads(found.__code__).through.get(found.__code__.co_varnames[0], ())
            found = vars(found).get("__wrapped__")
    return frozenset(names)


def _is_read_as_is(owner: Any, name: str) -> bool:
    """Whether reading that attribute runs no code and makes nothing: neither a property nor a method."""
    kind = type(owner)
    if not isinstance(kind.__getattribute__, WrapperDescriptorType):  # code of the user's
        return False
    found = inspect.getattr_static(owner, name, _MISSING)
    fields = getattr(owner, "__dict__", {})
    if found is _MISSING:
        return not hasattr(kind, "__getattr__") and not (isinstance(owner, ModuleType) and "__getattr__" in fields)
    if isinstance(owner, type):
        return isinstance(found, FunctionType | staticmethod) or not hasattr(type(found), "__get__")
    own = found is fields.get(name, _MISSING)
    return own or isinstance(found, MemberDescriptorType) or not hasattr(type(found), "__get__")


def _reports_itself(x: Any) -> bool:
    """Whether x moves the epoch when it changes, or is none of the user's."""
    kind = type(x)
    name = x.__name__ if isinstance(x, ModuleType) else x.__module__ if isinstance(x, type) else ""
    return (
        hasattr(kind, "fact")
        or hasattr(kind, "__compiled__")
        or kind.__module__.startswith("graphc.")
        or f"{name}.".startswith("graphc.")
    )


# --- where tensors are --------------------------------------------------------------------------------------------------


def _places_of(wanted: set[int], roots: Iterable[Any]) -> Iterator[tuple[str, Place, Any]]:
    """Where, reachable from the roots, tensors with these ids are held: (name, place, tensor).

    Modules and optimizers are left out: they report changes themselves.
    """
    queue: list[Any] = list(roots)
    seen: set[int] = set()
    for owner in queue:
        if id(owner) in seen or len(seen) > 10_000:
            continue
        seen.add(id(owner))
        for name, place in _parts(owner):
            value = place.read()
            if isinstance(value, TensorBase):
                if id(value) in wanted:
                    yield name, place, value
            elif not isinstance(value, (*_PLAIN, np.ndarray, np.generic)):
                queue.append(value)


def _parts(owner: Any) -> Iterator[tuple[str, Place]]:
    """The places an object holds others in."""
    if isinstance(owner, FunctionType):
        names = owner.__globals__
        for name in owner.__code__.co_names:
            if name in names:
                yield name, Place(names, name, True)
        for name, cell in zip(owner.__code__.co_freevars, owner.__closure__ or (), strict=True):
            yield name, Place(cell, "cell_contents")
        yield "defaults", Place(owner, "__defaults__")
    elif isinstance(owner, MethodType):
        yield "self", Place(owner, "__self__")
        yield "function", Place(owner, "__func__")
    elif isinstance(owner, partial):
        yield "function", Place(owner, "func")
        yield "args", Place(owner, "args")
        yield "keywords", Place(owner, "keywords")
    elif isinstance(owner, dict):
        for key in list(owner):
            yield f"[{key!r}]", Place(owner, key, True)
    elif isinstance(owner, list | tuple):
        for i in range(len(owner)):
            yield f"[{i}]", Place(owner, i, True)
    elif "__wrapped__" in getattr(owner, "__dict__", ()):
        yield "wrapped", Place(owner, "__wrapped__")
    elif not isinstance(owner, ModuleType | type) and not _reports_itself(owner):
        held = getattr(owner, "__dict__", None) or {}
        for name in list(held):
            yield f"{type(owner).__name__}.{name}", Place(held, name, True)
