"""`torch.cuda`: CUDA devices. Where there is none, questions are answered with no, and work on a device is refused."""

from graphc.core.errors import OutOfMemoryError
from graphc.core.lazy import lazy_attributes
from graphc.device_kinds import NAMES, Accelerator, Event, Stream
from graphc.tensors import constructors_on

_cuda = Accelerator("cuda", "CUDA")
globals().update({name: getattr(_cuda, name) for name in NAMES})
#: `cuda.FloatTensor` and its kin
_constructors = constructors_on("cuda")
globals().update(_constructors)
__getattr__ = lazy_attributes("graphc.cuda", {"amp": "graphc.cuda.amp"})

__all__ = ["Event", "OutOfMemoryError", "Stream", *NAMES, *_constructors]
