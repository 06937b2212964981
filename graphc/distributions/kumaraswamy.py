"""Kumaraswamy distributions."""

from __future__ import annotations

import math
from typing import Any

from graphc.distributions import constraints
from graphc.distributions.transformed_distribution import TransformedDistribution
from graphc.distributions.transforms import AffineTransform, PowerTransform
from graphc.distributions.uniform import Uniform
from graphc.distributions.utils import broadcast_all, euler_constant
from graphc.functions.creation import full_like
from graphc.primitives.elementwise import logical_or, where


class Kumaraswamy(TransformedDistribution):
    """(1 - u^(1 / b))^(1 / a), u uniform, a the concentration1, b the concentration0: like Beta(a, b), in closed form."""

    arg_constraints = {"concentration1": constraints.positive, "concentration0": constraints.positive}
    support = constraints.unit_interval
    has_rsample = True

    def __init__(self, concentration1: Any, concentration0: Any, validate_args: bool | None = None) -> None:
        self.concentration1, self.concentration0 = broadcast_all(concentration1, concentration0)
        base = Uniform(
            full_like(self.concentration0, 0), full_like(self.concentration0, 1), validate_args=validate_args
        )
        transforms = [
            PowerTransform(exponent=self.concentration0.reciprocal()), AffineTransform(loc=1.0, scale=-1.0),
            PowerTransform(exponent=self.concentration1.reciprocal()),
        ]  # fmt: skip
        super().__init__(base, transforms, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same distributions, broadcast to a larger batch."""
        shape = tuple(batch_shape)
        return type(self)(self.concentration1.expand(shape), self.concentration0.expand(shape), validate_args=False)

    def _moment(self, n: int) -> Any:
        """b B(1 + n / a, b)."""
        a, b = self.concentration1, self.concentration0
        first = 1 + n / a
        return (b.log() + first.lgamma() + b.lgamma() - (first + b).lgamma()).exp()

    mean = property(lambda self: self._moment(1), doc="The first moment.")
    variance = property(lambda self: self._moment(2) - self._moment(1).pow(2), doc="By two moments.")

    @property
    def mode(self) -> Any:
        """((a - 1) / (a b - 1))^(1 / a); NaN below 1."""
        a, b = self.concentration1, self.concentration0
        found = b.reciprocal() * (-b).log1p() - (-b * a).log1p()
        return where(logical_or(b < 1, a < 1), found.new_full((), math.nan), found).exp()

    def entropy(self) -> Any:
        """By the digamma function."""
        a, b = self.concentration1, self.concentration0
        return (1 - b.reciprocal()) + (1 - a.reciprocal()) * ((b + 1).digamma() + euler_constant) - a.log() - b.log()


__all__ = ["Kumaraswamy"]
