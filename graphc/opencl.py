"""OpenCL devices: what `graphc.cuda` says of CUDA's, said of OpenCL's."""

from graphc import accelerators
from graphc.accelerators import NAMES, Accelerator
from graphc.core.errors import OutOfMemoryError

_opencl = Accelerator("opencl", "OpenCL")
globals().update({name: getattr(_opencl, name) for name in NAMES})


class Stream(accelerators.Stream):
    """An OpenCL device's queue."""

    kind = "opencl"


class Event(accelerators.Event):
    """A moment of an OpenCL device."""

    stream_type = Stream


__all__ = ["Event", "OutOfMemoryError", "Stream", *NAMES]
