"""The floors of the house (docs/architecture.md), held by reading the imports of every file in graphc/.

A file imports from lower floors and from its own place. A place is a file or a whole folder; places in one row may
also import those named before them in that row; two rows of one floor never import each other. Nothing is imported
inside a function. Names given to the lazy-import helper as strings count as imports, and only an `__init__` may name a
higher floor there. `if TYPE_CHECKING:` imports do not count: they do not run.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "graphc"

#: floor -> rows of places. A place that ends in "/" is a folder with all in it, but for files named themselves.
FLOORS: dict[int, list[list[str]]] = {
    0: [
        ["core/__init__.py"],
        [
            *(
                "core/config.py",
                "core/quiet.py",
                "core/errors.py",
                "core/pickles.py",
                "core/torch_names.py",
                "core/missing.py",
                "core/lazy.py",
            ),
            *(
                "core/devices.py",
                "core/dims.py",
                "core/tensor_types.py",
                "core/arrays.py",
                "core/erf.py",
                "core/scalar.py",
            ),
        ],
    ],
    1: [["core/context.py", "core/op.py", "core/tape.py", "core/autocast.py", "core/one_call.py"]],
    2: [["ir/"], ["primitives/"]],
    3: [["autodiff.py", "custom_function.py", "gradcheck.py", "functions/"]],
    4: [
        [
            "grad_mode.py",
            "aliasing.py",
            "sharing.py",
            "layouts.py",
            "printing.py",
            "methods/",
            "tensors.py",
            "eager.py",
            "nests.py",
            "tracing.py",
        ]
    ],
    5: [["effects.py", "bodies.py", "control_samples.py", "control.py"]],
    6: [["passes/"]],
    7: [["planning/"]],
    8: [["backends/"]],
    9: [
        [
            "surroundings.py",
            "verifying.py",
            "device_runs.py",
            "executable.py",
            "stages.py",
            "compiled_backward.py",
            "builds.py",
            "assembly.py",
            "entries.py",
            "eager_calls.py",
            "build.py",
            "graphs.py",
            "session.py",
        ],
        ["distributed/"],
    ],
    10: [
        *(
            ["profiler/", "autograd/", "batching.py", "func.py"],
            [
                *("nn/", "distributions/", "optim/", "amp/", "device_kinds.py", "cuda/", "opencl.py", "accelerator.py"),
                *("utils/", "vision/"),
            ],
            ["viz/"],
            ["data/"],
            ["torch_files.py", "saving.py", "graph_files.py", "explaining/", "debugging/"],
        ),
        *(
            ["random.py"],
            ["library/", "ops.py"],
            ["jit.py"],
            ["compiler.py"],
            ["multiprocessing.py"],
            ["hub.py"],
            ["version.py", "onnx/"],
            ["float32_precision.py"],
            ["linalg.py"],
            ["errors.py"],
        ),
    ],
    11: [
        ["callbacks.py", "trainer.py"],
        [
            "__init__.py",
            "as_torch.py",
            "step_files.py",
            "contrast/",
            "porting/",
            "demo.py",
            "warming.py",
            "doctor.py",
            "cli.py",
            "__main__.py",
        ],
    ],
}

#: Libraries that cost time to import or may be missing: only ever through the lazy-import helper.
LAZY_ONLY = {
    "PIL",
    "cupy",
    "fast_sugiyama",
    "llvmlite",
    "mpi4py",
    "networkx",
    "onnx",
    "onnx_ir",
    "onnxruntime",
    "pyopencl",
    "safetensors",
    "tqdm",
}

#: The files whose business is importing by name.
MAY_IMPORT_BY_NAME = {"core/lazy.py", "as_torch.py", "porting/resolving.py"}


Nodes = list[tuple[ast.AST, str]]


class Import(NamedTuple):
    """One import: the line, the dotted name, whether it is a string given to the lazy helper."""

    line: int
    name: str
    lazy: bool


class Place(NamedTuple):
    """Where a file stands: floor, row on the floor, position in the row, and the place's own name."""

    floor: int
    row: int
    position: int
    name: str


def place_of(path: str) -> Place | None:
    """The place of a file (`functions/math.py`), None if it has none. Its own name counts before its folder."""
    found = None
    for floor, rows in FLOORS.items():
        for i, row in enumerate(rows):
            for j, name in enumerate(row):
                if name == path:
                    return Place(floor, i, j, name)
                if name.endswith("/") and path.startswith(name):
                    found = Place(floor, i, j, name)
    return found


def may_import(importer: Place, target: Place) -> bool:
    """Whether the rule of the floors allows it."""
    if target.floor != importer.floor:
        return target.floor < importer.floor
    return target.name == importer.name or (target.row == importer.row and target.position < importer.position)


def is_type_checking(node: ast.AST) -> bool:
    """Whether this is `if TYPE_CHECKING:`."""
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def running_nodes(tree: ast.AST) -> Nodes:
    """Every node that runs, with the name of the function or class around it ("" at the top of the file)."""
    found, pending = [], [(tree, "")]
    while pending:
        node, inside = pending.pop()
        found.append((node, inside))
        named = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        within = node.name if named else inside
        children = node.orelse if is_type_checking(node) else ast.iter_child_nodes(node)
        pending += [(child, within) for child in children]
    return found


def called(node: ast.AST) -> str:
    """The last part of the name of the function this node calls, "" if it calls none."""
    function = node.func if isinstance(node, ast.Call) else None
    return getattr(function, "id", "") or getattr(function, "attr", "")


def strings_given(call: ast.Call) -> Iterator[str]:
    """The dotted names in a call of the lazy helper: the first argument of one, the dict's values of the other."""
    nodes = [call.args[0]] if called(call) == "lazy_import" else [n for a in call.args[1:] for n in ast.walk(a)]
    keys = {id(key) for n in nodes if isinstance(n, ast.Dict) for key in n.keys}
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in keys:
            yield node.value


def absolute(node: ast.ImportFrom, path: str) -> str:
    """The dotted name an import statement starts from, relative dots resolved."""
    if node.level == 0:
        return node.module or ""
    parents = ["graphc", *path.split("/")[:-1]]
    return ".".join(parents[: len(parents) - node.level + 1] + ([node.module] if node.module else []))


def imports_of(nodes: Nodes, path: str) -> Iterator[Import]:
    """What a file imports when it runs, lazily or not."""
    for node, _ in nodes:
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, alias.name, False) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = absolute(node, path)
            yield from (Import(node.lineno, f"{start}.{alias.name}", False) for alias in node.names)
        elif called(node) in ("lazy_import", "lazy_attributes"):
            yield from (Import(node.lineno, name, True) for name in strings_given(node))  # type: ignore[arg-type]


def file_of(name: str, files: dict[str, str]) -> str:
    """The file that the dotted name `graphc.a.b` means: `a/b.py`, `a/b/__init__.py`, or `a` where it defines `b`."""
    parts = name.split(".")[1:]
    while True:
        path = "/".join(parts)
        for candidate in (f"{path}.py", f"{path}/__init__.py".lstrip("/")):
            if candidate in files:
                return candidate
        if not parts:
            return "__init__.py"
        parts.pop()


def wrong_imports(path: str, nodes: Nodes, files: dict[str, str]) -> Iterator[str]:
    """Imports of one file that the floors forbid."""
    here = place_of(path)
    assert here is not None
    for line, name, lazy in imports_of(nodes, path):
        library = name.partition(".")[0]
        if library in LAZY_ONLY and not lazy:
            yield f"graphc/{path}:{line} imports {library}, which loads on first use: lazy_import({library!r})"
        if library != "graphc" or (lazy and path.endswith("__init__.py")):
            continue
        target = file_of(name, files)
        there = place_of(target)
        if target != path and there is not None and not may_import(here, there):
            yield f"graphc/{path}:{line} (floor {here.floor}) imports graphc/{target} (floor {there.floor})"


def hidden_imports(path: str, nodes: Nodes) -> Iterator[str]:
    """Imports inside functions or classes, and imports by name outside the helper."""
    for node, inside in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom) and inside:
            yield f"graphc/{path}:{node.lineno} imports inside {inside}"
        if called(node) in ("import_module", "__import__") and path not in MAY_IMPORT_BY_NAME:
            yield f"graphc/{path}:{node.lineno} imports by name without the lazy-import helper"  # type: ignore[attr-defined]


def faults(files: dict[str, str]) -> list[str]:
    """Everything wrong with the floors of these files (path in the package -> source)."""
    found = []
    for path, source in sorted(files.items()):
        if place_of(path) is None:
            found.append(f"graphc/{path} has no place in the table of floors")
            continue
        nodes = running_nodes(ast.parse(source))
        found += [*hidden_imports(path, nodes), *dict.fromkeys(wrong_imports(path, nodes, files))]
    return found


def package_files() -> dict[str, str]:
    """Every source of the package."""
    return {p.relative_to(PACKAGE).as_posix(): p.read_text() for p in PACKAGE.rglob("*.py")}


def test_the_package_keeps_its_floors():
    found = faults(package_files())
    assert not found, "\n".join(["", *found])


def test_the_table_names_only_what_exists():
    places = [name for rows in FLOORS.values() for row in rows for name in row]
    assert [name for name in places if not (PACKAGE / name).exists()] == []
    assert len(places) == len(set(places))


HOUSE = {
    "core/errors.py": "",
    "core/op.py": "",
    "ir/node.py": "",
    "primitives/views.py": "",
    "autodiff.py": "",
    "__init__.py": "",
}


@pytest.mark.parametrize(
    ("path", "source", "fault"),
    [
        (
            "ir/x.py",
            "from graphc.primitives.views import flip",
            r"ir/x\.py:1 \(floor 2\) imports graphc/primitives/views",
        ),
        ("core/op.py", "import graphc.ir.node", r"core/op\.py:1 \(floor 1\) imports graphc/ir/node\.py \(floor 2\)"),
        ("core/context.py", "from graphc.core import op", r"imports graphc/core/op\.py"),
        ("ir/x.py", "from .. import autodiff", r"imports graphc/autodiff\.py"),
        ("ir/x.py", "from graphc import add", r"imports graphc/__init__\.py \(floor 11\)"),
        ("ir/x.py", "import graphc", r"imports graphc/__init__\.py"),
        ("ir/x.py", "def f():\n    import os", r"ir/x\.py:2 imports inside f"),
        ("ir/x.py", "class C:\n    import os", "imports inside C"),
        ("ir/x.py", "f = lambda: __import__('os')", "imports by name"),
        ("ir/x.py", "import importlib\nimportlib.import_module('os')", r"x\.py:2 imports by name"),
        ("ir/x.py", "d = lazy_import('graphc.autodiff')", r"imports graphc/autodiff\.py"),
        ("ir/x.py", "g = lazy_attributes('graphc', {'a': 'graphc.autodiff'})", r"imports graphc/autodiff\.py"),
        ("ir/x.py", "try:\n    import networkx as nx\nexcept ImportError:\n    pass", r"lazy_import\('networkx'\)"),
        ("ir/__init__.py", "from graphc.autodiff import sweep", r"imports graphc/autodiff\.py"),
        ("cellar.py", "", r"cellar\.py has no place"),
    ],
)
def test_a_fault_is_found(path, source, fault):
    assert any(re.search(fault, text) for text in faults({**HOUSE, path: source}))


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("ir/x.py", "from graphc.core.op import Op\nfrom graphc.ir.node import Node\nimport numpy as np"),
        ("core/tape.py", "from graphc.core.op import Op"),
        ("functions/math.py", "import graphc.autodiff"),
        ("ir/x.py", "if TYPE_CHECKING:\n    from graphc.autodiff import sweep"),
        ("ir/x.py", "nx = lazy_import('networkx')\nnode = lazy_import('graphc.ir.node')"),
        ("ir/__init__.py", "__getattr__ = lazy_attributes('graphc', {'autodiff': 'graphc.autodiff'})"),
    ],
)
def test_what_is_allowed_passes(path, source):
    assert faults({**HOUSE, path: source}) == []
