"""Categorical distributions over one-hot vectors."""

from __future__ import annotations

from typing import Any

from graphc.distributions import constraints
from graphc.distributions.categorical import Categorical
from graphc.distributions.distribution import Distribution
from graphc.functions.creation import eye
from graphc.functions.indexing import one_hot


class OneHotCategorical(Distribution):
    """The one-hot vector of class k with probability probs[k]."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    support = constraints.one_hot
    has_enumerate_support = True
    _parts = ("_categorical",)

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        self._categorical = Categorical(probs, logits)
        shape = self._categorical.param_shape
        super().__init__(shape[:-1], shape[-1:], validate_args=validate_args)

    _param = property(lambda self: self._categorical._param)
    probs = property(lambda self: self._categorical.probs, doc="The probabilities.")
    logits = property(lambda self: self._categorical.logits, doc="The logarithms of the probabilities.")
    param_shape = property(lambda self: self._categorical.param_shape, doc="The shape of probs and logits.")
    mean = property(lambda self: self.probs, doc="probs")
    variance = property(lambda self: self.probs * (1 - self.probs), doc="p (1 - p)")

    def _as_vectors(self, classes: Any) -> Any:
        return one_hot(classes, self._categorical._num_events).to(self.probs.dtype)

    mode = property(lambda self: self._as_vectors(self.probs.argmax(-1)), doc="The vector of the likeliest class.")

    def sample(self, sample_shape: Any = ()) -> Any:
        """One-hot vectors f[sample_shape + batch_shape + (k,)]."""
        return self._as_vectors(self._categorical.sample(sample_shape))

    def log_prob(self, value: Any) -> Any:
        """The logarithm of the probability of a vector's class."""
        return self._categorical.log_prob(self._checked(value).max(-1)[1])

    def entropy(self) -> Any:
        """-sum p log p."""
        return self._categorical.entropy()

    def enumerate_support(self, expand: bool = True) -> Any:
        """All vectors."""
        n = self._event_shape[0]
        values = eye(n, dtype=self._param.dtype, device=self._param.device).view(n, *[1] * len(self._batch_shape), n)
        return values.expand(n, *self._batch_shape, n) if expand else values


class OneHotCategoricalStraightThrough(OneHotCategorical):
    """OneHotCategorical whose samples have the gradient of the probabilities (Bengio et al. 2013)."""

    has_rsample = True

    def rsample(self, sample_shape: Any = ()) -> Any:
        """One-hot vectors with the gradient of probs."""
        return self.sample(sample_shape) + (self.probs - self.probs.detach())


__all__ = ["OneHotCategorical", "OneHotCategoricalStraightThrough"]
