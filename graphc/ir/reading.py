"""Programs out of their text, as `program_text(..., full=True)` writes it. Reading runs no code.

    program(x: f32[n, 2]):
      %0: f32[2, 2] = constant [[1.0, 0.0], [0.0, 2.5]]
      %1: f32[n, 2] = matmul(x, %0, transpose_a=False, transpose_b=True)  # net.py:12 layer
      return %1

Types are inferred anew, and compared with those that stand there. A comment with lines and modules becomes the nodes' origins.
"""

from __future__ import annotations

import ast
import base64
import binascii
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.core.dims import Dim, Size, assumptions, floordiv, is_size, is_static, size_max, size_min
from graphc.core.errors import FileFormatError
from graphc.core.tensor_types import BOOL, BY_NAME, INT, DType, TensorType
from graphc.ir.program import CONSTANT, INPUT, ConstantData, Node, Origin, Program, Table, Value
from graphc.ir.serialise import find, node_of

_BY_SHORT = {dtype.short: dtype for dtype in BY_NAME.values()}
_HEAD = re.compile(r"(\w+)\((.*)\):")
_CALL = re.compile(r"([\w:.]+)\((.*)\)")
_ORIGIN = re.compile(r"(.+?):(\d{1,9})(?: (?!\()(\S+))?(?: \((\w+)\))?")
_SIZES: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.FloorDiv: floordiv,
}
#: The type of a scalar, `f32[]`, which Python has no expression for; what stands in quotes is passed over.
_SCALAR = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|\b(\w+)\[\]""")
_DEEPEST = 64
#: What elements are written as, by the category of their dtype; others as any number.
_ELEMENTS: dict[int, Any] = {BOOL: bool, INT: int}
#: A text must not make sizes that take longer to multiply out than to read: the most terms of one, the largest number.
_MOST_TERMS, _LARGEST = 1000, 2**63


@dataclass
class _Line:
    number: int
    indent: int
    text: str
    comment: str

    def wrong(self, what: str) -> FileFormatError:
        return FileFormatError(f"line {self.number}: {what}\n  {self.text[:100]}")


def program_from_text(text: str) -> Program:
    """The program that a text describes; its constants are read-only.

    FileFormatError, naming the line of the text, for unknown ops and names, and for whatever does not fit together.
    """
    lines = list(_lines_of(text))
    if not lines:
        raise FileFormatError("no program: the text is empty")
    reader = _Reader(lines)
    with assumptions(lambda a, b: None):
        try:
            program = reader.program()
        except RecursionError:
            raise FileFormatError("the text is nested too deeply") from None
    if reader.at < len(lines):
        raise lines[reader.at].wrong("something stands behind the program")
    return program


def _lines_of(text: str) -> Iterator[_Line]:
    for number, whole in enumerate(text.splitlines(), 1):
        body = whole.lstrip(" ")
        code, comment = _without_comment(body)
        if code:
            yield _Line(number, len(whole) - len(body), code, comment)


def _without_comment(text: str) -> tuple[str, str]:
    if "#" not in text:
        return text.rstrip(), ""
    for at, _ in _outside_quotes(text):
        if text[at] == "#":
            return text[:at].rstrip(), text[at + 1 :].strip()
    return text.rstrip(), ""


def _outside_quotes(text: str) -> Iterator[tuple[int, int]]:
    """The places of characters that stand in no quotes, each with the number of brackets it stands in."""
    quote, depth, skip = "", 0, False
    for at, c in enumerate(text):
        if quote:
            if skip:
                skip = False
            elif c == "\\":
                skip = True
            elif c == quote:
                quote = ""
        elif c in "'\"":
            quote = c
        else:
            depth += (c in "([") - (c in ")]")
            yield at, depth


def _parts(text: str) -> list[str]:
    """What stands between commas that are in no brackets."""
    parts, start = [], 0
    for at, depth in _outside_quotes(text):
        if text[at] == "," and depth == 0:
            parts.append(text[start:at].strip())
            start = at + 1
    rest = text[start:].strip()
    return [*parts, rest] if rest else parts


def _split(text: str, at: str) -> tuple[str, str]:
    """What stands before and behind the first ` = ` or `: ` that is in no quotes; nothing before where there is none."""
    for place, _ in _outside_quotes(text):
        if text.startswith(at, place):
            return text[:place], text[place + len(at) :]
    return "", text


class _Reader:
    """Reads line by line; bodies of control ops stand, further indented, below their node."""

    def __init__(self, lines: list[_Line]):
        self.lines, self.at = lines, 0
        #: of the program, and of bodies by their depth: nodes of theirs are never those of the program
        self.tables: list[Table] = []

    def program(self, depth: int = 0) -> Program:
        head = self.lines[self.at]
        found = _HEAD.fullmatch(head.text)
        if found is None or depth > _DEEPEST:
            raise head.wrong("a program begins with a line such as `program(x: f32[2, 3]):`")
        self.at += 1
        if depth == len(self.tables):
            self.tables.append(Table())
        table, names = self.tables[depth], dict[str, Value]()
        for part in _parts(found[2]):
            name, type_ = _typed(part, head)
            if name in names:
                raise head.wrong(f"two inputs are called {name}")
            names[name] = table.input(_unquoted(name, head), type_)
        inputs = tuple(names.values())
        checks: list[tuple[Size, Size, str]] = []
        while self.at < len(self.lines) and self.lines[self.at].indent > head.indent:
            line = self.lines[self.at]
            self.at += 1
            if line.text == "return" or line.text.startswith("return "):
                outputs = tuple([_value(x, names, line) for x in _parts(line.text[6:])])
                return Program(table, inputs, outputs, tuple(checks))
            if line.text.startswith("check "):
                a, b = _split(line.text[6:], " == ")
                checks.append((_size(a, line), _size(b, line), line.comment))
            else:
                self.node(line, names, depth)
        raise head.wrong("this program has no `return`")

    def node(self, line: _Line, names: dict[str, Value], depth: int) -> None:
        left, right = _split(line.text, " = ")
        results = [_typed(part, line) for part in _parts(left)]
        if not results:
            raise line.wrong("a node is written `%0: f32[3] = op(...)`")
        origins = tuple(_origins(line.comment))
        if right.startswith("constant "):
            array = _array(results[0][1], right[9:], line)
            node = self.tables[depth].constant(array, origins).node
        else:
            node = self.call(line, right, names, origins, depth)
        if len(results) != len(node.outputs):
            raise line.wrong(f"{node.op.name} makes {len(node.outputs)} values")
        for (name, type_), value in zip(results, node.outputs, strict=True):
            if value.type != type_:
                raise line.wrong(f"{node.op.name} makes {value.type} here, not {type_}")
            if name in names:
                raise line.wrong(f"{name} is there already")
            names[name] = value

    def call(
        self, line: _Line, text: str, names: dict[str, Value], origins: tuple[Origin, ...], depth: int
    ) -> Node:  # fmt: skip
        found = _CALL.fullmatch(text)
        if found is None:
            raise line.wrong("a node is written `%0: f32[3] = op(...)`")
        if ":" in found[1]:
            raise line.wrong(f"{found[1]} is an operator of somebody's own: a Python function, which no text holds")
        try:
            op = find(found[1])
        except FileFormatError as error:
            raise line.wrong(str(error)) from None
        if op in (INPUT, CONSTANT):
            raise line.wrong(f"{op.name} is not written like a call")
        operands: list[Value] = []
        attrs: dict[str, Any] = {}
        for part in _parts(found[2]):
            key, value = _split(part, "=")
            if key.isidentifier():
                attrs[key] = _expression(value, line)
            else:
                operands.append(_value(part, names, line))
        while self.at < len(self.lines) and self.lines[self.at].indent > line.indent:
            key = self.lines[self.at].text.partition("(")[0]
            attrs[key] = self.program(depth + 1)
        try:
            return node_of(self.tables[depth], op, tuple(operands), attrs, origins)
        except FileFormatError as error:
            raise line.wrong(str(error)) from error


def _typed(text: str, line: _Line) -> tuple[str, TensorType]:
    name, type_text = _split(text, ": ")
    found = _expression(type_text, line)
    if not name or not isinstance(found, TensorType):
        raise line.wrong(f"{text!r} is not a name with a type, such as `x: f32[2, 3]`")
    return name, found


def _unquoted(name: str, line: _Line) -> str:
    return str(_expression(name, line)) if name[0] in "'\"" else name


def _value(name: str, names: dict[str, Value], line: _Line) -> Value:
    if name not in names:
        raise line.wrong(f"nothing above is called {name}")
    return names[name]


def _origins(comment: str) -> Iterator[Origin]:
    for part in comment.split(", ") if comment else ():
        found = _ORIGIN.fullmatch(part)
        if found is not None:
            yield Origin(found[1], int(found[2]), found[3] or "", found[4] or "forward")


# --- attributes: a few of Python's expressions, looked at and never run ---------------------------------------------------


def _size(text: str, line: _Line) -> Size:
    found = _expression(text, line)
    if not is_size(found):
        raise line.wrong(f"{text!r} is no size")
    return found


def _expression(text: str, line: _Line) -> Any:
    try:
        return _read(_parsed(text))
    except (SyntaxError, ValueError, TypeError, KeyError, ArithmeticError, MemoryError) as error:
        raise line.wrong(f"{text.strip()[:60]!r} is not what belongs there: {error}") from None


def _parsed(text: str) -> ast.expr:
    return ast.parse(_SCALAR.sub(lambda m: m[0] if m[1] is None else f"{m[1]}[()]", text.strip()), mode="eval").body


def _read(x: ast.expr) -> Any:
    match x:
        case ast.Constant(value=None | bool() | int() | float() | str()):
            return x.value
        case ast.Name(id="nan" | "inf"):
            return float(x.id)
        case ast.Name():
            return BY_NAME.get(x.id) or Dim.named(x.id)
        case ast.Tuple():
            return tuple(map(_read, x.elts))
        case ast.UnaryOp(op=ast.USub()):
            return -_number(_read(x.operand))
        case ast.BinOp() if type(x.op) in _SIZES:
            return _unknown(_SIZES[type(x.op)](*_operands(x)))
        case ast.Call(func=ast.Name(id="min" | "max" as name), args=[a, b], keywords=[]):
            return (size_min if name == "min" else size_max)(_unknown(_read(a)), _unknown(_read(b)))
        case ast.Call(func=ast.Name(id="size"), args=[ast.Constant(value=str() as name)], keywords=[]):
            return Dim.named(name)
        case ast.Call(func=ast.Name(id="array"), args=[of, elements], keywords=[]):
            return ConstantData(_elements(_read(of), elements))
        case ast.Subscript(value=ast.Name(id=short)) if short in _BY_SHORT:
            sizes = _read(x.slice)
            shape = tuple(map(_unknown, sizes if isinstance(sizes, tuple) else (sizes,)))
            if any(isinstance(size, int) and size < 0 for size in shape):
                raise ValueError("sizes are not negative")
            return TensorType(shape, _BY_SHORT[short])
    raise ValueError("this is not written in texts of programs")


def _number(x: Any) -> Any:
    if isinstance(x, bool) or not isinstance(x, int | float | Dim):
        raise ValueError(f"{x!r} is no number")
    return x


def _operands(x: ast.BinOp) -> tuple[Size, Size]:
    a, b = _unknown(_read(x.left)), _unknown(_read(x.right))
    if isinstance(x.op, ast.FloorDiv) and isinstance(b, int) and b == 0:
        raise ValueError("division by zero")
    if isinstance(a, Dim) and isinstance(b, Dim) and len(a.terms) * len(b.terms) > _MOST_TERMS:
        raise ValueError(f"a size of more than {_MOST_TERMS} terms")
    return a, b


def _unknown(x: Any) -> Size:
    if not is_size(x):
        raise ValueError(f"{x!r} is no size")
    numbers = [count for _, count in x.terms] if isinstance(x, Dim) else [x]
    if len(numbers) > _MOST_TERMS or any(abs(number) >= _LARGEST for number in numbers):
        raise ValueError(f"a size of more than {_MOST_TERMS} terms, or with a number of more than 63 bits")
    return x


def _array(of: TensorType, text: str, line: _Line) -> np.ndarray[Any, Any]:
    try:
        return _elements(of, _parsed(text))
    except (SyntaxError, ValueError, TypeError, OverflowError, FloatingPointError, MemoryError) as error:
        raise line.wrong(f"these are no elements of {of}: {error}") from None


def _elements(of: TensorType, x: ast.expr) -> np.ndarray[Any, Any]:
    """A constant's elements, from nested lists or from bytes in base 64."""
    dtype: DType = of.dtype
    if not is_static(of.shape):
        raise ValueError("the sizes of a constant are numbers")
    if isinstance(x, ast.Constant) and isinstance(x.value, str):
        try:
            flat = np.frombuffer(base64.b64decode(x.value, validate=True), dtype.np)
        except binascii.Error as error:
            raise ValueError(str(error)) from None
        return flat.reshape(of.shape).copy()
    with np.errstate(over="raise"):
        array = np.array(_nested(x, dtype), dtype.np)
    if array.size and array.shape != of.shape:
        raise ValueError(f"their shape is {array.shape}")
    return array.reshape(of.shape)


def _nested(x: ast.expr, dtype: DType) -> Any:
    if isinstance(x, ast.List):
        return [_nested(part, dtype) for part in x.elts]
    found = _read(x)
    if not isinstance(found, _ELEMENTS.get(dtype.category, int | float)):
        raise ValueError(f"{found!r} is no element")
    return found
