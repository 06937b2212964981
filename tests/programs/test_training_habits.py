"""What users do around a training step: accumulate, forget, drop out, draw a depth, normalise, train two nets, change rates."""

from __future__ import annotations

import random

import numpy as np
import pytest
from training import (
    DOORS,
    DTYPES,
    STEPS,
    TOLERANCE,
    NumpyAdam,
    NumpySGD,
    Run,
    TwoLayers,
    classification,
    numbers,
    numpy_training,
    parameter,
    philox_bits,
    run_compiled,
    run_eager,
    run_session,
    to_dtype,
)  # fmt: skip

import graphc as gc
from graphc import nn, optim
from graphc.nn import functional as F

BATCHES = classification()


class Net:
    """The two-layer net with an optimizer, to be varied."""

    builds = 1

    def __init__(self, dtype, lr=0.1):
        self.dtype = dtype
        self.w1, self.b1, self.w2, self.b2 = (parameter(a, dtype) for a in TwoLayers(dtype).p.values())
        self.opt = self.make_optimizer(list(self.named().values()), lr)

    def make_optimizer(self, params, lr):
        return optim.SGD(params, lr=lr)

    def named(self):
        return {"w1": self.w1, "b1": self.b1, "w2": self.w2, "b2": self.b2}

    def hidden(self, x):
        return (x @ self.w1 + self.b1).tanh()

    def loss(self, x, y):
        return F.cross_entropy(self.hidden(x) @ self.w2 + self.b2, y)

    def step(self, x, y):
        self.opt.zero_grad()
        loss = self.loss(x, y)
        loss.backward()
        self.opt.step()
        return loss

    def graph(self, x, y):
        loss = self.loss(x, y)
        return loss, self.opt.minimize(loss)


# --- gradients that stay ----------------------------------------------------------------------------------------------


class Accumulating(Net):
    """Three backwards, then one eager optimizer step."""

    builds = 2  # with and without a gradient to add to
    calls = 0

    def step(self, x, y):
        loss = self.loss(x, y) / 3
        loss.backward()
        return loss

    def graph(self, x, y):
        return self.step(x, y), gc.updates()

    def after_step(self):
        self.calls += 1
        if self.calls % 3 == 0:
            self.opt.step()
            self.opt.zero_grad()


class NumpyAccumulating(NumpySGD):
    def __init__(self, lr):
        super().__init__(lr)
        self.held = []

    def step(self, p, grads):
        self.held.append(grads)
        if len(self.held) == 3:
            super().step(p, {k: sum(g[k] for g in self.held) / 3 for k in p})
            self.held = []


class Forgetful(Net):
    """No zero_grad: every step uses the sum of all gradients so far."""

    builds = 2

    def step(self, x, y):
        loss = self.loss(x, y)
        loss.backward()
        self.opt.step()
        return loss

    def graph(self, x, y):
        return self.step(x, y), gc.updates()


class NumpyForgetful(NumpySGD):
    def step(self, p, grads):
        for k, g in grads.items():
            self.v[k] = self.v.get(k, 0.0) + g
            p[k] = p[k] - self.lr * self.v[k]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("door", DOORS)
def test_gradient_accumulation_over_three_backwards(door, dtype):
    steps = STEPS[dtype]
    expected = numpy_training(TwoLayers(dtype), NumpyAccumulating(0.3), BATCHES, steps, dtype)
    expected.losses /= 3
    DOORS[door](Accumulating(dtype, 0.3), BATCHES, steps).check(expected, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("door", DOORS)
def test_a_forgotten_zero_grad(door, dtype):
    steps, lr = STEPS[dtype], 1e-3
    expected = numpy_training(TwoLayers(dtype), NumpyForgetful(lr), BATCHES, steps, dtype)
    program = Forgetful(dtype, lr)
    DOORS[door](program, BATCHES, steps).check(expected, TOLERANCE[dtype])
    assert all(p.grad is not None for p in program.named().values())


@pytest.mark.parametrize("leftover", [False, True], ids=["first", "after-a-backward"])
@pytest.mark.parametrize("set_to_none", [True, False], ids=["none", "zeros"])
@pytest.mark.parametrize("door", DOORS)
def test_zero_grad_at_the_end_of_the_step(door, set_to_none, leftover):
    class Last(Net):
        builds = 1 + (set_to_none is leftover)

        def step(self, x, y):
            loss = self.loss(x, y)
            loss.backward()
            self.opt.step()
            self.opt.zero_grad(set_to_none)
            return loss

        def graph(self, x, y):
            return self.step(x, y), gc.updates()

    dtype, steps = "float64", 20
    program, twin = Last(dtype, 0.3), Last(dtype, 0.3)
    if leftover:
        for net in (program, twin):
            net.loss(*map(gc.tensor, BATCHES[-1])).backward()
    DOORS[door](program, BATCHES, steps).check(run_eager(twin, BATCHES, steps), TOLERANCE[dtype])
    assert all(p.grad is None or not p.grad.any() for p in program.named().values())


@pytest.mark.parametrize("door", ["eager", "compiled", "session"])
def test_three_backwards_inside_one_step(door):
    class Inside(Net):
        def step(self, x, y):
            self.opt.zero_grad()
            total = 0
            for k in range(3):
                loss = self.loss(x[k::3], y[k::3])
                loss.backward()
                total = total + loss
            self.opt.step()
            return total

        def graph(self, x, y):
            losses = [self.loss(x[k::3], y[k::3]) for k in range(3)]
            total = losses[0] + losses[1] + losses[2]
            return total, self.opt.minimize(total)

    class Numpy(TwoLayers):
        def gradients(self, x, y):
            parts = [super(Numpy, self).gradients(x[k::3], y[k::3]) for k in range(3)]
            return sum(loss for loss, _ in parts), {k: sum(g[k] for _, g in parts) for k in self.p}

    expected = numpy_training(Numpy("float64"), NumpySGD(0.1), BATCHES, 100, "float64")
    DOORS[door](Inside("float64"), BATCHES, 100).check(expected, 1e-9)


# --- randomness -------------------------------------------------------------------------------------------------------


class Dropping(Net):
    def hidden(self, x):
        return F.dropout(super().hidden(x), 0.25, training=True)


class NumpyDropping(TwoLayers):
    draws = 0

    def gradients(self, x, y):
        bits = philox_bits(7, self.draws, len(x) * 6).astype(np.int64)
        self.draws += 1
        keep = bits.astype(np.uint32).view(np.int32).astype(np.int64) < round(0.75 * 2**32) - 2**31
        return super().gradients(x, y, keep.reshape(len(x), 6) / 0.75)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("door", DOORS)
def test_dropout_draws_the_same_mask_everywhere(door, dtype):
    steps = STEPS[dtype]
    expected = numpy_training(NumpyDropping(dtype), NumpySGD(0.1), BATCHES, steps, dtype)
    program = Dropping(dtype)
    gc.manual_seed(7)
    DOORS[door](program, BATCHES, steps).check(expected, TOLERANCE[dtype])
    assert gc.random.get_rng_state().numpy().view(np.int64).tolist() == [7, steps] if hasattr(gc, "random") else True


class DeepNet(nn.Module):
    """Draws its depth inside forward and uses one layer again and again."""

    def __init__(self, dtype):
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(4, 5), nn.Linear(5, 5), nn.Linear(5, 2)
        self.to(getattr(gc, dtype))
        with gc.no_grad():
            for p, a in zip(self.parameters(), NumpyDeep.start(dtype).values(), strict=True):
                p.copy_(gc.tensor(a.T.copy()))

    def forward(self, x):
        h = self.first(x).clamp(min=0)
        for _ in range(random.randint(0, 3)):
            h = self.middle(h).clamp(min=0)
        return self.last(h)


class NumpyDeep:
    def __init__(self, dtype):
        self.p = self.start(dtype)

    @staticmethod
    def start(dtype):
        shapes = {"w1": (4, 5), "b1": (5,), "w": (5, 5), "b": (5,), "w2": (5, 2), "b2": (2,)}
        return {k: numbers(*s, seed=70, scale=0.5).astype(dtype).astype(np.float64) for k, s in shapes.items()}

    def gradients(self, x, y):
        p, depth = self.p, random.randint(0, 3)
        hs = [np.maximum(x @ p["w1"] + p["b1"], 0)]
        for _ in range(depth):
            hs.append(np.maximum(hs[-1] @ p["w"] + p["b"], 0))
        error = hs[-1] @ p["w2"] + p["b2"] - y
        g = 2 * error / error.size
        grads = {"w2": hs[-1].T @ g, "b2": g.sum(0), "w": np.zeros((5, 5)), "b": np.zeros(5)}
        g = (g @ p["w2"].T) * (hs[-1] > 0)
        for k in reversed(range(depth)):
            grads["w"] += hs[k].T @ g
            grads["b"] += g.sum(0)
            g = (g @ p["w"].T) * (hs[k] > 0)
        return float((error**2).mean()), grads | {"w1": x.T @ g, "b1": g.sum(0)}


class Deep(Net):
    def __init__(self, dtype):
        self.dtype, self.model = dtype, DeepNet(dtype)
        self.opt = optim.SGD(self.model.parameters(), lr=0.02, momentum=0.5)

    def named(self):
        m = self.model
        found = {}
        for (w, b), layer in zip((("w1", "b1"), ("w", "b"), ("w2", "b2")), (m.first, m.middle, m.last), strict=True):
            found |= {w: layer.weight.t(), b: layer.bias}
        return found

    def loss(self, x, y):
        return F.mse_loss(self.model(x), y)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("how", ["eager", "compiled step", "compiled model"])
def test_a_net_that_draws_its_depth_inside_forward(how, dtype):
    batches = [(numbers(6, 4, seed=80 + i), numbers(6, 2, seed=90 + i)) for i in range(2)]
    steps = STEPS[dtype]

    class NumpyMomentum(NumpySGD):
        def step(
            self, p, grads
        ):  # a parameter that a depth does not use still moves, as its gradient is None only at first
            super().step(p, {k: g for k, g in grads.items() if k not in ("w", "b") or g.any()})

    random.seed(3)
    expected = numpy_training(NumpyDeep(dtype), NumpyMomentum(0.02, 0.5), batches, steps, dtype)
    program = Deep(dtype)
    random.seed(3)
    if how == "eager":
        result = run_eager(program, batches, steps)
    elif how == "compiled model":
        program.model = gc.compile(program.model)
        result = run_eager(program, batches, steps)
        builds = program.model._run.recompiles
        assert len(builds) <= 4
    else:
        program.builds = 4
        result = run_compiled(program, batches, steps)
    result.final = {k: result.final[k] for k in expected.final}
    result.check(expected, TOLERANCE[dtype])


# --- state that layers keep -------------------------------------------------------------------------------------------


class NumpyNormed:
    """Linear, BatchNorm1d, Linear with a mean squared error."""

    def __init__(self, dtype):
        shapes = {"w1": (4, 5), "b1": (5,), "gamma": (5,), "beta": (5,), "w2": (5, 2), "b2": (2,)}
        self.p = {k: numbers(*s, seed=100, scale=0.5).astype(dtype).astype(np.float64) for k, s in shapes.items()}
        self.mean, self.var = np.zeros(5), np.ones(5)

    def gradients(self, x, y):
        p = self.p
        a = x @ p["w1"] + p["b1"]
        mean, var = a.mean(0), a.var(0)
        inv = 1 / np.sqrt(var + 1e-5)
        n = (a - mean) * inv
        self.mean = 0.9 * self.mean + 0.1 * mean
        self.var = 0.9 * self.var + 0.1 * a.var(0, ddof=1)
        h = n * p["gamma"] + p["beta"]
        error = h @ p["w2"] + p["b2"] - y
        g = 2 * error / error.size
        gh = g @ p["w2"].T
        gn = gh * p["gamma"]
        ga = inv * (gn - gn.mean(0) - n * (gn * n).mean(0))
        return float((error**2).mean()), {
            "w1": x.T @ ga, "b1": ga.sum(0), "gamma": (gh * n).sum(0), "beta": gh.sum(0), "w2": h.T @ g, "b2": g.sum(0),
        }  # fmt: skip


class Normed(Net):
    def __init__(self, dtype):
        self.dtype = dtype
        self.model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 2)).to(getattr(gc, dtype))
        with gc.no_grad():
            for p, a in zip(self.model.parameters(), NumpyNormed(dtype).p.values(), strict=True):
                p.copy_(gc.tensor(a.T.copy()))
        self.opt = optim.SGD(self.model.parameters(), lr=0.05)

    def named(self):
        names = NumpyNormed(self.dtype).p
        return {k: p.t() if p.ndim == 2 else p for k, p in zip(names, self.model.parameters(), strict=True)}

    def loss(self, x, y):
        return F.mse_loss(self.model(x), y)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("door", DOORS)
def test_batch_norm_and_its_running_statistics(door, dtype):
    batches = [(numbers(7, 4, seed=110 + i) * (i + 1), numbers(7, 2, seed=120 + i)) for i in range(3)]
    steps, reference, program = STEPS[dtype], NumpyNormed(dtype), Normed(dtype)
    expected = numpy_training(reference, NumpySGD(0.05), batches, steps, dtype)
    result = DOORS[door](program, batches, steps)
    # a bias in front of a normalisation has no gradient: the rounding noise it collects has no relative size
    np.testing.assert_allclose(result.final.pop("b1"), expected.final.pop("b1"), atol=TOLERANCE[dtype])
    result.check(expected, TOLERANCE[dtype])
    norm = program.model[1]
    np.testing.assert_allclose(norm.running_mean.numpy(), reference.mean, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    np.testing.assert_allclose(norm.running_var.numpy(), reference.var, rtol=TOLERANCE[dtype])
    assert norm.num_batches_tracked.item() == steps


# --- two nets ---------------------------------------------------------------------------------------------------------


class GAN:
    """A linear generator and a linear discriminator, each with its own optimizer."""

    def __init__(self):
        self.g, self.d = (
            parameter(numbers(2, 2, scale=0.3), "float64"),
            parameter(numbers(2, 1, seed=1, scale=0.3), "float64"),
        )
        self.opt_g, self.opt_d = optim.SGD([self.g], lr=0.05), optim.Adam([self.d], lr=0.05)

    def d_loss(self, real, noise):
        fake = noise @ self.g
        one, zero = gc.ones(real.shape[0], 1, dtype=gc.float64), gc.zeros(real.shape[0], 1, dtype=gc.float64)
        logits = F.binary_cross_entropy_with_logits
        return logits(real @ self.d, one) + logits(fake.detach() @ self.d, zero)

    def g_loss(self, noise):
        z = noise @ self.g @ self.d
        return F.binary_cross_entropy_with_logits(z, gc.ones(noise.shape[0], 1, dtype=gc.float64))

    def d_step(self, real, noise):
        self.opt_d.zero_grad()
        loss = self.d_loss(real, noise)
        loss.backward()
        self.opt_d.step()
        return loss

    def g_step(self, noise):
        self.opt_g.zero_grad()
        loss = self.g_loss(noise)
        loss.backward()
        self.opt_g.step()
        return loss

    def both(self, real, noise):
        return self.d_step(real, noise), self.g_step(noise)


class NumpyGAN:
    def __init__(self):
        self.g, self.d = {"g": numbers(2, 2, scale=0.3)}, {"d": numbers(2, 1, seed=1, scale=0.3)}
        self.opt_g, self.opt_d = NumpySGD(0.05), NumpyAdam(0.05)

    def d_grad(self, real, noise):
        d, fake = self.d["d"], noise @ self.g["g"]
        a, b = real @ d, fake @ d
        loss = np.log1p(np.exp(-a)).mean() + np.log1p(np.exp(b)).mean()
        return loss, real.T @ (1 / (1 + np.exp(-a)) - 1) / len(a) + fake.T @ (1 / (1 + np.exp(-b))) / len(b)

    def g_grad(self, noise):
        z = noise @ self.g["g"] @ self.d["d"]
        return np.log1p(np.exp(-z)).mean(), noise.T @ ((1 / (1 + np.exp(-z)) - 1) / len(z)) @ self.d["d"].T


REAL, NOISE = numbers(8, 2, seed=130) + 1, numbers(8, 2, seed=131)


def numpy_gan(steps, together=False):
    net, losses = NumpyGAN(), []
    for _ in range(steps):
        loss_d, grad_d = net.d_grad(REAL, NOISE)
        if together:
            loss_g, grad_g = net.g_grad(NOISE)
        net.opt_d.step(net.d, {"d": grad_d})
        if not together:
            loss_g, grad_g = net.g_grad(NOISE)
        net.opt_g.step(net.g, {"g": grad_g})
        losses += [loss_d, loss_g]
    return Run(losses, {"g": net.g["g"], "d": net.d["d"]})


def finished(gan, losses):
    return Run(losses, {"g": gan.g.detach().numpy(), "d": gan.d.detach().numpy()})


@pytest.mark.parametrize("compiled", [False, True])
def test_a_gan_with_two_optimizers(compiled):
    gan, losses = GAN(), []
    step = gc.compile(gan.both) if compiled else gan.both
    for _ in range(500):
        losses += [loss.item() for loss in step(gc.tensor(REAL), gc.tensor(NOISE))]
    finished(gan, losses).check(numpy_gan(500), 1e-9)
    if compiled:
        assert len(step.recompiles) == 1


@pytest.mark.parametrize("together", [False, True])
def test_a_gan_in_a_session_has_two_train_ops_over_shared_weights(together):
    gan, losses, graph = GAN(), [], gc.Graph()
    with graph.as_default():
        real, noise = gc.placeholder((None, 2), gc.float64), gc.placeholder((None, 2), gc.float64)
        loss_d, loss_g = gan.d_loss(real, noise), gan.g_loss(noise)
        train_d, train_g = gan.opt_d.minimize(loss_d), gan.opt_g.minimize(loss_g)
    feeds = {real: REAL, noise: NOISE}
    with gc.Session(graph) as session:
        for _ in range(500):
            if together:
                losses += session.run([loss_d, loss_g, train_d, train_g], feeds)[:2]
            else:
                losses += [session.run([loss_d, train_d], feeds)[0], session.run([loss_g, train_g], {noise: NOISE})[0]]
    finished(gan, losses).check(numpy_gan(500, together), 1e-9)


# --- rates and doors --------------------------------------------------------------------------------------------------


class Scheduled(Net):
    def make_optimizer(self, params, lr):
        return optim.Adam(params, lr=0.01)

    def after_step(self):
        self.opt.param_groups[0]["lr"] *= 0.99


class NumpyScheduled(NumpyAdam):
    def step(self, p, grads):
        super().step(p, grads)
        self.lr *= 0.99


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("door", DOORS)
def test_a_learning_rate_that_changes_at_each_step_never_rebuilds(door, dtype):
    expected = numpy_training(TwoLayers(dtype), NumpyScheduled(0.01), BATCHES, STEPS[dtype], dtype)
    DOORS[door](Scheduled(dtype), BATCHES, STEPS[dtype]).check(expected, TOLERANCE[dtype])


def test_all_doors_by_turns_on_one_optimizer():
    program, losses = Scheduled("float64"), []
    compiled, graph = gc.compile(program.step), gc.Graph()
    with graph.as_default():
        x, y = gc.placeholder((None, 4), gc.float64), gc.placeholder((None,), gc.int64)
        fetches = program.graph(x, y)
    with gc.Session(graph) as session:
        for i in range(90):
            a, b = BATCHES[i % 3]
            if i % 4 < 2:
                losses.append((program.step if i % 4 else compiled)(gc.tensor(a), gc.tensor(b)).item())
            else:
                losses.append(session.run(fetches, {x: a, y: b})[0])
            program.after_step()
    expected = numpy_training(TwoLayers("float64"), NumpyScheduled(0.01), BATCHES, 90, "float64")
    Run(losses, {k: p.detach().numpy() for k, p in program.named().items()}).check(expected, 1e-9)


# --- sizes ------------------------------------------------------------------------------------------------------------


def of_size(n):
    return numbers(n, 4, seed=140), np.random.default_rng(n).integers(0, 3, n)


def test_batches_of_three_sizes_are_one_build_in_a_session_and_two_when_compiled():
    sizes = (64, 1, 17, 64, 1, 17, 5)
    batches = [of_size(n) for n in sizes]
    expected = numpy_training(TwoLayers("float64"), NumpyAdam(0.01), batches, len(sizes), "float64")

    class Adam(Net):
        builds = 2

        def make_optimizer(self, params, lr):
            return optim.Adam(params, lr=0.01)

    for run in (run_eager, run_compiled, run_session):
        run(Adam("float64"), batches, len(sizes)).check(expected, 1e-9)


def test_no_build_after_the_second_size():
    program = Net("float64")
    step = gc.compile(program.step)
    for n in (64, 1):
        step(*map(gc.tensor, of_size(n)))
    with gc.no_recompile():
        for n in (17, 3, 1, 64, 100):
            step(*map(gc.tensor, of_size(n)))
    first, second = step.recompiles
    assert (first.argument, first.dim) == ("", None)
    assert (second.dim, second.old, second.new) == (0, 64, 1) and second.argument in ("x", "y")


def test_zero_rows():
    program = Net("float64")
    x = np.zeros((0, 4))

    def total(x):
        h = program.hidden(x).view(-1, 3, 2)
        return h.sum() + h.flatten(1).sum()

    compiled = gc.compile(total)
    for n in (3, 0, 5, 0):
        rows = numbers(n, 4, seed=150)
        assert compiled(gc.tensor(rows)).item() == pytest.approx(total(gc.tensor(rows)).item(), rel=1e-12)
    assert len(compiled.recompiles) == 2
    graph = gc.Graph()
    with graph.as_default():
        fed = gc.placeholder((None, 4), gc.float64, name="x")
        out = total(fed), program.hidden(fed)
        grad = gc.gradients(out[0], [program.w1])[0]
    with gc.Session(graph) as session:
        value, h, g = session.run([*out, grad], {"x": x})
        assert value == 0 and h.shape == (0, 6) and not g.any()
        assert session.run(out[1], {"x": numbers(2, 4)}).shape == (2, 6)
        assert len(session.recompiles) == 2  # one per set of fetches


def test_training_on_zero_rows_changes_nothing_but_gives_nan_as_pytorch_does():
    program = Net("float64")
    before = {k: p.detach().numpy().copy() for k, p in program.named().items()}
    step = gc.compile(lambda x: program.hidden(x).sum())
    loss = step(gc.tensor(np.zeros((0, 4))))
    loss.backward()
    assert loss.item() == 0
    assert program.w1.grad is not None and not program.w1.grad.numpy().any()
    for k, p in program.named().items():
        np.testing.assert_array_equal(p.detach().numpy(), before[k])
    assert np.isnan(program.step(*(gc.tensor(to_dtype(a, "float64")) for a in of_size(0))).item())
