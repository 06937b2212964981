"""Arithmetic: sums, products, quotients and remainders, powers, rounding, signs and casts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from graphc.core import scalar as s
from graphc.core.errors import DivisionError
from graphc.core.op import OUT, Elementwise, Op, Sample, declare
from graphc.core.tensor_types import BY_NAME, FLOAT, DType, TensorType
from graphc.primitives.comparison import equal, greater_equal, logical_and, where
from graphc.primitives.elementwise_op import EVERYTHING, FLOATS, NUMBERS, elementwise, flat, zero, zeros_like
from graphc.primitives.samples import ALL, BOOL, INTEGERS, binary_samples, reals, specials, unary_samples, values
from graphc.primitives.samples import FLOATS as FLOAT_DTYPES
from graphc.primitives.transcendental import log

_NUMBERS = (*INTEGERS, *FLOAT_DTYPES)

add = elementwise(
    "add",
    eval=np.add,
    scalar=lambda x, y: x + y,
    vjp=(lambda g, out, x, y: g, lambda g, out, x, y: g),
    saves=((), ()),
    accepts=EVERYTHING,
    samples=lambda: binary_samples(ALL),
    exact=True,
)
subtract = elementwise(
    "subtract",
    eval=np.subtract,
    scalar=lambda x, y: x - y,
    vjp=(lambda g, out, x, y: g, lambda g, out, x, y: -g),
    saves=((), ()),
    accepts=NUMBERS,
    samples=lambda: binary_samples(_NUMBERS),
    exact=True,
)
multiply = elementwise(
    "multiply",
    eval=np.multiply,
    scalar=lambda x, y: x * y,
    vjp=(lambda g, out, x, y: g * y, lambda g, out, x, y: g * x),
    saves=((1,), (0,)),
    accepts=EVERYTHING,
    samples=lambda: binary_samples(ALL),
    exact=True,
)
divide = elementwise(
    "divide",
    eval=np.divide,
    scalar=lambda x, y: x / y,
    vjp=(lambda g, out, x, y: g / y, lambda g, out, x, y: -g * (x / y / y)),  # the quotient may be written in place
    saves=((1,), (0, 1)),
    samples=lambda: binary_samples(FLOAT_DTYPES, second=(0.3, 2.0)),
    exact=True,
)


# -- division with remainder ----------------------------------------------------------------------------------------


def _check_divisor(y: Any) -> None:
    if y.dtype.kind in "iu" and not y.all():
        raise DivisionError("ZeroDivisionError: an integer divided by zero", "a divisor without zeros")


def _np_remainder(x: Any, y: Any) -> Any:
    """What division toward -inf leaves; it has the divisor's sign."""
    _check_divisor(y)
    rest = np.fmod(x, y)
    return np.where((rest != 0) & ((rest < 0) != (y < 0)), rest + y, rest)


def _remainder(x: s.Scalar, y: s.Scalar) -> s.Scalar:
    rest = s.rem(x, y)
    return s.select(s.ne(rest, 0) & ((rest < 0) ^ (y < 0)), rest + y, rest)


def _np_floor_divide(x: Any, y: Any) -> Any:
    """The quotient rounded toward -inf; a float divisor of 0 gives x / y."""
    _check_divisor(y)
    if x.dtype.kind in "iu":
        return np.floor_divide(x, y)
    rest = np.fmod(x, y)
    near = (x - rest) / y - ((rest != 0) & ((rest < 0) != (y < 0)))
    whole = np.floor(near) + (near - np.floor(near) > 0.5)
    return np.where(y == 0, x / y, np.where(near == 0, np.copysign(np.zeros_like(near), x / y), whole)).astype(x.dtype)


def _floor_divide(x: s.Scalar, y: s.Scalar) -> s.Scalar:
    rest = s.rem(x, y)
    inexact = s.ne(rest, 0) & ((rest < 0) ^ (y < 0))
    if x.dtype.category != FLOAT:
        whole = s.quot(x, y)
        return s.select(inexact, whole - 1, whole)
    near = (x - rest) / y
    near = s.select(inexact, near - 1, near)
    down = s.floor(near)
    whole = s.select(near - down > 0.5, down + 1, down)
    signed_zero = (x / y) * 0.0
    return s.select(s.eq(y, 0), x / y, s.select(s.eq(near, 0), signed_zero, whole))


def _np_fmod(x: Any, y: Any) -> Any:
    _check_divisor(y)
    return np.fmod(x, y)


def _quotient_samples() -> Iterator[Sample]:
    for sample in binary_samples(_NUMBERS, -7.0, 7.0, second=(1.1, 2.4), divisor=True):
        x, y = sample.inputs
        smooth = sample.smooth and x.dtype.kind == "f" and bool(np.all(np.abs(x / y - np.round(x / y)) > 0.02))
        yield Sample((x, y), {}, smooth)
        if x.dtype.kind != "u":
            yield Sample((x, np.asarray(-y)), {}, smooth)


floor_divide = elementwise(
    "floor_divide",
    weight=4,
    eval=_np_floor_divide,
    scalar=_floor_divide,
    vjp=(lambda g, out, x, y: zeros_like(g), lambda g, out, x, y: zeros_like(g)),
    saves=((), ()),
    accepts=NUMBERS,
    samples=_quotient_samples,
)
remainder = elementwise(
    "remainder",
    weight=4,
    eval=_np_remainder,
    scalar=_remainder,
    vjp=(lambda g, out, x, y: g, lambda g, out, x, y: -g * floor_divide(x, y)),
    saves=((), (0, 1)),
    accepts=NUMBERS,
    samples=_quotient_samples,
)
fmod = elementwise(
    "fmod",
    weight=4,
    eval=_np_fmod,
    scalar=lambda x, y: s.rem(x, y),
    vjp=(lambda g, out, x, y: g, lambda g, out, x, y: -g * trunc(x / y)),
    saves=((), (0, 1)),
    accepts=NUMBERS,
    samples=_quotient_samples,
)


# -- powers and angles ----------------------------------------------------------------------------------------------


def _power_base(g: Any, out: Any, x: Any, y: Any) -> Any:
    """y x^(y-1), and 0 for the exponent 0 whatever x is."""
    return where(equal(y, zero(y)), zero(g), g * (y * power(x, y - 1)))


def _power_exponent(g: Any, out: Any, x: Any, y: Any) -> Any:
    """x^y log x, and 0 at x = 0 for exponents >= 0."""
    flat_there = logical_and(equal(x, zero(x)), greater_equal(y, zero(y)))
    return where(flat_there, zero(g), g * (out * log(x)))


def _power_samples() -> Iterator[Sample]:
    yield from binary_samples(FLOAT_DTYPES, 0.3, 2.0, second=(-2.0, 2.0))
    for t in INTEGERS:
        yield Sample((values(t, (2, 6), -3, 3), values(t, (6,), 0, 3)), {}, False)
    yield Sample((np.array([2, 1, -1, -1, 0, 7, -3]), np.array([-1, -3, -3, -2, -1, 40, 41])), {}, False)


power = elementwise(
    "power",
    eval=s.PRIMITIVES["pow"].numpy,
    scalar=lambda x, y: s.pow(x, y),
    vjp=(_power_base, _power_exponent),
    saves=((0, 1), (0, 1, OUT)),
    accepts=NUMBERS,
    samples=_power_samples,
)


def _atan2_part(g: Any, y: Any, x: Any, numerator: Any) -> Any:
    square = y * y + x * x
    return where(equal(square, zero(square)), zero(g), g * (numerator / square))


atan2 = elementwise(
    "atan2",
    eval=np.arctan2,
    scalar=lambda y, x: s.atan2(y, x),
    vjp=(lambda g, out, y, x: _atan2_part(g, y, x, x), lambda g, out, y, x: _atan2_part(g, y, x, -y)),
    saves=((0, 1), (0, 1)),
    samples=lambda: binary_samples(FLOAT_DTYPES),
)


# -- one operand ----------------------------------------------------------------------------------------------------

negate = elementwise(
    "negate",
    eval=np.negative,
    scalar=lambda x: -x,
    vjp=(lambda g, out, x: -g,),
    saves=((),),
    accepts=NUMBERS,
    samples=lambda: unary_samples(_NUMBERS),
    exact=True,
)
absolute = elementwise(
    "absolute",
    eval=np.absolute,
    scalar=lambda x: abs(x) if x.dtype.is_signed else x,
    vjp=(lambda g, out, x: g * sign(x),),
    saves=((0,),),
    accepts=NUMBERS,
    samples=lambda: unary_samples(_NUMBERS),
    exact=True,
)
sign: Op = elementwise(
    "sign",
    eval=lambda x: (x > 0).astype(x.dtype) - (x < 0).astype(x.dtype),  # NaN has sign 0
    scalar=lambda x: s.select(
        x > 0, s.const(1, x.dtype), s.select(x < 0, s.const(-1, x.dtype) if x.dtype.is_signed else x, 0)
    ),
    vjp=(flat,),
    saves=((),),
    accepts=NUMBERS,
    samples=lambda: unary_samples(_NUMBERS),
)


def _rounding(name: str, ufunc: np.ufunc, scalar: Callable[..., Any]) -> Op:
    return elementwise(
        name,
        eval=ufunc,
        scalar=scalar,
        vjp=(flat,),
        saves=((),),
        accepts=FLOATS,
        samples=lambda: unary_samples(FLOAT_DTYPES),
    )


floor = _rounding("floor", np.floor, lambda x: s.floor(x))
ceil = _rounding("ceil", np.ceil, lambda x: s.ceil(x))
trunc: Op = _rounding("trunc", np.trunc, lambda x: s.trunc(x))
round_ = _rounding("round_", np.rint, lambda x: s.rint(x))


# -- casts ----------------------------------------------------------------------------------------------------------


def _cast_infer(x: TensorType, dtype: DType) -> TensorType:
    """x: T[*s] -> dtype[*s]."""
    return x.with_dtype(dtype)


def _cast_samples() -> Iterator[Sample]:
    targets = tuple(BY_NAME.values())
    for i, source in enumerate(ALL):
        for dtype in (targets[i - 3], targets[(i + 4) % len(targets)]):
            yield Sample((values(source, (2, 3), 0.0, 3.0),), {"dtype": dtype}, False)
    yield Sample((specials(),), {"dtype": BY_NAME["bool"]}, False)
    yield Sample((specials(),), {"dtype": BY_NAME["float16"]}, False)
    yield Sample((reals((), seed=1),), {"dtype": BY_NAME["float64"]})
    yield Sample((reals((0, 2), seed=2),), {"dtype": BY_NAME["int32"]}, False)
    yield Sample((reals((3, 2), -3, 3, seed=3).T,), {"dtype": BY_NAME["int8"]}, False)
    yield Sample((values(BOOL, (4,))[::-1],), {"dtype": BY_NAME["float32"]}, False)


def _cast_into(out: Any, x: Any, dtype: DType) -> None:
    np.copyto(out, x, casting="unsafe")


cast: Op = declare(
    "cast",
    infer=_cast_infer,
    eval=lambda x, dtype: (np.maximum(x, x) if 0 in x.strides else x).astype(dtype.np),  # see copying.py
    kind=Elementwise(lambda x, dtype: s.cast(x, dtype)),
    vjp=(lambda g, out, x, dtype: cast(g, dtype=x.dtype),),
    saves=((),),
    samples=_cast_samples,
    inplace=_cast_into,
)

__all__ = [
    "absolute", "add", "atan2", "cast", "ceil", "divide", "floor", "floor_divide", "fmod", "multiply",
    "negate", "power", "remainder", "round_", "sign", "subtract", "trunc",
]  # fmt: skip
