"""Collectives: what all processes of a group compute together, each from an operand of its own.

They are told by the number of their group; group 0 is this process alone. Beside its operand each takes a *turn*, a 0-d int64
tensor, and gives the next one. A group's turn is a state tensor like a generator's: so collectives keep their order in a
program, none is left out and no two become one, whatever else happens to the program.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphc.core.context import SLOTS, STATE
from graphc.core.errors import ArgumentError, DtypeError, ShapeError
from graphc.core.op import ErrorSample, Kind, Sample, declare
from graphc.core.tensor_types import BOOL, TensorType, int64

#: Ways to make one element of those that the processes have.
REDUCTIONS = ("sum", "prod", "min", "max", "band", "bor", "bxor")

Types = tuple[TensorType, TensorType]


def _check(turn: TensorType) -> None:
    if turn != TensorType((), int64):
        raise ShapeError(f"the turn is {turn}", need="a 0-d int64 tensor")


def _check_reduction(x: TensorType, how: str) -> None:
    if how not in REDUCTIONS:
        raise ArgumentError(f"unknown reduction {how}", need=", ".join(REDUCTIONS))
    if how.startswith("b") and x.dtype.is_floating_point:
        raise DtypeError(f"{how} of {x.dtype.name}", need="integers or bools")
    if x.dtype.category == BOOL and how in ("sum", "prod"):
        raise DtypeError(f"{how} of bools", need="numbers; min and max of bools are and and or")


def _all_reduce_type(x: TensorType, turn: TensorType, *, group: int, how: str) -> Types:
    """x: T[*s], turn: i64 -> T[*s], i64."""
    _check(turn)
    _check_reduction(x, how)
    return x, turn


def _broadcast_type(x: TensorType, turn: TensorType, *, group: int, source: int) -> Types:
    """x: T[*s], turn: i64 -> T[*s], i64."""
    _check(turn)
    return x, turn


def _all_gather_type(x: TensorType, turn: TensorType, *, group: int, size: int) -> Types:
    """x: T[*s], turn: i64 -> T[size, *s], i64."""
    _check(turn)
    return TensorType((size, *x.shape), x.dtype), turn


def _reduce_scatter_type(x: TensorType, turn: TensorType, *, group: int, size: int, how: str) -> Types:
    """x: T[size, *s], turn: i64 -> T[*s], i64."""
    _check(turn)
    _check_reduction(x, how)
    if not x.shape or x.shape[0] != size:
        raise ShapeError(f"a part for each process, {x}", need=f"x.shape[0] == {size}")
    return TensorType(x.shape[1:], x.dtype), turn


def _is_alone(group: int) -> bool:
    """Whether nobody else takes part: in group 0, and where a failed run is repeated to find its fault."""
    return group == 0 or STATE.repeating


def _all_reduce(x: Any, turn: Any, *, group: int, how: str) -> tuple[Any, Any]:
    result = x.copy() if _is_alone(group) else SLOTS.link(group).run("all_reduce", x, how=how)
    return result, turn + 1


def _broadcast(x: Any, turn: Any, *, group: int, source: int) -> tuple[Any, Any]:
    result = x.copy() if _is_alone(group) else SLOTS.link(group).run("broadcast", x, source=source)
    return result, turn + 1


def _all_gather(x: Any, turn: Any, *, group: int, size: int) -> tuple[Any, Any]:
    result = np.stack([x] * size) if _is_alone(group) else SLOTS.link(group).run("all_gather", x)
    return result, turn + 1


def _reduce_scatter(x: Any, turn: Any, *, group: int, size: int, how: str) -> tuple[Any, Any]:
    result = x[0].copy() if _is_alone(group) else SLOTS.link(group).run("reduce_scatter", x, how=how)
    return result, turn + 1


def _samples(first: int | None, **attrs: Any) -> Iterator[Sample]:
    lead = () if first is None else (first,)
    for shape, dtype in (((), np.float64), ((3,), np.float32), ((2, 3), np.int64), ((0, 2), np.float32)):
        x = np.arange(np.prod(lead + shape)).reshape(lead + shape).astype(dtype)
        yield Sample((x, np.array(5, np.int64)), {"group": 0, **attrs})
    apart = np.array([[1.0, 2.0, np.nan, 3.0, np.inf, 4.0], [0.0] * 6])[:1, ::2]
    yield Sample((apart, np.array(0, np.int64)), {"group": 0, **attrs})


def _bad_turn(**attrs: Any) -> Iterator[ErrorSample]:
    x = np.ones((1, 2), np.float32)
    yield ErrorSample((x, np.array(0, np.int32)), {"group": 0, **attrs}, ShapeError, "the turn is i32")


def _bad_reductions(**attrs: Any) -> Iterator[ErrorSample]:
    yield from _bad_turn(how="sum", **attrs)
    turn = np.array(0, np.int64)
    for dtype, how, error, match in (
        (np.float32, "mean", ArgumentError, "unknown reduction mean"),
        (np.float32, "bor", DtypeError, "bor of float32"),
        (np.bool_, "sum", DtypeError, "sum of bools"),
    ):
        yield ErrorSample((np.ones((1, 2), dtype), turn), {"group": 0, "how": how, **attrs}, error, match)


def _bad_parts() -> Iterator[ErrorSample]:
    yield from _bad_reductions(size=1)
    attrs = {"group": 0, "size": 2, "how": "sum"}
    yield ErrorSample((np.ones(3), np.array(0, np.int64)), attrs, ShapeError, "a part for each process")


all_reduce = declare(
    "all_reduce",
    infer=_all_reduce_type,
    eval=_all_reduce,
    kind=Kind("collective"),
    n_outputs=2,
    samples=lambda: _samples(None, how="sum"),
    errors=_bad_reductions,
)

broadcast = declare(
    "broadcast",
    infer=_broadcast_type,
    eval=_broadcast,
    kind=Kind("collective"),
    n_outputs=2,
    samples=lambda: _samples(None, source=0),
    errors=lambda: _bad_turn(source=0),
)

all_gather = declare(
    "all_gather",
    infer=_all_gather_type,
    eval=_all_gather,
    kind=Kind("collective"),
    n_outputs=2,
    samples=lambda: _samples(None, size=1),
    errors=lambda: _bad_turn(size=1),
)

reduce_scatter = declare(
    "reduce_scatter",
    infer=_reduce_scatter_type,
    eval=_reduce_scatter,
    kind=Kind("collective"),
    n_outputs=2,
    samples=lambda: _samples(1, size=1, how="max"),
    errors=_bad_parts,
)
