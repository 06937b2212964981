"""Telling rounding from faults: how far the outputs of a program may be off, on given inputs.

Two ways to compute the same differ in rounding, and how much that becomes depends on the numbers: a difference of nearly equal
ones keeps little of its digits. So where results differ by more than one op's rounding, the program is run again with every
float result off at random by what rounding may make of it; that is how far each output may be off.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import ml_dtypes
import numpy as np

from graphc.core.op import Cumulative, Elementwise, Kind, Op, Reduction, View
from graphc.ir.interpret import interpret
from graphc.ir.program import Program
from graphc.ir.specialise import Rebuilder

#: Machine epsilons that one op may be off, and runs with random rounding that a verdict is made of.
EPSILONS, RUNS = 32, 2

#: Kinds whose results are exact: elements of their operands, or made of none.
_EXACT = tuple(map(Kind, ("gather", "concat", "pad", "create", "random", "leaf", "control", "sort", "window part")))
_SUMS = tuple(map(Kind, ("contraction", "convolution", "scatter", "window")))

Arrays = Sequence[np.ndarray[Any, Any]]


def rounded_otherwise(program: Program, seed: int) -> Program:
    """The program with every float result that is not exact off by a few last bits at random, other ones in each run."""
    rng = np.random.default_rng(seed)
    known: dict[Op, Op] = {}

    def noisy(op: Op) -> Op:
        if _is_exact(op.kind):
            return op
        if op not in known:
            known[op] = Op(op.name, infer=op.infer, eval=_noisy(op, rng), kind=op.kind, n_outputs=op.n_outputs)
        return known[op]

    return Rebuilder({}, noisy).program(program)


def _is_exact(kind: Any) -> bool:
    extremes = isinstance(kind, Reduction | Cumulative) and kind.combine in ("maximum", "minimum", "or", "and")
    return isinstance(kind, View) or kind in _EXACT or extremes


def _noisy(op: Op, rng: np.random.Generator) -> Callable[..., Any]:
    """The op's `eval` with its float results moved by what rounding may do to them."""
    sums = op.kind in _SUMS or isinstance(op.kind, Reduction | Cumulative)

    def eval(*arrays: Any, **attrs: Any) -> Any:
        found = op.eval(*arrays, **attrs)
        floats = [np.asarray(a) for a in arrays if _is_float(np.asarray(a))]
        if not floats:
            return found
        results = (found,) if op.n_outputs == 1 else found
        magnitudes = (
            op.eval(*[np.abs(a) if _is_float(np.asarray(a)) else a for a in arrays], **attrs) if sums else found
        )
        sizes = (magnitudes,) if op.n_outputs == 1 else magnitudes
        moved = []
        for result, size in zip(map(np.asarray, results), map(np.asarray, sizes), strict=True):
            if _is_float(result):
                scale = np.abs(size.astype(np.float64)) * (math.sqrt(_terms(arrays, result)) if sums else 1.0)
                off = _epsilon(result.dtype) * rng.uniform(-1, 1, result.shape) * scale
                rounded = _is_rounded(result, floats if isinstance(op.kind, Elementwise) else ())
                result = np.where(rounded, result.astype(np.float64) + off, result).astype(result.dtype)
            moved.append(result)
        return moved[0] if op.n_outputs == 1 else tuple(moved)

    return eval


def _terms(arrays: Sequence[Any], result: Any) -> float:
    """About how many terms each element of a sum or product has: k for f32[m, k] @ f32[k, n]."""
    terms = math.prod(max(np.size(a), 1) for a in arrays) / max(result.size, 1)
    return float(max(1.0, terms ** (1 / len(arrays))))


def _is_rounded(result: Any, operands: Sequence[Any]) -> Any:
    """Where an element is finite and neither whole nor an operand's, as a selection, an absolute value or a wider float is.

    Whole says nothing of a number so large that its dtype has no place for quarters.
    """
    small = np.abs(result.astype(np.float64)) * (4 * _epsilon(result.dtype)) < 1
    rounded = np.isfinite(result) & ~(small & (result == np.rint(result)))
    for operand in operands:
        rounded = rounded & (result != operand) & (result != -operand)
    return rounded


def _epsilon(dtype: Any) -> float:
    """The distance from 1 to the next number of a float dtype."""
    return float(ml_dtypes.finfo(dtype).eps)  # type: ignore[no-untyped-call]


def _is_float(array: Any) -> bool:
    return array.dtype.kind == "f" or array.dtype == ml_dtypes.bfloat16


class Judge:
    """What a program gives for some inputs, node by node in NumPy, and which outputs of another way differ from that."""

    def __init__(self, program: Program, arrays: Arrays):
        self.program, self.arrays = program, arrays
        self.expected = interpret(program, arrays)

    def wrong(self, actual: Arrays) -> list[int]:
        """The numbers of the outputs that differ by more than rounding."""
        found = [k for k in range(len(self.expected)) if self._differs(k, actual[k], self._one_op(k))]
        return [k for k in found if self._differs(k, actual[k], self._limit(k))]

    def report(self, k: int, actual: np.ndarray[Any, Any]) -> str:
        """How an output differs: how many elements, and the worst."""
        want = self.expected[k]
        if actual.shape != want.shape or actual.dtype != want.dtype:
            return f"{actual.dtype}{list(actual.shape)}, expected {want.dtype}{list(want.shape)}"
        wrong = ~_near(actual, want, self._limit(k))
        ranked = np.where(wrong, np.nan_to_num(_distance(actual, want), nan=np.inf), -1.0)
        worst = np.unravel_index(int(np.argmax(ranked)), want.shape)
        place = f" at {tuple(map(int, worst))}" if want.ndim else ""
        return f"{int(wrong.sum())} of {want.size} elements, the worst{place}: {actual[worst]}, expected {want[worst]}"

    def _differs(self, k: int, actual: np.ndarray[Any, Any], limit: float) -> bool:
        want = self.expected[k]
        if actual.shape != want.shape or actual.dtype != want.dtype:
            return True
        return not bool(np.all(_near(actual, want, limit)))

    def _limit(self, k: int) -> float:
        """How far rounding may take an output."""
        return max(EPSILONS * self._deviations[k], self._one_op(k))

    def _one_op(self, k: int) -> float:
        """How far rounding of one op may take an output, as in tests/tolerances.py."""
        want = self.expected[k]
        if not _is_float(want):
            return 0.0
        magnitudes = np.abs(want.astype(np.float64))
        largest = np.max(magnitudes, initial=0.0, where=np.isfinite(magnitudes))
        return EPSILONS * _epsilon(want.dtype) * float(largest)

    @cached_property
    def _deviations(self) -> list[float]:
        """For each output, how far random rounding has taken it."""
        furthest = [0.0] * len(self.expected)
        for seed in range(RUNS):
            moved = interpret(rounded_otherwise(self.program, seed), self.arrays)
            for k, (a, b) in enumerate(zip(moved, self.expected, strict=True)):
                distance = np.where(_near(a, b, 0.0), 0.0, np.nan_to_num(_distance(a, b), nan=np.inf))
                furthest[k] = max(furthest[k], float(np.max(distance, initial=0.0)))
        return furthest


def _near(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any], limit: float) -> Any:
    """Where elements are equal, or no further apart than the limit; NaN is equal to NaN."""
    return (a == b) | ((a != a) & (b != b)) | (_distance(a, b) <= limit)


def _distance(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> Any:
    with np.errstate(invalid="ignore", over="ignore"):
        return np.abs(a.astype(np.float64) - b.astype(np.float64))
