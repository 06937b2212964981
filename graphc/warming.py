"""Filling the disk cache ahead of the first call: what every program needs, and the programs of saved graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphc.core.dims import Size, substitute
from graphc.core.errors import ArgumentError
from graphc.core.lazy import lazy_import
from graphc.executable import Built
from graphc.graph_files import load_graph
from graphc.session import Session
from graphc.tracing import plain_name

common = lazy_import("graphc.backends.llvm.common")


def warm_common() -> None:
    """Compiles what programs share: the runtime, products, convolutions."""
    common.warm()


def warm_files(paths: Sequence[str], sizes: Mapping[str, int]) -> None:
    """Compiles saved graphs, each for all of its outputs, for these sizes of what is unknown in them. Nothing is run.

    Raises ArgumentError for sizes that are missing, disagree or are nobody's, and what `load_graph` and `Session` raise.
    """
    found: set[str] = set()
    for path in paths:
        graph = load_graph(path)
        with Session(graph, backend="llvm", strict=graph.strict) as session:
            built = session.prepare(list(graph.outputs.values())).built
            found |= {*built.aliases, *built.unknown}
            _compile(path, built, sizes)
    strange = [name for name in sizes if name not in found]
    if strange:
        raise ArgumentError(
            f"no file has a size {', '.join(strange)}", need=f"one of {', '.join(sorted(found)) or 'none'}"
        )


def _compile(path: str, built: Built, sizes: Mapping[str, int]) -> None:
    known = _with_equal_sizes(path, built.aliases, sizes)
    missing = [name for name in built.unknown if name not in known]
    if missing:
        raise ArgumentError(f"{path} has unknown sizes", need=" ".join(f"--size {name}=N" for name in missing))
    shapes = [_shape(built, i, known) for i in range(len(built.feed_types))]
    built.check(shapes, [f"input {i}" for i in range(len(shapes))])
    built.executable(shapes, known)


def _with_equal_sizes(path: str, aliases: Mapping[str, Size], sizes: Mapping[str, int]) -> dict[str, int]:
    """The sizes, and those that the graph has found equal to one of them."""
    known = dict(sizes)
    for name, same in aliases.items():
        other = plain_name(same)
        if other is not None and name in known:
            known.setdefault(other, known[name])
    for name, same in aliases.items():
        number = substitute(same, known)
        if isinstance(number, int) and known.setdefault(name, number) != number:
            raise ArgumentError(
                f"sizes disagree: {name} is {known[name]}, {same} is {number}", need=f"one number in {path}"
            )
    return known


def _shape(built: Built, number: int, known: Mapping[str, int]) -> tuple[int, ...]:
    shape: list[Any] = [substitute(substitute(n, built.aliases), known) for n in built.feed_types[number].shape]
    return tuple(shape)


__all__ = ["warm_common", "warm_files"]
