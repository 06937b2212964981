"""Transforms that distort images or their colours, each drawn or applied with a probability."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphc.core.errors import ArgumentError, ArgumentTypeError
from graphc.core.tape import TensorBase
from graphc.vision.transforms import functional as F
from graphc.vision.transforms.functional import InterpolationMode, interpolation_mode
from graphc.vision.transforms.transforms import Sometimes, Transform, happens, uniform


def fill_for(img: Any, fill: Any) -> Any:
    """A fill as `functional` wants it: for tensors one number a channel."""
    if not isinstance(img, TensorBase) or fill is None:
        return fill
    values = fill if isinstance(fill, Sequence) else [fill] * F.get_image_num_channels(img)
    return [float(value) for value in values]


def _checked(name: str, values: Any, lengths: tuple[int, ...] = (2,)) -> Any:
    if not isinstance(values, Sequence):
        raise ArgumentTypeError(f"{name} should be a sequence of length {' or '.join(map(str, lengths))}.")
    if len(values) not in lengths:
        raise ArgumentError(f"{name} should be a sequence of length {' or '.join(map(str, lengths))}.")
    return values


def _angles(name: str, given: Any, lengths: tuple[int, ...] = (2,)) -> list[float]:
    if isinstance(given, int | float):
        if given < 0:
            raise ArgumentError(f"If {name} is a single number, it must be positive.")
        given = [-given, given]
    return [float(degrees) for degrees in _checked(name, given, lengths)]


class RandomAffine(Transform):
    """Turned, moved by shares of the size, scaled and sheared, each as drawn from its range."""

    def __init__(
        self, degrees: Any, translate: Any = None, scale: Any = None, shear: Any = None,
        interpolation: Any = InterpolationMode.NEAREST, fill: Any = 0, center: Any = None,
    ):  # fmt: skip
        super().__init__()
        self.degrees, self.interpolation = _angles("degrees", degrees), interpolation_mode(interpolation)
        self.translate = None if translate is None else _checked("translate", translate)
        if translate is not None and not all(0.0 <= share <= 1.0 for share in translate):
            raise ArgumentError("translation values should be between 0 and 1")
        self.scale = None if scale is None else _checked("scale", scale)
        if scale is not None and not all(factor > 0 for factor in scale):
            raise ArgumentError("scale values should be positive")
        self.shear = None if shear is None else _angles("shear", shear, (2, 4))
        self.fill, self.center = 0 if fill is None else fill, None if center is None else _checked("center", center)

    @staticmethod
    def get_params(degrees: Any, translate: Any, scale_ranges: Any, shears: Any, img_size: Any) -> tuple[Any, ...]:
        """(angle, (x, y) of the move, scale, (x, y) of the shear), drawn in this order."""
        angle, move, scale, shear = uniform(degrees[0], degrees[1]), (0, 0), 1.0, [0.0, 0.0]
        if translate is not None:
            reach = [float(share * size) for share, size in zip(translate, img_size, strict=True)]
            move = (round(uniform(-reach[0], reach[0])), round(uniform(-reach[1], reach[1])))
        if scale_ranges is not None:
            scale = uniform(scale_ranges[0], scale_ranges[1])
        for i in range(0 if shears is None else len(shears) // 2):
            shear[i] = uniform(shears[2 * i], shears[2 * i + 1])
        return angle, move, scale, tuple(shear)

    def forward(self, img: Any) -> Any:
        _, height, width = F.get_dimensions(img)
        drawn = self.get_params(self.degrees, self.translate, self.scale, self.shear, [width, height])
        angle, move, scale, shear = drawn
        return F.affine(img, angle, move, scale, shear, self.interpolation, fill_for(img, self.fill), self.center)

    @property
    def shown(self) -> tuple[str, ...]:  # type: ignore[override]
        """What was given."""
        given = [name for name in ("translate", "scale", "shear") if getattr(self, name) is not None]
        given += ["interpolation"] if self.interpolation is not InterpolationMode.NEAREST else []
        given += (["fill"] if self.fill != 0 else []) + (["center"] if self.center is not None else [])
        return ("degrees", *given)


class _Changed(Sometimes):
    """A function of `functional` applied with probability p; `setting`: the name of its argument."""

    function: Callable[..., Any]
    setting = ""

    def forward(self, img: Any) -> Any:
        arguments = (getattr(self, self.setting),) if self.setting else ()
        return type(self).function(img, *arguments) if happens(self.p) else img

    def __repr__(self) -> str:
        setting = f"{self.setting}={getattr(self, self.setting)}," if self.setting else ""
        return f"{type(self).__name__}({setting}p={self.p})"


class RandomInvert(_Changed):
    """Light for dark."""

    function = staticmethod(F.invert)


class RandomAutocontrast(_Changed):
    """Each channel stretched to the whole range."""

    function = staticmethod(F.autocontrast)


class RandomEqualize(_Changed):
    """Bytes spread so that all are about equally frequent."""

    function = staticmethod(F.equalize)


class RandomPosterize(_Changed):
    """Only the highest bits of each byte."""

    function, setting = staticmethod(F.posterize), "bits"

    def __init__(self, bits: int, p: float = 0.5):
        super().__init__(p)
        self.bits = bits


class RandomSolarize(_Changed):
    """Inverted where not below a threshold."""

    function, setting = staticmethod(F.solarize), "threshold"

    def __init__(self, threshold: float, p: float = 0.5):
        super().__init__(p)
        self.threshold = threshold


class RandomAdjustSharpness(_Changed):
    """Sharper or softer by a factor."""

    function, setting = staticmethod(F.adjust_sharpness), "sharpness_factor"

    def __init__(self, sharpness_factor: float, p: float = 0.5):
        super().__init__(p)
        self.sharpness_factor = sharpness_factor


__all__ = [
    "RandomAdjustSharpness", "RandomAffine", "RandomAutocontrast", "RandomEqualize", "RandomInvert", "RandomPosterize",
    "RandomSolarize",
]  # fmt: skip
