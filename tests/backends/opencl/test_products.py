"""Matrix products and convolutions in tiles on an OpenCL device, equal to NumPy's, with tiles for processors and for cards."""

from __future__ import annotations

import zlib
from itertools import product as every
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from backends.opencl.kernel_runner import Prepared
from conformance.cases import evaluated
from native_ops import native
from tolerances import assert_close

from graphc.backends.c_like import products
from graphc.backends.c_like.heads import OPENCL
from graphc.backends.c_like.products import print_product
from graphc.backends.c_like.tiles import Target, tile_for
from graphc.backends.c_like.writing import Source
from graphc.backends.opencl.backend import OpenClBackend
from graphc.core.op import REGISTRY
from graphc.core.tensor_types import FLOAT, DType, bool_, float16, float32, float64, int8, int32, int64
from graphc.ir.kernel import Kernel
from graphc.planning.convolutions import FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT, Convolution
from graphc.planning.product_kernels import convolution_kernel, product_kernel
from graphc.planning.steps import Strided
from graphc.planning.strides import contiguous

pytestmark = pytest.mark.opencl

#: A processor with vectors of 64 and one of 32 bytes, and two graphics cards; a driver for a processor can play them all.
TARGETS = {
    "wide": Target(64, 1 << 18, 2, 64),
    "narrow": Target(64, 1 << 15, 2, 32),
    "card": Target(64, 1 << 15, 2, 0),
    "large card": Target(256, 48 << 10, 2, 0),
}


@pytest.fixture
def small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles for products that do not profit from them."""
    monkeypatch.setattr(products, "profits", lambda *_: True)


def result(kernel: Kernel, arrays: list[Any], shape: tuple[int, ...], target: Target, place: int = 0) -> Any:
    """What a kernel leaves in buffer 2."""
    source = Source()
    printed = print_product(source, kernel, target)
    assert printed is not None
    room = np.full(shape, 7, kernel.buffers[2].np)
    run = Prepared(source, printed, [*arrays[:2], room, *arrays[2:]], place)
    run.start()
    return run.buffer(2).reshape(shape)


def laid_out(x: Any, transposed: bool, dtype: DType) -> tuple[Any, Strided]:
    """An array as memory, perhaps with its last two axes the other way, and how it lies there."""
    memory = np.ascontiguousarray(x.swapaxes(-1, -2)) if transposed else np.ascontiguousarray(x)
    strides = list(contiguous(memory.shape))
    if transposed:
        strides[-1], strides[-2] = strides[-2], strides[-1]
    value: Any = SimpleNamespace(dtype=dtype)
    return memory, Strided(value, x.shape, tuple(strides), 0)


def some(shape: tuple[int, ...], dtype: DType, seed: str) -> Any:
    rng = np.random.default_rng(zlib.crc32(seed.encode()))
    if dtype.category == FLOAT:
        return rng.normal(size=shape).astype(dtype.np)
    return rng.integers(-100, 100, shape).astype(dtype.np)


def check(
    a_shape: tuple[int, ...],
    b_shape: tuple[int, ...],
    target: Target,
    dtype: DType = float32,
    transposed: tuple[bool, bool] = (False, False),
    alpha: float = 1.0,
    addend: tuple[int, ...] | None = None,
    scaled: bool = False,
) -> None:
    """A stack of products against NumPy's."""
    a, b = some(a_shape, dtype, "a"), some(b_shape, dtype, "b")
    (a_memory, a_strided), (b_memory, b_strided) = laid_out(a, transposed[0], dtype), laid_out(b, transposed[1], dtype)
    batch = np.broadcast_shapes(a_shape[:-2], b_shape[:-2])
    shape = (*batch, a_shape[-2], b_shape[-1])
    arrays, wide = [a_memory, b_memory], (np.float64 if dtype.category == FLOAT else dtype.np.type)
    want = np.matmul(a.astype(wide), b.astype(wide)) * wide(alpha)
    scale = c = None
    if scaled:
        arrays.append(some((), dtype, "scale"))
        scale = Strided(a_strided.value, (), (), 0)
        want = want * arrays[-1].astype(wide)
    if addend is not None:
        arrays.append(some(addend, dtype, "c"))
        c = laid_out(arrays[-1].reshape((1,) * (len(shape) - len(addend)) + addend), False, dtype)[1]
        want = want + arrays[-1].astype(wide)
    kernel = product_kernel(a_strided, b_strided, dtype, shape, alpha, c, scale)
    found = result(kernel, arrays, shape, target, place=3)
    assert_close(found, want.astype(dtype.np), n=a_shape[-1])


on_all = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
on_two = pytest.mark.parametrize("target", [TARGETS["wide"], TARGETS["card"]], ids=["wide", "card"])

SHAPES = {
    (1, 1, 40): [(False, False)],
    (1, 50, 9): [(False, True)],
    (50, 1, 9): [(False, False)],
    (2, 3, 1): [(False, False)],
    (17, 31, 13): [(False, False), (False, True), (True, False), (True, True)],
    (300, 5, 150): [(False, True)],
    (3, 290, 260): [(True, False)],
    (270, 290, 140): [(False, False)],
}


@on_all
@pytest.mark.usefixtures("small_ones")
@pytest.mark.parametrize(("shape", "transposed"), [(x, t) for x, ts in SHAPES.items() for t in ts], ids=str)
def test_shapes(target, shape, transposed):
    m, n, k = shape
    check((m, k), (k, n), target, transposed=transposed)


@on_two
@pytest.mark.usefixtures("small_ones")
@pytest.mark.parametrize(
    ("a", "b"), [((3, 9, 8), (3, 8, 7)), ((5, 1, 9, 8), (4, 8, 7)), ((3, 9, 8), (8, 7)), ((9, 8), (2, 3, 8, 7))]
)
def test_batches(target, a, b):
    check(a, b, target)


@on_two
@pytest.mark.parametrize("dtype", [float16, float64, int8, int32, int64], ids=lambda d: d.short)
def test_dtypes(target, dtype):
    check((30, 33), (33, 18), target, dtype, transposed=(False, True))


@on_two
@pytest.mark.parametrize("addend", [None, (18,), (30, 18), (30, 1), (1, 1)], ids=str)
def test_what_follows_the_sum(target, addend):
    check((30, 33), (33, 18), target, alpha=-0.5, addend=addend, scaled=True)


@on_all
def test_nothing_is_written_after_a_fault(target):
    x = np.ones((30, 30), np.float32)
    (_, strided), source = laid_out(x, False, float32), Source()
    printed = print_product(source, product_kernel(strided, strided, float32, x.shape, 1.0, None, None), target)
    assert printed is not None
    run = Prepared(source, printed, [x, x, x], fault=1)
    run.start()
    assert np.array_equal(run.buffer(2), x.reshape(-1))


# --- convolutions -------------------------------------------------------------------------------------------------------


def convolution(batch, groups, channels, filters, sizes, kernel, stride=1, padding=0, dilation=1) -> Convolution:
    d = len(sizes)
    stride, padding, dilation = ((x,) * d if isinstance(x, int) else x for x in (stride, padding, dilation))
    counts = tuple(
        (n + 2 * p - apart * (k - 1) - 1) // step + 1
        for n, k, step, p, apart in zip(sizes, kernel, stride, padding, dilation, strict=True)
    )
    return Convolution(float32, batch, groups, channels, filters, sizes, kernel, counts, stride, padding, dilation)


CONVOLUTIONS = {
    "1d": convolution(2, 1, 3, 5, (19,), (4,), stride=2, padding=1, dilation=2),
    "plain": convolution(2, 1, 4, 6, (9, 8), (3, 3)),
    "padded": convolution(3, 1, 4, 6, (7, 7), (3, 3), padding=1),
    "strided": convolution(2, 1, 3, 8, (11, 10), (3, 2), stride=(2, 3), padding=(1, 0)),
    "dilated": convolution(1, 1, 3, 4, (12, 9), (3, 3), padding=2, dilation=(2, 1)),
    "groups": convolution(3, 3, 2, 4, (8, 8), (3, 3), stride=2, padding=1),
    "ones": convolution(4, 1, 8, 9, (5, 6), (1, 1)),
    "3d": convolution(2, 1, 2, 3, (6, 5, 7), (2, 3, 2), stride=(1, 2, 1), padding=(1, 1, 0)),
    "many": convolution(5, 1, 40, 35, (17, 18), (3, 3), padding=1),
}


@on_two
@pytest.mark.usefixtures("small_ones")
@pytest.mark.parametrize("form", [FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(target, name, form):
    c = CONVOLUTIONS[name]
    x = some((c.batch, c.groups * c.channels, *c.sizes), float32, "x")
    w = some((c.groups * c.filters, c.channels, *c.kernel), float32, "w")
    g = some((c.batch, c.groups * c.filters, *c.counts), float32, "g")
    attrs = {"stride": c.stride, "padding": tuple((p, p) for p in c.low), "dilation": c.dilation, "groups": c.groups}
    parts, terms = min(c.batch, 2), c.channels * c.window
    if form == FORWARD:
        arrays = [x, w]
    elif form == INPUT_GRADIENT:
        arrays, attrs = [g, w], {"input_size": c.sizes, **attrs}
    else:
        arrays, attrs, terms = [x, g], {"kernel_size": c.kernel, "parts": parts, **attrs}, c.batch * c.places
    (want,) = evaluated(REGISTRY[form], arrays, attrs)
    assert_close(result(convolution_kernel(form, c, parts), arrays, want.shape, target), want, n=terms)


# --- when, and with which tiles -----------------------------------------------------------------------------------------


def plain(m: int, n: int, k: int, dtype: DType = float32) -> Kernel:
    value: Any = SimpleNamespace(dtype=dtype)
    a, b = Strided(value, (m, k), (k, 1), 0), Strided(value, (k, n), (n, 1), 0)
    return product_kernel(a, b, dtype, (m, n), 1.0, None, None)


@pytest.mark.parametrize("shape", [(1, 1, 1000), (1, 100, 100), (100, 1, 100), (100, 100, 1), (4, 4, 4)], ids=str)
def test_what_does_not_profit_is_left_to_others(shape):
    assert print_product(Source(), plain(*shape), TARGETS["card"]) is None
    assert (print_product(Source(), plain(*shape), TARGETS["wide"]) is None) == (shape in ((1, 1, 1000), (4, 4, 4)))


def test_a_fold_of_bools_is_no_sum():
    assert print_product(Source(), plain(100, 100, 100, bool_), TARGETS["wide"]) is None


@on_all
def test_sizes_share_a_text(target):
    source = Source()
    names = {print_product(source, plain(m, n, k), target).name for m, n, k in ((1000, 700, 900), (1024, 1024, 999))}
    assert len(names) == 1


@pytest.mark.parametrize("itemsize", [4, 8])
@pytest.mark.parametrize("local", [1 << 15, 1 << 16, 1 << 21])
@pytest.mark.parametrize("vector", [0, 4, 16, 64])
def test_tiles_fit(vector, local, itemsize):
    for items, units in every((16, 64, 256), (1, 100)):
        for sizes in every((2, 30, 1000), (2, 30, 1000), (3, 2000)):
            for tables in ((0, 0, 0), (0, 32, 24)):
                tile = tile_for(Target(items, local, units, vector), itemsize, 1, *sizes, tables)
                assert tile.nbytes(itemsize, tables) <= local
                assert tile.items[0] * tile.items[1] <= items
                assert tile.rows % tile.block[0] == tile.columns % (tile.block[1] * tile.lanes) == 0


# --- in programs --------------------------------------------------------------------------------------------------------


def test_programs_have_tiles():
    x, attrs = some((70, 60), float32, "x"), {"transpose_a": False, "transpose_b": True}
    executable = OpenClBackend().compile(native(REGISTRY["matmul"], [x, x], attrs))
    assert "LOCAL f32 a[" in executable.translation.source.text(OPENCL)
    assert_close(executable([x, x])[0], x @ x.T, n=60)
