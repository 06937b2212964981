"""Distributions of what maps make of another distribution's points."""

from __future__ import annotations

from typing import Any

from graphc.distributions import constraints
from graphc.distributions.distribution import Distribution
from graphc.distributions.independent import Independent
from graphc.distributions.transforms import ComposeTransform, Transform
from graphc.distributions.utils import sum_rightmost
from graphc.grad_mode import no_grad


class TransformedDistribution(Distribution):
    """The distribution of `transforms(x)`, x drawn from `base_distribution`. ValueError for anything but transforms."""

    arg_constraints = {}

    def __init__(self, base_distribution: Any, transforms: Any, validate_args: bool | None = None) -> None:
        self.transforms = [transforms] if isinstance(transforms, Transform) else transforms
        if not isinstance(self.transforms, list):
            raise ValueError(f"transforms must be a Transform or list, but was {transforms}")
        if not all(isinstance(t, Transform) for t in self.transforms):
            raise ValueError("transforms must be a Transform or a list of Transforms")
        base = base_distribution
        shape = base.batch_shape + base.event_shape
        dims = len(base.event_shape)
        transform = ComposeTransform(self.transforms)
        if len(shape) < transform.domain.event_dim:
            raise ValueError(
                f"base_distribution needs to have shape with size at least {transform.domain.event_dim}, but got {shape}."
            )
        forward = transform.forward_shape(shape)
        expanded = transform.inverse_shape(forward)
        if tuple(shape) != tuple(expanded):
            base = base.expand(expanded[: len(expanded) - dims])
        within = transform.domain.event_dim - dims
        self.base_dist = Independent(base, within) if within > 0 else base
        change = transform.codomain.event_dim - transform.domain.event_dim
        event = max(transform.codomain.event_dim, len(self.base_dist.event_shape) + change)
        cut = len(forward) - event
        super().__init__(forward[:cut], forward[cut:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same distributions, broadcast to a larger batch."""
        shape: Any = (*batch_shape, *self.event_shape)
        for transform in reversed(self.transforms):
            shape = transform.inverse_shape(shape)
        base = self.base_dist.expand(shape[: len(shape) - len(self.base_dist.event_shape)])
        new = super().expand(batch_shape, _instance)
        new.__dict__["base_dist"] = base
        return new

    @constraints.dependent_property(is_discrete=False)
    def support(self) -> Any:
        """The last map's codomain."""
        if not self.transforms:
            return self.base_dist.support
        found = self.transforms[-1].codomain
        more = len(self.event_shape) - found.event_dim
        return constraints.independent(found, more) if more > 0 else found

    has_rsample = property(lambda self: self.base_dist.has_rsample)

    def _mapped(self, x: Any) -> Any:
        for transform in self.transforms:
            x = transform(x)
        return x

    def sample(self, sample_shape: Any = ()) -> Any:
        """Points, without a gradient."""
        with no_grad():
            return self._mapped(self.base_dist.sample(sample_shape))

    def rsample(self, sample_shape: Any = ()) -> Any:
        """Points, with gradients."""
        return self._mapped(self.base_dist.rsample(sample_shape))

    def log_prob(self, value: Any) -> Any:
        """That of the points before the maps, less the logarithm of the volume change."""
        y, dims = self._checked(value), len(self.event_shape)
        total: Any = 0.0
        for transform in reversed(self.transforms):
            x = transform.inv(y)
            dims += transform.domain.event_dim - transform.codomain.event_dim
            total = total - sum_rightmost(transform.log_abs_det_jacobian(x, y), dims - transform.domain.event_dim)
            y = x
        return total + sum_rightmost(self.base_dist.log_prob(y), dims - len(self.base_dist.event_shape))

    def _monotone(self, value: Any) -> Any:
        """The probability seen through maps that fall."""
        sign: Any = 1
        for transform in self.transforms:
            sign = sign * transform.sign
        return value if isinstance(sign, int) and sign == 1 else sign * (value - 0.5) + 0.5

    def cdf(self, value: Any) -> Any:
        """The probability of points up to `value`, for maps that rise or fall."""
        for transform in reversed(self.transforms):
            value = transform.inv(value)
        if self._validate_args:
            self.base_dist._validate_sample(value)
        return self._monotone(self.base_dist.cdf(value))

    def icdf(self, value: Any) -> Any:
        """The point up to which lies the probability `value`, for maps that rise or fall."""
        return self._mapped(self.base_dist.icdf(self._monotone(value)))


__all__ = ["TransformedDistribution"]
