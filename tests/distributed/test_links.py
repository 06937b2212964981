"""What carries arrays between processes, with threads in the place of processes: results, order, faults."""

from __future__ import annotations

import socket
import threading
import time

import numpy as np
import pytest

from graphc.core.errors import DistBackendError, PeerError
from graphc.distributed.sockets import SMALL, SocketLink
from graphc.distributed.wire import Mesh


def meshes(size):
    """The meshes of `size` processes, joined by socket pairs."""
    pairs = {(a, b): socket.socketpair() for a in range(size) for b in range(a + 1, size)}
    found = []
    for r in range(size):
        ends = {b: pair[0] for (a, b), pair in pairs.items() if a == r}
        ends |= {a: pair[1] for (a, b), pair in pairs.items() if b == r}
        found.append(Mesh(r, size, ends))
    return found


@pytest.fixture
def links():
    made = []

    def make(size, timeout_s=30.0):
        made.extend(SocketLink(mesh, range(size), 1, timeout_s) for mesh in meshes(size))
        return made[-size:]

    yield make
    for link in made:
        link.mesh.abandon()


def each(links, body):
    """What `body(link)` returns or raises in a thread of each."""
    found = [None] * len(links)

    def run(i):
        try:
            found[i] = body(links[i])
        except Exception as error:
            found[i] = error

    threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(len(links))]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert not any(t.is_alive() for t in threads), "a process hangs"
    return found


SIZES = [(), (1,), (3,), (2, 0), (SMALL // 8 + 1,), (257, 1031)]


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("shape", SIZES, ids=str)
def test_all_reduce_has_the_same_bits_everywhere(links, size, shape):
    rng = np.random.default_rng(0)
    given = [rng.normal(size=shape) for _ in range(size)]
    found = each(links(size), lambda link: link.run("all_reduce", given[link.rank], how="sum"))
    want = given[0].copy()
    for x in given[1:]:
        want = want + x
    assert all(np.array_equal(x, want) and x.shape == shape for x in found)


@pytest.mark.parametrize("how", ["sum", "prod", "min", "max", "band", "bor", "bxor"])
def test_reductions(links, how):
    functions = {"sum": np.add, "prod": np.multiply, "min": np.minimum, "max": np.maximum}
    functions |= {"band": np.bitwise_and, "bor": np.bitwise_or, "bxor": np.bitwise_xor}
    given = np.random.default_rng(1).integers(1, 100, size=(3, 4))
    found = each(links(3), lambda link: link.run("all_reduce", given[link.rank], how=how))
    assert all(np.array_equal(x, functions[how].reduce(given)) for x in found)


@pytest.mark.parametrize("size", [1, 2, 3, 6])
@pytest.mark.parametrize("shape", [(), (3,), (100, 100)], ids=str)
def test_who_has_what_afterwards(links, size, shape):
    def body(link):
        mine = np.full(shape, float(link.rank))
        parts = np.stack([np.full(shape, 10.0 * r) for r in range(size)])
        return (
            link.run("broadcast", mine, source=size - 1),
            link.run("all_gather", mine),
            link.run("reduce_scatter", parts, how="sum"),
            link.run("gather", mine, target=0),
            link.run("scatter", parts if link.rank == size - 1 else mine, source=size - 1),
        )

    ranks = np.stack([np.full(shape, float(r)) for r in range(size)])
    for r, (spread, gathered, own, collected, part) in enumerate(each(links(size), body)):
        assert np.array_equal(spread, ranks[size - 1]) and np.array_equal(gathered, ranks)
        assert np.array_equal(own, 10.0 * r * size * np.ones(shape)) and own.shape == shape
        assert collected is None if r else np.array_equal(collected, ranks)
        assert np.array_equal(part, 10.0 * ranks[r])


def test_calls_of_two_threads_do_not_meet(links):
    def body(link):
        other = link.part(range(3), 2, 30.0)
        begun = [link.begin("all_reduce", np.full(9000 * k, 1.0), how="sum") for k in range(1, 6)]
        sums = [other.run("all_reduce", np.array(k), how="sum") for k in range(20)]
        return [int(s) for s in sums], [p.result().sum() for p in begun], all(p.done() for p in begun)

    for sums, totals, done in each(links(3), body):
        assert sums == [3 * k for k in range(20)] and totals == [27000.0 * k for k in range(1, 6)] and done


def test_messages_come_by_their_tag(links):
    def body(link):
        if link.rank == 0:
            sent = [link.send(np.array([k]), 1, tag=k) for k in (1, 2, 2)]
            for s in sent:
                s.result()
            return None
        outs = [np.zeros(1, np.int64) for _ in range(3)]
        assert link.first_to_send(outs[0], 2) == 0
        for out, tag in zip(outs[:2], (2, 1), strict=True):
            link.receive(out, 0, tag).result()
        last = link.receive(outs[2], 0, 2)
        while not last.done():
            pass
        return [int(o[0]) for o in outs]

    assert each(links(2), body)[1] == [2, 1, 2]


def test_groups_of_some(links):
    def body(link):
        pair = link.part([2, 0], 2, 30.0)
        return None if pair is None else (pair.rank, float(pair.run("broadcast", np.array(float(link.rank)), source=0)))

    assert each(links(3), body) == [(1, 2.0), None, (0, 2.0)]


# --- faults -------------------------------------------------------------------------------------------------------------


def test_different_calls_are_an_error(links):
    def body(link):
        return link.run("all_reduce", np.ones(3 + link.rank), how="sum")

    for error in each(links(2), body):
        assert isinstance(error, DistBackendError)
        assert "is at another call" in str(error) and "f64[3]" in str(error) and "f64[4]" in str(error)


def test_a_process_that_dies_ends_the_waiting_of_all(links):
    made = links(4)

    def body(link):
        if link.rank == 2:
            for peer in link.mesh.peers.values():
                peer.sock.shutdown(socket.SHUT_RDWR)
            return None
        return link.run("all_reduce", np.ones(3), how="sum")

    for r, error in enumerate(each(made, body)):
        assert r == 2 or (isinstance(error, PeerError) and "rank 2 has died" in str(error)), error


def test_a_process_that_leaves_is_told_apart(links):
    def body(link):
        link.run("all_reduce", np.ones(3), how="sum")
        if link.rank == 0:
            link.close()
            return None
        return link.run("all_reduce", np.ones(3), how="sum")

    _, error = each(links(2), body)
    assert isinstance(error, PeerError) and "rank 0 has left the group" in str(error)


def test_a_process_may_leave_while_others_go_on(links):
    made = links(3)

    def body(link):
        pair = link.part([0, 1], 2, 30.0)
        link.run("all_reduce", np.ones(3), how="sum")
        if link.rank == 2:
            link.close()
            return None
        return float(pair.run("all_reduce", np.array(1.0), how="sum"))

    assert each(made, body)[:2] == [2.0, 2.0]


def test_nobody_comes(links):
    link, _ = links(2, timeout_s=0.05)
    with pytest.raises(DistBackendError, match=r"all_reduce sum f64\[3\]: timed out after 0.05 s waiting for rank 1"):
        link.run("all_reduce", np.ones(3), how="sum")
    with pytest.raises(DistBackendError, match=r"no longer in step[\s\S]*hint: destroy_process_group"):
        link.run("all_reduce", np.ones(3), how="sum")


def test_an_interrupt_leaves_no_half_message_behind(links):
    link, other = links(2)
    transfer = link.mesh.receive(1, (2, 1, 0, 0), memoryview(bytearray(1)))  # never sent

    def interrupt(*_):
        raise KeyboardInterrupt

    link.mesh._drive = interrupt
    with pytest.raises(KeyboardInterrupt):
        link.mesh.wait([transfer], (), "a message", time.monotonic() + 30, 30)
    assert link.mesh.broken == "KeyboardInterrupt"
    with pytest.raises(DistBackendError, match="no longer in step"):
        link.run("broadcast", np.ones(1), source=0)
    link.close()
    with pytest.raises(PeerError, match="rank 0 has died"):
        other.run("broadcast", np.ones(1), source=0)
