"""Steps that compute: elementwise, choices, reductions, contractions. Each adds one statement, or raises `Rejected`."""

# ruff: noqa: E501  a step is one template, on one line

from __future__ import annotations

import numpy as np

from tests.fuzz.draft import Draft, Rejected, broadcast
from tests.fuzz.families import family

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
    g.need(("%" not in text and "/" not in text) or not g.is_bool(b))
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
    name = g.rng.choice(
        ("sum", "sum", "mean", "prod", "amax", "amin", "var", "logsumexp", "std", "norm", "count_nonzero")
    )
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
        return (
            g.dtype(n) == g.dtype(a)
            and len(d) >= 1
            and d[-1 if len(d) == 1 else -2] == da[-1]
            and (min(len(d), len(da)) <= 2 or broadcast(d[:-2], da[:-2]) is not None)
        )

    pick = g.rng.random()
    if pick < 0.25 and len(da) >= 2:
        g.define(g.rng.choice(("{0} @ {0}.transpose(-1, -2)", "{0}.transpose(-1, -2) @ {0}", "{0}.mT @ {0}")).format(a))
    elif pick < 0.35 and len(da) == 2:
        b = g.pick(lambda n: g.dtype(n) == g.dtype(a) and g.rank(n) == 2 and g.dims(n)[1] == da[1])
        g.define(
            g.rng.choice(
                ("F.linear({0}, {1})", "{0} @ {1}.T", "gc.einsum('ij,kj->ki', {0}, {1})", "{1} @ {0}.t()")
            ).format(a, b)
        )
    elif pick < 0.45 and len(da) == 2:
        b = g.pick(lambda n: g.dtype(n) == g.dtype(a) and g.rank(n) == 2 and g.dims(n)[0] == da[0])
        g.define(
            g.rng.choice(
                ("{0}.T @ {1}", "({1}.T @ {0}).T", "({0} * 0.5).t() @ {1}", "gc.einsum('ij,ik->jk', {0}, {1})")
            ).format(a, b)
        )
    elif pick < 0.5:
        b = g.pick(lambda n: g.is_float(n) and g.rank(n) == 1 and g.dtype(n) == g.dtype(a))
        g.need(len(da) == 1)
        g.define(f"gc.outer({a}, {b})")
    else:
        g.define(
            g.rng.choice(("{0} @ {1}", "gc.matmul({0}, {1})", "{0} @ ({1} * 2)", "-{0} @ {1}")).format(a, g.pick(goes))
        )
