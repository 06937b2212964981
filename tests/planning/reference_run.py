"""Runs a native plan with NumPy, one kernel statement after another on whole index grids: the oracle for code generators."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.core import scalar as s
from graphc.ir.kernel import ADD, Access, Kernel, Made, Statement
from graphc.planning.native_plan import NativePlan
from graphc.planning.steps import CheckStep, ContractionStep, KernelStep, Strided

FOLDS: dict[str, Any] = {
    "add": np.add, "multiply": np.multiply, "maximum": np.maximum, "minimum": np.minimum, "or": np.logical_or,
    "and": np.logical_and,
}  # fmt: skip


class CheckFailed(Exception):
    """An index out of range."""


class KernelRun:
    """One kernel on flat buffers."""

    def __init__(self, kernel: Kernel, buffers: list[Any]):
        self.kernel, self.buffers = kernel, buffers
        self.grid = np.ogrid[tuple(slice(n) for n in kernel.extents)] if kernel.extents else []
        self.made: list[Any] = []

    def evaluate(self, tree: s.Scalar) -> Any:
        leaves = {x.value: self.source(self.kernel.sources[x.value]) for x in s.postorder(tree) if x.op == "leaf"}
        arrays = [leaves.get(i) for i in range(len(self.kernel.sources))]
        with np.errstate(all="ignore"):
            return s.evaluate(tree, arrays, self.grid)

    def source(self, source: Any) -> Any:
        if isinstance(source, Made):
            return self.made[source.statement]
        where = self.where(source)
        buffer = self.buffers[source.buffer]
        if source.guard is not None:
            where = np.where(self.evaluate(source.guard), where, 0)
        if not buffer.size:
            return np.zeros(np.shape(where), buffer.dtype)
        return buffer[where]

    def where(self, access: Access) -> Any:
        total: Any = np.asarray(access.offset)
        for counter, c in zip(self.grid, access.coefs, strict=True):
            total = total + counter * c if c else total
        for tree, k in access.computed:
            total = total + self.evaluate(tree) * k
        return total

    def arg_fold(self, combine: Any, value: Any, position: Any) -> Any:
        """The position of the extreme element, one element after another."""
        rows = self.kernel.extents[: self.kernel.n_outer]
        n = math.prod(self.kernel.extents[len(rows) :])
        keys, at = value.reshape(*rows, n), position.reshape(*rows, n)
        best, found = np.zeros(rows, value.dtype), np.full(rows, -1, np.int64)
        for j in range(n):
            key, place = keys[..., j], at[..., j]
            better = (key < best if combine == "minimum" else key > best) | (
                (key != key) & ((best == best) | (combine == "maximum_last_nan"))
            )
            take = (place >= 0) & ((found < 0) | better)
            best, found = np.where(take, key, best), np.where(take, place, found)
        return found.reshape(*rows, *(1 for _ in self.kernel.extents[len(rows) :]))

    def run(self) -> None:
        kernel = self.kernel
        inner = tuple(range(kernel.n_outer, len(kernel.extents)))
        for statement in kernel.statements:
            value = np.asarray(self.stepped(statement) if statement.running else self.evaluate(statement.tree))
            position = None if statement.position is None else np.asarray(self.evaluate(statement.position))
            shape = kernel.extents if statement.inner else (*kernel.extents[: kernel.n_outer], *(1 for _ in inner))
            value = np.broadcast_to(value, shape)
            if position is not None:
                value = self.arg_fold(statement.combine, value, np.broadcast_to(position, shape))
            elif statement.combine:
                start = np.asarray(statement.identity).astype(value.dtype)
                with np.errstate(all="ignore"):
                    value = FOLDS[statement.combine].reduce(value, axis=inner, keepdims=True, initial=start)
            is_check = statement.store is None and statement.combine == "or" and len(kernel.statements) == 1
            if is_check and value.any():
                raise CheckFailed
            self.made.append(value)
            if statement.store is not None:
                buffer = self.buffers[statement.store.buffer]
                where = np.broadcast_to(self.where(statement.store), value.shape)
                self.store(buffer, where, value.astype(buffer.dtype), statement)

    def stepped(self, statement: Statement) -> Any:
        """A running statement, one step of the inner loops after the other."""
        kernel, grid = self.kernel, self.grid
        value = np.empty(kernel.extents, statement.dtype.np)
        before = np.full(
            [*kernel.extents[: kernel.n_outer], *(1 for _ in kernel.extents[kernel.n_outer :])], statement.identity
        )
        before = before.astype(value.dtype)
        for at in np.ndindex(*kernel.extents[kernel.n_outer :]):
            self.grid, self.made = [*grid[: kernel.n_outer], *map(np.asarray, at)], [before]
            before = np.broadcast_to(self.evaluate(statement.tree), before.shape)
            value[(..., *at)] = before.reshape(kernel.extents[: kernel.n_outer])
        self.grid, self.made = grid, []
        return value

    def store(self, buffer: Any, where: Any, value: Any, statement: Statement) -> None:
        """Puts elements in places; those of a scatter in the order of the loops (NumPy: what comes last stays)."""
        if statement.scatter == ADD:
            np.add.at(buffer, where, value)
        else:
            buffer[where] = value


class ReferenceRun:
    """A plan on input arrays."""

    def __init__(self, plan: NativePlan, arrays: list[Any]):
        self.plan = plan
        self.arrays = [np.array(a, order="C").reshape(-1) for a in arrays]
        self.outputs = [np.empty(math.prod(v.shape), v.dtype.np) for v in plan.program.outputs]
        self.arena = np.full(plan.arena_bytes, 0xA5, np.uint8)

    def buffer(self, value: Any) -> Any:
        area, at = self.plan.places[value]
        if area == "input":
            return self.arrays[at]
        if area == "output":
            return self.outputs[at]
        if area == "constant":
            return np.ascontiguousarray(self.plan.constants[at]).reshape(-1)
        n = math.prod(value.type.shape)
        dtype = value.type.dtype.np
        return self.arena[at : at + n * dtype.itemsize].view(dtype)

    def operand(self, x: Strided) -> Any:
        flat = self.buffer(x.value)
        step = flat.itemsize
        return np.lib.stride_tricks.as_strided(flat[x.offset :], x.shape, [n * step for n in x.strides]).copy()

    def run(self) -> list[Any]:
        for region in self.plan.regions:
            for step in region:
                if isinstance(step, KernelStep | CheckStep):
                    KernelRun(step.kernel, [self.buffer(v) for v in step.buffers]).run()
                else:
                    attrs = dict(step.node.attrs)
                    if isinstance(step, ContractionStep):
                        attrs |= {"transpose_a": False, "transpose_b": False}
                    with np.errstate(all="ignore"):
                        found = step.node.op.eval(*map(self.operand, step.operands), **attrs)
                    found = found if step.node.op.n_outputs != 1 else (found,)
                    for value, array in zip(step.node.outputs, found, strict=True):
                        self.buffer(value)[...] = np.asarray(array).reshape(-1)
        shapes = [v.shape for v in self.plan.program.outputs]
        return [x.reshape(shape) for x, shape in zip(self.outputs, shapes, strict=True)]


def run_plan(plan: NativePlan, arrays: list[Any]) -> list[Any]:
    """The outputs of a plan on these inputs."""
    return ReferenceRun(plan, arrays).run()


__all__ = ["CheckFailed", "ContractionStep", "run_plan"]
