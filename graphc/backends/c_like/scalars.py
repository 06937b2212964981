"""Scalar trees as C-like text, one element at a time.

In registers a bool is a `bool` and a half is its bits (`i16`), computed with as `f32`; in memory a bool is a `u8`.
What the languages have no operator for is a tree of machine operations (`backends/formulas`), printed as a function once.
Integers wrap: C leaves that open for signed ones, so arithmetic is done on unsigned ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from graphc.backends.c_like.writing import Lines
from graphc.backends.formulas import portable, transcendentals
from graphc.core import scalar as s
from graphc.core.scalar import Scalar, is_half
from graphc.core.tensor_types import (
    BOOL,
    FLOAT,
    DType,
    bfloat16,
    bool_,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
)  # fmt: skip

_REGISTER = {
    bool_: "bool", uint8: "u8", int8: "i8", int16: "i16", int32: "i32", int64: "i64",
    float16: "i16", bfloat16: "i16", float32: "f32", float64: "f64",
}  # fmt: skip


def register_type(dtype: DType) -> str:
    """The type of an element that is computed with."""
    return _REGISTER[dtype]


def memory_type(dtype: DType) -> str:
    """The type of an element in memory."""
    return "u8" if dtype is bool_ else _REGISTER[dtype]


def to_memory(value: str, dtype: DType) -> str:
    """A value as it is stored."""
    return f"(u8){value}" if dtype is bool_ else value


def literal(value: Any, dtype: DType) -> str:
    """A constant."""
    if dtype is bool_:
        return "true" if value else "false"
    if is_half(dtype):
        return f"(i16){int(np.array(value).astype(dtype.np).view(np.int16))}"
    with np.errstate(all="ignore"):
        exact = np.array(value).astype(dtype.np)
    if dtype.category == FLOAT:
        kind, number = ("F32", float(exact)) if dtype is float32 else ("F64", float(exact))
        if not np.isfinite(number):
            bits = exact.view(np.int32 if dtype is float32 else np.int64)
            return f"{kind}_BITS({_whole(int(bits), int32 if dtype is float32 else int64)})"
        return f"({number.hex()}{'f' if dtype is float32 else ''})"
    return _whole(int(exact), dtype)


def _whole(n: int, dtype: DType) -> str:
    if dtype is int64:
        return f"(-I64({-n - 1}) - 1)" if n == -(1 << 63) else f"I64({n})" if n >= 0 else f"(-I64({-n}))"
    if n == -(1 << 31):
        return f"(-{-n - 1} - 1)"
    return f"({n})" if n < 0 else str(n)


def print_trees(
    f: Lines, trees: Sequence[Scalar], leaf: Callable[[Scalar], str], index: Callable[[int], str]
) -> list[str]:
    """The names of the trees' values, each different node computed once.

    `leaf(node)` names the value of a leaf and `index(axis)` the coordinate, an `i64`; each is called once per leaf or axis.
    """
    printer = _Printer(f, lambda x: leaf(x) if x.op == "leaf" else index(x.value))
    return printer.names_of(trees)


@cache
def _tree_of(build: Callable[..., Scalar], *dtypes: DType) -> Scalar:
    """A formula over leaves 0, 1, ... of these dtypes."""
    return build(*(s.leaf(i, d) for i, d in enumerate(dtypes)))


class _Printer:
    """Prints trees into one block of a function; `known` finds the value of a text that was printed before."""

    def __init__(self, f: Lines, outside: Callable[[Scalar], str]):
        self.f, self.outside = f, outside
        self.names: dict[int, str] = {}
        self.leaves: dict[tuple[str, Any], str] = {}
        self.known: dict[tuple[str, str], str] = {}

    def names_of(self, roots: Sequence[Scalar]) -> list[str]:
        """Prints trees."""
        for x in s.postorder(*roots, done=self.names, usual=True):
            self.names[id(x)] = self.printed(x)
        return [self.names[id(x)] for x in roots]

    def printed(self, x: Scalar) -> str:
        """Prints a node whose operands are there."""
        if x.op in ("leaf", "index"):
            key = (x.op, x.value)
            if key not in self.leaves:
                self.leaves[key] = self.outside(x)
            return self.leaves[key]
        if x.op == "const":
            return literal(x.value, x.dtype)
        if x.op == "rarely":
            return self.rarely(x)
        return self.apply(x, [self.names[id(a)] for a in x.args])

    def rarely(self, x: Scalar) -> str:
        """The usual branch, unless the condition holds: the other is computed in a block of its own."""
        f = self.f
        for leaf in s.postorder(x.args[1]):  # what the block reads is read before it
            if leaf.op in ("leaf", "index") and id(leaf) not in self.names:
                self.names[id(leaf)] = self.printed(leaf)
        found = f.variable(_REGISTER[x.dtype], self.names[id(x.args[2])])
        inner = _Printer(f, self.outside)
        inner.names, inner.leaves, inner.known = dict(self.names), self.leaves, dict(self.known)
        with f.block(f"if ({self.names[id(x.args[0])]})"):
            f.do(f"{found} = {inner.names_of([x.args[1]])[0]}")
        return found

    def let(self, dtype: DType, text: str) -> str:
        """The value of a text, printed unless the same one was."""
        key = (_REGISTER[dtype], text)
        if key not in self.known:
            self.known[key] = self.f.let(*key)
        return self.known[key]

    def formula(self, build: Callable[..., Scalar], operands: Sequence[str], *dtypes: DType) -> str:
        """A formula of ours, as a function that is printed once."""
        tree = _tree_of(build, *dtypes)
        kind, source = _REGISTER[tree.dtype], self.f.source

        def write(name: str) -> None:
            parameters = ", ".join(f"const {_REGISTER[d]} x{n}" for n, d in enumerate(dtypes))
            with source.function(f"FUNCTION {kind} {name}({parameters})") as f:
                f.do(f"return {print_trees(f, [tree], lambda x: f'x{x.value}', lambda _: '')[0]}")

        name = source.helper(
            (build, dtypes), "_".join([_name_of(build), *dict.fromkeys(d.short for d in dtypes)]), write
        )
        return self.let(tree.dtype, f"{name}({', '.join(operands)})")

    # -- nodes -----------------------------------------------------------------------------------------------------

    def apply(self, x: Scalar, operands: list[str]) -> str:
        """The value of a node whose operands have been printed."""
        dtype = x.args[-1].dtype
        if x.op == "cast":
            return self.cast(operands[0], dtype, x.dtype)
        if x.op == "table":
            name = self.f.source.table(memory_type(x.dtype), [literal(v, x.dtype) for v in x.value])
            return self.let(x.dtype, f"{name}[{operands[0]}]")
        if is_half(dtype) and x.op not in ("select", "bits"):
            wide = [
                self.cast(y, a.dtype, float32) if is_half(a.dtype) else y for y, a in zip(operands, x.args, strict=True)
            ]
            out = self.primitive(x, wide, float32)
            return self.cast(out, float32, x.dtype) if is_half(x.dtype) else out
        return self.primitive(x, operands, dtype)

    def primitive(self, x: Scalar, operands: list[str], dtype: DType) -> str:
        """The value of a primitive on operands of `dtype`."""
        if x.op == "select":
            condition, a, b = operands
            return a if a == b else self.let(dtype, f"{condition} ? {a} : {b}")
        if x.op in ("bits", "from_bits"):
            return self.bits(operands[0], dtype, x.dtype)
        if x.op in _COMPARISONS:
            return self.let(bool_, f"{operands[0]} {_COMPARISONS[x.op]} {operands[1]}")
        if dtype.category == FLOAT:
            return self.real(x, operands, dtype)
        return self.logic(x, operands) if dtype is bool_ else self.whole(x, operands, dtype)

    def bits(self, x: str, source: DType, target: DType) -> str:
        """The same bits as another type."""
        if is_half(source) or is_half(target):
            return x
        return self.let(target, f"BITS_F{8 * source.itemsize}({x})" if source.category == FLOAT else
                        f"F{8 * target.itemsize}_BITS({x})")  # fmt: skip

    def real(self, x: Scalar, operands: list[str], dtype: DType) -> str:
        """The value of a float primitive."""
        if x.op in _FLOAT:
            found = self.let(dtype, _FLOAT[x.op].format(*operands))
            return self.rest(found, operands, dtype) if x.op == "rem" and dtype is float32 else found
        if x.op in ("max", "min"):
            return self.formula(_largest if x.op == "max" else _least, operands, dtype, dtype)
        if x.op == "scale":
            return self.formula(portable.scale, operands, dtype, dtype)
        if x.op == "pow" and x.args[1].op == "const" and x.args[1].value in transcendentals.POWERS:
            return self.formula(transcendentals.POWERS[x.args[1].value], operands[:1], dtype)
        return self.formula(transcendentals.FUNCTIONS[x.op], operands, *([dtype] * len(operands)))

    def rest(self, found: str, operands: list[str], dtype: DType) -> str:
        """What `fmod` gave, but for the divisor itself a zero: Intel's leaves it of whole multiples of subnormal numbers."""
        a, b = operands
        return self.let(dtype, f"fabs({found}) == fabs({b}) ? 0 * {a} : {found}")

    def logic(self, x: Scalar, operands: list[str]) -> str:
        """The value of a primitive on bools."""
        return self.let(bool_, _LOGIC[x.op].format(*operands))

    def whole(self, x: Scalar, operands: list[str], dtype: DType) -> str:
        """The value of a primitive on integers."""
        kind, wide = _REGISTER[dtype], "u64" if dtype is int64 else "u32"
        if x.op in _WRAPPING:
            a, b = operands if len(operands) == 2 else ("0", operands[0])
            return self.let(dtype, f"({kind})(({wide}){a} {_WRAPPING[x.op]} ({wide}){b})")
        if x.op in ("max", "min"):
            return self.let(dtype, "{0} {1} {2} ? {0} : {2}".format(operands[0], "><"[x.op == "min"], operands[1]))
        if x.op == "not":
            return self.let(dtype, f"({kind})~{operands[0]}")
        if x.op == "abs":
            return self.let(dtype, f"{operands[0]} < 0 ? ({kind})(0 - ({wide}){operands[0]}) : {operands[0]}")
        if x.op in ("shl", "shr"):
            return self.shift(x, operands, dtype)
        if x.op in ("quot", "rem"):
            return self.divide(x, operands, dtype)
        assert x.op == "pow", x.op
        return self.power(x, operands, dtype)

    def shift(self, x: Scalar, operands: list[str], dtype: DType) -> str:
        """A shift; by as much as the width or by a negative number it gives 0, or -1 for negative numbers to the right."""
        kind, width, (a, by) = _REGISTER[dtype], 8 * dtype.itemsize, operands
        wide = "u64" if dtype is int64 else "u32"
        moved = f"({kind})(({wide}){a} << {by})" if x.op == "shl" else f"({kind})({a} >> {by})"
        if x.args[1].op == "const" and 0 <= x.args[1].value < width:
            return self.let(dtype, moved)
        beyond = "0" if x.op == "shl" else f"({kind})({a} >> {width - 1})" if dtype.is_signed else "0"
        return self.let(dtype, f"({wide}){by} < {width} ? {moved} : {beyond}")

    def divide(self, x: Scalar, operands: list[str], dtype: DType) -> str:
        """Division toward zero or its rest; 0 for a divisor of 0, wrapped for the least number by -1."""
        kind, (a, b), sign = _REGISTER[dtype], operands, "/%"[x.op == "rem"]
        if x.args[1].op == "const" and x.args[1].value not in (0, -1):
            return self.let(dtype, f"({kind})({a} {sign} {b})")
        wide = "u64" if dtype is int64 else "u32"
        by_minus_one = f"{b} == -1 ? " + (f"({kind})(0 - ({wide}){a})" if x.op == "quot" else "0") + " : "
        safe = self.let(dtype, f"{b} == 0 ? 1 : {b}")
        found = f"({kind})({a} {sign} {safe})"
        if dtype.is_signed:
            divisor = self.let(dtype, f"{b} == -1 ? 1 : {safe}")
            found = f"{by_minus_one}({kind})({a} {sign} {divisor})"
        return self.let(dtype, f"{b} == 0 ? 0 : ({found})")

    def power(self, x: Scalar, operands: list[str], dtype: DType) -> str:
        """Integer power by repeated squaring."""
        base, exponent = operands
        if x.args[1].op == "const" and 0 <= x.args[1].value <= 64:
            tree = portable.constant_power(s.leaf(0, dtype), x.args[1].value)
            inner = _Printer(self.f, lambda _: base)
            return inner.names_of([tree])[0]
        kind, wide = _REGISTER[dtype], "u64" if dtype is int64 else "u32"

        def write(name: str) -> None:
            with self.f.source.function(f"FUNCTION {kind} {name}({kind} base, {kind} n)") as f:
                f.do(f"{kind} out = 1")
                with f.block("for (; n > 0; n >>= 1)"):
                    f.do(f"if (n & 1) out = ({kind})(({wide})out * ({wide})base)")
                    f.do(f"base = ({kind})(({wide})base * ({wide})base)")
                f.do("return out")

        name = self.f.source.helper(("power", dtype), f"power_{dtype.short}", write)
        found = self.let(dtype, f"{name}({base}, {exponent})")
        if not dtype.is_signed:
            return found
        return self.formula(portable.negative_power, [base, exponent, found], dtype, dtype, dtype)

    # -- casts -----------------------------------------------------------------------------------------------------

    def cast(self, x: str, source: DType, target: DType) -> str:
        """A value of one dtype as another."""
        if source is target:
            return x
        if is_half(source):
            wide = portable.from_bfloat16_bits if source is bfloat16 else portable.from_float16_bits
            return self.cast(self.formula(wide, [x], int16), float32, target)
        if target.category == BOOL:
            return self.let(bool_, f"{x} != 0")
        if is_half(target):
            return self.narrow(x, source, target)
        if source.category == FLOAT and target.category != FLOAT:
            return self.to_whole(x, source, target)
        return self.let(target, f"({_REGISTER[target]}){x}")

    def to_whole(self, x: str, source: DType, target: DType) -> str:
        """Truncation; out of range (of int32 for the narrower ones) and NaN give the least number, as x86 does."""
        through = int64 if target is int64 else int32
        limit = literal(float(1 << 8 * through.itemsize - 1), source)
        least = literal(-(1 << 8 * through.itemsize - 1), through)
        inside = self.let(bool_, f"fabs({x}) < {limit}")
        whole = self.let(through, f"{inside} ? ({_REGISTER[through]}){x} : {least}")
        return self.cast(whole, through, target)

    def narrow(self, x: str, source: DType, target: DType) -> str:
        """A number as a half, rounded to nearest; NumPy takes all but float64 -> float16 through float32."""
        if source is float64 and target is float16:
            x = self.formula(portable.to_odd_float32, [x], float64)
        else:
            x = self.cast(x, source, float32)
        return self.formula(portable.bfloat16_bits if target is bfloat16 else portable.float16_bits, [x], float32)


def _largest(x: Scalar, y: Scalar) -> Scalar:
    """The larger float; NaN wins."""
    return s.select(s.ne(x, x) | (x > y), x, y)


def _least(x: Scalar, y: Scalar) -> Scalar:
    """The smaller float; NaN wins."""
    return s.select(s.ne(x, x) | (x < y), x, y)


def _name_of(build: Callable[..., Any]) -> str:
    name = getattr(build, "__name__", "").strip("_")
    return name if name.isidentifier() else "formula"


_FLOAT = {"add": "{} + {}", "sub": "{} - {}", "mul": "{} * {}", "div": "{} / {}", "neg": "-{}", "fma": "fma({}, {}, {})",
          "abs": "fabs({})", "sqrt": "sqrt({})", "floor": "floor({})", "ceil": "ceil({})", "rint": "rint({})",
          "trunc": "trunc({})", "rem": "fmod({}, {})"}  # fmt: skip
_LOGIC = {"add": "{} || {}", "mul": "{} && {}", "max": "{} || {}", "min": "{} && {}", "or": "{} || {}", "and": "{} && {}",
          "xor": "{} != {}", "not": "!{}", "sub": "{} != {}", "abs": "{}", "neg": "{}"}  # fmt: skip
_WRAPPING = {"add": "+", "sub": "-", "mul": "*", "neg": "-", "and": "&", "or": "|", "xor": "^"}
_COMPARISONS = {"lt": "<", "le": "<=", "eq": "==", "ne": "!="}


__all__ = ["literal", "memory_type", "print_trees", "register_type", "to_memory"]
