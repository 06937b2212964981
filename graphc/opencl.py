"""OpenCL devices: what `graphc.cuda` says of CUDA's, said of OpenCL's."""

from graphc import device_kinds
from graphc.core.errors import OutOfMemoryError
from graphc.device_kinds import NAMES, Accelerator

_opencl = Accelerator("opencl", "OpenCL")
globals().update({name: getattr(_opencl, name) for name in NAMES})


class Stream(device_kinds.Stream):
    """An OpenCL device's queue."""

    kind = "opencl"


class Event(device_kinds.Event):
    """A moment of an OpenCL device."""

    stream_type = Stream


__all__ = ["Event", "OutOfMemoryError", "Stream", *NAMES]
