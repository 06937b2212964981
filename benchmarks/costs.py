"""What graphc itself costs, beside what the numbers cost: building programs, calling them, eager ops, memory, importing.

    python benchmarks/costs.py [--quick] [--write]

Every line shows a measured figure and, where there is one, the bar it must stay under; a broken bar ends the script with 1.
`--quick` takes tenth-size programs and judges nothing. `--write` puts the tables into docs/performance.md. PyTorch is
measured beside it where it is installed. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import gc as collector
import importlib.util
import os
import platform
import random
import subprocess
import sys
import tempfile
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import graphc as gc

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
BEGIN, END = "<!-- costs -->", "<!-- end of costs -->"
HAS_TORCH = importlib.util.find_spec("torch") is not None


class Line(NamedTuple):
    """One measurement: what, the figure, its unit, the bar it must not pass (None: no bar), and a remark."""

    what: str
    figure: float
    unit: str
    bar: float | None = None
    remark: str = ""


# --- getting a program ready ---------------------------------------------------------------------------------------


def chain(x: Any, n: int) -> Any:
    """n ops, each on the one before."""
    for i in range(n // 2):
        x = (x + i) * 0.5
    return x


def diamonds(x: Any, n: int) -> Any:
    """n times one value read twice and joined again: 2**n paths."""
    for _ in range(n):
        y = x.tanh()
        x = y * 0.5 + y * y
    return x


def random_program(x: Any, n: int) -> Any:
    """n ops on earlier values, mostly recent ones; all that nobody read is summed."""
    rng = random.Random(0)
    values, unread = [x], {0}
    unary = [lambda a: a.tanh(), lambda a: a.sin(), lambda a: a * 0.9, lambda a: -a, lambda a: a.abs()]
    binary = [lambda a, b: a + b, lambda a, b: a * b, lambda a, b: a - b, lambda a, b: a.maximum(b)]
    for _ in range(n):
        i, j = (max(0, len(values) - 1 - int(rng.expovariate(0.05))) for _ in "ij")
        unread -= {i}
        if rng.random() < 0.5:
            values.append(rng.choice(unary)(values[i]))
        else:
            values.append(rng.choice(binary)(values[i], values[j]))
            unread -= {j}
        unread.add(len(values) - 1)
    total = values[-1]
    for i in sorted(unread - {len(values) - 1}):
        total = total + values[i]
    return total


def build_seconds(body: Callable[[Any, int], Any], n: int, gradient: bool) -> float:
    """Trace, passes and plan (and code, where a backend makes some), from the record of the build."""

    def plain(x: Any) -> Any:
        return body(x, n)

    def with_gradient(x: Any) -> Any:
        y = body(x, n)
        return gc.autograd.grad(y.sum(), x)[0]

    compiled = gc.compile(with_gradient if gradient else plain)
    compiled(gc.ones(4, requires_grad=gradient))
    return sum(record.ms for record in compiled.recompiles) / 1e3


def building(scale: float) -> list[Line]:
    chained, drawn = int(10_000 * scale), int(100_000 * scale)
    programs = [
        (f"chain of {chained:,} ops", chain, chained, None, None),
        ("100 stacked diamonds", diamonds, 100, None, None),
        (f"random program of {drawn:,} ops", random_program, drawn, 10.0, 30.0),
    ]
    lines = []
    for name, body, n, bar, bar_gradient in programs:
        lines.append(Line(name, build_seconds(body, n, False), "s", bar))
        lines.append(Line(f"{name}, with its gradient", build_seconds(body, n, True), "s", bar_gradient))
    return lines


# --- one op -----------------------------------------------------------------------------------------------------------


def microseconds(fn: Callable[[], Any], number: int = 20_000) -> float:
    """Time of one call, best of seven rounds, the cyclic collector off as `timeit` does it."""
    fn()
    return min(timeit.repeat(fn, number=number, repeat=7)) / number * 1e6


def adds_in(module: Any) -> list[float]:
    """Microseconds of an add of ten float32, without and with the tape."""
    a, b = module.ones(10), module.ones(10)
    c = module.ones(10, requires_grad=True)
    return [microseconds(lambda: a + b), microseconds(lambda: c + b)]


def eager(scale: float) -> list[Line]:
    number = int(20_000 * scale)
    x = np.ones(10, np.float32)
    ours, theirs = adds_in(gc), [None, None]
    if HAS_TORCH:
        torch = importlib.import_module("torch")
        torch.set_num_threads(1)
        theirs = adds_in(torch)
    lines = [Line("NumPy's add of ten float32", microseconds(lambda: x + x, number), "us")]
    for name, figure, bar in zip(("without tape", "with tape"), ours, theirs, strict=True):
        remark = "the bar is PyTorch's" if bar is not None else "PyTorch is not installed"
        lines.append(Line(f"eager add, {name}", figure, "us", bar, remark))
    return lines


def calls(scale: float) -> list[Line]:
    number = int(20_000 * scale)
    x = gc.ones(10)
    compiled = gc.compile(lambda x: x + 1)
    lines = [
        Line("eager x + 1", microseconds(lambda: x + 1, number), "us"),
        Line("compiled x + 1", microseconds(lambda: compiled(x), number), "us"),
    ]
    graph = gc.Graph()
    with graph.as_default():
        fed = gc.placeholder((10,), name="x")
        y = fed + 1
    with gc.Session(graph) as session:
        array = np.ones(10, np.float32)
        lines.append(Line("session run of x + 1", microseconds(lambda: session.run(y, {fed: array}), number), "us"))
    return lines


# --- memory and import ------------------------------------------------------------------------------------------------


def resident_mib() -> float:
    """Resident memory of this process, garbage collected first."""
    collector.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def growth(run: Callable[[], Any], times: int) -> float:
    """MiB that resident memory grew over `times` runs, after a tenth of them to warm up."""
    for _ in range(times // 10):
        run()
    before = resident_mib()
    for _ in range(times):
        run()
    return resident_mib() - before


def memory(scale: float) -> list[Line]:
    times = int(10_000 * scale)
    model = gc.nn.Sequential(gc.nn.Linear(8, 16), gc.nn.ReLU(), gc.nn.Linear(16, 4))
    optimizer = gc.optim.Adam(model.parameters(), lr=1e-3)
    x = gc.ones(4, 8)

    def step(x: Any) -> Any:
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    compiled = gc.compile(step)
    graph = gc.Graph()
    with graph.as_default():
        fed = gc.placeholder((None, 8), name="x")
        loss = model(fed).square().mean()
        train = optimizer.minimize(loss)
    session = gc.Session(graph)
    array = np.ones((4, 8), np.float32)
    runs = {
        "eager": lambda: step(x),
        "compiled": lambda: compiled(x),
        "session": lambda: session.run([loss, train], {fed: array}),
    }
    return [Line(f"growth over {times:,} {name} steps", growth(run, times), "MiB", 1.0) for name, run in runs.items()]


def import_seconds(name: str) -> float:
    """Seconds of an import in a fresh interpreter, best of nine, the bytecode cached as it is where a package is installed."""
    code = f"import time; t = time.perf_counter(); import {name}; print(time.perf_counter() - t)"
    with tempfile.TemporaryDirectory() as cache:
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = cache
        command = [sys.executable, "-c", code]
        runs = [subprocess.run(command, env=environment, capture_output=True, check=True).stdout for _ in range(10)]
    return min(map(float, runs[1:]))


def importing(scale: float) -> list[Line]:
    numpy, graphc = import_seconds("numpy"), import_seconds("graphc")
    lines = [Line("import numpy", numpy * 1e3, "ms"), Line("import graphc", graphc * 1e3, "ms", 3 * numpy * 1e3)]
    return [*lines[:1], lines[1]._replace(remark="the bar is three times NumPy's")]


# --- the report -------------------------------------------------------------------------------------------------------

SECTIONS: dict[str, Callable[[float], list[Line]]] = {
    "Getting a program ready (trace, passes, plan)": building,
    "An eager op": eager,
    "A call": calls,
    "Memory": memory,
    "Importing": importing,
}


def as_text(line: Line) -> str:
    bar = "" if line.bar is None else f"{line.bar:.3g} {line.unit}"
    verdict = "" if line.bar is None else "ok" if line.figure <= line.bar else "TOO MUCH"
    return f"  {line.what:<52} {line.figure:>8.3g} {line.unit:<4} {bar:>10}  {verdict:<8}  {line.remark}".rstrip()


def as_row(line: Line) -> str:
    bar = "" if line.bar is None else f"{line.bar:.3g} {line.unit}"
    return f"| {line.what} | {line.figure:.3g} {line.unit} | {bar} | {line.remark} |"


def machine() -> str:
    """Python, NumPy and processor, for the record."""
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), platform.machine())
    return f"Python {platform.python_version()}, NumPy {np.__version__}, {os.cpu_count()} cores of {model}"


def write(results: dict[str, list[Line]]) -> None:
    """Puts the tables into docs/performance.md, between its marks."""
    text = PAGE.read_text()
    before, after = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    tables = [f"Measured by `python benchmarks/costs.py --write` with {machine()}.\n"]
    for title, lines in results.items():
        tables.append(
            f"### {title}\n\n| | measured | bar | |\n|---|---|---|---|\n" + "\n".join(map(as_row, lines)) + "\n"
        )
    PAGE.write_text(before + "\n" + "\n".join(tables) + after)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tenth-size programs, nothing is judged")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    options = parser.parse_args()
    print(machine())
    results = {}
    for title, measure in SECTIONS.items():
        print(f"\n{title}", flush=True)
        results[title] = measure(0.1 if options.quick else 1)
        print(*map(as_text, results[title]), sep="\n", flush=True)
    if options.write:
        write(results)
    broken = sum(line.bar is not None and line.figure > line.bar for lines in results.values() for line in lines)
    return 1 if broken and not options.quick else 0


if __name__ == "__main__":
    sys.exit(main())
