"""`torchvision.transforms`: the transforms as objects, for images of Pillow's and for tensors.

Random ones draw from graphc's default generator (RandomChoice and RandomOrder from Python's `random`), the same draws in the
same order as torchvision; the numbers behind a seed are graphc's own, and so are the crops.
"""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from graphc.core.errors import ArgumentError, ArgumentTypeError, GraphcError
from graphc.core.lazy import lazy_attributes
from graphc.core.tape import TensorBase
from graphc.functions.creation import empty, tensor
from graphc.functions.random import rand, randint, randn, randperm
from graphc.nn.modules.module import Module
from graphc.vision.transforms import functional as F
from graphc.vision.transforms.functional import InterpolationMode, interpolation_mode

__getattr__ = lazy_attributes("graphc.vision.transforms.transforms", {})


class TransformError(GraphcError, NotImplementedError):
    """A transform without a meaning of its own was called."""


# --- draws and arguments ---------------------------------------------------------------------------------------------


def uniform(low: float, high: float) -> float:
    """A number drawn evenly from low to high."""
    return float(empty(1).uniform_(low, high).item())


def _below(limit: int) -> int:
    """A whole number from 0 to limit - 1."""
    return int(randint(0, limit, size=(1,)).item())


def happens(p: float) -> bool:
    """True with probability p."""
    return float(rand(1).item()) < p


def _aspect(ratio: Sequence[float]) -> float:
    """A ratio of sides, evenly spread on a logarithmic scale."""
    low, high = tensor(list(ratio)).log().tolist()
    return float(empty(1).uniform_(low, high).exp().item())


def _size(given: Any, name: str = "size") -> tuple[int, int]:
    sizes = list(given) if isinstance(given, Sequence) else [int(given)]
    if len(sizes) not in (1, 2):
        raise ArgumentError(f"Please provide only two dimensions (h, w) for {name}.")
    return tuple((sizes * 2)[:2])  # type: ignore[return-value]


def _ordered(name: str, given: Any) -> Any:
    if not isinstance(given, Sequence):
        raise ArgumentTypeError(f"{name} should be a sequence")
    if given[0] > given[1]:
        warnings.warn("Scale and ratio should be of kind (min, max)", stacklevel=3)
    return given


def _listed(name: str, transforms: Any, ending: str = "\n)") -> str:
    return "".join([f"{name}(", *(f"\n    {t}" for t in transforms), ending])


# --- what is the same every time -------------------------------------------------------------------------------------


class Compose:
    """One transform after another."""

    def __init__(self, transforms: Any):
        self.transforms = transforms

    def __call__(self, img: Any) -> Any:
        for transform in self.transforms:
            img = transform(img)
        return img

    def __repr__(self) -> str:
        return _listed(type(self).__name__, self.transforms)


class ToTensor:
    """An image of Pillow's, or an array [H, W, C], as a tensor [C, H, W]; bytes become floats from 0 to 1."""

    def __call__(self, pic: Any) -> Any:
        return F.to_tensor(pic)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class PILToTensor:
    """An image of Pillow's as a tensor [C, H, W] of its own values."""

    def __call__(self, pic: Any) -> Any:
        return F.pil_to_tensor(pic)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class ToPILImage:
    """A tensor [C, H, W] or an array [H, W, C] as an image of Pillow's."""

    def __init__(self, mode: str | None = None):
        self.mode = mode

    def __call__(self, pic: Any) -> Any:
        return F.to_pil_image(pic, self.mode)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'' if self.mode is None else f'mode={self.mode}'})"


class Lambda:
    """Any function as a transform."""

    def __init__(self, lambd: Callable[[Any], Any]):
        if not callable(lambd):
            raise ArgumentTypeError(f"Argument lambd should be callable, got {type(lambd).__name__!r}")
        self.lambd = lambd

    def __call__(self, img: Any) -> Any:
        return self.lambd(img)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Transform(Module):
    """A transform that is a Module, so that `nn.Sequential` takes it. `shown`: the attributes its repr tells."""

    shown: tuple[str, ...] = ()

    def __repr__(self) -> str:
        values = {name: getattr(self, name) for name in self.shown}
        told = (f"{k}={v.value if isinstance(v, InterpolationMode) else v}" for k, v in values.items())
        return f"{type(self).__name__}({', '.join(told)})"


class ConvertImageDtype(Transform):
    """Another dtype, values scaled to its range."""

    def __init__(self, dtype: Any):
        super().__init__()
        self.dtype = dtype

    def forward(self, image: Any) -> Any:
        return F.convert_image_dtype(image, self.dtype)


class Normalize(Transform):
    """(x - mean) / std of each channel."""

    shown = ("mean", "std")

    def __init__(self, mean: Any, std: Any, inplace: bool = False):
        super().__init__()
        self.mean, self.std, self.inplace = mean, std, inplace

    def forward(self, tensor: Any) -> Any:
        return F.normalize(tensor, self.mean, self.std, self.inplace)


class Resize(Transform):
    """To (height, width), or so that the shorter edge has that size."""

    shown = ("size", "interpolation", "max_size", "antialias")

    def __init__(
        self, size: Any, interpolation: Any = InterpolationMode.BILINEAR, max_size: int | None = None,
        antialias: bool | None = True,
    ):  # fmt: skip
        super().__init__()
        if not isinstance(size, int | Sequence | None):
            raise ArgumentTypeError(f"Size should be int or sequence. Got {type(size)}")
        if isinstance(size, Sequence) and len(size) not in (1, 2):
            raise ArgumentError("If size is a sequence, it should have 1 or 2 values")
        self.size, self.max_size, self.antialias = size, max_size, antialias
        self.interpolation = interpolation_mode(interpolation)

    def forward(self, img: Any) -> Any:
        return F.resize(img, self.size, self.interpolation, self.max_size, self.antialias)


class CenterCrop(Transform):
    """The middle, filled up with zeros where the image is smaller."""

    shown: tuple[str, ...] = ("size",)

    def __init__(self, size: Any):
        super().__init__()
        self.size = _size(size)

    def forward(self, img: Any) -> Any:
        return F.center_crop(img, self.size)


class FiveCrop(CenterCrop):
    """The four corners and the middle, as a tuple."""

    def forward(self, img: Any) -> Any:
        return F.five_crop(img, self.size)


class TenCrop(CenterCrop):
    """The five crops of the image and of the flipped one, as a tuple."""

    shown = ("size", "vertical_flip")

    def __init__(self, size: Any, vertical_flip: bool = False):
        super().__init__(size)
        self.vertical_flip = vertical_flip

    def forward(self, img: Any) -> Any:
        return F.ten_crop(img, self.size, self.vertical_flip)


class Pad(Transform):
    """More on each side."""

    shown = ("padding", "fill", "padding_mode")

    def __init__(self, padding: Any, fill: Any = 0, padding_mode: str = "constant"):
        super().__init__()
        self.padding, self.fill, self.padding_mode = padding, fill, padding_mode

    def forward(self, img: Any) -> Any:
        return F.pad(img, self.padding, self.fill, self.padding_mode)


class Grayscale(Transform):
    """Gray, in one channel or the same in three."""

    shown = ("num_output_channels",)

    def __init__(self, num_output_channels: int = 1):
        super().__init__()
        self.num_output_channels = num_output_channels

    def forward(self, img: Any) -> Any:
        return F.rgb_to_grayscale(img, self.num_output_channels)


# --- what is drawn ---------------------------------------------------------------------------------------------------


class RandomTransforms:
    """Base of those that choose among transforms."""

    def __init__(self, transforms: Any):
        if not isinstance(transforms, Sequence):
            raise ArgumentTypeError("Argument transforms should be a sequence")
        self.transforms = transforms

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TransformError(f"{type(self).__name__} does not say which of its transforms to use")

    def __repr__(self) -> str:
        return _listed(type(self).__name__, self.transforms)


class RandomOrder(RandomTransforms):
    """All, in an order drawn from Python's `random`."""

    def __call__(self, img: Any) -> Any:
        order = list(range(len(self.transforms)))
        random.shuffle(order)
        for i in order:
            img = self.transforms[i](img)
        return img


class RandomChoice(RandomTransforms):
    """One of them, drawn from Python's `random` with weights `p`."""

    def __init__(self, transforms: Any, p: Any = None):
        super().__init__(transforms)
        if p is not None and not isinstance(p, Sequence):
            raise ArgumentTypeError("Argument p should be a sequence")
        self.p = p

    def __call__(self, *args: Any) -> Any:
        return random.choices(self.transforms, weights=self.p)[0](*args)

    def __repr__(self) -> str:
        return f"{super().__repr__()}(p={self.p})"


class RandomApply(Transform):
    """All of them, or with probability 1 - p none."""

    def __init__(self, transforms: Any, p: float = 0.5):
        super().__init__()
        self.transforms, self.p = transforms, p

    def forward(self, img: Any) -> Any:
        if self.p < float(rand(1).item()):
            return img
        for transform in self.transforms:
            img = transform(img)
        return img

    def __repr__(self) -> str:
        return _listed(type(self).__name__, [f"p={self.p}", *self.transforms])


class RandomCrop(Transform):
    """A part of the given size from anywhere, after padding."""

    shown = ("size", "padding")

    def __init__(
        self, size: Any, padding: Any = None, pad_if_needed: bool = False, fill: Any = 0, padding_mode: str = "constant"
    ):
        super().__init__()
        self.size, self.padding, self.pad_if_needed = _size(size), padding, pad_if_needed
        self.fill, self.padding_mode = fill, padding_mode

    @staticmethod
    def get_params(img: Any, output_size: Any) -> tuple[int, int, int, int]:
        """(top, left, height, width); ArgumentError if the image is smaller."""
        _, h, w = F.get_dimensions(img)
        height, width = output_size
        if h < height or w < width:
            raise ArgumentError(f"Required crop size {(height, width)} is larger than input image size {(h, w)}")
        if (h, w) == (height, width):
            return 0, 0, h, w
        return _below(h - height + 1), _below(w - width + 1), height, width

    def forward(self, img: Any) -> Any:
        if self.padding is not None:
            img = F.pad(img, self.padding, self.fill, self.padding_mode)
        _, h, w = F.get_dimensions(img)
        if self.pad_if_needed and w < self.size[1]:
            img = F.pad(img, [self.size[1] - w, 0], self.fill, self.padding_mode)
        if self.pad_if_needed and h < self.size[0]:
            img = F.pad(img, [0, self.size[0] - h], self.fill, self.padding_mode)
        return F.crop(img, *self.get_params(img, self.size))


class Sometimes(Transform):
    """One that is applied with probability p."""

    shown = ("p",)

    def __init__(self, p: float = 0.5):
        super().__init__()
        self.p = p


class RandomHorizontalFlip(Sometimes):
    """Left and right swapped with probability p."""

    def forward(self, img: Any) -> Any:
        return F.hflip(img) if happens(self.p) else img


class RandomVerticalFlip(Sometimes):
    """Top and bottom swapped with probability p."""

    def forward(self, img: Any) -> Any:
        return F.vflip(img) if happens(self.p) else img


class RandomGrayscale(Sometimes):
    """Gray with probability p, with as many channels as before."""

    def __init__(self, p: float = 0.1):
        super().__init__(p)

    def forward(self, img: Any) -> Any:
        return F.rgb_to_grayscale(img, F.get_image_num_channels(img)) if happens(self.p) else img


class RandomResizedCrop(Transform):
    """A part whose area and ratio of sides are drawn, resized to `size`."""

    shown = ("size", "scale", "ratio", "interpolation", "antialias")

    def __init__(
        self, size: Any, scale: Any = (0.08, 1.0), ratio: Any = (3.0 / 4.0, 4.0 / 3.0),
        interpolation: Any = InterpolationMode.BILINEAR, antialias: bool | None = True,
    ):  # fmt: skip
        super().__init__()
        self.size, self.antialias = _size(size), antialias
        self.scale, self.ratio = _ordered("Scale", scale), _ordered("Ratio", ratio)
        self.interpolation = interpolation_mode(interpolation)

    @staticmethod
    def get_params(img: Any, scale: Any, ratio: Any) -> tuple[int, int, int, int]:
        """(top, left, height, width): ten tries, then the middle."""
        _, height, width = F.get_dimensions(img)
        for _ in range(10):
            area, aspect = height * width * uniform(scale[0], scale[1]), _aspect(ratio)
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < w <= width and 0 < h <= height:
                return _below(height - h + 1), _below(width - w + 1), h, w
        w, h = width, height
        if width / height < min(ratio):
            h = round(width / min(ratio))
        elif width / height > max(ratio):
            w = round(height * max(ratio))
        return (height - h) // 2, (width - w) // 2, h, w

    def forward(self, img: Any) -> Any:
        place = self.get_params(img, self.scale, self.ratio)
        return F.resized_crop(img, *place, self.size, self.interpolation, self.antialias)

    def __repr__(self) -> str:
        scale, ratio = (tuple(round(n, 4) for n in pair) for pair in (self.scale, self.ratio))
        return (
            f"{type(self).__name__}(size={self.size}, scale={scale}, ratio={ratio}, "
            f"interpolation={self.interpolation.value}, antialias={self.antialias})"
        )


class RandomRotation(Transform):
    """Turned by an angle from (low, high) degrees, or from (-degrees, degrees)."""

    def __init__(
        self, degrees: Any, interpolation: Any = InterpolationMode.NEAREST, expand: bool = False, center: Any = None,
        fill: Any = 0,
    ):  # fmt: skip
        super().__init__()
        if isinstance(degrees, int | float):
            if degrees < 0:
                raise ArgumentError("If degrees is a single number, it must be positive.")
            degrees = [-degrees, degrees]
        for name, pair in (("degrees", degrees), ("center", center)):
            if pair is not None and (not isinstance(pair, Sequence) or len(pair) != 2):
                raise ArgumentError(f"{name} should be a sequence of length 2.")
        self.degrees = [float(d) for d in degrees]
        self.interpolation, self.expand, self.center = interpolation_mode(interpolation), expand, center
        self.fill = 0 if fill is None else fill

    @staticmethod
    def get_params(degrees: Any) -> float:
        """The angle in degrees."""
        return uniform(float(degrees[0]), float(degrees[1]))

    def forward(self, img: Any) -> Any:
        fill = self.fill
        if isinstance(img, TensorBase):
            channels = F.get_image_num_channels(img)
            fill = [float(fill)] * channels if isinstance(fill, int | float) else [float(f) for f in fill]
        return F.rotate(img, self.get_params(self.degrees), self.interpolation, self.expand, self.center, fill)

    @property
    def shown(self) -> tuple[str, ...]:  # type: ignore[override]
        """The center only where one was given."""
        return ("degrees", "interpolation", "expand", *(() if self.center is None else ("center",)), "fill")


class ColorJitter(Transform):
    """Brightness, contrast, saturation and hue changed by drawn factors, in a drawn order."""

    shown = ("brightness", "contrast", "saturation", "hue")

    def __init__(self, brightness: Any = 0, contrast: Any = 0, saturation: Any = 0, hue: Any = 0):
        super().__init__()
        self.brightness = _factors("brightness", brightness)
        self.contrast = _factors("contrast", contrast)
        self.saturation = _factors("saturation", saturation)
        self.hue = _factors("hue", hue, 0, (-0.5, 0.5))

    @staticmethod
    def get_params(brightness: Any, contrast: Any, saturation: Any, hue: Any) -> tuple[Any, ...]:
        """The order as a tensor of 0 to 3, and the factors (None for what stays)."""
        order = randperm(4)
        ranges = (brightness, contrast, saturation, hue)
        return (order, *(None if r is None else uniform(r[0], r[1]) for r in ranges))

    def forward(self, img: Any) -> Any:
        order, *factors = self.get_params(self.brightness, self.contrast, self.saturation, self.hue)
        changes = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)
        for i in order.tolist():
            if factors[i] is not None:
                img = changes[i](img, factors[i])
        return img


def _factors(name: str, given: Any, center: float = 1, bound: tuple[float, float] = (0, math.inf)) -> Any:
    """(low, high), or None where nothing changes."""
    if isinstance(given, int | float):
        if given < 0:
            raise ArgumentError(f"If {name} is a single number, it must be non negative.")
        low, high = center - float(given), center + float(given)
        low = max(low, 0.0) if center else low
    elif isinstance(given, tuple | list) and len(given) == 2:
        low, high = float(given[0]), float(given[1])
    else:
        raise ArgumentTypeError(f"{name} should be a single number or a list/tuple with length 2.")
    if not bound[0] <= low <= high <= bound[1]:
        raise ArgumentError(f"{name} values should be between {bound}, but got {[low, high]}.")
    return None if low == high == center else (low, high)


class RandomErasing(Transform):
    """With probability p a rectangle of a tensor image overwritten with `value` (a number, one a channel, or "random")."""

    shown = ("p", "scale", "ratio", "value", "inplace")

    def __init__(
        self, p: float = 0.5, scale: Any = (0.02, 0.33), ratio: Any = (0.3, 3.3), value: Any = 0, inplace: bool = False
    ):
        super().__init__()
        if not isinstance(value, int | float | str | tuple | list):
            raise ArgumentTypeError("Argument value should be either a number or str or a sequence")
        if isinstance(value, str) and value != "random":
            raise ArgumentError("If value is str, it should be 'random'")
        self.scale, self.ratio = _ordered("Scale", scale), _ordered("Ratio", ratio)
        if scale[0] < 0 or scale[1] > 1:
            raise ArgumentError("Scale should be between 0 and 1")
        if not 0 <= p <= 1:
            raise ArgumentError("Random erasing probability should be between 0 and 1")
        self.p, self.value, self.inplace = p, value, inplace

    @staticmethod
    def get_params(img: Any, scale: Any, ratio: Any, value: Any = None) -> tuple[Any, ...]:
        """(top, left, height, width, what to write): ten tries, then the image as it is."""
        channels, height, width = img.shape[-3:]
        for _ in range(10):
            area, aspect = height * width * uniform(scale[0], scale[1]), _aspect(ratio)
            h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if h < height and w < width:
                v = randn(channels, h, w) if value is None else tensor(value)[:, None, None]
                return _below(height - h + 1), _below(width - w + 1), h, w, v
        return 0, 0, height, width, img

    def forward(self, img: Any) -> Any:
        if not happens(self.p):
            return img
        value = None
        if not isinstance(self.value, str):
            value = [float(v) for v in self.value] if isinstance(self.value, tuple | list) else [float(self.value)]
            if len(value) not in (1, img.shape[-3]):
                raise ArgumentError(
                    "If value is a sequence, it should have either a single value or "
                    f"{img.shape[-3]} (number of input channels)"
                )
        i, j, h, w, v = self.get_params(img, self.scale, self.ratio, value)
        return F.erase(img, i, j, h, w, v, self.inplace)


class GaussianBlur(Transform):
    """Blurred with a width drawn from `sigma`."""

    shown = ("kernel_size", "sigma")

    def __init__(self, kernel_size: Any, sigma: Any = (0.1, 2.0)):
        super().__init__()
        self.kernel_size = _size(kernel_size, "kernel_size")
        if any(n <= 0 or n % 2 == 0 for n in self.kernel_size):
            raise ArgumentError("Kernel size value should be an odd and positive number.")
        pair = (sigma, sigma) if isinstance(sigma, int | float) else sigma
        if not isinstance(pair, Sequence) or len(pair) != 2 or not 0.0 < pair[0] <= pair[1]:
            raise ArgumentError("sigma values should be positive and of the form (min, max).")
        self.sigma = pair

    @staticmethod
    def get_params(sigma_min: float, sigma_max: float) -> float:
        """The width of the kernel."""
        return uniform(sigma_min, sigma_max)

    def forward(self, img: Any) -> Any:
        sigma = self.get_params(self.sigma[0], self.sigma[1])
        return F.gaussian_blur(img, self.kernel_size, [sigma, sigma])


__all__ = [
    "CenterCrop", "ColorJitter", "Compose", "ConvertImageDtype", "FiveCrop", "GaussianBlur", "Grayscale",
    "InterpolationMode", "Lambda", "Normalize", "PILToTensor", "Pad", "RandomApply", "RandomChoice", "RandomCrop",
    "RandomErasing", "RandomGrayscale", "RandomHorizontalFlip", "RandomOrder", "RandomResizedCrop", "RandomRotation",
    "RandomVerticalFlip", "Resize", "TenCrop", "ToPILImage", "ToTensor",
]  # fmt: skip
