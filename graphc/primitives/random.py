"""Random bits from a counter: the same (seed, offset) gives the same bits on every backend, in any order.

Philox 4x32-10, J. K. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011. The key is the seed; the
counter is (number of the block, offset); a block is four 32-bit words.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphc.core import scalar as s
from graphc.core.dims import Shape
from graphc.core.errors import ArgumentError, DtypeError, ShapeError
from graphc.core.op import ErrorSample, Kind, Sample, declare
from graphc.core.tensor_types import TensorType, int32, int64

Array = np.ndarray[Any, Any]

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_WORD = 0xFFFFFFFF
_CHUNK = 8192  # blocks: the working arrays of a chunk stay in the second-level cache
_FEW = 8  # blocks up to which Python's own integers are faster than NumPy's calls
# 0-d arrays: ufuncs take them faster than NumPy scalars
_FIRST, _SECOND, _LOW, _SHIFT = (np.array(n, np.uint64) for n in (*MULTIPLIERS, _WORD, 32))


def philox(counter: tuple[Array, Array, Array, Array], key: tuple[int, int]) -> tuple[Array, Array, Array, Array]:
    """Ten rounds on counters held as uint64 arrays of 32-bit words, which are overwritten; returns the four words."""
    a, b, c, d = counter
    high = np.empty_like(a)
    steps = np.arange(ROUNDS, dtype=np.uint64) * np.array(KEY_STEPS, np.uint64)[:, None]
    keys = (np.array(key, np.uint64)[:, None] + steps) & _LOW
    for i in range(ROUNDS):
        # a, c are multiplied in place; their high halves meet d, b, and the arrays change places
        np.multiply(a, _FIRST, a)
        np.multiply(c, _SECOND, c)
        np.right_shift(c, _SHIFT, high)
        np.bitwise_xor(b, high, b)
        np.bitwise_xor(b, keys[0, i, ...], b)
        np.right_shift(a, _SHIFT, high)
        np.bitwise_xor(d, high, d)
        np.bitwise_xor(d, keys[1, i, ...], d)
        np.bitwise_and(a, _LOW, a)
        np.bitwise_and(c, _LOW, c)
        a, b, c, d = b, c, d, a
    return a, b, c, d


def random_words(seed: int, offset: int, count: int) -> Array:
    """The first `count` 32-bit words of the stream (seed, offset)."""
    seed, offset = seed & (1 << 64) - 1, offset & (1 << 64) - 1
    blocks = -(-count // 4)
    if blocks <= _FEW:
        return np.array([w for i in range(blocks) for w in _words_of_block(i, offset, seed)], np.uint32)[:count]
    words = np.empty((blocks, 4), np.uint32)
    for start in range(0, blocks, _CHUNK):
        part = words[start : start + _CHUNK]
        number = np.arange(start, start + len(part), dtype=np.uint64)
        low, high = np.full_like(number, offset & _WORD), np.full_like(number, offset >> 32)
        counter = (number & _LOW, number >> _SHIFT, low, high)
        for i, word in enumerate(philox(counter, (seed & _WORD, seed >> 32))):
            part[:, i] = word
    return words.reshape(-1)[:count]


def _words_of_block(block: Any, offset: Any, seed: Any) -> tuple[Any, ...]:
    """The four words of a block, each in an int64 tree; of Python's integers, as they are."""
    a, b, c, d = block & _WORD, (block >> 32) & _WORD, offset & _WORD, (offset >> 32) & _WORD
    low, high = seed & _WORD, (seed >> 32) & _WORD
    for i in range(ROUNDS):
        first, second = a * MULTIPLIERS[0], c * MULTIPLIERS[1]
        keys = (low + i * KEY_STEPS[0]) & _WORD, (high + i * KEY_STEPS[1]) & _WORD
        a, c = b ^ ((second >> 32) & _WORD) ^ keys[0], d ^ ((first >> 32) & _WORD) ^ keys[1]
        b, d = second & _WORD, first & _WORD
    return a, b, c, d


def _random_bits_element(
    at: Any, index: Any, seed: TensorType, offset: TensorType, *, shape: tuple[int, ...], width: int
) -> Any:
    place = s.const(0, int64)
    for i, size in zip(index, shape, strict=True):
        place = place * size + at.tree(i)
    in_block = 4 if width == 32 else 2
    a, b, c, d = _words_of_block(place >> (in_block // 2), at(1, ()), at(0, ()))
    part = place & (in_block - 1)
    if width == 64:
        first = s.eq(part, 0)
        return s.select(first, a, c) | (s.select(first, b, d) << 32)
    a, b, c, d = (s.cast(word, int32) for word in (a, b, c, d))
    return s.select(part < 2, s.select(s.eq(part, 0), a, b), s.select(s.eq(part, 2), c, d))


def _random_bits_type(seed: TensorType, offset: TensorType, *, shape: Shape, width: int) -> TensorType:
    for name, operand in (("seed", seed), ("offset", offset)):
        if operand.dtype is not int64:
            raise DtypeError(f"{name} is {operand.dtype.name}", need="an int64 tensor")
        if operand.shape:
            raise ShapeError(f"{name} has dimensions", need=f"a 0-d tensor, got {operand}")
    if width not in (32, 64):
        raise ArgumentError(f"width is {width}", need="32 or 64")
    return TensorType(shape, int32 if width == 32 else int64)


def _random_bits(seed: Array, offset: Array, *, shape: tuple[int, ...], width: int) -> Array:
    count = int(np.prod(shape, dtype=np.int64))
    if width == 32:
        return random_words(int(seed), int(offset), count).view(np.int32).reshape(shape)
    words = random_words(int(seed), int(offset), 2 * count)
    return words.astype("<u4", copy=False).view("<i8").astype(np.int64, copy=False).reshape(shape)


def _samples() -> Iterator[Sample]:
    keys = ((0, 0), (1, 0), (-1, -1), (2**40 + 7, 3), (42, 2**33))
    shapes: tuple[tuple[int, ...], ...] = ((), (5,), (2, 3), (0,), (2, 0, 3))
    for (seed, offset), shape in zip(keys, shapes, strict=True):
        for width in (32, 64):
            yield Sample((np.array(seed, np.int64), np.array(offset, np.int64)), {"shape": shape, "width": width})


def _errors() -> Iterator[ErrorSample]:
    zero, attrs = np.array(0, np.int64), {"shape": (2,), "width": 32}
    yield ErrorSample((np.array(0, np.int32), zero), attrs, DtypeError, "seed is int32")
    yield ErrorSample((zero, np.zeros(1, np.int64)), attrs, ShapeError, "offset has dimensions")
    yield ErrorSample((zero, zero), {"shape": (2,), "width": 16}, ArgumentError, "width is 16")


random_bits = declare(
    "random_bits",
    weight=10,
    infer=_random_bits_type,
    eval=_random_bits,
    element=_random_bits_element,
    kind=Kind("random"),
    samples=_samples,
    errors=_errors,
)
