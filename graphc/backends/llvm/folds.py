"""Folds in registers: what they start from, one step of them, and the lanes of a vector folded into one."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends.formulas.folds import joined, joined_found
from graphc.backends.llvm.emit import Function
from graphc.backends.llvm.registers import literal, register_type
from graphc.backends.llvm.scalars import print_trees
from graphc.core.tensor_types import DType, int64
from graphc.ir.kernel import Statement


class Fold:
    """The fold of one statement: one register that is carried along, two (value and position) for an arg-fold."""

    def __init__(self, f: Function, statement: Statement):
        assert statement.combine is not None
        self.f, self.statement, self.combine = f, statement, statement.combine
        self.finds = statement.position is not None
        self.dtypes: tuple[DType, ...] = (statement.tree.dtype, int64) if self.finds else (statement.tree.dtype,)

    def start(self, lanes: int) -> list[tuple[str, str]]:
        """Type and first value of each register."""
        numbers = (self.statement.identity, -1) if self.finds else (self.statement.identity,)
        return [
            (register_type(dtype, lanes), literal(number, dtype, lanes))
            for dtype, number in zip(self.dtypes, numbers, strict=True)
        ]

    def step(self, before: Sequence[str], new: Sequence[str], lanes: int, mask: str | None) -> list[str]:
        """What is carried on after the next elements; lanes that `mask` excludes stay as they were."""
        found = self._joined([*before, *new], lanes, in_order=True)
        if mask is None:
            return found
        kinds = [register_type(dtype, lanes) for dtype in self.dtypes]
        return [
            self.f.let(f"select <{lanes} x i1> {mask}, {kind} {value}, {kind} {old}")
            for kind, value, old in zip(kinds, found, before, strict=True)
        ]

    def across(self, values: Sequence[str], lanes: int) -> str:
        """The result, of all lanes together."""
        found = list(values)
        while lanes > 1:
            half = lanes // 2
            low, high = (self._half(found, lanes, first) for first in (0, half))
            found, lanes = self._joined([*low, *high], half, in_order=False), half
        return self.result(found)

    def result(self, values: Sequence[str]) -> str:
        """What the statement gives: the value, or the position."""
        return values[-1]

    def _half(self, values: Sequence[str], lanes: int, first: int) -> list[str]:
        places = ", ".join(f"i32 {i}" for i in range(first, first + lanes // 2))
        found = []
        for dtype, value in zip(self.dtypes, values, strict=True):
            kind = register_type(dtype, lanes)
            part = self.f.let(f"shufflevector {kind} {value}, {kind} poison, <{lanes // 2} x i32> <{places}>")
            if lanes == 2:
                part = self.f.let(f"extractelement <1 x {register_type(dtype, 1)}> {part}, i64 0")
            found.append(part)
        return found

    def _joined(self, values: Sequence[str], lanes: int, in_order: bool) -> list[str]:
        """Two partial results as one: registers of the first, then of the second."""
        dtype = self.dtypes[0]
        trees = joined_found(self.combine, dtype, in_order) if self.finds else (joined(self.combine, dtype),)
        summed = (0,) if self.combine == "add" else ()
        return print_trees(self.f, trees, lanes, lambda leaf: values[leaf.value], lambda axis: "", summed)
