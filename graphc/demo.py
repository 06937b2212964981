"""The main job of the house: one net learns handwritten digits through three doors, and the doors are compared.

This file counts as user code: what stands here is what a user would write, and `run` prints parts of it.
"""

from __future__ import annotations

import gc as collector
import inspect
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import graphc as gc
from graphc import nn, optim, viz
from graphc.core.lazy import lazy_import
from graphc.data import load_digits
from graphc.passes.pipelines import optimise
from graphc.utils.data import DataLoader, TensorDataset

tqdm = lazy_import("tqdm")

BATCH = 64
EPOCHS, QUICK_EPOCHS = 40, 2
ENOUGH = 0.95
TOLERANCE = {"float32": 1e-4, "float64": 1e-10}


@dataclass(frozen=True)
class Settings:
    """What the command line asks for."""

    dtype: str = "float32"
    quick: bool = False
    backend: str | None = None
    epochs: int | None = None
    seed: int = 0
    out: Path = Path("graphc-demo")


@dataclass
class Door:
    """A way to train: one step, scores of images, how many programs were built, and what can be drawn."""

    step: Callable[[Any, Any], Any]
    predict: Callable[[Any], Any]
    builds: list[Any] = field(default_factory=list)
    subject: Any = None


@dataclass
class Outcome:
    """What one door did. Times in seconds, `peak` in bytes, `parameters`: name -> array."""

    name: str
    door: Door
    first: float
    steps: list[float]
    peak: int
    builds: int
    accuracy: float
    parameters: dict[str, Any]


# --- the net and the three doors: printed as they stand here ---------------------------------------------------------

loss_of = nn.CrossEntropyLoss()


def make_model() -> tuple[Any, Any]:
    """The net and its optimizer, the same for every door."""
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    return model, optim.Adam(model.parameters(), lr=3e-3)


def eager_door(model: Any, optimizer: Any, backend: str | None) -> Door:
    """Define-by-run: call it, and every line runs."""

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = loss_of(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return Door(step, model)


def compiled_door(model: Any, optimizer: Any, backend: str | None) -> Door:
    """The same step, traced once, compiled, then replayed."""
    eager = eager_door(model, optimizer, backend)
    step = gc.compile(eager.step, backend=backend)
    predict = gc.compile(model, backend=backend)
    return Door(step, predict, step.recompiles, step)


def session_door(model: Any, optimizer: Any, backend: str | None) -> Door:
    """Define-and-run: the graph comes first, data is fed when it runs."""
    graph = gc.Graph()
    with graph.as_default():
        x = gc.placeholder((None, 64), name="x")
        y = gc.placeholder((None,), dtype=gc.int64, name="y")
        scores = model(x)
        loss = loss_of(scores, y)
        train = optimizer.minimize(loss)
    graph.outputs.update(loss=loss, train=train)
    session = gc.Session(graph, backend=backend)

    def step(images: Any, labels: Any) -> Any:
        return session.run([loss, train], feed_dict={x: images, y: labels})[0]

    def predict(images: Any) -> Any:
        return gc.from_numpy(session.run(scores, feed_dict={x: images}))

    return Door(step, predict, session.recompiles, graph)


DOORS: dict[str, Callable[..., Door]] = {"eager": eager_door, "compile": compiled_door, "session": session_door}


# --- training and measuring ------------------------------------------------------------------------------------------


def run(settings: Settings) -> int:
    """Trains through every door, prints the comparison; the exit code: 0 if all is as it must be."""
    start = time.perf_counter()
    settings.out.mkdir(parents=True, exist_ok=True)
    with _default_dtype(settings.dtype):
        data = _Digits(settings)
        print(data.described())
        outcomes = [train_through(name, data, settings) for name in DOORS]
        pictures = draw(outcomes, data, settings.out)
    print(f"\n{table(outcomes)}\n\n{MEANING}\n")
    agree = print_differences(outcomes, TOLERANCE[settings.dtype])
    print("\nPictures, for Graphviz (dot -Tsvg FILE > picture.svg):")
    for path, text in pictures:
        print(f"  {path}  {text}")
    print(f"\nThe code. All doors share\n\n{_source(make_model)}\nand each adds")
    for name, door in DOORS.items():
        print(f"\n--- {name} ---\n{_source(door)}", end="")
    print(f"\nAll in {time.perf_counter() - start:.1f} s.")
    return verdict(outcomes, agree, settings)


class _Digits:
    """The images as tensors, and the same batches in the same order for every door."""

    def __init__(self, settings: Settings):
        digits = load_digits()
        dtype = getattr(gc, settings.dtype)
        self.settings = settings
        self.epochs = settings.epochs or (QUICK_EPOCHS if settings.quick else EPOCHS)
        self.train = TensorDataset(gc.from_numpy(digits.train_x).to(dtype), gc.from_numpy(digits.train_y))
        self.test_x, self.test_y = gc.from_numpy(digits.test_x).to(dtype), gc.from_numpy(digits.test_y)

    def batches(self) -> Iterator[Any]:
        """The batches of all epochs, shuffled under the seed; the last of an epoch is smaller."""
        order = gc.Generator().manual_seed(self.settings.seed)
        loader = DataLoader(self.train, batch_size=BATCH, shuffle=True, generator=order)
        for _ in range(self.epochs):
            yield from loader

    @property
    def steps(self) -> int:
        """How many batches there are."""
        return self.epochs * -(-len(self.train) // BATCH)

    def described(self) -> str:
        """One paragraph on the job."""
        s = self.settings
        return (
            f"Handwritten digits: {len(self.train):,} images of 8x8 pixels to learn from, {len(self.test_y)} for the test.\n"
            f"A net of 64-128-10 units, cross entropy, Adam; {self.epochs} epochs in batches of {BATCH} and a last one of "
            f"{len(self.train) % BATCH}; {s.dtype}, seed {s.seed}, backend {s.backend or gc.config.backend}."
        )


@contextmanager
def _default_dtype(name: str) -> Iterator[None]:
    before = gc.get_default_dtype()
    gc.set_default_dtype(getattr(gc, name))
    try:
        yield
    finally:
        gc.set_default_dtype(before)


def train_through(name: str, data: _Digits, settings: Settings) -> Outcome:
    """Trains a new model, from the weights the seed gives, through one door."""
    gc.manual_seed(settings.seed)
    model, optimizer = make_model()
    memory = PeakMemory()
    with tqdm.tqdm(total=data.steps, desc=f"{name:8}", unit=" steps", disable=None, leave=False) as bar:
        start = time.perf_counter()
        door = DOORS[name](model, optimizer, settings.backend)
        seconds: list[float] = []
        for x, y in data.batches():
            begun = time.perf_counter() if seconds else start
            door.step(x, y)
            seconds.append(time.perf_counter() - begun)
            bar.update()
    peak, builds = memory.grown(), len(door.builds)
    with gc.no_grad():
        right = door.predict(data.test_x).argmax(1) == data.test_y
    parameters = {key: p.detach().numpy().copy() for key, p in model.named_parameters()}
    return Outcome(name, door, seconds[0], seconds[1:], peak, builds, right.sum().item() / len(right), parameters)


class PeakMemory:
    """How far this process's resident memory rises from here on, by Linux's high-water mark."""

    def __init__(self) -> None:
        collector.collect()
        # The mark falls to what is resident now; where it cannot be moved, a rise below it goes unseen.
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        self.start = self._status("VmHWM")

    def grown(self) -> int:
        """Bytes."""
        return max(self._status("VmHWM") - self.start, 0)

    @staticmethod
    def _status(key: str) -> int:
        try:
            lines = Path("/proc/self/status").read_text().splitlines()
        except OSError:
            return 0
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


# --- what is shown ---------------------------------------------------------------------------------------------------

MEANING = (
    "Time a step: the median. First call: until the first step is done, with tracing and building. Peak memory: how far the\n"
    "process's resident memory rose while this door trained, generated programs included (doors run one after another, and\n"
    "a later one finds freed memory of an earlier). Builds: programs made for steps, for two sizes of batches."
)


def table(outcomes: list[Outcome]) -> str:
    """A row for each door."""
    lines = [f"{'door':<9}{'test accuracy':>15}{'time a step':>14}{'first call':>13}{'peak memory':>14}{'builds':>9}"]
    for o in outcomes:
        typical = median(o.steps or [o.first])
        lines.append(
            f"{o.name:<9}{o.accuracy:>13.2%}  {typical * 1e6:>11,.0f} µs{o.first * 1e3:>10.1f} ms"
            f"{o.peak / 2**20:>10.1f} MiB{o.builds or '-':>9}"
        )
    return "\n".join(lines)


def differences(a: Outcome, b: Outcome) -> dict[str, float]:
    """Parameter name -> max|a - b| / max|a|."""
    return {
        name: float(np.abs(x - b.parameters[name]).max() / max(np.abs(x).max(), np.finfo(x.dtype).tiny))
        for name, x in a.parameters.items()
    }


def print_differences(outcomes: list[Outcome], tolerance: float) -> bool:
    """Prints how far the final parameters of each two doors are apart; whether all are within the tolerance."""
    print("Final parameters, largest max|a - b| / max|a| over the tensors:")
    agree = True
    for i, a in enumerate(outcomes):
        for b in outcomes[i + 1 :]:
            found = differences(a, b)
            worst = max(found, key=lambda name: _rank(found[name]))
            agree &= found[worst] <= tolerance
            print(f"  {a.name:>8} and {b.name:<8} {found[worst]:.1e}  in {worst}")
    print(f"  The doors {'agree' if agree else 'DISAGREE'} within {tolerance:.0e}.")
    return agree


def _rank(x: float) -> float:
    return np.inf if np.isnan(x) else x


def draw(outcomes: list[Outcome], data: _Digits, folder: Path) -> list[tuple[Path, str]]:
    """Writes the DOT files; each path with what it shows."""
    _, compiled, session = outcomes
    model, _ = make_model()
    tape = loss_of(model(data.test_x), data.test_y)
    texts = {
        "eager_tape.dot": (viz.to_dot(tape), "what an eager forward pass leaves on the tape"),
        "graph.dot": (viz.to_dot(session.door.subject), "the session's graph: forward, backward, updates"),
        "compiled_traced.dot": (viz.to_dot(compiled.door.subject), "the compiled step as it was traced"),
        "compiled_optimised.dot": (viz.to_dot(compiled.door.subject, optimized=True), "the same after all passes"),
    }
    for name, (dot, _) in texts.items():
        (folder / name).write_text(dot, encoding="utf-8")
    optimise(compiled.door.subject.last_built().recorded, dump=str(folder / "passes"), name="step")
    shown = [(folder / name, text) for name, (_, text) in texts.items()]
    return [*shown, (folder / "passes", "the same after each pass, as text and as DOT")]


def _source(function: Any) -> str:
    """The function's own source."""
    return textwrap.indent(inspect.getsource(function), "    ")


def verdict(outcomes: list[Outcome], agree: bool, settings: Settings) -> int:
    """The exit code, after saying what is wrong."""
    poor = [] if settings.quick else [o for o in outcomes if not o.accuracy >= ENOUGH]
    for o in poor:
        print(f"FAILED: {o.name} classifies {o.accuracy:.2%} of the test images, less than {ENOUGH:.0%}")
    if not agree:
        print("FAILED: the doors end with different parameters")
    return int(bool(poor) or not agree)


__all__ = ["DOORS", "Door", "Outcome", "Settings", "differences", "run", "table", "train_through", "verdict"]
