"""`Optimizer.minimize`: the optimizer's update as a train op of a graph."""

from __future__ import annotations

from typing import Any

from graphc.core.context import guard, set_grad
from graphc.core.errors import GraphError
from graphc.session import UpdateGroup, gradients


def minimize(self: Any, loss: Any, params: Any = None) -> UpdateGroup:
    """A train op that, when fetched, updates `params` (default: all of the optimizer's) against the gradient of `loss`.

    Rebinds nothing and leaves `.grad` alone. Raises GraphError if no parameter reaches the loss.
    """
    wanted = None if params is None else set(map(id, params))
    pairs = [
        (group, p)
        for group in self.param_groups
        for p in group["params"]
        if p.requires_grad and (wanted is None or id(p) in wanted)
    ]
    grads = gradients(loss, [p for _, p in pairs], allow_unused=True)
    if all(g is None for g in grads):
        raise GraphError("minimize: the loss depends on none of the optimizer's parameters")
    self._opt_called = True
    changes: list[tuple[Any, Any]] = []
    with set_grad(False):
        guard(self, "which groups", self.fact("which groups"))
        for (group, p), grad in zip(pairs, grads, strict=True):
            if grad is not None:
                changes += self.changes(group, p, grad)
        guard(self, "which state", self.fact("which state"))
    return UpdateGroup(changes)
