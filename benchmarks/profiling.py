"""What the profiler costs: nothing once it has ended, and so much while it measures.

    python benchmarks/profiling.py [--rounds N] [--write]

Three processes run the same step in turns: two that never profile, whose ratio is what the machine's noise makes of nothing,
and one that has profiled the step with `gc.profile` before. `--write` puts the table into docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from typing import Any

import page
from cases import CASES
from measure import WARM_UP, prepared

import graphc as gc

WORKLOADS = ("mlp_tiny", "mlp_seed_sgd")
ENGINES = ("graphc-eager", "graphc-compile:llvm")
#: Seconds of steps in a row.
BLOCK = 0.1


def child(engine: str, workload: str, profiles: bool) -> None:
    """Answers each line of stdin with the median nanoseconds of a step in a block of them, after telling a profile's costs."""
    step = prepared(engine, CASES[workload])
    for _ in range(WARM_UP):
        step()
    overhead = gc.profile(step, calls=20).data["overhead"] if profiles else {}
    print(json.dumps(overhead), flush=True)
    for _ in sys.stdin:
        times, end = [], time.perf_counter() + BLOCK
        while time.perf_counter() < end or len(times) < 3:
            before = time.perf_counter_ns()
            step()
            times.append(time.perf_counter_ns() - before)
        print(statistics.median(times), flush=True)


def start(engine: str, workload: str, profiles: bool) -> Any:
    command = [sys.executable, __file__, "--child", engine, workload, "profiles" if profiles else ""]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def compare(engine: str, workload: str, rounds: int) -> list[str]:
    """A row of the table."""
    children = [start(engine, workload, profiles) for profiles in (False, False, True)]
    try:
        *_, overhead = [json.loads(x.stdout.readline()) for x in children]
        times: list[list[float]] = [[], [], []]
        for n in range(rounds):
            for i in ((n + k) % 3 for k in range(3)):  # in turns, and each of them first in turn
                children[i].stdin.write("\n")
                children[i].stdin.flush()
                times[i].append(float(children[i].stdout.readline()))
    finally:
        for x in children:
            x.stdin.close()
            x.wait()
    never, again, after = map(min, times)
    while_ = f"{overhead['profiled_ns'] / overhead['unprofiled_ns']:.2f}"
    return [workload, engine, f"{never / 1e3:.3g} us", f"{again / never:.3f}", f"{after / never:.3f}", while_]


HEAD = ("workload", "engine", "a step", "another process / it", "after a profile / it", "while it is profiled / it")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=25, help="blocks of each process (25)")
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    options = parser.parse_args()
    rows = [compare(engine, workload, options.rounds) for workload in WORKLOADS for engine in ENGINES]
    text = page.table(HEAD, rows)
    print(text)
    if options.write:
        page.write("profiling", f"{page.measured()}\n{text}")
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3], bool(sys.argv[4]))
    else:
        sys.exit(main())
