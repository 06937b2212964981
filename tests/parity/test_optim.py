"""Optimizers against PyTorch: 50 steps, same numbers, same state_dict."""

from __future__ import annotations

import copy
import importlib
import inspect

import numpy as np
import pytest

import graphc as gc
import graphc.optim as optim
from graphc.functions.creation import tensor

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

RNG = np.random.default_rng(0)
SHAPES = [(3, 4), (4,), (), (1,)]
STEPS = 50
STARTS = [RNG.normal(size=shape) for shape in SHAPES]
GRADS = [[RNG.normal(size=shape) for shape in SHAPES] for _ in range(STEPS)]

CASES = {
    "sgd": ("SGD", {"lr": 0.1}),
    "sgd-decay": ("SGD", {"lr": 0.1, "weight_decay": 0.1}),
    "sgd-momentum": ("SGD", {"lr": 0.1, "momentum": 0.9}),
    "sgd-dampening": ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}),
    "sgd-nesterov": ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "sgd-maximize": ("SGD", {"lr": 0.01, "momentum": 0.5, "maximize": True}),
    "adam": ("Adam", {}),
    "adam-betas": ("Adam", {"lr": 0.03, "betas": (0.5, 0.7), "eps": 1e-4, "weight_decay": 0.1}),
    "adam-amsgrad": ("Adam", {"lr": 0.03, "amsgrad": True}),
    "adam-maximize": ("Adam", {"lr": 0.03, "maximize": True}),
    "adamw": ("AdamW", {"lr": 0.03}),
    "adamw-amsgrad": ("AdamW", {"lr": 0.03, "weight_decay": 0.3, "amsgrad": True, "betas": (0.3, 0.5)}),
    "adam-decoupled": ("Adam", {"lr": 0.03, "weight_decay": 0.3, "decoupled_weight_decay": True}),
    "rmsprop": ("RMSprop", {}),
    "rmsprop-momentum": ("RMSprop", {"lr": 0.03, "alpha": 0.9, "eps": 1e-4, "momentum": 0.7, "weight_decay": 0.1}),
    "rmsprop-centered": ("RMSprop", {"lr": 0.03, "alpha": 0.8, "centered": True, "eps": 1e-3, "maximize": True}),
    "rmsprop-all": ("RMSprop", {"lr": 0.01, "alpha": 0.8, "centered": True, "eps": 1e-3, "momentum": 0.4}),
    "adadelta": ("Adadelta", {}),
    "adadelta-rho": ("Adadelta", {"lr": 0.5, "rho": 0.6, "eps": 1e-3, "weight_decay": 0.1, "maximize": True}),
    "adagrad": ("Adagrad", {}),
    "adagrad-decay": ("Adagrad", {"lr": 0.3, "lr_decay": 0.1, "weight_decay": 0.1, "eps": 1e-3}),
    "adagrad-start": ("Adagrad", {"lr": 0.1, "initial_accumulator_value": 0.7, "maximize": True}),
    "adamax": ("Adamax", {}),
    "adamax-betas": ("Adamax", {"lr": 0.03, "betas": (0.5, 0.7), "eps": 1e-3, "weight_decay": 0.1, "maximize": True}),
    "nadam": ("NAdam", {}),
    "nadam-decay": ("NAdam", {"lr": 0.03, "betas": (0.5, 0.7), "weight_decay": 0.1, "momentum_decay": 0.3}),
    "nadam-decoupled": ("NAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True}),
    "radam": ("RAdam", {}),
    "radam-short": ("RAdam", {"lr": 0.03, "betas": (0.5, 0.5), "eps": 1e-3, "weight_decay": 0.1}),
    "radam-decoupled": ("RAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True}),
    "asgd": ("ASGD", {}),
    "asgd-averaging": ("ASGD", {"lr": 0.1, "lambd": 0.01, "alpha": 0.6, "t0": 9, "weight_decay": 0.1}),
    "asgd-maximize": ("ASGD", {"lr": 0.01, "t0": 0, "maximize": True}),
    "adafactor": ("Adafactor", {}),
    "adafactor-all": (
        "Adafactor",
        {"lr": 0.3, "beta2_decay": -0.5, "eps": (1e-3, 0.1), "d": 1.5, "weight_decay": 0.1, "maximize": True},
    ),
    "rprop": ("Rprop", {}),
    "rprop-etas": ("Rprop", {"lr": 0.1, "etas": (0.3, 1.7), "step_sizes": (1e-3, 0.4), "maximize": True}),
}


def both(name, options, dtype):
    ours = [tensor(x.astype(dtype), requires_grad=True) for x in STARTS]
    theirs = [torch.tensor(x.astype(dtype), requires_grad=True) for x in STARTS]
    return ours, getattr(optim, name)(ours, **options), theirs, getattr(torch.optim, name)(theirs, **options)


def feed(ours, theirs, grads, dtype):
    for p, q, grad in zip(ours, theirs, grads, strict=True):
        p.grad, q.grad = tensor(grad.astype(dtype)), torch.tensor(grad.astype(dtype))


def same_state(ours, theirs, rtol):
    mine, its = ours.state_dict(), theirs.state_dict()
    assert list(mine) == list(its)
    assert mine["param_groups"] == its["param_groups"]
    assert [list(group) for group in mine["param_groups"]] == [list(group) for group in its["param_groups"]]
    assert list(mine["state"]) == list(its["state"])
    for i in mine["state"]:
        assert list(mine["state"][i]) == list(its["state"][i])
        for key, value in mine["state"][i].items():
            want = its["state"][i][key].numpy()
            assert value.numpy().dtype == want.dtype and value.shape == want.shape
            np.testing.assert_allclose(value.numpy(), want, rtol=rtol, atol=rtol * np.abs(want).max())


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 3e-6)])
@pytest.mark.parametrize("case", CASES)
def test_fifty_steps(case, dtype, tolerance):
    ours, mine, theirs, its = both(*CASES[case], dtype)
    for grads in GRADS:
        feed(ours, theirs, grads, dtype)
        mine.step()
        its.step()
    for p, q in zip(ours, theirs, strict=True):
        want = q.detach().numpy()
        np.testing.assert_allclose(p.detach().numpy(), want, rtol=0, atol=tolerance * max(np.abs(want).max(), 1))
    same_state(mine, its, 10 * tolerance)


@pytest.mark.parametrize("case", CASES)
def test_new_options_repr_and_errors_are_the_same(case):
    _, mine, _, its = both(*CASES[case], "float64")
    assert repr(mine) == repr(its)
    assert mine.defaults == its.defaults
    same_state(mine, its, 0)


@pytest.mark.parametrize("case", [*CASES])
def test_a_state_dict_of_pytorch_goes_on_here(case):
    ours, mine, theirs, its = both(*CASES[case], "float64")
    for grads in GRADS[:5]:
        feed(ours, theirs, grads, "float64")
        its.step()
    saved = its.state_dict()
    state = {i: {k: tensor(v.numpy()) for k, v in held.items()} for i, held in saved["state"].items()}
    mine.load_state_dict({"state": state, "param_groups": saved["param_groups"]})
    for p, q in zip(ours, theirs, strict=True):
        p.data.copy_(tensor(q.detach().numpy()))
    for grads in GRADS[5:10]:
        feed(ours, theirs, grads, "float64")
        mine.step()
        its.step()
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=0, atol=1e-13)
    same_state(mine, its, 1e-12)


@pytest.mark.parametrize("case", ["adamw", "sgd-momentum", "nadam", "adagrad"])
def test_a_state_dict_of_older_pytorch_lacks_options(case):
    _, mine, _, its = both(*CASES[case], "float64")
    for optimizer in (mine, its):
        saved = optimizer.state_dict()
        for group in saved["param_groups"]:
            for key in ("maximize", "foreach", "differentiable", "capturable", "decoupled_weight_decay"):
                group.pop(key, None)
        optimizer.load_state_dict(saved)
    ours, theirs = mine.param_groups[0], its.param_groups[0]
    assert {**ours, "params": 0} == {**theirs, "params": 0}


def test_an_optimizer_of_a_user_adds_options_after_loading():
    def run(module):
        class Signed(module.optim.Optimizer):
            def __init__(self, params, lr=0.1):
                super().__init__(params, {"lr": lr})

            def __setstate__(self, state):
                super().__setstate__(state)
                for group in self.param_groups:
                    group.setdefault("warm", 3)

            @module.no_grad()
            def step(self, closure=None):
                for group in self.param_groups:
                    for p in group["params"]:
                        state = self.state[p]
                        state["step"] = state.get("step", 0) + 1
                        state.setdefault("mean", module.zeros_like(p)).mul_(0.5).add_(p.grad, alpha=0.5)
                        p.add_(state["mean"].sign(), alpha=-group["lr"])

        p = module.tensor([1.0, -2.0], requires_grad=True)
        optimizer = Signed([p])
        p.grad = module.tensor([0.5, -1.0])
        optimizer.step()
        assert "warm" not in optimizer.param_groups[0]
        optimizer.load_state_dict(optimizer.state_dict())
        other = copy.deepcopy(optimizer)
        optimizer.step()
        held = optimizer.state_dict()["state"][0]
        assert type(other) is Signed and other.state_dict()["state"][0]["step"] == 1
        return p.tolist(), held["step"], held["mean"].tolist(), optimizer.param_groups[0]["warm"]

    assert run(gc) == run(torch)


def test_betas_may_be_tensors():
    mine, its = (m.optim.Adam([m.tensor(1.0)], betas=(m.tensor(0.5), m.tensor(0.25))) for m in (gc, torch))
    assert mine.param_groups[0]["betas"] == its.param_groups[0]["betas"] == (0.5, 0.25)


def test_hooks_see_the_same_calls():
    def watch(optimizer, module):
        seen, base = [], importlib.import_module(f"{module.__name__}.optimizer")
        handles = [
            base.register_optimizer_step_pre_hook(lambda o, a, k: seen.append(("every pre", len(a), [*k]))),
            base.register_optimizer_step_post_hook(lambda o, a, k: seen.append("every post")),
            optimizer.register_step_pre_hook(lambda o, a, k: seen.append(("pre", o is optimizer))),
            optimizer.register_step_post_hook(lambda o, a, k: seen.append("post")),
            optimizer.register_state_dict_pre_hook(lambda o: seen.append("saving")),
            optimizer.register_state_dict_post_hook(lambda o, d: {**d, "extra": 1}),
            optimizer.register_state_dict_post_hook(lambda o, d: seen.append([*d]), prepend=True),
            optimizer.register_load_state_dict_pre_hook(lambda o, d: seen.append([*d])),
            optimizer.register_load_state_dict_post_hook(lambda o: seen.append("loaded")),
        ]
        optimizer.step(closure=lambda: seen.append("closure"))
        optimizer.load_state_dict(optimizer.state_dict())
        for handle in handles:
            handle.remove()
        optimizer.step()
        seen.append([*optimizer.state_dict()])
        return seen

    _, mine, _, its = both("SGD", {}, "float64")
    ours = watch(mine, optim)
    assert ours == watch(its, torch.optim) and len(ours) == 10


def test_step_hooks_may_change_the_arguments():
    _, mine, _, its = both("Adam", {}, "float64")
    for optimizer in (mine, its):
        optimizer.register_step_pre_hook(lambda o, a, k: ((o, lambda: 5), {}))
        assert optimizer.step() == 5
        optimizer.register_step_pre_hook(lambda o, a, k: 3)
        with pytest.raises(RuntimeError, match="must return None or a tuple of"):
            optimizer.step()


def test_sparse_adam_refuses_dense_gradients():
    ours, mine, theirs, its = both("SparseAdam", {"lr": 0.1}, "float64")
    assert repr(mine) == repr(its) and mine.defaults == its.defaults
    feed(ours, theirs, GRADS[0], "float64")
    for optimizer in (mine, its):
        with pytest.raises(RuntimeError, match="SparseAdam does not support dense gradients, please consider Adam"):
            optimizer.step()


def signature(fn):
    return [(p.name, p.kind, p.default) for p in inspect.signature(fn).parameters.values()]


@pytest.mark.parametrize("path", ["optim", "optim.lr_scheduler", "optim.swa_utils"])
def test_everything_takes_the_same_arguments(path):
    ours, theirs = (importlib.import_module(f"{root}.{path}") for root in ("graphc", "torch"))
    compared = 0
    for name in theirs.__all__:
        value = getattr(ours, name, None)
        if callable(value):
            compared += 1
            assert signature(value) == signature(getattr(theirs, name)), name
    assert compared >= 7
    for method in ("zero_grad", "add_param_group", "load_state_dict", "register_state_dict_pre_hook"):
        assert signature(getattr(optim.Optimizer, method)) == signature(getattr(torch.optim.Optimizer, method))


MUON = {
    "plain": {},
    "classic": {"lr": 0.1, "nesterov": False, "momentum": 0.5, "adjust_lr_fn": "original", "ns_steps": 3},
    "adamw": {"lr": 0.1, "adjust_lr_fn": "match_rms_adamw", "weight_decay": 0.0, "ns_coefficients": (2.0, -1.5, 0.5)},
}


@pytest.mark.parametrize("case", MUON)
def test_muon_whose_matrices_are_bfloat16(case):
    """Ten steps, each equal within the rounding of bfloat16 to eight bits."""
    starts = [RNG.normal(size=shape).astype("float32") for shape in ((4, 6), (6, 4))]
    ours, theirs = ([module.tensor(x.copy(), requires_grad=True) for x in starts] for module in (gc, torch))
    mine, its = optim.Muon(ours, **MUON[case]), torch.optim.Muon(theirs, **MUON[case])
    assert repr(mine) == repr(its)
    for _ in range(10):
        feed(ours, theirs, [RNG.normal(size=x.shape) for x in starts], "float32")
        mine.step()
        its.step()
        for p, q, start in zip(ours, theirs, starts, strict=True):
            lr = mine.param_groups[0]["lr"]
            np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), atol=0.03 * lr, rtol=0)
            assert np.abs(p.detach().numpy() - start).max() > 0.1 * lr
            q.data.copy_(torch.tensor(p.detach().numpy()))
    same_state(mine, its, 1e-5)


# --- LBFGS ----------------------------------------------------------------------------------------------------------

LBFGS_CASES = {
    "plain": {},
    "small": {"lr": 0.1, "max_iter": 4, "history_size": 3},
    "tolerant": {"lr": 0.5, "tolerance_change": 1e-2, "tolerance_grad": 1e-3},
    "wolfe": {"line_search_fn": "strong_wolfe"},
    "wolfe-long": {"lr": 4.0, "line_search_fn": "strong_wolfe", "max_iter": 7},
    "wolfe-short": {"lr": 1e-3, "line_search_fn": "strong_wolfe", "max_iter": 6, "max_eval": 5, "history_size": 2},
}
DATA, TARGET = RNG.normal(size=(20, 4)), RNG.normal(size=(20, 3))
LAYERS = [RNG.normal(size=(4, 3)), RNG.normal(size=(3,)), np.ones(2)]


class Fit:
    """A model with a curved loss, trained by LBFGS in one of the libraries; nothing asks for its last parameter's gradient."""

    def __init__(self, module, options, dtype):
        self.x, self.y = (module.tensor(a.astype(dtype)) for a in (DATA, TARGET))
        self.params = [module.tensor(a.astype(dtype), requires_grad=True) for a in LAYERS]
        self.optimizer = module.optim.LBFGS(self.params, **options)

    def closure(self):
        self.optimizer.zero_grad()
        w, b, _ = self.params
        loss = (((self.x @ w).tanh() + b - self.y) ** 2).mean() + 0.1 * (w**4).mean()
        loss.backward()
        return loss

    def steps(self, n):
        return [self.optimizer.step(self.closure).item() for _ in range(n)]


def same_nest(mine, its, tolerance):
    assert type(mine).__name__ == type(its).__name__
    if isinstance(its, dict):
        assert list(mine) == list(its)
        for key in its:
            same_nest(mine[key], its[key], tolerance)
    elif isinstance(its, list):
        assert len(mine) == len(its)
        for a, b in zip(mine, its, strict=True):
            same_nest(a, b, tolerance)
    elif isinstance(its, torch.Tensor | float):
        a, b = np.asarray(mine), np.asarray(its)
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
    else:
        assert mine == its


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-8), ("float32", 1e-3)])
@pytest.mark.parametrize("case", LBFGS_CASES)
def test_lbfgs(case, dtype, tolerance):
    mine, its = (Fit(module, LBFGS_CASES[case], dtype) for module in (gc, torch))
    n = 3 if dtype == "float64" else 1
    np.testing.assert_allclose(mine.steps(n), its.steps(n), rtol=tolerance)
    for p, q in zip(mine.params, its.params, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), atol=tolerance)
    if dtype == "float64":
        same_nest(mine.optimizer.state_dict(), its.optimizer.state_dict(), 1e-3)
    assert repr(mine.optimizer) == repr(its.optimizer)


def test_a_state_dict_of_pytorchs_lbfgs_goes_on_here():
    mine, its = (Fit(module, LBFGS_CASES["small"], "float64") for module in (gc, torch))
    its.steps(2)
    saved = its.optimizer.state_dict()
    turned = {
        k: [x if x is None else tensor(x.numpy()) for x in v] if isinstance(v, list) else v
        for k, v in saved["state"][0].items()
    }
    turned = {k: tensor(v.numpy()) if isinstance(v, torch.Tensor) else v for k, v in turned.items()}
    mine.optimizer.load_state_dict({"state": {0: turned}, "param_groups": saved["param_groups"]})
    for p, q in zip(mine.params, its.params, strict=True):
        p.data.copy_(tensor(q.detach().numpy()))
    np.testing.assert_allclose(mine.steps(2), its.steps(2), rtol=1e-9)
    same_nest(mine.optimizer.state_dict(), its.optimizer.state_dict(), 1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda o, t: o.SGD([], lr=0.1),
        lambda o, t: o.SGD(t(1.0), lr=0.1),
        lambda o, t: o.SGD([1], lr=0.1),
        lambda o, t: o.SGD([{"params": {t(1.0)}}], lr=0.1),
        lambda o, t: o.SGD([t(1.0, requires_grad=True) * 1], lr=0.1),
        lambda o, t: o.SGD([t(1.0)], lr=-0.1),
        lambda o, t: o.SGD([t(1.0)], momentum=-0.1),
        lambda o, t: o.SGD([t(1.0)], nesterov=True),
        lambda o, t: o.Adam([t(1.0)], betas=(1.0, 0.9)),
        lambda o, t: o.Adam([t(1.0)], eps=-1),
        lambda o, t: o.Adam([t(1.0)], betas=(0, 0.9)),
        lambda o, t: o.AdamW([t(1.0)], betas=(t(0.5), 0.9)),
        lambda o, t: o.Adam([t(1.0)], lr=t(0.1), foreach=True),
        lambda o, t: o.Adam([t(1.0)], betas=(t(0.1), t(0.2)), foreach=True),
        lambda o, t: o.Adam([t(1.0)], fused=True, foreach=True),
        lambda o, t: o.SGD([t(1.0)], fused=True, differentiable=True),
        lambda o, t: o.Adam([t(1.0)], lr=t([1.0, 2.0])),
        lambda o, t: o.RMSprop([t(1.0)], lr=-1),
        lambda o, t: o.RMSprop([t(1.0)], alpha=-1),
        lambda o, t: o.RMSprop([t(1.0)], momentum=-1),
        lambda o, t: o.Adadelta([t(1.0)], rho=1.5),
        lambda o, t: o.Adadelta([t(1.0)], eps=-1),
        lambda o, t: o.Adagrad([t(1.0)], lr_decay=-1),
        lambda o, t: o.Adagrad([t(1.0)], initial_accumulator_value=-1),
        lambda o, t: o.Adagrad([t(1.0)], fused=True, foreach=True),
        lambda o, t: o.Adamax([t(1.0)], betas=(0.9, 1.0)),
        lambda o, t: o.NAdam([t(1.0)], momentum_decay=-1),
        lambda o, t: o.RAdam([t(1.0)], weight_decay=-1),
        lambda o, t: o.ASGD([t(1.0)], weight_decay=-1),
        lambda o, t: o.Rprop([t(1.0)], etas=(1.5, 1.2)),
        lambda o, t: o.Adafactor([t(1.0)], beta2_decay=1),
        lambda o, t: o.Adafactor([t(1.0)], eps=(-1, 1)),
        lambda o, t: o.Adafactor([t(1.0)], eps=(None, -1)),
        lambda o, t: o.Adafactor([t(1.0)], d=0.5),
        lambda o, t: o.Adafactor([t(1.0)], weight_decay=-1),
        lambda o, t: o.Muon([t(1.0)]),
        lambda o, t: o.Muon([t([[1.0]])], momentum=-1),
        lambda o, t: o.Muon([t([[1.0]])], adjust_lr_fn="x"),
        lambda o, t: o.LBFGS([{"params": [t(1.0)]}, {"params": [t(1.0)]}]),
        lambda o, t: o.LBFGS([t(1.0)], lr=-1),
        lambda o, t: o.LBFGS(
            [t(1.0, requires_grad=True)], line_search_fn="x", tolerance_grad=-1, tolerance_change=-1
        ).step(lambda: t(1.0)),
        lambda o, t: o.SparseAdam([t(1.0)], lr=0),
        lambda o, t: o.SparseAdam([t(1.0)], eps=0),
        lambda o, t: o.SGD([t(1.0)]).add_param_group([t(1.0)]),
        lambda o, t: o.SGD([t(1.0)]).load_state_dict({"state": {}, "param_groups": []}),
    ],
)
def test_error_classes(make):
    with pytest.raises(Exception) as theirs:  # noqa: PT011  whatever PyTorch raises
        make(torch.optim, torch.tensor)
    with pytest.raises(theirs.type):
        make(optim, tensor)
