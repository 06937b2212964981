"""Schedules and averages of models, without PyTorch: closed forms, what they save, what they refuse."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import graphc as gc
import graphc.saving as saving
from graphc import nn
from graphc.core.errors import ArgumentError, ArgumentTypeError, UnsupportedError
from graphc.functions.creation import tensor
from graphc.optim import SGD, Optimizer, lr_scheduler, swa_utils


def parameter(values):
    return tensor(np.asarray(values, np.float64), requires_grad=True)


def rates(make, n=6, lr=1.0):
    optimizer = SGD([parameter([1.0])], lr=lr, momentum=0.9)
    scheduler = make(optimizer)
    seen = []
    for _ in range(n):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


def test_schedules_in_closed_form():
    s = lr_scheduler
    np.testing.assert_allclose(rates(lambda o: s.StepLR(o, 2, 0.5)), [1, 1, 0.5, 0.5, 0.25, 0.25])
    np.testing.assert_allclose(rates(lambda o: s.MultiStepLR(o, [1, 3, 3], 0.5)), [1, 0.5, 0.5, 0.125, 0.125, 0.125])
    np.testing.assert_allclose(rates(lambda o: s.ExponentialLR(o, 0.5), 3), [1, 0.5, 0.25])
    np.testing.assert_allclose(rates(lambda o: s.LambdaLR(o, lambda e: 1 / (e + 1)), 3), [1, 1 / 2, 1 / 3])
    np.testing.assert_allclose(rates(lambda o: s.ConstantLR(o, 0.5, 2), 4), [0.5, 0.5, 1, 1])
    np.testing.assert_allclose(rates(lambda o: s.LinearLR(o, 0.5, 1.0, 2), 4), [0.5, 0.75, 1, 1])
    np.testing.assert_allclose(rates(lambda o: s.PolynomialLR(o, 4), 6), [1, 0.75, 0.5, 0.25, 0, 0], atol=1e-15)
    np.testing.assert_allclose(
        rates(lambda o: s.CosineAnnealingLR(o, 4), 5), (1 + np.cos(np.pi * np.arange(5) / 4)) / 2, atol=1e-15
    )
    np.testing.assert_allclose(rates(lambda o: s.CosineAnnealingWarmRestarts(o, 2), 5), [1, 0.5, 1, 0.5, 1], atol=1e-15)


def test_plateau_reduces_after_patience():
    optimizer = SGD([parameter([1.0])], lr=1.0)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, patience=1, factor=0.5)
    seen = []
    for loss in [3.0, 2.0, tensor(2.0), 2.0, 2.0, 2.0, 1.0]:
        scheduler.step(loss)
        seen.append(scheduler.get_last_lr()[0])
    assert seen == [1, 1, 1, 0.5, 0.5, 0.25, 0.25]


def test_plateau_with_limits_of_groups_that_are_not_there():
    optimizer = SGD([parameter([1.0])], lr=1.0)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, min_lr=[0.1])
    optimizer.add_param_group({"params": [parameter([1.0])]})
    scheduler.step(1.0)
    with pytest.raises(
        UnsupportedError, match=r"groups in the `optimizer` \(2\) differs .* \(1\)\n  hint: give `min_lrs`"
    ):
        scheduler.step(1.0)


def test_a_cycle_with_a_function_saves_what_the_function_holds():
    class Half:
        def __init__(self, share):
            self.share = share

        def __call__(self, x):
            return self.share

    optimizer = SGD([parameter([1.0])], lr=1.0, momentum=0.9)
    first = lr_scheduler.CyclicLR(optimizer, 0.0, 1.0, 2, scale_fn=Half(0.5))
    second = lr_scheduler.CyclicLR(optimizer, 0.0, 1.0, 2, scale_fn=Half(1.0))
    assert first.state_dict()["_scale_fn_custom"] == {"share": 0.5}
    second.load_state_dict(first.state_dict())
    optimizer.step(), second.step()
    assert optimizer.param_groups[0]["lr"] == 0.25


def test_an_averaged_model_takes_one_function():
    with pytest.raises(UnsupportedError, match="Only one of avg_fn and multi_avg_fn"):
        swa_utils.AveragedModel(nn.Linear(1, 1), avg_fn=abs, multi_avg_fn=abs)


def test_the_average_of_a_model_trained_by_a_compiled_step():
    net = nn.Linear(2, 1, dtype=gc.float64)
    optimizer, averaged, seen = SGD(net.parameters(), lr=0.1), swa_utils.AveragedModel(net), []
    step = gc.compile(lambda x: (optimizer.zero_grad(), net(x).sum().backward(), optimizer.step())[0])
    for _ in range(4):
        step(tensor(np.ones((3, 2))))
        averaged.update_parameters(net)
        seen.append(net.weight.detach().numpy().copy())
    np.testing.assert_allclose(averaged.module.weight.detach().numpy(), np.mean(seen, axis=0), rtol=1e-14)
    assert averaged.n_averaged.item() == 4


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"multi_avg_fn": swa_utils.get_ema_multi_avg_fn(0.9)},
        {"avg_fn": lambda mean, newest, n: mean / n + newest},  # infinite for the first, which is copied
        {"use_buffers": True},
    ],
)
def test_an_average_within_a_compiled_step(options):
    def train(prepare):
        gc.manual_seed(0)
        net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
        optimizer, averaged = SGD(net.parameters(), lr=0.1), swa_utils.AveragedModel(net, **options)

        def step(x):
            optimizer.zero_grad()
            net(x).square().sum().backward()
            optimizer.step()
            averaged.update_parameters(net)

        step, states = prepare(step), []
        for i in range(3):
            step(gc.tensor(np.random.default_rng(i).normal(size=(5, 2)).astype(np.float32)))
            states.append({k: v.numpy().copy() for k, v in averaged.state_dict().items()})
        return states

    for eager, compiled in zip(train(lambda step: step), train(gc.compile), strict=True):
        for key, value in eager.items():
            np.testing.assert_allclose(compiled[key], value, rtol=1e-5, atol=1e-6, err_msg=key)


def _step_with_schedule(make):
    net = nn.Linear(2, 1)
    optimizer = SGD(net.parameters(), lr=1.0)
    schedule = make(optimizer)

    def step(x):
        optimizer.zero_grad()
        net(x).sum().backward()
        optimizer.step()
        schedule.step()

    return step


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda o: lr_scheduler.StepLR(o, 1), "StepLR"),
        (lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 5), "CosineAnnealingWarmRestarts"),
        (
            lambda o: lr_scheduler.SequentialLR(
                o, [lr_scheduler.ConstantLR(o), lr_scheduler.ExponentialLR(o, 0.9)], milestones=[3]
            ),
            "ConstantLR",
        ),
        (lambda o: lr_scheduler.ChainedScheduler([lr_scheduler.ExponentialLR(o, 0.9)]), "ExponentialLR"),
    ],
)
def test_a_schedule_that_a_compiled_step_would_not_move_warns(make, name):
    step = _step_with_schedule(make)
    with pytest.warns(UserWarning, match=rf"{name}.step\(\) runs while the function is traced, and not when") as told:
        gc.compile(step)(gc.ones(3, 2))
    assert [x.filename for x in told] == [__file__]
    assert "the rates are read anew at each call" in str(told[0].message)


def test_a_schedule_beside_a_default_graph_does_not_warn():
    net = nn.Linear(2, 1)
    optimizer = SGD(net.parameters(), lr=1.0)
    schedule = lr_scheduler.ExponentialLR(optimizer, 0.5)
    with gc.Graph().as_default() as graph, gc.Session(graph) as session:
        train = optimizer.minimize(net(gc.ones(3, 2)).sum())
        for _ in range(2):
            session.run(train)
            schedule.step()
    assert schedule.get_last_lr() == [0.25]


def test_a_schedule_resumes_from_its_state(tmp_path):
    optimizer = SGD([parameter([1.0])], lr=1.0)
    first = lr_scheduler.MultiStepLR(optimizer, [2, 4], 0.5)
    for _ in range(3):
        optimizer.step()
        first.step()
    saving.save(first.state_dict(), tmp_path / "s")
    second = lr_scheduler.MultiStepLR(SGD([parameter([1.0])], lr=1.0), [1], 0.9)
    second.load_state_dict(saving.load(tmp_path / "s"))
    assert second.milestones == first.milestones and second.last_epoch == 3
    assert second.get_last_lr() == [0.5]


def test_a_schedule_stepped_before_its_optimizer_warns():
    optimizer = SGD([parameter([1.0])], lr=1.0)
    scheduler = lr_scheduler.StepLR(optimizer, 2)
    with pytest.warns(UserWarning, match=r"`lr_scheduler.step\(\)` before `optimizer.step\(\)`"):
        scheduler.step()
    optimizer = SGD([parameter([1.0])], lr=1.0)
    scheduler = lr_scheduler.StepLR(optimizer, 2)
    optimizer.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scheduler.step()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda o: lr_scheduler.StepLR(3, 1), ArgumentTypeError, "int is not an Optimizer"),
        (lambda o: lr_scheduler.StepLR(o, 1, last_epoch=2), KeyError, "initial_lr"),
        (lambda o: lr_scheduler.LambdaLR(o, [abs, abs]), ArgumentError, "Expected 1 lr_lambdas, but got 2"),
        (lambda o: lr_scheduler.LinearLR(o, 0), ArgumentError, "Starting multiplicative factor"),
        (lambda o: lr_scheduler.LinearLR(o, 0.5, 2), ArgumentError, "Ending multiplicative factor"),
        (lambda o: lr_scheduler.ConstantLR(o, 2), ArgumentError, "Constant multiplicative factor"),
        (lambda o: lr_scheduler.OneCycleLR(o, 1.0), ArgumentError, "You must define either total_steps"),
        (lambda o: lr_scheduler.OneCycleLR(o, 1.0, total_steps=-1), ArgumentError, "positive integer total_steps"),
        (lambda o: lr_scheduler.OneCycleLR(o, 1.0, epochs=0, steps_per_epoch=1), ArgumentError, "integer epochs"),
        (lambda o: lr_scheduler.OneCycleLR(o, 1.0, 9, pct_start=2.0), ArgumentError, "between 0 and 1 pct_start"),
        (lambda o: lr_scheduler.OneCycleLR(o, 1.0, 9, anneal_strategy="x"), ArgumentError, "anneal_strategy must be"),
        (lambda o: lr_scheduler.OneCycleLR(o, [1.0, 2.0], 9), ArgumentError, "max_lr must have the same length"),
        (lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 0), ArgumentError, "positive integer T_0"),
        (lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 1, 0), ArgumentError, "integer T_mult >= 1"),
        (lambda o: lr_scheduler.ReduceLROnPlateau(o, factor=1.0), ArgumentError, "Factor should be < 1.0"),
        (lambda o: lr_scheduler.ReduceLROnPlateau(o, mode="x"), ArgumentError, "mode x is unknown"),
        (lambda o: lr_scheduler.ReduceLROnPlateau(o, threshold_mode="x"), ArgumentError, "threshold mode x is unknown"),
        (lambda o: lr_scheduler.CyclicLR(o, 0.1, 0.2, mode="x"), ArgumentError, "mode is invalid and scale_fn is None"),
        (lambda o: lr_scheduler.CyclicLR(o, [0.1, 0.2], 0.2), ArgumentError, "base_lr must have the same length"),
        (lambda o: swa_utils.SWALR(o, 0.1, anneal_strategy="x"), ArgumentError, "anneal_strategy must be one of"),
        (lambda o: swa_utils.SWALR(o, 0.1, -1), ArgumentError, "anneal_epochs must be equal or greater than 0, got -1"),
        (lambda o: swa_utils.get_ema_avg_fn(2), ArgumentError, r"Invalid decay value 2 provided. .* in \[0,1\] range"),
        (lambda o: lr_scheduler.SequentialLR(o, [], []), ArgumentError, "expects at least one scheduler"),
        (lambda o: lr_scheduler.ChainedScheduler([]), ArgumentError, "expects at least one scheduler"),
        (lambda o: lr_scheduler.SequentialLR(o, [lr_scheduler.StepLR(o, 1)], [1]), ArgumentError, "one more than"),
        (
            lambda o: lr_scheduler.ChainedScheduler([lr_scheduler.ReduceLROnPlateau(o)]),
            ArgumentError,
            "does not support `ReduceLROnPlateau`",
        ),
    ],
)
def test_errors_of_schedules(make, error, message):
    optimizer = SGD([parameter([1.0])], lr=1.0, momentum=0.9)
    with pytest.raises(error, match=message):
        make(optimizer)


def test_one_cycle_refuses_a_step_too_many_and_an_optimizer_without_momentum():
    class Bare(Optimizer):
        pass

    with pytest.raises(ArgumentError, match="must support momentum or beta1"):
        lr_scheduler.OneCycleLR(Bare([parameter([1.0])], {"lr": 0.1}), 1.0, 5)
    optimizer = SGD([parameter([1.0])], lr=1.0, momentum=0.9)
    scheduler = lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=3)
    optimizer.step()
    for _ in range(3):
        scheduler.step()
    with pytest.raises(ArgumentError, match="Tried to step 4 times"):
        scheduler.step()
