"""A group of this process alone."""

from __future__ import annotations

import pytest

import graphc.distributed as dist


@pytest.fixture
def alone(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    yield dist
    if dist.is_initialized():
        dist.destroy_process_group()
