"""`contrast`: runs a step both ways and puts together what there is to say of it."""

from __future__ import annotations

import datetime
import functools
import html as html_text
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from graphc import version
from graphc.backends.llvm.pool import get_num_threads
from graphc.contrast import kernels, lines, memory, running, stages, summary
from graphc.contrast.expressions import NotWritableError
from graphc.contrast.keeping import Kept
from graphc.contrast.running import EAGER, GRAPH, GraphRun, Run, Subject
from graphc.contrast.scripts import Material, Scripts, scripts_of
from graphc.contrast.sources import Sources
from graphc.contrast.watching import EagerWatch
from graphc.core.arrays import host
from graphc.core.context import eagerly
from graphc.core.errors import ArgumentError, user_line
from graphc.core.lazy import lazy_import
from graphc.core.tensor_types import FLOAT
from graphc.device_runs import Where
from graphc.ir.program import CONSTANT, INPUT, Value
from graphc.planning.descriptions import Data
from graphc.stages import executable_of, programs_of
from graphc.tracing import Capture

page = lazy_import("graphc.contrast.page")


class Contrast:
    """A step both ways. `data`: plain dicts, lists, strings and numbers, which `json.dumps` takes; `str()` is a summary."""

    def __init__(self, data: Data, scripts: Scripts):
        self.data, self._scripts = data, scripts

    @property
    def programs(self) -> Mapping[str, str]:
        """The step as runnable scripts: "eager" and "session"."""
        found: Mapping[str, str] = self.data["programs"]
        return found

    def write_programs(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Writes `eager.py`, `session.py` and, where they need it, a file with their arrays into a folder; gives the paths."""
        found = []
        os.makedirs(folder, exist_ok=True)
        for name, text in self._scripts.texts.items():
            found.append(Path(folder, f"{name}.py"))
            found[-1].write_text(text, encoding="utf-8")
        if self._scripts.file is not None:
            found.append(Path(folder, self._scripts.file))
            found[-1].write_bytes(self._scripts.content)
        return found

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """The page as one self-contained HTML text, also written to `path` if it is given."""
        text: str = page.html(self.data)
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text

    def _repr_html_(self) -> str:
        """The page in a frame of its own, for notebooks."""
        text, title = (html_text.escape(x, quote=True) for x in (self.to_html(), self.data["title"]))
        return f'<iframe srcdoc="{text}" title="{title}" style="width: 100%; height: 800px; border: 0"></iframe>'

    def __str__(self) -> str:
        return summary.text(self.data)

    __repr__ = __str__


def contrast(
    step: Callable[..., Any],
    *args: Any,
    calls: int = 20,
    backend: str | None = None,
    title: str | None = None,
    **kwargs: Any,
) -> Contrast:
    """Runs a training step define-by-run and define-and-run, `calls` times each from the same start, and reports.

    step: a function that trains once when it is called, or what `gc.compile` made of it; its arguments follow. More calls, up
    to 20 each way, measure lines, kernels and memory. All that it can
    reach (parameters, buffers, optimizers, schedulers, generators, its own lists and numbers) is afterwards as it was before.
    An error of the step's own is raised as it is, and then, too, all is as it was. Raises ArgumentError for fewer than 2 calls,
    ArgumentTypeError for what cannot be called.
    """
    return contrast_call(step, args, kwargs, calls, backend, title)


def contrast_call(
    step: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], calls: int = 20,
    backend: str | None = None, title: str | None = None,
) -> Contrast:  # fmt: skip
    """`contrast` of `step(*args, **kwargs)`, whose keywords may have any names."""
    if not isinstance(calls, int) or calls < 2:
        raise ArgumentError(
            f"contrast: calls={calls!r}", "a whole number from 2 on: the first call of a compiled step builds it"
        )
    function: Any = step
    options: dict[str, Any] = {}
    while (run := running.compiled_within(function)) is not None or isinstance(function, functools.partial):
        if run is not None:
            function, options = run.fn, options or run.options
        else:  # a method that is compiled is one
            args, kwargs = (*function.args, *args), {**function.keywords, **kwargs}
            function = function.func
    running.check_step(function)
    name = getattr(function, "__name__", type(function).__name__)
    options = _with_backend(options, backend, name)
    subject = Subject(function, args, kwargs, Kept([function, args, kwargs]), options)
    where = os.path.basename(user_line().rpartition(":")[0])
    with eagerly():
        return Contrast(*_collected(subject, title or (f"{where}: {name}" if where else name), calls))


def _with_backend(options: dict[str, Any], backend: str | None, name: str) -> dict[str, Any]:
    """The options of a compiled step with the backend that was asked for; ArgumentError where it names another one itself."""
    own = options.get("backend")
    if own is not None and backend not in (None, own):
        raise ArgumentError(
            f"contrast: {name} is compiled for the backend {own!r}, not for {backend!r}", "`backend` left out"
        )
    return {**options, "backend": own or backend}


def _collected(subject: Subject, title: str, calls: int) -> tuple[Data, Scripts]:
    eager = running.run_eagerly(subject, calls)
    watch = _watched(subject)
    graph = running.run_compiled(subject, calls)
    if not graph.build.built.executables:
        raise ArgumentError(
            "contrast: an argument shares memory with another one or with a variable, and one of them is written: such "
            "calls of a compiled step run define-by-run",
            "arguments with memory of their own, such as x.clone()",
        )
    collection = _Collection(subject, title, eager, graph, watch)
    return collection.data(), collection.scripts


def _watched(subject: Subject) -> EagerWatch:
    """A call seen op by op, after one that makes what later calls find made."""
    watch = EagerWatch()
    try:
        with running.uncompiled():
            subject.call(subject.step)
            with watch:
                subject.call(subject.step)
    finally:
        subject.kept.put_back()
    return watch


class _Collection:
    """What was seen of a step, on its way to data."""

    def __init__(self, subject: Subject, title: str, eager: Run, graph: GraphRun, watch: EagerWatch):
        self.title, self.eager, self.graph, self.watch = title, eager, graph, watch
        self.build = graph.build
        self.built = self.build.built
        key = list(self.built.executables)[-1]
        self.executable = executable_of(self.built.executables[key])
        #: of the step's own, or that of the device its arguments are on
        self.backend = next((x.memory.device.type for x in key if isinstance(x, Where)), self.built.backend.name)
        self.boxes = kernels.boxes_of(self.executable, running.steps_in(graph.profile, self.executable))
        self.programs, self.unchanged = programs_of(self.built, self.built.prepared[key])
        self.sources = self._sources()
        self.names = {
            value: self._name(source, value)
            for source, value in zip(self.build.sources, self.built.recorded.inputs, strict=True)
        }
        self.scripts, self.why_no_scripts = self._scripts()
        self.left_behind = running.left_behind(subject, eager, graph)

    def _name(self, source: Any, value: Any) -> str:
        """What the user calls an input."""
        name = str(value.node.attrs["name"])
        if not isinstance(source, Capture) or source.owner is not None:
            return name
        tensor = source.tensor if source.grad_of is None else source.grad_of
        known = self.graph.names.get(id(tensor))
        return name if known is None else f"{known}.grad" if source.grad_of is not None else known

    def _scripts(self) -> tuple[Scripts, str]:
        """The step as scripts; without texts where it has no words, and why."""
        notes, inputs = self.graph.notes, self.built.recorded.inputs
        first = self.graph.first_calls[id(self.build)]
        at = dict(zip(self.build.sources, inputs, strict=True))
        numbers = {
            value: [read[id(source.owner), source.key] for read in self.graph.numbers[first - 1 :]]
            for source, value in at.items()
            if isinstance(source, Capture) and source.owner is not None
        }
        stem = "".join(c if c.isalnum() else "_" for c in self.title.replace(".py", "")).strip("_").replace("__", "_")
        material = Material(
            self.built.recorded, self.names, self.build.sources, list(map(host, notes.first_reads[id(self.built)])),
            self._writes(at), numbers, self._loss(),
            len(self.eager.losses) - first + 1, notes.of(self.built), notes.attached, self.title, version.release, stem,
        )  # fmt: skip
        try:
            if self.graph.compiled._retrace:
                raise NotWritableError(
                    "the step draws from Python's or NumPy's generator, so each call is another program"
                )
            return scripts_of(material), ""
        except NotWritableError as error:
            return Scripts(), str(error)

    def _writes(self, at: Mapping[Any, Value]) -> list[tuple[Value, int]]:
        """The inputs that a run writes, with the outputs that are their new values; of gradients those that are read again."""
        grads = {
            id(source.grad_of): value for source, value in at.items() if getattr(source, "grad_of", None) is not None
        }
        found = [(at[source], k) for source, k in self.build.updates if source in at]
        return found + [(grads[id(x)], k) for x, k in self.build.grads if k is not None and id(x) in grads]

    def _loss(self) -> int | None:
        """Which output is the loss: the first number that the step returns."""
        for kind, k in self.build.outputs:
            if kind == "value":
                type_ = self.built.recorded.outputs[k].type
                if type_.dtype.category == FLOAT and type_.size == 1:
                    return int(k)
        return None

    def _sources(self) -> Sources:
        met = Sources()
        met.meet(x for node in self.built.recorded.nodes for x in _origins(node))
        met.meet(entry.line or None for entry in (self.watch.tape.entries if self.watch.tape else ()))
        met.meet(x for found in self.programs for node in found.program.nodes for x in _origins(node))
        met.meet(event.origin for event in self.watch.events)
        met.meet(running.origins_in(self.eager.profile))
        met.finish()
        return met

    def data(self) -> Data:
        """All of it."""
        writer = stages.Writer(self.sources, self.names)
        writer.kernels = {node: box.id for box in reversed(self.boxes) for node in reversed(box.nodes)}
        shown = [
            stages.tape_stage(self.watch, self.sources),
            *stages.program_stages(self.programs, self.executable.plan.program, writer),
        ]
        boxes = [kernels.kernel_data(box, self.sources, writer.ids) for box in self.boxes]
        steps, buffers = memory.plan_data(self.executable, self.boxes, self.sources, writer.ids)
        found: Data = {
            "version": 1, "title": self.title, "made": self._made(), "summary": {}, "timelines": self._timelines(),
            "losses": summary.losses(self.eager, self.graph), "sources": self.sources.data(),
            "lines": lines.line_data(self.programs[0].program, self.boxes, self.sources, writer.recorded),
            "outside": {"eager_ns": None, "graph_ns": None},
            "stages": [{"id": f"S{n}", **stage} for n, stage in enumerate(shown)], "unchanged_passes": self.unchanged,
            "kernels": boxes,
            "memory": {
                "eager": memory.eager_data(self.watch.events, self.sources), "plan": steps, "buffers": buffers,
            },
            "programs": {
                "eager": self.scripts.texts.get("eager"), "session": self.scripts.texts.get("session"),
                "file": self.scripts.file, "why_none": self.why_no_scripts or None,
            },
        }  # fmt: skip
        for which, measured in (("eager", self.eager.profile), ("graph", self.graph.profile)):
            if measured is not None:
                lines.add_times(found["lines"], measured.data, self.sources, which)
                found["outside"][f"{which}_ns"] = measured.data["outside_ns"]
        found["summary"] = summary.numbers(found, self.eager, self.graph, int(self.executable.peak))
        found["summary"]["left_behind"] = self.left_behind
        return found

    def _made(self) -> Data:
        return {
            "date": datetime.datetime.now().isoformat(timespec="seconds"), "graphc": version.release,
            "python": platform.python_version(), "processor": processor(), "threads": get_num_threads(),
            "backend": self.backend,
        }  # fmt: skip

    def _timelines(self) -> Data:
        return {"eager": _timeline(self.eager, EAGER, EAGER), "graph": _timeline(self.graph, GRAPH, ("run",))}


def _timeline(run: Run, names: Sequence[str], always: Sequence[str]) -> list[Data]:
    """The phases of each call; those that did not happen are left out."""
    return [
        {"call": n, "phases": [{"name": x, "ns": found.get(x, 0)} for x in names if x in found or x in always]}
        for n, found in enumerate(run.phases, 1)
    ]


def _origins(node: Any) -> Sequence[Any]:
    return () if node.op is INPUT or node.op is CONSTANT else node.origins


def processor() -> str:
    """The processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
