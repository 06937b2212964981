"""Small kernels of a region share a start: the same results, fewer starts, no more arguments than a device takes."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from tolerances import assert_close

import graphc as gc
from graphc.backends import null_backend
from graphc.backends.devices import translation
from graphc.backends.devices.executable import DeviceExecutable
from graphc.backends.opencl import devices

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


def leaves(nest):
    return [nest] if isinstance(nest, gc.Tensor) else [x for inside in nest for x in leaves(inside)]


def total(*xs):
    return sum(xs[1:], xs[0])


def all_at_once(*xs):
    return [x * xs[0] + 1 for x in xs]


def in_a_loop(*xs):
    return gc.scan(lambda carry, x: (carry + gc.cat([y[:1] * x for y in xs]).sum(), x), xs[0].sum(), xs[0])


PROGRAMS = [lambda *xs: gc.cat(xs), lambda *xs: gc.stack(xs, 1).softmax(1), total, all_at_once, in_a_loop]


@pytest.mark.parametrize("f", PROGRAMS)
def test_no_more_arguments_of_one_kernel(f, monkeypatch):
    monkeypatch.setattr(null_backend, "TARGET", replace(null_backend.TARGET, arguments=1024))
    xs = [gc.from_numpy(np.full(9, i, np.float32)) for i in range(70)]
    build, arrays = gc.compile(f, backend="null").arrays_for(*xs)
    text = build.built.executable([a.shape for a in arrays]).text()
    for parameters in re.findall(r"KERNEL\(\d+\) kernel\d+\((.*)\) \{\n", text):
        assert nbytes(parameters.split(", ")) <= 1024


@pytest.mark.opencl
@pytest.mark.parametrize("f", PROGRAMS)
@pytest.mark.parametrize("most", [256, 1024])
def test_results_where_kernels_take_few_arguments(f, most, monkeypatch):
    here = devices.device()
    monkeypatch.setattr(here, "target", replace(here.target, arguments=most))
    xs = [gc.from_numpy(np.random.default_rng(i).normal(size=9).astype(np.float32)) for i in range(70)]
    found, want = gc.compile(f, backend="opencl")(*xs), f(*xs)
    for a, b in zip(leaves(found), leaves(want), strict=True):
        assert_close(a.numpy(), b.numpy(), n=700)
