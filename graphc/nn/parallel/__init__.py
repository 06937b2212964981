"""A batch in parts: on several devices of one process, or in several processes."""

from typing import Any

from graphc.core.lazy import lazy_attributes
from graphc.nn.parallel.data_parallel import DataParallel, data_parallel
from graphc.nn.parallel.replicate import parallel_apply, replicate
from graphc.nn.parallel.scatter_gather import gather, scatter

# what joins processes loads on first use
_load = lazy_attributes("graphc.nn.parallel", {"distributed": "graphc.nn.parallel.distributed"})


def __getattr__(name: str) -> Any:
    if name != "DistributedDataParallel":
        return _load(name)
    globals()[name] = found = _load("distributed").DistributedDataParallel
    return found


def __dir__() -> Any:
    return sorted({*globals(), "DistributedDataParallel", "distributed"})


__all__ = [
    "DataParallel", "DistributedDataParallel", "data_parallel", "gather", "parallel_apply", "replicate", "scatter",
]  # fmt: skip
