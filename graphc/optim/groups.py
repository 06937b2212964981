"""Parameter groups and optimizer state: dictionaries that tell the rest of graphc when they change.

A compiled step or a session reads the numbers of a group (learning rate, betas, ...) anew at each run; structural facts
("is there any weight decay") are guarded: they are compared again whenever the epoch has moved.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.core.context import EPOCH, SLOTS, STATE, guard
from graphc.core.errors import ArgumentError, UnsupportedError
from graphc.core.tape import TensorBase


def _bumping(change: Callable[..., Any]) -> Any:
    """A dict method that also moves the epoch."""

    def method(self: dict[Any, Any], *args: Any, **kwargs: Any) -> Any:
        EPOCH.bump()
        return change(self, *args, **kwargs)

    method.__name__, method.__doc__ = change.__name__, change.__doc__
    return method


class WatchedDict(dict[Any, Any]):
    """A dict whose every change moves the epoch."""

    __setitem__ = _bumping(dict.__setitem__)
    __delitem__ = _bumping(dict.__delitem__)
    __ior__ = _bumping(dict.__ior__)
    update = _bumping(dict.update)
    setdefault = _bumping(dict.setdefault)
    pop = _bumping(dict.pop)
    popitem = _bumping(dict.popitem)
    clear = _bumping(dict.clear)


class StateMap(WatchedDict):
    """Parameter -> its state; the state of a parameter that has none yet is made empty when it is asked for."""

    def __missing__(self, key: Any) -> dict[Any, Any]:
        made = WatchedDict()
        dict.__setitem__(self, key, made)
        return made


class ParamGroup(WatchedDict):
    """Parameters and the options they share.

    Where user code reads an option while a program is recorded, the program depends on it: the read is guarded. The
    optimizers of this package read numbers with `live` and structure with `flag` and `is_on` instead.
    """

    __hash__ = object.__hash__  # type: ignore[assignment]

    def __getitem__(self, key: Any) -> Any:
        if STATE.recorder is not None and isinstance(key, str) and self._is_plain(key):
            guard(self, key, self.fact(key))
        return dict.__getitem__(self, key)

    def get(self, key: Any, default: Any = None) -> Any:
        """The option under `key`, or `default`."""
        return self[key] if dict.__contains__(self, key) else default

    def _is_plain(self, key: str) -> bool:
        return key == "params" or isinstance(dict.get(self, key), bool | int | float | str | tuple | None)

    def fact(self, name: str) -> Any:
        """What holds now under a guarded name: an option, `"params"` (their identities) or `"option != 0"`."""
        if name == "params":
            return tuple(map(id, dict.__getitem__(self, "params")))
        if name.endswith(" != 0"):
            return bool(dict.get(self, name.removesuffix(" != 0"), 0) != 0)
        return dict.get(self, name)


def number(group: ParamGroup, key: Any) -> float:
    """The hyperparameter now, as a float; `key` is a name, or a name and a position such as `("betas", 0)`."""
    if isinstance(key, tuple):
        return float(dict.__getitem__(group, key[0])[key[1]])
    return float(dict.__getitem__(group, key))


def live(group: ParamGroup, key: Any) -> Any:
    """The hyperparameter as a 0-d float64 tensor, in a recorded program read anew at each run."""
    if STATE.recorder is not None:
        return STATE.recorder.live(group, key)
    return SLOTS.new_tensor(np.array(number(group, key)))


def flag(group: ParamGroup, key: str) -> bool:
    """A structural option (`nesterov`, `amsgrad`, ...); a recorded program depends on it."""
    return bool(guard(group, key, group.fact(key)))


def is_on(group: ParamGroup, key: str) -> bool:
    """Whether the number under `key` differs from zero; a recorded program depends on that, not on the number."""
    name = f"{key} != 0"
    return bool(guard(group, name, group.fact(name)))


def descent(group: ParamGroup, p: Any, grad: Any, decoupled: bool = False) -> tuple[Any, Any]:
    """`p` and the gradient to follow: turned round for `maximize`, with `weight_decay * p` added.

    With `decoupled`, or where the group says `decoupled_weight_decay`, `p` is shrunk by `lr * weight_decay` instead.
    """
    if flag(group, "maximize"):
        grad = -grad
    if not is_on(group, "weight_decay"):
        return p, grad
    decay = live(group, "weight_decay")
    if decoupled or flag(group, "decoupled_weight_decay"):
        return p * (1 - live(group, "lr") * decay), grad
    return p, grad + decay * p


def check_number(name: str, value: Any, low: float = 0.0) -> None:
    """Raises ArgumentError unless `value >= low` (NaN is refused too)."""
    if not value >= low:
        raise ArgumentError(f"Invalid {name}: {value}")


def check_rate(lr: Any) -> None:
    """Raises ArgumentError unless the learning rate is a number or a tensor of one element, and not negative."""
    if isinstance(lr, TensorBase) and math.prod(lr.shape) != 1:
        raise ArgumentError("Tensor lr must be 1-element")
    check_number("learning rate", lr)


def check_betas(betas: Any) -> None:
    """Raises ArgumentError unless both decay rates lie in [0, 1)."""
    for i, beta in enumerate(betas):
        if not 0.0 <= beta < 1.0:
            raise ArgumentError(f"Invalid beta parameter at index {i}: {beta}")


def plain_betas(betas: Any, lr: Any, foreach: Any, capturable: Any) -> tuple[float, ...]:
    """Adam's decay rates as floats, from floats or Tensors; ArgumentError for others, and for what PyTorch's ways exclude."""
    if not (all(isinstance(b, float) for b in betas) or all(isinstance(b, TensorBase) for b in betas)):
        raise ArgumentError("betas must be either both floats or both Tensors")
    for name, value in (("lr", lr), ("betas[0]", betas[0]), ("betas[1]", betas[1])):
        if isinstance(value, TensorBase) and foreach and not capturable:
            raise ArgumentError(f"{name} as a Tensor is not supported for capturable=False and foreach=True")
        if isinstance(value, TensorBase) and math.prod(value.shape) != 1:
            raise ArgumentError(f"Tensor {name} must be 1-element")
    return tuple(float(b) for b in betas)


def check_ways(fused: Any, foreach: Any, differentiable: Any) -> None:
    """Raises UnsupportedError where PyTorch's ways of computing a step exclude each other."""
    if fused and differentiable:
        raise UnsupportedError("`fused` does not support `differentiable`")
    if fused and foreach:
        raise UnsupportedError("`fused` and `foreach` cannot be `True` together.")
