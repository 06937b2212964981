"""Programs on an OpenCL device, their kernels built ahead."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from unittest.mock import patch

import pytest

from graphc.backends.opencl.devices import cl, device
from tests.fuzz.__main__ import Examination
from tests.fuzz.ahead import build_ahead

pytestmark = pytest.mark.opencl


def test_what_was_built_ahead_is_not_built_again() -> None:
    device().kernels.clear()
    work, seeds = Examination("opencl", "one", small=False), range(1, 5)
    with patch.object(cl, "Program", wraps=cl.Program) as built:
        build_ahead(partial(work.glance, seed) for seed in seeds)
        first = built.call_count
        assert [work(seed) for seed in seeds] == [""] * len(seeds)
    assert 0 < first <= 2  # optimised and not
    assert built.call_count == first


def test_the_runner_on_a_device() -> None:
    command = [sys.executable, "-m", "tests.fuzz", "--backend", "opencl", "--modes", "one", "--seeds", "0:3"]
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    assert shown.stdout.startswith("seeds 0:3 on opencl, one mode each: 3 programs, 0 failures"), shown
