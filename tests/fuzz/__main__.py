"""Long runs by hand: `python -m tests.fuzz --seeds A:B [--jobs 2] [--all] [--torch]`.

Prints seed range, count, failures and time; every failure is shrunk and printed as Python.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import sys
import time
from collections.abc import Iterable
from functools import partial
from typing import Any

from tests.fuzz.generator import generate_and_run
from tests.fuzz.runner import MODES, check, check_against_torch
from tests.fuzz.shrink import alike, shrink, shrink_by


def examine(seed: int, every_mode: bool = False, torch: bool = False, small: bool = True) -> str:
    """What is wrong with the program of a seed; empty if nothing is."""
    try:
        program, outcomes = generate_and_run(seed)
    except Exception as error:
        return f"seed {seed}: generator: {error}"
    if torch:
        return examine_beside_torch(program, small)
    failure = check(program, tuple(MODES) if every_mode else None, outcomes)
    if failure is None:
        return ""
    shown = shrink(program, failure) if small else program
    final = check(shown, (failure.mode,)) or failure
    return f"seed {seed}: {final}\n{shown}"


def examine_beside_torch(program: Any, small: bool) -> str:
    """What differs from PyTorch; empty if nothing does, or where PyTorch has no such program."""
    module = importlib.import_module("torch")
    failure = check_against_torch(program, module) if program.torch else None
    if failure is None:
        return ""
    shown = shrink_by(program, lambda p: alike(check_against_torch(p, module), failure)) if small else program
    return f"seed {program.seed}: {check_against_torch(shown, module)}\n{shown}"


def main(arguments: Iterable[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seeds", default="0:2000", help="A:B, the first seed and the one after the last")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--all", action="store_true", help="every mode for every seed")
    parser.add_argument("--torch", action="store_true", help="compare eager mode with PyTorch instead")
    parser.add_argument("--raw", action="store_true", help="do not shrink failures")
    options = parser.parse_args(list(arguments) if arguments is not None else None)
    first, last = map(int, options.seeds.split(":"))
    work = partial(examine, every_mode=options.all, torch=options.torch, small=not options.raw)
    start, failures, done = time.perf_counter(), 0, 0
    with multiprocessing.Pool(options.jobs) as pool:
        found = pool.imap(work, range(first, last), chunksize=20) if options.jobs > 1 else map(work, range(first, last))
        for text in found:
            done += 1
            if text:
                failures += 1
                print(text, "\n", flush=True)
            if done % 2000 == 0:
                print(f"# {done} programs, {failures} failures, {time.perf_counter() - start:.0f} s", flush=True)
    elapsed = time.perf_counter() - start
    each = elapsed / max(done, 1) * 1e3
    print(f"seeds {first}:{last}: {done} programs, {failures} failures, {elapsed:.1f} s ({each:.1f} ms each)")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
