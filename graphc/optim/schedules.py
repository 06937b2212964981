"""The base of learning-rate schedules and those that follow one formula.

A schedule changes `group["lr"]` of its optimizer; compiled steps and sessions read that anew at each run. Most are
chainable: `get_lr` derives the next rate from the present one, so that several may act on one optimizer; `_get_closed_form_lr`
gives the rate of an epoch directly, for `step(epoch)`.
"""

from __future__ import annotations

import math
import warnings
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from graphc.core.context import STATE
from graphc.core.errors import ArgumentError, ArgumentTypeError
from graphc.core.tape import TensorBase
from graphc.optim.optimizer import Optimizer


def own_value(rate: Any) -> Any:
    """A rate of its own: numbers as they are, tensors copied."""
    return rate.clone() if isinstance(rate, TensorBase) else rate  # type: ignore[attr-defined]


def set_option(group: Any, key: str, value: Any) -> None:
    """Gives a group's option a new value; a tensor is filled in place."""
    if isinstance(group[key], TensorBase):
        group[key].fill_(float(value))
    else:
        group[key] = value


class LRScheduler:
    """Base of the schedules: `step()` once an epoch (or batch) sets the learning rate of each group.

    `last_epoch`: -1 to start anew, else the epoch to resume from (groups must then have `initial_lr`, KeyError
    otherwise).
    """

    _get_lr_called_within_step = _is_initial = False

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1):
        self.optimizer = checked_optimizer(optimizer)
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", own_value(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(f"param 'initial_lr' is not specified in param_groups[{i}] when resuming an optimizer")
        self.base_lrs: list[Any] = [own_value(group["initial_lr"]) for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._step_count = 0
        self._initial_step()

    def _initial_step(self) -> None:
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    def get_last_lr(self) -> list[Any]:
        """The rates set last, one a group."""
        return self._last_lr

    def get_lr(self) -> list[Any]:
        """The rates for `last_epoch`, from those of the epoch before."""
        raise NotImplementedError(f"{type(self).__name__} defines no get_lr()")

    def _get_closed_form_lr(self) -> list[Any]:
        """The rates for `last_epoch`, from the base rates; the chainable form where a schedule has no other."""
        return self.get_lr()

    def step(self, epoch: int | None = None) -> None:
        """Moves to the next epoch (or to `epoch`) and sets the rates."""
        if self._step_count == 1 and not self.optimizer._opt_called:
            warnings.warn(
                "Detected call of `lr_scheduler.step()` before `optimizer.step()`: the first value of the learning "
                "rate schedule is skipped. Call `optimizer.step()` before `lr_scheduler.step()`.",
                stacklevel=2,
            )
        self._step_count += 1
        self._update_lr(epoch)

    def _update_lr(self, epoch: int | None = None) -> None:
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        self._apply(self.get_lr if epoch is None else self._get_closed_form_lr)

    def _apply(self, rates: Callable[[], Sequence[Any]]) -> None:
        """Sets what `rates` gives; user code finds out by `_get_lr_called_within_step` that it is asked for from here."""
        if STATE.recorder is not None and not self._is_initial:
            hint = "call it outside, after the compiled step: the rates are read anew at each call"
            STATE.recorder.not_replayed(f"{type(self).__name__}.step()", hint)
        self._get_lr_called_within_step = True
        try:
            found = rates()
        finally:
            self._get_lr_called_within_step = False
        for group, rate in zip(self.optimizer.param_groups, found, strict=True):
            set_option(group, "lr", rate)
        self._last_lr = [own_value(group["lr"]) for group in self.optimizer.param_groups]

    def _present(self) -> list[Any]:
        return [own_value(group["lr"]) for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer."""
        return {key: value for key, value in self.__dict__.items() if key != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over what `state_dict()` gave."""
        self.__dict__.update(state_dict)


def per_group(optimizer: Optimizer, value: Any, name: str) -> list[Any]:
    """One value a group, from one for all or a list; ArgumentError where the list has another length."""
    groups = optimizer.param_groups
    values = list(value) if isinstance(value, list | tuple) else [value] * len(groups)
    if len(values) != len(groups):
        raise ArgumentError(
            f"{name} must have the same length as optimizer.param_groups: {len(groups)}, got {len(values)}"
        )
    return [own_value(x) for x in values]


def saved_function(function: Any) -> dict[str, Any] | None:
    """What a state dict holds of a function: the attributes of a callable object, None for a plain one."""
    return None if function is None or isinstance(function, type(own_value)) else dict(function.__dict__)


def load_function(function: Any, saved: dict[str, Any] | None) -> None:
    """Gives a callable object the attributes that `saved_function` gave."""
    if saved is not None:
        function.__dict__.update(saved)


def checked_optimizer(optimizer: Any) -> Optimizer:
    """`optimizer`; ArgumentTypeError if it is none."""
    if not isinstance(optimizer, Optimizer):
        raise ArgumentTypeError(f"{type(optimizer).__name__} is not an Optimizer")
    return optimizer


class _Ratio(LRScheduler):
    """A schedule that multiplies each rate by `_ratio()` at each epoch."""

    def _ratio(self) -> float:
        raise ArgumentError(f"{type(self).__name__} defines no _ratio()")

    def get_lr(self) -> list[Any]:
        """The present rates times the ratio of this epoch."""
        ratio = self._ratio()
        return [rate * ratio for rate in self._present()]

    def _scaled(self, factor: float) -> list[Any]:
        return [base * factor for base in self.base_lrs]


class _Lambdas(LRScheduler):
    """Keeps one function a group; functions are not saved, callable objects save their attributes."""

    def __init__(self, optimizer: Optimizer, lr_lambda: Any, last_epoch: int = -1):
        groups = checked_optimizer(optimizer).param_groups
        given = list(lr_lambda) if isinstance(lr_lambda, list | tuple) else [lr_lambda] * len(groups)
        if len(given) != len(groups):
            raise ArgumentError(f"Expected {len(groups)} lr_lambdas, but got {len(given)}")
        self.lr_lambdas: list[Any] = given
        super().__init__(optimizer, last_epoch)

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer and plain functions."""
        saved = {key: value for key, value in self.__dict__.items() if key not in ("optimizer", "lr_lambdas")}
        return saved | {"lr_lambdas": [saved_function(f) for f in self.lr_lambdas]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over what `state_dict()` gave; plain functions stay as they are."""
        self.__dict__.update({key: value for key, value in state_dict.items() if key != "lr_lambdas"})
        for function, saved in zip(self.lr_lambdas, state_dict["lr_lambdas"], strict=True):
            load_function(function, saved)


class LambdaLR(_Lambdas):
    """base_lr * lr_lambda(epoch); one function, or a list of one a group."""

    def get_lr(self) -> list[Any]:
        """The rates of this epoch."""
        return [base * f(self.last_epoch) for base, f in zip(self.base_lrs, self.lr_lambdas, strict=True)]


class MultiplicativeLR(_Lambdas):
    """lr *= lr_lambda(epoch) at every epoch after the first."""

    def get_lr(self) -> list[Any]:
        """The rates of this epoch."""
        if self._is_initial:
            return self._present()
        return [rate * f(self.last_epoch) for rate, f in zip(self._present(), self.lr_lambdas, strict=True)]


class StepLR(_Ratio):
    """lr *= gamma every `step_size` epochs."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1):
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def _ratio(self) -> float:
        return self.gamma if self.last_epoch and self.last_epoch % self.step_size == 0 else 1.0

    def _get_closed_form_lr(self) -> list[Any]:
        return self._scaled(self.gamma ** (self.last_epoch // self.step_size))


class MultiStepLR(_Ratio):
    """lr *= gamma at each of the `milestones` (epochs; one named twice counts twice)."""

    def __init__(self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1):
        self.milestones, self.gamma = Counter(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def _ratio(self) -> float:
        return self.gamma ** self.milestones[self.last_epoch] if self.last_epoch in self.milestones else 1.0

    def _get_closed_form_lr(self) -> list[Any]:
        return self._scaled(self.gamma ** bisect_right(sorted(self.milestones.elements()), self.last_epoch))


class ExponentialLR(_Ratio):
    """lr *= gamma every epoch."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1):
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _ratio(self) -> float:
        return 1.0 if self._is_initial else self.gamma

    def _get_closed_form_lr(self) -> list[Any]:
        return self._scaled(self.gamma**self.last_epoch)


class ConstantLR(_Ratio):
    """lr * factor for the first `total_iters` epochs, lr afterwards; ArgumentError unless 0 <= factor <= 1."""

    def __init__(self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5, last_epoch: int = -1):
        if not 0 <= factor <= 1:
            raise ArgumentError("Constant multiplicative factor expected to be between 0 and 1.")
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def _ratio(self) -> float:
        if self.last_epoch == 0:
            return self.factor
        return 1.0 / self.factor if self.last_epoch == self.total_iters else 1.0

    def _get_closed_form_lr(self) -> list[Any]:
        return self._scaled(1.0 if self.last_epoch >= self.total_iters else self.factor)


class LinearLR(_Ratio):
    """lr times a factor that goes from `start_factor` to `end_factor` over `total_iters` epochs.

    Raises ArgumentError unless 0 < start_factor <= 1 and 0 <= end_factor <= 1.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ):
        if not 0 < start_factor <= 1:
            raise ArgumentError("Starting multiplicative factor expected to be greater than 0 and less or equal to 1.")
        if not 0 <= end_factor <= 1:
            raise ArgumentError("Ending multiplicative factor expected to be between 0 and 1.")
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def _ratio(self) -> float:
        if self.last_epoch == 0:
            return self.start_factor
        if self._is_initial or self.last_epoch > self.total_iters:
            return 1.0
        rise = self.end_factor - self.start_factor
        return 1.0 + rise / (self.total_iters * self.start_factor + (self.last_epoch - 1) * rise)

    def _get_closed_form_lr(self) -> list[Any]:
        done = min(self.total_iters, self.last_epoch) / self.total_iters
        return self._scaled(self.start_factor + (self.end_factor - self.start_factor) * done)


class PolynomialLR(_Ratio):
    """base_lr * (1 - epoch / total_iters) ** power, zero from `total_iters` on."""

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1):
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer, last_epoch)

    def _ratio(self) -> float:
        if self._is_initial or self.last_epoch > self.total_iters:
            return 1.0
        left = (1.0 - self.last_epoch / self.total_iters) / (1.0 - (self.last_epoch - 1) / self.total_iters)
        return float(left**self.power)

    def _get_closed_form_lr(self) -> list[Any]:
        return self._scaled((1.0 - min(self.total_iters, self.last_epoch) / self.total_iters) ** self.power)


class CosineAnnealingLR(LRScheduler):
    """From base_lr down to `eta_min` along half a cosine in `T_max` epochs (SGDR, arXiv:1608.03983)."""

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1):  # noqa: N803
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def _cosine(self, epoch: int) -> float:
        return 1 + math.cos(math.pi * epoch / self.T_max)

    def get_lr(self) -> list[Any]:
        """The rates of this epoch, from the present ones by the ratio of two cosines."""
        epoch, low, rates = self.last_epoch, self.eta_min, self._present()
        if self._is_initial:
            return rates
        if self._step_count == 1 and epoch > 0:
            return self._get_closed_form_lr()
        if (epoch - 1 - self.T_max) % (2 * self.T_max) == 0:  # the turning point, where the ratio would be 0 / 0
            rise = (1 - math.cos(math.pi / self.T_max)) / 2
            return [rate + (base - low) * rise for rate, base in zip(rates, self.base_lrs, strict=True)]
        ratio = self._cosine(epoch) / self._cosine(epoch - 1)
        return [ratio * (rate - low) + low for rate in rates]

    def _get_closed_form_lr(self) -> list[Any]:
        return [self.eta_min + (base - self.eta_min) * self._cosine(self.last_epoch) / 2 for base in self.base_lrs]


class CosineAnnealingWarmRestarts(LRScheduler):
    """Half cosines of `T_0`, `T_0 * T_mult`, ... epochs, each starting at base_lr again (SGDR, arXiv:1608.03983).

    `step(epoch)` takes fractions too. Raises ArgumentError unless T_0 > 0 and T_mult >= 1 are ints and eta_min a
    number.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_0: int,  # noqa: N803
        T_mult: int = 1,  # noqa: N803
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ):
        if T_0 <= 0 or not isinstance(T_0, int):
            raise ArgumentError(f"Expected positive integer T_0, but got {T_0}")
        if T_mult < 1 or not isinstance(T_mult, int):
            raise ArgumentError(f"Expected integer T_mult >= 1, but got {T_mult}")
        if not isinstance(eta_min, float | int):
            raise ArgumentError(f"Expected float or int eta_min, but got {eta_min} of type {type(eta_min)}")
        self.T_0, self.T_i, self.T_mult, self.eta_min = T_0, T_0, T_mult, eta_min
        self.T_cur: float = last_epoch
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        """The rates at `T_cur` epochs into a cycle of `T_i`."""
        fall = 1 + math.cos(math.pi * self.T_cur / self.T_i)
        return [self.eta_min + (base - self.eta_min) * fall / 2 for base in self.base_lrs]

    def step(self, epoch: float | None = None) -> None:
        """Moves on by one epoch, or to `epoch` (a float for a part of one); ArgumentError if that is negative."""
        if epoch is None and self.last_epoch < 0:
            epoch = 0
        if epoch is None:
            epoch = self.last_epoch + 1
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur -= self.T_i
                self.T_i *= self.T_mult
        elif epoch < 0:
            raise ArgumentError(f"Expected non-negative epoch, but got {epoch}")
        else:
            self._locate(epoch)
        self.last_epoch = math.floor(epoch)
        self._apply(self.get_lr)

    def _locate(self, epoch: float) -> None:
        """Finds the cycle an epoch lies in: cycle n starts at T_0 (T_mult^n - 1) / (T_mult - 1)."""
        if epoch < self.T_0:
            self.T_i, self.T_cur = self.T_0, epoch
        elif self.T_mult == 1:
            self.T_i, self.T_cur = self.T_0, epoch % self.T_0
        else:
            n = int(math.log(epoch / self.T_0 * (self.T_mult - 1) + 1, self.T_mult))
            self.T_cur = epoch - self.T_0 * (self.T_mult**n - 1) / (self.T_mult - 1)
            self.T_i = self.T_0 * self.T_mult**n
