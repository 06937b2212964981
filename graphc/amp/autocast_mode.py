"""Autocast's switches under PyTorch's names. What they do is in `core/autocast.py` and `functions/casting.py`."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

from graphc.backends import device_count
from graphc.core.autocast import DEFAULTS, switch
from graphc.core.context import STATE
from graphc.core.devices import kind_of_device
from graphc.core.errors import ArgumentError, BackendError
from graphc.core.tape import TensorBase
from graphc.core.tensor_types import FLOAT, DType, bfloat16, float16, float64
from graphc.functions.casting import CACHE
from graphc.functions.promotion import cast_to

_HALVES = (bfloat16, float16)


def _check(device_type: Any) -> str:
    if not isinstance(device_type, str):
        raise ArgumentError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
    if device_type not in DEFAULTS:
        raise BackendError(
            f"User specified an unsupported autocast device_type '{device_type}': graphc has {', '.join(DEFAULTS)}"
        )
    return kind_of_device(device_type)


class autocast:  # noqa: N801
    """Within, products and convolutions are computed in `dtype`, and losses and what else needs it in float32.

    A context manager and a decorator. `device_type`: "cpu", "cuda" or "opencl", whose tensors are meant; `dtype` None: bfloat16
    on the CPU, float16 elsewhere. `cache_enabled`: a parameter is cast once per context. Which functions do what is PyTorch's
    list for the CPU, and its list for CUDA on devices. float64 stays as it is. Gradients have the dtypes of their tensors.
    """

    def __init__(
        self, device_type: str, dtype: DType | None = None, enabled: bool = True, cache_enabled: bool | None = None
    ):
        self.kind = _check(device_type)
        self.device = device_type
        self.fast_dtype = get_autocast_dtype(device_type) if dtype is None else dtype
        self._enabled = bool(enabled)
        self._cache_enabled = CACHE.on if cache_enabled is None else cache_enabled
        if self._enabled and self.kind != "cpu" and not device_count(self.kind):
            warnings.warn(f"User provided device_type of '{device_type}', but there is none. Disabling", stacklevel=2)
            self._enabled = False
        elif self._enabled and self.fast_dtype not in _HALVES:
            warnings.warn(
                f"In {device_type.upper()} autocast, but the target dtype is not supported. Disabling autocast.\n"
                f"{device_type.upper()} Autocast only supports dtype of torch.bfloat16, torch.float16 currently.",
                stacklevel=2,
            )
            self._enabled = False
        self._before: list[Any] = []

    def __enter__(self) -> Any:
        dtypes = _dtypes()
        self._before.append((STATE.autocast, dtypes.get(self.kind), CACHE.on))
        switch(self.kind, self.fast_dtype if self._enabled else None)
        dtypes[self.kind] = self.fast_dtype
        CACHE.on = self._cache_enabled
        CACHE.depth += 1
        return self

    def __exit__(self, *_: object) -> None:
        STATE.autocast, dtype, CACHE.on = self._before.pop()
        if dtype is None:
            _dtypes().pop(self.kind, None)
        else:
            _dtypes()[self.kind] = dtype
        CACHE.depth -= 1
        if not CACHE.depth:
            CACHE.made.clear()

    def __call__(self, func: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(func)
        def call(*args: Any, **kwargs: Any) -> Any:
            with self:
                return func(*args, **kwargs)

        return call


def _dtypes() -> dict[str, DType]:
    """What this thread has set for kinds of devices instead of `DEFAULTS`."""
    found: dict[str, DType] = CACHE.dtypes
    return found


def is_autocast_available(device_type: str) -> bool:
    """Whether autocast knows devices of that kind."""
    return device_type in DEFAULTS


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Whether this thread computes in a lower precision on that kind of device."""
    state = STATE.autocast
    return state is not None and state.dtype(_check(device_type)) is not None


def set_autocast_enabled(device_type: Any, enabled: Any = None) -> None:
    """Switches autocast on or off for this thread; with one argument, for CUDA."""
    if enabled is None:
        device_type, enabled = "cuda", device_type
    switch(_check(device_type), get_autocast_dtype(device_type) if enabled else None)


def get_autocast_dtype(device_type: str) -> DType:
    """The lower precision on that kind of device."""
    kind = _check(device_type)
    return _dtypes().get(kind, DEFAULTS[kind])


def set_autocast_dtype(device_type: str, dtype: DType) -> None:
    """Sets the lower precision on that kind of device for this thread."""
    kind = _check(device_type)
    _dtypes()[kind] = dtype
    if is_autocast_enabled(device_type):
        switch(kind, dtype)


def is_autocast_cpu_enabled() -> bool:
    """Whether this thread computes in a lower precision on the CPU."""
    return is_autocast_enabled("cpu")


def get_autocast_cpu_dtype() -> DType:
    """The lower precision on the CPU."""
    return get_autocast_dtype("cpu")


def get_autocast_gpu_dtype() -> DType:
    """The lower precision on CUDA devices."""
    return get_autocast_dtype("cuda")


def is_autocast_cache_enabled() -> bool:
    """Whether a parameter is cast once per context."""
    return CACHE.on


def set_autocast_cache_enabled(enabled: bool) -> None:
    """Sets whether a parameter is cast once per context."""
    CACHE.on = bool(enabled)


def clear_autocast_cache() -> None:
    """Forgets the casts of parameters made so far."""
    CACHE.made.clear()


def custom_fwd(
    fwd: Callable[..., Any] | None = None, *, device_type: str, cast_inputs: DType | None = None
) -> Callable[..., Any]:
    """Decorates a `Function.forward`: it runs without autocast on operands in `cast_inputs`, or with it, if None is given."""
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)
    kind = _check(device_type)

    @functools.wraps(fwd)
    def call(*args: Any, **kwargs: Any) -> Any:
        ctx = args[0]
        ctx._dtype = get_autocast_dtype(device_type)
        ctx._fwd_used_autocast = is_autocast_enabled(device_type)
        if cast_inputs is None or not ctx._fwd_used_autocast:
            return fwd(*args, **kwargs)
        ctx._fwd_used_autocast = False
        before = switch(kind, None)
        try:
            return fwd(*_in_dtype(args, cast_inputs), **{k: _in_dtype(v, cast_inputs) for k, v in kwargs.items()})
        finally:
            STATE.autocast = before

    return call


def _in_dtype(x: Any, dtype: DType) -> Any:
    """A nest with its floating tensors, float64 aside, in a dtype."""
    if isinstance(x, TensorBase):
        return cast_to(x, dtype) if x.dtype.category == FLOAT and x.dtype is not float64 else x
    if isinstance(x, dict):
        return {key: _in_dtype(value, dtype) for key, value in x.items()}
    return type(x)([_in_dtype(item, dtype) for item in x]) if type(x) in (list, tuple) else x


def custom_bwd(bwd: Callable[..., Any] | None = None, *, device_type: str) -> Callable[..., Any]:
    """Decorates a `Function.backward`: it runs with the autocast that its decorated forward ran with."""
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)
    kind = _check(device_type)

    @functools.wraps(bwd)
    def call(*args: Any, **kwargs: Any) -> Any:
        before = switch(kind, args[0]._dtype if args[0]._fwd_used_autocast else None)
        try:
            return bwd(*args, **kwargs)
        finally:
            STATE.autocast = before

    return call


#: The switches that stand in PyTorch's top namespace.
SWITCHES = (
    "clear_autocast_cache", "get_autocast_cpu_dtype", "get_autocast_dtype", "get_autocast_gpu_dtype",
    "is_autocast_cache_enabled", "is_autocast_cpu_enabled", "is_autocast_enabled", "set_autocast_cache_enabled",
    "set_autocast_dtype", "set_autocast_enabled",
)  # fmt: skip
__all__ = ["autocast", "custom_bwd", "custom_fwd", "is_autocast_available", *SWITCHES]
