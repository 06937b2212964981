"""Launchers: programs called with arrays, their arenas, failures and lifetimes."""

from __future__ import annotations

import threading
import time
import tracemalloc
import weakref

import numpy as np
import pytest
from native_tasks import task

from graphc.backends.llvm.launcher import Launcher, failure
from graphc.backends.llvm.runner import ERROR, STEP, Call, Host, Region, Task, assemble
from graphc.backends.runs.instructions import Loop

N = 1000


def region(*calls: Call, parts: int = 4) -> Region:
    return Region((Task(calls, N, parts),))


def call(name: str, *args: int, step: int = 1) -> Call:
    return Call(task(name), args, step)


#: slots: 1 x, 2 out, 3 constant, 4 arena. arena = x + constant; out = arena + x.
SUM = (region(call("copy_add", 4, 1, 3)), region(call("copy_add", 2, 4, 1)))


def summing(held: bool = False) -> Launcher:
    launcher = Launcher(assemble(SUM), 5, (1, 2), 4, 8 * N, held)
    launcher.bind({3: np.full(N, 10)})
    return launcher


@pytest.mark.parametrize("held", [False, True])
def test_arrays_in_arrays_out(held):
    launcher = summing(held)
    for i in range(5):
        x, out = np.arange(N) * i, np.empty(N, np.int64)
        assert launcher.call(x, out) == 0
        np.testing.assert_array_equal(out, 2 * x + 10)


def test_what_is_bound_may_change_between_calls():
    launcher, x, out = summing(), np.arange(N), np.empty(N, np.int64)
    launcher.call(x, out)
    launcher.bind({3: np.full(N, -1)})
    launcher.call(x, out)
    np.testing.assert_array_equal(out, 2 * x - 1)


def test_a_wrong_number_of_arrays():
    with pytest.raises(TypeError):
        summing().call(np.arange(N))


def test_each_of_many_threads_has_its_own_arena():
    launcher = summing()
    wrong: list[int] = []

    def work(k: int) -> None:
        x, out = np.arange(N) * k, np.empty(N, np.int64)
        for _ in range(300):
            out[:] = 0
            if launcher.call(x, out) or not (out == 2 * x + 10).all():
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong and not any(thread.is_alive() for thread in threads)


def test_a_failing_task_tells_where_and_why():
    program = assemble([region(call("nothing", step=2)), region(call("fail_at", 63, step=3))])
    launcher = Launcher(program, 1)
    for _ in range(3):
        state = launcher.call()
        assert isinstance(state, bytes)
        words = failure(state)
        assert (words[STEP], words[ERROR], words[1]) == (3, 7, 63)


def test_a_callback_that_fails_and_the_call_after_it():
    fail = [True]

    def callback(address: int) -> None:
        if fail[0]:
            raise LookupError("on purpose")

    launcher = Launcher(assemble([Host(callback), *SUM]), 5, (1, 2), 4, 8 * N)
    launcher.bind({3: np.full(N, 1)})
    x, out = np.arange(N), np.empty(N, np.int64)
    with pytest.raises(LookupError, match="on purpose"):
        launcher.call(x, out)
    fail[0] = False
    assert launcher.call(x, out) == 0
    np.testing.assert_array_equal(out, 2 * x + 1)


def test_no_room_for_the_arena():
    launcher = Launcher(assemble(SUM), 5, (1, 2), 4, 1 << 60)
    with pytest.raises(MemoryError):
        launcher.call(np.arange(N), np.empty(N, np.int64))


def test_times_of_steps():
    launcher, times = (
        Launcher(assemble([region(call("burn", 100, step=1), call("nothing", step=2))]), 1),
        np.zeros(3, np.int64),
    )
    launcher.measure(times)
    launcher.call()
    first = times.copy()
    assert first[1] > first[2] > 0
    launcher.measure(None)
    launcher.call()
    np.testing.assert_array_equal(times, first)


def test_arrays_replaced_during_a_run_live_until_it_ends():
    alive = []
    launcher: Launcher

    def replace(address: int) -> None:
        launcher.bind({3: np.full(N, 1000)})
        alive.append(old() is not None)

    constant = np.full(N, 1)
    old = weakref.ref(constant)
    launcher = Launcher(assemble([Host(replace), *SUM]), 5, (1, 2), 4, 8 * N)
    launcher.bind({3: constant})
    del constant
    x, out = np.arange(N), np.empty(N, np.int64)
    launcher.call(x, out)
    assert alive == [True] and old() is None
    np.testing.assert_array_equal(out, 2 * x + 1)


def test_a_launcher_frees_what_it_holds():
    constant = np.full(N, 1)
    reference = weakref.ref(constant)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        launcher = Launcher(assemble(SUM), 5, (1, 2), 4, 1 << 20)
        launcher.bind({3: constant})
        function = launcher.call
        del launcher, constant
        x, out = np.arange(N), np.empty(N, np.int64)
        assert function(x, out) == 0  # the function alone keeps all it needs
        assert tracemalloc.get_traced_memory()[0] - before > 1 << 20
        del function
        assert reference() is None
        assert tracemalloc.get_traced_memory()[0] - before < 1 << 18
    finally:
        tracemalloc.stop()


def test_at_most_one_idle_arena_is_kept():
    """Runs at the same time make their own blocks; afterwards one is left."""
    launcher = Launcher(assemble([Loop(200, (region(call("burn", 10)),))]), 2, (), 1, 1 << 20)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        threads = [threading.Thread(target=lambda: [launcher.call() for _ in range(20)]) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert tracemalloc.get_traced_memory()[0] - before < 1.5 * (1 << 20)
    finally:
        tracemalloc.stop()


def test_cost_of_a_call(capsys):
    """Prints what a call costs; machines differ, so nothing is asserted."""
    x, out = np.arange(N), np.empty(N, np.int64)
    found = []
    for held in (False, True):
        launcher = Launcher(assemble([region(call("nothing"), parts=1)]), 5, (1, 2), 4, 8 * N, held)
        function, best = launcher.call, 1 << 60
        for _ in range(2000):
            start = time.perf_counter_ns()
            function(x, out)
            best = min(best, time.perf_counter_ns() - start)
        found.append(best)
    with capsys.disabled():
        print(f"\na call with two arrays {found[0]} ns, with the GIL held {found[1]} ns")
