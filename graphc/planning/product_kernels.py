"""Matrix products and convolutions as kernels: loops over what is made, and inside them a sum of products.

out[b, i, j] = alpha * sum over k of x[b, i, k] * y[b, k, j] + z[b, i, j]
out[n, f, p] = sum over c, k of x[n, c, p * stride + k * dilation - low] * w[f, c, k]
"""

from __future__ import annotations

from typing import Any

from graphc.core import scalar as s
from graphc.core.scalar import Scalar, is_half
from graphc.core.tensor_types import DType, float32, int64
from graphc.ir.kernel import Access, Kernel, Made, Statement
from graphc.planning.convolutions import (
    FORWARD,
    INPUT_GRADIENT,
    WEIGHT_GRADIENT,
    Convolution,
    both,
    meeting,
)
from graphc.planning.steps import Strided
from graphc.planning.strides import contiguous


def product_kernel(
    a: Strided, b: Strided, out: DType, shape: tuple[int, ...], alpha: float, c: Strided | None, scale: Strided | None
) -> Kernel:
    """The kernel of a stack of matrix products. Buffers: a, b, the result, then c and the scale if there are such."""
    batch, inner = len(shape) - 2, len(shape)
    x = [*_batch_strides(a, batch, shape), a.strides[-2], 0, a.strides[-1]]
    y = [*_batch_strides(b, batch, shape), 0, b.strides[-1], b.strides[-2]]
    sources: list[Any] = [Access(0, tuple(x), a.offset), Access(1, tuple(y), b.offset)]
    dtypes = [a.value.dtype, b.value.dtype, out]
    work = float32 if is_half(out) else out
    product = s.cast(s.leaf(0, dtypes[0]), work) * s.cast(s.leaf(1, dtypes[1]), work)
    fold = Statement(product, 0, True, "or" if work.category == 0 else "add", work.category != 0 and 0)
    sources.append(Made(0))
    result: Scalar = s.leaf(2, work)
    if alpha != 1:
        result = result * s.const(alpha, work)
    for extra, strides in ((scale, [0] * inner), (c, _addend_strides(c, shape))):
        if extra is not None:
            sources.append(Access(len(dtypes), (*strides, 0), extra.offset))
            dtypes.append(extra.value.dtype)
            other = s.cast(s.leaf(len(sources) - 1, extra.value.dtype), work)
            result = result * other if extra is scale else result + other
    store = Access(2, (*contiguous(shape), 0), 0)
    finish = Statement(result, 1, store=store)
    return Kernel((*shape, a.shape[-1]), inner, tuple(sources), (fold, finish), tuple(dtypes))


def _batch_strides(x: Strided, batch: int, shape: tuple[int, ...]) -> list[int]:
    missing = batch - (len(x.shape) - 2)
    own = [0 if n == 1 else step for n, step in zip(x.shape[:-2], x.strides[:-2], strict=True)]
    return [0] * missing + own


def _addend_strides(c: Strided | None, shape: tuple[int, ...]) -> list[int]:
    if c is None:
        return []
    return [0 if n == 1 != m else step for n, m, step in zip(c.shape, shape, c.strides, strict=True)]


def convolution_kernel(name: str, c: Convolution, parts: int = 1) -> Kernel:
    """The kernel of a convolution or of one of its gradients. Buffers: both operands, then the result.

    `parts`: the weight's gradient is summed for so many parts of the batch apart.
    """
    if name == WEIGHT_GRADIENT:
        return _weight_gradient(c, parts)
    return {FORWARD: _forward, INPUT_GRADIENT: _input_gradient}[name](c)


def _sum_of_products(
    c: Convolution, extents: tuple[int, ...], n_outer: int, a: Access, b: Access, inside: Scalar | None
) -> Kernel:
    product = s.leaf(0, c.dtype) * s.leaf(1, c.dtype)
    tree = product if inside is None else s.select(inside, product, s.const(0, c.dtype))
    store = Access(2, (*contiguous(extents[:n_outer]), *[0] * (len(extents) - n_outer)), 0)
    return Kernel(extents, n_outer, (a, b), (Statement(tree, 0, True, "add", 0.0, store),), (c.dtype,) * 3)


def _x(c: Convolution, at: dict[str, int], axes: int) -> tuple[Access, Scalar | None]:
    """The access of x in a window, and whether that is inside. `at`: the loops of batch, group, channel, counts and kernel."""
    total = c.groups * c.channels
    coefs, offset, inside = [0] * axes, 0, None
    coefs[at["batch"]] = total * c.elements
    coefs[at["group"]] = c.channels * c.elements
    coefs[at["channel"]] = c.elements
    for i, step in enumerate(contiguous(c.sizes)):
        p, k = at["counts"] + i, at["kernel"] + i
        coefs[p], coefs[k] = c.stride[i] * step, c.dilation[i] * step
        offset -= c.low[i] * step
        place = s.index(p) * c.stride[i] + s.index(k) * c.dilation[i] - c.low[i]
        if c.low[i]:
            inside = both(inside, place >= 0)
        if (c.counts[i] - 1) * c.stride[i] + (c.kernel[i] - 1) * c.dilation[i] - c.low[i] >= c.sizes[i]:
            inside = both(inside, place < c.sizes[i])
    return Access(0, tuple(coefs), offset, (), inside), inside


def _forward(c: Convolution) -> Kernel:
    d = len(c.sizes)
    extents = (c.batch, c.groups, c.filters, *c.counts, c.channels, *c.kernel)
    at = {"batch": 0, "group": 1, "counts": 3, "channel": 3 + d, "kernel": 4 + d}
    x, inside = _x(c, at, len(extents))
    w = contiguous((c.groups, c.filters, c.channels, *c.kernel))
    weights = Access(1, (0, *w[:2], *[0] * d, *w[2:]), 0)
    return _sum_of_products(c, extents, 3 + d, x, weights, inside)


def _weight_gradient(c: Convolution, parts: int) -> Kernel:
    """Part p sums samples from batch * p // parts on."""
    d = len(c.sizes)
    most = -(-c.batch // parts)
    extents = (parts, c.groups, c.filters, c.channels, *c.kernel, most, *c.counts)
    at = {"group": 1, "channel": 3, "kernel": 4, "batch": 4 + d, "counts": 5 + d}
    x, inside = _x(c, at, len(extents))
    steps = contiguous((c.batch, c.groups, c.filters, *c.counts))
    g = Access(1, (0, steps[1], steps[2], 0, *[0] * d, steps[0], *steps[3:]), 0)
    if c.batch % parts == 0:
        x, g = (_moved(access, 0, most * access.coefs[4 + d]) for access in (x, g))
    else:
        whole = s.const(parts, int64)
        start, end = (s.quot((s.index(0) + n) * c.batch, whole) for n in (0, 1))
        own = start + s.index(4 + d) < end
        inside = both(inside, own)
        x = x._replace(computed=((start, x.coefs[4 + d]),), guard=inside)
        g = g._replace(computed=((start, g.coefs[4 + d]),), guard=own)
    return _sum_of_products(c, extents, 4 + d, x, g, inside)


def _moved(access: Access, axis: int, step: int) -> Access:
    return access._replace(coefs=(*access.coefs[:axis], step, *access.coefs[axis + 1 :]))


def _input_gradient(c: Convolution) -> Kernel:
    d = len(c.sizes)
    extents = (c.batch, c.groups, c.channels, *c.sizes, c.filters, *c.kernel)
    n = len(extents)
    g = contiguous((c.batch, c.groups, c.filters, *c.counts))
    coefs, offset, terms = [0] * n, 0, list[tuple[Scalar, int]]()
    coefs[0], coefs[1], coefs[3 + d] = g[0], g[1], g[2]
    inside: Scalar | None = None
    for i, step in enumerate(g[3:]):
        axis, k = 3 + i, 4 + d + i
        place = meeting(c, i, s.const(0, s.index(axis).dtype), s.index(axis), s.index(k), False)
        coefs[axis] += place.turn * step
        coefs[k] += place.kernel * step
        offset += place.offset * step
        terms += [] if place.computed is None else [(place.computed, step)]
        inside = inside if place.inside is None else both(inside, place.inside)
    w = contiguous((c.groups, c.filters, c.channels, *c.kernel))
    weights = Access(1, (0, w[0], w[2], *[0] * d, w[1], *w[3:]), 0)
    return _sum_of_products(c, extents, 3 + d, Access(0, tuple(coefs), offset, tuple(terms), inside), weights, inside)
