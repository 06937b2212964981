"""Bernoulli distributions."""

from __future__ import annotations

import math
from typing import Any

from graphc.distributions import constraints
from graphc.distributions.distribution import ExponentialFamily
from graphc.distributions.utils import broadcast_all, lazy_property, logits_to_probs, probs_to_logits
from graphc.functions.creation import arange
from graphc.functions.random import bernoulli
from graphc.grad_mode import no_grad
from graphc.nn.losses import binary_cross_entropy_with_logits
from graphc.primitives.elementwise import where


def take_probs_or_logits(distribution: Any, probs: Any, logits: Any, *others: Any) -> tuple[Any, ...]:
    """Sets probs or logits, whichever is given, broadcast with `others`, which are returned. ValueError for both or none."""
    if (probs is None) == (logits is None):
        raise ValueError("Either `probs` or `logits` must be specified, but not both.")
    name = "logits" if probs is None else "probs"
    *rest, value = broadcast_all(*others, logits if probs is None else probs)
    setattr(distribution, name, value)
    return tuple(rest)


class BinaryParameters:
    """What distributions with a probability, or its log-odds, have in common."""

    @lazy_property
    def logits(self) -> Any:
        """The log-odds."""
        return probs_to_logits(self.probs, is_binary=True)

    @lazy_property
    def probs(self) -> Any:
        """The probabilities: the sigmoid of the log-odds."""
        return logits_to_probs(self.logits, is_binary=True)

    _param = property(lambda self: self.__dict__["probs"] if "probs" in self.__dict__ else self.__dict__["logits"])
    param_shape = property(lambda self: self._param.size(), doc="The shape of probs and logits.")


class Bernoulli(BinaryParameters, ExponentialFamily):
    """1 with probability probs = sigmoid(logits), else 0."""

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.boolean
    has_enumerate_support = True
    _parameters = {"probs": 0, "logits": 0}

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        take_probs_or_logits(self, probs, logits)
        super().__init__(self._param.shape, validate_args=validate_args)

    mean = property(lambda self: self.probs, doc="probs")
    variance = property(lambda self: self.probs * (1 - self.probs), doc="p (1 - p)")

    @property
    def mode(self) -> Any:
        """The likelier of 0 and 1; NaN for 1/2."""
        found = (self.probs >= 0.5).to(self.probs.dtype)
        return where(self.probs == 0.5, self.probs.new_full((), math.nan), found)

    def sample(self, sample_shape: Any = ()) -> Any:
        """0 and 1, without a gradient."""
        with no_grad():
            return bernoulli(self.probs.expand(self._extended_shape(sample_shape)))

    def log_prob(self, value: Any) -> Any:
        """log p for 1, log(1 - p) for 0."""
        logits, x = broadcast_all(self.logits, self._checked(value))
        return -binary_cross_entropy_with_logits(logits, x, reduction="none")

    def entropy(self) -> Any:
        """The binary entropy."""
        return binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none")

    def enumerate_support(self, expand: bool = True) -> Any:
        """0 and 1."""
        values = arange(2, dtype=self._param.dtype, device=self._param.device).view(-1, *[1] * len(self._batch_shape))
        return values.expand(-1, *self._batch_shape) if expand else values


__all__ = ["Bernoulli", "BinaryParameters", "take_probs_or_logits"]
