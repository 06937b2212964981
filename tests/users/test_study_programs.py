"""Programs of people who study deep learning: the same numbers by every way to run them, in NumPy, and in PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from study_programs import MORE, PROGRAMS, STEPS, Program

import graphc as gc

TOLERANCE = 1e-11
DOORS = ("eager", "compiled", "session")


@pytest.fixture(autouse=True)
def _doubles() -> Any:
    gc.set_default_dtype(gc.float64)
    yield
    gc.set_default_dtype(gc.float32)


def feed(program: Program, i: int) -> tuple[Any, ...]:
    return program.batches[i % len(program.batches)]


def run(program: Program, door: str) -> list[float]:
    """Trains and gives the losses."""
    torch = program.torch
    if door == "session":
        return run_session(program)
    step = torch.compile(program.step) if door == "compiled" else program.step
    losses = [step(*map(torch.tensor, feed(program, i))).item() for i in range(STEPS)]
    if door == "compiled":
        assert len(step.recompiles) <= 2, step.recompiles
    return losses


def run_session(program: Program) -> list[float]:
    graph = gc.Graph()
    with graph.as_default():
        inputs = [
            gc.placeholder((None, *a.shape[1:]), gc.int64 if a.dtype.kind == "i" else gc.float64, name=f"x{i}")
            for i, a in enumerate(program.batches[0])
        ]
        loss = program.loss(*inputs)
        train = program.optimizer.minimize(loss)
    with gc.Session(graph) as session:
        losses = [
            float(session.run([loss, train], dict(zip(inputs, feed(program, i), strict=True)))[0]) for i in range(STEPS)
        ]
        assert len(session.recompiles) == 1, session.recompiles
    return losses


def check(program: Program, want: list[Any]) -> None:
    for have, expected in zip(program.parameters, want, strict=True):
        scale = max(np.abs(expected).max(), 1e-3)
        np.testing.assert_allclose(have.detach().numpy(), expected, rtol=0, atol=TOLERANCE * scale)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", PROGRAMS, ids=lambda k: k.__name__)
def test_like_numpy(kind: type[Program], door: str) -> None:
    program = kind(gc)
    losses = run(program, door)
    assert losses[-1] < losses[0]
    check(program, program.reference())


@pytest.mark.parametrize("door", DOORS[1:])
@pytest.mark.parametrize("kind", MORE, ids=lambda k: k.__name__)
def test_like_eager(kind: type[Program], door: str) -> None:
    eager, other = kind(gc), kind(gc)
    np.testing.assert_allclose(run(other, door), run(eager, "eager"), rtol=TOLERANCE)
    check(other, [p.detach().numpy() for p in eager.parameters])


@pytest.mark.parity
@pytest.mark.parametrize("kind", PROGRAMS + MORE, ids=lambda k: k.__name__)
def test_like_pytorch(kind: type[Program]) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = kind(gc), kind(torch)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        want = run(theirs, "eager")
    finally:
        torch.set_default_dtype(before)
    np.testing.assert_allclose(run(ours, "eager"), want, rtol=1e-10)
    for a, b in zip(ours.parameters, theirs.parameters, strict=True):
        np.testing.assert_allclose(
            a.detach().numpy(), b.detach().numpy(), rtol=0, atol=1e-10 * max(b.abs().max().item(), 1e-3)
        )
