"""Half-normal distributions."""

from __future__ import annotations

import math
from typing import Any

from graphc.distributions.folded import Folded
from graphc.distributions.normal import Normal


class HalfNormal(Folded):
    """|x|, x normal of mean 0."""

    def __init__(self, scale: Any, validate_args: bool | None = None) -> None:
        super().__init__(Normal(0, scale, validate_args=False), validate_args)

    mean = property(lambda self: self.scale * math.sqrt(2 / math.pi), doc="scale sqrt(2 / pi)")
    variance = property(lambda self: self.scale.pow(2) * (1 - 2 / math.pi), doc="scale^2 (1 - 2 / pi)")


__all__ = ["HalfNormal"]
