"""`graphc contrast FILE.py`."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from where import BACKEND

from graphc.cli import main

SCRIPT = """
import sys
import torch

w = torch.tensor([float(sys.argv[1]) if len(sys.argv) > 1 else 1.0, 2.0], requires_grad=True)
rate = [0.1]

def train(x):
    w.grad = None
    loss = (w * x).square().sum()
    loss.backward()
    with torch.no_grad():
        w.sub_(rate[0] * w.grad)
    rate[0] *= FACTOR
    return loss

def step(x):
    raise RuntimeError("not this one")

for _ in range(100):
    train(torch.ones(2))
print("the whole script ran")
"""


@pytest.fixture(autouse=True)
def page(monkeypatch):
    """The page is not what is tested here."""
    monkeypatch.setattr("graphc.contrast.report.page", SimpleNamespace(html=json.dumps))


def script(tmp_path, text=SCRIPT, factor=1):
    path = tmp_path / "train.py"
    path.write_text(text.replace("FACTOR", str(factor)))
    return str(path)


def test_it_writes_the_page_and_prints_the_summary(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (
        main(["contrast", script(tmp_path), "--step", "train", "--calls", "3", "--programs", "both", "--", "3.0"]) == 0
    )
    out = capsys.readouterr().out
    assert "the whole script ran" not in out and f"train.py: train, 3 calls each way on {BACKEND}" in out
    assert "written: contrast.html and scripts in both" in out
    data = json.loads((tmp_path / "contrast.html").read_text())
    # after the first call, with which the script itself began: 3 - 0.1 * 2 * 3, 2 - 0.1 * 2 * 2
    assert data["losses"][0]["eager"] == pytest.approx(2.4**2 + 1.6**2)
    assert [x["call"] for x in data["losses"]] == [1, 2, 3]
    assert {x.name for x in (tmp_path / "both").iterdir()} == {"eager.py", "session.py"}
    assert data["sources"][0]["lines"][7] == "def train(x):"


def test_a_step_may_have_the_names_of_its_own_options(tmp_path, capsys):
    text = SCRIPT.replace("def train(x):", "def train(x, *, calls, title='', backend=None):").replace(
        "2))", "2), calls=7)"
    )
    out = str(tmp_path / "page.html")
    assert main(["contrast", script(tmp_path, text), "--step", "train", "--calls", "2", "-o", out]) == 0
    assert f"train.py: train, 2 calls each way on {BACKEND}" in capsys.readouterr().out


def test_its_own_errors_name_no_line(tmp_path, capsys):
    file = script(tmp_path)
    assert main(["contrast", file, "--step", "train", "--backend", "abacus", "--calls", "2"]) == 2
    found = capsys.readouterr().err
    assert found.startswith("graphc contrast: no backend is called 'abacus'") and "\n  at " not in found
    page = str(tmp_path / "none" / "page.html")
    assert main(["contrast", file, "--step", "train", "-o", page, "--calls", "2"]) == 2
    said = capsys.readouterr()
    assert said.err == f"graphc contrast: {page}: No such file or directory\n" and "do both ways agree?" in said.out
    with pytest.raises(SystemExit):
        main(["contrast", file, "--calls", "1"])
    assert "must be at least 2: the first call of a compiled step builds it" in capsys.readouterr().err


def test_it_fails_where_the_two_disagree(tmp_path, capsys):
    page = tmp_path / "elsewhere.html"
    # the rate is Python's: what one call multiplies it with is not repeated by the compiled step
    assert main(["contrast", script(tmp_path, factor=0.5), "--step", "train", "-o", str(page), "--calls", "3"]) == 1
    out = capsys.readouterr().out
    assert "NO: losses differ by at most" in out and page.exists()
    assert "rate[0] is 0.00625 after these calls eagerly, 0.025 compiled" in " ".join(out.split())


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("missing.py", None, "graphc contrast: missing.py: No such file"),
        ("train.py", "x = 1", "has no training step"),
        ("train.py", "def step():\n    return undefined\nstep()", "NameError: name 'undefined' is not defined"),
        ("train.py", "open('data.csv')", "in <module>\n    open('data.csv')"),
        ("train.py", "import sys\nsys.exit('no data')", "no data\ngraphc contrast: train.py exited before its step"),
        (
            "train.py",
            "import argparse\np = argparse.ArgumentParser()\np.add_argument('data')\np.parse_args()",
            "train.py exited before its step could be taken; options of the script itself follow `--`",
        ),
        ("train.py", "def step(:", "SyntaxError: invalid syntax"),
        ("train.py", "x = '\0'", "cannot contain null bytes"),
    ],
)
def test_what_it_cannot_do(name, text, said, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if text is not None:
        (tmp_path / name).write_text(text)
    assert main(["contrast", name]) == 2
    assert said in capsys.readouterr().err
