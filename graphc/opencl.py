"""OpenCL devices: what `graphc.cuda` says of CUDA's, said of OpenCL's."""

from graphc.accelerators import NAMES, Accelerator
from graphc.core.errors import OutOfMemoryError

_opencl = Accelerator("opencl", "OpenCL")
globals().update({name: getattr(_opencl, name) for name in NAMES})

__all__ = ["OutOfMemoryError", *NAMES]
