"""L-BFGS: quasi-Newton steps from the last few gradients, for whole batches."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from graphc.core.context import STATE, set_grad
from graphc.core.errors import ArgumentError, GraphError, UnsupportedError, user_line
from graphc.core.tape import TensorBase
from graphc.functions.creation import zeros_like
from graphc.functions.joining import cat
from graphc.optim.groups import check_rate, number
from graphc.optim.line_search import StrongWolfe, Trial
from graphc.optim.optimizer import Optimizer

_REFUSAL = (
    "LBFGS calls its closure as often as the losses ask for, which a recorded program cannot (at {line})\n"
    "  hint: call optimizer.step(closure) in eager code; the closure may be a compiled function"
)
#: What a step hands on to the next, in the order of PyTorch's state.
_MEMORY = ("d", "t", "old_dirs", "old_stps", "ro", "H_diag", "prev_flat_grad", "prev_loss")


class LBFGS(Optimizer):
    """L-BFGS (Liu and Nocedal, Math. Programming 45, 1989), as `torch.optim.LBFGS`.

    `step(closure)` calls the closure, which clears the gradients, runs backward and returns the loss, up to `max_eval`
    times (default: 5/4 max_iter). Options: lr, max_iter, max_eval, tolerance_grad, tolerance_change, history_size,
    line_search_fn (None or "strong_wolfe"). Raises ArgumentError for more than one group. How often the closure is called
    hangs on the losses, so that a step cannot be recorded (GraphError); the closure may be a compiled function.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ):
        check_rate(lr)
        options = {
            "lr": lr, "max_iter": max_iter, "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change, "history_size": history_size,
            "line_search_fn": line_search_fn,
        }  # fmt: skip
        super().__init__(params, options)
        if len(self.param_groups) != 1:
            raise ArgumentError("LBFGS doesn't support per-parameter options (parameter groups)")

    def minimize(self, loss: Any, params: Any = None) -> Any:
        """Raises GraphError: how many gradients a step needs hangs on the losses."""
        raise GraphError(_REFUSAL.format(line=user_line()))

    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        """Up to `max_iter` iterations; returns the loss that the first call of `closure` gave."""
        if STATE.recorder is not None:
            raise GraphError(_REFUSAL.format(line=user_line()))
        with set_grad(False):
            return self._iterate(closure)

    def _iterate(self, closure: Callable[[], Any]) -> Any:
        group = self.param_groups[0]
        state = self.state[group["params"][0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        first = _called(closure)
        loss, grad = float(first), self._flat_grad()
        state["func_evals"] += 1
        evaluations = 1
        if grad.abs().max() <= group["tolerance_grad"]:
            return first
        memory = SimpleNamespace(**{key: state.get(key) for key in _MEMORY})
        for left in reversed(range(group["max_iter"])):
            slope = self._aim(memory, state, loss, grad)
            if slope > -group["tolerance_change"]:
                break
            start = Trial(0, loss, grad, slope)
            found, used = self._move(memory, closure, start, group["max_eval"] - evaluations, left)
            loss, grad = found.loss, found.grad
            evaluations += used
            state["func_evals"] += used
            if not left or evaluations >= group["max_eval"] or self._has_arrived(memory, loss, grad):
                break
        for key in _MEMORY:
            state[key] = getattr(memory, key)
        return first

    def _aim(self, memory: Any, state: Any, loss: Any, grad: Any) -> Any:
        """Sets direction `d` and first step length `t`, and notes where they were made; returns the slope along `d`."""
        group = self.param_groups[0]
        state["n_iter"] += 1
        lr = number(group, "lr") if isinstance(group["lr"], TensorBase) else group["lr"]
        if state["n_iter"] == 1:
            memory.d, memory.t = -grad, min(1.0, 1.0 / grad.abs().sum()) * lr
            memory.old_dirs, memory.old_stps, memory.ro, memory.H_diag = [], [], [], 1
        else:
            _remember(memory, grad, group["history_size"])
            if "al" not in state:
                state["al"] = [None] * group["history_size"]
            memory.d, memory.t = _direction(memory, state["al"], grad), lr
        memory.prev_flat_grad, memory.prev_loss = grad, loss
        return grad.dot(memory.d)

    def _move(self, memory: Any, closure: Callable[[], Any], start: Trial, most: int, left: int) -> tuple[Trial, int]:
        """Moves the parameters along `d`; returns what was found there (`start` after a last step), and the calls made."""
        group = self.param_groups[0]
        if group["line_search_fn"] is None:
            self._shift(memory.d, memory.t)
            if not left:
                return start, 0
            loss = float(_called(closure))
            return Trial(memory.t, loss, self._flat_grad(), None), 1
        if group["line_search_fn"] != "strong_wolfe":
            raise UnsupportedError("only 'strong_wolfe' is supported")
        home = [p.clone() for p in group["params"]]

        def evaluate(t: Any) -> tuple[float, Any]:
            self._shift(memory.d, t)
            loss, grad = float(_called(closure)), self._flat_grad()
            for p, before in zip(group["params"], home, strict=True):
                p.copy_(before)
            return loss, grad

        search = StrongWolfe(evaluate, memory.d, start, most, tolerance=1e-9)
        found = search.search(memory.t)
        memory.t = found.t
        self._shift(memory.d, found.t)
        return found, search.evaluations

    def _has_arrived(self, memory: Any, loss: float, grad: Any) -> bool:
        """Whether gradient, step or change of the loss is too small to go on."""
        group = self.param_groups[0]
        if grad.abs().max() <= group["tolerance_grad"]:
            return True
        if (memory.d * memory.t).abs().max() <= group["tolerance_change"]:
            return True
        return bool(abs(loss - memory.prev_loss) < group["tolerance_change"])

    def _flat_grad(self) -> Any:
        """The gradients of all parameters one after the other, in memory of its own."""
        params = self.param_groups[0]["params"]
        return cat([zeros_like(p).reshape(-1) if p.grad is None else p.grad.clone().reshape(-1) for p in params])

    def _shift(self, direction: Any, t: Any) -> None:
        """p += t * direction, for all parameters."""
        at = 0
        for p in self.param_groups[0]["params"]:
            size = math.prod(p.shape)
            p.add_(direction[at : at + size].reshape(p.shape) * t)
            at += size


def _called(closure: Callable[[], Any]) -> Any:
    with set_grad(True):
        return closure()


def _remember(memory: Any, grad: Any, most: int) -> None:
    """Adds the last step and what it changed of the gradient to the history, unless the curvature is not positive."""
    change, step = grad - memory.prev_flat_grad, memory.d * memory.t
    curvature = change.dot(step)
    if not curvature > 1e-10:
        return
    if len(memory.old_dirs) == most:
        for history in (memory.old_dirs, memory.old_stps, memory.ro):
            history.pop(0)
    memory.old_dirs.append(change)
    memory.old_stps.append(step)
    memory.ro.append(1.0 / curvature)
    memory.H_diag = curvature / change.dot(change)


def _direction(memory: Any, al: list[Any], grad: Any) -> Any:
    """Minus the approximate inverse Hessian times the gradient, by the two loops over the history."""
    history = list(zip(memory.old_dirs, memory.old_stps, memory.ro, strict=True))
    q = -grad
    for i in reversed(range(len(history))):
        change, step, ro = history[i]
        al[i] = step.dot(q) * ro
        q = q - al[i] * change
    r = q * memory.H_diag
    for i, (change, step, ro) in enumerate(history):
        r = r + (al[i] - change.dot(r) * ro) * step
    return r
