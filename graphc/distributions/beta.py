"""Beta distributions."""

from __future__ import annotations

from typing import Any

from graphc.distributions import constraints
from graphc.distributions.dirichlet import Dirichlet
from graphc.distributions.distribution import ExponentialFamily
from graphc.distributions.utils import broadcast_all
from graphc.functions.joining import stack


class Beta(ExponentialFamily):
    """x^(a - 1) (1 - x)^(b - 1) over [0, 1], a the concentration1, b the concentration0."""

    arg_constraints = {"concentration1": constraints.positive, "concentration0": constraints.positive}
    support = constraints.unit_interval
    has_rsample = True
    _parts = ("_dirichlet",)

    def __init__(self, concentration1: Any, concentration0: Any, validate_args: bool | None = None) -> None:
        pair = stack(broadcast_all(concentration1, concentration0), -1)
        self._dirichlet = Dirichlet(pair, validate_args=validate_args)
        super().__init__(self._dirichlet._batch_shape, validate_args=validate_args)

    concentration1 = property(lambda self: self._dirichlet.concentration[..., 0], doc="a")
    concentration0 = property(lambda self: self._dirichlet.concentration[..., 1], doc="b")
    mean = property(lambda self: self.concentration1 / (self.concentration1 + self.concentration0), doc="a / (a + b)")
    mode = property(lambda self: self._dirichlet.mode[..., 0], doc="(a - 1) / (a + b - 2)")

    @property
    def variance(self) -> Any:
        """a b / ((a + b)^2 (a + b + 1))."""
        total = self.concentration1 + self.concentration0
        return self.concentration1 * self.concentration0 / (total.pow(2) * (total + 1))

    def rsample(self, sample_shape: Any = ()) -> Any:
        """The first part of a Dirichlet sample."""
        return self._dirichlet.rsample(sample_shape)[..., 0]

    def log_prob(self, value: Any) -> Any:
        """The logarithm of the density."""
        return self._dirichlet.log_prob(stack([self._checked(value), 1.0 - value], -1))

    def entropy(self) -> Any:
        """That of the Dirichlet distribution."""
        return self._dirichlet.entropy()


__all__ = ["Beta"]
