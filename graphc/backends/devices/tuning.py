"""Autotuning: which tiles make a sum of products fastest is tried out on the device, once, and remembered on disk.

`GRAPHC_TUNE=1` tries; what was found out before is used without it too. Tiles change no result: each sum is added up in the
same order whatever its tile.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from graphc.backends.c_like.products import print_product, tiles_of
from graphc.backends.c_like.tiles import Tile
from graphc.backends.c_like.writing import Source
from graphc.backends.devices.function import Function
from graphc.backends.devices.protocol import Device
from graphc.backends.devices.runs import Base
from graphc.backends.devices.translation import Launch
from graphc.backends.llvm.cache import location
from graphc.core.config import config
from graphc.ir.kernel import Kernel

log = logging.getLogger("graphc.tuning")

#: Runs of a candidate, of which the fastest counts; the first, which may compile, does not.
_RUNS = 4


class Tuner:
    """The tiles of a device's kernels. `path`: the file that remembers them, None for memory alone."""

    def __init__(self, device: Device, path: Path | None):
        self.device, self.path = device, path
        self._known: dict[str, Any] = _read(path).get(device.identity, {})

    def tile(self, kernel: Kernel) -> Tile | None:
        """The fastest tile that is known for a kernel, None where the usual choice stands."""
        if not (config.tune or self._known):
            return None
        source = Source()
        printed = print_product(source, kernel, self.device.target)
        if printed is None:
            return None
        key = hashlib.sha256(f"{source.alone(printed.name)}{printed.words}".encode()).hexdigest()[:32]
        fitting = tiles_of(kernel, self.device.target)
        if key not in self._known:
            if not config.tune:
                return None
            self._known[key] = _packed(self._fastest(kernel, fitting))
            self._write()
        return next((tile for tile in fitting if _packed(tile) == self._known[key]), None)

    def _fastest(self, kernel: Kernel, tiles: list[Tile]) -> Tile | None:
        sizes = _elements(kernel)
        if sizes is None or len(tiles) < 2:
            return None
        with self.device.held():
            table = [(self.device.alloc(16), 0)]
            table += [
                (self.device.alloc(max(n * d.itemsize, 16)), 0) for n, d in zip(sizes, kernel.buffers, strict=True)
            ]
            self.device.copy_in(table[0][0], 0, np.zeros(4, np.uint8))
            times = {tile: self._time(kernel, tile, table) for tile in tiles}
        best = min(tiles, key=lambda tile: times[tile])
        log.info(
            "%s: tiles of %d x %d, %d steps: %.0f us; the slowest of %d kinds: %.0f us", self.device.name, best.rows,
            best.columns, best.steps, times[best] / 1e3, len(tiles), max(times.values()) / 1e3,
        )  # fmt: skip
        return best

    def _time(self, kernel: Kernel, tile: Tile, table: list[Base]) -> int:
        """Nanoseconds of the fastest run."""
        source = Source()
        printed = print_product(source, kernel, self.device.target, tile)
        assert printed is not None
        places = tuple((slot, 0, dtype.itemsize) for slot, dtype in enumerate(kernel.buffers, 1))
        program = self.device.build(source.text(self.device.dialect))
        start = Function(Launch(printed, places), program, printed.name, self.device)
        times = []
        for _ in range(_RUNS):
            self.device.finish()
            before = time.perf_counter_ns()
            start(table)
            self.device.finish()
            times.append(time.perf_counter_ns() - before)
        return min(times[1:])

    def _write(self) -> None:
        if self.path is None:
            return
        found = {**_read(self.path), self.device.identity: self._known}
        with contextlib.suppress(OSError):  # trouble with the disk costs another measurement
            self.path.parent.mkdir(parents=True, exist_ok=True)
            draft = self.path.with_suffix(f".{os.getpid()}")
            draft.write_text(json.dumps(found))
            draft.replace(self.path)


_TUNERS: dict[tuple[str, Path | None], Tuner] = {}


def tuner_of(device: Device) -> Tuner:
    """The tuner of a device, whose file is beside the cache of compiled objects."""
    folder = location()
    path = None if folder is None else folder.parent / "tiles.json"
    found = _TUNERS.get((device.identity, path))
    if found is None or found.device is not device:
        found = _TUNERS[device.identity, path] = Tuner(device, path)
    return found


def _read(path: Path | None) -> dict[str, Any]:
    """What a file remembers; nothing if it cannot be read."""
    try:
        found = {} if path is None else json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and all(isinstance(x, dict) for x in found.values()) else {}


def _packed(tile: Tile | None) -> list[int] | None:
    """A tile as a file remembers it."""
    return None if tile is None else [tile.rows, tile.columns, tile.steps, *tile.block, tile.lanes, *tile.items]


def _elements(kernel: Kernel) -> list[int] | None:
    """The elements that each buffer must have for the kernel to run; None where indices decide."""
    sizes = [1] * len(kernel.buffers)
    for access in kernel.accesses():
        if access.computed:
            return None
        reach = access.offset + sum(max(c, 0) * (n - 1) for c, n in zip(access.coefs, kernel.extents, strict=True))
        sizes[access.buffer] = max(sizes[access.buffer], reach + 1)
    return sizes
