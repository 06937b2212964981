"""What a run shows of itself: values printed or handed to a function of the user's, in their order.

Beside its operands the op takes a *turn*, as collectives do (collective.py): a 0-d int64 state tensor of which it gives the
next. So effects keep their order in a program, bodies of loops included, and none is dropped. Results do not depend on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphc.core.context import SLOTS, STATE
from graphc.core.errors import ShapeError
from graphc.core.op import ErrorSample, Kind, Sample, declare
from graphc.core.tensor_types import TensorType, int64

EFFECT = Kind("effect")


def _infer(*types: TensorType, action: str, label: str, place: str) -> TensorType:
    """x: T[*s], ..., turn: i64 -> i64."""
    turn = types[-1] if types else None
    if turn != TensorType((), int64):
        raise ShapeError(f"the turn is {turn}", need="a 0-d int64 tensor")
    return TensorType((), int64)


def _eval(*arrays: Any, action: str, label: str, place: str) -> Any:
    if not (STATE.silent or STATE.repeating):
        SLOTS.show(arrays[:-1], action, label, place)
    return arrays[-1] + 1


def _samples() -> Iterator[Sample]:
    attrs = {"action": "nothing", "label": "", "place": ""}
    for shape, dtype in (((), np.float64), ((3,), np.float32), ((2, 3), np.int64), ((0, 2), np.float32)):
        x = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
        yield Sample((x, np.array(5, np.int64)), attrs)
    apart = np.array([[1.0, 2.0, np.nan, 3.0, np.inf, 4.0]])[:, ::2]
    yield Sample((apart, np.array([True, False]), np.array(0, np.int64)), attrs)


def _errors() -> Iterator[ErrorSample]:
    attrs = {"action": "nothing", "label": "", "place": ""}
    yield ErrorSample((np.ones(2, np.float32), np.array(0, np.int32)), attrs, ShapeError, "the turn is i32")


show = declare("show", infer=_infer, eval=_eval, kind=EFFECT, samples=_samples, errors=_errors)
