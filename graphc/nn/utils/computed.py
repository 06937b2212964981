"""Attributes of modules that are computed from parameters whenever they are read.

The module's class is replaced by a subclass of the same name with a property, so that eager calls, traces and graphs all see
the value of the moment, and no computed tensor stays behind in the module.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from graphc.core.context import EPOCH

_classes: dict[tuple[type[Any], tuple[str, ...]], type[Any]] = {}


def _class_with(plain: type[Any], names: tuple[str, ...]) -> type[Any]:
    """The subclass of `plain` whose attributes `names` are computed."""
    found = _classes.get((plain, names))
    if found is None:
        body: dict[str, Any] = {
            "__module__": plain.__module__, "__qualname__": plain.__qualname__, "__doc__": plain.__doc__,
            "_plain_class": plain, "__reduce_ex__": _reduce,
        }  # fmt: skip
        for name in names:
            body[name] = property(functools.partial(_read, name))
        found = _classes[plain, names] = type(plain.__name__, (plain,), body)
    return found


def _read(name: str, module: Any) -> Any:
    return module.__dict__["_computed"][name](module)


def _reduce(module: Any, protocol: Any) -> Any:
    return _made, (module._plain_class, tuple(module.__dict__["_computed"])), module.__getstate__()


def _made(plain: type[Any], names: tuple[str, ...]) -> Any:
    cls: Any = _class_with(plain, names)
    return cls.__new__(cls)


def _become(module: Any, computed: Mapping[str, Any]) -> None:
    plain = plain_class(module)
    fields = module.__dict__
    if computed:
        fields["_computed"] = dict(computed)
        object.__setattr__(module, "__class__", _class_with(plain, tuple(computed)))
    else:
        del fields["_computed"]
        object.__setattr__(module, "__class__", plain)
    EPOCH.bump()


def plain_class(module: Any) -> type[Any]:
    """The class of a module without its computed attributes."""
    found: type[Any] = getattr(type(module), "_plain_class", type(module))
    return found


def compute(module: Any, name: str, function: Callable[[Any], Any]) -> None:
    """From now on reading `module.<name>`, which must be free, gives `function(module)`."""
    _become(module, {**module.__dict__.get("_computed", {}), name: function})


def stop_computing(module: Any, name: str) -> None:
    """Takes the computed attribute away."""
    _become(module, {k: v for k, v in module.__dict__["_computed"].items() if k != name})


def take_back(module: Any, is_meant: Callable[[Any], bool]) -> bool:
    """Has the first hook before `forward` that is meant undo itself (`remove(module)`), and drops it; whether there was one."""
    for key, hook in module._forward_pre_hooks.items():
        if is_meant(hook):
            hook.remove(module)
            del module._forward_pre_hooks[key]
            return True
    return False


__all__ = ["compute", "plain_class", "stop_computing", "take_back"]
