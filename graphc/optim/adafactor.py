"""Adafactor: steps scaled by a mean square that is kept as a product of rows and columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphc.core.errors import ArgumentError
from graphc.core.tensor_types import DType, float64
from graphc.functions.dtypes import finfo
from graphc.functions.promotion import cast_to
from graphc.optim.groups import ParamGroup, check_rate, descent, live
from graphc.optim.optimizer import Optimizer, one_call, step_dtype


class Adafactor(Optimizer):
    """Adafactor (Shazeer and Stern, arXiv:1804.04235), as `torch.optim.Adafactor`.

    Options: lr (the greatest step relative to the parameter's root mean square), beta2_decay, eps (the least of the
    estimate's roots, by default the dtype's epsilon, and of the parameter's), d (the greatest root mean square of an
    update), weight_decay (shrinks the parameter by `lr * weight_decay`), maximize. `foreach` is accepted and changes
    nothing. Raises ArgumentError for numbers out of range.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ):
        check_rate(lr)
        for holds, problem in (
            (beta2_decay <= 0.0, f"beta2_decay should be <= 0 but is: {beta2_decay}"),
            (eps[0] is None or eps[0] >= 0.0, f"epsilon1 should be >= 0 but is: {eps[0]}"),
            (eps[1] >= 0.0, f"epsilon2 should be >= 0 but is: {eps[1]}"),
            (d >= 1.0, f"Clipping threshold d should be >= 1 but is: {d}"),
            (weight_decay >= 0.0, f"weight_decay should be >= 0 but is: {weight_decay}"),
        ):
            if not holds:
                raise ArgumentError(problem)
        options = {
            "lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d, "weight_decay": weight_decay, "foreach": foreach,
            "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, options)

    def new_state(self, group: ParamGroup, p: Any) -> dict[str, tuple[Any, DType]]:
        """Step count and mean squares: of rows and columns of the last two dimensions, or of each element of a vector."""
        step, shape = ((), step_dtype()), tuple(p.shape)
        if len(shape) < 2:
            return {"step": step, "variance": (shape, p.dtype)}
        rows, columns = (*shape[:-1], 1), (*shape[:-2], 1, shape[-1])
        return {"step": step, "row_var": (rows, p.dtype), "col_var": (columns, p.dtype)}

    @one_call
    def update(self, group: ParamGroup, p: Any, grad: Any, state: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """v += t^c (g g - v); u = g / sqrt(v); p -= max(eps2, rms(p)) * min(lr, 1 / sqrt(t)) * u / max(1, rms(u) / d)."""
        step = state["step"] + 1
        count = cast_to(step, float64)
        share = count ** live(group, "beta2_decay")
        least, least_root = group["eps"]
        if least is None:
            least = finfo(group["params"][0].dtype).eps
        rate = live(group, "lr").minimum(1 / count.sqrt()) * _rms(p).clamp(min=least_root)
        p, grad = descent(group, p, grad, decoupled=True)
        square, new = grad * grad, {"step": step}
        if "variance" in state:
            estimate = new["variance"] = state["variance"] + share * (square - state["variance"])
        else:
            rows = new["row_var"] = state["row_var"] + share * (square.mean(-1, keepdim=True) - state["row_var"])
            columns = new["col_var"] = state["col_var"] + share * (square.mean(-2, keepdim=True) - state["col_var"])
            estimate = rows * columns / rows.mean(-2, keepdim=True).clamp(min=least)
        move = grad * estimate.clamp(min=least * least).rsqrt()
        return p - rate / (_rms(move) / live(group, "d")).clamp(min=1) * move, new


def _rms(x: Any) -> Any:
    """The root of the mean square."""
    return (x * x).mean().sqrt()
