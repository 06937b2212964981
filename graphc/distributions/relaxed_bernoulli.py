"""Relaxed Bernoulli distributions (Maddison et al. 2017)."""

from __future__ import annotations

from typing import Any

from graphc.distributions import constraints
from graphc.distributions.bernoulli import BinaryParameters, take_probs_or_logits
from graphc.distributions.distribution import Distribution
from graphc.distributions.transformed_distribution import TransformedDistribution
from graphc.distributions.transforms import SigmoidTransform
from graphc.distributions.utils import broadcast_all, clamp_probs
from graphc.functions.random import rand


class LogitRelaxedBernoulli(BinaryParameters, Distribution):
    """The log-odds of a relaxed Bernoulli number: (logits + logistic noise) / temperature."""

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.real
    has_rsample = True
    _parameters = {"probs": 0, "logits": 0}

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        self.temperature = temperature
        take_probs_or_logits(self, probs, logits)
        super().__init__(self._param.shape, validate_args=validate_args)

    def rsample(self, sample_shape: Any = ()) -> Any:
        """Log-odds, with gradients."""
        shape = self._extended_shape(sample_shape)
        p = clamp_probs(self.probs.expand(shape))
        u = clamp_probs(rand(*shape, dtype=p.dtype, device=p.device))
        return (u.log() - (-u).log1p() + p.log() - (-p).log1p()) / self.temperature

    def log_prob(self, value: Any) -> Any:
        """The logarithm of the density."""
        logits, x = broadcast_all(self.logits, self._checked(value))
        gap = logits - x.mul(self.temperature)
        return self.temperature.log() + gap - 2 * gap.exp().log1p()


class RelaxedBernoulli(TransformedDistribution):
    """Numbers in (0, 1) that become Bernoulli's as the temperature falls."""

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.unit_interval
    has_rsample = True

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        super().__init__(
            LogitRelaxedBernoulli(temperature, probs, logits), SigmoidTransform(), validate_args=validate_args
        )

    temperature = property(lambda self: self.base_dist.temperature, doc="The temperature.")
    logits = property(lambda self: self.base_dist.logits, doc="The log-odds.")
    probs = property(lambda self: self.base_dist.probs, doc="The probabilities.")


__all__ = ["LogitRelaxedBernoulli", "RelaxedBernoulli"]
