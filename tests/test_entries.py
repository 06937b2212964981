"""The short way into a build: the same results as the long way, and left whenever anything differs."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from where import runs_natively

import graphc as gc
from graphc import nn, optim

pytestmark = runs_natively


def warmed(fn, *args):
    compiled = gc.compile(fn, backend="llvm")
    for _ in range(3):
        compiled(*args)
    assert compiled._entry is not None, "calls like these have a short way"
    return compiled


def test_a_plain_call_gives_what_eager_gives_in_new_memory():
    x = gc.arange(10, dtype=gc.float32)
    f = warmed(lambda a: a * 2 + 1, x)
    first, second = f(x), f(x)
    assert first.tolist() == (x * 2 + 1).tolist()
    first.zero_()
    assert second.tolist() == (x * 2 + 1).tolist()


@pytest.mark.parametrize(
    "other",
    [gc.arange(11, dtype=gc.float32), gc.arange(10, dtype=gc.float64), gc.arange(20, dtype=gc.float32)[::2],
     gc.ones(2, 5), gc.tensor(3.0)],
    ids=["size", "dtype", "strides", "rank", "0-d"],
)  # fmt: skip
def test_another_kind_of_argument_takes_the_long_way(other):
    x = gc.arange(10, dtype=gc.float32)
    f = warmed(lambda a: a * 2 + 1, x)
    assert f(other).tolist() == (other * 2 + 1).tolist()
    assert f(x).tolist() == (x * 2 + 1).tolist()


@pytest.mark.parametrize(
    "take", [lambda x: x[:, ::2], lambda x: x.t(), lambda x: x[1:, 1:], lambda x: gc.flip(x, (0,))]
)
def test_arguments_in_other_memory_order_give_the_same_at_every_call(take):
    x = take(gc.arange(24, dtype=gc.float32).reshape(4, 6))
    f = gc.compile(lambda a: a * 2 + 1, backend="llvm")
    for _ in range(5):
        assert f(x).tolist() == (x * 2 + 1).tolist()


def test_a_tracked_argument_and_grad_mode_are_seen():
    x = gc.ones(3)
    f = warmed(lambda a: (a * a).sum(), x)
    w = gc.ones(3, requires_grad=True)
    f(w).backward()
    assert w.grad.tolist() == [2.0, 2.0, 2.0]
    with gc.no_grad():
        assert not f(w).requires_grad


def test_names_the_function_reads_are_compared():
    scale = 2.0

    def function(a):
        return a * scale

    x = gc.ones(3)
    f = warmed(function, x)
    scale = 5.0
    assert f(x).tolist() == [5.0, 5.0, 5.0]


def trained(backend, change=None, steps=8, optimizer=optim.Adam):
    gc.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 2))
    opt = optimizer(model.parameters(), lr=0.05)

    def step(x, y):
        opt.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        opt.step()
        return loss

    run = gc.compile(step, backend=backend) if backend else step
    x, y = gc.randn(6, 4), gc.randn(6, 2)
    losses = []
    for i in range(steps):
        if change is not None and i == 5:
            change(model, opt)
        losses.append(run(x, y).item())
    return losses, [p.detach().numpy().copy() for p in model.parameters()], run


def set_lr(model, opt):
    opt.param_groups[0]["lr"] = 0.5


def rebind(model, opt):
    model[0].weight.data = gc.ones(8, 4)


def evaluate(model, opt):
    model.eval()


def load(model, opt):
    model.load_state_dict({k: v * 0.5 for k, v in model.state_dict().items()})


@pytest.mark.parametrize("change", [None, set_lr, rebind, evaluate, load])
@pytest.mark.parametrize("optimizer", [optim.SGD, optim.Adam])
def test_training_steps_equal_eager_whatever_changes_between_them(change, optimizer):
    want, parameters, _ = trained(None, change, optimizer=optimizer)
    got, compiled_parameters, run = trained("llvm", change, optimizer=optimizer)
    assert run._entry is not None
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)
    for a, b in zip(compiled_parameters, parameters, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_a_schedule_changes_the_learning_rate_without_a_new_entry():
    def run(compiled):
        weight, used = gc.ones(3, requires_grad=True), []
        opt = optim.SGD([weight], lr=0.5, momentum=0.9)
        schedule = optim.lr_scheduler.ExponentialLR(opt, 0.9)

        def step(x):
            opt.zero_grad()
            loss = (weight * x).square().sum()
            loss.backward()
            opt.step()
            return loss

        call, losses = gc.compile(step, backend="llvm") if compiled else step, []
        for i in range(8):
            losses.append(call(gc.arange(1.0, 4.0) / 4).item())
            schedule.step()
            if compiled and i > 2:
                used.append(call._entry)
        return losses, used

    losses, used = run(True)
    np.testing.assert_allclose(losses, run(False)[0], rtol=1e-5)
    assert used[0] is not None and all(entry is used[0] for entry in used)


def test_an_index_that_does_not_exist_changes_nothing_and_names_the_line():
    gc.manual_seed(0)
    table = nn.Embedding(5, 3)
    opt = optim.SGD(table.parameters(), lr=0.1)

    def step(ids):
        opt.zero_grad()
        loss = (table(ids) ** 2).sum()
        loss.backward()
        opt.step()
        return loss

    run = warmed(step, gc.tensor([0, 1, 4]))
    before = table.weight.detach().clone()
    with pytest.raises(IndexError, match=r"out of range|out of bounds"):
        run(gc.tensor([0, 7, 4]))
    assert (table.weight == before).all()
    run(gc.tensor([0, 1, 4]))
    assert not (table.weight == before).all()


def test_an_argument_in_the_memory_of_a_parameter_takes_the_long_way():
    gc.manual_seed(0)
    layer = nn.Linear(3, 3, bias=False)
    opt = optim.SGD(layer.parameters(), lr=0.1)

    def step(x):
        opt.zero_grad()
        loss = layer(x).sum()
        loss.backward()
        opt.step()
        return loss

    run = warmed(step, gc.ones(3, 3))
    inside = layer.weight.detach()
    weight = layer.weight.detach().clone()
    got = run(inside).item()
    assert got == pytest.approx((weight @ weight.t()).sum().item(), rel=1e-5)


def test_eight_threads_share_one_entry():
    x = gc.arange(1000, dtype=gc.float32)
    f = warmed(lambda a: gc.sin(a) * 2, x)
    want, wrong = (gc.sin(x) * 2).numpy(), []

    def work():
        for _ in range(200):
            if not np.allclose(f(x).numpy(), want, atol=1e-5):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
