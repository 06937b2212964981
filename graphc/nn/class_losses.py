"""Losses against classes: nll_loss, cross_entropy, kl_div, those of margins, and linear_cross_entropy."""

from __future__ import annotations

import warnings
from typing import Any

from graphc.core.arrays import DeviceArray
from graphc.core.autocast import FULL, casts
from graphc.core.dims import product
from graphc.core.errors import ArgumentError, DtypeError, ShapeError
from graphc.core.one_call import one_call
from graphc.core.tensor_types import FLOAT, INT, int64
from graphc.functions.activations import logsigmoid
from graphc.functions.arguments import need_float, need_tensor
from graphc.functions.arithmetic import xlogy
from graphc.functions.creation import zeros
from graphc.functions.promotion import cast_to, promote
from graphc.functions.reductions import computed_in
from graphc.functions.reductions import sum as sum_
from graphc.functions.running import cumprod
from graphc.functions.softmaxes import log_softmax
from graphc.nn.linear import linear
from graphc.nn.losses import (
    above_zero,
    differ,
    known,
    legacy_reduction,
    number,
    promoted,
    reduced,
    shape_of,
    shapes_differ,
)
from graphc.primitives.comparison import equal, less, logical_not
from graphc.primitives.elementwise import add, exp, greater_equal, logical_and
from graphc.primitives.elementwise import where as choose
from graphc.primitives.indexing import REFUSED, gather, index, scatter_add
from graphc.primitives.views import expand, reshape

# --- classes ----------------------------------------------------------------------------------------------------------


def _check_classes(x: Any, target: Any, ignored_ok: bool = True) -> None:
    """Input [C] or [N, C, ...] against class indices [] or [N, ...]."""
    if len(x.shape) < 1:
        raise ArgumentError(f"Expected 1 or more dimensions (got {len(x.shape)})")
    if target.dtype.category != INT:
        raise DtypeError(f"expected scalar type Long but found {target.dtype.name}", "class indices as int64")
    batch = shape_of(x)[:1] + shape_of(x)[2:] if len(x.shape) > 1 else ()
    if len(x.shape) > 1 and len(target.shape) and differ(x.shape[0], target.shape[0]):
        raise ArgumentError(f"Expected input batch_size ({x.shape[0]}) to match target batch_size ({target.shape[0]}).")
    if shapes_differ(batch, target.shape):
        raise ShapeError(
            f"class indices of shape {list(target.shape)} do not fit scores of shape {list(x.shape)}",
            f"indices of shape {list(batch)}",
        )


def _classes(x: Any, target: Any, ignore_index: int) -> tuple[Any, Any]:
    """Class indices that can be looked up (a negative one is made to be out of range), and which of them are ignored.

    None ignored: eager code has looked and found no such index.
    """
    axis = min(len(x.shape) - 1, 1)
    batch = tuple(s for i, s in enumerate(shape_of(x)) if i != axis)
    if shape_of(target) != batch:
        target = expand(target, shape=batch)
    target = cast_to(target, int64)
    if (
        known(target)
        and type(target._data) is not DeviceArray
        and target._data.min(initial=0) >= 0
        and (ignore_index < 0 or not (target._data == ignore_index).any())
    ):
        return target, None
    ignored = equal(target, number(ignore_index, target))
    zero = number(0, target)
    in_range = choose(less(target, zero), add(target, number(REFUSED, target)), target)
    return choose(ignored, zero, in_range), ignored


@casts(FULL)
def nll_loss(
    input: Any, target: Any, weight: Any = None, size_average: Any = None, ignore_index: int = -100, reduce: Any = None,
    reduction: str = "mean",
) -> Any:  # fmt: skip
    """-weight[target] * input at the target class; input: f32[N, C, ...] log-probabilities, target: i64[N, ...].

    The mean divides by the sum of the weights. Targets equal to `ignore_index` do not count.
    """
    x, target = need_tensor(input), need_tensor(target, "target")
    return _nll_loss(x, target, weight, ignore_index, legacy_reduction(size_average, reduce, reduction))


@one_call(rereads=False)
def _nll_loss(x: Any, target: Any, weight: Any, ignore_index: int, reduction: str) -> Any:
    _check_classes(x, target)
    classes, ignored = _classes(x, target, ignore_index)
    return _picked_loss(x, classes, ignored, weight, reduction)


def _picked_loss(x: Any, classes: Any, ignored: Any, weight: Any, reduction: str) -> Any:
    axis = min(len(x.shape) - 1, 1)
    shape = shape_of(classes)
    at = reshape(classes, shape=(*shape[:axis], 1, *shape[axis:]))
    loss = -reshape(gather(x, at, axis=axis), shape=shape)
    if weight is not None:
        _check_weight(weight, x, axis)
        weights = index(weight, classes, axes=(0,))
        loss = loss * weights
    if ignored is not None:
        loss = choose(ignored, number(0, x), loss)
    if reduction != "mean" or (ignored is None and weight is None):
        return reduced(loss, reduction)
    if ignored is None:
        counted = weights
    else:
        counted = cast_to(logical_not(ignored), x.dtype) if weight is None else choose(ignored, number(0, x), weights)
    return cast_to(sum_(computed_in(loss)) / sum_(computed_in(counted)), x.dtype)


def _check_weight(weight: Any, x: Any, axis: int) -> None:
    if len(weight.shape) != 1 or differ(weight.shape[0], x.shape[axis]):
        raise ShapeError(
            "weight tensor should be defined either for all "
            f"{x.shape[axis]} classes or no classes but got weight tensor of shape: {list(weight.shape)}"
        )
    if weight.dtype is not x.dtype:
        raise DtypeError(f"expected scalar type {x.dtype.name} but found {weight.dtype.name}", "equal dtypes")


@casts(FULL)
def cross_entropy(
    input: Any, target: Any, weight: Any = None, size_average: Any = None, ignore_index: int = -100, reduce: Any = None,
    reduction: str = "mean", label_smoothing: float = 0.0,
) -> Any:  # fmt: skip
    """-log softmax(input) at the target; input: f32[N, C, ...], target: i64[N, ...] indices or f32[N, C, ...] probabilities.

    `label_smoothing` mixes the target with the uniform distribution. Raises ArgumentError, ShapeError or DtypeError where
    target or weight do not fit the input.
    """
    x, target = need_tensor(input), need_tensor(target, "target")
    reduction = legacy_reduction(size_average, reduce, reduction)
    if not 0.0 <= label_smoothing <= 1.0:
        raise ShapeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    return _cross_entropy(x, target, weight, ignore_index, reduction, label_smoothing)


@one_call(rereads=False)
def _cross_entropy(
    x: Any, target: Any, weight: Any, ignore_index: int, reduction: str, label_smoothing: float
) -> Any:  # fmt: skip
    if len(x.shape) == len(target.shape) and not shapes_differ(x.shape, target.shape):
        return _probability_loss(x, target, weight, ignore_index, reduction, label_smoothing)
    _check_classes(x, target)
    axis = min(len(x.shape) - 1, 1)
    scores = log_softmax(x, axis)
    classes, ignored = _classes(x, target, ignore_index)
    loss = _picked_loss(scores, classes, ignored, weight, reduction)
    if label_smoothing == 0.0:
        return loss
    smooth = _smooth_loss(scores, classes, ignored, weight, reduction, axis)
    return (1 - label_smoothing) * loss + smooth * label_smoothing / x.shape[axis]


def _smooth_loss(scores: Any, classes: Any, ignored: Any, weight: Any, reduction: str, axis: int) -> Any:
    """The loss against all classes at once, reduced as the loss at the target is."""
    per_class = scores if weight is None else scores * _along(weight, scores, axis)
    loss = -sum_(per_class, axis)
    if ignored is not None:
        loss = choose(ignored, number(0, scores), loss)
    if reduction != "mean":
        return reduced(loss, reduction)
    counted = number(1, scores) if weight is None else index(weight, classes, axes=(0,))
    counted = expand(counted, shape=shape_of(classes))
    if ignored is not None:
        counted = choose(ignored, number(0, scores), counted)
    return sum_(loss) / sum_(counted)


def _along(weight: Any, x: Any, axis: int) -> Any:
    """One weight a class, shaped to broadcast along `axis`."""
    return reshape(weight, shape=tuple(s if i == axis else 1 for i, s in enumerate(shape_of(x))))


def _probability_loss(
    x: Any, target: Any, weight: Any, ignore_index: int, reduction: str, label_smoothing: float
) -> Any:
    if target.dtype.category != FLOAT:
        raise DtypeError(
            f"Expected floating point type for target with class probabilities, got {target.dtype.name}",
            "probabilities of the input's shape, or int64 class indices without the class dimension",
        )
    if ignore_index >= 0:
        raise ShapeError("ignore_index is not supported for floating point target")
    axis = min(len(x.shape) - 1, 1)
    classes = x.shape[axis]
    scores, target = promote(log_softmax(x, axis), target)
    if label_smoothing > 0:
        target = target * (1 - label_smoothing) + number(label_smoothing, target) / classes
    loss = -(scores * target)
    if weight is not None:
        _check_weight(weight, x, axis)
        loss = loss * _along(weight, x, axis)
    if reduction == "mean":
        return sum_(loss) / product(tuple(s for i, s in enumerate(shape_of(x)) if i != axis))
    return reduced(sum_(loss, axis) if reduction == "none" else loss, reduction)


@casts(FULL)
def kl_div(
    input: Any, target: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean",
    log_target: bool = False,
) -> Any:  # fmt: skip
    """t (log t - x) for log-probabilities x; "batchmean" divides the sum by the first size."""
    if reduction == "mean":
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size.'batchmean' divides only by "
            "the batch size, and aligns with the KL div math definition.'mean' will be changed to behave the same as "
            "'batchmean' in the next major release.",
            stacklevel=2,
        )
    batchmean = reduction == "batchmean"
    return _kl_div(
        input, target, reduction if batchmean else legacy_reduction(size_average, reduce, reduction), log_target
    )


@one_call()
def _kl_div(input: Any, target: Any, reduction: str, log_target: bool) -> Any:
    x, t = promoted(input, target)
    loss = exp(t) * (t - x) if log_target else xlogy(t, t) - t * x
    if reduction == "batchmean":
        return sum_(loss) / x.shape[0] if len(x.shape) else sum_(loss)
    return reduced(loss, reduction)


# --- several labels ---------------------------------------------------------------------------------------------------


@casts(FULL)
def multi_margin_loss(
    input: Any, target: Any, p: int = 1, margin: float = 1.0, weight: Any = None, size_average: Any = None,
    reduce: Any = None, reduction: str = "mean",
) -> Any:  # fmt: skip
    """The sum over the wrong classes j of max(0, margin - x[target] + x[j])^p, divided by the number of classes."""
    x, t = need_tensor(input), need_tensor(target, "target")
    reduction = legacy_reduction(size_average, reduce, reduction)
    if p not in (1, 2):
        raise ArgumentError("only p == 1 and p == 2 supported")
    if weight is not None and len(weight.shape) != 1:
        raise ArgumentError("weight must be one-dimensional")
    single = len(x.shape) < 2
    scores = reshape(x, shape=(1, product(shape_of(x)))) if single else x
    t = reshape(t, shape=(1,)) if single else t
    if len(scores.shape) != 2 or len(t.shape) != 1 or differ(scores.shape[0], t.shape[0]):
        raise ShapeError(f"inconsistent target size: {list(t.shape)} for input size {list(x.shape)}")
    classes, _ = _classes(scores, t, -(2**62))
    at = reshape(classes, shape=(*shape_of(classes), 1))
    gap = above_zero(margin - gather(scores, at, axis=1) + scores)
    gap = gap * gap if p == 2 else gap
    if weight is not None:
        gap = gap * index(weight, at, axes=(0,))
    count = scores.shape[1]
    # the right class stands in the sum with margin^p (times its weight)
    own = gather(gap, at, axis=1)
    loss = (sum_(gap, 1) - reshape(own, shape=shape_of(classes))) / count
    return reduced(reshape(loss, shape=()) if single else loss, reduction)


def multilabel_soft_margin_loss(
    input: Any, target: Any, weight: Any = None, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
) -> Any:
    """The mean over the classes of the binary cross entropies with logits."""
    x, t = promoted(input, target)
    loss = -(t * logsigmoid(x) + (1 - t) * logsigmoid(-x))
    if weight is not None:
        loss = loss * weight
    loss = sum_(loss, -1) / x.shape[-1]
    return reduced(loss, legacy_reduction(size_average, reduce, reduction))


@casts(FULL)
def multilabel_margin_loss(
    input: Any, target: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
) -> Any:
    """The sum over targets j and other classes i of max(0, 1 - (x[j] - x[i])), divided by the number of classes.

    input: f32[N, C] or f32[C], target: i64 of its shape: classes, up to the first -1. ShapeError for other shapes.
    """
    x, t = need_float(input), need_tensor(target, "target")
    reduction = legacy_reduction(size_average, reduce, reduction)
    single = len(x.shape) < 2
    if len(x.shape) > 2 or shapes_differ(shape_of(x), shape_of(t)):
        raise ShapeError(f"inconsistent target size: {list(t.shape)} for input of size: {list(x.shape)}")
    scores, t = (reshape(y, shape=(1, product(shape_of(y)))) if single else y for y in (x, t))
    rows, count = shape_of(scores)
    named = cumprod(cast_to(greater_equal(t, number(0, t)), int64), 1) > 0
    at = choose(named, cast_to(t, int64), number(0, cast_to(t, int64)))
    marks = scatter_add(zeros(rows, count, dtype=int64), at, cast_to(named, int64), axis=1)
    own = gather(scores, at, axis=1)
    gaps = above_zero(1.0 - reshape(own, shape=(rows, count, 1)) + reshape(scores, shape=(rows, 1, count)))
    counts = logical_and(reshape(named, shape=(rows, count, 1)), reshape(marks == 0, shape=(rows, 1, count)))
    loss = sum_(choose(counts, gaps, number(0.0, gaps)), (1, 2)) / count
    return reduced(reshape(loss, shape=()) if single else loss, reduction)


# --- with the layer before --------------------------------------------------------------------------------------------


def linear_cross_entropy(
    input: Any, linear_weight: Any, target: Any, *, linear_bias: Any = None, weight: Any = None, reduction: str = "mean",
    ignore_index: int | None = None, label_smoothing: float = 0.0, options: Any = None,
) -> Any:  # fmt: skip
    """`cross_entropy` of `linear(input, linear_weight, linear_bias)`; input: f32[N, D] or f32[D], linear_weight: f32[C, *S, D].

    `options` tells PyTorch how to save memory and changes nothing here: the result is the same. ShapeError for sizes that do
    not fit.
    """
    classes, *outer, width = shape_of(linear_weight)
    lead = shape_of(input)[:-1]
    if len(lead) > 1 or differ(input.shape[-1], width):
        raise ShapeError(
            f"linear_cross_entropy: input {list(input.shape)} does not fit linear_weight {list(linear_weight.shape)}"
        )
    if outer and not lead:
        raise ShapeError(
            f"K-dimensional loss defined by linear_weight shape {tuple(linear_weight.shape)} requires batched input, "
            f"(N, {width}), got unbatched input with shape {tuple(input.shape)}"
        )
    shape = (*lead, classes, *outer)
    if ignore_index is not None and shape_of(target) == shape:
        raise ShapeError("ignore_index cannot be specified when target contains probabilities")
    rows = product((classes, *outer))
    bias = None if linear_bias is None else reshape(linear_bias, shape=(rows,))
    scores = reshape(linear(input, reshape(linear_weight, shape=(rows, width)), bias), shape=shape)
    ignored = -100 if ignore_index is None else ignore_index
    return cross_entropy(
        scores, target, weight, ignore_index=ignored, reduction=reduction, label_smoothing=label_smoothing
    )


__all__ = [
    "cross_entropy", "kl_div", "linear_cross_entropy", "multi_margin_loss", "multilabel_margin_loss",
    "multilabel_soft_margin_loss", "nll_loss",
]  # fmt: skip
