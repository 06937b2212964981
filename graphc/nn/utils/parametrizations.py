"""Ready parametrizations: `weight_norm`, `spectral_norm`, `orthogonal`."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.core.errors import ArgumentError, DimensionError
from graphc.core.tape import TensorBase
from graphc.functions.creation import tensor
from graphc.functions.decompositions import householder_product, linalg_qr, matrix_exp, solve
from graphc.functions.joining import cat, pad
from graphc.functions.linalg import dot, matmul, mv
from graphc.functions.random import randn
from graphc.functions.shaping import transpose
from graphc.grad_mode import no_grad
from graphc.nn.modules.module import Module
from graphc.nn.normalizing import normalize
from graphc.nn.utils.parametrize import register_parametrization
from graphc.nn.utils.spectral_norm import as_rows, new_vectors, usual_dim
from graphc.nn.utils.weight_norm import norm_except_dim, weight_of
from graphc.primitives.elementwise import where


class _WeightNorm(Module):
    """Direction and norms to a weight."""

    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Any, weight_v: Any) -> Any:
        """g v / |v|."""
        return weight_of(weight_v, weight_g, self.dim)

    def right_inverse(self, weight: Any) -> tuple[Any, Any]:
        """The norms, and the weight as the direction."""
        return norm_except_dim(weight, 2, self.dim), weight


def _take_old_names(name: str) -> Any:
    """Reads state_dicts written before parametrizations existed."""

    def hook(module: Any, state: Any, prefix: str, *_: Any) -> None:
        if prefix + name + "_g" in state and prefix + name + "_v" in state:
            for i, end in enumerate(("_g", "_v")):
                state[f"{prefix}parametrizations.{name}.original{i}"] = state.pop(prefix + name + end)

    return hook


def weight_norm(module: Any, name: str = "weight", dim: int | None = 0) -> Any:
    """Parametrizes a tensor by its norms along `dim` (None: one norm) and its direction; returns the module."""
    register_parametrization(module, name, _WeightNorm(dim), unsafe=True)
    module.register_load_state_dict_pre_hook(_take_old_names(name))
    return module


class _SpectralNorm(Module):
    """A weight over its largest singular value, which the power method estimates."""

    _u: Any
    _v: Any

    def __init__(self, weight: Any, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12) -> None:
        super().__init__()
        ndim = weight.dim()
        if not -ndim <= dim < ndim:
            raise DimensionError(
                f"Dimension out of range (expected to be in range of [-{ndim}, {ndim - 1}] but got {dim})"
            )
        if n_power_iterations <= 0:
            raise ArgumentError(
                f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}"
            )
        self.dim = dim % ndim
        self.eps = eps
        if ndim > 1:
            self.n_power_iterations = n_power_iterations
            rows = as_rows(weight.detach(), self.dim)
            u, v = new_vectors(rows, eps)
            self.register_buffer("_u", u)
            self.register_buffer("_v", v)
            self._power_method(rows, 15)

    def _power_method(self, rows: Any, steps: int) -> None:
        with no_grad():
            for _ in range(steps):
                self._u.copy_(normalize(mv(rows, self._v), dim=0, eps=self.eps))
                self._v.copy_(normalize(mv(transpose(rows, 0, 1), self._u), dim=0, eps=self.eps))

    def forward(self, weight: Any) -> Any:
        """The weight over its largest singular value."""
        if weight.dim() == 1:
            return normalize(weight, dim=0, eps=self.eps)
        rows = as_rows(weight, self.dim)
        if self.training:
            self._power_method(rows, self.n_power_iterations)
        u, v = self._u.clone(), self._v.clone()  # the buffers change before backward
        return weight / dot(u, mv(rows, v))

    def right_inverse(self, value: Any) -> Any:
        """The value itself."""
        return value


def spectral_norm(
    module: Any, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Any:
    """Parametrizes a tensor by itself over its largest singular value; returns the module."""
    weight = getattr(module, name, None)
    if not isinstance(weight, TensorBase):
        raise ArgumentError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    chosen = usual_dim(module) if dim is None else dim
    return register_parametrization(module, name, _SpectralNorm(weight, n_power_iterations, chosen, eps))


MAPS = ("matrix_exp", "cayley", "householder")


def _made_orthogonal(a: Any) -> Any:
    """The orthogonal factor of a matrix, with the signs that make R's diagonal positive."""
    q, r = linalg_qr(a)
    return q * r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)


class _Orthogonal(Module):
    """Unconstrained numbers to a matrix with orthonormal columns (rows, if it is wide), near `base` where there is one."""

    base: Any

    def __init__(self, weight: Any, orthogonal_map: str, use_trivialization: bool = True) -> None:
        super().__init__()
        self.shape, self.orthogonal_map = weight.shape, orthogonal_map
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, weight: Any) -> Any:
        """The matrix."""
        wide = weight.shape[-2] < weight.shape[-1]
        x = weight.mT if wide else weight
        n, k = x.shape[-2:]
        if self.orthogonal_map == "householder":
            a = x.tril(-1)
            q = householder_product(a, 2.0 / (1.0 + (a * a).sum(-2)))
            q = q * x.diagonal(dim1=-2, dim2=-1).trunc().unsqueeze(-2).detach()
        else:
            x = x.tril()
            x = x if n == k else pad(x, (0, n - k))
            a = x - x.mT
            if self.orthogonal_map == "matrix_exp":
                q = matrix_exp(a)
            else:
                eye = a.new_ones(n).diag_embed().expand(a.shape)
                q = solve(eye - 0.5 * a, eye + 0.5 * a)
            q = q[..., :k]
        if "base" in self._buffers:
            q = matmul(self.base, q)
        return q.mT if wide else q

    def right_inverse(self, value: Any) -> Any:
        """What gives `value`, which becomes the base. ArgumentError for another shape, NotImplementedError without a base."""
        if tuple(value.shape) != tuple(self.shape):
            raise ArgumentError(
                f"Expected a matrix or batch of matrices of shape {self.shape}. Got a tensor of shape {value.shape}."
            )
        wide = value.shape[-2] < value.shape[-1]
        q = value.mT if wide else value
        n, k = q.shape[-2:]
        if "base" not in self._buffers:
            if self.orthogonal_map != "householder":
                raise NotImplementedError(
                    "It is not possible to assign to the matrix exponential or the Cayley parametrizations when "
                    "use_trivialization=False."
                )
            return self._reflectors(q, wide)
        if n != k:
            noise = randn(*q.shape[:-1], n - k, dtype=q.dtype, device=q.device)
            q = cat((q, noise), -1)
        self.base = _made_orthogonal(q).detach()
        return -(value.detach() * 0 + 1).tril().triu()

    def _reflectors(self, q: Any, wide: bool) -> Any:
        """LAPACK's Householder vectors of q, with the signs of R on their diagonal."""
        raw, _ = np.linalg.qr(q.detach().numpy(), mode="raw")
        a = tensor(np.ascontiguousarray(raw.swapaxes(-1, -2)), dtype=q.dtype, device=q.device)
        sign = a.diagonal(dim1=-2, dim2=-1).sign()
        sign = where(sign == 0, sign.new_ones(()), sign).diag_embed()
        a = a.tril(-1) + pad(sign, (0, 0, 0, a.shape[-2] - sign.shape[-1]))
        return a.mT if wide else a


def orthogonal(
    module: Any, name: str = "weight", orthogonal_map: str | None = None, *, use_trivialization: bool = True
) -> Any:
    """Parametrizes a matrix so that its columns (rows, if it is wide) are orthonormal; returns the module.

    `orthogonal_map`: "matrix_exp" (the default for square matrices), "cayley" or "householder"; `use_trivialization`: times
    a fixed base, the matrix there is. ArgumentError for another map, or a tensor that is no matrix.
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, TensorBase):
        raise ArgumentError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    shape = tuple(weight.shape)
    if len(shape) < 2:
        raise ArgumentError(f"Expected a matrix or batch of matrices. Got a tensor of {len(shape)} dimensions.")
    chosen = orthogonal_map or ("matrix_exp" if shape[-2] == shape[-1] else "householder")
    if chosen not in MAPS:
        raise ArgumentError(
            f'orthogonal_map has to be one of "matrix_exp", "cayley", "householder". Got: {orthogonal_map}'
        )
    return register_parametrization(module, name, _Orthogonal(weight, chosen, use_trivialization), unsafe=True)


__all__ = ["orthogonal", "spectral_norm", "weight_norm"]
