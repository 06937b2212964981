"""`nn.utils` against PyTorch: norms of weights, parametrizations, pruning, fusion; and what modules do besides calls."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from nn_cases import f32, f64
from side_by_side import compare, pair, refuse
from tolerances import as_array, assert_close

import graphc as gc
from graphc import nn

torch = pytest.importorskip("torch")
for _name in ("parametrize", "prune", "stateless"):
    pytest.importorskip(f"torch.nn.utils.{_name}")
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]


def both(make):
    """The same module in both libraries, ours with PyTorch's state."""
    theirs, ours = make(torch.nn), make(nn)
    assert repr(ours).replace("graphc.", "torch.") == repr(theirs)
    state = {k: gc.tensor(v.numpy().copy()) for k, v in theirs.state_dict().items()}
    assert list(ours.state_dict()) == list(state)
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    ours.load_state_dict(state)
    return ours, theirs


def train(ours, theirs, shape, steps=4):
    """Steps of SGD, the first eagerly, the last compiled; the whole state stays equal."""
    mine, its = gc.optim.SGD(ours.parameters(), 0.05), torch.optim.SGD(theirs.parameters(), 0.05)

    def step(model, optimizer, x):
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    compiled = gc.compile(lambda x: step(ours, mine, x))
    for k in range(steps):
        a, b = pair(torch, f32(*shape, seed=k))
        loss = step(ours, mine, a) if k < steps // 2 else compiled(a)
        assert_close(loss, step(theirs, its, b), n=256)
    for key, value in theirs.state_dict().items():
        assert_close(ours.state_dict()[key], value, n=1024, scale=1.0)


CASES = {
    "weight_norm": (lambda n: n.utils.weight_norm(n.Linear(4, 3)), (5, 4)),
    "weight_norm of all": (lambda n: n.utils.weight_norm(n.Conv1d(4, 3, 2), dim=None), (2, 4, 6)),
    "spectral_norm": (lambda n: n.utils.spectral_norm(n.Conv1d(4, 3, 2)), (2, 4, 6)),
    "spectral_norm transposed": (lambda n: n.utils.spectral_norm(n.ConvTranspose1d(4, 3, 2), n_power_iterations=2), (2, 4, 6)),
    "parametrized weight_norm": (lambda n: n.utils.parametrizations.weight_norm(n.Linear(4, 3)), (5, 4)),
    "parametrized spectral_norm": (lambda n: n.utils.parametrizations.spectral_norm(n.Linear(4, 3)), (5, 4)),
    "pruned": (lambda n: n.utils.prune.l1_unstructured(n.Linear(4, 3), "weight", 0.4), (5, 4)),
    "pruned twice": (
        lambda n: n.utils.prune.ln_structured(n.utils.prune.l1_unstructured(n.Linear(4, 3), "weight", 2), "weight", 1, 2, 1),
        (5, 4),
    ),
    "marked": (lambda n: n.utils.prune.identity(n.Linear(4, 3), "bias"), (5, 4)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_reparametrized_layers_train_as_pytorchs(name):
    make, shape = CASES[name]
    ours, theirs = both(make)
    train(ours, theirs, shape)
    ours.eval(), theirs.eval()
    x = gc.tensor(f32(*shape))
    again = [copy.deepcopy(ours)]
    if "parametrized" in name:
        for layer in (ours, theirs):
            with pytest.raises(RuntimeError, match="only supported through state_dict"):
                pickle.dumps(layer)
    else:
        again.append(pickle.loads(pickle.dumps(ours)))
    for layer in again:
        assert repr(layer) == repr(ours)
        assert_close(layer(x), ours(x))


def test_taking_norms_back():
    for norm, remove in (("weight_norm", "remove_weight_norm"), ("spectral_norm", "remove_spectral_norm")):
        ours, theirs = both(lambda n, norm=norm: getattr(n.utils, norm)(n.Linear(3, 3)))
        ours.eval(), theirs.eval()
        ours, theirs = getattr(nn.utils, remove)(ours), getattr(torch.nn.utils, remove)(theirs)
        assert type(ours) is nn.Linear
        assert list(ours.state_dict()) == list(theirs.state_dict())
        a, b = pair(torch, f32(2, 3))
        compare(ours(a), theirs(b), n=8)
        refuse(torch, lambda m, r=remove: getattr(m.nn.utils, r)(m.nn.Linear(2, 2)))
        refuse(torch, lambda m, n=norm: getattr(m.nn.utils, n)(getattr(m.nn.utils, n)(m.nn.Linear(2, 2))))
        refuse(torch, lambda m, n=norm: getattr(m.nn.utils, n)(m.nn.LazyLinear(2)))


# --- parametrize ------------------------------------------------------------------------------------------------------


def symmetric(n):
    """A square layer whose weight is symmetric, and that takes symmetric values."""

    class Symmetric(n.Module):
        def forward(self, x):
            return x.triu() + x.triu(1).transpose(-1, -2)

        def right_inverse(self, x):
            return x.triu()

    return Symmetric()


def test_parametrize():
    P = {gc: nn.utils.parametrize, torch: torch.nn.utils.parametrize}
    ours, theirs = both(
        lambda n: P[gc if n is nn else torch].register_parametrization(n.Linear(3, 3), "weight", symmetric(n))
    )
    train(ours, theirs, (4, 3))
    for m, layer in ((gc, ours), (torch, theirs)):
        assert P[m].is_parametrized(layer)
        assert not P[m].is_parametrized(layer, "bias")
        assert P[m].type_before_parametrizations(layer) is m.nn.Linear
        assert isinstance(layer.parametrizations["weight"], P[m].ParametrizationList)
        with P[m].cached():
            assert layer.weight is layer.weight
    value = f32(3, 3)
    value = value + value.T
    ours.weight, theirs.weight = gc.tensor(value), torch.tensor(value)
    assert_close(ours.weight, theirs.weight)
    other, its = nn.Linear(3, 3), torch.nn.Linear(3, 3)
    P[gc].transfer_parametrizations_and_params(ours, other)
    P[torch].transfer_parametrizations_and_params(theirs, its)
    assert list(other.state_dict()) == list(its.state_dict())
    assert_close(other.weight, its.weight)
    for leave, pairs in ((True, (ours, theirs)), (False, (other, its))):
        back = [P[m].remove_parametrizations(x, "weight", leave) for m, x in zip((gc, torch), pairs, strict=True)]
        assert type(back[0]) is nn.Linear
        assert_close(back[0].weight, back[1].weight)
    for code in (
        lambda m: P[m].register_parametrization(m.nn.Linear(2, 2), "weights", m.nn.Identity()),
        lambda m: P[m].register_parametrization(m.nn.Linear(3, 2), "weight", m.nn.Flatten(0)),
        lambda m: P[m].remove_parametrizations(m.nn.Linear(2, 2), "weight"),
    ):
        refuse(torch, code)


@pytest.mark.parametrize("kind", [None, "matrix_exp", "cayley", "householder"])
@pytest.mark.parametrize("sizes", [(4, 4), (3, 5), (5, 3)])
def test_orthogonal(kind, sizes):
    ours, theirs = both(lambda n: n.utils.parametrizations.orthogonal(n.Linear(*sizes), orthogonal_map=kind))
    assert_close(ours.weight, theirs.weight, n=64, scale=1.0)
    train(ours, theirs, (6, sizes[0]))
    w = as_array(ours.weight).astype(np.float64)
    w = w if w.shape[0] >= w.shape[1] else w.T
    assert np.abs(w.T @ w - np.eye(w.shape[1])).max() < 1e-5
    fresh = nn.utils.parametrizations.orthogonal(nn.Linear(*sizes), orthogonal_map=kind)
    v = as_array(fresh.weight).astype(np.float64)
    v = v if v.shape[0] >= v.shape[1] else v.T
    assert np.abs(v.T @ v - np.eye(v.shape[1])).max() < 1e-5


def test_orthogonal_without_a_base():
    def make(n):
        layer = n.Linear(4, 3)
        n.init.orthogonal_(layer.weight)
        return n.utils.parametrizations.orthogonal(layer, use_trivialization=False)

    ours, theirs = both(make)
    assert_close(ours.weight, theirs.weight, n=64, scale=1.0)
    target = as_array(theirs.weight)
    ours.weight = gc.tensor(target)
    assert_close(ours.weight, target, n=64, scale=1.0)
    for code in (
        lambda m: m.nn.utils.parametrizations.orthogonal(m.nn.Linear(2, 2), "bias"),
        lambda m: m.nn.utils.parametrizations.orthogonal(m.nn.Linear(2, 2), orthogonal_map="qr"),
        lambda m: m.nn.utils.parametrizations.orthogonal(m.nn.Linear(2, 2), "w"),
    ):
        refuse(torch, code)


def test_parametrized_weight_norm_reads_older_state():
    old, its = both(lambda n: n.utils.weight_norm(n.Linear(3, 2)))
    for n, layer in ((nn, old), (torch.nn, its)):
        new = n.utils.parametrizations.weight_norm(n.Linear(3, 2))
        new.load_state_dict(layer.state_dict())
        assert_close(new.weight, layer.weight)
    refuse(torch, lambda m: m.nn.utils.parametrizations.spectral_norm(m.nn.Linear(2, 2), "w"))


# --- pruning ----------------------------------------------------------------------------------------------------------


def test_pruning():
    ours, theirs = both(lambda n: n.Sequential(n.Linear(4, 5), n.ReLU(), n.Linear(5, 2)))
    for n, model in ((nn, ours), (torch.nn, theirs)):
        prune = n.utils.prune
        pairs = [(model[0], "weight"), (model[2], "weight")]
        prune.global_unstructured(pairs, prune.L1Unstructured, amount=7)
        prune.custom_from_mask(model[0], "bias", (gc if n is nn else torch).tensor([1.0, 0, 1, 1, 0]))
        assert prune.is_pruned(model)
        assert not prune.is_pruned(n.Linear(1, 1))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for key, value in theirs.state_dict().items():
        assert_close(ours.state_dict()[key], value)
    for n, model in ((nn, ours), (torch.nn, theirs)):
        n.utils.prune.remove(model[0], "weight")
    assert_close(ours[0].weight, theirs[0].weight)
    assert isinstance(ours[0], nn.Linear) and not hasattr(ours[0], "weight_mask")
    a, b = pair(torch, f32(3, 4))
    compare(ours(a), theirs(b), n=16)


METHODS = {
    "L1Unstructured": lambda p: p.L1Unstructured(3),
    "LnStructured": lambda p: p.LnStructured(2, n=1, dim=0),
    "CustomFromMask": lambda p: p.CustomFromMask((gc if p is nn.utils.prune else torch).ones(4, 3)),
    "Identity": lambda p: p.Identity(),
}


@pytest.mark.parametrize("name", METHODS)
def test_masks(name):
    a, b = pair(torch, f64(4, 3))
    compare(METHODS[name](nn.utils.prune).prune(a), METHODS[name](torch.nn.utils.prune).prune(b))


def test_own_pruning_methods():
    for n, library in ((nn, gc), (torch.nn, torch)):

        class EveryOther(n.utils.prune.BasePruningMethod):
            PRUNING_TYPE = "unstructured"

            def compute_mask(self, t, default_mask):
                mask = default_mask.clone()
                mask.view(-1)[::2] = 0
                return mask

        layer = n.Linear(3, 2)
        EveryOther.apply(layer, "weight")
        assert as_array(layer.weight_mask).tolist() == [[0, 1, 0], [1, 0, 1]]
        layer(library.ones(1, 3)).sum().backward()
        assert as_array(layer.weight_orig.grad).tolist() == [[0, 1, 0], [1, 0, 1]]


def test_random_masks_prune_as_many():
    for n, library in ((nn, gc), (torch.nn, torch)):
        p = n.utils.prune
        library.manual_seed(0)  # six masked at random may be a whole column more
        layer = p.random_unstructured(n.Linear(5, 4), "weight", 6)
        assert (as_array(layer.weight_mask) == 0).sum() == 6
        p.random_structured(layer, "weight", 2, dim=1)
        assert ((as_array(layer.weight_mask) == 0).all(0)).sum() == 2
        assert isinstance(next(iter(layer._forward_pre_hooks.values())), p.PruningContainer)
        for method in (p.RandomUnstructured(0.5), p.RandomStructured(0.5, dim=0)):
            assert isinstance(method, p.BasePruningMethod)
            mask = method.compute_mask(library.ones(4, 2), default_mask=library.ones(4, 2))
            assert as_array(mask).sum() == 4


def test_pruning_refuses():
    P = {gc: nn.utils.prune, torch: torch.nn.utils.prune}
    for code in (
        lambda m: P[m].l1_unstructured(m.nn.Linear(2, 2), "weight", 5),
        lambda m: P[m].l1_unstructured(m.nn.Linear(2, 2), "weight", 1.5),
        lambda m: P[m].l1_unstructured(m.nn.Linear(2, 2), "weight", "all"),
        lambda m: P[m].ln_structured(m.nn.Linear(2, 2), "bias", 1, 2, 0),
        lambda m: P[m].ln_structured(m.nn.Linear(2, 2), "weight", 1, 2, 2),
        lambda m: P[m].remove(m.nn.Linear(2, 2), "weight"),
        lambda m: P[m].global_unstructured(3, P[m].L1Unstructured),
        lambda m: P[m].global_unstructured([(m.nn.Linear(2, 2), "weight")], P[m].LnStructured, amount=1, n=2),
        lambda m: P[m].PruningContainer().add_pruning_method(3),
        lambda m: P[m].custom_from_mask(m.nn.Linear(2, 2), "weight", m.ones(3, 2)),
    ):
        refuse(torch, code)


# --- fusion, functional calls, empty layers ---------------------------------------------------------------------------


def test_fusion():
    def trained(n, library, layer, norm, x):
        model = n.Sequential(layer, norm)
        model.train()
        model(x)
        return model.eval()

    for make, shape, fuse in (
        (lambda n: (n.Conv2d(3, 4, 2, bias=False), n.BatchNorm2d(4)), (2, 3, 5, 5), "fuse_conv_bn_eval"),
        (lambda n: (n.Conv1d(3, 4, 2), n.BatchNorm1d(4, affine=False)), (2, 3, 5), "fuse_conv_bn_eval"),
        (lambda n: (n.Linear(3, 4), n.BatchNorm1d(4)), (6, 3), "fuse_linear_bn_eval"),
    ):
        ours, theirs = both(lambda n, make=make: n.Sequential(*make(n)))
        a, b = pair(torch, f32(*shape))
        for model, x in ((ours, a), (theirs, b)):
            model(x)
            model.eval()
        fused = [getattr(n.utils, fuse)(*model) for n, model in ((nn, ours), (torch.nn, theirs))]
        compare(fused[0](a), fused[1](b), n=64)
        assert_close(fused[0](a), ours(a), n=64)
        refuse(torch, lambda m, make=make, fuse=fuse: getattr(m.nn.utils, fuse)(*make(m.nn)))
    values = [f32(4, 3), f32(4), f32(4), np.abs(f32(4)), f32(4), f32(4)]
    for fuse in ("fuse_conv_bn_weights", "fuse_linear_bn_weights"):
        found = []
        for m, (w, bias, mean, var, gain, shift) in zip(
            (gc, torch), zip(*(pair(torch, x) for x in values), strict=True), strict=True
        ):
            found.append(getattr(m.nn.utils, fuse)(w, bias, mean, var, 1e-3, gain, shift))
        compare([x.detach() for x in found[0]], [x.detach() for x in found[1]], n=8)


def test_functional_call():
    ours, theirs = both(lambda n: n.Sequential(n.Linear(3, 2), n.BatchNorm1d(2)))
    for model, m in ((ours, gc), (theirs, torch)):
        S = nn.utils.stateless if m is gc else torch.nn.utils.stateless
        weight = m.full((2, 3), 0.5, requires_grad=True)
        given = {"0.weight": weight, "1.running_mean": m.zeros(2)}
        x = m.tensor(f32(4, 3).tolist())
        S.functional_call(model, given, x).square().sum().backward()
        assert weight.grad is not None
        assert model[0].weight.grad is None
        assert float(model[1].running_mean.abs().sum()) == 0.0
        assert float(given["1.running_mean"].abs().sum()) > 0.0
        with pytest.raises(RuntimeError, match="Missing key"):
            S.functional_call(model, given, x, strict=True)
        assert_close(S.functional_call(model, {"0.bogus": weight}, x), model(x), n=64)
        tied = m.nn.Sequential(m.nn.Linear(2, 2, bias=False), m.nn.Linear(2, 2, bias=False))
        tied[1].weight = tied[0].weight
        two = m.eye(2) * 2
        assert_close(S.functional_call(tied, {"0.weight": two}, m.ones(1, 2)), np.full((1, 2), 4.0, np.float32))
        with pytest.raises(ValueError, match="tied"):
            S.functional_call(tied, {"0.weight": two, "1.weight": m.eye(2)}, m.ones(1, 2))
    assert_close(ours[1].running_mean, theirs[1].running_mean)


def test_empty_layers_and_memory_formats():
    for n in (nn, torch.nn):
        layer = n.utils.skip_init(n.Linear, 3, 2)
        assert tuple(layer.weight.shape) == (2, 3)
        conv = n.Conv2d(3, 2, 2)
        conv = n.utils.convert_conv2d_weight_memory_format(conv, (gc if n is nn else torch).channels_last)
        assert tuple(conv.weight.shape) == (2, 3, 2, 2)
        theirs = torch.channels_last_3d if n is torch.nn else "channels_last_3d"
        assert isinstance(n.utils.convert_conv3d_weight_memory_format(n.Conv3d(1, 1, 1), theirs), n.Conv3d)
    refuse(torch, lambda m: m.nn.utils.skip_init(dict))
    refuse(torch, lambda m: m.nn.utils.skip_init(m.nn.ReLU))


# --- modules ----------------------------------------------------------------------------------------------------------


def test_compiling_a_module_in_place():
    for n, library in ((nn, gc), (torch.nn, torch)):
        model = n.Sequential(n.Linear(3, 4), n.Dropout(0.5))
        model.eval()
        x = library.ones(2, 3)
        before = as_array(model(x))
        if n is nn:
            model.compile()
        else:
            model.compile(backend="eager")
        model(x).sum().backward()
        assert model[0].weight.grad is not None
        assert_close(as_array(model(x)), before)
    assert len(model_records(nn)) == 1
    again = copy.deepcopy(nn_model())
    assert again._compiled_call is None


def nn_model():
    model = nn.Linear(2, 2)
    model.compile()
    model(gc.ones(1, 2))
    return model


def model_records(n):
    return nn_model()._compiled_call.recompiles


def test_hooks_of_all_modules():
    def log_of(n, library, module):
        log = []
        model = n.Sequential(n.Linear(2, 2), n.Tanh())
        handles = [
            module.register_module_forward_pre_hook(lambda m, a: log.append(("pre", m._get_name()))),
            module.register_module_forward_hook(lambda m, a, o: log.append(("after", m._get_name()))),
            module.register_module_full_backward_pre_hook(lambda m, g: log.append(("to", m._get_name()))),
            module.register_module_full_backward_hook(lambda m, i, o: log.append(("back", m._get_name()))),
        ]
        model(library.ones(1, 2, requires_grad=True)).sum().backward()
        for handle in handles:
            handle.remove()
        count = len(log)
        model(library.ones(1, 2))
        assert len(log) == count
        return log

    assert log_of(nn, gc, nn.modules.module) == log_of(torch.nn, torch, torch.nn.modules.module)


def test_hooks_of_all_modules_reach_compiled_calls():
    layer = nn.Linear(2, 2)
    x, compiled = gc.ones(1, 2), gc.compile(layer)
    before = as_array(compiled(x))
    handle = nn.modules.module.register_module_forward_hook(lambda m, a, o: o * 2)
    assert_close(compiled(x), before * 2)
    handle.remove()
    assert_close(compiled(x), before)


def test_older_backward_hooks():
    for n, library in ((nn, gc), (torch.nn, torch)):
        seen = []
        layer = n.Tanh()
        handle = layer.register_backward_hook(
            lambda m, i, o, seen=seen: seen.append((len(i), len(o), float(o[0].sum())))
        )
        layer(library.ones(2, requires_grad=True)).sum().backward()
        handle.remove()
        assert seen == [(1, 1, 2.0)]


def test_attributes_of_modules():
    for name in ("dump_patches", "call_super_init"):
        assert getattr(nn.Linear(1, 1), name) == getattr(torch.nn.Linear(1, 1), name)
    assert str(nn.Linear(1, 1).T_destination) == str(torch.nn.Linear(1, 1).T_destination)

    def passed_on(n):
        class Behind:
            def __init__(self, x):
                self.x = x

        class Both(n.Module, Behind):
            call_super_init = True

        return Both(3).x

    assert passed_on(nn) == passed_on(torch.nn) == 3


def test_scattering_and_gathering_what_needs_no_accelerator() -> None:
    found = []
    for m in (gc, torch):
        parts = [m.nn.parallel.scatter(nest, [0, 1]) for nest in (3, "a", [1, {"a": 2}], (), (None, [4]))]
        modules = m.nn.parallel.replicate(m.nn.Sequential(m.nn.ReLU(), m.nn.Identity()), _devices(m))
        together = m.nn.parallel.gather([[None, (None,)], [None, (None,)]], _devices(m)[0])
        found.append((parts, list(map(str, modules)), len(set(map(id, modules))), together))
    assert found[0] == found[1]


def _devices(m: Any) -> list[Any]:
    return ["cpu", "cpu"] if m is gc else [0, 1]
