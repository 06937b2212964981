"""Log-normal distributions."""

from __future__ import annotations

from typing import Any

from graphc.distributions import constraints
from graphc.distributions.normal import Normal
from graphc.distributions.transformed_distribution import TransformedDistribution
from graphc.distributions.transforms import ExpTransform


class LogNormal(TransformedDistribution):
    """exp(x), x normal."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.positive
    has_rsample = True

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        super().__init__(Normal(loc, scale, validate_args=validate_args), ExpTransform(), validate_args=validate_args)

    loc = property(lambda self: self.base_dist.loc, doc="The mean of the logarithms.")
    scale = property(lambda self: self.base_dist.scale, doc="The standard deviation of the logarithms.")
    mean = property(lambda self: (self.loc + self.scale.pow(2) / 2).exp(), doc="exp(loc + scale^2 / 2)")
    mode = property(lambda self: (self.loc - self.scale.square()).exp(), doc="exp(loc - scale^2)")

    @property
    def variance(self) -> Any:
        """(exp(scale^2) - 1) exp(2 loc + scale^2)."""
        square = self.scale.pow(2)
        return square.expm1() * (2 * self.loc + square).exp()

    def entropy(self) -> Any:
        """That of the logarithms, and loc."""
        return self.base_dist.entropy() + self.loc


__all__ = ["LogNormal"]
