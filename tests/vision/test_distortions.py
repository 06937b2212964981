"""Distortions and automatic augmentation without torchvision: known results, same seeds, refusals."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gc
from graphc.vision import transforms
from graphc.vision.transforms import functional as F
from graphc.vision.transforms.autoaugment import _POLICIES, changed

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 9, 11), np.uint8)


def picture():
    return gc.from_numpy(PIXELS.copy())


def test_tones_of_bytes():
    assert np.array_equal(F.invert(picture()).numpy(), 255 - PIXELS)
    assert np.array_equal(F.posterize(picture(), 3).numpy(), PIXELS & 0b11100000)
    assert (F.posterize(picture(), 0).numpy() == 0).all() and np.array_equal(F.posterize(picture(), 8).numpy(), PIXELS)
    assert np.array_equal(F.solarize(picture(), 100).numpy(), np.where(PIXELS >= 100, 255 - PIXELS, PIXELS))
    stretched = F.autocontrast(gc.from_numpy((PIXELS // 4 + 50).astype(np.uint8))).numpy()
    assert (stretched.min((1, 2)) == 0).all() and (stretched.max((1, 2)) >= 254).all()
    flat = gc.full((1, 4, 4), 9, dtype=gc.uint8)
    assert F.autocontrast(flat).tolist() == F.equalize(flat).tolist() == flat.tolist()


def test_equalized_bytes_are_about_equally_frequent():
    dark = gc.from_numpy((np.arange(64 * 64).reshape(1, 64, 64) // 128).astype(np.uint8))
    out = F.equalize(dark).numpy()
    counts = np.histogram(out, 4, (0, 256))[0]
    assert out.min() == 0 and out.max() == 255 and np.abs(counts - 1024).max() <= 128


def test_sharpness_keeps_the_border_and_flat_parts():
    assert np.array_equal(F.adjust_sharpness(picture(), 1.0).numpy(), PIXELS)
    soft = F.adjust_sharpness(picture(), 0.0).numpy()
    assert np.array_equal(soft[:, 0], PIXELS[:, 0]) and soft[:, 1:-1, 1:-1].std() < PIXELS[:, 1:-1, 1:-1].std()
    flat = gc.full((1, 5, 5), 0.25)
    assert np.allclose(F.adjust_sharpness(flat, 3.0).numpy(), 0.25)


def test_affine_moves_by_whole_elements():
    moved = F.affine(picture(), 0.0, [2, -1], 1.0, 0.0).numpy()
    assert (
        np.array_equal(moved[:, :-1, 2:], PIXELS[:, 1:, :-2])
        and (moved[:, -1] == 0).all()
        and (moved[:, :, :2] == 0).all()
    )
    square = gc.from_numpy(PIXELS[:, :, :9].copy())
    assert np.array_equal(F.affine(square, 90, [0, 0], 1.0, 0.0).numpy(), np.rot90(PIXELS[:, :, :9], -1, (1, 2)))
    assert (
        F.affine(picture(), 0.0, [50, 0], 1.0, 0.0, fill=[1, 2, 3]).numpy() == np.array([1, 2, 3])[:, None, None]
    ).all()


@pytest.mark.parametrize(
    "transform",
    [
        transforms.TrivialAugmentWide(), transforms.RandAugment(), transforms.AutoAugment(),
        transforms.RandomAffine(20, (0.1, 0.1), (0.8, 1.2), 10), transforms.RandomPosterize(3),
    ],
)  # fmt: skip
def test_a_seed_gives_the_same_images_again(transform):
    results = []
    for seed in (1, 1, 2, 3, 4, 5):
        gc.manual_seed(seed)
        results.append([transform(picture()).tolist() for _ in range(2)])
    assert results[0] == results[1] and any(result != results[0] for result in results[2:])


def test_policies_name_known_changes():
    for policy in _POLICIES.values():
        pairs = policy.split("; ")
        assert len(pairs) == 25 and all(len(pair.split(" + ")) == 2 for pair in pairs)
        for change in policy.replace(" + ", "; ").split("; "):
            name, p, *strength = change.split()
            out = changed(
                picture(), name, float(strength[0]) / 10 if strength else 0.0, F.InterpolationMode.NEAREST, None
            )
            assert tuple(out.shape) == PIXELS.shape and 0 <= float(p) <= 1


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda x: F.affine(x, "a", (0, 0), 1.0, 0.0), TypeError, "angle should be int or float"),
        (lambda x: F.affine(x, 0, 3, 1.0, 0.0), TypeError, "translate should be a sequence"),
        (lambda x: F.affine(x, 0, (0, 0, 0), 1.0, 0.0), ValueError, "translate should be a sequence of length 2"),
        (lambda x: F.affine(x, 0, (0, 0), 0.0, 0.0), ValueError, "scale should be positive"),
        (lambda x: F.affine(x, 0, (0, 0), 1.0, 0.0, center=3), TypeError, "center should be a sequence"),
        (lambda x: F.posterize(x, 9), ValueError, "between 0 and 8. Got 9"),
        (lambda x: F.posterize(x.float(), 3), TypeError, "Only torch.uint8 image tensors are supported"),
        (lambda x: F.solarize(x, 256), TypeError, "Threshold should be less than bound of img"),
        (lambda x: F.invert(x[0]), TypeError, "at least 3 dimensions, but found 2"),
        (lambda x: transforms.RandomAffine(-1), ValueError, "If degrees is a single number, it must be positive"),
        (
            lambda x: transforms.RandomAffine(1, shear=(1, 2, 3)),
            ValueError,
            "shear should be a sequence of length 2 or 4",
        ),
        (lambda x: transforms.RandomAffine(1, 3), TypeError, "translate should be a sequence of length 2"),
        (lambda x: transforms.RandomAffine(1, (2, 0)), ValueError, "translation values should be between 0 and 1"),
        (lambda x: transforms.RandomAffine(1, None, (0, 1)), ValueError, "scale values should be positive"),
        (lambda x: transforms.AutoAugment("mine"), ValueError, "The provided policy mine is not recognized"),
    ],
)
def test_refused_with_a_clear_text(call, error, text):
    with pytest.raises(error, match=text):
        call(picture())
