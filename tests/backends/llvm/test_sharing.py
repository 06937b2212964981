"""Random bits: one counter for a block of words, the same bits as NumPy in every kernel they are written into."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from native_ops import compiled

import graphc as gc
from graphc.backends.llvm.sharing import run_bits
from graphc.core.op import REGISTRY
from graphc.core.scalar import const, index, leaf
from graphc.core.tensor_types import int64
from graphc.ir.kernel import Access, Kernel, Statement
from graphc.nn import functional as F

BITS = REGISTRY["random_bits"]
#: Whole vectors and rests, rows of whole blocks and others, parts for several threads.
SHAPES = [(4,), (1000,), (37, 1024), (64, 1020), (5, 9, 36), (33, 31), (3, 70000), (1,), (2, 3)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("width", [32, 64])
def test_bits_are_those_of_numpy(shape: tuple[int, ...], width: int) -> None:
    for seed, offset in ((1234567, 5), (-3, 2**40 + 1)):
        arrays = [np.array(seed), np.array(offset)]
        attrs = {"shape": shape, "width": width}
        np.testing.assert_array_equal(compiled(BITS, arrays, attrs)(arrays)[0], BITS.eval(*arrays, **attrs))


def products(shape: tuple[int, ...], width: int) -> tuple[set[int], int]:
    """How many lanes products of Philox are made for, and how many the kernel has."""
    attrs = {"shape": shape, "width": width}
    (code,) = compiled(BITS, [np.array(1), np.array(2)], attrs).translation.codes
    (text,) = code.sources
    return set(map(int, re.findall(r"mul <(\d+) x i64>", text))), int(code.how.removeprefix("vectors of "))


@pytest.mark.parametrize(
    ("shape", "width", "block"), [((64, 1024), 32, 4), ((512,), 64, 2), ((8, 8, 48), 32, 4), ((64, 1021), 32, 4)]
)
def test_a_block_is_computed_once(shape: tuple[int, ...], width: int, block: int) -> None:
    found, lanes = products(shape, width)
    assert found == {lanes // block}


def shifted(number: Any, bits: int = 2) -> Kernel:
    """A long tree over `number >> bits` along the second loop."""
    tree = number >> bits
    for n in range(20):
        tree = (tree * 3) ^ n
    load = Access(0, (0, 0), 0)
    store = Statement(tree + leaf(0, int64) + index(1), store=Access(1, (64, 1), 0))
    return Kernel((8, 64), 2, (load,), (store,), (int64, int64))


def test_which_numbers_are_the_same_in_runs() -> None:
    i, j = index(0), index(1)
    for number in (i * 64 + j, j + 8, (i * 3 + const(2, int64)) * 4 + j, j):
        assert run_bits(shifted(number), 1) == 2
    for number in (i * 62 + j, j + 2, i * 64 + j * 2, i * j, i * 64 - j, i * 64, leaf(0, int64) + j, j * i + j):
        assert run_bits(shifted(number), 1) == 0
    assert run_bits(shifted(j, 4), 1) == run_bits(shifted(j, 0), 1) == 0
    assert run_bits(shifted(i * 64 + j), 0) == run_bits(shifted(i * 64 + j), None) == 0


def test_masks_in_kernels_of_all_kinds() -> None:
    """Dropout of rows, of what is folded along either axis, beside other statements, in its gradient."""
    x = gc.tensor(np.random.default_rng(0).normal(size=(24, 400)).astype(np.float32), requires_grad=True)

    def step(x: Any) -> Any:
        y = F.dropout(x, 0.3)
        z = (y * gc.rand(24, 400)).sum(1)
        soft = F.dropout(gc.softmax(y, 1), 0.5).sum(0)
        loss = (z * z).sum() + soft.sum() + F.dropout(x.t(), 0.5).mean()
        parts = gc.rand(24, 401)[:, 1:], gc.rand(400, 24).t() * x, gc.rand(24, 800)[:, ::2] + x
        return *parts, y, z, soft, gc.rand(5, 400, dtype=gc.float64), loss, gc.autograd.grad(loss, x)[0]

    results = []
    for backend in ("numpy", "llvm"):
        gc.manual_seed(3)
        results.append(gc.compile(step, backend=backend)(x))
    for want, found in zip(*results, strict=True):
        np.testing.assert_allclose(found.detach().numpy(), want.detach().numpy(), rtol=2e-5, atol=2e-5)


def test_the_same_words_twice_in_one_kernel() -> None:
    def step(x: Any) -> Any:
        drawn = gc.randint(0, 1 << 40, (x.shape[1],))
        return gc.stack([drawn, drawn], 0), gc.rand(3, 400) + gc.rand(3, 400)

    x, results = gc.zeros(2, 400), []
    for backend in ("numpy", "llvm"):
        gc.manual_seed(3)
        results.append([y.numpy() for y in gc.compile(step, backend=backend)(x)])
    for want, found in zip(*results, strict=True):
        np.testing.assert_array_equal(found, want)
