"""Chi-squared distributions."""

from __future__ import annotations

from typing import Any

from graphc.distributions import constraints
from graphc.distributions.gamma import Gamma


class Chi2(Gamma):
    """The sum of `df` squares of standard normal numbers: Gamma(df / 2, 1 / 2)."""

    arg_constraints = {"df": constraints.positive}

    def __init__(self, df: Any, validate_args: bool | None = None) -> None:
        super().__init__(0.5 * df, 0.5, validate_args=validate_args)

    df = property(lambda self: self.concentration * 2, doc="The degrees of freedom.")


__all__ = ["Chi2"]
