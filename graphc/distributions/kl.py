"""Kullback-Leibler divergences of pairs of distributions."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from graphc.distributions.bernoulli import Bernoulli
from graphc.distributions.beta import Beta
from graphc.distributions.binomial import Binomial
from graphc.distributions.categorical import Categorical
from graphc.distributions.cauchy import Cauchy
from graphc.distributions.continuous_bernoulli import ContinuousBernoulli
from graphc.distributions.dirichlet import Dirichlet
from graphc.distributions.distribution import Distribution
from graphc.distributions.exponential import Exponential
from graphc.distributions.gamma import Gamma
from graphc.distributions.geometric import Geometric
from graphc.distributions.gumbel import Gumbel
from graphc.distributions.half_normal import HalfNormal
from graphc.distributions.independent import Independent
from graphc.distributions.laplace import Laplace
from graphc.distributions.lowrank_multivariate_normal import LowRankMultivariateNormal
from graphc.distributions.multivariate_normal import MultivariateNormal, half_log_determinant, mahalanobis
from graphc.distributions.normal import Normal
from graphc.distributions.one_hot_categorical import OneHotCategorical
from graphc.distributions.pareto import Pareto
from graphc.distributions.poisson import Poisson
from graphc.distributions.transformed_distribution import TransformedDistribution
from graphc.distributions.uniform import Uniform
from graphc.distributions.utils import euler_constant, sum_rightmost
from graphc.functions.activations import softplus
from graphc.functions.creation import full_like
from graphc.functions.decompositions import solve_triangular
from graphc.functions.linalg import matmul
from graphc.functions.shaping import broadcast_shapes
from graphc.primitives.elementwise import logical_and, logical_or, where

Rule = Callable[[Any, Any], Any]
_rules: dict[tuple[type[Any], type[Any]], Rule] = {}


def register_kl(type_p: Any, type_q: Any) -> Callable[[Rule], Rule]:
    """Decorates a function of (p, q) that gives KL(p || q) for these classes. TypeError for anything but distributions."""
    for kind in (type_p, type_q):
        if not isinstance(kind, type) or not issubclass(kind, Distribution):
            raise TypeError(f"Expected type_p to be a Distribution subclass but got {kind}")

    def decorator(rule: Rule) -> Rule:
        _rules[type_p, type_q] = rule
        return rule

    return decorator


def kl_divergence(p: Any, q: Any) -> Any:
    """KL(p || q) of each pair of the two batches. NotImplementedError for classes no rule is registered for."""
    kinds = [
        (type(p).__mro__.index(a) + type(q).__mro__.index(b), rule)
        for (a, b), rule in _rules.items()
        if isinstance(p, a) and isinstance(q, b)
    ]
    if not kinds:
        raise NotImplementedError(
            f"No KL(p || q) is implemented for p type {type(p).__name__} and q type {type(q).__name__}"
        )
    return min(kinds, key=lambda found: found[0])[1](p, q)


def _infinite(name: str, p: Any, q: Any) -> Any:
    """Infinity for each distribution of the batch; `name`: a parameter of p."""
    return full_like(getattr(p, name), math.inf)


def _x_log_x(x: Any) -> Any:
    return x.xlogy(x)  # also of 0


def _or_infinite(outside: Any, found: Any) -> Any:
    return where(outside, found.new_full((), math.inf), found)


# --- one family -------------------------------------------------------------------------------------------------------


@register_kl(Bernoulli, Bernoulli)
def _bernoulli(p: Any, q: Any) -> Any:
    zero = p.probs.new_zeros(())
    t1 = p.probs * (softplus(-q.logits) - softplus(-p.logits))
    t1 = where(p.probs == 0, zero, _or_infinite(logical_and(q.probs == 0, p.probs != 0), t1))
    t2 = (1 - p.probs) * (softplus(q.logits) - softplus(p.logits))
    t2 = where(p.probs == 1, zero, _or_infinite(logical_and(q.probs == 1, p.probs != 1), t2))
    return t1 + t2


@register_kl(Beta, Beta)
def _beta(p: Any, q: Any) -> Any:
    p_sum, q_sum = p.concentration1 + p.concentration0, q.concentration1 + q.concentration0
    t1 = q.concentration1.lgamma() + q.concentration0.lgamma() + p_sum.lgamma()
    t2 = p.concentration1.lgamma() + p.concentration0.lgamma() + q_sum.lgamma()
    t3 = (p.concentration1 - q.concentration1) * p.concentration1.digamma()
    t4 = (p.concentration0 - q.concentration0) * p.concentration0.digamma()
    return t1 - t2 + t3 + t4 + (q_sum - p_sum) * p_sum.digamma()


@register_kl(Binomial, Binomial)
def _binomial(p: Any, q: Any) -> Any:
    if p._largest() > q._largest():
        return _infinite("probs", p, q)
    return p.total_count * (p.probs * (p.logits - q.logits) + (-p.probs).log1p() - (-q.probs).log1p())


@register_kl(Categorical, Categorical)
def _categorical(p: Any, q: Any) -> Any:
    t = p.probs * (p.logits - q.logits)
    t = _or_infinite(q.probs == 0, t)
    return where(p.probs == 0, t.new_zeros(()), t).sum(-1)


@register_kl(OneHotCategorical, OneHotCategorical)
def _one_hot(p: Any, q: Any) -> Any:
    return _categorical(p._categorical, q._categorical)


@register_kl(Cauchy, Cauchy)
def _cauchy(p: Any, q: Any) -> Any:
    return ((p.scale + q.scale).pow(2) + (p.loc - q.loc).pow(2)).log() - (4 * p.scale * q.scale).log()


@register_kl(Dirichlet, Dirichlet)
def _dirichlet(p: Any, q: Any) -> Any:
    p_sum, q_sum = p.concentration.sum(-1), q.concentration.sum(-1)
    t1 = p_sum.lgamma() - q_sum.lgamma() - (p.concentration.lgamma() - q.concentration.lgamma()).sum(-1)
    slopes = p.concentration.digamma() - p_sum.digamma().unsqueeze(-1)
    return t1 + ((p.concentration - q.concentration) * slopes).sum(-1)


@register_kl(Exponential, Exponential)
def _exponential(p: Any, q: Any) -> Any:
    ratio = q.rate / p.rate
    return -ratio.log() + ratio - 1


@register_kl(Gamma, Gamma)
def _gamma(p: Any, q: Any) -> Any:
    t1 = q.concentration * (p.rate / q.rate).log() + q.concentration.lgamma() - p.concentration.lgamma()
    t2 = (p.concentration - q.concentration) * p.concentration.digamma()
    return t1 + t2 + (q.rate - p.rate) * (p.concentration / p.rate)


@register_kl(Geometric, Geometric)
def _geometric(p: Any, q: Any) -> Any:
    return -p.entropy() - (-q.probs).log1p() / p.probs - q.logits


@register_kl(Gumbel, Gumbel)
def _gumbel(p: Any, q: Any) -> Any:
    ratio, gap = p.scale / q.scale, (p.loc - q.loc) / q.scale
    return -ratio.log() + gap + (-gap + (1 + ratio).lgamma()).exp() + ratio * euler_constant - (1 + euler_constant)


@register_kl(HalfNormal, HalfNormal)
def _half_normal(p: Any, q: Any) -> Any:
    return _normal(p.base_dist, q.base_dist)


@register_kl(Independent, Independent)
def _independent(p: Any, q: Any) -> Any:
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError
    return sum_rightmost(kl_divergence(p.base_dist, q.base_dist), p.reinterpreted_batch_ndims)


@register_kl(Laplace, Laplace)
def _laplace(p: Any, q: Any) -> Any:
    ratio, gap = p.scale / q.scale, (p.loc - q.loc).abs()
    return -ratio.log() + gap / q.scale + ratio * (-gap / p.scale).exp() - 1


@register_kl(MultivariateNormal, MultivariateNormal)
def _multivariate_normal(p: Any, q: Any) -> Any:
    if tuple(p.event_shape) != tuple(q.event_shape):
        raise ValueError(
            "KL-divergence between two Multivariate Normals with different event shapes cannot be computed"
        )
    n, of_p, of_q = p.event_shape[0], p._unbroadcasted_scale_tril, q._unbroadcasted_scale_tril
    batch = (*broadcast_shapes(of_p.shape[:-2], of_q.shape[:-2]), n, n)
    spread = solve_triangular(of_q.expand(batch), of_p.expand(batch), upper=False).pow(2).sum((-2, -1))
    half = half_log_determinant(of_q) - half_log_determinant(of_p)
    return half + 0.5 * (spread + mahalanobis(of_q, q.loc - p.loc) - n)


def _check_events(p: Any, q: Any, kind: str) -> None:
    if tuple(p.event_shape) != tuple(q.event_shape):
        raise ValueError(f"KL-divergence between two {kind}s with different event shapes cannot be computed")


def _square_sum(matrices: Any) -> Any:
    """The trace of X X^T."""
    return matrices.square().sum((-2, -1))


@register_kl(LowRankMultivariateNormal, LowRankMultivariateNormal)
def _low_rank(p: Any, q: Any) -> Any:
    _check_events(p, q, "Low Rank Multivariate Normal")
    a = q._solved()
    spread = (p._diagonal / q._diagonal).sum(-1) + _square_sum(p._factor * q._diagonal.rsqrt().unsqueeze(-1))
    spread = spread - _square_sum(a * p._diagonal.sqrt().unsqueeze(-2)) - _square_sum(matmul(a, p._factor))
    gap = q.log_determinant() - p.log_determinant() + q.distance(q.loc - p.loc)
    return 0.5 * (gap + spread - p.event_shape[0])


@register_kl(MultivariateNormal, LowRankMultivariateNormal)
def _multivariate_low_rank(p: Any, q: Any) -> Any:
    _check_events(p, q, "(Low Rank) Multivariate Normal")
    tril = p._unbroadcasted_scale_tril
    spread = _square_sum(tril * q._diagonal.rsqrt().unsqueeze(-1)) - _square_sum(matmul(q._solved(), tril))
    gap = q.log_determinant() - 2 * half_log_determinant(tril) + q.distance(q.loc - p.loc)
    return 0.5 * (gap + spread - p.event_shape[0])


@register_kl(LowRankMultivariateNormal, MultivariateNormal)
def _low_rank_multivariate(p: Any, q: Any) -> Any:
    _check_events(p, q, "(Low Rank) Multivariate Normal")
    n, tril = p.event_shape[0], q._unbroadcasted_scale_tril
    batch = tuple(broadcast_shapes(tril.shape[:-2], p._batch_shape))
    lower = tril.expand((*batch, n, n))
    spread = _square_sum(solve_triangular(lower, p.cov_factor.expand((*batch, *p.cov_factor.shape[-2:])), upper=False))
    roots = p._diagonal.sqrt().diag_embed().expand((*batch, n, n))
    spread = spread + _square_sum(solve_triangular(lower, roots, upper=False))
    gap = 2 * half_log_determinant(tril) - p.log_determinant() + mahalanobis(tril, q.loc - p.loc)
    return 0.5 * (gap + spread - n)


@register_kl(ContinuousBernoulli, ContinuousBernoulli)
def _continuous_bernoulli(p: Any, q: Any) -> Any:
    of_p, of_q = (d._log_normalizer_of_probs() + (-d.probs).log1p() for d in (p, q))
    return p.mean * (p.logits - q.logits) + of_p - of_q


@register_kl(Normal, Normal)
def _normal(p: Any, q: Any) -> Any:
    ratio = (p.scale / q.scale).pow(2)
    return 0.5 * (ratio + ((p.loc - q.loc) / q.scale).pow(2) - 1 - ratio.log())


@register_kl(Pareto, Pareto)
def _pareto(p: Any, q: Any) -> Any:
    ratio = q.alpha / p.alpha
    found = q.alpha * (p.scale / q.scale).log() - ratio.log() + ratio - 1
    return _or_infinite(p.scale < q.scale, found)


@register_kl(Poisson, Poisson)
def _poisson(p: Any, q: Any) -> Any:
    return p.rate * (p.rate.log() - q.rate.log()) - (p.rate - q.rate)


@register_kl(TransformedDistribution, TransformedDistribution)
def _transformed(p: Any, q: Any) -> Any:
    if p.transforms != q.transforms or tuple(p.event_shape) != tuple(q.event_shape):
        raise NotImplementedError
    return kl_divergence(p.base_dist, q.base_dist)


@register_kl(Uniform, Uniform)
def _uniform(p: Any, q: Any) -> Any:
    found = ((q.high - q.low) / (p.high - p.low)).log()
    return _or_infinite(logical_or(q.low > p.low, q.high < p.high), found)


# --- two families -----------------------------------------------------------------------------------------------------

for _p, _q, _size in (
    (Beta, Pareto, "concentration1"), (Exponential, Beta, "rate"), (Exponential, Pareto, "rate"),
    (Exponential, Uniform, "rate"), (Gamma, Beta, "concentration"), (Gamma, Pareto, "concentration"),
    (Gamma, Uniform, "concentration"), (Gumbel, Beta, "loc"), (Gumbel, Exponential, "loc"), (Gumbel, Gamma, "loc"),
    (Gumbel, Pareto, "loc"), (Gumbel, Uniform, "loc"), (Laplace, Beta, "loc"), (Laplace, Exponential, "loc"),
    (Laplace, Gamma, "loc"), (Laplace, Pareto, "loc"), (Laplace, Uniform, "loc"), (Normal, Beta, "loc"),
    (Normal, Exponential, "loc"), (Normal, Gamma, "loc"), (Normal, Pareto, "loc"), (Normal, Uniform, "loc"),
    *((kind, ContinuousBernoulli, size) for kind, size in (
        (Exponential, "rate"), (Gamma, "concentration"), (Gumbel, "loc"), (Laplace, "loc"), (Normal, "loc"), (Pareto, "scale"),
    )),
    (ContinuousBernoulli, Pareto, "probs"), (Pareto, Beta, "scale"),
    (Pareto, Uniform, "scale"), (Poisson, Bernoulli, "rate"), (Poisson, Binomial, "rate"),
):  # fmt: skip
    register_kl(_p, _q)(functools.partial(_infinite, _size))


@register_kl(Bernoulli, Poisson)
def _bernoulli_poisson(p: Any, q: Any) -> Any:
    return -p.entropy() - (p.probs * q.rate.log() - q.rate)


@register_kl(Beta, Exponential)
def _beta_exponential(p: Any, q: Any) -> Any:
    return -p.entropy() - q.rate.log() + q.rate * p.mean


@register_kl(Beta, Gamma)
def _beta_gamma(p: Any, q: Any) -> Any:
    a, total = p.concentration1, p.concentration1 + p.concentration0
    t2 = q.concentration.lgamma() - q.concentration * q.rate.log()
    return -p.entropy() + t2 - (q.concentration - 1) * (a.digamma() - total.digamma()) + q.rate * a / total


def _cross_normal(p: Any, q: Any) -> Any:
    """KL to a normal distribution, by p's entropy, mean and variance."""
    variance = q.scale.pow(2)
    square = p.variance + (p.mean - q.loc).pow(2)
    return -p.entropy() + 0.5 * (2 * math.pi * variance).log() + 0.5 * square / variance


def _to_continuous_bernoulli(p: Any, q: Any) -> Any:
    return -p.entropy() - p.mean * q.logits - (-q.probs).log1p() - q._log_normalizer_of_probs()


register_kl(Beta, ContinuousBernoulli)(_to_continuous_bernoulli)


@register_kl(Uniform, ContinuousBernoulli)
def _uniform_continuous_bernoulli(p: Any, q: Any) -> Any:
    return _or_infinite(logical_or(p.high >= 1, p.low <= 0), _to_continuous_bernoulli(p, q))


@register_kl(ContinuousBernoulli, Exponential)
def _continuous_bernoulli_exponential(p: Any, q: Any) -> Any:
    return -p.entropy() - q.rate.log() + q.rate * p.mean


@register_kl(ContinuousBernoulli, Uniform)
def _continuous_bernoulli_uniform(p: Any, q: Any) -> Any:
    return _or_infinite(logical_or(q.low >= 0, q.high <= 1), -p.entropy() + (q.high - q.low).log())


for _kind in (Beta, ContinuousBernoulli, Exponential, Gamma, Gumbel, Laplace, Uniform):
    register_kl(_kind, Normal)(_cross_normal)


@register_kl(Pareto, Normal)
def _pareto_normal(p: Any, q: Any) -> Any:
    return _or_infinite(p.alpha <= 2, _cross_normal(p, q))


@register_kl(Beta, Uniform)
def _beta_uniform(p: Any, q: Any) -> Any:
    return _or_infinite(logical_or(q.low > 0, q.high < 1), -p.entropy() + (q.high - q.low).log())


@register_kl(Exponential, Gamma)
def _exponential_gamma(p: Any, q: Any) -> Any:
    ratio, a = q.rate / p.rate, q.concentration
    return -a * ratio.log() + ratio + a.lgamma() + a * euler_constant - (1 + euler_constant)


@register_kl(Exponential, Gumbel)
def _exponential_gumbel(p: Any, q: Any) -> Any:
    product, ratio = p.rate * q.scale, q.loc / q.scale
    return product.log() - 1 - ratio + ratio.exp() * product / (product + 1) + product.reciprocal()


@register_kl(Gamma, Exponential)
def _gamma_exponential(p: Any, q: Any) -> Any:
    return -p.entropy() - q.rate.log() + q.rate * p.concentration / p.rate


@register_kl(Gamma, Gumbel)
def _gamma_gumbel(p: Any, q: Any) -> Any:
    product, ratio, a = p.rate * q.scale, q.loc / q.scale, p.concentration
    t1 = (a - 1) * a.digamma() - a.lgamma() - a
    t3 = ratio.exp() * (1 + product.reciprocal()).pow(-a) - ratio
    return t1 + product.log() + a / product + t3


@register_kl(Normal, Gumbel)
def _normal_gumbel(p: Any, q: Any) -> Any:
    gap, square = (p.loc - q.loc) / q.scale, (p.scale / q.scale).pow(2)
    return -0.5 * square.log() + gap + (-gap + 0.5 * square).exp() - 0.5 * (1 + math.log(2 * math.pi))


@register_kl(Normal, Laplace)
def _normal_laplace(p: Any, q: Any) -> Any:
    gap = p.loc - q.loc
    z = gap / p.scale
    t2 = math.sqrt(2 / math.pi) * p.scale * (-0.5 * z.pow(2)).exp() + gap * (math.sqrt(0.5) * z).erf()
    return -(p.scale / q.scale).log() + t2 / q.scale - 0.5 * (1 + math.log(0.5 * math.pi))


@register_kl(Pareto, Exponential)
def _pareto_exponential(p: Any, q: Any) -> Any:
    product = p.scale * q.rate
    found = (p.alpha / product).log() - p.alpha.reciprocal() + p.alpha * product / (p.alpha - 1) - 1
    return _or_infinite(p.alpha <= 1, found)


@register_kl(Pareto, Gamma)
def _pareto_gamma(p: Any, q: Any) -> Any:
    common = p.scale.log() + p.alpha.reciprocal()
    t2 = q.concentration.lgamma() - q.concentration * q.rate.log()
    t4 = q.rate * p.alpha * p.scale / (p.alpha - 1)
    found = p.alpha.log() - common + t2 + (1 - q.concentration) * common + t4 - 1
    return _or_infinite(p.alpha <= 1, found)


@register_kl(Uniform, Beta)
def _uniform_beta(p: Any, q: Any) -> Any:
    size, a, b = p.high - p.low, q.concentration1, q.concentration0
    t2 = (a - 1) * (_x_log_x(p.high) - _x_log_x(p.low) - size) / size
    t3 = (b - 1) * (_x_log_x(1 - p.high) - _x_log_x(1 - p.low) + size) / size
    found = t3 + a.lgamma() + b.lgamma() - (a + b).lgamma() - size.log() - t2
    return _or_infinite(logical_or(p.high > 1, p.low < 0), found)


@register_kl(Uniform, Exponential)
def _uniform_exponential(p: Any, q: Any) -> Any:
    found = q.rate * (p.high + p.low) / 2 - ((p.high - p.low) * q.rate).log()
    return _or_infinite(p.low < 0, found)


@register_kl(Uniform, Gamma)
def _uniform_gamma(p: Any, q: Any) -> Any:
    size, a = p.high - p.low, q.concentration
    t3 = (1 - a) * (_x_log_x(p.high) - _x_log_x(p.low) - size) / size
    found = -size.log() + a.lgamma() - a * q.rate.log() + t3 + q.rate * (p.high + p.low) / 2
    return _or_infinite(p.low < 0, found)


@register_kl(Uniform, Gumbel)
def _uniform_gumbel(p: Any, q: Any) -> Any:
    common = q.scale / (p.high - p.low)
    high, low = (p.high - q.loc) / q.scale, (p.low - q.loc) / q.scale
    return common.log() + 0.5 * (high + low) - common * ((-high).exp() - (-low).exp())


@register_kl(Uniform, Pareto)
def _uniform_pareto(p: Any, q: Any) -> Any:
    size = p.high - p.low
    t1 = (q.alpha * q.scale.pow(q.alpha) * size).log()
    found = (_x_log_x(p.high) - _x_log_x(p.low) - size) / size * (q.alpha + 1) - t1
    return _or_infinite(p.low < q.scale, found)


__all__ = ["kl_divergence", "register_kl"]
