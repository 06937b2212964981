"""Weibull distributions."""

from __future__ import annotations

from typing import Any

from graphc.distributions import constraints
from graphc.distributions.exponential import Exponential
from graphc.distributions.transformed_distribution import TransformedDistribution
from graphc.distributions.transforms import AffineTransform, PowerTransform
from graphc.distributions.utils import broadcast_all, euler_constant
from graphc.functions.creation import ones_like


class Weibull(TransformedDistribution):
    """scale x^(1 / concentration), x exponentially distributed."""

    arg_constraints = {"scale": constraints.positive, "concentration": constraints.positive}
    support = constraints.positive

    def __init__(self, scale: Any, concentration: Any, validate_args: bool | None = None) -> None:
        self.scale, self.concentration = broadcast_all(scale, concentration)
        self.concentration_reciprocal = self.concentration.reciprocal()
        base = Exponential(ones_like(self.scale), validate_args=validate_args)
        transforms = [
            PowerTransform(exponent=self.concentration_reciprocal), AffineTransform(loc=0, scale=self.scale),
        ]  # fmt: skip
        super().__init__(base, transforms, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same distributions, broadcast to a larger batch."""
        shape = tuple(batch_shape)
        return type(self)(self.scale.expand(shape), self.concentration.expand(shape), validate_args=False)

    def _moment(self, k: int) -> Any:
        return (1 + k * self.concentration_reciprocal).lgamma().exp()

    mean = property(lambda self: self.scale * self._moment(1), doc="scale Gamma(1 + 1 / concentration)")

    @property
    def mode(self) -> Any:
        """scale ((c - 1) / c)^(1 / c)."""
        c = self.concentration
        return self.scale * ((c - 1) / c) ** self.concentration_reciprocal

    @property
    def variance(self) -> Any:
        """By two moments."""
        return self.scale.pow(2) * (self._moment(2) - self._moment(1).pow(2))

    def entropy(self) -> Any:
        """By Euler's constant."""
        return (
            euler_constant * (1 - self.concentration_reciprocal)
            + (self.scale * self.concentration_reciprocal).log()
            + 1
        )


__all__ = ["Weibull"]
