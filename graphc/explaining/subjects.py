"""What can be explained, and how each becomes data."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.build import CompiledFunction
from graphc.core.arrays import host
from graphc.core.config import config
from graphc.core.context import silently
from graphc.core.dims import is_static
from graphc.core.errors import ArgumentError, ArgumentTypeError, GraphError, ShapeError
from graphc.core.tape import TensorBase
from graphc.device_runs import where_are
from graphc.executable import Built
from graphc.explaining.advice import of_recompiles
from graphc.explaining.builds import Times, build_data, recompile_data, traced_data
from graphc.explaining.text import render
from graphc.graph_files import load_graph
from graphc.graphs import Graph, UpdateGroup
from graphc.ir.program import Value
from graphc.planning.descriptions import Data
from graphc.session import PreparedRun, Session
from graphc.stages import executable_of

_TAKEN = "a compiled function or module, a Session, a Graph, or the path of a file that save_graph wrote"


class Explanation:
    """What graphc has made of something. `data`: plain dicts, lists, strings and numbers; `str()` shows them as text, of large
    programs the costliest steps, and the loops of the costliest of these.
    """

    def __init__(self, data: Data):
        self.data = data

    def text(self, everything: bool = False) -> str:
        """The text; with `everything` all steps, and the loops of each."""
        return render(self.data, everything)

    def __str__(self) -> str:
        return self.text()

    __repr__ = __str__


def explain(x: Any, /, *args: Any, **kwargs: Any) -> Explanation:
    """Tells what `x` became: why it was built, passes, kernels, library calls, costs, memory, captured variables,
    and what to change in the source.

    x: a compiled function or module, a Session, a Graph, or a file that `save_graph` wrote. With the arguments of a call
    (of `Session.run` for a session) the build for them is made if need be, and each step is timed on copies of what it would
    read: nothing is changed, no result is given. A graph or file is planned for its outputs, and nothing of it runs; where
    placeholders have unknown sizes, give their shapes by name: `explain("net.graph", x=(32, 64))`. Raises
    ArgumentTypeError for anything else, and what a call, a feed or a damaged file raises.
    """
    if isinstance(x, str | os.PathLike):
        return Explanation(_graph_data(load_graph(x), f"file {os.fspath(x)}", args, kwargs))
    if isinstance(x, Graph):
        return Explanation(_graph_data(x, f"graph {x.name}", args, kwargs))
    if isinstance(x, Session):
        return Explanation(_session_data(x, args, kwargs))
    run: Any = x
    if isinstance(x, functools.partial):  # a compiled method, bound to its object
        run, args = x.func, (*x.args, *args) if args or kwargs else ()
    elif not isinstance(x, CompiledFunction):
        run = getattr(x, "_run", None)
    if not isinstance(run, CompiledFunction):
        raise ArgumentTypeError(f"cannot explain {type(x).__name__}", f"{_TAKEN}; gc.compile makes the first two")
    kind = "function" if isinstance(x, CompiledFunction | functools.partial) else "module"
    return Explanation(_compiled_data(run, kind, args, kwargs))


def _head(what: str, backend: str, options: Mapping[str, Any], recompiles: Sequence[Any]) -> Data:
    return {
        "what": what, "backend": backend, "options": dict(options),
        "recompiles": [recompile_data(found) for found in recompiles], "advice": of_recompiles(recompiles),
    }  # fmt: skip


# --- compiled functions ------------------------------------------------------------------------------------------------


def _compiled_data(run: CompiledFunction, kind: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Data:
    times: Times = {}
    if args or kwargs:
        build, arrays = run.arrays_for(*args, **kwargs)
        times = _timed(build.built, arrays)
    name = getattr(run.fn, "__qualname__", type(run.fn).__name__)
    options = {name: option for name, option in run.options.items() if name != "backend"}
    data = _head(f"compiled {kind} {name}", run.backend or config.backend, options, run.recompiles)
    data["builds"] = [traced_data(build, times, f"build {n}") for n, build in enumerate(run.builds(), 1)]
    return data


def _timed(built: Built, arrays: Sequence[Any]) -> Times:
    """The times of each step for these inputs, {} where the backend cannot tell."""
    where = where_are(arrays)
    if where is not None and built.is_detour(where):
        where, arrays = None, [*map(host, arrays)]
    executable = executable_of(built.executable([a.shape for a in arrays], None, where))
    if not hasattr(executable, "timed"):
        return {}
    with silently():
        return {id(executable): executable.timed(arrays, **({} if where is None else {"memory": where.memory}))}


# --- sessions and graphs -----------------------------------------------------------------------------------------------


def _session_data(session: Session, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Data:
    times: Times = {}
    if args or kwargs:
        prepared, arrays = session.arrays_for(*args, **kwargs)
        times = {} if session.backend == "eager" else _timed(prepared.built, arrays)
    options = {"optimize": session.optimize, "verify": session.verify, "check_nans": session.check_nans}
    data = _head(f"session of graph {session.graph.name}", session.backend, options, session.recompiles)
    data["builds"] = [_prepared_data(x, session.graph, times) | _backend(session) for x in session.builds()]
    return data


def _backend(session: Session) -> Data:
    """The eager door runs what was built for another backend."""
    return {"backend": "eager"} if session.backend == "eager" else {}


def _prepared_data(prepared: PreparedRun, graph: Graph, times: Times) -> Data:
    sources = [value if name else source for (name, source), value in _inputs(prepared)]
    name = "run of " + ", ".join(_fetch_name(fetch, graph) for fetch in prepared.fetches)
    return build_data(prepared.built, sources, prepared.writes, times, name)


def _inputs(prepared: PreparedRun) -> list[tuple[tuple[str, Any], Value]]:
    return list(zip(prepared.sources, prepared.built.recorded.inputs, strict=True))


def _fetch_name(fetch: Any, graph: Graph) -> str:
    """A fetch by its name among the graph's outputs, or by what it is."""
    for name, output in graph.outputs.items():
        if fetch is output or (isinstance(output, TensorBase) and graph.shadow(output)._data is fetch):
            return name
    if isinstance(fetch, Value):
        named = "name" in fetch.node.attrs and not fetch.node.inputs
        return str(fetch.node.attrs["name"]) if named else f"{fetch.node.op.name} {fetch.type}"
    return f"a train op of {len(fetch.pairs)} updates" if isinstance(fetch, UpdateGroup) else "all updates"


def _graph_data(graph: Graph, what: str, args: tuple[Any, ...], shapes: Mapping[str, Any]) -> Data:
    """A graph planned for its named outputs by the default backend; nothing of it runs."""
    if args:
        raise ArgumentTypeError(
            "a graph takes no call", "the shapes of placeholders by name: explain(graph, x=(32, 64))"
        )
    if not graph.outputs:
        raise GraphError("nothing to explain: fill graph.outputs, for example graph.outputs['loss'] = loss")
    given = {name: _shape(graph, name, shape) for name, shape in shapes.items()}
    session = Session(graph, strict=graph.strict)
    prepared = session.prepare(list(graph.outputs.values()))
    built = prepared.built
    wanted = {value: name for name, value in graph.fed.items()}
    full: list[Any] = [given.get(wanted.get(x, ""), x.type.shape) for x in built.recorded.inputs]
    if all(map(is_static, full)):
        built.check(full, [wanted.get(x, "") for x in built.recorded.inputs])
        built.executable(full)
    data = _head(what, session.backend, {"optimize": True}, [])
    data["builds"] = [_prepared_data(prepared, graph, {})]
    return data


def _shape(graph: Graph, name: str, shape: Any) -> tuple[int, ...]:
    """A placeholder's shape as it was given, a tuple or something that has one."""
    if name not in graph.fed:
        raise ArgumentError(f"the graph has no placeholder {name!r}", f"one of {', '.join(graph.fed) or 'none'}")
    want = graph.fed[name].type
    found = getattr(shape, "shape", shape)
    if not isinstance(found, tuple | list) or not all(isinstance(n, int | np.integer) and n >= 0 for n in found):
        raise ArgumentTypeError(f"{name} needs a shape, got {shape!r}", f"sizes for {want}, such as (32, 64)")
    if len(found) != want.ndim:
        raise ShapeError(f"{name} is {want}, the shape given is {list(found)}")
    return tuple(map(int, found))


__all__ = ["Explanation", "explain"]
