"""RAdam: Adam that trusts its mean square only once enough gradients are in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphc.core.tensor_types import DType, float64
from graphc.functions.comparisons import where
from graphc.functions.promotion import cast_to
from graphc.optim.groups import ParamGroup, check_betas, check_number, check_rate, descent, live
from graphc.optim.optimizer import Optimizer, one_call, step_dtype


class RAdam(Optimizer):
    """RAdam (Liu et al., arXiv:1908.03265), as `torch.optim.RAdam`.

    Options: lr, betas, eps, weight_decay (added to the gradient, or AdamW's with `decoupled_weight_decay`), maximize.
    `foreach`, `capturable` and `differentiable` are accepted and change nothing. Raises ArgumentError for numbers out of
    range.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ):
        check_rate(lr)
        check_number("epsilon value", eps)
        check_betas(betas)
        check_number("weight_decay value", weight_decay)
        options = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize, "foreach": foreach,
            "capturable": capturable, "decoupled_weight_decay": decoupled_weight_decay, "differentiable": differentiable,
        }  # fmt: skip
        super().__init__(params, options)

    def new_state(self, group: ParamGroup, p: Any) -> dict[str, tuple[Any, DType]]:
        """Step count and running means."""
        like = (p.shape, p.dtype)
        return {"step": ((), step_dtype()), "exp_avg": like, "exp_avg_sq": like}

    @one_call
    def update(self, group: ParamGroup, p: Any, grad: Any, state: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """p -= lr * m / (1 - b1^t) * s; s is 1 until the mean square counts, then r * sqrt(1 - b2^t) / sqrt(v)."""
        beta1, beta2 = live(group, ("betas", 0)), live(group, ("betas", 1))
        p, grad = descent(group, p, grad)
        step = state["step"] + 1
        count = cast_to(step, float64)
        mean = state["exp_avg"] + (1 - beta1) * (grad - state["exp_avg"])
        square = beta2 * state["exp_avg_sq"] + (1 - beta2) * grad * grad
        missing = 1 - beta2**count
        limit = 2 / (1 - beta2) - 1  # the paper's rho: of how many gradients the mean square is one
        length = limit - 2 * count * (1 - missing) / missing
        counts = length > 5
        scale = (missing.sqrt() * _rectified(where(counts, length, 6.0), where(counts, limit, 6.0))) / (
            square.sqrt() + live(group, "eps")
        )
        rate = live(group, "lr") / (1 - beta1**count)
        return p - rate * mean * where(counts, scale, 1.0), {"step": step, "exp_avg": mean, "exp_avg_sq": square}


def _rectified(length: Any, limit: Any) -> Any:
    """By how much the variance of a step exceeds the one it will have in the long run, as a root."""
    return ((length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length)).sqrt()
