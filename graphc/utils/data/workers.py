"""The worker processes of a DataLoader.

Each worker has two pipes of its own: one for tasks, one for its batches (parcels.py). There is no lock or queue that they
share, so that a worker that is killed spoils nothing for the others. A thread in the worker takes tasks off its pipe at
once; so the main process never waits while it sends, and the worker learns at once when the main process closes the pipe
or ends. The main process waits for the batches and for the ends of the processes together.
"""

from __future__ import annotations

import os
import pickle
import queue
import random
import signal
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import cycle, islice
from typing import Any, NamedTuple

import numpy as np

from graphc.backends.llvm.pool import set_num_threads
from graphc.core.config import config
from graphc.core.context import eagerly, set_default_device
from graphc.core.errors import BackendError, GraphcError
from graphc.core.lazy import lazy_import
from graphc.functions.generators import manual_seed
from graphc.utils.data import parcels
from graphc.utils.data.fetching import Source, check_length, tell_of_recording

multiprocessing = lazy_import("multiprocessing")
connection = lazy_import("multiprocessing.connection")
blas = lazy_import("graphc.backends.llvm.blas")

#: seconds in which workers may end by themselves, and after which a silent one is looked at
_PATIENCE = 5.0


class WorkerInfo(NamedTuple):
    """What a worker knows about itself; `dataset` is its own copy."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


class PrefetchError(GraphcError, AssertionError, ValueError):
    """A prefetch factor with which no batch would ever be asked for."""


class WorkerEndedError(BackendError):
    """A worker has ended that still owes a batch."""


_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """What the worker process that calls it knows about itself (id, num_workers, seed, dataset); None in the main process."""
    return _info


# --- errors -----------------------------------------------------------------------------------------------------------


class _KeyErrorText(str):
    """A message that KeyError shows as it is."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class Failure(NamedTuple):
    """An error on its way to the main process: its class, and the text that it gets there."""

    kind: Any
    text: str

    @classmethod
    def caught(cls, error: BaseException, worker: int) -> Failure:
        """What a worker sends for an error: of the nearest class that the main process can find by its name."""
        kind = next(k for k in type(error).__mro__ if _can_be_sent(k))
        lines = "".join(traceback.format_exception(error))
        return cls(kind, f"Caught {type(error).__name__} in DataLoader worker process {worker}.\nOriginal {lines}")

    def error(self) -> BaseException:
        """The error to raise: a RuntimeError where the class takes something else than a text."""
        try:
            if getattr(self.kind, "message", None):
                made = self.kind(message=self.text)
            else:
                made = self.kind(_KeyErrorText(self.text) if self.kind is KeyError else self.text)
        except Exception:
            return RuntimeError(self.text)
        return made if isinstance(made, BaseException) else RuntimeError(self.text)


def _can_be_sent(kind: type) -> bool:
    try:
        return pickle.loads(pickle.dumps(kind)) is kind
    except Exception:
        return False


# --- in the worker ----------------------------------------------------------------------------------------------------


class Job(NamedTuple):
    """What all workers of one loader are told."""

    source: Source
    init: Callable[[int], None] | None
    workers: int
    base_seed: int
    owner: int


def _work(job: Job, i: int, tasks: Any, results: Any, inherited: list[Any]) -> None:
    """The life of worker i. `inherited`: the ends of pipes that belong to the main process."""
    for end in inherited:
        end.close()
    signal.signal(signal.SIGINT, _leave_to_parent)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _settle(job, i)
    waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
    over = threading.Event()
    threading.Thread(target=_listen, args=(tasks, waiting, over), daemon=True).start()
    try:
        with eagerly():
            _answer(job, i, waiting, over, results)
    except (BrokenPipeError, ConnectionResetError):
        pass  # nobody waits for it any more


def _leave_to_parent(number: int, frame: Any) -> None:
    """Ctrl-C reaches every process of a terminal; the main process decides what becomes of its workers."""


def _settle(job: Job, i: int) -> None:
    """Seeds, one thread, tensors made on the host, and eager code on NumPy."""
    global _info
    set_default_device("cpu")  # a device of the main process does not work in one forked from it
    config.eager = "numpy"
    set_num_threads(1)
    blas.one_thread_for_numpy()
    seed = job.base_seed + i
    random.seed(seed)
    manual_seed(seed)
    words = [i, job.base_seed & 0xFFFFFFFF, job.base_seed >> 32, 0]
    np.random.seed(np.random.SeedSequence(words).generate_state(4))
    _info = WorkerInfo(i, job.workers, seed, job.source.dataset)


def _listen(tasks: Any, waiting: Any, over: threading.Event) -> None:
    """Passes tasks on until the main process closes the pipe or is gone."""
    parent = multiprocessing.parent_process().sentinel
    try:
        while tasks in connection.wait([tasks, parent]) and (task := tasks.recv()) is not None:
            waiting.put(task)
    except (EOFError, OSError):
        pass
    over.set()
    waiting.put(None)


def _answer(job: Job, i: int, waiting: Any, over: threading.Event, results: Any) -> None:
    failed, read, pass_ = None, None, -1
    try:
        if job.init is not None:
            job.init(i)
    except Exception as error:
        failed = Failure.caught(error, i)
    while (task := waiting.get()) is not None and not over.is_set():
        number, at, index = task
        kind = "error"
        try:
            if failed is not None:
                parts = parcels.packed(failed)
            else:
                if number != pass_:
                    read, pass_ = job.source.reader(), number
                parts = parcels.packed(read(index))  # type: ignore[misc]
                kind = "batch"
        except Exception as error:
            kind = "end" if job.source.stream and isinstance(error, StopIteration) else "error"
            parts = parcels.packed(None if kind == "end" else Failure.caught(error, i))
        parcels.send(results, (number, at, kind), parts, job.owner)
        del task, index, parts


# --- in the main process ----------------------------------------------------------------------------------------------


class _Worker:
    """One worker as the main process sees it. `asked`: its tasks that are not answered."""

    def __init__(self, context: Any, job: Job, i: int):
        its_tasks, self.tasks = context.Pipe(duplex=False)
        self.results, its_results = context.Pipe(duplex=True)
        self.asked: set[tuple[int, int]] = set()
        _alive.add(self)
        inherited: list[Any] = []
        if context.get_start_method() == "fork":
            inherited = [end for worker in _alive for end in (worker.tasks, worker.results)]
        arguments = (job, i, its_tasks, its_results, inherited)
        self.process = context.Process(target=_work, args=arguments, name=f"DataLoader worker {i}", daemon=True)
        try:
            self.process.start()
        except BaseException:
            self.close()
            raise
        finally:
            its_tasks.close()
            its_results.close()

    def close(self) -> None:
        """Tells the worker to end. (A child of ours may hold the pipe too, so that closing it need not tell it.)"""
        with suppress(OSError):
            self.tasks.send(None)
        self.tasks.close()
        self.results.close()

    def death(self) -> WorkerEndedError:
        """What is said of a worker that has ended."""
        self.process.join(_PATIENCE)
        who, code = f"DataLoader worker (pid {self.process.pid})", self.process.exitcode
        if code is not None and code < 0:
            return WorkerEndedError(f"{who} is killed by signal: {signal.strsignal(-code)}.")
        return WorkerEndedError(
            f"{who} exited unexpectedly with exit code {code}. Details are lost due to multiprocessing. "
            "Rerunning with num_workers=0 may give better error trace."
        )


#: those of all loaders, of whose pipes a new worker inherits our ends
_alive: weakref.WeakSet[_Worker] = weakref.WeakSet()


class Crew:
    """The workers of one loader."""

    def __init__(self, context: Any, job: Job):
        self.workers: list[_Worker] = []
        self.closed = False
        try:
            for i in range(job.workers):
                self.workers.append(_Worker(context, job, i))
        except BaseException:
            self.close()
            raise

    def ask(self, i: int, task: tuple[int, int, Any]) -> None:
        """Gives worker i a task (pass, number, index)."""
        worker = self.workers[i]
        try:
            worker.tasks.send(task)
        except (BrokenPipeError, ConnectionResetError):
            raise worker.death() from None
        worker.asked.add(task[:2])

    def answers(self, timeout: float) -> Iterator[tuple[tuple[int, int, str], list[Any]]]:
        """Waits for answers; WorkerEndedError where who owes one has ended, BackendError after `timeout` seconds, if not 0."""
        owing = [worker for worker in self.workers if worker.asked]
        ready = connection.wait([x for w in owing for x in (w.results, w.process.sentinel)], timeout or _PATIENCE)
        for worker in owing:
            if worker.results in ready:
                try:
                    head, parts = parcels.receive(worker.results)
                except (EOFError, ConnectionResetError):
                    raise worker.death() from None
                worker.asked.discard(head[:2])
                yield head, parts
            elif not worker.process.is_alive() and not worker.results.poll():
                raise worker.death()
        if timeout and not ready:
            raise BackendError(f"DataLoader timed out after {timeout} seconds")

    def close(self) -> None:
        """Ends the workers: those that do not end by themselves in a few seconds, by a signal."""
        if self.closed:
            return
        self.closed = True
        for worker in self.workers:
            worker.close()
        deadline = time.monotonic() + _PATIENCE
        try:
            for worker in self.workers:
                worker.process.join(max(0.0, deadline - time.monotonic()))
        finally:
            for worker in self.workers:
                _end(worker.process)


def _end(process: Any) -> None:
    for end in (process.terminate, process.kill):
        if process.is_alive():
            end()
            process.join(1)


def _close(crew: Crew, owner: int) -> None:
    """Closes a crew, but not in a child that has inherited its iterator."""
    if os.getpid() == owner and not sys.is_finalizing():
        crew.close()


class WorkerBatches:
    """The batches of a loader from its workers, in the sampler's order (`in_order`), errors included.

    Tasks go to the workers in turn, so many ahead. `loader` is not kept, so that the workers end when the iterator is dropped.
    """

    def __init__(self, loader: Any, base_seed: int):
        if loader.prefetch_factor < 1:
            raise PrefetchError("prefetch_factor must be greater than 0 for MultiProcessingDataLoaderIter")
        self._sampling, self._ahead = loader._sampling, loader.prefetch_factor * loader.num_workers
        self._in_order, self._timeout, self._keep = loader.in_order, loader.timeout, loader.persistent_workers
        job = Job(loader._source, loader.worker_init_fn, loader.num_workers, base_seed, os.getpid())
        self._crew = Crew(loader.multiprocessing_context or multiprocessing.get_context(), job)
        self._finish = weakref.finalize(self, _close, self._crew, os.getpid())
        self._error: BackendError | None = None
        self.told, self._dataset = loader._told, loader.dataset
        self._pass = -1
        self.start()

    @property
    def ended(self) -> bool:
        """Whether its workers are gone."""
        return self._crew.closed

    def start(self) -> None:
        """Begins a pass; what is still to come of one before is dropped."""
        count = len(self._crew.workers)
        self._pass, self._sent, self._given = self._pass + 1, 0, 0
        #: task -> its worker, until it is answered; task -> its worker and answer, until that is given out
        self._owed: dict[int, int] = {}
        self._here: dict[int, tuple[int, str, Any]] = {}
        #: who has not come to the end of its stream, and how many tasks of each are not given out
        self._active, self._load, self._turn = [True] * count, [0] * count, cycle(range(count))
        with eagerly():
            self._indices = iter(self._sampling)
            try:
                for _ in range(self._ahead):
                    self._ask()
            except WorkerEndedError as error:
                self._give_up(error)
                raise

    def __iter__(self) -> Iterator[Any]:
        return self

    def __len__(self) -> int:
        return len(self._sampling)

    def __next__(self) -> Any:
        if self._error is not None:
            raise self._error
        tell_of_recording()
        try:
            with eagerly():
                kind, value = self._answer()
        except StopIteration:
            if not self._keep:
                self._finish()
            raise
        except WorkerEndedError as error:
            self._give_up(error)
            raise
        except Exception:
            raise
        except BaseException as error:  # Ctrl-C, perhaps in the middle of a message
            self._give_up(BackendError(f"DataLoader workers were ended by {type(error).__name__}"))
            raise
        if kind == "error":
            raise value.error()
        self._given += 1
        check_length(self.told, self._given, self._dataset, len(self._crew.workers))
        return value

    def _give_up(self, error: BackendError) -> None:
        self._error = error
        self._finish()

    def _ask(self) -> None:
        """Gives out one more task, if there is one and a worker for it."""
        try:
            index = next(self._indices)
        except StopIteration:
            return
        most = self._ahead // max(1, sum(self._active))
        for worker in islice(self._turn, len(self._active)):
            if self._active[worker] and (self._in_order or self._load[worker] < most):
                break
        else:
            return
        self._crew.ask(worker, (self._pass, self._sent, index))
        self._owed[self._sent] = worker
        self._load[worker] += 1
        self._sent += 1

    def _answer(self) -> tuple[str, Any]:
        """The next answer; StopIteration after the last."""
        while self._owed or self._here:
            at = min(self._owed.keys() | self._here.keys()) if self._in_order else next(iter(self._here), -1)
            if at in self._here:
                worker, kind, value = self._here.pop(at)
                self._load[worker] -= 1
                self._ask()
                return kind, value
            for (number, at, kind), parts in self._crew.answers(self._timeout):
                if number == self._pass:
                    self._take(at, kind, parts)
        raise StopIteration

    def _take(self, at: int, kind: str, parts: list[Any]) -> None:
        worker = self._owed.pop(at)
        if kind == "end":
            self._active[worker] = False
            self._load[worker] -= 1
            self._ask()
        else:
            self._here[at] = worker, kind, parcels.unpacked(parts)
