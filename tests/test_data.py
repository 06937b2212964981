"""The digits in the package are the real ones, and the split is stratified and repeatable."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from graphc.core.errors import ArgumentError
from graphc.data import DIGITS, load_digits

CHECKSUM = "68aea062d35a127749050fa0e52dca09d6569ac08092c925610e0954e172dde2"


def test_the_file_holds_the_1797_images_unchanged():
    with np.load(DIGITS, allow_pickle=False) as stored:
        images, labels = stored["images"], stored["labels"]
    assert images.shape == (1797, 8, 8)
    assert images.dtype == labels.dtype == np.uint8
    assert images.max() == 16
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    table = np.concatenate([images.reshape(1797, 64), labels[:, None]], axis=1)
    assert hashlib.sha256(table.tobytes()).hexdigest() == CHECKSUM


def test_types_and_shapes():
    split = load_digits()
    assert split.train_x.dtype == split.test_x.dtype == np.float32
    assert split.train_y.dtype == split.test_y.dtype == np.int64
    assert len(split.train_x) + len(split.test_x) == 1797
    assert split.train_x.shape[1:] == split.test_x.shape[1:] == (64,)
    assert 0.0 == split.train_x.min() < split.train_x.max() == 1.0


def test_every_image_is_in_one_part_and_keeps_its_label():
    split = load_digits(test_fraction=0.3, seed=5)
    rows = np.concatenate([np.c_[split.train_x * 16, split.train_y], np.c_[split.test_x * 16, split.test_y]])
    with np.load(DIGITS, allow_pickle=False) as stored:
        want = np.c_[stored["images"].reshape(1797, 64), stored["labels"]].astype(np.float64)
    assert sorted(map(tuple, rows)) == sorted(map(tuple, want))


def test_each_digit_has_its_share_of_the_test():
    split = load_digits(test_fraction=0.2)
    test, train = np.bincount(split.test_y), np.bincount(split.train_y)
    assert np.all(np.abs(test - 0.2 * (test + train)) <= 0.5)


def test_the_seed_fixes_the_split_and_its_order():
    first, again, other = load_digits(seed=1), load_digits(seed=1), load_digits(seed=2)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first.test_y, other.test_y)
    assert np.any(np.diff(first.train_y) < 0)


def test_a_fraction_outside_0_1_is_refused():
    assert len(load_digits(test_fraction=0.0).test_x) == 0
    assert len(load_digits(test_fraction=1.0).train_x) == 0
    with pytest.raises(ArgumentError, match=r"test_fraction is 1\.5\n  need 0 <= test_fraction <= 1"):
        load_digits(test_fraction=1.5)
