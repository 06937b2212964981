"""The families of steps: each picks operands and adds one statement to a program, or raises `Rejected`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.fuzz.draft import Draft, Rejected, broadcast, is_unknown
from tests.fuzz.programs import SIZES

Family = Callable[[Draft], None]
FAMILIES: list[tuple[float, Family]] = []

SMOOTH = (
    "gc.tanh({0})", "gc.sin({0})", "{0}.cos()", "gc.sigmoid({0})", "-{0}", "gc.erf({0})", "{0} * {n}", "{0} + {n}", "{n} - {0}",
    "{0} / 3", "1 / ({0} * {0} + 1)", "gc.sqrt({0} * {0} + 1)", "gc.log1p({0} * {0})", "{0} ** 2", "{0}.square()", "gc.atan({0})",
    "gc.exp(-{0} * {0})", "gc.exp({0}.tanh())", "gc.rsqrt({0} * {0} + 0.5)", "({0} * {0} + 2).log()", "{0} * 1", "{0} + 0", "{0} - 0.0",
    "{0} / 1", "{0} * 0", "0 + {0}", "-(-{0})", "{0} ** 3", "{0} ** 1", "gc.expm1({0}.sin())", "F.softplus({0})", "F.silu({0})",
    "F.gelu({0})", "gc.sinh({0}.sin())", "gc.asinh({0})", "{0} * {0}", "{0} + {0}", "{0} - {0}", "gc.logaddexp({0}, {0} * 0.5)",
    "gc.exp2({0}.tanh())", "gc.lerp({0}, {0} * {0}, 0.3)", "{0}.to({0}.dtype)", "{0}.clone()",
    "gc.reciprocal({0} * {0} + 1)", "{0} * 2 * 0.5", "({0} + 1) - 1", "{0}.contiguous()", "{0}.cosh().log()",
)  # fmt: skip
KINKED = ("{0}.abs()", "gc.relu({0})", "{0}.clamp(-0.5, 0.75)", "{0}.clamp(min=0)", "F.leaky_relu({0}, 0.1)", "gc.sign({0})",
          "{0}.clamp_max(0.75)", "F.elu({0})", "F.hardtanh({0})")  # fmt: skip
STEPPED = ("{0}.floor()", "gc.ceil({0})", "gc.trunc({0})", "{0} % 2", "{0} // 2", "gc.frac({0})", "{0}.int()", "{0}.long()",
           "{0}.to(gc.int8)")  # fmt: skip
INTEGER = (
    "-{0}", "{0} * 2", "{0} + 1", "{0} // 2", "{0} % 3", "{0} & 3", "{0} | 1", "{0} ^ 5", "~{0}", "{0}.abs()", "{0} << 1", "{0} >> 1",
    "3 - {0}", "{0} * 0.5", "{0} / 4", "{0} ** 2", "{0}.clamp(-2, 3)", "{0} + True", "{0}.sign()", "{0}.cumsum(-1) if {0}.dim() else {0}",
    "{0}.sum()", "{0} * 1", "{0} + 0", "{0} % -3", "7 // ({0} * {0} + 1)", "{0}.float()", "{0}.double()", "{0}.bool()", "{0}.int()",
    "{0}.to(gc.uint8)", "{0}.to(gc.int8)", "gc.sin({0})", "{0}.to(gc.int16)",
)  # fmt: skip


def family(weight: float) -> Callable[[Family], Family]:
    """Registers a family with its weight."""

    def register(fn: Family) -> Family:
        FAMILIES.append((weight, fn))
        return fn

    return register


@family(5)
def smooth(g: Draft) -> None:
    g.define(g.rng.choice(SMOOTH).format(g.float(), n=g.number()))


@family(1.5)
def kinked(g: Draft) -> None:
    x = g.float()
    g.off(x, 0.0, -0.5, 0.75, 1.0, -1.0)
    g.define(g.rng.choice(KINKED).format(x))


@family(1)
def stepped(g: Draft) -> None:
    x = g.float()
    g.off_integers(x)
    for a in g.arrays(x):
        g.need(bool(np.all(np.abs(a / 2 - np.round(a / 2)) > g.margin)))
    g.define(g.rng.choice(STEPPED).format(x))


@family(2)
def integer(g: Draft) -> None:
    g.define(g.rng.choice(INTEGER).format(g.pick(g.is_int)))


@family(0.7)
def boolean(g: Draft) -> None:
    b = g.pick(g.is_bool)
    c = g.partner(b, g.is_bool)
    g.define(g.rng.choice(("~{0}", "{0} & {1}", "{0} | {1}", "{0} ^ {1}", "{0} == {1}", "{0}.any()", "{0}.all()", "gc.logical_not({0})",
                           "{0}.sum()", "{0}.float()", "{0}.int() + {1}", "{0} & True", "{0} | False")).format(b, c))  # fmt: skip


@family(6)
def binary(g: Draft) -> None:
    a = g.float()
    b = g.partner(a, lambda n: g.is_float(n) or g.chance(0.25))
    if g.chance(0.3):
        a, b = b, a
    op = g.rng.choice(("+", "-", "*", "*", "+", "/", "max", "min", "atan2", "addcmul"))
    if op in "+-*":
        g.need(not (g.is_bool(a) or g.is_bool(b)) or op == "*")
        g.define(f"{a} {op} {b}")
    elif op == "/":
        g.define(f"{a} / ({b} * {b} + 1)")
    elif op == "atan2":
        g.off(b, 0.0)
        g.define(f"gc.atan2({a}, {b} * {b} + 1)")
    elif op == "addcmul":
        g.define(f"gc.addcmul({a}, {a}, {b}, value=0.5)" if g.dtype(a) == g.dtype(b) else f"gc.add({a}, {b}, alpha=2)")
    else:
        g.apart(a, b)
        g.define(f"gc.{op}imum({a}, {b})")


@family(1)
def binary_integer(g: Draft) -> None:
    a = g.pick(g.is_int)
    b = g.partner(a, lambda n: not g.is_float(n))
    text = g.rng.choice(("{0} + {1}", "{0} * {1}", "gc.maximum({0}, {1})", "{0} & {1}", "{0} | {1}", "{0} // ({1} * {1} + 1)",
                         "{0} % ({1} * {1} + 1)", "{0} ^ {1}", "{0} / ({1} * {1} + 1)"))  # fmt: skip
    g.need("%" not in text and "/" not in text or not g.is_bool(b))
    g.define(text.format(a, b))


@family(1.5)
def comparison(g: Draft) -> None:
    if g.chance(0.3):
        a = g.pick(g.is_int)
        g.define(f"{a} {g.rng.choice(('<', '<=', '==', '!=', '>', '>='))} {g.rng.choice((0, 1, 2))}")
        return
    a = g.float()
    if g.chance(0.4):
        g.off(a, 0.0, 0.5)
        g.define(f"{a} {g.rng.choice(('<', '>=', '>', '<='))} {g.rng.choice((0, 0.5))}")
        return
    b = g.partner(a, lambda n: g.is_float(n) and n != a)
    g.apart(a, b)
    g.define(f"{a} {g.rng.choice(('<', '<=', '>', '>=', '!='))} {b}")


@family(1.5)
def where(g: Draft) -> None:
    c = g.pick(g.is_bool)
    a = g.partner(c, lambda n: True)
    b = g.partner(a, lambda n: broadcast(g.dims(n), g.dims(c)) is not None)
    pick = g.rng.random()
    if pick < 0.6:
        g.define(f"gc.where({c}, {a}, {b})")
    elif pick < 0.8:
        g.define(f"gc.where({c}, {a}, {g.number() if g.is_float(a) else 1})")
    else:
        g.need(broadcast(g.dims(a), g.dims(c)) == g.dims(a) and not g.is_bool(a))
        g.define(f"{a}.masked_fill({c}, {g.number() if g.is_float(a) else 1})")


@family(3)
def reduction(g: Draft) -> None:
    x = g.pick(lambda n: not g.is_bool(n))
    name = g.rng.choice(("sum", "sum", "mean", "prod", "amax", "amin", "var", "logsumexp", "std", "norm", "count_nonzero"))
    if not g.is_float(x):
        g.need(name in ("sum", "prod", "amax", "amin"))
    rank = g.rank(x)
    if name == "prod" or name == "count_nonzero":
        if name == "count_nonzero":
            g.off(x, 0.0)
        dim = "" if g.chance(0.5) or not rank else str(g.dim_text(x, g.axis(x)))
        g.define(f"{x}.{name}({dim})")
        return
    axes = tuple(a for a in range(rank) if g.chance(0.5)) or tuple(range(rank))
    if name in ("amax", "amin"):
        g.not_empty(x)
        if g.is_float(x):
            g.distinct(x)
    if name in ("mean", "var", "std", "norm", "logsumexp"):
        g.not_empty(x)
    if name in ("var", "std"):
        for env in g.envs:
            g.need(int(np.prod([env[x].shape[a] for a in axes])) > 1)
    g.need(name != "norm" or len(axes) <= 2)
    if name in ("std", "norm"):
        g.distinct(x)
        g.off(x, 0.0)
    text = repr(axes[0] if len(axes) == 1 and g.chance(0.7) else axes)
    if name == "logsumexp" and not rank:
        text = "0"
    keep = ", keepdim=True" if g.chance(0.4) else ""
    if name in ("sum", "mean") and g.chance(0.35):
        g.define(f"{x}.{name}()")
    elif name == "norm":
        g.define(f"{x}.norm(dim={text}{keep})" if rank else f"{x}.norm()")
    elif not rank and name in ("amax", "amin"):
        g.define(f"{x}.{name}()")
    elif not rank:
        raise Rejected
    else:
        g.define(f"{x}.{name}({text}{keep})")


@family(0.8)
def softmaxes(g: Draft) -> None:
    x = g.float()
    a = g.axis(x)
    g.not_empty(x)
    g.define(g.rng.choice(("gc.softmax({0}, {1})", "gc.log_softmax({0}, {1})", "{0}.logsumexp({1})", "F.normalize({0} + 5, dim={1})"))
             .format(x, g.dim_text(x, a)))  # fmt: skip


@family(0.8)
def arg_reduction(g: Draft) -> None:
    x = g.float()
    a = g.axis(x)
    g.not_empty(x, a)
    g.distinct(x, a)
    g.define(g.rng.choice(("{0}.argmax({1})", "gc.argmin({0}, {1})", "{0}.argmax({1}, keepdim=True)", "{0}.max({1})[0]", "{0}.min({1})[1]",
                           "gc.argsort({0}, {1})")).format(x, g.dim_text(x, a)))  # fmt: skip


@family(1)
def cumulative(g: Draft) -> None:
    x = g.pick(lambda n: not g.is_bool(n))
    a = g.axis(x)
    name = g.rng.choice(("cumsum", "cumsum", "cumprod", "cummax", "cummin", "logcumsumexp"))
    if name in ("cummax", "cummin"):
        g.distinct(x, a)
        g.not_empty(x)
        g.define(f"gc.{name}({x}, {g.dim_text(x, a)})[{g.rng.choice((0, 0, 1))}]")
        return
    g.need(g.is_float(x) or name != "logcumsumexp")
    if name == "cumprod" and g.is_float(x):
        g.off(x, 0.0)
    g.define(f"gc.{name}({x}, {g.dim_text(x, a)})")


@family(2.5)
def contraction(g: Draft) -> None:
    a = g.pick(lambda n: g.is_float(n) and g.rank(n) >= 1)
    da = g.dims(a)

    def goes(n: str) -> bool:
        d = g.dims(n)
        return g.dtype(n) == g.dtype(a) and len(d) >= 1 and d[-1 if len(d) == 1 else -2] == da[-1] and (
            min(len(d), len(da)) <= 2 or broadcast(d[:-2], da[:-2]) is not None
        )

    pick = g.rng.random()
    if pick < 0.25 and len(da) >= 2:
        g.define(g.rng.choice(("{0} @ {0}.transpose(-1, -2)", "{0}.transpose(-1, -2) @ {0}", "{0}.mT @ {0}")).format(a))
    elif pick < 0.35 and len(da) == 2:
        b = g.pick(lambda n: g.dtype(n) == g.dtype(a) and g.rank(n) == 2 and g.dims(n)[1] == da[1])
        g.define(g.rng.choice(("F.linear({0}, {1})", "{0} @ {1}.T", "gc.einsum('ij,kj->ki', {0}, {1})", "{1} @ {0}.t()")).format(a, b))
    elif pick < 0.45 and len(da) == 2:
        b = g.pick(lambda n: g.dtype(n) == g.dtype(a) and g.rank(n) == 2 and g.dims(n)[0] == da[0])
        g.define(g.rng.choice(("{0}.T @ {1}", "({1}.T @ {0}).T", "({0} * 0.5).t() @ {1}", "gc.einsum('ij,ik->jk', {0}, {1})")).format(a, b))
    elif pick < 0.5:
        b = g.pick(lambda n: g.is_float(n) and g.rank(n) == 1 and g.dtype(n) == g.dtype(a))
        g.need(len(da) == 1)
        g.define(f"gc.outer({a}, {b})")
    else:
        g.define(g.rng.choice(("{0} @ {1}", "gc.matmul({0}, {1})", "{0} @ ({1} * 2)", "-{0} @ {1}")).format(a, g.pick(goes)))


@family(2)
def axes_view(g: Draft) -> None:
    x = g.pick()
    rank = g.rank(x)
    pick = g.rng.randrange(7)
    if pick == 0 and rank >= 2:
        a, b = g.rng.sample(range(rank), 2)
        g.define(f"{x}.transpose({g.dim_text(x, a)}, {b})")
    elif pick == 1 and rank >= 2:
        g.define(f"{x}.permute{tuple(g.rng.sample(range(rank), rank))}")
    elif pick == 2 and rank < 4:
        g.define(f"{x}.unsqueeze({g.rng.randrange(-rank - 1, rank + 1)})")
    elif pick == 3:
        ones = [a for a in range(rank) if g.dims(x)[a] == (1, 1)]
        g.need(bool(ones))
        g.define(f"{x}.squeeze({g.rng.choice(ones)})")
    elif pick == 4 and rank:
        g.define(f"{x}.flip({g.axis(x)})")
    elif pick == 5 and rank >= 2:
        a, b = g.rng.sample(range(rank), 2)
        g.need(not is_unknown(g.dims(x)[a]) and not is_unknown(g.dims(x)[b]))
        g.define(f"{x}.diagonal({g.rng.choice((0, 0, 1, -1))}, {a}, {b})")
    elif rank >= 2:
        g.define(f"{x}.mT")
    else:
        raise Rejected


@family(1.5)
def shape_view(g: Draft) -> None:
    x = g.pick()
    dims, rank = g.dims(x), g.rank(x)
    how = g.rng.choice(("reshape", "reshape", "view"))
    pick = g.rng.randrange(5)
    if how == "view":
        g.need(all(env[x].is_contiguous() for env in g.envs))
    if pick == 0:
        g.not_empty(x)
        g.define(f"{x}.{how}(-1)" if g.chance(0.6) else f"{x}.flatten()")
    elif pick == 1 and rank >= 2:
        g.not_empty(x)
        rest = ", ".join(g.size_text(x, a) for a in range(2, rank))
        g.define(f"{x}.{how}(-1{', ' + rest if rest else ''})")
    elif pick == 2 and rank:
        a = g.axis(x)
        known = dims[a][0]
        g.need(not is_unknown(dims[a]) and known in (2, 4))
        text = [g.size_text(x, i) if i != a else f"2, {known // 2}" for i in range(rank)]
        g.define(f"{x}.{how}({', '.join(text)})")
    elif pick == 3:
        text = [g.size_text(x, i) for i in range(rank)]
        text.insert(g.rng.randrange(rank + 1), "1")
        g.define(f"{x}.{how}({', '.join(text)})")
    elif rank >= 2:
        g.define(f"{x}.{how}({g.size_text(x, 0)} * {g.size_text(x, 1)}{''.join(', ' + g.size_text(x, a) for a in range(2, rank))})")
    else:
        raise Rejected


@family(1.2)
def expanding(g: Draft) -> None:
    x = g.pick(lambda n: g.rank(n) < 4)
    rank, dims = g.rank(x), g.dims(x)
    ones = [a for a in range(rank) if dims[a] == (1, 1)]
    if ones and g.chance(0.6):
        a = g.rng.choice(ones)
        other = g.pick(lambda n: g.rank(n) > 0)
        size = g.size_text(other, g.axis(other)) if g.chance(0.6) else "3"
        g.define(f"{x}.expand({', '.join(size if i == a else '-1' for i in range(rank))})")
    elif g.chance(0.5):
        g.define(f"{x}.expand({', '.join(['2', *('-1' for _ in range(rank))])})")
    elif g.chance(0.5):
        g.define(f"{x}.repeat({', '.join(g.rng.choice(('1', '2')) for _ in range(max(rank, 1)))})")
    else:
        y = g.partner(x, lambda n: True)
        g.need(broadcast(g.dims(x), g.dims(y)) == g.dims(y))
        g.define(g.rng.choice((f"{x}.expand_as({y})", f"{x}.broadcast_to({y}.shape)", f"gc.broadcast_tensors({x}, {y})[0]")))


def subscript(g: Draft, x: str) -> str:
    """A basic subscript that leaves something."""
    rank = g.rank(x)
    if not rank:
        return g.rng.choice(("...", "None", "()"))
    parts: list[str] = []
    for a in range(g.rng.randint(1, rank)):
        low = min(g.dims(x)[a])
        unknown = is_unknown(g.dims(x)[a])
        options = [":", "1:", ":-1", "::2"] + ([] if unknown else [f":{min(2, low)}", "-2:"])
        if low >= 1:
            options += ["0", "-1", "None, :"] + ([] if unknown else ["0:1"])
        if low >= 2:
            options += ["1", "-2", "1::2"] + ([] if unknown else ["1:2"])
        if not is_unknown(g.dims(x)[a]) and low >= 3:
            options += ["0:3:2", "-3:-1", "2"]
        parts.append(g.rng.choice(options))
    if len(parts) < rank and g.chance(0.2):
        parts = ["...", *parts] if g.chance(0.5) and rank == 1 else [*parts, "..."]
    return ", ".join(parts)


@family(2.5)
def slicing(g: Draft) -> None:
    x = g.pick()
    if g.chance(0.15) and g.rank(x):
        a = g.axis(x)
        low = min(g.dims(x)[a])
        g.need(low >= 2 and not is_unknown(g.dims(x)[a]))
        start = g.rng.randrange(low - 1)
        g.define(g.rng.choice((f"{x}.narrow({a}, {start}, {g.rng.randint(1, low - start)})", f"{x}.select({a}, {start})")))
        return
    g.define(f"{x}[{subscript(g, x)}]")


@family(0.8)
def splitting(g: Draft) -> None:
    x = g.pick(lambda n: g.rank(n) > 0)
    a = g.axis(x)
    pair = g.dims(x)[a]
    g.need(not is_unknown(pair) and pair[0] >= 2)
    text = g.rng.choice(("gc.chunk({0}, 2, {1})[1]", "gc.split({0}, 1, {1})[1]", "gc.unbind({0}, {1})[1]", "gc.roll({0}, 1, {1})"))
    g.define(text.format(x, a))


@family(1.5)
def joining(g: Draft) -> None:
    x = g.pick()
    y = g.pick(lambda n: g.dims(n) == g.dims(x))
    if g.chance(0.4) or not g.rank(x):
        g.define(f"gc.stack([{x}, {y}], {g.rng.randrange(g.rank(x) + 1)})")
        return
    a = g.axis(x)
    z = g.pick(lambda n: g.rank(n) == g.rank(x) and all(p == q for i, (p, q) in enumerate(zip(g.dims(n), g.dims(x), strict=True)) if i != a))
    g.define(g.rng.choice((f"gc.cat([{x}, {y}], {g.dim_text(x, a)})", f"gc.cat([{z}, {x}], {a})", f"gc.cat([{x}, {x}, {z}], {a})")))


@family(0.8)
def padding(g: Draft) -> None:
    x = g.pick(lambda n: g.rank(n) > 0 and not g.is_bool(n))
    pads = [g.rng.choice((0, 1, 2)) for _ in range(2 * g.rng.randint(1, min(2, g.rank(x))))]
    g.define(f"F.pad({x}, {tuple(pads)}, value={g.rng.choice((0, 1))})")


def index_into(g: Draft, x: str, axis: int) -> str:
    """A 1-d int64 index for one dimension, as text; its length may depend on a feed."""
    low = min(g.dims(x)[axis])
    g.need(low >= 1)
    if g.chance(0.45):
        i = g.pick(lambda n: g.dtype(n) == "int64" and g.rank(n) >= 1)
        return f"{i}.reshape(-1) % {g.size_text(x, axis)}" if g.rank(i) > 1 else f"{i} % {g.size_text(x, axis)}"
    return f"gc.tensor({[g.rng.randrange(-low, low) for _ in range(g.rng.randint(1, 4))]})"


@family(2)
def indexing(g: Draft) -> None:
    x = g.pick(lambda n: g.rank(n) > 0)
    a = g.axis(x)
    index = index_into(g, x, a)
    pick = g.rng.randrange(5)
    if pick == 0:
        g.need("-" not in index)
        g.define(f"{x}.index_select({a}, {index})")
    elif pick == 1 and g.rank(x) >= 2:
        low = min(g.dims(x)[1])
        g.need(low >= 1 and "tensor" in index and a == 0)
        n = index.count(",") + 1
        g.define(f"{x}[{index}, gc.tensor({[g.rng.randrange(low) for _ in range(n)]})]")
    elif pick == 2:
        prefix = ", ".join(g.rng.choice((":", ":", "::2")) for _ in range(a))
        g.define(f"{x}[{prefix}{', ' if a else ''}{index}{', 1:' if a + 1 < g.rank(x) and g.chance(0.3) else ''}]")
    elif pick == 3:
        g.need(a == 0 or g.is_float(x))
        g.define(f"gc.take_along_dim({x}, gc.argsort({x} * 1, {a}), {a})" if g.is_float(x) and not g.distinct(x, a) else f"{x}[{index}]")
    else:
        i = g.pick(lambda n: g.dtype(n) == "int64" and g.rank(n) == g.rank(x) and fits_gather(g, x, n, a))
        g.define(f"gc.gather({x}, {a}, {i} % {g.size_text(x, a)})")


def fits_gather(g: Draft, x: str, index: str, axis: int) -> bool:
    """Whether an index tensor is nowhere larger than `x`, but along the axis."""
    if min(g.dims(x)[axis]) < 1:
        return False
    return all(
        p == q or (p[0] <= q[0] and p[1] <= q[1] and not is_unknown(p) and not is_unknown(q)) or i == axis
        for i, (p, q) in enumerate(zip(g.dims(index), g.dims(x), strict=True))
    )


@family(1.2)
def scattering(g: Draft) -> None:
    x = g.pick(lambda n: g.is_float(n) and g.rank(n) > 0)
    a = g.axis(x)
    pick = g.rng.randrange(4)
    if pick == 0:
        i = g.pick(lambda n: g.dtype(n) == "int64" and g.rank(n) == g.rank(x) and fits_gather(g, x, n, a))
        src = g.pick(lambda n: g.dtype(n) == g.dtype(x) and g.dims(n) == g.dims(i))
        g.define(f"{x}.scatter_add({a}, {i} % {g.size_text(x, a)}, {src})")
    elif pick == 1:
        g.distinct(x, a)
        src = g.pick(lambda n: g.dtype(n) == g.dtype(x) and g.dims(n) == g.dims(x))
        g.define(f"gc.scatter({x}, {a}, gc.argsort({src if src == x else x}, {a}), {src})")
    elif pick == 2:
        low = min(g.dims(x)[a])
        g.need(low >= 1)
        k = g.rng.randint(1, 3)
        index = [g.rng.randrange(low) for _ in range(k)]
        text = ", ".join(f"{g.size_text(x, i)}" if i != a else str(k) for i in range(g.rank(x)))
        g.define(f"{x}.index_add({a}, gc.tensor({index}), gc.ones({text}, dtype={x}.dtype) * 0.5)")
    else:
        low = min(g.dims(x)[0])
        g.need(low >= 1)
        index = [g.rng.randrange(low) for _ in range(2)]
        value = g.pick(lambda n: g.dtype(n) == g.dtype(x) and g.rank(n) == 0)
        g.define(f"{x}.index_put((gc.tensor({index}),), {value}, accumulate={g.chance(0.5)})")


@family(1)
def sorting(g: Draft) -> None:
    x = g.pick(lambda n: g.is_float(n) and g.rank(n) > 0)
    a = g.axis(x)
    g.distinct(x, a)
    low = min(g.dims(x)[a])
    pick = g.rng.randrange(3)
    if pick == 0:
        g.define(f"gc.sort({x}, {a}, {g.chance(0.5)})[{g.rng.choice((0, 0, 1))}]")
    elif pick == 1 and low >= 1:
        g.define(f"gc.topk({x}, {g.rng.randint(1, low)}, {a}, largest={g.chance(0.6)})", count=2)
    else:
        g.define(f"gc.sort({x}, dim={a})", count=2)


@family(1)
def casting(g: Draft) -> None:
    x = g.pick(lambda n: not g.is_bool(n) or g.chance(0.3))
    target = g.rng.choice(g.dtypes)
    g.define(g.rng.choice((f"{x}.to(gc.{target})", f"{x}.type(gc.{target})", f"{x}.to(dtype=gc.{target})")))


@family(1.2)
def creating(g: Draft) -> None:
    x = g.pick()
    rank = g.rank(x)
    dtype = g.rng.choice(g.dtypes)
    options = [f"gc.full({g.rng.choice(((), (2,), (1, 3)))}, 0.7, dtype=gc.{dtype})", f"gc.eye(3, dtype=gc.{dtype})", "gc.arange(4)",
               f"gc.ones_like({x})", f"gc.zeros_like({x})", f"gc.linspace(-1, 1, 4, dtype=gc.{dtype})"]  # fmt: skip
    if rank:
        a = g.axis(x)
        options += [f"gc.arange({g.size_text(x, a)})", f"gc.zeros({g.size_text(x, a)}, 2, dtype=gc.{dtype})", f"gc.ones({x}.shape)",
                    f"gc.arange({g.size_text(x, a)}, dtype=gc.{dtype}) * 0.1"]  # fmt: skip
        if g.is_float(x):
            options += [f"{x} / {g.size_text(x, a)}", f"{x} * {x}.shape[{a}]", f"{x}.size({a}) * 2 - {x}", f"{x}.shape[{a}] + {x} * 0.5", f"{x}.sum() / {x}.numel()"] * 2
            g.not_empty(x)
    if rank >= 2:
        options += [f"gc.tril({x})", f"gc.triu({x}, 1)", f"{x}.tril(-1)"]
    g.define(g.rng.choice(options))


@family(0.8)
def random_numbers(g: Draft) -> None:
    x = g.pick(g.is_float)
    first = g.size_text(x, g.axis(x)) if g.rank(x) else "3"
    dtype = g.rng.choice(g.dtypes)
    g.define(g.rng.choice((f"gc.rand_like({x})", f"gc.randn({first}, 2, dtype=gc.{dtype})", f"F.dropout({x}, 0.4)", f"gc.rand({first}, dtype=gc.{dtype})",
                           f"gc.randint(0, 3, ({first},))", "gc.randperm(4)", f"gc.bernoulli(gc.full(({first},), 0.5, dtype=gc.{dtype}))",
                           f"F.dropout({x}, 0.3) * {x}")), torch=False)  # fmt: skip


@family(1)
def cutting(g: Draft) -> None:
    x = g.float()
    if g.chance(0.5):
        g.define(f"{x}.detach()")
    else:
        g.define(g.rng.choice(("gc.tanh({0})", "{0} * 2", "{0} + {0}", "{0}.clone()")).format(x), no_grad=True)


@family(0.6)
def conditions(g: Draft) -> None:
    x = g.float()
    y = g.pick(lambda n: g.is_float(n) and g.dims(n) == g.dims(x) and g.dtype(n) == g.dtype(x))
    if g.chance(0.4):
        test = g.pick(lambda n: g.is_bool(n) and g.rank(n) == 0)
    else:
        g.not_empty(x)
        for a in g.arrays(x):
            g.need(abs(float(np.sum(a))) > 50 * g.margin)
        test = f"{x}.sum() > 0"
    z = g.pick(lambda n: g.is_float(n) and g.rank(n) == 0)
    g.need(g.dtype(z) == g.dtype(x))
    bodies = g.rng.choice((("a * b", "a - b"), (f"a * {z}", "b.sin()"), (f"gc.tanh(a + {y})", f"a + {z}"), ("a", "b * 2"), ("a", "b")))
    g.define(f"gc.cond({test}, lambda a, b: {bodies[0]}, lambda a, b: {bodies[1]}, ({x}, {y}))", torch=False)


@family(0.6)
def scans(g: Draft) -> None:
    xs = g.pick(lambda n: g.is_float(n) and g.rank(n) >= 1)
    a = g.rng.choice((0, 0, g.axis(xs)))
    row = g.dims(xs)[:a] + g.dims(xs)[a + 1 :]
    init = g.pick(lambda n: g.dims(n) == row and g.dtype(n) == g.dtype(xs))
    outside = g.pick(lambda n: g.is_float(n) and g.dtype(n) == g.dtype(xs) and broadcast(row, g.dims(n)) == row)
    body = g.rng.choice(("gc.tanh(c + x), c * 0.5", f"c * 0.5 + x * {outside}, c + x", f"gc.sin(c * {outside}), x", "c * 0.9, c - x", f"c * 0.5 + x, {outside} * 1",
                         f"c * 0.5, {outside} * x"))  # fmt: skip
    g.define(f"gc.scan(lambda c, x: ({body}), {init}, {xs}, dim={a}{', reverse=True' if g.chance(0.4) else ''})", count=2, torch=False)


@family(0.3)
def loops(g: Draft) -> None:
    x = g.float()
    n = g.rng.randint(1, 3)  # no step would save nothing in eager mode, where a graph saves what a step may read
    body = g.rng.choice(("a * 0.5", "gc.tanh(a)", f"a * 0.3 + {x}"))
    g.define(f"gc.while_loop(lambda i, a: i < {n}, lambda i, a: (i + 1, {body}), (gc.tensor(0), {x}))", count=2, torch=False)


@family(0.7)
def inner_gradient(g: Draft) -> None:
    x = g.pick(lambda n: g.is_float(n) and g.value(n).requires_grad)
    body = g.rng.choice(("({0} * {0}).sum()", "gc.sin({0}).sum()", "({0}.tanh() * 2).sum()", "({0} ** 3).mean()", "({0} * {0}.detach()).sum()"))
    g.not_empty(x)
    keep = g.chance(0.6)
    g.define(f"gc.autograd.grad({body.format(x)}, {x}, create_graph={keep})[0]")


# --- writes ---------------------------------------------------------------------------------------------------------


def root_of(tensor: Any) -> Any:
    """The tensor at the bottom of a chain of views."""
    while tensor._base is not None:
        tensor = tensor._base.base
    return tensor


def writable(g: Draft, name: str) -> tuple[bool, bool]:
    """Whether a tensor can be written at all, and only under no_grad."""
    value = g.value(name)
    root = root_of(value)
    leaf = any(root is g.value(leaf.name) for leaf in g.leaves)
    spread = any(s == 0 and n > 1 for s, n in zip(value.stride(), value.shape, strict=True))
    for env in g.envs:
        array = env[name].detach().numpy()
        if not array.flags.writeable or any(array is f or np.may_share_memory(array, f) for f in g.frozen):
            return False, leaf
    return not spread and all(root is not root_of(env[n]) for env in g.envs[:1] for n in g.names if env[n].numel() == 0), leaf


def target_of(g: Draft, x: str) -> tuple[str, tuple[tuple[int, int], ...]]:
    """A tensor or a view of it as text, with its pairs of sizes."""
    rank = g.rank(x)
    options = [x, x]
    if rank:
        options += [f"{x}[{subscript(g, x)}]"] * 4
    if rank == 2:
        options += [f"{x}.T", f"{x}.T[0:1]"]
        if not any(map(is_unknown, g.dims(x))):
            options.append(f"{x}.diagonal()")
    if rank >= 2:
        options += [f"{x}.transpose(0, 1)", f"{x}[0:1].transpose(0, 1)"]
    options.append(f"{x}.unsqueeze(0)")
    if all(env[x].is_contiguous() and env[x].numel() for env in g.envs):
        options += [f"{x}.view(-1)", f"{x}.view(-1)[::2]"]
    text = g.rng.choice(options)
    shapes = []
    for env in g.envs:
        shapes.append(tuple(eval(text, env).shape))  # views only: nothing changes
    return text, tuple(zip(*shapes, strict=True))


@family(4.5)
def writing(g: Draft) -> None:
    x = g.pick(lambda n: n[0] == "v" or g.chance(0.5))
    can, only_no_grad = writable(g, x)
    g.need(can)
    target, dims = target_of(g, x)
    no_grad = only_no_grad or g.chance(0.1)
    float_ = g.is_float(x)
    dtype = g.dtype(x)

    def fits(n: str) -> bool:
        return g.dtype(n) == dtype and broadcast(dims, g.dims(n)) == dims

    pick = g.rng.randrange(10)
    if g.is_bool(x):
        value = g.pick(fits)
        g.write(f"{target}.logical_xor_({value})" if g.chance(0.5) else f"{target}.copy_({value})", x, no_grad)
    elif pick == 0:
        number = g.number() if float_ else "2"
        g.write(g.rng.choice((f"{target}.mul_({number})", f"{target}.fill_({number})", f"{target}.add_({number})", f"{target}.zero_()")), x, no_grad)
    elif pick <= 2 and float_:
        value = g.pick(fits)
        g.write(f"{target}.{g.rng.choice(('add_', 'mul_', 'sub_', 'copy_'))}({g.rng.choice(('{0}', 'gc.tanh({0})')).format(value)})", x, no_grad)
    elif pick == 3 and float_:
        g.write(f"{target}.{g.rng.choice(('tanh_', 'sin_', 'neg_', 'sigmoid_'))}()", x, no_grad)
    elif pick == 4:
        mask = g.pick(lambda n: g.is_bool(n) and broadcast(dims, g.dims(n)) == dims)
        g.write(f"{target}.masked_fill_({mask}, {g.number() if float_ else 1})", x, no_grad)
    elif pick == 5 and "[" in target and target.startswith(f"{x}[") and target.endswith("]"):
        value = g.pick(lambda n: fits(n) or (g.is_float(n) and float_ and broadcast(dims, g.dims(n)) == dims))
        g.write(f"{target} {g.rng.choice(('=', '+=', '*=', '='))} {g.rng.choice((value, value, g.number() if float_ else '1'))}", x, no_grad)
    elif pick == 6 and g.rank(x):
        index = index_into(g, x, 0)
        rest = g.dims(x)[1:]
        value = g.pick(lambda n: g.dtype(n) == dtype and broadcast(rest, g.dims(n)) == rest)
        if "tensor" in index:
            found = [int(t) % min(g.dims(x)[0]) for t in index[11:-2].split(",")]
            index = f"gc.tensor({sorted(set(found))})"
            g.write(f"{x}[{index}] {g.rng.choice(('=', '+='))} {value}", x, no_grad)
        else:
            g.need(not g.rank(value))
            g.write(f"{x}[{index}] = {value}", x, no_grad)
    elif pick == 7:
        mask = g.pick(lambda n: g.is_bool(n) and g.rank(n) > 0 and g.dims(n) == g.dims(x)[: g.rank(n)])
        g.write(f"{x}[{mask}] = {g.number() if float_ else 1}", x, no_grad)
    elif pick == 8 and g.rank(x):
        a = g.axis(x)
        low = min(g.dims(x)[a])
        g.need(low >= 2 and not is_unknown(g.dims(x)[a]))
        prefix = ":, " * a
        g.write(f"{x}[{prefix}1:] = {x}[{prefix}:-1]{'.clone()' if g.chance(0.5) else ' * 0.5'}", x, no_grad)
    elif pick == 9 and g.rank(x) and float_:
        a = g.axis(x)
        low = min(g.dims(x)[a])
        g.need(low >= 1)
        text = ", ".join(g.size_text(x, i) if i != a else "1" for i in range(g.rank(x)))
        g.write(f"{x}.index_add_({a}, gc.tensor([{g.rng.randrange(low)}]), gc.ones({text}, dtype={x}.dtype))", x, no_grad)
    else:
        raise Rejected


WEIGHTS = [weight for weight, _ in FAMILIES]
assert len(SIZES) == 2
