"""GradScaler: a loss scaled up so that 16-bit gradients do not vanish, and steps skipped where they overflow."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from graphc.backends import device_count
from graphc.core.arrays import memory_of
from graphc.core.context import EPOCH, SLOTS, STATE, eagerly, guard, place, set_grad
from graphc.core.devices import kind_of_device
from graphc.core.errors import ArgumentError, GradientError
from graphc.core.tape import TensorBase
from graphc.core.tensor_types import float16, float32, float64
from graphc.functions.creation import full
from graphc.functions.elementary import isfinite
from graphc.functions.placing import on
from graphc.functions.promotion import cast_to
from graphc.optim.optimizer import Optimizer
from graphc.primitives.elementwise import logical_or, where

_READY, _UNSCALED, _STEPPED = "ready", "unscaled", "stepped"


class GradScaler:
    """Scales losses, unscales gradients, skips steps with gradients that are not finite, and adapts the scale.

    `scaler.scale(loss).backward(); scaler.step(optimizer); scaler.update()`. The scale is a tensor: a compiled step reads it
    and writes it like any other, and a skipped step is one that writes what was there before. Eager code on the CPU looks at
    the number; on a device nothing waits for it. Optimizers that override `step` are asked for the number in any case.
    With `enabled=False` every method passes through. Errors are PyTorch's.
    """

    def __init__(
        self,
        device: str = "cuda",
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ):
        self._device = device
        self._enabled = enabled
        if enabled and device != "cpu" and not device_count(kind_of_device(device)):
            warnings.warn(f"GradScaler is enabled, but {device} is not available.  Disabling.", stacklevel=2)
            self._enabled = False
        if self._enabled:
            assert growth_factor > 1.0, "The growth factor must be > 1.0."
            assert backoff_factor < 1.0, "The backoff factor must be < 1.0."
        self._init_scale = init_scale
        self._growth_factor, self._backoff_factor, self._growth_interval = (
            growth_factor,
            backoff_factor,
            growth_interval,
        )
        self._init_growth_tracker = 0
        #: the scale, f32[], and the steps since it changed last, i32[]
        self._scale: Any = None
        self._growth_tracker: Any = None
        #: per optimizer since the last update: its stage, and whether a gradient is not finite, bool[]
        self._stages: dict[int, tuple[str, Any]] = {}

    def _need_scale(self, what: str) -> Any:
        assert self._scale is not None, (
            f"Attempted {what} but _scale is None.  This may indicate your script did not use scaler.scale(loss or outputs) "
            "earlier in the iteration."
        )
        return self._scale

    def _make(self, like: Any) -> None:
        """The scale and its tracker, on the device of what is scaled."""
        with eagerly(), set_grad(False):
            numbers = np.array(self._init_scale, np.float32), np.array(self._init_growth_tracker, np.int32)
            memory = place(self._device) if like.is_symbolic else memory_of(like._data)
            self._scale, self._growth_tracker = (on(SLOTS.new_tensor(n), memory) for n in numbers)

    def scale(self, outputs: Any) -> Any:
        """A tensor, or a nest of tensors, times the scale."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, TensorBase):
            if self._scale is None:
                self._make(outputs)
            return outputs * cast_to(self._scale, outputs.dtype if outputs.dtype is float64 else float32)
        if isinstance(outputs, list | tuple):
            return type(outputs)([self.scale(x) for x in outputs])
        if hasattr(outputs, "__iter__"):
            return map(self.scale, outputs)
        raise ArgumentError("outputs must be a Tensor or an iterable of Tensors")

    def unscale_(self, optimizer: Any) -> None:
        """Divides the optimizer's gradients by the scale, in place, and notes whether all are finite; `step` then need not."""
        if not self._enabled:
            return
        scale = self._need_scale("unscale_")
        stage, _ = self._stages.get(id(optimizer), (_READY, None))
        if stage == _UNSCALED:
            raise GradientError("unscale_() has already been called on this optimizer since the last update().")
        if stage == _STEPPED:
            raise GradientError("unscale_() is being called after step().")
        self._stages[id(optimizer)] = (_UNSCALED, self._unscale(optimizer, scale))

    def _unscale(self, optimizer: Any, scale: Any) -> Any:
        found = None
        with set_grad(False):
            inverse = cast_to(cast_to(scale, float64).reciprocal(), float32)
            for group in optimizer.param_groups:
                for p in group["params"]:
                    grad = p.grad
                    if grad is None:
                        continue
                    if grad.dtype is float16:
                        raise ArgumentError("Attempting to unscale FP16 gradients.")
                    bad = isfinite(grad).logical_not().any()
                    found = bad if found is None else logical_or(found, bad)
                    grad.mul_(inverse)
        return found

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """Unscales the gradients unless that is done, and calls `optimizer.step` unless one of them is not finite."""
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise GradientError("Closure use is not currently supported if GradScaler is enabled.")
        scale = self._need_scale("step")
        stage, found = self._stages.get(id(optimizer), (_READY, None))
        if stage == _STEPPED:
            raise GradientError("step() has already been called since the last update().")
        if stage == _READY:
            found = self._unscale(optimizer, scale)
        assert found is not None, "No inf checks were recorded for this optimizer."
        self._stages[id(optimizer)] = (_STEPPED, found)
        if type(optimizer).step is not Optimizer.step or (STATE.recorder is None and memory_of(found._data) is None):
            return None if found.item() else optimizer.step(*args, **kwargs)
        optimizer.found_inf = found
        try:
            return optimizer.step(*args, **kwargs)
        finally:
            optimizer.found_inf = None

    def update(self, new_scale: Any = None) -> None:
        """Shrinks the scale if a step was skipped since the last update, else lets it grow every `growth_interval` times."""
        if not self._enabled:
            return
        scale = self._need_scale("update")
        with set_grad(False):
            if new_scale is not None:
                scale.copy_(new_scale if isinstance(new_scale, TensorBase) else full((), float(new_scale)))
            else:
                self._adapt(scale, self._growth_tracker)
        self._stages.clear()

    def _adapt(self, scale: Any, tracker: Any) -> None:
        found = None
        for _, bad in self._stages.values():
            if bad is not None:
                found = bad if found is None else logical_or(found, bad)
        assert found is not None, "No inf checks were recorded prior to update."
        growth = guard(self, "get_growth_factor", self._growth_factor)
        backoff = guard(self, "get_backoff_factor", self._backoff_factor)
        interval = guard(self, "get_growth_interval", self._growth_interval)
        steps = tracker + 1
        grown = scale * growth
        is_due = steps == interval
        larger = where(is_due.logical_and(isfinite(grown)), grown, scale * 1)
        scale.copy_(where(found, scale * backoff, larger))
        tracker.copy_(where(logical_or(found, is_due), tracker * 0, steps))

    def get_scale(self) -> float:
        """The scale as a number; 1.0 where scaling is off."""
        if not self._enabled:
            return 1.0
        return float(self._init_scale if self._scale is None else self._scale.item())

    def get_growth_factor(self) -> float:
        """What the scale is multiplied by when it grows."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """Sets what the scale is multiplied by when it grows."""
        self._growth_factor = new_factor
        EPOCH.bump()

    def get_backoff_factor(self) -> float:
        """What the scale is multiplied by after a skipped step."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """Sets what the scale is multiplied by after a skipped step."""
        self._backoff_factor = new_factor
        EPOCH.bump()

    def get_growth_interval(self) -> int:
        """After how many steps without a skipped one the scale grows."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """Sets after how many steps without a skipped one the scale grows."""
        self._growth_interval = new_interval
        EPOCH.bump()

    def is_enabled(self) -> bool:
        """Whether it scales at all."""
        return self._enabled

    def state_dict(self) -> dict[str, Any]:
        """The scale, its factors and its tracker as numbers; empty where scaling is off."""
        if not self._enabled:
            return {}
        tracker = self._init_growth_tracker if self._growth_tracker is None else int(self._growth_tracker.item())
        return {
            "scale": self.get_scale(),
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": tracker,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over what `state_dict` gave. GradientError for an empty one, which a scaler that is off has saved."""
        if not self._enabled:
            return
        if not state_dict:
            raise GradientError(
                "The source state dict is empty, possibly because it was saved from a disabled instance of GradScaler."
            )
        self._init_scale = state_dict["scale"]
        self._growth_factor = state_dict["growth_factor"]
        self._backoff_factor = state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]
        self._init_growth_tracker = state_dict["_growth_tracker"]
        EPOCH.bump()
        if self._scale is not None:
            with eagerly(), set_grad(False):
                self._scale.fill_(self._init_scale)
                self._growth_tracker.fill_(self._init_growth_tracker)


__all__ = ["GradScaler"]
