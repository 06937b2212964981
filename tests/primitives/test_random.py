"""Philox against the known answers of its authors, and the statistics and shapes of `random_bits`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphc.core.dims import Dim
from graphc.core.tensor_types import TensorType, int32, int64, type_of_array
from graphc.primitives import random
from graphc.primitives.random import philox, random_bits, random_words

ONES = 0xFFFFFFFF
# Random123 1.14.0, tests/kat_vectors, the lines "philox4x32 10"
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES, ONES, ONES, ONES), (ONES, ONES), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def bits(seed: int, offset: int, shape: tuple[int, ...], width: int) -> Any:
    return random_bits.eval(np.array(seed, np.int64), np.array(offset, np.int64), shape=shape, width=width)


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_known_answers(counter: tuple[int, ...], key: tuple[int, int], answer: tuple[int, ...]) -> None:
    a, b, c, d = (np.array([word, word], np.uint64) for word in counter)
    for words, expected in zip(philox((a, b, c, d), key), answer, strict=True):
        assert words.tolist() == [expected, expected]


def test_known_answer_through_the_op() -> None:
    assert bits(0, 0, (4,), 32).view(np.uint32).tolist() == list(KNOWN[0][2])
    first, second, third, fourth = KNOWN[0][2]
    assert bits(0, 0, (2,), 64).view(np.uint64).tolist() == [second << 32 | first, fourth << 32 | third]


def test_seed_and_offset_are_64_bits_wide() -> None:
    seed, offset = 0x299F31D0_A4093822, 0x03707344_13198A2E
    a, b, c, d = (np.array([word], np.uint64) for word in (0, 0, 0x13198A2E, 0x03707344))
    expected = [int(w[0]) for w in philox((a, b, c, d), (0xA4093822, 0x299F31D0))]
    assert bits(seed, offset, (4,), 32).view(np.uint32).tolist() == expected
    assert bits(-1, -1, (4,), 32).tolist() == random_words(2**64 - 1, 2**64 - 1, 4).view(np.int32).tolist()


@pytest.mark.parametrize("width", [32, 64])
def test_an_element_depends_on_its_position_alone(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    long = bits(7, 9, (1000,), width)
    np.testing.assert_array_equal(bits(7, 9, (10, 100), width).ravel(), long)
    for count in (1, 2, 3, 5, 998, 999):
        np.testing.assert_array_equal(bits(7, 9, (count,), width), long[:count])
    monkeypatch.setattr(random, "_CHUNK", 7)
    np.testing.assert_array_equal(bits(7, 9, (1000,), width), long)


@pytest.mark.parametrize(("seed", "offset"), [(0, 0), (1, 0), (0, 1), (12345, 678)])
def test_bits_look_random(seed: int, offset: int) -> None:
    words = bits(seed, offset, (1 << 16,), 32).view(np.uint32)
    ones = np.unpackbits(words.view(np.uint8).reshape(-1, 4), axis=1).mean(axis=0)
    assert np.abs(ones - 0.5).max() < 5 * 0.5 / 256  # five standard deviations of 2^16 coins
    counts = np.bincount(words >> 24, minlength=256)
    assert ((counts - 256.0) ** 2 / 256).sum() < 255 + 5 * (2 * 255) ** 0.5  # chi-squared
    assert abs(np.corrcoef(words[:-1], words[1:])[0, 1]) < 5 / 256


@pytest.mark.parametrize(("seed", "offset"), [(0, 0), (-1, 5), (2**63 - 1, 2**40), (-(2**63), -1)])
def test_few_words_are_the_first_of_many(seed: int, offset: int) -> None:
    many = random_words(seed, offset, 200)
    for count in range(45):
        few = random_words(seed, offset, count)
        assert few.dtype == np.uint32 and np.array_equal(few, many[:count])


def test_streams_differ() -> None:
    streams = [bits(s, o, (64,), 32) for s in (0, 1) for o in (0, 1)]
    assert len({stream.tobytes() for stream in streams}) == 4


def test_the_shape_rule_tells_what_evaluation_gives() -> None:
    for sample in random_bits.samples():
        out = random_bits.eval(*sample.inputs, **sample.attrs)
        assert type_of_array(out) == random_bits.infer(*map(type_of_array, sample.inputs), **sample.attrs)
    n, key = Dim.named("n"), TensorType((), int64)
    assert random_bits.infer(key, key, shape=(n, 3), width=32) == TensorType((n, 3), int32)


def test_faults_are_refused() -> None:
    for sample in random_bits.errors():
        with pytest.raises(sample.error, match=sample.match):
            random_bits.infer(*map(type_of_array, sample.inputs), **sample.attrs)
