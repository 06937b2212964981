"""Kernels run on an OpenCL device, printed whichever way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.backends.c_like.heads import OPENCL
from graphc.backends.c_like.kernels import Printed
from graphc.backends.c_like.writing import Source
from graphc.backends.opencl.devices import cl, device


class Prepared:
    """A printed kernel with its buffers on the device; `place` is where the first element of each buffer is."""

    def __init__(self, source: Source, printed: Printed, arrays: Sequence[Any], place: int = 0, fault: int = 0):
        here, flags = device(), cl.mem_flags
        self.printed, self.queue = printed, here.queue
        flat = [np.concatenate([np.zeros(place, a.dtype), np.ascontiguousarray(a).reshape(-1)]) for a in arrays]
        self.buffers = [
            cl.Buffer(here.context, flags.READ_WRITE | flags.COPY_HOST_PTR, hostbuf=x.view(np.uint8)) for x in flat
        ]
        self.flat = flat
        word = np.int64 if printed.wide else np.int32
        pairs = [x for buffer in self.buffers for x in (buffer, np.int64(place))]
        self.fault = cl.Buffer(
            here.context, flags.READ_WRITE | flags.COPY_HOST_PTR, hostbuf=np.full(1, fault, np.int32)
        )
        self.kernel = cl.Kernel(here.build(source.text(OPENCL)), printed.name)
        self.kernel.set_args(*pairs, *map(word, printed.words), self.fault)
        self.place = place

    def start(self) -> None:
        """Runs the kernel once."""
        size = self.printed.groups * self.printed.items
        cl.enqueue_nd_range_kernel(self.queue, self.kernel, (size,), (self.printed.items,))

    def buffer(self, number: int) -> Any:
        """What a buffer holds."""
        found = np.empty_like(self.flat[number])
        cl.enqueue_copy(self.queue, found.view(np.uint8), self.buffers[number])
        return found[self.place :]
