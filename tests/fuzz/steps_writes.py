"""Steps that write in place, also through views."""

# ruff: noqa: E501  a step is one template, on one line

from __future__ import annotations

from typing import Any

import graphc as gc
from tests.fuzz.draft import Draft, Rejected, broadcast, is_unknown
from tests.fuzz.families import family
from tests.fuzz.steps_places import index_into, subscript


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
    if not all(env[name].detach().numpy().flags.writeable for env in g.envs):
        return False, leaf
    return not spread and all(
        root is not root_of(env[n]) for env in g.envs[:1] for n in g.names if env[n].numel() == 0
    ), leaf


def flattens(g: Draft, x: str) -> bool:
    """Whether `view(-1)` works in every feed, which depends on strides."""
    try:
        for env in g.envs:
            env[x].view(-1)
    except gc.errors.ShapeError:
        return False
    return True


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
    if all(env[x].numel() for env in g.envs):
        options += [f"{x}.reshape(-1)[::2]", f"{x}.contiguous()"]
        options += [f"{x}.{g.rng.choice(('view', 'reshape'))}(-1){end}" for end in ("", "[::2]") if flattens(g, x)]
        if rank >= 2:
            options += [f"{x}.transpose(0, 1).reshape(-1)[1::2]", f"{x}.flatten(0, 1)[1:]"]
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
        g.write(
            g.rng.choice(
                (
                    f"{target}.mul_({number})",
                    f"{target}.fill_({number})",
                    f"{target}.add_({number})",
                    f"{target}.zero_()",
                )
            ),
            x,
            no_grad,
        )
    elif pick <= 2 and float_:
        value = g.pick(fits)
        g.write(
            f"{target}.{g.rng.choice(('add_', 'mul_', 'sub_', 'copy_'))}({g.rng.choice(('{0}', 'gc.tanh({0})')).format(value)})",
            x,
            no_grad,
        )
    elif pick == 3 and float_:
        g.write(f"{target}.{g.rng.choice(('tanh_', 'sin_', 'neg_', 'sigmoid_'))}()", x, no_grad)
    elif pick == 4:
        mask = g.pick(lambda n: g.is_bool(n) and broadcast(dims, g.dims(n)) == dims)
        g.write(f"{target}.masked_fill_({mask}, {g.number() if float_ else 1})", x, no_grad)
    elif pick == 5 and "[" in target and target.startswith(f"{x}[") and target.endswith("]"):
        value = g.pick(lambda n: fits(n) or (g.is_float(n) and float_ and broadcast(dims, g.dims(n)) == dims))
        g.write(
            f"{target} {g.rng.choice(('=', '+=', '*=', '='))} {g.rng.choice((value, value, g.number() if float_ else '1'))}",
            x,
            no_grad,
        )
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
        g.write(
            f"{x}.index_add_({a}, gc.tensor([{g.rng.randrange(low)}]), gc.ones({text}, dtype={x}.dtype))", x, no_grad
        )
    else:
        raise Rejected
