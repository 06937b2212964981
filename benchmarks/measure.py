"""One workload on one engine in this process: `python benchmarks/measure.py ENGINE WORKLOAD SECONDS` prints a line of JSON.

`us`: the median time of a whole step, its result awaited; `first_s`: the first call, without imports and model building;
`grown_mb`: the peak of resident memory above what the process held before the first call; `loss` after four steps (the
mean of a matrix), by which engines can be compared. With 0 seconds only the first call is made, and `us` is None.
ENGINE is jax, numpy, tinygrad, torch-eager, torch-compile, graphc-eager or graphc-compile:BACKEND.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from cases import CASES, Case

#: Steps before the clock counts: the first, and three more (graphc and JAX take their short ways from the third on).
WARM_UP = 3


def prepared(engine: str, case: Case) -> Callable[[], Any]:
    """One step of a workload on an engine; its result is there when it returns."""
    if engine in ("jax", "numpy", "tinygrad"):
        step: Callable[[], Any] = importlib.import_module(f"{engine}_workloads").build(case)
        return step
    library, _, mode = engine.partition("-")
    torch: Any = importlib.import_module(library)
    torch.manual_seed(0)
    step, args = importlib.import_module("torch_workloads").build(torch, case)
    way, _, backend = mode.partition(":")
    if way == "compile":
        step = torch.compile(step, backend=backend) if backend else torch.compile(step)

    def run() -> Any:
        out = step(*args)
        return out.item() if out.numel() == 1 else out

    return run


def timed(step: Callable[[], Any], seconds: float) -> float:
    """The median time of a step in microseconds."""
    times, start = [], time.perf_counter()
    while time.perf_counter() - start < seconds or len(times) < 5:
        before = time.perf_counter()
        step()
        times.append(time.perf_counter() - before)
    return float(np.median(times)) * 1e6


def resident(line: str) -> float:
    """MiB: VmRSS, what the process holds, or VmHWM, the most it has held."""
    with open("/proc/self/status") as file:
        return next(int(row.split()[1]) for row in file if row.startswith(line)) / 1024


def mean(out: Any) -> float:
    """The mean of a step's result, which may be any engine's."""
    out = out.detach() if hasattr(out, "detach") else out
    return float(np.asarray(out.numpy() if hasattr(out, "numpy") else out).mean())


def measure(engine: str, name: str, seconds: float) -> dict[str, Any]:
    """The measurements as a dict."""
    step = prepared(engine, CASES[name])
    before, start = resident("VmRSS"), time.perf_counter()
    step()
    first, us, loss = time.perf_counter() - start, None, None
    if seconds:
        for _ in range(WARM_UP):
            loss = step()
        us = timed(step, seconds)
    return {
        **{"engine": engine, "workload": name, "us": us, "first_s": first},
        **{"grown_mb": resident("VmHWM") - before, "loss": None if loss is None else mean(loss)},
    }


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2], float(sys.argv[3]))))
