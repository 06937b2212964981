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


_missing = lazy_import("graphc.core.missing")


def lazy_attributes(package: str, modules: dict[str, str]) -> Callable[[str], Any]:
    """A module-level `__getattr__` for `package`: attribute `k` is the module `modules[k]`, imported on first use.

    Any other name is an AttributeError (in `from package import name` an ImportError) that says in one sentence what is
    missing and what is nearest.
    """

    def load(attribute: str) -> Any:
        if attribute not in modules:
            raise _missing.unknown(package, attribute, sys._getframe(1))
        return importlib.import_module(modules[attribute])

    return load
