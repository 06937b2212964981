"""`optimise`: reports, verification between passes, dumps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from program_samples import Builder, n

from graphc.core.config import config
from graphc.core.errors import VerifyError
from graphc.core.tensor_types import TensorType, float64
from graphc.ir.program import Program
from graphc.passes.pipelines import DEFAULT, PassReport, optimise
from graphc.passes.simplify import simplify
from graphc.primitives import elementwise, views


def example() -> tuple[Builder, Program]:
    b = Builder()
    x = b.input("x", (n, 3))
    ones = b(views.expand, b(elementwise.divide, b.full(2.0), b.full(2.0)), shape=(n, 3))
    return b, b.program(b(elementwise.tanh, b(elementwise.multiply, ones, x)))


def broken(program: Program) -> Program:
    value = program.outputs[0]
    node = program.table.node(elementwise.negate, (value,), {}, lambda: (TensorType((7,), float64),))
    return program.with_outputs(node.outputs)


def test_the_passes_work_together_and_report() -> None:
    b, program = example()
    reports: list[PassReport] = []
    after = optimise(program, verify_each=True, reports=reports)
    assert after.outputs == (b(elementwise.tanh, b.inputs[0]),)
    assert [r.name for r in reports] == [transform.__name__ for transform in DEFAULT]
    assert reports[0].nodes_before == len(program.nodes) and reports[-1].nodes_after == 2
    assert str(PassReport("simplify", 9, 4, 0.126)) == "simplify: 9 -> 4 nodes in 0.13 ms"


def test_nothing_to_do_returns_the_same_program() -> None:
    _, program = example()
    after = optimise(program)
    assert optimise(after) is after


def test_the_pass_that_broke_a_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    _, program = example()
    with pytest.raises(VerifyError, match=r"after pass broken: negate.*inferred as f64\[n, 3\]"):
        optimise(program, (simplify, broken), verify_each=True)
    optimise(program, (broken,), verify_each=False)
    monkeypatch.setattr(config, "verify", True)
    with pytest.raises(VerifyError, match="after pass broken"):
        optimise(program, (broken,))


def test_dumps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "dump", str(tmp_path / "deep"))
    _, program = example()
    optimise(program, name="step/1")
    names = sorted(path.name for path in (tmp_path / "deep").iterdir())
    stems = ["step_1.0.before", *(f"step_1.{i}.{t.__name__}" for i, t in enumerate(DEFAULT, 1))]
    assert names == sorted(f"{stem}.{ending}" for stem in stems for ending in ("txt", "dot"))
    text = (tmp_path / "deep" / f"{stems[-1]}.txt").read_text()
    assert text.startswith("program(x: f64[n, 3]):\n  %0: f64[n, 3] = tanh(x)  # ")
    assert (tmp_path / "deep" / "step_1.0.before.dot").read_text().startswith("digraph")


def test_dumps_are_the_same_every_time(tmp_path: Path) -> None:
    contents: list[Any] = []
    for run in ("a", "b"):
        optimise(example()[1], dump=str(tmp_path / run))
        contents.append({path.name: path.read_text() for path in (tmp_path / run).iterdir()})
    assert contents[0] == contents[1]
