"""The one lazy-import helper: modules that load when they are first used, so that importing graphc stays cheap.

The layer test counts the names given here as imports, so give them as literal strings.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any


class LazyModule:
    """Stands for a module and loads it when an attribute is first read."""

    def __init__(self, name: str, hint: str = ""):
        self.__dict__.update(_name=name, _hint=hint)

    def __getattr__(self, attribute: str) -> Any:
        try:
            module = importlib.import_module(self._name)
        except ImportError as error:
            hint = self._hint or f"pip install {self._name.partition('.')[0]}"
            raise ImportError(f"{self._name} cannot be imported: {error}\n  hint: {hint}", name=self._name) from error
        value = getattr(module, attribute)
        self.__dict__[attribute] = value
        return value

    def __repr__(self) -> str:
        return f"<lazy module {self._name}>"


def lazy_import(name: str, hint: str = "") -> Any:
    """A stand-in for the module `name`; reading an attribute imports it, or raises ImportError and `hint`."""
    return LazyModule(name, hint)


def lazy_attributes(package: str, modules: dict[str, str]) -> Callable[[str], Any]:
    """A module-level `__getattr__` for `package`: attribute `k` is the module `modules[k]`, imported on first use.

    Any other name is an AttributeError that says in one sentence what is missing and what is nearest.
    """

    def load(attribute: str) -> Any:
        if attribute not in modules:
            raise AttributeError(missing(package, attribute))
        return importlib.import_module(modules[attribute])

    return load


_difflib = lazy_import("difflib")
#: What to use in the place of what graphc has not, by how a word of its name begins.
INSTEAD = {
    "sparse": "its tensors are dense: use masks, gather and scatter",
    "complex": "it has no complex numbers: keep real and imaginary parts in a last dimension of size 2",
    "fft": "it has no complex numbers; a short transform is a product with a matrix of cosines and sines",
    "stft": "it has no complex numbers; x.unfold() and a product with a matrix of cosines and sines give a spectrogram",
    "polar": "it has no complex numbers: use cos and sin",
    "quant": "it has no quantised tensors: float16, bfloat16 and autocast are its narrow numbers",
    "nested": "it has no nested tensors: nn.utils.rnn.pad_sequence and masks",
    "float8": "its narrowest floats have 16 bits",
    "dynamo": "gc.compile has no such inner parts",
    "inductor": "gc.compile has no such inner parts",
    "fx": "gc.Graph records a program, and gc.viz shows it",
    "library": "an op of one's own is an autograd.Function",
    "mps": "its devices are the CPU, OpenCL and CUDA",
    "xpu": "its devices are the CPU, OpenCL and CUDA",
    "npu": "its devices are the CPU, OpenCL and CUDA",
}


def missing(package: str, attribute: str) -> str:
    """One sentence for a name that a module has not: PyTorch's name for it, and what is nearest."""
    text = f"module {package!r} has no attribute {attribute!r}"
    if attribute.startswith("__"):
        return text
    path = "torch" + package.removeprefix("graphc")
    words = attribute.lower().split("_")
    for start, instead in INSTEAD.items():
        if any(word.startswith(start) for word in words):
            return f"{text}: graphc does not have {path}.{attribute}; {instead}"
    names = [name for name in dir(sys.modules.get(package)) if not name.startswith("_")]
    near = _difflib.get_close_matches(attribute, names, 3)
    nearest = f"; the nearest it has: {', '.join(near)}" if near else ""
    return f"{text}: graphc does not have {path}.{attribute}{nearest}"
