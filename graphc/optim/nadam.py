"""NAdam: Adam with Nesterov's momentum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphc.core.tensor_types import DType, float64
from graphc.functions.promotion import cast_to
from graphc.optim.groups import ParamGroup, check_betas, check_number, check_rate, descent, live
from graphc.optim.optimizer import Optimizer, one_call, step_dtype, untouched


class NAdam(Optimizer):
    """NAdam (Dozat, "Incorporating Nesterov Momentum into Adam", 2016), as `torch.optim.NAdam`.

    Options: lr, betas, eps, weight_decay (added to the gradient, or AdamW's with `decoupled_weight_decay`),
    momentum_decay, maximize. `foreach`, `capturable` and `differentiable` are accepted and change nothing. Raises
    ArgumentError for numbers out of range.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
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
        check_number("momentum_decay value", momentum_decay)
        options = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay, "maximize": maximize, "foreach": foreach,
            "capturable": capturable, "differentiable": differentiable,
        }  # fmt: skip
        super().__init__(params, options)

    def new_state(self, group: ParamGroup, p: Any) -> dict[str, tuple[Any, DType]]:
        """Step count, the product of all momenta so far, and Adam's running means."""
        like, number = (p.shape, p.dtype), ((), step_dtype())
        return {"step": number, "mu_product": number, "exp_avg": like, "exp_avg_sq": like}

    def settle(self, state: Mapping[str, Any]) -> None:
        """A product of no momenta is 1."""
        if untouched(state, "mu_product"):
            state["mu_product"].fill_(1)

    @one_call
    def update(self, group: ParamGroup, p: Any, grad: Any, state: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """p -= lr * ((1 - mu) / (1 - product) * g + next mu / (1 - next product) * m) / (sqrt(v / (1 - b2^t)) + eps)."""
        lr, beta1, beta2 = live(group, "lr"), live(group, ("betas", 0)), live(group, ("betas", 1))
        p, grad = descent(group, p, grad)
        step = state["step"] + 1
        count = cast_to(step, float64)
        mu, next_mu = (beta1 * (1 - 0.5 * 0.96 ** (t * live(group, "momentum_decay"))) for t in (count, count + 1))
        product = state["mu_product"] * cast_to(mu, state["mu_product"].dtype)
        exact = cast_to(product, float64)
        mean = state["exp_avg"] + (1 - beta1) * (grad - state["exp_avg"])
        square = beta2 * state["exp_avg_sq"] + (1 - beta2) * grad * grad
        divisor = (square / (1 - beta2**count)).sqrt() + live(group, "eps")
        p = p - lr * (1 - mu) / (1 - exact) * (grad / divisor) - lr * next_mu / (1 - exact * next_mu) * (mean / divisor)
        return p, {"step": step, "mu_product": product, "exp_avg": mean, "exp_avg_sq": square}
