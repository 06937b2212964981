"""Schedules against PyTorch: the same rates and momenta step by step, the same state_dict."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

import graphc as gc
import graphc.optim as optim
from graphc.functions.creation import tensor

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity


# --- schedules ------------------------------------------------------------------------------------------------------

SCHEDULES = {
    "step": lambda s, o: s.StepLR(o, 3, 0.3),
    "multistep": lambda s, o: s.MultiStepLR(o, [2, 5, 5, 9], 0.5),
    "exponential": lambda s, o: s.ExponentialLR(o, 0.9),
    "lambda": lambda s, o: s.LambdaLR(o, [lambda e: 0.9**e, lambda e: 1 / (1 + e)]),
    "multiplicative": lambda s, o: s.MultiplicativeLR(o, lambda e: 0.9 + 0.01 * e),
    "constant": lambda s, o: s.ConstantLR(o, 0.25, 4),
    "linear": lambda s, o: s.LinearLR(o, 0.2, 0.9, 7),
    "polynomial": lambda s, o: s.PolynomialLR(o, 8, 2.0),
    "cosine": lambda s, o: s.CosineAnnealingLR(o, 5, 0.01),
    "restarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 2, 2, 0.01),
    "restarts-equal": lambda s, o: s.CosineAnnealingWarmRestarts(o, 3),
    "one-cycle": lambda s, o: s.OneCycleLR(o, [0.5, 1.0], total_steps=20),
    "one-cycle-linear": lambda s, o: s.OneCycleLR(
        o, 0.5, epochs=5, steps_per_epoch=4, anneal_strategy="linear", three_phase=True, pct_start=0.4
    ),
    "one-cycle-plain": lambda s, o: s.OneCycleLR(o, 0.5, 20, cycle_momentum=False, div_factor=5.0),
    "sequential": lambda s, o: s.SequentialLR(
        o, [s.ConstantLR(o, 0.1, 2), s.ExponentialLR(o, 0.9), s.CosineAnnealingLR(o, 5)], [3, 8]
    ),
    "warmup-cosine": lambda s, o: s.SequentialLR(o, [s.LinearLR(o, 0.1, 1.0, 4), s.CosineAnnealingLR(o, 10)], [4]),
    "chained": lambda s, o: s.ChainedScheduler([s.LinearLR(o, 0.1, 1.0, 4), s.StepLR(o, 3, 0.5)]),
    "chained-named": lambda s, o: s.ChainedScheduler(schedulers=[s.ExponentialLR(o, gamma=0.9)], optimizer=o),
    "sequential-of-chained": lambda s, o: s.SequentialLR(
        optimizer=o,
        schedulers=[
            s.ChainedScheduler([s.ConstantLR(o, factor=0.1, total_iters=2), s.ExponentialLR(o, 0.9)]),
            s.StepLR(o, step_size=2, gamma=0.5),
        ],
        milestones=[4],
    ),
    "sequential-of-sequential": lambda s, o: s.SequentialLR(
        o,
        [
            s.SequentialLR(
                o, schedulers=[s.StepLR(o, 2), s.LinearLR(o, start_factor=0.5, total_iters=3)], milestones=[3]
            ),
            s.MultiStepLR(o, milestones=[2, 4], gamma=0.5),
        ],
        [7],
    ),
    "sequential-at-once": lambda s, o: s.SequentialLR(o, [s.StepLR(o, 1, 0.5), s.ExponentialLR(o, 0.9)], [0]),
    "cyclic": lambda s, o: s.CyclicLR(o, base_lr=0.01, max_lr=0.3, step_size_up=3),
    "cyclic-groups": lambda s, o: s.CyclicLR(
        o, [0.01, 0.2], [0.3, 0.4], 2, 5, mode="triangular2", base_momentum=[0.1, 0.2]
    ),
    "cyclic-range": lambda s, o: s.CyclicLR(o, 0.01, 0.3, 3, mode="exp_range", gamma=0.9, max_momentum=0.7),
    "cyclic-own": lambda s, o: s.CyclicLR(o, 0.01, 0.3, 3, scale_fn=lambda x: 1 / (1 + x), scale_mode="iterations"),
    "cyclic-plain": lambda s, o: s.CyclicLR(o, 0.01, 0.3, 4, cycle_momentum=False, mode="triangular2"),
}


def optimizers(name="SGD", **options):
    ours = [{"params": [tensor(1.0, requires_grad=True)]}, {"params": [tensor(1.0, requires_grad=True)], "lr": 0.7}]
    theirs = [
        {"params": [torch.tensor(1.0, requires_grad=True)], **{k: g[k] for k in g if k != "params"}} for g in ours
    ]
    return getattr(optim, name)(ours, lr=0.3, **options), getattr(torch.optim, name)(theirs, lr=0.3, **options)


def numbers(optimizer, key="lr"):
    return [group[key] for group in optimizer.param_groups]


def same_saved(mine, its):
    """State dicts of schedules: the same keys in the same order, equal numbers."""
    assert type(mine) is type(its)
    if isinstance(its, dict):
        assert list(mine) == list(its)
        for key in its:
            same_saved(mine[key], its[key])
    elif isinstance(its, list):
        assert len(mine) == len(its)
        for a, b in zip(mine, its, strict=True):
            same_saved(a, b)
    elif isinstance(its, float):
        np.testing.assert_allclose(mine, its, rtol=1e-14, atol=1e-16)
    else:
        assert mine == its


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.filterwarnings("ignore")
def test_schedules(name):
    mine, its = optimizers(momentum=0.8)
    ours = SCHEDULES[name](optim.lr_scheduler, mine)
    theirs = SCHEDULES[name](torch.optim.lr_scheduler, its)
    for _ in range(20):
        np.testing.assert_allclose(numbers(mine), numbers(its), rtol=1e-14, atol=1e-16)
        np.testing.assert_allclose(numbers(mine, "momentum"), numbers(its, "momentum"), rtol=1e-14)
        np.testing.assert_allclose(ours.get_last_lr(), theirs.get_last_lr(), rtol=1e-14, atol=1e-16)
        same_saved(ours.state_dict(), theirs.state_dict())
        mine.step()
        its.step()
        ours.step()
        theirs.step()


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.filterwarnings("ignore")
def test_a_schedule_of_pytorch_goes_on_here(name):
    mine, its = optimizers(momentum=0.8)
    ours = SCHEDULES[name](optim.lr_scheduler, mine)
    theirs = SCHEDULES[name](torch.optim.lr_scheduler, its)
    for _ in range(7):
        its.step()
        theirs.step()
    ours.load_state_dict(theirs.state_dict())
    for group, other in zip(mine.param_groups, its.param_groups, strict=True):
        group.update({key: value for key, value in other.items() if key != "params"})
    for _ in range(7):
        for x in (mine, its, ours, theirs):
            x.step()
        np.testing.assert_allclose(numbers(mine), numbers(its), rtol=1e-14, atol=1e-16)
        np.testing.assert_allclose(numbers(mine, "momentum"), numbers(its, "momentum"), rtol=1e-14)


@pytest.mark.parametrize(
    "name", ["step", "multistep", "exponential", "constant", "linear", "polynomial", "cosine", "restarts", "lambda"]
)
def test_schedules_moved_to_an_epoch(name):
    mine, its = optimizers()
    ours = SCHEDULES[name](optim.lr_scheduler, mine)
    theirs = SCHEDULES[name](torch.optim.lr_scheduler, its)
    mine.step()
    its.step()
    for epoch in (4, 2, 9):
        ours.step(epoch)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs.step(epoch)
        np.testing.assert_allclose(numbers(mine), numbers(its), rtol=1e-14, atol=1e-16)


def test_one_cycle_turns_adams_first_beta():
    mine, its = optimizers("Adam")
    ours = optim.lr_scheduler.OneCycleLR(mine, 0.5, 10)
    theirs = torch.optim.lr_scheduler.OneCycleLR(its, 0.5, 10)
    for _ in range(9):
        np.testing.assert_allclose(numbers(mine, "betas"), numbers(its, "betas"), rtol=1e-14)
        for x in (mine, its, ours, theirs):
            x.step()


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
def test_plateau(mode, threshold_mode):
    options = {"mode": mode, "threshold_mode": threshold_mode, "patience": 1, "cooldown": 2, "min_lr": [0.01, 0.1]}
    mine, its = optimizers()
    ours = optim.lr_scheduler.ReduceLROnPlateau(mine, **options)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(its, **options)
    for i in range(25):
        loss = round(math.cos(i / 3), 2)
        ours.step(loss)
        theirs.step(loss)
        np.testing.assert_allclose(numbers(mine), numbers(its), rtol=1e-14)
        same_saved(ours.state_dict(), theirs.state_dict())
        assert (ours.num_bad_epochs, ours.cooldown_counter, ours.best) == (
            theirs.num_bad_epochs,
            theirs.cooldown_counter,
            theirs.best,
        )


def test_fractional_restarts():
    mine, its = optimizers()
    ours = optim.lr_scheduler.CosineAnnealingWarmRestarts(mine, 2, 3)
    theirs = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(its, 2, 3)
    for i in range(60):
        ours.step(i / 3)
        theirs.step(i / 3)
        np.testing.assert_allclose(numbers(mine), numbers(its), rtol=1e-14)


RESUMED = {
    "multiplicative": lambda s, o: s.MultiplicativeLR(o, lambda e: 0.9, last_epoch=3),
    "lambda": lambda s, o: s.LambdaLR(o, lr_lambda=lambda e: 0.9**e, last_epoch=3),
    "step": lambda s, o: s.StepLR(o, step_size=2, gamma=0.5, last_epoch=3),
    "multistep": lambda s, o: s.MultiStepLR(o, milestones=[4, 6], gamma=0.5, last_epoch=3),
    "exponential": lambda s, o: s.ExponentialLR(o, gamma=0.9, last_epoch=3),
    "constant": lambda s, o: s.ConstantLR(o, factor=0.5, total_iters=4, last_epoch=3),
    "linear": lambda s, o: s.LinearLR(o, start_factor=0.5, total_iters=6, last_epoch=3),
    "polynomial": lambda s, o: s.PolynomialLR(o, total_iters=7, power=0.5, last_epoch=3),
    "cosine": lambda s, o: s.CosineAnnealingLR(o, T_max=5, eta_min=0.01, last_epoch=3),
    "restarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, T_0=5, T_mult=2, eta_min=0.01, last_epoch=3),
    "cyclic": lambda s, o: s.CyclicLR(o, 0.1, 0.3, 3, cycle_momentum=False, last_epoch=3),
    "one-cycle": lambda s, o: s.OneCycleLR(o, 0.5, 20, cycle_momentum=False, last_epoch=3),
}


@pytest.mark.parametrize("name", RESUMED)
@pytest.mark.filterwarnings("ignore")
def test_resumed_at_an_epoch(name):
    mine, its = optimizers(momentum=0.8)
    for group in (*mine.param_groups, *its.param_groups):
        group.update(initial_lr=0.4, max_lr=0.5, min_lr=0.01)
    ours, theirs = RESUMED[name](optim.lr_scheduler, mine), RESUMED[name](torch.optim.lr_scheduler, its)
    for _ in range(8):
        np.testing.assert_allclose(numbers(mine), numbers(its), rtol=1e-14, atol=1e-16)
        same_saved(ours.state_dict(), theirs.state_dict())
        for x in (mine, its, ours, theirs):
            x.step()


@pytest.mark.filterwarnings("ignore")
def test_a_plateau_learns_of_new_groups():
    mine, its = optimizers()
    made = [
        m.lr_scheduler.ReduceLROnPlateau(o, patience=0, min_lr=0.01) for m, o in ((optim, mine), (torch.optim, its))
    ]
    for optimizer, module in ((mine, gc), (its, torch)):
        optimizer.add_param_group({"params": [module.tensor(1.0, requires_grad=True)]})
    for loss in (1.0, 1.0, 1.0):
        for scheduler in made:
            scheduler.step(loss)
        np.testing.assert_allclose(numbers(mine), numbers(its), rtol=1e-14)
    for o, m in ((mine, optim), (its, torch.optim)):
        scheduler = m.lr_scheduler.ReduceLROnPlateau(o, patience=0, min_lr=[0.0] * 3)
        o.add_param_group({"params": [(gc if o is mine else torch).tensor(1.0, requires_grad=True)]})
        scheduler.step(1.0)
        with pytest.raises(RuntimeError, match="The number of param groups in the `optimizer`"):
            scheduler.step(1.0)


def warmup(module):
    """A schedule in the way users write them: on two private names of the base class."""

    class Warmup(module.optim.lr_scheduler.LRScheduler):
        def get_lr(self):
            if not self._get_lr_called_within_step:
                warnings.warn("use get_last_lr()", stacklevel=1)
            return [
                base * min(1, (self.last_epoch + 1) / 5) * (0.5 if self._is_initial else 1) for base in self.base_lrs
            ]

        def _get_closed_form_lr(self):
            return [base / (1 + self.last_epoch) for base in self.base_lrs]

    return Warmup


def test_schedules_of_users():
    mine, its = optimizers()
    ours, theirs = warmup(gc)(mine), warmup(torch)(its)
    for _ in range(6):
        assert numbers(mine) == numbers(its)
        for x in (mine, its, ours, theirs):
            x.step()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours.step(9), theirs.step(9)
    assert numbers(mine) == numbers(its)
    for scheduler in (ours, theirs):
        with pytest.warns(UserWarning, match="use get_last_lr"):
            scheduler.get_lr()


@pytest.mark.parametrize(
    "make",
    [
        lambda o, t: o.lr_scheduler.StepLR(3, 1),
        lambda o, t: o.lr_scheduler.StepLR(o.SGD([t(1.0)]), 1, last_epoch=3),
        lambda o, t: o.lr_scheduler.OneCycleLR(o.SGD([t(1.0)]), 1.0),
        lambda o, t: o.lr_scheduler.LinearLR(o.SGD([t(1.0)]), 0.0),
        lambda o, t: o.lr_scheduler.LambdaLR(o.SGD([t(1.0)]), [abs, abs]),
        lambda o, t: o.lr_scheduler.CyclicLR(o.SGD([t(1.0)], momentum=0.1), 0.1, 0.2, mode="x"),
        lambda o, t: o.lr_scheduler.CyclicLR(o.Adagrad([t(1.0)]), 0.1, 0.2),
        lambda o, t: o.lr_scheduler.CyclicLR(o.SGD([t(1.0)], momentum=0.1), [0.1, 0.1], 0.2),
        lambda o, t: o.lr_scheduler.CyclicLR(3, 0.1, 0.2),
    ],
)
def test_error_classes(make):
    with pytest.raises(Exception) as theirs:  # noqa: PT011  whatever PyTorch raises
        make(torch.optim, torch.tensor)
    with pytest.raises(theirs.type):
        make(optim, tensor)


# --- averages of models -----------------------------------------------------------------------------------------------


def model(module):
    built = module.nn.Sequential(
        module.nn.Linear(3, 4), module.nn.BatchNorm1d(4), module.nn.ReLU(), module.nn.Linear(4, 2)
    )
    rng = np.random.default_rng(1)
    for p in built.parameters():
        p.data.copy_(module.tensor(rng.normal(size=tuple(p.shape)).astype("float32")))
    return built


def batches(module):
    rng = np.random.default_rng(2)
    return [module.tensor(rng.normal(size=(6, 3)).astype("float32")) for _ in range(5)]


AVERAGES = {
    "swa": lambda u: {},
    "ema": lambda u: {"avg_fn": u.get_ema_avg_fn(0.7)},
    "ema-lists": lambda u: {"multi_avg_fn": u.get_ema_multi_avg_fn(decay=0.7)},
    "swa-lists": lambda u: {"multi_avg_fn": u.get_swa_multi_avg_fn()},
    "swa-function": lambda u: {"avg_fn": u.get_swa_avg_fn()},
    "ema-buffers": lambda u: {"multi_avg_fn": u.get_ema_multi_avg_fn(0.6), "use_buffers": True},
    "own": lambda u: {"avg_fn": lambda average, newest, n: average + 0.5 * n * (newest - average), "device": "cpu"},
}


@pytest.mark.parametrize("name", AVERAGES)
def test_averaged_models(name):
    def run(module):
        utils = module.optim.swa_utils
        net, xs = model(module), batches(module)
        optimizer = module.optim.SGD(net.parameters(), lr=0.1)
        averaged = utils.AveragedModel(net, **AVERAGES[name](utils))
        schedule = utils.SWALR(optimizer, swa_lr=0.05, anneal_epochs=3)
        for x in xs:
            optimizer.zero_grad()
            (net(x) ** 2).mean().backward()
            optimizer.step()
            averaged.update_parameters(net)
            schedule.step()
        before = {k: v.numpy().copy() for k, v in averaged.state_dict().items()}
        utils.update_bn([(x, None) for x in xs], averaged)
        assert averaged.training and averaged.module[1].momentum == 0.1
        utils.update_bn(xs, module.nn.Linear(1, 1), device="cpu")
        averaged.eval()
        return before, {k: v.numpy() for k, v in averaged.state_dict().items()}, averaged(xs[0]).detach().numpy()

    ours, theirs = run(gc), run(torch)
    for mine, its in zip(ours[:2], theirs[:2], strict=True):
        assert list(mine) == list(its)
        for key in its:
            assert mine[key].dtype == its[key].dtype
            np.testing.assert_allclose(mine[key], its[key], rtol=2e-5, atol=1e-6, err_msg=key)
    np.testing.assert_allclose(ours[2], theirs[2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "options", [{}, {"anneal_epochs": 0}, {"anneal_epochs": 4, "anneal_strategy": "linear"}, {"swa_lr": [0.1, 0.2]}]
)
def test_swalr(options):
    mine, its = optimizers(momentum=0.8)
    made = [m.swa_utils.SWALR(o, **{"swa_lr": 0.05, **options}) for m, o in ((optim, mine), (torch.optim, its))]
    for _ in range(14):
        np.testing.assert_allclose(numbers(mine), numbers(its), rtol=1e-12)
        same_saved(*(scheduler.state_dict() for scheduler in made))
        for x in (mine, its, *made):
            x.step()


@pytest.mark.parametrize(
    "make",
    [
        lambda m, o: m.get_ema_avg_fn(1.5),
        lambda m, o: m.get_ema_multi_avg_fn(-0.1),
        lambda m, o: m.AveragedModel(o.nn.Linear(1, 1), avg_fn=abs, multi_avg_fn=abs),
        lambda m, o: m.SWALR(o.optim.SGD([o.tensor(1.0)]), 0.1, anneal_strategy="x"),
        lambda m, o: m.SWALR(o.optim.SGD([o.tensor(1.0)]), 0.1, anneal_epochs=-1),
        lambda m, o: m.SWALR(o.optim.SGD([o.tensor(1.0)]), [0.1, 0.2]),
    ],
)
def test_error_classes_of_averages(make):
    with pytest.raises(Exception) as theirs:  # noqa: PT011  whatever PyTorch raises
        make(torch.optim.swa_utils, torch)
    with pytest.raises(theirs.type):
        make(optim.swa_utils, gc)
