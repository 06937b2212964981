"""`torchvision.io`: image files as tensors u8[C, H, W], read and written by Pillow."""

from __future__ import annotations

import os
from enum import Enum
from typing import Any

from graphc.core.errors import ArgumentError, ArgumentTypeError, FileFormatError
from graphc.core.lazy import lazy_attributes
from graphc.core.tape import TensorBase
from graphc.core.tensor_types import uint8
from graphc.vision.transforms import functional, pil_images

__getattr__ = lazy_attributes("graphc.vision.io", {})


class ImageReadMode(Enum):
    """What an image is turned into while it is read."""

    UNCHANGED = 0
    GRAY = 1
    GRAY_ALPHA = 2
    RGB = 3
    RGB_ALPHA = 4


_PIL_MODES = {"GRAY": "L", "GRAY_ALPHA": "LA", "RGB": "RGB", "RGB_ALPHA": "RGBA"}


def read_image(path: Any, mode: Any = ImageReadMode.UNCHANGED, apply_exif_orientation: bool = False) -> Any:
    """The image in a file as u8[C, H, W]. FileFormatError (a RuntimeError) where Pillow cannot read it."""
    wanted = ImageReadMode[mode.upper()] if isinstance(mode, str) else mode
    try:
        img = pil_images.Image.open(path)
        img.load()
    except OSError as error:
        raise FileFormatError(f"read_image: {os.fspath(path)}: {error}") from error
    if apply_exif_orientation:
        img = pil_images.ImageOps.exif_transpose(img)
    if wanted is not ImageReadMode.UNCHANGED:
        img = img.convert(_PIL_MODES[wanted.name])
    elif img.mode in ("P", "1"):
        img = img.convert("RGB" if img.mode == "P" else "L")
    return functional.pil_to_tensor(img).contiguous()


def _written(input: Any, filename: Any, kind: str, **options: Any) -> None:
    if not isinstance(input, TensorBase) or input.dtype is not uint8 or len(input.shape) != 3:
        raise ArgumentTypeError(f"write_{kind}: need a u8[C, H, W] tensor with 1 or 3 channels")
    if input.shape[0] not in (1, 3):
        raise ArgumentError(f"write_{kind}: need 1 or 3 channels, got {input.shape[0]}")
    functional.to_pil_image(input).save(filename, format=kind.upper(), **options)


def write_png(input: Any, filename: Any, compression_level: int = 6) -> None:
    """Writes u8[C, H, W], C = 1 or 3."""
    _written(input, filename, "png", compress_level=compression_level)


def write_jpeg(input: Any, filename: Any, quality: int = 75) -> None:
    """Writes u8[C, H, W], C = 1 or 3; loses a little."""
    _written(input, filename, "jpeg", quality=quality)


__all__ = ["ImageReadMode", "read_image", "write_jpeg", "write_png"]
