"""Helpers around training, under PyTorch's names."""

from graphc.utils import data

__all__ = ["data"]
