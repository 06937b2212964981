"""PyTorch's smaller namespaces: what stands for them here, and the sentence for what does not."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from test_layers import ROOT

import graphc as gc
import graphc.multiprocessing as mp
from graphc.core.missing import missing


def run(code: str, tmp_path, **environment: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "script.py").write_text(code)
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run([sys.executable, "script.py"], cwd=tmp_path, env=surroundings, capture_output=True, text=True)


# --- what there is not ----------------------------------------------------------------------------------------------------

SENTENCES = {
    ("graphc", "softmx"): r"graphc does not have torch\.softmx; the nearest it has: softmax",
    ("graphc", "sparse_coo_tensor"): r"torch\.sparse_coo_tensor; its tensors are dense",
    ("graphc", "view_as_complex"): r"torch\.view_as_complex; it has no complex numbers",
    ("graphc.nn", "Conv2D"): r"torch\.nn\.Conv2D; the nearest it has: Conv2d",
    ("graphc.nn.functional", "cross_entrop"): r"torch\.nn\.functional\.cross_entrop; the nearest it has: cross_entropy",
    ("graphc.optim", "SGDW"): r"torch\.optim\.SGDW; the nearest it has: SGD",
    ("graphc.linalg", "norms"): r"graphc does not have torch\.linalg\.norms",
    ("graphc.utils", "cpp_extension"): r"graphc does not have torch\.utils\.cpp_extension",
    ("graphc.cuda", "synchronise"): r"torch\.cuda\.synchronise; the nearest it has: synchronize",
    ("graphc.autograd", "forward_ad"): r"graphc does not have torch\.autograd\.forward_ad",
}


@pytest.mark.parametrize(("package", "name"), SENTENCES)
def test_a_name_that_there_is_not_is_answered_with_one_sentence(package, name):
    __import__(package)
    with pytest.raises(AttributeError, match=SENTENCES[package, name]) as error:
        getattr(sys.modules[package], name)
    assert "\n" not in str(error.value)
    assert not hasattr(sys.modules[package], name)


def test_special_names_are_not_talked_about():
    assert missing("graphc", "__wrapped__") == "module 'graphc' has no attribute '__wrapped__'"


REFUSED = {
    "torch.hub.load:": lambda: gc.hub.load("a", "b"),
    "torch.hub.load_state_dict_from_url:": lambda: gc.hub.load_state_dict_from_url("http://x"),
    "torch.hub.download_url_to_file:": lambda: gc.hub.download_url_to_file("http://x", "y"),
    "torch.jit.save:": lambda: gc.jit.save(None, "x"),
    "torch.jit.load:": lambda: gc.jit.load("x"),
    "jit.trace_module:": lambda: gc.jit.trace_module(gc.nn.Linear(1, 1), {"other": gc.ones(1)}),
    "SummaryWriter.add_graph:": lambda: gc.utils.tensorboard.SummaryWriter.add_graph(None, gc.nn.Linear(1, 1)),
    "utils.benchmark.Timer times Python": lambda: gc.utils.benchmark.Timer(language="cpp"),
}


@pytest.mark.parametrize("begin", REFUSED)
def test_what_is_refused_says_so_in_one_sentence(begin):
    with pytest.raises(gc.errors.GraphcError, match=re.escape(begin)) as error:
        REFUSED[begin]()
    sentence, _, place = str(error.value).partition("\n  at ")
    assert "\n" not in sentence + place


# --- jit ------------------------------------------------------------------------------------------------------------------


def test_scripts_and_traces_are_compiled():
    model = gc.nn.Linear(3, 2)
    scripted, traced = gc.jit.script(model), gc.jit.trace_module(model, {"forward": gc.ones(2, 3)})
    x = gc.rand(2, 3)
    for made in (scripted, traced):
        np.testing.assert_allclose(made(x).detach().numpy(), model(x).detach().numpy(), rtol=1e-6)
    assert scripted.recompiles and gc.jit.script(gc.nn.Linear) is gc.nn.Linear
    assert gc.jit.trace(lambda x, k=1: x * k, gc.ones(2), example_kwarg_inputs={"k": 3})(gc.ones(2)).tolist() == [
        1.0,
        1.0,
    ]
    with pytest.raises(gc.errors.SymbolicError):
        gc.jit.trace(lambda x: x if x.sum() > 0 else -x, gc.ones(2))
    told = []
    gc.compile(lambda x: told.append((gc.jit.is_tracing(), gc.compiler.is_compiling())) or x + 1)(gc.ones(1))
    assert told == [(True, True)]


# --- processes ------------------------------------------------------------------------------------------------------------

SPAWN = """
import sys
import graphc as torch
import graphc.multiprocessing as mp

def work(rank, queue, x):
    queue.put((rank, x * rank, torch.nn.Parameter(x).bfloat16().detach()))

def fails(rank, how):
    if rank == 1:
        how == "exit" and sys.exit(3)
        raise ValueError("rank one is ill")
    import time
    time.sleep(60)

if __name__ == "__main__":
    mp.set_start_method("spawn")
    mp.set_sharing_strategy("file_system")
    queue = mp.Queue()
    context = mp.spawn(work, args=(queue, torch.ones(3)), nprocs=2, join=False)
    found = sorted((queue.get() for _ in range(2)), key=lambda item: item[0])
    while not context.join():
        pass
    assert [x.tolist() for _, x, _ in found] == [[0.0] * 3, [1.0] * 3] and found[0][2].dtype is torch.bfloat16
    raised, exited = mp.ProcessRaisedException, mp.ProcessExitedException
    for how, error, text in (("raise", raised, "rank one is ill"), ("exit", exited, "exit code 3")):
        try:
            mp.spawn(fails, args=(how,), nprocs=2)
        except error as told:
            assert text in str(told) and told.error_index == 1, told
        else:
            raise AssertionError(how)
    process = mp.Process(target=print, args=("done",))
    process.start()
    process.join()
"""


def test_processes_and_tensors_through_queues(tmp_path):
    done = run(SPAWN, tmp_path)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


def test_sharing_strategies():
    assert mp.get_sharing_strategy() in mp.get_all_sharing_strategies()
    with pytest.raises(gc.errors.BackendError, match="no sharing strategy is called 'telepathy'"):
        mp.set_sharing_strategy("telepathy")


# --- benchmarks, TensorBoard ----------------------------------------------------------------------------------------------


def test_timers_set_the_number_of_threads_for_their_time():
    before = gc.get_num_threads()
    seen = []
    timer = gc.utils.benchmark.Timer(
        "note()", globals={"note": lambda: seen.append(gc.get_num_threads())}, num_threads=1
    )
    found = timer.timeit(3)
    assert set(seen) == {1} and gc.get_num_threads() == before
    assert "3 runs per measurement, 1 thread" in repr(found) and not found.iqr


def test_without_tensorboard_its_writer_says_what_to_install(tmp_path):
    code = "import sys; sys.modules['tensorboard'] = None\n"
    code += "from graphc.utils.tensorboard import SummaryWriter\nSummaryWriter('x')"
    done = run(code, tmp_path)
    assert done.returncode == 1 and "hint: pip install 'graphc[tensorboard]'" in done.stderr


def test_tensorboard_reads_what_was_written(tmp_path):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with gc.utils.tensorboard.SummaryWriter(log_dir=str(tmp_path)) as writer:
        assert writer.get_logdir() == str(tmp_path)
        for i in range(3):
            writer.add_scalar("loss", gc.tensor(1.5 * i), i)
        writer.add_scalars("both", {"a": 1, "b": 2.0}, 1)
        writer.add_histogram("weights", gc.randn(100), 1)
        writer.add_image("picture", gc.rand(3, 4, 5))
        writer.add_images("pictures", gc.rand(2, 1, 4, 4))
        writer.add_text("note", "hello")
        writer.add_hparams({"lr": 0.1, "name": "x", "on": True}, {"accuracy": 0.5}, run_name="hp")
        writer.flush()
        for wrong in (lambda: writer.add_scalar("x", gc.ones(2)), lambda: writer.add_histogram("x", gc.zeros(0))):
            with pytest.raises(gc.errors.ArgumentError):
                wrong()
        with pytest.raises(gc.errors.ArgumentError, match="input format are different"):
            writer.add_image("x", gc.rand(4, 5))
    read = accumulators.EventAccumulator(str(tmp_path))
    read.Reload()
    assert [(e.step, e.value) for e in read.Scalars("loss")] == [(0, 0.0), (1, 1.5), (2, 3.0)]
    tags = read.Tags()
    assert tags["images"] == ["picture", "pictures"] and tags["histograms"] == ["weights"]
    assert tags["tensors"] == ["note/text_summary"] and read.Images("pictures")[0].width == 8
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == ["both_a", "both_b", "hp"]
