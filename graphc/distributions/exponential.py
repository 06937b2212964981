"""Exponential distributions."""

from __future__ import annotations

from typing import Any

from graphc.distributions import constraints
from graphc.distributions.distribution import ExponentialFamily
from graphc.distributions.utils import broadcast_all
from graphc.functions.creation import zeros_like
from graphc.functions.random import rand


class Exponential(ExponentialFamily):
    """rate exp(-rate x)."""

    arg_constraints = {"rate": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True
    _parameters = {"rate": 0}

    def __init__(self, rate: Any, validate_args: bool | None = None) -> None:
        (self.rate,) = broadcast_all(rate)
        super().__init__(self.rate.shape, validate_args=validate_args)

    mean = stddev = property(lambda self: self.rate.reciprocal(), doc="1 / rate")
    mode = property(lambda self: zeros_like(self.rate), doc="0")
    variance = property(lambda self: self.rate.pow(-2), doc="1 / rate^2")

    def rsample(self, sample_shape: Any = ()) -> Any:
        """-log(1 - u) / rate."""
        u = rand(*self._extended_shape(sample_shape), dtype=self.rate.dtype, device=self.rate.device)
        return -(-u).log1p() / self.rate

    def log_prob(self, value: Any) -> Any:
        """log(rate) - rate x."""
        return self.rate.log() - self.rate * self._checked(value)

    def cdf(self, value: Any) -> Any:
        """1 - exp(-rate x)."""
        return 1 - (-self.rate * self._checked(value)).exp()

    def icdf(self, value: Any) -> Any:
        """-log(1 - value) / rate."""
        return -(-value).log1p() / self.rate

    def entropy(self) -> Any:
        """1 - log(rate)."""
        return 1.0 - self.rate.log()


__all__ = ["Exponential"]
