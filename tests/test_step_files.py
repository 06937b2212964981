"""Files that hold a training step: which function is found, with which arguments, and what is said where there is none."""

from __future__ import annotations

import sys

import pytest
from test_layers import ROOT

import graphc as gc
from graphc.errors import ArgumentError
from graphc.step_files import load_step

HEAD = """
import graphc as gc
w = gc.ones(3, requires_grad=True)
"""


def script(tmp_path, text):
    path = tmp_path / "train.py"
    path.write_text(HEAD + text)
    return str(path)


def test_a_global_step_is_found_with_its_last_arguments(tmp_path):
    file = script(
        tmp_path,
        """
def step(x, *more, scale=1.0, **rest):
    return (w * x).sum() * scale

for i in range(3):
    step(gc.full((3,), float(i)), "a", "b", scale=2.0 + i, other=i)
""",
    )
    found = load_step(file)
    assert (found.name, found.calls, found.file) == ("step", 3, file)
    assert found.args[1:] == ("a", "b") and found.kwargs == {"scale": 4.0, "other": 2}
    assert found.fn(*found.args, **found.kwargs).item() == 24.0


def test_a_step_within_a_function_is_found_with_the_variables_around_it(tmp_path):
    file = script(
        tmp_path,
        """
def train(scale):
    def train_step(x):
        return (w * x).sum() * scale
    train_step(gc.ones(3))
train(2.0)
train(5.0)
""",
    )
    found = load_step(file)
    assert found.name == "train_step" and found.calls == 2
    assert found.fn(*found.args).item() == 15.0


@pytest.mark.parametrize("how", ["{}", "gc.compile({})"])
def test_a_lambda_is_found_by_the_global_it_is(tmp_path, how):
    text = how.format("lambda x, k=2: (w * x).sum() * k")
    found = load_step(
        script(tmp_path, f"other = lambda x: x\nstep = {text}\nstep(other(gc.ones(3)))\nstep(gc.ones(3), 3)\n")
    )
    assert (found.name, found.calls) == ("step", 2)
    assert found.fn(*found.args, **found.kwargs).item() == 9.0


def test_a_method_is_found_by_its_qualified_name(tmp_path):
    text = """
class Trainer:
    def __init__(self, scale): self.scale = scale
    def advance(self, x): return (w * x).sum() * self.scale
Trainer(3.0).advance(gc.ones(3))
"""
    file = script(tmp_path, text)
    for name in ("advance", "Trainer.advance"):
        found = load_step(file, name)
        assert found.fn(*found.args).item() == 9.0


@pytest.mark.parametrize("how", ["fast = gc.compile(step)", "fast = gc.compile(step, backend='numpy')"])
def test_a_step_that_only_runs_compiled_is_found_as_written_with_concrete_arguments(tmp_path, how):
    file = script(
        tmp_path,
        f"""
def step(x):
    return (w * x).sum()
{how}
for i in range(4):
    fast(gc.full((3,), float(i)))
""",
    )
    found = load_step(file)
    assert found.calls == 4 and not isinstance(found.fn, gc.build.CompiledFunction)
    assert found.args[0].tolist() == [3.0, 3.0, 3.0]
    assert found.fn(*found.args).item() == 9.0


def test_a_decorated_step_is_the_function_that_was_compiled(tmp_path):
    file = script(tmp_path, "@gc.compile\ndef step(x):\n    return w * x\nstep(gc.ones(3))\n")
    found = load_step(file)
    assert found.fn.__name__ == "step" and type(found.fn).__name__ == "function"


@pytest.mark.parametrize(
    ("data", "args"), [("args = (2, 3)", (2, 3)), ("batch = [4]", (4,)), ("batch = 5", (5,)), ("", ())]
)
def test_a_step_that_was_not_called_is_given_what_stands_ready(tmp_path, data, args):
    head = "*x" if not args else ", ".join("xyz"[: len(args)])
    file = script(tmp_path, f"def training_step({head}): pass\n{data}\n")
    found = load_step(file)
    assert (found.name, found.args, found.calls) == ("training_step", args, 0)


def test_a_script_can_be_stopped_after_some_calls(tmp_path):
    file = script(tmp_path, "def step(i): return i\ni = 0\nwhile True:\n    step(i)\n    i += 1\n")
    found = load_step(file, after=7)
    assert found.calls == 7 and found.args == (6,)


def test_it_runs_as_main_with_its_own_arguments(tmp_path, capsys):
    file = script(
        tmp_path,
        """
import sys, torch
def step(n): return n
if __name__ == "__main__":
    print(sys.argv[1:], torch is gc)
    step(1)
    sys.exit(0)
""",
    )
    before = sys.argv, sys.path[:], sys.modules["__main__"], sys.getprofile()
    found = load_step(file, args=["--fast", "1"])
    assert capsys.readouterr().out == "['--fast', '1'] True\n"
    assert found.args == (1,)
    assert before == (sys.argv, sys.path, sys.modules["__main__"], sys.getprofile())


def test_what_a_script_raises_is_raised(tmp_path):
    with pytest.raises(ZeroDivisionError):
        load_step(script(tmp_path, "def step(): 1 / 0\nstep()\n"))
    with pytest.raises(SystemExit):
        load_step(script(tmp_path, "raise SystemExit(3)\n"))
    assert sys.getprofile() is None


def test_a_file_without_a_step_says_what_is_looked_for(tmp_path):
    with pytest.raises(ArgumentError, match="has called no function step or train_step or training_step"):
        load_step(script(tmp_path, "def other(): pass\nother()\n"))
    with pytest.raises(ArgumentError, match=r"has called no function walk\n  need a function of that"):
        load_step(script(tmp_path, "def step(): pass\nstep()\n"), "walk")
    never = r"no function that is defined as step was called, and nothing tells what to call it with\n  need a call"
    with pytest.raises(ArgumentError, match=never):
        load_step(script(tmp_path, "def step(x): pass\n"))
    with pytest.raises(FileNotFoundError):
        load_step(str(tmp_path / "none.py"))


@pytest.mark.parametrize(("file", "args"), [("mlp.py", []), ("mnist_cnn.py", ["--steps", "3"]), ("gpt.py", ["--steps", "3"]),
                                            ("word_lstm.py", ["--steps", "3"])])  # fmt: skip
def test_the_steps_of_the_examples_are_found(file, args, capsys):
    found = load_step(str(ROOT / "examples" / file), args=args, after=3)
    assert found.calls == 3 and found.name == "step"
    assert found.fn(*found.args, **found.kwargs).isfinite()
