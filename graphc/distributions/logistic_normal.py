"""Logistic-normal distributions."""

from __future__ import annotations

from typing import Any

from graphc.distributions import constraints
from graphc.distributions.normal import Normal
from graphc.distributions.transformed_distribution import TransformedDistribution
from graphc.distributions.transforms import StickBreakingTransform


class LogisticNormal(TransformedDistribution):
    """Points of the simplex from normal numbers, by breaking a stick."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.simplex
    has_rsample = True

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        base = Normal(loc, scale, validate_args=validate_args)
        base = base if base.batch_shape else base.expand([1])
        super().__init__(base, StickBreakingTransform(), validate_args=validate_args)

    loc = property(lambda self: self.base_dist.base_dist.loc, doc="That of the normal numbers.")
    scale = property(lambda self: self.base_dist.base_dist.scale, doc="That of the normal numbers.")


__all__ = ["LogisticNormal"]
