"""`generate(seed)`: the random program of a seed."""

from __future__ import annotations

import numpy as np

from tests.fuzz import steps_numbers, steps_others, steps_places, steps_writes  # each registers its families
from tests.fuzz.draft import Draft, GeneratorError, Rejected, Spoiled
from tests.fuzz.families import FAMILIES
from tests.fuzz.programs import SIZES, Program
from tests.fuzz.runner import Outcome, run_eager

REGISTERED = (steps_numbers, steps_places, steps_others, steps_writes)
WEIGHTS = [weight for weight, _ in FAMILIES]
#: Largest gradient of a program worth comparing.
STEEPEST = 1e4


def draft(seed: int, attempt: int) -> Program:
    """One attempt; Spoiled where a write went wrong."""
    g = Draft(seed, attempt)
    g.add_leaves()
    length = g.rng.choice((3, 6, 8, 10, 12, 14, 18, 24))
    tries = 0
    while len(g.steps) < length and tries < 30 * length:
        tries += 1
        (family,) = g.rng.choices(FAMILIES, WEIGHTS)
        try:
            family[1](g)
        except Rejected:
            continue
    if not any(step.targets for step in g.steps):
        raise Spoiled
    return g.finish()


def is_tame(outcome: Outcome) -> bool:
    """Whether the gradients are finite and not steep."""
    return all(g is None or bool(np.all(np.abs(g.astype(np.float64)) < STEEPEST)) for g in outcome.gradients)


def generate(seed: int) -> Program:
    """The program of a seed."""
    return generate_and_run(seed)[0]


def generate_and_run(seed: int) -> tuple[Program, list[Outcome]]:
    """The first attempt that runs in eager mode, gradient included, with tame numbers; and these numbers, feed by feed."""
    for attempt in range(50):
        try:
            program = draft(seed, attempt)
        except Spoiled:
            continue
        outcomes = [run_eager(program, k) for k in range(len(SIZES))]
        for outcome in outcomes:
            if outcome.error is not None and "modified by an inplace operation" not in str(outcome.error):
                raise GeneratorError(f"{type(outcome.error).__name__}: {outcome.error}\n{program}") from outcome.error
        if all(o.error is None and is_tame(o) for o in outcomes):
            return program, outcomes
    raise GeneratorError(f"no tame program for seed {seed}")
