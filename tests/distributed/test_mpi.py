"""The same cases over MPI, started by mpiexec (extra `mpi`)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec

import pytest

PATIENCE_S = 120
START = ["mpiexec", "--allow-run-as-root", "--oversubscribe", "-n", "2", sys.executable]

SCRIPT = """
import sys
import numpy as np
import graphc.distributed as dist
import rank_cases

dist.init_process_group("nccl")
assert dist.group.WORLD.link.name == "MPI"
rank, size = dist.get_rank(), dist.get_world_size()
rank_cases.calls(rank, size)
found = rank_cases.ddp(rank, size)
others = [None] * size
dist.all_gather_object(others, found)
whole = rank_cases.train(rank_cases.build(0))
for how, steps in found.items():
    for mine, first, want in zip(steps, others[0][how], whole, strict=True):
        assert np.array_equal(mine, first), how
        np.testing.assert_allclose(mine, want, rtol=1e-9, atol=1e-12)
rank_cases.ddp_details(rank, size)
if sys.argv[1:] == ["fail"] and rank == 1:
    raise ValueError("bad data")
dist.barrier()
sys.stdout.write(f"rank {rank} of {size}\\n")
"""

pytestmark = pytest.mark.skipif(
    find_spec("mpi4py") is None or shutil.which("mpiexec") is None, reason="needs mpi4py and mpiexec (the extra `mpi`)"
)


def started(tmp_path, *args):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run([*START, str(script), *args], env=environ, capture_output=True, text=True, timeout=PATIENCE_S)


def test_every_call_and_training(tmp_path):
    done = started(tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == ["rank 0 of 2", "rank 1 of 2"]


def test_one_that_fails_ends_all(tmp_path):
    done = started(tmp_path, "fail")
    assert done.returncode != 0 and "ValueError: bad data" in done.stderr and "rank 0 of 2" not in done.stdout
