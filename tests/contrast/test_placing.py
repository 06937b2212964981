"""Drawings: nothing overlaps, edges arrive where they should, and what the library cannot take never reaches it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pytest

from graphc.contrast.placing import acyclic, draw

ROOT = Path(__file__).parent.parent.parent


def overlapping(sizes, drawing):
    boxes = [(x, y, x + w, y + h) for (x, y), (w, h) in zip(drawing.corners, sizes, strict=True)]
    return [
        (i, j) for (i, a), (j, b) in combinations(enumerate(boxes), 2)
        if a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
    ]  # fmt: skip


def some_edges(count, seed):
    pick = random.Random(seed)
    edges = {(i, pick.randrange(i + 1, min(count, i + 6))) for i in range(count - 1) for _ in range(2)}
    return sorted(edges | {(0, count - 1)})


@pytest.mark.parametrize("seed", range(12))
def test_vertices_of_any_size_do_not_overlap_and_edges_meet_them(seed):
    pick = random.Random(seed)
    count = pick.randrange(2, 60)
    sizes = [(pick.randrange(20, 400), pick.randrange(20, 300)) for _ in range(count)]
    edges = some_edges(count, seed)
    drawing = draw(sizes, edges)
    assert overlapping(sizes, drawing) == []
    assert set(drawing.routes) == set(edges)
    for (a, b), points in drawing.routes.items():
        (ax, ay), (bx, by) = drawing.corners[a], drawing.corners[b]
        assert points[:2] == [ax + sizes[a][0] // 2, ay + sizes[a][1]], "leaves in the middle below"
        assert points[-2:] == [bx + sizes[b][0] // 2, by], "arrives in the middle above"
        assert points[1::2] == sorted(points[1::2]), "never turns back"
    assert max(x + w for (x, _), (w, _) in zip(drawing.corners, sizes, strict=True)) <= drawing.width + 1
    assert max(y + h for (_, y), (_, h) in zip(drawing.corners, sizes, strict=True)) <= drawing.height + 1


def test_a_long_edge_goes_round_what_stands_between():
    sizes = [(100, 40)] * 4
    drawing = draw(sizes, [(0, 1), (1, 2), (2, 3), (0, 3)])
    points = drawing.routes[0, 3]
    for vertex in (1, 2):
        x, y = drawing.corners[vertex]
        beside = [px for px, py in zip(points[::2], points[1::2], strict=True) if y <= py <= y + 40]
        assert beside and all(px < x or px > x + 100 for px in beside)


def test_cycles_loops_and_repeats_are_drawn():
    """The library ends the process at a vertex with an edge to itself, so this must not reach it."""
    edges = [(0, 0), (0, 1), (0, 1), (1, 2), (2, 0), (2, 3), (3, 3), (3, 1)]
    drawing = draw([(50, 20)] * 4, edges)
    assert set(drawing.routes) == {(0, 1), (1, 2), (2, 0), (2, 3), (3, 1)}
    start, end = drawing.routes[2, 0][:2], drawing.routes[2, 0][-2:]
    assert start[1] > end[1], "the edge that closes the cycle goes up"
    assert start[1] == drawing.corners[2][1] and end[1] == drawing.corners[0][1] + 20


@pytest.mark.parametrize("seed", range(20))
def test_acyclic_keeps_every_edge_in_one_direction(seed):
    pick = random.Random(seed)
    edges = [(pick.randrange(12), pick.randrange(12)) for _ in range(40)]
    found = acyclic(12, edges)
    assert {frozenset(edge) for edge in found} == {frozenset(edge) for edge in edges if edge[0] != edge[1]}
    after = {i: [b for a, b in found if a == i] for i in range(12)}
    done: set[int] = set()

    def visit(vertex, path):
        assert vertex not in path, "a cycle is left"
        if vertex not in done:
            for b in after[vertex]:
                visit(b, path | {vertex})
            done.add(vertex)

    for vertex in range(12):
        visit(vertex, frozenset())


def test_vertices_without_edges_and_empty_drawings():
    assert draw([], []) == ([], {}, 0, 0)
    sizes = [(30, 20)] * 30
    drawing = draw(sizes, [(0, 1)])
    assert len(drawing.corners) == 30 and overlapping(sizes, drawing) == []


def test_near_edges_place_and_all_edges_are_routed():
    sizes = [(40, 20)] * 3
    drawing = draw(sizes, [(0, 1), (1, 2), (0, 2)], near=[(0, 1), (1, 2)])
    assert len(drawing.routes[0, 2]) == 4, "straight, as it took no part"


def test_an_edge_between_neighbours_runs_under_both():
    drawing = draw([(40, 20)] * 3, [(0, 1), (0, 2), (1, 2)], near=[(0, 1), (0, 2)])
    (ax, ay), (bx, by) = drawing.corners[1:]
    assert ay == by and drawing.routes[1, 2][1::2] == [ay + 20, ay + 43, by + 20]
    assert drawing.routes[1, 2][::2] == [ax + 20, (ax + bx) // 2 + 20, bx + 20]


def test_drawings_are_the_same_in_every_process():
    code = (
        "from graphc.contrast.placing import draw; import random; pick = random.Random(3); "
        "edges = sorted({(i, pick.randrange(i + 1, 40)) for i in range(39) for _ in range(2)}); "
        "print(draw([(60, 30)] * 40, edges))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
        ).stdout
        for seed in ("1", "2", "3")
    }  # fmt: skip
    assert len(found) == 1
