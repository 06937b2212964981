"""Small namespaces against PyTorch: checkpointing, profiler, jit, compiler, devices that there are not, benchmarks."""

from __future__ import annotations

import io
import multiprocessing
import warnings
from contextlib import redirect_stdout, suppress
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from rank_cases import fail_beyond_the_first, note_rank
from side_by_side import agree, refuse

import graphc as gc

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

A = np.random.default_rng(0).normal(size=(2, 4))


def of(m: Any, path: str) -> Any:
    return import_module(f"{m.__name__}.{path}")


# --- checkpointing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoint(reentrant: bool) -> None:
    def code(m: Any, x: Any, w: Any) -> Any:
        check = of(m, "utils.checkpoint")
        first = check.checkpoint(lambda t: (t @ w).tanh(), x * 2, use_reentrant=reentrant)
        steps = [lambda t: t.exp(), lambda t: t * t, m.nn.Sigmoid(), lambda t: t + 1]
        return first, check.checkpoint_sequential(steps, 2, first, use_reentrant=reentrant)

    agree(torch, code, A, A.T @ A, n=16)


def test_checkpoint_refuses() -> None:
    refuse(torch, lambda m: of(m, "utils.checkpoint").checkpoint(lambda t, k: t, m.ones(1), k=1, use_reentrant=True))
    refuse(torch, lambda m: of(m, "utils.checkpoint").checkpoint_sequential([], 1, m.ones(1), k=1))


# --- profiler -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [
    {"wait": 1, "warmup": 1, "active": 2}, {"wait": 0, "warmup": 0, "active": 1},
    {"wait": 2, "warmup": 1, "active": 1, "repeat": 2},
    {"wait": 1, "warmup": 0, "active": 2, "skip_first": 3, "repeat": 1},
])  # fmt: skip
def test_schedules(options: dict[str, int]) -> None:
    ours, theirs = gc.profiler.schedule(**options), torch.profiler.schedule(**options)
    assert [ours(i).name for i in range(20)] == [theirs(i).name for i in range(20)]


def test_profiles() -> None:
    for m in (gc, torch):
        ready: list[Any] = []
        with m.profiler.profile(
            activities=[m.profiler.ProfilerActivity.CPU], record_shapes=True, on_trace_ready=ready.append
        ) as prof:
            with m.profiler.record_function("part"):
                m.ones(2, 3) + m.ones(2, 3)
            m.nn.functional.relu(m.ones(3))
        assert ready == [prof]
        found = {event.key: event.count for event in prof.key_averages()}
        assert found["part"] == 1  # the functions' own names are replaced here by those of the recorder
        table = prof.key_averages(group_by_input_shape=True).table(sort_by="self_cpu_time_total", row_limit=5)
        assert "Self CPU time total" in table and "# of Calls" in table
        with m.autograd.profiler.profile(record_shapes=True) as older, m.autograd.profiler.record_function("part"):
            m.ones(2) * 2
        assert "part" in older.key_averages().table(sort_by="cpu_time_total")
        assert older.self_cpu_time_total > 0 and older.total_average().count > 0


def test_what_is_ready_after_which_steps(tmp_path: Any) -> None:
    for m in (gc, torch):
        folder, rounds = tmp_path / m.__name__, []
        write = m.profiler.tensorboard_trace_handler(str(folder), worker_name="w")

        def ready(prof: Any, rounds: list[int] = rounds, write: Any = write) -> None:
            rounds.append(prof.step_num)
            write(prof)

        with m.profiler.profile(
            activities=[m.profiler.ProfilerActivity.CPU],
            schedule=m.profiler.schedule(wait=1, warmup=1, active=2, repeat=2),
            on_trace_ready=ready,
        ) as prof:
            for _ in range(9):
                m.ones(2) + 1
                prof.step()
        assert rounds == [4, 8] and len(list(folder.glob("w.*.pt.trace.json"))) == 2
        assert m.profiler.ProfilerActivity.CPU in m.profiler.supported_activities()


# --- jit and compiler -----------------------------------------------------------------------------------------------------


def f(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """TorchScript reads the annotations."""
    return (x @ y.t()).relu() + 1


with warnings.catch_warnings():  # the recorder's stand-ins are no functions for TorchScript
    warnings.simplefilter("ignore")
    THEIRS = torch.nn.Linear(4, 2)
    SCRIPTED, TRACED = torch.jit.script(THEIRS), torch.jit.trace(f, (torch.ones(2, 4), torch.ones(2, 4)))


def test_script_and_trace() -> None:
    ours = gc.nn.Linear(4, 2)
    ours.load_state_dict({name: gc.tensor(p.detach().numpy()) for name, p in THEIRS.named_parameters()})
    x, theirs = gc.tensor(A, dtype=gc.float32), torch.tensor(A, dtype=torch.float32)
    traced = gc.jit.trace(f, (gc.ones(2, 4), gc.ones(2, 4)))
    for a, b in (
        (traced(x, x * 2), TRACED(theirs, theirs * 2)),
        (gc.jit.script(ours)(x), SCRIPTED(theirs)),
        (gc.jit.trace(ours, x)(x), SCRIPTED(theirs)),
        (gc.jit.freeze(gc.jit.script(ours.eval()))(x), SCRIPTED(theirs)),
    ):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-5)
    assert len(traced.recompiles) == 1


def test_words_for_compilers() -> None:
    for m in (gc, torch):
        assert not m.jit.is_scripting() and not m.jit.is_tracing() and not m.compiler.is_compiling()
        assert m.jit.wait(m.jit.fork(lambda t: t * 3, m.ones(1))).tolist() == [3.0]
        assert m.jit.annotate(int, 3) == 3
        for mark in (m.jit.export, m.jit.unused, m.jit.ignore, m.jit.script_if_tracing, m.compiler.disable):
            assert mark(lambda t: t)(2) == 2
        assert m.jit.ignore(drop=False)(lambda t: t)(1) == 1
        assert isinstance(m.compiler.list_backends(), list)
        assert not m.compiler.is_dynamo_compiling()
        m.compiler.cudagraph_mark_step_begin()
        m.compiler.reset()
        for mark in (m.compiler.allow_in_graph, m.compiler.assume_constant_result):
            assert mark(f) is f


# --- devices --------------------------------------------------------------------------------------------------------------

no_card = pytest.mark.skipif(torch.cuda.is_available() or gc.cuda.is_available(), reason="there is a card")


@no_card
def test_without_a_card() -> None:
    for m in (gc, torch):
        cuda = m.cuda
        assert not cuda.is_available() and cuda.device_count() == 0 and not cuda.is_initialized()
        assert not cuda.is_bf16_supported() or m is torch
        assert cuda.memory_allocated() == cuda.max_memory_allocated() == cuda.memory_reserved() == 0
        assert cuda.max_memory_reserved() == 0 and dict(cuda.memory_stats()) == {}
        cuda.empty_cache()
        cuda.manual_seed(1)
        cuda.manual_seed_all(1)
        with cuda.stream(None):
            pass
        assert m.accelerator.current_accelerator() is None
        assert not m.accelerator.is_available() and m.accelerator.device_count() == 0


CUDA = ("synchronize", "current_device", "get_device_name", "get_device_capability", "get_device_properties", "Stream")
CUDA = (*CUDA, "current_stream", "default_stream", "mem_get_info")
TENSORS = ("Float", "Double", "Half", "BFloat16", "Byte", "Char", "Short", "Int", "Long", "Bool")
ANY = (
    "synchronize",
    "current_device_index",
    "current_device_idx",
    "current_stream",
    "memory_allocated",
    "memory_reserved",
)
ANY = (*ANY, "max_memory_allocated", "max_memory_reserved", "empty_cache", "memory_stats", "get_memory_info")
ANY = (*ANY, "reset_peak_memory_stats", "reset_accumulated_memory_stats")
LACKING: dict[str, Any] = {name: lambda m, name=name: getattr(m.cuda, name)() for name in CUDA}
LACKING |= {f"{name}Tensor": lambda m, name=name: getattr(m.cuda, f"{name}Tensor")(2) for name in TENSORS}
LACKING |= {f"accelerator.{name}": lambda m, name=name: getattr(m.accelerator, name)() for name in ANY}
LACKING |= {
    "accelerator.set": lambda m: m.accelerator.set_device_index(0),
    "accelerator.set_idx": lambda m: m.accelerator.set_device_idx(0),
    "accelerator.set_stream": lambda m: m.accelerator.set_stream(None),
    "accelerator.device_index": lambda m: m.accelerator.device_index(0).__enter__(),
    "Event": lambda m: m.cuda.Event(enable_timing=True).record(),
}
#: what PyTorch meets with errors of its own depths
DEEP: dict[str, Any] = {
    "set_device": lambda m: m.cuda.set_device(0),
    "device": lambda m: m.cuda.device(0).__enter__(),
    "memory_summary": lambda m: m.cuda.memory_summary(),
}


@no_card
@pytest.mark.parametrize("name", DEEP)
def test_one_sentence_where_pytorch_has_none(name: str) -> None:
    with pytest.raises(gc.errors.DeviceError, match="graphc has no CUDA device here"):
        DEEP[name](gc)
    with suppress(AttributeError, KeyError, RuntimeError):
        DEEP[name](torch)


@no_card
def test_what_changes_nothing_without_a_card() -> None:
    for m in (gc, torch):
        for name in ("reset_peak_memory_stats", "reset_max_memory_allocated"):
            with suppress(AttributeError, RuntimeError):  # PyTorch's
                getattr(m.cuda, name)()
        with suppress(AttributeError):
            m.cuda.set_stream(None)


@no_card
@pytest.mark.parametrize("name", LACKING)
def test_work_on_a_card_that_there_is_not(name: str) -> None:
    refused = []
    for m in (gc, torch):
        with pytest.raises((RuntimeError, AssertionError, TypeError)) as error:
            LACKING[name](m)
        refused.append(error.value)
    assert isinstance(refused[0], RuntimeError)


# --- random numbers -------------------------------------------------------------------------------------------------------


def test_the_random_namespace() -> None:
    for m in (gc, torch):
        m.random.manual_seed(3)
        state, number = m.random.get_rng_state(), m.rand(1).item()
        assert m.random.initial_seed() == 3
        for enabled in (True, False):
            m.random.set_rng_state(state)
            with m.random.fork_rng(devices=[], enabled=enabled):
                m.rand(5)
            assert (m.rand(1).item() == number) is enabled
        assert isinstance(m.random.seed(), int)


def test_lists_are_copied() -> None:
    for m in (gc, torch):
        targets = [m.zeros(2), m.zeros(3, dtype=m.float64)]
        m._foreach_copy_(targets, [m.ones(2), m.arange(3.0)])
        assert [x.tolist() for x in targets] == [[1.0, 1.0], [0.0, 1.0, 2.0]]


# --- threads, precision, benchmarks ---------------------------------------------------------------------------------------


def test_threads_and_precision() -> None:
    for m in (gc, torch):
        before = m.get_num_threads()
        m.set_num_threads(1)
        assert m.get_num_threads() == 1
        m.set_num_threads(before)
        assert m.get_float32_matmul_precision() == "highest"
        m.set_float32_matmul_precision("medium")
        assert m.get_float32_matmul_precision() == "medium"
        m.set_float32_matmul_precision("highest")
        for wrong in (0, -1, 1.5):
            with pytest.raises(RuntimeError, match="set_num_threads expects"):
                m.set_num_threads(wrong)


def test_timers() -> None:
    for m in (gc, torch):
        benchmark = of(m, "utils.benchmark")
        timer = benchmark.Timer(
            stmt="x + x", setup="x = 1", label="sum", sub_label="ints", description="plain", num_threads=1
        )
        once, blocked = timer.timeit(100), timer.blocked_autorange(min_run_time=0.01)
        assert once.number_per_run == 100 and len(once.times) == 1 and once.num_threads == 1
        assert blocked.mean > 0 and blocked.median > 0 and blocked.iqr >= 0 and blocked.times
        assert timer.adaptive_autorange(min_run_time=0.001, max_run_time=0.1).number_per_run > 1
        text = io.StringIO()
        with redirect_stdout(text):
            benchmark.Compare([once, blocked]).print()
        assert "plain" in text.getvalue() and "ints" in text.getvalue()
        globals_ = {"y": 2}
        assert benchmark.Timer("y + 1", globals=globals_).timeit(10).raw_times[0] > 0


def test_processes(tmp_path):
    for m in (gc, torch):
        m.multiprocessing.spawn(note_rank, args=(str(tmp_path), m.__name__), nprocs=1, join=True)
        with pytest.raises(m.multiprocessing.ProcessRaisedException, match="of rank 1"):
            m.multiprocessing.spawn(fail_beyond_the_first, nprocs=2)
        assert m.multiprocessing.Process is multiprocessing.Process
        assert (tmp_path / f"{m.__name__}0").read_text() == "0"
