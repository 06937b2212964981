"""Wishart distributions: covariances of normal samples."""

from __future__ import annotations

import math
import warnings
from typing import Any

from graphc.core.arrays import is_array
from graphc.core.context import STATE
from graphc.distributions import constraints
from graphc.distributions.distribution import ExponentialFamily
from graphc.distributions.gamma import gamma_sample
from graphc.distributions.multivariate_normal import CovarianceParameters, half_log_determinant
from graphc.functions.creation import arange, tensor
from graphc.functions.decompositions import cholesky_solve, slogdet
from graphc.functions.dtypes import finfo
from graphc.functions.gamma_functions import mvlgamma
from graphc.functions.linalg import matmul
from graphc.functions.promotion import is_number
from graphc.functions.random import randn
from graphc.functions.shaping import broadcast_shapes
from graphc.grad_mode import no_grad
from graphc.primitives.elementwise import logical_not, where


class Wishart(CovarianceParameters, ExponentialFamily):
    """Sums of x x^T over df normal vectors x f[n] of a covariance, given by one of covariance_matrix, precision_matrix (its
    inverse) and scale_tril (its Cholesky factor); df may be any number above n - 1.

    ValueError for lower ones and for shapes that do not fit.
    """

    support = constraints.positive_definite
    has_rsample = True
    _parameters = {
        "df": 0, "covariance_matrix": 2, "precision_matrix": 2, "scale_tril": 2, "_unbroadcasted_scale_tril": 2,
    }  # fmt: skip

    def __init__(
        self, df: Any, covariance_matrix: Any = None, precision_matrix: Any = None, scale_tril: Any = None,
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        name, value = self._chosen(
            AssertionError,
            covariance_matrix=covariance_matrix,
            scale_tril=scale_tril,
            precision_matrix=precision_matrix,
        )
        if value.dim() < 2:
            raise ValueError("scale_tril must be at least two-dimensional, with optional leading batch dimensions")
        event = value.shape[-2:]
        numbers = tensor(df, dtype=value.dtype, device=value.device) if is_number(df) else df
        batch = tuple(broadcast_shapes(value.shape[:-2], numbers.shape))
        self.df = numbers.expand(batch)
        _check_df(df, self.df, event[-1])
        setattr(self, name, value.expand((*batch, *event)))
        super().__init__(batch, event, validate_args=validate_args)
        self._unbroadcasted_scale_tril = self._factor(name, value)

    @property
    def arg_constraints(self) -> Any:
        """What the parameters must satisfy, by name."""
        return {
            "covariance_matrix": constraints.positive_definite, "precision_matrix": constraints.positive_definite,
            "scale_tril": constraints.lower_cholesky, "df": constraints.greater_than(self.event_shape[-1] - 1),
        }  # fmt: skip

    @property
    def mean(self) -> Any:
        """df times the covariance."""
        return self.df[..., None, None] * self.covariance_matrix

    @property
    def mode(self) -> Any:
        """(df - n - 1) times the covariance; NaN where that is no positive factor."""
        factor = self.df - self._event_shape[-1] - 1
        factor = where(factor <= 0, factor.new_full((), math.nan), factor)
        return factor[..., None, None] * self.covariance_matrix

    @property
    def variance(self) -> Any:
        """df (V_ij^2 + V_ii V_jj)."""
        v = self.covariance_matrix
        diagonal = v.diagonal(dim1=-2, dim2=-1)
        return self.df[..., None, None] * (v.square() + diagonal.unsqueeze(-1) * diagonal.unsqueeze(-2))

    def _drawn(self, sample_shape: Any) -> Any:
        """Bartlett's decomposition: a triangle of normal numbers, with roots of chi-squared ones on the diagonal."""
        n, tril = self._event_shape[-1], self._unbroadcasted_scale_tril
        df = self.df.unsqueeze(-1) - arange(n, dtype=tril.dtype, device=tril.device)
        squares = 2 * gamma_sample((df / 2).expand((*sample_shape, *self._batch_shape, n)))
        roots = squares.sqrt().clamp(min=finfo(tril.dtype).eps)
        below = randn(*self._extended_shape(sample_shape), dtype=tril.dtype, device=tril.device).tril(-1)
        found = matmul(tril, below + roots.diag_embed())
        return matmul(found, found.mT)

    def rsample(self, sample_shape: Any = (), max_try_correction: int | None = None) -> Any:
        """By Bartlett's decomposition; samples that are singular by rounding are drawn again, `max_try_correction` times."""
        sample = self._drawn(tuple(sample_shape))
        tries = (10 if STATE.recorder is None else 3) if max_try_correction is None else max_try_correction
        for _ in range(tries):
            with no_grad():
                singular = logical_not(self.support.check(sample))
            if is_array(singular._data):
                if not bool(singular.any()):
                    break
                warnings.warn("Singular sample detected.", stacklevel=2)
            sample = where(singular[..., None, None], self._drawn(tuple(sample_shape)), sample)
        return sample

    def log_prob(self, value: Any) -> Any:
        """The logarithm of the density."""
        x, df, n, tril = self._checked(value), self.df, self._event_shape[-1], self._unbroadcasted_scale_tril
        half = n * math.log(2) / 2 + half_log_determinant(tril)
        batch = tuple(broadcast_shapes(x.shape[:-2], tril.shape[:-2]))
        solved = cholesky_solve(x.expand((*batch, n, n)), tril.expand((*batch, n, n)))
        trace = solved.diagonal(dim1=-2, dim2=-1).sum(-1)
        return -df * half - mvlgamma(df / 2, n) + (df - n - 1) / 2 * slogdet(x)[1] - trace / 2

    def entropy(self) -> Any:
        """By the gamma and digamma functions in n dimensions."""
        df, n, tril = self.df, self._event_shape[-1], self._unbroadcasted_scale_tril
        half = n * math.log(2) / 2 + half_log_determinant(tril)
        digammas = (df.unsqueeze(-1) / 2 - arange(n, dtype=df.dtype, device=df.device) / 2).digamma().sum(-1)
        return (n + 1) * half + mvlgamma(df / 2, n) - (df - n - 1) / 2 * digammas + df * n / 2


def _check_df(given: Any, df: Any, n: int) -> None:
    """ValueError for df up to n - 1, a warning for df below n; of numbers that only a run knows nothing is said."""
    if not is_array(df._data):
        return
    if bool((df <= n - 1).any()):
        raise ValueError(f"Value of df={given} expected to be greater than ndim - 1 = {n - 1}.")
    if bool((df < n).any()):
        warnings.warn(
            "Low df values detected. Singular samples are highly likely to occur for ndim - 1 < df < ndim.",
            stacklevel=3,
        )


__all__ = ["Wishart"]
