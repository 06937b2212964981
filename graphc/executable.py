"""From a recorded program to something that runs: optimised once, planned once per set of sizes, compiled by a backend."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from graphc.backends import find_backend
from graphc.core.arrays import Memory, duplicate, host, moved
from graphc.core.config import config
from graphc.core.dims import Dim, Size, substitute
from graphc.core.errors import BackendError, ShapeError
from graphc.core.tensor_types import TensorType
from graphc.device_runs import Divided, Where, where_are
from graphc.ir.program import Program
from graphc.ir.specialise import specialise, unknowns
from graphc.passes.pipelines import DEFAULT, NATIVE, PassReport, optimise
from graphc.tracing import paused_gc, plain_name
from graphc.verifying import Ways, check_run


class Prepared(NamedTuple):
    """What was done to plan a program for some sizes: the sizes, the passes, milliseconds to plan and compile."""

    sizes: dict[str, int]
    passes: list[PassReport]
    ms: float


class Built:
    """One program for one backend. `run` is safe to call from several threads."""

    def __init__(
        self,
        program: Program,
        aliases: Mapping[str, Size],
        backend: str | None = None,
        optimize: bool = True,
        verify: bool = False,
        name: str = "program",
        updates: Mapping[int, int] | None = None,
        check_nans: bool = False,
    ):
        start = time.perf_counter()
        self.feed_types: tuple[TensorType, ...] = tuple(v.type for v in program.inputs)
        self.recorded = program
        self.asked, self.backend = backend, find_backend(backend or config.backend)
        self.name, self.verify, self.optimize, self.check_nans = name, verify, optimize, check_nans
        if check_nans and not getattr(self.backend, "checks_nans", False):
            raise BackendError(f"the backend {self.backend.name!r} cannot check for NaN: leave out check_nans")
        with paused_gc():
            if aliases:
                program = specialise(program, dict(aliases))
            self.passes: list[PassReport] = []
            self.program = (
                optimise(program, DEFAULT, name=name, reports=self.passes, verify_each=verify or config.verify)
                if optimize
                else program
            )
        #: outputs that replace an input: output number -> input number
        self.updates = updates or {}
        self.executables: dict[Any, Any] = {}
        #: of each executable, how it came to be
        self.prepared: dict[Any, Prepared] = {}
        self.aliases = dict(aliases)
        self.places: dict[str, tuple[int, int]] = {}
        for known in ({}, self.aliases):  # an input's own name for a size comes first
            for i, type_ in enumerate(self.feed_types):
                for axis, size in enumerate(type_.shape):
                    unknown = plain_name(substitute(size, known))
                    if unknown is not None:
                        self.places.setdefault(unknown, (i, axis))
        #: every size a run must know; those that no input shows plainly are told by the caller
        self.unknown = tuple(dict.fromkeys([*self.places, *unknowns(self.program)]))
        #: shapes of inputs that have passed `check`
        self.agreed: set[tuple[tuple[int, ...], ...]] = set()
        self.ms = (time.perf_counter() - start) * 1e3

    def sizes(self, shapes: Sequence[tuple[int, ...]], known: Mapping[str, int] | None = None) -> dict[str, int]:
        """The number of each unknown size for inputs of these shapes; `known` tells those that shapes do not."""
        sizes = {name: shapes[i][axis] for name, (i, axis) in self.places.items()}
        if known and len(sizes) < len(self.unknown):
            sizes = {name: known[name] for name in self.unknown if name in known} | sizes
        return sizes

    def check(self, shapes: Sequence[tuple[int, ...]], names: Sequence[str]) -> None:
        """Raises ShapeError, naming the line, where the inputs break what the recording assumed of sizes."""
        met = tuple(shapes)
        if met in self.agreed:
            return
        sizes = self.sizes(shapes)
        for a, b, line in self.recorded.checks:
            left, right = substitute(a, sizes), substitute(b, sizes)
            if isinstance(left, int) and isinstance(right, int) and left != right:
                raise ShapeError(f"sizes disagree: {_shown(a, left)}, {_shown(b, right)}, made equal at {line}")
        for type_, shape, name in zip(self.feed_types, shapes, names, strict=True):
            for axis, (want, have) in enumerate(zip(type_.shape, shape, strict=True)):
                for size in (want, substitute(want, self.aliases)):
                    expected = substitute(size, sizes)
                    if expected != have:
                        need = f"{name} has size {have} in dimension {axis} where {_shown(size, expected)} is needed"
                        raise ShapeError(need + self._made_so(want))
        if len(self.agreed) >= config.largest_cache:
            self.agreed.clear()
        self.agreed.add(met)

    def _made_so(self, size: Size) -> str:
        """Where the recording first assumed something of a size."""
        names = set(size.names()) if isinstance(size, Dim) else set()
        for a, b, line in self.recorded.checks:
            if any(isinstance(d, Dim) and not names.isdisjoint(d.names()) for d in (a, b)):
                return f", made so at {line}"
        return ""

    def run(self, arrays: Sequence[Any], known: Mapping[str, int] | None = None, verify: bool = False) -> list[Any]:
        """The program's outputs on these inputs, fresh arrays that share memory with nothing but the inputs they replace.

        `known`: sizes that the inputs' shapes do not tell. Where runs are verified, all or this one, outputs replace copies of
        inputs, and VerifyError is raised where they are not what the recorded program gives.
        """
        where = where_are(arrays)
        if where is not None and self.is_detour(where):
            self._tell_detour(where.memory)
            return [moved(found, where.memory) for found in self.run([*map(host, arrays)], known, verify)]
        if self.verify or verify:
            return self._run_verified(arrays, known, where)
        results: list[Any] = self.executable([a.shape for a in arrays], known, where)(arrays)
        return results

    def _run_verified(self, arrays: Sequence[Any], known: Mapping[str, int] | None, where: Where | None) -> list[Any]:
        """The same, compared with the recorded program, on copies of inputs that are replaced; may raise VerifyError."""
        executable = self.executable([a.shape for a in arrays], known, where)
        replaced = set(self.updates.values())
        results = executable([duplicate(a) if i in replaced else a for i, a in enumerate(arrays)])
        ways = self.ways(self.sizes([a.shape for a in arrays], known), where)
        check_run(ways, [*map(host, arrays)], [*map(host, results)])
        return results

    def ways(self, sizes: Mapping[str, int], where: Where | None = None) -> Ways:
        """The recorded program and how it became the one that runs on arrays that are there, for `verify`."""
        recorded = specialise(self.recorded, self.aliases) if self.aliases else self.recorded
        backend = self.backend_for(None if where is None else where.memory)[0]
        native = NATIVE if backend.fuses else ()
        return Ways(self.name, recorded, sizes, DEFAULT if self.optimize else (), native, backend)

    def executable(
        self, shapes: Sequence[tuple[int, ...]], known: Mapping[str, int] | None = None, where: Where | None = None
    ) -> Any:
        """The planned and compiled program for inputs of these shapes, for the device where they are (None: the host)."""
        sizes = self.sizes(shapes, known)
        key: Any = tuple(sizes.values()) if where is None else (*sizes.values(), where)
        found = self.executables.get(key)
        if found is None:
            start, passes = time.perf_counter(), list[PassReport]()
            with paused_gc():
                static = specialise(self.program, sizes) if sizes else self.program
                backend, options = self.backend_for(None if where is None else where.memory)
                if backend.fuses:
                    static = optimise(static, NATIVE, config.verify or self.verify, reports=passes)
                build = functools.partial(backend.compile, **options)
                if where is None:
                    found = build(static, self.updates)
                else:
                    found = Divided(static, self.updates, where, build)
            if len(self.executables) >= config.largest_cache:
                oldest = next(iter(self.executables))
                self.executables.pop(oldest, None)
                self.prepared.pop(oldest, None)
            self.prepared[key] = Prepared(sizes, passes, (time.perf_counter() - start) * 1e3)
            self.executables[key] = found
        return found

    def is_detour(self, where: Where) -> bool:
        """Whether a backend was asked for that does not run on that device: runs take place on the host."""
        return self.asked not in (None, where.memory.device.type)

    def _tell_detour(self, memory: Memory) -> None:
        logging.getLogger("graphc.devices").info(
            "%s: each run copies its tensors from %s to the host and back: backend=%r was asked for", self.name,
            memory.device, self.asked,
        )  # fmt: skip

    def backend_for(self, memory: Memory | None) -> tuple[Any, dict[str, Any]]:
        """The backend for arrays in that memory (None: the host's), and the options it compiles with."""
        checks = {"check_nans": True} if self.check_nans else {}
        if memory is None:
            return self.backend, checks
        kind = memory.device.type
        backend = find_backend(kind)
        if checks and not getattr(backend, "checks_nans", False):
            raise BackendError(f"the backend {kind!r} cannot check for NaN: leave out check_nans")
        return backend, {**checks, "number": memory.device.index}


def _shown(size: Size, number: Size) -> str:
    return f"{size} = {number}" if isinstance(size, Dim) else str(size)
