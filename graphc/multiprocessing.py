"""`torch.multiprocessing`: the standard library's, through whose queues and pipes tensors go as their elements, and `spawn`."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import traceback
from collections.abc import Callable
from multiprocessing import *  # noqa: F403
from multiprocessing import connection
from typing import Any

from graphc.core.errors import BackendError

_STRATEGY = "file_system"


class ProcessException(BackendError):  # noqa: N818
    """A process that was started by `spawn` has failed; `error_index` is its number, `error_pid` its id."""

    def __init__(self, text: str, error_index: int, error_pid: int):
        super().__init__(text)
        self.msg, self.error_index, self.pid = text, error_index, error_pid
        self.error_pid = error_pid


class ProcessRaisedException(ProcessException):
    """It has raised; the text has its traceback."""


class ProcessExitedException(ProcessException):
    """It has ended with an exit code or by a signal."""

    def __init__(self, text: str, error_index: int, error_pid: int, exit_code: int, signal_name: str | None = None):
        super().__init__(text, error_index, error_pid)
        self.exit_code, self.signal_name = exit_code, signal_name


def _run(fn: Callable[..., Any], i: int, args: tuple[Any, ...], errors: Any) -> None:
    """What a process of `spawn` does."""
    try:
        fn(i, *args)
    except KeyboardInterrupt:
        pass  # the parent has been told too
    except Exception:
        errors.put(traceback.format_exc())
        sys.exit(1)


class SpawnContext:
    """The processes that `spawn(join=False)` has started."""

    def __init__(self, processes: list[Any], errors: list[Any]):
        self.processes, self.error_queues = processes, errors
        self.sentinels = {process.sentinel: i for i, process in enumerate(processes)}

    def pids(self) -> list[int]:
        """Their ids."""
        return [int(process.pid) for process in self.processes]

    def join(self, timeout: float | None = None, grace_period: float | None = None) -> bool:
        """Waits for one of them, or for all to end; True when all have. One that failed ends the others and raises."""
        if not self.sentinels:
            return True
        failed = None
        for sentinel in connection.wait(list(self.sentinels), timeout):
            i = self.sentinels.pop(sentinel)
            self.processes[i].join()
            if self.processes[i].exitcode != 0:
                failed = i
                break
        if failed is None:
            return not self.sentinels
        for process in self.processes:
            if process.is_alive():
                process.terminate()
        for process in self.processes:
            process.join(grace_period or 30)
            if process.is_alive():
                process.kill()
                process.join()
        raise self._error(failed)

    def _error(self, i: int) -> ProcessException:
        process = self.processes[i]
        if self.error_queues[i].empty():
            code = process.exitcode
            if code < 0:
                name = signal.Signals(-code).name
                return ProcessExitedException(f"process {i} terminated with signal {name}", i, process.pid, code, name)
            return ProcessExitedException(f"process {i} terminated with exit code {code}", i, process.pid, code)
        text = f"\n\n-- Process {i} terminated with the following error:\n{self.error_queues[i].get()}"
        return ProcessRaisedException(text, i, process.pid)


ProcessContext = SpawnContext


def start_processes(
    fn: Callable[..., Any],
    args: tuple[Any, ...] = (),
    nprocs: int = 1,
    join: bool = True,
    daemon: bool = False,
    start_method: str = "spawn",
) -> SpawnContext | None:
    """Starts `fn(i, *args)` in so many processes; see `spawn`."""  # fmt: skip
    context: Any = multiprocessing.get_context(start_method)
    errors, processes = [], []
    for i in range(nprocs):
        queue = context.SimpleQueue()
        process = context.Process(target=_run, args=(fn, i, args, queue), daemon=daemon)
        process.start()
        errors.append(queue)
        processes.append(process)
    started = SpawnContext(processes, errors)
    if not join:
        return started
    while not started.join():
        pass
    return None


def spawn(
    fn: Callable[..., Any],
    args: tuple[Any, ...] = (),
    nprocs: int = 1,
    join: bool = True,
    daemon: bool = False,
    start_method: str = "spawn",
) -> SpawnContext | None:
    """Runs `fn(i, *args)` in `nprocs` new processes, i being their number.

    `join`: waits for all; one that fails ends the others, and ProcessRaisedException has its traceback (ProcessExitedException
    its exit code). Without it, returns what to join.
    """  # fmt: skip
    return start_processes(fn, args, nprocs, join, daemon, start_method)


def get_all_sharing_strategies() -> set[str]:
    """The one there is."""
    return {_STRATEGY}


def get_sharing_strategy() -> str:
    """The one there is: elements are sent."""
    return _STRATEGY


def set_sharing_strategy(new_strategy: str) -> None:
    """Accepts PyTorch's names and changes nothing."""
    if new_strategy not in ("file_system", "file_descriptor"):
        raise BackendError(f"no sharing strategy is called {new_strategy!r}: there are file_system and file_descriptor")


__all__ = [
    *multiprocessing.__all__, "ProcessContext", "ProcessException", "ProcessExitedException", "ProcessRaisedException",
    "SpawnContext", "get_all_sharing_strategies", "get_sharing_strategy", "set_sharing_strategy", "spawn", "start_processes",
]  # fmt: skip
