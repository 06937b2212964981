"""Graphs in files: program, weights and optimizer state in one safetensors container, no pickle, no code.

A file holds what the graph's outputs need. A loaded graph runs without the model's source and can be differentiated again,
unless it was saved with `inference=True`.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from graphc.compiled_backward import replay
from graphc.core.arrays import host, moved
from graphc.core.context import SLOTS, STATE, recording, set_grad
from graphc.core.errors import FileFormatError, GraphcError, GraphError
from graphc.core.op import Elementwise, View
from graphc.core.tape import LEAF, TensorBase
from graphc.core.tensor_types import TensorType
from graphc.graphs import AllUpdates, Graph, UpdateGroup
from graphc.ir.program import Program, Value, toposort
from graphc.ir.serialise import find, from_dict, from_json, to_dict, to_json
from graphc.layouts import Layout, Layouts, Lying, Question, Step
from graphc.saving import read_arrays, write_arrays
from graphc.sharing import Call, Doubt
from graphc.tracing import Capture

_KIND = "graphc graph"
_FORMAT = 1


def save_graph(graph: Graph, path: Any, inference: bool = False) -> None:
    """Writes what `graph.outputs` need to `path`: program, parameters, optimizer and random state.

    `inference=True` leaves out train ops and the means to differentiate. Raises GraphError for a graph without outputs and
    for one that holds a Python function (a custom autograd.Function), naming it. Nothing is written then.
    """
    outputs = {n: o for n, o in graph.outputs.items() if not (inference and isinstance(o, UpdateGroup | AllUpdates))}
    if not outputs:
        raise GraphError("nothing to save: fill graph.outputs, for example graph.outputs['loss'] = loss")
    values: list[Value] = []
    captures: dict[int, Capture] = {}
    described = {name: _describe(graph, name, output, values, captures) for name, output in outputs.items()}
    random = [[_number(captures, c), _place(values, v)] for c, v in graph.random_advances(list(values))]
    if not inference:
        _refuse_functions(graph, values)
    program = graph.program(values)
    by_value = {c.value: c for c in graph.captures.values()}
    fed = {value: name for name, value in graph.fed.items()}
    arrays: dict[str, Any] = {}
    inputs: list[dict[str, Any]] = []
    for value in program.inputs:
        if value in fed:
            inputs.append({"placeholder": fed[value]})
        else:
            inputs.append({"variable": _number(captures, by_value[value])})
    variables = [_variable(c, i, arrays) for i, c in enumerate(captures.values())]
    encoded, constants = to_dict(program)
    arrays.update({f"program.{name}": array for name, array in constants.items()})
    meta = {
        "kind": _KIND, "format": _FORMAT, "name": graph.name, "inference": bool(inference), "program": encoded,
        "inputs": inputs, "variables": variables, "outputs": described, "random": random, "placeholders": list(graph.inputs),
        "unknown": {k: str(v) for k, v in graph.aliases.items()}, "sharing": _sharing(graph, values),
    }  # fmt: skip
    write_arrays(path, arrays, {"graphc_graph": json.dumps(meta)})


def _describe(graph: Graph, name: str, output: Any, values: list[Value], captures: dict[int, Capture]) -> Any:
    """An output as JSON; its values and variables are added to the lists."""
    if isinstance(output, UpdateGroup | AllUpdates):
        if output.graph is not graph:
            raise GraphError(f"output {name!r} is a train op of another graph")
        pairs = [*output.pairs, *graph.implied_writes(output)]
        return {"updates": [[_number(captures, c), _place(values, v)] for c, v in pairs]}
    if not isinstance(output, TensorBase):
        raise GraphError(f"output {name!r} is {type(output).__name__}, neither a tensor nor a train op")
    shadow = graph.shadow(output)
    if shadow._base is not None:
        graph.derive_anew(shadow)
    graph.layouts.sharing.note_fetch(shadow)
    return {"value": _place(values, shadow._data)}


def _sharing(graph: Graph, values: list[Value]) -> Any:
    """The doubts about shared memory that runs can show, each with the numbers of the values that show it, as JSON."""
    layouts, shown = graph.layouts, dict[Doubt, tuple[list[int], list[int]]]()
    for k, value in enumerate(values if layouts.sharing.events else ()):
        needed = {v for node in toposort([value]) for v in node.outputs}
        for doubt in layouts.sharing.doubts:
            if doubt.shows_in(needed, [value]):
                shown.setdefault(doubt, ([], []))[not doubt.shows_in(needed, ())].append(k)
    last = max((doubt.call.question.source.layout.anew for doubt in shown), default=-1)
    steps = tuple([(step.op.name, *step[1:]) for step in layouts.steps[: last + 1]])
    calls = tuple([(*doubt.call, tuple(read), tuple(fetched)) for doubt, (read, fetched) in shown.items()])
    return to_json((steps, calls))


def _place(values: list[Value], value: Value) -> int:
    values.append(value)
    return len(values) - 1


def _number(captures: dict[int, Capture], capture: Capture) -> int:
    captures.setdefault(id(capture), capture)
    return list(captures).index(id(capture))


def _refuse_functions(graph: Graph, values: list[Value]) -> None:
    needed = set(toposort(values))
    for name, outputs in graph.functions:
        if any(v.node in needed for v in outputs):
            line = outputs[0].origin_text()
            raise GraphError(
                f"the graph holds the Python function {name} (used at {line}), which no file can hold\n"
                "  hint: save with inference=True to keep its forward only"
            )


def _variable(capture: Capture, i: int, arrays: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"name": capture.name}
    if capture.owner is not None:
        return found | {"number": float(capture.read())}
    arrays[f"variable.{i}"] = np.array(host(capture.read()))
    found["wants_grad"] = bool(capture.tensor is not None and capture.tensor._edge is LEAF)
    found["advances"] = capture.advances
    found["grad"] = capture.grad_of is not None
    return found


def load_graph(path: Any) -> Graph:
    """The graph of a file that `save_graph` wrote: same inputs, outputs and parameters, fed and fetched by name.

    Nothing in a file is executed. Raises FileFormatError for a damaged or foreign file, OSError where there is none.
    """
    arrays, metadata = read_arrays(path)
    try:
        meta = json.loads(metadata["graphc_graph"])
        if meta["kind"] != _KIND:
            raise KeyError(meta["kind"])
    except (KeyError, TypeError, ValueError):
        raise FileFormatError(f"{path} holds no graph: load it with graphc.load") from None
    if meta.get("format") != _FORMAT:
        raise FileFormatError(f"{path} has graph format {meta.get('format')!r}; this version of graphc reads {_FORMAT}")
    constants = {k.removeprefix("program."): v for k, v in arrays.items() if k.startswith("program.")}
    try:
        return _rebuild(meta, from_dict(meta["program"], constants), arrays)
    except (
        GraphcError,
        KeyError,
        TypeError,
        IndexError,
        AttributeError,
        AssertionError,
        ValueError,
        OverflowError,
    ) as error:
        raise FileFormatError(f"{path} does not hold together: {type(error).__name__}: {error}") from None


def _rebuild(meta: dict[str, Any], program: Program, arrays: dict[str, Any]) -> Graph:
    if not isinstance(meta["name"], str):
        raise TypeError(f"name {meta['name']!r}")
    graph = Graph(meta["name"])
    numbers: dict[str, float] = {}
    symbols: list[Any] = [None] * len(meta["variables"])
    tensors: list[Any] = [None] * len(meta["variables"])
    inference = bool(meta["inference"])
    leaves = []
    with recording(graph):
        for i, variable in enumerate(meta["variables"]):
            tensors[i], symbols[i] = _restore(graph, variable, arrays.get(f"variable.{i}"), numbers, inference)
        for value, source in zip(program.inputs, meta["inputs"], strict=True):
            if "placeholder" in source:
                leaves.append(graph.placeholder(value.type.shape, value.dtype, source["placeholder"]))
            else:
                leaves.append(symbols[source["variable"]])
        for name in meta["placeholders"]:
            if name not in graph.inputs and not isinstance(name, str):
                raise TypeError(f"placeholder {name!r}")
        with set_grad(not inference):
            results = replay(program, leaves)
    graph.checks.extend(program.checks)
    graph.pruned_for = "inference" if inference else ""
    for name, output in meta["outputs"].items():
        if "value" in output:
            graph.outputs[name] = results[output["value"]]
            continue
        with recording(graph):
            group = UpdateGroup([])
        group.pairs = [(_capture(graph, tensors[i], symbols[i]), results[k]._data) for i, k in output["updates"]]
        graph.outputs[name] = group
    for i, k in meta["random"]:
        symbols[i]._data = results[k]._data
    if "sharing" in meta:
        _restore_sharing(graph.layouts, from_json(meta["sharing"]), [result._data for result in results])
    return graph


def _restore_sharing(layouts: Layouts, found: Any, values: list[Value]) -> None:
    """Adds what `_sharing` gave to what was noted while the program was recorded again."""
    steps, calls = found
    first = len(layouts.steps)
    for name, attrs, operands, shape in steps:
        op = find(name)
        if not isinstance(op.kind, Elementwise | View):
            raise TypeError(f"a step {name!r}")
        lying = tuple([_lying(x, first, len(layouts.steps)) for x in operands])
        layouts.steps.append(Step(op, tuple(attrs), lying, shape))
    for name, shared, (source, shape), line, read, fetched in calls:
        question = Question(_lying(source, first, len(layouts.steps)), shape)
        call = Call(str(name), bool(shared), question, str(line))
        layouts.sharing.restore(call, [values[k] for k in read], [values[k] for k in fetched])


def _lying(found: Any, first: int, end: int) -> Lying:
    """How a tensor lies; its step is one of those from `first` to before `end`."""
    type_, (strides, _, anew) = found
    anew = first + anew if anew >= 0 else -1
    if (
        not isinstance(type_, TensorType)
        or anew >= end
        or len(type_.shape if strides is None else strides) != type_.ndim
    ):
        raise TypeError(f"a layout {found!r}")
    return Lying(type_, Layout(strides, 0, anew))


def _restore(
    graph: Graph, variable: dict[str, Any], array: Any, numbers: dict[str, float], inference: bool
) -> tuple[Any, Any]:
    """The concrete tensor of a saved variable and its symbol in the graph."""
    name = variable["name"]
    if "number" in variable:
        numbers[name] = float(variable["number"])
        return None, graph.live(numbers, name)
    tensor = SLOTS.new_tensor(moved(np.array(array), STATE.memory))
    tensor.__dict__["name"] = name
    if variable["wants_grad"] and not inference:
        tensor._edge = LEAF
    if variable["advances"]:
        tensor.__dict__["_random_state"] = True
    return tensor, graph.shadow(tensor)


def _capture(graph: Graph, tensor: Any, symbol: Any) -> Capture:
    return next(c for c in graph.captures.values() if c.shadow is symbol)


__all__ = ["load_graph", "save_graph"]
