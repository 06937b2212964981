"""`CompiledModule`: what `gc.compile(module)` returns."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from graphc.nn.modules.module import Module, indent


class CompiledModule(Module):
    """A Module whose calls run compiled, and that is the original one in everything else.

    Both share one `__dict__`: parameters, buffers, children, hooks, mode and plain attributes are the same objects under the
    same names. Copies and pickles are those of the original, uncompiled module.
    """

    __slots__ = ("_orig_mod", "_run")
    _orig_mod: Any
    _run: Callable[..., Any]

    def __init__(self, module: Module, run: Callable[..., Any]):
        object.__setattr__(self, "__dict__", module.__dict__)
        object.__setattr__(self, "_orig_mod", module)
        object.__setattr__(self, "_run", run)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._run(*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The compiled call."""
        return self._run(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self._orig_mod, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._orig_mod, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._orig_mod, name)

    @property
    def recompiles(self) -> Any:
        """One record for each build of the compiled call."""
        return self._run.recompiles  # type: ignore[attr-defined]

    def train(self, mode: bool = True) -> Any:
        """Sets the mode of the original module; returns self."""
        self._orig_mod.train(mode)
        return self

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """The original module's state, under the original names."""
        return self._orig_mod.state_dict(*args, **kwargs)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Loads into the original module."""
        return self._orig_mod.load_state_dict(state_dict, strict, assign)

    def _apply(self, fn: Callable[[Any], Any], recurse: bool = True) -> Any:
        self._orig_mod._apply(fn, recurse)
        return self

    def apply(self, fn: Callable[[Any], None]) -> Any:
        """Calls `fn` on every module below, then on the original one; returns self."""
        self._orig_mod.apply(fn)
        return self

    def extra_repr(self) -> str:
        """That of the original module."""
        return str(self._orig_mod.extra_repr())

    def __repr__(self) -> str:
        return f"CompiledModule(\n  (_orig_mod): {indent(repr(self._orig_mod), 2)}\n)"

    def __dir__(self) -> list[str]:
        return sorted({*dir(type(self)), *dir(self._orig_mod)})

    def __getitem__(self, key: Any) -> Any:
        return self._orig_mod[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._orig_mod)

    def __len__(self) -> int:
        return len(self._orig_mod)

    def __bool__(self) -> bool:
        return True

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return copy.deepcopy(self._orig_mod, memo)

    def __copy__(self) -> Any:
        return copy.copy(self._orig_mod)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return (_same, (self._orig_mod,))


def _same(module: Any) -> Any:
    """What a pickled CompiledModule is read back as: the original."""
    return module


Module._compiled_type = CompiledModule

__all__ = ["CompiledModule"]
