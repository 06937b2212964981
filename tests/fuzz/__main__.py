"""Long runs by hand: `python -m tests.fuzz --seeds A:B [--backend llvm] [--modes one|some|all] [--jobs 2] [--torch]`.

Prints seed range, count, failures and time; every failure is shrunk and printed as Python.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass

import graphc as gc
from tests.fuzz.ahead import MANY, build_ahead
from tests.fuzz.backends import on
from tests.fuzz.generator import generate, generate_and_run
from tests.fuzz.pocl import quick_to_compile
from tests.fuzz.programs import Program
from tests.fuzz.runner import FEEDS, HOW_MANY, Failure, check, check_against_torch, modes_for
from tests.fuzz.shrink import alike, shrink, shrink_by
from tests.fuzz.workers import examined, fate

generated = functools.lru_cache(MANY)(generate_and_run)


@dataclass(frozen=True)
class Examination:
    """What is done with a seed. `modes`: "one", "some" or "all"; `torch`: eager mode beside PyTorch instead.

    `end`: the seed after the last, up to which kernels may be built ahead.
    """

    backend: str
    modes: str = "some"
    torch: bool = False
    small: bool = True
    end: int = 0

    def __call__(self, seed: int) -> str:
        """What is wrong with the program of a seed; empty if nothing is."""
        if self.backend == "opencl" and not self.torch and seed % MANY == 0:
            build_ahead(functools.partial(self.glance, n) for n in range(seed, min(seed + MANY, self.end)))
        try:
            program, outcomes = generated(seed)
        except Exception as error:
            return f"seed {seed}: generator: {error}"
        if self.torch:
            return self.beside_torch(program)
        with on(self.backend, seed):
            failure = check(program, modes_for(seed, self.modes), outcomes, self.feeds)
            if failure is None:
                return ""
            shown = shrink(program, failure) if self.small else program
            return self.report(shown, check(shown, (failure.mode,)) or failure)

    def glance(self, seed: int) -> None:
        """Runs the program of a seed, whatever comes of it."""
        try:
            program, outcomes = generated(seed)
        except Exception:  # as `__call__` will tell
            return
        with on(self.backend, seed):
            check(program, modes_for(seed, self.modes), outcomes, self.feeds)

    @property
    def feeds(self) -> tuple[int, ...]:
        """The feeds of a compiled function: the first once more where that takes little of the time."""
        return FEEDS[:2] if self.modes == "one" and self.backend != "opencl" else FEEDS

    def report(self, program: Program, failure: Failure | str) -> str:
        return f"seed {program.seed} on {self.backend}: {failure}\n{program}"

    def beside_torch(self, program: Program) -> str:
        """What differs from PyTorch; empty if nothing does, or where PyTorch has no such program."""
        module = importlib.import_module("torch")
        failure = check_against_torch(program, module) if program.torch else None
        if failure is None:
            return ""
        small = shrink_by(program, lambda p: alike(check_against_torch(p, module), failure)) if self.small else program
        return f"seed {program.seed}: {check_against_torch(small, module)}\n{small}"

    def crash(self, seed: int, text: str) -> str:
        """A program that takes its process with it, made small in processes of their own."""
        if not self.small or fate(generate, seed) or not fate(self, seed):
            return f"seed {seed}: {text}"
        program = shrink_by(generate(seed), lambda p: bool(fate(self.run, p)))
        return self.report(program, f"crash: {fate(self.run, program)}")

    def run(self, program: Program) -> None:
        """The program in the modes of its seed."""
        with on(self.backend, program.seed):
            check(program, modes_for(program.seed, self.modes), feeds=self.feeds)


def main(arguments: Iterable[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seeds", default="0:2000", help="A:B, the first seed and the one after the last")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--backend", default=gc.config.backend, help="what compiled functions and sessions run on")
    parser.add_argument("--modes", default="some", choices=HOW_MANY, help="how many modes for each seed")
    parser.add_argument("--torch", action="store_true", help="compare eager mode with PyTorch instead")
    parser.add_argument("--raw", action="store_true", help="do not shrink failures")
    options = parser.parse_args(list(arguments) if arguments is not None else None)
    first, last = map(int, options.seeds.split(":"))
    work = Examination(options.backend, options.modes, options.torch, not options.raw, last)
    with quick_to_compile():
        start, failures, done = time.perf_counter(), 0, 0
        for seed, text in examined(work, range(first, last), options.jobs):
            done += 1
            if text:
                failures += 1
                print(work.crash(seed, text) if text.startswith("crash") else text, "\n", flush=True)
            if done % 2000 == 0:
                print(f"# {done} programs, {failures} failures, {time.perf_counter() - start:.0f} s", flush=True)
    elapsed = time.perf_counter() - start
    modes = "one mode" if options.modes == "one" else f"{options.modes} modes"
    took = f"{elapsed:.1f} s ({elapsed / max(done, 1) * 1e3:.1f} ms each)"
    print(f"seeds {first}:{last} on {options.backend}, {modes} each: {done} programs, {failures} failures, {took}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
