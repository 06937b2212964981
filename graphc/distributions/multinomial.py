"""Multinomial distributions."""

from __future__ import annotations

from typing import Any

from graphc.distributions import constraints
from graphc.distributions.binomial import Binomial
from graphc.distributions.categorical import Categorical
from graphc.distributions.distribution import Distribution
from graphc.distributions.utils import broadcast_all
from graphc.functions.gamma_functions import lgamma
from graphc.functions.indexing import one_hot
from graphc.primitives.elementwise import logical_and, where


class Multinomial(Distribution):
    """How often each class is drawn in total_count draws with probabilities probs."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    _parts = ("_categorical",)

    def __init__(
        self, total_count: int = 1, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        if not isinstance(total_count, int):
            raise NotImplementedError("inhomogeneous total_count is not supported")
        self.total_count = total_count
        self._categorical = Categorical(probs=probs, logits=logits)
        shape = self._categorical.param_shape
        super().__init__(shape[:-1], shape[-1:], validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> Any:
        """Counts whose sum is total_count at most."""
        return constraints.multinomial(self.total_count)

    probs = property(lambda self: self._categorical.probs, doc="The probabilities.")
    logits = property(lambda self: self._categorical.logits, doc="The logarithms of the probabilities.")
    param_shape = property(lambda self: self._categorical.param_shape, doc="The shape of probs and logits.")
    mean = property(lambda self: self.probs * self.total_count, doc="n p")
    variance = property(lambda self: self.total_count * self.probs * (1 - self.probs), doc="n p (1 - p)")

    def sample(self, sample_shape: Any = ()) -> Any:
        """Counts f[sample_shape + batch_shape + (k,)]."""
        draws = self._categorical.sample((self.total_count, *sample_shape))
        return one_hot(draws, self._categorical._num_events).sum(0).to(self.probs.dtype)

    def entropy(self) -> Any:
        """n times the entropy of one draw, less what the order would tell."""
        n = self.total_count
        first = n * self._categorical.entropy() - lgamma(self.probs.new_full((), float(n + 1)))
        binomial = Binomial(n, probs=self.probs)
        support = binomial.enumerate_support(expand=False)[1:]
        weights = (support + 1).lgamma()
        return first + (binomial.log_prob(support).exp() * weights).sum(0).sum(-1)

    def log_prob(self, value: Any) -> Any:
        """The logarithm of the probability of the counts."""
        logits, x = broadcast_all(self.logits, self._checked(value))
        impossible = logical_and(x == 0, logits == -float("inf"))
        logits = where(impossible, logits.new_zeros(()), logits)
        return (x.sum(-1) + 1).lgamma() - (x + 1).lgamma().sum(-1) + (logits * x).sum(-1)


__all__ = ["Multinomial"]
