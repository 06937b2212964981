"""Collectives by MPI, through mpi4py: for processes that `mpiexec` started."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from graphc.core.errors import DistBackendError
from graphc.core.lazy import lazy_import

MPI = lazy_import("mpi4py.MPI", "pip install 'graphc[mpi]', or start the processes with `graphc launch`")

#: Variables by which a process knows that mpiexec started it (Open MPI, MPICH and Intel MPI, PMIx).
_STARTED = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK")
_OPS = {
    "sum": "SUM", "prod": "PROD", "min": "MIN", "max": "MAX", "band": "BAND", "bor": "BOR", "bxor": "BXOR",
}  # fmt: skip


def is_there() -> bool:
    """Whether mpi4py is installed."""
    return find_spec("mpi4py") is not None


def was_started(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether mpiexec started this process."""
    return any(name in environ for name in _STARTED)


class MpiPending:
    """A call under way. MPI makes progress while somebody waits."""

    def __init__(self, link: MpiLink, request: Any, found: Callable[[], Any], what: str, source: int = 0):
        self._link, self._request, self._found, self._what, self.source = link, request, found, what, source
        self._over = False

    def done(self) -> bool:
        """Whether it is over."""
        self._over = self._over or bool(self._request.Test())
        return self._over

    def result(self) -> Any:
        """What the call gave; DistBackendError after the group's time."""
        start, tries = time.monotonic(), 0
        while not self.done():
            tries += 1
            passed = time.monotonic() - start
            if passed > self._link.timeout_s:
                raise DistBackendError(f"{self._what}: timed out after {self._link.timeout_s:g} s")
            # a process of MPI spins, as what it waits for mostly comes at once; then it leaves the CPU to others
            time.sleep(0 if tries < 1000 else min(1e-3, passed / 10))
        return self._found()


class MpiLink:
    """A group of processes with a communicator of their own."""

    name = "MPI"

    def __init__(self, comm: Any, timeout_s: float):
        self.comm, self.timeout_s = comm, timeout_s
        self.rank, self.size = comm.Get_rank(), comm.Get_size()

    def part(self, ranks: Sequence[int], number: int, timeout_s: float) -> MpiLink | None:
        """A group of some of these processes; None where this is none of them."""
        key = list(ranks).index(self.rank) if self.rank in ranks else 0
        comm = self.comm.Split(0 if self.rank in ranks else MPI.UNDEFINED, key)
        return MpiLink(comm, timeout_s) if self.rank in ranks else None

    def run(self, call: str, x: Any, **options: Any) -> Any:
        """A collective of this name on this process's array: the result, an array of its own."""
        return self.begin(call, x, **options).result()

    def begin(self, call: str, x: Any, **options: Any) -> MpiPending:
        """The same, while this thread goes on; the array must stay as it is until it is done."""
        x = np.asarray(x, order="C")
        request, found = getattr(self, f"_{call}")(x, **options)
        return MpiPending(self, request, found, call)

    def close(self) -> None:
        """Nothing: MPI ends with the process."""

    def abandon(self) -> None:
        """Nothing: MPI does not work in processes that were forked."""

    def give_up(self) -> None:
        """Ends all processes, which would wait for this one for ever."""
        if self.size > 1:
            self.comm.Abort(1)

    # --- messages from one to one -----------------------------------------------------------------------------------------

    def send(self, x: Any, target: int, tag: int) -> MpiPending:
        """Begins to send an array, which must stay as it is until that is done."""
        x = np.asarray(x, order="C")
        return MpiPending(self, self.comm.Isend(_raw(x), target, tag), lambda: x.size, "send")

    def receive(self, out: Any, source: int, tag: int) -> MpiPending:
        """Begins to receive into an array in C order."""
        return MpiPending(self, self.comm.Irecv(_raw(out), source, tag), lambda: None, "recv", source)

    def first_to_send(self, like: Any, tag: int) -> int:
        """The rank of a process whose message with that tag comes first."""
        status = MPI.Status()
        self.comm.Probe(MPI.ANY_SOURCE, tag, status)
        return int(status.Get_source())

    # --- collectives: the request, and what gives the result when it is done ------------------------------------------------

    def _all_reduce(self, x: Any, how: str) -> Any:
        given = _reducible(x)
        out = np.empty_like(given)
        request = self.comm.Iallreduce(given, out, getattr(MPI, _OPS[how]))
        return request, lambda: out.astype(x.dtype, copy=False)

    def _reduce_scatter(self, x: Any, how: str) -> Any:
        given = _reducible(x)
        out = np.empty(x.shape[1:], given.dtype)
        request = self.comm.Ireduce_scatter_block(given, out, getattr(MPI, _OPS[how]))
        return request, lambda: out.astype(x.dtype, copy=False)

    def _all_gather(self, x: Any) -> Any:
        out = np.empty((self.size, *x.shape), x.dtype)
        return self.comm.Iallgather(_raw(x), _raw(out)), lambda: out

    def _broadcast(self, x: Any, source: int) -> Any:
        out = x.copy()
        return self.comm.Ibcast(_raw(out), source), lambda: out

    def _gather(self, x: Any, target: int) -> Any:
        here = self.rank == target
        out = np.empty((self.size, *x.shape), x.dtype) if here else None
        return self.comm.Igather(_raw(x), None if out is None else _raw(out), target), lambda: out

    def _scatter(self, x: Any, source: int) -> Any:
        here = self.rank == source
        out = np.empty(x.shape[1:] if here else x.shape, x.dtype)
        return self.comm.Iscatter(_raw(x) if here else None, _raw(out), source), lambda: out


def _raw(x: Any) -> Any:
    """Bytes, whatever the elements are."""
    return [x.reshape(-1).view(np.uint8), MPI.BYTE]


def _reducible(x: Any) -> Any:
    """Elements of a kind that MPI can add up: those it does not know as wider ones."""
    if x.dtype == np.bool_:
        return x.view(np.uint8)
    return x.astype(np.float32) if x.dtype.itemsize == 2 and x.dtype.kind not in "iu" else x


def world(timeout_s: float) -> MpiLink:
    """All processes that mpiexec started."""
    return MpiLink(MPI.COMM_WORLD.Dup(), timeout_s)


__all__ = ["MpiLink", "is_there", "was_started", "world"]
