"""Transforms whose changes are chosen for the user: AutoAugment, RandAugment, TrivialAugment."""

from __future__ import annotations

import math
from enum import Enum
from typing import Any

import numpy as np

from graphc.core.errors import ArgumentError
from graphc.core.lazy import lazy_attributes
from graphc.functions.random import rand, randint
from graphc.vision.transforms import functional as F
from graphc.vision.transforms.distortions import fill_for
from graphc.vision.transforms.functional import InterpolationMode
from graphc.vision.transforms.transforms import Transform

__getattr__ = lazy_attributes("graphc.vision.transforms.autoaugment", {})

#: AutoAugment's learned policies (Cubuk and others, arXiv:1805.09501): pairs of a change, its probability and its strength
_POLICIES = {
    "imagenet": (
        "Posterize 0.4 8 + Rotate 0.6 9; Solarize 0.6 5 + AutoContrast 0.6; Equalize 0.8 + Equalize 0.6; Posterize 0.6 7 "
        "+ Posterize 0.6 6; Equalize 0.4 + Solarize 0.2 4; Equalize 0.4 + Rotate 0.8 8; Solarize 0.6 3 + Equalize 0.6; "
        "Posterize 0.8 5 + Equalize 1.0; Rotate 0.2 3 + Solarize 0.6 8; Equalize 0.6 + Posterize 0.4 6; Rotate 0.8 8 + "
        "Color 0.4 0; Rotate 0.4 9 + Equalize 0.6; Equalize 0.0 + Equalize 0.8; Invert 0.6 + Equalize 1.0; Color 0.6 4 + "
        "Contrast 1.0 8; Rotate 0.8 8 + Color 1.0 2; Color 0.8 8 + Solarize 0.8 7; Sharpness 0.4 7 + Invert 0.6; ShearX "
        "0.6 5 + Equalize 1.0; Color 0.4 0 + Equalize 0.6; Equalize 0.4 + Solarize 0.2 4; Solarize 0.6 5 + AutoContrast "
        "0.6; Invert 0.6 + Equalize 1.0; Color 0.6 4 + Contrast 1.0 8; Equalize 0.8 + Equalize 0.6"
    ),
    "cifar10": (
        "Invert 0.1 + Contrast 0.2 6; Rotate 0.7 2 + TranslateX 0.3 9; Sharpness 0.8 1 + Sharpness 0.9 3; ShearY 0.5 8 + "
        "TranslateY 0.7 9; AutoContrast 0.5 + Equalize 0.9; ShearY 0.2 7 + Posterize 0.3 7; Color 0.4 3 + Brightness 0.6 "
        "7; Sharpness 0.3 9 + Brightness 0.7 9; Equalize 0.6 + Equalize 0.5; Contrast 0.6 7 + Sharpness 0.6 5; Color 0.7 "
        "7 + TranslateX 0.5 8; Equalize 0.3 + AutoContrast 0.4; TranslateY 0.4 3 + Sharpness 0.2 6; Brightness 0.9 6 + "
        "Color 0.2 8; Solarize 0.5 2 + Invert 0.0; Equalize 0.2 + AutoContrast 0.6; Equalize 0.2 + Equalize 0.6; Color "
        "0.9 9 + Equalize 0.6; AutoContrast 0.8 + Solarize 0.2 8; Brightness 0.1 3 + Color 0.7 0; Solarize 0.4 5 + "
        "AutoContrast 0.9; TranslateY 0.9 9 + TranslateY 0.7 9; AutoContrast 0.9 + Solarize 0.8 3; Equalize 0.8 + Invert "
        "0.1; TranslateY 0.7 9 + AutoContrast 0.9"
    ),
    "svhn": (
        "ShearX 0.9 4 + Invert 0.2; ShearY 0.9 8 + Invert 0.7; Equalize 0.6 + Solarize 0.6 6; Invert 0.9 + Equalize 0.6; "
        "Equalize 0.6 + Rotate 0.9 3; ShearX 0.9 4 + AutoContrast 0.8; ShearY 0.9 8 + Invert 0.4; ShearY 0.9 5 + Solarize "
        "0.2 6; Invert 0.9 + AutoContrast 0.8; Equalize 0.6 + Rotate 0.9 3; ShearX 0.9 4 + Solarize 0.3 3; ShearY 0.8 8 + "
        "Invert 0.7; Equalize 0.9 + TranslateY 0.6 6; Invert 0.9 + Equalize 0.6; Contrast 0.3 3 + Rotate 0.8 4; Invert "
        "0.8 + TranslateY 0.0 2; ShearY 0.7 6 + Solarize 0.4 8; Invert 0.6 + Rotate 0.8 4; ShearY 0.3 7 + TranslateX 0.9 "
        "3; ShearX 0.1 6 + Invert 0.6; Solarize 0.7 2 + TranslateY 0.6 7; ShearY 0.8 4 + Invert 0.8; ShearX 0.7 9 + "
        "TranslateY 0.8 3; ShearY 0.8 5 + AutoContrast 0.7; ShearX 0.7 2 + Invert 0.1"
    ),
}


class AutoAugmentPolicy(Enum):
    """The data a policy was learned on."""

    IMAGENET = "imagenet"
    CIFAR10 = "cifar10"
    SVHN = "svhn"


Space = dict[str, tuple[Any, bool]]


def _line(low: float, high: float, bins: int) -> Any:
    return np.linspace(low, high, bins, dtype=np.float32)


def _space(bins: int, shear: float, moves: tuple[float, float], turn: float, factor: float, lost_bits: int) -> Space:
    """Change -> its strengths (None for one without), and whether their sign is drawn."""
    bits = 8 - np.round(np.arange(bins) / ((bins - 1) / lost_bits)).astype(np.int64)
    factors = (_line(0.0, factor, bins), True)
    return {
        "ShearX": (_line(0.0, shear, bins), True), "ShearY": (_line(0.0, shear, bins), True),
        "TranslateX": (_line(0.0, moves[1], bins), True), "TranslateY": (_line(0.0, moves[0], bins), True),
        "Rotate": (_line(0.0, turn, bins), True), "Brightness": factors, "Color": factors, "Contrast": factors,
        "Sharpness": factors, "Posterize": (bits, False), "Solarize": (_line(255.0, 0.0, bins), False),
        "AutoContrast": (None, False), "Equalize": (None, False),
    }  # fmt: skip


def _space_for(bins: int, img: Any) -> Space:
    """The strengths of AutoAugment and RandAugment; moves go by the size of the image."""
    _, height, width = F.get_dimensions(img)
    return _space(bins, 0.3, (150.0 / 331.0 * height, 150.0 / 331.0 * width), 30.0, 0.9, 4)


_FACTORS = {
    "Brightness": F.adjust_brightness, "Color": F.adjust_saturation, "Contrast": F.adjust_contrast,
    "Sharpness": F.adjust_sharpness,
}  # fmt: skip
_PLAIN = {"AutoContrast": F.autocontrast, "Equalize": F.equalize, "Invert": F.invert}


def changed(img: Any, name: str, strength: float, interpolation: Any, fill: Any) -> Any:
    """The image after one change of that name."""
    if name == "Identity":
        return img
    if name in _PLAIN:
        return _PLAIN[name](img)
    if name in _FACTORS:
        return _FACTORS[name](img, 1.0 + strength)
    if name == "Posterize":
        return F.posterize(img, int(strength))
    if name == "Solarize":
        return F.solarize(img, strength)
    if name == "Rotate":
        return F.rotate(img, strength, interpolation, fill=fill)
    along = [1, 0] if name.endswith("X") else [0, 1]
    if name.startswith("Translate"):
        move = [int(strength) * n for n in along]
        return F.affine(img, 0.0, move, 1.0, [0.0, 0.0], interpolation, fill)
    shear = [math.degrees(math.atan(strength)) * n for n in along]
    return F.affine(img, 0.0, [0, 0], 1.0, shear, interpolation, fill, [0, 0])


def _drawn_sign(strength: float, signed: bool) -> float:
    return -strength if signed and int(randint(2, (1,)).item()) else strength


class _Augment(Transform):
    def __init__(self, interpolation: Any, fill: Any):
        super().__init__()
        self.interpolation, self.fill = interpolation, fill

    def __repr__(self) -> str:  # torchvision's shows modes whole here
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)}' for name in self.shown)})"


class AutoAugment(_Augment):
    """One of 25 learned pairs of changes, drawn for each image; each with its probability."""

    shown = ("policy", "fill")

    def __init__(
        self, policy: Any = AutoAugmentPolicy.IMAGENET, interpolation: Any = InterpolationMode.NEAREST, fill: Any = None
    ):
        super().__init__(interpolation, fill)
        if not isinstance(policy, AutoAugmentPolicy):
            raise ArgumentError(f"The provided policy {policy} is not recognized.", "an AutoAugmentPolicy")
        self.policy = policy
        self.policies = [
            [change.split() for change in pair.split(" + ")] for pair in _POLICIES[policy.value].split("; ")
        ]

    @staticmethod
    def get_params(transform_num: int) -> tuple[int, Any, Any]:
        """Which pair; for its two changes a number from 0 to 1 and a sign (0: minus)."""
        return int(randint(transform_num, (1,)).item()), rand(2), randint(2, (2,))

    def forward(self, img: Any) -> Any:
        fill = fill_for(img, self.fill)
        number, chances, signs = self.get_params(len(self.policies))
        space = _space_for(10, img)
        for (name, p, *place), chance, sign in zip(
            self.policies[number], chances.tolist(), signs.tolist(), strict=True
        ):
            if chance <= float(np.float32(float(p))):
                strengths, signed = space.get(name, (None, False))
                strength = float(strengths[int(place[0])]) if place else 0.0
                img = changed(img, name, -strength if signed and sign == 0 else strength, self.interpolation, fill)
        return img


class RandAugment(_Augment):
    """`num_ops` changes of one strength, drawn for each image (Cubuk and others, arXiv:1909.13719)."""

    shown = ("num_ops", "magnitude", "num_magnitude_bins", "interpolation", "fill")

    def __init__(
        self, num_ops: int = 2, magnitude: int = 9, num_magnitude_bins: int = 31,
        interpolation: Any = InterpolationMode.NEAREST, fill: Any = None,
    ):  # fmt: skip
        super().__init__(interpolation, fill)
        self.num_ops, self.magnitude, self.num_magnitude_bins = num_ops, magnitude, num_magnitude_bins

    def forward(self, img: Any) -> Any:
        fill = fill_for(img, self.fill)
        space: Space = {"Identity": (None, False), **_space_for(self.num_magnitude_bins, img)}
        for _ in range(self.num_ops):
            name = list(space)[int(randint(len(space), (1,)).item())]
            strengths, signed = space[name]
            strength = 0.0 if strengths is None else float(strengths[self.magnitude])
            img = changed(img, name, _drawn_sign(strength, signed), self.interpolation, fill)
        return img


class TrivialAugmentWide(_Augment):
    """One change of drawn strength for each image (Mueller and Hutter, arXiv:2103.10158)."""

    shown = ("num_magnitude_bins", "interpolation", "fill")

    def __init__(self, num_magnitude_bins: int = 31, interpolation: Any = InterpolationMode.NEAREST, fill: Any = None):
        super().__init__(interpolation, fill)
        self.num_magnitude_bins = num_magnitude_bins

    def forward(self, img: Any) -> Any:
        bins = self.num_magnitude_bins
        space: Space = {"Identity": (None, False), **_space(bins, 0.99, (32.0, 32.0), 135.0, 0.99, 6)}
        name = list(space)[int(randint(len(space), (1,)).item())]
        strengths, signed = space[name]
        strength = 0.0 if strengths is None else float(strengths[int(randint(bins, (1,)).item())])
        return changed(img, name, _drawn_sign(strength, signed), self.interpolation, fill_for(img, self.fill))


__all__ = ["AutoAugment", "AutoAugmentPolicy", "RandAugment", "TrivialAugmentWide"]
