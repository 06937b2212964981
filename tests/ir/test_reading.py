"""Programs read back from their text."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from conformance.cases import OPS
from program_samples import Builder, RandomProgram, m, n, same_bits

import graphc as gc
from graphc import nn, optim
from graphc.core.dims import Dim, size_max
from graphc.core.errors import FileFormatError
from graphc.core.tensor_types import bfloat16, float32, type_of_array
from graphc.ir.interpret import interpret
from graphc.ir.program import INPUT, Origin, Program, Table
from graphc.ir.reading import program_from_text
from graphc.ir.text import program_text
from graphc.ir.verify import verify
from graphc.primitives import creation, elementwise, views


def same_again(program: Program) -> Program:
    """The program read from its text, whose own text is the same."""
    text = program_text(program, lines=True, full=True)
    again = program_from_text(text)
    assert program_text(again, lines=True, full=True) == text
    verify(again)
    return again


@pytest.mark.parametrize("seed", range(20))
def test_random_programs(seed: int) -> None:
    random = RandomProgram(seed)
    program = random.program()
    again = same_again(program)
    for a, b in zip(interpret(program, random.arrays()), interpret(again, random.arrays()), strict=True):
        same_bits(a, b)


@pytest.mark.parametrize("op", [op for op in OPS if op.name != "nonzero"], ids=lambda op: op.name)
def test_every_primitive(op) -> None:
    for sample in op.samples():
        table = Table()
        leaves = [table.input(f"x{i}", type_of_array(np.asarray(x))) for i, x in enumerate(sample.inputs)]
        node = table.apply(op, leaves, sample.attrs)
        again = same_again(Program(table, tuple(leaves), node.outputs))
        assert [v.type for v in again.outputs] == [v.type for v in node.outputs]


def test_constants_keep_their_bits() -> None:
    b = Builder()
    odd = np.array([0x7FC00001, 0xFFC00000], np.uint32).view(np.float32)
    arrays = [
        np.arange(100.0), np.float32([[1, -0.0], [np.nan, np.inf]]), np.array(True), np.zeros((0, 3), np.int16), odd,
        np.array([1.5, np.nan], ml_dtypes.bfloat16), np.array([2**63 - 1, -(2**63)]), np.array([5e-324, 0.1]),
    ]  # fmt: skip
    again = same_again(b.program(*map(b.constant, arrays)))
    for value, array in zip(again.outputs, arrays, strict=True):
        found = value.node.attrs["data"].array
        assert found.dtype == array.dtype and found.shape == array.shape
        assert found.tobytes() == array.tobytes()


def test_unknown_sizes_checks_and_origins() -> None:
    b = Builder()
    x = b.input("x", (n, m, 3), bfloat16)
    odd = Dim.named("a size, of b")
    flat = b(views.reshape, x, shape=(n * m * 3,))
    half = b.node(views.slice_, flat, starts=(0,), limits=((n * m * 3) // 2,), strides=(2,))
    half.origins = (Origin("a b.py", 3, "net.0", "backward"), Origin("c.py", 9, "", "update"))
    both = b(creation.size, dim=size_max((n + 1) // (m + 2) - n * n * 4 + 7, odd - 1))
    program = Program(b.table, tuple(b.inputs), (*half.outputs, both), ((n, m + 1, "a.py:7"),))
    again = same_again(program)
    assert again.outputs[1].node.attrs["dim"] == both.node.attrs["dim"]
    assert again.outputs[0].node.origins == half.origins
    assert again.checks == program.checks


@pytest.mark.parametrize("factor", [2, -1, -3, m, 2 * m])
def test_multiples_of_quotients_are_read_as_they_were(factor) -> None:
    for size in ((n + 1) // 2, size_max(n, m + 1)):
        b = Builder()
        again = same_again(b.program(b(creation.size, dim=factor * size + m)))
        assert again.outputs[0].node.attrs["dim"] == factor * size + m


def test_names_of_any_kind() -> None:
    b = Builder()
    names = ["0.weight", "x, y", "%0", "a: b", "it's", "#1", 'say "a"', "same", ""]
    inputs = [b.input(name, (2,)) for name in names] + [b.input("same", (2,), float32)]
    again = same_again(b.program(*[b(elementwise.negate, x) for x in inputs]))
    assert [v.node.attrs["name"] for v in again.inputs] == [*names, "same~2"]


def test_bodies_and_a_whole_training_step() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 2))
    lstm = nn.LSTM(2, 3)
    opt = optim.Adam([*model.parameters(), *lstm.parameters()], lr=0.1)

    def step(x):
        opt.zero_grad()
        loss = lstm(model(x))[0].square().mean()
        loss.backward()
        opt.step()
        return loss

    fast = gc.compile(step)
    fast(gc.randn(5, 3, 4))
    built = fast.last_built()
    for program in (built.recorded, built.program):
        again = same_again(program)
        assert any(isinstance(x, Program) for node in again.nodes for x in node.attrs.values())
        assert [node.op for node in again.nodes if node.op is not INPUT] == [
            node.op for node in program.nodes if node.op is not INPUT
        ]


GOOD = "program(x: f32[3]):\n  %0: f32[3] = negate(x)\n  return %0\n"


def test_spaces_comments_and_empty_lines_do_not_matter() -> None:
    text = GOOD.replace("\n", "\n\n  # a word\n")
    assert program_text(program_from_text(text)) == GOOD


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no program"),
        ("x = 3", "line 1: a program begins with a line such as"),
        (GOOD.replace("negate(x)", "negate(y)"), "line 2: nothing above is called y"),
        (GOOD.replace("negate", "negated"), "line 2: unknown op 'negated'"),
        (GOOD.replace("negate", "mine::twice"), "line 2: mine::twice is an operator of somebody's own"),
        (GOOD.replace("negate(x)", "negate(x, x)"), "line 2: negate: 2 operands, it takes 1"),
        (GOOD.replace("%0: f32[3]", "%0: f32[4]"), r"line 2: negate makes f32\[3\] here, not f32\[4\]"),
        (GOOD.replace("%0: f32[3]", "%0: f99[3]"), r"line 2: 'f99\[3\]' is not what belongs there"),
        (GOOD.replace("%0: f32[3] = ", ""), "line 2: a node is written"),
        (GOOD.replace("f32[3]):", "f32[3]"), "line 1: a program begins"),
        (GOOD.replace("  return %0\n", ""), "line 1: this program has no `return`"),
        (GOOD + "more", "line 4: something stands behind the program"),
        (GOOD.replace("negate(x)", "constant [1, 2]"), r"line 2: these are no elements of f32\[3\]"),
        (GOOD.replace("negate(x)", "constant open('f')"), r"line 2: these are no elements of f32\[3\]"),
        (GOOD.replace("negate(x)", "full(shape=__import__('os').getcwd(), value=1.0, dtype=float32)"), ".* not written in"),
        (GOOD.replace("negate(x)", "full(shape=(3,), value=[].x, dtype=float32)"), "line 2: .* not written in texts"),
        (GOOD.replace("negate(x)", "full(shape=(3,), value='a' * 9**9, dtype=float32)"), "line 2: .* is no size"),
        (GOOD.replace("negate(x)", "full(shape=(3, value=1.0, dtype=float32)"), "line 2: "),
        (GOOD.replace("negate(x)", "input(name='a', type=f32[3])"), "line 2: input is not written like a call"),
        (GOOD.replace("%0", "x", 1), "line 2: x is there already"),
        (GOOD.replace("x: f32[3]", "x: f32[3], x: f32[2]"), "line 1: two inputs are called x"),
        (GOOD.replace("x: f32[3]", "x: f32[-3]"), "line 1: .* sizes are not negative"),
        (GOOD.replace("x: f32[3]", "x: f32[n//0]"), "line 1: .* division by zero"),
        (GOOD.replace("x: f32[3]", f"x: f32[{2**63}]"), "line 1: .* a size of more than 1000 terms, or with a number of"),
        (GOOD.replace("x: f32[3]", f"x: f32[{'*'.join(['9' * 18] * 300)}]"), "line 1: .* or with a number of more than 63"),
        (GOOD.replace("x: f32[3]", f"x: f32[{'*'.join(f'(a{i} + b{i})' for i in range(40))}]"), "line 1: .* of more than 1000"),
        (GOOD.replace("f32[3] = negate(x)", "f32[n] = constant [1.0]"), "line 2: .* the sizes of a constant are numbers"),
        (GOOD.replace("f32[3] = negate(x)", "u8[1] = constant [1.5]"), "line 2: .* 1.5 is no element"),
        (GOOD.replace("f32[3] = negate(x)", "bool[1] = constant [2]"), "line 2: .* 2 is no element"),
        (GOOD.replace("f32[3] = negate(x)", "f16[1] = constant [1e9]"), "line 2: these are no elements of f16"),
        (GOOD.replace("f32[3] = negate(x)", "f32[2, 2] = constant [[1.0], [2.0, 3.0, 4.0]]"), "line 2: these are no elements"),
        (GOOD.replace("f32[3] = negate(x)", "f32[2, 2] = constant [1.0, 2.0, 3.0, 4.0]"), r"line 2: .* their shape is \(4,\)"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(FileFormatError, match=message):
        program_from_text(text)


def test_a_comment_that_is_no_line_of_a_file_is_passed_over() -> None:
    program = program_from_text(GOOD.replace("negate(x)", "negate(x)  # a.py:" + "9" * 5000))
    assert program.outputs[0].node.origins == ()


def test_deep_nests_are_refused() -> None:
    for text in (GOOD.replace("negate(x)", "full(shape=" + "(" * 5000 + ")" * 5000 + ")"), deep_bodies(3000)):
        with pytest.raises(FileFormatError):
            program_from_text(text)


def deep_bodies(depth: int) -> str:
    """A program whose op has a body whose op has a body ..."""
    lines = []
    for k in range(depth):
        lines += [" " * 2 * k + "body(x: f32[3]):", " " * (2 * k + 1) + "%0: f32[3] = call(x)"]
    return "\n".join(lines)
