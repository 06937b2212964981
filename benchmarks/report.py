"""From measurements to tables: what the engines' figures are, who is ahead, how far from the floor."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from floors import Floor
from page import table

#: Engines whose ratio to the best of the others is judged.
OURS = "graphc-compile"
#: Workloads on which memory is compared, with whom.
MEMORY = ("cnn_lenet", "lstm_char", "gpt_char")
MEMORY_PEERS = ("torch-compile", "torch-eager")
#: Losses after the same steps from the same numbers that differ by more are not the same work.
LOSS_TOLERANCE = 0.02


@dataclass(frozen=True)
class Result:
    """What one process measured; `error` says why there is nothing."""

    us: float | None = None
    first_s: float | None = None
    grown_mb: float | None = None
    loss: float | None = None
    error: str = ""

    @staticmethod
    def read(engine: str, output: str, errors: str, code: int) -> Result:
        """From the output of `measure.py`."""
        try:
            found = json.loads(output.strip().splitlines()[-1])
            return Result(*(found[name] for name in ("us", "first_s", "grown_mb", "loss")))
        except (IndexError, ValueError):
            said = (errors.strip().splitlines() or ["no output"])[-1]
            return Result(error=f"{engine} ended with {code}: {said[:160]}")


def median(results: Sequence[Result], name: str) -> float | None:
    """The median of a figure over the results that have it, None where none has."""
    values = [value for r in results if (value := getattr(r, name)) is not None]
    return statistics.median(values) if values else None


@dataclass(frozen=True)
class Row:
    """A workload: the results of each engine, and its floor."""

    name: str
    results: dict[str, list[Result]]
    floor: Floor

    def us(self, engine: str) -> float | None:
        """The median time of a step in microseconds, None where the engine has failed."""
        return median(self.results[engine], "us")

    def grown(self, engine: str) -> float | None:
        """The median of memory grown, in MiB."""
        return median(self.results.get(engine, ()), "grown_mb")

    def best(self, ours: bool) -> tuple[float, str] | None:
        """The fastest compiled graphc, or the fastest engine that is not graphc: its time and name."""
        prefix = OURS if ours else "graphc"
        chosen = [engine for engine in self.results if engine.startswith(prefix) == ours]
        return min(((us, engine) for engine in chosen if (us := self.us(engine))), default=None)

    @property
    def ratio(self) -> float | None:
        """How many times faster compiled graphc is than the best of the others."""
        ours, peer = self.best(True), self.best(False)
        return peer[0] / ours[0] if ours and peer else None

    @property
    def above_floor(self) -> float | None:
        """The time of compiled graphc over the floor."""
        ours = self.best(True)
        return ours[0] / self.floor.us if ours else None

    def problems(self) -> list[str]:
        """Engines that failed, and losses that differ."""
        found = list(dict.fromkeys(r.error for results in self.results.values() for r in results if r.error))
        losses = {e: loss for e, results in self.results.items() if (loss := median(results, "loss")) is not None}
        if losses:
            low, high = min(losses, key=losses.__getitem__), max(losses, key=losses.__getitem__)
            if losses[high] - losses[low] > LOSS_TOLERANCE * max(abs(losses[high]), 1e-3):
                pair = f"{losses[low]:.6g} on {low}, {losses[high]:.6g} on {high}"
                found.append(f"{self.name}: the engines do not compute the same: {pair}")
        return found

    def cell(self, engine: str) -> str:
        """Time, first call, memory."""
        us = self.us(engine)
        if us is None:
            return "failed"
        first, grown = median(self.results[engine], "first_s"), self.grown(engine)
        return f"{shown_time(us)} {first:.2f} s {grown:.0f} MB"


def shown_time(us: float) -> str:
    """With three digits, in a unit that suits it."""
    unit, scale = ("us", 1.0) if us < 1e3 else ("ms", 1e3) if us < 1e6 else ("s", 1e6)
    value = us / scale
    return f"{value:.{max(0, 2 - math.floor(math.log10(max(value, 0.01))))}f} {unit}"


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}x"


# --- the main table --------------------------------------------------------------------------------------------------

_WIDTH = 27


def text_head(engines: Sequence[str]) -> str:
    """The line above the rows."""
    cells = "".join(f"{engine:>{_WIDTH}}" for engine in engines)
    return f"{'workload':16}{cells}{'peer/graphc':>13}{'floor':>9}{'graphc/floor':>14}"


def text_row(row: Row) -> str:
    """A row for the terminal, and below it what went wrong."""
    cells = "".join(f"{row.cell(engine):>{_WIDTH}}" for engine in row.results)
    end = f"{_times(row.ratio):>13}{shown_time(row.floor.us):>9}{_times(row.above_floor):>14}"
    return "\n    ".join([f"{row.name:16}{cells}{end}", *row.problems()])


def markdown(rows: Sequence[Row]) -> str:
    """The rows for the page."""
    engines = list(rows[0].results)
    head = ["workload", *engines, "best peer / graphc", "floor", "graphc / floor"]
    lines = []
    for row in rows:
        end = [_times(row.ratio), f"{shown_time(row.floor.us)}", _times(row.above_floor)]
        lines.append([row.name, *(row.cell(engine) for engine in engines), *end])
    return table(head, lines)


def judged(rows: Sequence[Row], each: float, mean: float) -> tuple[list[str], bool]:
    """The sentence on who is ahead, and whether every ratio reaches `each` and their geometric mean `mean`."""
    ratios = {row.name: row.ratio for row in rows}
    known = [ratio for ratio in ratios.values() if ratio is not None]
    if not known:
        return ["Nothing to compare: no compiled graphc, or no other engine."], False
    geometric = math.exp(sum(map(math.log, known)) / len(known))
    ahead = sum(ratio >= 1 for ratio in known)
    lines = [
        f"graphc is ahead of the best peer on {ahead} of {len(rows)} workloads, by {geometric:.2f} in the geometric mean,"
        f" {min(known):.2f} at least."
    ]
    behind = [name for name, ratio in ratios.items() if ratio is None or ratio < each]
    if behind:
        lines.append(f"Below {each:g}: {', '.join(behind)}.")
    return lines, not behind and geometric >= mean


def memory_lines(rows: Sequence[Row]) -> list[str]:
    """Memory grown beside PyTorch's, where it is judged."""
    lines = []
    for row in rows:
        best = row.best(True)
        if row.name not in MEMORY or best is None:
            continue
        peers = {peer: grown for peer in MEMORY_PEERS if (grown := row.grown(peer)) is not None}
        beside = ", ".join(f"{peer} {grown:.0f}" for peer, grown in peers.items())
        ours = row.grown(best[1])
        bar = peers.get(MEMORY_PEERS[0])
        verdict = "" if bar is None or ours is None else f" ({'at or below' if ours <= bar else 'ABOVE'} torch-compile)"
        lines.append(f"Memory grown, {row.name}: {best[1]} {ours:.0f} MB; {beside or 'no peer'}{verdict}.")
    return lines
