"""Categorical distributions."""

from __future__ import annotations

import math
from typing import Any

from graphc.distributions import constraints
from graphc.distributions.bernoulli import BinaryParameters
from graphc.distributions.distribution import Distribution
from graphc.distributions.utils import lazy_property, logits_to_probs, probs_to_logits
from graphc.functions.creation import arange, full
from graphc.functions.dtypes import finfo
from graphc.functions.random import multinomial
from graphc.functions.shaping import broadcast_tensors
from graphc.methods.shapes import TensorSize


class Categorical(BinaryParameters, Distribution):
    """k with probability probs[k], or with probability proportional to exp(logits[k]); the last dimension holds the classes."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    has_enumerate_support = True
    _parameters = {"probs": 1, "logits": 1}

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        if (probs is None) == (logits is None):
            raise ValueError("Either `probs` or `logits` must be specified, but not both.")
        name, given = ("logits", logits) if probs is None else ("probs", probs)
        if given.dim() < 1:
            raise ValueError(f"`{name}` parameter must be at least one-dimensional.")
        if probs is None:
            self.logits = logits - logits.logsumexp(-1, keepdim=True)
        else:
            self.probs = probs / probs.sum(-1, keepdim=True)
        self._num_events = given.shape[-1]
        super().__init__(given.shape[:-1], validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Any:
        """From 0 to the last class."""
        return constraints.integer_interval(0, self._num_events - 1)

    @lazy_property
    def logits(self) -> Any:
        """The logarithms of the probabilities."""
        return probs_to_logits(self.probs)

    @lazy_property
    def probs(self) -> Any:
        """The probabilities."""
        return logits_to_probs(self.logits)

    def _nothing(self) -> Any:
        return full(tuple(self._batch_shape), math.nan, dtype=self._param.dtype, device=self._param.device)

    mean = variance = property(lambda self: self._nothing(), doc="There is none: NaN.")
    mode = property(lambda self: self.probs.argmax(-1), doc="The likeliest class.")

    def sample(self, sample_shape: Any = ()) -> Any:
        """Classes i64[sample_shape + batch_shape]."""
        shape = TensorSize(sample_shape)
        rows = self.probs.detach().reshape(-1, self._num_events)
        return multinomial(rows, shape.numel(), True).t().reshape(self._extended_shape(shape))

    def log_prob(self, value: Any) -> Any:
        """The logarithm of the probability of a class."""
        at, log_pmf = broadcast_tensors(self._checked(value).long().unsqueeze(-1), self.logits)
        return log_pmf.gather(-1, at[..., :1]).squeeze(-1)

    def entropy(self) -> Any:
        """-sum p log p."""
        logits = self.logits.clamp(min=finfo(self.logits.dtype).min)
        return -(logits * self.probs).sum(-1)

    def enumerate_support(self, expand: bool = True) -> Any:
        """All classes."""
        values = arange(self._num_events, device=self._param.device).view(-1, *[1] * len(self._batch_shape))
        return values.expand(-1, *self._batch_shape) if expand else values


__all__ = ["Categorical"]
