"""Autotuning of tiles: what is chosen gives the same numbers, is remembered, and a damaged memory costs nothing."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.backends.devices import tuning
from graphc.core.config import config

pytestmark = pytest.mark.opencl

A, B = (np.random.default_rng(n).normal(size=(96, 96)).astype(np.float32) for n in (0, 1))


@pytest.fixture
def file(monkeypatch: Any, tmp_path: Path) -> Path:
    path = tmp_path / "sub" / "tiles.json"
    monkeypatch.setattr(tuning, "location", lambda: tmp_path / "sub" / "objects")
    monkeypatch.setattr(tuning, "_TUNERS", {})
    return path


def product() -> Any:
    """A @ B by a program that was just compiled."""
    return gc.compile(lambda a, b: a @ b, backend="opencl")(gc.from_numpy(A), gc.from_numpy(B)).numpy()


def test_measured_once_and_remembered(file: Path, monkeypatch: Any, caplog: Any) -> None:
    usual = product()
    assert not file.exists()
    monkeypatch.setattr(config, "tune", True)
    with caplog.at_level(logging.INFO, "graphc.tuning"):
        np.testing.assert_array_equal(product(), usual)
        np.testing.assert_array_equal(product(), usual)
    assert len([r for r in caplog.records if "the slowest of" in r.message]) == 1
    (tiles,) = json.loads(file.read_text()).values()
    assert len(tiles) == 1 and len(next(iter(tiles.values()))) == 8
    monkeypatch.setattr(config, "tune", False)
    tuning._TUNERS.clear()
    np.testing.assert_array_equal(product(), usual)


def test_every_tile_gives_the_same_bits(file: Path, monkeypatch: Any) -> None:
    usual = product()
    tried = []
    monkeypatch.setattr(config, "tune", True)
    monkeypatch.setattr(tuning.Tuner, "_time", lambda self, kernel, tile, table: tried.append(tile) or -len(tried))
    np.testing.assert_array_equal(product(), usual)
    assert len(tried) > 3
    for tile in tried[:-1]:
        file.unlink()
        tuning._TUNERS.clear()
        monkeypatch.setattr(tuning.Tuner, "_time", lambda self, kernel, x, table, tile=tile: int(x != tile))
        np.testing.assert_array_equal(product(), usual)


@pytest.mark.parametrize("content", ["", "[1]", "{", '{"a": 3}'])
def test_a_damaged_file_is_as_good_as_none(file: Path, content: str) -> None:
    file.parent.mkdir()
    file.write_text(content)
    np.testing.assert_allclose(product(), A @ B, rtol=1e-3, atol=1e-4)


def test_no_folder(monkeypatch: Any) -> None:
    monkeypatch.setattr(tuning, "location", lambda: None)
    monkeypatch.setattr(config, "tune", True)
    np.testing.assert_allclose(product(), A @ B, rtol=1e-3, atol=1e-4)
