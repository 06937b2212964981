"""Stochastic gradient descent with momentum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphc.core.errors import ArgumentError
from graphc.core.tensor_types import DType, float32
from graphc.functions.creation import ones_like
from graphc.optim.groups import ParamGroup, check_number, check_rate, check_ways, descent, flag, is_on, live
from graphc.optim.optimizer import Optimizer, one_call


class SGD(Optimizer):
    """p -= lr * grad, with momentum (dampened, Nesterov's), as `torch.optim.SGD`.

    Options: lr, momentum, dampening, weight_decay (added to the gradient), nesterov, maximize. `foreach`,
    `differentiable` and `fused` are accepted and change nothing. Raises ArgumentError for numbers out of range.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ):
        check_rate(lr)
        check_number("momentum value", momentum)
        check_number("weight_decay value", weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ArgumentError("Nesterov momentum requires a momentum and zero dampening")
        check_ways(fused, foreach, differentiable)
        options = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, options)

    def new_state(self, group: ParamGroup, p: Any) -> dict[str, tuple[Any, DType]]:
        """The momentum buffer and, where dampening needs it, whether the buffer was ever written."""
        if not is_on(group, "momentum"):
            return {}
        buffer = {"momentum_buffer": (p.shape, p.dtype)}
        return buffer | {"_started": ((), float32)} if is_on(group, "dampening") else buffer

    def settle(self, state: Mapping[str, Any]) -> None:
        """A buffer that came from a file, or from steps without dampening, has been started."""
        if "_started" in state and "momentum_buffer" in state:
            state["_started"].copy_((state["momentum_buffer"] != 0).any())

    @one_call
    def update(self, group: ParamGroup, p: Any, grad: Any, state: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """PyTorch's first step sets the buffer to the gradient itself: dampening counts from the second step on."""
        new: dict[str, Any] = {}
        p, grad = descent(group, p, grad)
        if is_on(group, "momentum"):
            momentum = live(group, "momentum")
            fresh = grad
            if is_on(group, "dampening"):
                fresh = (1 - live(group, "dampening") * state["_started"]) * grad
                new["_started"] = ones_like(state["_started"])
            buffer = new["momentum_buffer"] = momentum * state["momentum_buffer"] + fresh
            grad = grad + momentum * buffer if flag(group, "nesterov") else buffer
        return p - live(group, "lr") * grad, new
