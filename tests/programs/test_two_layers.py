"""A two-layer net written in every style, equal through every door and to NumPy."""

from __future__ import annotations

import pytest
from training import (
    DOORS,
    DTYPES,
    STEPS,
    TOLERANCE,
    NumpyAdam,
    NumpySGD,
    TwoLayers,
    classification,
    numpy_training,
    parameter,
    run_compiled,
    run_eager,
)  # fmt: skip

import graphc as gc
from graphc import nn, optim
from graphc.nn import functional as F

BATCHES = classification()


class ByHand:
    """Tensors, a loss, updates under no_grad and `grad.zero_()`."""

    lr = 0.1
    builds = 2  # the first call finds no gradients, every later one finds zeros

    def __init__(self, dtype):
        self.dtype = dtype
        self.w1, self.b1, self.w2, self.b2 = (parameter(a, dtype) for a in TwoLayers(dtype).p.values())

    def named(self):
        return {"w1": self.w1, "b1": self.b1, "w2": self.w2, "b2": self.b2}

    def loss(self, x, y):
        h = (x @ self.w1 + self.b1).tanh()
        z = h @ self.w2 + self.b2
        return -F.log_softmax(z, 1).gather(1, y.unsqueeze(1)).mean()

    def step(self, x, y):
        loss = self.loss(x, y)
        loss.backward()
        with gc.no_grad():
            for p in (self.w1, self.b1, self.w2, self.b2):
                p -= self.lr * p.grad
                p.grad.zero_()
        return loss


class WithAutograd(ByHand):
    builds = 1

    def step(self, x, y):
        loss = self.loss(x, y)
        params = list(self.named().values())
        grads = gc.autograd.grad(loss, params)
        with gc.no_grad():
            for p, g in zip(params, grads, strict=True):
                p.sub_(self.lr * g)
        return loss

    def graph(self, x, y):
        loss = self.loss(x, y)
        params = list(self.named().values())
        with gc.no_grad():
            for p, g in zip(params, gc.gradients(loss, params), strict=True):
                p.sub_(self.lr * g)
        return loss, gc.updates()


class WithModule(ByHand):
    """nn for the net, updates by hand."""

    builds = 1

    def __init__(self, dtype):
        self.dtype = dtype
        start = TwoLayers(dtype).p
        self.model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).to(getattr(gc, dtype))
        with gc.no_grad():
            for layer, i in ((self.model[0], "1"), (self.model[2], "2")):
                layer.weight.copy_(gc.tensor(start["w" + i].T.copy()))
                layer.bias.copy_(gc.tensor(start["b" + i]))
        self.loss_fn = nn.CrossEntropyLoss()

    def named(self):
        a, b = self.model[0], self.model[2]
        return {"w1": a.weight.t(), "b1": a.bias, "w2": b.weight.t(), "b2": b.bias}

    def loss(self, x, y):
        return self.loss_fn(self.model(x), y)

    def step(self, x, y):
        self.model.zero_grad()
        loss = self.loss(x, y)
        loss.backward()
        with gc.no_grad():
            for p in self.model.parameters():
                p -= self.lr * p.grad
        return loss

    def graph(self, x, y):
        loss = self.loss(x, y)
        params = list(self.model.parameters())
        with gc.no_grad():
            for p, g in zip(params, gc.gradients(loss, params), strict=True):
                p -= self.lr * g
        return loss, gc.updates()


class WithOptimizer(WithModule):
    def __init__(self, dtype, make=lambda p: optim.SGD(p, lr=0.1)):
        super().__init__(dtype)
        self.opt = make(self.model.parameters())

    def step(self, x, y):
        self.opt.zero_grad()
        loss = self.loss(x, y)
        loss.backward()
        self.opt.step()
        return loss

    def graph(self, x, y):
        loss = self.loss(x, y)
        return loss, self.opt.minimize(loss)


class TanhByHand(gc.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        y = x.tanh()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return g * (1 - y * y)


class WithFunction(ByHand):
    builds = 1

    def __init__(self, dtype):
        super().__init__(dtype)
        self.opt = optim.SGD(list(self.named().values()), lr=self.lr)

    def loss(self, x, y):
        h = TanhByHand.apply(x @ self.w1 + self.b1)
        return F.cross_entropy(h @ self.w2 + self.b2, y)

    def step(self, x, y):
        self.opt.zero_grad()
        loss = self.loss(x, y)
        loss.backward()
        self.opt.step()
        return loss

    def graph(self, x, y):
        loss = self.loss(x, y)
        return loss, self.opt.minimize(loss)


class CompiledModel(WithOptimizer):
    """Only the model is compiled; loss, backward and optimizer run eagerly."""

    def __init__(self, dtype):
        super().__init__(dtype)
        self.compiled = gc.compile(self.model)

    def loss(self, x, y):
        return self.loss_fn(self.compiled(x), y)


PROGRAMS = {
    "by hand": (ByHand, lambda: NumpySGD(0.1)),
    "autograd": (WithAutograd, lambda: NumpySGD(0.1)),
    "nn": (WithModule, lambda: NumpySGD(0.1)),
    "sgd": (WithOptimizer, lambda: NumpySGD(0.1)),
    "momentum": (
        lambda d: WithOptimizer(d, lambda p: optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01)),
        lambda: NumpySGD(0.05, 0.9, 0.01),
    ),
    "nesterov": (
        lambda d: WithOptimizer(d, lambda p: optim.SGD(p, lr=0.05, momentum=0.8, nesterov=True)),
        lambda: NumpySGD(0.05, 0.8, nesterov=True),
    ),
    "adam": (lambda d: WithOptimizer(d, lambda p: optim.Adam(p, lr=0.01)), lambda: NumpyAdam(0.01)),
    "adamw": (
        lambda d: WithOptimizer(d, lambda p: optim.AdamW(p, lr=0.01, weight_decay=0.1)),
        lambda: NumpyAdam(0.01, decay=0.1, decoupled=True),
    ),
    "custom function": (WithFunction, lambda: NumpySGD(0.1)),
}
REFERENCES = {}
#: a loop of updates by hand has no graph form
CASES = [(name, door) for name in PROGRAMS for door in DOORS if (name, door) != ("by hand", "session")]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "door"), CASES)
def test_training_equals_numpy(name, door, dtype):
    make, optimizer = PROGRAMS[name]
    program = make(dtype)
    steps = STEPS[dtype]
    expected = REFERENCES.get((name, dtype))
    if expected is None:
        expected = REFERENCES[name, dtype] = numpy_training(TwoLayers(dtype), optimizer(), BATCHES, steps, dtype)
    DOORS[door](program, BATCHES, steps).check(expected, TOLERANCE[dtype])
    assert expected.losses[-1] < expected.losses[0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_compiled_model_with_an_eager_loss_and_optimizer(dtype):
    expected = numpy_training(TwoLayers(dtype), NumpySGD(0.1), BATCHES, STEPS[dtype], dtype)
    program = CompiledModel(dtype)
    run_eager(program, BATCHES, STEPS[dtype]).check(expected, TOLERANCE[dtype])
    assert list(program.compiled.state_dict()) == list(program.model.state_dict())


@pytest.mark.parametrize("dtype", DTYPES)
def test_by_hand_keeps_gradients_that_were_zeroed(dtype):
    program = ByHand(dtype)
    run_compiled(program, BATCHES, 3)
    for p in program.named().values():
        assert p.grad is not None and not p.grad.numpy().any()
