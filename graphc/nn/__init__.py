"""Neural networks: PyTorch's `torch.nn`."""

from graphc.core.lazy import lazy_attributes
from graphc.nn import functional, init, modules, parallel, parameter, utils
from graphc.nn.modules import *  # noqa: F403
from graphc.nn.modules import __all__ as _layers
from graphc.nn.parallel import DataParallel
from graphc.nn.parameter import Buffer, Parameter, UninitializedBuffer, UninitializedParameter

__getattr__ = lazy_attributes("graphc.nn", {})

__all__ = [
    *_layers,
    "Buffer",
    "DataParallel",
    "Parameter",
    "UninitializedBuffer",
    "UninitializedParameter",
    "functional",
    "init",
    "modules",
    "parallel",
    "parameter",
    "utils",
]
