"""Transforms and constraints of `distributions` against PyTorch."""

from __future__ import annotations

import math

import numpy as np
import pytest
from side_by_side import compare
from tolerances import as_array, assert_close

import graphc as gc
from graphc import distributions as ours

torch = pytest.importorskip("torch")
theirs = pytest.importorskip("torch.distributions")
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

RNG = np.random.default_rng(5)
POSITIVE, REAL, SPREAD = RNG.uniform(0.3, 4, (3,)), RNG.normal(size=3), RNG.normal(size=(3, 3))


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


# --- transforms -------------------------------------------------------------------------------------------------------

TRANSFORMS = {
    "ExpTransform": (lambda D, m: D.ExpTransform(), REAL),
    "PowerTransform": (lambda D, m: D.PowerTransform(m.tensor(1.7, dtype=m.float64)), POSITIVE),
    "SigmoidTransform": (lambda D, m: D.SigmoidTransform(), REAL),
    "SoftplusTransform": (lambda D, m: D.SoftplusTransform(), REAL),
    "TanhTransform": (lambda D, m: D.TanhTransform(), REAL),
    "AffineTransform": (lambda D, m: D.AffineTransform(m.tensor(2.0), -3.0, event_dim=1), REAL),
    "AffineTransform of tensors": (lambda D, m: D.AffineTransform(m.tensor(2.0), m.tensor([1.0, -2.0, 3.0])), REAL),
    "ComposeTransform": (lambda D, m: D.ComposeTransform([D.AffineTransform(1.0, 2.0), D.ExpTransform()]), REAL),
    "IndependentTransform": (lambda D, m: D.IndependentTransform(D.ExpTransform(), 1), REAL),
    "ReshapeTransform": (lambda D, m: D.ReshapeTransform((3,), (3, 1)), REAL),
    "StickBreakingTransform": (lambda D, m: D.StickBreakingTransform(), REAL),
    "CorrCholeskyTransform": (lambda D, m: D.CorrCholeskyTransform(), RNG.normal(size=(2, 6))),
    "CatTransform": (lambda D, m: D.CatTransform([D.ExpTransform(), D.TanhTransform()], dim=-1, lengths=[1, 2]), REAL),
    "StackTransform": (lambda D, m: D.StackTransform([D.ExpTransform(), D.TanhTransform()], dim=0), RNG.normal(size=(2, 3))),
    "CumulativeDistributionTransform": (
        lambda D, m: D.CumulativeDistributionTransform(D.Normal(m.tensor(0.0, dtype=m.float64), 2.0)), REAL,
    ),
    "inverse": (lambda D, m: D.ExpTransform().inv, POSITIVE),
    "AbsTransform": (lambda D, m: D.AbsTransform(), REAL),
    "SoftmaxTransform": (lambda D, m: D.SoftmaxTransform(), REAL),
    "LowerCholeskyTransform": (lambda D, m: D.LowerCholeskyTransform(), SPREAD),
    "PositiveDefiniteTransform": (lambda D, m: D.PositiveDefiniteTransform(), SPREAD),
}  # fmt: skip
ONE_WAY = ("AbsTransform", "SoftmaxTransform", "LowerCholeskyTransform", "PositiveDefiniteTransform")


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms(name):
    build, array = TRANSFORMS[name]
    (t, u), x, y = (build(ours, gc), build(theirs, torch)), gc.tensor(array), torch.tensor(array)
    assert repr(t) == repr(u)
    assert t.bijective == u.bijective
    a, b = t(x), u(y)
    same(a, b)
    same(t.inv(a), u.inv(b), 4096)
    if name not in ONE_WAY:
        same(t.log_abs_det_jacobian(x, a), u.log_abs_det_jacobian(y, b), 4096)
        assert tuple(t.forward_shape(tuple(x.shape))) == tuple(u.forward_shape(y.shape))
        assert tuple(t.inverse_shape(tuple(a.shape))) == tuple(u.inverse_shape(b.shape))
    assert t.domain.event_dim == u.domain.event_dim
    assert t.codomain.event_dim == u.codomain.event_dim
    assert attempt(lambda: t.sign) == attempt(lambda: u.sign) or name in (
        "PowerTransform",
        "AffineTransform of tensors",
    )
    if name not in ("inverse", "CatTransform", "StackTransform", "CumulativeDistributionTransform"):
        assert t == build(ours, gc) or name in ONE_WAY or name in ("StickBreakingTransform", "CorrCholeskyTransform")
    cached = attempt(lambda: t.with_cache())
    if not isinstance(cached, type):
        assert cached.inv(cached(x)) is x or name in ("inverse", "ComposeTransform")


def test_own_transforms_and_constraints():
    for D, m in ((ours, gc), (theirs, torch)):

        class Cube(D.transforms.Transform):
            domain = codomain = D.constraints.real
            bijective = True
            sign = 1

            def _call(self, x):
                return x**3

            def _inverse(self, y):
                return y.sign() * y.abs() ** (1 / 3)

            def log_abs_det_jacobian(self, x, y):
                return math.log(3) + 2 * x.abs().log()

        class Even(D.constraints.Constraint):
            def check(self, value):
                return value % 2 == 0

        d = D.TransformedDistribution(D.Normal(m.tensor(0.5), 1.0), [Cube(cache_size=1)])
        assert_close(d.log_prob(m.tensor(2.0)), np.float32(-2.7683888), n=16)
        assert_close(d.icdf(d.cdf(m.tensor(2.0))), np.float32(2.0), n=64)
        assert Even().check(m.tensor([1.0, 2.0])).tolist() == [False, True]
        x = m.ones(2)
        assert D.identity_transform(x) is x and D.transforms.identity_transform(x) is x
        c = D.constraints
        made = c.dependent(is_discrete=False, event_dim=1)  # an object that can be called; the recorder replaces it
        assert c.is_dependent(made) and not c.is_dependent(c.real)
        assert made.event_dim == 1
        with pytest.raises(ValueError, match="dependent constraint"):
            made.check(x)


def test_maps_onto_constraints():
    for kind in ("biject_to", "transform_to"):
        for name in ("real", "positive", "unit_interval", "simplex", "corr_cholesky", "real_vector", "lower_cholesky"):
            regions = [getattr(D.constraints, name) for D in (ours, theirs)]
            mine = attempt(lambda k=kind, r=regions: getattr(ours, k)(r[0]))
            its = attempt(lambda k=kind, r=regions: getattr(theirs, k)(r[1]))
            if isinstance(its, type):
                assert mine is its
                continue
            array = SPREAD if name == "lower_cholesky" else REAL
            same(mine(gc.tensor(array)), its(torch.tensor(array)))
    for D, m in ((ours, gc), (theirs, torch)):
        low = D.transform_to(D.constraints.interval(-1.0, 3.0))(m.tensor([0.0]))
        assert_close(low, np.array([1.0], np.float32))
        assert float(D.biject_to(D.constraints.less_than(2.0))(m.tensor(0.0))) == 1.0


CHECKED = {
    "boolean": [0.0, 1.0, 0.5], "one_hot": [[0.0, 1.0], [1.0, 1.0]], "nonnegative_integer": [0.0, -1.0, 1.5],
    "positive_integer": [0.0, 2.0], "real": [1.0, math.nan], "real_vector": [[1.0, math.nan], [1.0, 2.0]],
    "positive": [0.0, 1.0], "nonnegative": [-1.0, 0.0], "unit_interval": [0.0, 1.0, 1.1],
    "simplex": [[0.5, 0.5], [0.6, 0.6]], "lower_triangular": [[1.0, 0.0], [2.0, 3.0]],
    "lower_cholesky": [[1.0, 0.0], [2.0, -3.0]], "square": [[1.0, 0.0], [0.0, 1.0]], "symmetric": [[1.0, 2.0], [2.0, 1.0]],
    "positive_definite": [[1.0, 2.0], [2.0, 1.0]], "positive_semidefinite": [[1.0, 1.0], [1.0, 1.0]],
    "corr_cholesky": [[1.0, 0.0], [0.6, 0.8]],
}  # fmt: skip


@pytest.mark.parametrize("name", CHECKED)
def test_constraints(name):
    mine, its = getattr(ours.constraints, name), getattr(theirs.constraints, name)
    assert repr(mine) == repr(its)
    assert mine.event_dim == its.event_dim
    assert mine.is_discrete == its.is_discrete
    x = CHECKED[name]
    compare(mine.check(gc.tensor(x)), its.check(torch.tensor(x)))


def test_constraints_with_bounds():
    for code in (
        lambda c: c.greater_than(1.0), lambda c: c.greater_than_eq(1.0), lambda c: c.less_than(1.0),
        lambda c: c.interval(0.0, 1.0), lambda c: c.half_open_interval(0.0, 1.0), lambda c: c.integer_interval(0, 3),
        lambda c: c.independent(c.positive, 1), lambda c: c.multinomial(3),
        lambda c: c.cat([c.positive, c.real], lengths=[1, 2]), lambda c: c.stack([c.positive, c.real, c.real]),
    ):  # fmt: skip
        mine, its = code(ours.constraints), code(theirs.constraints)
        x = [1.0, 0.5, 3.0]
        compare(mine.check(gc.tensor(x)), its.check(torch.tensor(x)))
        assert mine.event_dim == its.event_dim
