"""What graphc itself costs, beside what the numbers cost: building programs, calling them, eager ops, memory, importing.

    python benchmarks/costs.py [--quick] [--write] [--only WORD]

Every line shows a measured figure and, where there is one, the bar it must stay under; a broken bar ends the script with 1.
`--quick` takes tenth-size programs and judges nothing. `--write` puts the tables into docs/performance.md. `--only` takes
the sections whose title has that word. What is compared is measured in turns, PyTorch beside graphc where it is installed.
Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import gc as collector
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import timeit
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import page
import scale

import graphc as gc

HAS_TORCH = importlib.util.find_spec("torch") is not None


class Line(NamedTuple):
    """One measurement: what, the figure, its unit, the bar it must not pass (None: no bar), and a remark."""

    what: str
    figure: float
    unit: str
    bar: float | None = None
    remark: str = ""


# --- getting a program ready ---------------------------------------------------------------------------------------


def building(size: float) -> list[Line]:
    lines = []
    for name, (body, full) in scale.PROGRAMS.items():
        n = full if name == "diamonds" else int(full * size)
        for gradient in (False, True):
            half, whole = scale.measure(body, n // 2, gradient), scale.measure(body, n, gradient)
            what = f"{name} of {n:,}{', with its gradient' if gradient else ''}"
            bar = (30.0 if gradient else 10.0) if name == "random" else None
            spent = f"{whole.nodes:,} nodes, {whole.processor:.3g} s of processor"
            ratio = f"{whole.processor / half.processor:.2f} times that of half the size"
            lines.append(Line(what, whole.seconds, "s", bar, f"{spent}, {ratio}; then {whole.code:.3g} s to code"))
    return lines


# --- one op -----------------------------------------------------------------------------------------------------------


def microseconds(*calls: Callable[[], Any], number: int = 500, rounds: int = 40) -> list[float]:
    """Time of one call of each, in turns; the best of the rounds, the cyclic collector off as `timeit` does it."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, found in zip(calls, times, strict=True):
            found.append(timeit.timeit(call, number=number) / number * 1e6)
    return [min(found) for found in times]


def adds_in(module: Any) -> list[Callable[[], Any]]:
    """An add of ten float32, without and with the tape."""
    a, b = module.ones(10), module.ones(10)
    c = module.ones(10, requires_grad=True)
    return [lambda: a + b, lambda: c + b]


def eager(size: float) -> list[Line]:
    x = np.ones(10, np.float32)
    rounds = max(4, int(100 * size))
    measured = [*adds_in(gc), lambda: np.add(x, x)]
    if HAS_TORCH:
        torch = importlib.import_module("torch")
        torch.set_num_threads(1)
        measured += adds_in(torch)
    ours, taped, numpy, *theirs = microseconds(*measured, rounds=rounds)
    lines = [Line("NumPy's add of ten float32", numpy, "us")]
    for i, (name, figure) in enumerate((("without", ours), ("with", taped))):
        bar = theirs[i] if theirs else None
        remark = "the bar is PyTorch's, measured in turns" if theirs else "PyTorch is not installed"
        lines.append(Line(f"eager add, {name} tape", figure, "us", bar, remark))
    return lines


def calls(size: float) -> list[Line]:
    rounds = max(4, int(40 * size))
    x = gc.ones(10)
    array = np.ones(10, np.float32)
    compiled = gc.compile(lambda x: x + 1)
    graph = gc.Graph()
    with graph.as_default():
        fed, open_ = gc.placeholder((10,), name="x"), gc.placeholder((None,), name="y")
        fixed, unknown = fed + 1, open_ + 1
    with gc.Session(graph) as session:
        one = np.float32(1)
        numpy, eagerly, called, ran, ran_open = microseconds(
            lambda: array + one,
            lambda: x + 1,
            lambda: compiled(x),
            lambda: session.run(fixed, {fed: array}),
            lambda: session.run(unknown, {open_: array}),
            rounds=rounds,
        )
    return [
        Line("NumPy's x + 1 of ten float32", numpy, "us"),
        Line("eager x + 1", eagerly, "us"),
        Line("compiled x + 1", called, "us", None, f"{called - numpy:.1f} us are not NumPy's"),
        Line("session run of x + 1", ran, "us"),
        Line("session run of x + 1, size unknown", ran_open, "us"),
    ]


# --- memory and import ------------------------------------------------------------------------------------------------


class Held(NamedTuple):
    """What the process holds: resident MiB, objects the cyclic collector tracks, blocks of Python's allocator."""

    mib: float
    objects: int
    blocks: int

    @staticmethod
    def now() -> Held:
        """Measured after a full collection."""
        collector.collect()
        with open("/proc/self/statm") as file:
            mib = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
        return Held(mib, len(collector.get_objects()), sys.getallocatedblocks())


def growth(run: Callable[[], Any], times: int) -> Held:
    """What is held more after `times` runs, after a tenth of them to warm up."""
    for _ in range(max(2, times // 10)):
        run()
    Held.now()  # counting takes memory too, which stays with the process after the first time
    before = Held.now()
    for _ in range(times):
        run()
    after = Held.now()
    return Held(after.mib - before.mib, after.objects - before.objects, after.blocks - before.blocks)


def train_steps() -> dict[str, Callable[[], Any]]:
    """A step of Adam on a small net through each door, each with a net of its own."""

    def parts() -> tuple[Any, Any]:
        model = gc.nn.Sequential(gc.nn.Linear(8, 16), gc.nn.ReLU(), gc.nn.Linear(16, 4))
        return model, gc.optim.Adam(model.parameters(), lr=1e-3)

    def stepper() -> Callable[[Any], Any]:
        model, optimizer = parts()

        def step(x: Any) -> Any:
            optimizer.zero_grad()
            loss = model(x).square().mean()
            loss.backward()
            optimizer.step()
            return loss

        return step

    x, array = gc.ones(4, 8), np.ones((4, 8), np.float32)
    eager_step, compiled_step = stepper(), gc.compile(stepper())
    graph = gc.Graph()
    with graph.as_default():
        fed = gc.placeholder((None, 8), name="x")
        model, optimizer = parts()
        loss = model(fed).square().mean()
        train = optimizer.minimize(loss)
    session = gc.Session(graph)
    return {
        "eager": lambda: eager_step(x),
        "compiled": lambda: compiled_step(x),
        "session": lambda: session.run([loss, train], {fed: array}),
    }


def memory(size: float) -> list[Line]:
    times = int(10_000 * size)
    lines = []
    for name, run in train_steps().items():
        more = growth(run, times)
        what = f"growth over {times:,} {name} steps"
        lines += [
            Line(what, more.mib, "MiB", 1.0, "resident"),
            Line(what, more.objects, "", 20, "tracked objects"),
            Line(what, more.blocks, "", 200, "blocks of Python's allocator"),
        ]
    return lines


def import_seconds(names: Sequence[str], times: int) -> list[float]:
    """Seconds of each import in a fresh interpreter, in turns, bytecode written before; the medians."""
    code = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"
    found: dict[str, list[float]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as cache:
        env = {
            **os.environ,
            "PYTHONPYCACHEPREFIX": cache,
            "PYTHONPATH": os.pathsep.join([str(page.ROOT), *sys.path[1:]]),
        }
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        for turn in range(times + 1):
            for name in names:
                done = subprocess.run(
                    [sys.executable, "-c", code.format(name)], capture_output=True, check=True, env=env
                )
                if turn:
                    found[name].append(float(done.stdout))
    return [statistics.median(found[name]) for name in names]


def importing(size: float) -> list[Line]:
    numpy, ours = import_seconds(["numpy", "graphc"], max(3, int(15 * size)))
    remark = f"{ours / numpy:.2f} times NumPy's; the bar is three times"
    return [Line("import numpy", numpy * 1e3, "ms"), Line("import graphc", ours * 1e3, "ms", 3 * numpy * 1e3, remark)]


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


def as_row(line: Line) -> list[str]:
    bar = "" if line.bar is None else f"{line.bar:.3g} {line.unit}"
    return [line.what, f"{line.figure:.3g} {line.unit}", bar, line.remark]


def write(results: dict[str, list[Line]]) -> None:
    """Puts the tables into docs/performance.md."""
    tables = [page.measured("torch")]
    for title, lines in results.items():
        tables.append(f"### {title}\n\n{page.table(['', 'measured', 'bar', ''], map(as_row, lines))}")
    page.write("costs", "\n".join(tables))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tenth-size programs, nothing is judged")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    parser.add_argument("--only", default="", metavar="WORD", help="only the sections whose title has this word")
    options = parser.parse_args()
    print(page.machine("torch"))
    results = {}
    for title, measure in SECTIONS.items():
        if options.only.lower() not in title.lower():
            continue
        print(f"\n{title}", flush=True)
        results[title] = measure(0.1 if options.quick else 1)
        print(*map(as_text, results[title]), sep="\n", flush=True)
    if options.write:
        write(results)
    broken = sum(line.bar is not None and line.figure > line.bar for lines in results.values() for line in lines)
    return 1 if broken and not options.quick else 0


if __name__ == "__main__":
    sys.exit(main())
