"""What `functional` does to images that are tensors: [..., channels, height, width], any dtype."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.core.errors import ArgumentError, ArgumentTypeError, ShapeError
from graphc.core.tape import TensorBase
from graphc.core.tensor_types import float32, float64, int8, int16, int32, int64, uint8
from graphc.functions.comparisons import where
from graphc.functions.convolutions import conv2d
from graphc.functions.creation import from_numpy, zeros_like
from graphc.functions.interpolating import interpolate
from graphc.functions.joining import pad as padded
from graphc.functions.joining import stack

#: the largest value of a whole-number image; a float image's is 1
_LARGEST = {uint8: 255, int8: 127, int16: 2**15 - 1, int32: 2**31 - 1, int64: 2**63 - 1}


def dimensions(img: Any) -> list[Any]:
    """[channels, height, width]. ArgumentTypeError (a TypeError) for less than two dimensions."""
    if img.ndim < 2:
        raise ArgumentTypeError(f"Tensor is not a torch image: it has {img.ndim} dimensions")
    return [1 if img.ndim == 2 else img.shape[-3], *img.shape[-2:]]


def need_channels(img: Any, permitted: Sequence[int]) -> None:
    """ArgumentTypeError for another count of channels."""
    count = dimensions(img)[0]
    if count not in permitted:
        raise ArgumentTypeError(f"Input image tensor permitted channel values are {list(permitted)}, but found {count}")


def beside(array: Any, img: Any) -> Any:
    """A NumPy array as a tensor where the image is."""
    return from_numpy(array).to(img.device)


def convert_dtype(image: Any, dtype: Any) -> Any:
    """The image as `dtype`, its values scaled from one type's range to the other's."""
    if image.dtype is dtype:
        return image
    largest, own = float(_LARGEST.get(dtype, 1)), float(_LARGEST.get(image.dtype, 1))
    if image.dtype.is_floating_point:
        if dtype.is_floating_point:
            return image.to(dtype)
        if (image.dtype is float32 and dtype in (int32, int64)) or (image.dtype is float64 and dtype is int64):
            raise ShapeError(f"The cast from {image.dtype} to {dtype} cannot be performed safely.")
        return (image * (largest + 1.0 - 1e-3)).to(dtype)  # so that every whole number gets an equal share
    if dtype.is_floating_point:
        return image.to(dtype) / own
    if own > largest:
        return (image // int((own + 1) // (largest + 1))).to(dtype)
    return image.to(dtype) * int((largest + 1) // (own + 1))


def normalize(tensor: Any, mean: Any, std: Any, inplace: bool) -> Any:
    """(x - mean) / std, each given for all channels."""
    if not tensor.dtype.is_floating_point:
        raise ArgumentTypeError(f"Input tensor should be a float tensor. Got {tensor.dtype}.")
    if tensor.ndim < 3:
        raise ArgumentError(f"Expected tensor to be a tensor image of size (..., C, H, W). Got {tuple(tensor.shape)}")
    means, stds = (_for_channels(values, tensor) for values in (mean, std))
    if not stds.all():
        raise ArgumentError(f"std evaluated to zero after conversion to {tensor.dtype}, leading to division by zero.")
    means, stds = beside(means, tensor), beside(stds, tensor)
    return tensor.sub_(means).div_(stds) if inplace else (tensor - means) / stds


def _for_channels(values: Any, tensor: Any) -> Any:
    found = values.numpy() if isinstance(values, TensorBase) else np.asarray(values)  # type: ignore[attr-defined]
    found = found.astype(tensor.dtype.np)
    return found.reshape(-1, 1, 1) if found.ndim == 1 else found


# --- cutting and padding ---------------------------------------------------------------------------------------------


def hflip(img: Any) -> Any:
    """Left and right swapped."""
    return img.flip(-1)


def vflip(img: Any) -> Any:
    """Top and bottom swapped."""
    return img.flip(-2)


def crop(img: Any, top: int, left: int, height: int, width: int) -> Any:
    """A part of the image; zeros where it reaches beyond."""
    _, h, w = dimensions(img)
    right, bottom = left + width, top + height
    part = img[..., max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    if left >= 0 and top >= 0 and right <= w and bottom <= h:
        return part
    beyond = [
        max(-left + min(0, right), 0), max(-top + min(0, bottom), 0), max(right - max(w, left), 0),
        max(bottom - max(h, top), 0),
    ]  # fmt: skip
    return pad(part, beyond, 0, "constant")


def pad(img: Any, padding: Sequence[int], fill: Any, mode: str) -> Any:
    """`padding`: left, top, right, bottom."""
    if not isinstance(fill, int | float | None):
        raise ArgumentTypeError(f"Got inappropriate fill arg: {fill!r}", "a number for images that are tensors")
    left, top, right, bottom = padding
    if mode == "symmetric":
        return _pad_symmetric(img, padding)
    x = img[None] if img.ndim < 4 else img
    if mode == "constant":
        x = padded(x, (left, right, top, bottom), value=fill or 0)
    else:
        x = padded(x, (left, right, top, bottom), mode={"edge": "replicate"}.get(mode, mode))
    return x[0] if img.ndim < 4 else x


def _pad_symmetric(img: Any, padding: Sequence[int]) -> Any:
    left, top, right, bottom = padding
    _, h, w = dimensions(img)
    columns = beside(np.pad(np.arange(w), (left, right), "symmetric"), img)
    rows = beside(np.pad(np.arange(h), (top, bottom), "symmetric"), img)
    return img.index_select(-2, rows).index_select(-1, columns)


# --- sizes -----------------------------------------------------------------------------------------------------------


def resize(img: Any, size: Sequence[int], mode: str, antialias: bool | None) -> Any:
    """Resized to (height, width); with `antialias`, smaller images are means over what each element covers."""
    if mode in ("nearest", "nearest-exact"):
        return _resize_floats(img, lambda x: interpolate(x, tuple(size), mode=mode))
    if mode not in ("bilinear", "bicubic"):
        raise ArgumentError(f"Interpolation mode {mode!r} is unsupported with Tensor input")
    if antialias:
        out = _resize_floats(img, lambda x: _resize_smoothly(x, size, mode), bounded=mode == "bicubic")
    else:
        out = _resize_floats(
            img, lambda x: interpolate(x, tuple(size), mode=mode, align_corners=False), bounded=mode == "bicubic"
        )
    return out


def _resize_floats(img: Any, resized: Any, bounded: bool = False) -> Any:
    """The image through a function of f32[N, C, H, W] or f64[N, C, H, W], rounded where it is of whole numbers."""
    x = img[None] if img.ndim < 4 else img
    whole = not img.dtype.is_floating_point
    out = resized(x.to(float32) if x.dtype not in (float32, float64) else x)
    if bounded and img.dtype is uint8:
        out = out.clamp(0, 255)
    out = (out.round() if whole else out).to(img.dtype)
    return out[0] if img.ndim < 4 else out


def _resize_smoothly(x: Any, size: Sequence[int], mode: str) -> Any:
    """x: f32[N, C, H, W]: one product a side with the weights of its elements in those of the result."""
    h, w = x.shape[-2:]
    rows, columns = (beside(smooth_weights(n, k, mode).astype(x.dtype.np), x) for n, k in ((h, size[0]), (w, size[1])))
    return rows @ (x @ columns.T)


def smooth_weights(size: int, count: int, mode: str) -> Any:
    """f64[count, size]: the share of each element of a line in each of `count` elements it is resized to.

    The kernel (a triangle, or cubic convolution with a = -0.5: Keys 1981) is as wide as `size / count` asks.
    """
    scale = size / count
    wide = max(scale, 1.0)
    centers = (np.arange(count) + 0.5) * scale
    reach = wide * (1.0 if mode == "bilinear" else 2.0)
    first = np.maximum((centers - reach + 0.5).astype(np.int64), 0)[:, None]
    last = np.minimum((centers + reach + 0.5).astype(np.int64), size)[:, None]
    at = np.arange(size)
    distance = np.abs((at[None, :] - centers[:, None] + 0.5) / wide)
    weights = np.clip(1.0 - distance, 0, None) if mode == "bilinear" else _cubic(distance)
    weights = np.where((at >= first) & (at < last), weights, 0.0)
    return weights / weights.sum(1, keepdims=True)


def _cubic(distance: Any) -> Any:
    a = -0.5
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((distance - 5) * distance + 8) * distance * a - 4 * a
    return np.where(distance < 1, near, np.where(distance < 2, far, 0.0))


# --- colours ---------------------------------------------------------------------------------------------------------


def grayscale(img: Any, channels: int) -> Any:
    """Luma (ITU-R 601-2), in one channel or the same in three."""
    if img.ndim < 3:
        raise ArgumentTypeError(f"Input image tensor should have at least 3 dimensions, but found {img.ndim}")
    need_channels(img, (1, 3))
    if channels not in (1, 3):
        raise ArgumentError("num_output_channels should be either 1 or 3")
    if img.shape[-3] == 3:
        r, g, b = img.unbind(-3)
        gray = (0.2989 * r + 0.587 * g + 0.114 * b).to(img.dtype).unsqueeze(-3)
    else:
        gray = img.clone()
    return gray.expand(img.shape) if channels == 3 and img.shape[-3] == 3 else gray


def blend(img: Any, other: Any, ratio: float) -> Any:
    """ratio of the image and 1 - ratio of the other, within the type's range."""
    ratio = float(ratio)
    return (ratio * img + (1.0 - ratio) * other).clamp(0, _LARGEST.get(img.dtype, 1)).to(img.dtype)


def _need_factor(name: str, factor: float) -> None:
    if factor < 0:
        raise ArgumentError(f"{name} ({factor}) is not non-negative.")


def adjust_brightness(img: Any, factor: float) -> Any:
    """Blended with black."""
    _need_factor("brightness_factor", factor)
    need_channels(img, (1, 3))
    return blend(img, zeros_like(img), factor)


def adjust_contrast(img: Any, factor: float) -> Any:
    """Blended with its mean gray."""
    _need_factor("contrast_factor", factor)
    need_channels(img, (1, 3))
    dtype = img.dtype if img.dtype.is_floating_point else float32
    gray = grayscale(img, 1) if dimensions(img)[0] == 3 else img
    return blend(img, gray.to(dtype).mean((-3, -2, -1), keepdim=True), factor)


def adjust_saturation(img: Any, factor: float) -> Any:
    """Blended with its gray version."""
    _need_factor("saturation_factor", factor)
    need_channels(img, (1, 3))
    return img if dimensions(img)[0] == 1 else blend(img, grayscale(img, 1), factor)


def adjust_gamma(img: Any, gamma: float, gain: float) -> Any:
    """gain * x ** gamma, of values from 0 to 1."""
    need_channels(img, (1, 3))
    x = img if img.dtype.is_floating_point else convert_dtype(img, float32)
    return convert_dtype((gain * x.pow(gamma)).clamp(0, 1), img.dtype)


def adjust_hue(img: Any, factor: float) -> Any:
    """Hues turned by `factor` of the circle."""
    need_channels(img, (1, 3))
    if dimensions(img)[0] == 1:
        return img
    h, s, v = _to_hsv(convert_dtype(img, float32))
    return convert_dtype(_from_hsv((h + factor) % 1.0, s, v), img.dtype)


def _to_hsv(img: Any) -> tuple[Any, Any, Any]:
    r, g, b = img.unbind(-3)
    high, low = img.amax(-3), img.amin(-3)
    span = high - low
    gray = high == low
    saturation = span / where(gray, 1.0, high)
    to_r, to_g, to_b = ((high - c) / where(gray, 1.0, span) for c in (r, g, b))
    sector = where(high == r, to_b - to_g, where(high == g, 2.0 + to_r - to_b, 4.0 + to_g - to_r))
    return (sector / 6.0 + 1.0).fmod(1.0), saturation, high


def _from_hsv(h: Any, s: Any, v: Any) -> Any:
    sector = (h * 6.0).floor()
    f = h * 6.0 - sector
    p, q, t = (x.clamp(0.0, 1.0) for x in (v * (1.0 - s), v * (1.0 - s * f), v * (1.0 - s * (1.0 - f))))
    sector = sector.to(int32) % 6
    columns = ((v, q, p, p, t, v), (t, v, v, q, p, p), (p, p, t, v, v, q))
    return stack([_chosen(sector, choices) for choices in columns], -3)


def _chosen(sector: Any, choices: Sequence[Any]) -> Any:
    out = choices[-1]
    for i, choice in enumerate(choices[:-1]):
        out = where(sector == i, choice, out)
    return out


def _need_colours(img: Any, bytes_only: bool = False) -> None:
    if img.ndim < 3:
        raise ArgumentTypeError(f"Input image tensor should have at least 3 dimensions, but found {img.ndim}")
    if bytes_only and img.dtype is not uint8:
        raise ArgumentTypeError(f"Only torch.uint8 image tensors are supported, but found {img.dtype}")
    need_channels(img, (1, 3))


def invert(img: Any) -> Any:
    """Light for dark."""
    _need_colours(img)
    return _LARGEST.get(img.dtype, 1) - img


def posterize(img: Any, bits: int) -> Any:
    """Only the highest `bits` of each byte."""
    _need_colours(img, bytes_only=True)
    return img & (256 - 2 ** (8 - bits)) if bits else img * 0


def solarize(img: Any, threshold: float) -> Any:
    """`invert` of what is not below the threshold."""
    if threshold > _LARGEST.get(img.dtype, 1):
        raise ArgumentTypeError("Threshold should be less than bound of img.")
    return where(img >= threshold, invert(img), img)


def adjust_sharpness(img: Any, factor: float) -> Any:
    """Blended with a slightly blurred version; its border stays."""
    _need_factor("sharpness_factor", factor)
    need_channels(img, (1, 3))
    if min(img.shape[-2:]) <= 2:
        return img
    weights = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13

    def blurred(x: Any) -> Any:
        kernel = beside(weights.astype(x.dtype.np), x)
        return conv2d(x, kernel.expand(x.shape[-3], 1, 3, 3), groups=x.shape[-3])

    soft = img.clone()
    soft[..., 1:-1, 1:-1] = _resize_floats(img, blurred)
    return blend(img, soft, factor)


def autocontrast(img: Any) -> Any:
    """Each channel stretched to the type's whole range."""
    _need_colours(img)
    largest, x = _LARGEST.get(img.dtype, 1), img if img.dtype.is_floating_point else img.to(float32)
    low, high = x.amin((-2, -1), keepdim=True), x.amax((-2, -1), keepdim=True)
    flat = low == high
    scale = where(flat, 1.0, largest / where(flat, 1.0, high - low))
    return ((x - where(flat, 0.0, low)) * scale).clamp(0, largest).to(img.dtype)


def equalize(img: Any) -> Any:
    """Each channel's bytes spread so that all are about equally frequent."""
    _need_colours(img, bytes_only=True)
    pixels = img.cpu().numpy()
    planes = pixels.reshape(-1, *pixels.shape[-2:])
    return beside(np.stack([_equalized(plane) for plane in planes]).reshape(pixels.shape), img)


def _equalized(plane: Any) -> Any:
    counts = np.bincount(plane.reshape(-1), minlength=256)
    step = counts[counts != 0][:-1].sum() // 255
    if step == 0:
        return plane
    table = (np.cumsum(counts) + step // 2) // step
    return np.clip(np.concatenate([[0], table[:-1]]), 0, 255).astype(np.uint8)[plane]


def gaussian_blur(img: Any, kernel_size: Sequence[int], sigma: Sequence[float]) -> Any:
    """Means with the weights of a normal distribution, the image mirrored at its borders; sizes as (width, height)."""
    kx, ky = (_gaussian(n, s) for n, s in zip(kernel_size, sigma, strict=True))

    def blurred(x: Any) -> Any:
        channels, side = x.shape[-3], [n // 2 for n in kernel_size]
        x = padded(x, (side[0], side[0], side[1], side[1]), mode="reflect")
        kernel = beside((ky[:, None] * kx).astype(x.dtype.np), x)
        return conv2d(x, kernel.expand(channels, 1, *kernel.shape), groups=channels)

    return _resize_floats(img, blurred)


def _gaussian(size: int, sigma: float) -> Any:
    half = (size - 1) * 0.5
    weights = np.exp(-0.5 * (np.linspace(-half, half, size) / sigma) ** 2)
    return weights / weights.sum()


# --- turning ---------------------------------------------------------------------------------------------------------


def rotate(img: Any, angle: float, mode: str, expand: bool, center: Any, fill: Any) -> Any:
    """Turned counter-clockwise by `angle` degrees; `fill` where nothing of the image comes to lie."""
    _, h, w = dimensions(img)
    turn = math.radians(angle)
    cos, sin = math.cos(turn), math.sin(turn)
    cx, cy = (0.0, 0.0) if center is None else (center[0] - w * 0.5, center[1] - h * 0.5)
    matrix = np.array([[cos, -sin, cx - cos * cx + sin * cy], [sin, cos, cy - sin * cx - cos * cy]])
    return sampled(img, matrix, mode, fill, _expanded(w, h, matrix.astype(np.float32)) if expand else (w, h))


def sampled(img: Any, matrix: Any, mode: str, fill: Any, size: tuple[int, int]) -> Any:
    """An image of that (width, height) whose place (x, y) shows the place `matrix` @ (x, y, 1) of this one.

    Both are counted from the middles. `fill`: None, a number, or one a channel, where that is outside.
    """
    if mode not in ("nearest", "bilinear"):
        raise ArgumentError(f"Interpolation mode {mode!r} is unsupported with Tensor input", "nearest or bilinear")
    channels, h, w = dimensions(img)
    if isinstance(fill, tuple | list) and len(fill) not in (1, channels):
        raise ArgumentError(
            "The number of elements in 'fill' cannot broadcast to match the number of channels of the image "
            f"({len(fill)} != {channels})"
        )
    # in the precision torchvision computes in: places between two elements fall to the same one
    wide = np.float64 if img.dtype is float64 else np.float32
    x = (np.arange(size[0]) - size[0] * 0.5 + 0.5).astype(wide)
    y = (np.arange(size[1]) - size[1] * 0.5 + 0.5).astype(wide)[:, None]
    scaled = matrix.astype(wide) / np.array([[0.5 * w], [0.5 * h]], wide)
    at_x, at_y = (x * row[0] + y * row[1] + row[2] for row in scaled)
    one, two = wide(1), wide(2)
    at_x, at_y = ((at_x + one) * wide(w) - one) / two, ((at_y + one) * wide(h) - one) / two
    return _resize_floats(img, lambda image: _looked_up(image, at_x, at_y, mode, fill))


def affine(img: Any, matrix: Sequence[float], mode: str, fill: Any) -> Any:
    """`sampled` by the six numbers of a matrix, in the image's own size."""
    _, h, w = dimensions(img)
    return sampled(img, np.array(matrix, np.float64).reshape(2, 3), mode, fill, (w, h))


def _expanded(w: int, h: int, matrix: Any) -> tuple[int, int]:
    """(width, height) of the smallest image that holds the turned one, as torchvision rounds it."""
    corners = np.array([[-w, -h, 2], [-w, h, 2], [w, h, 2], [w, -h, 2]], np.float32) * np.float32(0.5)
    turned = corners @ matrix.T
    middle, grain = np.array([w * 0.5, h * 0.5], np.float32), np.float32(1e-4)
    low, high = (np.trunc((ends + middle) / grain) * grain for ends in (turned.min(0), turned.max(0)))
    width, height = np.ceil(high) - np.floor(low)
    return int(width), int(height)


def _looked_up(image: Any, x: Any, y: Any, mode: str, fill: Any) -> Any:
    """image: f32[N, C, H, W] read at places, as `grid_sample` does with zeros around it, and a mask for `fill`."""
    h, w = image.shape[-2:]
    if mode == "nearest":
        corners = [(np.rint(x), np.rint(y), np.ones_like(x))]
    else:
        x0, y0 = np.floor(x), np.floor(y)
        corners = [
            (x0 + i, y0 + j, np.where(i, x - x0, x0 + 1 - x) * np.where(j, y - y0, y0 + 1 - y))
            for j in (0, 1)
            for i in (0, 1)
        ]
    out, covered = None, np.zeros_like(x)
    for cx, cy, share in corners:
        weight = np.where((cx >= 0) & (cx < w) & (cy >= 0) & (cy < h), share, 0).astype(x.dtype)
        covered += weight
        places = np.clip(cy, 0, h - 1).astype(np.int64) * w + np.clip(cx, 0, w - 1).astype(np.int64)
        found = (
            image.flatten(-2).index_select(-1, beside(places.reshape(-1), image)).reshape(*image.shape[:-2], *x.shape)
        )
        part = found * beside(weight, image)
        out = part if out is None else out + part
    if fill is None:
        return out
    colours = np.asarray(fill if isinstance(fill, tuple | list) else [fill], x.dtype)
    colour, mask = beside(colours.reshape(-1, 1, 1), image), beside(covered, image)
    if mode == "nearest":
        return where(mask < 0.5, colour, out)
    return out * mask + (1.0 - mask) * colour
