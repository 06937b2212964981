"""Binomial distributions."""

from __future__ import annotations

from typing import Any

from graphc.core.arrays import is_array
from graphc.core.errors import SymbolicError
from graphc.distributions import constraints
from graphc.distributions.bernoulli import BinaryParameters, take_probs_or_logits
from graphc.distributions.distribution import Distribution
from graphc.functions.creation import arange
from graphc.functions.random_families import binomial_up_to


class Binomial(BinaryParameters, Distribution):
    """How many of total_count trials of probability probs succeed."""

    arg_constraints = {
        "total_count": constraints.nonnegative_integer, "probs": constraints.unit_interval, "logits": constraints.real,
    }  # fmt: skip
    has_enumerate_support = True
    _parameters = {"total_count": 0, "probs": 0, "logits": 0}

    def __init__(
        self, total_count: Any = 1, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        (count,) = take_probs_or_logits(self, probs, logits, total_count)
        self.total_count = count.to(self._param.dtype)
        self._most = total_count if isinstance(total_count, int) else None
        super().__init__(self._param.shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Any:
        """From 0 to total_count."""
        return constraints.integer_interval(0, self.total_count)

    mean = property(lambda self: self.total_count * self.probs, doc="n p")
    variance = property(lambda self: self.total_count * self.probs * (1 - self.probs), doc="n p (1 - p)")

    @property
    def mode(self) -> Any:
        """The whole part of (n + 1) p."""
        return ((self.total_count + 1) * self.probs).floor().minimum(self.total_count)

    def _largest(self) -> int:
        if self._most is not None:
            return self._most
        if not is_array(self.total_count._data):
            raise SymbolicError("Binomial: the largest total_count must be known\n  hint: give total_count as a number")
        return int(self.total_count.max()) if self.total_count.numel() else 0

    def sample(self, sample_shape: Any = ()) -> Any:
        """Counts, without a gradient."""
        shape = self._extended_shape(sample_shape)
        return binomial_up_to(self.total_count.expand(shape), self.probs.detach().expand(shape), self._largest())

    def log_prob(self, value: Any) -> Any:
        """The logarithm of the probability."""
        n, x = self.total_count, self._checked(value)
        # n log(1 + e^l), without overflow
        normalizer = n * self.logits.clamp(min=0) + n * (-self.logits.abs()).exp().log1p() - (n + 1).lgamma()
        return x * self.logits - (x + 1).lgamma() - (n - x + 1).lgamma() - normalizer

    def entropy(self) -> Any:
        """The sum over all counts. NotImplementedError for counts that differ."""
        most = self._largest()
        if is_array(self.total_count._data) and self.total_count.numel() and int(self.total_count.min()) != most:
            raise NotImplementedError("Inhomogeneous total count not supported by `entropy`.")
        log_prob = self.log_prob(self.enumerate_support(False))
        return -(log_prob.exp() * log_prob).sum(0)

    def enumerate_support(self, expand: bool = True) -> Any:
        """0 to total_count. NotImplementedError for counts that differ."""
        most = self._largest()
        if is_array(self.total_count._data) and self.total_count.numel() and int(self.total_count.min()) != most:
            raise NotImplementedError("Inhomogeneous total count not supported by `enumerate_support`.")
        values = arange(1 + most, dtype=self._param.dtype, device=self._param.device)
        values = values.view(-1, *[1] * len(self._batch_shape))
        return values.expand(-1, *self._batch_shape) if expand else values


__all__ = ["Binomial"]
