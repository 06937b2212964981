"""Switches of the tape, usable as context managers and as decorators: no_grad, enable_grad, set_grad_enabled."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any

from graphc.core.context import STATE


class _Switch:
    """Sets whether ops are put on the tape, for this thread, until the block or call ends."""

    def __init__(self, mode: bool):
        self.mode = mode
        self._before: list[bool] = []

    def __enter__(self) -> Any:
        self._before.append(STATE.grad)
        STATE.grad = self.mode
        return self

    def __exit__(self, *_: object) -> None:
        STATE.grad = self._before.pop()

    def _fresh(self) -> _Switch:
        return _Switch(self.mode)

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.isgeneratorfunction(fn):
            return self._wrap_generator(fn)

        @functools.wraps(fn)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self._fresh():
                return fn(*args, **kwargs)

        return wrapped

    def _wrap_generator(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Each resumption of the generator runs under the switch, the consumer's code between does not."""

        @functools.wraps(fn)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            generator = fn(*args, **kwargs)
            resume: Callable[[], Any] = functools.partial(generator.send, None)
            while True:
                with self._fresh():
                    try:
                        item = resume()
                    except StopIteration as stop:
                        return stop.value
                try:
                    resume = functools.partial(generator.send, (yield item))
                except GeneratorExit:
                    with self._fresh():
                        generator.close()
                    raise
                except BaseException as error:
                    resume = functools.partial(generator.throw, error)

        return wrapped


class no_grad(_Switch):  # noqa: N801
    """Within, nothing is put on the tape and results need no gradient."""

    def __init__(self, orig_func: Callable[..., Any] | None = None):
        super().__init__(False)
        assert orig_func is None

    def __new__(cls, orig_func: Callable[..., Any] | None = None) -> Any:
        """`@no_grad` without brackets decorates too."""
        self = super().__new__(cls)
        if orig_func is not None:
            _Switch.__init__(self, False)
            return self(orig_func)
        return self


class enable_grad(_Switch):  # noqa: N801
    """Within, ops are put on the tape again, also inside `no_grad`."""

    def __init__(self) -> None:
        super().__init__(True)


class _Inference(threading.local):
    on: bool = False


_INFERENCE = _Inference()


class inference_mode(_Switch):  # noqa: N801
    """`no_grad` under PyTorch's newer name; `inference_mode(False)` leaves the tape as it is."""

    def __init__(self, mode: bool | Callable[..., Any] = True):
        super().__init__(STATE.grad and not mode)
        self.on = bool(mode)
        self._outside: list[bool] = []

    def __new__(cls, mode: bool | Callable[..., Any] = True) -> Any:
        """`@inference_mode` without brackets decorates too."""
        return super().__new__(cls) if isinstance(mode, bool) else cls(True)(mode)

    def __enter__(self) -> Any:
        self._outside.append(_INFERENCE.on)
        self.mode = STATE.grad if not self.on else False
        _INFERENCE.on = self.on
        return super().__enter__()

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        _INFERENCE.on = self._outside.pop()

    def _fresh(self) -> _Switch:
        return inference_mode(self.on)


class set_grad_enabled(_Switch):  # noqa: N801
    """Turns the tape on or off at once; as a context manager also restores it."""

    def __init__(self, mode: bool):
        super().__init__(bool(mode))
        self._before.append(STATE.grad)
        STATE.grad = bool(mode)

    def __enter__(self) -> Any:
        return self

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """As a decorator it changes nothing outside of the function."""
        STATE.grad = self._before.pop()
        return super().__call__(fn)

    def _fresh(self) -> _Switch:
        return _Switch(self.mode)


def is_grad_enabled() -> bool:
    """Whether ops of this thread are put on the tape."""
    return STATE.grad


def is_inference_mode_enabled() -> bool:
    """Whether this thread is inside of `inference_mode`."""
    return _INFERENCE.on
