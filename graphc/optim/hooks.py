"""Hooks of optimizers: functions called around steps, and around saving and loading state."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from graphc.core.errors import UnsupportedError
from graphc.nn.modules.hooks import RemovableHandle, add_hook

_PLACES = ("step_pre", "step_post", "state_dict_pre", "state_dict_post", "load_state_dict_pre", "load_state_dict_post")
_EVERY_PRE: OrderedDict[int, Any] = OrderedDict()
_EVERY_POST: OrderedDict[int, Any] = OrderedDict()


def new_hooks() -> dict[str, OrderedDict[int, Any]]:
    """No hooks, for each place where there may be some."""
    return {place: OrderedDict() for place in _PLACES}


class Hooked:
    """The part of an optimizer that keeps hooks and calls them."""

    def __init__(self) -> None:
        self._hooks = new_hooks()
        self._opt_called = self._stepping = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Has every `step`, also an overridden one, call its hooks and tell schedules that it was called."""
        super().__init_subclass__(**kwargs)
        if "step" in cls.__dict__:
            cls.step = _watched(cls.__dict__["step"])  # type: ignore[attr-defined]

    def register_step_pre_hook(self, hook: Any) -> RemovableHandle:
        """`hook(optimizer, args, kwargs)` before each step; may return new (args, kwargs)."""
        return add_hook(self._hooks["step_pre"], hook)

    def register_step_post_hook(self, hook: Any) -> RemovableHandle:
        """`hook(optimizer, args, kwargs)` after each step."""
        return add_hook(self._hooks["step_post"], hook)

    def register_state_dict_pre_hook(self, hook: Any, prepend: bool = False) -> RemovableHandle:
        """`hook(optimizer)` before `state_dict`."""
        return add_hook(self._hooks["state_dict_pre"], hook, prepend)

    def register_state_dict_post_hook(self, hook: Any, prepend: bool = False) -> RemovableHandle:
        """`hook(optimizer, state_dict)` after `state_dict`; may return another dict."""
        return add_hook(self._hooks["state_dict_post"], hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: Any, prepend: bool = False) -> RemovableHandle:
        """`hook(optimizer, state_dict)` before loading (of a shallow copy); may return another dict."""
        return add_hook(self._hooks["load_state_dict_pre"], hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Any, prepend: bool = False) -> RemovableHandle:
        """`hook(optimizer)` after loading."""
        return add_hook(self._hooks["load_state_dict_post"], hook, prepend)

    def _passed_on(self, place: str, state: dict[str, Any]) -> dict[str, Any]:
        """A state dict after the hooks of that place."""
        for hook in self._hooks[place].values():
            found = hook(self, state)
            state = state if found is None else found
        return state


def _watched(step: Callable[..., Any]) -> Callable[..., Any]:
    """`step` with its hooks, which `super().step()` inside an overriding step does not call again."""

    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        self._opt_called = True
        before, after = self._hooks["step_pre"], self._hooks["step_post"]
        if self._stepping or not (before or after or _EVERY_PRE or _EVERY_POST):
            return step(self, *args, **kwargs)
        self._stepping = True
        try:
            given = (self, *args), kwargs
            for hook in (*_EVERY_PRE.values(), *before.values()):
                changed = hook(self, *given)
                if changed is not None and not (isinstance(changed, tuple) and len(changed) == 2):
                    raise UnsupportedError(
                        f"{step} must return None or a tuple of (new_args, new_kwargs), but got {changed}."
                    )
                given = given if changed is None else changed
            result = step(*given[0], **given[1])
            for hook in (*after.values(), *_EVERY_POST.values()):
                hook(self, *given)
            return result
        finally:
            self._stepping = False

    watched.__name__, watched.__doc__, watched.__wrapped__ = "step", step.__doc__, step  # type: ignore[attr-defined]
    return watched


def register_optimizer_step_pre_hook(hook: Any) -> RemovableHandle:
    """`hook(optimizer, args, kwargs)` before each step of every optimizer; may return new (args, kwargs)."""
    return add_hook(_EVERY_PRE, hook)


def register_optimizer_step_post_hook(hook: Any) -> RemovableHandle:
    """`hook(optimizer, args, kwargs)` after each step of every optimizer."""
    return add_hook(_EVERY_POST, hook)
