"""Gumbel distributions."""

from __future__ import annotations

import math
from typing import Any

from graphc.distributions import constraints
from graphc.distributions.transformed_distribution import TransformedDistribution
from graphc.distributions.transforms import AffineTransform, ExpTransform
from graphc.distributions.uniform import Uniform
from graphc.distributions.utils import broadcast_all, euler_constant
from graphc.functions.creation import full_like, ones_like
from graphc.functions.dtypes import finfo


class Gumbel(TransformedDistribution):
    """loc - scale log(-log u), u uniform: the distribution of large maxima."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    _parameters = {"loc": 0, "scale": 0}

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        info = finfo(self.loc.dtype)
        low, high = full_like(self.loc, info.tiny), full_like(self.loc, 1 - info.eps)
        transforms = [
            ExpTransform().inv, AffineTransform(loc=0, scale=-ones_like(self.scale)), ExpTransform().inv,
            AffineTransform(loc=self.loc, scale=-self.scale),
        ]  # fmt: skip
        super().__init__(Uniform(low, high, validate_args=validate_args), transforms, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same distributions, broadcast to a larger batch."""
        shape = tuple(batch_shape)
        return type(self)(self.loc.expand(shape), self.scale.expand(shape), validate_args=False)

    def log_prob(self, value: Any) -> Any:
        """y - exp(y) - log(scale), y = (loc - x) / scale."""
        y = (self.loc - self._checked(value)) / self.scale
        return (y - y.exp()) - self.scale.log()

    mean = property(lambda self: self.loc + self.scale * euler_constant, doc="loc + scale * Euler's constant")
    mode = property(lambda self: self.loc, doc="loc")
    stddev = property(lambda self: math.pi / math.sqrt(6) * self.scale, doc="pi / sqrt(6) scale")
    variance = property(lambda self: self.stddev.pow(2), doc="pi^2 / 6 scale^2")

    def entropy(self) -> Any:
        """log(scale) + 1 + Euler's constant."""
        return self.scale.log() + (1 + euler_constant)


__all__ = ["Gumbel"]
