"""`gc.estimate`: traces and plans a call for types alone, and tells what it would do."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.backends import find_backend
from graphc.build import CompiledFunction
from graphc.core.arrays import addresses
from graphc.core.config import config
from graphc.core.context import SLOTS
from graphc.core.dims import is_static, substitute
from graphc.core.errors import ArgumentError, ArgumentTypeError, GraphError, ShapeError
from graphc.core.lazy import lazy_import
from graphc.core.tape import TensorBase
from graphc.core.tensor_types import DTYPES, TensorType, defaults, type_of_array
from graphc.executable import Built
from graphc.graphs import Graph
from graphc.ir.program import Value
from graphc.ir.specialise import specialise
from graphc.passes.pipelines import NATIVE, optimise
from graphc.planning.descriptions import Data
from graphc.planning.memory import make_plan
from graphc.planning.regions import plan_regions
from graphc.profiler.estimates import Estimate, estimate_data, program_data
from graphc.profiler.rates import rates_of
from graphc.session import Session
from graphc.tracing import Capture

pool = lazy_import("graphc.backends.llvm.pool")

#: Plans kernels and compiles none.
_PLANNER = "null"
_SHORT = {dtype.short: dtype for dtype in DTYPES}


def estimate(fn: Any, /, *types: Any, backend: str | None = None, **kwargs: Any) -> Estimate:
    """Tells what `fn(*types, **kwargs)` would compute, hold in memory and take, without data: it is traced and planned.

    fn: a function or module, compiled or not; for arguments give tensors, or types in their place: `gc.float32[64, 1000]`,
    `"f32[64, 1000]"` or a shape, `(64, 1000)`, of the default dtype; other values are themselves. Or a Graph or a Session, for
    the graph's outputs or for the fetches given, the shapes of placeholders by name: `estimate(session, [loss, train],
    x=(64, 1000))`. Nothing runs, no parameter changes; an optimizer may make its state, as it would in its first step. A
    module or function whose result is differentiated outside also has a gradient program.
    FLOPs and bytes are those of the plan for `backend` (default: that of `compile`): loops with all their turns, one turn of
    those that run until something holds, the dearer of two branches. The time is a prediction: each step takes what its FLOPs
    or bytes take at the rates measured once on this machine, on the processor at least what its kernel's arithmetic takes by
    the cost model; calling is not counted. Raises what tracing raises, and ArgumentTypeError, ArgumentError and ShapeError for
    what cannot be estimated.
    """
    if isinstance(fn, Session):
        own = config.backend if fn.backend == "eager" else fn.backend
        session = Session(fn.graph, backend=_PLANNER, optimize=fn.optimize, strict=fn.graph.strict)
        return _of_session(session, f"session of graph {fn.graph.name}", types, kwargs, backend or own)
    name = backend or getattr(_compiled(fn), "backend", None) or config.backend
    if isinstance(fn, Graph):
        session = Session(fn, backend=_PLANNER, strict=fn.strict)
        return _of_session(session, f"graph {fn.name}", types, kwargs, name)
    if not callable(fn):
        raise ArgumentTypeError(
            f"cannot estimate {type(fn).__name__}", "a function or module, compiled or not, a Graph or a Session"
        )
    run = _compiled(fn)
    bound = fn.args if run is not None and isinstance(fn, functools.partial) else ()
    options: dict[str, Any] = {} if run is None else {k: run.options[k] for k in ("optimize", "keep_grads")}
    target = run.fn if run is not None else fn
    planner = CompiledFunction(target, backend=_PLANNER, **options)
    args = [*bound, *map(_blank, types)]
    build, arrays = planner.arrays_for(*args, **{key: _blank(x) for key, x in kwargs.items()})
    shapes = [array.shape for array in arrays]
    kinds = {
        value: "variable" if isinstance(source, Capture) else "argument"
        for value, source in zip(build.built.recorded.inputs, build.sources, strict=True)
    }
    programs = [_planned("forward", build.built, shapes, kinds, name)]
    if build.backward is not None:
        gradient = build.backward.built
        sizes = build.built.sizes(shapes)
        full = [_numbers(v, sizes) for v in gradient.recorded.inputs]
        programs.append(_planned("gradient", gradient, full, dict.fromkeys(gradient.recorded.inputs, "argument"), name))
    title = str(getattr(target, "__qualname__", type(target).__name__))
    return Estimate(estimate_data(title, name, programs))


def _compiled(fn: Any) -> CompiledFunction | None:
    """The compiled function that `fn` is, or that is in a compiled module or a bound method."""
    run = fn.func if isinstance(fn, functools.partial) else fn
    run = run if isinstance(run, CompiledFunction) else getattr(run, "_run", None)
    return run if isinstance(run, CompiledFunction) else None


# --- functions and modules ---------------------------------------------------------------------------------------------


def _blank(x: Any) -> Any:
    """An argument for a trace: a tensor of a type without elements where a type stands for one, also within lists and dicts."""
    if isinstance(x, TensorType) or (isinstance(x, tuple) and x and all(type(n) is int for n in x)):
        type_ = x if isinstance(x, TensorType) else TensorType(tuple(x), defaults.float_dtype)
        return SLOTS.new_tensor(_room(type_))
    if isinstance(x, str) and (found := re.fullmatch(r"(\w+)\[(.*)\]", x)) and found[1] in _SHORT:
        if not re.fullmatch(r"(\s*\d+\s*(,\s*\d+\s*)*,?\s*)?", found[2]):
            raise ArgumentError(f"{x!r} has no sizes", f"numbers, such as '{found[1]}[64, 1000]'")
        shape = tuple(int(n) for n in found[2].split(",") if n.strip())
        return SLOTS.new_tensor(_room(TensorType(shape, _SHORT[found[1]])))
    if isinstance(x, np.ndarray):
        return SLOTS.new_tensor(_room(type_of_array(x)))
    if isinstance(x, list) or type(x) is tuple:
        return type(x)(map(_blank, x))
    return {key: _blank(v) for key, v in x.items()} if type(x) is dict else x


def _room(type_: TensorType) -> Any:
    """An array of zeros that takes no memory."""
    if not is_static(type_.shape):
        raise ArgumentTypeError(f"{type_} has an unknown size: an estimate needs numbers")
    if any(n < 0 for n in type_.shape):
        raise ShapeError(f"{type_} has a negative size")
    found = addresses(tuple(map(int, type_.shape)), type_.dtype.np)
    found.flags.writeable = False
    return found


def _numbers(value: Value, sizes: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(int(substitute(n, sizes)) for n in value.type.shape)


def _planned(
    name: str, built: Built, shapes: Sequence[tuple[int, ...]], kinds: Mapping[Value, str], backend: str
) -> Data:
    """The data of a program for inputs of these shapes, planned as the backend would."""
    sizes = built.sizes(shapes)
    program = specialise(built.program, sizes) if sizes else built.program
    fuses = find_backend(backend).fuses if backend != "llvm" else True  # the compiler need not be loaded for that
    plan: Any = plan_regions(optimise(program, NATIVE), built.updates) if fuses else make_plan(program)
    device = backend in ("opencl", "cuda")
    given = dict(zip(plan.program.inputs, kinds.values(), strict=True))
    return program_data(name, plan, given, rates_of(backend), pool.get_num_threads(), device)


# --- graphs ------------------------------------------------------------------------------------------------------------


def _of_session(
    session: Session, what: str, fetches: tuple[Any, ...], shapes: Mapping[str, Any], backend: str
) -> Estimate:
    graph = session.graph
    if not fetches and not graph.outputs:
        raise GraphError(
            "nothing to estimate: name fetches, or fill graph.outputs, for example graph.outputs['loss'] = loss"
        )
    prepared = session.prepare(list(fetches) or list(graph.outputs.values()))
    built, fed = prepared.built, {value: name for name, value in graph.fed.items()}
    given = dict(_shape_fed(graph, name, shape) for name, shape in shapes.items())
    inputs = built.recorded.inputs
    full: list[Any] = [given.get(value, value.type.shape) for value in inputs]
    for value, shape in zip(inputs, full, strict=True):
        if not is_static(shape):
            name = fed[value]
            raise ArgumentError(f"the placeholder {name} is {value.type}: an estimate needs its sizes", f"{name}=(...)")
    built.check(full, [fed.get(value, value.node.attrs["name"]) for value in inputs])
    kinds = {value: "argument" if value in fed else "variable" for value in inputs}
    return Estimate(estimate_data(what, backend, [_planned("run", built, full, kinds, backend)]))


def _shape_fed(graph: Graph, name: str, shape: Any) -> tuple[Value, tuple[int, ...]]:
    """A placeholder and its shape, from a shape, a type, or something that has one."""
    if name not in graph.fed:
        raise ArgumentError(f"the graph has no placeholder {name!r}", f"one of {', '.join(graph.fed) or 'none'}")
    want, given = graph.fed[name].type, getattr(shape, "shape", shape)
    if isinstance(given, tuple) and not given:  # as an argument of a function it is no shape
        given = TensorType((), want.dtype)
    found = _blank(given)
    if not isinstance(found, TensorBase):
        raise ArgumentTypeError(f"{name} needs a shape, got {shape!r}", f"sizes for {want}, such as (32, 64)")
    sizes = tuple(int(n) for n in found.shape)
    if len(sizes) != want.ndim:
        raise ShapeError(f"{name} is {want}, the shape given is {list(sizes)}")
    return graph.fed[name], sizes


__all__ = ["estimate"]
