"""One definition of each update: eager, compiled and session training give the same parameters and state."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gc
from graphc import optim
from graphc.core.errors import GraphError
from graphc.functions.creation import tensor

CASES = {
    "sgd": lambda p: optim.SGD(p, lr=0.1, weight_decay=0.01),
    "momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9),
    "dampening": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.4),
    "nesterov": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, maximize=True),
    "adam": lambda p: optim.Adam(p, lr=0.05, amsgrad=True),
    "adamw": lambda p: optim.AdamW(p, lr=0.05),
    "rmsprop": lambda p: optim.RMSprop(p, lr=0.05, momentum=0.5, centered=True, weight_decay=0.01),
    "adadelta": lambda p: optim.Adadelta(p, lr=0.5, weight_decay=0.01),
    "adagrad": lambda p: optim.Adagrad(p, lr=0.1, lr_decay=0.1, initial_accumulator_value=0.3),
    "adamax": lambda p: optim.Adamax(p, lr=0.05, maximize=True),
    "nadam": lambda p: optim.NAdam(p, lr=0.05, weight_decay=0.1, decoupled_weight_decay=True),
    "radam": lambda p: optim.RAdam(p, lr=0.05, betas=(0.8, 0.9)),
    "asgd": lambda p: optim.ASGD(p, lr=0.05, t0=3, lambd=0.01),
    "adafactor": lambda p: optim.Adafactor(p, lr=0.05, weight_decay=0.01),
    "rprop": lambda p: optim.Rprop(p, lr=0.05, etas=(0.4, 1.5)),
}
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(8, 3)), RNG.normal(size=(8, 2))
W, B = RNG.normal(size=(3, 2)), RNG.normal(size=(2,))


class Training:
    """A linear model, its optimizer, and a step through each door."""

    def __init__(self, make, dtype="float64"):
        self.dtype = dtype
        self.w, self.b = (tensor(a.astype(dtype), requires_grad=True) for a in (W, B))
        self.optimizer = make([{"params": [self.w]}, {"params": [self.b], "lr": 0.02}])
        self.compiled = gc.compile(self.step)

    def loss(self, x, y):
        return ((x @ self.w + self.b - y) ** 2).mean()

    def step(self, x, y):
        self.optimizer.zero_grad()
        loss = self.loss(x, y)
        loss.backward()
        self.optimizer.step()
        return loss

    def data(self):
        return X.astype(self.dtype), Y.astype(self.dtype)

    def eager_step(self):
        return self.step(*map(tensor, self.data())).item()

    def compiled_step(self):
        return self.compiled(*map(tensor, self.data())).item()

    def open_session(self):
        graph = gc.Graph()
        with graph.as_default():
            dtype = getattr(gc, self.dtype)
            self.x, self.y = gc.placeholder((None, 3), dtype, name="x"), gc.placeholder((None, 2), dtype, name="y")
            self.fetches = [self.loss(self.x, self.y)]
            self.fetches.append(self.optimizer.minimize(self.fetches[0]))
        self.session = gc.Session(graph)

    def session_step(self):
        x, y = self.data()
        return self.session.run(self.fetches, {self.x: x, self.y: y})[0]

    def result(self):
        state = self.optimizer.state_dict()["state"]
        arrays = {f"{i}.{key}": value.numpy() for i, held in state.items() for key, value in held.items()}
        return {"w": self.w.detach().numpy(), "b": self.b.detach().numpy(), **arrays}


def same(a, b, dtype):
    a, b = a.result(), b.result()
    assert list(a) == list(b)
    for key in a:
        np.testing.assert_allclose(a[key], b[key], rtol=1e-12 if dtype == "float64" else 1e-5, atol=1e-7, err_msg=key)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", CASES)
def test_three_doors(case, dtype):
    eager, compiled, session = (Training(CASES[case], dtype) for _ in range(3))
    session.open_session()
    for _ in range(8):
        losses = eager.eager_step(), compiled.compiled_step(), session.session_step()
        np.testing.assert_allclose(losses, losses[0], rtol=1e-5)
    same(eager, compiled, dtype)
    same(eager, session, dtype)


@pytest.mark.parametrize("case", CASES)
def test_steps_through_alternating_doors_share_one_state(case):
    eager, mixed = Training(CASES[case]), Training(CASES[case])
    mixed.open_session()
    for i in range(12):
        eager.eager_step()
        (mixed.compiled_step, mixed.session_step, mixed.eager_step)[i % 3]()
    same(eager, mixed, "float64")


@pytest.mark.parametrize("case", ["momentum", "adam", "nadam", "asgd", "rprop"])
def test_a_new_learning_rate_never_rebuilds(case):
    eager, compiled, session = (Training(CASES[case]) for _ in range(3))
    session.open_session()
    for i in range(6):
        for training in (eager, compiled, session):
            training.optimizer.param_groups[0]["lr"] = 0.1 / (i + 1)
        eager.eager_step(), compiled.compiled_step(), session.session_step()
    same(eager, compiled, "float64")
    same(eager, session, "float64")
    assert len(compiled.compiled.recompiles) == 1
    assert len(session.session.recompiles) == 1


def test_a_cycle_of_rates_and_momenta_never_rebuilds():
    eager, compiled, session = trainings = [Training(CASES["momentum"]) for _ in range(3)]
    session.open_session()
    cycles = [optim.lr_scheduler.CyclicLR(t.optimizer, 0.01, [0.2, 0.1], step_size_up=3) for t in trainings]
    for _ in range(8):
        eager.eager_step(), compiled.compiled_step(), session.session_step()
        for cycle in cycles:
            cycle.step()
    same(eager, compiled, "float64")
    same(eager, session, "float64")
    assert len(compiled.compiled.recompiles) == len(session.session.recompiles) == 1


def test_structure_is_seen_by_the_next_compiled_call():
    eager, compiled = (Training(CASES["sgd"]) for _ in range(2))
    for change in ({}, {"weight_decay": 0}, {"momentum": 0.9}, {"dampening": 0.2}, {"maximize": True}):
        for training in (eager, compiled):
            training.optimizer.param_groups[0].update(change)
        eager.eager_step(), eager.eager_step(), compiled.compiled_step(), compiled.compiled_step()
    same(eager, compiled, "float64")


@pytest.mark.parametrize("case", ["dampening", "adam", "adagrad", "nadam", "radam", "asgd", "rprop"])
def test_a_reloaded_state_reaches_compiled_steps_and_sessions(case):
    eager, compiled, session = trainings = [Training(CASES[case]) for _ in range(3)]
    session.open_session()
    for _ in range(2):
        eager.eager_step(), compiled.compiled_step(), session.session_step()
    start = Training(CASES[case])
    start.eager_step()
    for saved in (start.optimizer.state_dict(), Training(CASES[case]).optimizer.state_dict()):
        for training in trainings:
            training.optimizer.load_state_dict(saved)
        for _ in range(2):
            eager.eager_step(), compiled.compiled_step(), session.session_step()
        same(eager, compiled, "float64")
        same(eager, session, "float64")


def test_a_group_added_later_is_trained_by_compiled_steps():
    eager, compiled = (Training(CASES["momentum"]) for _ in range(2))
    results = []
    for training in (eager, compiled):
        extra = tensor(np.ones(2), requires_grad=True)
        training.loss = lambda x, y, t=training, e=extra: ((x @ t.w + t.b + e - y) ** 2).mean()
        step = training.eager_step if training is eager else training.compiled_step
        step()
        training.optimizer.add_param_group({"params": [extra]})
        step(), step()
        results.append(extra.detach().numpy())
    assert np.abs(results[0] - 1).min() > 0
    np.testing.assert_allclose(*results, rtol=1e-12)


def test_muon_through_three_doors():
    results = []
    for door in ("eager_step", "compiled_step", "session_step"):
        training = Training(lambda groups: optim.Muon([groups[0]["params"][0]], lr=0.05))
        training.b.requires_grad_(False)
        if door == "session_step":
            training.open_session()
        for _ in range(6):
            getattr(training, door)()
        results.append(training.w.detach().numpy().copy())
    assert np.abs(results[0] - W).min() > 1e-3
    for other in results[1:]:
        np.testing.assert_allclose(other, results[0], atol=6 * 0.05 * 0.03)


def test_minimize_leaves_grad_alone_and_can_be_limited_to_some_parameters():
    training = Training(CASES["sgd"])
    graph = gc.Graph()
    with graph.as_default():
        x, y = gc.placeholder((None, 3), gc.float64), gc.placeholder((None, 2), gc.float64)
        train = training.optimizer.minimize(training.loss(x, y), params=[training.b])
    gc.Session(graph).run(train, {x: X, y: Y})
    assert training.w.grad is None and training.b.grad is None
    np.testing.assert_array_equal(training.w.detach().numpy(), W)
    assert np.abs(training.b.detach().numpy() - B).min() > 0


def test_minimize_refuses_a_loss_without_parameters_and_eager_mode():
    training = Training(CASES["sgd"])
    with gc.Graph().as_default():
        x = gc.placeholder((3,), gc.float64)
        with pytest.raises(GraphError, match="depends on none of the optimizer's parameters"):
            training.optimizer.minimize(x.sum())
    with pytest.raises(GraphError, match=r"call minimize under `with graph.as_default\(\):`"):
        training.optimizer.minimize(training.loss(tensor(X), tensor(Y)))


def test_building_a_graph_changes_nothing():
    training = Training(CASES["adam"])
    training.open_session()
    np.testing.assert_array_equal(training.w.detach().numpy(), W)
    assert all(not value.any() for key, value in training.result().items() if "." in key)
