"""Error classes and the one formatter of their messages.

Every error is a subclass of what PyTorch raises in the same place, so that `except RuntimeError` in ported code keeps working.
A message has one shape: the op and what is wrong, each operand with type and the user's line, what would be accepted, a hint,
and last the user's line that is at fault, with the path of the module it ran in.
"""

from __future__ import annotations

import os
import sys
import warnings
from types import FrameType
from typing import Any

PACKAGE_DIR = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_MODULE_FILE = os.path.join(PACKAGE_DIR, "nn", "modules", "module.py")
_USER_SIDE = (os.path.join(PACKAGE_DIR, "demo.py"),)
#: Python's own modules stand between graphc and its users (contextlib, copy); what is installed beside them is a user
_STDLIB = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
_INSTALLED = (os.path.join(_STDLIB, "site-packages") + os.sep, os.path.join(_STDLIB, "dist-packages") + os.sep)
_is_internal: dict[str, bool] = {}
_is_passed_over: dict[str, bool] = {}


class GraphcError(Exception):
    """Base of every error graphc raises on purpose.

    `line`: the user's line at fault, with the module it ran in: that at which the error was made, until somebody knows better.
    """

    line = ""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.line = user_place()

    def __str__(self) -> str:
        text = super().__str__()
        line, _, module = self.line.partition(" in module ")
        if not line or (line in text and module in text):
            return text
        return f"{text}\n  at {self.line}"


class OperandError(GraphcError):
    """Operands that an op cannot take.

    Shape rules raise a subclass with `problem`, `need` and `hint` only; whoever called the rule adds the op and its
    operands with `about`, so that a rule never has to know where its operands come from.
    """

    def __init__(self, problem: str, need: str = "", hint: str = ""):
        super().__init__(problem)
        self.problem, self.need, self.hint = problem, need, hint
        self.op = ""
        self.operands: tuple[tuple[str, str, str], ...] = ()

    def about(self, op: str, operands: tuple[tuple[str, str, str], ...], line: str = "") -> OperandError:
        """Adds the op's name, its operands as (name, type, origin) and the user's line, once; returns self."""
        if not self.op:
            self.op, self.operands, self.line = op, operands, line or self.line
        return self

    def __str__(self) -> str:
        lines = [f"{self.op}: {self.problem}" if self.op else self.problem]
        width = max((len(name) for name, _, _ in self.operands), default=0)
        for name, kind, origin in self.operands:
            lines.append(f"  {name:<{width}}: {kind}" + (f"  made at {origin}" if origin else ""))
        if self.need:
            lines.append(f"  need {self.need}")
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        if self.line and (self.op or self.line.partition(" in module ")[0] not in self.problem):
            lines.append(f"  at {self.line}")
        return "\n".join(lines)


class ShapeError(OperandError, RuntimeError):
    """Sizes that do not fit together."""


class DtypeError(OperandError, NotImplementedError):
    """A dtype that an op does not take (a RuntimeError, as NotImplementedError is one)."""


class DivisionError(OperandError, RuntimeError, ZeroDivisionError):
    """An integer divided by zero."""


class DimensionError(OperandError, IndexError):
    """A dimension or index that the operand does not have."""


class IndexRangeError(DimensionError, RuntimeError):
    """An index beyond its dimension; PyTorch raises IndexError in some ops and RuntimeError in others."""


class ArgumentError(OperandError, ValueError):
    """An argument whose value is not accepted."""


class ArgumentTypeError(OperandError, TypeError):
    """An argument of a kind that is not accepted."""


class UnsupportedError(OperandError, RuntimeError, AssertionError):
    """Something that is not done here; PyTorch raises RuntimeError in some of these places and asserts in others."""


class LinAlgError(OperandError, RuntimeError, ValueError):
    """A matrix that cannot be solved or decomposed, or a norm of an unknown order."""


class NonFiniteError(OperandError, RuntimeError, FloatingPointError):
    """A NaN or an infinity that an op made from finite operands, found because `check_nans` asked for it."""


class SymbolicError(GraphcError, RuntimeError):
    """A symbolic value was asked for something only a run can know, or used outside its trace."""


class TraceLeakError(SymbolicError):
    """A symbolic tensor outlived its trace without being returned."""


class GradientError(GraphcError, RuntimeError):
    """A backward pass that cannot be done."""


class NumberError(GraphcError, RuntimeError, ValueError):
    """A tensor of several elements (or none) where one number is needed."""


class FeedError(GraphcError, RuntimeError, ValueError):
    """A feed that is missing, unknown, or of the wrong shape or dtype."""


class FetchError(GraphcError, RuntimeError, ValueError):
    """A fetch that the graph cannot give."""


class GraphError(GraphcError, RuntimeError):
    """A graph that cannot be built, extended or differentiated as asked."""


class AliasError(GraphcError, RuntimeError):
    """Captured tensors that share memory in a way a trace cannot follow."""


class RecompileError(GraphcError, RuntimeError):
    """A build was needed inside `no_recompile()`."""


class BackendError(GraphcError, RuntimeError, ValueError):
    """A backend that does not exist or cannot do what a plan asks."""


class DeviceError(BackendError, AssertionError):
    """A device that is not there was asked to work (PyTorch asserts that it is)."""


class OutOfMemoryError(GraphcError, RuntimeError, MemoryError):
    """A device has no room for what a run needs; nothing was changed by it."""


class FileFormatError(GraphcError, RuntimeError, ValueError):
    """A file that is not what it should be; nothing was changed."""


class DistError(GraphcError, RuntimeError):
    """Something between the processes of a group went wrong."""


class DistBackendError(DistError):
    """A collective that cannot be done: a process has died, left, or is at another call."""


class PeerError(DistBackendError):
    """A collective that cannot be done since another process has died or left."""


class GroupError(DistError, ValueError, AssertionError):
    """A group of processes that does not exist, or that cannot be made as asked."""


class DistNetworkError(DistError):
    """Processes that do not find each other."""


class KernelError(GraphcError, NotImplementedError):
    """A custom op has no function for the device of its arguments."""


class SchemaError(GraphcError, RuntimeError, TypeError):
    """Arguments or results of a custom op that are not those of its schema."""


class MissingNameError(GraphcError, AttributeError):
    """A name that PyTorch has and graphc has not."""

    def __str__(self) -> str:
        return AttributeError.__str__(self)


class MissingImportError(GraphcError, ImportError):
    """The same, in an import."""

    def __str__(self) -> str:
        return ImportError.__str__(self)


class VerifyError(GraphcError, AssertionError):
    """A program that contradicts itself; names the pass that made it."""


class GraphGrowthWarning(UserWarning):
    """The same source line added nodes to a graph again after a run."""


class GraphGrowthError(GraphError, GraphGrowthWarning):
    """The same, in a session that is strict."""


def is_internal(filename: str) -> bool:
    """Whether a source file belongs to graphc itself (the demo counts as user code)."""
    known = _is_internal.get(filename)
    if known is None:
        path = os.path.abspath(filename) if not filename.startswith("<") else filename
        known = _is_internal[filename] = path.startswith(PACKAGE_DIR) and path not in _USER_SIDE
    return known


def _pass_over(filename: str) -> bool:
    """Whether a source file is not the user's: graphc's own or one of Python's."""
    python = filename.startswith(("<frozen ", _STDLIB)) and not filename.startswith(_INSTALLED)
    known = _is_passed_over[filename] = python or is_internal(filename)
    return known


def user_frame(depth: int = 1) -> FrameType | None:
    """The innermost frame that is neither graphc's own nor one of Python's modules."""
    frame: FrameType | None = sys._getframe(depth)
    while frame is not None:
        filename = frame.f_code.co_filename
        known = _is_passed_over.get(filename)
        if known is None:
            known = _pass_over(filename)
        if not known:
            return frame
        frame = frame.f_back
    return None


def user_line() -> str:
    """`path:LINE` of the innermost user frame, relative to the working directory where that is shorter."""
    frame = user_frame(2)
    return "" if frame is None else show_line(frame.f_code.co_filename, frame.f_lineno)


def warn_user(problem: str, hint: str) -> None:
    """Warns of `problem` at the user's line."""
    frame = user_frame(2)
    file, line = (frame.f_code.co_filename, frame.f_lineno) if frame else ("<graphc>", 0)
    warnings.warn_explicit(f"{problem} (at {show_line(file, line)})\n  hint: {hint}", UserWarning, file, line)


def user_spot() -> tuple[str, int] | None:
    """File and number of the user's line, for `show_line` when it is asked for."""
    frame = user_frame(2)
    return None if frame is None else (frame.f_code.co_filename, frame.f_lineno)


def user_place() -> str:
    """`user_line`, and where it is in a module's call the path of the module: `model.py:12 in module Sequential.1`."""
    frame = user_frame(3)
    if frame is None:
        return ""
    line, module = show_line(frame.f_code.co_filename, frame.f_lineno), module_path(sys._getframe(2))
    return f"{line} in module {module}" if module else line


def module_path(frame: FrameType | None) -> str:
    """The path of the innermost module whose call is running, from the outermost's class on: `Sequential.1`."""
    modules: list[Any] = []
    while frame is not None:
        # no other frame is asked for its locals: they might hold the error, and that the frame
        if frame.f_code.co_name == "__call__" and frame.f_code.co_filename == _MODULE_FILE:
            modules.append(frame.f_locals["self"])
        frame = frame.f_back
    path, outer = "", None
    for module in reversed(modules):
        kind = type(module).__name__
        named: Any = () if outer is None else outer.named_modules()
        path += ("." if path else "") + str(next((name for name, x in named if x is module), kind))
        outer = module
    return path


def show_line(filename: str, line: int) -> str:
    """`path:LINE`, relative to the working directory where that is shorter."""
    return f"{show_file(filename)}:{line}"


def show_file(filename: str) -> str:
    """The path of a source file as messages have it."""
    if not filename.startswith("<"):
        try:
            relative = os.path.relpath(filename)
        except (ValueError, OSError):
            relative = filename
        filename = relative if not relative.startswith("..") else filename
    return filename
