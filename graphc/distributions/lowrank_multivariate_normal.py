"""Multivariate normal distributions whose covariance is a diagonal and a product of narrow matrices."""

from __future__ import annotations

import math
from typing import Any

from graphc.core.errors import ShapeError
from graphc.distributions import constraints
from graphc.distributions.distribution import Distribution
from graphc.distributions.multivariate_normal import as_vectors, half_log_determinant, mahalanobis
from graphc.distributions.utils import lazy_property
from graphc.functions.creation import eye
from graphc.functions.decompositions import linalg_cholesky, solve_triangular
from graphc.functions.linalg import matmul
from graphc.functions.random import randn
from graphc.functions.shaping import broadcast_tensors


def _with_identity(matrices: Any) -> Any:
    return matrices + eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)


class LowRankMultivariateNormal(Distribution):
    """Normal vectors of mean loc f[*, n] and covariance W W^T + D: W = cov_factor f[*, n, m], D the diagonal cov_diag f[*, n].

    Determinants and inverses are those of the small C = I + W^T D^-1 W (the determinant lemma and Woodbury's identity).
    ValueError for shapes that do not fit.
    """

    arg_constraints = {
        "loc": constraints.real_vector, "cov_factor": constraints.independent(constraints.real, 2),
        "cov_diag": constraints.independent(constraints.positive, 1),
    }  # fmt: skip
    support = constraints.real_vector
    has_rsample = True
    _parameters = {"loc": 1, "cov_factor": 2, "cov_diag": 1}

    def __init__(self, loc: Any, cov_factor: Any, cov_diag: Any, validate_args: bool | None = None) -> None:
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional.")
        event = loc.shape[-1:]
        if cov_factor.dim() < 2:
            raise ValueError("cov_factor must be at least two-dimensional, with optional leading batch dimensions")
        if tuple(cov_factor.shape[-2:-1]) != tuple(event):
            raise ValueError(f"cov_factor must be a batch of matrices with shape {event[0]} x m")
        if tuple(cov_diag.shape[-1:]) != tuple(event):
            raise ValueError(f"cov_diag must be a batch of vectors with shape {event}")
        try:
            means, self.cov_factor, diagonal = broadcast_tensors(loc.unsqueeze(-1), cov_factor, cov_diag.unsqueeze(-1))
        except ShapeError as error:
            raise ValueError(
                f"Incompatible batch shapes: loc {loc.shape}, cov_factor {cov_factor.shape}, cov_diag {cov_diag.shape}"
            ) from error
        self.loc, self.cov_diag = means[..., 0], diagonal[..., 0]
        self._factor, self._diagonal = cov_factor, cov_diag
        self._small_tril = linalg_cholesky(_with_identity(matmul(self._scaled(), cov_factor)))
        super().__init__(self.loc.shape[:-1], event, validate_args=validate_args)

    def _scaled(self) -> Any:
        """W^T D^-1."""
        return self._factor.mT / self._diagonal.unsqueeze(-2)

    def _whole(self, matrices: Any) -> Any:
        return matrices.expand((*self._batch_shape, *self._event_shape, *self._event_shape))

    mean = mode = property(lambda self: self.loc, doc="loc")

    @lazy_property
    def variance(self) -> Any:
        """The diagonal of the covariance."""
        found = self._factor.square().sum(-1) + self._diagonal
        return found.expand((*self._batch_shape, *self._event_shape))

    @lazy_property
    def scale_tril(self) -> Any:
        """The Cholesky factor of the covariance, D^1/2 chol(I + D^-1/2 W W^T D^-1/2): well-conditioned inside."""
        root = self._diagonal.sqrt().unsqueeze(-1)
        narrow = self._factor / root
        return self._whole(root * linalg_cholesky(_with_identity(matmul(narrow, narrow.mT))))

    @lazy_property
    def covariance_matrix(self) -> Any:
        """W W^T + D."""
        return self._whole(matmul(self._factor, self._factor.mT) + self._diagonal.diag_embed())

    def _solved(self) -> Any:
        """A with A^T A = D^-1 W C^-1 W^T D^-1."""
        return solve_triangular(self._small_tril, self._scaled(), upper=False)

    @lazy_property
    def precision_matrix(self) -> Any:
        """D^-1 - D^-1 W C^-1 W^T D^-1."""
        a = self._solved()
        return self._whole(self._diagonal.reciprocal().diag_embed() - matmul(a.mT, a))

    def rsample(self, sample_shape: Any = ()) -> Any:
        """loc + W z + D^1/2 y, z and y standard normal."""
        shape = self._extended_shape(sample_shape)
        options = {"dtype": self.loc.dtype, "device": self.loc.device}
        small, large = randn(*shape[:-1], self.cov_factor.shape[-1], **options), randn(*shape, **options)
        return self.loc + as_vectors(self._factor, small) + self._diagonal.sqrt() * large

    def log_determinant(self) -> Any:
        """log det(W W^T + D) = log det C + log det D."""
        return 2 * half_log_determinant(self._small_tril) + self._diagonal.log().sum(-1)

    def distance(self, x: Any) -> Any:
        """x^T (W W^T + D)^-1 x."""
        return (x.square() / self._diagonal).sum(-1) - mahalanobis(self._small_tril, as_vectors(self._scaled(), x))

    def log_prob(self, value: Any) -> Any:
        """The logarithm of the density."""
        distance = self.distance(self._checked(value) - self.loc)
        return -0.5 * (self._event_shape[0] * math.log(2 * math.pi) + self.log_determinant() + distance)

    def entropy(self) -> Any:
        """n/2 (1 + log(2 pi)) + log det / 2."""
        found = 0.5 * (self._event_shape[0] * (1.0 + math.log(2 * math.pi)) + self.log_determinant())
        return found.expand(tuple(self._batch_shape))


__all__ = ["LowRankMultivariateNormal"]
