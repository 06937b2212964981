"""Maps between regions: those of vectors and matrices, beside those of maps.py."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from graphc.distributions import constraints
from graphc.distributions.maps import (
    AbsTransform,
    AffineTransform,
    ComposeTransform,
    ExpTransform,
    IndependentTransform,
    PowerTransform,
    ReshapeTransform,
    SigmoidTransform,
    SoftplusTransform,
    TanhTransform,
    Transform,
    identity_transform,
)
from graphc.distributions.utils import sum_rightmost
from graphc.functions.activations import softplus
from graphc.functions.dtypes import finfo
from graphc.functions.joining import cat, pad, stack
from graphc.functions.running import cumprod, cumsum
from graphc.functions.softmaxes import softmax
from graphc.methods.shapes import TensorSize


class CorrCholeskyTransform(Transform):
    """Unconstrained numbers to the Cholesky factor of a correlation matrix (Lewandowski, Kurowicka and Joe 2009)."""

    domain, codomain, bijective = constraints.real_vector, constraints.corr_cholesky, True

    def _call(self, x: Any) -> Any:
        info = finfo(x.dtype)
        r = _lower_matrix(x.tanh().clamp(min=-1 + info.eps, max=1 - info.eps))
        rest = cumprod((1 - r * r).sqrt(), -1)
        eye = r.new_ones(r.shape[-1]).diag_embed()
        return (r + eye) * pad(rest[..., :-1], [1, 0], value=1)

    def _inverse(self, y: Any) -> Any:
        rest = pad((1 - cumsum(y * y, -1))[..., :-1], [1, 0], value=1)
        t = _lower_vector(y) / _lower_vector(rest).sqrt()
        return (t.log1p() - t.neg().log1p()) / 2

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        """By the rows' norms and the slopes of tanh."""
        rest = 1 - cumsum(y * y, -1)
        stick = 0.5 * _lower_vector(rest, 2).log().sum(-1) if y.shape[-1] > 2 else 0.0
        return stick - 2 * (x + softplus(-2 * x) - math.log(2.0)).sum(-1)

    def forward_shape(self, shape: Any) -> Any:
        """[*, n (n - 1) / 2] gives [*, n, n]."""
        count = shape[-1]
        n = round((0.25 + 2 * count) ** 0.5 + 0.5)
        if n * (n - 1) // 2 != count:
            raise ValueError("Input is not a flattened lower-diagonal number")
        return TensorSize((*shape[:-1], n, n))

    def inverse_shape(self, shape: Any) -> Any:
        """[*, n, n] gives [*, n (n - 1) / 2]."""
        if len(shape) < 2 or shape[-2] != shape[-1]:
            raise ValueError("Input is not square")
        return TensorSize((*shape[:-2], shape[-1] * (shape[-1] - 1) // 2))


def _lower_matrix(x: Any) -> Any:
    """Vectors as what stands strictly below the diagonals of matrices, row by row."""
    n = round((0.25 + 2 * x.shape[-1]) ** 0.5 + 0.5)
    rows = [pad(x[..., i * (i - 1) // 2 : i * (i + 1) // 2], [0, n - i]) for i in range(n)]
    return stack(rows, -2)


def _lower_vector(x: Any, below: int = 1) -> Any:
    """What stands `below` the diagonals of matrices or lower, row by row."""
    return cat([x[..., i, : i + 1 - below] for i in range(below, x.shape[-2])], -1)


class SoftmaxTransform(Transform):
    """softmax, which forgets a constant."""

    domain, codomain = constraints.real_vector, constraints.simplex

    def _call(self, x: Any) -> Any:
        return softmax(x, -1)

    def _inverse(self, y: Any) -> Any:
        return y.log()

    def _shape(self, shape: Any) -> Any:
        if len(shape) < 1:
            raise ValueError("Too few dimensions on input")
        return shape

    forward_shape = inverse_shape = _shape


class StickBreakingTransform(Transform):
    """n numbers to n + 1 parts of a stick, broken piece by piece."""

    domain, codomain, bijective = constraints.real_vector, constraints.simplex, True

    def _call(self, x: Any) -> Any:
        offset = x.shape[-1] + 1 - x.new_ones(x.shape[-1]).cumsum(-1)
        z = (x - offset.log()).sigmoid()
        return pad(z, [0, 1], value=1) * pad(cumprod(1 - z, -1), [1, 0], value=1)

    def _inverse(self, y: Any) -> Any:
        crop = y[..., :-1]
        offset = y.shape[-1] - crop.new_ones(crop.shape[-1]).cumsum(-1)
        rest = (1 - cumsum(crop, -1)).clamp(min=finfo(y.dtype).tiny)
        return crop.log() - rest.log() + offset.log()

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        """By what is left of the stick before each break."""
        offset = x.shape[-1] + 1 - x.new_ones(x.shape[-1]).cumsum(-1)
        x = x - offset.log()
        return (-x - softplus(-x) + y[..., :-1].log()).sum(-1)

    def forward_shape(self, shape: Any) -> Any:
        """[*, n] gives [*, n + 1]."""
        if len(shape) < 1:
            raise ValueError("Too few dimensions on input")
        return TensorSize((*shape[:-1], shape[-1] + 1))

    def inverse_shape(self, shape: Any) -> Any:
        """[*, n + 1] gives [*, n]."""
        if len(shape) < 1:
            raise ValueError("Too few dimensions on input")
        return TensorSize((*shape[:-1], shape[-1] - 1))


class LowerCholeskyTransform(Transform):
    """Lower triangles, with the exponential of their diagonal."""

    domain, codomain = constraints.independent(constraints.real, 2), constraints.lower_cholesky

    def _call(self, x: Any) -> Any:
        return x.tril(-1) + x.diagonal(dim1=-2, dim2=-1).exp().diag_embed()

    def _inverse(self, y: Any) -> Any:
        return y.tril(-1) + y.diagonal(dim1=-2, dim2=-1).log().diag_embed()


class PositiveDefiniteTransform(Transform):
    """Matrices to positive definite ones, by their Cholesky factor."""

    domain, codomain = constraints.independent(constraints.real, 2), constraints.positive_definite

    def _call(self, x: Any) -> Any:
        factor = LowerCholeskyTransform()(x)
        return factor @ factor.mT

    def _inverse(self, y: Any) -> Any:
        return LowerCholeskyTransform().inv(y.cholesky())


class CatTransform(Transform):
    """A map for each part of a tensor, cut along `dim`."""

    _arguments = ("transforms", "dim", "lengths")

    def __init__(self, tseq: Sequence[Any], dim: int = 0, lengths: Any = None, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.transforms = [t.with_cache(cache_size) for t in tseq] if cache_size else list(tseq)
        self.lengths = [1] * len(self.transforms) if lengths is None else list(lengths)
        self.dim = dim

    event_dim = property(lambda self: max(t.event_dim for t in self.transforms))
    length = property(lambda self: sum(self.lengths))
    bijective = property(lambda self: all(t.bijective for t in self.transforms))
    domain = property(lambda self: constraints.cat([t.domain for t in self.transforms], self.dim, self.lengths))
    codomain = property(lambda self: constraints.cat([t.codomain for t in self.transforms], self.dim, self.lengths))

    def _parts(self, x: Any) -> list[Any]:
        parts, start = [], 0
        for length in self.lengths:
            parts.append(x.narrow(self.dim, start, length))
            start += length
        return parts

    def _call(self, x: Any) -> Any:
        return cat([t(part) for t, part in zip(self.transforms, self._parts(x), strict=True)], self.dim)

    def _inverse(self, y: Any) -> Any:
        return cat([t.inv(part) for t, part in zip(self.transforms, self._parts(y), strict=True)], self.dim)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        """The parts', joined, or summed where `dim` belongs to one point."""
        found = []
        for t, before, after in zip(self.transforms, self._parts(x), self._parts(y), strict=True):
            part = t.log_abs_det_jacobian(before, after)
            found.append(sum_rightmost(part, self.event_dim - t.event_dim) if t.event_dim < self.event_dim else part)
        dim = self.dim - x.dim() if self.dim >= 0 else self.dim
        dim += self.event_dim
        return cat(found, dim) if dim < 0 else sum(found)


class StackTransform(Transform):
    """A map for each slice of a tensor along `dim`."""

    _arguments = ("transforms", "dim")

    def __init__(self, tseq: Sequence[Any], dim: int = 0, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.transforms = [t.with_cache(cache_size) for t in tseq] if cache_size else list(tseq)
        self.dim = dim

    bijective = property(lambda self: all(t.bijective for t in self.transforms))
    domain = property(lambda self: constraints.stack([t.domain for t in self.transforms], self.dim))
    codomain = property(lambda self: constraints.stack([t.codomain for t in self.transforms], self.dim))

    def _each(self, x: Any) -> Any:
        return zip(self.transforms, [x.select(self.dim, i) for i in range(x.size(self.dim))], strict=True)

    def _call(self, x: Any) -> Any:
        return stack([t(part) for t, part in self._each(x)], self.dim)

    def _inverse(self, y: Any) -> Any:
        return stack([t.inv(part) for t, part in self._each(y)], self.dim)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        """The slices', stacked."""
        pairs = zip(self._each(x), self._each(y), strict=True)
        return stack([t.log_abs_det_jacobian(before, after) for (t, before), (_, after) in pairs], self.dim)


class CumulativeDistributionTransform(Transform):
    """The distribution function of a distribution."""

    bijective, codomain, sign = True, constraints.unit_interval, +1
    _arguments = ("distribution",)

    def __init__(self, distribution: Any, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.distribution = distribution

    domain = property(lambda self: self.distribution.support)

    def _call(self, x: Any) -> Any:
        return self.distribution.cdf(x)

    def _inverse(self, y: Any) -> Any:
        return self.distribution.icdf(y)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        """The logarithm of the density."""
        return self.distribution.log_prob(x)


__all__ = [
    "AbsTransform", "AffineTransform", "CatTransform", "ComposeTransform", "CorrCholeskyTransform",
    "CumulativeDistributionTransform", "ExpTransform", "IndependentTransform", "LowerCholeskyTransform",
    "PositiveDefiniteTransform", "PowerTransform", "ReshapeTransform", "SigmoidTransform", "SoftmaxTransform",
    "SoftplusTransform", "StackTransform", "StickBreakingTransform", "TanhTransform", "Transform", "identity_transform",
]  # fmt: skip
