"""The two ways of a contrast: what runs in each, with which options, and what is said where a way cannot be gone."""

from __future__ import annotations

import functools
import math
from concurrent.futures import ThreadPoolExecutor

import pytest
from contrast_checks import assert_same_losses, check_data
from where import PRODUCT

import graphc as gc
from graphc import nn, optim
from graphc.errors import ArgumentError, ArgumentTypeError


def net_in_place():
    net = nn.Linear(4, 2)
    net.compile()
    return net


@pytest.mark.parametrize("make", [lambda: gc.compile(nn.Linear(4, 2)), net_in_place], ids=["a module", "in place"])
def test_what_is_compiled_within_a_step_runs_define_by_run(make):
    net = make()
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    double = gc.compile(lambda x: x * 2)

    def step(x):
        optimizer.zero_grad()
        loss = double(net(x)).square().sum()
        loss.backward()
        optimizer.step()
        return loss

    before = gc.build.CompiledFunction.__call__
    found = gc.contrast(step, gc.ones(3, 4), calls=3)
    check_data(found.data)
    assert found.data["summary"]["agree"] and {PRODUCT, "multiply"} <= {
        x["op"] for x in found.data["stages"][0]["nodes"]
    }
    assert double.builds() == [] and gc.build.CompiledFunction.__call__ is before
    run = net._compiled_call or net._run
    assert run.builds() == [] and step(gc.ones(3, 4)) > 0 and len(run.builds()) == 1


def test_a_step_that_the_optimizer_compiles_is_the_optimizers_in_both(monkeypatch):
    monkeypatch.setattr(gc.config, "eager", "compiled")
    traced = []
    monkeypatch.setattr(
        optim.SGD, "_apply_for_now", lambda *given: traced.append(0) or optim.Optimizer._apply_for_now(*given)
    )
    w = gc.ones(3, requires_grad=True)
    optimizer = optim.SGD([w], lr=0.1)

    def step(x):
        optimizer.zero_grad()
        loss = (w * x).sum()
        loss.backward()
        optimizer.step()
        return loss

    assert gc.contrast(step, gc.ones(3), calls=6).data["summary"]["agree"]
    assert 0 < len(traced) < 6 and not optimizer._compiled  # put back, as all else


def test_the_options_of_a_compiled_step_hold():
    step = gc.compile(lambda x: (x.neg().neg() * 1.0).sum(), backend="numpy", optimize=False)
    found = gc.contrast(step, gc.ones(4), calls=2)
    assert found.data["made"]["backend"] == "numpy"
    assert [x["op"] for x in found.data["stages"][-1]["nodes"]].count("negate") == 2
    with pytest.raises(
        ArgumentError, match="<lambda> is compiled for the backend 'numpy', not for 'llvm'\n  need `backend`"
    ):
        gc.contrast(functools.partial(step, gc.ones(4)), backend="llvm")
    assert (
        gc.contrast(gc.compile(lambda x: x.sum()), gc.ones(4), calls=2, backend="numpy").data["made"]["backend"]
        == "numpy"
    )


def test_arguments_that_share_memory_are_refused():
    h = gc.zeros(4)
    with pytest.raises(ArgumentError, match="an argument shares memory with another one or with a variable"):
        gc.contrast(lambda a, b: a[:2].add_(b).sum(), h, h[:2], calls=2)
    assert h.tolist() == [0.0] * 4


def test_numbers_that_only_a_later_build_reads(tmp_path):
    w = gc.ones(3, requires_grad=True)
    optimizer = optim.SGD([w], lr=0.1)

    def step(x):
        optimizer.step()
        optimizer.zero_grad()
        loss = (w * x).sum()
        loss.backward()
        return loss

    found = gc.contrast(step, gc.ones(3), calls=4)
    check_data(found.data)
    assert found.data["summary"]["agree"]
    assert_same_losses(found, tmp_path)


def test_a_step_that_updates_nothing_has_scripts_that_run(tmp_path):
    w = gc.ones(3, requires_grad=True)

    def step(x):
        w.grad = None
        loss = (w * x).sum()
        loss.backward()
        return loss

    found = gc.contrast(step, gc.ones(3), calls=2)
    assert "autograd.grad(" in found.programs["eager"]
    assert_same_losses(found, tmp_path)


def test_a_step_may_have_keywords_that_the_watches_use():
    class Net(nn.Module):
        def forward(self, x, module, run):
            return (x * module * run).sum()

    net, double = Net(), gc.compile(lambda x, run: x * run)
    found = gc.contrast(lambda x: double(net(x, module=x, run=x), run=x).sum(), gc.ones(3), calls=2)
    assert found.data["summary"]["agree"]


def test_values_that_are_left_behind_are_told_apart():
    class Counter:
        def __init__(self, start):
            self.n, self.last = start, math.nan

    one, other = Counter(0), Counter(100)

    def step(x):
        one.n += 1
        other.n += 10
        return x.sum()

    told = gc.contrast(step, gc.ones(3), calls=2).data["summary"]["left_behind"]
    assert sorted(told) == [
        "Counter.n is 120 after these calls eagerly, 110 compiled", "Counter.n is 2 after these calls eagerly, 1 compiled",
    ]  # fmt: skip


def test_a_bound_generator_function_is_refused():
    def yields(x):
        yield x

    with pytest.raises(ArgumentTypeError, match="contrast: yields only makes a generator or a coroutine"):
        gc.contrast(functools.partial(yields), 1)


def test_a_step_that_no_line_of_the_users_calls():
    with ThreadPoolExecutor(1) as pool:  # whose frames are Python's own
        found = pool.submit(gc.contrast, nn.Linear(4, 2), gc.ones(3, 4), calls=2).result()
    assert found.data["lines"] == [] and "which of my lines is slowest?" in str(found) and found.to_html()


def test_the_memory_of_a_numpy_plan_has_the_arrays_that_numpy_makes():
    data = gc.contrast(lambda x: x.sort().values.cumsum(0).sum(), gc.ones(1000), calls=2, backend="numpy").data
    # values and indices that sort gives, then the indices are let go, then there are sums alone; and the result
    assert [x["bytes"] for x in data["memory"]["plan"]] == [12004, 8004, 4004]
