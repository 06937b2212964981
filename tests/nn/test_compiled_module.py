"""Compiled modules: one set of parameters behind two objects."""

from __future__ import annotations

import copy
import pickle

import pytest
from nn_cases import Net
from tolerances import assert_close

import graphc as gc
from graphc import nn


@pytest.fixture
def net():
    return Net()


def test_a_compiled_module_is_the_module(net):
    compiled = gc.compile(net)
    assert isinstance(compiled, nn.Module) and type(compiled).__name__ == "CompiledModule"
    assert repr(compiled).startswith("CompiledModule(\n  (_orig_mod): Net(\n")
    assert list(compiled.state_dict()) == list(net.state_dict())
    assert all(a is b for a, b in zip(compiled.parameters(), net.parameters(), strict=True))
    assert compiled.first is net.first and compiled.power == 1 and compiled._get_name() == "CompiledModule"
    compiled.power = 2
    assert net.power == 2
    compiled.eval()
    assert not net.training and not net.first.training
    del compiled.count
    assert "count" not in net._buffers
    with pytest.raises(AttributeError, match="'Net' object has no attribute 'absent'"):
        _ = compiled.absent
    compiled.load_state_dict(Net().state_dict(), strict=False)
    assert compiled.double() is compiled and net.scale.dtype is gc.float64
    assert isinstance(copy.deepcopy(compiled), Net) and isinstance(pickle.loads(pickle.dumps(compiled)), Net)
    assert isinstance(copy.copy(compiled), Net) and "scale" in dir(compiled)


def test_a_compiled_container_is_indexed_like_the_container():
    compiled = gc.compile(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
    assert isinstance(compiled[1], nn.ReLU) and len(compiled) == 2 and len(list(compiled)) == 2 and compiled


def test_methods_of_the_original_are_reached():
    class Coder(nn.Linear):
        def encode(self, x):
            return self(x) + 1

    compiled = gc.compile(Coder(2, 2))
    assert compiled.encode(gc.ones(1, 2)).shape == (1, 2)
    seen = []
    assert compiled.apply(lambda m: seen.append(type(m).__name__)) is compiled and seen == ["Coder"]


def test_nothing_stale_is_replayed(net):
    compiled, x = gc.compile(net), gc.ones(2, 3)

    def same():
        assert_close(compiled(x).detach(), net(x).detach(), n=16)

    same()
    net.power = 2
    same()
    with gc.no_grad():
        net.scale.fill_(3.0)
    same()
    net.scale = nn.Parameter(gc.full((2,), 5.0))
    same()
    net.first = nn.Linear(3, 4)
    same()
    handle = net.second.register_forward_hook(lambda m, a, out: out * 2)
    same()
    handle.remove()
    same()
    net.double()
    x = x.double()
    same()
    net.first.weight.data = gc.zeros(4, 3, dtype=gc.float64)
    same()
    assert len(compiled.recompiles) >= 5


def test_gradients_flow_through_a_compiled_module(net):
    x = gc.randn(5, 3)
    gc.compile(net)(x).pow(2).sum().backward()
    got = {n: p.grad.clone() for n, p in net.named_parameters()}
    net.zero_grad()
    net(x).pow(2).sum().backward()
    for name, p in net.named_parameters():
        assert (p.grad - got[name]).abs().max().item() < 1e-5, name
