"""The workloads on a device, beside NumPy by hand and the processor: times, kernels started, and waits within a step.

    python benchmarks/devices.py [--backend opencl] [--workloads a,b] [--rounds N] [--seconds S] [--write]

A step's time is that of `measure.py`, each in a process of its own, the least of the rounds; its result is fetched. `--write`
puts the table into docs/performance.md.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

import page
from cases import CASES, STANDARD
from engines import measure
from measure import WARM_UP, prepared

from graphc.backends.devices.executable import DeviceExecutable


def counted(backend: str, workload: str) -> tuple[int, int]:
    """Kernels started and waits in one step."""
    made: list[DeviceExecutable] = []
    first = DeviceExecutable.__init__

    def init(self: DeviceExecutable, *args: object) -> None:
        first(self, *args)  # type: ignore[arg-type]
        made.append(self)

    DeviceExecutable.__init__ = init  # type: ignore[method-assign]
    step = prepared(f"graphc-compile:{backend}", CASES[workload])
    for _ in range(WARM_UP):
        step()
    before = sum(x.launches for x in made), sum(x.waits for x in made)
    step()
    after = sum(x.launches for x in made), sum(x.waits for x in made)
    return after[0] - before[0], after[1] - before[1]


def row(backend: str, workload: str, rounds: int, seconds: float) -> list[str]:
    """A line of the table."""
    command = [sys.executable, __file__, "--backend", backend, "--count", workload]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return [workload, "fails", done.stderr.strip().splitlines()[-1], "", "", ""]
    launches, waits = done.stdout.split()
    engines = (f"graphc-compile:{backend}", "numpy", "graphc-compile:llvm")
    times: dict[str, list[float]] = {engine: [] for engine in engines}
    for _ in range(rounds):
        for engine in engines:
            found = measure(engine, workload, seconds)
            if found.us is not None:
                times[engine].append(found.us)
    ours, numpy, llvm = (min(times[engine], default=float("nan")) for engine in engines)
    return [
        workload,
        launches,
        waits,
        f"{ours:,.0f}",
        f"{numpy:,.0f} ({numpy / ours:.2f})",
        f"{llvm:,.0f} ({llvm / ours:.2f})",
    ]


def main() -> None:
    """Prints, and perhaps writes, the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="opencl")
    parser.add_argument("--workloads", default=",".join(STANDARD))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--count", metavar="WORKLOAD", help="print kernels and waits of one step only")
    options = parser.parse_args()
    if options.count:
        print(*counted(options.backend, options.count))
        return
    head = ["", "kernels", "waits", f"{options.backend}, us", "numpy, us (ratio)", "llvm, us (ratio)"]
    rows = []
    for workload in options.workloads.split(","):
        rows.append(row(options.backend, workload, options.rounds, options.seconds))
        print(*rows[-1], sep="  ", flush=True)
    if options.write:
        page.write("devices", page.measured("pyopencl") + "\n" + page.table(head, rows))


if __name__ == "__main__":
    main()
