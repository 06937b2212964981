"""Adagrad: steps scaled by the sum of all squared gradients so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphc.core.tensor_types import DType, float64
from graphc.functions.promotion import cast_to
from graphc.optim.groups import ParamGroup, check_number, check_rate, check_ways, descent, live
from graphc.optim.optimizer import Optimizer, one_call, step_dtype, untouched


class Adagrad(Optimizer):
    """Adagrad (Duchi, Hazan and Singer, JMLR 12, 2011), as `torch.optim.Adagrad`.

    Options: lr, lr_decay, weight_decay (added to the gradient), initial_accumulator_value (of the sum of squares), eps,
    maximize. `foreach`, `differentiable` and `fused` are accepted and change nothing. Raises ArgumentError for numbers
    out of range. The state of the parameters given here exists from the start.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ):
        check_rate(lr)
        check_number("lr_decay value", lr_decay)
        check_number("weight_decay value", weight_decay)
        check_number("initial_accumulator_value value", initial_accumulator_value)
        check_number("epsilon value", eps)
        check_ways(fused, foreach, differentiable)
        options = {
            "lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value, "foreach": foreach, "maximize": maximize,
            "differentiable": differentiable, "fused": fused,
        }  # fmt: skip
        super().__init__(params, options)
        for group in self.param_groups:
            for p in group["params"]:
                self.state_for(group, p)

    def new_state(self, group: ParamGroup, p: Any) -> dict[str, tuple[Any, DType]]:
        """Step count and sum of squares."""
        return {"step": ((), step_dtype()), "sum": (p.shape, p.dtype)}

    def settle(self, state: Mapping[str, Any]) -> None:
        """A sum that nothing was added to yet holds its initial value."""
        value = self.defaults["initial_accumulator_value"]
        if value and untouched(state, "sum") and not state["sum"].any():
            state["sum"].fill_(value)

    @one_call
    def update(self, group: ParamGroup, p: Any, grad: Any, state: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """v += g g; p -= lr / (1 + (t - 1) * lr_decay) * g / (sqrt(v) + eps)."""
        p, grad = descent(group, p, grad)
        rate = live(group, "lr") / (1 + cast_to(state["step"], float64) * live(group, "lr_decay"))
        total = state["sum"] + grad * grad
        return p - rate * grad / (total.sqrt() + live(group, "eps")), {"step": state["step"] + 1, "sum": total}
