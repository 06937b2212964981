"""What the user calls the tensors that a step reads: `model.0.weight`, `opt.exp_avg of model.0.weight`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any

from graphc.build import CompiledFunction
from graphc.contrast.keeping import is_users, names_in
from graphc.core.context import SLOTS
from graphc.core.tape import TensorBase
from graphc.nn.modules.module import Module
from graphc.optim.optimizer import Optimizer

#: How far containers and objects are followed.
_DEEPEST = 4


def names_of(step: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[int, str]:
    """A name for each tensor that can be reached, by the tensor's id."""
    found: dict[int, str] = {}

    def name(tensor: Any, text: str) -> None:
        found.setdefault(id(tensor), text)
        if tensor._base is not None:
            found.setdefault(id(tensor._base.base), text)

    pending = [*_arguments(step, args), *kwargs.items(), *_variables(step)]
    optimizers: list[tuple[str, Optimizer]] = []
    seen: set[int] = set()
    for depth in range(_DEEPEST):
        level, pending = pending, []
        for at, x in level:
            if isinstance(x, TensorBase):
                name(x, at)
            elif id(x) not in seen:
                seen.add(id(x))
                if isinstance(x, Module):
                    for inner, tensor in (*x.named_parameters(), *x.named_buffers()):
                        name(tensor, f"{at}.{inner}" if at else inner)
                elif isinstance(x, Optimizer):
                    optimizers.append((at, x))
                elif depth < _DEEPEST - 1:
                    pending += _parts(at, x)
    for at, optimizer in optimizers:
        for p, held in [*optimizer.state.items(), *optimizer._made.items()]:
            for key, tensor in held.items():
                if isinstance(tensor, TensorBase):
                    name(tensor, f"{at}.{key.lstrip('_')} of {found.get(id(p), 'a parameter')}")
    for key, tensor in zip(("seed", "offset"), SLOTS.generator().state, strict=True):
        name(tensor, f"random.{key}")
    return found


def _arguments(step: Callable[..., Any], args: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    try:
        names = list(inspect.signature(step).parameters)
    except (TypeError, ValueError):
        names = []
    for i, x in enumerate(args):
        yield (names[i] if i < len(names) else f"arg{i}"), x


def _variables(step: Any) -> Iterator[tuple[str, Any]]:
    """What a function reads around itself, by name."""
    if isinstance(step, CompiledFunction):
        step = step.fn
    if isinstance(step, partial):
        yield from _variables(step.func)
        return
    if isinstance(step, MethodType):
        yield "self", step.__self__
        step = step.__func__
    if not isinstance(step, FunctionType):
        yield "", step
        return
    for name, cell in zip(step.__code__.co_freevars, step.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # empty yet
            continue
    for name in dict.fromkeys(names_in(step.__code__)):
        if name in step.__globals__:
            yield name, step.__globals__[name]


def _parts(name: str, x: Any) -> Iterator[tuple[str, Any]]:
    """What an object of the user's or a container holds."""
    if isinstance(x, dict):
        yield from ((f"{name}[{key!r}]", value) for key, value in x.items())
    elif isinstance(x, list | tuple):
        yield from ((f"{name}[{i}]", value) for i, value in enumerate(x))
    elif isinstance(x, FunctionType | MethodType | partial | CompiledFunction):
        if not isinstance(x, FunctionType) or is_users(inspect.getmodule(x)):
            yield from _variables(x)
    elif not isinstance(x, ModuleType | type) and isinstance(getattr(x, "__dict__", None), dict):
        yield from ((f"{name}.{key}", value) for key, value in vars(x).items())
