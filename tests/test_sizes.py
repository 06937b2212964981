"""Short files and short functions: a long file is two rooms that want a wall."""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LARGEST_FILE = 600
LARGEST_FUNCTION = 60
#: What we aim at: all but a few functions stay below.
AIM, SHARE_WITHIN_AIM = 40, 0.98


def functions() -> Iterator[tuple[str, int]]:
    """Every function of the package with its length in lines, decorators and docstring not counted."""
    for path in sorted((ROOT / "graphc").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) is not None else node.body
                length = node.end_lineno - (body[0].lineno if body else node.end_lineno) + 1  # type: ignore[operator]
                yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", length


@pytest.mark.parametrize("folder", ["graphc", "tests", "examples", "benchmarks"])
def test_files_are_short(folder):
    lengths = {path: len(path.read_text().splitlines()) for path in (ROOT / folder).rglob("*.py")}
    too_long = [f"{path.relative_to(ROOT)} has {n} lines" for path, n in lengths.items() if n > LARGEST_FILE]
    assert not too_long, "\n".join(["", *too_long])


def test_functions_are_short():
    found = dict(functions())
    too_long = [f"{name} has {n} lines" for name, n in found.items() if n >= LARGEST_FUNCTION]
    within = sum(n < AIM for n in found.values()) / len(found)
    print(f"{len(found)} functions, median {statistics.median(found.values())} lines, {within:.1%} below {AIM}")
    assert not too_long, "\n".join(["", *too_long])
    assert within >= SHARE_WITHIN_AIM, f"only {within:.1%} of the functions are below {AIM} lines"
