"""Engines side by side on the same training steps: interleaved, one process for each measurement, medians over rounds.

    python benchmarks/engines.py [--sizes varied] [--engines a,b] [--workloads a,b] [--rounds N] [--seconds S] [--write]
    python benchmarks/engines.py --check 1,1.5          # exit 1 unless graphc is ahead by that, on each and in the mean
    python benchmarks/engines.py --first-calls          # first calls with an empty cache, then from the cache

Prints time of a step, first call and memory grown for each engine; how many times faster graphc is than the best engine
beside it (above 1: graphc is ahead); and the floor, what arithmetic or memory alone take (floors.py), with its ratio to
graphc. An engine that is not installed is left out. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import compileall
import functools
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import first_calls
import floors
import page
from cases import CASES, PRODUCTS, STANDARD, VARIED
from report import Result, Row, judged, markdown, memory_lines, text_head, text_row

ENGINES = (
    *("torch-eager", "torch-compile", "jax", "numpy"),
    *("graphc-eager", "graphc-compile:numpy", "graphc-compile:llvm"),
)
SIZES = {"standard": STANDARD, "varied": VARIED, "all": {**STANDARD, **VARIED}}
PACKAGES = ("torch", "jax", "llvmlite", "scipy-openblas32")


def installed(engines: Sequence[str]) -> list[str]:
    """Those of the engines whose package is here; says which are not."""
    found = []
    for engine in engines:
        package = engine.split("-")[0]
        if importlib.util.find_spec(package):
            found.append(engine)
        else:
            print(f"{engine} is left out: {package} is not installed")
    return found


def measure(engine: str, workload: str, seconds: float, python: str = sys.executable, **environment: str) -> Result:
    """One measurement in a process of its own; what went wrong stands in the result."""
    here = Path(__file__).parent
    command = [python, "-W", "ignore", str(here / "measure.py"), engine, workload, str(seconds)]
    path = os.pathsep.join([str(page.ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    env = {**os.environ, "PYTHONPATH": path, **environment}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    return Result.read(engine, done.stdout, done.stderr, done.returncode)


def flop_rate(engines: Sequence[str], seconds: float) -> float:
    """The fastest product of large matrices that any of the engines makes, in FLOPs a second."""
    best = 0.0
    for name, case in PRODUCTS.items():
        for engine in engines:
            us = measure(engine, name, seconds).us
            best = max(best, floors.flops(case) / us * 1e6 if us else 0.0)
    return best


@functools.cache
def copy_rate(nbytes: int) -> float:
    """The best of one thread and all, and of three tries; of a MiB at least, since below it calls would be timed."""
    threads = {1, len(os.sched_getaffinity(0))}
    return max(floors.copy_rate(max(nbytes, 1 << 20), n) for n in threads for _ in range(3))


def row(name: str, engines: Sequence[str], rounds: int, seconds: float, rate: float) -> Row:
    """A workload on every engine, in turns."""
    results: dict[str, list[Result]] = {engine: [] for engine in engines}
    for _ in range(rounds):
        for engine in engines:
            results[engine].append(measure(engine, name, seconds))
    return Row(name, results, floors.floor(CASES[name], rate, copy_rate))


def compare(options: argparse.Namespace, engines: list[str], names: list[str]) -> int:
    """The main table; the exit code."""
    rate = flop_rate(engines, options.seconds)
    rates = f"Products at {rate / 1e9:.0f} GFLOP/s, copies of 32 MiB at {copy_rate(1 << 25) / 1e9:.0f} GB/s."
    print(f"{rates}\n{text_head(engines)}")
    rows = []
    for name in names:
        rows.append(row(name, engines, options.rounds, options.seconds, rate))
        print(text_row(rows[-1]), flush=True)
    each, mean = map(float, (options.check or "0,0").split(","))
    lines, good = judged(rows, each, mean)
    print(*lines, *memory_lines(rows), sep="\n")
    if options.write:
        said = "\n".join(f"- {line}" for line in (*lines, *memory_lines(rows)))
        text = f"{page.measured(*PACKAGES)}{rates}\n\n{markdown(rows)}\n{said}\n"
        page.write("varied engines" if options.sizes == "varied" else "engines", text)
    return 0 if good or not options.check else 1


def compare_first_calls(options: argparse.Namespace, engines: list[str], names: list[str]) -> int:
    """First calls, cold and from the disk; the exit code."""

    def first(engine: str, name: str, folder: str) -> Result:
        caches = {"GRAPHC_CACHE": f"{folder}/graphc", "TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor"}
        return measure(engine, name, 0.2 if name in first_calls.LENGTHS else 0.0, **caches)

    table = first_calls.Table(engines)
    for name in [*names, *first_calls.LENGTHS]:
        for _ in range(options.rounds):
            for engine in engines:
                if name in first_calls.LENGTHS and engine != first_calls.OURS:
                    continue
                with tempfile.TemporaryDirectory() as folder:
                    table.add(name, engine, first(engine, name, folder), first(engine, name, folder))
        print(table.text_row(name), flush=True)
    lines, good = table.judged()
    print(*lines, sep="\n")
    if options.write:
        said = "\n".join(f"- {line}" for line in lines)
        page.write("first calls", f"{page.measured(*PACKAGES)}\n{table.markdown()}\n{said}\n")
    return 0 if good else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", choices=list(SIZES), default="standard", help="which workloads (standard)")
    parser.add_argument("--engines", default=",".join(ENGINES), help=f"of {','.join(ENGINES)}")
    parser.add_argument("--workloads", help="only these, by name")
    parser.add_argument("--rounds", type=int, default=2, help="processes for each measurement (2)")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each process after its first calls (1)")
    parser.add_argument("--check", metavar="EACH,GEOMEAN", help="exit 1 unless graphc is ahead by these factors")
    parser.add_argument("--first-calls", action="store_true", help="first calls instead of steps")
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    options = parser.parse_args()
    compileall.compile_dir(page.ROOT / "graphc", quiet=2)  # as an installation does; a first call would wait for it
    engines = installed(options.engines.split(","))
    names = options.workloads.split(",") if options.workloads else list(SIZES[options.sizes])
    unknown = [name for name in names if name not in CASES]
    if unknown:
        parser.error(f"no workload {', '.join(unknown)}; there are {', '.join(CASES)}")
    return (compare_first_calls if options.first_calls else compare)(options, engines, names)


if __name__ == "__main__":
    sys.exit(main())
