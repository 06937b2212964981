"""The programs in examples/ learn as they do on PyTorch: the same files, the same first weights, the same losses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from example_programs import PROGRAMS, curve, default_dtype, load, weights

import graphc as gc

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

STEPS = 50
TOLERANCE = {"float64": 1e-9, "float32": 1e-3}
#: whose losses are not always lower after 50 steps: two that play against each other, a schedule's beginning
RESTLESS = ("gan", "clipping_schedules")


@pytest.fixture(scope="module")
def expected() -> Any:
    """By program and dtype: the first weights and the losses on PyTorch, computed once."""
    known: dict[tuple[str, str], Any] = {}

    def find(name: str, dtype: str) -> Any:
        if (name, dtype) not in known:
            torch.manual_seed(0)
            with default_dtype(torch, dtype):
                start = weights(load(name, torch).build())
            known[name, dtype] = start, curve(name, torch, start, dtype, STEPS)
        return known[name, dtype]

    return find


@pytest.mark.parametrize("door", ["eager", "compiled"])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", PROGRAMS)
def test_losses(name: str, dtype: str, door: str, expected: Any) -> None:
    start, want = expected(name, dtype)
    assert np.isfinite(want).all() and (name in RESTLESS or np.mean(want[-10:]) < np.mean(want[:10]))
    losses = curve(name, gc, start, dtype, STEPS, gc.compile if door == "compiled" else None)
    assert len(losses) == len(want) >= STEPS
    np.testing.assert_allclose(losses, want, rtol=TOLERANCE[dtype])


def test_losses_with_worker_processes(expected: Any) -> None:
    start, want = expected("padded_loader", "float64")
    program = load("padded_loader", torch)
    with default_dtype(torch, "float64"):
        model = program.build()
        model.load_state_dict({key: torch.tensor(a) for key, a in start.items()})
        assert program.train(model, STEPS, workers=2) == want
