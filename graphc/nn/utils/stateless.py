"""`functional_call`: a module run with other tensors in the place of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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


def _places(module: Any, names: Iterable[str]) -> dict[str, tuple[dict[str, Any], str]]:
    """For each dotted name the group of its owner's parameters or buffers, and the name there.

    AttributeError where there is no such module. Names in neither group are left out: as in PyTorch only `strict` minds.
    """
    found = {}
    for path in names:
        head, _, name = path.rpartition(".")
        owner = module.get_submodule(head)
        group = owner._parameters if name in owner._parameters else owner._buffers
        if name in group:
            found[path] = group, name
    return found


@contextmanager
def _swapped(module: Any, given: Any, tie_weights: bool, strict: bool) -> Iterator[None]:
    tensors = _tied(module, given) if tie_weights else dict(given)
    if strict:
        _check_names(module, tensors)
    places = _places(module, tensors)
    before = [(group, name, group[name]) for group, name in places.values()]
    for path, (group, name) in places.items():
        group[name] = tensors[path]
    EPOCH.bump()
    try:
        yield
    finally:
        after = {path: group[name] for path, (group, name) in places.items() if path in given}
        for group, name, tensor in before:
            group[name] = tensor
        EPOCH.bump()
        given.update(after)


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
