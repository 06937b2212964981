"""Every public name that PyTorch has too is compared with PyTorch by some parity test."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

from recording import ELSEWHERE, resolve, surface  # noqa: E402

import graphc as gc  # noqa: E402

PATIENCE_S = 600


def finished(record_file: Path) -> dict[str, list[str]]:
    """The tests that have ended in any process of this run, with the names they compared."""
    lines = record_file.read_text().splitlines() if record_file.exists() else []
    return dict(map(json.loads, lines))


def test_every_public_name_is_compared(request: pytest.FixtureRequest, record_file: Path) -> None:
    mine = Path(__file__)
    others = {i.nodeid for i in request.session.items if i.path.parent == mine.parent and i.path != mine}
    files = {i.path for i in request.session.items if i.path.parent == mine.parent}
    if files != set(mine.parent.glob("test_*.py")) or request.config.option.keyword:
        pytest.skip("only some of the parity tests run")
    deadline = time.monotonic() + PATIENCE_S
    while others - finished(record_file).keys() and time.monotonic() < deadline:
        time.sleep(0.2)
    compared = {name for names in finished(record_file).values() for name in names}
    missing = [name for name in surface() if name not in compared]
    assert not missing, f"{len(missing)} of {len(surface())} names are compared by no test: {' '.join(missing)}"


def test_a_name_counts_only_if_both_were_called_by_the_test(recorder: Any) -> None:
    recorder.start()
    gc.zeros(2)
    assert "zeros" not in recorder.keep() or "zeros" in recorder.kept
    recorder.kept.discard("zeros")
    gc.zeros(2)
    assert "zeros" not in recorder.keep()
    torch.zeros(2)
    assert "zeros" in recorder.keep()


def test_calls_inside_the_libraries_do_not_count(recorder: Any) -> None:
    recorder.start()
    for m in (gc, torch):
        m.nn.functional.mse_loss(m.ones(3), m.zeros(3))
    assert {"ones", "nn.functional.mse_loss"} <= recorder.now[0] & recorder.now[1]
    assert not {"mean", "Tensor.mean", "sub"} & (recorder.now[0] | recorder.now[1])


def test_what_is_left_out_exists() -> None:
    for name in ELSEWHERE:
        resolve(gc, name)


def test_constants_and_dtypes() -> None:
    for name in ("pi", "e", "inf", "newaxis"):
        assert getattr(gc, name) == getattr(torch, name)
    for name in dir(gc):
        if isinstance(getattr(gc, name), gc.dtype) and hasattr(torch, name):
            ours, theirs = getattr(gc, name), getattr(torch, name)
            assert repr(ours).partition(".")[2] == repr(theirs).partition(".")[2]
            for ask in ("itemsize", "is_floating_point", "is_signed", "is_complex"):
                assert getattr(ours, ask) == getattr(theirs, ask)
