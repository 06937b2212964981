"""What a contrast finds as it was before each way, and leaves so."""

from __future__ import annotations

import random

import numpy as np

import graphc as gc
from graphc import nn


def test_what_a_step_gives_to_tensors_is_gone_before_the_other_way():
    w = gc.ones(3, requires_grad=True)
    watched = gc.compile(lambda x: (w * x).sum())
    x = gc.ones(3)
    watched(x)

    def step(x):
        if not hasattr(w, "moved"):
            w.moved = 0.0
        w.moved += 1.0
        loss = (w * x).sum() * w.moved
        w.register_hook(lambda g: g)
        w.grad = None
        loss.backward()
        return loss

    found = gc.contrast(step, x, calls=2).data
    assert [x["eager"] for x in found["losses"]] == [3.0, 6.0] and found["losses"][0]["graph"] == 3.0
    assert not hasattr(w, "moved") and "_hooks" not in w.__dict__
    with gc.no_recompile():  # what builds know of tensors is still there
        assert watched(x) == 3.0
    w.requires_grad_(False)
    assert not watched(x).requires_grad


def test_generators_of_numpy_and_of_the_system():
    older, bits = np.random.RandomState(3), np.random.PCG64(4)
    system = random.SystemRandom()
    wrapped = np.random.Generator(bits)
    older.normal()  # leaves a second one behind
    expected = np.random.RandomState(3)
    expected.normal()
    words = bits.state

    def step(x):
        system.random()
        drawn = older.normal() + bits.random_raw() % 2 + wrapped.random()
        return (x * float(0 * drawn)).sum()

    found = gc.contrast(step, gc.ones(3), calls=2)
    assert found.data["summary"]["agree"]
    assert older.normal() == expected.normal() and bits.state == words


def test_what_the_forward_of_a_compiled_module_reads_is_kept():
    counts = {"calls": 0}

    class Net(nn.Linear):
        def forward(self, x):
            counts["calls"] += 1
            return super().forward(x)

    net = gc.compile(Net(2, 1))
    gc.contrast(lambda x: net(x).sum(), gc.ones(3, 2), calls=2)
    assert counts == {"calls": 0}
