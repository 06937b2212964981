"""Mixtures of distributions of one family."""

from __future__ import annotations

from typing import Any

from graphc.distributions import constraints
from graphc.distributions.categorical import Categorical
from graphc.distributions.distribution import Distribution
from graphc.functions.softmaxes import log_softmax
from graphc.grad_mode import no_grad


class MixtureSameFamily(Distribution):
    """The component k of the last batch dimension with probability mixture_distribution.probs[k]."""

    arg_constraints = {}

    def __init__(
        self, mixture_distribution: Any, component_distribution: Any, validate_args: bool | None = None
    ) -> None:
        mixture, components = mixture_distribution, component_distribution
        self._mixture_distribution, self._component_distribution = mixture, components
        if not isinstance(mixture, Categorical):
            raise ValueError(" The Mixture distribution needs to be an  instance of torch.distributions.Categorical")
        if not isinstance(components, Distribution):
            raise ValueError("The Component distribution needs to be an instance of torch.distributions.Distribution")
        batch = components.batch_shape[:-1]
        for a, b in zip(reversed(mixture.batch_shape), reversed(batch), strict=False):
            if a != 1 and b != 1 and a != b:
                raise ValueError(
                    f"`mixture_distribution.batch_shape` ({mixture.batch_shape}) is not compatible with "
                    f"`component_distribution.batch_shape`({batch})"
                )
        self._num_component, count = mixture.logits.shape[-1], components.batch_shape[-1]
        if self._num_component != count:
            raise ValueError(
                f"`mixture_distribution component` ({self._num_component}) does not equal "
                f"`component_distribution.batch_shape[-1]` ({count})"
            )
        self._event_ndims = len(components.event_shape)
        super().__init__(batch, components.event_shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same mixtures, broadcast to a larger batch."""
        shape = tuple(batch_shape)
        components = self._component_distribution.expand((*shape, self._num_component))
        return type(self)(self._mixture_distribution.expand(shape), components, validate_args=False)

    mixture_distribution = property(lambda self: self._mixture_distribution, doc="Which component it is.")
    component_distribution = property(lambda self: self._component_distribution, doc="The components.")

    @constraints.dependent_property
    def support(self) -> Any:
        """That of the components."""
        return constraints.MixtureSameFamilyConstraint(self._component_distribution.support)

    def _weights(self) -> Any:
        p = self.mixture_distribution.probs
        return p.reshape((*p.shape, *[1] * self._event_ndims))

    def _pad(self, x: Any) -> Any:
        return x.unsqueeze(-1 - self._event_ndims)

    @property
    def mean(self) -> Any:
        """The weighted mean of the components' means."""
        return (self._weights() * self.component_distribution.mean).sum(-1 - self._event_ndims)

    @property
    def variance(self) -> Any:
        """The mean of the variances and the variance of the means."""
        axis, weights = -1 - self._event_ndims, self._weights()
        spread = (self.component_distribution.mean - self._pad(self.mean)).pow(2.0)
        return (weights * self.component_distribution.variance).sum(axis) + (weights * spread).sum(axis)

    def cdf(self, x: Any) -> Any:
        """The weighted mean of the components'."""
        return (self.component_distribution.cdf(self._pad(x)) * self.mixture_distribution.probs).sum(-1)

    def log_prob(self, x: Any) -> Any:
        """The logarithm of the weighted mean of the components' densities."""
        found = self.component_distribution.log_prob(self._pad(self._checked(x)))
        return (found + log_softmax(self.mixture_distribution.logits, -1)).logsumexp(-1)

    def sample(self, sample_shape: Any = ()) -> Any:
        """Points, without a gradient."""
        with no_grad():
            chosen = self.mixture_distribution.expand(self._batch_shape).sample(sample_shape)
            points = self.component_distribution.sample(sample_shape)
            axis = len(sample_shape) + len(self._batch_shape)
            at = chosen.reshape((*chosen.shape, 1, *[1] * self._event_ndims))
            at = at.expand((*chosen.shape, 1, *self._event_shape))
            return points.gather(axis, at).squeeze(axis)

    def __repr__(self) -> str:
        return f"MixtureSameFamily(\n  {self.mixture_distribution},\n  {self.component_distribution})"


__all__ = ["MixtureSameFamily"]
