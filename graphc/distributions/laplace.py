"""Laplace distributions."""

from __future__ import annotations

from typing import Any

from graphc.distributions import constraints
from graphc.distributions.distribution import Distribution
from graphc.distributions.utils import broadcast_all
from graphc.functions.dtypes import finfo
from graphc.functions.random import rand


class Laplace(Distribution):
    """exp(-|x - loc| / scale) / (2 scale)."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True
    _parameters = {"loc": 0, "scale": 0}

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    mean = mode = property(lambda self: self.loc, doc="loc")
    stddev = property(lambda self: 2**0.5 * self.scale, doc="scale sqrt(2)")
    variance = property(lambda self: 2 * self.scale.pow(2), doc="2 scale^2")

    def rsample(self, sample_shape: Any = ()) -> Any:
        """By the inverse of the distribution function."""
        dtype = self.loc.dtype
        low = finfo(dtype).eps - 1
        u = rand(*self._extended_shape(sample_shape), dtype=dtype, device=self.loc.device) * (1 - low) + low
        return self.loc - self.scale * u.sign() * (-u.abs()).log1p()

    def log_prob(self, value: Any) -> Any:
        """The logarithm of the density."""
        return -(2 * self.scale).log() - (self._checked(value) - self.loc).abs() / self.scale

    def cdf(self, value: Any) -> Any:
        """The probability of points up to `value`."""
        gap = self._checked(value) - self.loc
        return 0.5 - 0.5 * gap.sign() * (-gap.abs() / self.scale).expm1()

    def icdf(self, value: Any) -> Any:
        """The point up to which lies the probability `value`."""
        term = value - 0.5
        return self.loc - self.scale * term.sign() * (-2 * term.abs()).log1p()

    def entropy(self) -> Any:
        """1 + log(2 scale)."""
        return 1 + (2 * self.scale).log()


__all__ = ["Laplace"]
