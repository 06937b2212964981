"""A stage of a program as drawings: one for each level of detail, from whole modules down to single ops.

Forward ops are drawn downwards and backward ops upwards beside them, so that a gradient stands by the value it belongs to and
what is kept for it has a short way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphc.contrast.placing import Drawing, draw

Data = dict[str, Any]
Grouping = Callable[[Data], "tuple[str, ...] | None"]
WAYS = ("forward", "backward", "update")
#: Pixels of a vertex: height, least and greatest width, a letter of its name and of its type; of a box: rim and heading.
HEIGHT, NARROWEST, WIDEST, LETTER, SMALL_LETTER = 42, 96, 226, 8.4, 6.6
RIM, HEADING = 12, 26
#: What reads more than so many values, and is read by nothing, gathers.
FEW = 3


def levels(stage: Data, titles: dict[str, str]) -> list[Data]:
    """The drawings of a stage, coarsest first; titles: what kernels and lines are called, by id.

    A level is {"name", "vertices", "edges", "boxes", "width", "height"}: vertices {"id", "x", "y", "w", "h"} with "label",
    "role" and "nodes" where one stands for several, boxes {"id", "label", "x", "y", "w", "h"}, edges [from, to, points, count].
    """
    nodes: list[Data] = stage["nodes"]
    depth = max((len(_path(node)) for node in nodes), default=0)
    found: list[Data] = []
    for names in range(1, depth + 1):
        level = _collapsed(stage, _by_module(names), titles)
        if not found or len(level["vertices"]) > len(found[-1]["vertices"]):
            found.append({"name": f"modules {names}", **level})
    if stage["name"] == "kernels" and any(node["kernel"] for node in nodes):
        found.append({"name": "kernels", **_collapsed(stage, _by_kernel, titles)})
        found.append({"name": "ops", **_boxed(stage, titles)})
    else:
        found.append({"name": "ops", **_collapsed(stage, lambda node: None, titles)})
    return found


def _path(node: Data) -> list[str]:
    return node["module"].split(".") if node["module"] else []


def _way(role: str) -> str:
    """Inputs and constants of a module belong to its forward part."""
    return role if role in WAYS else "forward"


def _by_module(names: int) -> Grouping:
    """Nodes of a module and of one direction belong together; outside modules, those of one line."""

    def group(node: Data) -> tuple[str, ...] | None:
        way = _way(node["role"])
        if path := _path(node):
            return ("module", ".".join(path[:names]), way)
        if node["lines"] and node["role"] not in ("input", "constant"):
            return ("line", node["lines"][0], way)
        return None

    return group


def _by_kernel(node: Data) -> tuple[str, ...] | None:
    return ("kernel", node["kernel"]) if node["kernel"] else None


def _links(stage: Data) -> list[tuple[int, int]]:
    number = {node["id"]: i for i, node in enumerate(stage["nodes"])}
    return [(number[edge[0]], number[edge[1]]) for edge in stage["edges"]]


def _is_state(node: Data) -> bool:
    return bool(node["role"] == "constant" or node["op"] == "parameter")


def _grouped(stage: Data, group: Grouping, absorb: bool = True) -> list[list[int]]:
    """The nodes' numbers by group, in order of their first nodes.

    absorb: constants, and what an update reads (parameters, an optimizer's state), join the first that reads them.
    """
    nodes = stage["nodes"]
    keys = [group(node) or ("node", node["id"]) for node in nodes]
    readers: dict[int, list[int]] = {}
    for a, b in _links(stage):
        readers.setdefault(a, []).append(b)
    groups = any(key[0] != "node" for key in keys)
    for i, node in enumerate(nodes):
        reads = sorted(readers.get(i, ()), key=lambda b: (WAYS.index(_way(nodes[b]["role"])), b))
        leaf = keys[i][0] == "node" and node["role"] in ("input", "constant")
        if (
            absorb
            and groups
            and reads
            and leaf
            and keys[reads[0]][0] != "node"
            and (_is_state(node) or any(nodes[b]["role"] == "update" for b in reads))
        ):
            keys[i] = keys[reads[0]]
    members: dict[tuple[str, ...], list[int]] = {}
    for i, key in enumerate(keys):
        members.setdefault(key, []).append(i)
    return list(members.values())


def _collapsed(stage: Data, group: Grouping, titles: dict[str, str]) -> Data:
    """The stage with each group as one vertex and the edges between two groups as one edge."""
    nodes = stage["nodes"]
    members = _grouped(stage, group)
    vertices = [_leaf(nodes[m[0]]) if len(m) == 1 else _whole([nodes[i] for i in m], group, titles) for m in members]
    owner = {i: v for v, m in enumerate(members) for i in m}
    edges = [(owner[a], owner[b]) for a, b in _links(stage)]
    drawing, ways = _drawn(vertices, [_role(v, nodes[m[0]]) for v, m in zip(vertices, members, strict=True)], edges)
    for vertex, (x, y) in zip(vertices, drawing.corners, strict=True):
        vertex.update(x=x, y=y)
    return {"vertices": vertices, "edges": ways, "boxes": [], "width": drawing.width, "height": drawing.height}


def _role(vertex: Data, node: Data) -> str:
    return str(vertex.get("role", node["role"]))


def _leaf(node: Data) -> Data:
    return {"id": node["id"], "w": _width(node["op"], node["type"]), "h": HEIGHT}


def _whole(nodes: list[Data], group: Grouping, titles: dict[str, str]) -> Data:
    """One vertex for several nodes."""
    key = next(key for key in map(group, nodes) if key is not None)
    kind, name = key[:2]
    label = {"module": name, "line": titles.get(name, name), "kernel": f"{name}  {titles.get(name, '')}".strip()}[kind]
    roles = [node["role"] for node in nodes if node["role"] not in ("input", "constant")]
    role = key[2] if kind == "module" or kind == "line" else max(sorted(set(roles)), key=roles.count, default="forward")
    return {
        "id": ":".join(key), "kind": kind, "name": name, "label": label, "role": role,
        "nodes": [node["id"] for node in nodes], "w": _width(label, " " * 19), "h": HEIGHT,
    }  # fmt: skip


def _width(name: str, below: str) -> int:
    """What a name and the smaller text below it need."""
    return round(min(max(NARROWEST, LETTER * len(name) + 28, SMALL_LETTER * len(below) + 28), WIDEST))


def _drawn(vertices: list[Data], roles: list[str], edges: list[tuple[int, int]]) -> tuple[Drawing, list[Any]]:
    """The drawing, and the edges as the page wants them: between two vertices one, with the number it stands for."""
    counts: dict[tuple[int, int], int] = {}
    for a, b in edges:
        if a != b:
            counts[a, b] = counts.get((a, b), 0) + 1
    upwards = {v for v, role in enumerate(roles) if role == "backward"}
    drawing = draw([(v["w"], v["h"]) for v in vertices], list(counts), _near(sorted(counts), upwards))
    return drawing, [[a, b, drawing.routes[a, b], count] for (a, b), count in counts.items()]


def _near(edges: list[tuple[int, int]], upwards: set[int]) -> list[tuple[int, int]]:
    """The edges that say where vertices go, turned round where both ends are backward.

    What is read everywhere stands by its first reader, what gathers from everywhere by the lowest it gathers from: their
    other edges would hold room all the way along.
    """
    readers, operands = {a for a, _ in edges}, {b for _, b in edges}
    gathered: dict[int, list[int]] = {}
    for a, b in edges:
        if b not in readers:
            gathered.setdefault(b, []).append(a)
    lowest = {
        b: max(own, key=lambda a: (a in operands, a not in upwards, -a if a in upwards else a))
        for b, own in gathered.items()
        if len(own) > FEW
    }
    found, met = [], set()
    for a, b in edges:
        if lowest.get(b, a) != a or (b not in lowest and a in met and a not in operands):
            continue
        met.add(a)
        found.append((b, a) if a in upwards and b in upwards else (a, b))
    return found


def _boxed(stage: Data, titles: dict[str, str]) -> Data:
    """The stage by kernels, each a box around its ops."""
    nodes = stage["nodes"]
    members = _grouped(stage, _by_kernel, absorb=False)
    owner = {i: v for v, m in enumerate(members) for i in m}
    links = _links(stage)
    within: dict[int, list[tuple[int, int]]] = {}
    for a, b in links:
        if owner[a] == owner[b]:
            within.setdefault(owner[a], []).append((a, b))
    insides, outer, roles = [], [], []
    for v, m in enumerate(members):
        leaves = [_leaf(nodes[i]) for i in m]
        number = {i: k for k, i in enumerate(m)}
        inner = [(number[a], number[b]) for a, b in within.get(v, ())]
        insides.append((leaves, *_drawn(leaves, [nodes[i]["role"] for i in m], inner)))
        whole = _whole([nodes[i] for i in m], _by_kernel, titles) if nodes[m[0]]["kernel"] else leaves[0]
        outer.append(_box(whole, insides[-1][1]) if "nodes" in whole else whole)
        roles.append(_role(whole, nodes[m[0]]))
    drawing, ways = _drawn(outer, roles, [(owner[a], owner[b]) for a, b in links])
    return _joined(outer, insides, drawing, ways)


def _box(whole: Data, inside: Drawing) -> Data:
    width = max(inside.width, min(round(LETTER * len(whole["label"])), WIDEST))
    return {**whole, "w": width + 2 * RIM, "h": inside.height + RIM + HEADING, "inner": inside.width}


def _joined(outer: list[Data], insides: list[Any], drawing: Drawing, ways: list[Any]) -> Data:
    """Boxes and what is in them, in one system of coordinates. Edges between boxes run from vertex -1 - box."""
    vertices: list[Data] = []
    boxes: list[Data] = []
    edges: list[Any] = []
    ends: list[int] = []
    for whole, (x, y), (leaves, inside, inner) in zip(outer, drawing.corners, insides, strict=True):
        first, dx, dy = len(vertices), x, y
        if "nodes" in whole:
            ends.append(-1 - len(boxes))
            dx, dy = x + (whole["w"] - whole.pop("inner")) // 2, y + HEADING
            boxes.append({**whole, "id": whole["name"], "x": x, "y": y})
        else:
            ends.append(first)
        vertices += [{**leaf, "x": a + dx, "y": b + dy} for leaf, (a, b) in zip(leaves, inside.corners, strict=True)]
        edges += [[first + a, first + b, _moved(points, dx, dy), count] for a, b, points, count in inner]
    edges += [[ends[a], ends[b], points, count] for a, b, points, count in ways]
    return {"vertices": vertices, "edges": edges, "boxes": boxes, "width": drawing.width, "height": drawing.height}


def _moved(points: list[int], dx: int, dy: int) -> list[int]:
    return [value + (dy if i % 2 else dx) for i, value in enumerate(points)]
