"""What a function can reach and change is copied before it runs, and put back afterwards, so that it can run again from the
same start.

Followed are the function's closure, defaults and the globals its code (and that of user functions it calls) names, its
arguments, and from there attributes, lists, dicts, sets, arrays, bytes, tensors with their gradients, modules, optimizers and
schedules with their Python numbers, and random generators, those of `random` and NumPy too. What Python cannot take back (an
iterator that was advanced, a file that was read) is not undone.
"""

from __future__ import annotations

import builtins
import os
import random
import sys
import sysconfig
import weakref
from array import array
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from operator import setitem
from types import CodeType, FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any

import numpy as np

from graphc.build import CompiledFunction
from graphc.core.arrays import duplicate, is_array, memory_of, shadow_of, write_elements
from graphc.core.context import EPOCH, SLOTS
from graphc.core.errors import is_internal
from graphc.core.op import Op
from graphc.core.tape import TensorBase
from graphc.graphs import Graph
from graphc.nn.modules.compiled import CompiledModule
from graphc.session import Session

_MISSING = object()
_CLOSED = (
    bool, int, float, complex, str, bytes, type(None), type(Ellipsis), slice, range, CodeType, np.dtype, np.generic,
    weakref.ref, Op, Graph, Session, random.SystemRandom,
)  # fmt: skip
#: What traces note at tensors, which builds that live on count on.
_MARKS = {"_watched", "_grad_watched"}
#: Whose objects belong to the process, not to a step.
_SHARED = ("asyncio", "concurrent", "logging", "multiprocessing", "threading", "tqdm")
_LIBRARIES = tuple(
    os.path.join(path, "") for path in {*map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib"))}
)


class Kept:
    """The state that can be reached from some objects, as it was when this was made."""

    def __init__(self, roots: Iterable[Any]):
        self._undo: list[Callable[[], None]] = []
        self._seen: set[int] = set()
        #: names of what is held by a variable or an attribute; and what holds plain values, each with its name
        self._labels: dict[int, str] = {}
        #: names of iterators, which go on and cannot be put back; not those within a library's objects
        self.iterators: list[str] = []
        self._holders: list[tuple[str, Callable[[], Iterable[tuple[str, Any]]]]] = []
        #: kinds of the devices that tensors are on, but for the host's
        self.device_types: set[str] = set()
        #: whatever was met lives on, so that no id is used twice
        self._held: list[Any] = []
        self._pending: list[Any] = [*roots, SLOTS.generator()]
        while self._pending:
            self._visit(self._pending.pop())
        self._undo += [partial(random.setstate, random.getstate()), partial(np.random.set_state, np.random.get_state())]

    def put_back(self) -> None:
        """Makes everything as it was; may be called again and again."""
        for undo in self._undo:
            undo()
        EPOCH.bump()

    def plain(self) -> dict[tuple[int, str], Any]:
        """The numbers, words and flags that variables, attributes and named lists and dicts hold now, by holder and name."""
        return {
            (n, f"{label}{name}"): value
            for n, (label, items) in enumerate(self._holders)
            for name, value in items()
            if isinstance(value, bool | int | float | str | type(None))
        }

    # --- what there is to keep -----------------------------------------------------------------------------------------

    def _visit(self, x: Any) -> None:
        if isinstance(x, _CLOSED) or id(x) in self._seen:
            return
        self._seen.add(id(x))
        self._held.append(x)
        if hasattr(type(x), "__next__"):
            name = self._labels.get(id(x), type(x).__name__)
            self.iterators += [name] if "._" not in name else []
        if isinstance(x, TensorBase):
            self._tensor(x)
        elif isinstance(x, np.ndarray):
            self._array(x)
        elif isinstance(x, dict):
            self._dict(x)
        elif isinstance(x, list | deque):
            self._sequence(x)
        elif isinstance(x, bytearray | array):
            self._undo.append(partial(setitem, x, slice(None), x[:]))
        elif isinstance(x, set):
            self._undo.append(partial(_refill_set, x, x.copy()))
            self._pending += x
        elif isinstance(x, tuple | frozenset):
            self._pending += x
            self._attributes(x)
        elif isinstance(x, FunctionType):
            self._function(x)
        elif isinstance(x, MethodType):
            self._pending += (x.__self__, x.__func__)
        elif isinstance(x, partial):
            self._pending += (x.func, x.args, x.keywords)
        elif isinstance(x, CompiledFunction):
            self._pending.append(x.fn)
        elif isinstance(x, CompiledModule):
            self._pending += (x._orig_mod, x._run)
        elif isinstance(x, np.random.Generator):
            self._pending.append(x.bit_generator)
        elif isinstance(x, np.random.BitGenerator):
            self._undo.append(partial(setattr, x, "state", x.state))
        elif isinstance(x, np.random.RandomState):
            self._undo.append(partial(x.set_state, x.get_state(legacy=False)))
        elif isinstance(x, random.Random):
            self._undo.append(partial(x.setstate, x.getstate()))
        elif isinstance(x, type):
            self._class(x)
        elif not isinstance(x, ModuleType) and type(x).__module__.partition(".")[0] not in _SHARED:
            self._attributes(x)
            self._pending.append(type(x))

    def _tensor(self, x: Any) -> None:
        data, edge, grad = x._data, x._edge, getattr(x, "_grad", _MISSING)
        if not is_array(data):
            return
        if (memory := memory_of(data)) is not None:
            self.device_types.add(memory.device.type)
        view = x._base
        writeable = view is None and shadow_of(data).flags.writeable
        self._undo.append(partial(_restore_tensor, x, data, duplicate(data) if writeable else None, edge, grad, view))
        self._undo.append(partial(_restore_own, x.__dict__, x.__dict__.copy()))
        self._pending += (*x.__dict__.values(), *(() if grad is _MISSING else (grad,)))
        if view is not None:
            self._pending.append(view.base)

    def _array(self, x: np.ndarray[Any, Any]) -> None:
        if x.dtype.hasobject:
            self._pending += x.reshape(-1).tolist()
        if x.flags.writeable:
            self._undo.append(partial(np.copyto, x, x.copy()))

    def _dict(self, x: dict[Any, Any]) -> None:
        kind: Any = OrderedDict if isinstance(x, OrderedDict) else dict
        content = dict(dict.items(x))  # a mapping of the package may watch who reads it
        if id(x) in self._labels:
            self._holders.append((self._labels[id(x)], lambda: [(f"[{k!r}]", v) for k, v in list(dict.items(x))]))
        self._undo.append(partial(_refill_dict, kind, x, content))
        self._pending += (*content, *content.values())
        self._attributes(x)

    def _sequence(self, x: Any) -> None:
        if id(x) in self._labels:
            self._holders.append((self._labels[id(x)], lambda: [(f"[{i}]", v) for i, v in enumerate(x)]))
        self._undo.append(partial(_refill_sequence, x, tuple(x)))
        self._pending += x
        self._attributes(x)

    def _attributes(self, x: Any) -> None:
        held = getattr(x, "__dict__", None)
        if isinstance(held, dict):
            self._undo.append(partial(_refill_dict, dict, held, held.copy()))
            self._pending += held.values()
            label = f"{type(x).__name__}."
            self._holders.append((label, lambda: [(k, v) for k, v in list(held.items()) if not k.startswith("_")]))
            self._labels.update((id(value), f"{label}{name}") for name, value in held.items())
        if is_users(sys.modules.get(type(x).__module__)):
            for name in _slots(type(x)):
                value = getattr(x, name, _MISSING)
                self._undo.append(partial(_restore_slot, x, name, value))
                self._pending.append(value)

    def _class(self, x: type) -> None:
        """A class of the user's: what it holds itself, and what its methods read."""
        for kind in x.__mro__:
            if (kind is not x and id(kind) in self._seen) or not is_users(sys.modules.get(kind.__module__)):
                continue
            self._seen.add(id(kind))
            self._undo.append(partial(_remove_new, kind, set(vars(kind))))
            for name, value in list(vars(kind).items()):
                function = getattr(value, "__func__", getattr(value, "fget", value))
                if isinstance(function, FunctionType):
                    self._pending.append(function)
                elif not name.startswith("__") and not hasattr(value, "__get__"):
                    self._undo.append(partial(_restore_attribute, kind, name, value))
                    self._pending.append(value)

    def _function(self, x: FunctionType) -> None:
        """A function of the user's: its closure, its defaults, and the globals it names."""
        if not _is_users_file(x.__code__.co_filename):
            wrapped = getattr(x, "__wrapped__", None)
            if wrapped is not None and not is_internal(x.__code__.co_filename):
                self._pending.append(wrapped)
            return
        for name, cell in zip(x.__code__.co_freevars, x.__closure__ or (), strict=True):
            try:
                self._labels[id(cell.cell_contents)] = name
                self._holders.append(("", partial(_content, name, cell)))
                self._undo.append(partial(setattr, cell, "cell_contents", cell.cell_contents))
                self._pending.append(cell.cell_contents)
            except ValueError:  # empty yet
                self._undo.append(partial(delattr, cell, "cell_contents"))
        self._pending += (x.__defaults__, x.__kwdefaults__, x.__dict__)
        names = set(names_in(x.__code__))
        self._names(x.__globals__, names)
        for name in names:
            found = x.__globals__.get(name)
            if isinstance(found, ModuleType) and is_users(found):
                self._names(vars(found), names)

    def _names(self, held: dict[str, Any], names: Iterable[str]) -> None:
        for name in names:
            if name in held and not name.startswith("__"):
                value = held[name]
                self._undo.append(partial(_restore_key, held, name, value))
                self._pending.append(value)
                self._labels[id(value)] = name
                self._holders.append(("", partial(_item, held, name)))
            elif name not in held and not hasattr(builtins, name):
                self._undo.append(partial(held.pop, name, None))


def _content(name: str, cell: Any) -> list[tuple[str, Any]]:
    try:
        return [(name, cell.cell_contents)]
    except ValueError:
        return []


def _item(held: dict[str, Any], name: str) -> list[tuple[str, Any]]:
    return [(name, held[name])] if name in held else []


# --- putting back ------------------------------------------------------------------------------------------------------


def _restore_tensor(x: Any, data: Any, elements: Any, edge: Any, grad: Any, view: Any) -> None:
    if elements is not None:
        write_elements(data, elements)
        if x._version is not None:
            x._version.count += 1
    x._data, x._edge, x._base = data, edge, view
    if grad is not _MISSING:
        x._grad = grad
    elif hasattr(x, "_grad"):
        del x._grad


def _restore_own(held: dict[str, Any], content: dict[str, Any]) -> None:
    """What a tensor has beside its elements."""
    for name in held.keys() - content.keys() - _MARKS:
        del held[name]
    held.update(content)


def _same_items(now: Any, content: Any) -> bool:
    return len(now) == len(content) and all(a is b for a, b in zip(now, content, strict=True))


def _refill_dict(kind: Any, x: Any, content: dict[Any, Any]) -> None:
    if _same_items(dict.keys(x), content.keys()) and _same_items(dict.values(x), content.values()):
        return
    kind.clear(x)
    kind.update(x, content)


def _refill_sequence(x: Any, content: tuple[Any, ...]) -> None:
    if _same_items(x, content):
        return
    if isinstance(x, list):
        list.__setitem__(x, slice(None), content)
    else:
        x.clear()
        x.extend(content)


def _refill_set(x: set[Any], content: set[Any]) -> None:
    if x != content:
        x.clear()
        x.update(content)


def _restore_key(held: dict[str, Any], name: str, value: Any) -> None:
    if held.get(name, _MISSING) is not value:
        held[name] = value


def _restore_slot(x: Any, name: str, value: Any) -> None:
    if value is not _MISSING:
        object.__setattr__(x, name, value)
    elif hasattr(x, name):
        object.__delattr__(x, name)


def _remove_new(owner: Any, known: set[str]) -> None:
    for name in [x for x in vars(owner) if x not in known and not x.startswith("__")]:
        delattr(owner, name)


def _restore_attribute(owner: Any, name: str, value: Any) -> None:
    if vars(owner).get(name, _MISSING) is not value:
        setattr(owner, name, value)


# --- whose it is -------------------------------------------------------------------------------------------------------


def _is_users_file(filename: str) -> bool:
    """Whether a source file belongs neither to graphc nor to Python or an installed library."""
    if filename.startswith("<"):
        return not filename.startswith("<frozen")
    return not is_internal(filename) and not os.path.abspath(filename).startswith(_LIBRARIES)


def is_users(module: ModuleType | None) -> bool:
    """Whether a module is the user's own."""
    if module is None or module.__name__ == "builtins":
        return False
    filename = getattr(module, "__file__", None)
    return module.__name__ == "__main__" if filename is None else _is_users_file(filename)


def names_in(code: CodeType) -> Iterator[str]:
    """The names that code reads and writes outside its own frame, also that of functions within it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from names_in(constant)


def _slots(kind: type) -> Iterator[str]:
    """The attributes of an object that are not in its `__dict__`."""
    for base in kind.__mro__:
        if "__slots__" in vars(base):
            yield from (name for name, x in vars(base).items() if isinstance(x, MemberDescriptorType))
