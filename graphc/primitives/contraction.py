"""Matrix multiplication."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphc.core.dims import broadcast_shapes, product, same
from graphc.core.errors import DimensionError, DtypeError, ShapeError
from graphc.core.op import ErrorSample, Kind, Op, Sample, declare
from graphc.core.tensor_types import BOOL, DTYPES, TensorType, float32, float64
from graphc.primitives.views import reshape, sum_to


def _matmul_infer(a: TensorType, b: TensorType, *, transpose_a: bool, transpose_b: bool) -> TensorType:
    if a.ndim < 2 or b.ndim < 2:
        raise DimensionError("matrices expected", f"at least 2 dimensions, got {a.ndim} and {b.ndim}")
    if a.dtype is not b.dtype:
        raise DtypeError(
            f"expected m1 and m2 to have the same dtype, but got: {a.dtype!r} != {b.dtype!r}", "equal dtypes"
        )
    if a.dtype.category == BOOL:
        raise DtypeError("not implemented for 'Bool'", "an integer or floating dtype")
    rows, inner_a = a.shape[-2:] if not transpose_a else a.shape[:-3:-1]
    inner_b, columns = b.shape[-2:] if not transpose_b else b.shape[:-3:-1]
    names = f"a.shape[{-2 if transpose_a else -1}] == b.shape[{-1 if transpose_b else -2}]"
    same(inner_a, inner_b, "inner sizes differ", f"{names}, got {inner_a} and {inner_b}")
    return a.with_shape((*broadcast_shapes(a.shape[:-2], b.shape[:-2]), rows, columns))


def _operands(a: Any, b: Any, transpose_a: bool, transpose_b: bool) -> tuple[Any, Any]:
    return a.swapaxes(-1, -2) if transpose_a else a, b.swapaxes(-1, -2) if transpose_b else b


def _matmul_eval(a: Any, b: Any, *, transpose_a: bool, transpose_b: bool) -> Any:
    x, y = _operands(a, b, transpose_a, transpose_b)
    if x.dtype.itemsize == 2 and x.dtype.kind not in "iu":
        return np.matmul(x.astype(np.float32), y.astype(np.float32)).astype(a.dtype)
    if y.ndim == 2 and x.ndim > 2 and x.flags.c_contiguous:
        # one large GEMM instead of one a batch
        return np.matmul(x.reshape(-1, x.shape[-1]) if x.size else x, y).reshape(*x.shape[:-1], y.shape[-1])
    return np.matmul(x, y)


def _matmul_inplace(out: Any, a: Any, b: Any, *, transpose_a: bool, transpose_b: bool) -> None:
    x, y = _operands(a, b, transpose_a, transpose_b)
    if x.dtype.itemsize == 2 and x.dtype.kind not in "iu":
        out[...] = np.matmul(x.astype(np.float32), y.astype(np.float32))
    else:
        np.matmul(x, y, out=out)


def _matmul_rule_a(g: Any, out: Any, a: Any, b: Any, *, transpose_a: bool, transpose_b: bool) -> Any:
    if transpose_a:
        found = matmul(b, g, transpose_a=transpose_b, transpose_b=True)
    else:
        found = matmul(g, b, transpose_a=False, transpose_b=not transpose_b)
    return sum_to(found, a.shape)


def _matmul_rule_b(g: Any, out: Any, a: Any, b: Any, *, transpose_a: bool, transpose_b: bool) -> Any:
    if len(b.shape) == 2 and len(a.shape) > 2 and not transpose_a:
        # the sum over the batch is part of one contraction
        a = reshape(a, shape=(product(a.shape[:-1]), a.shape[-1]))
        g = reshape(g, shape=(product(g.shape[:-1]), g.shape[-1]))
    if transpose_b:
        found = matmul(g, a, transpose_a=True, transpose_b=transpose_a)
    else:
        found = matmul(a, g, transpose_a=not transpose_a, transpose_b=False)
    return sum_to(found, b.shape)


def _matmul_samples() -> Iterator[Sample]:
    rng = np.random.default_rng(0)
    plain = {"transpose_a": False, "transpose_b": False}
    for dtype in DTYPES[1:]:
        a = np.array([[0, 1, 2], [3, 4, 5]]).astype(dtype.np)
        yield Sample((a, a), {"transpose_a": False, "transpose_b": True})
    shapes: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
        ((2, 3), (3, 4)), ((1, 1), (1, 1)), ((2, 0), (0, 3)), ((0, 2), (2, 3)), ((2, 2, 3), (3, 2)),
        ((2, 3), (2, 3, 2)), ((2, 1, 2, 3), (2, 3, 1)), ((1, 2, 3), (2, 3, 2)), ((0, 2, 3), (3, 2)),
    ]  # fmt: skip
    for left, right in shapes:
        yield Sample((rng.normal(size=left), rng.normal(size=right)), plain)
    for ta in (False, True):
        for tb in (False, True):
            a, b = rng.normal(size=(3, 2) if ta else (2, 3)), rng.normal(size=(2, 4, 3) if tb else (2, 3, 4))
            yield Sample((a, b), {"transpose_a": ta, "transpose_b": tb})
    yield Sample((rng.normal(size=(2, 2, 3)), rng.normal(size=(4, 3))), {"transpose_a": False, "transpose_b": True})
    yield Sample((rng.normal(size=(3, 2)).T, rng.normal(size=(4, 3)).T), plain)
    yield Sample((rng.normal(size=(4, 6))[::2, ::2], rng.normal(size=(3, 2))[::-1]), plain)
    yield Sample((np.array([[np.nan, 1.0]]), np.array([[1.0, np.inf], [2.0, 0.0]])), plain, smooth=False)


def _matmul_errors() -> Iterator[ErrorSample]:
    plain = {"transpose_a": False, "transpose_b": False}
    a = np.zeros((2, 3))
    need = r"need a.shape\[-1\] == b.shape\[-2\], got 3 and 5|inner sizes differ"
    yield ErrorSample((a, np.zeros((5, 2))), plain, ShapeError, need)
    yield ErrorSample((a, a), plain, ShapeError, "inner sizes differ")
    yield ErrorSample((np.zeros((2, 2, 3)), np.zeros((3, 3, 2))), plain, ShapeError, "do not broadcast")
    yield ErrorSample((a, np.zeros(3)), plain, DimensionError, "matrices expected")
    yield ErrorSample((a, np.zeros((3, 2), np.float32)), plain, DtypeError, "same dtype")
    yield ErrorSample((a > 0, a.T > 0), plain, DtypeError, "not implemented for 'Bool'")


matmul: Op = declare(
    "matmul",
    weight=2,
    infer=_matmul_infer,
    eval=_matmul_eval,
    inplace=_matmul_inplace,
    kind=Kind("contraction"),
    vjp=(_matmul_rule_a, _matmul_rule_b),
    saves=((1,), (0,)),
    samples=_matmul_samples,
    errors=_matmul_errors,
)


def _matmul_add_infer(
    a: TensorType, b: TensorType, c: TensorType, scale: TensorType | None = None, *, alpha: float, **transposes: bool
) -> TensorType:
    out = _matmul_infer(a, b, **transposes)
    if a.dtype not in (float32, float64) or c.dtype is not a.dtype:
        raise DtypeError(f"got {a.dtype!r} and {c.dtype!r}", "float32 or float64, the same for all")
    wrong = "c is not rows of the product", f"{out.shape} or rows of that, got {c.shape}"
    if not 0 < c.ndim <= out.ndim:
        raise ShapeError(*wrong)
    for n, (have, want) in enumerate(zip(c.shape[::-1], out.shape[::-1], strict=False)):
        if have != 1 or n == 0:
            same(have, want, *wrong)
    if scale is not None and (scale.shape != () or scale.dtype not in (float32, float64)):
        raise ShapeError("the scale is not one number", f"a 0-d float32 or float64, got {scale}")
    return out


def _matmul_add_eval(a: Any, b: Any, c: Any, scale: Any = 1.0, *, alpha: float, **transposes: bool) -> Any:
    return c + a.dtype.type(alpha * scale) * _matmul_eval(a, b, **transposes)


def _matmul_add_samples() -> Iterator[Sample]:
    rng = np.random.default_rng(0)
    plain = {"transpose_a": False, "transpose_b": False, "alpha": -1.0}
    for c in ((2, 4), (4,), (1, 4)):
        operands = [rng.normal(size=shape) for shape in ((2, 3), (3, 4), c, ())]
        yield Sample(tuple(operands[:3]), plain)
        yield Sample((*(x.astype(np.float32) for x in operands[:3]), operands[3]), plain)
    strided = rng.normal(size=(4, 2)).T, rng.normal(size=(8,))[::2]
    yield Sample((rng.normal(size=(2, 3)), rng.normal(size=(3, 4)), strided[0]), plain)
    yield Sample((rng.normal(size=(2, 3)), rng.normal(size=(3, 4)), strided[1]), plain)
    for ta, tb in ((False, True), (True, False), (True, True)):
        shapes = ((2, 3, 2) if ta else (2, 2, 3), (4, 3) if tb else (3, 4), (2, 2, 4), ())
        operands = [rng.normal(size=shape) for shape in shapes]
        yield Sample(tuple(operands), {"transpose_a": ta, "transpose_b": tb, "alpha": 0.5})
    special = np.array([[np.nan, 1.0, 2.0, np.inf]])
    yield Sample((np.ones((2, 1)), special, np.array([np.inf, -np.inf, np.nan, 0.0])), plain, smooth=False)
    empty = [np.zeros(shape) for shape in ((2, 0), (0, 3), (2, 3), ())]
    yield Sample(tuple(empty), plain)


def _matmul_add_errors() -> Iterator[ErrorSample]:
    plain = {"transpose_a": False, "transpose_b": False, "alpha": 1.0}
    a, one = np.zeros((2, 3)), np.ones(())
    yield ErrorSample((a, a, np.zeros((2, 3)), one), plain, ShapeError, "inner sizes differ")
    for shape in ((3, 2), (5, 2, 2), (2, 1), ()):
        yield ErrorSample((a, a.T, np.zeros(shape), one), plain, ShapeError, "c is not rows of the product")
    yield ErrorSample((a, a.T, np.zeros(2), np.ones(1)), plain, ShapeError, "the scale is not one number")
    yield ErrorSample((a, a.T, np.zeros(2, np.float32), one), plain, DtypeError, "the same for all")


#: (a, b, c[, scale]; alpha) -> c + alpha * scale * (a @ b), c broadcast to more rows. Made by a pass, after differentiation.
matmul_add: Op = declare(
    "matmul_add",
    infer=_matmul_add_infer,
    eval=_matmul_add_eval,
    kind=Kind("contraction"),
    samples=_matmul_add_samples,
    errors=_matmul_add_errors,
)
