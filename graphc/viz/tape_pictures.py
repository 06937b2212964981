"""The tape behind an eager tensor, as DOT and as a networkx graph: what `backward` will walk, from the result to the leaves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from graphc.autodiff import order_entries
from graphc.core.lazy import lazy_import
from graphc.core.tape import TensorBase, edge_of, type_of_meta
from graphc.core.tensor_types import TensorType
from graphc.ir.dot import COLOURS, quoted

networkx = lazy_import("networkx")


class TapeDrawing:
    """Numbers the entries and leaves of a tape in an order that is the same for the same code."""

    def __init__(self, root: Any, type_: TensorType):
        #: the edge of the tensor whose tape it is, and its type
        self.root, self.type = root, type_
        self.entries = order_entries([self.root[0]]) if type(self.root) is tuple else []
        self.ids: dict[int, str] = {id(entry): f"t{i}" for i, entry in enumerate(self.entries)}
        self.leaves: dict[int, Any] = {}
        edges = [edge for entry in self.entries for edge in entry.edges]
        for edge in [*edges, self.root]:
            if isinstance(edge, TensorBase) and id(edge) not in self.leaves:
                self.ids[id(edge)] = f"leaf{len(self.leaves)}"
                self.leaves[id(edge)] = edge

    def nodes(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every leaf and entry: (id, attributes)."""
        for key, leaf in self.leaves.items():
            name = getattr(leaf, "name", None) or type(leaf).__name__.lower()
            yield self.ids[key], {"kind": "leaf", "op": name, "type": str(leaf.tensor_type), "saved": ""}
        for entry in self.entries:
            saved = (
                "freed"
                if entry.saved is None
                else ", ".join("result" if p == "out" else f"operand {p}" for p in entry.saved)
            )
            types = ", ".join(str(type_of_meta(meta)) for meta in entry.out_metas)
            yield self.ids[id(entry)], {"kind": "entry", "op": entry.op.name, "type": types, "saved": saved}

    def edges(self) -> Iterator[tuple[str, str, str]]:
        """Every connection: (from, to, type), in the direction data flowed."""
        for entry in self.entries:
            for edge, meta in zip(entry.edges, entry.metas, strict=True):
                if edge is not None:
                    source = edge[0] if type(edge) is tuple else edge
                    yield self.ids[id(source)], self.ids[id(entry)], str(type_of_meta(meta))

    def result(self) -> str:
        """The id of what made the tensor."""
        return self.ids[id(self.root[0] if type(self.root) is tuple else self.root)]


def tape_dot(tensor: Any, name: str = "tape") -> str:
    """The tape behind `tensor` as a DOT digraph; each entry tells what it keeps for the backward pass."""
    lines = [
        f"digraph {quoted(name)} {{",
        '  node [style="filled,rounded", fontname="Helvetica", fontsize=10];',
        '  edge [fontname="Helvetica", fontsize=8];',
    ]
    if tensor._edge is None:
        return "\n".join([*lines, f'  "result" [label={quoted(f"no history: {tensor.tensor_type}")}];', "}"]) + "\n"
    drawing = TapeDrawing(edge_of(tensor), tensor.tensor_type)
    for node, about in drawing.nodes():
        leaf = about["kind"] == "leaf"
        label = f"{about['op']}\n{about['type']}" + (f"\nkeeps {about['saved']}" if about["saved"] else "")
        fill = "#fff6c4" if leaf else COLOURS["forward"]
        lines.append(
            f"  {quoted(node)} [label={quoted(label)}, shape={'ellipse' if leaf else 'box'}, fillcolor={quoted(fill)}];"
        )
    lines += [f"  {quoted(a)} -> {quoted(b)} [label={quoted(label)}];" for a, b, label in drawing.edges()]
    result = quoted(f"result\n{drawing.type}")
    lines.append(f'  "result" [label={result}, shape=ellipse, fillcolor="#e6ddf2"];')
    lines.append(f'  {quoted(drawing.result())} -> "result";')
    return "\n".join([*lines, "}"]) + "\n"


def tape_networkx(tensor: Any) -> Any:
    """The tape behind `tensor` as a `networkx.MultiDiGraph`; attributes: kind, op, type, saved."""
    graph = networkx.MultiDiGraph()
    if tensor._edge is not None:
        drawing = TapeDrawing(edge_of(tensor), tensor.tensor_type)
        graph.add_nodes_from(drawing.nodes())
        graph.add_edges_from((a, b, {"type": type_}) for a, b, type_ in drawing.edges())
    return graph
