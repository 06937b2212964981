"""Programs to plain data and back."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from program_samples import Builder, RandomProgram, m, n, same_bits

from graphc.core.errors import FileFormatError, GraphError
from graphc.core.op import REGISTRY, Kind, Op, declare
from graphc.core.tensor_types import TensorType, bfloat16, float32
from graphc.ir.interpret import interpret
from graphc.ir.program import Program
from graphc.ir.serialise import from_dict, to_dict
from graphc.ir.text import program_text
from graphc.ir.verify import verify
from graphc.primitives import creation, elementwise, views


@pytest.fixture
def call() -> Any:
    op = declare("call_for_tests", infer=lambda x, *, body, **_: x, eval=lambda x, **_: x, kind=Kind("control"))
    yield op
    del REGISTRY["call_for_tests"]


def through_json(program: Program) -> Program:
    encoded, arrays = to_dict(program)
    return from_dict(json.loads(json.dumps(encoded)), arrays)


@pytest.mark.parametrize("seed", range(20))
def test_random_programs(seed: int) -> None:
    random = RandomProgram(seed)
    program = random.program()
    read = through_json(program)
    verify(read)
    assert program_text(read) == program_text(program) or len(read.nodes) == len(program.nodes)
    for a, b in zip(interpret(program, random.arrays()), interpret(read, random.arrays()), strict=True):
        same_bits(a, b)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, -0.0, 0.0, 0.1, 5e-324, 1.7976931348623157e308])
def test_floats_keep_their_bits(number: float) -> None:
    b = Builder()
    read = through_json(b.program(b.full(number)))
    found = read.outputs[0].node.attrs["value"]
    assert type(found) is float
    assert np.float64(found).tobytes() == np.float64(number).tobytes()


def test_kinds_of_numbers_stay_apart() -> None:
    b = Builder()
    program = b.program(*[b(creation.full, shape=(), value=x, dtype=float32) for x in (1, True, 1.0, 2**70, -5)])
    assert [type(v.node.attrs["value"]) for v in through_json(program).outputs] == [int, bool, float, int, int]
    assert len({v.node for v in through_json(program).outputs}) == 5


def test_unknown_sizes() -> None:
    b = Builder()
    x = b.input("x", (n, m, 3), bfloat16)
    flat = b(views.reshape, x, shape=(n * m * 3,))
    half = b(views.slice_, flat, starts=(0,), limits=((n * m * 3) // 2,), strides=(2,))
    both = b(creation.size, dim=(n + 1) // (m + 2) - n * n * 4 + 7)
    program = Program(b.table, tuple(b.inputs), (half, both), ((n, m + 1, "a.py:7"),))
    read = through_json(program)
    verify(read)
    assert [v.type for v in read.outputs] == [v.type for v in program.outputs]
    assert read.outputs[1].node.attrs["dim"] == both.node.attrs["dim"]
    assert read.checks == program.checks


def test_constants_bodies_and_unused_inputs(call: Op) -> None:
    b = Builder()
    inner = Builder()
    body = inner.program(inner(elementwise.add, inner.input("a", (2,)), inner.constant([1.0, math.nan])))
    x = b.input("x", (2,))
    b.input("unused", (5,))
    c = b.constant(np.array([1.5, -0.0], ml_dtypes.bfloat16))
    attrs = {"body": body, "kinds": (TensorType((2, n), float32), float32, (1, ("a", None)), -0.0)}
    y = b(call, x, **attrs)
    program = b.program(y, b(call, y, **attrs), c)
    read = through_json(program)
    assert program_text(read) == program_text(program)
    bodies = [v.node.attrs["body"] for v in read.outputs[:2]]
    assert bodies[0] is bodies[1]
    assert [v.node.attrs["name"] for v in read.inputs] == ["x", "unused"]
    kinds = read.outputs[0].node.attrs["kinds"]
    assert kinds == attrs["kinds"] and isinstance(kinds[0], TensorType) and math.copysign(1, kinds[3]) == -1
    same_bits(read.outputs[2].node.attrs["data"].array.view(np.uint16), c.node.attrs["data"].array.view(np.uint16))
    assert read.outputs[0].node.origins == y.node.origins


def test_what_cannot_be_saved() -> None:
    b = Builder()
    own = Op("own", infer=lambda x: x, eval=lambda x: x, kind=Kind("opaque"))
    with pytest.raises(GraphError, match=r"own at model.py:1 is not a registered op and cannot be saved"):
        to_dict(b.program(b(own, b.input("x", (2,)))))
    call = declare("call_for_tests", infer=lambda x, *, f: x, eval=lambda x, **_: x, kind=Kind("opaque"))
    try:
        with pytest.raises(GraphError, match=r"call_for_tests.*an attribute of type function has no file form"):
            to_dict(b.program(b(call, b.input("x", (2,)), f=to_dict)))
    finally:
        del REGISTRY["call_for_tests"]


def good() -> tuple[dict[str, Any], dict[str, Any]]:
    b = Builder()
    x = b.input("x", (n, 2))
    y = b(elementwise.add, x, b.constant([1.0, 2.0]))
    return to_dict(b.program(b(views.reshape, y, shape=(n * 2,)), y))


def corrupt(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    encoded = copy.deepcopy(good()[0])
    at = encoded
    for key in path[:-1]:
        at = at[key]
    if value is KeyError:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return encoded


P = ("programs", 0)
DEEP: Any = 1
for _ in range(100):
    DEEP = {"tuple": [DEEP]}


@pytest.mark.parametrize(
    ("path", "value", "match"),
    [
        (("format",), 2, "format 2 is not known"),
        (("format",), True, "format true is not known"),
        (("format",), KeyError, "format null"),
        (("programs",), [], "without a program"),
        (("programs",), {}, "the programs"),
        ((*P, "nodes"), None, "the nodes"),
        ((*P, "nodes", 2, "op"), "no_such_op", r"unknown op 'no_such_op'\n  hint: .*newer version"),
        ((*P, "nodes", 2, "op"), ["add"], "an op's name"),
        ((*P, "nodes", 2), 7, "node 2"),
        ((*P, "nodes", 2, "inputs"), [[0, 0], [2, 0]], "no output 0 of an earlier node 2"),
        ((*P, "nodes", 2, "inputs"), [[0, 0], [-1, 0]], "no output 0"),
        ((*P, "nodes", 2, "inputs"), [[0, 0], [1, 1]], "no output 1"),
        ((*P, "nodes", 2, "inputs"), [[0, 0], [1, True]], r"is not \[node, output\]"),
        ((*P, "nodes", 2, "inputs"), [[0, 0]], "1 operands, it takes 2"),
        ((*P, "nodes", 3, "attrs"), {"shape": 6, "axis": 1}, "reshape: operands or attributes do not fit"),
        ((*P, "nodes", 3, "attrs"), {}, "reshape: operands or attributes do not fit"),
        ((*P, "nodes", 0, "attrs", "type", "type"), [-1], "input: operands or attributes do not fit"),
        ((*P, "nodes", 3, "attrs"), {"shape": {"tuple": [3]}}, None),
        ((*P, "nodes", 3, "attrs", "shape"), {"tuple": [{"float": "0x1p0"}]}, "reshape: operands or attributes"),
        ((*P, "nodes", 3, "attrs", "shape"), {"tuple": [{"float": "one"}]}, "is not a hexadecimal float"),
        ((*P, "nodes", 3, "attrs", "shape"), [1], "an attribute"),
        ((*P, "nodes", 3, "attrs", "shape"), 1.5, "an attribute"),
        ((*P, "nodes", 3, "attrs", "shape"), {"eval": "1"}, "an attribute"),
        ((*P, "nodes", 3, "attrs", "shape"), {"program": 0}, "an attribute"),
        ((*P, "nodes", 3, "attrs", "shape"), {"dtype": "complex64"}, "unknown dtype"),
        ((*P, "nodes", 3, "attrs", "shape"), {"dim": [[1.5, ["n"]]]}, "a size's term"),
        ((*P, "nodes", 3, "attrs", "shape"), {"dim": [[1, [["+", 1, 2]]]]}, "a size's factor"),
        ((*P, "nodes", 3, "attrs", "shape"), {"dim": [[1, [["//", 1, 0]]]]}, "a size's factor"),
        ((*P, "nodes", 3, "attrs", "shape"), DEEP, "nested too deeply"),
        ((*P, "nodes", 1, "attrs", "data"), {"array": "nowhere"}, "constant 'nowhere' is missing"),
        ((*P, "nodes", 0, "attrs"), {"name": 3}, "input: operands or attributes do not fit"),
        ((*P, "nodes", 0, "op"), "constant", "do not fit"),
        ((*P, "nodes", 2, "at"), [["file", "1", ""]], "a user line"),
        ((*P, "inputs"), 2, "the 2 inputs come first"),
        ((*P, "inputs"), 0, "the 0 inputs come first"),
        ((*P, "inputs"), -1, "inputs"),
        ((*P, "outputs"), [[9, 0]], "no output 0 of an earlier node 9"),
        ((*P, "checks"), [[1, 2]], "a check of sizes"),
    ],
)
def test_malformed_files_are_refused(path: tuple[Any, ...], value: Any, match: str | None) -> None:
    encoded, arrays = corrupt(path, value), good()[1]
    if match is None:  # sizes that may be equal
        from_dict(encoded, arrays)
        return
    with pytest.raises(FileFormatError, match=match):
        from_dict(encoded, arrays)


def test_malformed_arrays_are_refused() -> None:
    encoded, arrays = good()
    for bad in ({}, {name: [1.0, 2.0] for name in arrays}, {name: np.array(["a", "b"]) for name in arrays}):
        with pytest.raises(FileFormatError, match="missing or no array of a known dtype"):
            from_dict(encoded, bad)
    with pytest.raises(FileFormatError, match="add: operands or attributes do not fit"):
        from_dict(encoded, {name: np.zeros(3) for name in arrays})
    with pytest.raises(FileFormatError, match="a program file"):
        from_dict([], arrays)
