"""The user's lines with the ops they made, the kernels these ended in, and what they cost both ways."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.contrast.kernels import Box
from graphc.contrast.sources import Sources
from graphc.core.errors import show_file
from graphc.ir.program import CONSTANT, INPUT, Node, Program
from graphc.planning.costs import node_cost
from graphc.planning.descriptions import Data


def line_data(program: Program, boxes: Sequence[Box], sources: Sources, ids: Any) -> list[Data]:
    """The lines, without times. `flops` and `bytes` are those of the recorded ops, each by itself; bodies of loops included."""
    nodes: dict[tuple[str, int], list[Node]] = {place: [] for place in sources.places}
    for node in program.nodes:
        if node.op is INPUT or node.op is CONSTANT:
            continue
        for origin in node.origins[:1]:
            if origin.line:  # of nobody's line otherwise, as in a thread that is the package's own from the start
                nodes[(origin.file, origin.line)].append(node)
    found = []
    for place, made in nodes.items():
        costs = [node_cost(node) for node in made]
        key = sources.ids()[place]
        found.append(
            {"id": key, "source": sources.files[place[0]], "line": place[1], "text": sources.text(place),
             "modules": list(dict.fromkeys(x.module for node in made for x in node.origins[:1] if x.module)),
             "ops": list(dict.fromkeys(node.op.name for node in made)), "nodes": [ids[node] for node in made],
             "kernels": [box.id for box in boxes if _is_of(box, place)],
             "flops": sum(cost.flops for cost in costs), "bytes": sum(cost.bytes for cost in costs),
             "eager_ns": None, "eager_share": None, "graph_ns": None, "graph_share": None,
             "backward_eager_ns": None, "backward_graph_ns": None}
        )  # fmt: skip
    return found


def _is_of(box: Box, place: tuple[str, int]) -> bool:
    return any((x.file, x.line) == place for node in box.nodes for x in node.origins)


def add_times(lines: Sequence[Data], profile: Data, sources: Sources, which: str) -> None:
    """Adds what each line took a call, in one of the two ways, as `gc.profile` has measured it."""
    ids = {(show_file(file), line): key for (file, line), key in sources.ids().items()}
    times = {ids.get((x["file"], x["line"])): x for x in profile["lines"]}
    for line in lines:
        found = times.get(line["id"], {"ns": 0, "backward_ns": 0, "share": 0.0})
        line[f"{which}_ns"], line[f"backward_{which}_ns"] = found["ns"], found["backward_ns"]
        line[f"{which}_share"] = round(found["share"], 4)
