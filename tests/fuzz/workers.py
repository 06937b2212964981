"""Seeds examined in processes of their own: one that dies or hangs is a finding, not the end of the run."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any

#: Seeds a process examines before another takes its place, since native code stays loaded.
LIFETIME = 500
#: Seconds one seed may take, and the most that one round of waiting counts: time in which the machine was halted does not.
PATIENCE, ROUND = 600.0, 1.0

Work = Callable[[int], str]


def examined(
    work: Work, seeds: range, jobs: int = 1, lifetime: int = LIFETIME, patience: float = PATIENCE
) -> Iterator[tuple[int, str]]:
    """Each seed with what `work` says is wrong with it, as they come; `crash: ...` where its process did not survive it."""
    waiting = deque(seeds[at : at + lifetime] for at in range(0, len(seeds), lifetime))
    busy: dict[Any, _Worker] = {}
    try:
        while waiting or busy:
            while waiting and len(busy) < jobs:
                worker = _Worker(work, waiting.popleft())
                busy[worker.answers] = worker
            before = time.monotonic()
            ready = wait(list(busy), timeout=ROUND)
            for worker in busy.values():
                worker.wait_on(min(time.monotonic() - before, ROUND), patience)
            for answers in ready:
                worker = busy[answers]
                try:
                    text = answers.recv()
                except EOFError:
                    del busy[answers]
                    text = worker.end()
                    if worker.left:
                        yield worker.left[0], text
                        waiting.appendleft(worker.left[1:])
                    continue
                yield worker.next(), text
    finally:
        for worker in busy.values():
            worker.process.kill()


class _Worker:
    """A process that examines some seeds in order; `left` are those it has not answered for."""

    def __init__(self, work: Work, seeds: range):
        self.left, self.waited = seeds, 0.0
        self.answers, theirs = multiprocessing.Pipe(duplex=False)
        self.process = multiprocessing.Process(target=_answer, args=(work, seeds, theirs), daemon=True)
        self.process.start()
        theirs.close()

    def next(self) -> int:
        """The seed that was just answered for."""
        seed, self.left = self.left[0], self.left[1:]
        self.waited = 0.0
        return seed

    def wait_on(self, seconds: float, patience: float) -> None:
        """Counts a round of waiting; ends a process that takes too long, whose threads then show where they are."""
        self.waited += seconds
        if self.waited > patience and self.process.pid is not None:
            os.kill(self.process.pid, signal.SIGABRT)

    def end(self) -> str:
        """What became of the process."""
        self.process.join()
        return f"crash: {died(self.process.exitcode)}"


def _answer(work: Work, seeds: range, answers: Connection) -> None:
    faulthandler.enable(file=2)
    for seed in seeds:
        answers.send(work(seed))
    answers.close()


def died(code: int | None) -> str:
    """How a process ended, in words; empty for one that ended well."""
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit status {code}" if code else ""


def fate(work: Callable[..., object], *arguments: Any) -> str:
    """How a process ends that calls `work(*arguments)` and nothing else; empty if well."""
    process = multiprocessing.Process(target=_silently, args=(work, *arguments), daemon=True)
    process.start()
    process.join()
    return died(process.exitcode)


def _silently(work: Callable[..., object], *arguments: Any) -> None:
    faulthandler.disable()  # pytest's, which prints where each one dies
    work(*arguments)
