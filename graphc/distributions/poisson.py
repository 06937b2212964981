"""Poisson distributions."""

from __future__ import annotations

from typing import Any

from graphc.distributions import constraints
from graphc.distributions.distribution import ExponentialFamily
from graphc.distributions.utils import broadcast_all
from graphc.functions.random_families import poisson


class Poisson(ExponentialFamily):
    """rate^k exp(-rate) / k!."""

    arg_constraints = {"rate": constraints.nonnegative}
    support = constraints.nonnegative_integer
    _parameters = {"rate": 0}

    def __init__(self, rate: Any, validate_args: bool | None = None) -> None:
        (self.rate,) = broadcast_all(rate)
        super().__init__(self.rate.shape, validate_args=validate_args)

    mean = variance = property(lambda self: self.rate, doc="rate")
    mode = property(lambda self: self.rate.floor(), doc="The whole part of the rate.")

    def sample(self, sample_shape: Any = ()) -> Any:
        """Counts, without a gradient."""
        return poisson(self.rate.expand(self._extended_shape(sample_shape)))

    def log_prob(self, value: Any) -> Any:
        """The logarithm of the probability."""
        rate, x = broadcast_all(self.rate, self._checked(value))
        return x.xlogy(rate) - rate - (x + 1).lgamma()


__all__ = ["Poisson"]
