"""Generalised Pareto distributions."""

from __future__ import annotations

import math
from typing import Any

from graphc.distributions import constraints
from graphc.distributions.distribution import Distribution
from graphc.distributions.utils import broadcast_all
from graphc.functions.comparisons import where
from graphc.functions.random import rand

#: concentrations as small as this count as 0, where the distribution is exponential
_ZERO = 1e-8


class GeneralizedPareto(Distribution):
    """(1 + concentration z)^(-1 / concentration - 1) / scale at z = (x - loc) / scale; exp(-z) / scale for concentration 0."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive, "concentration": constraints.real}
    has_rsample = True
    _parameters = {"loc": 0, "scale": 0, "concentration": 0}

    def __init__(self, loc: Any, scale: Any, concentration: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale, self.concentration = broadcast_all(loc, scale, concentration)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Any:
        """From loc on, for negative concentrations up to loc - scale / concentration."""
        end = self.loc - self.scale / self.concentration
        return constraints.interval(self.loc, where(self.concentration < 0, end, end.new_full((), math.inf)))

    mode = property(lambda self: self.loc, doc="loc")

    @property
    def _is_exponential(self) -> Any:
        return self.concentration.abs() <= _ZERO

    @property
    def _nonzero(self) -> Any:
        """The concentration, 1 where it is 0."""
        return where(self._is_exponential, self.concentration.new_ones(()), self.concentration)

    @property
    def mean(self) -> Any:
        """loc + scale / (1 - concentration); NaN from concentration 1 on."""
        return self._below(1.0, lambda c: self.loc + self.scale / (1 - c))

    @property
    def variance(self) -> Any:
        """NaN from concentration 1/2 on."""
        return self._below(0.5, lambda c: self.scale.square() / ((1 - c).square() * (1 - 2 * c)))

    def _below(self, limit: float, code: Any) -> Any:
        c = self.concentration
        inside = c < limit
        return where(inside, code(where(inside, c, c.new_full((), limit / 2))), c.new_full((), math.nan))

    def rsample(self, sample_shape: Any = ()) -> Any:
        """The inverse distribution function of uniform numbers."""
        return self.icdf(rand(*self._extended_shape(sample_shape), dtype=self.loc.dtype, device=self.loc.device))

    def _z(self, value: Any) -> Any:
        return (value - self.loc) / self.scale

    def log_prob(self, value: Any) -> Any:
        """The logarithm of the density."""
        z, c = self._z(self._checked(value)), self._nonzero
        power = 1 / c + 1
        decay = where(power == 0, power, power * (c * z).log1p())
        return -self.scale.log() - where(self._is_exponential, z, decay)

    def log_survival_function(self, value: Any) -> Any:
        """The logarithm of the probability of points beyond `value`."""
        z, c = self._z(self._checked(value)), self._nonzero
        return where(self._is_exponential, -z, -(c * z).log1p() / c)

    def log_cdf(self, value: Any) -> Any:
        """The logarithm of the probability of points up to `value`."""
        return (-self.log_survival_function(value).exp()).log1p()

    def cdf(self, value: Any) -> Any:
        """The probability of points up to `value`."""
        return self.log_cdf(value).exp()

    def icdf(self, value: Any) -> Any:
        """loc + scale ((1 - u)^-concentration - 1) / concentration."""
        rest, c = (-value).log1p(), self._nonzero
        curved = self.loc + self.scale / c * (-c * rest).expm1()
        return where(self._is_exponential, self.loc - self.scale * rest, curved)

    def entropy(self) -> Any:
        """log(scale) + concentration + 1."""
        return self.scale.log() + self.concentration + 1


__all__ = ["GeneralizedPareto"]
