"""SparseAdam, which needs sparse gradients: there are none here, and it says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphc.core.context import set_grad
from graphc.core.errors import ArgumentError, UnsupportedError, user_line
from graphc.optim.groups import check_betas, check_rate
from graphc.optim.optimizer import Optimizer


class SparseAdam(Optimizer):
    """`torch.optim.SparseAdam`, whose step refuses dense gradients as PyTorch's does (UnsupportedError).

    graphc has no sparse tensors: use Adam. Raises ArgumentError for numbers out of range.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        maximize: bool = False,
    ):
        check_rate(lr)
        for name, value in (("learning rate", lr), ("epsilon value", eps)):
            if not value > 0.0:
                raise ArgumentError(f"Invalid {name}: {value}")
        check_betas(betas)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize})

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Raises UnsupportedError if any parameter has a gradient."""
        loss = None
        if closure is not None:
            with set_grad(True):
                loss = closure()
        if any(p.grad is not None for group in self.param_groups for p in group["params"]):
            raise UnsupportedError(
                f"SparseAdam does not support dense gradients, please consider Adam instead (at {user_line()})",
                hint="graphc has no sparse tensors: optim.Adam moves every row, a row without gradient by its running mean",
            )
        return loss

    def minimize(self, loss: Any, params: Any = None) -> Any:
        """Raises UnsupportedError: gradients of a graph are dense."""
        raise UnsupportedError(
            f"SparseAdam does not support dense gradients, please consider Adam instead (at {user_line()})"
        )
