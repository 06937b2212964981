"""`torchvision`'s everyday names: transforms, readers of datasets on disk, pictures. Pillow is the extra `vision`."""

from graphc.core.lazy import lazy_attributes
from graphc.vision import datasets, io, models, transforms, utils

#: the torchvision whose API this follows
__version__ = "0.28.0+graphc"
__getattr__ = lazy_attributes("graphc.vision", {})
__all__ = ["datasets", "io", "models", "transforms", "utils"]
