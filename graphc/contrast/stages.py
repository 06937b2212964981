"""The tape and the program after each pass as plain data. A node keeps its id from stage to stage, and from run to run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from graphc.contrast.sources import Sources
from graphc.contrast.watching import EagerWatch
from graphc.ir.dot import role_of
from graphc.ir.program import CONSTANT, INPUT, Node, Origin, Program, Value, attr_key
from graphc.ir.text import attr_text
from graphc.planning.descriptions import Data
from graphc.stages import Snapshot

#: Characters of an attribute that are shown.
_WIDTH = 60


class NodeIds:
    """Ids of nodes, stage by stage. A node that a pass made again, since an operand of it is another now, keeps its id."""

    def __init__(self) -> None:
        self.now: dict[Node, str] = {}
        self._count = 0

    def __getitem__(self, node: Node) -> str:
        return self.now[node]

    def move_to(self, nodes: Sequence[Node]) -> None:
        """The next stage has these nodes, operands first."""
        before, self.now = self.now, {node: self.now[node] for node in nodes if node in self.now}
        gone: dict[Any, list[Node]] = {}
        for node in before:
            if node not in self.now:
                gone.setdefault(_signature(node), []).append(node)
        for node in nodes:
            if node not in self.now:
                alike = gone.get(_signature(node))
                if alike:
                    old = max(alike, key=lambda x: self._kept_operands(x, node, before))
                    alike.remove(old)
                    self.now[node] = before[old]
                else:
                    self.now[node] = f"n{self._count}"
                    self._count += 1

    def _kept_operands(self, old: Node, new: Node, before: Mapping[Node, str]) -> int:
        return sum(before[a.node] == self.now[b.node] for a, b in zip(old.inputs, new.inputs, strict=True))


def _signature(node: Node) -> Any:
    """What a node has in common with one that was made again of other operands."""
    attrs = tuple((key, type(x) if isinstance(x, Program) else attr_key(x)) for key, x in sorted(node.attrs.items()))
    types = tuple((v.type.shape, v.type.dtype.name) for v in node.outputs)
    return node.op, attrs, types, len(node.inputs), node.origins[:1]


def about(transform: Callable[..., Any]) -> str:
    """The first sentence of a pass's docstring."""
    text = " ".join((inspect.getdoc(transform) or "").split("\n\n")[0].split())
    return text.partition(". ")[0].rstrip(".") + "." if text else ""


# --- nodes and edges ---------------------------------------------------------------------------------------------------


class Writer:
    """Writes programs as data. `names`: what inputs are called; `kernels`: the boxes that nodes are in."""

    def __init__(self, sources: Sources, names: Mapping[Value, str]):
        self.sources, self.names = sources, names
        self.ids = NodeIds()
        #: those of the recorded program
        self.recorded: dict[Node, str] = {}
        self.kernels: Mapping[Node, str] = {}

    def node(self, node: Node) -> Data:
        """A node as data."""
        leaf = node.op is INPUT or node.op is CONSTANT
        role = "input" if node.op is INPUT else "constant" if node.op is CONSTANT else role_of(node) or "forward"
        origins = () if leaf and node.op is INPUT else node.origins
        module = next((x.module for x in node.origins if x.module), "") if not leaf else ""
        name = self.names.get(node.outputs[0], node.attrs["name"]) if node.op is INPUT else node.op.name
        return {
            "id": self.ids[node], "op": name, "type": ", ".join(str(v.type) for v in node.outputs), "role": role,
            "module": module, "lines": self.sources.lines(origins), "kernel": self.kernels.get(node),
            "detail": _detail(node),
        }  # fmt: skip

    def program(self, program: Program) -> Data:
        """The nodes and edges of a program."""
        known = set(program.nodes)
        nodes = [*(v.node for v in program.inputs if v.node not in known), *program.nodes]
        self.ids.move_to(nodes)
        self.recorded = self.recorded or self.ids.now
        edges = [[self.ids[v.node], self.ids[node], str(v.type)] for node in nodes for v in node.inputs]
        return {"nodes": [self.node(node) for node in nodes], "edges": edges}


def _detail(node: Node) -> str:
    """The attributes of a node as short text."""
    if node.op is INPUT:
        return ""
    if node.op is CONSTANT:
        return attr_text(node.attrs["data"])[:_WIDTH]
    parts = [
        f"{key}={f'{len(x.nodes)} nodes' if isinstance(x, Program) else attr_text(x)}"[:_WIDTH]
        for key, x in node.attrs.items()
    ]
    return ", ".join(parts)


def program_stages(programs: Sequence[Snapshot], last: Program, writer: Writer) -> list[Data]:
    """The stages "recorded" and one for each pass that changed something, without their ids, then "kernels": `last`."""
    found: list[Data] = []
    before: dict[str, None] = {}
    for name, transform, program, ms in programs:
        written = writer.program(program)
        ids = dict.fromkeys(node["id"] for node in written["nodes"])
        stage: Data = {
            "name": name, "kind": "program", "ms": ms if ms is None else round(ms, 3),
            "about": "what one traced call recorded" if transform is None else about(transform),
        }  # fmt: skip
        if transform is not None:
            stage |= {"added": [x for x in ids if x not in before], "removed": [x for x in before if x not in ids]}
        found.append(stage | written)
        before = ids
    kernels = "the program that runs; a box is a step of the plan"
    return [*found, {"name": "kernels", "kind": "program", "about": kernels, "ms": None, **writer.program(last)}]


def tape_stage(watch: EagerWatch, sources: Sources) -> Data:
    """What define-by-run keeps for backward()."""
    nodes: list[Data] = []
    edges: list[list[str]] = []
    if watch.tape is not None:
        lines = {watch.tape.ids[id(entry)]: entry.line for entry in watch.tape.entries}
        for key, said in watch.tape_nodes:
            origin = lines.get(key)
            origins = (origin,) if isinstance(origin, Origin) else ()
            keeps = f"keeps {said['saved']}" if said["saved"] else ""
            nodes.append(
                {"id": key, "op": said["op"], "type": said["type"], "role": "input" if said["kind"] == "leaf" else "forward",
                 "module": origins[0].module if origins else "", "lines": sources.lines(origins), "kernel": None,
                 "detail": keeps}
            )  # fmt: skip
        edges = [[a, b, label] for a, b, label in watch.tape.edges()]
    return {
        "name": "eager tape", "kind": "tape", "about": "what define-by-run keeps for backward()", "ms": None, "nodes": nodes,
        "edges": edges,
    }  # fmt: skip


__all__ = ["NodeIds", "Writer", "about", "program_stages", "tape_stage"]
