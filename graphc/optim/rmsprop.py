"""RMSprop: steps scaled by a running mean of the gradient's square."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphc.core.tensor_types import DType
from graphc.optim.groups import ParamGroup, check_number, check_rate, descent, flag, is_on, live
from graphc.optim.optimizer import Optimizer, one_call, step_dtype


class RMSprop(Optimizer):
    """RMSprop (Hinton's lecture 6; centered: Graves, arXiv:1308.0850), as `torch.optim.RMSprop`.

    Options: lr, alpha, eps, weight_decay (added to the gradient), momentum, centered (the gradient's running variance in
    place of its square), maximize. `capturable`, `foreach` and `differentiable` are accepted and change nothing. Raises
    ArgumentError for numbers out of range.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ):
        check_rate(lr)
        check_number("epsilon value", eps)
        check_number("momentum value", momentum)
        check_number("weight_decay value", weight_decay)
        check_number("alpha value", alpha)
        options = {
            "lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered, "weight_decay": weight_decay,
            "capturable": capturable, "foreach": foreach, "maximize": maximize, "differentiable": differentiable,
        }  # fmt: skip
        super().__init__(params, options)

    def new_state(self, group: ParamGroup, p: Any) -> dict[str, tuple[Any, DType]]:
        """Step count, running mean of squares, and what `momentum` and `centered` keep."""
        like = (p.shape, p.dtype)
        state = {"step": ((), step_dtype()), "square_avg": like}
        if is_on(group, "momentum"):
            state["momentum_buffer"] = like
        return state | {"grad_avg": like} if flag(group, "centered") else state

    @one_call
    def update(self, group: ParamGroup, p: Any, grad: Any, state: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """v = a v + (1 - a) g g; p -= lr * g / (sqrt(v) + eps), that quotient by way of `momentum`."""
        lr, alpha = live(group, "lr"), live(group, "alpha")
        p, grad = descent(group, p, grad)
        square = alpha * state["square_avg"] + (1 - alpha) * grad * grad
        new = {"step": state["step"] + 1, "square_avg": square}
        if flag(group, "centered"):
            mean = new["grad_avg"] = state["grad_avg"] + (1 - alpha) * (grad - state["grad_avg"])
            square = square - mean * mean
        move = grad / (square.sqrt() + live(group, "eps"))
        if is_on(group, "momentum"):
            move = new["momentum_buffer"] = live(group, "momentum") * state["momentum_buffer"] + move
        return p - lr * move, new
