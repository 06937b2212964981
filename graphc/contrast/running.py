"""The same step called again and again from the same start, define-by-run and then compiled, each call timed by phases."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial, wraps
from types import FunctionType
from typing import Any

import numpy as np

from graphc import autodiff
from graphc.backends import find_backend
from graphc.build import CompiledFunction
from graphc.contrast.keeping import Kept
from graphc.contrast.naming import names_of
from graphc.contrast.recording import Notes
from graphc.contrast.spans import Spans, Target
from graphc.core.arrays import host
from graphc.core.config import config
from graphc.core.dims import is_static
from graphc.core.errors import ArgumentTypeError, BackendError
from graphc.core.tape import TensorBase
from graphc.core.tensor_types import FLOAT
from graphc.eager_calls import prepare
from graphc.ir.program import Origin
from graphc.nests import flatten
from graphc.nn.modules.module import Module
from graphc.optim.lr_scheduler import LRScheduler
from graphc.optim.optimizer import Optimizer
from graphc.passes.pipelines import optimise
from graphc.planning.descriptions import Data
from graphc.planning.memory import make_plan
from graphc.planning.regions import plan_regions
from graphc.profiler.measuring import profile
from graphc.profiler.profiles import Profile
from graphc.tracing import Capture, read_live

#: Calls in which lines and kernels are measured, each way.
MOST_MEASURED = 8

#: The phases of a call, in the order in which they are told.
EAGER = ("forward", "backward", "other")
GRAPH = ("trace", "passes", "planning", "code generation", "run")


@dataclass
class Run:
    """What some calls of a step gave: the losses, and the nanoseconds of each phase."""

    losses: list[float | None] = field(default_factory=list)
    #: dtype of the losses, None where the step gives none
    dtype: Any = None
    phases: list[dict[str, int]] = field(default_factory=list)
    #: some more calls, measured by line and by kernel; None where the backend cannot tell
    profile: Profile | None = None
    #: plain values that can be reached from the step, after all calls
    plain: dict[tuple[int, str], Any] = field(default_factory=dict)

    @property
    def totals(self) -> list[int]:
        """Nanoseconds of each call."""
        return [sum(phases.values()) for phases in self.phases]


@dataclass
class Subject:
    """A step with the arguments of its calls, its state at the start, and the options it is compiled with."""

    step: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    kept: Kept
    options: Mapping[str, Any]

    def call(self, fn: Callable[..., Any]) -> Any:
        """One call of the step, or of what was made of it."""
        return fn(*self.args, **self.kwargs)


def compiled_within(step: Any) -> CompiledFunction | None:
    """What `gc.compile` made of a function, where a step is that or a module with it."""
    run = step if isinstance(step, CompiledFunction) else getattr(step, "_run", None)
    return run if isinstance(run, CompiledFunction) else None


def check_step(step: Any) -> None:
    """ArgumentTypeError for what cannot be called, or does nothing then."""
    if not callable(step):
        raise ArgumentTypeError(
            f"contrast: a {type(step).__name__} is no step", "a function that trains once when it is called"
        )
    if inspect.isgeneratorfunction(step) or inspect.iscoroutinefunction(step) or inspect.isasyncgenfunction(step):
        raise ArgumentTypeError(
            f"contrast: {step.__name__} only makes a generator or a coroutine when it is called",
            "a function that trains once",
        )


def loss_of(result: Any) -> tuple[float | None, Any]:
    """The first number among the results of a step, and its dtype; (None, None) where there is none."""
    leaves: list[Any] = []
    flatten(result, leaves)
    for x in leaves:
        if isinstance(x, TensorBase) and x.dtype.category == FLOAT and is_static(x.shape) and x._data.size == 1:
            return float(np.asarray(host(x._data), np.float64).reshape(())), x.dtype
    return (float(result), None) if isinstance(result, float) else (None, None)


def run_eagerly(subject: Subject, calls: int) -> Run:
    """The step define-by-run, with what it has compiled. Forward is no gradient, no update, no compilation of an op."""
    found = Run()
    other: list[Target] = [prepare, (Optimizer, "zero_grad"), *_steps(Optimizer), *_steps(LRScheduler)]
    backward = (autodiff.pull_to_leaves, autodiff.pull_to)
    with uncompiled():
        _run(subject, subject.step, calls, Spans({"backward": backward, "other": other}, "forward"), found)
    return found


@contextmanager
def uncompiled() -> Iterator[None]:
    """Within, compiled functions and modules run define-by-run; only what optimizers compile for themselves is as it is."""
    compiled = CompiledFunction.__call__

    @wraps(compiled)
    def call(run: CompiledFunction, /, *args: Any, **kwargs: Any) -> Any:
        if type(run.fn) is FunctionType and run.fn.__module__ == Optimizer.__module__:
            return compiled(run, *args, **kwargs)
        module = getattr(run.fn, "__self__", None)
        if isinstance(module, Module) and module._compiled_call is run:  # whose call would lead here again
            return module._call_with_hooks(args, kwargs)
        return run.fn(*args, **kwargs)

    CompiledFunction.__call__ = call  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        CompiledFunction.__call__ = compiled  # type: ignore[method-assign]


@dataclass
class GraphRun(Run):
    """The same of the compiled step, with what else there is to know of it."""

    compiled: Any = None
    #: the newest build when all calls were made, which is that of the last
    build: Any = None
    notes: Notes = field(default_factory=Notes)
    #: what tensors are called, by their ids
    names: dict[int, str] = field(default_factory=dict)
    #: by build, the number of the call that ran it first
    first_calls: dict[int, int] = field(default_factory=dict)
    #: by the owner's id and key, the number that each call read
    numbers: list[dict[Any, float]] = field(default_factory=list)


def run_compiled(subject: Subject, calls: int) -> GraphRun:
    """The step compiled at its first call."""
    found = GraphRun(compiled=CompiledFunction(subject.step, **subject.options))
    kinds = {kind for x in _backends(subject) for kind in type(x).__mro__ if "compile" in vars(kind)}
    targets: dict[str, Sequence[Target]] = {
        "trace": [(CompiledFunction, "_new_build"), (CompiledFunction, "_trace_again")],
        "passes": [optimise],
        "planning": [plan_regions, make_plan],
        "code generation": [(kind, "compile") for kind in kinds],
    }
    owners: dict[Any, Any] = {}

    def read() -> None:
        found.numbers.append({key: read_live(owner, key[1]) for key, owner in owners.items()})

    def after(n: int) -> None:
        for build in found.compiled.builds():
            if id(build) not in found.first_calls:
                found.first_calls[id(build)], found.build = n, build
                arrays = found.notes.first_reads.get(id(build.built), ())
                for x, array in zip(build.sources, arrays, strict=False):
                    if _is_number(x):  # nobody knew before the call that it would be read
                        owners[id(x.owner), x.key] = x.owner
                        found.numbers[-1][id(x.owner), x.key] = float(host(array))
        if n == calls:  # the state of optimizers is gone when all is put back
            found.names = names_of(subject.step, subject.args, subject.kwargs)

    with found.notes:
        _run(subject, found.compiled, calls, Spans(targets, "run"), found, read, after)
    return found


def _is_number(source: Any) -> bool:
    return isinstance(source, Capture) and source.owner is not None


def _backends(subject: Subject) -> list[Any]:
    """The backends that may build the step: the one it is compiled for, and those of devices that its tensors are on."""
    names = {subject.options["backend"] or config.backend, *subject.kept.device_types}
    return [*map(find_backend, names)]


def _nothing(*_: Any) -> None:
    pass


def _run(
    subject: Subject, fn: Callable[..., Any], calls: int, spans: Spans, found: Run, before: Callable[[], None] = _nothing,
    after: Callable[[int], None] = _nothing,
) -> None:  # fmt: skip
    """`calls` calls from the start, around each of which `before` and `after` are called; then some that are measured.

    Everything is put back at the end.
    """
    subject.kept.put_back()
    try:
        with spans:
            for n in range(1, calls + 1):
                before()
                spans.start()
                result = subject.call(fn)
                found.phases.append(spans.take())
                after(n)
                loss, found.dtype = loss_of(result)
                found.losses.append(loss)
                del result
        found.plain = subject.kept.plain()
        try:
            one = partial(fn, *subject.args, **subject.kwargs)
            found.profile = profile(one, calls=min(calls, MOST_MEASURED), warmup=0)
        except BackendError:
            found.profile = None
    finally:
        subject.kept.put_back()


def origins_in(profile: Profile | None) -> list[Origin]:
    """The lines that something measured belongs to."""
    return [] if profile is None else [o for step in profile._tally.steps.values() for o in step.origins]


def steps_in(profile: Profile | None, executable: Any) -> list[Data]:
    """The measured steps of an executable, in the order of its plan, those of a loop's bodies behind the loop's own."""
    if profile is None:
        return []
    said = {step["id"]: step for step in profile.data["steps"]}
    return [said[step.id] for step in profile._tally._plans.get(id(executable), ())]


def _steps(base: Any) -> list[Target]:
    """`step` of a class and of those derived from it, wherever one defines it."""
    found: list[Target] = [(base, "step")] if "step" in vars(base) else []
    for kind in base.__subclasses__():
        found += _steps(kind)
    return found


def left_behind(subject: Subject, eager: Run, graph: Run) -> list[str]:
    """What calls of the step change in Python, and calls of the compiled step do not change alike."""
    start, compiled = subject.kept.plain(), graph.plain
    moved = [f"{name} is an iterator, which goes on and cannot be put back: both ways may see other items"
             for name in subject.kept.iterators]  # fmt: skip
    moved += [
        f"{key[1]} is {value!r} after these calls eagerly, {compiled.get(key)!r} compiled"
        for key, value in eager.plain.items()
        if not _same(value, start.get(key)) and not _same(value, compiled.get(key))
    ]
    return list(dict.fromkeys(moved))  # the same variable, or alike ones of two objects


def _same(a: Any, b: Any) -> bool:
    """Whether two plain values are equal, two NaNs, too."""
    return bool(a == b or (a != a and b != b))
