"""Messages between the processes of a mesh: every two of them share a socket.

A message is a head (`Head`) and the bytes of an array, sent from its memory and received into its place: nothing is pickled.
It is told by (sender, group, number, part), so that messages may come in any order and several threads may wait for theirs.
Whoever waits, drives: one thread at a time moves bytes for all, those of other threads included.

A process that goes says so on every socket. A socket that ends without that means a process that died, which ends the waiting
of all who need it.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

from graphc.core.errors import DistBackendError, PeerError

#: Kinds of messages: one of a collective, one that `send` sends, and the last one.
COLLECTIVE, DIRECT, GOODBYE = 1, 2, 3

_HEAD = struct.Struct("<IIqqQ64s")
_TEXT = 64
#: Bytes moved by one call of the system.
_MOST = 1 << 20

Key = tuple[int, int, int, int]


class Head(NamedTuple):
    """What goes before the bytes: kind, group, number and part tell the message; `text` says what call it is part of."""

    kind: int
    group: int
    number: int
    part: int
    text: str = ""

    @property
    def key(self) -> Key:
        """What a message is told by."""
        return self[:4]

    def packed(self, nbytes: int) -> bytes:
        """As it is sent."""
        return _HEAD.pack(*self.key, nbytes, self.text.encode()[:_TEXT])


class Transfer:
    """A message on its way: one that is to be received into `view`, or sent from it."""

    __slots__ = ("done", "error", "head", "peer", "view")

    def __init__(self, peer: int, head: Head, view: memoryview):
        self.peer, self.head, self.view = peer, head, view
        self.done, self.error = False, ""

    def finish(self, error: str = "") -> None:
        """It is there, or never will be."""
        self.error, self.done = error, True


#: What stays to be waited for.
_NEVER = Transfer(-1, Head(0, 0, 0, 0), memoryview(b""))


class _Peer:
    """One other process: its socket, what is to be sent, what is being received, what came before it was asked for."""

    def __init__(self, rank: int, sock: socket.socket):
        self.rank, self.sock = rank, sock
        #: pieces of what is to be sent; a Transfer behind its last piece
        self.outgoing: deque[memoryview | Transfer] = deque()
        self.wanted: dict[Key, deque[Transfer]] = {}
        self.early: dict[Key, deque[tuple[str, bytearray]]] = {}
        #: "", or how it went
        self.gone = ""
        self.begin()

    def begin(self) -> None:
        """Expects a head next."""
        self.target, self.head, self.transfer = memoryview(bytearray(_HEAD.size)), None, None
        self.buffer: Any = self.target.obj
        self.got = 0

    head: Head | None
    transfer: Transfer | None


class Mesh:
    """The sockets of this process to all others (rank -> socket), and who waits for what."""

    def __init__(self, rank: int, size: int, sockets: dict[int, socket.socket]):
        self.rank, self.size = rank, size
        self.peers = {r: _Peer(r, sock) for r, sock in sockets.items()}
        self.broken = ""
        self._by_fd = {peer.sock.fileno(): peer for peer in self.peers.values()}
        self._poll = select.poll()
        for fd, peer in self._by_fd.items():
            peer.sock.setblocking(False)
            self._poll.register(fd, select.POLLIN)
        self._posted: deque[tuple[Transfer, bool]] = deque()
        self._driving = threading.Lock()
        self._moved = threading.Condition()
        # a thread that has posted something wakes the one that waits for the sockets
        self._woken, self._waker = socket.socketpair()
        for end in (self._woken, self._waker):
            end.setblocking(False)
        self._poll.register(self._woken.fileno(), select.POLLIN)

    # --- what callers do ----------------------------------------------------------------------------------------------

    def send(self, peer: int, head: Head, view: memoryview) -> Transfer:
        """Begins to send; the memory must stay as it is until the transfer is done."""
        return self._post(Transfer(peer, head, view), True)

    def receive(self, peer: int, head: Head, view: memoryview) -> Transfer:
        """Begins to receive a message with that head, of as many bytes as there is room."""
        return self._post(Transfer(peer, head, view), False)

    def _post(self, transfer: Transfer, sends: bool) -> Transfer:
        self._posted.append((transfer, sends))
        if self._driving.locked():
            with contextlib.suppress(BlockingIOError):  # it has been woken often enough
                self._waker.send(b"!")
        return transfer

    def wait(
        self, transfers: Sequence[Transfer], members: Collection[int], what: str, deadline: float, timeout_s: float
    ) -> None:
        """Moves bytes until all these transfers are done.

        Raises DistBackendError where one of the `members` has died, a message is of another call, or the time is over; the
        mesh is no good after that.
        """
        try:
            while True:
                self._check(transfers, members, what)
                if all(t.done for t in transfers):
                    return
                left = deadline - time.monotonic()
                if left <= 0:
                    late = sorted({t.peer for t in transfers if not t.done})
                    raise DistBackendError(
                        f"{what}: timed out after {timeout_s:g} s waiting for rank {', '.join(map(str, late))}"
                    )
                self._advance(transfers, min(left, 1.0))
        except BaseException as error:
            self.broken = self.broken or str(error) or type(error).__name__
            raise

    def progress(self) -> None:
        """Moves what can be moved at once."""
        self._advance([_NEVER], 0.0)

    def first(self, peers: Collection[int], head: Head, deadline: float, timeout_s: float) -> int:
        """The process from which a message with that head has come or comes first."""
        while True:
            self._check((), peers, head.text)
            for r in peers:
                if head.key in self.peers[r].early:
                    return r
            if time.monotonic() > deadline or all(self.peers[r].gone for r in peers):
                raise DistBackendError(f"{head.text}: nobody has sent it, within {timeout_s:g} s")
            self._advance([_NEVER], 1.0)

    def _check(self, transfers: Iterable[Transfer], members: Collection[int], what: str) -> None:
        if self.broken:
            raise DistBackendError(
                f"{what}: the processes are no longer in step ({self.broken})\n"
                "  hint: destroy_process_group() and begin anew, in all of them"
            )
        for t in transfers:
            if t.error:
                raise (PeerError if self.peers[t.peer].gone else DistBackendError)(f"{what}: {t.error}")
        for r in members:
            if r != self.rank and self.peers[r].gone == "died":
                raise PeerError(f"{what}: rank {r} has died: its connection to rank {self.rank} ended")

    def _advance(self, transfers: Sequence[Transfer], seconds: float) -> None:
        """One round of moving bytes, by this thread or by the one that does so already."""
        if not self._driving.acquire(blocking=False):
            with self._moved:
                self._moved.wait_for(
                    lambda: not self._driving.locked() or all(t.done for t in transfers), timeout=seconds
                )
            return
        try:
            self._drive(transfers, seconds)
        finally:
            self._driving.release()
            with self._moved:
                self._moved.notify_all()

    # --- what the driving thread does ------------------------------------------------------------------------------------

    def _drive(self, transfers: Sequence[Transfer], seconds: float) -> None:
        while self._posted:
            self._begin(*self._posted.popleft())
        if all(t.done for t in transfers):
            return
        for fd, event in self._poll.poll(seconds * 1000):
            if fd == self._woken.fileno():
                self._woken.recv(4096)
                continue
            peer = self._by_fd[fd]
            if event & select.POLLOUT:
                self._push(peer)
            if event & ~select.POLLOUT:
                self._pull(peer)

    def _begin(self, transfer: Transfer, sends: bool) -> None:
        peer, head = self.peers[transfer.peer], transfer.head
        if sends:
            if peer.gone:
                transfer.finish(f"rank {peer.rank} has {peer.gone}")
                return
            peer.outgoing += [memoryview(head.packed(transfer.view.nbytes)), transfer.view, transfer]
            self._push(peer)
            return
        early = peer.early.get(head.key)
        if early:
            text, found = early.popleft()
            if not early:
                del peer.early[head.key]
            transfer.finish(_mismatch(peer.rank, text, len(found), transfer))
            if not transfer.error:
                transfer.view[:] = found
        elif peer.gone:
            transfer.finish(f"rank {peer.rank} has {peer.gone}")
        elif peer.transfer is None and peer.head is not None and peer.head.key == head.key:
            # it is arriving already, into memory of its own
            peer.transfer = transfer
        else:
            peer.wanted.setdefault(head.key, deque()).append(transfer)

    def _push(self, peer: _Peer) -> None:
        """Sends what the socket takes."""
        out = peer.outgoing
        try:
            while out:
                # a head goes with what follows it: the other end wakes up once
                pieces = [piece[:_MOST] for piece in islice(out, 2) if not isinstance(piece, Transfer)]
                sent = peer.sock.sendmsg(pieces)
                for piece in pieces:
                    first = out.popleft()
                    assert not isinstance(first, Transfer)
                    if sent < first.nbytes:
                        out.appendleft(first[sent:])
                        break
                    sent -= piece.nbytes
                while out and isinstance(done := out[0], Transfer):
                    done.finish()
                    out.popleft()
        except BlockingIOError:
            pass
        except OSError:
            self._pull(peer)  # its last words may lie here unread
            if not peer.gone:
                self._lose(peer)
        if not peer.gone:
            self._poll.modify(peer.sock.fileno(), select.POLLIN | (select.POLLOUT if out else 0))

    def _pull(self, peer: _Peer) -> None:
        """Receives what the socket has."""
        try:
            while not peer.gone:
                room = peer.target[peer.got :]
                if room.nbytes:
                    n = peer.sock.recv_into(room[:_MOST])
                    if not n:
                        self._lose(peer)
                        return
                    peer.got += n
                if peer.got == peer.target.nbytes:
                    self._received(peer)
        except BlockingIOError:
            pass
        except OSError:
            self._lose(peer)

    def _received(self, peer: _Peer) -> None:
        """A head or a message is whole."""
        if peer.head is None:
            kind, group, number, part, nbytes, text = _HEAD.unpack(peer.buffer)
            head = Head(kind, group, number, part, text.rstrip(b"\0").decode(errors="replace"))
            if head.kind == GOODBYE:
                self._lose(peer, "left the group (destroy_process_group, or the end of its script)")
                return
            waiting = peer.wanted.get(head.key)
            transfer = waiting.popleft() if waiting else None
            if waiting is not None and not waiting:
                del peer.wanted[head.key]
            if transfer is not None:
                error = _mismatch(peer.rank, head.text, nbytes, transfer)
                if error:
                    transfer.finish(error)
                    transfer = None
            peer.head, peer.got, peer.transfer = head, 0, transfer
            peer.buffer = bytearray(nbytes) if transfer is None else None
            peer.target = memoryview(peer.buffer) if transfer is None else transfer.view
            return
        if peer.buffer is None:
            assert peer.transfer is not None
            peer.transfer.finish()
        elif peer.transfer is not None:
            peer.transfer.finish(_mismatch(peer.rank, peer.head.text, len(peer.buffer), peer.transfer))
            if not peer.transfer.error:
                peer.transfer.view[:] = peer.buffer
        else:
            peer.early.setdefault(peer.head.key, deque()).append((peer.head.text, peer.buffer))
        peer.begin()

    def _lose(self, peer: _Peer, how: str = "died") -> None:
        """A process has gone: nothing comes from it or goes to it any more."""
        peer.gone = how
        self._poll.unregister(peer.sock.fileno())
        waiting = [t for ts in peer.wanted.values() for t in ts]
        waiting += [t for t in peer.outgoing if isinstance(t, Transfer)]
        waiting += [peer.transfer] if peer.transfer is not None else []
        for t in waiting:
            t.finish(f"rank {peer.rank} has {how}")
        peer.wanted.clear()
        peer.outgoing.clear()

    # --- the end --------------------------------------------------------------------------------------------------------

    def close(self, seconds: float = 2.0) -> None:
        """Sends what is still to be sent, says goodbye unless something went wrong, and closes the sockets."""
        if not self.broken:
            last = [
                self.send(r, Head(GOODBYE, 0, 0, 0), memoryview(b"")) for r, peer in self.peers.items() if not peer.gone
            ]
            deadline = time.monotonic() + seconds
            while not all(t.done for t in last) and time.monotonic() < deadline:
                self._advance(last, max(0.0, deadline - time.monotonic()))
            self.broken = "it was destroyed"
        self.abandon()

    def give_up(self) -> None:
        """Has the system close the sockets when the process ends, so that the others see it go no sooner, without a word."""
        self.broken = self.broken or "it was given up"
        for peer in self.peers.values():
            peer.sock.detach()

    def abandon(self) -> None:
        """Closes the sockets without a word."""
        self.broken = self.broken or "its connections were closed"
        for peer in self.peers.values():
            peer.sock.close()
        self._woken.close()
        self._waker.close()


def _mismatch(rank: int, text: str, nbytes: int, transfer: Transfer) -> str:
    """What is wrong with a message for a transfer; "" if it is what it waits for."""
    mine = transfer.head.text[:_TEXT]
    if text != mine:
        return f"rank {rank} is at another call: {text} there, {mine} here"
    if nbytes != transfer.view.nbytes:
        return f"rank {rank} has sent {nbytes} bytes where {transfer.view.nbytes} are expected ({mine})"
    return ""


__all__ = ["COLLECTIVE", "DIRECT", "GOODBYE", "Head", "Mesh", "Transfer"]
