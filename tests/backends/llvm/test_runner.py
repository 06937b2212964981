"""The native runner: instruction streams against the same computation in NumPy."""

from __future__ import annotations

import signal
import sys
import threading
import time
from itertools import pairwise

import numpy as np
import pytest
from native_tasks import Table, task

from graphc.backends.llvm.runner import (
    ERROR,
    STEP,
    STOP,
    STOPPED,
    TIMES,
    Call,
    Host,
    Region,
    Task,
    assemble,
    borders,
    entry,
)
from graphc.backends.runs.instructions import Branch, Copy, Loop, Slot, Swap, While


def call(name: str, *args: int, step: int = 1) -> Call:
    return Call(task(name), args, step)


def region(*calls: Call, extent: int = 1, parts: int = 1, grain: int = 1) -> Region:
    return Region((Task(calls, extent, parts, grain),))


def run(table: Table, *instructions, held: bool = False) -> int:
    program = assemble(instructions)
    return entry(held)(table.address, program.address)


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize(("extent", "parts", "grain"), [(0, 3, 1), (1, 5, 8), (7, 7, 1), (1000, 13, 16), (33, 4, 16)])
def test_every_element_is_done_once(extent, parts, grain, held):
    a = np.arange(extent + 1)
    table = Table(a)
    work = Region((Task((call("add_word", 1, 5), call("square", 1)), extent, parts, grain),))
    for _ in range(20):
        a[:] = np.arange(extent + 1)
        assert run(table, work, held=held) == 0
        np.testing.assert_array_equal(a[:extent], (np.arange(extent) + 5) ** 2)
        assert a[extent] == extent


@pytest.mark.parametrize(
    ("extent", "parts", "grain"), [(0, 1, 1), (10, 3, 1), (10, 3, 4), (100, 7, 16), (5, 9, 1), (64, 2, 64)]
)
def test_borders_are_even_multiples_of_the_grain(extent, parts, grain):
    found = borders(extent, parts, grain)
    assert found[0][0] == 0 and found[-1][1] == extent and len(found) <= parts
    assert all(end == begin for (_, end), (begin, _) in pairwise(found))
    assert all(begin % grain == 0 for begin, _ in found)
    units = [-(-(end - begin) // grain) for begin, end in found]
    assert max(units) - min(units) <= 1
    assert extent == 0 or min(units) > 0


def test_tasks_of_one_region_and_regions_one_after_the_other():
    a, b, c = (np.arange(100) + k for k in range(3))
    table = Table(a, b, c)
    first = Region((Task((call("add_word", 1, 1),), 100, 4), Task((call("square", 2),), 100, 3)))
    assert run(table, first, region(call("copy_add", 3, 1, 2), extent=100, parts=5)) == 0
    np.testing.assert_array_equal(c, np.arange(100) + 1 + (np.arange(100) + 1) ** 2)


def test_an_empty_program_and_an_empty_region():
    assert run(Table()) == 0
    assert run(Table(), Region(())) == 0


def test_a_scan_over_slices_forward_and_backward():
    xs, total, history = np.arange(60).reshape(12, 5), np.zeros(5, np.int64), np.zeros((12, 5), np.int64)
    # slots: 1 xs, 2 carry at first, 3 history; 4 slice of xs, 5 carry in, 6 carry out
    table = Table(xs, total, history, xs, xs, xs)
    body = (region(call("copy_add", 6, 5, 4), extent=5, parts=2),)
    step = xs.strides[0]
    slots = (Slot(4, 1, 0, step), Slot(5, 2), Slot(6, 3, 0, step))
    forward = Loop(12, body, slots, (Copy(5, 6),))
    for _ in range(2):  # the slots are placed again by each run
        assert run(table, forward) == 0
        np.testing.assert_array_equal(history, np.cumsum(xs, 0))
    assert not total.any()
    backward = (Slot(4, 1, 11 * step, -step), Slot(5, 2), Slot(6, 3, 0, step))
    assert run(table, Loop(12, body, backward, (Copy(5, 6),))) == 0
    np.testing.assert_array_equal(history, np.cumsum(xs[::-1], 0))


def test_carries_that_change_places():
    a, b, ones = np.zeros(4, np.int64), np.zeros(4, np.int64), np.ones(4, np.int64)
    table = Table(a, b, ones, a, a)
    body = (region(call("copy_add", 5, 4, 3), extent=4),)
    for n in range(5):
        a[:] = 0
        assert run(table, Loop(n, body, (Slot(4, 1), Slot(5, 2)), (Swap(4, 5),))) == 0
        np.testing.assert_array_equal((a, b)[n % 2] if n else a, n)


def test_a_first_carry_that_is_only_read():
    first, a, b, ones = np.full(3, 7), np.zeros(3, np.int64), np.zeros(3, np.int64), np.ones(3, np.int64)
    table = Table(first, a, b, ones, a, a, a)  # 5 in, 6 out, 7 spare
    slots = (Slot(5, 1), Slot(6, 2), Slot(7, 3))
    body = (region(call("copy_add", 6, 5, 4), extent=3),)
    assert run(table, Loop(5, body, slots, (Copy(5, 6), Swap(6, 7)))) == 0
    np.testing.assert_array_equal(a, 12)
    np.testing.assert_array_equal(first, 7)


def test_nested_loops_with_a_count_from_memory():
    a, counts = np.zeros(2, np.int64), np.array([3, 0, 5])
    table = Table(a, counts, counts)
    inner = Loop(0, (region(call("add_word", 1, 1), extent=2, parts=2),), count_slot=3)
    outer = Loop(3, (inner, region(call("add_word", 1, 100))), (Slot(3, 2, 0, 8),))
    assert run(table, Loop(2, (outer,))) == 0
    np.testing.assert_array_equal(a, [2 * (8 + 300), 16])


@pytest.mark.parametrize("limit", [0, 1, 10])
def test_while(limit):
    count, go = np.zeros(1, np.int64), np.zeros(4, bool)
    table = Table(count, go[2:])
    condition = (region(call("below", 1, 2, limit)),)
    assert run(table, While(condition, 2, 0, (region(call("add_word", 1, 1)),))) == 0
    assert count[0] == limit


def test_branches_inside_a_loop():
    a, flags, evens = np.zeros(1, np.int64), np.array([1, 0, 0, 1, 1, 0], bool), np.zeros(1, np.int64)
    table = Table(a, flags, flags, evens)
    inner = Branch(3, 0, (region(call("add_word", 1, 1)),))
    body = (Branch(3, 0, (region(call("add_word", 1, 10)), inner), (region(call("add_word", 4, 1)),)),)
    assert run(table, Loop(6, body, (Slot(3, 2, 0, 1),))) == 0
    assert (a[0], evens[0]) == (33, 3)


@pytest.mark.parametrize("parts", [1, 4, 50])
def test_a_failing_task_stops_the_run_and_says_where(parts):
    a = np.zeros(100, np.int64)
    table = Table(a)
    good = region(call("add_word", 1, 1, step=1), extent=100, parts=3)
    bad = region(call("fail_at", 63, step=5), call("add_word", 1, 1, step=6), extent=100, parts=parts)
    never = region(call("add_word", 1, 1000, step=7), extent=100, parts=3)
    for _ in range(10):
        a[:] = 0
        assert run(table, good, Loop(2, (bad, never)), never) == 5
        assert table.state[STEP] == 5 and table.state[ERROR] == 7 and table.state[1] == 63
        assert a.min() >= 1 and a.max() <= 2 and a[63] == 1
    assert run(table, good) == 0
    assert table.state[STEP] == 0 and table.state[ERROR] == 0


def test_callbacks_get_the_table_and_may_fail():
    a = np.zeros(3, np.int64)
    table = Table(a)
    seen: list[int] = []

    def work(address: int) -> None:
        seen.append(address)
        a[:] *= 2

    def fail(address: int) -> None:
        raise ZeroDivisionError("on purpose")

    add = region(call("add_word", 1, 1), extent=3)
    for held in (False, True):
        assert run(table, Loop(3, (add, Host(work, 2))), held=held) == 0
        np.testing.assert_array_equal(a, 14)
        with pytest.raises(ZeroDivisionError, match="on purpose"):
            run(table, add, Host(fail, 9), add, held=held)
        assert table.state[STEP] == 9
        np.testing.assert_array_equal(a, 15)
        a[:] = 0
    assert seen == [table.address] * 6


def test_callbacks_leak_nothing():
    table = Table(np.zeros(1, np.int64))
    result = object()
    program = assemble([Loop(100, (Host(lambda address: result),))])
    before = sys.getrefcount(result)
    entry()(table.address, program.address)
    assert sys.getrefcount(result) == before


def test_a_callback_may_run_another_program():
    a, b = np.zeros(50, np.int64), np.zeros(50, np.int64)
    table, other = Table(a), Table(b)
    inner = assemble([region(call("add_word", 1, 1), extent=50, parts=4)])
    outer = (region(call("add_word", 1, 1), extent=50, parts=4), Host(lambda _: entry()(other.address, inner.address)))
    assert run(table, Loop(10, outer)) == 0
    np.testing.assert_array_equal(a, 10)
    np.testing.assert_array_equal(b, 10)


def test_times_are_written_only_when_asked_for():
    table, times = Table(np.zeros(100, np.int64)), np.zeros(4, np.int64)
    work = Region((Task((call("burn", 1000, step=1), call("nothing", step=2)), 100, 4),), step=3)
    assert run(table, Loop(3, (work,))) == 0
    assert not times.any()
    table.state[TIMES] = times.ctypes.data
    start = time.perf_counter_ns()
    assert run(table, Loop(3, (work,))) == 0
    passed = time.perf_counter_ns() - start
    assert times[0] == 0 and times[1] > times[2] > 0
    assert 0 < times[3] <= passed
    times[:] = 0
    assert run(table, Host(lambda _: time.sleep(1e-6), step=2)) == 0
    assert times[2] >= 1000 and not times[[0, 1, 3]].any()


ENDLESS = 1 << 62


def endless(*calls: Call) -> tuple[Table, Loop]:
    """A run that ends only if it is stopped, of regions of about 0.1 ms."""
    work = region(*(calls or (call("burn", 20_000),)), extent=4, parts=4)
    return Table(np.zeros(4, np.int64)), Loop(ENDLESS, (work,))


def test_the_stop_flag_ends_a_run():
    table, loop = endless()
    threading.Timer(0.1, lambda: table.state.__setitem__(STOP, 1)).start()
    assert run(table, loop) == STOPPED
    table.state[STOP] = 0
    assert run(table, region(call("nothing"))) == 0


def test_other_threads_run_meanwhile():
    table, loop = endless()
    counted = [0]

    def count() -> None:
        until = time.perf_counter() + 0.2
        while time.perf_counter() < until:
            counted[0] += 1
        table.state[STOP] = 1

    threading.Thread(target=count).start()
    assert run(table, loop) == STOPPED
    assert counted[0] > 100


needs_alarm = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer signals on this system")


@needs_alarm
@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("rounds", [1, 20_000, 1_000_000])
def test_a_signal_handler_runs_during_a_run_and_its_exception_ends_it(rounds, held):
    class Alarm(Exception):
        pass

    calls = []

    def handler(number: int, frame: object) -> None:
        calls.append(number)
        if len(calls) == 2:
            raise Alarm

    table, loop = endless(call("burn", rounds))
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
    try:
        with pytest.raises(Alarm):
            run(table, loop, held=held)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert calls == [signal.SIGALRM] * 2


def test_equal_arguments_are_stored_once():
    task_of = [region(call("nothing", 1, 2, 3)) for _ in range(10)]
    assert len(assemble(task_of).code) < len(assemble([region(call("nothing", i, 2, 3)) for i in range(10)]).code)
