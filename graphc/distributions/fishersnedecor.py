"""Fisher-Snedecor distributions."""

from __future__ import annotations

import math
from typing import Any

from graphc.distributions import constraints
from graphc.distributions.distribution import Distribution
from graphc.distributions.gamma import Gamma
from graphc.distributions.utils import broadcast_all
from graphc.functions.dtypes import finfo
from graphc.primitives.elementwise import where


class FisherSnedecor(Distribution):
    """The ratio of two chi-squared numbers, each over its degrees of freedom."""

    arg_constraints = {"df1": constraints.positive, "df2": constraints.positive}
    support = constraints.positive
    has_rsample = True
    _parameters = {"df1": 0, "df2": 0}
    _parts = ("_gamma1", "_gamma2")

    def __init__(self, df1: Any, df2: Any, validate_args: bool | None = None) -> None:
        self.df1, self.df2 = broadcast_all(df1, df2)
        self._gamma1, self._gamma2 = Gamma(self.df1 * 0.5, self.df1), Gamma(self.df2 * 0.5, self.df2)
        super().__init__(self.df1.shape, validate_args=validate_args)

    def _from(self, least: float) -> Any:
        """df2, NaN up to `least`."""
        return where(self.df2 <= least, self.df2.new_full((), math.nan), self.df2)

    mean = property(lambda self: self._from(2) / (self._from(2) - 2), doc="df2 / (df2 - 2); NaN up to 2.")

    @property
    def mode(self) -> Any:
        """NaN up to df1 = 2."""
        found = (self.df1 - 2) / self.df1 * self.df2 / (self.df2 + 2)
        return where(self.df1 <= 2, found.new_full((), math.nan), found)

    @property
    def variance(self) -> Any:
        """NaN up to df2 = 4."""
        df2 = self._from(4)
        return 2 * df2.pow(2) * (self.df1 + df2 - 2) / (self.df1 * (df2 - 2).pow(2) * (df2 - 4))

    def rsample(self, sample_shape: Any = ()) -> Any:
        """A ratio of gamma samples."""
        tiny = finfo(self.df1.dtype).tiny
        ratio = self._gamma1.rsample(sample_shape) / self._gamma2.rsample(sample_shape).clamp(min=tiny)
        return ratio.clamp(min=tiny)

    def log_prob(self, value: Any) -> Any:
        """The logarithm of the density."""
        a, b, x = self.df1 * 0.5, self.df2 * 0.5, self._checked(value)
        ratio = self.df1 / self.df2
        t1 = (a + b).lgamma() - a.lgamma() - b.lgamma()
        return t1 + a * ratio.log() + (a - 1) * x.log() - (a + b) * (ratio * x).log1p()


__all__ = ["FisherSnedecor"]
