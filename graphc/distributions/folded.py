"""Absolute values of what is distributed symmetrically around 0."""

from __future__ import annotations

import math
from typing import Any

from graphc.distributions import constraints
from graphc.distributions.transformed_distribution import TransformedDistribution
from graphc.distributions.transforms import AbsTransform
from graphc.functions.creation import zeros_like
from graphc.primitives.elementwise import where


class Folded(TransformedDistribution):
    """|x|, x distributed as `base`, which is symmetric around 0 and has a `scale`."""

    arg_constraints = {"scale": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True

    def __init__(self, base: Any, validate_args: bool | None) -> None:
        super().__init__(base, AbsTransform(), validate_args=validate_args)

    scale = property(lambda self: self.base_dist.scale, doc="That of x.")
    mode = property(lambda self: zeros_like(self.scale), doc="0")

    def log_prob(self, value: Any) -> Any:
        """Twice the density of x; 0 below 0."""
        found = self.base_dist.log_prob(self._checked(value)) + math.log(2)
        return where(value >= 0, found, found.new_full((), -math.inf))

    def cdf(self, value: Any) -> Any:
        """The probability of points up to `value`."""
        return 2 * self.base_dist.cdf(self._checked(value)) - 1

    def icdf(self, value: Any) -> Any:
        """The point up to which lies the probability `value`."""
        return self.base_dist.icdf((value + 1) / 2)

    def entropy(self) -> Any:
        """That of x, less log 2."""
        return self.base_dist.entropy() - math.log(2)


__all__ = ["Folded"]
