"""Looking for faults in eager code: where a NaN is made, forwards and backwards, and gradients that nobody has cleared.

While one of these runs, the public functions are replaced by ones that look at results and note on the tape which line they
were called from (profiler/watching.py), so nothing is asked and nothing costs otherwise. Compiled functions and sessions look
for themselves with `check_nans=True`.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import isfinite
from types import FunctionType
from typing import Any

import numpy as np

from graphc.backends.nan_checks import problem_of, range_of
from graphc.core.arrays import host, is_array
from graphc.core.context import STATE
from graphc.core.errors import (
    GradientError,
    NonFiniteError,
    module_path,
    user_frame,
    user_line,
    user_place,
    warn_user,
)
from graphc.ir.program import Origin, toposort
from graphc.nests import tensors_in
from graphc.profiler.watching import Namer, Watch
from graphc.tensors import Tensor

_WARNING = (
    "Anomaly Detection has been enabled. This mode will increase the runtime and should only be enabled for debugging."
)
_NAMES = {"div": "divide", "mul": "multiply", "sub": "subtract", "rsub": "subtract", "pow": "power", "neg": "negate"}


class Anomalies(Watch):
    """Looks at the results of public functions (`forward`) and of gradient rules (`backward`) until it is stopped."""

    def __init__(self, forward: bool, backward: bool):
        super().__init__()
        self.forward, self.backward = forward, backward
        #: parameters whose gradients a step has used, with the line of the step
        self.used: dict[int, tuple[Any, str]] = {}

    def _timed(self, fn: Callable[..., Any], name: str | Namer, kind: str) -> Callable[..., Any]:
        is_gradient, is_step = kind == "gradient", kind == "update"

        @functools.wraps(fn)
        def call(*args: Any, **kwargs: Any) -> Any:
            if is_step:
                self._before_step(args[0])
            elif STATE.recorder is None:
                given = (*args, *kwargs.values())
                may_be_blamed = not is_gradient and self._may_be_blamed(given)
                result = fn(*args, **kwargs)
                if is_gradient:
                    self._look_at_gradients(args[0], args[1], result)
                else:
                    title = name if isinstance(name, str) else name(args)
                    self._look(title.removeprefix("aten::"), given if may_be_blamed else (), result)
                return result
            return fn(*args, **kwargs)

        return call

    def _replace(self) -> None:
        super()._replace()
        for name, value in list(vars(Tensor).items()):
            if _is_in_place(name, value):
                self._put(Tensor, name, self._timed(value, name, "function"))
        backward = Tensor.backward

        @functools.wraps(backward)
        def call(tensor: Any, *args: Any, **kwargs: Any) -> Any:
            if STATE.recorder is None:
                self._before_backward()
            return backward(tensor, *args, **kwargs)

        self._put(next(kind for kind in Tensor.__mro__ if "backward" in vars(kind)), "backward", call)

    # --- numbers --------------------------------------------------------------------------------------------------------

    def _may_be_blamed(self, args: tuple[Any, ...]) -> bool:
        """Whether a call that begins has operands, all finite, and no infinity that was written there on purpose."""
        if not self.forward or STATE.role == "backward":  # a gradient is looked at when it is whole
            return False
        read = [x for x in tensors_in(args) if is_array(x._data)]
        return bool(read) and all(isfinite(x) for x in args if isinstance(x, float)) and all(map(_is_finite, read))

    def _look(self, name: str, args: tuple[Any, ...], result: Any) -> None:
        """Notes the line on the tape, and looks for what is not finite; `args`: none where the call is not to be blamed."""
        made = [x for x in tensors_in(result) if is_array(x._data) and x._base is None]
        _note_lines(made)
        if not args:
            return
        written = [result] if result is args[0] and result._base is not None else []
        bad = next((x for x in (*made, *written) if not _is_finite(x)), None)
        if bad is not None:
            read = [
                x for x in tensors_in(args) if is_array(x._data) and x is not result
            ]  # what is written is written over
            error = NonFiniteError(problem_of(host(bad._data)))
            operands = [(chr(97 + i % 26), f"{x.tensor_type}{range_of(host(x._data))}", "") for i, x in enumerate(read)]
            raise error.about(_NAMES.get(name, name), tuple(operands), user_place())

    def _look_at_gradients(self, entry: Any, gs: Any, found: Any) -> None:
        """Looks at what the rules of an entry have given."""
        given = [g for g in gs if g is not None and is_array(g._data)]
        for i, g in enumerate(found) if self.backward else ():
            if g is None or not is_array(g._data):
                continue
            array = host(g._data)
            line = f"{entry.line.place} (backward)" if entry.line else user_place()
            if bool(np.isnan(array).any()) and not self.forward:
                title = "".join(part.capitalize() for part in entry.op.name.split("_"))
                error = GradientError(f"Function '{title}Backward' returned nan values in its {i}th output.")
                error.line = line
                raise error
            if self.forward and not _is_finite(g) and all(map(_is_finite, given)):
                ranges = [("g", f"{x.tensor_type}{range_of(host(x._data))}", "") for x in given]
                raise NonFiniteError(problem_of(array)).about(f"the gradient of {entry.op.name}", tuple(ranges), line)

    # --- gradients that nobody has cleared ------------------------------------------------------------------------------

    def _before_step(self, optimizer: Any) -> None:
        recorder: Any = STATE.recorder
        for p in (p for group in optimizer.param_groups for p in group["params"]):
            if recorder is None:
                if p.grad is not None:
                    self.used[id(p)] = p, user_line()
                continue
            left = recorder.captures.get(("grad", id(p)))
            now = None if left is None or p.grad is None else recorder.shadow(p.grad)._data
            if now is not None and now is not left.value and left.value.node in toposort([now]):
                _warn(
                    "step() uses gradients that hold what earlier calls have left there: this function never clears them"
                )
                return

    def _before_backward(self) -> None:
        used, self.used = self.used, {}
        for p, line in used.values():
            if p.grad is not None and bool(np.any(host(p.grad._data))):
                _warn(f"backward() adds to gradients that the step at {line} has used: nobody has cleared them since")
                return


def _warn(problem: str) -> None:
    warn_user(problem, "call optimizer.zero_grad() before backward()")


def _is_in_place(name: str, value: Any) -> bool:
    return name.endswith("_") and not name.startswith("_") and type(value) is FunctionType


def _is_finite(x: Any) -> bool:
    return not x.dtype.is_floating_point or bool(np.isfinite(host(x._data)).all())


def _note_lines(made: list[Any]) -> None:
    """Gives entries of the tape that have no line yet the line that runs."""
    entries = [x._edge[0] for x in made if type(x._edge) is tuple]
    frame = user_frame(2)
    if frame is None or not entries:
        return
    origin = Origin(frame.f_code.co_filename, frame.f_lineno, module_path(frame), STATE.role)
    while entries:
        entry = entries.pop()
        if not entry.line:
            entry.line = origin
            entries += [edge[0] for edge in entry.edges if type(edge) is tuple]


# --- how they are asked for -----------------------------------------------------------------------------------------------


class set_detect_anomaly:  # noqa: N801
    """Turns the search for anomalies in eager code on or off, for good or within a `with`.

    While it is on, tape entries know the user's lines, a gradient rule that gives a NaN raises GradientError with the line of
    the forward op (`check_nan`), and gradients that are added to after a step has used them are warned of.
    """

    running: Anomalies | None = None

    def __init__(self, mode: bool, check_nan: bool = True):
        kind = set_detect_anomaly
        self._before = kind.running
        if kind.running is not None:
            kind.running.stop()
            kind.running = None
        if mode:
            found = Anomalies(False, check_nan)
            found.start()
            kind.running = found

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        before = self._before
        set_detect_anomaly(before is not None, before is None or before.backward)


class detect_anomaly:  # noqa: N801
    """Within, anomalies are searched for, as `set_detect_anomaly` says; warns that it costs time, as PyTorch does."""

    def __init__(self, check_nan: bool = True):
        self._check_nan = check_nan
        warnings.warn(_WARNING, stacklevel=2)

    def __enter__(self) -> None:
        self._set = set_detect_anomaly(True, self._check_nan)

    def __exit__(self, *_: object) -> None:
        self._set.__exit__()


@contextmanager
def check_nans() -> Iterator[None]:
    """Within, eager code raises NonFiniteError for the first function or gradient that makes a NaN or infinity.

    Its operands were finite. The message has the function, its operands with their ranges, the line, and of a gradient the line
    of the forward op. `compile` and `Session` call this `check_nans=True`. BackendError while a profiler runs.
    """
    found = Anomalies(True, True)
    found.start()
    try:
        yield
    finally:
        found.stop()


__all__ = ["check_nans", "detect_anomaly", "set_detect_anomaly"]
