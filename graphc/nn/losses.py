"""The loss functions of `torch.nn.functional`, written as compositions that neither overflow nor divide 0 by 0.

Sizes may be unknown everywhere: a mean divides by the size the batch will have.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from graphc.core.arrays import host, is_array
from graphc.core.autocast import DEVICE_FULL, FULL, casts
from graphc.core.context import STATE
from graphc.core.errors import ArgumentError, DtypeError, ShapeError
from graphc.core.one_call import one_call
from graphc.core.tensor_types import FLOAT
from graphc.functions.activations import logsigmoid, softplus
from graphc.functions.arguments import need_tensor
from graphc.functions.norms import masked_sqrt, vector_norm
from graphc.functions.promotion import promote, scalar_operand
from graphc.functions.reductions import computed_in, mean
from graphc.functions.reductions import sum as sum_
from graphc.functions.shaping import broadcast_tensors
from graphc.primitives.comparison import equal, greater_equal, less, less_equal
from graphc.primitives.elementwise import (
    absolute,
    exp,
    log,
    log1p,
    maximum,
    minimum,
    sqrt,
)  # fmt: skip
from graphc.primitives.elementwise import (
    where as choose,
)
from graphc.primitives.views import reshape


def legacy_reduction(size_average: Any, reduce: Any, reduction: str) -> str:
    """What the deprecated flags `size_average` and `reduce` say, or `reduction` where neither is given."""
    if size_average is None and reduce is None:
        return reduction
    averaged = size_average is None or bool(size_average)
    found = "none" if reduce is not None and not reduce else "mean" if averaged else "sum"
    warnings.warn(
        f"size_average and reduce args will be deprecated, please use reduction='{found}' instead.", stacklevel=4
    )
    return found


def reduced(loss: Any, reduction: str) -> Any:
    """The loss itself ("none"), its mean or its sum; ArgumentError for another name."""
    if reduction == "mean":
        return mean(loss)
    if reduction == "sum":
        return sum_(loss)
    if reduction != "none":
        raise ArgumentError(f"{reduction} is not a valid value for reduction", "'none', 'mean' or 'sum'")
    return loss


def number(value: Any, like: Any) -> Any:
    """A 0-d tensor of `like`'s dtype."""
    return scalar_operand(value, like.dtype)


def shape_of(x: Any) -> tuple[Any, ...]:
    """The sizes as a plain tuple."""
    return tuple(x.shape)


def differ(a: Any, b: Any) -> bool:
    """Whether two sizes are surely not equal (unknown ones may be)."""
    gap = a - b
    return isinstance(gap, int) and gap != 0


def shapes_differ(a: Any, b: Any) -> bool:
    """Whether two shapes are surely not equal."""
    return len(a) != len(b) or any(differ(x, y) for x, y in zip(a, b, strict=True))


def _warn_sizes(input: Any, target: Any) -> None:
    if shapes_differ(input.shape, target.shape):
        warnings.warn(
            f"Using a target size ({target.shape}) that is different to the input size ({input.shape}). This will likely lead "
            "to incorrect results due to broadcasting. Please ensure they have the same size.",
            stacklevel=3,
        )


def promoted(input: Any, target: Any) -> tuple[Any, Any]:
    x, y = promote(need_tensor(input), need_tensor(target, "target"))
    return x, y


def known(x: Any) -> bool:
    """Whether the numbers of a tensor can be looked at here."""
    return STATE.recorder is None and is_array(x._data)


def above_zero(x: Any) -> Any:
    """x where it is positive, else 0, with gradient 1 at 0 as PyTorch's clamp_min has it."""
    zero = number(0, x)
    return choose(greater_equal(x, zero), x, zero)


# --- regression -------------------------------------------------------------------------------------------------------


@casts(FULL)
def mse_loss(
    input: Any, target: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean", weight: Any = None
) -> Any:
    """The squared difference, averaged (`reduction`); `weight` weighs the elements."""
    _warn_sizes(need_tensor(input), need_tensor(target, "target"))
    return _mse_loss(input, target, weight, legacy_reduction(size_average, reduce, reduction))


@one_call()
def _mse_loss(input: Any, target: Any, weight: Any, reduction: str) -> Any:
    x, y = promoted(input, target)
    gap = x - y
    return _weighted(gap * gap, weight, x, reduction)


def _weighted(loss: Any, weight: Any, x: Any, reduction: str) -> Any:
    if weight is None:
        return reduced(loss, reduction)
    if shapes_differ(weight.shape, x.shape):
        raise ArgumentError("Weights and input must have the same size.")
    loss = loss * weight
    return sum_(loss) / sum_(weight) if reduction == "mean" else reduced(loss, reduction)


@casts(FULL)
def l1_loss(
    input: Any, target: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean", weight: Any = None
) -> Any:
    """The absolute difference, averaged (`reduction`)."""
    _warn_sizes(need_tensor(input), need_tensor(target, "target"))
    return _l1_loss(input, target, weight, legacy_reduction(size_average, reduce, reduction))


@one_call()
def _l1_loss(input: Any, target: Any, weight: Any, reduction: str) -> Any:
    x, y = promoted(input, target)
    return _weighted(absolute(x - y), weight, x, reduction)


@casts(FULL)
def smooth_l1_loss(
    input: Any, target: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean", beta: float = 1.0
) -> Any:
    """0.5 d^2 / beta where |d| < beta, else |d| - 0.5 beta, for the difference d."""
    _warn_sizes(need_tensor(input), need_tensor(target, "target"))
    reduction = legacy_reduction(size_average, reduce, reduction)
    if beta < 0:
        raise ShapeError("smooth_l1_loss does not support negative values for beta.")
    return _smooth_l1_loss(input, target, reduction, beta)


@one_call()
def _smooth_l1_loss(input: Any, target: Any, reduction: str, beta: float) -> Any:
    x, y = promoted(input, target)
    gap = absolute(x - y)
    if beta == 0:
        return reduced(gap, reduction)
    loss = choose(less(gap, number(beta, gap)), gap * gap * (0.5 / beta), gap - 0.5 * beta)
    return reduced(loss, reduction)


@casts(FULL)
def huber_loss(input: Any, target: Any, reduction: str = "mean", delta: float = 1.0, weight: Any = None) -> Any:
    """0.5 d^2 where |d| <= delta, else delta (|d| - 0.5 delta), for the difference d."""
    _warn_sizes(need_tensor(input), need_tensor(target, "target"))
    if delta <= 0:
        raise ShapeError("huber_loss does not support non-positive values for delta.")
    return _huber_loss(input, target, reduction, delta, weight)


@one_call()
def _huber_loss(input: Any, target: Any, reduction: str, delta: float, weight: Any) -> Any:
    x, y = promoted(input, target)
    gap = absolute(x - y)
    loss = choose(less_equal(gap, number(delta, gap)), 0.5 * gap * gap, delta * (gap - 0.5 * delta))
    return _weighted(loss, weight, x, reduction)


@casts(FULL)
def poisson_nll_loss(
    input: Any, target: Any, log_input: bool = True, full: bool = False, size_average: Any = None, eps: float = 1e-8,
    reduce: Any = None, reduction: str = "mean",
) -> Any:  # fmt: skip
    """exp(x) - t x for a log rate x (or x - t log(x + eps)); `full` adds Stirling's approximation of log t!."""
    x, t = promoted(input, target)
    loss = exp(x) - t * x if log_input else x - t * log(x + eps)
    if full:
        one = number(1, t)
        safe = choose(less_equal(t, one), one, t)
        stirling = safe * log(safe) - safe + 0.5 * log(2 * math.pi * safe)
        loss = loss + choose(less_equal(t, one), number(0, t), stirling)
    return reduced(loss, legacy_reduction(size_average, reduce, reduction))


def gaussian_nll_loss(
    input: Any, target: Any, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Any:
    """0.5 (log var + (x - t)^2 / var), the variance kept above `eps`. ArgumentError if sizes or signs do not fit."""
    x, t = promoted(input, target)
    v = var if hasattr(var, "shape") else x * 0 + var
    if shapes_differ(v.shape, x.shape):
        if not shapes_differ(v.shape, x.shape[:-1]):
            v = reshape(v, shape=(*shape_of(v), 1))
        elif shapes_differ(v.shape[:-1], x.shape[:-1]) or v.shape[-1] != 1:
            raise ArgumentError("var is of incorrect size")
    if reduction not in ("none", "mean", "sum"):
        raise ArgumentError(reduction + " is not valid")
    if known(v) and bool((host(v._data) < 0).any()):
        raise ArgumentError("var has negative entry/entries")
    below = less(v, number(eps, v))
    v = v + choose(below, eps - v, number(0, v)).detach()
    loss = 0.5 * (log(v) + (x - t) * (x - t) / v)
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return reduced(loss, reduction)


# --- two classes ------------------------------------------------------------------------------------------------------

# PyTorch's constants are float32, also where it computes in float64
_EDGE = 9.999999960041972e-13


@casts(FULL)
def binary_cross_entropy(
    input: Any, target: Any, weight: Any = None, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
) -> Any:
    """-(t log x + (1 - t) log(1 - x)) for probabilities x, the logarithms kept above -100.

    The gradient (x - t) / (x (1 - x)) has its denominator kept above 1e-12, as in PyTorch.
    """
    x, t = need_tensor(input), need_tensor(target, "target")
    reduction = legacy_reduction(size_average, reduce, reduction)
    if shapes_differ(x.shape, t.shape):
        raise ArgumentError(
            f"Using a target size ({t.shape}) that is different to the input size ({x.shape}) is deprecated. "
            "Please ensure they have the same size."
        )
    if x.dtype is not t.dtype:
        raise DtypeError(f"Found dtype {t.dtype.name} but expected {x.dtype.name}", "equal dtypes")
    if known(x) and bool(np.any((host(x._data) < 0) | (host(x._data) > 1))):
        raise ShapeError("all elements of input should be between 0 and 1")
    return _binary_cross_entropy(x, t, weight, reduction)


@one_call()
def _binary_cross_entropy(x: Any, t: Any, weight: Any, reduction: str) -> Any:
    loss = _bernoulli_loss(x, t)
    return reduced(loss if weight is None else loss * weight, reduction)


def _bernoulli_loss(x: Any, t: Any) -> Any:
    one, floor = number(1, x), number(-100, x)
    fixed = x.detach()
    at_edge = less(fixed * (one - fixed), number(_EDGE, x))
    inner = choose(at_edge, number(0.5, x), x)
    smooth = (t - one) * log1p(-inner) - t * log(inner)
    limited = (t - one) * maximum(log1p(-fixed), floor) - t * maximum(log(fixed), floor)
    # at the edge the gradient is (x - t) / 1e-12, that of this parabola
    slope = (0.5 * x * x - t.detach() * x) * (1 / _EDGE)
    return choose(at_edge, limited + (slope - slope.detach()), smooth)


@casts(FULL)
def binary_cross_entropy_with_logits(
    input: Any, target: Any, weight: Any = None, size_average: Any = None, reduce: Any = None, reduction: str = "mean",
    pos_weight: Any = None,
) -> Any:  # fmt: skip
    """The binary cross entropy of sigmoid(input), without overflow; `pos_weight` weighs the positive targets."""
    x, t = need_tensor(input), need_tensor(target, "target")
    reduction = legacy_reduction(size_average, reduce, reduction)
    if shapes_differ(x.shape, t.shape):
        raise ArgumentError(f"Target size ({t.shape}) must be the same as input size ({x.shape})")
    return _binary_cross_entropy_with_logits(x, t, weight, reduction, pos_weight)


@one_call()
def _binary_cross_entropy_with_logits(x: Any, t: Any, weight: Any, reduction: str, pos_weight: Any) -> Any:
    log_p = logsigmoid(x)
    if pos_weight is None:
        loss = (1 - t) * x - log_p
    else:
        loss = (1 - t) * x - ((pos_weight - 1) * t + 1) * log_p
    if weight is not None:
        loss = loss * weight
    return reduced(loss, reduction)


@casts(FULL)
def soft_margin_loss(
    input: Any, target: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
) -> Any:
    """log(1 + exp(-t x)) for targets of -1 and 1."""
    x, t = promoted(input, target)
    return reduced(softplus(-(t * x), threshold=1e30), legacy_reduction(size_average, reduce, reduction))


@casts(FULL)
def hinge_embedding_loss(
    input: Any, target: Any, margin: float = 1.0, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
) -> Any:
    """x where the target is 1, max(0, margin - x) where it is -1."""
    x, t = promoted(input, target)
    zero = number(0, x)
    apart = choose(equal(t, number(1, t)), zero, above_zero(margin - x))
    close = choose(equal(t, number(-1, t)), zero, x)
    return reduced(apart + close, legacy_reduction(size_average, reduce, reduction))


# --- embeddings -------------------------------------------------------------------------------------------------------


@casts(FULL)
def margin_ranking_loss(
    input1: Any, input2: Any, target: Any, margin: float = 0.0, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean",
) -> Any:  # fmt: skip
    """max(0, -t (x1 - x2) + margin)."""
    if not len(input1.shape) == len(input2.shape) == len(target.shape):
        raise ShapeError(
            f"margin_ranking_loss : All input tensors should have same dimension but got sizes: input1: {input1.shape}, "
            f"input2: {input2.shape}, target: {target.shape} "
        )
    loss = above_zero(-target * (input1 - input2) + margin)
    return reduced(loss, legacy_reduction(size_average, reduce, reduction))


@casts(FULL)
def cosine_embedding_loss(
    input1: Any, input2: Any, target: Any, margin: float = 0.0, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean",
) -> Any:  # fmt: skip
    """1 - cos(x1, x2) where the target is 1, max(0, cos(x1, x2) - margin) where it is -1."""
    x, y = promote(need_tensor(input1), need_tensor(input2))
    if len(target.shape) != len(x.shape) - 1 or len(x.shape) > 2:
        raise ShapeError(
            f"{len(target.shape)}D target tensor expects {len(target.shape) + 1}D input tensors, but found inputs with sizes "
            f"{list(x.shape)} and {list(y.shape)}."
        )
    x, y, axis = computed_in(x), computed_in(y), len(target.shape)
    cosine = sum_(x * y, axis) / sqrt((sum_(x * x, axis) + _EDGE) * (sum_(y * y, axis) + _EDGE))
    zero = number(0, cosine)
    together = choose(equal(target, number(1, target)), 1 - cosine, zero)
    apart = choose(equal(target, number(-1, target)), above_zero(cosine - margin), zero)
    return reduced(together + apart, legacy_reduction(size_average, reduce, reduction))


@one_call()
def pairwise_distance(x1: Any, x2: Any, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Any:
    """The p-norm of x1 - x2 + eps over the last dimension."""
    x, y = promote(need_tensor(x1, "x1"), need_tensor(x2, "x2"))
    return vector_norm(x - y + eps, p, -1, keepdim)


@one_call(cast=DEVICE_FULL)
def cosine_similarity(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Any:
    """x1 . x2 / (|x1| |x2|) along `dim`, each length kept above `eps`."""
    x, y = promote(need_tensor(x1, "x1"), need_tensor(x2, "x2"), floating=False)
    if x.dtype.category != FLOAT:
        raise DtypeError(f"expected common dtype to be floating point, yet common dtype is {x.dtype.name}")
    x, y = broadcast_tensors(x, y)
    lengths = [masked_sqrt(sum_(v * v, dim, True)) for v in (x, y)]
    floor = number(eps, x)
    safe = [n + choose(less(n, floor), floor - n, number(0, n)).detach() for n in lengths]
    return sum_((x / safe[0]) * (y / safe[1]), dim)


@casts(FULL)
def triplet_margin_loss(
    anchor: Any, positive: Any, negative: Any, margin: float = 1.0, p: float = 2, eps: float = 1e-6, swap: bool = False,
    size_average: Any = None, reduce: Any = None, reduction: str = "mean",
) -> Any:  # fmt: skip
    """max(0, |a - p| - |a - n| + margin) in p-norms; `swap` also looks at |p - n|."""
    if margin <= 0:
        raise ArgumentError(f"margin must be greater than 0, got {margin}")
    if not len(anchor.shape) == len(positive.shape) == len(negative.shape):
        raise ShapeError(
            "The anchor, positive, and negative tensors are expected to have the same number of dimensions, but got: "
            f"anchor {len(anchor.shape)}D, positive {len(positive.shape)}D, and negative {len(negative.shape)}D inputs"
        )

    def distance(x: Any, y: Any) -> Any:
        return pairwise_distance(x, y, p, eps)

    reduction = legacy_reduction(size_average, reduce, reduction)
    return _triplet(anchor, positive, negative, distance, margin, swap, reduction)


def triplet_margin_with_distance_loss(
    anchor: Any, positive: Any, negative: Any, *, distance_function: Any = None, margin: float = 1.0, swap: bool = False,
    reduction: str = "mean",
) -> Any:  # fmt: skip
    """`triplet_margin_loss` with any distance function of two tensors."""
    if margin <= 0:
        raise ArgumentError(f"margin must be greater than 0, got {margin}")
    return _triplet(anchor, positive, negative, distance_function or pairwise_distance, margin, swap, reduction)


def _triplet(a: Any, p: Any, n: Any, distance: Any, margin: float, swap: bool, reduction: str) -> Any:
    near, far = distance(a, p), distance(a, n)
    if swap:
        far = minimum(far, distance(p, n))
    return reduced(above_zero(margin + near - far), reduction)


__all__ = [
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "cosine_embedding_loss", "cosine_similarity",
    "gaussian_nll_loss", "hinge_embedding_loss", "huber_loss", "l1_loss", "margin_ranking_loss", "mse_loss",
    "pairwise_distance", "poisson_nll_loss", "smooth_l1_loss", "soft_margin_loss", "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
]  # fmt: skip
