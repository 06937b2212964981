"""Distributions of correlation matrices, by their Cholesky factors."""

from __future__ import annotations

import math
from typing import Any

from graphc.distributions import constraints
from graphc.distributions.beta import Beta
from graphc.distributions.distribution import Distribution
from graphc.distributions.utils import broadcast_all
from graphc.functions.creation import arange
from graphc.functions.dtypes import finfo
from graphc.functions.gamma_functions import mvlgamma
from graphc.functions.joining import cat
from graphc.functions.random import randn
from graphc.grad_mode import no_grad
from graphc.primitives.elementwise import where


class LKJCholesky(Distribution):
    """Cholesky factors L of correlation matrices f[dim, dim], L L^T having a density like det^(concentration - 1).

    Lewandowski, Kurowicka and Joe 2009. ValueError for dim < 2.
    """

    arg_constraints = {"concentration": constraints.positive}
    support = constraints.corr_cholesky
    _parameters = {"concentration": 0}

    def __init__(self, dim: int, concentration: Any = 1.0, validate_args: bool | None = None) -> None:
        if dim < 2:
            raise ValueError(f"Expected dim to be an integer greater than or equal to 2. Found dim={dim}.")
        self.dim = dim
        (self.concentration,) = broadcast_all(concentration)
        super().__init__(self.concentration.shape, (dim, dim), validate_args=validate_args)

    def sample(self, sample_shape: Any = ()) -> Any:
        """By the onion method: row i is a direction, times the root of a beta sample, and what is missing to 1."""
        with no_grad():
            c = self.concentration
            steps = arange(self.dim - 1, dtype=c.dtype, device=c.device)
            offset = cat([steps.new_zeros(1), steps])
            marginal = (c + 0.5 * (self.dim - 2)).unsqueeze(-1)
            radius = Beta(offset + 0.5, marginal - 0.5 * offset, validate_args=False).sample(sample_shape).unsqueeze(-1)
            rows = randn(*self._extended_shape(sample_shape), dtype=c.dtype, device=c.device).tril(-1)
            size = rows.square().sum(-1, keepdim=True).sqrt()
            rows = radius.sqrt() * rows / where(size == 0, size.new_ones(()), size)
            rest = (1 - rows.square().sum(-1)).clamp(min=finfo(c.dtype).tiny)
            return rows + rest.sqrt().diag_embed()

    def log_prob(self, value: Any) -> Any:
        """The logarithm of the density: the product of L_ii^(2 concentration - 2 + dim - i), over its normalizer."""
        diagonal = self._checked(value).diagonal(dim1=-1, dim2=-2)[..., 1:]
        order = arange(2, self.dim + 1, device=self.concentration.device)
        order = 2 * (self.concentration - 1).unsqueeze(-1) + self.dim - order
        n = self.dim - 1
        alpha = self.concentration + 0.5 * n
        normalizer = 0.5 * n * math.log(math.pi) + mvlgamma(alpha - 0.5, n) - alpha.lgamma() * n
        return (order * diagonal.log()).sum(-1) - normalizer


__all__ = ["LKJCholesky"]
