"""`torchvision.models`: there are none, and each is missed by its name only where it is used, not where this is imported."""

from graphc.core.lazy import lazy_attributes

__getattr__ = lazy_attributes("graphc.vision.models", {})
