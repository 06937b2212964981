"""Programs as text and DOT."""

from __future__ import annotations

import re
import shutil
import subprocess

import numpy as np
import pytest
from program_samples import Builder, RandomProgram, n

from graphc.core.op import Kind, Op
from graphc.core.tensor_types import float32
from graphc.ir.dot import program_dot
from graphc.ir.program import Origin, Program
from graphc.ir.text import program_text
from graphc.primitives import contraction, creation, elementwise, sorting, views

CALL = Op("call", infer=lambda x, *, body: x, eval=lambda x, **_: x, kind=Kind("control"))


def example() -> Program:
    b = Builder()
    x = b.input("x", (n, 2), float32)
    w = b.constant(np.float32([[1, -0.0], [np.nan, 2.5]]))
    y = b(contraction.matmul, x, w, transpose_a=False, transpose_b=True)
    flat = b(views.reshape, y, shape=(n * 2,))
    values, order = b.node(sorting.sort, flat, axis=0, descending=False, stable=True).outputs
    big = b.constant(np.zeros(100, np.float32))
    one = b(creation.full, shape=(), value=1.0, dtype=float32)
    return b.program(b(elementwise.add, values, one), order, big)


def test_text() -> None:
    assert program_text(example()) == (
        "program(x: f32[n, 2]):\n"
        "  %0: f32[2, 2] = constant [[1.0, -0.0], [nan, 2.5]]\n"
        "  %1: f32[n, 2] = matmul(x, %0, transpose_a=False, transpose_b=True)\n"
        "  %2: f32[2*n] = reshape(%1, shape=(2*n,))\n"
        "  %3.0: f32[2*n], %3.1: i64[2*n] = sort(%2, axis=0, descending=False, stable=True)\n"
        "  %4: f32[100] = constant <f32[100] #e4b5b2b3>\n"
        "  %5: f32[] = full(shape=(), value=1.0, dtype=float32)\n"
        "  %6: f32[2*n] = add(%3.0, %5)\n"
        "  return %6, %3.1, %4\n"
    ).replace("#e4b5b2b3", re.search(r"#\w{8}", program_text(example()))[0])  # type: ignore[index]


def test_the_same_program_has_the_same_text() -> None:
    assert program_text(example()) == program_text(example())
    assert program_dot(example()) == program_dot(example())
    assert program_text(RandomProgram(3).program()) == program_text(RandomProgram(3).program())


def test_lines_and_modules() -> None:
    b = Builder()
    node = b.node(elementwise.negate, b.input("x", (2,)))
    node.origins = (Origin("<cell>", 4, "net.0"), Origin("<cell>", 9))
    assert "%0: f64[2] = negate(x)  # <cell>:4 net.0, <cell>:9\n" in program_text(b.program(*node.outputs), lines=True)


def test_bodies_are_indented() -> None:
    inner = Builder()
    body = inner.program(inner(elementwise.negate, inner.input("a", (2,))))
    b = Builder()
    assert program_text(b.program(b(CALL, b.input("x", (2,)), body=body)), name="step") == (
        "step(x: f64[2]):\n"
        "  %0: f64[2] = call(x)\n"
        "    body(a: f64[2]):\n"
        "      %0: f64[2] = negate(a)\n"
        "      return %0\n"
        "  return %0\n"
    )


def check_dot(text: str) -> None:
    """Balanced braces and quotes, every edge between declared nodes, each node declared once."""
    bare = re.sub(r'"(\\.|[^"\\])*"', '""', text)
    assert '"' not in bare.replace('""', "") and bare.count("{") == bare.count("}")
    declared = re.findall(r'^\s*("(?:\\.|[^"\\])*") \[label', text, re.MULTILINE)
    assert len(declared) == len(set(declared))
    for a, b in re.findall(r'^\s*("(?:\\.|[^"\\])*") -> ("(?:\\.|[^"\\])*") \[', text, re.MULTILINE):
        assert a in declared and b in declared
    if shutil.which("dot"):
        subprocess.run(["dot", "-Tplain"], input=text.encode(), check=True, capture_output=True)


@pytest.mark.parametrize("seed", range(10))
def test_dot_is_well_formed(seed: int) -> None:
    check_dot(program_dot(RandomProgram(seed).program()))


def test_dot_shows_types_clusters_roles_and_groups() -> None:
    b = Builder()
    x = b.input('odd "name"\\', (2,))
    y = b(elementwise.negate, x)
    z = b(elementwise.tanh, y)
    y.node.origins = (Origin("a.py", 1, "net.0"),)
    z.node.origins = (Origin("a.py", 2, "net.1"),)
    program = b.program(z)
    text = program_dot(program, role=lambda node: "backward" if node is z.node else "forward")
    check_dot(text)
    assert text.count('label="net"') == 1 and text.count("subgraph") == 3
    assert text.count('label="f64[2]"') == 3
    assert "#fbe3d0" in text and "#dbe9f6" in text
    grouped = program_dot(program, groups={y.node: "kernel 1", z.node: "kernel 1"})
    check_dot(grouped)
    assert grouped.count("subgraph") == 1 and 'label="kernel 1"' in grouped


def test_dot_of_unused_inputs_and_equal_outputs() -> None:
    b = Builder()
    x, unused = b.input("x", (2,)), b.input("unused", (3,))
    text = program_dot(b.program(x, x))
    check_dot(text)
    assert unused.node.attrs["name"] in text and text.count('-> "out_') == 2
