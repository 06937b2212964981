"""Text to native code: the emitter's blocks and loops, objects that need nothing from outside, loading them elsewhere."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import numpy as np
import pytest
from backends.llvm.test_scalars import TARGETS
from backends.llvm.tree_runner import module_text

from graphc.backends.formulas import transcendentals
from graphc.backends.llvm.emit import Module
from graphc.backends.llvm.host import assembly, compile_module, load_object, machine, target_machine
from graphc.core import scalar as s
from graphc.core.tensor_types import bfloat16, float16, float32, float64, int64

TWICE = "define i64 @f(i64 %x) {\n  %y = add i64 %x, %x\n  ret i64 %y\n}\n"


def call(code, name, *operands):
    return ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * len(operands))(code.address(name))(*operands)


def undefined_symbols(data):
    """The names that an ELF object wants from outside, read from its symbol table."""
    assert data[:5] == b"\x7fELF\x02"
    start, count = int.from_bytes(data[40:48], "little"), int.from_bytes(data[60:62], "little")
    headers = [np.frombuffer(data, "<u4", 16, start + 64 * i) for i in range(count)]

    def body(h):
        offset, size = int(h[6]) | int(h[7]) << 32, int(h[8]) | int(h[9]) << 32
        return data[offset : offset + size]

    (symbols,) = (h for h in headers if h[1] == 2)
    names, table = body(headers[int(symbols[10])]), body(symbols)
    found = set()
    for at in range(24, len(table), 24):
        name, section = (int.from_bytes(table[at + a : at + b], "little") for a, b in ((0, 4), (6, 8)))
        if section == 0:
            found.add(names[name : names.index(b"\0", name)].decode())
    return found - {"_GLOBAL_OFFSET_TABLE_"}


def test_undefined_symbols_are_seen():
    text = (
        "declare float @expf(float)\ndefine float @f(float %x) {\n %y = call float @expf(float %x)\n ret float %y\n}\n"
    )
    assert undefined_symbols(compile_module(text)) == {"expf"}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("op", [*transcendentals.FUNCTIONS, "rem", "rint", "floor", "scale", "fma", "sqrt"])
def test_objects_need_nothing(op, target):
    arity = s.PRIMITIVES[op].arity
    trees = [s.node(op, *(s.leaf(i, d) for i in range(arity))) for d in (float32, float64)]
    for tree, dtype in zip(trees, (float32, float64), strict=True):
        text = module_text([tree], [dtype] * arity, 64 // dtype.itemsize, TARGETS[target])
        assert undefined_symbols(compile_module(text, TARGETS[target])) == set()


@pytest.mark.parametrize("target", TARGETS)
def test_conversions_need_nothing(target):
    casts = [s.cast(s.cast(s.leaf(0, float64), half), float64) for half in (float16, bfloat16)]
    casts.append(s.cast(s.cast(s.leaf(0, float64), int64), float64))
    text = module_text(casts, [float64], 8, TARGETS[target])
    assert undefined_symbols(compile_module(text, TARGETS[target])) == set()


def test_whole_registers_are_used():
    """The compiler would halve 512-bit vectors if it were not told that we prefer them."""
    text = assembly(module_text([s.exp(s.leaf(0, float32))], [float32], 32, machine()))
    assert {64: "zmm", 32: "ymm", 16: "xmm"}[machine().vector_bytes] in text
    assert machine().lanes(4) * 4 == machine().vector_bytes


def test_wrong_text_is_refused():
    with pytest.raises(RuntimeError, match="expected"):
        compile_module("define nonsense")
    with pytest.raises(RuntimeError, match="not recognized"):
        load_object(b"no object" * 30)
    with pytest.raises(RuntimeError, match="g"):
        load_object(compile_module(TWICE)).address("g")


def test_objects_keep_their_names_apart():
    first, second = load_object(compile_module(TWICE)), load_object(compile_module(TWICE.replace("%x, %x", "%x, 1")))
    assert (call(first, "f", 20), call(second, "f", 20)) == (40, 21)
    where = second.address("f")
    del second  # code stays where it is
    load_object(compile_module(TWICE))
    assert ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(where)(20) == 21


def test_tidying_keeps_the_meaning():
    assert call(load_object(compile_module(TWICE, tidy=True)), "f", 21) == 42
    assert target_machine() is target_machine()


LOAD = """
import ctypes, sys
from graphc.backends.llvm.host import load_object
code = load_object(open(sys.argv[1], "rb").read())
print(ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(code.address("f"))(21))
"""


def test_an_object_from_another_process(tmp_path):
    (tmp_path / "f.o").write_bytes(compile_module(TWICE))
    run = subprocess.run(
        [sys.executable, "-c", LOAD, str(tmp_path / "f.o")], capture_output=True, text=True, check=True, env=_here()
    )
    assert run.stdout.strip() == "42"


def _here():
    return {**os.environ, "PYTHONPATH": ":".join(p for p in sys.path if p)}


def test_loops_carry_values():
    module = Module(machine())
    f = module.function("f", [("i64", "n"), ("i64", "step")], "i64")
    with f.loop("0", "%n", "%step", carry=[("i64", "0"), ("i64", "1")]) as i:
        total, product = i.carried
        i.next = [f.let(f"add i64 {total}, {i.index}"), f.let(f"mul i64 {product}, 2")]
    total, product = i.results
    f.do(f"ret i64 {f.let(f'add i64 {total}, {product}')}")
    code = load_object(compile_module(module.text()))
    assert call(code, "f", 10, 1) == sum(range(10)) + 2**10
    assert call(code, "f", 10, 3) == sum(range(0, 10, 3)) + 2**4
    assert call(code, "f", 0, 1) == 1


def test_branches_tables_and_helpers():
    module = Module(machine())
    name = module.helper(
        "twice", lambda n: module.function(n, [("i64", "x")], "i64", linkage="internal").do("ret i64 7")
    )
    assert module.helper("twice", lambda n: pytest.fail("written again")) == name
    numbers = module.table("i64", ["5", "6"])
    assert module.table("i64", ["5", "6"]) == numbers
    f = module.function("f", [("i64", "x")], "i64")
    room = f.place("i64")
    f.do(f"store i64 %x, ptr {room}")
    rare, after = f.label("rare"), f.label("after")
    f.branch_if(f.let("icmp slt i64 %x, 2"), rare, after, rarely=True)
    before = f.block
    f.begin(rare)
    found = f.let(f"load i64, ptr {f.let(f'getelementptr i64, ptr {numbers}, i64 %x')}")
    f.branch(after)
    f.begin(after)
    joined = f.phi("i64", ("%x", before), (found, rare))
    most = f.call("llvm.smax.i64", "i64", ("i64", joined.name), ("i64", f.let(f"call i64 @{name}(i64 1)")))
    kept = f.let(f"load i64, ptr {room}")
    f.do(f"ret i64 {f.let(f'add i64 {most}, {kept}')}")
    code = load_object(compile_module(module.text()))
    assert [call(code, "f", x) for x in (0, 1, 2, 9)] == [7, 8, 9, 18]
