"""Samples of the ops with bodies: small closed programs and operands for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from graphc.bodies import BodyTrace, vjp_program
from graphc.core.context import recording, set_grad
from graphc.core.errors import ShapeError
from graphc.core.op import ErrorSample, Sample
from graphc.core.tensor_types import FLOAT, type_of_array
from graphc.ir.program import Program, Table
from graphc.primitives.creation import full
from graphc.primitives.elementwise import add, cast, greater, less, logical_and, multiply, negate, sin, subtract, tanh
from graphc.primitives.reductions import reduce_sum
from graphc.primitives.samples import reals

Array = np.ndarray[Any, Any]


def closed(fn: Callable[..., Any], *operands: Array) -> Program:
    """The program of `fn` over operands of these types."""
    trace = BodyTrace(Table(), None)
    symbols = [trace.add_input(type_of_array(x), False) for x in operands]
    with recording(trace), set_grad(False):
        found = fn(*symbols)
    return Program(trace.table, tuple(trace.inputs), tuple(t._data for t in found))


def _one(x: Any) -> Any:
    return full(shape=(), value=1 if x.dtype.category != FLOAT else 1.0, dtype=x.dtype)


def _layouts() -> Iterator[tuple[Array, bool]]:
    """(operand, smooth): every layout, float64 and float32, one with NaN and infinities."""
    for i, x in enumerate((reals(()), reals((2, 3)), reals((3, 2)).T, reals((0, 3)), reals((5,))[::-2])):
        yield x, True
        if i < 2:
            yield x.astype(np.float32), True
    yield np.array([[np.nan, np.inf, -np.inf], [0.0, -0.0, 1.5]]), False


# --- cond -----------------------------------------------------------------------------------------------------------


def cond_samples() -> Iterator[Sample]:
    """Both branches; an operand that only one of them reads; whole numbers; no operand."""
    for x, smooth in _layouts():
        y = reals(x.shape, seed=3).astype(x.dtype)
        branches = {
            "true": closed(lambda a, b: (multiply(sin(a), b), reduce_sum(b, axes=tuple(range(len(b.shape))))), x, y),
            "false": closed(lambda a, b: (tanh(b), full(shape=(), value=2.0, dtype=b.dtype)), x, y),
        }
        for pred in (True, False):
            yield Sample((np.array(pred), x, y), branches, smooth)
    n = np.arange(3)
    counting = {"true": closed(lambda a: (add(a, a),), n), "false": closed(lambda a: (negate(a),), n)}
    yield Sample((np.array(False), n), counting)
    float64 = type_of_array(reals(())).dtype
    constant = {
        str(v).lower(): closed(lambda v=v: (full(shape=(2,), value=float(v), dtype=float64),)) for v in (True, False)
    }
    yield Sample((np.array(True),), constant)


def cond_errors() -> Iterator[ErrorSample]:
    """A condition that is not one bool."""
    x = reals((2,))
    branches = {"true": closed(lambda a: (a,), x), "false": closed(lambda a: (negate(a),), x)}
    yield ErrorSample((np.array([True, False]), x), branches, ShapeError, "must be one bool")
    yield ErrorSample((np.array(1.0), x), branches, ShapeError, "must be one bool")


# --- while_loop -----------------------------------------------------------------------------------------------------


def _loop(x: Array, y: Array, n: Array) -> dict[str, Any]:
    """`while i < n: x = tanh(x) * y + x` over the carry (i, x) and the closures y, n."""
    i = np.array(0, np.int64)

    def step(i: Any, x: Any, y: Any, n: Any) -> Any:
        return add(i, _one(i)), add(multiply(tanh(x), y), x)

    return {
        "cond": closed(lambda i, x, y, n: (less(i, n),), i, x, y, n),
        "body": closed(step, i, x, y, n),
        "n_carry": 2,
    }


def _loops() -> Iterator[tuple[tuple[Array, ...], dict[str, Any], bool]]:
    for x, smooth in _layouts():
        y = reals(x.shape, seed=3).astype(x.dtype)
        for steps in (0, 3):
            n = np.array(steps, np.int64)
            yield (np.array(0, np.int64), x, y, n), _loop(x, y, n), smooth


def while_samples() -> Iterator[Sample]:
    """No step and three steps, a closure of each dtype; a loop that its own numbers end."""
    for operands, attrs, smooth in _loops():
        yield Sample(operands, attrs, smooth)
    x = np.array([40.5, 100.25])

    def big(x: Any) -> Any:
        return (greater(reduce_sum(x, axes=(0,)), full(shape=(), value=20.0, dtype=x.dtype)),)

    def halve(x: Any) -> Any:
        return (multiply(x, full(shape=(), value=0.5, dtype=x.dtype)),)

    yield Sample((x,), {"cond": closed(big, x), "body": closed(halve, x), "n_carry": 1})


def while_errors() -> Iterator[ErrorSample]:
    """A test that is not one bool."""
    x = reals((2,))
    attrs = {
        "cond": closed(lambda a: (greater(a, _one(a)),), x),
        "body": closed(lambda a: (negate(a),), x),
        "n_carry": 1,
    }
    yield ErrorSample((x,), attrs, ShapeError, "must be one bool")


def while_grad_samples() -> Iterator[Sample]:
    """The loops above, with a cotangent of the final carry."""
    for operands, attrs, _ in _loops():
        wanted = tuple(type_of_array(x).dtype.category == FLOAT for x in operands)
        back = vjp_program(attrs["body"], wanted)
        g = reals(operands[1].shape, seed=5).astype(operands[1].dtype)
        yield Sample((*operands, g), {**attrs, "back": back, "wanted": wanted})


# --- scan -----------------------------------------------------------------------------------------------------------


def _scanned(h: Array, w: Array, xs: Array, **attrs: Any) -> dict[str, Any]:
    """`h = tanh(h * w + x), y = (h * h, h > x)` over the carry h, the constant w and the sequence xs."""

    def step(h: Any, w: Any, x: Any) -> Any:
        new = tanh(add(multiply(h, w), x))
        return new, multiply(new, new), greater(new, x)

    return {"body": closed(step, h, w, xs[0] if len(xs) else np.zeros(xs.shape[1:], xs.dtype)), "n_carry": 1,
            "n_const": 1, "length": len(xs), **attrs}  # fmt: skip


def scan_samples() -> Iterator[Sample]:
    """Both ways, with and without history; every layout; no step; two carries, one of them counting."""
    for i, (h, smooth) in enumerate(_layouts()):
        # small: near 1 the gradient of tanh, 1 - y * y, keeps few of the digits in which two good tanh agree
        w = np.asarray(reals(h.shape, seed=3) / 4, h.dtype)
        xs = np.moveaxis(reals((*h.shape, 4), seed=4) / 4, -1, 0).astype(h.dtype)
        yield Sample((h, w, xs), _scanned(h, w, xs, reverse=i % 2 == 0, history=True), smooth)
    h, w, xs = reals((2,)), reals((2,), seed=3), reals((3, 2), seed=4)
    yield Sample((h, w, xs), _scanned(h, w, xs, reverse=False, history=False))
    yield Sample((h, w, xs[:0]), _scanned(h, w, xs[:0], reverse=False, history=True))
    n, c = np.array(0, np.int64), reals(())

    def count(n: Any, c: Any, x: Any) -> Any:
        bigger = cast(logical_and(greater(x, c), less(n, add(n, _one(n)))), dtype=n.dtype)
        return add(n, bigger), subtract(c, sin(x)), n

    attrs = {"n_carry": 2, "n_const": 0, "length": 3, "reverse": True, "history": True}
    xs = reals((6,), seed=6)[::2]
    yield Sample((n, c, xs), {"body": closed(count, n, c, xs[0, ...]), **attrs})


def scan_errors() -> Iterator[ErrorSample]:
    """A sequence of another length than is said."""
    h, w, xs = reals((2,)), reals((2,), seed=3), reals((3, 2), seed=4)
    attrs = _scanned(h, w, xs, reverse=False, history=True)
    yield ErrorSample((h, w, xs[:2]), attrs, ShapeError, "sequences of different lengths")
