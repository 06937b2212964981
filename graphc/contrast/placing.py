"""Where the vertices of a drawing go and how its edges run: fast-sugiyama's layers and order, stretched to real sizes.

The library places vertices of one size. Here its columns and layers are moved apart until vertices of any size fit; a vertex
keeps its layer, its neighbours, and those it stands straight above.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from graphc.core.lazy import lazy_import

fast_sugiyama = lazy_import("fast_sugiyama")

Size = tuple[int, int]
Edge = tuple[int, int]
#: Pixels: between neighbours of a layer, beside an edge that passes, between layers, and for a unit of the library.
GAP, PASSING_GAP, LAYER_GAP, UNIT = 26, 12, 46, 46


class Drawing(NamedTuple):
    """Upper left corners of the vertices, and for each edge the points its curve runs through: x0, y0, x1, y1, ..."""

    corners: list[tuple[int, int]]
    routes: dict[Edge, list[int]]
    width: int
    height: int


class Part(NamedTuple):
    """One connected part: the middle of each vertex or bend in x, its layer, and the chains of bends of the edges."""

    middles: dict[int, float]
    layers: dict[int, int]
    chains: dict[Edge, list[int]]


def acyclic(count: int, edges: Iterable[Edge]) -> list[Edge]:
    """The edges, once each and in order; those that would close a cycle are reversed, loops of one vertex are left out."""
    wanted = list(dict.fromkeys(edge for edge in edges if edge[0] != edge[1]))
    after: list[list[int]] = [[] for _ in range(count)]
    for a, b in wanted:
        after[a].append(b)
    finished: dict[int, int] = {}
    entered: set[int] = set()
    for root in range(count):
        pending = [(root, False)]
        while pending:
            vertex, leaving = pending.pop()
            if leaving:
                finished[vertex] = len(finished)
            elif vertex not in entered:
                entered.add(vertex)
                pending.append((vertex, True))
                pending += [(b, False) for b in reversed(after[vertex]) if b not in entered]
    return list(dict.fromkeys((a, b) if finished[a] > finished[b] else (b, a) for a, b in wanted))


def draw(sizes: Sequence[Size], edges: Sequence[Edge], near: Sequence[Edge] | None = None) -> Drawing:
    """Places vertices 0, 1, ... of these sizes so that edges go down, and routes every edge.

    near: the edges that layers and order are made from, all by default; the others run straight. They may form cycles: an
    edge that closes one goes up.
    """
    used = acyclic(len(sizes), edges if near is None else near)
    known = list(dict.fromkeys(vertex for edge in used for vertex in edge))
    number = {vertex: i for i, vertex in enumerate(known)}
    corners: dict[int, tuple[int, int]] = {}
    bends: dict[Edge, list[tuple[int, int, int]]] = {}
    left = height = 0
    numbered = [(number[a], number[b]) for a, b in used]
    for part in _parts(numbered, known):
        right, bottom = _settle(part, sizes, left, corners, bends)
        left, height = right + 2 * GAP, max(height, bottom)
    alone = [vertex for vertex in range(len(sizes)) if vertex not in number]
    left, height = _shelve(alone, sizes, left, height, corners)
    routes = {edge: _route(edge, sizes, corners, bends) for edge in dict.fromkeys(edges) if edge[0] != edge[1]}
    return Drawing([corners[i] for i in range(len(sizes))], routes, max(left - 2 * GAP, 0), height)


def _parts(edges: list[Edge], known: list[int]) -> list[Part]:
    """What the library makes of the edges, the largest part first."""
    if not edges:
        return []
    found = fast_sugiyama.from_edges(
        edges, vertex_spacing=1, dummy_size=0.3, ranking_type="minimize", transpose=False, check_layout=False
    )
    parts = [_part(positions, links or (), known) for positions, _, _, links in found]
    return sorted(parts, key=lambda part: -len(part.middles))


def _part(positions: Any, links: Any, known: list[int]) -> Part:
    """One part with our numbers for vertices; bends get the negative ones."""
    name = {n: known[n] if n < len(known) else -1 - n for n, _ in positions}
    top = max(y for _, (_, y) in positions)
    after: dict[int, int] = {}
    starts = []
    for a, b in links:
        if name[a] < 0:
            after[name[a]] = name[b]
        elif name[b] < 0:
            starts.append((name[a], name[b]))
    chains = {}
    for start, bend in starts:
        chain = [bend]
        while chain[-1] < 0:
            chain.append(after[chain[-1]])
        chains[start, chain.pop()] = chain
    middles = {name[n]: x for n, (x, _) in positions}
    return Part(middles, {name[n]: round(top - y) for n, (_, y) in positions}, chains)


def _settle(part: Part, sizes: Sequence[Size], left: int, corners: Any, bends: Any) -> tuple[int, int]:
    """Gives the vertices of one part corners, and its chains bends, right of `left`; the right and lower end of all."""
    rows: dict[int, list[int]] = {}
    for vertex in sorted(part.middles, key=lambda v: part.middles[v]):
        rows.setdefault(part.layers[vertex], []).append(vertex)
    columns = _columns(part, rows, sizes)
    halves = [sizes[v][0] / 2 if v >= 0 else 0.0 for v in part.middles]
    shift = left - min(columns[x] - half for x, half in zip(part.middles.values(), halves, strict=True))
    x_of = {v: round(columns[x] + shift) for v, x in part.middles.items()}
    tops, heights, y = {}, {}, 0
    for layer in sorted(rows):
        heights[layer] = max((sizes[v][1] for v in rows[layer] if v >= 0), default=0)
        tops[layer] = y
        y += heights[layer] + LAYER_GAP
    for v, x in x_of.items():
        if v >= 0:
            w, h = sizes[v]
            corners[v] = (x - w // 2, tops[part.layers[v]] + (heights[part.layers[v]] - h) // 2)
    for edge, chain in part.chains.items():
        bends[edge] = [(x_of[v], tops[part.layers[v]], heights[part.layers[v]]) for v in chain]
    right = max(x_of[v] + (sizes[v][0] // 2 if v >= 0 else 0) for v in x_of)
    return right, y - LAYER_GAP


def _columns(part: Part, rows: dict[int, list[int]], sizes: Sequence[Size]) -> dict[float, float]:
    """A place for each x of the library, in its order, so that no neighbours of a layer overlap."""
    before: dict[float, list[tuple[float, float]]] = {}
    for row in rows.values():
        for a, b in pairwise(row):
            halves = sum(sizes[v][0] / 2 if v >= 0 else 0.0 for v in (a, b))
            gap = GAP if a >= 0 and b >= 0 else PASSING_GAP
            before.setdefault(part.middles[b], []).append((part.middles[a], halves + gap))
    places: dict[float, float] = {}
    last = None
    for x in sorted(set(part.middles.values())):
        base = 0.0 if last is None else places[last] + (x - last) * UNIT
        places[x] = max([base, *(places[a] + apart for a, apart in before.get(x, ()) if a in places)])
        last = x
    return places


def _shelve(alone: list[int], sizes: Sequence[Size], left: int, height: int, corners: Any) -> tuple[int, int]:
    """Vertices without edges stand in columns at the right."""
    y = widest = 0
    limit = max(height, 400)
    for vertex in alone:
        w, h = sizes[vertex]
        if y and y + h > limit:
            left, y, widest = left + widest + GAP, 0, 0
        corners[vertex] = (left, y)
        y, widest = y + h + GAP, max(widest, w)
        height = max(height, y - GAP)
    return (left + widest + 2 * GAP if alone else left), height


def _route(edge: Edge, sizes: Sequence[Size], corners: Any, bends: Any) -> list[int]:
    """From the middle of one side of the first vertex to the facing side of the second, straight through layers between."""
    (a, b), chain = edge, bends.get(edge)
    if chain is None:
        chain = list(reversed(bends.get((b, a), ())))
    bottoms = [corners[v][1] + sizes[v][1] for v in edge]
    if not chain and corners[a][1] < bottoms[1] and corners[b][1] < bottoms[0]:
        return _below(edge, sizes, corners, max(bottoms))
    down = corners[a][1] <= corners[b][1]
    points = [corners[a][0] + sizes[a][0] // 2, corners[a][1] + (sizes[a][1] if down else 0)]
    for x, top, height in chain:
        points += [x, top, x, top + height] if down else [x, top + height, x, top]
    return [*points, corners[b][0] + sizes[b][0] // 2, corners[b][1] + (0 if down else sizes[b][1])]


def _below(edge: Edge, sizes: Sequence[Size], corners: Any, lowest: int) -> list[int]:
    """Between two vertices side by side: under both."""
    (ax, ay), (bx, by) = ((corners[v][0] + sizes[v][0] // 2, corners[v][1] + sizes[v][1]) for v in edge)
    return [ax, ay, (ax + bx) // 2, lowest + LAYER_GAP // 2, bx, by]
