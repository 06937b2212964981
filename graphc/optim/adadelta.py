"""Adadelta: steps in the proportion of the steps before to the gradients before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphc.core.errors import ArgumentError
from graphc.core.tensor_types import DType
from graphc.optim.groups import ParamGroup, check_number, check_rate, descent, live
from graphc.optim.optimizer import Optimizer, one_call, step_dtype


class Adadelta(Optimizer):
    """Adadelta (Zeiler, arXiv:1212.5701), as `torch.optim.Adadelta`.

    Options: lr, rho, eps, weight_decay (added to the gradient), maximize. `foreach`, `capturable` and `differentiable`
    are accepted and change nothing. Raises ArgumentError for numbers out of range.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ):
        check_rate(lr)
        if not 0.0 <= rho <= 1.0:
            raise ArgumentError(f"Invalid rho value: {rho}")
        check_number("epsilon value", eps)
        check_number("weight_decay value", weight_decay)
        options = {
            "lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize, "capturable": capturable,
            "foreach": foreach, "differentiable": differentiable,
        }  # fmt: skip
        super().__init__(params, options)

    def new_state(self, group: ParamGroup, p: Any) -> dict[str, tuple[Any, DType]]:
        """Step count, running means of the squares of gradients and of steps."""
        like = (p.shape, p.dtype)
        return {"step": ((), step_dtype()), "square_avg": like, "acc_delta": like}

    @one_call
    def update(self, group: ParamGroup, p: Any, grad: Any, state: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """v = r v + (1 - r) g g; d = sqrt(u + eps) / sqrt(v + eps) * g; u = r u + (1 - r) d d; p -= lr * d."""
        rho, eps = live(group, "rho"), live(group, "eps")
        p, grad = descent(group, p, grad)
        square = rho * state["square_avg"] + (1 - rho) * grad * grad
        move = (state["acc_delta"] + eps).sqrt() / (square + eps).sqrt() * grad
        moves = rho * state["acc_delta"] + (1 - rho) * move * move
        return p - live(group, "lr") * move, {"step": state["step"] + 1, "square_avg": square, "acc_delta": moves}
