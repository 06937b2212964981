"""Steps that move elements: views, joins, indexing, sorting, casts. Each adds one statement, or raises `Rejected`."""

from __future__ import annotations

from tests.fuzz.draft import Draft, Rejected, broadcast, is_unknown
from tests.fuzz.families import family


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
    pick = g.rng.randrange(6)
    if how == "view":
        g.need(pick == 5 or all(env[x].is_contiguous() for env in g.envs))
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
    elif pick == 5:
        g.define(f"{x}.contiguous()")
    elif rank >= 2:
        g.define(
            f"{x}.{how}({g.size_text(x, 0)} * {g.size_text(x, 1)}{''.join(', ' + g.size_text(x, a) for a in range(2, rank))})"
        )
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
        g.define(
            g.rng.choice((f"{x}.expand_as({y})", f"{x}.broadcast_to({y}.shape)", f"gc.broadcast_tensors({x}, {y})[0]"))
        )


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
        g.define(
            g.rng.choice((f"{x}.narrow({a}, {start}, {g.rng.randint(1, low - start)})", f"{x}.select({a}, {start})"))
        )
        return
    g.define(f"{x}[{subscript(g, x)}]")


@family(0.8)
def splitting(g: Draft) -> None:
    x = g.pick(lambda n: g.rank(n) > 0)
    a = g.axis(x)
    pair = g.dims(x)[a]
    g.need(not is_unknown(pair) and pair[0] >= 2)
    text = g.rng.choice(
        ("gc.chunk({0}, 2, {1})[1]", "gc.split({0}, 1, {1})[1]", "gc.unbind({0}, {1})[1]", "gc.roll({0}, 1, {1})")
    )
    g.define(text.format(x, a))


@family(1.5)
def joining(g: Draft) -> None:
    x = g.pick()
    y = g.pick(lambda n: g.dims(n) == g.dims(x))
    if g.chance(0.4) or not g.rank(x):
        g.define(f"gc.stack([{x}, {y}], {g.rng.randrange(g.rank(x) + 1)})")
        return
    a = g.axis(x)
    z = g.pick(
        lambda n: (
            g.rank(n) == g.rank(x)
            and all(p == q for i, (p, q) in enumerate(zip(g.dims(n), g.dims(x), strict=True)) if i != a)
        )
    )
    g.define(
        g.rng.choice(
            (f"gc.cat([{x}, {y}], {g.dim_text(x, a)})", f"gc.cat([{z}, {x}], {a})", f"gc.cat([{x}, {x}, {z}], {a})")
        )
    )


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
        g.define(
            f"gc.take_along_dim({x}, gc.argsort({x} * 1, {a}), {a})"
            if g.is_float(x) and not g.distinct(x, a)
            else f"{x}[{index}]"
        )
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
