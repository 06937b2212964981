"""`torchvision.transforms`."""

from graphc.core.lazy import lazy_attributes
from graphc.vision.transforms import autoaugment, distortions, functional, transforms
from graphc.vision.transforms.autoaugment import *  # noqa: F403
from graphc.vision.transforms.distortions import *  # noqa: F403
from graphc.vision.transforms.transforms import *  # noqa: F403

__getattr__ = lazy_attributes("graphc.vision.transforms", {})
__all__ = [*autoaugment.__all__, *distortions.__all__, *transforms.__all__, "autoaugment", "functional", "transforms"]
