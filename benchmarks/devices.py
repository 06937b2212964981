"""The workloads on a device, beside other engines: times, kernels started, and waits within a step.

    python benchmarks/devices.py [--backend opencl] [--workloads a,b] [--rounds N] [--seconds S] [--tinygrad PYTHON] [--write]

A step's time is that of `measure.py`, each in a process of its own, in turns, the least of the rounds; its result is fetched.
Beside it stand NumPy by hand, the processor, and for OpenCL what others make of the same driver: tinygrad, where PYTHON has
it (`tinygrad_workloads.py`), and the time that a step's products take at the rate of pure fused multiply-adds
(`opencl_peak.py`). `--write` puts the table into docs/performance.md.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import floors
import page
from cases import CASES, STANDARD, Mlp, Product, Rows
from engines import measure
from measure import WARM_UP, prepared

from graphc.backends.devices.executable import DeviceExecutable

#: The kinds of case that tinygrad_workloads.py has.
IN_TINYGRAD = Mlp | Product | Rows
HEADS = {"numpy": "numpy", "llvm": "llvm", "tinygrad": "tinygrad", "peak": "products at the peak"}


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


def peak_us(flops: float) -> float:
    """What so many FLOPs take at the rate of the OpenCL driver's fused multiply-adds, measured now."""
    command = [sys.executable, str(Path(__file__).with_name("opencl_peak.py"))]
    return flops / float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) * 1e6


def turns(options: argparse.Namespace, workload: str) -> dict[str, Callable[[], float | None]]:
    """What is measured beside each other, the device first: each gives microseconds, or says what is wrong."""

    def turn(engine: str, **more: str) -> Callable[[], float | None]:
        def us() -> float | None:
            found = measure(engine, workload, options.seconds, **more)
            if found.error:
                print(found.error)
            return found.us

        return us

    found = {"device": turn(f"graphc-compile:{options.backend}")}
    found |= {"numpy": turn("numpy"), "llvm": turn("graphc-compile:llvm")}
    if options.tinygrad and isinstance(CASES[workload], IN_TINYGRAD):
        found["tinygrad"] = turn("tinygrad", python=options.tinygrad, DEV="CL")
    if options.backend == "opencl" and (flops := floors.flops(CASES[workload])):
        found["peak"] = lambda: peak_us(flops)
    return found


def row(options: argparse.Namespace, workload: str) -> dict[str, str]:
    """A line of the table: kernels, waits, the device's time, and the others' with their ratios to it."""
    command = [sys.executable, __file__, "--backend", options.backend, "--count", workload]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return {"device": f"fails: {done.stderr.strip().splitlines()[-1]}"}
    launches, waits = done.stdout.split()
    measured = turns(options, workload)
    times: dict[str, list[float]] = {name: [] for name in measured}
    for _ in range(options.rounds):
        for name, turn in measured.items():
            if (us := turn()) is not None:
                times[name].append(us)
    ours, *rest = (min(found, default=float("nan")) for found in times.values())
    others = {name: f"{us:,.0f} ({us / ours:.2f})" for name, us in zip(list(times)[1:], rest, strict=True)}
    return {"kernels": launches, "waits": waits, "device": f"{ours:,.0f}", **others}


def version_of_tinygrad(python: str) -> str:
    """The version that this Python has; empty where it has none, which is said."""
    asked = "from importlib.metadata import version; print(version('tinygrad'))"
    done = subprocess.run([python, "-c", asked], capture_output=True, text=True)
    if done.returncode:
        print(f"tinygrad is left out: it is not installed in {python}")
    return done.stdout.strip()


def table(backend: str, rows: Mapping[str, Mapping[str, str]]) -> str:
    """The table; what was measured for no workload has no column."""
    heads = {"kernels": "kernels", "waits": "waits", "device": f"{backend}, us"}
    heads |= {name: f"{head}, us (ratio)" for name, head in HEADS.items()}
    shown = [name for name in heads if any(name in cells for cells in rows.values())]
    lines = [[workload, *(cells.get(name, "") for name in shown)] for workload, cells in rows.items()]
    return page.table(["", *(heads[name] for name in shown)], lines)


def main() -> None:
    """Prints, and perhaps writes, the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="opencl")
    parser.add_argument("--workloads", default=",".join([*STANDARD, "product_1024"]))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument(
        "--tinygrad", metavar="PYTHON", default=sys.executable, help="a Python with tinygrad (this one)"
    )
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--count", metavar="WORKLOAD", help="print kernels and waits of one step only")
    options = parser.parse_args()
    if options.count:
        print(*counted(options.backend, options.count))
        return
    version = version_of_tinygrad(options.tinygrad) if options.backend == "opencl" else ""
    options.tinygrad = options.tinygrad if version else ""
    rows = {}
    for workload in options.workloads.split(","):
        rows[workload] = row(options, workload)
        print(workload, *rows[workload].values(), sep="  ", flush=True)
    text = table(options.backend, rows)
    print(text)
    if options.write:
        said = f"tinygrad {version}.\n" if version else ""
        page.write("devices", f"{page.measured('pyopencl')}{said}\n{text}")


if __name__ == "__main__":
    main()
