"""What `functional` does to Pillow's images. Pillow loads on first use; the extra `vision` brings it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.core.errors import ArgumentError
from graphc.core.lazy import lazy_import

HINT = "pip install pillow (images that are not tensors are Pillow's; graphc's extra `vision` brings it)"
Image = lazy_import("PIL.Image", HINT)
ImageEnhance = lazy_import("PIL.ImageEnhance", HINT)
ImageOps = lazy_import("PIL.ImageOps", HINT)

#: the modes whose elements are no bytes
NUMPY_TYPES = {"I": np.int32, "I;16": np.int16, "F": np.float32}


def is_pil(img: Any) -> bool:
    """Whether it is an image of Pillow's."""
    return "PIL.Image" in sys.modules and isinstance(img, Image.Image)


def dimensions(img: Any) -> list[int]:
    """[channels, height, width]."""
    return [len(img.getbands()), img.height, img.width]


def from_array(array: Any, mode: str) -> Any:
    """An image of that mode, of an array [height, width] or [height, width, channels] with its bytes."""
    array = np.ascontiguousarray(array)
    return Image.frombytes(mode, array.shape[1::-1], array.tobytes())


def hflip(img: Any) -> Any:
    """Left and right swapped."""
    return img.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def vflip(img: Any) -> Any:
    """Top and bottom swapped."""
    return img.transpose(Image.Transpose.FLIP_TOP_BOTTOM)


def crop(img: Any, top: int, left: int, height: int, width: int) -> Any:
    """A part of the image; black where it reaches beyond."""
    return img.crop((left, top, left + width, top + height))


def pad(img: Any, padding: Sequence[int], fill: Any, mode: str) -> Any:
    """`padding`: left, top, right, bottom."""
    if mode == "constant":
        out = ImageOps.expand(img, border=tuple(padding), fill=_colour(fill, img))
    else:
        left, top, right, bottom = (max(n, 0) for n in padding)
        cut = [max(-n, 0) for n in padding]
        pixels = np.asarray(img.crop((cut[0], cut[1], img.width - cut[2], img.height - cut[3])))
        sides = [(top, bottom), (left, right)] + [(0, 0)] * (pixels.ndim - 2)
        out = Image.fromarray(np.pad(pixels, sides, mode))  # type: ignore[call-overload]
    if img.mode == "P":
        out.putpalette(img.getpalette())
    return out


def _colour(fill: Any, img: Any) -> Any:
    """A fill as Pillow wants it: one number, or one for each channel."""
    channels = len(img.getbands())
    fill = 0 if fill is None else fill
    values = list(fill) if isinstance(fill, tuple | list) else [fill]
    if len(values) not in (1, channels):
        raise ArgumentError(
            "The number of elements in 'fill' does not match the number of channels of the image "
            f"({len(values)} != {channels})"
        )
    values = values * channels if len(values) == 1 else values
    values = values if img.mode == "F" else [int(v) for v in values]
    return values[0] if channels == 1 else tuple(values)


def resize(img: Any, size: Sequence[int], number: int) -> Any:
    """Resized to (height, width) by Pillow's resampling filter of that number."""
    return img.resize(tuple(size[::-1]), number)


def rotate(img: Any, angle: float, number: int, expand: bool, center: Any, fill: Any) -> Any:
    """Turned counter-clockwise by `angle` degrees."""
    return img.rotate(angle, number, expand, center, fillcolor=_colour(fill, img))


def grayscale(img: Any, channels: int) -> Any:
    """Luma (ITU-R 601-2), in one channel or the same in three."""
    if channels not in (1, 3):
        raise ArgumentError("num_output_channels should be either 1 or 3")
    gray = img.convert("L")
    return gray if channels == 1 else Image.merge("RGB", (gray, gray, gray))


def adjust_brightness(img: Any, factor: float) -> Any:
    """Blended with black."""
    return ImageEnhance.Brightness(img).enhance(factor)


def adjust_contrast(img: Any, factor: float) -> Any:
    """Blended with its mean gray."""
    return ImageEnhance.Contrast(img).enhance(factor)


def adjust_saturation(img: Any, factor: float) -> Any:
    """Blended with its gray version."""
    return ImageEnhance.Color(img).enhance(factor)


def adjust_sharpness(img: Any, factor: float) -> Any:
    """Blended with a slightly blurred version."""
    return ImageEnhance.Sharpness(img).enhance(factor)


def invert(img: Any) -> Any:
    """Light for dark."""
    return ImageOps.invert(img)


def posterize(img: Any, bits: int) -> Any:
    """Only the highest `bits` of each byte."""
    return ImageOps.posterize(img, bits)


def solarize(img: Any, threshold: float) -> Any:
    """`invert` of what is not below the threshold."""
    return ImageOps.solarize(img, threshold)


def autocontrast(img: Any) -> Any:
    """Each channel stretched to the whole range."""
    return ImageOps.autocontrast(img)


def equalize(img: Any) -> Any:
    """Each channel's bytes spread so that all are about equally frequent."""
    return ImageOps.equalize(img)


def affine(img: Any, matrix: Sequence[float], number: int, fill: Any) -> Any:
    """Place (x, y) shows the place `matrix` @ (x, y, 1) of the image."""
    return img.transform(img.size, Image.Transform.AFFINE, matrix, number, fillcolor=_colour(fill, img))


def adjust_hue(img: Any, factor: float) -> Any:
    """Hues turned by `factor` of the circle."""
    if img.mode in ("L", "1", "I", "F"):
        return img
    h, s, v = img.convert("HSV").split()
    turned = np.array(h, np.uint8) + np.int32(factor * 255).astype(np.uint8)  # wraps around, as hues do
    return Image.merge("HSV", (from_array(turned, "L"), s, v)).convert(img.mode)


def adjust_gamma(img: Any, gamma: float, gain: float) -> Any:
    """gain * x ** gamma, of values from 0 to 1."""
    table = [int((255 + 1 - 1e-3) * gain * pow(level / 255.0, gamma)) for level in range(256)] * 3
    return img.convert("RGB").point(table).convert(img.mode)
