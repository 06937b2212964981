"""Files that hold a training step: the file is run as a script, and the step is found with the arguments of its last call.

    found = load_step("train.py")           # its function `step`, `train_step` or `training_step`, at any depth
    found.fn(*found.args, **found.kwargs)   # one more step

A step may be a global function, one made within another function, or a method; a compiled one is found as the function that was
compiled. One that the script defines and never calls is taken with the script's global `args` (a tuple) or `batch`.
"""

from __future__ import annotations

import gc
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, FunctionType, ModuleType
from typing import Any

from graphc.build import CompiledFunction
from graphc.core.context import STATE
from graphc.core.errors import ArgumentError
from graphc.core.lazy import lazy_import

as_torch = lazy_import("graphc.as_torch")  # from then on graphc answers for torch

#: What a step is called unless its name is given; the first of these that was called is meant.
NAMES = ("step", "train_step", "training_step")

_COMPILED_CALL = CompiledFunction.__call__.__code__


@dataclass
class StepFile:
    """A training step and a call of it. `file`: as it was given; `calls`: how often the script itself has called it."""

    file: str
    name: str
    fn: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    calls: int = 0


@contextmanager
def as_main(file: str, args: Sequence[str]) -> Iterator[ModuleType]:
    """Within, this process is that of the script: its module is `__main__`, `sys.argv` and `sys.path` are its own, and torch is
    graphc."""
    module = ModuleType("__main__")
    module.__dict__.update(__file__=os.path.abspath(file), __builtins__=__builtins__)
    before = sys.argv, sys.path[:], sys.modules["__main__"]
    try:
        as_torch.install()
        sys.argv, sys.path[:1] = [file, *args], [os.path.dirname(os.path.abspath(file))]
        sys.modules["__main__"] = module
        yield module
    finally:
        sys.argv, sys.path[:], sys.modules["__main__"] = before


def load_step(file: str, step: str | None = None, args: Sequence[str] = (), after: int | None = None) -> StepFile:
    """Runs a script and finds its training step, with the arguments of its last call.

    `step`: the function's name, plain or qualified (`Trainer.train_step`); `args`: the script's own; `after`: the script is
    stopped before the step is called more often. Raises OSError for a file that cannot be read, ArgumentError where there is
    no step or nothing to call it with, and what the script raises.
    """
    code = compile(Path(file).read_bytes(), file, "exec", dont_inherit=True)
    watch = _Calls(file, NAMES if step is None else (step,), after)
    with as_main(file, args) as module:
        watch.run(lambda: exec(code, module.__dict__))
    for name in watch.names:
        if name in watch.found:
            return watch.found[name]
    return _uncalled(file, watch.names, module.__dict__)


class _EnoughError(BaseException):
    """Ends a script in which the step was called often enough."""


class _Calls:
    """Notes the calls of functions of these names that a file defines."""

    def __init__(self, file: str, names: Sequence[str], after: int | None):
        self.file, self.names, self.after = file, names, after
        self.found: dict[str, StepFile] = {}

    def run(self, script: Callable[[], None]) -> None:
        """Runs the script; that it exits without an error is its end."""
        before = sys.getprofile()
        sys.setprofile(self._see)
        try:
            script()
        except _EnoughError:
            pass
        except SystemExit as ended:
            if ended.code not in (None, 0):
                raise
        finally:
            sys.setprofile(before)

    def _see(self, frame: FrameType, event: str, _: Any) -> None:
        if event != "call":
            return
        code = frame.f_code
        if code is _COMPILED_CALL:
            compiled = frame.f_locals["self"].fn
            name = self._name(getattr(compiled, "__code__", None), getattr(compiled, "__globals__", {}))
            if name is not None and STATE.recorder is None:
                self._note(name, compiled, frame.f_locals["args"], frame.f_locals["kwargs"])
        elif code.co_filename == self.file and STATE.recorder is None:
            name = self._name(code, frame.f_globals)
            if name is not None and not _is_called_compiled(frame):
                known = self.found.get(name)
                self._note(name, _function_of(frame, None if known is None else known.fn), *_arguments(frame))

    def _name(self, code: Any, variables: Mapping[str, Any]) -> str | None:
        """The name under which a function is looked for, None for others; a lambda's is that of the global it is."""
        if code is None or code.co_filename != self.file:
            return None
        if code.co_name == "<lambda>":
            return next((x for x in self.names if _plain(variables.get(x), "__code__") is code), None)
        plain = code.co_qualname.replace("<locals>.", "")
        return next((x for x in self.names if x in (code.co_name, code.co_qualname, plain)), None)

    def _note(self, name: str, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls = self.found[name].calls if name in self.found else 0
        if self.after is not None and calls >= self.after:
            raise _EnoughError
        if fn is not None:
            self.found[name] = StepFile(self.file, name, fn, args, dict(kwargs), calls + 1)


def _plain(fn: Any, name: str) -> Any:
    """An attribute of a function, of a compiled one that of the function itself; None where there is none."""
    return getattr(fn.fn if isinstance(fn, CompiledFunction) else fn, name, None)


def _is_called_compiled(frame: FrameType) -> bool:
    """Whether a compiled function calls its own function, which it does where it cannot replay; that call is noted already."""
    return frame.f_back is not None and frame.f_back.f_code is _COMPILED_CALL


def _arguments(frame: FrameType) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What a frame that begins was called with, so that its function can be called alike."""
    code, given = frame.f_code, frame.f_locals
    n, keywords = code.co_argcount, code.co_kwonlyargcount
    args = [given[name] for name in code.co_varnames[:n]]
    kwargs = {name: given[name] for name in code.co_varnames[n : n + keywords]}
    rest = n + keywords
    if code.co_flags & inspect.CO_VARARGS:
        args += given[code.co_varnames[rest]]
        rest += 1
    if code.co_flags & inspect.CO_VARKEYWORDS:
        kwargs |= given[code.co_varnames[rest]]
    return tuple(args), kwargs


def _function_of(frame: FrameType, known: Any) -> Any:
    """The function whose frame this is; `known`: the one that was called before. None where nobody has it any more."""
    if _runs(known, frame):
        return known
    return next((x for x in gc.get_referrers(frame.f_code) if type(x) is FunctionType and _runs(x, frame)), None)


def _runs(fn: Any, frame: FrameType) -> bool:
    """Whether the frame can be one of this function: its code, reading the same variables around it."""
    if getattr(fn, "__code__", None) is not frame.f_code:
        return False
    for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
        held = ()  # what no variable holds
        with suppress(ValueError):  # a cell that is empty yet
            held = cell.cell_contents
        if frame.f_locals.get(name, ()) is not held:
            return False
    return True


def _uncalled(file: str, names: Sequence[str], found: Mapping[str, Any]) -> StepFile:
    """A global function that the script has not called, with the arguments that stand ready for it."""
    for name in names:
        fn = found.get(name)
        fn = fn.fn if isinstance(fn, CompiledFunction) else fn
        if not callable(fn):
            continue
        if "args" in found and isinstance(found["args"], list | tuple):
            return StepFile(file, name, fn, tuple(found["args"]))
        if "batch" in found:
            batch = found["batch"]
            return StepFile(file, name, fn, tuple(batch) if isinstance(batch, list | tuple) else (batch,))
        if not _needed(fn):
            return StepFile(file, name, fn)
        raise ArgumentError(
            f"{file}: no function that is defined as {name} was called, and nothing tells what to call it with",
            "a call of it when the script runs (of a partial, the function in it), or a global `args = (...)` or `batch = ...`",
        )
    raise ArgumentError(
        f"{file} has no training step: it has called no function {' or '.join(names)}",
        "a function of that name that the script defines and calls, or the name of another one",
    )


def _needed(fn: Any) -> bool:
    """Whether a function must be given something."""
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        return True
    return any(p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters)


__all__ = ["NAMES", "StepFile", "as_main", "load_step"]
