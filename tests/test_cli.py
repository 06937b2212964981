"""The `graphc` command: its arguments, exit codes, and what `graphc run` does to a script."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib

import pytest
from test_layers import ROOT
from where import prints_no_device

from graphc import cli, version


def graphc(*args: str, cwd: object) -> subprocess.CompletedProcess[str]:
    """`python -m graphc` with these arguments in a fresh interpreter."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", "-m", "graphc", *args]
    return subprocess.run(command, cwd=str(cwd), env=environment, capture_output=True, text=True, timeout=120)


def script(folder, text: str, name: str = "script.py") -> str:
    (folder / name).write_text(text)
    return name


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"graphc {version.release} (API of PyTorch {version.follows})\n"
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["version"]
    found = re.search(settings["pattern"], (ROOT / settings["path"]).read_text())
    assert found
    assert found["version"] == version.release


def test_without_a_command_it_helps(capsys):
    assert cli.main([]) == 0
    out = capsys.readouterr().out
    assert "learn handwritten digits" in out
    assert "run a PyTorch script" in out


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["fly"], "invalid choice: 'fly'"),
        (["run"], "required: FILE.py"),
        (["demo", "--dtype", "int8"], "invalid choice: 'int8'"),
        (["demo", "--epochs", "0"], "must be a whole number from 1 on, not '0'"),
        (["demo", "--epochs", "x"], "must be a whole number from 1 on, not 'x'"),
    ],
)
def test_wrong_usage_ends_with_2(args, text, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(args)
    assert ended.value.code == 2
    assert text in capsys.readouterr().err


def test_a_backend_there_is_not_is_told(tmp_path, capsys):
    assert cli.main(["demo", "--quick", "--backend", "abacus", "--out", str(tmp_path)]) == 2
    assert "graphc demo: no backend is called 'abacus': there are numpy" in capsys.readouterr().err


@prints_no_device
def test_a_script_runs_as_main_with_its_arguments_and_folder(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    script(folder, "def double(x):\n    return x * 2\n", "helper.py")
    script(
        folder,
        """
import os, pickle, sys
import torch
from helper import double

class Thing:
    pass

if __name__ == "__main__":
    print(sys.argv)
    print(sys.path[0] == os.path.dirname(os.path.abspath(__file__)), os.path.basename(__file__))
    print(double(torch.arange(3)), torch.__name__)
    print(type(pickle.loads(pickle.dumps(Thing()))) is Thing, sys.modules["__main__"].Thing is Thing)
    print(__annotations__ if "__annotations__" in globals() else "plain")
x: int = 3
assert __annotations__["x"] is int      # no __future__ of ours reaches the script
""",
    )
    done = graphc("run", "project/script.py", "--epochs", "3", "--help", "-x", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "['project/script.py', '--epochs', '3', '--help', '-x']",
        "True script.py",
        "tensor([0, 2, 4]) graphc",
        "True True",
        "{}",
    ]


def test_a_failing_script_shows_its_own_frames_first_to_last(tmp_path):
    name = script(tmp_path, "import torch\n\ndef f(x):\n    return x @ x\n\nf(torch.ones(3, 4))\n")
    done = graphc("run", name, cwd=tmp_path)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[:3] == [
        "Traceback (most recent call last):",
        '  File "script.py", line 6, in <module>',
        "    f(torch.ones(3, 4))",
    ]
    assert [line for line in lines if line.startswith("  File")] == [
        '  File "script.py", line 6, in <module>',
        '  File "script.py", line 4, in f',
    ]
    assert any("ShapeError: matmul: inner sizes differ" in line for line in lines)


def test_an_error_that_is_not_ours_keeps_all_its_frames_but_the_command_s(tmp_path):
    name = script(tmp_path, "import json\njson.loads('{')\n")
    done = graphc("run", name, cwd=tmp_path)
    assert done.returncode == 1
    files = [line for line in done.stderr.splitlines() if line.startswith("  File")]
    assert files[0] == '  File "script.py", line 2, in <module>'
    assert "decoder.py" in files[-1]
    assert "cli.py" not in done.stderr


@pytest.mark.parametrize(
    ("ending", "code"),
    [("import sys; sys.exit(7)", 7), ("raise SystemExit", 0), ("", 0), ("raise KeyboardInterrupt", 130)],
)
def test_the_exit_code_is_the_script_s(ending, code, tmp_path):
    assert graphc("run", script(tmp_path, ending), cwd=tmp_path).returncode == code


def test_a_script_with_a_syntax_error(tmp_path):
    done = graphc("run", script(tmp_path, "x = (\n"), cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith('  File "script.py", line 1')
    assert "SyntaxError" in done.stderr


def test_a_missing_script(tmp_path):
    done = graphc("run", "nothing.py", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "graphc run: cannot open 'nothing.py': No such file or directory\n"


def test_running_in_process_leaves_the_process_as_it_was(tmp_path):
    name = script(tmp_path, "import sys; sys.path.append('x'); answer = 42")
    code = "import sys\nfrom graphc.cli import main\nstate = sys.argv, list(sys.path), sys.modules['__main__']\n"
    code += f"assert main(['run', {str(tmp_path / name)!r}]) == 0\n"
    code += "assert state == (sys.argv, list(sys.path), sys.modules['__main__'])\n"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_example_script_learns(tmp_path):
    done = graphc("run", str(ROOT / "examples/two_layer_net.py"), "--steps", "120", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    losses = [float(line.split()[-1]) for line in done.stdout.splitlines()]
    assert len(losses) == 4
    assert losses[-1] < 0.8 * losses[0]


def test_the_command_loads_little(tmp_path):
    code = "import sys\nfrom graphc.cli import main\ntry:\n    main(['--version'])\nexcept SystemExit:\n    pass\n"
    code += "print(*(n for n in ('graphc.demo', 'graphc.as_torch', 'graphc.nn', 'tqdm', 'torch') if n in sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines()[1:] == [""], done.stdout


STEP = """
import sys, torch
w = torch.ones(3, requires_grad=True)
def train_step(x):
    loss = (w * x).sum()
    loss.backward()
    w.grad = None
    return loss
print(sys.argv[1:])
for _ in range(3):
    train_step(torch.ones(3))
"""


def test_a_script_is_profiled(tmp_path):
    script(tmp_path, STEP)
    done = graphc("profile", "script.py", "--calls", "2", "--trace", "trace.json", "--", "--fast", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    head, _, shown = done.stdout.partition("\n")
    assert head == "['--fast', '1']"
    assert shown.startswith("profile of train_step: eager, backend eager, 2 calls")
    assert re.search(r"script\.py:5 +loss = \(w \* x\)\.sum\(\)", shown)
    assert json.loads((tmp_path / "trace.json").read_text())["traceEvents"]


def test_profiles_say_what_they_miss(tmp_path, capsys):
    file = str(tmp_path / script(tmp_path, "def walk(): pass\nwalk()\n"))
    assert cli.main(["profile", file]) == 2
    assert "script.py has no training step: it has called no function step or train_step" in capsys.readouterr().err
    assert cli.main(["profile", str(tmp_path / "none.py")]) == 2
    assert f"graphc profile: {tmp_path / 'none.py'}: No such file or directory\n" in capsys.readouterr().err
    assert cli.main(["profile", file, "--step", "walk", "--backend", "abacus"]) == 2
    assert "graphc profile: no backend is called 'abacus'" in capsys.readouterr().err
    script(tmp_path, "raise SystemExit(1)\n")
    assert cli.main(["profile", file]) == 2
    assert "exited before its step could be taken; options of the script itself follow `--`" in capsys.readouterr().err
    script(tmp_path, "calls = 0\ndef step():\n    global calls\n    calls += 1\n    1 / (calls < 2)\nstep()\n")
    assert cli.main(["profile", file]) == 1
    assert "line 5, in step" in capsys.readouterr().err
    script(tmp_path, "def step():\n    1 / 0\nstep()\n")
    assert cli.main(["profile", file]) == 1
    found = capsys.readouterr().err
    assert found.startswith("Traceback") and 'script.py", line 2, in step' in found
