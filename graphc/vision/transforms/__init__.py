"""`torchvision.transforms`."""

from graphc.core.lazy import lazy_attributes
from graphc.vision.transforms import functional, transforms
from graphc.vision.transforms.transforms import *  # noqa: F403
from graphc.vision.transforms.transforms import __all__ as _transforms

__getattr__ = lazy_attributes("graphc.vision.transforms", {})
__all__ = [*_transforms, "functional", "transforms"]
