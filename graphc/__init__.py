"""graphc: one model, two ways to run it. Define-by-run with PyTorch's API, define-and-run with graphs, one compiler.

import graphc as gc                 # or: import graphc as torch
fast_step = gc.compile(step)        # the same function, traced once and replayed
"""

from __future__ import annotations

from math import e, inf, nan, pi  # noqa: F401
from typing import Any

from graphc import eager as _eager  # noqa: F401  opens the eager door
from graphc import errors
from graphc.core.config import config
from graphc.core.context import EPOCH as _EPOCH
from graphc.core.context import SLOTS as _SLOTS
from graphc.core.context import eagerly, get_default_device, set_default_device
from graphc.core.devices import Device as device  # noqa: N813
from graphc.core.dims import Dim
from graphc.core.errors import OutOfMemoryError
from graphc.core.lazy import lazy_attributes, lazy_import
from graphc.core.tensor_types import (
    DType as dtype,  # noqa: N813
)
from graphc.core.tensor_types import (
    bfloat16,
    bool_,
    defaults,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
)
from graphc.grad_mode import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from graphc.printing import set_printoptions
from graphc.tensors import FUNCTION_FILES, LEGACY_CONSTRUCTORS, Tensor
from graphc.tensors import TensorSize as Size
from graphc.version import __version__

bool = bool_
half, float, double = float16, float32, float64
short, int, long = int16, int32, int64
strided, contiguous_format, preserve_format, channels_last = (
    "strided",
    "contiguous_format",
    "preserve_format",
    "channels_last",
)
newaxis = None

for _file in FUNCTION_FILES:
    for _name in getattr(_file, "__all__", ()):
        globals()[_name] = getattr(_file, _name)
globals().update(LEGACY_CONSTRUCTORS)


def get_default_dtype() -> Any:
    """The dtype of float tensors made from Python numbers."""
    return defaults.float_dtype


def set_default_dtype(d: Any) -> None:
    """Sets the dtype of float tensors made from Python numbers."""
    if not isinstance(d, dtype) or not d.is_floating_point:
        raise errors.ArgumentTypeError(f"only floating-point types are supported as the default type, got {d}")
    defaults.float_dtype = d
    _EPOCH.bump()


def use_deterministic_algorithms(mode: Any, *, warn_only: Any = False) -> None:
    """Whether programs compiled from now on add in a fixed order everywhere (`config.deterministic`).

    Only sums that scatters add up on graphics cards are not so unless asked; `warn_only` changes nothing.
    """
    config.deterministic = mode is not False and mode != 0


def are_deterministic_algorithms_enabled() -> Any:
    """What `use_deterministic_algorithms` was told last."""
    return config.deterministic


def is_tensor(obj: Any) -> Any:
    """Whether obj is a Tensor."""
    return isinstance(obj, Tensor)


def is_floating_point(input: Any) -> Any:
    """Whether the dtype is a float type."""
    return input.is_floating_point()


def numel(input: Any) -> Any:
    """How many elements."""
    return input.numel()


def _foreach_copy_(self: Any, src: Any, non_blocking: Any = False) -> None:
    """Writes each tensor of `src` into the one at its place."""
    for tensor, source in zip(self, src, strict=True):
        tensor.copy_(source)


#: PyTorch's in-place forms that are functions too
_IN_PLACE = (
    "abs", "acos", "acosh", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctanh", "asin", "asinh", "atan", "atanh",
    "ceil", "clamp", "clamp_max", "clamp_min", "clip", "conj_physical", "cos", "cosh", "deg2rad", "detach", "erf", "erfc",
    "exp", "exp2", "expm1", "fill", "fix", "floor", "frac", "index_put", "ldexp", "log", "log10", "log1p", "log2", "logit",
    "nan_to_num", "neg", "negative", "rad2deg", "reciprocal", "round", "rsqrt", "sigmoid", "sin", "sinc", "sinh", "sqrt",
    "square", "tan", "tanh", "trunc", "xlogy", "zero",
)  # fmt: skip
for _name in _IN_PLACE:
    if hasattr(Tensor, _name + "_"):
        globals()[_name + "_"] = getattr(Tensor, _name + "_")

_MODULES = {
    name: f"graphc.{name}"
    for name in (
        "nn",
        "optim",
        "utils",
        "viz",
        "debugging",
        "autograd",
        "data",
        "saving",
        "session",
        "build",
        "gradcheck",
        "backends",
        "accelerator",
        "amp",
        "compiler",
        "contrast",
        "cuda",
        "func",
        "hub",
        "jit",
        "multiprocessing",
        "onnx",
        "profiler",
        "random",
        "opencl",
        "version",
        "library",
        "linalg",
        "ops",
        "callbacks",
        "distributed",
        "distributions",
        "vision",
    )
} | {"return_types": "graphc.functions.return_types"}
_LAZY = {
    "compile": "graphc.build", "no_recompile": "graphc.build", "Graph": "graphc.graphs", "placeholder": "graphc.graphs",
    "updates": "graphc.graphs", "gradients": "graphc.graphs", "Session": "graphc.session", "cond": "graphc.control",
    "while_loop": "graphc.control", "scan": "graphc.control", "save_graph": "graphc.graph_files",
    "load_graph": "graphc.graph_files", "explain": "graphc.explaining",
    "check_nans": "graphc.autograd.anomaly_mode",
    "debug": "graphc.debugging", "print": "graphc.debugging", "breakpoint": "graphc.debugging",
    "save": "graphc.saving", "load": "graphc.saving",
    "Trainer": "graphc.trainer",
    "profile": "graphc.profiler.measuring",
    "estimate": "graphc.profiler.estimating",
    "set_num_threads": "graphc.backends.llvm.pool", "get_num_threads": "graphc.backends.llvm.pool",
    "set_float32_matmul_precision": "graphc.float32_precision", "get_float32_matmul_precision": "graphc.float32_precision",
} | dict.fromkeys(
    (
        "autocast", "clear_autocast_cache", "get_autocast_cpu_dtype", "get_autocast_dtype", "get_autocast_gpu_dtype",
        "is_autocast_cache_enabled", "is_autocast_cpu_enabled", "is_autocast_enabled", "set_autocast_cache_enabled",
        "set_autocast_dtype", "set_autocast_enabled",
    ),
    "graphc.amp.autocast_mode",
)  # fmt: skip
_load = lazy_attributes("graphc", {**_MODULES, **_LAZY})
_eager_calls = lazy_import("graphc.eager_calls")
_SLOTS.executor = lambda *call: _eager_calls.prepare(*call)
_device_ops = lazy_import("graphc.backends.devices.ops")
_SLOTS.memory = lambda kind, number: _device_ops.memory_for(kind, number)
_SLOTS.evaluate = lambda *call: _device_ops.evaluate(*call)
_process_groups = lazy_import("graphc.distributed.groups")
_showing = lazy_import("graphc.debugging.showing")
_SLOTS.show = lambda *call: _showing.show(*call)
_SLOTS.link = lambda number: _process_groups.link_of(number)


def __getattr__(name: str) -> Any:
    found = _load(name)
    if name in _LAZY:
        found = getattr(found, name)
    globals()[name] = found
    return found


def __dir__() -> Any:
    return sorted({*globals(), *_MODULES, *_LAZY})


if config.device != "cpu":
    set_default_device(config.device)

__all__ = [
    "Dim", "OutOfMemoryError", "Size", "Tensor", "bfloat16", "bool_", "config", "device", "dtype", "eagerly", "enable_grad",
    "errors", "float16", "float32", "float64", "get_default_device", "inference_mode", "int8", "int16", "int32", "int64",
    "is_grad_enabled", "is_inference_mode_enabled", "no_grad", "set_default_device", "set_grad_enabled", "set_printoptions",
    "uint8", "__version__",
]  # fmt: skip
