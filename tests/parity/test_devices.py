"""Devices, and what else is the machine's: defaults, deterministic sums, batches in parts, as PyTorch has them on a CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from side_by_side import compare

import graphc as gc

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

X = np.random.default_rng(0).normal(size=(5, 3))


def test_the_default_device() -> None:
    for m in (gc, torch):
        assert str(m.get_default_device()) == "cpu"
        m.set_default_device("cpu")
        try:
            assert m.zeros(2).device == m.device("cpu") == m.get_default_device()
        finally:
            m.set_default_device(None)
        with m.device("cpu"):
            assert m.ones(2).device.type == "cpu"
        with pytest.raises(RuntimeError):
            m.set_default_device("nowhere")


def test_deterministic_algorithms() -> None:
    for m in (gc, torch):
        assert m.are_deterministic_algorithms_enabled() is False
        m.use_deterministic_algorithms(True)
        assert m.are_deterministic_algorithms_enabled() is True
        m.use_deterministic_algorithms(False)
        assert m.are_deterministic_algorithms_enabled() is False


def test_the_error_of_a_device_without_room() -> None:
    for m in (gc, torch):
        assert isinstance(m.OutOfMemoryError("no room"), RuntimeError)
        assert m.cuda.OutOfMemoryError is m.OutOfMemoryError


def test_data_parallel_without_a_card() -> None:
    found = []
    for m in (gc, torch):
        model = m.nn.Linear(3, 2).double()
        with m.no_grad():
            for n, p in enumerate(model.parameters()):
                p.copy_(m.arange(p.numel(), dtype=m.float64).reshape(p.shape) / 7 - n)
        parallel = m.nn.DataParallel(model)
        out: Any = parallel(m.tensor(X))
        out.sum().backward()
        found.append([out.detach(), model.weight.grad])
        assert list(parallel.state_dict()) == ["module.weight", "module.bias"]
        assert parallel.module is model and parallel.device_ids == []
    compare(found[0], found[1], n=8)
