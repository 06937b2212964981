"""Samples of the gamma, Poisson and binomial distributions, without loops: of several proposals the first accepted is taken."""

from __future__ import annotations

from typing import Any

from graphc.core.context import set_grad
from graphc.core.dims import Shape
from graphc.core.errors import DtypeError, ShapeError
from graphc.core.tensor_types import FLOAT, float32, float64, int64
from graphc.functions.arguments import need_tensor
from graphc.functions.creation import arange
from graphc.functions.gamma_functions import lgamma
from graphc.functions.promotion import cast_to, scalar_operand
from graphc.functions.random import normal_sample, open_uniform_sample, uniform_sample
from graphc.functions.reductions import argmax
from graphc.functions.reductions import sum as total
from graphc.functions.running import cumsum
from graphc.primitives.elementwise import (
    absolute,
    exp,
    floor,
    greater,
    greater_equal,
    less,
    log,
    log1p,
    logical_and,
    logical_or,
    maximum,
    minimum,
    power,
    sqrt,
    where,
)  # fmt: skip
from graphc.primitives.indexing import gather
from graphc.primitives.views import reshape

#: Proposals for each sample. One of the gamma distribution's is refused with probability 0.05 at most, one of the Poisson's
#: with 0.3: none of them is good once in 10^15, and then the last is taken.
_GAMMA_TRIES, _POISSON_TRIES = 12, 30
#: Poisson rates below this one are inverted by a table of so many entries.
_SMALL_RATE, _TABLE = 10.0, 64


def _n(value: float, x: Any) -> Any:
    return scalar_operand(value, x.dtype)


def _first(accepted: Any, proposals: Any) -> Any:
    """Of proposals [tries, *s] the first that was accepted."""
    chosen = argmax(cast_to(accepted, int64), 0, keepdim=True)
    return reshape(gather(proposals, chosen, axis=0), shape=tuple(proposals.shape[1:]))


def standard_gamma(concentration: Any, generator: Any = None) -> Any:
    """One sample of Gamma(concentration, 1) for each element; no gradient (Marsaglia and Tsang 2000)."""
    with set_grad(False):
        a = concentration.detach()
        shape: Shape = tuple(a.shape)
        boosted = less(a, _n(1.0, a))
        d = where(boosted, a + 1.0, a) - 1.0 / 3.0
        x = normal_sample((_GAMMA_TRIES, *shape), a.dtype, generator)
        u = open_uniform_sample((_GAMMA_TRIES, *shape), a.dtype, generator)
        base = x / sqrt(d * 9.0) + 1.0
        v = base * base * base
        inside = greater(v, _n(0.0, a))
        v = where(inside, v, _n(1.0, a))
        good = logical_and(inside, less(log(u), x * x * 0.5 + d - d * v + d * log(v)))
        out = d * _first(good, v)
        # Gamma(a) is Gamma(a + 1) u^(1/a)
        lift = open_uniform_sample(shape, a.dtype, generator)
        share = power(lift, 1.0 / where(boosted, a, _n(1.0, a)))
        return maximum(where(boosted, out * share, out), _n(1.1754943508222875e-38, a))


def _check(name: str, rate: Any) -> Any:
    if need_tensor(rate).dtype.category != FLOAT:
        raise DtypeError(f'"{name}_cpu" not implemented for {rate.dtype.name}', "a floating dtype")
    return rate.detach()


def _counted(log_masses: Any, u: Any) -> Any:
    """How many of the running sums of probabilities [n, *s] lie below u [*s]."""
    return total(cast_to(less(cumsum(exp(log_masses), 0), u), u.dtype), 0)


def _column(size: int, x: Any) -> Any:
    return reshape(arange(size, dtype=x.dtype), shape=(size, *([1] * len(x.shape))))


def poisson(input: Any, generator: Any = None) -> Any:
    """One sample of the Poisson distribution of each rate, in its dtype (large rates: Hörmann 1993, PTRS)."""
    with set_grad(False):
        rate = _check("poisson", input)
        work = cast_to(rate, float64 if rate.dtype is float64 else float32)
        shape: Shape = tuple(work.shape)
        small = less(work, _n(_SMALL_RATE, work))
        low = maximum(where(small, work, _n(1.0, work)), _n(1e-30, work))
        k = _column(_TABLE, low)
        few = _counted(k * log(low) - low - lgamma(k + 1.0), uniform_sample(shape, work.dtype, generator))
        few = where(greater(work, _n(0.0, work)), few, _n(0.0, few))
        high = where(small, _n(20.0, work), work)
        b = sqrt(high) * 2.53 + 0.931
        a = b * 0.02483 - 0.059
        inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
        v_r = 0.9277 - 3.6224 / (b - 2.0)
        u = uniform_sample((_POISSON_TRIES, *shape), work.dtype, generator) - 0.5
        v = open_uniform_sample((_POISSON_TRIES, *shape), work.dtype, generator)
        us = 0.5 - absolute(u)
        k = floor((a * 2.0 / us + b) * u + high + 0.43)
        quick = logical_and(greater_equal(us, _n(0.07, us)), less(v, v_r))
        safe = maximum(k, _n(0.0, k))
        bound = safe * log(high) - high - lgamma(safe + 1.0)
        slow = less(log(v * inverse_alpha / (a / (us * us) + b)), bound)
        bad = logical_or(less(k, _n(0.0, k)), logical_and(less(us, _n(0.013, us)), greater(v, us)))
        good = logical_or(quick, logical_and(slow, ~bad))
        return cast_to(where(small, few, _first(good, safe)), rate.dtype)


def binomial(count: Any, prob: Any, generator: Any = None) -> Any:
    """How many of `count` trials of probability `prob` succeed, in prob's dtype, by a table of all counts.

    ShapeError where the largest count is known only when a graph runs.
    """
    with set_grad(False):
        p, n = _check("binomial", prob), _check("binomial", count)
        most = int(n.max()) if n.numel() else 0
        return binomial_up_to(n, p, most, generator)


def binomial_up_to(count: Any, prob: Any, most: int, generator: Any = None) -> Any:
    """`binomial` for counts that are `most` at most."""
    if most < 0:
        raise ShapeError("binomial: counts must not be negative")
    with set_grad(False):
        shape = tuple((count + prob).shape)
        tiny = 1e-300 if prob.dtype is float64 else 1e-37
        inside = minimum(
            maximum(prob, _n(tiny, prob)), _n(1.0, prob) - _n(6e-8 if prob.dtype is not float64 else 1e-16, prob)
        )
        k = _column(most, prob + count)
        left = maximum(count - k, _n(0.0, prob))
        masses = lgamma(count + 1.0) - lgamma(k + 1.0) - lgamma(left + 1.0) + k * log(inside) + left * log1p(-inside)
        masses = where(greater(k, count), _n(float("-inf"), prob), masses)
        found = _counted(masses, uniform_sample(shape, prob.dtype, generator))
        found = minimum(found, count + prob * 0.0)
        ends = where(greater_equal(prob, _n(1.0, prob)), count + prob * 0.0, found)
        return where(greater(prob, _n(0.0, prob)), ends, _n(0.0, prob))


METHODS: tuple[str, ...] = ()
INPLACE: tuple[str, ...] = ()
__all__ = ["binomial", "poisson"]
