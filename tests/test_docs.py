"""The documents are true: their Python runs, their files exist, their floors are those of the layer test."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_layers import FLOORS

ROOT = Path(__file__).parent.parent
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "graphc/data/README.md", *PAGES]
#: Pages whose code makes something that is looked at further, below.
HOW_TO = ["docs/howto/op.md", "docs/howto/pass.md", "docs/howto/backend.md"]


def run(source: str, cwd: Path) -> str:
    """Standard output of a Python text run in a new process in `cwd`, without a terminal."""
    done = subprocess.run(
        [sys.executable, "-c", source],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def python_in(document: str) -> str:
    """All Python blocks of a document, in their order."""
    return "\n".join(re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(), re.DOTALL))


def test_the_readme_code_runs_and_its_doors_go_on_with_one_model(tmp_path):
    out = run(python_in("README.md"), tmp_path)
    losses = [float(found) for found in re.findall(r"^(?:eager|compiled|session) +(\S+)$", out, re.MULTILINE)]
    assert len(losses) == 3
    assert losses[0] > losses[1] > losses[2]


def test_the_readme_begins_with_the_two_commands_of_a_newcomer():
    commands = re.findall(r"^(pip install.*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert commands[:2] == ["pip install . && graphc demo", 'pip install -e ".[test]" && pytest']


def test_the_ops_the_pass_and_the_backend_of_the_pages_do_what_is_said_of_them(tmp_path):
    out = run("\n".join(map(python_in, HOW_TO)) + CHECK_OPS + CHECK_PASS + CHECK_BACKEND, tmp_path)
    assert out.split() == ["softsign", "trace", "odd_functions", "reference"]


@pytest.mark.parametrize("page", [page for page in PAGES if page not in HOW_TO and python_in(page)])
def test_the_code_of_a_page_runs(page, tmp_path):
    run(python_in(page), tmp_path)


def test_the_page_on_faults_does_what_it_says(tmp_path):
    """Comments below a call tell what it prints: `...` stands for anything, `train.py` for the file."""
    (tmp_path / "train.py").write_text(source := python_in("docs/howto/debugging.md"))
    out = run(f"import runpy; runpy.run_path({str(tmp_path / 'train.py')!r})", tmp_path)
    told = re.findall(r"^ *# +(?:ShapeError: )?(.*)$", source, re.MULTILINE)
    assert len(told) > 10
    for line in told:
        pattern = re.sub(r":\d+", r":\\d+", re.escape(line).replace(r"\.\.\.", ".*"))
        assert re.search(pattern, out), f"{line}\n---\n{out}"


CHECK_OPS = """
from graphc.core.tensor_types import type_of_array

for op in (softsign, trace):
    for sample in op.samples():
        types = [type_of_array(x) for x in sample.inputs]
        with np.errstate(all="ignore"):
            out = np.asarray(op.eval(*sample.inputs, **sample.attrs))
        assert op.output_types(*types, **sample.attrs) == (type_of_array(out),)
    for sample in op.errors():
        try:
            op.infer(*(type_of_array(x) for x in sample.inputs), **sample.attrs)
        except sample.error as error:
            assert sample.match in str(error)
        else:
            raise AssertionError(op.name)
    print(op.name)
"""

CHECK_PASS = """
from graphc.core.tensor_types import TensorType, float64
from graphc.ir.interpret import interpret
from graphc.ir.program import Table
from graphc.ir.verify import verify

table = Table()
x = table.input("x", TensorType((3,), float64))
value = lambda op, *operands: table.apply(op, operands, {}).outputs[0]
before = Program(table, (x,), (value(tanh, value(sinh, value(negate, x))),))
after = odd_functions(before)
verify(after)
assert [node.op.name for node in after.nodes] == ["input", "sinh", "tanh", "negate"], after.nodes
array = np.array([-0.0, 0.5, np.nan])
assert np.array_equal(interpret(before, [array])[0], interpret(after, [array])[0], equal_nan=True)
assert odd_functions(after) is after
print("odd_functions")
"""

CHECK_BACKEND = """
import graphc as gc

double = gc.compile(lambda x: x.tanh() * 2, backend="reference")
x = gc.ones(3)
assert np.allclose(double(x).numpy(), 2 * np.tanh(1))
print("reference")
"""


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_path_a_document_names_exists(document):
    text = (ROOT / document).read_text()
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    named = re.findall(r"`((?:graphc|tests|docs|examples|benchmarks|tools)/[\w./]*)`", text)
    here = (ROOT / document).parent
    missing = [p for p in links if not (here / p).exists()] + [p for p in named if not (ROOT / p).exists()]
    assert not missing


def test_the_architecture_page_has_the_floors_of_the_layer_test():
    rows = dict(re.findall(r"^\| (\d+) \| ([^|]*) \|", (ROOT / "docs/architecture.md").read_text(), re.MULTILINE))
    for floor, places in FLOORS.items():
        names = [name.removeprefix("core/") for row in places for name in row if name != "core/__init__.py"]
        want = ("`core/`: " if floor < 2 else "") + " ".join(f"`{name}`" for name in names)
        assert rows[str(floor)] == want, f"floor {floor} must read | {want} |"


def test_the_page_of_settings_has_every_variable_that_the_code_reads():
    """`graphc` reads variables of its own by `environ` or by a function that is given their name."""
    page = set(re.findall(r"^\| `(GRAPHC_\w+)` \|", (ROOT / "docs/howto/settings.md").read_text(), re.MULTILINE))
    sources = [path.read_text() for path in (ROOT / "graphc").rglob("*.py")]
    assert page == {name for source in sources for name in re.findall(r'get\("(GRAPHC_\w+)"', source)}


@pytest.mark.parametrize("name", sorted(p.name for p in (ROOT / "examples").glob("*.py")))
def test_examples_run(name, tmp_path):
    path = ROOT / "examples" / name
    few = ["--steps", "8"] if '"--steps"' in path.read_text() else []
    out = run(f"import sys; from graphc.cli import main; sys.exit(main(['run', {str(path)!r}, *{few}]))", tmp_path)
    assert out.strip() and not re.search(r"\b(nan|inf)\b", out)
