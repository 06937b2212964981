"""Dirichlet distributions."""

from __future__ import annotations

from typing import Any

from graphc.distributions import constraints
from graphc.distributions.distribution import ExponentialFamily
from graphc.distributions.gamma import gamma_sample
from graphc.functions.indexing import one_hot
from graphc.primitives.elementwise import where


class Dirichlet(ExponentialFamily):
    """prod x_i^(a_i - 1) over the simplex, a the concentration f[*, k]."""

    arg_constraints = {"concentration": constraints.independent(constraints.positive, 1)}
    support = constraints.simplex
    has_rsample = True
    _parameters = {"concentration": 1}

    def __init__(self, concentration: Any, validate_args: bool | None = None) -> None:
        if concentration.dim() < 1:
            raise ValueError("`concentration` parameter must be at least one-dimensional.")
        self.concentration = concentration
        super().__init__(concentration.shape[:-1], concentration.shape[-1:], validate_args=validate_args)

    def rsample(self, sample_shape: Any = ()) -> Any:
        """Gamma samples over their sum."""
        g = gamma_sample(self.concentration.expand(self._extended_shape(sample_shape)))
        return g / g.sum(-1, keepdim=True)

    def log_prob(self, value: Any) -> Any:
        """The logarithm of the density."""
        a, x = self.concentration, self._checked(value)
        return (a - 1.0).xlogy(x).sum(-1) + a.sum(-1).lgamma() - a.lgamma().sum(-1)

    @property
    def mean(self) -> Any:
        """The concentration over its sum."""
        return self.concentration / self.concentration.sum(-1, keepdim=True)

    @property
    def mode(self) -> Any:
        """(a - 1) over its sum; the first corner where all a are below 1."""
        a = (self.concentration - 1).clamp(min=0.0)
        inner = a / a.sum(-1, keepdim=True)
        first = one_hot(a.detach().argmax(-1), a.shape[-1]).to(a.dtype)
        outside = (self.concentration < 1).all(-1, keepdim=True)
        return where(outside, first, inner)

    @property
    def variance(self) -> Any:
        """a (s - a) / (s^2 (s + 1)), s the sum."""
        s = self.concentration.sum(-1, keepdim=True)
        return self.concentration * (s - self.concentration) / (s.pow(2) * (s + 1))

    def entropy(self) -> Any:
        """By the gamma function and its derivative."""
        a = self.concentration
        k, s = a.shape[-1], a.sum(-1)
        return a.lgamma().sum(-1) - s.lgamma() - (k - s) * s.digamma() - ((a - 1.0) * a.digamma()).sum(-1)


__all__ = ["Dirichlet"]
