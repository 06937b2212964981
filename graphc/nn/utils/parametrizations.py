"""Ready parametrizations: `weight_norm` and `spectral_norm`."""

from __future__ import annotations

from typing import Any

from graphc.core.errors import ArgumentError, DimensionError
from graphc.core.tape import TensorBase
from graphc.functions.linalg import dot, mv
from graphc.functions.shaping import transpose
from graphc.grad_mode import no_grad
from graphc.nn.modules.module import Module
from graphc.nn.normalizing import normalize
from graphc.nn.utils.parametrize import register_parametrization
from graphc.nn.utils.spectral_norm import as_rows, new_vectors, usual_dim
from graphc.nn.utils.weight_norm import norm_except_dim, weight_of


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


__all__ = ["spectral_norm", "weight_norm"]
