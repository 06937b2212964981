"""How processes find each other: addresses, keys, and what is said when they do not."""

from __future__ import annotations

import os
import socket
import stat
import threading
import time
from contextlib import ExitStack

import numpy as np
import pytest

from graphc.core.errors import ArgumentError, DistError, DistNetworkError
from graphc.distributed import meeting
from graphc.distributed.meeting import Place, authkey, join, place_of
from graphc.distributed.sockets import SocketLink

ENVIRON = {"RANK": "1", "WORLD_SIZE": "3", "MASTER_ADDR": "localhost", "MASTER_PORT": "29501"}


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("GRAPHC_AUTHKEY", "the tests' own")


class Visitor:
    """A thread in which a place's process meets the others; `result()` is its mesh, or its error."""

    def __init__(self, place):
        self.found = None
        self.thread = threading.Thread(target=self.run, args=(place,), daemon=True)
        self.thread.start()

    def run(self, place):
        try:
            self.found = join(place, time.monotonic() + 60, 60.0)
        except Exception as error:
            self.found = error

    def result(self):
        self.thread.join(90)
        return self.found


def meet(places):
    """What becomes of each place's process."""
    return [v.result() for v in [Visitor(place) for place in places]]


def check_all_joined(joined):
    """Every two of them are joined: each gives its number to all."""
    links = [SocketLink(mesh, range(len(joined)), 1, 30.0) for mesh in joined]
    results = [None] * len(links)

    def body(r):
        results[r] = links[r].run("all_gather", np.array(r))

    threads = [threading.Thread(target=body, args=(r,), daemon=True) for r in range(len(links))]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    for link in links:
        link.close()
    assert all(x.tolist() == list(range(len(joined))) for x in results)


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


# --- where -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "rank", "size", "place"),
    [
        (None, -1, -1, Place(1, 3, "localhost", 29501)),
        ("env://", 2, -1, Place(2, 3, "localhost", 29501)),
        ("tcp://10.1.1.20:23456", 0, 2, Place(0, 2, "10.1.1.20", 23456)),
        ("tcp://h:1?rank=1&world_size=4", -1, -1, Place(1, 4, "h", 1)),
        ("file:///mnt/x/y", 0, 2, Place(0, 2, file="/mnt/x/y")),
    ],
)
def test_places(method, rank, size, place):
    assert place_of(method, rank, size, ENVIRON) == place


@pytest.mark.parametrize(
    ("method", "rank", "size", "error", "text"),
    [
        ("env://", -1, 2, ArgumentError, "environment variable RANK expected, but not set"),
        ("tcp://h:1", -1, 2, ArgumentError, "tcp:// rendezvous: rank parameter missing"),
        ("tcp://h:1", 1, -1, ArgumentError, "tcp:// rendezvous: world_size parameter missing"),
        ("tcp://h", 1, 2, ArgumentError, "tcp:// rendezvous: port number missing"),
        ("carrier-pigeon://h", 1, 2, DistError, "No rendezvous handler for carrier-pigeon://"),
        ("file:///x", 2, 2, ArgumentError, "rank 2 of 2 processes"),
    ],
)
def test_places_that_are_none(method, rank, size, error, text):
    with pytest.raises(error, match=text):
        place_of(method, rank, size, {})


# --- together ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 3, 4])
def test_meeting_at_a_port(size):
    port = free_port()
    check_all_joined(meet([Place(r, size, "127.0.0.1", port) for r in range(size)]))


def test_meeting_by_a_file(tmp_path):
    file = tmp_path / "meeting"
    file.write_text('["127.0.0.1", 1]')  # of a run of the past, which nobody answers any more
    check_all_joined(meet([Place(r, 3, file=str(file)) for r in (2, 1, 0)])[::-1])
    assert not file.exists()


def test_strangers_are_turned_away(monkeypatch, tmp_path):
    file = str(tmp_path / "meeting")
    shake, strangers = meeting._shake, []

    def with_strangers(sock, key, answers_first):
        if not answers_first and not strangers:
            strangers.append(1)
            return shake(sock, b"another", answers_first)
        return shake(sock, key, answers_first)

    monkeypatch.setattr(meeting, "_shake", with_strangers)
    first, stranger = Visitor(Place(0, 2, file=file)), Visitor(Place(1, 2, file=file))
    error = stranger.result()
    assert isinstance(error, DistNetworkError)
    assert "has another key" in str(error) and "hint: set GRAPHC_AUTHKEY" in str(error)
    check_all_joined([x.result() for x in (first, Visitor(Place(1, 2, file=file)))])


def test_processes_that_do_not_agree(tmp_path):
    file = str(tmp_path / "meeting")
    first = Visitor(Place(0, 2, file=file))
    for place, text in (
        (Place(1, 3, file=file), "rank 0 refuses rank 1: rank 1 expects 3 processes, rank 0 2"),
        (Place(2, 2, file=file), "rank 0 refuses rank 2: rank 2 among 2 processes"),
    ):
        assert text in str(Visitor(place).result())
    check_all_joined([x.result() for x in (first, Visitor(Place(1, 2, file=file)))])


def test_two_of_one_rank(tmp_path):
    file = str(tmp_path / "meeting")
    first, *twins = [Visitor(Place(r, 3, file=file)) for r in (0, 1, 1)]
    while all(t.found is None for t in twins):
        time.sleep(0.01)
    refused = next(t for t in twins if t.found is not None)
    twins.remove(refused)
    assert "there are two processes of rank 1" in str(refused.result())
    check_all_joined([x.result() for x in (first, *twins, Visitor(Place(2, 3, file=file)))])


def test_somebody_is_missing(tmp_path):
    with pytest.raises(DistNetworkError, match=r"Timed out after 0.05 seconds .* 1/2 clients joined; missing: rank 1"):
        join(Place(0, 2, file=str(tmp_path / "meeting")), time.monotonic() + 0.05, 0.05)


def test_nobody_is_there(tmp_path):
    with pytest.raises(DistNetworkError, match=r"rank 1 finds nobody at .*meeting"):
        join(Place(1, 2, file=str(tmp_path / "meeting")), time.monotonic() + 0.05, 0.05)


def test_a_port_that_is_taken():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = sock.getsockname()[1]
        with pytest.raises(DistNetworkError, match=f"The server socket has failed to listen on 127.0.0.1:{port}"):
            join(Place(0, 2, "127.0.0.1", port), time.monotonic() + 1, 1.0)


def test_the_other_end_goes():
    here, there = socket.socketpair()
    there.close()
    with (
        here,
        pytest.raises(DistNetworkError, match="rank 1: the process at the other end has gone before all had met"),
    ):
        meeting._hear(meeting._Meeting(Place(1, 2), b"", time.monotonic() + 9, 9.0, ExitStack()), here)


# --- the key -----------------------------------------------------------------------------------------------------------


def test_the_key_is_given_or_kept(tmp_path):
    assert authkey({"GRAPHC_AUTHKEY": "abc"}) == b"abc"
    made = authkey({"XDG_STATE_HOME": str(tmp_path)})
    assert len(made) == 64 and authkey({"XDG_STATE_HOME": str(tmp_path)}) == made
    file = tmp_path / "graphc" / "authkey"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and os.listdir(file.parent) == ["authkey"]
    file.chmod(0o644)
    with pytest.raises(DistNetworkError, match="can be read by others than its owner"):
        authkey({"XDG_STATE_HOME": str(tmp_path)})


def test_no_place_for_a_key(tmp_path):
    (tmp_path / "graphc").write_text("")
    with pytest.raises(DistNetworkError, match=r"no place for the key[\s\S]*hint: set GRAPHC_AUTHKEY"):
        authkey({"XDG_STATE_HOME": str(tmp_path)})
