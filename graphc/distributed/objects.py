"""Python objects between processes. They are pickled, and reading a pickle runs what its sender wants: as in PyTorch, use
these only among processes you trust. (Processes of a group prove that they know one key, see meeting.py.)
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.core.errors import ArgumentError
from graphc.distributed.collectives import root_of
from graphc.distributed.groups import ProcessGroup, group_of


def _packed(x: Any) -> np.ndarray[Any, Any]:
    return np.frombuffer(pickle.dumps(x, pickle.HIGHEST_PROTOCOL), np.uint8)


def _gathered(group: ProcessGroup, x: Any) -> list[Any]:
    """Every process's object, in order of the ranks."""
    mine = _packed(x)
    sizes = group.link.run("all_gather", np.array(mine.size, np.int64))
    padded = np.zeros(int(sizes.max()), np.uint8)
    padded[: mine.size] = mine
    rows = group.link.run("all_gather", padded)
    return [pickle.loads(row[:n].tobytes()) for row, n in zip(rows, sizes, strict=True)]


def _spread(group: ProcessGroup, x: Any, source: int) -> Any:
    """The object of process `source`."""
    mine = _packed(x) if group.rank() == source else np.empty(0, np.uint8)
    size = int(group.link.run("broadcast", np.array(mine.size, np.int64), source=source))
    array = mine if group.rank() == source else np.empty(size, np.uint8)
    return pickle.loads(group.link.run("broadcast", array, source=source).tobytes())


def all_gather_object(object_list: list[Any], obj: Any, group: Any = None) -> None:
    """Fills the list with the objects of all processes (pickles: trusted processes only)."""
    found = group_of(group, "all_gather_object")
    if found is not None:
        _fill(object_list, _gathered(found, obj))


def _fill(target: list[Any], found: Sequence[Any]) -> None:
    if len(target) < len(found):
        raise ArgumentError(f"a list with a place for each of the {len(found)} processes is needed, got {len(target)}")
    target[: len(found)] = found


def gather_object(
    obj: Any, object_gather_list: list[Any] | None = None, dst: int | None = None, group: Any = None,
    group_dst: int | None = None,
) -> None:  # fmt: skip
    """Fills the list of process `dst` (0 if it is left out) with the objects of all (pickles: trusted processes only)."""
    found = group_of(group, "gather_object")
    if found is None:
        return
    target = root_of(found, dst, group_dst, "dst", found.ranks[0] if group_dst is None else None)
    if target == found.rank() and not object_gather_list:
        raise ArgumentError("Argument ``object_gather_list`` must be specified on destination rank.")
    objects = _gathered(found, obj)
    if target == found.rank() and object_gather_list is not None:
        _fill(object_gather_list, objects)


def broadcast_object_list(
    object_list: list[Any], src: int | None = None, group: Any = None, device: Any = None, group_src: int | None = None
) -> None:
    """Replaces the objects in the list by those of process `src`, 0 if it is left out (pickles: trusted processes only)."""
    found = group_of(group, "broadcast_object_list")
    if found is None:
        return
    source = root_of(found, src, group_src, "src", found.ranks[0] if group_src is None else None)
    objects = _spread(found, list(object_list), source)
    if len(objects) != len(object_list):
        raise ArgumentError(f"the list has {len(object_list)} places, that of the source {len(objects)}")
    object_list[:] = objects


def scatter_object_list(
    scatter_object_output_list: list[Any], scatter_object_input_list: list[Any] | None = None, src: int | None = None,
    group: Any = None, group_src: int | None = None,
) -> None:  # fmt: skip
    """Puts into the output list's first place what process `src` has for this one (pickles: trusted processes only)."""
    found = group_of(group, "scatter_object_list")
    if found is None:
        return
    if not scatter_object_output_list:
        raise ArgumentError("Expected argument scatter_object_output_list to be a list of size at least 1.")
    source = root_of(found, src, group_src, "src", found.ranks[0] if group_src is None else None)
    if source == found.rank() and len(scatter_object_input_list or ()) != found.size():
        raise ArgumentError("scatter_object_input_list: an object for each process is needed on the source rank")
    scatter_object_output_list[0] = _spread(found, scatter_object_input_list, source)[found.rank()]


__all__ = ["all_gather_object", "broadcast_object_list", "gather_object", "scatter_object_list"]
