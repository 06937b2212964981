"""Steps that make tensors, draw random numbers, cut or take gradients, decide and repeat."""

# ruff: noqa: E501  a step is one template, on one line

from __future__ import annotations

import numpy as np

from tests.fuzz.draft import Draft, broadcast
from tests.fuzz.families import family


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
            options += [
                f"{x} / {g.size_text(x, a)}",
                f"{x} * {x}.shape[{a}]",
                f"{x}.size({a}) * 2 - {x}",
                f"{x}.shape[{a}] + {x} * 0.5",
                f"{x}.sum() / {x}.numel()",
            ] * 2
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
    bodies = g.rng.choice(
        (("a * b", "a - b"), (f"a * {z}", "b.sin()"), (f"gc.tanh(a + {y})", f"a + {z}"), ("a", "b * 2"), ("a", "b"))
    )
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
    g.define(
        f"gc.scan(lambda c, x: ({body}), {init}, {xs}, dim={a}{', reverse=True' if g.chance(0.4) else ''})",
        count=2,
        torch=False,
    )


@family(0.3)
def loops(g: Draft) -> None:
    x = g.float()
    n = g.rng.randint(1, 3)  # no step would save nothing in eager mode, where a graph saves what a step may read
    body = g.rng.choice(("a * 0.5", "gc.tanh(a)", f"a * 0.3 + {x}"))
    g.define(
        f"gc.while_loop(lambda i, a: i < {n}, lambda i, a: (i + 1, {body}), (gc.tensor(0), {x}))", count=2, torch=False
    )


@family(0.7)
def inner_gradient(g: Draft) -> None:
    x = g.pick(lambda n: g.is_float(n) and g.value(n).requires_grad)
    body = g.rng.choice(
        (
            "({0} * {0}).sum()",
            "gc.sin({0}).sum()",
            "({0}.tanh() * 2).sum()",
            "({0} ** 3).mean()",
            "({0} * {0}.detach()).sum()",
        )
    )
    g.not_empty(x)
    keep = g.chance(0.6)
    g.define(f"gc.autograd.grad({body.format(x)}, {x}, create_graph={keep})[0]")
