"""`torch.version`: which PyTorch these names follow, which graphc this is, and that no CUDA or ROCm is underneath."""

from __future__ import annotations

#: The PyTorch whose API and numbers the tests compare with.
follows = "2.13.0"
release = "0.1.0"
__version__ = f"{follows}+graphc{release}"

cuda: str | None = None
hip: str | None = None
debug = False

__all__ = ["__version__", "cuda", "debug", "follows", "hip", "release"]
