"""Importing this lets graphc answer every `import torch...` of the process: `torch.nn` is `graphc.nn`, the same module.

    import graphc.as_torch
    import torch.nn as nn               # graphc.nn
    from torch.utils.data import DataLoader
    from torchvision import datasets    # graphc.vision.datasets

Raises ImportError where the real torch is loaded already. What graphc has not is a ModuleNotFoundError that says so; the
real torch and torchvision, installed or not, are never asked. `graphc run FILE.py` does the same for a script.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import graphc
from graphc.core.lazy import lazy_import
from graphc.core.torch_names import ANSWERED, is_known, own_path

_missing = lazy_import("graphc.core.missing")


class Answerer(MetaPathFinder, Loader):
    """Finds graphc's module of the same path for torch, torchvision and all below them, and loads it in that name's place."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
        """A spec for names we answer for, None for all others. Raises ModuleNotFoundError where graphc has no such module."""
        if name.partition(".")[0] not in ANSWERED:
            return None
        module = answer(name)
        return ModuleSpec(name, self, is_package=hasattr(module, "__path__"))

    def create_module(self, spec: ModuleSpec) -> None:
        """Leaves making the stand-in to the import system: `exec_module` replaces it."""

    def exec_module(self, module: ModuleType) -> None:
        """Puts graphc's own module in the stand-in's place, so that both names mean one object."""
        sys.modules[module.__name__] = answer(module.__name__)


def answer(name: str) -> ModuleType:
    """graphc's module for `torch.a.b`. Raises ModuleNotFoundError, naming it, if there is none."""
    ours = own_path(name)
    try:
        return importlib.import_module(ours)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{ours}.".startswith(f"{error.name}."):
            raise
    root = name.partition(".")[0]
    text = f"No module named {name!r}: graphc answers for {root} here, and it does not have {ours!r}"
    near = _missing.nearest(name) if is_known(name) else ""
    raise ModuleNotFoundError(text + (f"; {near}" if near else ""), name=name)


def install() -> None:
    """Begins to answer; doing so twice is harmless. Raises ImportError if the real torch or torchvision is loaded."""
    if any(isinstance(finder, Answerer) for finder in sys.meta_path):
        return
    for alias in ANSWERED:
        _check_free(alias)
    sys.meta_path.insert(0, Answerer())
    sys.modules["torch"] = graphc


def _check_free(alias: str) -> None:
    loaded = sys.modules.get(alias)
    if loaded is None or loaded is graphc:
        return
    where = getattr(loaded, "__file__", None) or "no file"
    raise ImportError(
        f"{alias} is already imported here ({where}), so graphc cannot answer for it: two meanings of one name would mix\n"
        f"  hint: import graphc.as_torch before anything imports {alias}, or write `import {ANSWERED[alias]} as {alias}`",
        name=alias,
    )


install()

__all__ = ["Answerer", "answer", "install"]
