"""Multivariate normal distributions."""

from __future__ import annotations

import math
from typing import Any

from graphc.distributions import constraints
from graphc.distributions.distribution import Distribution
from graphc.distributions.utils import lazy_property
from graphc.functions.decompositions import cholesky_inverse, linalg_cholesky, solve_triangular
from graphc.functions.linalg import matmul
from graphc.functions.random import randn
from graphc.functions.shaping import broadcast_shapes


def as_vectors(matrices: Any, x: Any) -> Any:
    """matrices [*, n, n] times vectors [*, n]."""
    return matmul(matrices, x.unsqueeze(-1)).squeeze(-1)


def mahalanobis(scale_tril: Any, x: Any) -> Any:
    """|L^-1 x|^2 of vectors [*, n]."""
    rows = x.unsqueeze(-1)
    lower = scale_tril.expand((*broadcast_shapes(scale_tril.shape[:-2], x.shape[:-1]), *scale_tril.shape[-2:]))
    return solve_triangular(lower, rows, upper=False).pow(2).sum((-2, -1))


def half_log_determinant(scale_tril: Any) -> Any:
    """The logarithm of the determinant of L."""
    return scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def scale_tril_of_precision(p: Any) -> Any:
    """L with L L^T = p^-1."""
    turned = linalg_cholesky(p.flip((-2, -1)))
    inverse = turned.flip((-2, -1)).mT
    eye = p.new_ones(p.shape[-1]).diag_embed().expand(p.shape)
    return solve_triangular(inverse, eye, upper=False)


class CovarianceParameters:
    """What distributions with a covariance, given by one of three matrices, have in common."""

    _batch_shape: Any
    _unbroadcasted_scale_tril: Any

    @staticmethod
    def _chosen(error: type[Exception], **given: Any) -> tuple[str, Any]:
        """The name and value of the one that is not None; raises `error` unless it is one."""
        chosen = [(name, value) for name, value in given.items() if value is not None]
        if len(chosen) != 1:
            raise error("Exactly one of covariance_matrix or precision_matrix or scale_tril may be specified.")
        return chosen[0]

    @staticmethod
    def _factor(name: str, value: Any) -> Any:
        """The Cholesky factor of the covariance that the matrix of that name stands for."""
        factors = {"scale_tril": lambda x: x, "covariance_matrix": linalg_cholesky}
        return factors.get(name, scale_tril_of_precision)(value)

    def _whole(self, matrices: Any) -> Any:
        return matrices.expand((*self._batch_shape, *matrices.shape[-2:]))

    @lazy_property
    def scale_tril(self) -> Any:
        """The Cholesky factor of the covariance."""
        return self._whole(self._unbroadcasted_scale_tril)

    @lazy_property
    def covariance_matrix(self) -> Any:
        """The covariance."""
        return self._whole(matmul(self._unbroadcasted_scale_tril, self._unbroadcasted_scale_tril.mT))

    @lazy_property
    def precision_matrix(self) -> Any:
        """The inverse of the covariance."""
        return self._whole(cholesky_inverse(self._unbroadcasted_scale_tril))


class MultivariateNormal(CovarianceParameters, Distribution):
    """Normal vectors of mean loc f[*, n], given by one of covariance_matrix, precision_matrix (its inverse) and scale_tril
    (its Cholesky factor).
    """

    arg_constraints = {
        "loc": constraints.real_vector, "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite, "scale_tril": constraints.lower_cholesky,
    }  # fmt: skip
    support = constraints.real_vector
    has_rsample = True
    _parameters = {
        "loc": 1, "covariance_matrix": 2, "precision_matrix": 2, "scale_tril": 2, "_unbroadcasted_scale_tril": 2,
    }  # fmt: skip

    def __init__(
        self, loc: Any, covariance_matrix: Any = None, precision_matrix: Any = None, scale_tril: Any = None,
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional.")
        name, value = self._chosen(
            ValueError, covariance_matrix=covariance_matrix, scale_tril=scale_tril, precision_matrix=precision_matrix
        )
        if value.dim() < 2:
            raise ValueError(f"{name} must be at least two-dimensional, with optional leading batch dimensions")
        batch = tuple(broadcast_shapes(value.shape[:-2], loc.shape[:-1]))
        setattr(self, name, value.expand((*batch, *value.shape[-2:])))
        self.loc = loc.expand((*batch, loc.shape[-1]))
        super().__init__(batch, self.loc.shape[-1:], validate_args=validate_args)
        self._unbroadcasted_scale_tril = self._factor(name, value)

    mean = mode = property(lambda self: self.loc, doc="loc")

    @property
    def variance(self) -> Any:
        """The diagonal of the covariance."""
        return self._unbroadcasted_scale_tril.pow(2).sum(-1).expand((*self._batch_shape, *self._event_shape))

    def rsample(self, sample_shape: Any = ()) -> Any:
        """loc + L z, z standard normal."""
        z = randn(*self._extended_shape(sample_shape), dtype=self.loc.dtype, device=self.loc.device)
        return self.loc + as_vectors(self._unbroadcasted_scale_tril, z)

    def log_prob(self, value: Any) -> Any:
        """The logarithm of the density."""
        distance = mahalanobis(self._unbroadcasted_scale_tril, self._checked(value) - self.loc)
        half = half_log_determinant(self._unbroadcasted_scale_tril)
        return -0.5 * (self._event_shape[0] * math.log(2 * math.pi) + distance) - half

    def entropy(self) -> Any:
        """n/2 (1 + log(2 pi)) + log det L."""
        half = half_log_determinant(self._unbroadcasted_scale_tril)
        found = 0.5 * self._event_shape[0] * (1.0 + math.log(2 * math.pi)) + half
        return found.expand(tuple(self._batch_shape))


__all__ = ["CovarianceParameters", "MultivariateNormal", "as_vectors", "half_log_determinant", "mahalanobis"]
