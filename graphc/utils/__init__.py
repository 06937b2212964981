"""Helpers around training, under PyTorch's names."""

from graphc.core.lazy import lazy_attributes
from graphc.utils import data

__getattr__ = lazy_attributes(
    "graphc.utils",
    {
        "benchmark": "graphc.utils.benchmark",
        "checkpoint": "graphc.utils.checkpoint",
        "tensorboard": "graphc.utils.tensorboard",
    },
)

__all__ = ["data"]
