"""ASGD: stochastic gradient descent that keeps the average of its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphc.core.tensor_types import DType, float64
from graphc.functions.comparisons import where
from graphc.functions.promotion import cast_to
from graphc.optim.groups import ParamGroup, check_number, check_rate, descent, live
from graphc.optim.optimizer import Optimizer, one_call, step_dtype, untouched


class ASGD(Optimizer):
    """Averaged SGD (Polyak and Juditsky, SIAM J. Control Optim. 30, 1992), as `torch.optim.ASGD`.

    Options: lr, lambd, alpha (of the falling rate), t0 (the step averaging begins at), weight_decay (added to the
    gradient), maximize. The average is `state[p]["ax"]`. `foreach`, `differentiable` and `capturable` are accepted and
    change nothing. Raises ArgumentError for numbers out of range.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ):
        check_rate(lr)
        check_number("weight_decay value", weight_decay)
        options = {
            "lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "capturable": capturable,
        }  # fmt: skip
        super().__init__(params, options)

    def new_state(self, group: ParamGroup, p: Any) -> dict[str, tuple[Any, DType]]:
        """Step count, present rate, weight of the newest parameters in the average, and the average."""
        number = ((), step_dtype())
        return {"step": number, "eta": number, "mu": number, "ax": (p.shape, p.dtype)}

    def settle(self, state: Mapping[str, Any]) -> None:
        """Before the first step the newest parameters are the average."""
        if untouched(state, "mu"):
            state["mu"].fill_(1)

    @one_call
    def update(self, group: ParamGroup, p: Any, grad: Any, state: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """p -= eta * (lambd * p + g); ax += mu * (p - ax); eta = lr / (1 + lambd * lr * t)^alpha; mu = 1 / max(1, t - t0)."""
        lr, lambd = live(group, "lr"), live(group, "lambd")
        p, grad = descent(group, p, grad)
        step = state["step"] + 1
        count = cast_to(step, float64)
        eta = where(state["step"] == 0, cast_to(lr, state["eta"].dtype), state["eta"])  # the rate the first step meets
        eta = cast_to(eta, float64)
        p = p * (1 - lambd * eta) - eta * grad
        mean, mu = state["ax"], state["mu"]
        mean = where(mu == 1, p, mean + (p - mean) * mu)
        new_eta = lr / (1 + lambd * lr * count) ** live(group, "alpha")
        new_mu = 1 / (count - live(group, "t0")).clamp(min=1)
        return p, {"step": step, "eta": new_eta, "mu": new_mu, "ax": mean}
