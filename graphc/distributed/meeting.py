"""How processes find each other: `env://`, `tcp://HOST:PORT`, `file:///PATH`; and the sockets they meet by.

Process 0 listens where all know it; the others come, tell who they are and where they listen, and get the list of all; then
every two of them are joined. Each connection begins with the handshake of `multiprocessing.connection`: both ends prove that
they know the key, which is never sent. The key is `GRAPHC_AUTHKEY` (`graphc launch` sets it); without it, one that is made
once for each user and kept in a file that only the user can read.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from graphc.core.errors import ArgumentError, DistError, DistNetworkError
from graphc.distributed.wire import Mesh

#: Seconds that a handshake may take, and the first and longest pause between two tries to connect.
_HANDSHAKE_S, _PAUSE_S, _LONGEST_PAUSE_S = 10, 0.01, 0.2


@dataclass(frozen=True)
class Place:
    """Where processes meet: process 0 listens at `host`, `port`, or at any port that it writes into `file`."""

    rank: int
    size: int
    host: str = "127.0.0.1"
    port: int = 0
    file: str = ""


def place_of(method: str | None, rank: int, size: int, environ: Mapping[str, str]) -> Place:
    """Where an `init_method` says to meet; ArgumentError where something is missing, DistError for an unknown method."""
    url = urlsplit(method or "env://")
    said = {k: int(v[0]) for k, v in parse_qs(url.query).items() if k in ("rank", "world_size")}
    rank, size = said.get("rank", rank), said.get("world_size", size)
    if url.scheme == "env":
        rank = rank if rank >= 0 else int(_variable(environ, "RANK"))
        size = size if size > 0 else int(_variable(environ, "WORLD_SIZE"))
        place = Place(rank, size, _variable(environ, "MASTER_ADDR"), int(_variable(environ, "MASTER_PORT")))
    elif url.scheme in ("tcp", "file"):
        for name, value in (("rank", rank), ("world_size", size)):
            if value < 0:
                raise ArgumentError(
                    f"Error initializing torch.distributed using {url.scheme}:// rendezvous: {name} parameter missing"
                )
        if url.scheme == "tcp":
            if not url.hostname or url.port is None:
                raise ArgumentError("Error initializing torch.distributed using tcp:// rendezvous: port number missing")
            place = Place(rank, size, url.hostname, url.port)
        else:
            place = Place(rank, size, file=url.netloc + url.path)
    else:
        raise DistError(f"No rendezvous handler for {url.scheme}://, there are env://, tcp:// and file://")
    if size < 1 or not 0 <= rank < size:
        raise ArgumentError(f"rank {rank} of {size} processes", f"ranks from 0 to {max(size - 1, 0)}")
    return place


def _variable(environ: Mapping[str, str], name: str) -> str:
    found = environ.get(name)
    if found is None:
        raise ArgumentError(
            f"Error initializing torch.distributed using env:// rendezvous: environment variable {name} expected, but not set"
        )
    return found


def join(place: Place, deadline: float, timeout_s: float) -> Mesh:
    """The mesh of all processes of a place; DistNetworkError where they do not meet in time."""
    if place.size == 1:
        return Mesh(0, 1, {})
    with ExitStack() as opened:  # what is to be closed if they do not meet
        meeting = _Meeting(place, authkey(os.environ), deadline, timeout_s, opened)
        with _listen(place.host, place.port if place.rank == 0 else 0) as listener:
            sockets = _lead(meeting, listener) if place.rank == 0 else _follow(meeting, listener)
        opened.pop_all()
    for sock in sockets.values():
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 0))
    return Mesh(place.rank, place.size, sockets)


@dataclass
class _Meeting:
    """Who meets, with which key, until when; the connections that are there."""

    place: Place
    key: bytes
    deadline: float
    timeout_s: float
    opened: ExitStack

    def left(self, who: Callable[[], str]) -> float:
        """Seconds left; DistNetworkError saying who is missing when there are none."""
        seconds = self.deadline - time.monotonic()
        if seconds <= 0:
            raise DistNetworkError(f"Timed out after {self.timeout_s:g} seconds waiting for clients. {who()}")
        return seconds


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens; of process 0 at the address all know."""
    listener = None
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        if not port and not _is_here(host):
            address = ("", 0)
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise DistNetworkError(f"The server socket has failed to listen on {host}:{port}: {error}") from error
    return listener


def _is_here(host: str) -> bool:
    return host == "localhost" or host.startswith("127.") or host == "::1"


def _lead(meeting: _Meeting, listener: socket.socket) -> dict[int, socket.socket]:
    """Process 0: waits for all others, then tells each where the others listen."""
    place = meeting.place
    if place.file:
        _write(Path(place.file), json.dumps([place.host, listener.getsockname()[1]]), 0o600)
    found: dict[int, tuple[socket.socket, Any]] = {}
    while len(found) < place.size - 1:
        sock, said = _accept(meeting, listener, {0, *found})
        if sock is None or said is None:
            continue
        fault = _fault(said, place, found)
        if fault:
            _say(sock, {"fault": fault})
            sock.close()
            continue
        found[said["rank"]] = sock, said["address"]
    addresses = {rank: address for rank, (_, address) in found.items()}
    for sock, _ in found.values():
        _say(sock, {"addresses": addresses})
    if place.file:
        Path(place.file).unlink(missing_ok=True)
    return {rank: sock for rank, (sock, _) in found.items()}


def _fault(said: Any, place: Place, found: Mapping[int, Any]) -> str:
    rank, size = said["rank"], said["size"]
    if size != place.size:
        return f"rank {rank} expects {size} processes, rank 0 {place.size}"
    if not 0 < rank < size:
        return f"rank {rank} among {size} processes"
    return f"there are two processes of rank {rank}" if rank in found else ""


def _missing(size: int, there: set[int]) -> str:
    missing = ", ".join(str(r) for r in range(size) if r not in there)
    return f"{len(there)}/{size} clients joined; missing: rank {missing}"


def _follow(meeting: _Meeting, listener: socket.socket) -> dict[int, socket.socket]:
    """Another process: goes to process 0, then to those of lower rank, and is visited by those of higher rank."""
    place = meeting.place
    leader = _visit(meeting, lambda: _leader_address(place))
    # seen from process 0, this process listens at the address it came from
    here = leader.getsockname()[0]
    _say(leader, {"rank": place.rank, "size": place.size, "address": [here, listener.getsockname()[1]]})
    answer = _hear(meeting, leader)
    if "fault" in answer:
        raise DistNetworkError(f"rank 0 refuses rank {place.rank}: {answer['fault']}")
    sockets = {0: leader}
    for rank in range(1, place.rank):
        host, port = answer["addresses"][str(rank)]
        sockets[rank] = _visit(meeting, lambda: (host, port))  # noqa: B023  called within this round
        _say(sockets[rank], {"rank": place.rank})
    while len(sockets) < place.size - 1:
        sock, said = _accept(meeting, listener, {place.rank, *sockets})
        if sock is not None and said is not None:
            sockets[said["rank"]] = sock
    return sockets


def _leader_address(place: Place) -> tuple[str, int] | None:
    if not place.file:
        return place.host, place.port
    try:
        host, port = json.loads(Path(place.file).read_text())
    except (FileNotFoundError, ValueError):  # not there yet, or something else of that name
        return None
    return host, port


def _visit(meeting: _Meeting, address: Callable[[], tuple[str, int] | None]) -> socket.socket:
    """A connection to a process that may not be there yet."""
    pause = _PAUSE_S
    while True:
        left = meeting.left(lambda: f"rank {meeting.place.rank} finds nobody at {_shown(meeting.place)}")
        where = address()
        if where is not None:
            try:
                sock = socket.create_connection(where, timeout=min(left, _HANDSHAKE_S))
                return meeting.opened.enter_context(_shake(sock, meeting.key, answers_first=True))
            except AuthenticationError as error:
                raise DistNetworkError(
                    f"the process at {where[0]}:{where[1]} has another key: {error}\n"
                    "  hint: set GRAPHC_AUTHKEY to the same secret in all processes"
                ) from error
            except (OSError, EOFError):  # nobody listens yet, or a process of the past did
                pass
        time.sleep(min(pause, left))
        pause = min(2 * pause, _LONGEST_PAUSE_S)


def _shown(place: Place) -> str:
    return place.file or f"{place.host}:{place.port}"


def _accept(
    meeting: _Meeting, listener: socket.socket, there: set[int]
) -> tuple[socket.socket, Any] | tuple[None, None]:
    """The next process that comes and knows the key, and what it says; None for anybody else."""
    listener.settimeout(meeting.left(lambda: _missing(meeting.place.size, there)))
    try:
        sock, _ = listener.accept()
    except TimeoutError:
        return None, None
    try:
        sock = meeting.opened.enter_context(_shake(sock, meeting.key, answers_first=False))
        return sock, _hear(meeting, sock)
    except (AuthenticationError, OSError, EOFError, DistNetworkError):  # a stranger
        sock.close()
        return None, None


def _shake(sock: socket.socket, key: bytes, answers_first: bool) -> socket.socket:
    """Both ends prove that they know the key."""
    sock.settimeout(None)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", _HANDSHAKE_S, 0))
    connection = Connection(os.dup(sock.fileno()))
    try:
        for shake in (answer_challenge, deliver_challenge)[:: 1 if answers_first else -1]:
            shake(connection, key)
    except BaseException:
        sock.close()
        raise
    finally:
        connection.close()
    return sock


def _say(sock: socket.socket, said: Any) -> None:
    connection = Connection(os.dup(sock.fileno()))
    connection.send_bytes(json.dumps(said).encode())
    connection.close()


def _hear(meeting: _Meeting, sock: socket.socket) -> Any:
    """What the other end says, as JSON."""
    seconds = max(1, int(meeting.left(lambda: f"rank {meeting.place.rank} waits for the list of all processes")) + 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", seconds, 0))
    connection = Connection(os.dup(sock.fileno()))
    try:
        return json.loads(connection.recv_bytes())
    except EOFError:
        raise DistNetworkError(
            f"rank {meeting.place.rank}: the process at the other end has gone before all had met"
        ) from None
    except BlockingIOError:
        raise DistNetworkError(f"Timed out after {meeting.timeout_s:g} seconds waiting for clients.") from None
    finally:
        connection.close()


# --- the key -----------------------------------------------------------------------------------------------------------


def authkey(environ: Mapping[str, str]) -> bytes:
    """The key of this user's processes; DistNetworkError where there is no place for one."""
    given = environ.get("GRAPHC_AUTHKEY", "")
    if given:
        return given.encode()
    base = environ.get("XDG_STATE_HOME", "") or os.path.join(os.path.expanduser("~"), ".local", "state")
    path = Path(base, "graphc", "authkey")
    try:
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(path, os.urandom(32).hex(), 0o600, anew=False)
        status = path.stat()
        if sys.platform != "win32" and (status.st_mode & 0o077 or status.st_uid != os.getuid()):
            raise DistNetworkError(
                f"{path} can be read by others than its owner: it holds a secret\n  hint: chmod 600 {path}"
            )
        return path.read_text().encode()
    except OSError as error:
        raise DistNetworkError(
            f"no place for the key that joins processes: {error}\n  hint: set GRAPHC_AUTHKEY to the same secret in all of them"
        ) from error


def _write(path: Path, text: str, mode: int, anew: bool = True) -> None:
    """Writes a file at once, so that nobody reads half of it; where it is there and is not to be written `anew`, it stays."""
    own = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(own, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
        file.write(text)
    try:
        if anew:
            os.replace(own, path)
        else:
            os.link(own, path)
    except FileExistsError:
        pass
    finally:
        own.unlink(missing_ok=True)


__all__ = ["Place", "authkey", "join", "place_of"]
