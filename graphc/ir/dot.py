"""Programs as Graphviz DOT: nodes with stable names, types on edges, clusters by module path or by given groups."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from graphc.ir.program import CONSTANT, INPUT, Node, Program, Value
from graphc.ir.text import attr_text, node_text, value_names

Role = Callable[[Node], str]

#: Fill colours: leaves and nodes of a forward pass, a backward pass, an update.
COLOURS = {"forward": "#dbe9f6", "backward": "#fbe3d0", "update": "#dcefd8", "": "#f4f4f4"}
_LEAVES = {INPUT: ("ellipse", "#fff6c4"), CONSTANT: ("note", "#eeeeee")}
_ATTR_WIDTH = 40


def quoted(text: str) -> str:
    """A DOT string: quotes and backslashes escaped, line breaks kept."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def role_of(node: Node) -> str:
    """What the node was recorded for: "forward", "backward" or "update"; "" for a node made without origin."""
    return node.origins[0].role if node.origins else ""


@dataclass
class _Cluster:
    title: str
    nodes: list[Node] = field(default_factory=list)
    inner: dict[str, _Cluster] = field(default_factory=dict)


def _clusters(program: Program, groups: Mapping[Node, str] | None) -> _Cluster:
    """The nodes sorted into nested boxes: `a.b` is a box b inside a box a."""
    root = _Cluster("")
    for node in program.nodes:
        if groups is not None:
            path = [groups[node]] if node in groups else []
        else:
            module = node.origins[0].module if node.origins else ""
            path = module.split(".") if module and node.op is not CONSTANT else []
        at = root
        for part in path:
            at = at.inner.setdefault(part, _Cluster(part))
        at.nodes.append(node)
    return root


class _Writer:
    def __init__(self, program: Program, role: Role | None):
        self.names = value_names(program)
        self.role = role
        self.ids = {node: self._id(node, i) for i, node in enumerate(program.nodes)}
        self.clusters = 0

    def _id(self, node: Node, position: int) -> str:
        if node.op is INPUT:
            return f"in_{node.attrs['name']}"
        return "n" + self.names[node.outputs[0]].partition(".")[0][1:] if node.outputs else f"n_{position}"

    def node(self, node: Node) -> str:
        shape, fill = _LEAVES.get(node.op, ("box", ""))
        if node.op is INPUT:
            label = f"{node.attrs['name']}\n{node.outputs[0].type}"
        elif node.op is CONSTANT:
            label = attr_text(node.attrs["data"])[:_ATTR_WIDTH]
        else:
            label = node.op.name
            for key, x in node.attrs.items():
                text = attr_text(x) if not isinstance(x, Program) else f"{len(x.nodes)} nodes"
                label += "\n" + f"{key}={text}"[:_ATTR_WIDTH]
        if not fill:
            fill = COLOURS.get(self.role(node) if self.role else role_of(node), COLOURS[""])
        where = "\n".join([node_text(node, self.names), *map(str, node.origins)])
        return (
            f"{quoted(self.ids[node])} [label={quoted(label)}, shape={shape}, fillcolor={quoted(fill)}, "
            f"tooltip={quoted(where)}];"
        )

    def cluster(self, cluster: _Cluster, indent: str) -> Iterator[str]:
        for node in cluster.nodes:
            yield indent + self.node(node)
        for inner in cluster.inner.values():
            yield f"{indent}subgraph cluster_{self.clusters} {{"
            self.clusters += 1
            yield f'{indent}  label={quoted(inner.title)}; style="rounded"; color="#999999";'
            yield from self.cluster(inner, indent + "  ")
            yield indent + "}"

    def edge(self, value: Value, user: str) -> str:
        label = quoted(str(value.type))
        return f"  {quoted(self.ids[value.node])} -> {quoted(user)} [label={label}];"


def program_dot(
    program: Program,
    groups: Mapping[Node, str] | None = None,
    role: Role | None = None,
    name: str = "program",
    output_names: Sequence[str] = (),
) -> str:
    """The program as a DOT digraph.

    `groups`: a title per node; nodes of one title share a box. Without it boxes are modules, nested as they are.
    `role(node)`: "forward", "backward" or "update", told apart by colour; by default what the node's origin says.
    `output_names`: what the outputs are called, in order; "output 0", ... where there are none.
    """
    writer = _Writer(program, role)
    lines = [
        f"digraph {quoted(name)} {{",
        "  newrank=true;",  # boxes that hold forward and backward nodes at once defeat Graphviz's older ranking
        '  node [style="filled,rounded", fontname="Helvetica", fontsize=10];',
        '  edge [fontname="Helvetica", fontsize=8];',
    ]
    for value in program.inputs:
        if value.node not in writer.ids:
            writer.ids[value.node] = f"in_{value.node.attrs['name']}"
            lines.append("  " + writer.node(value.node))
    lines += writer.cluster(_clusters(program, groups), "  ")
    for i in range(len(program.outputs)):
        title = quoted(output_names[i] if i < len(output_names) else f"output {i}")
        lines.append(f'  "out_{i}" [label={title}, shape=ellipse, fillcolor="#e6ddf2"];')
    for node in program.nodes:
        lines += [writer.edge(value, writer.ids[node]) for value in node.inputs]
    lines += [writer.edge(value, f"out_{i}") for i, value in enumerate(program.outputs)]
    return "\n".join([*lines, "}"]) + "\n"
