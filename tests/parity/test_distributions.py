"""`distributions` against PyTorch: densities, moments, divergences, transforms, refusals; samples by their statistics."""

from __future__ import annotations

import importlib
import math
import warnings

import numpy as np
import pytest
from side_by_side import compare, flat
from tolerances import as_array, assert_close

import graphc as gc
from graphc import distributions as ours
from graphc.distributions import gamma as gamma_file

torch = pytest.importorskip("torch")
theirs = pytest.importorskip("torch.distributions")
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

RNG = np.random.default_rng(5)
POSITIVE, OTHER, REAL = RNG.uniform(0.3, 4, (3,)), RNG.uniform(0.3, 4, (3,)), RNG.normal(size=3)
PROBS, MORE_PROBS = RNG.uniform(0.1, 0.9, (3,)), RNG.uniform(0.1, 0.9, (3,))
SIMPLEX = (lambda x: x / x.sum(-1, keepdims=True))(RNG.uniform(0.2, 1, (2, 4)))
LOGITS = RNG.normal(size=(2, 4))
SPREAD = RNG.normal(size=(3, 3))
COVARIANCE = SPREAD @ SPREAD.T + np.eye(3)
POINTS, UNIT, COUNTS = RNG.normal(size=3), RNG.uniform(0.1, 0.9, 3), np.array([0.0, 2.0, 1.0])


CORRELATION = COVARIANCE / np.sqrt(np.outer(np.diag(COVARIANCE), np.diag(COVARIANCE)))


def _single(x):
    return x.float()


@pytest.fixture(autouse=True)
def validated():
    """PyTorch's compiler, where another test has loaded it, switches validation off for the whole process."""
    for D in (ours, theirs):
        D.Distribution.set_default_validate_args(True)


#: name -> (how it is made, its parameters, a point), D the library's distributions
CASES = {
    "Normal": (lambda D, a, b: D.Normal(a, b), (REAL, POSITIVE), POINTS),
    "Laplace": (lambda D, a, b: D.Laplace(a, b), (REAL, POSITIVE), POINTS),
    "Cauchy": (lambda D, a, b: D.Cauchy(a, b), (REAL, POSITIVE), POINTS),
    "Gumbel": (lambda D, a, b: D.Gumbel(a, b), (REAL, POSITIVE), POINTS),
    "StudentT": (lambda D, a, b, c: D.StudentT(a, b, c), (POSITIVE + 2.5, REAL, OTHER), POINTS),
    "LogNormal": (lambda D, a, b: D.LogNormal(a, b), (REAL, POSITIVE / 4), UNIT),
    "HalfNormal": (lambda D, a: D.HalfNormal(a), (POSITIVE,), UNIT),
    "HalfCauchy": (lambda D, a: D.HalfCauchy(a), (POSITIVE,), UNIT),
    "Uniform": (lambda D, a, b: D.Uniform(a, b), (REAL - 5, REAL + 5), POINTS),
    "Exponential": (lambda D, a: D.Exponential(a), (POSITIVE,), UNIT),
    "Gamma": (lambda D, a, b: D.Gamma(a, b), (POSITIVE, OTHER), UNIT),
    "Chi2": (lambda D, a: D.Chi2(a), (POSITIVE,), UNIT),
    "InverseGamma": (lambda D, a, b: D.InverseGamma(a, b), (POSITIVE + 2.5, OTHER), UNIT),
    "Beta": (lambda D, a, b: D.Beta(a, b), (POSITIVE + 1, OTHER + 1), UNIT),
    "Dirichlet": (lambda D, a: D.Dirichlet(a), (SIMPLEX * 9,), SIMPLEX[::-1].copy()),
    "Pareto": (lambda D, a, b: D.Pareto(a, b), (POSITIVE, OTHER + 2.5), POSITIVE + UNIT),
    "Weibull": (lambda D, a, b: D.Weibull(a, b), (POSITIVE, OTHER + 1), UNIT),
    "Kumaraswamy": (lambda D, a, b: D.Kumaraswamy(a, b), (POSITIVE, OTHER), UNIT),
    "FisherSnedecor": (lambda D, a, b: D.FisherSnedecor(a, b), (POSITIVE + 1, OTHER + 4.5), UNIT),
    "LogisticNormal": (lambda D, a, b: D.LogisticNormal(a, b), (REAL, POSITIVE), SIMPLEX[0]),
    "Bernoulli": (lambda D, a: D.Bernoulli(a), (PROBS,), np.array([0.0, 1.0, 1.0])),
    "Bernoulli of logits": (lambda D, a: D.Bernoulli(logits=a), (REAL,), np.array([0.0, 1.0, 1.0])),
    "Geometric": (lambda D, a: D.Geometric(a), (PROBS,), COUNTS),
    "Geometric of logits": (lambda D, a: D.Geometric(logits=a), (REAL,), COUNTS),
    "Poisson": (lambda D, a: D.Poisson(a), (POSITIVE,), COUNTS),
    "Binomial": (lambda D, a: D.Binomial(5, a), (PROBS,), COUNTS),
    "Binomial of logits": (lambda D, a: D.Binomial(5, logits=a), (REAL,), COUNTS),
    "NegativeBinomial": (lambda D, a, b: D.NegativeBinomial(a, b), (POSITIVE, PROBS), COUNTS),
    "Categorical": (lambda D, a: D.Categorical(a), (SIMPLEX,), np.array([3, 0])),
    "Categorical of logits": (lambda D, a: D.Categorical(logits=a), (LOGITS,), np.array([3, 0])),
    "OneHotCategorical": (lambda D, a: D.OneHotCategorical(a), (SIMPLEX,), np.eye(4)[[3, 0]]),
    "OneHotCategoricalStraightThrough": (
        lambda D, a: D.OneHotCategoricalStraightThrough(logits=a), (LOGITS,), np.eye(4)[[3, 0]],
    ),
    "OneHotCategorical of logits": (lambda D, a: D.OneHotCategorical(logits=a), (LOGITS,), np.eye(4)[[3, 0]]),
    "Multinomial": (lambda D, a: D.Multinomial(6, a), (SIMPLEX,), np.array([[1.0, 2, 3, 0], [0, 0, 6, 0]])),
    "MultivariateNormal": (lambda D, a, b: D.MultivariateNormal(a, b), (REAL, COVARIANCE), POINTS),
    "MultivariateNormal of precision": (
        lambda D, a, b: D.MultivariateNormal(a, precision_matrix=b), (np.stack([REAL, POINTS]), COVARIANCE), POINTS,
    ),
    "MultivariateNormal of a factor": (
        lambda D, a, b: D.MultivariateNormal(a, scale_tril=b), (REAL, np.linalg.cholesky(COVARIANCE)), POINTS,
    ),
    "LowRankMultivariateNormal": (
        lambda D, a, w, d: D.LowRankMultivariateNormal(a, w, d), (REAL, SPREAD[:, :2].copy(), POSITIVE), POINTS,
    ),
    "LowRankMultivariateNormal in a batch": (
        lambda D, a, w, d: D.LowRankMultivariateNormal(a, w, d),
        (np.stack([REAL, POINTS]), SPREAD[:, :1].copy(), POSITIVE),
        np.stack([POINTS, REAL]),
    ),
    "VonMises": (lambda D, a, b: D.VonMises(a, b), (REAL, POSITIVE * 2), POINTS),
    "ContinuousBernoulli": (lambda D, a: D.ContinuousBernoulli(a), (np.array([0.2, 0.9, 0.5003]),), UNIT),
    "ContinuousBernoulli of logits": (lambda D, a: D.ContinuousBernoulli(logits=a), (REAL,), UNIT),
    # PyTorch's compares with a number in float32
    "GeneralizedPareto": (
        lambda D, a, b, c: D.GeneralizedPareto(_single(a), _single(b), _single(c)),
        (REAL, POSITIVE, np.array([0.3, -0.4, 0.0])),
        REAL + UNIT,
    ),
    "LKJCholesky": (lambda D, a: D.LKJCholesky(3, a), (POSITIVE,), np.linalg.cholesky(CORRELATION)),
    "Wishart": (
        lambda D, n, v: D.Wishart(n, v), (np.array(4.5), COVARIANCE), COVARIANCE + np.diag([1.0, 2.0, 0.5]),
    ),
    "Wishart of a factor": (
        lambda D, n, v: D.Wishart(n, scale_tril=v.tril()), (POSITIVE + 4.2, np.linalg.cholesky(COVARIANCE)), COVARIANCE * 2,
    ),
    "Wishart of precision": (
        lambda D, n, v: D.Wishart(n, precision_matrix=v), (np.array(4.5), COVARIANCE), COVARIANCE * 2,
    ),
    "RelaxedBernoulli": (lambda D, t, a: D.RelaxedBernoulli(t, a), (np.array(0.7), PROBS), UNIT),
    "RelaxedOneHotCategorical": (
        lambda D, t, a: D.RelaxedOneHotCategorical(t, logits=a), (np.array(0.7), LOGITS), SIMPLEX,
    ),
    "Independent": (lambda D, a, b: D.Independent(D.Normal(a, b), 1), (REAL, POSITIVE), POINTS),
    "MixtureSameFamily": (
        lambda D, w, a, b: D.MixtureSameFamily(D.Categorical(logits=w), D.Normal(a, b)),
        (REAL, POINTS, POSITIVE),
        np.array(0.3),
    ),
    "MixtureSameFamily of vectors": (
        lambda D, w, a, b: D.MixtureSameFamily(D.Categorical(w), D.Independent(D.Normal(a, b), 1)),
        (SIMPLEX, RNG.normal(size=(2, 4, 3)), RNG.uniform(0.5, 2, (2, 4, 3))),
        POINTS,
    ),
    "TransformedDistribution": (
        lambda D, a, b: D.TransformedDistribution(
            D.Normal(a, b), [D.AffineTransform(0.5, 2.0), D.TanhTransform(), D.SigmoidTransform()]
        ),
        (REAL, POSITIVE),
        UNIT * 0.2 + 0.4,
    ),
    "TransformedDistribution of vectors": (
        lambda D, a, b: D.TransformedDistribution(D.Normal(a, b), D.StickBreakingTransform()),
        (REAL, POSITIVE),
        SIMPLEX[0],
    ),
}  # fmt: skip
#: those whose entropy, moments or distribution functions PyTorch has not either
PARTS = ("mean", "mode", "variance", "stddev", "entropy", "perplexity")


def make(name, library, requires_grad=False):
    build, parameters, _ = CASES[name]
    D = ours if library is gc else theirs
    tensors = [library.tensor(p.tolist(), dtype=library.float64) for p in parameters]
    for t in tensors:
        t.requires_grad_(requires_grad)
    return build(D, *tensors), tensors


def point(name, library):
    x = CASES[name][2]
    return library.tensor(x.tolist(), dtype=library.float64 if x.dtype.kind == "f" else library.int64)


def found(d, part):
    return getattr(d, part)() if part in ("entropy", "perplexity") else getattr(d, part)


def attempt(code):
    """What code gives, or the class of what it raises."""
    try:
        return code()
    except (NotImplementedError, AttributeError) as error:
        return type(error)


def same(mine, its, n=512):
    if isinstance(its, type):
        assert mine is NotImplementedError or mine is its, f"{mine}, PyTorch raises {its}"
        return
    compare(mine, its, n=n, scale=max(1.0, float(np.nanmax(np.abs(as_array(its).astype(float)), initial=1.0))))


@pytest.mark.parametrize("name", CASES)
def test_densities_and_moments(name):
    (p, mine), (q, its) = make(name, gc, True), make(name, torch, True)
    assert repr(p).replace("graphc.", "torch.").replace("\n", "") == repr(q).replace("\n", "")
    assert tuple(p.batch_shape) == tuple(q.batch_shape)
    assert tuple(p.event_shape) == tuple(q.event_shape)
    assert p.has_rsample == q.has_rsample
    assert repr(p.support).split("(")[0] == repr(q.support).split("(")[0]
    x, y = point(name, gc), point(name, torch)
    a, b = p.log_prob(x), q.log_prob(y)
    single = name == "GeneralizedPareto"  # its parameters are float32
    same(a, b, 1e17 if single else 512)
    a.sum().backward()
    b.sum().backward()
    for s, t in zip(mine, its, strict=True):
        assert (s.grad is None) == (t.grad is None)
        if t.grad is not None:
            same(s.grad, t.grad, 1e17 if single else 4096)
    for part in PARTS:
        values = [attempt(lambda d=d, part=part: found(d, part)) for d in (p, q)]
        same(*values, n=512 if name != "Multinomial" else 1e15)  # PyTorch takes a part of that entropy in float32


@pytest.mark.parametrize("name", CASES)
def test_distribution_functions(name):
    (p, _), (q, _) = make(name, gc), make(name, torch)
    x, y = point(name, gc), point(name, torch)
    for a, b in ((p.cdf, q.cdf), (p.icdf, q.icdf)):
        inside = (gc.tensor(UNIT.tolist(), dtype=gc.float64), torch.tensor(UNIT)) if a == p.icdf else (x, y)
        values = attempt(lambda a=a, v=inside: a(v[0])), attempt(lambda b=b, v=inside: b(v[1]))
        same(*values)
    same(attempt(lambda: p.enumerate_support()), attempt(lambda: q.enumerate_support()))
    same(attempt(lambda: p.enumerate_support(expand=False)), attempt(lambda: q.enumerate_support(expand=False)))


@pytest.mark.parametrize("name", CASES)
def test_expand(name):
    (p, _), (q, _) = make(name, gc), make(name, torch)
    if name == "OneHotCategoricalStraightThrough":  # PyTorch's compares constructors, which the recorder replaces
        q = make("OneHotCategorical of logits", torch)[0]
    shape = (5, *q.batch_shape)
    p, q = p.expand(shape), q.expand(shape)
    assert tuple(p.batch_shape) == tuple(q.batch_shape)
    assert tuple(p.event_shape) == tuple(q.event_shape)
    same(p.log_prob(point(name, gc)), q.log_prob(point(name, torch)), 1e17 if name == "GeneralizedPareto" else 512)
    same(attempt(lambda: p.mean), attempt(lambda: q.mean))
    assert tuple(p.sample((2,)).shape) == tuple(q.sample((2,)).shape)


def test_straight_through_expands():
    d = make("OneHotCategoricalStraightThrough", gc)[0].expand((5, 2))
    assert tuple(d.rsample((3,)).shape) == (3, 5, 2, 4)


HEAVY = ("GeneralizedPareto", "Cauchy", "HalfCauchy", "StudentT", "InverseGamma", "Pareto")


@pytest.mark.parametrize("name", CASES)
def test_samples_have_the_distribution(name):
    """Equal quantiles of many samples, ours and PyTorch's, dimension by dimension."""
    (p, _), (q, _) = make(name, gc), make(name, torch)
    gc.manual_seed(3)
    torch.manual_seed(3)
    n = 20000
    a, b = p.sample((n,)), q.sample((n,))
    assert tuple(a.shape) == tuple(b.shape)
    assert str(a.dtype).split(".")[1] == str(b.dtype).split(".")[1]
    assert not a.requires_grad
    assert not p._validate_args or p.support.check(a).all()
    x, y = as_array(a).reshape(n, -1).astype(float), as_array(b).reshape(n, -1).astype(float)
    for column, other in zip(x.T, y.T, strict=True):
        levels = np.linspace(0.1, 0.9, 9) if name in HEAVY else np.linspace(0.03, 0.97, 17)
        cuts = np.quantile(other, levels)
        shares = [[(c[:, None] <= cuts).mean(0), (c[:, None] < cuts).mean(0)] for c in (column, other)]
        assert np.abs(np.array(shares[0]) - np.array(shares[1])).max() < 5 * math.sqrt(0.5 / n)


#: of the samples' gradients: the mean, and how far the mean of ours may lie from PyTorch's, as both are estimates
NOT_COMPARED = (
    "Cauchy", "HalfCauchy", "LowRankMultivariateNormal in a batch",  # too far apart for so few samples
    "Wishart", "Wishart of a factor", "Wishart of precision",  # PyTorch's fail in `backward`
)  # fmt: skip
REPARAMETERISED = [n for n in CASES if n not in NOT_COMPARED and make(n, torch)[0].has_rsample]


@pytest.mark.parametrize("name", REPARAMETERISED)
def test_gradients_of_samples(name):
    n = 40000
    found = []
    for library in (gc, torch):
        library.manual_seed(4)
        d, parameters = make(name, library, True)
        x = d.rsample((n,))
        assert x.requires_grad
        weights = library.linspace(0.5, 1.5, x[0].numel(), dtype=library.float64).reshape(x[0].shape)
        ((x.tanh() * weights).sum() / n).backward()
        found.append([as_array(p.grad) for p in parameters if p.grad is not None])
    for mine, its in zip(*found, strict=True):
        assert np.abs(mine - its).max() < 0.03 * max(0.3, np.abs(its).max())


@pytest.mark.parametrize("concentration", [0.3, 1.0, 4.0, 7.9, 8.1, 30.0, 300.0])
def test_the_gradient_of_a_gamma_sample_is_pytorchs(concentration):
    a = torch.full((500,), concentration, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(0)
    z = torch._standard_gamma(a)
    z.sum().backward()
    with gc.no_grad():
        mine = gamma_file._slope(gc.full((500,), concentration, dtype=gc.float64), gc.tensor(z.detach().numpy()))
    np.testing.assert_allclose(as_array(mine), as_array(a.grad), rtol=4e-3)


# --- divergences ------------------------------------------------------------------------------------------------------

FAMILIES = {
    "Bernoulli": (PROBS, MORE_PROBS), "Beta": ((POSITIVE, OTHER), (OTHER + 1, POSITIVE)),
    "Cauchy": ((REAL, POSITIVE), (POINTS, OTHER)), "Categorical": (SIMPLEX, SIMPLEX[::-1].copy()),
    "Dirichlet": (SIMPLEX * 4, SIMPLEX[::-1] * 3), "Exponential": (POSITIVE, OTHER),
    "Gamma": ((POSITIVE, OTHER), (OTHER, POSITIVE)), "Geometric": (PROBS, MORE_PROBS),
    "Gumbel": ((REAL, POSITIVE), (POINTS, OTHER)), "HalfNormal": (POSITIVE, OTHER),
    "Laplace": ((REAL, POSITIVE), (POINTS, OTHER)), "LogNormal": ((REAL, POSITIVE), (POINTS, OTHER)),
    "MultivariateNormal": ((REAL, COVARIANCE), (POINTS, np.eye(3) * 2)), "Normal": ((REAL, POSITIVE), (POINTS, OTHER)),
    "OneHotCategorical": (SIMPLEX, SIMPLEX[::-1].copy()), "Pareto": ((POSITIVE, OTHER + 2.1), (OTHER, POSITIVE)),
    "ContinuousBernoulli": (np.array([0.2, 0.9, 0.5003]), PROBS),
    "LowRankMultivariateNormal": ((REAL, SPREAD[:, :2].copy(), POSITIVE), (POINTS, SPREAD[:, 1:].copy(), OTHER)),
    "Poisson": (POSITIVE, OTHER), "Uniform": ((UNIT, UNIT + 1), (UNIT - 1, UNIT + 2)),
}  # fmt: skip


def member(name, which, library):
    D = ours if library is gc else theirs
    given = FAMILIES[name][which]
    arrays = given if isinstance(given, tuple) else (given,)
    return getattr(D, name)(*(library.tensor(np.array(x).tolist(), dtype=library.float64) for x in arrays))


@pytest.mark.parametrize("name", FAMILIES)
def test_divergences_within_a_family(name):
    for first, second in ((0, 1), (1, 0), (0, 0)):
        values = [
            D.kl_divergence(member(name, first, m), member(name, second, m)) for D, m in ((ours, gc), (theirs, torch))
        ]
        same(*values)


def test_divergences_between_families():
    vectors = ("Categorical", "OneHotCategorical", "Dirichlet", "MultivariateNormal", "LowRankMultivariateNormal")
    names = [n for n in FAMILIES if n not in vectors]
    compared = 0
    for p in names:
        for q in names:
            its = attempt(lambda p=p, q=q: theirs.kl_divergence(member(p, 0, torch), member(q, 1, torch)))
            mine = attempt(lambda p=p, q=q: ours.kl_divergence(member(p, 0, gc), member(q, 1, gc)))
            same(mine, its)
            compared += not isinstance(its, type)
    assert compared > 75
    for p, q in (vectors[-2:], vectors[:-3:-1]):
        values = [D.kl_divergence(member(p, 0, m), member(q, 1, m)) for D, m in ((ours, gc), (theirs, torch))]
        same(*values)


def test_divergences_of_compositions():
    for code in (
        lambda D, m: D.kl_divergence(
            D.Independent(member("Normal", 0, m), 1), D.Independent(member("Normal", 1, m), 1)
        ),
        lambda D, m: D.kl_divergence(D.Binomial(4, m.tensor([0.2, 0.7])), D.Binomial(4, m.tensor([0.5, 0.4]))),
        lambda D, m: D.kl_divergence(D.Bernoulli(m.tensor([0.0, 1.0])), D.Bernoulli(m.tensor([0.3, 0.0]))),
        lambda D, m: D.kl_divergence(D.Uniform(0.0, m.tensor([1.0, 0.5])), D.Beta(2.0, 3.0)),
        lambda D, m: D.kl_divergence(D.Uniform(0.0, m.tensor([1.0, 0.5])), D.Gamma(2.0, 3.0)),
    ):
        same(code(ours, gc), code(theirs, torch))


def test_the_gamma_distribution_function():
    a, x = np.repeat([0.1, 1.0, 5.0, 60.0, 150.0], 40), np.tile(np.geomspace(0.01, 250, 40), 5)
    found = []
    for D, m in ((ours, gc), (theirs, torch)):
        concentration, points = (m.tensor(v.tolist(), dtype=m.float64) for v in (a, x))
        found.append(as_array(D.Gamma(concentration, 1.0).cdf(points)))
    np.testing.assert_allclose(*found, atol=2e-12)


def test_register_kl():
    with pytest.raises(TypeError, match="Distribution subclass"):
        ours.register_kl(int, ours.Normal)
    for D, m in ((ours, gc), (theirs, torch)):

        class Own(D.Normal):
            pass

        D.register_kl(Own, D.Normal)(lambda p, q: "own")
        assert D.kl_divergence(Own(m.zeros(1), m.ones(1)), D.Normal(0.0, 1.0)) == "own"
        with pytest.raises(NotImplementedError, match="No KL"):
            D.kl_divergence(D.Normal(0.0, 1.0), D.Categorical(m.ones(3)))


# --- refusals ---------------------------------------------------------------------------------------------------------

REFUSED = {
    "scale": lambda D, m: D.Normal(m.zeros(2), m.tensor([1.0, -1.0])),
    "nan": lambda D, m: D.Normal(m.tensor([math.nan]), 1.0),
    "probability": lambda D, m: D.Bernoulli(m.tensor([1.5])),
    "simplex": lambda D, m: D.Categorical(m.tensor([[0.5, -0.5]])),
    "value outside": lambda D, m: D.Beta(m.ones(1), m.ones(1)).log_prob(m.tensor([2.0])),
    "class outside": lambda D, m: D.Categorical(m.ones(3)).log_prob(m.tensor(3)),
    "value's shape": lambda D, m: D.Normal(m.zeros(3), m.ones(3)).log_prob(m.zeros(2)),
    "event's shape": lambda D, m: D.Dirichlet(m.ones(3)).log_prob(m.ones(2)),
    "no tensor": lambda D, m: D.Normal(0.0, 1.0).log_prob(0.5),
    "both": lambda D, m: D.Categorical(probs=m.ones(2), logits=m.ones(2)),
    "none": lambda D, m: D.Bernoulli(),
    "a number": lambda D, m: D.Categorical(m.tensor(1.0)),
    "order": lambda D, m: D.Uniform(m.ones(1), m.zeros(1)),
    "covariance": lambda D, m: D.MultivariateNormal(m.zeros(2), -m.eye(2)),
    "two matrices": lambda D, m: D.MultivariateNormal(m.zeros(2), m.eye(2), m.eye(2)),
    "dimensions": lambda D, m: D.Independent(D.Normal(m.zeros(2), m.ones(2)), 2),
    "components": lambda D, m: D.MixtureSameFamily(D.Categorical(m.ones(2)), D.Normal(m.zeros(3), m.ones(3))),
    "mixture": lambda D, m: D.MixtureSameFamily(D.Normal(0.0, 1.0), D.Normal(m.zeros(3), m.ones(3))),
    "transforms": lambda D, m: D.TransformedDistribution(D.Normal(0.0, 1.0), [3]),
    "cache": lambda D, m: D.ExpTransform(cache_size=2),
    "text": lambda D, m: D.Normal("a", 1.0),
    "geometric": lambda D, m: D.Geometric(m.zeros(1)),
    "low rank's mean": lambda D, m: D.LowRankMultivariateNormal(m.tensor(1.0), m.ones(2, 1), m.ones(2)),
    "low rank's factor": lambda D, m: D.LowRankMultivariateNormal(m.zeros(2), m.ones(2), m.ones(2)),
    "low rank's rows": lambda D, m: D.LowRankMultivariateNormal(m.zeros(2), m.ones(3, 1), m.ones(2)),
    "low rank's diagonal": lambda D, m: D.LowRankMultivariateNormal(m.zeros(2), m.ones(2, 1), m.ones(3)),
    "low rank's batch": lambda D, m: D.LowRankMultivariateNormal(m.zeros(3, 2), m.ones(4, 2, 1), m.ones(2)),
    "low rank's sign": lambda D, m: D.LowRankMultivariateNormal(m.zeros(2), m.ones(2, 1), -9 * m.ones(2)),
    "low rank events": lambda D, m: D.kl_divergence(
        *(D.LowRankMultivariateNormal(m.zeros(n), m.ones(n, 1), m.ones(n)) for n in (2, 3))
    ),
    "correlations of one": lambda D, m: D.LKJCholesky(1),
    "degrees of freedom": lambda D, m: D.Wishart(m.tensor(1.0), m.eye(3)),
    "no covariance": lambda D, m: D.Wishart(m.tensor(4.0)),
    "a vector of covariance": lambda D, m: D.Wishart(m.tensor(4.0), m.ones(3)),
    "continuous": lambda D, m: D.ContinuousBernoulli(m.tensor([1.5]), validate_args=True),
    "neither": lambda D, m: D.ContinuousBernoulli(),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    with pytest.raises(Exception) as its:  # noqa: PT011
        REFUSED[name](theirs, torch)
    with pytest.raises(its.type) as mine:
        REFUSED[name](ours, gc)
    if name not in ("text", "two matrices", "mixture", "low rank events"):
        assert str(mine.value).replace("graphc.", "torch.").split("\n")[0] == str(its.value).split("\n")[0]


def test_validation_can_be_switched_off():
    for D, m in ((ours, gc), (theirs, torch)):
        assert float(D.Normal(0.0, m.tensor(-1.0), validate_args=False).scale) == -1.0
        D.Distribution.set_default_validate_args(False)
        try:
            assert not D.Normal(0.0, m.tensor(-1.0))._validate_args
        finally:
            D.Distribution.set_default_validate_args(True)
        with warnings.catch_warnings(record=True):
            assert tuple(D.Normal(m.zeros(2), m.ones(2)).sample_n(3).shape) == (3, 2)


def test_subclasses_of_users():
    for D, m in ((ours, gc), (theirs, torch)):

        class Twice(D.Distribution):
            arg_constraints = {}  # noqa: RUF012

            def __init__(self, inner):
                self.inner = inner
                super().__init__(inner.batch_shape, inner.event_shape)

            def rsample(self, sample_shape=()):
                return 2 * self.inner.rsample(sample_shape)

        d = Twice(D.Normal(m.zeros(2), m.ones(2)))
        assert isinstance(d, D.Distribution)
        assert tuple(d.sample((3,)).shape) == (3, 2)
        with pytest.raises(NotImplementedError):
            d.log_prob(m.zeros(2))


@pytest.mark.parametrize("path", ["normal.Normal", "categorical.Categorical", "kl.kl_divergence", "utils.broadcast_all",
                                  "transforms.ExpTransform", "studentT.StudentT", "exp_family.ExponentialFamily"])  # fmt: skip
def test_pytorchs_paths(path):
    file, name = path.split(".")
    for D in ("graphc", "torch"):
        assert callable(getattr(importlib.import_module(f"{D}.distributions.{file}"), name))


def test_helpers():
    for D, m in ((ours, gc), (theirs, torch)):
        a, _ = D.utils.broadcast_all(1, m.zeros(2, dtype=m.float64))
        assert tuple(a.shape) == (2,)
        assert a.dtype == m.float64
        back = D.utils.logits_to_probs(D.utils.probs_to_logits(m.tensor([0.2, 0.8])))
        assert_close(back, np.array([0.2, 0.8], np.float32), n=8)
        assert_close(D.utils.clamp_probs(m.tensor([0.5])), np.array([0.5], np.float32))


# --- all doors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_compiled_as_eager(name):
    build, parameters, _ = CASES[name]
    tensors, x = [gc.tensor(p) for p in parameters], point(name, gc)

    def code(*parameters):
        d = build(ours, *parameters)
        return d.log_prob(x), d.sample((4,)), attempt(lambda: d.entropy())

    runs = []
    for run in (code, gc.compile(code)):
        gc.manual_seed(9)
        runs.append([v for v in flat(run(*tensors)) if not isinstance(v, type)])
    for a, b in zip(*runs, strict=True):
        assert_close(b, as_array(a), n=512, scale=max(1.0, float(np.abs(as_array(a).astype(float)).max())))


def test_in_a_graph_and_a_training_step():
    """A policy's loss, by samples and log-probabilities: eager, compiled and in a session."""

    def loss(logits, seen):
        d = ours.Categorical(logits=logits)
        return -(d.log_prob(seen) * 0.5).mean() - 0.1 * d.entropy().mean()

    x, seen = gc.tensor(LOGITS), gc.tensor([1, 3])
    want = loss(x, seen)
    assert_close(gc.compile(loss)(x, seen), want, n=64)
    graph = gc.Graph()
    with graph.as_default():
        a = gc.placeholder((2, 4), dtype=gc.float64, name="a")
        b = gc.placeholder((2,), dtype=gc.int64, name="b")
        y = loss(a, b)
    with gc.Session(graph) as session:
        assert_close(session.run(y, feed_dict={a: LOGITS, b: np.array([1, 3])}), want.numpy(), n=64)
    mu = gc.nn.Parameter(gc.zeros(2))
    optimizer = gc.optim.SGD([mu], 0.2)

    def step():
        optimizer.zero_grad()
        gap = (ours.Normal(mu, 1.0).rsample((256,)) - gc.tensor([1.0, -2.0])).square().mean()
        gap.backward()
        optimizer.step()
        return gap

    gc.manual_seed(0)
    compiled = gc.compile(step)
    for _ in range(60):
        compiled()
    assert_close(mu, np.array([1.0, -2.0], np.float32), scale=20000.0)


def test_what_only_one_family_has():
    for m in (gc, torch):
        D = ours if m is gc else theirs
        with pytest.warns(UserWarning, match="Low df values detected"):
            D.Wishart(m.tensor(2.5), m.eye(3))
    found = []
    for D, m in ((ours, gc), (theirs, torch)):
        d = D.GeneralizedPareto(m.zeros(3), m.ones(3), m.tensor([0.3, -0.4, 0.0]))
        x = m.tensor([0.2, 1.0, 3.0])
        low = D.LowRankMultivariateNormal(*(m.tensor(a) for a in (REAL, SPREAD[:, :2].copy(), POSITIVE)))
        half = D.ContinuousBernoulli(m.tensor([0.45, 0.3]), lims=(0.4, 0.6))
        parts = (
            half.mean,
            half.variance,
            d.log_survival_function(x),
            d.log_cdf(x),
            low.precision_matrix,
            low.scale_tril,
            low.covariance_matrix,
        )
        found.append(parts)
    for mine, its in zip(*found, strict=True):
        same(mine, its)


def test_gradients_of_wishart_samples():
    """Of the mean, df L L^T: the sum of V for df, and df (W + W^T) L for L, W being the weights of the sum."""
    gc.manual_seed(4)
    df, factor = gc.tensor(6.5, dtype=gc.float64, requires_grad=True), gc.tensor(np.linalg.cholesky(COVARIANCE))
    weights = np.linspace(0.5, 1.5, 9).reshape(3, 3)
    factor.requires_grad_()
    d = ours.Wishart(df, scale_tril=factor)
    (d.rsample((40000,)).mean(0) * gc.tensor(weights)).sum().backward()
    np.testing.assert_allclose(df.grad.numpy(), (COVARIANCE * weights).sum(), rtol=0.03)
    want = np.tril(6.5 * (weights + weights.T) @ np.linalg.cholesky(COVARIANCE))
    assert np.abs(np.tril(factor.grad.numpy()) - want).max() < 0.03 * np.abs(want).max()


def test_a_singular_sample_is_drawn_again(monkeypatch):
    d = ours.Wishart(gc.tensor(4.0), gc.eye(2))
    bad, good = gc.zeros(3, 2, 2), gc.eye(2).expand(3, 2, 2)
    drawn = iter([bad, good])
    monkeypatch.setattr(d, "_drawn", lambda shape: next(drawn))
    with pytest.warns(UserWarning, match="Singular sample detected"):
        assert d.sample((3,)).tolist() == good.tolist()


@pytest.mark.parametrize(
    "name", ["VonMises", "LKJCholesky", "Wishart", "ContinuousBernoulli", "LowRankMultivariateNormal"]
)
def test_new_families_in_compiled_functions(name):
    d, _ = make(name, gc)
    x = point(name, gc)

    def fn():
        sample = d.sample((2,))
        return sample, d.log_prob(sample), d.log_prob(x)

    gc.manual_seed(5)
    want = fn()
    gc.manual_seed(5)
    for a, b in zip(gc.compile(fn)(), want, strict=True):
        assert_close(a, b, n=512)
