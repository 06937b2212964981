"""`torch.cuda`: CUDA devices. Where there is none, questions are answered with no, and work on a device is refused."""

from graphc.accelerators import NAMES, Accelerator
from graphc.core.errors import OutOfMemoryError
from graphc.core.lazy import lazy_attributes

_cuda = Accelerator("cuda", "CUDA")
globals().update({name: getattr(_cuda, name) for name in NAMES})

__getattr__ = lazy_attributes("graphc.cuda", {"amp": "graphc.cuda.amp"})

__all__ = ["OutOfMemoryError", *NAMES]
