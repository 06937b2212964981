"""What can be drawn, and how each becomes a program or a tape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.build import CompiledFunction
from graphc.core.arrays import is_array
from graphc.core.errors import ArgumentTypeError, GraphError
from graphc.core.lazy import lazy_import
from graphc.core.tape import TensorBase
from graphc.graphs import AllUpdates, Graph, UpdateGroup
from graphc.ir.dot import program_dot, role_of
from graphc.ir.program import Program, Value, consumers, toposort
from graphc.ir.reading import program_from_text
from graphc.ir.specialise import specialise
from graphc.ir.text import program_text
from graphc.viz.tape_pictures import tape_dot, tape_networkx

networkx = lazy_import("networkx")


def to_dot(x: Any, optimized: bool = False, name: str = "") -> str:
    """`x` as Graphviz DOT: forward, backward and update nodes in different colours, boxes by module, types on edges.

    x: Graph, compiled function, symbolic tensor, Program, or an eager tensor for its tape. `optimized=True` shows a compiled
    function's program after the passes. Raises GraphError for a compiled function that was not called yet.
    """
    if isinstance(x, TensorBase) and is_array(x._data):
        return tape_dot(x, name or "tape")
    program, names = program_of(x, optimized)
    return program_dot(program, name=name or "graph", output_names=names)


def to_networkx(x: Any, optimized: bool = False) -> Any:
    """`x` as a `networkx.MultiDiGraph`.

    Node attributes: op, type, role, module, line; edge attributes: type, operand (which one it is). Arguments as `to_dot`.
    """
    if isinstance(x, TensorBase) and is_array(x._data):
        return tape_networkx(x)
    program, _ = program_of(x, optimized)
    graph = networkx.MultiDiGraph()
    numbers = {node: i for i, node in enumerate(program.nodes)}
    for node, i in numbers.items():
        origin = node.origins[0] if node.origins else None
        graph.add_node(
            i, op=node.attrs["name"] if "name" in node.attrs and not node.inputs else node.op.name,
            type=", ".join(str(v.type) for v in node.outputs), role=role_of(node),
            module=origin.module if origin else "", line=str(origin) if origin else "",
        )  # fmt: skip
        for k, value in enumerate(node.inputs):
            graph.add_edge(numbers[value.node], i, type=str(value.type), operand=k)
    return graph


def to_graphml(x: Any, optimized: bool = False) -> str:
    """`x` as GraphML, which yEd, Gephi and Cytoscape read; attributes and arguments as `to_networkx`."""
    return "\n".join(networkx.generate_graphml(to_networkx(x, optimized))) + "\n"


def to_text(x: Any, optimized: bool = False) -> str:
    """`x` as text that tells everything, a line a node, with the user's lines as comments: `from_text` reads it again.

    Takes what `to_dot` takes, but no eager tensor: GraphError. The same code gives the same text, so that two can be compared.
    """
    program, _ = program_of(x, optimized)
    return program_text(program, lines=True, full=True)


def from_text(text: str) -> Program:
    """The program of a text that `to_text` wrote, for this module's other functions. Nothing in a text is executed.

    Raises FileFormatError, naming the line of the text, for what does not fit together.
    """
    return program_from_text(text)


def program_of(x: Any, optimized: bool = False) -> tuple[Program, Sequence[str]]:
    """The program to draw, sizes that are equal under one name, and what its outputs are called."""
    if isinstance(x, Program):
        return x, ()
    if isinstance(x, Graph):
        program, names = _program_of_graph(x)
        return specialise(program, x.aliases) if x.aliases else program, names
    run = getattr(x, "_run", None) if not isinstance(x, CompiledFunction) else x
    if isinstance(run, CompiledFunction):
        built = run.last_built()
        if built is None:
            raise GraphError(f"{run!r} has no graph yet: call it once first")
        if optimized:
            return built.program, ()
        return specialise(built.recorded, built.aliases) if built.aliases else built.recorded, ()
    if isinstance(x, TensorBase):
        value = x._data
        if is_array(value):
            raise GraphError("a tape has no text, only a picture: give a graph or a compiled function")
        return Program(value.node.table, _inputs([value]), (value,)), ()
    raise ArgumentTypeError(f"cannot draw {type(x).__name__}: give a Graph, a compiled function, a tensor or a Program")


def _inputs(values: Sequence[Value]) -> tuple[Value, ...]:
    return tuple(n.outputs[0] for n in toposort(values) if "name" in n.attrs and not n.inputs)


def _program_of_graph(graph: Graph) -> tuple[Program, Sequence[str]]:
    """The graph's named outputs and updates; where none are named, every value nobody reads."""
    values: list[Value] = []
    names: list[str] = []
    for name, output in graph.outputs.items():
        if isinstance(output, UpdateGroup | AllUpdates):
            for capture, value in [*output.pairs, *graph.implied_writes(output)]:
                values.append(value)
                names.append(f"{name}: new {capture.name}")
        else:
            values.append(graph.shadow(output)._data)
            names.append(name)
    if values:
        return graph.program(values), names
    whole = graph.program([v for node in graph.nodes for v in node.outputs])
    read = consumers(whole)
    return whole.with_outputs(v for v in whole.outputs if v not in read and v not in whole.inputs), ()
