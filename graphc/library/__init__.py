"""`torch.library`: operators of one's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphc.core.errors import ArgumentError
from graphc.core.lazy import lazy_attributes
from graphc.library.custom_ops import OPERATORS, CustomOpDef, custom_op
from graphc.library.schema import infer_schema

__getattr__ = lazy_attributes("graphc.library", {})


def _definition(op: Any) -> CustomOpDef:
    """A custom op from its name or itself."""
    found = getattr(op, "_definition", op)
    found = OPERATORS.get(op) if isinstance(op, str) else found
    if not isinstance(found, CustomOpDef):
        raise ArgumentError(f"{op!r} is no custom op; those there are: {', '.join(sorted(OPERATORS)) or 'none'}")
    return found


def register_fake(op: Any, func: Callable[..., Any] | None = None, /) -> Any:
    """`CustomOpDef.register_fake` for an op named "namespace::name"; also a decorator."""
    definition = _definition(op)
    return definition.register_fake if func is None else definition.register_fake(func)


def register_kernel(op: Any, device_types: Any, func: Callable[..., Any] | None = None, /) -> Any:
    """`CustomOpDef.register_kernel` for an op named "namespace::name"; also a decorator."""
    return _definition(op).register_kernel(device_types, func)


def register_autograd(
    op: Any, backward: Callable[..., Any], /, *, setup_context: Callable[..., Any] | None = None
) -> None:
    """`CustomOpDef.register_autograd` for an op named "namespace::name"."""
    _definition(op).register_autograd(backward, setup_context=setup_context)


__all__ = ["CustomOpDef", "custom_op", "infer_schema", "register_autograd", "register_fake", "register_kernel"]
