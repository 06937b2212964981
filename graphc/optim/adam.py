"""Adam: steps scaled by running means of the gradient and of its square."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphc.core.tensor_types import DType, float64
from graphc.functions.promotion import cast_to
from graphc.optim.groups import (
    ParamGroup,
    check_betas,
    check_number,
    check_rate,
    check_ways,
    descent,
    flag,
    live,
    plain_betas,
)
from graphc.optim.optimizer import Optimizer, one_call, step_dtype


class Adam(Optimizer):
    """Adam (Kingma and Ba, arXiv:1412.6980), as `torch.optim.Adam`.

    Options: lr, betas, eps, weight_decay (added to the gradient, or AdamW's with `decoupled_weight_decay`), amsgrad,
    maximize. `foreach`, `capturable`, `differentiable` and `fused` are accepted and change nothing. Raises
    ArgumentError for numbers out of range.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: Any = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ):
        check_rate(lr)
        check_number("epsilon value", eps)
        check_betas(betas)
        check_number("weight_decay value", weight_decay)
        check_ways(fused, foreach, differentiable)
        betas = plain_betas(betas, lr, foreach, capturable)
        options = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, options)

    def new_state(self, group: ParamGroup, p: Any) -> dict[str, tuple[Any, DType]]:
        """Step count, running means, and the running maximum for `amsgrad`."""
        like = (p.shape, p.dtype)
        state = {"step": ((), step_dtype()), "exp_avg": like, "exp_avg_sq": like}
        return state | {"max_exp_avg_sq": like} if flag(group, "amsgrad") else state

    @one_call
    def update(self, group: ParamGroup, p: Any, grad: Any, state: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """m += (1 - b1)(g - m); v = b2 v + (1 - b2) g g; p -= lr / (1 - b1^t) * m / (sqrt(v / (1 - b2^t)) + eps)."""
        lr, beta1, beta2 = live(group, "lr"), live(group, ("betas", 0)), live(group, ("betas", 1))
        step = state["step"] + 1
        p, grad = descent(group, p, grad)
        mean = state["exp_avg"] + (1 - beta1) * (grad - state["exp_avg"])
        square = beta2 * state["exp_avg_sq"] + (1 - beta2) * grad * grad
        new = {"step": step, "exp_avg": mean, "exp_avg_sq": square}
        if flag(group, "amsgrad"):
            square = new["max_exp_avg_sq"] = state["max_exp_avg_sq"].maximum(square)
        count = cast_to(step, float64)
        scale = (1 - beta2**count).sqrt()
        divisor = square.sqrt() / scale + live(group, "eps")
        return p - (lr / (1 - beta1**count)) * mean / divisor, new
