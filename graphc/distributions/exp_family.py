"""`ExponentialFamily` under PyTorch's path."""

from graphc.distributions.distribution import ExponentialFamily

__all__ = ["ExponentialFamily"]
