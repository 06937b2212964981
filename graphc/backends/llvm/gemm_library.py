"""GEMM by a BLAS, as LLVM IR: one call for each batch of the part, through an address in the task's words."""

from __future__ import annotations

import functools

from graphc.backends.llvm.emit import Function, Module
from graphc.backends.llvm.gemm_words import (
    Element,
    at,
    batch_starts,
    element,
    minus,
    part_of,
    place,
    plus,
    run_time_alpha,
    scale,
    times,
    when,
    word,
)
from graphc.backends.llvm.host import Machine

#: CBLAS's numbers.
ROW_MAJOR, AS_STORED, TRANSPOSED = 101, 111, 112


def symbol(dtype: str) -> str:
    """The name of the task function."""
    return f"graphc_library_gemm_{dtype}"


@functools.cache
def module(dtype: str, machine: Machine, int_bits: int) -> str:
    """The LLVM IR of float32's or float64's task for a BLAS with integers of that many bits."""
    kind, text = element(dtype, machine), Module(machine)
    _plain(text, kind)
    _task(text, kind, f"i{int_bits}", symbol(dtype))
    return text.text()


_STRIDES = ("a_row", "a_column", "b_row", "b_column", "c_row", "c_column")


def _plain(text: Module, kind: Element) -> None:
    """`C = alpha * A @ B + beta * C` by three loops, as a BLAS does not compute it: 0 * NaN is NaN, and k may be 0."""
    numbers = [("i64", name) for name in ("m", "n", "k")]
    scales = [(kind.llvm, "alpha"), (kind.llvm, "beta")]
    f = text.function("plain", [("ptr", "args"), *(("ptr", x) for x in "abc"), *numbers, *scales], "internal void")
    t, strides = kind.llvm, {name: times(f, word(f, name), kind.size) for name in _STRIDES}
    fresh = f.let(f"fcmp oeq {t} %beta, 0.0")
    with f.loop("0", "%m", 1) as i:
        a, row = (at(f, f"%{x}", times(f, i.index, strides[f"{x}_row"])) for x in "ac")
        with f.loop("0", "%n", 1) as j:
            b = at(f, "%b", times(f, j.index, strides["b_column"]))
            c = at(f, row, times(f, j.index, strides["c_column"]))
            with f.loop("0", "%k", 1, carry=[(t, "0.0")]) as p:
                x = f.let(f"load {t}, ptr {at(f, a, times(f, p.index, strides['a_column']))}")
                y = f.let(f"load {t}, ptr {at(f, b, times(f, p.index, strides['b_row']))}")
                p.next = [f.let(f"fadd {t} {p.carried[0]}, {f.let(f'fmul {t} {x}, {y}')}")]
            value = f.let(f"fmul {t} %alpha, {p.results[0]}")
            kept = f.let(f"fmul {t} %beta, {f.let(f'load {t}, ptr {c}')}")
            both = f.let(f"fadd {t} {value}, {kept}")
            f.do(f"store {t} {f.let(f'select i1 {fresh}, {t} {value}, {t} {both}')}, ptr {c}")
    f.do("ret void")


def _bring(f: Function, kind: Element, c: str, d: str, m: str, n: str, beta: str) -> None:
    """Copies D to C, where a BLAS expects it, unless D is C or is not read."""
    f.module.declare("llvm.memcpy.p0.p0.i64", "void", ["ptr", "ptr", "i64", "i1"])
    other = f.let(f"and i1 {f.let(f'icmp ne ptr {c}, {d}')}, {f.let(f'fcmp une {kind.llvm} {beta}, 0.0')}")
    with when(f, other):
        steps = [times(f, word(f, f"{x}_row"), kind.size) for x in "cd"]
        with f.loop("0", m, 1) as i:
            to, source = (at(f, x, times(f, i.index, step)) for x, step in zip((c, d), steps, strict=True))
            f.do(f"call void @llvm.memcpy.p0.p0.i64(ptr {to}, ptr {source}, i64 {times(f, n, kind.size)}, i1 false)")


def _integers(f: Function, kind: str, values: list[str]) -> str:
    """i64 values as operands of the BLAS's integer type."""
    if kind == "i64":
        return ", ".join(f"i64 {value}" for value in values)
    return ", ".join(f"{kind} {f.let(f'trunc i64 {value} to {kind}')}" for value in values)


def _task(text: Module, kind: Element, integer: str, name: str) -> None:
    """The task function: the part `[%begin, %end)` of the rows, columns or batches."""
    f, t = text.function(name, [("ptr", "table"), ("ptr", "args"), ("i64", "begin"), ("i64", "end")], "i64"), kind.llvm
    batches = times(f, times(f, word(f, "batch0"), word(f, "batch1")), word(f, "batch2"))
    (first_row, end_row), (first_column, end_column), (first, end) = (
        part_of(f, size, i) for i, size in enumerate((word(f, "m"), word(f, "n"), batches))
    )
    m, n, k = minus(f, end_row, first_row), minus(f, end_column, first_column), word(f, "k")
    alpha, beta = run_time_alpha(f, kind), scale(f, kind, "beta")
    starts = [(x, place(f, word(f, f"{x}_slot"), word(f, f"{x}_offset"))) for x in "abcd"]
    skips = {"a": times(f, first_row, word(f, "a_row")), "b": times(f, first_column, word(f, "b_column"))}
    for x in "cd":
        skips[x] = plus(f, times(f, first_row, word(f, f"{x}_row")), times(f, first_column, word(f, f"{x}_column")))
    special = f.let(f"or i1 {f.let(f'fcmp oeq {t} {alpha}, 0.0')}, {f.let(f'icmp eq i64 {k}, 0')}")
    function = f.let(f"inttoptr i64 {word(f, 'function')} to ptr")
    orders = ", ".join(f"i32 {f.let(f'trunc i64 {word(f, x)} to i32')}" for x in ("a_order", "b_order"))
    sizes = _integers(f, integer, [m, n, k])
    leading = {x: _integers(f, integer, [word(f, f"{x}_leading")]) for x in "abc"}
    with f.loop(first, end, 1) as batch:
        places = batch_starts(f, batch.index, starts, kind.size)
        a, b, c, d = (at(f, at_, times(f, skips[x], kind.size)) for x, at_ in zip("abcd", places, strict=True))
        _bring(f, kind, c, d, m, n, beta)
        by_hand, by_library, done = f.label("hand"), f.label("library"), f.label("done")
        f.branch_if(special, by_hand, by_library)
        f.begin(by_hand)
        operands = f"ptr %args, ptr {a}, ptr {b}, ptr {c}, i64 {m}, i64 {n}, i64 {k}, {t} {alpha}, {t} {beta}"
        f.do(f"call void @plain({operands})")
        f.branch(done)
        f.begin(by_library)
        matrices = f"{t} {alpha}, ptr {a}, {leading['a']}, ptr {b}, {leading['b']}, {t} {beta}, ptr {c}, {leading['c']}"
        f.do(f"call void {function}(i32 {ROW_MAJOR}, {orders}, {sizes}, {matrices})")
        f.branch(done)
        f.begin(done)
    f.do("ret i64 0")


__all__ = ["AS_STORED", "ROW_MAJOR", "TRANSPOSED", "module", "symbol"]
