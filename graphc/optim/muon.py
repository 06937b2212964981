"""Muon: momentum steps whose matrices are made nearly orthogonal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from graphc.core.errors import ArgumentError
from graphc.core.tensor_types import DType, bfloat16, float32
from graphc.functions.linalg import addmm
from graphc.functions.promotion import cast_to
from graphc.optim.groups import ParamGroup, check_rate, flag, live
from graphc.optim.optimizer import Optimizer, one_call


class Muon(Optimizer):
    """Muon (Jordan, "Muon: an optimizer for hidden layers", 2024; arXiv:2502.16982), as `torch.optim.Muon`.

    For matrices only: give other parameters to AdamW. Options: lr, weight_decay (shrinks the parameter by
    `lr * weight_decay`), momentum, nesterov, ns_coefficients, ns_steps and eps (of the Newton-Schulz iteration, in
    bfloat16), adjust_lr_fn (None, "original" or "match_rms_adamw": how the rate depends on the shape). Raises ArgumentError
    for numbers out of range and for parameters that are no matrices.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ):
        check_rate(lr)
        for name, value in (("momentum", momentum), ("weight decay", weight_decay)):
            if not value >= 0.0:
                raise ArgumentError(f"{name} should be >= 0 but is: {value}")
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise ArgumentError(f"Adjust learning rate function {adjust_lr_fn} is not supported")
        if ns_steps >= 100:
            raise ArgumentError("Number of steps must be less than 100 for computational efficiency")
        if len(ns_coefficients) != 3:
            raise ArgumentError("Coefficients must be a tuple of exactly 3 values")
        options = {
            "lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov,
            "ns_coefficients": ns_coefficients, "eps": eps, "ns_steps": ns_steps, "adjust_lr_fn": adjust_lr_fn,
        }  # fmt: skip
        super().__init__(params, options)
        for group in self.param_groups:
            for p in group["params"]:
                if len(p.shape) != 2:
                    raise ArgumentError(
                        f"Muon only supports 2D parameters whereas we found a parameter with size: {p.size()}"
                    )

    def new_state(self, group: ParamGroup, p: Any) -> dict[str, tuple[Any, DType]]:
        """The running mean of gradients."""
        return {"momentum_buffer": (p.shape, p.dtype)}

    @one_call
    def update(self, group: ParamGroup, p: Any, grad: Any, state: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """m += (1 - mu)(g - m); u = m, or g + mu (m - g) with nesterov; p -= lr * (decay * p + adjustment * orthogonal(u))."""
        lr, momentum = live(group, "lr"), live(group, "momentum")
        mean = state["momentum_buffer"] + (1 - momentum) * (grad - state["momentum_buffer"])
        move = grad + momentum * (mean - grad) if flag(group, "nesterov") else mean
        move = _orthogonal(move, group["ns_coefficients"], group["ns_steps"], group["eps"])
        rate = lr * _adjustment(group["adjust_lr_fn"], *p.shape)
        return p * (1 - lr * live(group, "weight_decay")) - rate * cast_to(move, p.dtype), {"momentum_buffer": mean}


def _orthogonal(x: Any, coefficients: tuple[float, float, float], steps: int, eps: float) -> Any:
    """About U V' of the singular value decomposition of a matrix, by `steps` of a quintic Newton-Schulz iteration."""
    a, b, c = coefficients
    tall = x.shape[0] > x.shape[1]
    x = _rounded(x.t() if tall else x)
    x = _rounded(x / _rounded(x.norm()).clamp(min=eps))
    for _ in range(steps):
        gram = _rounded(x @ x.t())
        x = _rounded(addmm(x, _rounded(addmm(gram, gram, gram, beta=b, alpha=c)), x, beta=a))
    return x.t() if tall else x


def _rounded(x: Any) -> Any:
    """x to the precision of bfloat16, in which PyTorch iterates; products and sums are made before they are rounded."""
    return cast_to(cast_to(x, bfloat16), float32)


def _adjustment(way: str | None, rows: int, columns: int) -> float:
    """What the rate of a matrix is multiplied with."""
    return 0.2 * math.sqrt(max(rows, columns)) if way == "match_rms_adamw" else math.sqrt(max(1, rows / columns))
