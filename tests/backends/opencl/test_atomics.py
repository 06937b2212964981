"""Scatters that add side by side, as on graphics cards: the sums of those that add in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tolerances import assert_close

import graphc as gc
from graphc.backends.devices.executable import DeviceExecutable
from graphc.backends.opencl.devices import device
from graphc.passes.pipelines import NATIVE, optimise
from graphc.planning.regions import plan_regions

pytestmark = pytest.mark.opencl

ROWS = 300
PLACES = np.random.default_rng(0).integers(0, 7, ROWS)
X = np.random.default_rng(1).normal(size=(ROWS, 5)).astype(np.float32)


@pytest.fixture
def card(monkeypatch: Any) -> Iterator[Any]:
    """The device, taken for a graphics card."""
    here = device()
    monkeypatch.setattr(here, "target", replace(here.target, vector=0))
    return here


def compiled(here: Any, f: Any, *arrays: Any) -> tuple[str, list[Any]]:
    """The kernels and the results of a function on a device."""
    graph = gc.Graph()
    with graph.as_default():
        xs = [gc.placeholder(a.shape, dtype=gc.from_numpy(a).dtype) for a in arrays]
        out = f(*xs)
    executable = DeviceExecutable(plan_regions(optimise(graph.program([out._data]), NATIVE)), lambda: here)
    return executable.steps, executable(arrays)


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.float64, np.int64])
def test_many_meet(card: Any, dtype: Any) -> None:
    if np.dtype(dtype).itemsize == 8 and not card.target.wide_atomics:
        pytest.skip("the device cannot")
    values = (X * 100).astype(dtype)
    text, (found,) = compiled(card, lambda at, x: gc.zeros(7, 5, dtype=x.dtype).index_add(0, at, x), PLACES, values)
    want = np.zeros((7, 5), np.float64)
    np.add.at(want, PLACES, values)
    kind = np.dtype(dtype)
    assert f"ADD_{kind.kind.upper()}{8 * kind.itemsize}(&b" in text
    assert_close(found, want.astype(dtype), n=ROWS, scale=1000.0)


def test_what_is_there_stays(card: Any) -> None:
    _, (found,) = compiled(card, lambda at, x: gc.ones(9, 5).index_add(0, at, x) * 2, PLACES, X)
    want = np.ones((9, 5))
    np.add.at(want, PLACES, X)
    assert_close(found, (2 * want).astype(np.float32), n=ROWS, scale=10.0)


def test_gradient_of_an_embedding(card: Any) -> None:
    def f(at: Any, table: Any) -> Any:
        (g,) = gc.gradients((nn_embedding(at, table) ** 2).sum(), [table])
        return g

    nn_embedding = gc.nn.functional.embedding
    text, (found,) = compiled(card, f, PLACES, X[:7])
    want = np.zeros((7, 5))
    np.add.at(want, PLACES, 2 * X[:7][PLACES])
    assert "ADD_F32(&b" in text
    assert_close(found, want.astype(np.float32), n=ROWS, scale=100.0)


def test_in_order_where_that_is_asked_for(card: Any) -> None:
    before = gc.are_deterministic_algorithms_enabled()
    gc.use_deterministic_algorithms(True)
    try:
        text, (found,) = compiled(card, lambda at, x: gc.zeros(7, 5).index_add(0, at, x), PLACES, X)
    finally:
        gc.use_deterministic_algorithms(before)
    assert "ADD_F32(&b" not in text
    want = np.zeros((7, 5), np.float32)
    np.add.at(want, PLACES, X)
    np.testing.assert_array_equal(found, want)


def test_in_order_where_there_are_no_atomics(card: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(card, "target", replace(card.target, wide_atomics=False))
    values = X.astype(np.float64)
    text, (found,) = compiled(card, lambda at, x: gc.zeros(7, 5, dtype=x.dtype).index_add(0, at, x), PLACES, values)
    assert "ADD_F64(&b" not in text
    want = np.zeros((7, 5))
    np.add.at(want, PLACES, values)
    np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize("shape", [(300,), (3, 100), (), (0,)])
def test_an_item_checks_an_index(card: Any, shape: tuple[int, ...]) -> None:
    at = np.resize(PLACES, shape)
    graph = gc.Graph()
    with graph.as_default():
        x, i = gc.placeholder((7, 5)), gc.placeholder(shape, dtype=gc.int64)
        out = x[i]
    executable = DeviceExecutable(plan_regions(optimise(graph.program([out._data]), NATIVE)), lambda: card)
    np.testing.assert_array_equal(executable([X[:7], at])[0], X[:7][at])
    check = executable.steps.split("*fault = 1")[0].rpartition("KERNEL")[2]
    assert "for (" not in check
    for bad in (7, -8) if at.size else ():
        wrong = at.copy()
        wrong[(-1,) * wrong.ndim] = bad
        with pytest.raises(IndexError, match=f"index {bad}"):
            executable([X[:7], wrong])
