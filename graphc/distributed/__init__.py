"""Many processes that train one model: PyTorch's `torch.distributed`.

    graphc launch --nproc-per-node 4 train.py

Processes are joined by MPI where mpiexec started them, else by sockets; the names gloo, nccl, mpi and ucc all mean that.
"""

from graphc.core.errors import DistBackendError, DistError, DistNetworkError
from graphc.distributed.collectives import *  # noqa: F403
from graphc.distributed.collectives import __all__ as _collectives
from graphc.distributed.groups import *  # noqa: F403
from graphc.distributed.groups import __all__ as _groups
from graphc.distributed.objects import *  # noqa: F403
from graphc.distributed.objects import __all__ as _objects

__all__ = [*_collectives, *_groups, *_objects, "DistBackendError", "DistError", "DistNetworkError"]
