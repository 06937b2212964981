"""The main job: three doors, one result, pictures; and the exit code when something is not as it must be."""

from __future__ import annotations

import re
import shutil
import subprocess

import numpy as np
import pytest

import graphc as gc
from graphc import cli, demo


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_quick_demo(dtype, tmp_path, capsys):
    folder = tmp_path / "pictures"
    before = gc.get_default_dtype()
    assert cli.main(["demo", "--quick", "--dtype", dtype, "--out", str(folder)]) == 0
    assert gc.get_default_dtype() is before
    seen = capsys.readouterr()
    assert seen.err == "", "no progress bar where there is no terminal"
    number = r"[\d.,]+"
    for door in ("eager", "compile", "session"):
        row = rf"^{door} +{number}% +{number} µs +{number} ms +{number} MiB +[-\d]+$"
        assert re.search(row, seen.out, re.MULTILINE), seen.out
    tolerance = demo.TOLERANCE[dtype]
    apart = [float(x) for x in re.findall(r"^ +\w+ and \w+ +(\S+)  in \S+$", seen.out, re.MULTILINE)]
    assert len(apart) == 3
    assert max(apart) <= tolerance
    assert f"The doors agree within {tolerance:.0e}." in seen.out
    for line in (
        "loss.backward()",
        "gc.compile(eager.step, backend=backend)",
        "optimizer.minimize(loss)",
        "feed_dict={x: images",
    ):
        assert line in seen.out
    check_pictures(folder, seen.out)


def check_pictures(folder, out):
    names = ["eager_tape.dot", "graph.dot", "compiled_traced.dot", "compiled_optimised.dot"]
    for name in names:
        assert str(folder / name) in out
    graph = (folder / "graph.dot").read_text()
    assert "matmul" in graph
    assert "new 2.weight" in graph or "2.weight" in graph
    dumps = sorted(p.name for p in (folder / "passes").glob("*.dot"))
    assert dumps[0] == "step.0.before.dot"
    assert len(dumps) > 3
    if shutil.which("dot"):
        for name in names:
            done = subprocess.run(["dot", "-Tsvg", str(folder / name)], capture_output=True, text=True)
            assert done.returncode == 0
            assert done.stderr == ""


def outcome(name, accuracy=0.97, **parameters):
    return demo.Outcome(name, demo.Door(print, print), 0.1, [0.001, 0.002], 2**20, 1, accuracy, parameters)


def test_differences_are_relative_to_the_largest_element():
    a = outcome("eager", w=np.array([1.0, -4.0]), zero=np.zeros(2))
    b = outcome("compile", w=np.array([1.0, -4.5]), zero=np.zeros(2))
    assert demo.differences(a, b) == {"w": 0.125, "zero": 0.0}


@pytest.mark.parametrize("wrong", [1.001, np.nan])
def test_disagreement_fails(wrong, capsys):
    doors = [outcome("eager", w=np.ones(2), v=np.ones(1)), outcome("compile", w=np.ones(2), v=np.array([wrong]))]
    agree = demo.print_differences(doors, 1e-4)
    assert not agree
    assert "in v" in capsys.readouterr().out
    assert demo.verdict(doors, agree, demo.Settings(quick=True)) == 1
    assert "FAILED: the doors end with different parameters" in capsys.readouterr().out


def test_poor_accuracy_fails_but_not_when_quick(capsys):
    doors = [outcome("eager"), outcome("session", accuracy=0.94)]
    assert demo.verdict(doors, True, demo.Settings()) == 1
    assert "FAILED: session classifies 94.00% of the test images, less than 95%" in capsys.readouterr().out
    assert demo.verdict(doors, True, demo.Settings(quick=True)) == 0
    assert demo.verdict(doors[:1], True, demo.Settings()) == 0


def test_one_graph_serves_the_smaller_last_batch_with_one_build():
    settings = demo.Settings(epochs=1)
    data = demo._Digits(settings)
    sizes = {len(y) for _, y in data.batches()}
    assert len(sizes) == 2
    found = demo.train_through("session", data, settings)
    assert found.builds == 1
    assert demo.train_through("compile", data, settings).builds == 2


def test_doors_see_the_same_batches_and_the_seed_decides_them():
    first, again, other = (
        [y.tolist() for _, y in demo._Digits(demo.Settings(epochs=1, seed=seed)).batches()] for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


def test_peak_memory_sees_what_is_allocated():
    memory = demo.PeakMemory()
    block = np.ones(16 << 20)  # more than malloc would take from what earlier tests have freed
    del block
    assert 120 << 20 < memory.grown() < 200 << 20


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_whole_demo(dtype, tmp_path, capsys):
    assert cli.main(["demo", "--dtype", dtype, "--out", str(tmp_path)]) == 0
    found = [
        float(x) for x in re.findall(r"^(?:eager|compile|session) +([\d.]+)%", capsys.readouterr().out, re.MULTILINE)
    ]
    assert len(found) == 3
    assert min(found) >= 95
