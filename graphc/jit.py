"""`torch.jit`: scripting and tracing are answered by graphc's own tracer, `gc.compile`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from graphc.build import CompiledFunction, compile  # noqa: A004
from graphc.core.context import STATE
from graphc.core.errors import BackendError
from graphc.core.tape import TensorBase

T = TypeVar("T")
ScriptFunction = CompiledFunction


def script(obj: Any, optimize: Any = None, _frames_up: int = 0, _rcb: Any = None, example_inputs: Any = None) -> Any:
    """`gc.compile(obj)`: the function or Module, traced at its first call of each kind; a class or anything else as it is.

    What TorchScript can do and a trace cannot is `if` and `while` on the numbers in a tensor: `gc.cond` and `gc.while_loop`.
    """
    if isinstance(obj, type) or not callable(obj):
        return obj
    return compile(obj)


def trace(
    func: Any,
    example_inputs: Any = None,
    optimize: Any = None,
    check_trace: bool = True,
    check_inputs: Any = None,
    check_tolerance: float = 1e-5,
    strict: bool = True,
    example_kwarg_inputs: dict[str, Any] | None = None,
    **_: Any,
) -> Any:
    """`gc.compile(func)`, called once with the examples, so that what cannot be traced is told now.

    Other sizes than the examples' are traced when they come.
    """
    made = compile(func)
    args = (example_inputs,) if isinstance(example_inputs, TensorBase) else tuple(example_inputs or ())
    made(*args, **(example_kwarg_inputs or {}))
    return made


def trace_module(mod: Any, inputs: dict[str, Any], **options: Any) -> Any:
    """`trace` of a Module's `forward`; BackendError for other methods."""
    if set(inputs) != {"forward"}:
        raise BackendError(
            f"jit.trace_module: graphc compiles `forward` alone, not {sorted(inputs)}: use gc.compile(method)"
        )
    return trace(mod, inputs["forward"], **options)


def _mark(fn: T) -> T:
    """Accepted: everything is traced as it runs."""
    return fn


export = _mark


def ignore(drop: Any = False, **_: Any) -> Any:
    """Accepted, as a decorator with or without arguments."""
    return drop if callable(drop) else _mark


unused = _mark


def is_scripting() -> bool:
    """False: there is no script, only the Python that runs."""
    return False


def is_tracing() -> bool:
    """Whether a trace is being recorded."""
    return STATE.recorder is not None


def script_if_tracing(fn: T) -> T:
    """The function itself, which a trace follows as it does any other."""
    return fn


def annotate(the_type: Any, the_value: T) -> T:
    """The value."""
    return the_value


def freeze(mod: T, preserved_attrs: Any = None, optimize_numerics: bool = True) -> T:
    """The module itself: what does not change between calls is not computed again in any case."""
    return mod


optimize_for_inference = freeze


def fork(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What the function gives, computed now; `wait` passes it on."""
    return func(*args, **kwargs)


def wait(future: T) -> T:
    """What `fork` gave."""
    return future


def save(m: Any, f: Any, _extra_files: Any = None) -> None:
    """Raises BackendError: graphc saves graphs and states."""
    raise BackendError(
        "torch.jit.save: graphc has no TorchScript files; use gc.save_graph(graph, path), or save(model.state_dict(), path)"
    )


def load(f: Any, map_location: Any = None, **_: Any) -> Any:
    """Raises BackendError: graphc reads no TorchScript."""
    raise BackendError(
        "torch.jit.load: graphc reads no TorchScript files; use gc.load_graph(path), or model.load_state_dict(torch.load(path))"
    )


__all__ = [
    "ScriptFunction", "annotate", "export", "fork", "freeze", "ignore", "is_scripting", "is_tracing", "load",
    "optimize_for_inference", "save", "script", "script_if_tracing", "trace", "trace_module", "unused", "wait",
]  # fmt: skip
