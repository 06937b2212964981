"""How many CPUs this process may use."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path


def available_cpus() -> int:
    """The CPUs this process may use: its affinity, less where a container has a smaller quota."""
    affinity = getattr(os, "sched_getaffinity", None)
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min(cpus, _quota()))


@cache
def _quota() -> int:
    """CPUs' worth of time that Linux grants the container, rounded up; as many as there are where it grants all."""
    everything = os.cpu_count() or 1
    try:
        limit, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return everything if limit == "max" else -(-int(limit) // int(period))
    except (OSError, ValueError):
        return everything
