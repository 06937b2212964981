"""`Distribution`, the base of all, and `ExponentialFamily`."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

from graphc.core.arrays import is_array
from graphc.core.tape import TensorBase
from graphc.distributions import constraints
from graphc.distributions.utils import lazy_property
from graphc.grad_mode import no_grad
from graphc.methods.shapes import TensorSize


class Distribution:
    """A probability distribution: a batch of `batch_shape` of them, each over points of `event_shape`.

    A subclass tells in `_parameters` which attributes are parameters, and how many of their last dimensions belong to one
    distribution; in `_parts` which attributes are distributions of the same batch. `expand` follows from these.
    """

    has_rsample = False
    has_enumerate_support = False
    _validate_args = __debug__
    _parameters: ClassVar[dict[str, int]] = {}
    _parts: ClassVar[tuple[str, ...]] = ()

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        """Whether distributions check parameters and values where they are not told."""
        if value not in (True, False):
            raise ValueError
        Distribution._validate_args = value

    def __init__(self, batch_shape: Any = (), event_shape: Any = (), validate_args: bool | None = None) -> None:
        self._batch_shape, self._event_shape = TensorSize(batch_shape), TensorSize(event_shape)
        if validate_args is not None:
            self._validate_args = validate_args
        if self._validate_args:
            self._check_parameters()

    def _check_parameters(self) -> None:
        try:
            arg_constraints = self.arg_constraints
        except NotImplementedError:
            warnings.warn(
                f"{self.__class__} does not define `arg_constraints`. Please set `arg_constraints = {{}}` or initialize the "
                "distribution with `validate_args=False` to turn off validation.",
                stacklevel=4,
            )
            return
        for param, constraint in arg_constraints.items():
            lazy = param not in self.__dict__ and isinstance(getattr(type(self), param, None), lazy_property)
            if constraints.is_dependent(constraint) or lazy:
                continue
            value = getattr(self, param)
            if fails(constraint, value):
                raise ValueError(
                    f"Expected parameter {param} ({type(value).__name__} of shape {tuple(value.shape)}) of distribution "
                    f"{self!r} to satisfy the constraint {constraint!r}, but found invalid values:\n{value}"
                )

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same distributions, broadcast to a larger batch."""
        new = self.__new__(type(self)) if _instance is None else _instance
        shape = tuple(batch_shape)
        new.__dict__.update({k: v for k, v in self.__dict__.items() if k not in new.__dict__})
        for name, dims in self._parameters.items():
            if name in self.__dict__:
                value = self.__dict__[name]
                new.__dict__[name] = value.expand((*shape, *value.shape[value.dim() - dims :]))
        for name in self._parts:
            new.__dict__[name] = self.__dict__[name].expand(shape)
        new._batch_shape = TensorSize(shape)
        return new

    @property
    def batch_shape(self) -> Any:
        """The shape of the batch of distributions."""
        return self._batch_shape

    @property
    def event_shape(self) -> Any:
        """The shape of one point."""
        return self._event_shape

    @property
    def arg_constraints(self) -> Any:
        """What the parameters must satisfy, by name."""
        raise NotImplementedError

    @property
    def support(self) -> Any:
        """Where the points lie."""
        raise NotImplementedError

    @property
    def mean(self) -> Any:
        """The means."""
        raise NotImplementedError

    @property
    def mode(self) -> Any:
        """The most probable points."""
        raise NotImplementedError(f"{self.__class__} does not implement mode")

    @property
    def variance(self) -> Any:
        """The variances."""
        raise NotImplementedError

    @property
    def stddev(self) -> Any:
        """The standard deviations."""
        return self.variance.sqrt()

    def sample(self, sample_shape: Any = ()) -> Any:
        """Points of shape sample_shape + batch_shape + event_shape, without a gradient."""
        with no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Any:
        """Points of shape sample_shape + batch_shape + event_shape, with gradients to the parameters."""
        raise NotImplementedError

    def sample_n(self, n: int) -> Any:
        """`sample((n,))`."""
        warnings.warn("`sample_n(n)` will be deprecated. Use `sample((n,))` instead.", FutureWarning, stacklevel=2)
        return self.sample((n,))

    def log_prob(self, value: Any) -> Any:
        """The logarithms of densities, or probabilities, at `value`."""
        raise NotImplementedError

    def cdf(self, value: Any) -> Any:
        """The probabilities of points up to `value`."""
        raise NotImplementedError

    def icdf(self, value: Any) -> Any:
        """The points up to which lies the probability `value`."""
        raise NotImplementedError

    def enumerate_support(self, expand: bool = True) -> Any:
        """All points there are, along the first dimension."""
        raise NotImplementedError

    def entropy(self) -> Any:
        """The entropies."""
        raise NotImplementedError

    def perplexity(self) -> Any:
        """The exponentials of the entropies."""
        return self.entropy().exp()

    def _extended_shape(self, sample_shape: Any = ()) -> Any:
        return TensorSize((*sample_shape, *self._batch_shape, *self._event_shape))

    def _validate_sample(self, value: Any) -> None:
        if not isinstance(value, TensorBase):
            raise ValueError("The value argument to log_prob must be a Tensor")
        shape = TensorSize(value.shape)
        start = len(shape) - len(self._event_shape)
        if tuple(shape[start:]) != tuple(self._event_shape):
            raise ValueError(f"The right-most size of value must match event_shape: {shape} vs {self._event_shape}.")
        expected = TensorSize((*self._batch_shape, *self._event_shape))
        for i, j in zip(reversed(shape), reversed(expected), strict=False):
            if i != 1 and j != 1 and i != j:
                raise ValueError(f"Value is not broadcastable with batch_shape+event_shape: {shape} vs {expected}.")
        try:
            support = self.support
        except NotImplementedError:
            warnings.warn(
                f"{self.__class__} does not define `support` to enable sample validation. Please initialize the "
                "distribution with `validate_args=False` to turn off validation.",
                stacklevel=3,
            )
            return
        if fails(support, value):
            raise ValueError(
                f"Expected value argument ({type(value).__name__} of shape {tuple(shape)}) to be within the support "
                f"({support!r}) of the distribution {self!r}, but found invalid values:\n{value}"
            )

    def _checked(self, value: Any) -> Any:
        if self._validate_args:
            self._validate_sample(value)
        return value

    def _get_checked_instance(self, cls: Any, _instance: Any = None) -> Any:
        if _instance is None and type(self).__init__ != cls.__init__:
            raise NotImplementedError(
                f"Subclass {self.__class__.__name__} of {cls.__name__} that defines a custom __init__ method must also "
                "define a custom .expand() method."
            )
        return self.__new__(type(self)) if _instance is None else _instance

    def __repr__(self) -> str:
        shown = [(name, self.__dict__[name]) for name in self.arg_constraints if name in self.__dict__]
        texts = [f"{name}: {value if value.numel() == 1 else value.size()}" for name, value in shown]
        return f"{type(self).__name__}({', '.join(texts)})"


def fails(constraint: Any, value: Any) -> bool:
    """Whether a known value breaks a constraint; of a value that a graph will give nothing can be said yet."""
    if not is_array(value._data):
        return False
    with no_grad():
        found = constraint.check(value)
        return is_array(found._data) and not bool(found.all())


class ExponentialFamily(Distribution):
    """Distributions whose density is exp(<natural parameters, statistic> - log normalizer + carrier)."""


__all__ = ["Distribution", "ExponentialFamily", "fails"]
