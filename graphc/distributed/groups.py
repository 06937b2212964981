"""Groups of processes: how they begin and end, and who is in them."""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from collections.abc import Sequence
from datetime import timedelta
from multiprocessing.util import Finalize
from typing import Any

import numpy as np

from graphc.core.context import SLOTS, eagerly
from graphc.core.errors import ArgumentError, ArgumentTypeError, DistError, GroupError
from graphc.distributed import mpi
from graphc.distributed.meeting import join, place_of
from graphc.distributed.sockets import SocketLink

#: Exit code of a script that `graphc run` ends since another process has gone: the fault is elsewhere.
PEER_GONE = 75

log = logging.getLogger("graphc.distributed")

default_pg_timeout = timedelta(minutes=30)

#: PyTorch's names of engines; all of them are answered by what is there.
BACKENDS = ("gloo", "mpi", "nccl", "ucc")


class ProcessGroup:
    """Some processes that compute together; what `new_group` returns.

    `number` tells it, the same in all of them; `ranks` are those in the default group; `link` carries what they say.
    """

    def __init__(self, number: int, ranks: Sequence[int], backend: str, link: Any):
        self.number, self.ranks, self.backend, self.link = number, tuple(ranks), backend, link
        with eagerly():
            #: counts the collectives; see primitives/collective.py
            self.turn = SLOTS.new_tensor(np.array(0, np.int64))

    def rank(self) -> int:
        """The number of this process in the group."""
        return int(self.link.rank)

    def size(self) -> int:
        """How many processes there are."""
        return len(self.ranks)

    def name(self) -> str:
        """The engine's name, as it was asked for."""
        return self.backend


class GroupMember:
    """What stands for a group in processes that are not in it."""

    NON_GROUP_MEMBER = -100


class _Groups:
    """All groups of this process by number; the default one is 1, group 0 is this process alone and has no record."""

    def __init__(self) -> None:
        self.by_number: dict[int, ProcessGroup] = {}
        #: groups that this process has seen begin, also those it is not in
        self.begun = 0
        self.default: ProcessGroup | None = None
        #: the link of all processes, while there is one
        self.world: Any = None


_GROUPS = _Groups()


class _World(type):
    @property
    def WORLD(cls) -> ProcessGroup | None:  # noqa: N802  PyTorch's name
        """The default group; None where there is none."""
        return _GROUPS.default


class group(metaclass=_World):  # noqa: N801  PyTorch's name
    """`group.WORLD` is the default group."""


def link_of(number: int) -> Any:
    """What joins the processes of the group of that number; ArgumentError after its end."""
    found = _GROUPS.by_number.get(number)
    if found is None:
        raise GroupError("the process group of this collective has been destroyed")
    return found.link


# --- the default group --------------------------------------------------------------------------------------------------


def init_process_group(
    backend: str | None = None,
    init_method: str | None = None,
    timeout: timedelta | None = None,
    world_size: int = -1,
    rank: int = -1,
    store: Any = None,
    group_name: str = "",
    pg_options: Any = None,
    device_id: Any = None,
) -> None:
    """Joins this process to `world_size` processes, of which it is number `rank`. All of them call this.

    `backend`: gloo, nccl, mpi or ucc. What is there answers each of these names, and the log says what: MPI where mpiexec
    started the processes (or "mpi" was asked for), else sockets. `init_method`: `env://`, which reads RANK, WORLD_SIZE,
    MASTER_ADDR and MASTER_PORT, `tcp://HOST:PORT`, or `file:///PATH`, for processes of one machine. `timeout`: of the meeting
    and of each later call, 30 minutes if it is left out. ArgumentError where something is missing, DistNetworkError where
    the processes do not meet.
    """
    if _GROUPS.default is not None:
        raise GroupError("trying to initialize the default process group twice!")
    if store is not None:
        raise ArgumentTypeError("store: processes meet by init_method here (env://, tcp:// or file://)")
    name = _backend_name(backend)
    seconds = _seconds(timeout)
    link = _open(name, init_method, world_size, rank, seconds)
    as_asked = (name, link.name) in (("gloo", "sockets"), ("mpi", "MPI"))
    level = logging.INFO if as_asked or link.rank else logging.WARNING
    log.log(level, "%d processes are joined; the backend %s is answered by %s here", link.size, name, link.name)
    _GROUPS.world = link
    _GROUPS.default = _begin(range(link.size), name, link)
    _Ends.install()


def _open(name: str, method: str | None, size: int, rank: int, seconds: float) -> Any:
    """The link of all processes."""
    told = method is not None or rank >= 0 or "RANK" in os.environ
    if not told and (name == "mpi" or mpi.was_started()):
        if not mpi.is_there():
            raise DistError(
                "mpi4py is not installed, by which processes of mpiexec are joined\n  hint: pip install 'graphc[mpi]', or "
                "start them by `graphc launch`"
            )
        return mpi.world(seconds)
    place = place_of(method, rank, size, os.environ)
    return SocketLink(join(place, time.monotonic() + seconds, seconds), range(place.size), 1, seconds)


def _backend_name(backend: str | None) -> str:
    """The engine that was asked for; of "cpu:gloo,cuda:nccl" the first."""
    first = (backend or "gloo").lower().partition(",")[0]
    name = first.rpartition(":")[2]
    if name not in BACKENDS:
        raise GroupError(f"Unknown backend type {backend}, there are {', '.join(BACKENDS)}")
    return name


def _seconds(timeout: timedelta | None) -> float:
    if timeout is None:
        timeout = default_pg_timeout
    if not isinstance(timeout, timedelta):
        raise ArgumentTypeError(f"Expected timeout argument to be of type datetime.timedelta, got {timeout}")
    return timeout.total_seconds()


def _begin(ranks: Sequence[int], backend: str, link: Any) -> ProcessGroup:
    _GROUPS.begun += 1
    found = _GROUPS.by_number[_GROUPS.begun] = ProcessGroup(_GROUPS.begun, ranks, backend, link)
    return found


def new_group(
    ranks: Sequence[int] | None = None,
    timeout: timedelta | None = None,
    backend: str | None = None,
    pg_options: Any = None,
    use_local_synchronization: bool = False,
    group_desc: str | None = None,
    device_id: Any = None,
    sort_ranks: bool = True,
) -> Any:
    """A group of some of the processes, by their ranks; all processes have to call this, those that are not in it too.

    They get `GroupMember.NON_GROUP_MEMBER`.
    """
    default = _default()
    chosen = list(range(default.size())) if ranks is None else list(ranks)
    if sort_ranks:
        chosen.sort()
    if len(chosen) > default.size():
        raise ArgumentError(
            "the new group's world size should be less or equal to the world size set by init_process_group"
        )
    if any(not 0 <= r < default.size() for r in chosen):
        raise ArgumentError("The new group's rank should be within the world_size set by init_process_group")
    if not chosen or len(set(chosen)) != len(chosen):
        raise ArgumentTypeError("a group has at least one process, and none of them twice")
    name = default.backend if backend is None else _backend_name(backend)
    seconds = default.link.timeout_s if timeout is None else _seconds(timeout)
    link = _GROUPS.world.part(chosen, _GROUPS.begun + 1, seconds)
    if link is None:
        _GROUPS.begun += 1
        return GroupMember.NON_GROUP_MEMBER
    return _begin(chosen, name, link)


def destroy_process_group(group: ProcessGroup | None = None) -> None:
    """Ends a group; without one, all of them, and takes leave of the other processes."""
    if group is None or group is _GROUPS.default:
        if _GROUPS.default is None:
            raise GroupError("there is no process group to destroy: init_process_group was not called")
        _GROUPS.by_number.clear()
        _GROUPS.default, _GROUPS.begun = None, 0
        world, _GROUPS.world = _GROUPS.world, None
        world.close()
    elif _GROUPS.by_number.pop(group.number, None) is None:
        raise GroupError("Invalid process group specified")


def give_up() -> None:
    """This process ends by an error: the others learn that it will take part no more."""
    world, _GROUPS.world = _GROUPS.world, None
    _GROUPS.default = None
    _GROUPS.by_number.clear()
    if world is not None:
        world.give_up()


def _leave_to_parent() -> None:
    """In a process that was forked (as a DataLoader's worker): the connections are its parent's, and end with that."""
    if _GROUPS.world is not None:
        _GROUPS.world.abandon()


class _Ends:
    """What happens at the end of the process."""

    installed = False

    @classmethod
    def install(cls) -> None:
        """Takes leave at a good end and gives up at an error, once the traceback is there."""
        if cls.installed:
            return
        cls.installed = True
        # processes of multiprocessing run no atexit functions, but these
        Finalize(None, cls.at_end, exitpriority=0)
        os.register_at_fork(after_in_child=_leave_to_parent)
        before = sys.excepthook

        def hook(*error: Any) -> None:
            before(*error)
            sys.stderr.flush()
            give_up()

        sys.excepthook = hook

    @staticmethod
    def at_end() -> None:
        """The process ends: by the error that is being handled, or well."""
        if isinstance(sys.exc_info()[1], Exception):
            give_up()
        elif is_initialized():
            destroy_process_group()


# --- questions ----------------------------------------------------------------------------------------------------------


def _default() -> ProcessGroup:
    if _GROUPS.default is None:
        raise GroupError("Default process group has not been initialized, please make sure to call init_process_group.")
    return _GROUPS.default


def group_of(group: Any, call: str = "") -> ProcessGroup | None:
    """The group that was given, the default one for None; None with a warning where this process is not in it."""
    if group is None:
        return _default()
    if group == GroupMember.NON_GROUP_MEMBER:
        if call:
            text = f"Running {call} on global rank {get_rank()} which does not belong to the given group."
            warnings.warn(text, UserWarning, stacklevel=4)
        return None
    if not isinstance(group, ProcessGroup):
        raise ArgumentTypeError(f"group: expected what new_group gave, not {type(group).__name__}")
    if _GROUPS.by_number.get(group.number) is not group:
        raise GroupError("The given group is not registered")
    return group


def is_available() -> bool:
    """Whether processes can compute together: always."""
    return True


def is_initialized() -> bool:
    """Whether there is a default group."""
    return _GROUPS.default is not None


def get_rank(group: Any = None) -> int:
    """The number of this process in the group, -1 outside of it."""
    found = group_of(group)
    return -1 if found is None else found.rank()


def get_world_size(group: Any = None) -> int:
    """How many processes are in the group, -1 outside of it."""
    found = group_of(group)
    return -1 if found is None else found.size()


def get_backend(group: Any = None) -> str:
    """The engine's name, as it was asked for."""
    found = group_of(group)
    if found is None:
        raise ArgumentError("Invalid process group specified")
    return found.backend


def get_process_group_ranks(group: Any) -> list[int]:
    """The ranks in the default group of a group's processes."""
    found = group_of(group)
    return [] if found is None else list(found.ranks)


def get_group_rank(group: Any, global_rank: int) -> int:
    """The number in a group of a process of the default group; ArgumentError if it is not in it."""
    ranks = get_process_group_ranks(group)
    if global_rank not in ranks:
        raise ArgumentError(f"Global rank {global_rank} is not part of group {group}")
    return ranks.index(global_rank)


def get_global_rank(group: Any, group_rank: int) -> int:
    """The number in the default group of a group's process; ArgumentError if there is none."""
    ranks = get_process_group_ranks(group)
    if not 0 <= group_rank < len(ranks):
        raise ArgumentError(f"Group rank {group_rank} is not part of group {group}")
    return ranks[group_rank]


def get_node_local_rank(fallback_rank: int | None = None) -> int:
    """The number of this process on its machine, as `graphc launch` tells it by LOCAL_RANK."""
    if "LOCAL_RANK" in os.environ:
        return int(os.environ["LOCAL_RANK"])
    if fallback_rank is None:
        raise DistError("LOCAL_RANK is not in the environment. Consider passing fallback_rank")
    return int(fallback_rank)


def is_backend_available(backend: str) -> bool:
    """Whether there is an engine of that name itself, as opposed to one that answers for it."""
    return {"gloo": is_gloo_available, "mpi": is_mpi_available}.get(backend.lower(), lambda: False)()


def is_gloo_available() -> bool:
    """Whether sockets can join processes: always. (The algorithms are those of sockets.py.)"""
    return True


def is_mpi_available() -> bool:
    """Whether mpi4py is installed."""
    return mpi.is_there()


def is_nccl_available() -> bool:
    """False: tensors on CUDA devices go by way of the host."""
    return False


def is_ucc_available() -> bool:
    """False."""
    return False


def is_torchelastic_launched() -> bool:
    """Whether `graphc launch` (or torchrun) started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def get_default_backend_for_device(device: Any) -> str:
    """The name that PyTorch's scripts would ask for: "nccl" for CUDA devices, else "gloo"."""
    return "nccl" if str(getattr(device, "type", device)).partition(":")[0] == "cuda" else "gloo"


__all__ = [
    "GroupMember", "ProcessGroup", "default_pg_timeout", "destroy_process_group", "get_backend",
    "get_default_backend_for_device", "get_global_rank", "get_group_rank", "get_node_local_rank",
    "get_process_group_ranks", "get_rank", "get_world_size", "group", "init_process_group", "is_available",
    "is_backend_available", "is_gloo_available", "is_initialized", "is_mpi_available", "is_nccl_available",
    "is_torchelastic_launched", "is_ucc_available", "new_group",
]  # fmt: skip
