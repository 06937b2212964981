"""What can be drawn, and how each becomes a program or a tape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.build import CompiledFunction
from graphc.core.arrays import is_array
from graphc.core.errors import ArgumentError, ArgumentTypeError, GraphError
from graphc.core.lazy import lazy_import
from graphc.core.tape import TensorBase
from graphc.executable import Built
from graphc.graphs import AllUpdates, Graph, UpdateGroup
from graphc.ir.dot import program_dot, role_of
from graphc.ir.program import Node, Program, Value, consumers, toposort
from graphc.ir.reading import program_from_text
from graphc.ir.specialise import specialise
from graphc.ir.text import program_text
from graphc.stages import stages_of
from graphc.viz.tape_pictures import tape_dot, tape_networkx

networkx = lazy_import("networkx")


def stages(x: Any) -> list[str]:
    """What `stage=` may be for a compiled function or module: each shows its program at another time.

    "recorded": as the function was recorded; "optimized": after the passes that suit every backend. Once it has run, for the
    sizes of the last run: each pass that changed something, by its name (the second time `tidy.2`), and "kernels": boxes are
    the steps that run. Raises GraphError for one that was not called yet.
    """
    return ["recorded", "optimized", *(name for name in stages_of(_built(x)) if name != "recorded")]


def to_dot(x: Any, optimized: bool = False, name: str = "", stage: str = "") -> str:
    """`x` as Graphviz DOT: forward, backward and update nodes in different colours, boxes by module, types on edges.

    x: Graph, compiled function, symbolic tensor, Program, or an eager tensor for its tape. `stage`: which one of a compiled
    function's `stages`; `optimized=True` is short for "optimized". Raises GraphError for a compiled function that was not
    called yet, ArgumentError for an unknown stage.
    """
    if isinstance(x, TensorBase) and is_array(x._data):
        return tape_dot(x, name or "tape")
    program, names, groups = drawn(x, stage or ("optimized" if optimized else ""))
    return program_dot(program, groups, name=name or "graph", output_names=names)


def to_networkx(x: Any, optimized: bool = False, stage: str = "") -> Any:
    """`x` as a `networkx.MultiDiGraph`.

    Node attributes: op, type, role, module, line, and at the stage "kernels" kernel; edge attributes: type, operand (which one
    it is). Arguments as `to_dot`.
    """
    if isinstance(x, TensorBase) and is_array(x._data):
        return tape_networkx(x)
    program, _, groups = drawn(x, stage or ("optimized" if optimized else ""))
    graph = networkx.MultiDiGraph()
    numbers = {node: i for i, node in enumerate(program.nodes)}
    for node, i in numbers.items():
        origin = node.origins[0] if node.origins else None
        graph.add_node(
            i, op=node.attrs["name"] if "name" in node.attrs and not node.inputs else node.op.name,
            type=", ".join(str(v.type) for v in node.outputs), role=role_of(node),
            module=origin.module if origin else "", line=str(origin) if origin else "",
            **({} if groups is None else {"kernel": groups.get(node, "")}),
        )  # fmt: skip
        for k, value in enumerate(node.inputs):
            graph.add_edge(numbers[value.node], i, type=str(value.type), operand=k)
    return graph


def to_graphml(x: Any, optimized: bool = False, stage: str = "") -> str:
    """`x` as GraphML, which yEd, Gephi and Cytoscape read; attributes and arguments as `to_networkx`."""
    return "\n".join(networkx.generate_graphml(to_networkx(x, optimized, stage))) + "\n"


def to_text(x: Any, optimized: bool = False, stage: str = "") -> str:
    """`x` as text that tells everything, a line a node, with the user's lines as comments: `from_text` reads it again.

    Takes what `to_dot` takes, but no eager tensor: GraphError. Custom operators are named, and cannot be read again.
    The same code gives the same text, so that two can be compared.
    """
    program, _, _ = drawn(x, stage or ("optimized" if optimized else ""))
    return program_text(program, lines=True, full=True)


def from_text(text: str) -> Program:
    """The program of a text that `to_text` wrote, for this module's other functions. Nothing in a text is executed.

    Raises FileFormatError, naming the line of the text, for what does not fit together.
    """
    if not isinstance(text, str):
        raise ArgumentTypeError(f"from_text reads a text, not {type(text).__name__}")
    return program_from_text(text)


def drawn(x: Any, stage: str) -> tuple[Program, Sequence[str], dict[Node, str] | None]:
    """The program to draw, sizes that are equal under one name; what its outputs are called; and boxes other than modules."""
    if stage and not hasattr(x, "_run") and not isinstance(x, CompiledFunction):
        raise ArgumentError(f"{type(x).__name__} has no stage {stage!r}", "a compiled function or module")
    if isinstance(x, Program):
        return x, (), None
    if isinstance(x, Graph):
        program, names = _program_of_graph(x)
        return specialise(program, x.aliases) if x.aliases else program, names, None
    if isinstance(x, TensorBase):
        value = x._data
        if is_array(value):
            raise GraphError("a tape has no text, only a picture: give a graph or a compiled function")
        return Program(value.node.table, _inputs([value]), (value,)), (), None
    return _at_stage(_built(x), stage or "recorded")


def _at_stage(built: Built, stage: str) -> tuple[Program, Sequence[str], dict[Node, str] | None]:
    if stage == "optimized":
        return built.program, (), None
    if stage == "recorded":
        return specialise(built.recorded, built.aliases) if built.aliases else built.recorded, (), None
    found = stages_of(built)
    if stage not in found:
        raise ArgumentError(f"there is no stage {stage!r}", f"one of recorded, optimized, {', '.join(list(found)[1:])}")
    program, groups = found[stage]
    return program, (), groups


def _built(x: Any) -> Built:
    run = getattr(x, "_run", None) if not isinstance(x, CompiledFunction) else x
    if not isinstance(run, CompiledFunction):
        raise ArgumentTypeError(
            f"cannot draw {type(x).__name__}: give a Graph, a compiled function, a tensor or a Program"
        )
    built = run.last_built()
    if built is None:
        raise GraphError(f"{run!r} has no graph yet: call it once first")
    return built


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
