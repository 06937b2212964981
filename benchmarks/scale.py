"""How tracing, differentiating, passes and planning grow with the size of a program.

    python benchmarks/scale.py [--quick]

Prints seconds for a chain, stacked diamonds and a random program, each without and with its gradient, the processor time of
all stages together, and its ratio to a program of half the size (2 is linear). The stages are trace, gradient, passes and plan:
the kernels, their order and the memory. Then comes code: kernels are printed, and LLVM compiles them in other processes.
"""

from __future__ import annotations

import argparse
import gc as collector
import random
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import graphc as gc
from graphc.backends.llvm.backend import LlvmExecutable
from graphc.executable import Built
from graphc.ir.program import Program
from graphc.planning.regions import plan_regions
from graphc.tracing import paused_gc


def chain(x: Any, n: int) -> Any:
    """n elementwise ops in a row."""
    for i in range(n):
        x = gc.sin(x) if i % 2 else x * 1.01
    return x.sum()


def diamonds(x: Any, n: int) -> Any:
    """n diamonds on top of each other: a walk that visits paths instead of nodes would take 2**n steps."""
    for _ in range(n):
        x = gc.sin(x) + gc.cos(x)
    return x.sum()


def scattered(x: Any, n: int) -> Any:
    """About n ops on operands chosen at random among the last 200 results; those that nothing reads are added up."""
    rng = random.Random(0)
    values = [x, x * 0.5]
    unread = {0, 1}
    while len(values) + len(unread) < n:
        i, j = (rng.randrange(max(0, len(values) - 200), len(values)) for _ in "ij")
        a, b, kind = values[i], values[j], rng.randrange(4)
        values.append(a + b if kind == 0 else a * b if kind == 1 else gc.tanh(a) if kind == 2 else a - 0.5)
        unread -= {i, j} if kind < 2 else {i}
        unread.add(len(values) - 1)
    total = x
    for i in sorted(unread):
        total = total + values[i]
    return total.sum()


PROGRAMS: dict[str, tuple[Callable[[Any, int], Any], int]] = {
    "chain": (chain, 10_000),
    "diamonds": (diamonds, 100),
    "random": (scattered, 100_000),
}


class Measured(NamedTuple):
    """Seconds of each stage until there is a plan, processor seconds of them together, seconds until there is code for it,
    nodes recorded, and nodes left after the passes."""

    stages: dict[str, float]
    processor: float
    code: float
    nodes: int
    left: int

    @property
    def seconds(self) -> float:
        """All stages until there is a plan."""
        return sum(self.stages.values())


def measure(build: Callable[[Any, int], Any], n: int, gradient: bool) -> Measured:
    """Gets one program ready, stage by stage, and runs it once."""
    seconds: dict[str, float] = {}
    graph = gc.Graph()
    collector.collect()
    begin = time.process_time()
    start = time.perf_counter()
    with graph.as_default(), paused_gc():
        x = gc.placeholder((16,), name="x")
        loss = build(x, n)
        seconds["trace"] = time.perf_counter() - start
        outputs = [loss]
        if gradient:
            start = time.perf_counter()
            outputs += gc.gradients(loss, x)
            seconds["gradient"] = time.perf_counter() - start
    program: Program = graph.program([t._data for t in outputs])
    start = time.perf_counter()
    built = Built(program, graph.aliases)
    seconds["passes"] = time.perf_counter() - start
    start = time.perf_counter()
    with paused_gc():
        plan = plan_regions(built.program)
        seconds["plan"] = time.perf_counter() - start
        processor = time.process_time() - begin
        start = time.perf_counter()
        executable = LlvmExecutable(plan)
    code = time.perf_counter() - start
    executable([np.zeros(16, np.float32)])
    return Measured(seconds, processor, code, len(program.nodes), len(built.program.nodes))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the sizes")
    args = parser.parse_args()
    stages = ("trace", "gradient", "passes", "plan")
    print(
        f"{'program':10}{'gradient':>9}{'nodes':>9}",
        *(f"{name:>9}" for name in (*stages, "total", "cpu", "x half", "code")),
        sep="",
    )
    for name, (build, full) in PROGRAMS.items():
        n = full // 10 if args.quick and name != "diamonds" else full
        for gradient in (False, True):
            half, whole = measure(build, n // 2, gradient), measure(build, n, gradient)
            times = [*(whole.stages.get(stage, 0.0) for stage in stages), whole.seconds, whole.processor]
            cells = "".join(f"{seconds:9.2f}" for seconds in (*times, whole.processor / half.processor, whole.code))
            print(f"{name:10}{'yes' if gradient else 'no':>9}{whole.nodes:9}{cells}", flush=True)


if __name__ == "__main__":
    main()
