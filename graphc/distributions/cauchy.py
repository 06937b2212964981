"""Cauchy distributions."""

from __future__ import annotations

import math
from typing import Any

from graphc.distributions import constraints
from graphc.distributions.distribution import Distribution
from graphc.distributions.utils import broadcast_all
from graphc.functions.creation import full_like
from graphc.functions.random import rand


class Cauchy(Distribution):
    """scale / (pi (scale^2 + (x - loc)^2))."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True
    _parameters = {"loc": 0, "scale": 0}

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    mean = property(lambda self: full_like(self.loc, math.nan), doc="There is none: NaN.")
    mode = property(lambda self: self.loc, doc="loc")
    variance = property(lambda self: full_like(self.loc, math.inf), doc="Infinite.")

    def rsample(self, sample_shape: Any = ()) -> Any:
        """By the inverse of the distribution function."""
        u = rand(*self._extended_shape(sample_shape), dtype=self.loc.dtype, device=self.loc.device)
        return self.icdf(u)

    def log_prob(self, value: Any) -> Any:
        """The logarithm of the density."""
        z = (self._checked(value) - self.loc) / self.scale
        return -math.log(math.pi) - self.scale.log() - (z * z).log1p()

    def cdf(self, value: Any) -> Any:
        """By the arctangent."""
        return ((self._checked(value) - self.loc) / self.scale).atan() / math.pi + 0.5

    def icdf(self, value: Any) -> Any:
        """By the tangent."""
        return (math.pi * (value - 0.5)).tan() * self.scale + self.loc

    def entropy(self) -> Any:
        """log(4 pi scale)."""
        return math.log(4 * math.pi) + self.scale.log()


__all__ = ["Cauchy"]
