"""Handles of registered hooks, and the tape entry that serves a Module's backward hooks."""

from __future__ import annotations

import itertools
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from graphc.core.context import EPOCH, STATE
from graphc.core.tape import Entry, edge_of
from graphc.tensors import Tensor

_NUMBERS = itertools.count()


class RemovableHandle:
    """Removes a hook; also a context manager that removes it at the end of the block."""

    def __init__(self, hooks: Any, *, extra_dict: Any = None):
        self.hooks_dict_ref: Any = weakref.ref(hooks)
        self.id = next(_NUMBERS)
        extras = extra_dict if isinstance(extra_dict, list) else [] if extra_dict is None else [extra_dict]
        self.extra_dict_ref: tuple[Any, ...] = tuple(weakref.ref(d) for d in extras)

    def remove(self) -> None:
        """Takes the hook away; harmless when it is gone already."""
        for ref in (self.hooks_dict_ref, *self.extra_dict_ref):
            hooks = ref() if ref is not None else None
            if hooks is not None and self.id in hooks:
                del hooks[self.id]
        EPOCH.bump()

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def __getstate__(self) -> tuple[Any, ...]:
        return (self.hooks_dict_ref(), self.id, tuple(ref() for ref in self.extra_dict_ref))

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        hooks, self.id, extras = state
        self.hooks_dict_ref = weakref.ref(OrderedDict() if hooks is None else hooks)
        self.extra_dict_ref = tuple(weakref.ref(OrderedDict() if d is None else d) for d in extras)


def add_hook(hooks: OrderedDict[int, Any], hook: Any, prepend: bool = False, flags: Any = None) -> RemovableHandle:
    """Puts a hook into `hooks` (at the front with `prepend`) and marks it in each dict of `flags`; returns its handle."""
    handle = RemovableHandle(hooks, extra_dict=flags)
    hooks[handle.id] = hook
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    for ref in handle.extra_dict_ref:
        ref()[handle.id] = True
    EPOCH.bump()
    return handle


#: Hooks of every module: forward pre, forward, backward pre, backward.
GLOBAL: tuple[OrderedDict[int, Any], ...] = (OrderedDict(), OrderedDict(), OrderedDict(), OrderedDict())
GLOBAL_ANY: OrderedDict[int, Any] = OrderedDict()
GLOBAL_WITH_KWARGS: OrderedDict[int, Any] = OrderedDict()
GLOBAL_ALWAYS: OrderedDict[int, Any] = OrderedDict()


def register_module_forward_pre_hook(hook: Any) -> RemovableHandle:
    """Calls `hook(module, args)` before the forward of every module; what it returns replaces the args."""
    return add_hook(GLOBAL[0], hook, flags=[GLOBAL_ANY])


def register_module_forward_hook(hook: Any, *, with_kwargs: bool = False, always_call: bool = False) -> RemovableHandle:
    """Calls `hook(module, args, output)` after the forward of every module; what it returns, if anything, replaces it."""
    flags = [GLOBAL_ANY, GLOBAL_WITH_KWARGS] if with_kwargs else [GLOBAL_ANY]
    if always_call:
        flags.append(GLOBAL_ALWAYS)
    return add_hook(GLOBAL[1], hook, flags=flags)


def register_module_full_backward_pre_hook(hook: Any) -> RemovableHandle:
    """Calls `hook(module, grad_output)` before the backward of every module."""
    return add_hook(GLOBAL[2], hook, flags=[GLOBAL_ANY])


def register_module_full_backward_hook(hook: Any) -> RemovableHandle:
    """Calls `hook(module, grad_input, grad_output)` once the input gradients of a module are known, for every module."""
    return add_hook(GLOBAL[3], hook, flags=[GLOBAL_ANY])


def register_module_backward_hook(hook: Any) -> RemovableHandle:
    """The older name of `register_module_full_backward_hook`, with its meaning."""
    return add_hook(GLOBAL[3], hook, flags=[GLOBAL_ANY])


class Gate:
    """The op of a tape entry whose outputs are its inputs, and whose backward shows all their gradients to a function."""

    name = "backward_hook"

    def __init__(self, on_grads: Callable[[tuple[Any, ...]], tuple[Any, ...]]):
        self.on_grads = on_grads

    def pull_back(self, entry: Entry, gs: list[Any], needs: list[bool]) -> list[Any]:
        """What the sweep calls in place of rules."""
        return [g if need else None for g, need in zip(self.on_grads(tuple(gs)), needs, strict=True)]


def gate(on_grads: Callable[[tuple[Any, ...]], tuple[Any, ...]], tensors: list[Tensor]) -> list[Tensor]:
    """The tensors again, each an output of one tape entry through which their gradients will pass together."""
    here = [t._here() for t in tensors]
    metas = tuple(t.tensor_type for t in here)
    edges = tuple(None if t._edge is None else edge_of(t) for t in here)
    entry = Entry(Gate(on_grads), {}, edges, metas, metas, {})
    watched = []
    for i, t in enumerate(here):
        out = t.detach()
        if t._edge is not None:
            out._edge = (entry, i)
        watched.append(out)
    return watched


class BackwardHooks:
    """Calls a module's full backward hooks when the gradients of its outputs, then of its inputs, are known."""

    def __init__(self, module: Any, hooks: list[Any], pre_hooks: list[Any]):
        self.module, self.hooks, self.pre_hooks = module, hooks, pre_hooks
        self.grad_output: Any = None
        self.n_inputs = 0
        self.input_places: list[int] = []

    def enter(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments, watched."""
        self.n_inputs = len(args)
        return self._watch(args, self._on_input, self.input_places)

    def leave(self, result: Any) -> Any:
        """The result, watched; only tensors and tuples or lists of them carry hooks."""
        if isinstance(result, Tensor):
            return self._watch((result,), self._on_output, [])[0]
        if isinstance(result, tuple | list) and not hasattr(result, "_fields"):
            return type(result)(self._watch(tuple(result), self._on_output, []))
        return result

    def _watch(self, values: tuple[Any, ...], on_grads: Callable[..., Any], places: list[int]) -> tuple[Any, ...]:
        places[:] = [i for i, v in enumerate(values) if isinstance(v, Tensor)]
        tensors = [values[i] for i in places]
        if not STATE.grad or not any(t.requires_grad for t in tensors):
            places.clear()
            return values
        watched = gate(lambda grads: on_grads(grads, places, len(values)), tensors)
        out = list(values)
        for i, w in zip(places, watched, strict=True):
            out[i] = w
        return tuple(out)

    def _on_output(self, grads: tuple[Any, ...], places: list[int], count: int) -> tuple[Any, ...]:
        full: list[Any] = [None] * count
        for i, g in zip(places, grads, strict=True):
            full[i] = g
        grad_output: tuple[Any, ...] = tuple(full)
        for hook in self.pre_hooks:
            changed = hook(self.module, grad_output)
            if changed is not None:
                grad_output = self._checked(changed, count, "output")
        self.grad_output = grad_output
        if not self.input_places:
            for hook in self.hooks:
                hook(self.module, (None,) * self.n_inputs, grad_output)
        return tuple(grad_output[i] for i in places)

    def _on_input(self, grads: tuple[Any, ...], places: list[int], count: int) -> tuple[Any, ...]:
        full: list[Any] = [None] * count
        for i, g in zip(places, grads, strict=True):
            full[i] = g
        grad_input: tuple[Any, ...] = tuple(full)
        for hook in self.hooks:
            changed = hook(self.module, grad_input, self.grad_output)
            if changed is not None:
                grad_input = self._checked(changed, count, "input")
        self.grad_output = None
        return tuple(grad_input[i] for i in places)

    @staticmethod
    def _checked(changed: Any, count: int, what: str) -> tuple[Any, ...]:
        grads = changed if isinstance(changed, tuple) else (changed,)
        if len(grads) != count:
            raise RuntimeError(
                f"Backward hook returned an invalid number of grad_{what}, got {len(grads)}, but expected {count}"
            )
        return grads
