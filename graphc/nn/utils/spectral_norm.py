"""Spectral normalisation (Miyato et al. 2018), as PyTorch had it before parametrizations."""

from __future__ import annotations

from typing import Any

from graphc.core.context import eagerly
from graphc.core.errors import ArgumentError
from graphc.functions.linalg import dot, mv
from graphc.functions.random import randn
from graphc.functions.shaping import flatten, permute, transpose
from graphc.grad_mode import no_grad
from graphc.nn.modules.convolution import _Convolution
from graphc.nn.normalizing import normalize
from graphc.nn.parameter import Parameter, is_lazy
from graphc.nn.utils.computed import compute, stop_computing, take_back


def as_rows(weight: Any, dim: int) -> Any:
    """The weight as a matrix whose rows are its slices along `dim`."""
    if dim != 0:
        weight = permute(weight, (dim, *(i for i in range(weight.dim()) if i != dim)))
    return flatten(weight, 1)


def new_vectors(rows: Any, eps: float) -> tuple[Any, Any]:
    """Random unit vectors for both sides of a matrix."""
    with no_grad(), eagerly():
        u, v = (normalize(randn(int(n), dtype=rows.dtype, device=rows.device), dim=0, eps=eps) for n in rows.shape)
    return u, v


def usual_dim(module: Any) -> int:
    """The dimension of a layer's outputs in its weight."""
    return 1 if isinstance(module, _Convolution) and module.transposed else 0


class SpectralNorm:
    """The hook that improves the estimate of the largest singular value before each call in training."""

    def __init__(self, name: str = "weight", n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12) -> None:
        if n_power_iterations <= 0:
            raise ArgumentError(
                f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}"
            )
        self.name = name
        self.dim = dim
        self.n_power_iterations = n_power_iterations
        self.eps = eps

    def compute_weight(self, module: Any) -> Any:
        """The weight over its largest singular value."""
        weight = getattr(module, self.name + "_orig")
        u, v = (getattr(module, self.name + end).clone() for end in ("_u", "_v"))  # the buffers change before backward
        return weight / dot(u, mv(as_rows(weight, self.dim), v))

    def __call__(self, module: Any, inputs: Any) -> None:
        """The power method on the two buffers, in training."""
        if not module.training:
            return
        rows = as_rows(getattr(module, self.name + "_orig"), self.dim)
        u, v = getattr(module, self.name + "_u"), getattr(module, self.name + "_v")
        with no_grad():
            for _ in range(self.n_power_iterations):
                v.copy_(normalize(mv(transpose(rows, 0, 1), u), dim=0, eps=self.eps))
                u.copy_(normalize(mv(rows, v), dim=0, eps=self.eps))

    def remove(self, module: Any) -> None:
        """Makes the weight a parameter again."""
        weight = self.compute_weight(module).detach()
        stop_computing(module, self.name)
        for end in ("_u", "_v", "_orig"):
            delattr(module, self.name + end)
        module.register_parameter(self.name, Parameter(weight))


def spectral_norm(
    module: Any, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Any:
    """Replaces a parameter by itself over its largest singular value; returns the module.

    The parameter goes on as `<name>_orig`, the estimates of the singular vectors are buffers. RuntimeError where this was
    done already, ArgumentError for a parameter that is None or has no shape.
    """
    if any(_computes(hook, name) for hook in module._forward_pre_hooks.values()):
        raise RuntimeError(f"Cannot register two spectral_norm hooks on the same parameter {name}")
    fn = SpectralNorm(name, n_power_iterations, usual_dim(module) if dim is None else dim, eps)
    weight = module._parameters[name]
    if weight is None:
        raise ArgumentError(f"`SpectralNorm` cannot be applied as parameter `{name}` is None")
    if is_lazy(weight):
        raise ArgumentError(
            "The module passed to `SpectralNorm` can't have uninitialized parameters. Make sure to run the dummy forward "
            "before applying spectral normalization"
        )
    u, v = new_vectors(as_rows(weight.detach(), fn.dim), eps)
    delattr(module, name)
    module.register_parameter(name + "_orig", weight)
    module.register_buffer(name + "_u", u)
    module.register_buffer(name + "_v", v)
    compute(module, name, fn.compute_weight)
    module.register_forward_pre_hook(fn)
    return module


def remove_spectral_norm(module: Any, name: str = "weight") -> Any:
    """Takes `spectral_norm` back; returns the module. ArgumentError where it was not applied."""
    if not take_back(module, lambda hook: _computes(hook, name)):
        raise ArgumentError(f"spectral_norm of '{name}' not found in {module}")
    return module


def _computes(hook: Any, name: str) -> bool:
    return isinstance(hook, SpectralNorm) and hook.name == name


__all__ = ["SpectralNorm", "remove_spectral_norm", "spectral_norm"]
