"""The worker processes of the loader: order, errors, seeds, ends, and that nothing is left of them."""

from __future__ import annotations

import ctypes
import gc as garbage
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.backends.llvm import blas
from graphc.core.errors import ArgumentError, ArgumentTypeError
from graphc.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info, parcels

WORKERS = {"num_workers": 2}


pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="asks /proc")


class Squares(Dataset):
    """Element i is i * i, also where the first worker is the slower one."""

    def __init__(self, n=10, width=1):
        self.n, self.width = n, width

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        if get_worker_info().id == 0:
            time.sleep(0.002)
        return np.full(self.width, i * i)


class Failing(Squares):
    """Element 5 raises what it is given."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def __getitem__(self, i):
        if i == 5:
            raise self.error
        return i


class Shared(IterableDataset):
    """0 ... n - 1, each worker its share."""

    def __init__(self, n):
        self.n = n

    def __iter__(self):
        info = get_worker_info()
        return iter(range(info.id, self.n, info.num_workers))


class Where(Dataset):
    """The process that loads each element."""

    def __len__(self):
        return 8

    def __getitem__(self, i):
        return os.getpid()


def pids(loader):
    return [pid for batch in loader for pid in batch.tolist()]


def first_of(batches):
    return [batch.ravel()[0].item() for batch in batches]


def alive():
    return [p for p in multiprocessing.active_children() if p.name.startswith("DataLoader worker")]


def descriptors():
    """How many are open here."""
    garbage.collect()
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture(autouse=True)
def _nothing_is_left():
    """No worker outlives its test."""
    yield
    garbage.collect()
    assert alive() == []


# --- order, and what arrives --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 3000], ids=["through the pipe", "in shared memory"])
def test_batches_come_in_the_order_of_the_sampler(width):
    order = [9, 1, 5, 0, 7, 2, 8]
    for batches in ({"batch_size": 2}, {"batch_size": None}):
        loader = DataLoader(Squares(10, width), sampler=order, **batches, **WORKERS)
        step = batches["batch_size"] or 1
        assert first_of(loader) == [i * i for i in order[::step]]
        assert len(loader) == len(iter(loader)) == -(-len(order) // step)


@pytest.mark.parametrize("workers", [0, 2])
def test_collate_fn_may_be_set_later(workers):
    loader = DataLoader(range(4), batch_size=2, num_workers=workers)
    loader.collate_fn = sum
    assert list(loader) == [1, 5]


def test_without_order_all_batches_come():
    loader = DataLoader(Squares(10), in_order=False, **WORKERS)
    assert sorted(first_of(loader)) == [i * i for i in range(10)]


def test_a_batch_is_mapped_and_can_be_written():
    batches = list(DataLoader(Squares(4, 3000), **WORKERS))
    for i, batch in enumerate(batches):
        memory = batch.numpy()
        while isinstance(memory, np.ndarray) and memory.base is not None:
            memory = memory.base
        assert isinstance(memory, parcels._Mapping)
        batch.add_(1)
        assert batch.tolist() == [[i * i + 1] * 3000]


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "bool"])
def test_nested_values_arrive_as_they_were(dtype):
    def collate(samples):
        x = gc.ones(70, 80, dtype=getattr(gc, dtype))
        return {
            "a": (x.t(), x[::2]),
            "b": ["text", None, np.arange(5000)[::-1]],
            "p": gc.nn.Parameter(gc.ones(2)),
            "e": gc.zeros(3, 0),
        }

    for batch in DataLoader(Squares(2), collate_fn=collate, **WORKERS):
        assert [tuple(x.shape) for x in batch["a"]] == [(80, 70), (35, 80)]
        assert all(x.dtype is getattr(gc, dtype) and bool((x == 1).all()) for x in batch["a"])
        assert batch["b"][:2] == ["text", None] and batch["b"][2].tolist() == list(range(4999, -1, -1))
        assert tuple(batch["e"].shape) == (3, 0) and batch["a"][0].data_ptr() % 16 == 0
        assert isinstance(batch["p"], gc.nn.Parameter) and batch["p"].requires_grad


def test_no_descriptor_stays_open():
    """Also where a pass is abandoned or ends by an error, and while many batches are kept."""
    next(iter(DataLoader(Squares(40, 3000), **WORKERS)))
    before = descriptors()
    next(iter(DataLoader(Squares(40, 3000), **WORKERS)))
    with pytest.raises(RuntimeError):
        list(DataLoader(Ending(kill), **WORKERS))
    with pytest.raises(ValueError, match="five"):
        list(DataLoader(Failing(ValueError("five")), persistent_workers=True, **WORKERS))
    batches = list(DataLoader(Squares(40, 3000), **WORKERS))
    assert len(batches) == 40 and descriptors() <= before


def test_large_tasks_and_large_answers_do_not_wait_for_each_other():
    """The pipe is full in both directions."""
    tasks = [list(range(200_000)) for _ in range(12)]
    loader = DataLoader(
        range(200_000), batch_sampler=tasks, collate_fn=lambda s: "x" * len(s), prefetch_factor=4, **WORKERS
    )
    assert [len(x) for x in loader] == [200_000] * 12


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_start_methods(method):
    loader = DataLoader(range(4), batch_size=2, multiprocessing_context=method, **WORKERS)
    assert loader.multiprocessing_context.get_start_method() == method
    assert [b.tolist() for b in loader] == [[0, 1], [2, 3]]


def test_after_a_compiled_call():
    step = gc.compile(lambda x: (x @ x).sum())
    x = gc.ones(64, 64)
    before = step(x).item()
    assert first_of(DataLoader(Squares(4), **WORKERS)) == [0, 1, 4, 9]
    assert step(x).item() == before


@pytest.mark.opencl
def test_workers_make_tensors_on_the_host_whatever_the_default_device_is():
    with gc.device("opencl"):
        assert (gc.ones(2) + 1).device.type == "opencl"  # in use when the workers are forked
        (batch,) = DataLoader(range(2), batch_size=2, collate_fn=lambda _: gc.ones(3) + 0 * gc.rand(3), **WORKERS)
    assert batch.device.type == "cpu" and batch.tolist() == [1, 1, 1]


def test_worker_code_is_eager_inside_a_recording_context():
    with gc.Graph().as_default():
        batches = list(DataLoader(Squares(4), **WORKERS))
    assert first_of(batches) == [0, 1, 4, 9]


# --- streams --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"batch_size": 2}, [[0, 2], [1, 3], [4, 6], [5]]),
        ({"batch_size": 2, "drop_last": True}, [[0, 2], [1, 3], [4, 6]]),
        ({"batch_size": None}, [0, 1, 2, 3, 4, 5, 6]),
    ],
    ids=str,
)
@pytest.mark.parametrize("persistent", [False, True])
def test_each_worker_iterates_its_own_copy_of_a_stream(options, expected, persistent):
    loader = DataLoader(Shared(7), persistent_workers=persistent, **options, **WORKERS)
    for _ in range(2):
        assert [b.tolist() if options["batch_size"] else b for b in loader] == expected


# --- errors ---------------------------------------------------------------------------------------------------------------


class Odd(Exception):
    def __init__(self, a, b):
        super().__init__(a, b)


@pytest.mark.parametrize(
    ("error", "kind", "name"),
    [
        (ValueError("five"), ValueError, "ValueError"),
        (KeyError("five"), KeyError, "KeyError"),
        (Odd(1, "five"), RuntimeError, "Odd"),
        (type("Hidden", (ArithmeticError,), {})("five"), ArithmeticError, "Hidden"),
        (ArgumentError("five"), ArgumentError, "ArgumentError"),
    ],
    ids=["ValueError", "KeyError", "takes two arguments", "local class", "graphc's"],
)
def test_an_error_comes_in_its_turn_and_the_rest_after_it(error, kind, name):
    batches: Any = iter(DataLoader(Failing(error), **WORKERS))
    seen: list[int] = []
    with pytest.raises(kind) as caught:
        seen.extend(batch.item() for batch in batches)
    text = str(caught.value)
    assert text.startswith(
        f"Caught {name} in DataLoader worker process 1.\nOriginal Traceback (most recent call last):\n"
    )
    assert "five" in text and "in __getitem__" in text
    assert seen == [0, 1, 2, 3, 4] and [batch.item() for batch in batches] == [6, 7, 8, 9]


def test_what_cannot_be_sent_is_an_error():
    with pytest.raises(Exception, match=r"Caught (AttributeError|PicklingError) in DataLoader worker process 0"):
        next(iter(DataLoader(Squares(2), collate_fn=lambda s: lambda: s, **WORKERS)))


def test_an_error_of_worker_init_fn():
    def refuse(worker):
        raise ValueError(f"no worker {worker}")

    with pytest.raises(ValueError, match=r"(?s)Caught ValueError in DataLoader worker process 0.*no worker 0"):
        next(iter(DataLoader(Squares(4), worker_init_fn=refuse, **WORKERS)))


class Ending(Squares):
    def __init__(self, end):
        super().__init__()
        self.end = end

    def __getitem__(self, i):
        if i == 4:
            self.end()
        return i


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("end", "said"),
    [(kill, "is killed by signal: Killed"), (lambda: os._exit(3), "exited unexpectedly with exit code 3")],
    ids=["killed", "exit"],
)
@pytest.mark.parametrize("persistent", [False, True])
def test_a_worker_that_ends_is_named(end, said, persistent):
    loader = DataLoader(Ending(end), persistent_workers=persistent, **WORKERS)
    batches = iter(loader)
    with pytest.raises(RuntimeError, match=rf"DataLoader worker \(pid \d+\) {said}"):
        list(batches)
    assert alive() == []
    with pytest.raises(RuntimeError, match=said):
        next(batches)
    assert next(iter(loader)).item() == 0


def test_a_worker_that_was_killed_before_it_is_asked():
    batches = iter(DataLoader(Squares(10), prefetch_factor=1, **WORKERS))
    next(batches)
    victim = alive()[0]
    victim.kill()
    victim.join()
    with pytest.raises(RuntimeError, match=rf"pid {victim.pid}\) is killed by signal"):
        list(batches)


def test_a_persistent_worker_that_was_killed_between_two_passes():
    loader = DataLoader(Where(), persistent_workers=True, **WORKERS)
    pids(loader)
    victim = alive()[0]
    victim.kill()
    victim.join()
    with pytest.raises(RuntimeError, match=rf"pid {victim.pid}\) is killed by signal"):
        pids(loader)
    assert victim.pid not in pids(loader) and len(alive()) == 2


def test_timeout():
    class Slow(Squares):
        def __getitem__(self, i):
            time.sleep(60)

    batches = iter(DataLoader(Slow(), timeout=0.1, **WORKERS))
    with pytest.raises(RuntimeError, match=r"DataLoader timed out after 0\.1 seconds"):
        next(batches)
    for process in alive():  # so that the test need not wait until they are ended
        process.kill()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_workers": 0, "multiprocessing_context": "spawn"}, ArgumentError, "can only be used with multi-process"),
        ({"num_workers": 1, "multiprocessing_context": "thread"}, ArgumentError, "should specify a valid start method"),
        ({"num_workers": 1, "multiprocessing_context": 5}, ArgumentTypeError, "should be a valid context object"),
        ({"num_workers": 1, "prefetch_factor": 0}, AssertionError, "prefetch_factor must be greater than 0"),
    ],
)
def test_options_that_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        iter(DataLoader([1], **options))


# --- seeds, and what a worker knows -----------------------------------------------------------------------------------------


class Draws(Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, i):
        info = get_worker_info()
        return info.id, info.num_workers, info.seed, random.random(), np.random.rand(), gc.rand(()).item()


def test_each_worker_has_a_seed_of_its_own_that_the_generator_decides():
    def drawn(seed):
        return [
            tuple(x.item() for x in b)
            for b in DataLoader(Draws(), generator=gc.Generator().manual_seed(seed), **WORKERS)
        ]

    first, second = drawn(3)
    assert first[:2] == (0, 2) and second[:2] == (1, 2) and second[2] == first[2] + 1
    random.seed(first[2])
    assert first[3] == random.random()
    assert first[3:] != second[3:] and drawn(3) == [first, second] and drawn(4)[0][2] != first[2]
    gc.manual_seed(first[2])
    assert first[5] == gc.rand(()).item()


def test_each_pass_has_other_seeds_and_the_same_again_from_the_same_state():
    def passes():
        loader = DataLoader(Draws(), **WORKERS)
        return [next(iter(loader))[2].item() for _ in range(3)]

    gc.manual_seed(1)
    first = passes()
    gc.manual_seed(1)
    assert passes() == first and len(set(first)) == 3


def test_the_number_of_workers_does_not_change_the_order():
    def order(**options):
        gc.manual_seed(5)
        loader = DataLoader(range(20), shuffle=True, **options)
        return [b.item() for _ in range(2) for b in loader]

    assert order() == order(**WORKERS)


def test_worker_init_fn_and_info():
    class Told(Dataset):
        start = 0

        def __len__(self):
            return 4

        def __getitem__(self, i):
            return self.start + i

    def start(worker):
        assert get_worker_info().id == worker
        get_worker_info().dataset.start = 10 * worker

    data = Told()
    assert [b.item() for b in DataLoader(data, worker_init_fn=start, **WORKERS)] == [0, 11, 2, 13]
    assert data.start == 0 and get_worker_info() is None


# --- ends -------------------------------------------------------------------------------------------------------------------


def test_persistent_workers_stay_and_others_do_not():
    loader = DataLoader(Where(), persistent_workers=True, **WORKERS)
    first = pids(loader)
    assert len(set(first)) == 2 and os.getpid() not in first and pids(loader) == first
    assert {p.pid for p in alive()} == set(first)
    del loader
    garbage.collect()
    assert alive() == []
    other = DataLoader(Where(), **WORKERS)
    assert set(pids(other)).isdisjoint(pids(other)) and alive() == []


def test_workers_of_one_loader_do_not_hold_those_of_another():
    """They were forked with the pipes of those before them; nobody is ended by a signal for that."""
    first, second = (DataLoader(Where(), persistent_workers=True, **WORKERS) for _ in range(2))
    pids(first), pids(second)
    processes = [worker.process for worker in first._kept._crew.workers]
    first._kept._crew.close()
    assert [process.exitcode for process in processes] == [0, 0]
    del first
    assert set(pids(second)) == {p.pid for p in alive()}


def numpy_threads():
    """With how many threads each OpenBLAS of NumPy computes."""
    found = [c for c in blas._candidates() if c.name == blas._OF_NUMPY]
    return [getattr(ctypes.CDLL(c.path), f"{c.prefix}openblas_get_num_threads{c.suffix}")() for c in found]


@pytest.mark.skipif(not numpy_threads(), reason="NumPy has a BLAS from somewhere else")
def test_a_worker_computes_in_one_thread_on_numpy():
    class Computing(Where):
        def __getitem__(self, i):
            return gc.get_num_threads(), max(numpy_threads())

    assert {tuple(x.tolist()) for x in DataLoader(Computing(), batch_size=None, collate_fn=np.asarray, **WORKERS)} == {
        (1, 1)
    }


def test_a_pass_that_is_abandoned():
    batches = iter(DataLoader(Squares(100), **WORKERS))
    assert next(batches).item() == 0 and len(alive()) == 2
    del batches
    assert alive() == []
    loader = DataLoader(Squares(6), persistent_workers=True, prefetch_factor=3, **WORKERS)
    for _ in range(3):
        for batch in loader:
            assert batch.item() == 0
            break
    assert first_of(loader) == [0, 1, 4, 9, 16, 25]


PROGRAM = """
    import os, signal, sys, time
    import graphc as gc
    from graphc.utils.data import DataLoader, Dataset

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background is started with Ctrl-C ignored

    class Endless(Dataset):
        def __len__(self):
            return 10**6
        def __getitem__(self, i):
            return os.getpid()

    loader = DataLoader(Endless(), num_workers=2, persistent_workers=True)
    batches = iter(loader)
    print(next(batches).item(), next(batches).item(), flush=True)
"""
ENDS = {
    "the program ends": ("", 0),
    "it raises": ("raise SystemExit(7)", 7),
    "Ctrl-C": ("os.killpg(0, signal.SIGINT)\nfor batch in batches: pass", -signal.SIGINT),
    "it is terminated": ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
    "it is killed": ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
}


def is_running(pid):
    """Whether it is there, and is more than an entry that nobody has waited for."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("how", ENDS)
def test_no_worker_outlives_the_program(how):
    end, code = ENDS[how]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM) + end],
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=60,
    )
    assert done.returncode == code
    assert "Process DataLoader" not in done.stderr and "resource_tracker" not in done.stderr
    workers = [int(pid) for pid in done.stdout.split()]
    assert len(workers) == 2
    for _ in range(500):
        if not any(map(is_running, workers)):
            break
        time.sleep(0.02)
    assert not any(map(is_running, workers))
