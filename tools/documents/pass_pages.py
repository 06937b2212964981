"""A page for each pass: what it says of itself, where it stands in the pipelines, and programs before and after it.

The programs are those of the pass's own tests: they are run, and what each pass made of what is noted.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import io
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import graphc.passes
from graphc.ir.program import INPUT, Program
from graphc.ir.text import program_text
from graphc.passes import pipelines
from graphc.viz import to_svg

ROOT = Path(__file__).parents[2]
#: Programs of so many nodes are small enough to be looked at, and so many of them are shown.
LARGEST, EXAMPLES = 30, 3


@dataclass
class Change:
    """What a pass made of a program in a test."""

    test: str
    before: Program
    after: Program

    @property
    def size(self) -> int:
        """How many nodes there are to look at."""
        return sum(len([n for n in p.nodes if n.op is not INPUT]) for p in (self.before, self.after))


def passes() -> dict[str, Callable[[Program], Program]]:
    """The passes by name: each is the function of its file's name in `graphc/passes/`."""
    folder = Path(graphc.passes.__file__).parent
    found = {}
    for path in sorted(folder.glob("*.py")):
        module = importlib.import_module(f"graphc.passes.{path.stem}")
        transform = getattr(module, path.stem, None)
        if inspect.isfunction(transform) and list(inspect.signature(transform).parameters) == ["program"]:
            found[path.stem] = transform
    return found


class Watcher:
    """A plugin of pytest that notes what passes do in the tests."""

    def __init__(self) -> None:
        self.changes: dict[str, list[Change]] = {}
        self.test = ""

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Tests call passes by the names in their modules: those are replaced."""
        known = {id(transform): name for name, transform in passes().items()}
        for module in {item.module for item in items}:
            for name, value in list(vars(module).items()):
                if id(value) in known:
                    setattr(module, name, self.watched(known[id(value)], value))

    def pytest_runtest_setup(self, item: Any) -> None:
        """Keeps the name of the test that runs."""
        self.test = item.name

    def watched(self, name: str, transform: Callable[[Program], Program]) -> Callable[[Program], Program]:
        """The pass, its changes noted."""

        @functools.wraps(transform)
        def call(program: Program) -> Program:
            after = transform(program)
            if after is not program:
                self.changes.setdefault(name, []).append(Change(self.test, program, after))
            return after

        return call


def changes() -> dict[str, list[Change]]:
    """Runs the tests of the passes; what each pass changed."""
    watcher, said = Watcher(), io.StringIO()
    with contextlib.chdir(ROOT), contextlib.redirect_stdout(said):
        code = pytest.main(["tests/passes", "-q", "-n", "0", "-p", "no:cacheprovider"], plugins=[watcher])
    if code != pytest.ExitCode.OK:
        raise RuntimeError(f"the tests of the passes do not hold:\n{said.getvalue()[-4000:]}")
    return watcher.changes


def sentence(test: str) -> str:
    """A test's name as words: `test_a_sum[2-3]` is "A sum (2, 3)"."""
    name, _, case = test.partition("[")
    words = name.removeprefix("test_").replace("_", " ")
    return words[0].upper() + words[1:] + (f" ({case[:-1].replace('-', ', ')})" if case else "")


def chosen(found: list[Change]) -> list[Change]:
    """The examples to show: small ones, of different tests, in the tests' order."""
    best: dict[str, Change] = {}
    for change in found:
        test = change.test.partition("[")[0]
        if change.size <= LARGEST and (test not in best or change.size < best[test].size):
            best[test] = change
    if not best:
        return [min(found, key=lambda change: change.size)]
    least = sorted(best.values(), key=lambda change: change.size)[:EXAMPLES]
    return [change for change in best.values() if change in least]


# --- pages ------------------------------------------------------------------------------------------------------------


def places(name: str) -> Iterator[str]:
    """Where a pass stands in the pipelines, with the reason that stands there."""
    source = inspect.getsource(pipelines)
    for pipeline in ("DEFAULT", "NATIVE"):
        body = re.search(rf"^{pipeline}: .*?= \((.*?)^\)", source, re.DOTALL | re.MULTILINE)
        assert body is not None
        entries = re.findall(r"((?:^ +#.*\n)*)^ +(\w+),$", body[1], re.MULTILINE)
        for n, (comment, entry) in enumerate(entries, 1):
            if entry == name:
                why = " ".join(line.strip(" #") for line in comment.splitlines())
                yield f"- `{pipeline}`, number {n} of {len(entries)}: {why}"


def rules(name: str) -> list[str]:
    """The rules of the pass's file, each `before => after`."""
    module = importlib.import_module(f"graphc.passes.{name}")
    found = []
    for rule in vars(module).values():
        doc = inspect.getdoc(rule) if inspect.isfunction(rule) and rule.__module__ == module.__name__ else None
        if doc and "=>" in doc:
            found.append((rule.__code__.co_firstlineno, f"- `{rule.__name__}`: {doc.replace(chr(10), ' ')}"))
    return [text for _, text in sorted(found)]


def picture(program: Program) -> str:
    """The program as SVG, to stand in a page; empty without Graphviz."""
    if shutil.which("dot") is None:
        return ""
    svg = to_svg(program)
    return re.sub(r"^.*?(?=<svg)", "", svg, flags=re.DOTALL).replace("\n", "")


def example(change: Change) -> str:
    """A section with a program before and after."""
    parts = [f"### {sentence(change.test)}\n"]
    for title, program in (("Before", change.before), ("After", change.after)):
        parts.append(f"{title}:\n\n```text\n{program_text(program)}```\n")
    before, after = picture(change.before), picture(change.after)
    if before:
        parts.append(f'<div class="before-after"><div>{before}</div><div>{after}</div></div>\n')
    return "\n".join(parts)


def page(name: str, transform: Callable[[Program], Program], found: list[Change]) -> str:
    """The page of a pass."""
    module = importlib.import_module(f"graphc.passes.{name}")
    parts = [f"# {name}\n", inspect.cleandoc(module.__doc__ or ""), ""]
    doc = inspect.getdoc(transform) or ""
    parts += [f"`{name}(program)`: {doc}", ""]
    parts += ["Its place:\n", *(list(places(name)) or ["- within `tidy`, or asked for by name."]), ""]
    if rules(name):
        parts += ["## Rules\n", *rules(name), ""]
    parts += ["## Before and after\n", "Programs of the pass's own tests, and what it made of them.\n"]
    parts += [example(change) for change in chosen(found)]
    source = os.path.relpath(str(module.__file__), ROOT)
    parts += [f"Source: `{source}`.", ""]
    return "\n".join(parts)


def overview() -> str:
    """The page that lists the passes."""
    lines = [
        "# Passes\n",
        "A pass turns a program into another one that means the same. Two pipelines run them in order: ",
    ]
    lines.append("`DEFAULT` on every program, `NATIVE` once sizes are numbers, for backends that fuse.\n")
    for name, transform in passes().items():
        first = (inspect.getdoc(transform) or "").partition("\n")[0]
        lines.append(f"- [{name}]({name}.md): {first}")
    return "\n".join(lines) + "\n"


def pages() -> dict[str, str]:
    """All pages by their file names. RuntimeError for a pass that changes nothing in its tests."""
    seen = changes()
    missing = passes().keys() - seen.keys()
    if missing:
        raise RuntimeError(f"no test shows what these passes do: {', '.join(sorted(missing))}")
    made = {f"{name}.md": page(name, transform, seen[name]) for name, transform in passes().items()}
    return {"index.md": overview(), **made}
