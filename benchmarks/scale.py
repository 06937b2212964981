"""How tracing, differentiating, passes and planning grow with the size of a program.

    python benchmarks/scale.py [--quick]

Prints seconds for a chain, stacked diamonds and a random program, each without and with its gradient, and the ratio to a
program of half the size (2 is linear).
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import graphc as gc
from graphc.executable import Built
from graphc.ir.program import Program
from graphc.planning.memory import make_plan
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
    """n ops on operands chosen at random among the last 200 results."""
    rng = random.Random(0)
    values = [x, x * 0.5]
    for _ in range(n):
        a, b = rng.choice(values[-200:]), rng.choice(values[-200:])
        kind = rng.randrange(4)
        values.append(a + b if kind == 0 else a * b if kind == 1 else gc.tanh(a) if kind == 2 else a - 0.5)
    return (values[-1] + values[-2]).sum()


def measure(build: Callable[[Any, int], Any], n: int, gradient: bool) -> tuple[dict[str, float], int]:
    """Seconds for each stage, and the number of nodes recorded."""
    seconds: dict[str, float] = {}
    graph = gc.Graph()
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
        plan = make_plan(built.program)
    seconds["plan"] = time.perf_counter() - start
    start = time.perf_counter()
    executable = built.backend.compile(plan)
    seconds["compile"] = time.perf_counter() - start
    executable([np.zeros(16, np.float32)])
    return seconds, len(program.nodes)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the sizes")
    args = parser.parse_args()
    scale = 10 if args.quick else 1
    cases = [("chain", chain, 10_000), ("diamonds", diamonds, 100), ("random", scattered, 100_000)]
    print(
        f"{'program':10}{'gradient':>9}{'nodes':>9}{'trace':>8}{'grad':>8}{'passes':>8}{'plan':>8}{'compile':>8}{'total':>8}{'x half':>8}"
    )
    for name, build, n in cases:
        for gradient in (False, True):
            size = n if name == "diamonds" else n // scale
            half = sum(measure(build, size // 2, gradient)[0].values())
            seconds, nodes = measure(build, size, gradient)
            total = sum(seconds.values())
            cells = "".join(f"{seconds.get(k, 0.0):8.2f}" for k in ("trace", "gradient", "passes", "plan", "compile"))
            print(
                f"{name:10}{'yes' if gradient else 'no':>9}{nodes:9}{cells}{total:8.2f}{total / half:8.2f}", flush=True
            )


if __name__ == "__main__":
    main()
