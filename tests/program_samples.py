"""Programs for tests, built directly on a table: a small builder, edge-case data, and random programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.core.dims import Dim
from graphc.core.op import Op
from graphc.core.tensor_types import TensorType, bool_, float32, float64, int64
from graphc.ir.program import Origin, Program, Table, Value
from graphc.primitives import contraction, creation, elementwise, joining, reductions, sorting, views

n, m = Dim.named("n"), Dim.named("m")


class Builder:
    """`b(op, x, y, **attrs)` applies an op; inputs are collected in the order they are made."""

    def __init__(self) -> None:
        self.table = Table()
        self.inputs: list[Value] = []
        self.line = 0

    def input(self, name: str, shape: tuple[Any, ...], dtype: Any = float64) -> Value:
        value = self.table.input(name, TensorType(shape, dtype))
        if value not in self.inputs:
            self.inputs.append(value)
        return value

    def constant(self, array: Any) -> Value:
        return self.table.constant(np.array(array))

    def full(self, number: Any, shape: tuple[Any, ...] = (), dtype: Any = float64) -> Value:
        return self(creation.full, shape=shape, value=number, dtype=dtype)

    def node(self, op: Op, *inputs: Value, **attrs: Any) -> Any:
        self.line += 1
        return self.table.apply(op, inputs, attrs, (Origin("model.py", self.line, "net.layer"),))

    def __call__(self, op: Op, *inputs: Value, **attrs: Any) -> Value:
        return self.node(op, *inputs, **attrs).outputs[0]

    def program(self, *outputs: Value) -> Program:
        return Program(self.table, tuple(self.inputs), tuple(outputs))


def edge_data(of: TensorType, seed: int = 0) -> np.ndarray:
    """Data with NaN, infinities and both zeros for floats, the ends of the range for integers; unknown sizes become 3."""
    rng = np.random.default_rng(seed)
    shape = tuple(size if isinstance(size, int) else 3 for size in of.shape)
    if of.dtype is bool_:
        return rng.integers(0, 2, shape).astype(bool)
    if of.dtype.is_floating_point:
        pool = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 1.0, -1.0, 0.5, 3.25, -2.75, 1e-3])
    else:
        info = np.iinfo(of.dtype.np)
        pool = np.array([0, 1, 2, 3, 7, info.max, info.min])
    return rng.choice(pool, shape).astype(of.dtype.np)


def plain_data(of: TensorType, seed: int = 0) -> np.ndarray:
    """Harmless numbers of a type; unknown sizes become 3."""
    rng = np.random.default_rng(seed)
    shape = tuple(size if isinstance(size, int) else 3 for size in of.shape)
    if of.dtype is bool_:
        return rng.integers(0, 2, shape).astype(bool)
    if of.dtype.is_floating_point:
        return rng.uniform(-2, 2, shape).astype(of.dtype.np)
    return rng.integers(0, 5, shape).astype(of.dtype.np)


def same_bits(a: np.ndarray, b: np.ndarray) -> None:
    """Asserts equal dtype, shape and elements, NaN equal to NaN, 0.0 different from -0.0."""
    assert a.dtype == b.dtype and a.shape == b.shape
    np.testing.assert_array_equal(a, b)
    if a.dtype.kind == "f":
        numbers = ~np.isnan(a)
        np.testing.assert_array_equal(np.signbit(a)[numbers], np.signbit(b)[numbers])


class RandomProgram:
    """A random program of float64, float32, int64 and bool values with known sizes, from a seed."""

    shapes = ((), (3,), (2, 3), (3, 2), (1, 3), (2, 1, 3), (4, 3), (0, 3), (6,))

    def __init__(self, seed: int, size: int = 30):
        self.rng = np.random.default_rng(seed)
        self.b = Builder()
        self.values: list[Value] = []
        for i in range(4):
            shape = self.shapes[self.rng.integers(len(self.shapes))]
            self.values.append(self.b.input(f"x{i}", shape, (float64, float32, int64, bool_)[i % 4]))
        self.values.append(self.b.input("w", (2, 3), float64))
        self.values.append(self.b.constant(self.rng.normal(size=(3, 2))))
        self.values.append(self.b.constant(self.rng.normal(size=(2, 3)).astype(np.float32).T))
        steps: tuple[Callable[[], Value | None], ...] = (
            self.unary, self.binary, self.binary, self.view, self.view, self.reduction, self.matmul, self.other,
        )  # fmt: skip
        while len(self.values) < size:
            made = steps[self.rng.integers(len(steps))]()
            if made is not None:
                self.values.append(made)

    def pick(self, test: Callable[[Value], bool] = lambda v: True) -> Value | None:
        fit = [value for value in self.values if test(value)]
        if not fit:
            return None
        recent = min(len(fit), 8)
        return fit[-1 - self.rng.integers(recent)] if self.rng.random() < 0.7 else fit[self.rng.integers(len(fit))]

    def choose(self, options: Any) -> Any:
        return options[self.rng.integers(len(options))]

    def unary(self) -> Value | None:
        x = self.pick(lambda v: v.dtype.is_floating_point)
        e = elementwise
        op = self.choose([e.tanh, e.negate, e.absolute, e.sin, e.sigmoid, e.floor, e.sign, e.erf])
        return None if x is None else self.b(op, x)

    def binary(self) -> Value | None:
        x = self.pick()
        e = elementwise
        assert x is not None

        def fits(v: Value) -> bool:
            try:
                np.broadcast_shapes(v.shape, x.shape)  # type: ignore[arg-type]
            except ValueError:
                return False
            return v.dtype is x.dtype

        y = self.pick(fits)
        assert y is not None
        if x.dtype is bool_:
            return self.b(self.choose([e.logical_and, e.logical_or, e.logical_xor, e.equal]), x, y)
        if self.rng.random() < 0.15:
            return self.b(e.cast, x, dtype=self.choose([float32, float64]))
        if self.rng.random() < 0.15:
            return self.b(e.where, self.b(e.less, x, y), x, y)
        return self.b(self.choose([e.add, e.multiply, e.subtract, e.maximum, e.minimum]), x, y)

    def view(self) -> Value | None:
        x = self.pick()
        assert x is not None
        shape: Any = x.shape
        choice = self.rng.integers(6)
        if choice == 0:
            size = int(np.prod(shape))
            options = [
                s for s in ((size,), (1, size), (size, 1), (2, size // 2), (size // 3, 3)) if int(np.prod(s)) == size
            ]
            return self.b(views.reshape, x, shape=self.choose(options))
        if choice == 1:
            return self.b(views.permute, x, axes=tuple(int(a) for a in self.rng.permutation(len(shape))))
        if choice == 2 and len(shape) < 3:
            return self.b(views.expand, x, shape=(2, *shape))
        if choice == 3:
            starts = tuple(int(self.rng.integers(0, s + 1)) for s in shape)
            limits = tuple(int(self.rng.integers(a, s + 1)) for a, s in zip(starts, shape, strict=True))
            return self.b(views.slice_, x, starts=starts, limits=limits, strides=tuple(1 for _ in shape))
        if choice == 4 and len(shape):
            return self.b(views.flip, x, axes=(int(self.rng.integers(len(shape))),))
        if len(shape) >= 2:
            return self.b(views.diagonal, x, offset=0, axis1=0, axis2=1)
        return None

    def reduction(self) -> Value | None:
        x = self.pick(lambda v: v.dtype is not bool_ and len(v.shape) > 0 and 0 not in v.shape)
        if x is None:
            return None
        axes = tuple(a for a in range(len(x.shape)) if self.rng.random() < 0.6)
        return self.b(self.choose([reductions.reduce_sum, reductions.reduce_max, reductions.reduce_min]), x, axes=axes)

    def matmul(self) -> Value | None:
        x = self.pick(lambda v: v.dtype is float64 and len(v.shape) == 2)
        if x is None:
            return None
        y = self.pick(lambda v: v.dtype is float64 and len(v.shape) == 2 and v.shape[0] == x.shape[1])
        return None if y is None else self.b(contraction.matmul, x, y, transpose_a=False, transpose_b=False)

    def other(self) -> Value | None:
        x = self.pick(lambda v: v.dtype is not bool_ and len(v.shape) == 2)
        if x is None:
            return None
        choice = self.rng.integers(4)
        if choice == 0:
            outs = self.b.node(sorting.sort, x, axis=1, descending=False, stable=True).outputs
            return outs[self.rng.integers(2)]
        if choice == 1:
            return self.b(joining.concat, x, x, axis=0) if x.shape[0] < 5 else None  # type: ignore[operator]
        if choice == 2:
            return self.b(joining.pad, x, low=(0, 0), high=(0, 1), value=1)
        return self.b(creation.full, shape=x.shape, value=1.0, dtype=x.dtype) if x.dtype is not int64 else None

    def program(self) -> Program:
        """The program with some of the values as outputs: also leaves, views and one value twice."""
        count = int(self.rng.integers(1, 6))
        outputs = [self.values[i] for i in self.rng.integers(0, len(self.values), count)]
        return self.b.program(self.values[-1], *outputs)

    def arrays(self) -> list[np.ndarray]:
        """Data for its inputs, some of it laid out in other orders."""
        found = [plain_data(value.type, i) for i, value in enumerate(self.b.inputs)]
        found[-1] = np.asfortranarray(found[-1])
        return found
