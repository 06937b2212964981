"""What PyTorch's Tensor has and graphc's has not: attributes that say so."""

from __future__ import annotations

from typing import Any

from graphc.core.errors import MissingNameError
from graphc.core.lazy import lazy_import
from graphc.core.torch_names import tensor_names

_missing = lazy_import("graphc.core.missing")


class MissingAttribute:
    """In a class, an attribute that it has not; reading it raises MissingNameError (an AttributeError) with one sentence."""

    def __init__(self, path: str):
        self.path = path

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        kind, name = self.path.split(".")[-2:]
        raise MissingNameError(f"{kind!r} object has no attribute {name!r}: {_missing.sentence(self.path)}")


def attach_missing(tensor_class: Any) -> None:
    """Gives the Tensor class what it has not."""
    for name in tensor_names():
        if not hasattr(tensor_class, name):
            setattr(tensor_class, name, MissingAttribute(f"torch.Tensor.{name}"))
