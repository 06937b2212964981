"""Pickles read without running them: a machine that follows the instructions of a pickle and runs none of its code.

A pickle is a program for a stack machine (the standard library's `pickletools` tells its instructions). Two of them call
what the file names. Here these names lead into a table of functions that put plain values together, and end in an error
everywhere else, so that a file can do nothing but describe data.
"""

from __future__ import annotations

import pickletools
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import numpy as np

from graphc.core.errors import FileFormatError

#: The instructions that push their argument as it is.
_VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING"),
    *("SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES"),
    *("BINBYTES8", "BYTEARRAY8"),
}
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False, "EMPTY_LIST": list, "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple, "EMPTY_SET": set,
}  # fmt: skip
_NOTHING = {"PROTO", "FRAME", "STOP"}
_MEMO = {"PUT", "BINPUT", "LONG_BINPUT"}
_RECALL = {"GET", "BINGET", "LONG_BINGET"}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Name:
    """What a pickle says of something by its module and name."""

    __slots__ = ("path",)

    def __init__(self, path: str):
        self.path = path


class _Mark:
    """Where on the stack the parts of a container begin."""


_MARK = _Mark()


class Machine:
    """Reads one pickle. `makers`: by path, what makes a value of arguments; `values`: what a path stands for itself;
    `persistent(id)`: what lies beside the pickle.

    Raises FileFormatError for any other name, for instructions that only code needs, and for a damaged pickle.
    """

    def __init__(
        self, makers: Mapping[str, Callable[..., Any]], values: Mapping[str, Any], persistent: Callable[[Any], Any]
    ):
        self.makers, self.values, self.persistent = {**PLAIN, **makers}, values, persistent
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def read(self, content: Any) -> Any:
        """The value of a pickle, bytes or a file at whose position one begins."""
        self.stack, self.memo = [], {}
        try:
            for instruction, argument, _ in pickletools.genops(content):
                self.do(instruction.name, argument)
            if len(self.stack) != 1:
                raise ValueError(f"{len(self.stack)} values are left at its end")
            return self.pop()
        except FileFormatError:
            raise
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, EOFError) as error:
            raise FileFormatError(f"its pickle is damaged: {error}") from None

    def do(self, name: str, argument: Any) -> None:
        """One instruction."""
        stack = self.stack
        if name in _VALUES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name in _MEMO:
            self.memo[argument] = stack[-1]
        elif name in _RECALL:
            stack.append(self.memo[argument])
        elif name in _TUPLES:
            at = len(stack) - _TUPLES[name]
            if at < 0:
                raise ValueError("a tuple has no beginning")
            stack[at:] = [tuple(map(self.settled, stack[at:]))]
        elif name not in _NOTHING:
            if name not in _INSTRUCTIONS:
                raise FileFormatError(
                    f"its pickle wants to make an object by {name}, which takes code; graphc runs none"
                )
            _INSTRUCTIONS[name](self, argument)

    def marked(self) -> list[Any]:
        """Takes what lies above the last mark."""
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise ValueError("a part has no beginning")
        found = self.stack[at + 1 :]
        del self.stack[at:]
        return [self.settled(x) for x in found]

    def drop(self, n: int) -> None:
        """Throws the n topmost values away."""
        del self.stack[len(self.stack) - n :]

    def pop(self) -> Any:
        """Takes the topmost value."""
        return self.plain(self.stack.pop())

    def settled(self, x: Any) -> Any:
        """A value that is whole now; names that stand for no value stay, as arguments."""
        if x is _MARK:
            raise ValueError("a mark is no value")
        if isinstance(x, Name):
            return self.values.get(x.path, x)
        return x.array if isinstance(x, _Array) else x.np if isinstance(x, _Dtype) else x

    def plain(self, x: Any) -> Any:
        """The same of a part of the result: no name may be left."""
        x = self.settled(x)
        for part in x if type(x) is tuple else (x,):
            if isinstance(part, Name):
                raise unknown(part.path)
        return x

    def call(self) -> None:
        """A function and its arguments become what it makes of them."""
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise ValueError("it calls what is no function")
        if function.path not in self.makers:
            raise unknown(function.path)
        self.stack.append(self.makers[function.path](*arguments))

    def build(self) -> None:
        """An object is given its state: only arrays have one that matters."""
        state, target = self.settled(self.stack.pop()), self.stack[-1]
        if isinstance(target, _Array):
            target.fill(state)
        elif isinstance(target, _Dtype):
            target.set_order(state)
        elif type(target) not in (OrderedDict, Counter, defaultdict):
            raise FileFormatError(
                f"its pickle gives a {type(target).__name__} a state, which takes code; graphc runs none"
            )


def read_plain(path: str) -> Any:
    """What the pickle in a file holds, if that is plain values and arrays; FileFormatError, which names the file, if not."""

    def persistent(identity: Any) -> NoReturn:
        raise FileFormatError(f"it refers to {identity!r}, which is not in it")

    with open(path, "rb") as file:
        try:
            return Machine({}, {}, persistent).read(file)
        except FileFormatError as error:
            raise FileFormatError(f"{path}: refused: {error}") from None


def unknown(path: str) -> FileFormatError:
    """The error for a name that no data needs."""
    return FileFormatError(
        f"it holds a {path}, which only that class's code can make; graphc runs no code from files\n"
        "  hint: save plain values and tensors: torch.save(model.state_dict(), path)"
    )


def _append(machine: Machine, items: list[Any]) -> None:
    machine.stack[-1].extend(map(machine.plain, items)) if type(machine.stack[-1]) is list else _refuse(
        machine.stack[-1]
    )


def _set_items(machine: Machine, items: list[Any]) -> None:
    target = machine.stack[-1]
    if type(target) not in (dict, OrderedDict, Counter, defaultdict) or len(items) % 2:
        _refuse(target)
    items = [machine.plain(x) for x in items]
    target.update(zip(items[::2], items[1::2], strict=True))


def _refuse(target: Any) -> NoReturn:
    raise ValueError(f"it puts parts into a {type(target).__name__}")


def _stack_global(machine: Machine, _: Any) -> None:
    name, module = machine.pop(), machine.pop()
    machine.stack.append(Name(f"{module}.{name}"))


def _dict(machine: Machine, _: Any) -> None:
    items = machine.marked()
    machine.stack.append({})
    _set_items(machine, items)


def _add_items(machine: Machine, _: Any) -> None:
    items = [machine.plain(x) for x in machine.marked()]
    machine.stack[-1].update(items) if type(machine.stack[-1]) is set else _refuse(machine.stack[-1])


def _pop_mark(machine: Machine, _: Any) -> None:
    machine.marked()


def _pair(machine: Machine, _: Any) -> None:
    value, key = machine.pop(), machine.pop()
    _set_items(machine, [key, value])


_INSTRUCTIONS: dict[str, Callable[[Machine, Any], None]] = {
    "MARK": lambda m, _: m.stack.append(_MARK),
    "POP": lambda m, _: m.drop(1),
    "POP_MARK": _pop_mark,
    "MEMOIZE": lambda m, _: m.memo.update({len(m.memo): m.stack[-1]}),
    "LIST": lambda m, _: m.stack.append([m.plain(x) for x in m.marked()]),
    "TUPLE": lambda m, _: m.stack.append(tuple(m.marked())),
    "FROZENSET": lambda m, _: m.stack.append(frozenset(map(m.plain, m.marked()))),
    "DICT": _dict,
    "APPEND": lambda m, _: _append(m, [m.pop()]),
    "APPENDS": lambda m, _: _append(m, m.marked()),
    "SETITEM": _pair,
    "SETITEMS": lambda m, _: _set_items(m, m.marked()),
    "ADDITEMS": _add_items,
    "GLOBAL": lambda m, path: m.stack.append(Name(path.replace(" ", "."))),
    "STACK_GLOBAL": _stack_global,
    "REDUCE": lambda m, _: m.call(),
    "BUILD": lambda m, _: m.build(),
    "BINPERSID": lambda m, _: m.stack.append(m.persistent(m.stack.pop())),
    "PERSID": lambda m, identity: m.stack.append(m.persistent(identity)),
}


# -- plain values and NumPy's ---------------------------------------------------------------------


class _Dtype:
    """A NumPy dtype of numbers."""

    def __init__(self, code: str, *_: Any):
        self.np = np.dtype(str(code))
        if self.np.kind not in "biufc":
            raise FileFormatError(f"it holds a NumPy array of {self.np}, which is no plain data")

    def set_order(self, state: Any) -> None:
        """The byte order is the second part of a dtype's state."""
        self.np = self.np.newbyteorder(state[1] if state[1] in ("<", ">") else "=")


class _Array:
    """A NumPy array whose elements come later, as its state."""

    def __init__(self, *_: Any):
        self.array: Any = np.zeros(0)

    def fill(self, state: Any) -> None:
        """The elements: (version, shape, dtype, whether columns come first, bytes)."""
        _, shape, dtype, by_columns, content = state
        content = content.encode("latin1") if isinstance(content, str) else content  # as Python 2 wrote it
        self.array = _numbers(content, dtype).reshape(shape, order="F" if by_columns else "C")


def _numbers(content: bytes, dtype: Any) -> Any:
    return np.frombuffer(content, dtype).astype(dtype.newbyteorder("="))


def _number(dtype: Any, content: bytes) -> Any:
    return _numbers(content, dtype)[0]


def _encoded(text: str, encoding: str = "latin1") -> bytes:
    if encoding != "latin1":
        raise ValueError(f"bytes in {encoding}")
    return text.encode("latin1")


def _defaults(factory: Any = None, *items: Any) -> defaultdict[Any, Any]:
    makers: dict[str, Any] = {f"{m}.{t.__name__}": t for m in _BUILTINS for t in (int, float, list, dict, set)}
    return defaultdict(makers[factory.path] if factory is not None else None, *items)


_BUILTINS = ("builtins", "__builtin__")
_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")
#: by path, what makes plain values of their parts
PLAIN: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": OrderedDict, "collections.Counter": Counter, "collections.defaultdict": _defaults,
    "_codecs.encode": _encoded, "numpy.dtype": _Dtype,
    **{f"{module}.{t.__name__}": t for module in _BUILTINS for t in (set, frozenset, complex, slice, range, list, dict)},
    **{f"{module}.scalar": _number for module in _NUMPY}, **{f"{module}._reconstruct": _Array for module in _NUMPY},
}  # fmt: skip
