"""Scalar trees as LLVM IR, for any number of elements at once.

Values are in registers as `registers.py` says. What LLVM has no instruction for is a tree over what it has:
`transcendentals` for functions, `portable` for what an older CPU lacks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from graphc.backends.formulas import portable, transcendentals
from graphc.backends.llvm.emit import Function, Module
from graphc.backends.llvm.host import Machine
from graphc.backends.llvm.registers import (
    REGISTER,
    literal,
    memory_type,
    overload,
    register_type,
    to_memory,
    to_register,
    vector,
)
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
    int16,
    int32,
    int64,
)  # fmt: skip


def print_trees(
    f: Function,
    trees: Sequence[Scalar],
    lanes: int,
    leaf: Callable[[Scalar], str],
    index: Callable[[int], str],
    summed: Collection[int] = (),
) -> list[str]:
    """The names of the trees' values, in registers, for `lanes` elements; each different node is computed once.

    A product is not contracted with the sum it is in: the same formula gives the same bits wherever it is written out, so that
    the gradient of a maximum finds it again. `summed`: the numbers of trees for which it may be, as they are parts of a fold.

    `leaf(node)` names the register value of a leaf and `index(axis)` the i64 coordinates; each is called once per leaf
    or axis. `f.block` may be another block afterwards: rarely needed parts are jumped over.
    """
    printer = _Printer(f, lanes)

    def outside(x: Scalar) -> str:
        return leaf(x) if x.op == "leaf" else index(x.value)

    return printer.trees(trees, outside, frozenset(id(trees[n]) for n in summed))


@cache
def _tree_of(build: Callable[..., Scalar], *dtypes: DType) -> Scalar:
    """A formula over leaves 0, 1, ... of these dtypes."""
    return build(*(s.leaf(i, d) for i, d in enumerate(dtypes)))


Names = dict[int, str]


class _Printer:
    """Prints nodes of one tree after another. `known` finds the value of an instruction text that was printed before."""

    def __init__(self, f: Function, lanes: int):
        self.f, self.lanes = f, lanes
        self.known: dict[str, str] = {}

    # -- walking ---------------------------------------------------------------------------------------------------

    def trees(
        self, roots: Sequence[Scalar], outside: Callable[[Scalar], str], contracted: Collection[int] = ()
    ) -> list[str]:
        """Prints trees; nodes whose `id` is among `contracted` may be contracted with what they are in."""
        leaves: dict[tuple[str, Any], str] = {}

        def outside_once(x: Scalar) -> str:
            key = (x.op, x.value)
            if key not in leaves:
                leaves[key] = outside(x)
            return leaves[key]

        names: Names = {}
        self._fill(names, roots, outside_once, contracted)
        return [names[id(root)] for root in roots]

    def _fill(
        self, names: Names, roots: Sequence[Scalar], outside: Callable[[Scalar], str], contracted: Collection[int]
    ) -> None:
        for x in s.postorder(*roots, done=names, usual=True):
            if x.op in ("leaf", "index"):
                names[id(x)] = outside(x)
            elif x.op == "const":
                names[id(x)] = literal(x.value, x.dtype, self.lanes)
            elif x.op == "rarely":
                names[id(x)] = self._rarely(x, names, outside)
            else:
                names[id(x)] = self.apply(x, [names[id(a)] for a in x.args], id(x) in contracted)

    def _rarely(self, x: Scalar, names: Names, outside: Callable[[Scalar], str]) -> str:
        """The usual branch, unless the condition holds somewhere: then the other, element by element, where it holds."""
        f, (condition, usual) = self.f, (names[id(x.args[0])], names[id(x.args[2])])
        operands = {(y.op, y.value): y for y in s.postorder(x.args[1]) if y.op in ("leaf", "index")}
        values = [outside(y) for y in operands.values()]
        helper = f.module.helper(x.args[1], lambda name: _write_helper(f.module, name, x.args[1], operands))
        before, side, after = f.block, f.label("rare"), f.label("usual")
        f.branch_if(self.any(condition), side, after, rarely=True)
        f.begin(side)
        kinds = [y.dtype for y in operands.values()]
        if self.lanes == 1:
            found = f.let(_call_of(helper, x.dtype, kinds, values))
        else:
            found = self._one_by_one(helper, x.dtype, kinds, values, condition, usual)
        last = f.block
        f.branch(after)
        f.begin(after)
        return f.phi(self.type(x.dtype), (usual, before), (found, last)).name

    def _one_by_one(
        self, helper: str, dtype: DType, kinds: list[DType], values: list[str], condition: str, usual: str
    ) -> str:
        """The usual value with the helper's in the elements where the condition holds."""
        f, room = self.f, {}
        stored = [(condition, bool_), (usual, dtype), *zip(values, kinds, strict=True)]
        for i, (value, kind) in enumerate(stored):
            room[i] = f.place(memory_type(kind, self.lanes))
            f.do(f"store {memory_type(kind, self.lanes)} {to_memory(f, value, kind, self.lanes)}, ptr {room[i]}")
        with f.loop("0", str(self.lanes), 1) as turn:

            def place(i: int) -> str:
                return f.let(f"getelementptr {memory_type(stored[i][1], 1)}, ptr {room[i]}, i64 {turn.index}")

            def load(i: int) -> str:
                kind = stored[i][1]
                return to_register(f, f.let(f"load {memory_type(kind, 1)}, ptr {place(i)}"), kind, 1)

            holds, skip = f.label("holds"), f.label("next")
            f.branch_if(load(0), holds, skip)
            f.begin(holds)
            found = f.let(_call_of(helper, dtype, kinds, [load(i + 2) for i in range(len(kinds))]))
            f.do(f"store {memory_type(dtype, 1)} {to_memory(f, found, dtype, 1)}, ptr {place(1)}")
            f.branch(skip)
            f.begin(skip)
        whole = f.let(f"load {memory_type(dtype, self.lanes)}, ptr {room[1]}")
        return to_register(f, whole, dtype, self.lanes)

    # -- instructions ----------------------------------------------------------------------------------------------

    def type(self, dtype: DType) -> str:
        """The register type of a dtype."""
        return register_type(dtype, self.lanes)

    def const(self, value: Any, dtype: DType) -> str:
        """A constant of a dtype in every lane."""
        return literal(value, dtype, self.lanes)

    def let(self, text: str) -> str:
        """The value of an instruction, printed unless the same one was."""
        name = self.known.get(text)
        if name is None:
            name = self.known[text] = self.f.let(text)
        return name

    def call(self, intrinsic: str, element: str, *operands: str, last: tuple[str, str] | None = None) -> str:
        """The value of an intrinsic whose operands and result are of one type, but for the `last` operand."""
        kind, name = vector(element, self.lanes), f"{intrinsic}.{overload(element, self.lanes)}"
        pairs = [(kind, x) for x in operands] + ([last] if last else [])
        self.f.module.declare(name, kind, [t for t, _ in pairs])
        return self.let(f"call {kind} @{name}({', '.join(f'{t} {x}' for t, x in pairs)})")

    def convert(self, instruction: str, x: str, source: str, target: str) -> str:
        """A conversion between two element types."""
        return self.let(f"{instruction} {vector(source, self.lanes)} {x} to {vector(target, self.lanes)}")

    def any(self, condition: str) -> str:
        """Whether a condition holds in some lane, i1."""
        if self.lanes == 1:
            return condition
        kind = self.type(bool_)
        name = f"llvm.vector.reduce.or.{overload('i1', self.lanes)}"
        self.f.module.declare(name, "i1", [kind])
        return self.let(f"call i1 @{name}({kind} {condition})")

    def select(self, condition: str, x: str, y: str, dtype: DType) -> str:
        """x where the condition holds, else y."""
        kind = self.type(dtype)
        return x if x == y else self.let(f"select {self.type(bool_)} {condition}, {kind} {x}, {kind} {y}")

    def formula(self, build: Callable[..., Scalar], operands: Sequence[str], *dtypes: DType) -> str:
        """A formula of ours on register values."""
        lines = _lines_of(build, dtypes, self.lanes, self.f.machine)
        if lines is None:
            return self.trees([_tree_of(build, *dtypes)], lambda x: operands[x.value])[0]
        self.f.module.declarations.update(lines.declarations)
        names = [*operands]
        for text, read in lines.texts:
            names.append(self.let(text % tuple([names[n] for n in read])))
        return names[lines.result]

    # -- nodes -----------------------------------------------------------------------------------------------------

    def apply(self, x: Scalar, operands: list[str], contracted: bool) -> str:
        """The value of a node whose operands have been printed."""
        dtype = x.args[-1].dtype
        if x.op == "cast":
            return self.cast(operands[0], dtype, x.dtype)
        if x.op == "table":
            return self.look_up(x, operands[0])
        if is_half(dtype) and x.op not in ("select", "bits"):
            wide = [self.cast(y, a.dtype, float32) if is_half(a.dtype) else y
                    for y, a in zip(operands, x.args, strict=True)]  # fmt: skip
            out = self.primitive(x, wide, float32, False)
            return self.cast(out, float32, x.dtype) if is_half(x.dtype) else out
        return self.primitive(x, operands, dtype, contracted)

    def primitive(self, x: Scalar, operands: list[str], dtype: DType, contracted: bool) -> str:
        """The value of a primitive on operands of `dtype`."""
        if x.op == "select":
            return self.select(operands[0], operands[1], operands[2], dtype)
        if x.op in ("bits", "from_bits"):
            return self.bits(operands[0], dtype, x.dtype)
        if dtype.category != FLOAT:
            return self.whole(x, operands, dtype)
        if x.op in _FLOAT:
            flag = " contract" if x.op in _CONTRACTED and contracted else ""
            return self.let(f"{_FLOAT[x.op].format(flag)} {self.type(dtype)} {', '.join(operands)}")
        return self.function(x, operands, dtype)

    def bits(self, x: str, source: DType, target: DType) -> str:
        """The same bits as another type."""
        a, b = REGISTER[source], REGISTER[target]
        return x if a == b else self.convert("bitcast", x, a, b)

    def function(self, x: Scalar, operands: list[str], dtype: DType) -> str:
        """The value of a float primitive that is not one instruction everywhere."""
        element, machine = REGISTER[dtype], self.f.machine
        if x.op in ("max", "min"):
            order = "ogt" if x.op == "max" else "olt"
            return self.extreme(operands[0], operands[1], order, dtype)
        if x.op in ("abs", "sqrt"):
            return self.call({"abs": "llvm.fabs", "sqrt": "llvm.sqrt"}[x.op], element, *operands)
        if x.op == "fma" and machine.fma:
            return self.call("llvm.fma", element, *operands)
        if x.op in ("floor", "ceil", "rint", "trunc") and machine.rounding:
            return self.call(f"llvm.{x.op}", element, *operands)
        if x.op == "scale" and machine.scale:
            return self.scale(operands[0], operands[1], dtype)
        if x.op == "rem":
            return self.fmod(operands[0], operands[1], dtype)
        if x.op == "fma":
            return self.long_fma(operands, dtype)
        if x.op in _PORTABLE:
            return self.formula(_PORTABLE[x.op], operands, *([dtype] * len(operands)))
        if x.op == "pow" and x.args[1].op == "const" and x.args[1].value in transcendentals.POWERS:
            return self.formula(transcendentals.POWERS[x.args[1].value], operands[:1], dtype)
        return self.formula(transcendentals.FUNCTIONS[x.op], operands, *([dtype] * len(operands)))

    def long_fma(self, operands: Sequence[str], dtype: DType) -> str:
        """A fused multiply-add in many instructions, which are kept in one place lest code grow without end."""
        kind, key = self.type(dtype), ("fma", dtype, self.lanes)
        names = ("x", "y", "z")

        def write(name: str) -> None:
            f = self.f.module.function(name, [(kind, n) for n in names], kind, "noinline", linkage="internal")
            found = _Printer(f, self.lanes).formula(portable.fma, [f"%{n}" for n in names], *[dtype] * 3)
            f.do(f"ret {kind} {found}")

        helper = self.f.module.helper(key, write)
        return self.let(f"call {kind} @{helper}({', '.join(f'{kind} {v}' for v in operands)})")

    def scale(self, x: str, n: str, dtype: DType) -> str:
        """x * 2^n by the instruction of AVX-512; LLVM's ldexp, for parts of registers, wants n as an integer."""
        element, width = REGISTER[dtype], 64 // dtype.itemsize
        kind = vector(element, width)
        if self.lanes % width or self.lanes // width & (self.lanes // width - 1):
            whole, kind = vector("i32", self.lanes), self.type(dtype)
            name = f"llvm.ldexp.{overload(element, self.lanes)}.{overload('i32', self.lanes)}"
            self.f.module.declare(name, kind, [kind, whole])
            return self.let(f"call {kind} @{name}({kind} {x}, {whole} {self.to_whole(n, dtype, int32)})")
        name = f"llvm.x86.avx512.mask.scalef.{'ps' if dtype is float32 else 'pd'}.512"
        self.f.module.declare(name, kind, [kind, kind, kind, f"i{width}", "i32"])
        parts = [
            self.let(f"call {kind} @{name}({kind} {a}, {kind} {b}, {kind} {a}, i{width} -1, i32 4)")
            for a, b in zip(self.registers(x, element, width), self.registers(n, element, width), strict=True)
        ]
        while len(parts) > 1:
            pairs = list(zip(parts[::2], parts[1::2], strict=True))
            parts, width = [self.shuffle(a, b, element, width, range(2 * width)) for a, b in pairs], 2 * width
        return parts[0]

    def registers(self, x: str, element: str, width: int) -> list[str]:
        """A vector in pieces of `width` elements."""
        if self.lanes == width:
            return [x]
        starts = range(0, self.lanes, width)
        return [self.shuffle(x, "poison", element, self.lanes, range(i, i + width)) for i in starts]

    def shuffle(self, x: str, y: str, element: str, width: int, places: Sequence[int]) -> str:
        """The elements at some places of two vectors behind each other."""
        kind, chosen = vector(element, width), ", ".join(f"i32 {i}" for i in places)
        return self.let(f"shufflevector {kind} {x}, {kind} {y}, <{len(places)} x i32> <{chosen}>")

    def extreme(self, x: str, y: str, order: str, dtype: DType) -> str:
        """The larger or smaller float; NaN wins."""
        kind = self.type(dtype)
        chosen = self.select(self.let(f"fcmp {order} {kind} {x}, {y}"), x, y, dtype)
        return self.select(self.let(f"fcmp uno {kind} {x}, {x}"), x, chosen, dtype)

    def look_up(self, x: Scalar, position: str) -> str:
        """Elements of a table of constants."""
        element, f = REGISTER[x.dtype], self.f
        name = f.module.table(element, [literal(v, x.dtype) for v in x.value])
        whole, places = x.args[0].dtype, vector("ptr", self.lanes)
        where = self.let(f"getelementptr {element}, ptr {name}, {self.type(whole)} {position}")
        if self.lanes == 1:
            return self.let(f"load {element}, ptr {where}")
        kind = self.type(x.dtype)
        intrinsic = f"llvm.masked.gather.{overload(element, self.lanes)}.v{self.lanes}p0"
        everywhere = f"{self.type(bool_)} {self.const(True, bool_)}"
        f.module.declare(intrinsic, kind, [places, self.type(bool_), kind])
        size = x.dtype.itemsize
        return self.let(f"call {kind} @{intrinsic}({places} align {size} {where}, {everywhere}, {kind} poison)")

    # -- integers and bools ----------------------------------------------------------------------------------------

    def whole(self, x: Scalar, operands: list[str], dtype: DType) -> str:
        """The value of a primitive on integers or bools."""
        kind, signed = self.type(dtype), dtype.is_signed
        if x.op in _COMPARISONS:
            prefix = "" if x.op in ("eq", "ne") else "s" if signed else "u"
            return self.let(f"icmp {prefix}{x.op} {kind} {operands[0]}, {operands[1]}")
        if x.op in _WHOLE:
            return self.let(f"{_WHOLE[x.op]} {kind} {', '.join(operands)}")
        if x.op in ("max", "min"):
            if dtype is bool_:
                return self.let(f"{'or' if x.op == 'max' else 'and'} {kind} {', '.join(operands)}")
            return self.call(f"llvm.{'s' if signed else 'u'}{x.op}", REGISTER[dtype], *operands)
        if x.op == "neg":
            return self.let(f"sub {kind} zeroinitializer, {operands[0]}")
        if x.op == "not":
            return self.let(f"xor {kind} {operands[0]}, {self.const(1 if dtype is bool_ else -1, dtype)}")
        if x.op == "abs":
            return self.call("llvm.abs", REGISTER[dtype], *operands, last=("i1", "false")) if signed else operands[0]
        if x.op in ("shl", "shr"):
            return self.shift(x, operands, dtype)
        if x.op in ("quot", "rem"):
            return self.divide(x, operands, dtype)
        assert x.op == "pow", x.op
        return self.power(x, operands, dtype)

    def shift(self, x: Scalar, operands: list[str], dtype: DType) -> str:
        """A shift; by as much as the width or by a negative number it gives 0, or -1 for negative numbers to the right."""
        kind, width = self.type(dtype), 8 * dtype.itemsize
        instruction = "shl" if x.op == "shl" else "ashr" if dtype.is_signed else "lshr"
        by = x.args[1]
        if by.op == "const" and 0 <= by.value < width:
            return self.let(f"{instruction} {kind} {operands[0]}, {operands[1]}")
        inside = self.let(f"icmp ult {kind} {operands[1]}, {self.const(width, dtype)}")
        if instruction == "ashr":
            most = self.select(inside, operands[1], self.const(width - 1, dtype), dtype)
            return self.let(f"ashr {kind} {operands[0]}, {most}")
        moved = self.let(f"{instruction} {kind} {operands[0]}, {operands[1]}")
        return self.select(inside, moved, self.const(0, dtype), dtype)

    def divide(self, x: Scalar, operands: list[str], dtype: DType) -> str:
        """Division toward zero or its rest; 0 for a divisor of 0, wrapped for the least number by -1."""
        kind, (a, b), by = self.type(dtype), operands, x.args[1]
        sign = "s" if dtype.is_signed else "u"
        instruction = f"{sign}div" if x.op == "quot" else f"{sign}rem"
        if by.op == "const" and by.value not in (0, -1):
            return self.let(f"{instruction} {kind} {a}, {b}")
        none = self.let(f"icmp eq {kind} {b}, zeroinitializer")
        unsafe = none
        if dtype.is_signed:
            least = self.let(f"icmp eq {kind} {a}, {self.const(-(1 << 8 * dtype.itemsize - 1), dtype)}")
            minus = self.let(f"icmp eq {kind} {b}, {self.const(-1, dtype)}")
            both = self.let(f"and {self.type(bool_)} {least}, {minus}")
            unsafe = self.let(f"or {self.type(bool_)} {none}, {both}")
        divisor = self.select(unsafe, self.const(1, dtype), b, dtype)
        if x.op == "rem" or dtype.itemsize > 4 or self.lanes == 1:
            out = self.let(f"{instruction} {kind} {a}, {divisor}")
        else:
            out = self.formula(portable.quotient_in_floats, [a, divisor], dtype, dtype)
        return self.select(none, self.const(0, dtype), out, dtype)

    def power(self, x: Scalar, operands: list[str], dtype: DType) -> str:
        """Integer power by repeated squaring, until no bit of any exponent is left."""
        base, exponent = operands
        if x.args[1].op == "const" and 0 <= x.args[1].value <= 64:
            tree = portable.constant_power(s.leaf(0, dtype), x.args[1].value)
            return self.trees([tree], lambda _: base)[0]
        f, kind = self.f, self.type(dtype)
        clipped = (
            self.call("llvm.smax", REGISTER[dtype], exponent, self.const(0, dtype)) if dtype.is_signed else exponent
        )
        before, head, body, after = f.block, f.label("power"), f.label("square"), f.label("done")
        f.branch(head)
        f.begin(head)
        out, square, left = (f.phi(kind, (v, before)) for v in (self.const(1, dtype), base, clipped))
        more = self.any(f.let(f"icmp ne {kind} {left.name}, zeroinitializer"))
        f.branch_if(more, body, after)
        f.begin(body)
        odd = f.let(f"trunc {kind} {left.name} to {self.type(bool_)}")
        product = f.let(f"mul {kind} {out.name}, {square.name}")
        out.add(f.let(f"select {self.type(bool_)} {odd}, {kind} {product}, {kind} {out.name}"), body)
        square.add(f.let(f"mul {kind} {square.name}, {square.name}"), body)
        left.add(f.let(f"lshr {kind} {left.name}, {self.const(1, dtype)}"), body)
        f.branch(head)
        f.begin(after)
        if not dtype.is_signed:
            return out.name
        return self.formula(portable.negative_power, [base, exponent, out.name], dtype, dtype, dtype)

    # -- remainders of floats --------------------------------------------------------------------------------------

    def fmod(self, x: str, y: str, dtype: DType) -> str:
        """The exact remainder, with the sign of x: long division, as many bits of the quotient a turn as a float has."""
        wide = [self.cast(v, dtype, float64) for v in (x, y)]
        f, kind = self.f, self.type(float64)
        start, divisor = (self.call("llvm.fabs", "double", v) for v in wide)
        first = self.formula(transcendentals.remainder_step, [start, divisor], float64, float64)
        before, head, body, after = f.block, f.label("divide"), f.label("again"), f.label("divided")
        f.branch(head)
        f.begin(head)
        rest = f.phi(kind, (first, before))
        more = self.any(f.let(f"fcmp oge {kind} {rest.name}, {divisor}"))
        f.branch_if(more, body, after)
        f.begin(body)
        outer, self.known = self.known, dict(self.known)
        rest_next = self.formula(transcendentals.remainder_step, [rest.name, divisor], float64, float64)
        self.known = outer
        rest.add(rest_next, f.block)
        f.branch(head)
        f.begin(after)
        out = self.formula(transcendentals.remainder_end, [*wide, rest.name], float64, float64, float64)
        return self.cast(out, float64, dtype)

    # -- casts -----------------------------------------------------------------------------------------------------

    def cast(self, x: str, source: DType, target: DType) -> str:
        """A value of one dtype as another."""
        if source is target:
            return x
        if is_half(source):
            return self.cast(self.widen(x, source), float32, target)
        if target.category == BOOL:
            test = "fcmp une" if source.category == FLOAT else "icmp ne"
            return self.let(f"{test} {self.type(source)} {x}, zeroinitializer")
        if is_half(target):
            return self.narrow(x, source, target)
        a, b = REGISTER[source], REGISTER[target]
        if source.category != FLOAT and target.category != FLOAT:
            if source.itemsize == target.itemsize and source is not bool_:
                return x
            shrinks = source.itemsize > target.itemsize
            return self.convert("trunc" if shrinks else "sext" if source.is_signed else "zext", x, a, b)
        if source.category != FLOAT:
            return self.convert("sitofp" if source.is_signed else "uitofp", x, a, b)
        if target.category == FLOAT:
            return self.convert("fpext" if target is float64 else "fptrunc", x, a, b)
        return self.to_whole(x, source, target)

    def to_whole(self, x: str, source: DType, target: DType) -> str:
        """Truncation; out of range (of int32 for the narrower ones) and NaN give the least number, as x86 does."""
        through = int64 if target is int64 else int32
        limit = self.const(float(1 << 8 * through.itemsize - 1), source)
        size = self.call("llvm.fabs", REGISTER[source], x)
        inside = self.let(f"fcmp olt {self.type(source)} {size}, {limit}")
        whole = self.convert("fptosi", x, REGISTER[source], REGISTER[through])
        least = self.const(-(1 << 8 * through.itemsize - 1), through)
        return self.cast(self.select(inside, whole, least, through), through, target)

    def widen(self, x: str, source: DType) -> str:
        """A half as float32."""
        if source is bfloat16:
            return self.formula(portable.from_bfloat16_bits, [x], int16)
        if not self.f.machine.half:
            return self.formula(portable.from_float16_bits, [x], int16)
        return self.convert("fpext", self.convert("bitcast", x, "i16", "half"), "half", "float")

    def narrow(self, x: str, source: DType, target: DType) -> str:
        """A number as a half, rounded to nearest; NumPy takes all but float64 -> float16 through float32."""
        if source is float64 and target is float16:
            x = self.formula(portable.to_odd_float32, [x], float64)
        else:
            x = self.cast(x, source, float32)
        if target is bfloat16:
            return self.formula(portable.bfloat16_bits, [x], float32)
        if not self.f.machine.half:
            return self.formula(portable.float16_bits, [x], float32)
        return self.convert("bitcast", self.convert("fptrunc", x, "float", "half"), "half", "i16")


class _Lines(NamedTuple):
    """The instructions of a formula: texts with a `%s` for each name they read, and the numbers of these names among the
    operands and the results of the lines before."""

    texts: list[tuple[str, list[int]]]
    result: int
    declarations: Mapping[str, str]


@cache
def _lines_of(build: Callable[..., Scalar], dtypes: tuple[DType, ...], lanes: int, machine: Machine) -> _Lines | None:
    """What a formula is printed as, so that it need not be walked again; None if it is more than a row of instructions."""
    module = Module(machine)
    f = module.function("formula", [])
    (result,) = _Printer(f, lanes).trees([_tree_of(build, *dtypes)], lambda x: f"%x{x.value}")
    lines = f.row()
    if lines is None or not _NAME.fullmatch(result):
        return None

    def numbers(text: str) -> list[int]:
        return [int(n) + (len(dtypes) if kind == "v" else 0) for kind, n in _NAME.findall(text)]

    return _Lines([(_NAME.sub("%s", x), numbers(x)) for x in lines], numbers(result)[0], module.declarations)


_NAME = re.compile(r"%([xv])(\d+)")


def _call_of(helper: str, dtype: DType, kinds: Sequence[DType], values: Sequence[str]) -> str:
    pairs = ", ".join(f"{register_type(k, 1)} {v}" for k, v in zip(kinds, values, strict=True))
    return f"call {register_type(dtype, 1)} @{helper}({pairs})"


def _write_helper(module: Module, name: str, tree: Scalar, operands: Mapping[tuple[str, Any], Scalar]) -> None:
    """A function of one element that computes a tree from its leaves."""
    parameters = {key: f"x{i}" for i, key in enumerate(operands)}
    kinds = [(register_type(x.dtype, 1), parameters[key]) for key, x in operands.items()]
    f = module.function(name, kinds, register_type(tree.dtype, 1), "noinline", linkage="internal")
    found = _Printer(f, 1).trees([tree], lambda x: "%" + parameters[x.op, x.value])
    f.do(f"ret {register_type(tree.dtype, 1)} {found[0]}")


_CONTRACTED = {"add", "mul"}
_FLOAT = {"add": "fadd{}", "sub": "fsub{}", "mul": "fmul{}", "div": "fdiv", "neg": "fneg",
          "lt": "fcmp olt", "le": "fcmp ole", "eq": "fcmp oeq", "ne": "fcmp une"}  # fmt: skip
_WHOLE = {"add": "add", "sub": "sub", "mul": "mul", "and": "and", "or": "or", "xor": "xor"}
_COMPARISONS = {"lt", "le", "eq", "ne"}
_PORTABLE: dict[str, Callable[..., Scalar]] = {
    "floor": portable.floor, "ceil": portable.ceil, "rint": portable.rint,
    "trunc": portable.trunc, "scale": portable.scale,
}  # fmt: skip
