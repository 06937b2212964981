"""The line search of LBFGS: a step length for the strong Wolfe conditions (Nocedal and Wright, algorithms 3.5 and 3.6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

_ARMIJO, _CURVATURE = 1e-4, 0.9


class Trial(NamedTuple):
    """A place on the line: step length, loss, gradient, and slope along the direction."""

    t: Any
    loss: Any
    grad: Any
    slope: Any


def cubic_minimum(a: Trial, b: Trial, bounds: tuple[Any, Any] | None = None) -> Any:
    """Where the cubic through two trials and their slopes is least, within `bounds` (default: between them)."""
    low, high = bounds or ((a.t, b.t) if a.t <= b.t else (b.t, a.t))
    d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    square = d1**2 - a.slope * b.slope
    if not square >= 0:
        return (low + high) / 2.0
    d2 = square.sqrt()
    if a.t <= b.t:
        place = b.t - (b.t - a.t) * ((b.slope + d2 - d1) / (b.slope - a.slope + 2 * d2))
    else:
        place = a.t - (a.t - b.t) * ((a.slope + d2 - d1) / (a.slope - b.slope + 2 * d2))
    return min(max(place, low), high)


class StrongWolfe:
    """One search: `evaluate(t)` gives loss and gradient at step length t along `direction`, from `start` (t = 0) on.

    It ends after `most` trials beyond the first, or where the bracket is shorter than `tolerance`.
    """

    def __init__(self, evaluate: Callable[[Any], Any], direction: Any, start: Trial, most: int, tolerance: float):
        self._evaluate, self._direction = evaluate, direction
        self._start, self._most, self._tolerance = start, most, tolerance
        self.evaluations = self._rounds = 0

    def search(self, t: Any) -> Trial:
        """The trial to take, the first of them at step length `t`."""
        bracket, done = self._bracket(t)
        low = 0 if bracket[0].loss <= bracket[-1].loss else 1
        return bracket[low] if done else self._zoom(bracket, low)

    def _try(self, t: Any) -> Trial:
        self.evaluations += 1
        loss, grad = self._evaluate(t)
        return Trial(t, loss, grad, grad.dot(self._direction))

    def _too_high(self, trial: Trial) -> bool:
        return bool(trial.loss > self._start.loss + _ARMIJO * trial.t * self._start.slope)

    def _flat(self, trial: Trial) -> bool:
        return bool(abs(trial.slope) <= -_CURVATURE * self._start.slope)

    def _bracket(self, t: Any) -> tuple[list[Trial], bool]:
        """Two trials with a good step length between them, or the good one alone and True."""
        before, trial = self._start, self._try(t)
        while self._rounds < self._most:
            if self._too_high(trial) or (self._rounds > 1 and trial.loss >= before.loss):
                return [before, trial], False
            if self._flat(trial):
                return [trial], True
            if trial.slope >= 0:
                return [before, trial], False
            bounds = trial.t + 0.01 * (trial.t - before.t), trial.t * 10
            before, trial = trial, self._try(cubic_minimum(before, trial, bounds))
            self._rounds += 1
        return [self._start, trial], False

    def _zoom(self, bracket: list[Trial], low: int) -> Trial:
        """Makes the bracket smaller until its better end (number `low`) will do."""
        size = self._direction.abs().max()
        stuck = False
        while self._rounds < self._most:
            if abs(bracket[1].t - bracket[0].t) * size < self._tolerance:
                break
            t, stuck = _inside(bracket, cubic_minimum(bracket[0], bracket[1]), stuck)
            trial = self._try(t)
            self._rounds += 1
            if self._too_high(trial) or trial.loss >= bracket[low].loss:
                bracket[1 - low] = trial
                low = 0 if bracket[0].loss <= bracket[1].loss else 1
                continue
            done = self._flat(trial)
            if not done and trial.slope * (bracket[1 - low].t - bracket[low].t) >= 0:
                bracket[1 - low] = bracket[low]
            bracket[low] = trial
            if done:
                break
        return bracket[low]


def _inside(bracket: list[Trial], t: Any, stuck: bool) -> tuple[Any, bool]:
    """`t`, moved a tenth into the bracket where it lies at an end, or near one for the second time; whether it is near one."""
    ends = [trial.t for trial in bracket]
    low, high = min(ends), max(ends)
    margin = 0.1 * (high - low)
    if not min(high - t, t - low) < margin:
        return t, False
    if stuck or t >= high or t <= low:
        return (high - margin if abs(t - high) < abs(t - low) else low + margin), False
    return t, True
