"""Half-Cauchy distributions."""

from __future__ import annotations

import math
from typing import Any

from graphc.distributions.cauchy import Cauchy
from graphc.distributions.folded import Folded
from graphc.functions.creation import full_like


class HalfCauchy(Folded):
    """|x|, x Cauchy distributed around 0."""

    def __init__(self, scale: Any, validate_args: bool | None = None) -> None:
        super().__init__(Cauchy(0, scale, validate_args=False), validate_args)

    mean = property(lambda self: full_like(self.scale, math.inf), doc="Infinite.")
    variance = property(lambda self: self.base_dist.variance, doc="Infinite.")


__all__ = ["HalfCauchy"]
