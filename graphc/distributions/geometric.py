"""Geometric distributions."""

from __future__ import annotations

from typing import Any

from graphc.distributions import constraints
from graphc.distributions.bernoulli import BinaryParameters, take_probs_or_logits
from graphc.distributions.distribution import Distribution, fails
from graphc.distributions.utils import broadcast_all
from graphc.functions.creation import zeros_like
from graphc.functions.dtypes import finfo
from graphc.functions.random import rand
from graphc.grad_mode import no_grad
from graphc.nn.losses import binary_cross_entropy_with_logits
from graphc.primitives.elementwise import logical_and, where


class Geometric(BinaryParameters, Distribution):
    """How many trials of probability probs fail before the first success: probs (1 - probs)^k."""

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.nonnegative_integer
    _parameters = {"probs": 0, "logits": 0}

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        take_probs_or_logits(self, probs, logits)
        super().__init__(self._param.shape, validate_args=validate_args)
        if self._validate_args and probs is not None and fails(constraints.positive, self.probs):
            raise ValueError(
                f"Expected parameter probs ({type(self.probs).__name__} of shape {tuple(self.probs.shape)}) of distribution "
                f"{self!r} to be positive but found invalid values:\n{self.probs[self.probs <= 0]}"
            )

    mean = property(lambda self: 1.0 / self.probs - 1.0, doc="1 / p - 1")
    mode = property(lambda self: zeros_like(self.probs), doc="0")
    variance = property(lambda self: (1.0 / self.probs - 1.0) / self.probs, doc="(1 / p - 1) / p")

    def sample(self, sample_shape: Any = ()) -> Any:
        """Whole numbers from 0, without a gradient."""
        shape, p = self._extended_shape(sample_shape), self.probs
        with no_grad():
            u = rand(*shape, dtype=p.dtype, device=p.device).clamp(min=finfo(p.dtype).tiny)
            return (u.log() / (-p.expand(shape)).log1p()).floor()

    def log_prob(self, value: Any) -> Any:
        """k log(1 - p) + log p."""
        x, p = broadcast_all(self._checked(value), self.probs)
        certain = logical_and(p == 1, x == 0)
        q = where(certain, zeros_like(p), p)
        return x * (-q).log1p() + self.probs.log()

    def entropy(self) -> Any:
        """The binary entropy over p."""
        return binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none") / self.probs


__all__ = ["Geometric"]
