"""`torch.nn.functional`: layers, activations, normalisations and losses as functions."""

from __future__ import annotations

import warnings
from typing import Any

from graphc.core.errors import ShapeError
from graphc.core.lazy import lazy_attributes
from graphc.functions.activations import (
    celu,
    celu_,
    elu,
    elu_,
    gelu,
    glu,
    hardshrink,
    hardsigmoid,
    hardswish,
    hardtanh,
    hardtanh_,
    leaky_relu,
    leaky_relu_,
    logsigmoid,
    mish,
    prelu,
    relu,
    relu6,
    relu_,
    selu,
    selu_,
    silu,
    softplus,
    softshrink,
    softsign,
    tanhshrink,
    threshold,
    threshold_,
)  # fmt: skip
from graphc.functions.adaptive_pooling import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool1d_with_indices,
    adaptive_max_pool2d,
    adaptive_max_pool2d_with_indices,
    adaptive_max_pool3d,
    adaptive_max_pool3d_with_indices,
)
from graphc.functions.arguments import need_float, need_tensor
from graphc.functions.convolutions import (
    conv1d,
    conv2d,
    conv3d,
    conv_tbc,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
    fold,
    unfold,
)
from graphc.functions.creation import ones, zeros
from graphc.functions.dropout import alpha_dropout, dropout, feature_alpha_dropout, feature_dropout
from graphc.functions.fractional_pooling import (
    fractional_max_pool2d,
    fractional_max_pool2d_with_indices,
    fractional_max_pool3d,
    fractional_max_pool3d_with_indices,
)
from graphc.functions.grids import affine_grid, grid_sample
from graphc.functions.indexing import one_hot
from graphc.functions.interpolating import interpolate, upsample, upsample_bilinear, upsample_nearest
from graphc.functions.joining import pad
from graphc.functions.linalg import pdist
from graphc.functions.pixels import channel_shuffle, native_channel_shuffle, pixel_shuffle, pixel_unshuffle
from graphc.functions.pointwise import sigmoid, tanh
from graphc.functions.pooling import (
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    lp_pool1d,
    lp_pool2d,
    lp_pool3d,
    max_pool1d,
    max_pool1d_with_indices,
    max_pool2d,
    max_pool2d_with_indices,
    max_pool3d,
    max_pool3d_with_indices,
    max_unpool1d,
    max_unpool2d,
    max_unpool3d,
)
from graphc.functions.random import rand
from graphc.functions.reductions import argmax
from graphc.functions.shaping import squeeze, unsqueeze
from graphc.functions.softmaxes import log_softmax as _log_softmax
from graphc.functions.softmaxes import softmax as _softmax
from graphc.nn.attention import scaled_dot_product_attention
from graphc.nn.class_losses import (
    cross_entropy,
    kl_div,
    linear_cross_entropy,
    multi_margin_loss,
    multilabel_margin_loss,
    multilabel_soft_margin_loss,
    nll_loss,
)
from graphc.nn.ctc import ctc_loss
from graphc.nn.embedding import embedding, embedding_bag
from graphc.nn.linear import bilinear, linear
from graphc.nn.losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cosine_embedding_loss,
    cosine_similarity,
    gaussian_nll_loss,
    hinge_embedding_loss,
    huber_loss,
    l1_loss,
    margin_ranking_loss,
    mse_loss,
    number,
    pairwise_distance,
    poisson_nll_loss,
    shape_of,
    smooth_l1_loss,
    soft_margin_loss,
    triplet_margin_loss,
    triplet_margin_with_distance_loss,
)  # fmt: skip
from graphc.nn.multihead import multi_head_attention_forward
from graphc.nn.normalizing import (
    batch_norm,
    group_norm,
    instance_norm,
    layer_norm,
    local_response_norm,
    normalize,
    rms_norm,
)
from graphc.primitives.elementwise import less, log
from graphc.primitives.elementwise import where as choose
from graphc.primitives.indexing import scatter

# --- dropout ----------------------------------------------------------------------------------------------------------


def _channels_dropped(x: Any, unbatched: int, p: float, training: bool, inplace: bool) -> Any:
    """Dropout of whole channels, where an input of `unbatched` dimensions has no batch dimension."""
    if len(x.shape) != unbatched:
        return feature_dropout(x, p, training, inplace)
    return squeeze(feature_dropout(unsqueeze(x, 0), p, training, inplace), 0)


def dropout1d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Dropout of whole channels; input: f32[N, C, L] or f32[C, L]. ShapeError for another number of dimensions."""
    ndim = len(need_tensor(input).shape)
    if ndim not in (2, 3):
        raise ShapeError(f"dropout1d: Expected 2D or 3D input, but received a {ndim}D input.")
    return _channels_dropped(input, 2, p, training, inplace)


def dropout2d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Dropout of whole channels; input: f32[N, C, H, W] (a 3-d input is read as [N, C, L], as in PyTorch)."""
    return feature_dropout(input, p, training, inplace)


def dropout3d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Dropout of whole channels; input: f32[N, C, D, H, W] or f32[C, D, H, W]."""
    return _channels_dropped(need_tensor(input), 4, p, training, inplace)


def _finish(x: Any, out: Any, inplace: bool) -> Any:
    return x.copy_(out) if inplace else out


# --- softmax ----------------------------------------------------------------------------------------------------------


def _softmax_dim(name: str, ndim: int) -> int:
    warnings.warn(
        f"Implicit dimension choice for {name} has been deprecated. Change the call to include dim=X as an argument.",
        stacklevel=3,
    )
    return 0 if ndim in (0, 1, 3) else 1


def softmax(input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Any:
    """exp(x) / sum(exp(x)) along `dim`."""
    return _softmax(input, _softmax_dim("softmax", len(input.shape)) if dim is None else dim, dtype)


def log_softmax(input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Any:
    """log(softmax(x)) along `dim`."""
    return _log_softmax(input, _softmax_dim("log_softmax", len(input.shape)) if dim is None else dim, dtype)


def softmin(input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Any:
    """softmax(-x) along `dim`."""
    return _softmax(-input, _softmax_dim("softmin", len(input.shape)) if dim is None else dim, dtype)


def gumbel_softmax(logits: Any, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Any:
    """A sample of the Gumbel-softmax distribution; `hard` gives one-hot vectors with the soft gradient."""
    x = need_float(logits)
    uniform = rand(*shape_of(x), dtype=x.dtype)
    tiny = number(1e-20 if x.dtype.itemsize >= 4 else 1e-7, x)
    gumbel = -log(-log(uniform + tiny) + tiny)
    soft = _softmax((x + gumbel) / tau, dim)
    if not hard:
        return soft
    best = argmax(soft, dim, keepdim=True)
    axis = dim % len(x.shape)
    chosen = scatter(zeros(*shape_of(x), dtype=x.dtype), best, ones(*shape_of(best), dtype=x.dtype), axis=axis)
    return chosen - soft.detach() + soft


def rrelu(
    input: Any, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False, inplace: bool = False
) -> Any:
    """x if positive, else a x; in training a is drawn from [lower, upper], otherwise it is their mean."""
    x = need_float(input)
    if not training:
        return leaky_relu(x, (lower + upper) / 2, inplace)
    slope = rand(*shape_of(x), dtype=x.dtype) * (upper - lower) + lower
    return _finish(x, choose(less(x, number(0, x)), x * slope, x), inplace)


def rrelu_(input: Any, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False) -> Any:
    """`rrelu` written into its input."""
    return rrelu(input, lower, upper, training, inplace=True)


__getattr__ = lazy_attributes("graphc.nn.functional", {})

__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d",
    "adaptive_max_pool1d_with_indices", "adaptive_max_pool2d", "adaptive_max_pool2d_with_indices",
    "adaptive_max_pool3d", "adaptive_max_pool3d_with_indices", "alpha_dropout", "avg_pool1d", "avg_pool2d",
    "avg_pool3d", "batch_norm", "bilinear", "binary_cross_entropy", "binary_cross_entropy_with_logits", "celu", "celu_",
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "cosine_embedding_loss",
    "cosine_similarity", "cross_entropy", "dropout", "dropout1d", "dropout2d", "dropout3d", "elu", "elu_", "embedding",
    "feature_alpha_dropout", "fold", "gaussian_nll_loss", "gelu", "glu", "group_norm", "gumbel_softmax", "hardshrink",
    "hardsigmoid", "hardswish", "hardtanh", "hardtanh_", "hinge_embedding_loss", "huber_loss", "instance_norm",
    "kl_div", "l1_loss", "layer_norm", "leaky_relu", "leaky_relu_", "linear", "local_response_norm", "log_softmax",
    "logsigmoid", "lp_pool1d", "lp_pool2d", "lp_pool3d", "margin_ranking_loss", "max_pool1d", "max_pool1d_with_indices",
    "max_pool2d", "max_pool2d_with_indices", "max_pool3d", "max_pool3d_with_indices", "max_unpool1d", "max_unpool2d",
    "max_unpool3d", "mish", "mse_loss", "multi_head_attention_forward", "multi_margin_loss",
    "multilabel_soft_margin_loss", "nll_loss", "normalize", "one_hot", "pad", "pairwise_distance", "poisson_nll_loss",
    "prelu", "relu", "relu6", "relu_", "rms_norm", "rrelu", "rrelu_", "scaled_dot_product_attention", "selu", "selu_",
    "sigmoid", "silu", "smooth_l1_loss", "soft_margin_loss", "softmax", "softmin", "softplus", "softshrink", "softsign",
    "tanh", "tanhshrink", "threshold", "threshold_", "triplet_margin_loss", "triplet_margin_with_distance_loss",
    "unfold",
    "affine_grid", "channel_shuffle", "conv_tbc", "ctc_loss", "embedding_bag", "fractional_max_pool2d",
    "fractional_max_pool2d_with_indices", "fractional_max_pool3d", "fractional_max_pool3d_with_indices", "grid_sample",
    "linear_cross_entropy", "multilabel_margin_loss", "native_channel_shuffle", "pdist", "pixel_shuffle", "pixel_unshuffle",
    "interpolate", "upsample", "upsample_bilinear", "upsample_nearest",
]  # fmt: skip
