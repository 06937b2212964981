"""`export`: a module, a function or a graph as an ONNX model."""

from __future__ import annotations

import enum
import os
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from graphc.build import CompiledFunction
from graphc.core.arrays import host
from graphc.core.context import eagerly, recording, set_grad
from graphc.core.lazy import lazy_import
from graphc.core.tape import TensorBase
from graphc.core.tensor_types import int64
from graphc.graphs import Graph
from graphc.ir.program import Program
from graphc.ir.specialise import specialise
from graphc.nests import tensors_in
from graphc.onnx.inputs import Given
from graphc.onnx.lowering import lower
from graphc.onnx.model import ONNXProgram
from graphc.onnx.programs import write_program
from graphc.onnx.writer import OnnxExporterError, Writer, ir
from graphc.passes.pipelines import DEFAULT, optimise
from graphc.tracing import Capture, plain_name
from graphc.version import __version__

_helper = lazy_import("onnx.helper", 'pip install "graphc[onnx]"')
_passes = lazy_import("onnx_ir.passes.common", 'pip install "graphc[onnx]"')
_defs = lazy_import("onnx.defs", 'pip install "graphc[onnx]"')

#: PyTorch's default, and the first in which reductions take axes as an operand and integers have bitwise ops.
DEFAULT_OPSET, FIRST_OPSET = 20, 18


class TrainingMode(enum.IntEnum):
    """In which mode the module runs while it is exported with `dynamo=False`."""

    EVAL = 0
    PRESERVE = 1
    TRAINING = 2


class _Exporting(threading.local):
    now = False


_EXPORTING = _Exporting()


def is_in_onnx_export() -> bool:
    """Whether this thread is tracing a module for `export`."""
    return _EXPORTING.now


def export(
    model: Any,
    args: Any = (),
    f: Any = None,
    *,
    kwargs: Mapping[str, Any] | None = None,
    verbose: bool | None = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    opset_version: int | None = None,
    dynamo: bool = True,
    external_data: bool = True,
    dynamic_shapes: Any = None,
    custom_translation_table: Any = None,
    report: bool = False,
    optimize: bool = True,
    verify: bool = False,
    profile: bool = False,
    dump_exported_program: bool = False,
    artifacts_dir: Any = ".",
    export_params: bool = True,
    keep_initializers_as_inputs: bool = False,
    dynamic_axes: Mapping[str, Any] | None = None,
    training: TrainingMode = TrainingMode.EVAL,
    operator_export_type: Any = None,
    do_constant_folding: bool = True,
    custom_opsets: Any = None,
    export_modules_as_functions: Any = False,
    autograd_inlining: bool = True,
) -> ONNXProgram | None:
    """Traces `model(*args, **kwargs)` and gives it as an ONNX model, which is written to `f` if that is a path or a file.

    model: a Module, a function, what `compile` made of one, or a `Graph`, whose `outputs` are exported (args are left out
    then). Tensors among the arguments are inputs, other values are fixed. `dynamic_shapes` or `dynamic_axes` name sizes
    that may be others at run time. A Module is traced in the mode it is in; with `dynamo=False` in that of `training`.
    Weights keep their names in `state_dict`; `external_data` puts them into a file beside `f`. Random numbers are drawn anew
    at each run. Returns the ONNXProgram, None with `dynamo=False`. Needs the extra `onnx`. OnnxExporterError names the op and
    line that ONNX has no counterpart of. The options not named here are PyTorch's and change nothing.
    """
    if custom_translation_table:
        raise OnnxExporterError("onnx.export: graphc translates its own ops and takes no custom_translation_table")
    opset = _opset(opset_version)
    args, kwargs = _arguments(args, kwargs)
    if isinstance(model, Graph):
        graph, examples, outputs = model, [], _outputs_of(model)
        names = list(output_names or outputs)
        results = list(outputs.values())
    else:
        if isinstance(model, CompiledFunction):
            model = model.fn
        elif isinstance(getattr(model, "_run", None), CompiledFunction):
            model = model._orig_mod
        graph = Graph("onnx")
        given = Given(graph, input_names, _known_axes(dynamic_axes, input_names, output_names))
        with _mode(model, training if not dynamo else TrainingMode.PRESERVE, dynamo):
            results = _traced(graph, model, given, args, kwargs, dynamic_shapes)
        examples, names = given.examples, list(output_names or ())
        _check_names(given)
    program = _program(graph, results, bool(optimize and do_constant_folding))
    exported = ONNXProgram(_model(graph, program, _state_names(model), _named(names, len(results), graph.fed), opset))
    if verify and not isinstance(model, Graph):
        with eagerly(), set_grad(False):
            exported.check(examples, tensors_in(model(*args, **kwargs)))
    if f is not None:
        exported.save(
            f,
            include_initializers=export_params,
            keep_initializers_as_inputs=keep_initializers_as_inputs,
            external_data=external_data and isinstance(f, str | os.PathLike),
        )
    return exported if dynamo else None


# --- what is asked --------------------------------------------------------------------------------------------------


def _opset(version: int | None) -> int:
    version = DEFAULT_OPSET if version is None else int(version)
    last = _defs.onnx_opset_version()
    if not FIRST_OPSET <= version <= last:
        raise OnnxExporterError(f"onnx.export: graphc writes the opsets {FIRST_OPSET} to {last}, not {version}")
    return version


def _arguments(args: Any, kwargs: Mapping[str, Any] | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and named arguments; a dict at the end of `args` holds named ones, as in PyTorch."""
    args = (args,) if isinstance(args, TensorBase) else tuple(args)
    if not kwargs and args and isinstance(args[-1], dict):
        return args[:-1], dict(args[-1])
    return args, dict(kwargs or {})


def _known_axes(axes: Any, inputs: Any, outputs: Any) -> dict[str, Any]:
    """The entries of `dynamic_axes` for inputs; sizes of outputs follow from those of the inputs."""
    strange = [name for name in axes or {} if name not in (inputs or ()) and name not in (outputs or ())]
    if strange:
        raise OnnxExporterError(
            f"onnx.export: dynamic_axes names {strange[0]!r}, which is neither in input_names nor in output_names"
        )
    return {name: spec for name, spec in (axes or {}).items() if name in (inputs or ())}


def _named(names: list[str], count: int, inputs: Mapping[str, Any]) -> list[str]:
    taken = [name for i, name in enumerate(names) if name in inputs or name in names[:i]]
    if taken:
        raise OnnxExporterError(
            f"onnx.export: an input or another result has the name {taken[0]!r}, too: see output_names"
        )
    if len(names) > count:
        raise OnnxExporterError(f"onnx.export: output_names has {len(names)} names for {count} results")
    return names + [f"output_{i}" if count > 1 else "output" for i in range(len(names), count)]


def _outputs_of(graph: Graph) -> dict[str, Any]:
    found = {name: x for name, x in graph.outputs.items() if isinstance(x, TensorBase)}
    if not found:
        raise OnnxExporterError("onnx.export: nothing to export: fill graph.outputs, as graph.outputs['y'] = y")
    return found


@contextmanager
def _mode(model: Any, training: TrainingMode, warn: bool) -> Iterator[None]:
    """Within, the module is in that mode."""
    modules = list(model.modules()) if hasattr(model, "modules") else []
    before = [m.training for m in modules]
    if warn and modules and model.training:
        warnings.warn(
            "Exporting a model while it is in training mode: it may behave differently in inference. "
            "Call model.eval() before export.",
            UserWarning,
            stacklevel=4,
        )
    for m in modules if training is not TrainingMode.PRESERVE else ():
        m.training = training is TrainingMode.TRAINING
    try:
        yield
    finally:
        for m, mode in zip(modules, before, strict=True):
            if m.training is not mode:
                m.training = mode


# --- the program ----------------------------------------------------------------------------------------------------


def _traced(graph: Graph, model: Any, given: Given, args: Any, kwargs: Any, shapes: Any) -> list[Any]:
    """The tensors that the function gives for placeholders."""
    with recording(graph), set_grad(False):
        placed, named = given.placed(model, args, kwargs, shapes)
        before, _EXPORTING.now = _EXPORTING.now, True
        try:
            found = tensors_in(model(*placed, **named))
        finally:
            _EXPORTING.now = before
    if not found:
        raise OnnxExporterError("onnx.export: the function returns no tensor")
    return found


def _check_names(given: Given) -> None:
    """Raises where the function gives a number to a size that was to be unknown."""
    graph = given.graph
    for name in given.met:
        size = graph.aliases.get(name)
        if isinstance(size, int):
            line = next((line for a, b, line in graph.checks if {graph.resolve(a), graph.resolve(b)} == {size}), "")
            raise OnnxExporterError(
                f"onnx.export: the size {name!r} cannot be unknown: the function takes it to be {size} (at {line})"
            )


def _program(graph: Graph, results: Sequence[Any], fold: bool) -> Program:
    """The part of the graph that the results need, ready to be written."""
    values = []
    for x in results:
        shadow = graph.shadow(x)
        if shadow._base is not None:
            graph.derive_anew(shadow)
        values.append(shadow._data)
    needed = graph.program(values).inputs
    inputs = (*graph.fed.values(), *(v for v in needed if v not in graph.fed.values()))
    program = Program(graph.table, inputs, tuple(values), tuple(graph.checks))
    if fold:
        program = optimise(program, DEFAULT, name="onnx")
    return lower(specialise(program, graph.aliases))


# --- the model ------------------------------------------------------------------------------------------------------


def _state_names(model: Any) -> dict[int, str]:
    """The names of tensors in a module's `state_dict`."""
    kinds = [getattr(model, kind)() for kind in ("named_parameters", "named_buffers") if hasattr(model, kind)]
    return {id(x): name for found in kinds for name, x in found}


def _model(graph: Graph, program: Program, state: Mapping[int, str], outputs: Sequence[str], opset: int) -> Any:
    writer, count = Writer(opset), len(graph.fed)
    inputs = [writer.value(name, v.type) for name, v in zip(graph.fed, program.inputs, strict=False)]
    names = [writer.fresh(name) for name in outputs]  # before nodes take them
    for given, value in zip(inputs, program.inputs, strict=False):
        for axis, size in enumerate(value.type.shape):
            name = plain_name(size)
            if name is not None:
                writer.sources.setdefault(name, (given, axis))
    captures = {c.name: c for c in graph.captures.values()}
    weights = [_weight(writer, captures[v.node.attrs["name"]], state) for v in program.inputs[count:]]
    found = write_program(writer, program, [*inputs, *weights])
    results = [writer.result(x, v.type, n) for x, v, n in zip(found, program.outputs, names, strict=True)]
    body = ir.Graph(
        inputs,
        results,
        nodes=writer.nodes,
        initializers=writer.initializers,
        name=graph.name,
        opset_imports={"": opset},
    )
    version = _helper.find_min_ir_version_for([_helper.make_opsetid("", opset)])
    model = ir.Model(body, ir_version=version, producer_name="graphc", producer_version=__version__)
    return _passes.RemoveUnusedNodesPass()(model).model


def _weight(writer: Writer, capture: Capture, state: Mapping[int, str]) -> Any:
    """A captured tensor as an initialiser; the count of a random generator as a number that is drawn at each run."""
    if capture.advances:
        number = writer.op("RandomUniform", shape=[1], low=0.0, high=2.0**31, dtype=int(ir.DataType.DOUBLE))
        return writer.reshape(writer.cast(writer.op("Floor", number), int64), ())
    return writer.initializer(state.get(id(capture.tensor), capture.name), host(capture.read()))
