"""The normalisation functions of `torch.nn.functional`. 16-bit floats are computed in float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.core.autocast import DEVICE_FULL
from graphc.core.context import at_start
from graphc.core.dims import product
from graphc.core.errors import ArgumentError, IndexRangeError, ShapeError
from graphc.core.one_call import one_call
from graphc.functions.arguments import need_float, need_tensor
from graphc.functions.joining import cat
from graphc.functions.norms import vector_norm
from graphc.functions.promotion import cast_to
from graphc.functions.reductions import computed_in, mean
from graphc.grad_mode import no_grad
from graphc.nn.losses import differ, number, shape_of
from graphc.primitives.elementwise import maximum, sqrt
from graphc.primitives.views import expand, reshape
from graphc.primitives.windows import window_sum

# the distance from 1 to the next number
_EPSILON = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}


@one_call()
def normalize(input: Any, p: float = 2.0, dim: Any = 1, eps: float = 1e-12, out: Any = None) -> Any:
    """input / max(|input|_p, eps) along `dim`."""
    x = need_tensor(input)
    length = vector_norm(x, p, dim, True)
    return x / expand(maximum(length, number(eps, length)), shape=shape_of(x))


def _standardized(x: Any, axes: tuple[int, ...], eps: float) -> tuple[Any, Any, Any]:
    """x with mean 0 and variance 1 over `axes`, the mean, and the variance (biased)."""
    center = mean(x, axes, True)
    gap = x - center
    spread = mean(gap * gap, axes, True)
    return gap / sqrt(spread + eps), center, spread


def _normal_axes(x: Any, normalized_shape: Any, affine: Sequence[tuple[str, Any]]) -> tuple[int, ...]:
    """The trailing axes that `normalized_shape` names; ShapeError if they have other sizes."""
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not shape:
        raise ShapeError(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one element, but got "
            f"normalized_shape = {list(shape)}"
        )
    for name, tensor in affine:
        if tensor is not None and shape_of(tensor) != shape:
            raise ShapeError(
                f"Expected {name} to be of same shape as normalized_shape, but got {name} of shape {list(tensor.shape)} and "
                f"normalized_shape = {list(shape)}"
            )
    ndim = len(x.shape)
    tail = shape_of(x)[ndim - len(shape) :]
    if ndim < len(shape) or any(differ(a, b) for a, b in zip(tail, shape, strict=True)):
        raise ShapeError(
            f"Given normalized_shape={list(shape)}, expected input with shape [*, {', '.join(map(str, shape))}], but got "
            f"input of size{list(x.shape)}"
        )
    return tuple(range(ndim - len(shape), ndim))


@one_call(cast=DEVICE_FULL)
def layer_norm(input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """(x - mean) / sqrt(var + eps) over the last dimensions, then * weight + bias; input: f32[*, *normalized_shape]."""
    x = need_float(input)
    axes = _normal_axes(x, normalized_shape, (("weight", weight), ("bias", bias)))
    out, _, _ = _standardized(computed_in(x), axes, eps)
    if weight is not None:
        out = out * weight
    if bias is not None:
        out = out + bias
    return cast_to(out, x.dtype)


@one_call(cast=DEVICE_FULL)
def rms_norm(input: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Any:
    """x / sqrt(mean(x^2) + eps) over the last dimensions, then * weight; `eps` None is the dtype's machine epsilon."""
    x = need_float(input)
    axes = _normal_axes(x, normalized_shape, (("weight", weight),))
    wide = computed_in(x)
    tiny = _EPSILON[x.dtype.name] if eps is None else eps
    out = wide / sqrt(mean(wide * wide, axes, True) + tiny)
    return cast_to(out if weight is None else out * weight, x.dtype)


@one_call(cast=DEVICE_FULL)
def group_norm(input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """Layer norm over groups of channels; input: f32[N, C, *], weight and bias: f32[C]. ShapeError if C does not divide."""
    x = need_float(input)
    if len(x.shape) < 2:
        raise ShapeError(f"Expected at least 2 dimensions for input tensor but received {len(x.shape)}")
    channels = x.shape[1]
    if num_groups <= 0:
        raise ShapeError(f"Expected num groups to be greater than 0, got {num_groups}")
    if isinstance(channels, int) and channels % num_groups:
        raise ShapeError(
            "Expected number of channels in input to be divisible by num_groups, but got input of shape "
            f"{list(x.shape)} and num_groups={num_groups}"
        )
    _check_batch(shape_of(x), num_groups)
    _check_channels(x, weight=weight, bias=bias)
    wide = computed_in(x)
    groups = reshape(wide, shape=(x.shape[0], num_groups, product(shape_of(x)[1:]) // num_groups))
    out, _, _ = _standardized(groups, (2,), eps)
    return cast_to(_affine(reshape(out, shape=shape_of(x)), weight, bias), x.dtype)


def _check_batch(shape: tuple[Any, ...], num_groups: int) -> None:
    count = product((shape[0] * shape[1] // num_groups, *shape[2:]))
    if isinstance(count, int) and count == 1:
        raise ArgumentError(f"Expected more than 1 value per channel when training, got input size {_shown(shape)}")


def _shown(shape: tuple[Any, ...]) -> str:
    return f"graphc.Size([{', '.join(map(str, shape))}])"


def _per_channel(t: Any, ndim: int) -> Any:
    """One value a channel, shaped to broadcast against [N, C, *]."""
    return reshape(t, shape=(t.shape[0], *(1,) * (ndim - 2))) if ndim > 2 else t


def _affine(x: Any, weight: Any, bias: Any) -> Any:
    if weight is not None:
        x = x * _per_channel(weight, len(x.shape))
    return x if bias is None else x + _per_channel(bias, len(x.shape))


def _check_channels(x: Any, **tensors: Any) -> None:
    """Raises ShapeError unless each tensor given has one element per channel of x."""
    for name, tensor in tensors.items():
        if tensor is not None and differ(tensor.shape[0], x.shape[1]):
            raise ShapeError(f"{name} should contain {x.shape[1]} elements not {tensor.shape[0]}")


@one_call()
def batch_norm(
    input: Any, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None, training: bool = False,
    momentum: Any = 0.1, eps: float = 1e-5,
) -> Any:  # fmt: skip
    """(x - mean) / sqrt(var + eps) for each channel, then * weight + bias; input: f32[N, C, *].

    In training the statistics are the batch's, and the running ones move towards them in place (the variance unbiased).
    ArgumentError for a single value a channel in training, ShapeError where the channels differ.
    """
    x = need_float(input)
    ndim = len(x.shape)
    if ndim < 2:
        raise IndexRangeError(f"batch_norm: expected at least 2 dimensions [N, C, *], got {ndim}")
    _check_channels(x, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    wide = computed_in(x)
    if not training:
        if running_mean is None or running_var is None:
            raise ShapeError("Expected running_mean and running_var to be defined in eval mode")
        scale = _per_channel(sqrt(computed_in(at_start(running_var)) + eps), ndim)
        out = (wide - _per_channel(at_start(running_mean), ndim)) / scale
        return cast_to(_affine(out, weight, bias), x.dtype)
    count = product((x.shape[0], *shape_of(x)[2:]))
    if isinstance(count, int) and count == 1:
        raise ArgumentError(
            f"Expected more than 1 value per channel when training, got input size {_shown(shape_of(x))}"
        )
    out, center, spread = _standardized(wide, (0, *range(2, ndim)), eps)
    _update(running_mean, center, momentum)
    if running_var is not None:
        _update(running_var, spread.detach() * (number(count, spread) / (number(count, spread) - 1)), momentum)
    return cast_to(_affine(out, weight, bias), x.dtype)


def batch_norm_across(
    input: Any, running_mean: Any, running_var: Any, weight: Any, bias: Any, momentum: Any, eps: float, total: Any
) -> Any:
    """`batch_norm` in training, of a batch of which each process has a part: `total` gives a tensor's sum over them.

    The parts may have different numbers of samples, also none.
    """
    x = computed_in(input)
    ndim = len(x.shape)
    axes = (0, *range(2, ndim))
    _check_channels(x, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    count = reshape(number(product((x.shape[0], *shape_of(x)[2:])), x), shape=(1,))
    sums = total(cat([x.sum(axes), count], 0))
    n = sums[-1]
    center = sums[:-1] / n
    gap = x - _per_channel(center, ndim)
    spread = total((gap * gap).sum(axes)) / n
    out = gap / sqrt(_per_channel(spread + eps, ndim))
    _update(running_mean, center, momentum)
    _update(running_var, spread.detach() * (n / (n - 1)), momentum)
    return cast_to(_affine(out, weight, bias), input.dtype)


def _update(running: Any, fresh: Any, momentum: Any) -> None:
    """Moves running statistics towards the batch's, in place; None: nothing to move."""
    if running is not None:
        with no_grad():
            step = cast_to(reshape(fresh.detach(), shape=shape_of(running)), running.dtype)
            running.mul_(1 - momentum).add_(step * momentum)


@one_call()
def instance_norm(
    input: Any, running_mean: Any = None, running_var: Any = None, weight: Any = None, bias: Any = None,
    use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
) -> Any:  # fmt: skip
    """Batch norm with statistics for each sample and channel of its own; input: f32[N, C, *].

    ArgumentError for a single spatial element or only one of the running statistics, ShapeError where channels differ.
    """
    x = need_float(input)
    ndim = len(x.shape)
    if (running_mean is None) != (running_var is None):
        raise ArgumentError("running_mean and running_var must either both be None or neither be None")
    if not use_input_stats:
        return batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    count = product(shape_of(x)[2:])
    if isinstance(count, int) and count == 1:
        raise ArgumentError(f"Expected more than 1 spatial element when training, got input size {_shown(shape_of(x))}")
    _check_channels(x, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    out, center, spread = _standardized(computed_in(x), tuple(range(2, ndim)), eps)
    _update(running_mean, mean(center, 0), momentum)
    if running_var is not None:
        unbiased = spread.detach() * (number(count, spread) / (number(count, spread) - 1))
        _update(running_var, mean(unbiased, 0), momentum)
    return cast_to(_affine(out, weight, bias), x.dtype)


def local_response_norm(input: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Any:
    """input / (k + alpha * mean of the squares of `size` neighbouring channels)^beta; input: f32[N, C, *].

    Channels beyond the first and the last count as 0 (Krizhevsky et al. 2012). ArgumentError for fewer than 3 dimensions.
    """
    x = need_float(input)
    if len(x.shape) < 3:
        raise ArgumentError(f"Expected 3D or higher dimensionality input (got {len(x.shape)} dimensions)")
    if size < 1:
        raise ShapeError(f"local_response_norm: size must be greater than zero, but got {size}")
    wide = computed_in(x)
    squares = reshape(wide * wide, shape=(*shape_of(x)[:2], product(shape_of(x)[2:])))
    around = ((size // 2, (size - 1) // 2), (0, 0))
    total = window_sum(squares, kernel=(size, 1), stride=(1, 1), padding=around, dilation=(1, 1))
    spread = reshape(total, shape=shape_of(x)) * (alpha / size) + k
    return cast_to(wide / spread**beta, x.dtype)


__all__ = ["batch_norm", "group_norm", "instance_norm", "layer_norm", "local_response_norm", "normalize", "rms_norm"]
