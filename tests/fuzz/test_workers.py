"""Seeds in processes of their own: one that dies or hangs is reported, and the others are examined."""

from __future__ import annotations

import os
import signal
import threading

import pytest
from where import works_in_forks

from tests.fuzz.__main__ import Examination, main
from tests.fuzz.generator import generate
from tests.fuzz.programs import Program
from tests.fuzz.workers import examined, fate


def dies_at_three(seed: int) -> str:
    if seed == 3:
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)  # PoCL's handler, if a test before has opened it, goes on
        os.kill(os.getpid(), signal.SIGSEGV)
    return "odd" if seed % 2 else ""


def hangs_at_one(seed: int) -> str:
    if seed == 1:
        threading.Event().wait()
    return ""


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_worker_that_dies_is_a_finding(jobs: int) -> None:
    found = dict(examined(dies_at_three, range(8), jobs, lifetime=5))
    assert found == {0: "", 1: "odd", 2: "", 3: "crash: killed by SIGSEGV", 4: "", 5: "odd", 6: "", 7: "odd"}


def test_a_worker_that_hangs_is_a_finding() -> None:
    found = dict(examined(hangs_at_one, range(3), patience=1.5))
    assert found == {0: "", 1: "crash: killed by SIGABRT", 2: ""}


def test_the_fate_of_a_call() -> None:
    assert fate(dies_at_three, 3) == "killed by SIGSEGV"
    assert fate(dies_at_three, 4) == ""
    assert fate(os._exit, 5) == "exit status 5"


class Crashes(Examination):
    """Dies of any program that computes a tanh."""

    def __call__(self, seed: int) -> str:
        self.run(generate(seed))
        return ""

    def run(self, program: Program) -> None:
        if "gc.tanh(" in program.source():
            os.abort()


@works_in_forks
def test_a_crash_is_shrunk() -> None:
    seed = next(seed for seed in range(200) if "gc.tanh(" in generate(seed).source())
    text = Crashes("numpy", "one").crash(seed, "crash")
    assert "killed by SIGABRT" in text
    assert "gc.tanh(" in text
    assert text.count("\n    v") <= 3


@works_in_forks
def test_a_range_of_seeds_on_a_backend(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "0:4", "--backend", "llvm", "--modes", "one"]) == 0
    assert "seeds 0:4 on llvm, one mode each: 4 programs, 0 failures" in capsys.readouterr().out
