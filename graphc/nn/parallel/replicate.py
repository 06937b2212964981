"""One module on several devices, and calls of several modules."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from graphc.core.arrays import memory_of
from graphc.core.context import STATE, making_in, place
from graphc.core.errors import UnsupportedError
from graphc.functions.placing import on
from graphc.nn.modules.module import Module
from graphc.nn.parallel.scatter_gather import as_device


def replicate(network: Any, devices: Sequence[Any], detach: bool = False) -> list[Any]:
    """A copy of the module on each device; gradients go back to the module's own parameters, unless `detach`."""
    found = []
    for memory in [place(as_device(x)) for x in devices]:
        tensors = [*network.parameters(), *network.buffers()]
        found.append(_replica(network, {id(x): on(x.detach() if detach else x, memory) for x in tensors}, {}))
    return found


def parallel_apply(
    modules: Sequence[Any], inputs: Sequence[Any], kwargs_tup: Sequence[Mapping[str, Any]] | None = None,
    devices: Sequence[Any] | None = None,
) -> list[Any]:  # fmt: skip
    """What each module gives for its input (a tuple or list of them, or one), `devices` being where it makes new tensors.

    Calls start one after the other; those on devices of their own run at the same time. UnsupportedError where there are more
    of one than of the other.
    """
    for what, rest in (("inputs", inputs), ("kwargs_tup", kwargs_tup), ("devices", devices)):
        if rest is not None and len(rest) != len(modules):
            raise UnsupportedError(
                f"The number of modules {len(modules)} is not equal to the number of {what} {len(rest)}"
            )
    results = []
    for i, (module, given) in enumerate(zip(modules, inputs, strict=True)):
        args = given if isinstance(given, list | tuple) else (given,)
        memory = STATE.memory if devices is None or devices[i] is None else place(as_device(devices[i]))
        with making_in(memory):
            results.append(module(*args, **(kwargs_tup[i] if kwargs_tup is not None else {})))
    return results


def replica(module: Module, memory: Any) -> Any:
    """The module with its tensors in that memory; itself where they are there."""
    tensors = [*module.parameters(), *module.buffers()]
    if STATE.recorder is not None or all(memory_of(x._data) is memory for x in tensors):
        return module
    return _replica(module, {id(x): on(x, memory) for x in tensors}, {})


def _replica(module: Any, there: Mapping[int, Any], made: dict[int, Any]) -> Any:
    found = made.get(id(module))
    if found is None:
        found = made[id(module)] = copy.copy(module)
        fields = found.__dict__
        for group in ("_parameters", "_buffers"):
            fields[group] = {k: None if x is None else there[id(x)] for k, x in fields[group].items()}
        fields["_modules"] = {k: None if x is None else _replica(x, there, made) for k, x in fields["_modules"].items()}
    return found


__all__ = ["parallel_apply", "replicate"]
