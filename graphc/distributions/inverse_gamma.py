"""Inverse gamma distributions."""

from __future__ import annotations

import math
from typing import Any

from graphc.distributions import constraints
from graphc.distributions.gamma import Gamma
from graphc.distributions.transformed_distribution import TransformedDistribution
from graphc.distributions.transforms import PowerTransform
from graphc.primitives.elementwise import where


class InverseGamma(TransformedDistribution):
    """1 / x, x gamma distributed."""

    arg_constraints = {"concentration": constraints.positive, "rate": constraints.positive}
    support = constraints.positive
    has_rsample = True

    def __init__(self, concentration: Any, rate: Any, validate_args: bool | None = None) -> None:
        base = Gamma(concentration, rate, validate_args=validate_args)
        super().__init__(base, PowerTransform(-base.rate.new_ones(())), validate_args=validate_args)

    concentration = property(lambda self: self.base_dist.concentration, doc="That of the gamma distribution.")
    rate = property(lambda self: self.base_dist.rate, doc="That of the gamma distribution.")
    mode = property(lambda self: self.rate / (self.concentration + 1), doc="rate / (concentration + 1)")

    @property
    def mean(self) -> Any:
        """rate / (concentration - 1); infinite up to 1."""
        a = self.concentration
        return where(a > 1, self.rate / (a - 1), a.new_full((), math.inf))

    @property
    def variance(self) -> Any:
        """Infinite up to concentration 2."""
        a = self.concentration
        return where(a > 2, self.rate.square() / ((a - 1).square() * (a - 2)), a.new_full((), math.inf))

    def entropy(self) -> Any:
        """By the gamma function and its derivative."""
        a = self.concentration
        return a + self.rate.log() + a.lgamma() - (1 + a) * a.digamma()


__all__ = ["InverseGamma"]
