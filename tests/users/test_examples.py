"""The programs in examples/ give the same losses through every door."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from example_programs import PROGRAMS, curve, default_dtype, load, weights

import graphc as gc

STEPS, TOLERANCE = 6, 1e-11
#: builds of those whose steps are not all of one kind: lengths of sentences, reading the target or not, sizes that vary
BUILDS = {"word_lstm": 4, "seq2seq_attention": 2, "padded_loader": 2}


class Graphs:
    """A step that is recorded once for each kind of its arguments, and run in sessions."""

    def __init__(self, step: Any):
        self.step, self.known = step, {}

    def __call__(self, *args: Any) -> Any:
        kind = tuple((tuple(a.shape), a.dtype) if isinstance(a, gc.Tensor) else repr(a) for a in args)
        if kind not in self.known:
            self.known[kind] = self.record(args)
        feeds, results, session, train = self.known[kind]
        fed = {feed: a for feed, a in zip(feeds, args, strict=True) if isinstance(a, gc.Tensor)}
        *found, _ = session.run([*results, train] if isinstance(results, tuple) else [results, train], fed)
        found = [gc.tensor(x) for x in found]
        return tuple(found) if isinstance(results, tuple) else found[0]

    def record(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        graph = gc.Graph()
        with graph.as_default():
            feeds = [gc.placeholder(tuple(a.shape), a.dtype) if isinstance(a, gc.Tensor) else a for a in args]
            results = self.step(*feeds)
            return feeds, results, gc.Session(graph), gc.updates()


DOORS = {"compiled": gc.compile, "numpy": lambda step: gc.compile(step, backend="numpy"), "session": Graphs}


@pytest.fixture(scope="module")
def eager() -> Any:
    """By program: first weights and the losses of eager code, computed once."""
    known: dict[str, Any] = {}

    def find(name: str) -> Any:
        if name not in known:
            gc.manual_seed(0)
            with default_dtype(gc, "float64"):
                start = weights(load(name, gc).build())
            known[name] = start, curve(name, gc, start, "float64", STEPS)
        return known[name]

    return find


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_every_door_gives_eager_s_losses(name: str, door: str, eager: Any) -> None:
    start, want = eager(name)
    steps: list[Any] = []

    def prepare(step: Any) -> Any:
        steps.append(DOORS[door](step))
        return steps[-1]

    np.testing.assert_allclose(curve(name, gc, start, "float64", STEPS, prepare), want, rtol=TOLERANCE)
    assert np.isfinite(want).all() and len(set(want)) == len(want)
    if door != "session":
        assert len(steps[0].recompiles) == BUILDS.get(name, 1), steps[0].recompiles


def test_batches_from_worker_processes_give_the_same_losses(eager: Any) -> None:
    start, want = eager("padded_loader")
    program = load("padded_loader", gc)
    with default_dtype(gc, "float64"):
        model = program.build()
        model.load_state_dict({key: gc.tensor(a) for key, a in start.items()})
        assert program.train(model, STEPS, workers=2) == want
