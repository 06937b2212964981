"""Collectives over the sockets of a mesh.

Every two processes are joined, so that each gives the others their parts at once instead of passing them on around a ring: as
many bytes, in two steps. What is reduced is added up in the order of the ranks and by one process for each element, so that
all hold the same bits. Small operands go to everybody in one step, broadcasts along a binomial tree.
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.core.tensor_types import dtype_of
from graphc.distributed.arrays import as_bytes, borders, reduced
from graphc.distributed.wire import COLLECTIVE, DIRECT, Head, Mesh, Transfer

#: Bytes that a process sends to everybody rather than in parts.
SMALL = 1 << 15


class Pending:
    """A call that another thread makes: `result()` waits for what it gives, or raises what it raised."""

    def __init__(self, call: Callable[[], Any]):
        self._call, self._over = call, threading.Event()
        self._found: Any = None
        self._error: BaseException | None = None

    def run(self) -> None:
        """Makes the call, in the thread whose business that is."""
        try:
            self._found = self._call()
        except BaseException as error:
            self._error = error
        self._over.set()

    def done(self) -> bool:
        """Whether it is over."""
        return self._over.is_set()

    def result(self) -> Any:
        """What the call gave."""
        self._over.wait()
        if self._error is not None:
            raise self._error
        return self._found


class Courier:
    """A thread that makes one call after the other; it ends with the process."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Pending | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def stop(self) -> None:
        """Ends the thread, behind the calls it has taken."""
        if self._thread is not None:
            self._calls.put(None)
            self._thread = None

    def take(self, call: Callable[[], Any]) -> Pending:
        """Has the thread make a call."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="graphc.distributed", daemon=True)
            self._thread.start()
        pending = Pending(call)
        self._calls.put(pending)
        return pending

    def _work(self) -> None:
        while (pending := self._calls.get()) is not None:
            pending.run()


class Direct:
    """A message that `send` or `recv` began."""

    def __init__(self, link: SocketLink, transfer: Transfer, source: int):
        self._link, self._transfer, self.source = link, transfer, source

    def done(self) -> bool:
        """Whether it has arrived, or was sent."""
        self._link.mesh.progress()
        return self._transfer.done

    def result(self) -> None:
        """Waits until it has."""
        self._link.wait([self._transfer], (), self._transfer.head.text)


class SocketLink:
    """A group of processes of a mesh. Ranks are those within the group; `ranks` are theirs in the mesh."""

    name = "sockets"

    def __init__(self, mesh: Mesh, ranks: Sequence[int], number: int, timeout_s: float, courier: Courier | None = None):
        self.mesh, self.ranks, self.number, self.timeout_s = mesh, tuple(ranks), number, timeout_s
        self.rank, self.size = self.ranks.index(mesh.rank), len(self.ranks)
        self._courier = courier or Courier()
        self._turns = itertools.count(1)

    def part(self, ranks: Sequence[int], number: int, timeout_s: float) -> SocketLink | None:
        """A group of some of the mesh's processes; None where this is none of them."""
        return SocketLink(self.mesh, ranks, number, timeout_s, self._courier) if self.mesh.rank in ranks else None

    def run(self, call: str, x: Any, **options: Any) -> Any:
        """A collective of this name on this process's array: the result, an array of its own."""
        return getattr(self, f"_{call}")(_Turn(self, call, x, options), np.asarray(x, order="C"), **options)

    def begin(self, call: str, x: Any, **options: Any) -> Pending:
        """The same, while this thread goes on; the array must stay as it is until it is done."""
        turn = _Turn(self, call, x, options)
        return self._courier.take(lambda: getattr(self, f"_{call}")(turn, np.asarray(x, order="C"), **options))

    def close(self) -> None:
        """Takes leave of the others."""
        self.mesh.close()
        self._courier.stop()

    def abandon(self) -> None:
        """Closes this process's ends of the connections, without a word."""
        self.mesh.abandon()

    def give_up(self) -> None:
        """Leaves them as a process that dies does, when it ends."""
        self.mesh.give_up()

    # --- messages from one to one -----------------------------------------------------------------------------------------

    def send(self, x: Any, target: int, tag: int) -> Direct:
        """Begins to send an array, which must stay as it is until that is done."""
        x = np.asarray(x, order="C")
        head = Head(DIRECT, self.number, tag, 0, f"a message of {_described(x)}")
        return Direct(self, self.mesh.send(self.ranks[target], head, as_bytes(x)), target)

    def receive(self, out: Any, source: int, tag: int) -> Direct:
        """Begins to receive into an array in C order."""
        head = Head(DIRECT, self.number, tag, 0, f"a message of {_described(out)}")
        return Direct(self, self.mesh.receive(self.ranks[source], head, as_bytes(out)), source)

    def first_to_send(self, like: Any, tag: int) -> int:
        """The rank of a process whose message with that tag has come or comes first."""
        deadline = time.monotonic() + self.timeout_s
        others = [r for r in self.ranks if r != self.mesh.rank]
        head = Head(DIRECT, self.number, tag, 0, f"a message of {_described(like)}")
        return self.ranks.index(self.mesh.first(others, head, deadline, self.timeout_s))

    def wait(self, transfers: Sequence[Transfer], members: Sequence[int], what: str) -> None:
        """Waits for transfers within the group's time; `members` as in `Mesh.wait`."""
        self.mesh.wait(transfers, members, what, time.monotonic() + self.timeout_s, self.timeout_s)

    # --- collectives ------------------------------------------------------------------------------------------------------

    def _all_reduce(self, turn: _Turn, x: Any, how: str) -> Any:
        if x.nbytes <= SMALL or x.size < self.size:
            return reduced(turn.exchange([x] * self.size, self._room(x)), how)
        flat, edges = x.reshape(-1), borders(x.size, self.size)
        mine = self._share(turn, [flat[a:b] for a, b in edges], how)
        out = np.empty_like(flat)
        turn.exchange([mine] * self.size, [out[a:b] for a, b in edges])
        return out.reshape(x.shape)

    def _share(self, turn: _Turn, parts: Sequence[Any], how: str) -> Any:
        """The part of this process, taken together over all."""
        return reduced(turn.exchange(parts, self._room(parts[self.rank])), how)

    def _room(self, mine: Any) -> list[Any]:
        """Room for what the others have, and this process's own as it is."""
        return [mine if r == self.rank else np.empty_like(mine) for r in range(self.size)]

    def _reduce_scatter(self, turn: _Turn, x: Any, how: str) -> Any:
        return self._share(turn, _rows(x), how).reshape(x.shape[1:])

    def _all_gather(self, turn: _Turn, x: Any) -> Any:
        out = np.empty((self.size, *x.shape), x.dtype)
        turn.exchange([x] * self.size, _rows(out))
        return out

    def _broadcast(self, turn: _Turn, x: Any, source: int) -> Any:
        """From the source along a binomial tree: in round k, the 2**k processes that have it give it to as many more."""
        place = (self.rank - source) % self.size
        out, k = (x.copy() if place == 0 else np.empty_like(x)), 1
        while k < self.size:
            if k <= place < 2 * k:
                turn.receive((place - k + source) % self.size, out)
            elif place < k and place + k < self.size:
                turn.send((place + k + source) % self.size, out)
            k *= 2
        turn.finish()
        return out

    def _gather(self, turn: _Turn, x: Any, target: int) -> Any:
        """Every process's array at the target; None elsewhere."""
        if self.rank != target:
            turn.send(target, x)
            turn.finish()
            return None
        out = np.empty((self.size, *x.shape), x.dtype)
        out[target] = x
        for r, row in enumerate(_rows(out)):
            if r != target:
                turn.receive(r, row, wait=False)
        turn.finish()
        return out

    def _scatter(self, turn: _Turn, x: Any, source: int) -> Any:
        """From the source, whose array has a part for each process; the others' is like a part."""
        if self.rank != source:
            out = np.empty_like(x)
            turn.receive(source, out)
            return out
        for r, row in enumerate(_rows(x)):
            if r != source:
                turn.send(r, row)
        turn.finish()
        return np.array(x[source])


class _Turn:
    """One collective of a group: messages with its number, and those that are still to be waited for."""

    def __init__(self, link: SocketLink, call: str, x: Any, options: Any):
        self._link, self._number, self._steps = link, next(link._turns), 0
        like = x[0] if call == "scatter" and link.rank == options["source"] else x
        # that of the root alone tells who it is: all others have to agree
        self.what = f"{call} {' '.join(map(str, options.values()))} {_described(like)}"
        self._open: list[Transfer] = []

    def _head(self, step: int = 0) -> Head:
        return Head(COLLECTIVE, self._link.number, self._number, step, self.what)

    def send(self, target: int, part: Any) -> None:
        """Begins to send a part."""
        link = self._link
        self._open.append(link.mesh.send(link.ranks[target], self._head(), as_bytes(part)))

    def receive(self, source: int, out: Any, wait: bool = True) -> None:
        """Receives a part, or begins to."""
        link = self._link
        transfer = link.mesh.receive(link.ranks[source], self._head(), as_bytes(out))
        self._open.append(transfer)
        if wait:
            link.wait([transfer], link.ranks, self.what)

    def finish(self) -> None:
        """Waits for all that was begun."""
        self._link.wait(self._open, self._link.ranks, self.what)
        self._open.clear()

    def exchange(self, parts: Sequence[Any], outs: Sequence[Any]) -> Sequence[Any]:
        """Gives each process its part and gets one from each, in order of their ranks; its own is copied if it is not there."""
        link = self._link
        self._steps += 1
        head = self._head(self._steps)
        for r in range(link.size):
            if r != link.rank:
                self._open.append(link.mesh.receive(link.ranks[r], head, as_bytes(outs[r])))
        for k in range(1, link.size):  # not all to the same one first
            r = (link.rank + k) % link.size
            self._open.append(link.mesh.send(link.ranks[r], head, as_bytes(parts[r])))
        if outs[link.rank] is not parts[link.rank]:
            outs[link.rank][...] = parts[link.rank]
        self.finish()
        return outs


def _rows(x: Any) -> list[Any]:
    """The parts along the first dimension, as arrays in the same memory."""
    return [x[r : r + 1] for r in range(len(x))]


def _described(x: Any) -> str:
    return f"{dtype_of(x.dtype).short}[{', '.join(map(str, x.shape))}]"


__all__ = ["Courier", "Pending", "SocketLink"]
