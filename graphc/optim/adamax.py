"""Adamax: Adam with the greatest gradient of late in place of the mean square."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphc.core.tensor_types import DType, float64
from graphc.functions.promotion import cast_to
from graphc.optim.groups import ParamGroup, check_betas, check_number, check_rate, descent, live
from graphc.optim.optimizer import Optimizer, one_call, step_dtype


class Adamax(Optimizer):
    """Adamax (Kingma and Ba, arXiv:1412.6980, section 7), as `torch.optim.Adamax`.

    Options: lr, betas, eps, weight_decay (added to the gradient), maximize. `foreach`, `differentiable` and `capturable`
    are accepted and change nothing. Raises ArgumentError for numbers out of range.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ):
        check_rate(lr)
        check_number("epsilon value", eps)
        check_betas(betas)
        check_number("weight_decay value", weight_decay)
        options = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "foreach": foreach, "maximize": maximize,
            "differentiable": differentiable, "capturable": capturable,
        }  # fmt: skip
        super().__init__(params, options)

    def new_state(self, group: ParamGroup, p: Any) -> dict[str, tuple[Any, DType]]:
        """Step count, running mean, and running maximum of absolute values."""
        like = (p.shape, p.dtype)
        return {"step": ((), step_dtype()), "exp_avg": like, "exp_inf": like}

    @one_call
    def update(self, group: ParamGroup, p: Any, grad: Any, state: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """m += (1 - b1)(g - m); u = max(b2 u, |g| + eps); p -= lr / (1 - b1^t) * m / u."""
        beta1, beta2 = live(group, ("betas", 0)), live(group, ("betas", 1))
        p, grad = descent(group, p, grad)
        step = state["step"] + 1
        mean = state["exp_avg"] + (1 - beta1) * (grad - state["exp_avg"])
        most = (beta2 * state["exp_inf"]).maximum(grad.abs() + live(group, "eps"))
        rate = live(group, "lr") / (1 - beta1 ** cast_to(step, float64))
        return p - rate * mean / most, {"step": step, "exp_avg": mean, "exp_inf": most}
