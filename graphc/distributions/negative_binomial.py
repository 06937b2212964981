"""Negative binomial distributions."""

from __future__ import annotations

from typing import Any

from graphc.distributions import constraints
from graphc.distributions.bernoulli import BinaryParameters, take_probs_or_logits
from graphc.distributions.distribution import Distribution
from graphc.functions.activations import logsigmoid
from graphc.functions.random_families import poisson, standard_gamma
from graphc.grad_mode import no_grad
from graphc.primitives.elementwise import where


class NegativeBinomial(BinaryParameters, Distribution):
    """How many trials of probability probs succeed before total_count of them fail."""

    arg_constraints = {
        "total_count": constraints.greater_than_eq(0), "probs": constraints.half_open_interval(0.0, 1.0),
        "logits": constraints.real,
    }  # fmt: skip
    support = constraints.nonnegative_integer
    _parameters = {"total_count": 0, "probs": 0, "logits": 0}

    def __init__(
        self, total_count: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        (count,) = take_probs_or_logits(self, probs, logits, total_count)
        self.total_count = count.to(self._param.dtype)
        super().__init__(self._param.shape, validate_args=validate_args)

    mean = property(lambda self: self.total_count * self.logits.exp(), doc="n p / (1 - p)")
    mode = property(
        lambda self: ((self.total_count - 1) * self.logits.exp()).floor().clamp(min=0.0), doc="The likeliest."
    )
    variance = property(lambda self: self.mean / (-self.logits).sigmoid(), doc="n p / (1 - p)^2")

    def sample(self, sample_shape: Any = ()) -> Any:
        """Counts, without a gradient: Poisson numbers whose rates are gamma numbers."""
        shape = self._extended_shape(sample_shape)
        with no_grad():
            rate = standard_gamma(self.total_count.expand(shape)) * self.logits.exp().expand(shape)
            return poisson(rate)

    def log_prob(self, value: Any) -> Any:
        """The logarithm of the probability."""
        n, x = self.total_count, self._checked(value)
        unnormalized = n * logsigmoid(-self.logits) + x * logsigmoid(self.logits)
        normalizer = -(n + x).lgamma() + (1.0 + x).lgamma() + n.lgamma()
        return unnormalized - where(n + x == 0.0, normalizer.new_zeros(()), normalizer)


__all__ = ["NegativeBinomial"]
