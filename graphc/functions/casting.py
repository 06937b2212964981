"""What autocast does with operands (`core/autocast.py`): casts that are ops, made once per parameter and context."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

import numpy as np

from graphc.core.arrays import DeviceArray
from graphc.core.autocast import Mark
from graphc.core.context import SLOTS, STATE
from graphc.core.tape import LEAF, TensorBase, counter_of
from graphc.core.tensor_types import FLOAT, DType, float32, float64
from graphc.functions.promotion import cast_to

_ndarray = np.ndarray


class _Cache(threading.local):
    """The casts of parameters that this thread's autocast has made, kept until its outermost context ends."""

    def __init__(self) -> None:
        self.on = True
        self.depth = 0
        #: what the thread has set instead of `DEFAULTS`
        self.dtypes: dict[str, DType] = {}
        self.made: dict[Any, tuple[Any, Any, int, Any]] = {}


CACHE = _Cache()


def kind_of(x: Any) -> str | None:
    """The kind of device a tensor is on; of a recorded one that of its recording, None where only a run will tell."""
    data = x._data
    if type(data) is _ndarray:
        return "cpu"
    if type(data) is DeviceArray:
        return data.memory.device.type
    return None if STATE.recorder is None else STATE.recorder.kind


def kind_of_all(tensors: Iterable[Any]) -> str | None:
    """The kind of device that a call's tensors are on: numbers follow the others. None if there are no others."""
    return next((kind_of(x) for x in tensors if type(x._data) is DeviceArray or x._data.ndim), None)


def cast_operands(mark: Mark, operands: tuple[Any, ...]) -> tuple[Any, ...]:
    """The operands in the precision wanted; tensors may stand in tuples and lists. float64 and integers stay as they are."""
    state = STATE.autocast
    if state is None:
        return operands
    widest = None
    if "widest" in mark:
        dtypes = [x.dtype for x in operands if isinstance(x, TensorBase) and _is_eligible(x)]
        widest = float32 if len(set(dtypes)) > 1 else None
    return tuple([_cast(mark, state, x, widest) for x in operands])


def _is_eligible(x: Any) -> bool:
    return x.dtype.category == FLOAT and x.dtype is not float64


def _cast(mark: Mark, state: Any, x: Any, widest: DType | None) -> Any:
    if not isinstance(x, TensorBase):
        if type(x) is tuple or type(x) is list:
            return type(x)([_cast(mark, state, item, widest) for item in x])
        if isinstance(x, tuple) and any(isinstance(item, TensorBase) for item in x):  # a record of tensors
            return type(x)(*[_cast(mark, state, item, widest) for item in x])
        return x
    if not _is_eligible(x):
        return x
    kind = kind_of(x)
    lower = state.dtype(kind)
    wanted = mark.cpu if (kind or state.dtypes[-1][0]) == "cpu" else mark.device
    if lower is None or wanted is None:
        return x
    target = lower if wanted == "lower" else float32 if wanted == "full" else widest
    if target is None or target is x.dtype:
        return x
    return _cached(x, target) if wanted == "lower" and x._edge is LEAF else cast_to(x, target)


def _cached(x: Any, target: DType) -> Any:
    """The cast of a parameter, made once per context: its gradients are added up before they are cast back.

    Not in a recording, whose nodes are made once in any case, and not of what was written since.
    """
    if STATE.recorder is not None or x.dtype is not float32 or x._base is not None or not CACHE.on or not CACHE.depth:
        return cast_to(x, target)
    key, count = (id(x), target, STATE.grad), counter_of(x).count
    found = CACHE.made.get(key)
    if found is not None and found[1] is x._data and found[2] == count:
        return found[3]
    made = cast_to(x, target)
    CACHE.made[key] = (x, x._data, count, made)
    return made


SLOTS.cast_operands = cast_operands

__all__ = ["CACHE", "cast_operands", "kind_of_all"]
