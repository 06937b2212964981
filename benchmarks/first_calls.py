"""First calls: with an empty disk cache, and again in a second process that finds what the first has left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from page import table
from report import Result, median

#: The engine that is judged, and the one it is judged by.
OURS, PEER = "graphc-compile:llvm", "jax"
#: Seconds that a single first call may be above the peer's.
SLACK = 0.1
#: The same recurrence over few steps and over many.
LENGTHS = ("lstm_32_steps", "lstm_1000_steps")
#: How much longer the first call may take over many steps, once the time of a step itself is taken away.
LENGTH_RATIO = 1.25


@dataclass
class Table:
    """What first calls took, by (workload, engine): in a first process, and in a second one that finds a filled cache."""

    engines: Sequence[str]
    cold: dict[tuple[str, str], list[Result]] = field(default_factory=dict)
    warm: dict[tuple[str, str], list[Result]] = field(default_factory=dict)

    def add(self, name: str, engine: str, cold: Result, warm: Result) -> None:
        """One more round of both."""
        self.cold.setdefault((name, engine), []).append(cold)
        self.warm.setdefault((name, engine), []).append(warm)

    @property
    def names(self) -> list[str]:
        """The workloads that are compared."""
        return [name for name in dict.fromkeys(name for name, _ in self.cold) if name not in LENGTHS]

    def seconds(self, name: str, engine: str, warm: bool = False) -> float | None:
        """The median first call of an engine, None where it has failed or was not asked."""
        return median((self.warm if warm else self.cold).get((name, engine), ()), "first_s")

    def sum(self, engine: str, warm: bool = False) -> float | None:
        """Over all workloads; None where one is missing."""
        found = [seconds for name in self.names if (seconds := self.seconds(name, engine, warm)) is not None]
        return sum(found) if found and len(found) == len(self.names) else None

    def getting_ready(self, name: str) -> float | None:
        """Seconds of graphc's first call without those of the step itself: the least of all rounds."""
        results = self.cold.get((name, OURS), ())
        found = [r.first_s - r.us / 1e6 for r in results if r.first_s is not None and r.us is not None]
        return min(found, default=None)

    def text_row(self, name: str) -> str:
        """A line for the terminal, and below it what went wrong."""
        cells = []
        for engine in self.engines:
            cold, warm = self.seconds(name, engine), self.seconds(name, engine, True)
            cells.append(f"{engine} {_shown(cold)} then {_shown(warm)}" if (name, engine) in self.cold else "")
        errors = dict.fromkeys(r.error for (of, _), rs in self.cold.items() for r in rs if of == name and r.error)
        return "\n    ".join([f"{name:16} {'   '.join(filter(None, cells))}", *errors])

    def markdown(self) -> str:
        """Workloads and sums for the page."""
        head = ["workload", *(f"{engine}, {when}" for engine in self.engines for when in ("cold", "warm"))]
        rows = []
        for name in self.names:
            cells = [_shown(self.seconds(name, engine, warm)) for engine in self.engines for warm in (False, True)]
            rows.append([name, *cells])
        rows.append(["sum", *(_shown(self.sum(engine, warm)) for engine in self.engines for warm in (False, True))])
        return table(head, rows)

    def judged(self) -> tuple[list[str], bool]:
        """The sentences on what must hold, and whether all of it does."""
        lines, good = [], True
        for line, holds in (self._sums(), self._singles(), self._second(), self._lengths()):
            lines.append(f"{line}: {'not measured' if holds is None else 'holds' if holds else 'DOES NOT HOLD'}.")
            good = good and bool(holds)
        return lines, good

    def _sums(self) -> tuple[str, bool | None]:
        ours, peer = self.sum(OURS), self.sum(PEER)
        line = f"Cold first calls summed: graphc {_shown(ours)}, JAX {_shown(peer)}; below JAX's"
        return line, None if ours is None or peer is None else ours < peer

    def _singles(self) -> tuple[str, bool | None]:
        over = {}
        for name in self.names:
            ours, peer = self.seconds(name, OURS), self.seconds(name, PEER)
            if ours is None or peer is None:
                return f"No cold first call more than {SLACK:g} s above JAX's", None
            if ours > peer + SLACK:
                over[name] = ours - peer
        shown = "".join(f", {name} {seconds:.2f} s" for name, seconds in over.items())
        return f"No cold first call more than {SLACK:g} s above JAX's{shown}", not over

    def _second(self) -> tuple[str, bool | None]:
        cold, warm = self.sum(OURS), self.sum(OURS, warm=True)
        line = f"From the cache: graphc {_shown(warm)}, under half of the cold sum"
        return line, None if cold is None or warm is None else warm < cold / 2

    def _lengths(self) -> tuple[str, bool | None]:
        few, many = map(self.getting_ready, LENGTHS)
        line = f"An LSTM over 1,000 steps gets ready in {_shown(many)}, over 32 in {_shown(few)}; the same time"
        return line, None if few is None or many is None else many < LENGTH_RATIO * few


def _shown(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.2f} s"
