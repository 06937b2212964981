"""The backends as random programs should meet them: sizes are small, so what they do with large ones is asked of them too.

A seed draws how wide vectors are, from where on sizes are run-time arguments, what is split in parts, what the library
multiplies, and how hard compilers try; drawn small, the limits are passed by tensors of a dozen elements.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import graphc as gc
from graphc.backends.c_like import kernels as c_like
from graphc.backends.c_like import lanes, products, tiles
from graphc.backends.llvm import gemm, host, kernels, running, scatters, sharing, sorting, translation
from graphc.backends.llvm.compilers import Compilers
from graphc.backends.opencl.devices import Device, device
from graphc.planning import fusion, sort_kernels

#: Limits, and what a seed may draw in their place.
LIMITS: tuple[tuple[Any, str, int], ...] = (
    (kernels, "LARGEST_BAKED", 0),
    (translation, "SMALLEST_SHARED", 20),
    (gemm, "SMALLEST_PART", 4),
    (gemm, "LIBRARY_SIZE", 2),
    (fusion, "SMALLEST_PART", 2),
    (fusion, "MANY_ELEMENTS", 4),
    (fusion, "LONGEST_ROW", 2),
    (fusion, "LARGEST", 8),
    (kernels, "FEWEST_COLUMNS", 1),
    (running, "SIDE_BY_SIDE", 2),
    (scatters, "BLOCK", 2),
    (sharing, "FEWEST", 1),
    (sorting, "SHORT", 2),
)
#: The same of kernels for devices.
DEVICE_LIMITS: tuple[tuple[Any, str, Any], ...] = (
    (c_like, "LARGEST_BAKED", 0),
    (c_like, "MOST_KEPT", 2),
    (c_like, "SHORT_ROW", 1),
    (lanes, "FEWEST_STEPS", 0),
    (lanes, "GROUP_STEPS", 4),
    (lanes, "LANES_BYTES", 16),
    (products, "profits", lambda target, rows, columns, steps, batch: steps > 0),
    (products, "_FEW", 1),
    (products, "_STRIP", 2),
    (tiles, "_MOST_LANES", 2),
    (tiles, "_SIDE", 2),
    (tiles, "_STEPS", 2),
    (tiles, "_LEAST_WORK", 1),
    (tiles, "_LEAST_STEPS", 2),
    (sort_kernels, "LONGEST_COUNTED", 2),
    (fusion, "SMALLEST_PART", 2),
    (fusion, "MANY_ELEMENTS", 4),
    (fusion, "LARGEST", 8),
)


@contextmanager
def on(backend: str, seed: int) -> Iterator[None]:
    """Within, what names no backend runs on this one, under the limits that the seed draws."""
    before, gc.config.backend = gc.config.backend, backend
    try:
        with ExitStack() as stack:
            for change in {"llvm": drawn, "opencl": drawn_for_devices}.get(backend, lambda _: ())(seed):
                stack.enter_context(change)
            yield
    finally:
        gc.config.backend = before


def drawn(seed: int) -> Iterator[Any]:
    """What a seed changes."""
    kernels._printed.cache_clear()  # what was printed under other limits
    rng = random.Random(seed)
    machine = host.machine()
    width = rng.choice([w for w in (16, 32, 64) if w <= machine.vector_bytes])
    narrow = dataclasses.replace(machine, vector_bytes=width)
    yield patch.object(host, "machine", lambda: narrow)
    if rng.random() < 0.75:
        searching = host.target_machine
        yield patch.object(
            host, "target_machine", lambda target=None: searching(target, 0)
        )  # less than half of the time
        yield patch.object(Compilers, "_compile", lambda self, text: host.compile_module(text))  # here, not in a helper
    for owner, name, small in LIMITS:
        if rng.random() < 0.5:
            yield patch.object(owner, name, small)


def drawn_for_devices(seed: int) -> Iterator[Any]:
    """The same for kernels of devices; the device may be taken for another processor, or for a card."""
    rng = random.Random(seed)
    for owner, name, small in DEVICE_LIMITS:
        if rng.random() < 0.5:
            yield patch.object(owner, name, small)
    kind = {
        "vector": rng.choice((device().target.vector, 16, 0, 0)),
        "items": rng.choice((device().target.items, 8, 2)),
    }
    yield patch.object(device(), "target", dataclasses.replace(device().target, **kind))
    if rng.random() < 0.875:
        yield patch.object(Device, "build", _built_plainly)


def _built_plainly(device: Device, text: str, building: Any = Device.build) -> Any:
    """A program that is not optimised, which takes less than half of the time."""
    with patch.object(device, "options", [*device.options, "-cl-opt-disable"]):
        return building(device, text)
