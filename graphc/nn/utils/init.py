"""`skip_init`: a layer whose parameters are not filled."""

from __future__ import annotations

import inspect
from typing import Any

from graphc.nn.modules.module import Module


def skip_init(module_cls: Any, *args: Any, **kwargs: Any) -> Any:
    """The layer, its parameters in memory without content. RuntimeError for a class that is no Module or takes no `device`."""
    if not issubclass(module_cls, Module):
        raise RuntimeError(f"Expected a Module; got {module_cls}")
    if "device" not in inspect.signature(module_cls).parameters:
        raise RuntimeError("Module must support a 'device' arg to skip initialization")
    device = kwargs.pop("device", "cpu")
    return module_cls(*args, **kwargs).to_empty(device=device)


__all__ = ["skip_init"]
