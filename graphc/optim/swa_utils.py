"""Averages of models over training: stochastic weight averaging (arXiv:1803.05407) and exponential moving averages."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

from graphc.core.context import STATE, set_grad
from graphc.core.errors import ArgumentError, UnsupportedError
from graphc.core.tensor_types import int64
from graphc.functions.comparisons import where
from graphc.functions.creation import scalar_tensor
from graphc.functions.promotion import cast_to
from graphc.nn.modules.batchnorm import _BatchNorm
from graphc.nn.modules.module import Module
from graphc.optim.optimizer import Optimizer
from graphc.optim.schedules import LRScheduler, per_group


def get_ema_avg_fn(decay: float = 0.999) -> Callable[..., Any]:
    """A function of (average, newest, how many so far) that gives decay * average + (1 - decay) * newest.

    Raises ArgumentError unless 0 <= decay <= 1.
    """
    _check_decay(decay)

    def ema_update(ema_param: Any, current_param: Any, num_averaged: Any) -> Any:
        with set_grad(False):
            return decay * ema_param + (1 - decay) * current_param

    return ema_update


def get_swa_avg_fn() -> Callable[..., Any]:
    """A function of (average, newest, how many so far) that gives the mean of all so far and the newest."""

    def swa_update(averaged_param: Any, current_param: Any, num_averaged: Any) -> Any:
        with set_grad(False):
            return averaged_param + (current_param - averaged_param) / (num_averaged + 1)

    return swa_update


def get_ema_multi_avg_fn(decay: float = 0.999) -> Callable[..., None]:
    """`get_ema_avg_fn` for lists of tensors, whose first is written."""
    return _for_lists(get_ema_avg_fn(decay))


def get_swa_multi_avg_fn() -> Callable[..., None]:
    """`get_swa_avg_fn` for lists of tensors, whose first is written."""
    return _for_lists(get_swa_avg_fn())


def _check_decay(decay: float) -> None:
    if not 0.0 <= decay <= 1.0:
        raise ArgumentError(f"Invalid decay value {decay} provided. Please provide a value in [0,1] range.")


def _for_lists(average: Callable[..., Any]) -> Callable[..., None]:
    def update(averaged: Sequence[Any], current: Sequence[Any], num_averaged: Any) -> None:
        with set_grad(False):
            for mean, newest in zip(averaged, current, strict=True):
                mean.copy_(cast_to(average(mean, newest, num_averaged), mean.dtype))

    return update


class AveragedModel(Module):
    """A copy of `model` that holds a running average of its parameters, as `torch.optim.swa_utils.AveragedModel`.

    `update_parameters(model)` takes the present ones in: by `avg_fn(average, newest, n)`, by `multi_avg_fn` for lists, or
    as an equally weighted mean. Buffers are averaged with `use_buffers`, else copied. Raises UnsupportedError (an
    AssertionError) where both functions are given.
    """

    def __init__(
        self,
        model: Any,
        device: Any = None,
        avg_fn: Callable[..., Any] | None = None,
        multi_avg_fn: Callable[..., None] | None = None,
        use_buffers: bool = False,
    ):
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise UnsupportedError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = copy.deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", scalar_tensor(0, dtype=int64, device=device))
        self.avg_fn, self.multi_avg_fn, self.use_buffers = avg_fn, multi_avg_fn, use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the averaged model gives."""
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Any) -> None:
        """Takes the present parameters of `model` into the average; the first ones are copied."""
        mine, its = self.module.parameters(), model.parameters()
        if self.use_buffers:
            mine, its = chain(mine, self.module.buffers()), chain(its, model.buffers())
        averaged = [p.detach() for p in mine]
        newest = [p.detach().to(mean.device) for mean, p in zip(averaged, its, strict=False)]
        with set_grad(False):
            self._update(averaged[: len(newest)], newest)
            if not self.use_buffers:
                for mine_, its_ in zip(self.module.buffers(), model.buffers(), strict=True):
                    mine_.detach().copy_(its_.detach().to(mine_.device))
            self.n_averaged += 1

    def _update(self, averaged: list[Any], newest: list[Any]) -> None:
        first = self.n_averaged == 0
        recorded = STATE.recorder is not None  # then only a run knows whether it is the first
        if recorded or not first:
            self._take_in(averaged, newest)
        if recorded or first:
            for mean, p in zip(averaged, newest, strict=True):
                mean.copy_(where(first.to(mean.device), p, mean) if recorded else p)

    def _take_in(self, averaged: list[Any], newest: list[Any]) -> None:
        """The averages of tensors of one dtype and device go to a function for lists at once."""
        update = self.multi_avg_fn or _for_lists(self.avg_fn or get_swa_avg_fn())
        kinds: dict[Any, tuple[list[Any], list[Any]]] = {}
        for mean, p in zip(averaged, newest, strict=True):
            means, params = kinds.setdefault((mean.device, mean.dtype), ([], []))
            means.append(mean)
            params.append(p)
        for (device, _), (means, params) in kinds.items():
            update(means, params, self.n_averaged.to(device))


def update_bn(loader: Iterable[Any], model: Any, device: Any = None) -> None:
    """Sets the running statistics of batch normalisation to the means over all batches of `loader`.

    A batch is the model's input, or a list or tuple that begins with it.
    """
    momenta = {module: module.momentum for module in model.modules() if isinstance(module, _BatchNorm)}
    if not momenta:
        return
    was_training = model.training
    model.train()
    for module in momenta:
        module.reset_running_stats()
        module.momentum = None  # a cumulative mean
    with set_grad(False):
        for batch in loader:
            x = batch[0] if isinstance(batch, list | tuple) else batch
            model(x if device is None else x.to(device))
    for module, momentum in momenta.items():
        module.momentum = momentum
    model.train(was_training)


class SWALR(LRScheduler):
    """From the present rate to `swa_lr` in `anneal_epochs` epochs, along a cosine or a line, then constant.

    Raises ArgumentError for an unknown `anneal_strategy` ("cos", "linear") and for a negative length.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: Any,
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ):
        for rate, group in zip(per_group(optimizer, swa_lr, "swa_lr"), optimizer.param_groups, strict=True):
            group["swa_lr"] = rate
        if anneal_strategy not in ("cos", "linear"):
            raise ArgumentError(f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}")
        self._anneal_strategy = anneal_strategy
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ArgumentError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        self.anneal_epochs = anneal_epochs
        super().__init__(optimizer, last_epoch)

    def anneal_func(self, t: float) -> float:
        """How much of the way is done when the share `t` of the time is."""
        return (1 - math.cos(math.pi * t)) / 2 if self._anneal_strategy == "cos" else t

    def get_lr(self) -> list[Any]:
        """The rates of this step: what the present ones began from, moved on."""
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = (self.anneal_func(max(0, min(1, s / max(1, self.anneal_epochs)))) for s in (step - 1, step))
        rates = []
        for group in self.optimizer.param_groups:
            lr, end = group["lr"], group["swa_lr"]
            start = end if before == 1 else (lr - before * end) / (1 - before)
            rates.append(end * now + start * (1 - now))
        return rates


__all__ = [
    "SWALR", "AveragedModel", "get_ema_avg_fn", "get_ema_multi_avg_fn", "get_swa_avg_fn", "get_swa_multi_avg_fn", "update_bn",
]  # fmt: skip
