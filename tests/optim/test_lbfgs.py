"""LBFGS: what it finds, how it goes on, and what it refuses. Its numbers are compared with PyTorch's in tests/parity."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gc
import graphc.saving as saving
from graphc.core.errors import ArgumentError, GraphError, UnsupportedError
from graphc.functions.creation import tensor
from graphc.optim import LBFGS


def rosenbrock(p):
    x, y = p
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


class Search:
    """One parameter of two numbers on Rosenbrock's function."""

    def __init__(self, **options):
        self.p = tensor(np.array([-1.2, 1.0]), requires_grad=True)
        self.optimizer = LBFGS([self.p], **options)
        self.calls = 0

    def closure(self):
        self.calls += 1
        self.optimizer.zero_grad()
        loss = rosenbrock(self.p)
        loss.backward()
        return loss


def test_it_finds_the_minimum_of_rosenbrocks_function():
    search = Search(line_search_fn="strong_wolfe", max_iter=100)
    first = search.optimizer.step(search.closure)
    np.testing.assert_allclose(first.item(), 24.2)
    np.testing.assert_allclose(search.p.detach().numpy(), [1, 1], atol=1e-4)
    state = search.optimizer.state[search.p]
    assert state["func_evals"] == search.calls > state["n_iter"]


def test_at_the_minimum_it_asks_once_and_stays():
    search = Search()
    search.p.data.copy_(tensor([1.0, 1.0]))
    search.optimizer.step(search.closure)
    assert search.calls == 1 and search.p.tolist() == [1, 1]


def test_a_compiled_closure_gives_the_same_path():
    eager, compiled = (Search(line_search_fn="strong_wolfe", max_iter=12) for _ in range(2))
    fast = gc.compile(compiled.closure)
    for _ in range(2):
        losses = eager.optimizer.step(eager.closure).item(), compiled.optimizer.step(fast).item()
        np.testing.assert_allclose(*losses, rtol=1e-9)
    np.testing.assert_allclose(compiled.p.detach().numpy(), eager.p.detach().numpy(), rtol=1e-9)
    assert compiled.calls == 1  # traced once


def test_a_search_resumed_from_a_file_goes_on_bit_for_bit(tmp_path):
    straight, first = (Search(line_search_fn="strong_wolfe", max_iter=4) for _ in range(2))
    for _ in range(2):
        straight.optimizer.step(straight.closure)
    first.optimizer.step(first.closure)
    saving.save({"p": first.p, "optimizer": first.optimizer.state_dict()}, tmp_path / "check.gc")
    loaded = saving.load(tmp_path / "check.gc")
    second = Search(line_search_fn="strong_wolfe", max_iter=4)
    second.p.data.copy_(loaded["p"].detach())
    second.optimizer.load_state_dict(loaded["optimizer"])
    second.optimizer.step(second.closure)
    assert second.p.tolist() == straight.p.tolist()


def test_loaded_state_has_memory_of_its_own():
    search, other = Search(max_iter=4), Search(max_iter=4)
    search.optimizer.step(search.closure)
    saved = search.optimizer.state_dict()
    other.optimizer.load_state_dict(saved)
    before = [x.tolist() for x in saved["state"][0]["old_dirs"]]
    for x in other.optimizer.state[other.p]["old_dirs"]:
        x.zero_()
    assert [x.tolist() for x in saved["state"][0]["old_dirs"]] == before


def test_a_step_cannot_be_recorded():
    search = Search()
    with pytest.raises(GraphError, match=r"LBFGS calls its closure .* \(at .*test_lbfgs.py:\d+\)\n  hint: call"):
        gc.compile(lambda: search.optimizer.step(search.closure))()
    with (
        gc.Graph().as_default(),
        pytest.raises(GraphError, match=r"which a recorded program cannot \(at .*test_lbfgs.py"),
    ):
        search.optimizer.minimize(rosenbrock(search.p))
    assert search.calls == 0


def test_refusals():
    p, q = (tensor([1.0], requires_grad=True) for _ in range(2))
    with pytest.raises(ArgumentError, match="doesn't support per-parameter options"):
        LBFGS([{"params": [p]}, {"params": [q]}])
    search = Search(line_search_fn="armijo")
    with pytest.raises(UnsupportedError, match="only 'strong_wolfe' is supported"):
        search.optimizer.step(search.closure)
