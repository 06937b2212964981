"""Real data small enough to ship: the UCI optical handwritten digits (source and licence: README.md beside this)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from graphc.core.errors import ArgumentError

__all__ = ["Split", "load_digits"]

DIGITS = Path(__file__).parent / "digits.npz"


class Split(NamedTuple):
    """Training and test data. `train_x: f32[N, 64]` in [0, 1], `train_y: i64[N]` in 0..9, and the same for the test."""

    train_x: npt.NDArray[np.float32]
    train_y: npt.NDArray[np.int64]
    test_x: npt.NDArray[np.float32]
    test_y: npt.NDArray[np.int64]


def load_digits(test_fraction: float = 0.2, seed: int = 0) -> Split:
    """The 1,797 handwritten digits of 8x8 pixels, split so that each digit has the same share in both parts.

    `test_fraction` of each digit's images go to the test part. The same `seed` gives the same split in the same order.
    Raises ArgumentError for a fraction outside [0, 1].
    """
    if not 0.0 <= test_fraction <= 1.0:
        raise ArgumentError(f"load_digits: test_fraction is {test_fraction}", need="0 <= test_fraction <= 1")
    with np.load(DIGITS, allow_pickle=False) as stored:
        images, labels = stored["images"], stored["labels"]
    pixels = images.reshape(len(images), -1).astype(np.float32) / np.float32(16)
    train, test = _stratified(labels, test_fraction, np.random.default_rng(seed))
    classes = labels.astype(np.int64)
    return Split(pixels[train], classes[train], pixels[test], classes[test])


def _stratified(labels: npt.NDArray[Any], fraction: float, rng: np.random.Generator) -> tuple[Any, Any]:
    """Shuffled positions for training and test, each class divided in the same proportion."""
    train, test = [], []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        n_test = round(fraction * len(members))
        test.append(members[:n_test])
        train.append(members[n_test:])
    return rng.permutation(np.concatenate(train)), rng.permutation(np.concatenate(test))
