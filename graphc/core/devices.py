"""Names of devices: `cpu`, `cuda:0`, `opencl:1`. What answers to a name is a backend's matter."""

from __future__ import annotations

from typing import Any

from graphc.core.config import config
from graphc.core.errors import ArgumentTypeError, BackendError

KNOWN = ("cpu", "cuda", "opencl", "mps", "meta")


def kind_of_device(name: str) -> str:
    """The kind of device that a name means here: "cuda" is OpenCL where the user said `GRAPHC_DEVICE=opencl`."""
    return "opencl" if name == "cuda" and config.stands_for_cuda else name


class Device:
    """A device type with an optional index; equal to another of the same name. Public as `graphc.device`."""

    __slots__ = ("index", "type")
    type: str
    index: int | None

    def __init__(self, type: Any = "cpu", index: int | None = None):
        if isinstance(type, Device):
            type, index = type.type, type.index if index is None else index
        if isinstance(type, int):
            type, index = "cuda", type
        if not isinstance(type, str):
            raise ArgumentTypeError(f"device(): argument 'type' must be str, not {type.__class__.__name__}")
        kind, _, number = type.partition(":")
        if kind not in KNOWN:
            raise BackendError(f"Expected one of {', '.join(KNOWN)} device type at start of device string: {type}")
        if number and not number.isdigit():
            raise BackendError(f"Invalid device string: '{type}'")
        self.type = kind
        self.index = int(number) if number else index

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __repr__(self) -> str:
        return f"device(type='{self.type}'" + (f", index={self.index})" if self.index is not None else ")")

    def __reduce__(self) -> tuple[Any, ...]:
        return (Device, (self.type, self.index))


CPU = Device("cpu")
