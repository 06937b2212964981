"""What a run of a native program allocates is what was predicted: arena, working memory, outputs, constants."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import graphc as gc
from graphc import nn
from graphc.backends.llvm.launcher import Launcher
from graphc.backends.llvm.pool import pool
from graphc.backends.llvm.runner import assemble

MIB = 1 << 20


@pytest.fixture
def traced():
    """Bytes allocated at most while a function runs, by NumPy and by the runtime."""

    def measure(run):
        Launcher(assemble([]), 1)  # a launcher that goes takes with it what earlier runs have left
        tracemalloc.start()
        try:
            held = run()
            return tracemalloc.get_traced_memory()[1], held
        finally:
            tracemalloc.stop()

    return measure


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    before = pool().threads
    pool().resize(request.param)
    yield request.param
    pool().resize(before)


def compiled(function, *args):
    """The executable of a function of these tensors, and arrays for its inputs."""
    run = gc.compile(function, backend="llvm")
    run(*args)
    built = run.last_built()
    arrays = [np.ones(tuple(map(int, t.shape)), t.dtype.np) for t in built.feed_types]
    executable = built.backend.compile(built.executable([a.shape for a in arrays]).program, built.updates)
    return executable, arrays


def train(model, loss_of):
    optimizer = gc.optim.Adam(model.parameters(), lr=1e-3)

    def step(x, y):
        optimizer.zero_grad()
        loss = loss_of(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


def products():
    a, b = gc.ones(700, 800), gc.ones(800, 900)
    return (lambda a, b: gc.relu(a @ b) @ b.T), (a, b)


def convolutions():
    model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4096, 10))
    return train(model, nn.CrossEntropyLoss()), (gc.ones(32, 3, 32, 32), gc.zeros(32, dtype=gc.int64))


class Last(nn.Module):
    def __init__(self):
        super().__init__()
        self.cells, self.head = nn.LSTM(64, 128), nn.Linear(128, 10)

    def forward(self, x):
        return self.head(self.cells(x)[0][-1])


def recurrences():
    return train(Last(), nn.CrossEntropyLoss()), (gc.ones(20, 32, 64), gc.zeros(32, dtype=gc.int64))


def constants():
    table = np.random.default_rng(0).standard_normal((300, 400)).astype(np.float32)
    return (lambda x: x @ gc.tensor(table).T + gc.tensor(table).sum()), (gc.ones(500, 400),)


PROGRAMS = [products, convolutions, recurrences, constants]


def test_each_program_has_what_it_is_there_for():
    memory = {f.__name__: compiled(*(lambda f, args: (f, *args))(*f()))[0] for f in PROGRAMS}
    assert memory["constants"].memory.constants == 300 * 400 * 4
    assert memory["products"].memory.outputs == 700 * 800 * 4
    assert all(memory[name].translation.scratch > 0 for name in ("convolutions", "recurrences", "constants"))
    assert memory["convolutions"].memory.outputs == 4  # the loss: parameters and moments are written in place


def test_what_python_gives_is_counted():
    def gradient(x):
        return gc.autograd.grad(gc.while_loop(lambda a: a.sum() < 1e7, lambda a: a * 2, x).sum(), x)[0]

    executable, _ = compiled(gradient, gc.ones(1000, 500, requires_grad=True))
    assert executable.memory.host == 1000 * 500 * 4
    assert executable.peak == executable.memory.block + executable.memory.outputs + executable.memory.host


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda f: f.__name__)
def test_the_prediction_is_within_two_percent_of_what_is_allocated(program, threads, traced):
    function, args = program()
    executable, arrays = compiled(function, *args)
    allocated, _ = traced(lambda: executable(arrays))
    held = executable.memory.constants  # they were there before the run
    assert executable.peak > MIB / 2
    assert abs(allocated + held - executable.peak) <= 0.02 * executable.peak
