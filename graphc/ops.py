"""`torch.ops`: custom operators by their names, `torch.ops.namespace.name(...)`."""

from __future__ import annotations

from typing import Any

from graphc.core.errors import MissingNameError
from graphc.library.custom_ops import OPERATORS, CustomOpDef


class Operator:
    """A custom op as `torch.ops` shows it; `default` is the op again."""

    def __init__(self, definition: CustomOpDef):
        self._definition = definition

    @property
    def default(self) -> Operator:
        """The one overload it has."""
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._definition(*args, **kwargs)

    def __repr__(self) -> str:
        return self._definition._qualname.replace("::", ".")


class Namespace:
    """The custom ops of one namespace as attributes."""

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, name: str) -> Operator:
        qualified = f"{self._name}::{name}"
        if qualified not in OPERATORS:
            own = sorted(x.partition("::")[2] for x in OPERATORS if x.startswith(f"{self._name}::"))
            raise MissingNameError(
                f"'{self._name}' object has no attribute '{name}': custom ops of this namespace are {', '.join(own) or 'none'}"
                + ("; torch.* has PyTorch's own" if self._name in ("aten", "prims") else "")
            )
        return Operator(OPERATORS[qualified])

    def __dir__(self) -> Any:
        return sorted(x.partition("::")[2] for x in OPERATORS if x.startswith(f"{self._name}::"))


def __getattr__(name: str) -> Namespace:
    if name.startswith("__"):
        raise AttributeError(f"module 'graphc.ops' has no attribute {name!r}")
    return Namespace(name)
