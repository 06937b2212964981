"""Small kernels of a region share a start: the same results, fewer starts, no more arguments than a device takes."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

import graphc as gc
from graphc.backends import null_backend
from graphc.backends.devices import translation
from graphc.backends.devices.executable import DeviceExecutable

SIZES = [1, 5, 64, 65, 200, 3000]


def updates(n):
    """A compiled step whose n parameters have gradients of their own, and the parameters."""
    rng = np.random.default_rng(0)
    parameters = [gc.nn.Parameter(gc.from_numpy(rng.normal(size=SIZES[i % len(SIZES)]))) for i in range(n)]
    optimizer = gc.optim.Adam(parameters, lr=0.1)

    def step(x):
        optimizer.zero_grad()
        loss = sum((p * x).sin().sum() for p in parameters)
        loss.backward()
        optimizer.step()
        return loss

    return step, parameters


def starts(monkeypatch):
    """A list to which the launches of each executable's texts are added."""
    made = []
    first = DeviceExecutable.__init__

    def init(self, *args):
        first(self, *args)
        made.append(self)

    monkeypatch.setattr(DeviceExecutable, "__init__", init)
    return made


@pytest.mark.opencl
@pytest.mark.parametrize("n", [1, 2, 30])
def test_updates_share_starts(n, monkeypatch):
    made = starts(monkeypatch)
    counts = []
    for small in (1 << 13, 0):
        monkeypatch.setattr(translation, "_SMALL", small)
        step, parameters = updates(n)
        run = gc.compile(step, backend="opencl")
        losses = [float(run(gc.tensor(0.5, dtype=gc.float64))) for _ in range(3)]
        counts.append(made[-1].launches)
        eager, same = updates(n)
        assert losses == pytest.approx([float(eager(gc.tensor(0.5, dtype=gc.float64))) for _ in range(3)], rel=1e-12)
        for a, b in zip(parameters, same, strict=True):
            np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-12)
    together, alone = counts
    assert together < alone / 3 if n == 30 else together <= alone


@pytest.mark.opencl
def test_loops_share_starts_within_a_step(monkeypatch):
    def f(x, y):
        def step(carry, item):
            a, b = carry
            return (a.sin() + item, b.cos() * item.sum()), (a * 2, b - 1)

        return gc.scan(step, (x[0], y), x)

    rng = np.random.default_rng(0)
    x, y = gc.from_numpy(rng.normal(size=(7, 5))), gc.from_numpy(rng.normal(size=(3, 4)))
    (a, b), (c, d) = gc.compile(f, backend="opencl")(x, y)
    (e, g), (h, i) = f(x, y)
    for found, want in zip((a, b, c, d), (e, g, h, i), strict=True):
        np.testing.assert_allclose(found.numpy(), want.numpy(), rtol=1e-12)


@pytest.mark.parametrize("most", [256, 1024, 4096])
def test_no_more_arguments_than_a_device_takes(most, monkeypatch):
    monkeypatch.setattr(null_backend, "TARGET", replace(null_backend.TARGET, arguments=most))
    step, _ = updates(30)
    build, arrays = gc.compile(step, backend="null").arrays_for(gc.tensor(0.5, dtype=gc.float64))
    text = build.built.executable([a.shape for a in arrays]).text()
    kernels = re.findall(r"KERNEL\(\d+\) (kernel\d+)\((.*)\) \{\n((?:  .*\n)*)\}", text)
    together = [parameters.split(", ") for _, parameters, lines in kernels if " part" in lines]
    assert together
    assert max(map(nbytes, together)) <= most
    assert most == 4096 or max(map(nbytes, together)) > most / 2


def nbytes(parameters):
    return sum(8 if "*" in x or "i64" in x else 4 for x in parameters)
