"""Rprop: steps whose sizes follow the signs of the gradients alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphc.core.errors import ArgumentError
from graphc.core.tensor_types import DType
from graphc.functions.comparisons import where
from graphc.optim.groups import ParamGroup, check_rate, descent, live
from graphc.optim.optimizer import Optimizer, one_call, step_dtype


class Rprop(Optimizer):
    """Resilient backpropagation (Riedmiller and Braun, ICNN 1993), as `torch.optim.Rprop`.

    Options: lr (the first step size), etas (factors of a step size where the sign turns and where it stays), step_sizes
    (the least and the greatest), maximize. `capturable`, `foreach` and `differentiable` are accepted and change nothing.
    Raises ArgumentError for numbers out of range.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ):
        check_rate(lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ArgumentError(f"Invalid eta values: {etas[0]}, {etas[1]}")
        options = {
            "lr": lr, "etas": etas, "step_sizes": step_sizes, "foreach": foreach, "maximize": maximize,
            "differentiable": differentiable, "capturable": capturable,
        }  # fmt: skip
        super().__init__(params, options)

    def new_state(self, group: ParamGroup, p: Any) -> dict[str, tuple[Any, DType]]:
        """Step count, the gradient before, and each element's step size."""
        like = (p.shape, p.dtype)
        return {"step": ((), step_dtype()), "prev": like, "step_size": like}

    @one_call
    def update(self, group: ParamGroup, p: Any, grad: Any, state: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Where the sign has turned, the step is made smaller and not taken; where it has not, it is made larger."""
        p, grad = descent(group, p, grad)
        change = grad * state["prev"]
        made = [live(group, ("etas", 1)), live(group, ("etas", 0)), live(group, "lr")]
        larger, smaller, first = [x.to(p.dtype) for x in made]
        factor = where(change > 0, larger, where(change < 0, smaller, 1.0))
        before = where(state["step"] == 0, first, state["step_size"])  # the rate the first step meets
        size = (before * factor).clamp(live(group, ("step_sizes", 0)), live(group, ("step_sizes", 1)))
        grad = where(change < 0, 0.0, grad)
        return p - grad.sign() * size, {"step": state["step"] + 1, "prev": grad, "step_size": size}
