"""Student's t distributions."""

from __future__ import annotations

import math
from typing import Any

from graphc.distributions import constraints
from graphc.distributions.chi2 import Chi2
from graphc.distributions.distribution import Distribution
from graphc.distributions.utils import broadcast_all
from graphc.functions.random import randn
from graphc.primitives.elementwise import where


class StudentT(Distribution):
    """loc + scale t, t with df degrees of freedom."""

    arg_constraints = {"df": constraints.positive, "loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True
    _parameters = {"df": 0, "loc": 0, "scale": 0}
    _parts = ("_chi2",)

    def __init__(self, df: Any, loc: Any = 0.0, scale: Any = 1.0, validate_args: bool | None = None) -> None:
        self.df, self.loc, self.scale = broadcast_all(df, loc, scale)
        self._chi2 = Chi2(self.df)
        super().__init__(self.df.shape, validate_args=validate_args)

    mode = property(lambda self: self.loc, doc="loc")

    @property
    def mean(self) -> Any:
        """loc; NaN for one degree of freedom and less."""
        return where(self.df <= 1, self.df.new_full((), math.nan), self.loc)

    @property
    def variance(self) -> Any:
        """scale^2 df / (df - 2); infinite up to two degrees of freedom, NaN up to one."""
        finite = self.df > 2
        df = where(finite, self.df, self.df.new_full((), 3.0))
        found = where(finite, self.scale.pow(2) * df / (df - 2), self.df.new_full((), math.inf))
        return where(self.df <= 1, self.df.new_full((), math.nan), found)

    def rsample(self, sample_shape: Any = ()) -> Any:
        """A normal number over the root of a chi-squared one."""
        shape = self._extended_shape(sample_shape)
        x = randn(*shape, dtype=self.df.dtype, device=self.df.device)
        return self.loc + self.scale * (x * (self._chi2.rsample(sample_shape) / self.df).rsqrt())

    def log_prob(self, value: Any) -> Any:
        """The logarithm of the density."""
        y = (self._checked(value) - self.loc) / self.scale
        half = 0.5 * self.df
        z = self.scale.log() + 0.5 * self.df.log() + 0.5 * math.log(math.pi) + half.lgamma() - (half + 0.5).lgamma()
        return -0.5 * (self.df + 1.0) * (y.pow(2) / self.df).log1p() - z

    def entropy(self) -> Any:
        """By the gamma function and its derivative."""
        half = 0.5 * self.df
        log_beta = half.lgamma() + math.lgamma(0.5) - (half + 0.5).lgamma()
        slope = (half + 0.5).digamma() - half.digamma()
        return self.scale.log() + 0.5 * (self.df + 1) * slope + 0.5 * self.df.log() + log_beta


__all__ = ["StudentT"]
