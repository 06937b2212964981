"""`functional_call`: a module run with other tensors in the place of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from graphc.core.context import EPOCH
from graphc.core.errors import ArgumentError


def _tied(module: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """`given` under every name of a tensor that has several. ArgumentError where these are given different tensors."""
    names: dict[int, list[str]] = {}
    for members in (module.named_parameters, module.named_buffers):
        for name, tensor in members(remove_duplicate=False):
            names.setdefault(id(tensor), []).append(name)
    found = dict(given)
    for same in names.values():
        values = [given[name] for name in same if name in given]
        if any(value is not values[0] for value in values[1:]):
            raise ArgumentError(
                f"functional_call got multiple values for keys {sorted(same)}, which are tied. Consider using "
                "tie_weights=False"
            )
        found.update({name: values[0] for name in same if values})
    return found


def _check_names(module: Any, given: Mapping[str, Any]) -> None:
    own = {n for n, _ in module.named_parameters(remove_duplicate=False)}
    own |= {n for n, _ in module.named_buffers(remove_duplicate=False)}
    problems = []
    for what, names in (("Unexpected", set(given) - own), ("Missing", own - set(given))):
        if names:
            problems.append(f"{what} key(s): {', '.join(map(repr, sorted(names)))}.")
    if problems:
        raise RuntimeError(f"Error(s) in reparametrizing for {module._get_name()}:\n\t" + "\n\t".join(problems))


def _swap(module: Any, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Puts tensors where parameters and buffers are; returns what was there."""
    before = {}
    for path, tensor in tensors.items():
        head, _, name = path.rpartition(".")
        owner = module.get_submodule(head)
        group = owner._parameters if name in owner._parameters else owner._buffers
        if name not in group:  # as in PyTorch: only `strict` minds
            continue
        before[path], group[name] = group[name], tensor
    EPOCH.bump()
    return before


@contextmanager
def _swapped(module: Any, given: Any, tie_weights: bool, strict: bool) -> Iterator[None]:
    tensors = _tied(module, given) if tie_weights else dict(given)
    if strict:
        _check_names(module, tensors)
    before = _swap(module, tensors)
    try:
        yield
    finally:
        after = _swap(module, before)
        given.update({name: after[name] for name in given if name in after})


def functional_call(
    module: Any, parameters_and_buffers: Any, args: Any = None, kwargs: Any = None, *, tie_weights: bool = True,
    strict: bool = False,
) -> Any:  # fmt: skip
    """`module(*args, **kwargs)` with the tensors of a dict in the place of the parameters and buffers it names.

    `tie_weights`: a tensor with several names is replaced under all; `strict`: every name must be given, and no
    other (else those that are nowhere are passed over).
    """
    args = () if args is None else args if isinstance(args, tuple) else (args,)
    with _swapped(module, parameters_and_buffers, tie_weights, strict):
        return module(*args, **(kwargs or {}))


__all__ = ["functional_call"]
