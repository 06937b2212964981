"""Optimizers and schedules: the update, state, groups, saving, and what they tell a recording context."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import numpy as np
import pytest

import graphc.saving as saving
from graphc.core.context import EPOCH, recording, set_grad
from graphc.core.errors import ArgumentError, ArgumentTypeError, UnsupportedError
from graphc.functions.creation import tensor
from graphc.optim import (
    ASGD,
    SGD,
    Adadelta,
    Adafactor,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Muon,
    NAdam,
    Optimizer,
    RAdam,
    RMSprop,
    Rprop,
    SparseAdam,
)
from graphc.optim.groups import ParamGroup, flag, is_on, live


def parameter(values, dtype=np.float64):
    return tensor(np.asarray(values, dtype), requires_grad=True)


def run(optimizer, p, grads):
    for grad in grads:
        p.grad = tensor(np.asarray(grad, p.numpy(force=True).dtype))
        optimizer.step()
    return p.detach().numpy().copy()


GRADS = np.random.default_rng(0).normal(size=(6, 3))
START = np.array([1.0, -2.0, 0.5])


# --- numbers, against NumPy written out -----------------------------------------------------------------------------


def test_plain_sgd_subtracts_lr_times_grad():
    p = parameter(START)
    got = run(SGD([p], lr=0.1), p, GRADS)
    np.testing.assert_allclose(got, START - 0.1 * GRADS.sum(0), rtol=1e-14)


@pytest.mark.parametrize("dampening", [0.0, 0.3])
def test_first_momentum_step_takes_the_gradient_itself(dampening):
    p = parameter(START)
    got = run(SGD([p], lr=0.1, momentum=0.9, dampening=dampening), p, GRADS)
    w, buffer = START.copy(), None
    for grad in GRADS:
        buffer = grad if buffer is None else 0.9 * buffer + (1 - dampening) * grad
        w = w - 0.1 * buffer
    np.testing.assert_allclose(got, w, rtol=1e-14)


def test_dampening_turned_on_later_knows_the_buffer_has_started():
    p = parameter(START)
    optimizer = SGD([p], lr=0.1, momentum=0.9)
    run(optimizer, p, GRADS[:2])
    optimizer.param_groups[0]["dampening"] = 0.5
    got = run(optimizer, p, GRADS[2:3])
    buffer = 0.9 * (0.9 * GRADS[0] + GRADS[1]) + 0.5 * GRADS[2]
    before = START - 0.1 * GRADS[0] - 0.1 * (0.9 * GRADS[0] + GRADS[1])
    np.testing.assert_allclose(got, before - 0.1 * buffer, rtol=1e-14)


@pytest.mark.parametrize("maximize", [False, True])
def test_adam_follows_the_paper(maximize):
    p = parameter(START)
    got = run(Adam([p], lr=0.01, maximize=maximize), p, GRADS)
    w, m, v = START.copy(), 0.0, 0.0
    for t, raw in enumerate(GRADS, 1):
        grad = -raw if maximize else raw
        m, v = 0.9 * m + 0.1 * grad, 0.999 * v + 0.001 * grad**2
        w = w - 0.01 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    np.testing.assert_allclose(got, w, rtol=1e-10)


def test_adamw_shrinks_the_parameter_apart_from_the_step():
    p = parameter(START)
    got = run(AdamW([p], lr=0.1, weight_decay=0.5), p, np.zeros((2, 3)))
    np.testing.assert_allclose(got, START * (1 - 0.1 * 0.5) ** 2, rtol=1e-14)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bit_parameters_are_updated_in_float32_and_rounded_once(dtype):
    from ml_dtypes import bfloat16

    np_dtype = {"float16": np.float16, "bfloat16": bfloat16}[dtype]
    p = parameter([1.0, 2.0], np_dtype)
    got = run(SGD([p], lr=1 / 3), p, [[0.7, -0.3]])
    grad = np.array([0.7, -0.3]).astype(np_dtype).astype(np.float32)
    want = (np.array([1.0, 2.0], np.float32) - np.float32(1 / 3) * grad).astype(np_dtype)
    assert got.dtype == np_dtype
    np.testing.assert_array_equal(got, want)


def test_a_scalar_parameter_keeps_shape_and_dtype():
    p = parameter(2.0, np.float32)
    optimizer = Adam([p], lr=0.1)
    run(optimizer, p, [1.0, 1.0])
    assert p.shape == () and p.dtype.name == "float32"
    assert optimizer.state[p]["exp_avg"].dtype.name == "float32"


# --- step, closure, gradients -----------------------------------------------------------------------------------------


def test_step_writes_in_place_and_skips_parameters_without_gradient():
    array = np.ones(2)
    p, q = tensor(array, requires_grad=True), parameter([5.0])
    p = p.detach()
    p.requires_grad_(True)
    memory = p.detach()
    optimizer = SGD([p, q], lr=1.0, momentum=0.9)
    p.grad = tensor(np.array([1.0, 2.0]))
    optimizer.step()
    np.testing.assert_array_equal(memory.numpy(), [0.0, -1.0])
    assert q.detach().numpy().tolist() == [5.0]
    assert list(optimizer.state) == [p]
    assert p.requires_grad and p.grad_fn is None


def test_closure_runs_with_gradients_and_its_value_is_returned():
    p = parameter([3.0])
    optimizer = SGD([p], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with set_grad(False):
        loss = optimizer.step(closure)
    assert loss.item() == 9.0
    np.testing.assert_allclose(p.detach().numpy(), [3.0 - 0.6])


def test_zero_grad_to_none_or_to_zeros_in_place():
    p = parameter([1.0])
    optimizer = SGD([p], lr=0.1)
    (p * 2).sum().backward()
    grad = p.grad
    optimizer.zero_grad(set_to_none=False)
    assert p.grad is grad and grad.numpy().tolist() == [0.0]
    optimizer.zero_grad()
    assert p.grad is None
    optimizer.step()
    assert p.detach().numpy().tolist() == [1.0]


def test_changing_lr_takes_effect_at_the_next_step():
    p = parameter([0.0])
    optimizer = SGD([p], lr=1.0)
    run(optimizer, p, [[1.0]])
    optimizer.param_groups[0]["lr"] = 0.25
    assert run(optimizer, p, [[1.0]]).tolist() == [-1.25]


def test_a_tensor_as_learning_rate():
    p = parameter([0.0])
    lr = tensor(0.5)
    optimizer = SGD([p], lr=lr)
    run(optimizer, p, [[1.0]])
    lr.fill_(0.25)
    assert run(optimizer, p, [[1.0]]).tolist() == [-0.75]


def test_a_subclass_that_only_overrides_step_works_as_in_pytorch():
    class Sign(Optimizer):
        def __init__(self, params, lr):
            super().__init__(params, {"lr": lr})

        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    state = self.state[p]
                    if len(state) == 0:
                        state["step"] = 0
                    state["step"] += 1
                    p.data.sub_(p.grad.sign() * group["lr"])

    p = parameter([1.0, 1.0])
    optimizer = Sign([p], lr=0.5)
    assert run(optimizer, p, [[3.0, -3.0]]).tolist() == [0.5, 1.5]
    assert optimizer.state_dict()["state"] == {0: {"step": 1}}
    with pytest.raises(NotImplementedError, match=r"Sign defines no update\(\)"):
        optimizer.changes(optimizer.param_groups[0], p, p.grad)


# --- groups -------------------------------------------------------------------------------------------------------------


def test_groups_have_their_own_options_and_share_the_defaults():
    p, q = parameter([1.0]), parameter([1.0])
    optimizer = SGD([{"params": [p], "lr": 0.1}, {"params": q}], lr=0.5)
    for x in (p, q):
        x.grad = tensor(np.array([1.0]))
    optimizer.step()
    assert (p.item(), q.item()) == (0.9, 0.5)
    extra = parameter([0.0])
    optimizer.add_param_group({"params": [extra]})
    assert optimizer.param_groups[2]["lr"] == 0.5
    assert "lr: 0.1" in repr(optimizer) and "Parameter Group 2" in repr(optimizer)


def test_errors_of_groups_and_options():
    p = parameter([1.0])
    with pytest.raises(ArgumentError, match="empty parameter list"):
        SGD([], lr=0.1)
    with pytest.raises(ArgumentTypeError, match="should be an iterable of Tensors or dicts, but got"):
        SGD(p, lr=0.1)
    with pytest.raises(ArgumentTypeError, match="one of the params is int"):
        SGD([1], lr=0.1)
    with pytest.raises(ArgumentTypeError, match="ordered collections"):
        SGD([{"params": {p}}], lr=0.1)
    with pytest.raises(ArgumentTypeError, match="param_group must be a dict"):
        SGD([p], lr=0.1).add_param_group([p])
    with pytest.raises(ArgumentError, match="non-leaf"):
        SGD([p * 1], lr=0.1)
    with pytest.raises(ArgumentError, match="more than one parameter group"):
        SGD([{"params": [p]}, {"params": [p]}], lr=0.1)
    with pytest.raises(ArgumentError, match="Some param names are missing"):
        SGD([("a", p), parameter([1.0])], lr=0.1)
    with pytest.raises(ArgumentError, match="cannot add param group without names"):
        SGD([("a", p)], lr=0.1).add_param_group({"params": [parameter([1.0])]})
    with pytest.warns(UserWarning, match="duplicate parameters"):
        SGD([p, p], lr=0.1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: SGD(p, lr=-1), "Invalid learning rate: -1"),
        (lambda p: SGD(p, momentum=-1), "Invalid momentum value: -1"),
        (lambda p: SGD(p, weight_decay=-1), "Invalid weight_decay value: -1"),
        (lambda p: SGD(p, lr=float("nan")), "Invalid learning rate: nan"),
        (lambda p: SGD(p, nesterov=True), "Nesterov momentum requires"),
        (lambda p: Adam(p, betas=(0.9, 1.0)), "Invalid beta parameter at index 1: 1.0"),
        (lambda p: Adam(p, eps=-1), "Invalid epsilon value: -1"),
        (lambda p: AdamW(p, weight_decay=-1), "Invalid weight_decay value: -1"),
        (lambda p: Adam(p, lr=tensor([1.0, 2.0])), "Tensor lr must be 1-element"),
        (lambda p: Adam(p, betas=(0, 0.9)), "betas must be either both floats or both Tensors"),
        (lambda p: Adam(p, lr=tensor(0.1), foreach=True), "lr as a Tensor is not supported for capturable=False and f"),
        (lambda p: RMSprop(p, alpha=-1), "Invalid alpha value: -1"),
        (lambda p: Adadelta(p, rho=2), "Invalid rho value: 2"),
        (lambda p: Adagrad(p, lr_decay=-1), "Invalid lr_decay value: -1"),
        (lambda p: Adagrad(p, initial_accumulator_value=-1), "Invalid initial_accumulator_value value: -1"),
        (lambda p: Adamax(p, betas=(2, 0.9)), "Invalid beta parameter at index 0: 2"),
        (lambda p: NAdam(p, momentum_decay=-1), "Invalid momentum_decay value: -1"),
        (lambda p: RAdam(p, eps=-1), "Invalid epsilon value: -1"),
        (lambda p: ASGD(p, weight_decay=-1), "Invalid weight_decay value: -1"),
        (lambda p: Rprop(p, etas=(0.5, 0.9)), "Invalid eta values: 0.5, 0.9"),
        (lambda p: Adafactor(p, d=0.5), "Clipping threshold d should be >= 1 but is: 0.5"),
        (lambda p: Muon(p), "Muon only supports 2D parameters whereas we found a parameter with size"),
        (lambda p: Muon(p, momentum=-1), "momentum should be >= 0 but is: -1"),
        (lambda p: Muon(p, adjust_lr_fn="x"), "Adjust learning rate function x is not supported"),
        (lambda p: Muon(p, ns_steps=100), "Number of steps must be less than 100"),
        (lambda p: Muon(p, ns_coefficients=(1, 2)), "Coefficients must be a tuple of exactly 3 values"),
        (lambda p: SparseAdam(p, eps=0), "Invalid epsilon value: 0"),
    ],
)
def test_numbers_out_of_range(make, message):
    with pytest.raises(ArgumentError, match=message):
        make([parameter([1.0])])


def test_ways_that_exclude_each_other():
    with pytest.raises(UnsupportedError, match="`fused` does not support `differentiable`"):
        Adam([parameter([1.0])], fused=True, differentiable=True)
    with pytest.raises(UnsupportedError, match="`fused` and `foreach` cannot be `True` together"):
        SGD([parameter([1.0])], fused=True, foreach=True)


def test_sparse_adam_says_what_to_use_instead():
    p = parameter([1.0])
    optimizer = SparseAdam([p])
    assert optimizer.step(lambda: 3) == 3
    p.grad = tensor(np.array([1.0]))
    with pytest.raises(
        UnsupportedError, match=r"consider Adam instead \(at .*test_optim.py:\d+\)\n  hint: graphc has no sp"
    ):
        optimizer.step()
    with pytest.raises(UnsupportedError, match="does not support dense gradients"):
        optimizer.minimize((p * p).sum())


def test_hooks_run_once_around_an_overriding_step():
    class Twice(SGD):
        def step(self, closure=None):
            super().step(closure)
            return super().step()

    p = parameter([0.0])
    p.grad = tensor(np.array([1.0]))
    optimizer, seen = Twice([p], lr=0.5), []
    optimizer.register_step_post_hook(lambda o, args, kwargs: seen.append(args[0] is o))
    optimizer.step()
    assert seen == [True] and p.item() == -1.0
    assert not any(copy.deepcopy(optimizer)._hooks.values())


def test_every_change_of_a_group_moves_the_epoch():
    group = ParamGroup({"params": [], "lr": 0.1})
    changes = [
        lambda: group.__setitem__("lr", 0.2),
        lambda: group.update(lr=0.3),
        lambda: group.setdefault("x", 1),
        lambda: group.pop("x"),
        lambda: group.__delitem__("lr"),
        lambda: group.clear(),
    ]
    for change in changes:
        before = EPOCH.value
        change()
        assert EPOCH.value > before
    optimizer = SGD([parameter([1.0])], lr=0.1)
    before = EPOCH.value
    optimizer.add_param_group({"params": [parameter([1.0])]})
    assert EPOCH.value > before


class Recorder(SimpleNamespace):
    """Notes what it is told."""

    def guard(self, owner, name, value):
        self.guards[name] = (owner, value)

    def live(self, owner, key):
        return (owner, key)


def test_numbers_are_live_and_structure_is_guarded():
    group = ParamGroup({"params": [], "weight_decay": 0.1, "nesterov": False, "betas": (0.9, 0.99)})
    recorder = Recorder(guards={})
    with recording(recorder):
        assert live(group, ("betas", 1)) == (group, ("betas", 1))
        assert is_on(group, "weight_decay")
        assert not flag(group, "nesterov")
        assert group["weight_decay"] == 0.1
    assert recorder.guards == {
        "weight_decay != 0": (group, True),
        "nesterov": (group, False),
        "weight_decay": (group, 0.1),
    }
    for name, (owner, value) in recorder.guards.items():
        assert owner.fact(name) == value
    group["weight_decay"] = 0.2
    assert group.fact("weight_decay != 0") is True
    group["weight_decay"] = 0
    assert group.fact("weight_decay != 0") is False
    assert live(group, ("betas", 1)).dtype.name == "float64"


# --- state --------------------------------------------------------------------------------------------------------------


def test_state_dict_has_pytorchs_keys_and_numbers_parameters_through_groups():
    p, q = parameter([1.0]), parameter([2.0])
    optimizer = Adam([{"params": [p]}, {"params": [q], "lr": 1.0}])
    for x in (p, q):
        x.grad = tensor(np.array([1.0]))
    optimizer.step()
    saved = optimizer.state_dict()
    assert list(saved) == ["state", "param_groups"]
    assert list(saved["state"]) == [0, 1]
    assert list(saved["state"][0]) == ["step", "exp_avg", "exp_avg_sq"]
    assert [group["params"] for group in saved["param_groups"]] == [[0], [1]]
    assert saved["state"][0]["step"].dtype.name == "float32" and saved["state"][0]["step"].shape == ()


def test_hidden_state_is_not_saved():
    p = parameter([1.0])
    optimizer = SGD([p], lr=0.1, momentum=0.9, dampening=0.5)
    run(optimizer, p, [[1.0]])
    assert list(optimizer.state_dict()["state"][0]) == ["momentum_buffer"]


@pytest.mark.parametrize(
    "make",
    [
        lambda p: SGD(p, lr=0.1, momentum=0.9, dampening=0.5),
        lambda p: SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
        lambda p: Adam(p, lr=0.1, amsgrad=True),
        lambda p: AdamW(p, lr=0.1),
        lambda p: RMSprop(p, lr=0.1, momentum=0.5, centered=True),
        lambda p: Adadelta(p),
        lambda p: Adagrad(p, lr=0.1, lr_decay=0.2, initial_accumulator_value=0.3),
        lambda p: Adamax(p),
        lambda p: NAdam(p, lr=0.1),
        lambda p: RAdam(p, lr=0.1, betas=(0.7, 0.8)),
        lambda p: ASGD(p, t0=2),
        lambda p: Rprop(p),
        lambda p: Adafactor(p),
    ],
)
def test_training_resumed_from_a_file_goes_on_bit_for_bit(make, tmp_path):
    p = parameter(START)
    straight = run(make([p]), p, GRADS)
    q = parameter(START)
    first = make([q])
    run(first, q, GRADS[:3])
    saving.save({"w": q, "optimizer": first.state_dict()}, tmp_path / "check.gc")
    loaded = saving.load(tmp_path / "check.gc")
    again = loaded["w"]
    assert again.requires_grad
    second = make([again])
    second.load_state_dict(loaded["optimizer"])
    np.testing.assert_array_equal(run(second, again, GRADS[3:]), straight)


def test_loading_keeps_the_tensors_that_graphs_may_hold():
    p = parameter(START)
    optimizer = Adam([p], lr=0.1)
    run(optimizer, p, GRADS[:1])
    held = dict(optimizer.state[p])
    group = optimizer.param_groups[0]
    saved = copy.deepcopy(optimizer.state_dict())
    run(optimizer, p, GRADS[1:3])
    optimizer.load_state_dict(saved)
    assert all(optimizer.state[p][key] is held[key] for key in held)
    assert optimizer.param_groups[0] is group
    assert held["step"].item() == 1.0
    optimizer.load_state_dict(optimizer.state_dict())
    assert held["step"].item() == 1.0
    fresh = Adam([parameter(START)]).state_dict()
    optimizer.load_state_dict(fresh)
    assert optimizer.state_dict()["state"] == {} and held["step"].item() == 0.0
    assert optimizer.param_groups[0]["lr"] == 1e-3
    run(optimizer, p, GRADS[:1])
    assert optimizer.state[p]["step"] is held["step"]


def test_a_cleared_state_starts_anew():
    p = parameter(START)
    optimizer = SGD([p], lr=0.1, momentum=0.9, dampening=0.5)
    run(optimizer, p, GRADS[:2])
    optimizer.state = {}
    before = p.detach().numpy().copy()
    np.testing.assert_allclose(run(optimizer, p, GRADS[2:3]), before - 0.1 * GRADS[2], rtol=1e-14)


def test_assigning_the_same_state_again_keeps_it():
    p = parameter(START)
    optimizer = Adam([p], lr=0.1)
    run(optimizer, p, GRADS[:2])
    optimizer.state = dict(optimizer.state)
    assert optimizer.state[p]["step"].item() == 2.0


def test_a_bad_state_dict_changes_nothing():
    p = parameter(START)
    optimizer = Adam([p])
    run(optimizer, p, GRADS[:1])
    saved = optimizer.state_dict()
    with pytest.raises(ArgumentError, match="different number of parameter groups"):
        optimizer.load_state_dict({**saved, "param_groups": []})
    wrong = [{**saved["param_groups"][0], "params": [0, 1]}]
    with pytest.raises(ArgumentError, match="doesn't match the size"):
        optimizer.load_state_dict({**saved, "param_groups": wrong})
    assert optimizer.state[p]["step"].item() == 1.0
