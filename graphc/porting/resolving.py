"""PyTorch's dotted names in graphc: what each is here, and which keyword arguments it takes."""

from __future__ import annotations

import functools
import importlib
import inspect
from types import ModuleType
from typing import Any

import graphc
from graphc.core.torch_names import own_path

#: what `resolve` gives for a name that graphc has not
MISSING: Any = object()


@functools.cache
def resolve(path: str) -> Any:
    """What graphc has under the name `torch.nn.Linear` or `torch.Tensor.add`; MISSING if nothing."""
    found: Any = graphc
    for part in own_path(path).split(".")[1:]:
        found = _within(found, part)
        if found is MISSING:
            return MISSING
    return found


def _within(owner: Any, name: str) -> Any:
    """An attribute, or a module below a module."""
    if not isinstance(owner, ModuleType):
        return _of_class(owner, name)
    if hasattr(owner, name):
        return getattr(owner, name)
    module = f"{owner.__name__}.{name}"
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        return MISSING


def _of_class(owner: Any, name: str) -> Any:
    """An attribute of a class; of modules also what their constructor sets."""
    if inspect.isclass(owner) and issubclass(owner, graphc.nn.Module) and name in vars(graphc.nn.Module()):
        return vars(graphc.nn.Module())[name]
    return getattr(owner, name) if hasattr(owner, name) else MISSING


@functools.cache
def keywords_of(path: str) -> frozenset[str] | None:
    """The keyword arguments a callable takes; None where that cannot be told (it takes any, or says nothing)."""
    found = resolve(path)
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    named = {p.name for p in parameters if p.kind is not p.POSITIONAL_ONLY}
    others = getattr(found, "other_names", {})
    return frozenset(named | {other for other, name in others.items() if name in named})
