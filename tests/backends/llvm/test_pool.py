"""The thread pool: every kind of it, under fork, many threads, signals and exit. Every child process has a time limit."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from native_tasks import Table, task

from graphc.backends.llvm import pool as pools
from graphc.backends.llvm.cpus import available_cpus
from graphc.backends.llvm.host import llvm
from graphc.backends.llvm.pool import KINDS, get_num_threads, pool, set_num_threads
from graphc.backends.llvm.runner import PLENTY, Call, Program, Region, Task, assemble, entry
from graphc.backends.llvm.runtime import has_futex, runtime, runtime_text
from graphc.backends.runs.instructions import Loop
from graphc.core.errors import ArgumentError, BackendError

ROOT = Path(__file__).parents[3]
LIMIT = 60
HERE = [kind for kind in KINDS if kind != "futex" or has_futex()]

#: What every child starts with: a table, a program of small shared regions, one that runs for ever.
PRELUDE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background is born deaf to it
import os, signal, sys, threading, time
import numpy as np
from native_tasks import Table, task
from graphc.backends.llvm.pool import pool, set_num_threads
from graphc.backends.llvm.runner import Call, Region, Task, assemble, entry
from graphc.backends.runs.instructions import Loop

def adding(n=100, parts=5):
    a = np.zeros(997, np.int64)
    work = Region((Task((Call(task("add_word"), (1, 1)),), 997, parts),))
    return a, Table(a), assemble([Loop(n, (work,))])

def works(rounds=20):
    a, table, program = adding()
    for i in range(rounds):
        assert entry()(table.address, program.address) == 0
        assert (a == 100 * (i + 1)).all(), a
    return True

burning = assemble([Loop(1 << 60, (Region((Task((Call(task("burn"), (20_000,)),), 4, 4),)),))])
"""


def child(source: str, kind: str, threads: int = 2) -> subprocess.Popen[str]:
    """A Python process that runs the prelude and the source."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = {**os.environ, "PYTHONPATH": paths, "GRAPHC_POOL": kind, "GRAPHC_THREADS": str(threads)}
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + source],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit status, output and errors of a child; one that hangs is killed and fails the test."""
    try:
        out, err = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        pytest.fail(f"the child hangs\n{out}\n{err}")
    return process.returncode, out, err


def outcome(source: str, kind: str, threads: int = 2) -> str:
    """The output of a child that must end well and quietly."""
    status, out, err = finish(child(source, kind, threads))
    assert (status, err) == (0, ""), f"exit status {status}\n{out}\n{err}"
    return out.strip()


every_kind = pytest.mark.parametrize("kind", HERE)
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.fixture
def threads():
    """Sets the number of threads for one test."""
    before = get_num_threads()
    yield set_num_threads
    set_num_threads(before)


def adding(parts: int, rounds: int = 1, size: int = 1000) -> tuple[np.ndarray, Table, Program]:
    a = np.zeros(size, np.int64)
    work = Region((Task((Call(task("add_word"), (1, 1)),), size, parts),))
    return a, Table(a), assemble([Loop(rounds, (work,))])


@pytest.mark.parametrize("n", [1, 2, 3, 8])
@pytest.mark.parametrize("parts", [1, 2, 7, 64, 1000])
def test_every_part_is_done_once_whatever_the_number_of_threads(n, parts, threads):
    threads(n)
    a, table, program = adding(parts, 200)
    run = entry()
    for i in range(3):
        assert run(table.address, program.address) == 0
        np.testing.assert_array_equal(a, 200 * (i + 1))
    assert pool().workers == (n - 1 if parts > 1 and pool().kind != "serial" else 0)


def test_many_regions_with_pauses_between_them(threads):
    """Workers asleep, about to sleep and just woken; the caller's own sleep too: spins are cut short."""
    threads(available_cpus() + 2)  # crowded: hardly any spinning
    a, table, program = adding(6, 3)
    run = entry()
    rng = np.random.default_rng(0)
    for i, pause in enumerate(rng.integers(0, 200, 300)):
        if pause > 100:
            time.sleep(pause * 1e-6)
        assert run(table.address, program.address) == 0
        assert (a == 3 * (i + 1)).all()


def meeting(work: int, rounds: int) -> bool:
    """Whether a worker does the second part of a region while the caller is in the first one."""
    a = np.zeros(2, np.int64)
    table = Table(a)
    program = assemble([Region((Task((Call(task("meet"), (rounds,)),), 2, 2),), work)])
    assert entry()(table.address, program.address) == 0
    return bool(a[0])


def wait_until_all_sleep() -> None:
    parked = ctypes.c_int32.from_address(runtime().address("pool") + 4)
    until = time.monotonic() + LIMIT
    while parked.value < pool().workers:
        assert time.monotonic() < until, "the workers do not go to sleep"
        time.sleep(0.001)


@pytest.mark.skipif(pools._kind() == "serial", reason="no workers")
def test_sleepers_are_woken_when_it_pays(threads):
    threads(2)
    meeting(PLENTY, 1)

    def little_work_wakes_nobody() -> bool:
        wait_until_all_sleep()
        assert meeting(PLENTY, 1 << 40)
        wait_until_all_sleep()
        time.sleep(0.01)
        return [meeting(30_000, 100_000) for _ in range(3)] == [False] * 3

    # where CPUs are short, one that is only about to sleep may be in time for the next region
    assert any(little_work_wakes_nobody() for _ in range(20))
    assert meeting(30_000, 1 << 40)
    assert not meeting(0, 1000)


def test_the_number_of_threads_changes_while_others_run(threads):
    stop = threading.Event()
    wrong: list[object] = []

    def work() -> None:
        a, table, program = adding(5, 50)
        run, i = entry(), 0
        while not stop.is_set():
            i += 1
            if run(table.address, program.address) or not (a == 50 * i).all():
                wrong.append((i, a))

    running = [threading.Thread(target=work) for _ in range(3)]
    for thread in running:
        thread.start()
    for n in [1, 2, 5, 1, 3, 2] * 60:
        threads(n)
        time.sleep(0.0005)
    stop.set()
    for thread in running:
        thread.join(LIMIT)
    assert not wrong and not any(thread.is_alive() for thread in running)


def test_workers_that_the_system_refuses_are_done_without(threads, monkeypatch):
    real = pools.python_function

    def refusing(name, *types):
        return (lambda *_: pools._REFUSED) if name == "PyThread_start_new_thread" else real(name, *types)

    threads(3)
    monkeypatch.setattr(pools, "python_function", refusing)
    a, table, program = adding(6, 10)
    assert entry()(table.address, program.address) == 0
    np.testing.assert_array_equal(a, 10)
    assert pool().workers == 0


@pytest.mark.skipif(pools._kind() == "serial", reason="no workers")
def test_control_c_while_the_workers_start(threads, monkeypatch):
    def interrupted(self, workers):
        raise KeyboardInterrupt

    threads(3)
    a, table, program = adding(6, 10)
    with monkeypatch.context() as patch:
        patch.setattr(pools.Pool, "_replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            entry()(table.address, program.address)
    a[:] = 0
    assert entry()(table.address, program.address) == 0
    np.testing.assert_array_equal(a, 10)
    assert pool().workers == 2


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no such folder on this system")
@pytest.mark.skipif(pools._kind() == "serial", reason="no workers")
def test_workers_leave_signals_to_python(threads):
    threads(1)
    before = set(os.listdir("/proc/self/task"))
    threads(3)
    _, table, program = adding(6)
    entry()(table.address, program.address)
    workers = set(os.listdir("/proc/self/task")) - before
    assert len(workers) == 2
    for worker in workers:
        status = Path(f"/proc/self/task/{worker}/status").read_text()
        blocked = int(status.split("SigBlk:")[1].split()[0], 16)
        assert blocked >> (signal.SIGINT - 1) & 1 and blocked >> (signal.SIGTERM - 1) & 1
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])


@pytest.mark.parametrize(
    ("n", "text"), [(0, "positive integer, got 0"), (-1, "got -1 threads"), (2.0, "an int, but got float")]
)
def test_numbers_of_threads_that_are_none(n, text):
    with pytest.raises(BackendError, match=text):
        set_num_threads(n)


def test_a_kind_that_there_is_not(monkeypatch):
    monkeypatch.setattr(pools.config, "pool", "magic")
    with pytest.raises(ArgumentError, match="GRAPHC_POOL is 'magic'"):
        pools._kind()


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64", "other"])
@pytest.mark.parametrize("windows", [False, True])
def test_the_text_for_other_systems_is_right(architecture, windows):
    with llvm.parse_assembly(runtime_text(architecture, windows), llvm.create_context()) as module:
        module.verify()


@every_kind
def test_eight_python_threads_at_once(kind):
    source = """
failed = []
def work():
    try:
        works(50)
    except BaseException as error:
        failed.append(error)
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(failed), pool().kind, pool().workers)
"""
    assert outcome(source, kind) == f"0 {kind} {0 if kind == 'serial' else 1}"


@every_kind
def test_more_threads_than_cpus(kind):
    assert outcome("print(works(50), pool().workers)", kind, 16) == f"True {0 if kind == 'serial' else 15}"


@every_kind
@needs_fork
def test_fork_after_a_run_and_while_another_thread_runs(kind):
    """Child and parent run on, each with workers; so does a child of the child."""
    source = """
import warnings; warnings.simplefilter("ignore")
table = Table(np.zeros(1, np.int64))
works()
other = threading.Thread(target=lambda: entry()(table.address, burning.address), daemon=True)
other.start()
for level in range(2):
    for i in range(2):
        time.sleep(0.003 * i)
        child = os.fork()
        if child == 0:
            break
        assert os.waitpid(child, 0)[1] == 0
    else:
        break
    assert pool().workers == 0
    works(2)
    assert pool().workers == (0 if pool().kind == "serial" else 1)
works(2)
if child:
    table.state[8] = 1
print("fine", flush=True)
"""
    assert outcome(source, kind).split() == ["fine"] * 7  # two children, each with two children


@every_kind
@pytest.mark.parametrize("end", ["", "time.sleep(0.05)", "os._exit(0)"])
def test_exit_with_workers_spinning_or_asleep(kind, end):
    assert outcome(f"works(2); print('fine', flush=True)\n{end}", kind) == "fine"


@every_kind
@pytest.mark.parametrize("pause", [0, 0.05])
def test_exit_while_a_daemon_thread_runs(kind, pause):
    source = f"""
works(1)  # what exits here is a run, not LLVM at work
table = Table(np.zeros(1, np.int64))
threading.Thread(target=lambda: entry()(table.address, burning.address), daemon=True).start()
time.sleep({pause})
print("fine", flush=True)
"""
    assert outcome(source, kind) == "fine"


@every_kind
def test_a_daemon_threads_run_that_ends_while_the_interpreter_is_finalizing(kind):
    source = """
import builtins
class Slow:
    def __del__(self, sleep=time.sleep, write=os.write):
        sleep(0.4)
        write(1, b"end")
builtins.dies_late = Slow()
a, table, program = adding(20_000)
def work(run=entry(), table=table, program=program):
    while True:
        run(table.address, program.address)
works(1)
threading.Thread(target=work, daemon=True).start()
time.sleep(0.05)
"""
    assert outcome(source, kind) == "end"


@every_kind
@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends Ctrl-C to consoles")
def test_control_c_ends_a_long_run_and_the_next_one_works(kind):
    source = """
table = Table(np.zeros(1, np.int64))
works()
print("ready", flush=True)
try:
    entry()(table.address, burning.address)
except KeyboardInterrupt:
    print("interrupted", works())
"""
    process = child(source, kind)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    start = time.perf_counter()
    status, out, err = finish(process)
    assert (status, out, err) == (0, "interrupted True\n", "")
    assert time.perf_counter() - start < 10


@every_kind
@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends Ctrl-C to consoles")
def test_control_c_that_nobody_catches_ends_the_process(kind):
    process = child("print('ready', flush=True)\nentry()(Table(np.zeros(1)).address, burning.address)", kind)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    status, _, err = finish(process)
    assert status == -signal.SIGINT and err.strip().endswith("KeyboardInterrupt")


@every_kind
def test_an_idle_pool_burns_no_cpu(kind):
    source = """
works()
time.sleep(0.2)
before = time.process_time()
time.sleep(0.5)
print(time.process_time() - before)
"""
    assert float(outcome(source, kind, 4)) < 0.3  # three that spin: 1.5 where there are CPUs enough


def test_costs(capsys):
    """Prints what a call, a region and a hand-off cost; machines differ, so nothing is asserted."""
    table, run = Table(np.zeros(1, np.int64)), entry(held=True)
    nothing = Call(task("nothing"))
    one, two = (assemble([Region((Task((nothing,), n, n),))]) for n in (1, 2))
    loop = assemble([Loop(10_000, (Region((Task((nothing,), 2, 2),)),))])

    def best(program: Program, repeats: int, pause: float = 0) -> float:
        """The shortest (the median after pauses) of some calls."""
        found = []
        for _ in range(repeats):
            time.sleep(pause)
            start = time.perf_counter_ns()
            run(table.address, program.address)
            found.append(time.perf_counter_ns() - start)
        return sorted(found)[repeats // 2] if pause else min(found)

    hot, call = best(loop, 10) / 10_000, best(one, 1000)
    cold = best(two, 50, 0.005)
    with capsys.disabled():
        print(f"\nrun of one region {call:.0f} ns, hand-off hot {hot:.0f} ns, with the worker asleep {cold:.0f} ns")
