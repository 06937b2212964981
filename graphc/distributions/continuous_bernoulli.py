"""Continuous Bernoulli distributions."""

from __future__ import annotations

import math
from typing import Any

from graphc.distributions import constraints
from graphc.distributions.bernoulli import BinaryParameters, take_probs_or_logits
from graphc.distributions.distribution import ExponentialFamily, fails
from graphc.distributions.utils import broadcast_all, clamp_probs, lazy_property, logits_to_probs
from graphc.functions.comparisons import where
from graphc.functions.random import rand
from graphc.nn.losses import binary_cross_entropy_with_logits
from graphc.primitives.elementwise import logical_or


class ContinuousBernoulli(BinaryParameters, ExponentialFamily):
    """probs^x (1 - probs)^(1 - x), normalised over [0, 1] (Loaiza-Ganem and Cunningham 2019); probs = sigmoid(logits).

    Between `lims` what divides by 1 - 2 probs is taken from series around 1/2.
    """

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.unit_interval
    has_rsample = True
    _parameters = {"probs": 0, "logits": 0}

    def __init__(
        self, probs: Any = None, logits: Any = None, lims: tuple[float, float] = (0.499, 0.501),
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        take_probs_or_logits(self, probs, logits)
        if probs is not None:
            if validate_args is not None and fails(constraints.unit_interval, self.probs):
                raise ValueError("The parameter probs has invalid values")
            self.__dict__["probs"] = clamp_probs(self.probs)
        self._lims = lims
        super().__init__(self._param.shape, validate_args=validate_args)

    @lazy_property
    def probs(self) -> Any:
        """The sigmoid of logits."""
        return clamp_probs(logits_to_probs(self.logits, is_binary=True))

    def _is_stable(self) -> Any:
        return logical_or(self.probs <= self._lims[0], self.probs > self._lims[1])

    def _cut_probs(self) -> Any:
        """probs, away from 1/2."""
        return where(self._is_stable(), self.probs, self.probs.new_full((), self._lims[0]))

    @staticmethod
    def _slope(p: Any) -> Any:
        return (-p).log1p() - p.log()

    def _log_normalizer_of_probs(self) -> Any:
        """The logarithm of what the density is multiplied with."""
        p, one = self._cut_probs(), self.probs.new_ones(())
        below, above = where(p <= 0.5, p, one * 0), where(p >= 0.5, p, one)
        size = where(p <= 0.5, (-2.0 * below).log1p(), (2.0 * above - 1.0).log())
        x = (self.probs - 0.5).square()
        series = math.log(2.0) + (4.0 / 3.0 + 104.0 / 45.0 * x) * x
        return where(self._is_stable(), self._slope(p).abs().log() - size, series)

    @property
    def mean(self) -> Any:
        """p / (2 p - 1) + 1 / (log(1 - p) - log(p))."""
        p, x = self._cut_probs(), self.probs - 0.5
        series = 0.5 + (1.0 / 3.0 + 16.0 / 45.0 * x.square()) * x
        return where(self._is_stable(), p / (2.0 * p - 1.0) + 1.0 / self._slope(p), series)

    @property
    def variance(self) -> Any:
        """p (p - 1) / (1 - 2 p)^2 + 1 / (log(1 - p) - log(p))^2."""
        p, x = self._cut_probs(), (self.probs - 0.5).square()
        series = 1.0 / 12.0 - (1.0 / 15.0 - 128.0 / 945.0 * x) * x
        found = p * (p - 1.0) / (1.0 - 2.0 * p).square() + 1.0 / self._slope(p).square()
        return where(self._is_stable(), found, series)

    def rsample(self, sample_shape: Any = ()) -> Any:
        """The inverse distribution function of uniform numbers."""
        return self.icdf(rand(*self._extended_shape(sample_shape), dtype=self.probs.dtype, device=self.probs.device))

    def log_prob(self, value: Any) -> Any:
        """The logarithm of the density."""
        logits, x = broadcast_all(self.logits, self._checked(value))
        return self._log_normalizer_of_probs() - binary_cross_entropy_with_logits(logits, x, reduction="none")

    def cdf(self, value: Any) -> Any:
        """(p^x (1 - p)^(1 - x) + p - 1) / (2 p - 1)."""
        x, p = self._checked(value), self._cut_probs()
        found = (p.pow(x) * (1.0 - p).pow(1.0 - x) + p - 1.0) / (2.0 * p - 1.0)
        found = where(self._is_stable(), found, x)
        zero = found.new_zeros(())
        return where(x <= 0, zero, where(x >= 1, zero + 1, found))

    def icdf(self, value: Any) -> Any:
        """The inverse of `cdf`."""
        p = self._cut_probs()
        rest = (-p).log1p()
        found = ((-p + value * (2.0 * p - 1.0)).log1p() - rest) / (p.log() - rest)
        return where(self._is_stable(), found, value)

    def entropy(self) -> Any:
        """By the mean and the normalizer."""
        zero, one = (-self.probs).log1p(), self.probs.log()
        return self.mean * (zero - one) - self._log_normalizer_of_probs() - zero


__all__ = ["ContinuousBernoulli"]
