"""Relaxed categorical distributions: Gumbel-softmax (Jang et al. 2017, Maddison et al. 2017)."""

from __future__ import annotations

from typing import Any

from graphc.distributions import constraints
from graphc.distributions.categorical import Categorical
from graphc.distributions.distribution import Distribution
from graphc.distributions.transformed_distribution import TransformedDistribution
from graphc.distributions.transforms import ExpTransform
from graphc.distributions.utils import broadcast_all, clamp_probs
from graphc.functions.random import rand


class ExpRelaxedCategorical(Distribution):
    """The logarithms of a relaxed one-hot vector."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    support = constraints.real_vector
    has_rsample = True
    _parts = ("_categorical",)

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        self._categorical, self.temperature = Categorical(probs, logits), temperature
        shape = self._categorical.param_shape
        super().__init__(shape[:-1], shape[-1:], validate_args=validate_args)

    param_shape = property(lambda self: self._categorical.param_shape, doc="The shape of probs and logits.")
    logits = property(lambda self: self._categorical.logits, doc="The logarithms of the probabilities.")
    probs = property(lambda self: self._categorical.probs, doc="The probabilities.")

    def rsample(self, sample_shape: Any = ()) -> Any:
        """log softmax((logits + Gumbel noise) / temperature), with gradients."""
        logits = self.logits
        u = clamp_probs(rand(*self._extended_shape(sample_shape), dtype=logits.dtype, device=logits.device))
        scores = (logits - (-(u.log())).log()) / self.temperature
        return scores - scores.logsumexp(-1, keepdim=True)

    def log_prob(self, value: Any) -> Any:
        """The logarithm of the density."""
        k = self._categorical._num_events
        logits, x = broadcast_all(self.logits, self._checked(value))
        log_scale = self.temperature.new_full(self.temperature.shape, float(k)).lgamma() - self.temperature.log().mul(
            1 - k
        )
        scores = logits - x.mul(self.temperature)
        return (scores - scores.logsumexp(-1, keepdim=True)).sum(-1) + log_scale


class RelaxedOneHotCategorical(TransformedDistribution):
    """Points of the simplex that become one-hot as the temperature falls."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    support = constraints.simplex
    has_rsample = True

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        base = ExpRelaxedCategorical(temperature, probs, logits, validate_args=validate_args)
        super().__init__(base, ExpTransform(), validate_args=validate_args)

    temperature = property(lambda self: self.base_dist.temperature, doc="The temperature.")
    logits = property(lambda self: self.base_dist.logits, doc="The logarithms of the probabilities.")
    probs = property(lambda self: self.base_dist.probs, doc="The probabilities.")


__all__ = ["ExpRelaxedCategorical", "RelaxedOneHotCategorical"]
