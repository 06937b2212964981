"""`torchvision.utils`: many images in one, and image files."""

from __future__ import annotations

from typing import Any

from graphc.core.errors import ArgumentTypeError
from graphc.core.lazy import lazy_attributes
from graphc.core.tape import TensorBase
from graphc.core.tensor_types import uint8
from graphc.functions.joining import cat, stack
from graphc.grad_mode import no_grad
from graphc.vision.transforms import pil_images

__getattr__ = lazy_attributes("graphc.vision.utils", {})


def make_grid(
    tensor: Any, nrow: int = 8, padding: int = 2, normalize: bool = False, value_range: Any = None,
    scale_each: bool = False, pad_value: float = 0.0,
) -> Any:  # fmt: skip
    """Images [N, C, H, W], or a list of them, as one image [3 or C, *, *] with `nrow` in a row.

    `normalize` brings values to 0..1, from `value_range` (low, high) or from the least and greatest of all, or with
    `scale_each` of each image.
    """
    with no_grad():
        images = _as_batch(tensor)
        if normalize:
            if value_range is not None and not isinstance(value_range, tuple):
                raise ArgumentTypeError(
                    "value_range has to be a tuple (min, max) if specified. min and max are numbers"
                )
            parts = [_scaled(img, value_range) for img in images] if scale_each else [_scaled(images, value_range)]
            images = stack(parts) if scale_each else parts[0]
        if images.shape[0] == 1:
            return images.squeeze(0)
        return _tiled(images, nrow, padding, pad_value)


def _as_batch(given: Any) -> Any:
    """Images as [N, C, H, W] with at least three channels."""
    if isinstance(given, list) and all(isinstance(img, TensorBase) for img in given):
        given = stack(given)
    if not isinstance(given, TensorBase):
        raise ArgumentTypeError(f"tensor or list of tensors expected, got {type(given)}")
    images: Any = given
    while images.ndim < 4:
        images = images.unsqueeze(0)
    return cat((images, images, images), 1) if images.shape[1] == 1 else images


def _scaled(x: Any, value_range: Any) -> Any:
    low, high = value_range if value_range is not None else (float(x.min()), float(x.max()))
    return x.clone().clamp_(low, high).sub_(low).div_(max(high - low, 1e-5))


def _tiled(images: Any, nrow: int, padding: int, pad_value: float) -> Any:
    count, channels, height, width = images.shape
    columns = min(nrow, count)
    rows = -(-count // columns)
    high, wide = height + padding, width + padding
    grid = images.new_full((channels, high * rows + padding, wide * columns + padding), pad_value)
    for k in range(count):
        top, left = k // columns * high + padding, k % columns * wide + padding
        grid[:, top : top + height, left : left + width] = images[k]
    return grid


def save_image(tensor: Any, fp: Any, format: str | None = None, **kwargs: Any) -> None:
    """Writes images with values from 0 to 1 as one picture; other arguments go to `make_grid`."""
    grid = make_grid(tensor, **kwargs)
    with no_grad():
        pixels = grid.mul(255).add(0.5).clamp(0, 255).permute(1, 2, 0).to("cpu", uint8).numpy()
    pil_images.Image.fromarray(pixels).save(fp, format=format)


__all__ = ["make_grid", "save_image"]
