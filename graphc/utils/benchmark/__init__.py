"""`torch.utils.benchmark`: times of small pieces of code, each run warmed up, with the number of threads said."""

from __future__ import annotations

import statistics
import timeit
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from graphc.backends.llvm.pool import get_num_threads, set_num_threads
from graphc.core.errors import ArgumentError


@dataclass
class Measurement:
    """Seconds that runs took: `raw_times`, each of `number_per_run` executions of the statement."""

    number_per_run: int
    raw_times: list[float]
    stmt: str = "stmt"
    label: str | None = None
    sub_label: str | None = None
    description: str | None = None
    env: str | None = None
    num_threads: int = 1

    @cached_property
    def times(self) -> list[float]:
        """Seconds of one execution, for each run."""
        return [t / self.number_per_run for t in self.raw_times]

    @property
    def median(self) -> float:
        """The middle of the times."""
        return statistics.median(self.times)

    @property
    def mean(self) -> float:
        """The mean of the times."""
        return statistics.fmean(self.times)

    @property
    def iqr(self) -> float:
        """How far the middle half of the times reaches."""
        ordered = sorted(self.times)
        if len(ordered) < 4:
            return ordered[-1] - ordered[0]
        low, _, high = statistics.quantiles(ordered, n=4, method="inclusive")
        return high - low

    @property
    def has_warnings(self) -> bool:
        """Whether the times vary so much that they say little."""
        return self.iqr > 0.25 * self.median

    @property
    def title(self) -> str:
        """What was measured."""
        label = self.label or self.stmt
        return label + (f": {self.sub_label}" if self.sub_label else "")

    def __repr__(self) -> str:
        value, unit = scaled(self.median)
        runs = f"{len(self.raw_times)} measurement{'s' if len(self.raw_times) > 1 else ''}"
        lines = [f"<graphc.utils.benchmark.Measurement object at {id(self):#x}>", self.title]
        lines += [self.description] if self.description else []
        lines.append(f"  {'Median: ' if len(self.raw_times) > 1 else ''}{value:.2f} {unit}")
        if len(self.raw_times) > 1:
            spread, spread_unit = scaled(self.iqr)
            lines.append(f"  IQR:    {spread:.2f} {spread_unit}")
        lines.append(f"  {runs}, {self.number_per_run} runs per measurement, {self.num_threads} thread(s)")
        return "\n".join(lines)


def scaled(seconds: float) -> tuple[float, str]:
    """A time in the unit that suits it."""
    for factor, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "us")):
        if seconds * factor >= 1:
            return seconds * factor, unit
    return seconds * 1e9, "ns"


class Timer:
    """Times a statement, as `timeit.Timer`, with `num_threads` threads for the native runs (one, as in PyTorch)."""

    def __init__(
        self,
        stmt: str = "pass",
        setup: str = "pass",
        global_setup: str = "",
        timer: Callable[[], float] = timeit.default_timer,
        globals: dict[str, Any] | None = None,
        label: str | None = None,
        sub_label: str | None = None,
        description: str | None = None,
        env: str | None = None,
        num_threads: int = 1,
        language: Any = "python",
    ):
        if str(language).lower() not in ("python", "language.python", "py"):
            raise ArgumentError(f"utils.benchmark.Timer times Python, not {language}")
        self._timer = timeit.Timer(stmt, setup, timer, globals=dict(globals or {}))
        self._about = {"stmt": stmt, "label": label, "sub_label": sub_label, "description": description, "env": env}
        self._num_threads = num_threads

    def _measured(self, number: int, times: Sequence[float]) -> Measurement:
        return Measurement(number, list(times), num_threads=self._num_threads, **self._about)  # type: ignore[arg-type]

    def _with_threads(self, run: Callable[[], Measurement]) -> Measurement:
        before = get_num_threads()
        set_num_threads(self._num_threads)
        try:
            return run()
        finally:
            set_num_threads(before)

    def timeit(self, number: int = 1_000_000) -> Measurement:
        """One run of so many executions, after some to warm up."""

        def run() -> Measurement:
            self._timer.timeit(max(number // 100, 2))
            return self._measured(number, [self._timer.timeit(number)])

        return self._with_threads(run)

    def repeat(self, repeat: int = 5, number: int = 1_000_000) -> list[float]:
        """The seconds of several runs."""
        return self._timer.repeat(repeat, number)

    def _number(self, least: float) -> int:
        """How many executions take so long."""
        number = 1
        while True:
            took = self._timer.timeit(number)
            if took >= least:
                return number
            number *= 10 if took < least / 20 else 2

    def blocked_autorange(
        self, callback: Callable[[int, float], Any] | None = None, min_run_time: float = 0.2
    ) -> Measurement:
        """Runs of as many executions as take a thousandth of `min_run_time`, until they have taken that together."""

        def run() -> Measurement:
            times: list[float] = []
            number = self._number(min_run_time / 1000)
            while not times or sum(times) < min_run_time:
                times.append(self._timer.timeit(number))
                if callback is not None:
                    callback(number, times[-1])
            return self._measured(number, times)

        return self._with_threads(run)

    def adaptive_autorange(
        self,
        threshold: float = 0.1,
        *,
        min_run_time: float = 0.01,
        max_run_time: float = 10.0,
        callback: Callable[[int, float], Any] | None = None,
    ) -> Measurement:
        """Runs until the spread of the times is below `threshold` of their median, or `max_run_time` is over."""  # fmt: skip

        def run() -> Measurement:
            times: list[float] = []
            number = self._number(0.0001)
            while True:
                times.append(self._timer.timeit(number))
                if callback is not None:
                    callback(number, times[-1])
                found, total = self._measured(number, times), sum(times)
                steady = len(times) > 3 and found.iqr / found.median < threshold
                if (total >= min_run_time and steady) or total >= max_run_time:
                    return found

        return self._with_threads(run)


class Compare:
    """Measurements as a table: a row for each statement, a column for each description."""

    def __init__(self, results: Sequence[Measurement]):
        self._results = list(results)

    def extend_results(self, results: Sequence[Measurement]) -> None:
        """Adds measurements."""
        self._results += results

    def trim_significant_figures(self) -> None:
        """Accepted: the table has three figures."""

    def colorize(self, rowwise: bool = False) -> None:
        """Accepted: the table has no colours."""

    def __str__(self) -> str:
        columns = list(dict.fromkeys(m.description or "" for m in self._results))
        rows = list(dict.fromkeys((m.title, m.num_threads) for m in self._results))
        cells = {((m.title, m.num_threads), m.description or ""): scaled(m.median) for m in self._results}
        lines = [["", *columns]]
        for row in rows:
            values = [cells.get((row, column)) for column in columns]
            lines.append([f"{row[0]} ({row[1]} threads)", *(f"{v[0]:.1f} {v[1]}" if v else "" for v in values)])
        widths = [max(len(line[i]) for line in lines) for i in range(len(columns) + 1)]
        return "\n".join("  |  ".join(c.rjust(w) for c, w in zip(line, widths, strict=True)) for line in lines)

    def print(self) -> None:
        """Prints the table."""
        print(str(self))


__all__ = ["Compare", "Measurement", "Timer"]
