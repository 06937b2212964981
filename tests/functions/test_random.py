"""Random functions: moments and ranges with fixed seeds, generators and their states, one stream in every mode."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.functions.dropout import alpha_dropout, dropout, feature_alpha_dropout, feature_dropout
from graphc.functions.random import integer_sample, mask_sample, open_uniform_sample

FLOATS = [gc.float16, gc.bfloat16, gc.float32, gc.float64]
N = 40_000


def array(x: Any) -> Any:
    return x.detach().numpy().astype(np.float64)


def seeded(seed: int = 0) -> Any:
    return gc.Generator().manual_seed(seed)


def near(value: float, expected: float, deviation: float, count: int = N) -> None:
    """Within five standard deviations of a mean over `count` draws."""
    assert abs(value - expected) < 5 * deviation / math.sqrt(count), (value, expected)


# --- samples ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_uniform(dtype: Any) -> None:
    x = gc.rand(N, dtype=dtype, generator=seeded())
    assert x.dtype is dtype
    values = array(x)
    assert values.min() >= 0
    assert values.max() < 1
    step = {gc.float16: 2**-11, gc.bfloat16: 2**-8}.get(dtype, 2**-24)
    near(values.mean() + step / 2 * (dtype.itemsize == 2), 0.5, 12**-0.5)
    counts = np.bincount((values * 16).astype(int), minlength=16)
    assert ((counts - N / 16) ** 2 / (N / 16)).sum() < 15 + 5 * 30**0.5


@pytest.mark.parametrize("dtype", [gc.float32, gc.float64], ids=str)
def test_open_uniform_never_reaches_its_ends(dtype: Any) -> None:
    values = array(open_uniform_sample((N,), dtype, seeded()))
    assert values.min() > 0
    assert values.max() < 1
    near(values.mean(), 0.5, 12**-0.5)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_normal(dtype: Any) -> None:
    x = gc.randn(200, N // 200, dtype=dtype, generator=seeded(1))
    assert x.dtype is dtype
    assert x.shape == (200, N // 200)
    values = array(x)
    near(values.mean(), 0, 1)
    near((values**2).mean(), 1, 2**0.5)
    near((values**3).mean(), 0, 15**0.5)
    near((values**4).mean(), 3, 96**0.5)
    assert 3.5 < np.abs(values).max() < 6.7


def test_randint() -> None:
    values = gc.randint(-3, 4, (N,), generator=seeded()).numpy()
    assert values.dtype == np.int64
    counts = np.bincount(values + 3)
    assert len(counts) == 7
    assert ((counts - N / 7) ** 2 / (N / 7)).sum() < 6 + 5 * 12**0.5
    assert gc.randint(5, (2, 2), dtype=gc.int8).dtype is gc.int8
    assert gc.randint(high=5, size=(3,)).shape == (3,)
    with pytest.raises(RuntimeError, match="'from' to be less than 'to'"):
        gc.randint(3, 3, (1,))
    with pytest.raises(TypeError, match="randint"):
        gc.randint(3)


def test_ranges_of_more_than_63_bits() -> None:
    for low, high in ((-(2**63), 2**63), (0, 2**63), (-(2**63) + 5, 2**63 - 7)):
        values = integer_sample(low, high, (1000,), seeded()).numpy()
        assert values.min() >= low
        assert int(values.max()) < high
        assert len(np.unique(values)) == 1000
        middle = (low + high) / 2
        assert 400 < (values > middle).sum() < 600


def test_randperm() -> None:
    order = gc.randperm(1000, generator=seeded()).numpy()
    np.testing.assert_array_equal(np.sort(order), np.arange(1000))
    assert (order != np.arange(1000)).sum() > 950
    assert gc.randperm(0).shape == (0,)
    firsts = np.bincount([gc.randperm(4, generator=seeded(s))[0].item() for s in range(800)], minlength=4)
    assert ((firsts - 200.0) ** 2 / 200).sum() < 3 + 5 * 6**0.5


def test_like() -> None:
    x = gc.zeros(3, 2, dtype=gc.float64)
    for fn in (gc.rand_like, gc.randn_like):
        assert fn(x).dtype is gc.float64
        assert fn(x).shape == (3, 2)
        assert fn(x, dtype=gc.float32).dtype is gc.float32
    assert set(gc.randint_like(x, 2, 4).flatten().tolist()) <= {2.0, 3.0}
    assert gc.randint_like(x, 4).dtype is gc.float64


# --- distributions ---------------------------------------------------------------------------------------------------


def test_normal_of_tensors() -> None:
    mean, std = gc.tensor([0.0, 10.0, -5.0]), gc.tensor([[1.0], [0.1]])
    gc.manual_seed(3)
    values = np.stack([gc.normal(mean, std).numpy() for _ in range(400)])
    assert np.abs(values.mean(0) - mean.numpy()).max() < 5 / 20
    assert np.abs(values.std(0) / std.numpy() - 1).max() < 0.25
    assert gc.normal(mean, 2.0).shape == (3,)
    assert gc.normal(1.0, std).shape == (2, 1)
    assert gc.normal(1.0, 2.0, (2, 3)).shape == (2, 3)
    assert gc.normal(1.0, 2.0, size=(4,), dtype=gc.float64).dtype is gc.float64
    with pytest.raises(RuntimeError, match="std >= 0"):
        gc.normal(0.0, -1.0, (2,))
    with pytest.raises(RuntimeError, match="std >= 0"):
        gc.normal(0.0, gc.tensor([1.0, -1.0]))
    with pytest.raises(TypeError, match="size"):
        gc.normal(0.0, 1.0)


def test_bernoulli() -> None:
    p = gc.tensor([0.0, 0.2, 0.9, 1.0]).expand(N // 4, 4)
    hits = gc.bernoulli(p, generator=seeded()).numpy()
    assert set(np.unique(hits)) == {0.0, 1.0}
    assert hits[:, 0].sum() == 0
    assert hits[:, 3].all()
    near(hits[:, 1].mean(), 0.2, 0.4, N // 4)
    near(hits[:, 2].mean(), 0.9, 0.3, N // 4)
    near(gc.bernoulli(gc.zeros(N), 0.3, generator=seeded(1)).mean().item(), 0.3, 0.46)
    with pytest.raises(RuntimeError, match="p_in >= 0"):
        gc.bernoulli(gc.tensor([1.5]))
    with pytest.raises(RuntimeError, match="not implemented for int64"):
        gc.bernoulli(gc.tensor([1]))
    with pytest.raises(RuntimeError, match="p to be in"):
        gc.bernoulli(gc.zeros(2), 1.5)


def test_mask() -> None:
    assert not mask_sample((N,), 0.0, seeded()).numpy().any()
    assert mask_sample((N,), 1.0, seeded()).numpy().all()
    near(mask_sample((N,), 0.25, seeded()).numpy().mean(), 0.25, 0.43)


@pytest.mark.parametrize("replacement", [True, False])
def test_multinomial(replacement: bool) -> None:
    p = gc.tensor([[1.0, 0.0, 2.0, 5.0], [1.0, 1.0, 1.0, 1.0]]).repeat(N // 8, 1)
    drawn = gc.multinomial(p, 2, replacement, generator=seeded())
    assert drawn.shape == (N // 4, 2)
    assert drawn.dtype is gc.int64
    values = drawn.numpy()
    for row, expected in ((0, (0.125, 0, 0.25, 0.625)), (1, (0.25,) * 4)):
        share = np.bincount(values[row::2, 0], minlength=4) / (N // 8)
        for got, want in zip(share, expected, strict=True):
            near(got, want, math.sqrt(want * (1 - want)) + 1e-9, N // 8)
    if not replacement:
        assert (values[:, 0] != values[:, 1]).all()
    assert gc.multinomial(gc.tensor([0.0, 1.0]), 3, replacement=True).tolist() == [1, 1, 1]


def test_multinomial_errors() -> None:
    for p, count, message in (
        ([0.5, 0.5], 3, "without replacement"),
        ([0.5, -0.5], 1, "element < 0"),
        ([0.5, float("nan")], 1, "nan"),
        ([0.0, 0.0], 1, "sum of probabilities"),
        ([1.0, 0.0], 2, "not enough"),
        ([[[1.0]]], 1, "1 or 2 dim"),
        ([1, 1], 1, "floating-point"),
        ([1.0, 1.0], 0, "n_sample <= 0"),
    ):
        with pytest.raises(RuntimeError, match=message):
            gc.multinomial(gc.tensor(p), count)


FILLS = {
    "uniform_": ((-1.0, 3.0), 1.0, 16 / 12),
    "normal_": ((2.0, 3.0), 2.0, 9.0),
    "exponential_": ((2.0,), 0.5, 0.25),
    "log_normal_": ((0.0, 0.5), math.exp(0.125), (math.exp(0.25) - 1) * math.exp(0.25)),
    "geometric_": ((0.25,), 4.0, 12.0),
    "bernoulli_": ((0.25,), 0.25, 0.1875),
}


@pytest.mark.parametrize("dtype", [gc.float32, gc.float64], ids=str)
@pytest.mark.parametrize("name", FILLS)
def test_fills(name: str, dtype: Any) -> None:
    args, mean, variance = FILLS[name]
    x = gc.empty(N, dtype=dtype)
    assert getattr(x, name)(*args, generator=seeded(5)) is x
    values = array(x)
    near(values.mean(), mean, variance**0.5)
    near(values.var() / variance, 1, 8)
    assert np.isfinite(values).all()


def test_other_fills() -> None:
    x = gc.empty(N).cauchy_(1.0, 2.0, generator=seeded())
    quartiles = np.quantile(x.numpy(), [0.25, 0.5, 0.75])
    np.testing.assert_allclose(quartiles, [-1, 1, 3], atol=0.15)
    assert set(gc.empty(100, dtype=gc.int64).random_(3).tolist()) == {0, 1, 2}
    assert set(gc.empty(100).random_(-1, 1).tolist()) == {-1.0, 0.0}
    assert set(gc.empty(100, dtype=gc.bool).random_().tolist()) == {False, True}
    assert gc.empty(1000, dtype=gc.int8).random_().max().item() > 100
    assert gc.empty(1000).random_().max().item() > 2**23
    assert gc.empty(4, dtype=gc.int64).random_().min().item() >= 0
    assert gc.empty(2, 3).bernoulli_(gc.tensor([0.0, 1.0, 0.0])).tolist() == [[0, 1, 0], [0, 1, 0]]
    assert gc.empty(5, dtype=gc.int64).geometric_(0.5).min().item() >= 1


def test_fill_errors() -> None:
    x = gc.empty(3)
    for call, message in (
        (lambda: x.uniform_(2.0, 1.0), "from=2.0 > to=1.0"),
        (lambda: x.normal_(0.0, -1.0), "std >= 0"),
        (lambda: x.exponential_(0.0), "lambda > 0"),
        (lambda: x.log_normal_(0.0, 0.0), "std > 0"),
        (lambda: x.cauchy_(0.0, 0.0), "sigma > 0"),
        (lambda: x.geometric_(1.0), "p to be in"),
        (lambda: x.random_(3, 3), "less than"),
        (lambda: gc.empty(3, dtype=gc.int64).normal_(), "not implemented for int64"),
        (lambda: gc.empty(3, dtype=gc.bool).geometric_(0.5), "not implemented for bool"),
    ):
        with pytest.raises(RuntimeError, match=message):
            call()
    with pytest.raises(RuntimeError, match="leaf"):
        gc.ones(3, requires_grad=True).uniform_()


# --- dropout ---------------------------------------------------------------------------------------------------------


def test_dropout() -> None:
    gc.manual_seed(0)
    x = gc.ones(N, requires_grad=True)
    y = dropout(x, 0.25)
    y.sum().backward()
    values = y.detach().numpy()
    assert set(np.unique(values)) == {np.float32(0), np.float32(1 / 0.75)}
    near((values == 0).mean(), 0.25, 0.43)
    np.testing.assert_array_equal(x.grad.numpy(), values)
    assert dropout(x, 0.25, training=False) is x
    assert not dropout(x, 1.0).any()
    z = gc.ones(10)
    assert dropout(z, 0.5, inplace=True) is z
    with pytest.raises(ValueError, match=r"between 0 and 1, but got 1\.5"):
        dropout(x, 1.5)


def test_feature_dropout_takes_whole_channels() -> None:
    y = feature_dropout(gc.ones(8, 16, 5, 5), 0.5).numpy()
    per_channel = y.reshape(8, 16, 25)
    assert ((per_channel == 0).all(-1) | (per_channel == 2).all(-1)).all()
    z = feature_alpha_dropout(gc.ones(8, 16, 5), 0.5, training=True).numpy()
    assert (z == z[:, :, :1]).all()
    with pytest.raises(RuntimeError, match="at least 2 dimensions"):
        feature_dropout(gc.ones(3), 0.5)


def test_alpha_dropout_keeps_mean_and_variance() -> None:
    gc.manual_seed(1)
    x = gc.randn(N)
    y = alpha_dropout(x, 0.3, training=True).numpy()
    near(y.mean(), 0, 1)
    near(y.var(), 1, 2)
    assert alpha_dropout(x, 0.3) is x


# --- generators ------------------------------------------------------------------------------------------------------


def test_seeds() -> None:
    first = gc.manual_seed(42)
    assert gc.initial_seed() == 42
    a = gc.rand(4)
    gc.manual_seed(42)
    np.testing.assert_array_equal(gc.rand(4).numpy(), a.numpy())
    assert (gc.rand(4).numpy() != a.numpy()).any()
    assert first is gc.default_generator
    assert (gc.rand(4, generator=seeded(42)).numpy() == a.numpy()).all()
    assert gc.manual_seed(-1).initial_seed() == 2**64 - 1
    assert gc.seed() == gc.initial_seed()
    with pytest.raises(ValueError, match="Overflow"):
        gc.manual_seed(2**64)
    with pytest.raises(TypeError, match="must be Generator"):
        gc.rand(2, generator=3)
    assert str(gc.Generator().device) == "cpu"


def test_states() -> None:
    generator = seeded(7)
    gc.rand(3, generator=generator)
    state = generator.get_state()
    a = gc.rand(3, generator=generator)
    for other in (gc.Generator(), copy.deepcopy(generator), pickle.loads(pickle.dumps(generator))):
        other.set_state(state)
        np.testing.assert_array_equal(gc.rand(3, generator=other).numpy(), a.numpy())
    before = gc.get_rng_state()
    b = gc.randn(3)
    gc.set_rng_state(before)
    np.testing.assert_array_equal(gc.randn(3).numpy(), b.numpy())
    with pytest.raises(TypeError, match="ByteTensor"):
        generator.set_state(gc.zeros(16))
    with pytest.raises(RuntimeError, match="wrong size"):
        generator.set_state(state[:8])


def test_eager_compiled_and_session_draw_one_stream() -> None:
    def noisy(x: Any) -> Any:
        y = dropout(x, 0.5) + gc.randn(3, 4) + gc.rand_like(x)
        return y * gc.randint(1, 5, (3, 4)) + gc.randperm(4)

    x = gc.ones(3, 4)
    gc.manual_seed(11)
    eager = [noisy(x).numpy() for _ in range(3)]
    gc.manual_seed(11)
    compiled = gc.compile(noisy)
    mixed = [compiled(x).numpy(), noisy(x).numpy(), compiled(x).numpy()]
    graph = gc.Graph()
    with graph.as_default():
        out = noisy(gc.ones(3, 4))
    gc.manual_seed(11)
    with gc.Session(graph) as session:
        fetched = [session.run(out) for _ in range(3)]
    for a, b, c in zip(eager, mixed, fetched, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-6)
        np.testing.assert_allclose(c, a, rtol=1e-6)


def test_reseeding_inside_a_compiled_function() -> None:
    def fresh() -> Any:
        gc.manual_seed(3)
        return gc.rand(4)

    compiled = gc.compile(fresh)
    np.testing.assert_array_equal(compiled().numpy(), compiled().numpy())
    np.testing.assert_array_equal(compiled().numpy(), fresh().numpy())
