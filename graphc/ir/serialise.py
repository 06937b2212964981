"""Programs as plain data: a dict that JSON can hold, and the constants as arrays. Reading runs no code.

`{"format": 1, "programs": [...]}`: nested bodies come before the programs that use them, the program itself is last. A node
is `{"op", "inputs": [[node, output], ...], "attrs"}`, attributes carry a tag where JSON alone would lose their type.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from graphc.core.dims import Dim, Size, assumptions, floordiv, is_size, size_max, size_min
from graphc.core.errors import FileFormatError, GraphError
from graphc.core.op import REGISTRY, Op
from graphc.core.tensor_types import BY_NAME, DTYPE_OF, DType, TensorType
from graphc.ir.program import CONSTANT, INPUT, ConstantData, Node, Origin, Program, Table, Value

FORMAT = 1
_LEAVES = {INPUT.name: INPUT, CONSTANT.name: CONSTANT}
_OPAQUE = {"//": floordiv, "min": size_min, "max": size_max}
_DEEPEST = 32

Json = Any
Arrays = dict[str, np.ndarray[Any, Any]]


# --- writing -----------------------------------------------------------------------------------------------------------


class _Encoder:
    def __init__(self) -> None:
        self.programs: list[Json] = []
        self.known: dict[int, int] = {}
        self.arrays: Arrays = {}
        self.array_names: dict[int, str] = {}

    def program(self, program: Program) -> int:
        if id(program) in self.known:
            return self.known[id(program)]
        leaves = [value.node for value in program.inputs]
        order = [*leaves, *(node for node in program.nodes if node.op is not INPUT)]
        places = {node: i for i, node in enumerate(order)}
        nodes = [self.node(node, places) for node in order]

        def place(value: Value) -> list[int]:
            return [places[value.node], value.index]

        encoded = {
            "inputs": len(leaves),
            "nodes": nodes,
            "outputs": [place(value) for value in program.outputs],
            "checks": [[self.attr(a), self.attr(b), line] for a, b, line in program.checks],
        }
        self.programs.append(encoded)
        self.known[id(program)] = len(self.programs) - 1
        return self.known[id(program)]

    def node(self, node: Node, places: dict[Node, int]) -> Json:
        if node.op not in _LEAVES.values() and REGISTRY.get(node.op.name) is not node.op:
            raise GraphError(
                f"{node.op.name} at {node.outputs[0].origin_text()} is not a registered op and cannot be saved"
            )
        try:
            attrs = {key: self.attr(x) for key, x in node.attrs.items()}
        except GraphError as error:
            raise GraphError(f"{node.op.name} at {node.outputs[0].origin_text()} cannot be saved: {error}") from None
        encoded: Json = {"op": node.op.name}
        if node.inputs:
            encoded["inputs"] = [[places[value.node], value.index] for value in node.inputs]
        if attrs:
            encoded["attrs"] = attrs
        if node.origins:
            encoded["at"] = [list(origin) for origin in node.origins]
        return encoded

    def attr(self, x: Any) -> Json:
        if x is None or type(x) in (bool, int, str):
            return x
        if type(x) is float:
            return {"float": x.hex()}
        if isinstance(x, TensorType):
            return {"type": [self.attr(size) for size in x.shape], "dtype": x.dtype.name}
        if isinstance(x, tuple):
            return {"tuple": [self.attr(part) for part in x]}
        if isinstance(x, DType):
            return {"dtype": x.name}
        if isinstance(x, Dim):
            return {"dim": [[c, [self.factor(f) for f in monomial]] for monomial, c in x.terms]}
        if isinstance(x, ConstantData):
            return {"array": self.array(x)}
        if isinstance(x, Program):
            return {"program": self.program(x)}
        raise GraphError(f"an attribute of type {type(x).__name__} has no file form")

    def factor(self, factor: Any) -> Json:
        if isinstance(factor, str):
            return factor
        op, a, b = factor
        return [op, self.attr(a), self.attr(b)]

    def array(self, data: ConstantData) -> str:
        name = self.array_names.get(id(data))
        if name is None:
            name = self.array_names[id(data)] = f"constant.{len(self.arrays)}"
            self.arrays[name] = data.array
        return name


def to_dict(program: Program) -> tuple[dict[str, Any], Arrays]:
    """The program as a dict for JSON, and its constants by name. GraphError for an attribute no file can hold."""
    encoder = _Encoder()
    encoder.program(program)
    return {"format": FORMAT, "programs": encoder.programs}, encoder.arrays


def to_json(x: Any) -> Json:
    """What may be an attribute (numbers, sizes, types, nested in tuples) as JSON, without arrays and programs."""
    return _Encoder().attr(x)


# --- reading -----------------------------------------------------------------------------------------------------------


def _need(x: Any, kind: type | tuple[type, ...], what: str) -> Any:
    if not isinstance(x, kind) or (isinstance(x, bool) and kind is int):
        raise FileFormatError(f"{what}: {_short(x)} is not what belongs there")
    return x


def _short(x: Any) -> str:
    try:
        text = json.dumps(x)
    except (TypeError, ValueError, RecursionError):
        text = type(x).__name__
    return text if len(text) < 60 else text[:57] + "..."


class _Decoder:
    def __init__(self, arrays: Mapping[str, Any]):
        self.table = Table()
        self.arrays = arrays
        self.constants: dict[str, ConstantData] = {}
        self.programs: list[Program] = []

    def program(self, encoded: Json) -> Program:
        _need(encoded, dict, "a program")
        count = _need(encoded.get("inputs"), int, "the number of inputs")
        made: list[Node] = []
        for i, node in enumerate(_need(encoded.get("nodes"), list, "the nodes")):
            made.append(self.node(_need(node, dict, f"node {i}"), made))
            if (made[-1].op is INPUT) != (i < count):
                raise FileFormatError(f"node {i}: the {count} inputs come first, and nothing else is an input")
        if not 0 <= count <= len(made):
            raise FileFormatError(f"{count} inputs, but {len(made)} nodes")
        outputs = tuple(self.value(place, made) for place in _need(encoded.get("outputs"), list, "the outputs"))
        checks = tuple(map(self.check, _need(encoded.get("checks", []), list, "the checks")))
        return Program(self.table, tuple(node.outputs[0] for node in made[:count]), outputs, checks)

    def check(self, encoded: Json) -> tuple[Size, Size, str]:
        if not isinstance(encoded, list) or len(encoded) != 3:
            raise FileFormatError(f"a check of sizes: {_short(encoded)} is not what belongs there")
        return self.size(encoded[0]), self.size(encoded[1]), _need(encoded[2], str, "a check's line")

    def value(self, place: Json, made: list[Node]) -> Value:
        if not (isinstance(place, list) and len(place) == 2 and all(type(i) is int for i in place)):
            raise FileFormatError(f"a value: {_short(place)} is not [node, output]")
        node, index = place
        if not (0 <= node < len(made) and 0 <= index < len(made[node].outputs)):
            raise FileFormatError(f"a value: no output {index} of an earlier node {node}")
        return made[node].outputs[index]

    def node(self, encoded: Json, made: list[Node]) -> Node:
        op = find(_need(encoded.get("op"), str, "an op's name"))
        inputs = tuple(self.value(place, made) for place in _need(encoded.get("inputs", []), list, "operands"))
        pairs = _need(encoded.get("attrs", {}), dict, "attributes").items()
        attrs = {_need(key, str, "an attribute's name"): self.attr(x) for key, x in pairs}
        origins = tuple(map(_origin, _need(encoded.get("at", []), list, "user lines")))
        if op in _LEAVES.values():
            return self.leaf(op, inputs, attrs, origins)
        return node_of(self.table, op, inputs, attrs, origins)

    def leaf(self, op: Op, inputs: tuple[Value, ...], attrs: dict[str, Any], origins: tuple[Origin, ...]) -> Node:
        if op is INPUT:
            named, of = isinstance(attrs.get("name"), str), attrs.get("type")
            fits = named and isinstance(of, TensorType) and _is_shape(of.shape) and len(attrs) == 2
        else:
            fits = isinstance(attrs.get("data"), ConstantData) and len(attrs) == 1
        if inputs or not fits:
            raise FileFormatError(f"{op.name}: operands or attributes do not fit")
        return self.table.apply(op, (), attrs, origins)

    def attr(self, x: Json, depth: int = 0) -> Any:
        if x is None or type(x) in (bool, int, str):
            return x
        if depth > _DEEPEST:
            raise FileFormatError("an attribute is nested too deeply")
        keys = tuple(_need(x, dict, "an attribute"))
        if keys == ("float",):
            return self.number(x["float"])
        if keys == ("tuple",):
            return tuple(self.attr(part, depth + 1) for part in _need(x["tuple"], list, "a tuple"))
        if keys == ("type", "dtype") or keys == ("dtype", "type"):
            shape = tuple(self.size(part) for part in _need(x["type"], list, "a shape"))
            return TensorType(shape, _dtype(x["dtype"]))
        if keys == ("dtype",):
            return _dtype(x["dtype"])
        if keys == ("dim",):
            return self.dim(x["dim"], depth)
        if keys == ("array",):
            return self.array(_need(x["array"], str, "a constant's name"))
        if keys == ("program",):
            at = _need(x["program"], int, "a body's number")
            if 0 <= at < len(self.programs):
                return self.programs[at]
        raise FileFormatError(f"an attribute: {_short(x)} is not what belongs there")

    def number(self, text: Json) -> float:
        try:
            return float.fromhex(_need(text, str, "a float"))
        except (ValueError, OverflowError):
            raise FileFormatError(f"a float: {_short(text)} is not a hexadecimal float") from None

    def size(self, x: Json, depth: int = 0) -> Size:
        if type(x) is int:
            return x
        found = self.attr(x, depth)
        if not isinstance(found, int | Dim) or isinstance(found, bool):
            raise FileFormatError(f"a size: {_short(x)} is not what belongs there")
        return found

    def dim(self, terms: Json, depth: int) -> Size:
        total: Size = 0
        for term in _need(terms, list, "a size's terms"):
            if not (isinstance(term, list) and len(term) == 2 and type(term[0]) is int):
                raise FileFormatError(f"a size's term: {_short(term)} is not [coefficient, factors]")
            product: Size = term[0]
            for factor in _need(term[1], list, "a size's factors"):
                product = product * self.factor(factor, depth)
            total = total + product
        return total

    def factor(self, x: Json, depth: int) -> Size:
        if isinstance(x, str):
            return Dim.named(x)
        if isinstance(x, list) and len(x) == 3 and isinstance(x[0], str) and x[0] in _OPAQUE:
            a, b = self.size(x[1], depth + 1), self.size(x[2], depth + 1)
            if not (x[0] == "//" and b == 0):
                return _OPAQUE[x[0]](a, b)
        raise FileFormatError(f"a size's factor: {_short(x)} is not what belongs there")

    def array(self, name: str) -> ConstantData:
        if name not in self.constants:
            array = self.arrays.get(name)
            if not isinstance(array, np.ndarray) or array.dtype not in DTYPE_OF:
                raise FileFormatError(f"constant {name!r} is missing or no array of a known dtype")
            self.constants[name] = ConstantData(array)
        return self.constants[name]


def from_json(x: Json) -> Any:
    """What `to_json` turned into this; FileFormatError for anything else."""
    return _Decoder({}).attr(x)


def find(name: str) -> Op:
    """The op of that name; FileFormatError if this version of graphc has none."""
    op = _LEAVES.get(name) or REGISTRY.get(name)
    if op is None:
        raise FileFormatError(f"unknown op {name!r}\n  hint: the file may come from a newer version of graphc")
    return op


def node_of(
    table: Table, op: Op, inputs: tuple[Value, ...], attrs: Mapping[str, Any], origins: tuple[Origin, ...]
) -> Node:
    """The node of an op on what was read from somewhere; FileFormatError where that does not fit the op."""
    if isinstance(op.vjp, tuple) and len(op.vjp) != len(inputs):
        raise FileFormatError(f"{op.name}: {len(inputs)} operands, it takes {len(op.vjp)}")
    try:
        node = table.apply(op, inputs, attrs, origins)
    except Exception as error:
        raise FileFormatError(f"{op.name}: operands or attributes do not fit: {error}") from error
    if not all(_is_shape(value.type.shape) for value in node.outputs):
        raise FileFormatError(f"{op.name}: operands or attributes do not fit: a shape of other than sizes")
    return node


def _is_shape(shape: Any) -> bool:
    return all(is_size(size) and (isinstance(size, Dim) or size >= 0) for size in shape)


def _dtype(name: Json) -> DType:
    if not isinstance(name, str) or name not in BY_NAME:
        raise FileFormatError(f"unknown dtype {_short(name)}")
    return BY_NAME[name]


def _origin(x: Json) -> Origin:
    if not (isinstance(x, list) and len(x) == 4 and type(x[1]) is int and all(type(x[i]) is str for i in (0, 2, 3))):
        raise FileFormatError(f"a user line: {_short(x)} is not [file, line, module, role]")
    return Origin(*x)


def from_dict(encoded: Any, arrays: Mapping[str, Any]) -> Program:
    """The program that `to_dict` turned into this; constants become read-only views of the arrays given.

    FileFormatError, with nothing made, for another format, unknown ops, or anything that does not fit together.
    """
    _need(encoded, dict, "a program file")
    version = encoded.get("format")
    if version != FORMAT or type(version) is not int:
        raise FileFormatError(
            f"format {_short(version)} is not known here; this version of graphc reads format {FORMAT}"
        )
    programs = _need(encoded.get("programs"), list, "the programs")
    if not programs:
        raise FileFormatError("a program file without a program")
    decoder = _Decoder(arrays)
    with assumptions(lambda a, b: None):
        for program in programs:
            try:
                decoder.programs.append(decoder.program(program))
            except RecursionError:
                raise FileFormatError("the file is nested too deeply") from None
    return decoder.programs[-1]
