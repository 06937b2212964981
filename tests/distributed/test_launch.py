"""`graphc launch`: processes that know who they are, and an end of all of them when one fails."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys

import pytest

from graphc.cli import main
from graphc.distributed import run

PATIENCE_S = 120

TELL = r"""
import os, sys
names = "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR"
sys.stdout.write(" ".join(os.environ[n] for n in names) + f" {sys.argv[1:]}\n")  # in one piece
"""

TRAIN = r"""
import os, signal, sys
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel as DDP

dist.init_process_group("gloo")
rank = dist.get_rank()
model = DDP(torch.nn.Linear(3, 2))
for i in range(3):
    if rank == 1 and i == 2:
        {fault}
    model(torch.full((4, 3), float(rank))).sum().backward()
sys.stdout.write(f"rank {{rank}} of {{dist.get_world_size()}}\n")
dist.destroy_process_group()
"""


def launched(tmp_path, text, *options, args=(), start=("-m", "graphc", "launch")):
    """The exit code, output and errors of a script in two processes."""
    script = tmp_path / "script.py"
    script.write_text(text)
    command = [sys.executable, *start, "--nproc_per_node=2", *options, str(script), *args]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=PATIENCE_S)
    return done.returncode, done.stdout, done.stderr


def test_processes_know_who_they_are(tmp_path):
    code, out, err = launched(
        tmp_path, TELL, "--standalone", args=["--lr", "3"], start=("-m", "graphc.distributed.run")
    )
    assert code == 0, err
    assert sorted(out.splitlines()) == [f"{r} {r} 2 2 127.0.0.1 ['--lr', '3']" for r in range(2)]


def test_a_script_of_pytorch_trains(tmp_path):
    code, out, err = launched(tmp_path, TRAIN.format(fault="pass"), "--standalone")
    assert code == 0, err
    assert sorted(out.splitlines()) == ["rank 0 of 2", "rank 1 of 2"] and "Error" not in err


@pytest.mark.parametrize(
    ("fault", "how"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "was ended by SIGKILL"),
        ("raise ValueError('bad data')", "ended with exit code 1"),
        ("sys.exit(3)", "ended with exit code 3"),
    ],
)
def test_one_that_fails_ends_all_and_is_named(tmp_path, fault, how):
    code, out, err = launched(tmp_path, TRAIN.format(fault=fault), "--standalone")
    assert code == 1 and "rank 0 of" not in out
    last = err.splitlines()[-1]
    assert last.startswith("graphc launch: rank 1 (process ") and last.endswith(f") {how}; the others are ended"), err


def options_of(*given):
    parser = argparse.ArgumentParser()
    run.add_arguments(parser)
    return parser.parse_args(given)


def test_options():
    found = options_of("--nproc-per-node", "4", "--nnodes=1", "--master_port", "123", "x.py", "--epochs", "3")
    assert (found.nproc_per_node, found.file, found.args) == (4, "x.py", ["--epochs", "3"])
    assert run._endpoint(found) == ("127.0.0.1", 123)
    assert run._endpoint(options_of("x.py")) == ("127.0.0.1", 29500)
    assert run._endpoint(options_of("--rdzv-endpoint=localhost:77", "x.py")) == ("localhost", 77)
    assert run._endpoint(options_of("--standalone", "x.py"))[1] > 1023
    assert options_of("--nproc_per_node=auto", "x.py").nproc_per_node == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (["--nproc-per-node", "0", "x.py"], "must be a whole number from 1 on, or auto"),
        (["--nnodes", "2", "x.py"], "starts processes on one machine; use mpiexec"),
        (["--max-restarts", "3", "x.py"], "processes are not started again"),
    ],
)
def test_options_that_are_refused(given, text, capsys):
    with pytest.raises(SystemExit) as error:
        main(["launch", *given])
    assert error.value.code == 2 and text in capsys.readouterr().err


def test_each_gets_its_share_of_the_processors(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.delenv("GRAPHC_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    found = run._ranks(1, 3)
    assert found["GRAPHC_THREADS"] == "2" and "OMP_NUM_THREADS" not in found and found["RANK"] == "1"
    assert "GRAPHC_THREADS" not in run._ranks(0, 1)


def test_programs_modules_and_what_cannot_start(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    assert main(["launch", "--no-python", "sh", "-c", "echo $RANK"]) == 0
    (tmp_path / "a_module.py").write_text("import torch, sys; print(torch.__name__, __name__, sys.argv[1:])")
    assert main(["launch", "-m", "a_module", "x"]) == 0
    assert capfd.readouterr().out == "0\ngraphc __main__ ['x']\n"
    assert main(["launch", "--no-python", str(tmp_path / "nothing")]) == 2
    assert main(["launch", "--no-python", "-m", "x"]) == 2
    err = capfd.readouterr().err
    assert "cannot start" in err and "--module and --no-python exclude each other" in err


def test_a_signal_ends_all(tmp_path):
    processes = run._Processes(["sh", "-c", "exec sleep 1000"], [dict(os.environ)] * 2)
    processes.ended.put((-1, signal.SIGTERM))
    assert processes.run() == 128 + signal.SIGTERM
    assert [p.returncode for p in processes.started] == [-signal.SIGTERM] * 2


def test_who_has_lost_another_is_not_at_fault(tmp_path, capfd):
    processes = run._Processes(["true"], [])
    for item in ((0, run.PEER_GONE), (2, run.PEER_GONE), (1, 4)):
        processes.ended.put(item)
        processes.started.append(subprocess.Popen(["true"]))
    assert processes._wait() == 1
    assert ") ended with exit code 4; the others are ended" in capfd.readouterr().err
    processes._end_all()
