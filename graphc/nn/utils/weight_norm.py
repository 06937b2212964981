"""Weight normalisation (Salimans and Kingma 2016), as PyTorch had it before parametrizations."""

from __future__ import annotations

import warnings
from typing import Any

from graphc.core.errors import ArgumentError
from graphc.functions.norms import norm_over
from graphc.nn.parameter import Parameter, is_lazy
from graphc.nn.utils.computed import compute, stop_computing, take_back
from graphc.primitives.views import reshape


def norm_except_dim(v: Any, pow: float = 2, dim: int = 0) -> Any:
    """The norms of the slices of v along `dim`, in v's number of dimensions; of all of v where dim is -1."""
    if dim == -1:
        return norm_over(v, float(pow), tuple(range(v.dim())))
    axes = tuple(i for i in range(v.dim()) if i != dim)
    return reshape(norm_over(v, float(pow), axes), shape=tuple(n if i == dim else 1 for i, n in enumerate(v.shape)))


def weight_of(v: Any, g: Any, dim: int) -> Any:
    """v with the norms g."""
    return v * (g / norm_except_dim(v, 2, dim))


class WeightNorm:
    """The hook that marks a module; the weight itself is computed where it is read."""

    def __init__(self, name: str, dim: int | None) -> None:
        self.name = name
        self.dim = -1 if dim is None else dim

    def compute_weight(self, module: Any) -> Any:
        """g v / |v|."""
        return weight_of(getattr(module, self.name + "_v"), getattr(module, self.name + "_g"), self.dim)

    def remove(self, module: Any) -> None:
        """Makes the weight a parameter again."""
        weight = self.compute_weight(module).detach()
        stop_computing(module, self.name)
        delattr(module, self.name + "_g")
        delattr(module, self.name + "_v")
        setattr(module, self.name, Parameter(weight))

    def __call__(self, module: Any, inputs: Any) -> None:
        """Nothing is left to do before a call."""


def weight_norm(module: Any, name: str = "weight", dim: int | None = 0) -> Any:
    """Replaces a parameter by its direction `<name>_v` and norms `<name>_g` along `dim` (None: one norm); returns the module.

    RuntimeError where this was done already, ArgumentError for a parameter without a shape.
    """
    warnings.warn(
        "`torch.nn.utils.weight_norm` is deprecated in favor of `torch.nn.utils.parametrizations.weight_norm`.",
        FutureWarning,
        stacklevel=2,
    )
    if any(_computes(hook, name) for hook in module._forward_pre_hooks.values()):
        raise RuntimeError(f"Cannot register two weight_norm hooks on the same parameter {name}")
    fn, weight = WeightNorm(name, dim), getattr(module, name)
    if is_lazy(weight):
        raise ArgumentError(
            "The module passed to `WeightNorm` can't have uninitialized parameters. Make sure to run the dummy forward "
            "before applying weight normalization"
        )
    delattr(module, name)
    module.register_parameter(name + "_g", Parameter(norm_except_dim(weight.detach(), 2, fn.dim)))
    module.register_parameter(name + "_v", Parameter(weight.data))
    compute(module, name, fn.compute_weight)
    module.register_forward_pre_hook(fn)
    return module


def remove_weight_norm(module: Any, name: str = "weight") -> Any:
    """Takes `weight_norm` back; returns the module. ArgumentError where it was not applied."""
    if not take_back(module, lambda hook: _computes(hook, name)):
        raise ArgumentError(f"weight_norm of '{name}' not found in {module}")
    return module


def _computes(hook: Any, name: str) -> bool:
    return isinstance(hook, WeightNorm) and hook.name == name


__all__ = ["WeightNorm", "remove_weight_norm", "weight_norm"]
