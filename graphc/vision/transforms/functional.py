"""`torchvision.transforms.functional`: functions of images, Pillow's or tensors [..., channels, height, width].

Tensors need no Pillow. Whole-number tensors are rounded where torchvision rounds; a resized one may differ by one level.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from enum import Enum
from typing import Any

import numpy as np

from graphc.core.errors import ArgumentError, ArgumentTypeError
from graphc.core.lazy import lazy_attributes
from graphc.core.tape import TensorBase
from graphc.core.tensor_types import defaults, float32, uint8
from graphc.functions.creation import from_numpy
from graphc.vision.transforms import pil_images, tensor_images

__getattr__ = lazy_attributes("graphc.vision.transforms.functional", {})


class InterpolationMode(Enum):
    """How a resized image gets its elements."""

    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


#: Pillow's number of each mode
_NUMBERS = {"nearest": 0, "nearest-exact": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}
_PADDING_MODES = ("constant", "edge", "reflect", "symmetric")


def interpolation_mode(given: Any) -> InterpolationMode:
    """A mode, also from Pillow's number of it."""
    if isinstance(given, InterpolationMode):
        return given
    by_number = {number: InterpolationMode(name) for name, number in _NUMBERS.items() if name != "nearest-exact"}
    if isinstance(given, int) and given in by_number:
        return by_number[given]
    raise ArgumentTypeError(
        "Argument interpolation should be a InterpolationMode or a corresponding Pillow integer constant"
    )


def _side(img: Any) -> Any:
    """The file that knows what to do with the image; ArgumentTypeError for what is none."""
    if isinstance(img, TensorBase):
        return tensor_images
    if pil_images.is_pil(img):
        return pil_images
    raise ArgumentTypeError(f"img should be PIL Image or Tensor. Got {type(img)}")


def get_dimensions(img: Any) -> list[Any]:
    """[channels, height, width]."""
    return _side(img).dimensions(img)


def get_image_size(img: Any) -> list[Any]:
    """[width, height]."""
    _, height, width = get_dimensions(img)
    return [width, height]


def get_image_num_channels(img: Any) -> Any:
    """How many channels."""
    return get_dimensions(img)[0]


# --- between Pillow, NumPy and tensors -------------------------------------------------------------------------------


def to_tensor(pic: Any) -> Any:
    """An image of Pillow's, or an array [H, W] or [H, W, C], as a tensor [C, H, W]; bytes become floats from 0 to 1."""
    if isinstance(pic, np.ndarray):
        if pic.ndim not in (2, 3):
            raise ArgumentError(f"pic should be 2/3 dimensional. Got {pic.ndim} dimensions.")
        pixels = pic
    elif pil_images.is_pil(pic):
        pixels = np.array(pic, pil_images.NUMPY_TYPES.get(pic.mode, np.uint8))
        pixels = pixels * 255 if pic.mode == "1" else pixels
    else:
        raise ArgumentTypeError(f"pic should be PIL Image or ndarray. Got {type(pic)}")
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    img = from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    return img.to(defaults.float_dtype).div(255) if img.dtype is uint8 else img


def pil_to_tensor(pic: Any) -> Any:
    """An image of Pillow's as a tensor [C, H, W] of its own values."""
    if not pil_images.is_pil(pic):
        raise ArgumentTypeError(f"pic should be PIL Image. Got {type(pic)}")
    pixels = np.array(pic)
    return from_numpy(pixels[:, :, None] if pixels.ndim == 2 else pixels).permute(2, 0, 1)


def convert_image_dtype(image: Any, dtype: Any = float32) -> Any:
    """The image as `dtype`, its values scaled from one type's range to the other's (0 to 1 for floats)."""
    if not isinstance(image, TensorBase):
        raise ArgumentTypeError("Input img should be Tensor Image")
    return tensor_images.convert_dtype(image, dtype)


#: channels -> the modes an image of as many may have, the first unless asked
_MODES = {2: ("LA",), 3: ("RGB", "YCbCr", "HSV"), 4: ("RGBA", "CMYK", "RGBX")}
_MODES_OF_ONE = {"uint8": "L", "int16": "I;16", "int32": "I", "float32": "F"}


def to_pil_image(pic: Any, mode: str | None = None) -> Any:
    """A tensor [C, H, W] or [H, W], or an array [H, W, C] or [H, W], as an image of Pillow's; floats are scaled by 255."""
    if isinstance(pic, TensorBase):
        pixels = pic.detach().cpu().numpy()  # type: ignore[attr-defined]
        pixels = pixels.transpose(1, 2, 0) if pixels.ndim == 3 else pixels
    elif isinstance(pic, np.ndarray):
        pixels = pic
    else:
        raise ArgumentTypeError(f"pic should be Tensor or ndarray. Got {type(pic)}.")
    if pixels.ndim not in (2, 3):
        raise ArgumentError(f"pic should be 2/3 dimensional. Got {pixels.ndim} dimensions.")
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    if pixels.shape[2] > 4:
        raise ArgumentError(f"pic should not have > 4 channels. Got {pixels.shape[2]} channels.")
    if np.issubdtype(pixels.dtype, np.floating) and mode != "F":
        pixels = (pixels * 255).astype(np.uint8)
    return pil_images.from_array(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels, _mode_for(pixels, mode))


def _mode_for(pixels: Any, mode: str | None) -> str:
    channels, dtype = pixels.shape[2], pixels.dtype.name
    if channels == 1:
        fitting = _MODES_OF_ONE.get(dtype)
        if mode is not None and mode != fitting:
            raise ArgumentError(f"Incorrect mode ({mode}) supplied for input type {dtype}. Should be {fitting}")
    else:
        if mode is not None and mode not in _MODES[channels]:
            raise ArgumentError(f"Only modes {list(_MODES[channels])} are supported for {channels}D inputs")
        fitting = mode or (_MODES[channels][0] if dtype == "uint8" else None)
    if fitting is None:
        raise ArgumentTypeError(f"Input type {dtype} is not supported")
    return fitting


def normalize(tensor: Any, mean: Any, std: Any, inplace: bool = False) -> Any:
    """(x - mean) / std of each channel of a float tensor."""
    if not isinstance(tensor, TensorBase):
        raise ArgumentTypeError(f"img should be Tensor Image. Got {type(tensor)}")
    return tensor_images.normalize(tensor, mean, std, inplace)


# --- sizes -----------------------------------------------------------------------------------------------------------


def _resized(size: Any, height: int, width: int, max_size: int | None) -> list[int]:
    """(height, width) of an image whose shorter edge becomes `size`, or of that size; not longer than `max_size`."""
    sizes = list(size) if isinstance(size, tuple | list) else [size]
    if len(sizes) not in (1, 2):
        raise ArgumentError(
            f"Size must be an int or a 1 or 2 element tuple/list, not a {len(sizes)} element tuple/list"
        )
    if len(sizes) == 2:
        if max_size is not None:
            raise ArgumentError("max_size should only be passed if size specifies the length of the smaller edge")
        return sizes
    short, long = min(height, width), max(height, width)
    if sizes[0] is None:
        if max_size is None:
            raise ArgumentError("max_size must be an integer when size is None, but got None instead.")
        new_short, new_long = int(max_size * short / long), max_size
    else:
        new_short, new_long = sizes[0], int(sizes[0] * long / short)
        if max_size is not None and max_size <= sizes[0]:
            raise ArgumentError(
                f"max_size = {max_size} must be strictly greater than the requested size for the smaller edge size = {size}"
            )
        if max_size is not None and new_long > max_size:
            new_short, new_long = int(max_size * new_short / new_long), max_size
    return [new_long, new_short] if width <= height else [new_short, new_long]


def resize(
    img: Any, size: Any, interpolation: Any = InterpolationMode.BILINEAR, max_size: int | None = None,
    antialias: bool | None = True,
) -> Any:  # fmt: skip
    """Resized to (height, width), or so that the shorter edge has that size."""
    mode = interpolation_mode(interpolation).value
    _, height, width = get_dimensions(img)
    wanted = _resized(size, height, width, max_size)
    if [height, width] == wanted:
        return img
    if isinstance(img, TensorBase):
        return tensor_images.resize(img, wanted, mode, antialias)
    if antialias is False:
        warnings.warn(
            "Anti-alias option is always applied for PIL Image input. Argument antialias is ignored.", stacklevel=2
        )
    return pil_images.resize(img, wanted, _NUMBERS[mode])


def pad(img: Any, padding: Any, fill: Any = 0, padding_mode: str = "constant") -> Any:
    """`padding` more on each side: one number, (left and right, top and bottom), or (left, top, right, bottom)."""
    sides = list(padding) if isinstance(padding, tuple | list) else [padding]
    if not all(isinstance(n, int) for n in sides):
        raise ArgumentTypeError(f"Got inappropriate padding arg: {padding!r}")
    if len(sides) not in (1, 2, 4):
        raise ArgumentError(f"Padding must be an int or a 1, 2, or 4 element tuple, not a {len(sides)} element tuple")
    if padding_mode not in _PADDING_MODES:
        raise ArgumentError("Padding mode should be either constant, edge, reflect or symmetric")
    return _side(img).pad(img, (sides * 4)[:4], fill, padding_mode)


def crop(img: Any, top: int, left: int, height: int, width: int) -> Any:
    """A part of the image, filled up with zeros where it reaches beyond."""
    return _side(img).crop(img, top, left, height, width)


def center_crop(img: Any, output_size: Any) -> Any:
    """The middle of the image, filled up with zeros where it is smaller: (height, width), or one number for both."""
    sizes = list(output_size) if isinstance(output_size, tuple | list) else [int(output_size)]
    height, width = sizes * 2 if len(sizes) == 1 else sizes
    _, h, w = get_dimensions(img)
    if width > w or height > h:
        more = max(width - w, 0), max(height - h, 0)
        img = pad(img, [more[0] // 2, more[1] // 2, (more[0] + 1) // 2, (more[1] + 1) // 2])
        _, h, w = get_dimensions(img)
        if (h, w) == (height, width):
            return img
    return crop(img, round((h - height) / 2.0), round((w - width) / 2.0), height, width)


def resized_crop(
    img: Any, top: int, left: int, height: int, width: int, size: Any,
    interpolation: Any = InterpolationMode.BILINEAR, antialias: bool | None = True,
) -> Any:  # fmt: skip
    """`crop`, then `resize`."""
    return resize(crop(img, top, left, height, width), size, interpolation, antialias=antialias)


def five_crop(img: Any, size: Any) -> tuple[Any, ...]:
    """The four corners and the middle: (top left, top right, bottom left, bottom right, center)."""
    sizes = list(size) if isinstance(size, tuple | list) else [int(size)]
    height, width = sizes * 2 if len(sizes) == 1 else sizes
    _, h, w = get_dimensions(img)
    if width > w or height > h:
        raise ArgumentError(f"Requested crop size {(height, width)} is bigger than input size {(h, w)}")
    places = ((0, 0), (0, w - width), (h - height, 0), (h - height, w - width))
    return (*(crop(img, top, left, height, width) for top, left in places), center_crop(img, [height, width]))


def ten_crop(img: Any, size: Any, vertical_flip: bool = False) -> tuple[Any, ...]:
    """`five_crop` of the image and of the flipped one."""
    return five_crop(img, size) + five_crop(vflip(img) if vertical_flip else hflip(img), size)


def hflip(img: Any) -> Any:
    """Left and right swapped."""
    return _side(img).hflip(img)


def vflip(img: Any) -> Any:
    """Top and bottom swapped."""
    return _side(img).vflip(img)


def rotate(
    img: Any, angle: float, interpolation: Any = InterpolationMode.NEAREST, expand: bool = False, center: Any = None,
    fill: Any = None,
) -> Any:  # fmt: skip
    """Turned counter-clockwise by `angle` degrees around `center` (x, y), the middle unless given."""
    mode = interpolation_mode(interpolation).value
    if not isinstance(angle, int | float):
        raise ArgumentTypeError("Argument angle should be int or float")
    if center is not None and not isinstance(center, tuple | list):
        raise ArgumentTypeError("Argument center should be a sequence")
    if isinstance(img, TensorBase):
        return tensor_images.rotate(img, angle, mode, expand, center, fill)
    return _side(img).rotate(img, angle, _NUMBERS[mode], expand, center, fill)


def affine(
    img: Any, angle: float, translate: Any, scale: float, shear: Any, interpolation: Any = InterpolationMode.NEAREST,
    fill: Any = None, center: Any = None,
) -> Any:  # fmt: skip
    """Turned clockwise by `angle` degrees, scaled, sheared by angles (x, y), and moved by `translate` (x, y) elements."""
    mode = interpolation_mode(interpolation).value
    if not isinstance(angle, int | float):
        raise ArgumentTypeError("Argument angle should be int or float")
    if not isinstance(translate, tuple | list):
        raise ArgumentTypeError("Argument translate should be a sequence")
    if len(translate) != 2:
        raise ArgumentError("Argument translate should be a sequence of length 2")
    if scale <= 0:
        raise ArgumentError("Argument scale should be positive")
    shears = [shear, 0.0] if isinstance(shear, int | float) else _pair("shear", shear, tuple)
    if center is not None and not isinstance(center, tuple | list):
        raise ArgumentTypeError("Argument center should be a sequence")
    _, height, width = get_dimensions(img)
    on_tensor = isinstance(img, TensorBase)
    if center is None:
        middle = [0.0, 0.0] if on_tensor else [width * 0.5, height * 0.5]
    else:
        middle = [center[0] - width * 0.5, center[1] - height * 0.5] if on_tensor else list(center)
    matrix = _inverse_affine(middle, angle, translate, scale, shears)
    return _side(img).affine(img, matrix, mode if on_tensor else _NUMBERS[mode], fill)


def _inverse_affine(center: Any, angle: float, translate: Any, scale: float, shear: Any) -> list[float]:
    """Where each place of the result comes from: the inverse of move, turn, shear and scale around the center."""
    turn, sx, sy = (math.radians(degrees) for degrees in (angle, *shear))
    (cx, cy), (tx, ty) = center, translate
    a = math.cos(turn - sy) / math.cos(sy)
    b = -math.cos(turn - sy) * math.tan(sx) / math.cos(sy) - math.sin(turn)
    c = math.sin(turn - sy) / math.cos(sy)
    d = -math.sin(turn - sy) * math.tan(sx) / math.cos(sy) + math.cos(turn)
    p, q, r, s = d / scale, -b / scale, -c / scale, a / scale
    return [p, q, cx - p * (cx + tx) - q * (cy + ty), r, s, cy - r * (cx + tx) - s * (cy + ty)]


def erase(img: Any, i: int, j: int, h: int, w: int, v: Any, inplace: bool = False) -> Any:
    """The rectangle from row i and column j, h high and w wide, overwritten with `v`; for tensors."""
    if not isinstance(img, TensorBase):
        raise ArgumentTypeError(f"img should be Tensor Image. Got {type(img)}")
    out: Any = img if inplace else img.clone()  # type: ignore[attr-defined]
    out[..., i : i + h, j : j + w] = v
    return out


# --- colours ---------------------------------------------------------------------------------------------------------


def adjust_brightness(img: Any, brightness_factor: float) -> Any:
    """0 gives black, 1 the image, 2 one twice as bright."""
    return _side(img).adjust_brightness(img, brightness_factor)


def adjust_contrast(img: Any, contrast_factor: float) -> Any:
    """0 gives plain gray, 1 the image."""
    return _side(img).adjust_contrast(img, contrast_factor)


def adjust_saturation(img: Any, saturation_factor: float) -> Any:
    """0 gives a gray image, 1 the image."""
    return _side(img).adjust_saturation(img, saturation_factor)


def adjust_hue(img: Any, hue_factor: float) -> Any:
    """Hues turned by a factor from -0.5 to 0.5 of the circle."""
    if not -0.5 <= hue_factor <= 0.5:
        raise ArgumentError(f"hue_factor ({hue_factor}) is not in [-0.5, 0.5].")
    return _side(img).adjust_hue(img, hue_factor)


def adjust_gamma(img: Any, gamma: float, gain: float = 1) -> Any:
    """gain * x ** gamma, of values from 0 to 1."""
    if gamma < 0:
        raise ArgumentError("Gamma should be a non-negative real number")
    return _side(img).adjust_gamma(img, gamma, gain)


def adjust_sharpness(img: Any, sharpness_factor: float) -> Any:
    """0 gives a slightly blurred image, 1 the image, 2 a sharper one."""
    return _side(img).adjust_sharpness(img, sharpness_factor)


def invert(img: Any) -> Any:
    """Light for dark."""
    return _side(img).invert(img)


def posterize(img: Any, bits: int) -> Any:
    """Only the highest `bits` of each byte."""
    if not 0 <= bits <= 8:
        raise ArgumentError(f"The number if bits should be between 0 and 8. Got {bits}")
    return _side(img).posterize(img, bits)


def solarize(img: Any, threshold: float) -> Any:
    """`invert` of what is not below the threshold."""
    return _side(img).solarize(img, threshold)


def autocontrast(img: Any) -> Any:
    """Each channel stretched to the whole range."""
    return _side(img).autocontrast(img)


def equalize(img: Any) -> Any:
    """Each channel's bytes spread so that all are about equally frequent."""
    return _side(img).equalize(img)


def rgb_to_grayscale(img: Any, num_output_channels: int = 1) -> Any:
    """Gray, in one channel or the same in three."""
    return _side(img).grayscale(img, num_output_channels)


def to_grayscale(img: Any, num_output_channels: int = 1) -> Any:
    """`rgb_to_grayscale` for Pillow's images."""
    if not pil_images.is_pil(img):
        raise ArgumentTypeError("Input should be PIL Image")
    return pil_images.grayscale(img, num_output_channels)


def gaussian_blur(img: Any, kernel_size: Any, sigma: Any = None) -> Any:
    """Means with the weights of a normal distribution; `kernel_size` and `sigma` as (for x, for y) or one for both."""
    sizes = _pair("kernel_size", kernel_size, int)
    if any(n <= 0 or n % 2 == 0 for n in sizes):
        raise ArgumentError(f"kernel_size should have odd and positive integers. Got {kernel_size}")
    widths = [n * 0.15 + 0.35 for n in sizes] if sigma is None else _pair("sigma", sigma, int | float)
    if any(s <= 0 for s in widths):
        raise ArgumentError(f"sigma should have positive values. Got {sigma}")
    side = _side(img)
    if side is tensor_images:
        return tensor_images.gaussian_blur(img, sizes, widths)
    return to_pil_image(tensor_images.gaussian_blur(pil_to_tensor(img), sizes, widths), img.mode)


def _pair(name: str, given: Any, kind: Any) -> list[Any]:
    if not isinstance(given, kind | tuple | list):
        raise ArgumentTypeError(f"{name} should be a number or a sequence of two. Got {type(given)}")
    values: Sequence[Any] = given if isinstance(given, tuple | list) else [given]
    if len(values) not in (1, 2):
        raise ArgumentError(f"If {name} is a sequence its length should be 2. Got {len(values)}")
    return list(values) * 2 if len(values) == 1 else list(values)


__all__ = [
    "InterpolationMode", "adjust_brightness", "adjust_contrast", "adjust_gamma", "adjust_hue", "adjust_saturation",
    "adjust_sharpness", "affine", "autocontrast", "center_crop", "convert_image_dtype", "crop", "equalize", "erase",
    "five_crop", "gaussian_blur", "get_dimensions", "get_image_num_channels", "get_image_size", "hflip", "invert",
    "normalize", "pad", "pil_to_tensor", "posterize", "resize", "resized_crop", "rgb_to_grayscale", "rotate", "solarize",
    "ten_crop", "to_grayscale", "to_pil_image", "to_tensor", "vflip",
]  # fmt: skip
