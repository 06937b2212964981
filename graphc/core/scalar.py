"""Meaning on one element: a small expression tree over some fifty machine operations.

Elementwise ops say what they do to one element with these trees; fusion joins trees, backends print them. A node is
immutable, hashable and compared by structure (constants by their bits). Arithmetic happens in float32, float64 and the
integers; float16 and bfloat16 are only loaded, cast and stored.

Example: `x = leaf(0, float32)`; `sigmoid = 1 / (1 + exp(-x))`; `evaluate(sigmoid, [array])`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.core import erf as error_function
from graphc.core.errors import DtypeError
from graphc.core.tensor_types import (
    BOOL,
    FLOAT,
    INT,
    DType,
    bfloat16,
    bool_,
    float16,
    float32,
    float64,
    int16,
    int32,
    int64,
)


@dataclass(frozen=True)
class Primitive:
    """One machine operation: how many operands, of which dtype categories, what dtype results, and its NumPy meaning.

    `result`: "same" (the operands' own dtype; the condition of `select` does not count), "bool", or "int" and "float":
    the type of that category as wide as the operand.
    """

    arity: int
    accepts: tuple[int, ...]
    result: str
    numpy: Callable[..., Any]


class Scalar:
    """A node. `value` is an operand's position for "leaf", an axis for "index", the number for "const", the numbers for
    "table", else None."""

    __slots__ = ("__weakref__", "_hash", "args", "dtype", "op", "value")

    _hash: int

    def __init__(self, op: str, args: tuple[Scalar, ...], dtype: DType, value: Any = None):
        self.op, self.args, self.dtype, self.value = op, args, dtype, value
        self._hash = hash((self._label(), tuple(a._hash for a in args)))

    def _label(self) -> tuple[Any, ...]:
        value = self.value.hex() if isinstance(self.value, float) else self.value
        return (self.op, self.dtype.name, value)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Scalar) or self._hash != other._hash:
            return False
        pending, seen = [(self, other)], set()
        while pending:
            a, b = pending.pop()
            if a is b or (id(a), id(b)) in seen:
                continue
            seen.add((id(a), id(b)))
            if a._hash != b._hash or a._label() != b._label() or len(a.args) != len(b.args):
                return False
            pending.extend(zip(a.args, b.args, strict=True))
        return True

    def __reduce__(self) -> tuple[Any, ...]:
        return (Scalar, (self.op, self.args, self.dtype, self.value))

    def __repr__(self) -> str:
        if self.op in ("leaf", "index"):
            return f"{'xi'[self.op == 'index']}{self.value}"
        if self.op == "const":
            return repr(self.value)
        name = self.dtype.short if self.op == "cast" else self.op
        return f"{name}({', '.join(map(repr, self.args))})"

    def __add__(self, other: Any) -> Scalar:
        return node("or" if self.dtype.category == BOOL else "add", self, other)

    def __radd__(self, other: Any) -> Scalar:
        return _as_scalar(other, self) + self

    def __sub__(self, other: Any) -> Scalar:
        return node("sub", self, other)

    def __rsub__(self, other: Any) -> Scalar:
        return _as_scalar(other, self) - self

    def __mul__(self, other: Any) -> Scalar:
        return node("and" if self.dtype.category == BOOL else "mul", self, other)

    def __rmul__(self, other: Any) -> Scalar:
        return _as_scalar(other, self) * self

    def __truediv__(self, other: Any) -> Scalar:
        return node("div", self, other)

    def __rtruediv__(self, other: Any) -> Scalar:
        return _as_scalar(other, self) / self

    def __neg__(self) -> Scalar:
        return node("neg", self)

    def __abs__(self) -> Scalar:
        return node("abs", self)

    def __lt__(self, other: Any) -> Scalar:
        return node("lt", self, other)

    def __le__(self, other: Any) -> Scalar:
        return node("le", self, other)

    def __gt__(self, other: Any) -> Scalar:
        return _as_scalar(other, self) < self

    def __ge__(self, other: Any) -> Scalar:
        return _as_scalar(other, self) <= self

    def __and__(self, other: Any) -> Scalar:
        return node("and", self, other)

    def __or__(self, other: Any) -> Scalar:
        return node("or", self, other)

    def __xor__(self, other: Any) -> Scalar:
        return node("xor", self, other)

    def __invert__(self) -> Scalar:
        return node("not", self)

    def __lshift__(self, other: Any) -> Scalar:
        return node("shl", self, other)

    def __rshift__(self, other: Any) -> Scalar:
        return node("shr", self, other)

    def __bool__(self) -> bool:
        raise AssertionError("a scalar tree has no truth: use select(condition, a, b)")


def leaf(position: int, dtype: DType) -> Scalar:
    """The element of operand `position`."""
    return Scalar("leaf", (), dtype, position)


def index(axis: int) -> Scalar:
    """The coordinate of the element along `axis`, int64."""
    return Scalar("index", (), int64, axis)


def const(value: Any, dtype: DType) -> Scalar:
    """A number in `dtype`."""
    plain: Any = float(value) if dtype.category == FLOAT else bool(value) if dtype.category == BOOL else int(value)
    return Scalar("const", (), dtype, plain)


def table(numbers: Sequence[Any], position: Scalar, dtype: DType) -> Scalar:
    """The number at `position`, an integer within range, of a tuple of constants."""
    return Scalar("table", (position,), dtype, tuple(numbers))


def _as_scalar(x: Any, like: Scalar) -> Scalar:
    return x if isinstance(x, Scalar) else const(x, like.dtype)


def node(op: str, *operands: Any) -> Scalar:
    """A primitive applied; Python numbers take the dtype of the first operand that is a tree."""
    primitive = PRIMITIVES[op]
    assert len(operands) == primitive.arity, f"{op} takes {primitive.arity} operands, got {len(operands)}"
    head: tuple[Scalar, ...] = ()
    if op in ("select", "rarely"):
        head, operands = operands[:1], operands[1:]
        assert head[0].dtype is bool_, f"the condition of {op} must be bool, got {head[0].dtype.name}"
    like = next(x for x in operands if isinstance(x, Scalar))
    args = head + tuple(_as_scalar(x, like) for x in operands)
    kinds = {a.dtype for a in args[len(head) :]}
    assert len(kinds) == 1, f"{op} of different dtypes: {', '.join(d.name for d in kinds)}"
    assert like.dtype.category in primitive.accepts, f"{op} of {like.dtype.name}"
    dtype = like.dtype if primitive.result == "same" else _RESULTS[primitive.result, like.dtype.itemsize]
    return Scalar(op, args, dtype)


_RESULTS: dict[tuple[str, int], DType] = {
    **{("bool", size): bool_ for size in (1, 2, 4, 8)},
    **{("int", d.itemsize): d for d in (int16, int32, int64)},
    **{("float", d.itemsize): d for d in (float16, float32, float64)},
}


def cast(x: Scalar, dtype: DType) -> Scalar:
    """x in another dtype: float to int truncates, anything to bool is `!= 0`."""
    return x if x.dtype is dtype else Scalar("cast", (x,), dtype)


def is_half(dtype: DType) -> bool:
    """Whether arithmetic on `dtype` is done in float32."""
    return dtype is float16 or dtype is bfloat16


def in_arithmetic_dtype(build: Callable[..., Scalar]) -> Callable[..., Scalar]:
    """`build` with half operands widened to float32 first and a half-typed result rounded back once."""

    def widened(*operands: Scalar, **attrs: Any) -> Scalar:
        halves = [x.dtype for x in operands if is_half(x.dtype)]
        if not halves:
            return build(*operands, **attrs)
        out = build(*(cast(x, float32) if is_half(x.dtype) else x for x in operands), **attrs)
        return cast(out, halves[0]) if out.dtype is float32 else out

    return widened


def eq(x: Any, y: Any) -> Scalar:
    """x == y, elementwise (Python's `==` on trees compares structure)."""
    return node("eq", x, y)


def ne(x: Any, y: Any) -> Scalar:
    """x != y; true for NaN."""
    return node("ne", x, y)


def select(condition: Scalar, x: Any, y: Any) -> Scalar:
    """x where the condition holds, else y."""
    return node("select", condition, x, y)


def _function(op: str) -> Callable[..., Scalar]:
    def apply(*operands: Any) -> Scalar:
        return node(op, *operands)

    apply.__name__ = apply.__qualname__ = op
    return apply


# -- the primitives -------------------------------------------------------------------------------------------------

_ANY, _NUMBER, _FLOAT, _INT, _LOGIC = (BOOL, INT, FLOAT), (INT, FLOAT), (FLOAT,), (INT,), (BOOL, INT)


def _quot(x: Any, y: Any) -> Any:
    """Integer division toward zero."""
    floor = np.floor_divide(x, y)
    return floor + ((np.remainder(x, y) != 0) & ((x < 0) != (y < 0))).astype(floor.dtype)


def _power(x: Any, y: Any) -> Any:
    """Power; a negative integer exponent gives the truncated reciprocal (0, or ±1 for a base of ±1)."""
    if np.asarray(x).dtype.kind not in "iu":
        return np.power(x, y)
    x, y = np.asarray(x), np.asarray(y)
    unit = np.where(x == 1, 1, np.where((x + 1 == 0) & (x < 0), 1 - 2 * (y & 1), 0))
    return np.where(y < 0, unit, np.power(x, np.maximum(y, 0))).astype(x.dtype)


def _select(condition: Any, x: Any, y: Any) -> Any:
    return np.where(condition, x, y)


def _bits(x: Any) -> Any:
    """The bits of a float as an integer of its width."""
    x = np.asarray(x)
    return x.view(f"i{x.dtype.itemsize}")


def _from_bits(x: Any) -> Any:
    """The float that has these bits."""
    x = np.asarray(x)
    return x.view(f"f{x.dtype.itemsize}")


def _scale(x: Any, n: Any) -> Any:
    """x * 2^n, rounded once; n is a whole number. Printers need no more than what exponentials do: x near 1."""
    return np.ldexp(x, np.clip(n, -5000, 5000).astype(np.int32))


def _two_sum(x: Any, y: Any) -> tuple[Any, Any]:
    """x + y rounded, and the error of that."""
    total = x + y
    z = total - x
    return total, (x - (total - z)) + (y - z)


def _two_product(x: Any, y: Any) -> tuple[Any, Any]:
    """x * y rounded, and the error of that (T. J. Dekker, "A floating-point technique", Numer. Math. 18, 1971)."""

    def halves(a: Any) -> tuple[Any, Any]:
        c = a * 134217729.0  # 2^27 + 1
        high = c - (c - a)
        return high, a - high

    product, (xh, xl), (yh, yl) = x * y, halves(x), halves(y)
    return product, xl * yl - (((product - xh * yh) - xl * yh) - xh * yl)


def _sum_to_odd(x: Any, y: Any) -> Any:
    """x + y, and where that is inexact the neighbour with an odd last bit: it may be rounded again without harm."""
    total, error = _two_sum(x, y)
    bits = np.asarray(total).view(np.int64)
    toward = np.where((error > 0) == (total > 0), 1, -1)
    return np.where((error == 0) | ~np.isfinite(error) | (bits & 1 == 1), bits, bits + toward).view(np.float64)


def _fma(x: Any, y: Any, z: Any) -> Any:
    """x * y + z, rounded once (S. Boldo, G. Melquiond, "Emulation of FMA and correctly rounded sums", IEEE TC 2008)."""
    dtype = np.asarray(x).dtype
    x, y, z = (np.asarray(a, np.float64) for a in (x, y, z))
    if dtype.itemsize < 8:
        return _sum_to_odd(x * y, z).astype(dtype)
    high, low = _two_product(x, y)
    total, rest = _two_sum(z, low)
    upper, lower = _two_sum(high, total)
    exact = upper + _sum_to_odd(lower, rest)
    return np.where(np.isfinite(exact) & (np.abs(high) > 1e-250), exact, high + z)  # plain where splitting is inexact


def _table(accepts: tuple[int, ...], result: str, **meanings: Callable[..., Any]) -> dict[str, Primitive]:
    def arity(f: Any) -> int:
        return int(f.nin if isinstance(f, np.ufunc) else f.__code__.co_argcount)

    return {name.rstrip("_"): Primitive(arity(f), accepts, result, f) for name, f in meanings.items()}


PRIMITIVES: Mapping[str, Primitive] = {
    **_table(_NUMBER, "same", add=np.add, sub=np.subtract, mul=np.multiply, neg=np.negative, abs=np.absolute),
    **_table(_NUMBER, "same", rem=np.fmod, pow=_power),
    **_table(_FLOAT, "same", div=np.divide),
    **_table(_INT, "same", quot=_quot, shl=np.left_shift, shr=np.right_shift),
    **_table(_ANY, "same", max=np.maximum, min=np.minimum, select=_select),
    **_table(_ANY, "bool", lt=np.less, le=np.less_equal, eq=np.equal, ne=np.not_equal),
    **_table(_ANY, "same", rarely=_select),
    **_table(_FLOAT, "same", fma=_fma, scale=_scale),
    **_table(_FLOAT, "int", bits=_bits),
    **_table(_INT, "float", from_bits=_from_bits),
    **_table(_LOGIC, "same", and_=np.bitwise_and, or_=np.bitwise_or, xor=np.bitwise_xor, not_=np.invert),
    **_table(_FLOAT, "same", floor=np.floor, ceil=np.ceil, rint=np.rint, trunc=np.trunc, sqrt=np.sqrt),
    **_table(_FLOAT, "same", exp=np.exp, exp2=np.exp2, expm1=np.expm1),
    **_table(_FLOAT, "same", log=np.log, log2=np.log2, log10=np.log10, log1p=np.log1p),
    **_table(_FLOAT, "same", sin=np.sin, cos=np.cos, tan=np.tan, asin=np.arcsin, acos=np.arccos, atan=np.arctan),
    **_table(_FLOAT, "same", sinh=np.sinh, cosh=np.cosh, tanh=np.tanh),
    **_table(_FLOAT, "same", asinh=np.arcsinh, acosh=np.arccosh, atanh=np.arctanh, atan2=np.arctan2),
    **_table(_FLOAT, "same", erf=error_function.erf, erfc=error_function.erfc),
}

maximum, minimum = _function("max"), _function("min")  # NaN wins
quot, rem = _function("quot"), _function("rem")  # division toward zero, and what it leaves (sign of the dividend)
pow, atan2 = _function("pow"), _function("atan2")
floor, ceil, rint, trunc = _function("floor"), _function("ceil"), _function("rint"), _function("trunc")
sqrt, exp, exp2, expm1 = _function("sqrt"), _function("exp"), _function("exp2"), _function("expm1")
log, log2, log10, log1p = _function("log"), _function("log2"), _function("log10"), _function("log1p")
sin, cos, tan = _function("sin"), _function("cos"), _function("tan")
asin, acos, atan = _function("asin"), _function("acos"), _function("atan")
sinh, cosh, tanh = _function("sinh"), _function("cosh"), _function("tanh")
asinh, acosh, atanh = _function("asinh"), _function("acosh"), _function("atanh")
erf, erfc = _function("erf"), _function("erfc")
rarely = _function("rarely")  # select whose condition holds for few elements: a printer may jump over the first branch
fma, scale = _function("fma"), _function("scale")  # x * y + z rounded once; x * 2^n for a whole number n
bits, from_bits = _function("bits"), _function("from_bits")  # a float read as the integer of its width, and back


# -- walking trees --------------------------------------------------------------------------------------------------


def postorder(*roots: Scalar, done: Collection[int] = (), usual: bool = False) -> list[Scalar]:
    """Every distinct node object once, operands before users; those whose `id` is in `done` are left out.

    `usual`: the first branch of `rarely` is not walked, as whoever prints that node prints it apart.
    """
    seen = set(done)
    order: list[Scalar] = []
    stack: list[Scalar | None] = [*reversed(roots)]
    while stack:
        x = stack.pop()
        if x is None:  # the operands of the node below are done
            x = stack.pop()
            assert x is not None
        elif x.args:
            if id(x) not in seen:
                stack.append(x)
                stack.append(None)
                args = (x.args[0], x.args[2]) if usual and x.op == "rarely" else x.args
                stack.extend([a for a in reversed(args) if id(a) not in seen])
            continue
        if id(x) not in seen:
            seen.add(id(x))
            order.append(x)
    return order


def rebuild(root: Scalar, rule: Callable[[Scalar], Scalar]) -> Scalar:
    """The tree with `rule` applied to every node, operands first; shared nodes stay shared."""
    new: dict[int, Scalar] = {}
    for x in postorder(root):
        y = x
        for a in x.args:
            if new[id(a)] is not a:
                y = Scalar(x.op, tuple([new[id(a)] for a in x.args]), x.dtype, x.value)
                break
        new[id(x)] = rule(y)
    return new[id(root)]


def substitute(root: Scalar, operands: Mapping[int, Scalar] | Sequence[Scalar]) -> Scalar:
    """The tree with its leaves replaced: how fusion joins a producer into its user."""

    def rule(x: Scalar) -> Scalar:
        return operands[x.value] if x.op == "leaf" else x

    return rebuild(root, rule)


def evaluate(root: Scalar, arrays: Sequence[Any] = (), indices: Sequence[Any] = ()) -> Any:
    """The tree on broadcastable NumPy arrays; `indices[axis]` gives the coordinates that `index` nodes read."""
    values: dict[int, Any] = {}
    for x in postorder(root):
        if x.op == "leaf":
            value = arrays[x.value]
        elif x.op == "index":
            value = indices[x.value]
        elif x.op == "const":
            value = np.asarray(x.value).astype(x.dtype.np)
        elif x.op == "table":
            value = np.array(x.value, x.dtype.np)[values[id(x.args[0])]]
        elif x.op == "cast":
            value = np.asarray(values[id(x.args[0])]).astype(x.dtype.np)
        else:
            value = PRIMITIVES[x.op].numpy(*(values[id(a)] for a in x.args))
        values[id(x)] = value
    return values[id(root)]


# -- what a target may lack -----------------------------------------------------------------------------------------


def _floor(x: Scalar) -> Scalar:
    down = trunc(x)
    return select(x < down, down - 1, down)


def _expm1(x: Scalar) -> Scalar:
    """Kahan's quotient: the rounding errors of exp and log cancel."""
    u = exp(x)
    near = select(eq(u, 1), x, (u - 1) * (x / log(u)))
    return select(eq(u - 1, -1) | (abs(x) > 1), u - 1, near)


def _log1p(x: Scalar) -> Scalar:
    """Kahan's quotient."""
    u = 1 + x
    return select(eq(u, 1), x, select(eq(u, math.inf), log(u), log(u) * (x / (u - 1))))


def _sinh(x: Scalar) -> Scalar:
    u = expm1(abs(x))
    half = select(u < math.inf, 0.5 * (u + u / (u + 1)), u)
    return select(x < 0, -half, select(eq(x, 0), x, half))


def _tanh(x: Scalar) -> Scalar:
    u = expm1(-2 * abs(x))
    t = -u / (u + 2)
    return select(x < 0, -t, select(eq(x, 0), x, t))


def _asinh(x: Scalar) -> Scalar:
    a = abs(x)
    small = log1p(a + a * a / (1 + sqrt(a * a + 1)))
    y = select(a < 1e9, small, log(a) + math.log(2))
    return select(x < 0, -y, select(eq(x, 0), x, y))


def _acosh(x: Scalar) -> Scalar:
    t = x - 1
    return select(x < 1e9, log1p(t + sqrt(2 * t + t * t)), log(x) + math.log(2))


def _atan2(y: Scalar, x: Scalar) -> Scalar:
    """The angle from atan, with the quadrants; zeros and infinities as C has them."""
    negative_x = (x < 0) | (eq(x, 0) & (1 / x < 0))
    negative_y = (y < 0) | (eq(y, 0) & (1 / y < 0))
    ay, ax = abs(y), abs(x)
    both = eq(ay, math.inf) & eq(ax, math.inf)
    acute = select(both, math.pi / 4, select(eq(ay, 0) & eq(ax, 0), 0.0 * ax, atan(ay / ax)))
    angle = select(negative_x, math.pi - acute, acute)
    return select(ne(x, x) | ne(y, y), x + y, select(negative_y, -angle, angle))


def _erfc_far(y: Scalar) -> Scalar:
    wide = minimum(y, error_function.UNDERFLOW + 1)
    scaled = select(
        wide <= error_function.LARGE, error_function.erfc_scaled_middle(wide), error_function.erfc_scaled_large(wide)
    )
    return error_function.exp_minus_square(wide, trunc, exp) * scaled


def _erf(x: Scalar) -> Scalar:
    far = 1 - _erfc_far(abs(x))
    return select(abs(x) <= error_function.SMALL, error_function.erf_small(x), select(x < 0, -far, far))


def _erfc(x: Scalar) -> Scalar:
    far = _erfc_far(abs(x))
    return select(abs(x) <= error_function.SMALL, 1 - error_function.erf_small(x), select(x < 0, 2 - far, far))


def _pow(x: Scalar, y: Scalar) -> Scalar:
    """Integer power by repeated squaring, one step per bit of the exponent."""
    if x.dtype.category == FLOAT:
        raise DtypeError("a target must have the power of floating numbers", "the scalar primitive 'pow'")
    out, base, bits = const(1, x.dtype), x, y
    for _ in range(8 * x.dtype.itemsize - 1):
        out = select(ne(bits & 1, 0), out * base, out)
        base, bits = base * base, bits >> 1
    unit = select(eq(x, 1), 1, select(eq(x, -1), 1 - 2 * (y & 1), 0)) if x.dtype.is_signed else out
    return select(y < 0, unit, out) if x.dtype.is_signed else select(ne(bits & 1, 0), out * base, out)


DECOMPOSITIONS: Mapping[str, Callable[..., Scalar]] = {
    "neg": lambda x: select(eq(x, 0), -1 * x, 0 - x),
    "abs": lambda x: select(x < 0, -x, select(eq(x, 0), const(0, x.dtype), x)),
    "max": lambda x, y: select((y < x) | ne(x, x), x, y),
    "min": lambda x, y: select((x < y) | ne(x, x), x, y),
    "ne": lambda x, y: ~eq(x, y),
    "rem": lambda x, y: x - y * (quot(x, y) if x.dtype.category == INT else trunc(x / y)),
    "floor": _floor,
    "ceil": lambda x: -floor(-x),
    "exp2": lambda x: exp(x * math.log(2)),
    "expm1": _expm1,
    "log1p": _log1p,
    "log2": lambda x: log(x) * (1 / math.log(2)),
    "log10": lambda x: log(x) * (1 / math.log(10)),
    "tan": lambda x: sin(x) / cos(x),
    "asin": lambda x: atan2(x, sqrt((1 - x) * (1 + x))),
    "acos": lambda x: atan2(sqrt((1 - x) * (1 + x)), x),
    "sinh": _sinh,
    "cosh": lambda x: 0.5 * exp(abs(x)) + 0.5 / exp(abs(x)),
    "tanh": _tanh,
    "asinh": _asinh,
    "acosh": _acosh,
    "atanh": lambda x: 0.5 * log1p(2 * x / (1 - x)),
    "atan2": _atan2,
    "erf": _erf,
    "erfc": _erfc,
    "pow": _pow,
}


def decompose(root: Scalar, has: Callable[[str, DType], bool]) -> Scalar:
    """The tree with every primitive the target lacks written out; raises DtypeError naming one that cannot be.

    `has(op, dtype)` tells what the target can print for operands of that dtype.
    """

    def rule(x: Scalar) -> Scalar:
        if x.op not in PRIMITIVES or has(x.op, x.args[-1].dtype):
            return x
        if x.op not in DECOMPOSITIONS:
            raise DtypeError(
                f"this target cannot compute {x.op} of {x.args[-1].dtype.name}", f"the scalar primitive {x.op!r}"
            )
        formula = DECOMPOSITIONS[x.op](*(leaf(i, a.dtype) for i, a in enumerate(x.args)))
        return substitute(decompose(formula, has), x.args)

    return rebuild(root, rule)
