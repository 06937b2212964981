"""How a convolution is done sample by sample: its windows are laid out as columns near the processor and multiplied there.

    columns[c, k, p] = x[n, c, p * stride + k * dilation - low]         a kernel (none where x is its own columns)
    out[n] = w @ columns                                                a product for each group
    columns = w.T @ g[n];  gx[n] = each element's columns added up      the input's gradient, a product and a kernel
    gw += g[n] @ columns.T                                              the weight's gradient

Where the columns of a sample are more than a cache holds, a sample is done in blocks: of rows of the output, for the input's
gradient of channels. Where a sample has few windows, or there are many weights to read, several samples are done at once:
products of more columns. The channels of g and out are then brought before the samples, and back.
"""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from graphc.core import scalar as s
from graphc.core.scalar import Scalar
from graphc.core.tensor_types import DType, float32, float64, int64
from graphc.ir.kernel import Access, Kernel, Statement
from graphc.ir.program import Node
from graphc.planning.merging import merge_loops
from graphc.planning.strides import contiguous

#: Columns of at most so many bytes are made at a time, or half as many as the weights take.
COLUMNS = 1 << 19
#: Samples are cut into blocks until there are so many pieces of work, while blocks keep so many columns or rows.
PIECES, LEAST = 8, 96

#: Samples of fewer windows than this, or with weights of more bytes than that, are done several at once: so many windows.
FEW_PLACES, HEAVY, PLACES = 48, 1 << 19, 256

FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT = "convolution", "convolution_input_gradient", "convolution_weight_parts"


class Convolution(NamedTuple):
    """The numbers of one: x [n, groups * channels, *sizes], w [groups * filters, channels, *kernel], g [n, .., *counts].

    Where several samples are done at once, they are the first spatial dimension, of a kernel of size 1.
    """

    dtype: DType
    batch: int
    groups: int
    channels: int
    filters: int
    sizes: tuple[int, ...]
    kernel: tuple[int, ...]
    counts: tuple[int, ...]
    stride: tuple[int, ...]
    low: tuple[int, ...]
    dilation: tuple[int, ...]
    samples: int = 1

    @property
    def window(self) -> int:
        """Elements of a window in one channel."""
        return prod(self.kernel)

    @property
    def places(self) -> int:
        """Windows in one channel."""
        return prod(self.counts)

    @property
    def elements(self) -> int:
        """Elements of one channel of x, in all samples that are done at once."""
        return prod(self.sizes)

    @property
    def is_plain(self) -> bool:
        """Whether x is its own columns."""
        same = self.samples == 1 and self.window == 1 and not any(self.low) and set(self.stride) <= {1}
        return same and self.sizes == self.counts

    @property
    def steps(self) -> list[int]:
        """How far apart neighbours in x are: channels, then each spatial dimension."""
        if self.samples == 1:
            return [self.elements, *contiguous(self.sizes)]
        one = self.elements // self.samples
        return [one, self.groups * self.channels * one, *contiguous(self.sizes[1:])]

    @property
    def weights(self) -> int:
        """How many weights there are."""
        return self.groups * self.filters * self.channels * self.window


def is_native(node: Node) -> bool:
    """Whether the three forms here do the node: floats, and not nothing."""
    forms = node.op.name in (FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT)
    return forms and node.outputs[0].dtype in (float32, float64) and all(x.type.size for x in node.inputs)


def convolution_of(node: Node) -> Convolution:
    """The numbers of a node of kind "convolution" whose sizes are known."""
    a, b = (tuple(map(int, x.shape)) for x in node.inputs)
    attrs = node.attrs
    groups, out = attrs["groups"], tuple(map(int, node.outputs[0].shape))
    if node.op.name == FORWARD:
        x, w, g = a, b, out
    elif node.op.name == INPUT_GRADIENT:
        x, w, g = out, b, a
    else:
        x, w, g = a, out[1:], b
    return Convolution(
        node.outputs[0].dtype, x[0], groups, x[1] // groups, g[1] // groups, x[2:], w[2:], g[2:],
        tuple(attrs["stride"]), tuple(low for low, _ in attrs["padding"]), tuple(attrs["dilation"]),
    )  # fmt: skip


def grouped(c: Convolution, parts: int = 0) -> Convolution:
    """The same with several samples done at once, where one has few windows, or where many weights would be read for it.

    `parts`: each of so many equal parts of the batch must be whole groups; 0: at least PIECES groups must be left.
    """
    bytes_of_weights = c.weights * c.dtype.itemsize
    few = c.places < FEW_PLACES or bytes_of_weights > HEAVY
    if not few or (parts and c.batch % parts):
        return c
    columns = c.groups * c.channels * c.window * c.places * c.dtype.itemsize
    most = max(COLUMNS, bytes_of_weights // 2)
    whole = c.batch // parts if parts else c.batch
    largest = min(whole if parts else whole // PIECES, PLACES // c.places, most // columns)
    fitting = [n for n in range(largest, 1, -1) if whole % n == 0]
    return _together(c, fitting[0]) if fitting else c


def _together(c: Convolution, n: int) -> Convolution:
    return c._replace(
        batch=c.batch // n, sizes=(n, *c.sizes), counts=(n, *c.counts), kernel=(1, *c.kernel), stride=(1, *c.stride),
        low=(0, *c.low), dilation=(1, *c.dilation), samples=n,
    )  # fmt: skip


def rearranged(c: Convolution) -> Convolution:
    """g with its channels before the samples, as columns of g."""
    ones = (1,) * len(c.kernel)
    low = (0,) * len(c.kernel)
    return c._replace(channels=c.filters, sizes=c.counts, kernel=ones, stride=ones, dilation=ones, low=low)


def blocks(c: Convolution, of_channels: bool) -> int:
    """Into how many equal blocks a sample is cut: of rows of the output, or of channels."""
    if c.samples > 1:
        return 1
    whole = c.channels if of_channels else c.counts[0]
    columns = (
        c.groups * (1 if of_channels else c.channels) * c.window * (c.places if of_channels else prod(c.counts[1:]))
    )
    most = max(COLUMNS, c.weights * c.dtype.itemsize // 2)
    lines = c.window if of_channels else prod(c.counts[1:])
    sizes = [n for n in range(whole, 0, -1) if whole % n == 0]
    fitting = [n for n in sizes if n * columns * c.dtype.itemsize <= most] or [1]
    many = [n for n in fitting if c.batch * (whole // n) >= PIECES and n * lines >= LEAST]
    return whole // (many or fitting)[0]


def both(a: Scalar | None, b: Scalar) -> Scalar:
    """Two conditions as one."""
    return b if a is None else a & b


def columns_kernel(c: Convolution, n_blocks: int) -> Kernel:
    """Buffer 0: a sample of x; buffer 1: the columns [groups * channels, *kernel, rows of the block, ...].

    With several blocks the outermost loop counts them.
    """
    rows, d, total = c.counts[0] // n_blocks, len(c.sizes), c.groups * c.channels
    extents = (n_blocks, total, *c.kernel, rows, *c.counts[1:])
    apart, *steps = c.steps
    target = [0, *contiguous(extents[1:])]
    source, offset, inside = [0, apart, *([0] * (2 * d))], 0, None
    for i, step in enumerate(steps):
        source[2 + i], source[2 + d + i] = c.dilation[i] * step, c.stride[i] * step
        offset -= c.low[i] * step
        place = s.index(2 + d + i) * c.stride[i] + s.index(2 + i) * c.dilation[i] - c.low[i]
        if i == 0 and n_blocks > 1:
            place = place + s.index(0) * (rows * c.stride[0])
        if c.low[i]:
            inside = both(inside, place >= 0)
        if (c.counts[i] - 1) * c.stride[i] + (c.kernel[i] - 1) * c.dilation[i] - c.low[i] >= c.sizes[i]:
            inside = both(inside, place < c.sizes[i])
    source[0] = rows * source[2 + d]
    load, store = Access(0, tuple(source), offset, (), inside), Access(1, tuple(target), 0)
    statement = Statement(_filled(inside, c), store=store)
    return merge_loops(Kernel(extents, len(extents), (load,), (statement,), (c.dtype, c.dtype)))


class _Place(NamedTuple):
    """Which window an element meets, as a condition and as an index: terms for three loops, a number, computed terms."""

    inside: Scalar | None
    turn: int
    kernel: int
    offset: int
    computed: Scalar | None


def meeting(c: Convolution, i: int, phase: Scalar, turn: Scalar, k: Scalar, is_cut: bool) -> _Place:
    """The window of dimension i whose place k is at an element: (element + low - k * dilation) / stride, if it is whole.

    The element is `turn`, or where loops are cut `turn * stride + phase`.
    """
    inside, stride, apart = None, s.const(c.stride[i], int64), c.dilation[i]
    if c.stride[i] == 1:
        found = _Place(None, 1, -apart, c.low[i], None)
        window = turn - k * apart + c.low[i]
    else:
        ahead = (phase if is_cut else turn) - k * apart + c.low[i]
        inside = s.eq(s.rem(ahead, stride), 0)
        quotient = s.quot(ahead, stride)
        found = _Place(None, int(is_cut), 0, 0, quotient)
        window = turn + quotient if is_cut else quotient
    if c.low[i] < apart * (c.kernel[i] - 1):
        inside = both(inside, window >= 0)
    if (c.sizes[i] - 1 + c.low[i]) // c.stride[i] >= c.counts[i]:
        inside = both(inside, window < c.counts[i])
    return found._replace(inside=inside)


def folding_kernel(c: Convolution, n_blocks: int) -> Kernel:
    """Buffer 0: columns [groups, channels of the block, *kernel, *counts]; buffer 1: a sample of x from the block's channel on.

    Each element adds up what meets it. With strides, loops over x run over the elements of one remainder after another.
    """
    d, channels = len(c.sizes), c.channels // n_blocks
    cut = [step > 1 and size % step == 0 for size, step in zip(c.sizes, c.stride, strict=True)]
    phases = [step if even else 1 for step, even in zip(c.stride, cut, strict=True)]
    turns = [size // phase for size, phase in zip(c.sizes, phases, strict=True)]
    apart, *steps = c.steps
    target = [c.channels * apart, apart, *steps, *(x * n for x, n in zip(steps, phases, strict=True)), *[0] * d]
    columns = contiguous((c.groups, channels, *c.kernel, *c.counts))
    source, offset, inside = [*columns[:2], *[0] * (2 * d), *columns[2 : 2 + d]], 0, None
    terms: list[tuple[Scalar, int]] = []
    for i, step in enumerate(columns[2 + d :]):
        loops = s.index(2 + i), s.index(2 + d + i), s.index(2 + 2 * d + i)
        place = meeting(c, i, *loops, cut[i])
        source[2 + d + i] += place.turn * step
        source[2 + 2 * d + i] += place.kernel * step
        offset += place.offset * step
        terms += [] if place.computed is None else [(place.computed, step)]
        inside = inside if place.inside is None else both(inside, place.inside)
    extents = (c.groups, channels, *phases, *turns, *c.kernel)
    load, store = Access(0, tuple(source), offset, tuple(terms), inside), Access(1, tuple(target), 0)
    fold = Statement(_filled(inside, c), 0, True, "add", 0.0, store)
    return merge_loops(Kernel(extents, 2 + 2 * d, (load,), (fold,), (c.dtype, c.dtype)))


def _filled(inside: Scalar | None, c: Convolution) -> Scalar:
    """What is read, 0 outside."""
    tree = s.leaf(0, c.dtype)
    return tree if inside is None else s.select(inside, tree, s.const(0, c.dtype))
