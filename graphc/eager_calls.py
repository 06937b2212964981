"""Compiled calls of marked compositions: what `core/one_call.py` runs in place of a body, once that pays.

A body is recorded like a compiled function, on symbols of the sizes at hand, with its gradient, and built for the native
backend. A call is then one launch and one tape entry. The gradient reads what costs least to keep: the arguments, and of
computed values those that could not be computed again from the arguments by elementwise ops and views. Where a gradient is
itself differentiated, the recorded gradient is replayed op by op.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from graphc.assembly import Assembly
from graphc.builds import Build, Call, write_array
from graphc.core.arrays import is_borrowed, shares_memory
from graphc.core.context import SLOTS, STATE, recording
from graphc.core.errors import DeviceError, OutOfMemoryError
from graphc.core.tape import LEAF
from graphc.core.tensor_types import TensorType
from graphc.device_runs import where_are
from graphc.executable import Built
from graphc.layouts import own_strides, packed
from graphc.nests import flatten, unflatten
from graphc.primitives.views import permute
from graphc.surroundings import Surroundings
from graphc.tracing import Capture, Trace, paused_gc, symbolic

#: The backend of compiled calls on the host.
BACKEND = "llvm"

_NO_SIZES: Mapping[str, int] = {}


class _OpenError(Exception):
    """The body depends on more than its arguments, or gives views of them: it runs op by op."""


def prepare(fn: Callable[..., Any], args: Any, kwargs: Any, rereads: bool) -> Callable[..., Any] | None:
    """The compiled call of `fn` for arguments like these, `call(tensors, args, kwargs)`; None where the body must run.

    `rereads`: whether the gradient may read the arguments for what it could also keep. Where recording raises, so will the
    body, and says it better.
    """
    leaves: list[Any] = []
    structure = (tuple, flatten(args, leaves), flatten(kwargs, leaves))
    try:
        return EagerCall(fn, *_record(fn, structure, leaves, rereads), leaves)
    except _OpenError:
        return None
    except (DeviceError, OutOfMemoryError):  # the body would meet another machine than this call did
        raise
    except Exception:
        fn(*args, **kwargs)
        raise


def _record(fn: Callable[..., Any], structure: Any, leaves: list[Any], rereads: bool) -> tuple[Build, list[Any]]:
    """The build of one call, and per result the order of its dimensions in memory, None for rows."""
    trace = Trace()
    backend = None if where_are([leaf._data for leaf in leaves]) else BACKEND
    clones, symbols = [], []
    for i, leaf in enumerate(leaves):
        array = leaf._data
        wants = STATE.grad and bool(leaf.requires_grad)
        clone = SLOTS.new_tensor(array)  # an object given twice is two arguments
        clone._edge = LEAF if wants else None
        symbol = symbolic(trace, f"x{i}", TensorType(array.shape, leaf.dtype), wants)
        symbol._layout = trace.layouts.give(i, array, array.shape)
        symbol.__dict__["_argument"] = i, clone
        trace.shadows[id(clone)] = (clone, symbol)
        clones.append(clone)
        symbols.append(symbol)
    arguments = [s._data for s in symbols]
    args, kwargs = unflatten(structure, symbols)
    shapes = tuple(a.shape for a in arguments)
    with paused_gc(), recording(trace):
        result, orders = _in_rows(fn(*args, **kwargs), symbols)
    del args, kwargs
    call = Call(clones, structure, shapes, None, [], (), {})
    assembly = Assembly(trace, call, shapes, arguments, symbols, result, Surroundings(fn), False, rereads)
    build = assembly.finish(
        lambda program, aliases, updates=None: Built(program, aliases, backend, name=fn.__name__), None
    )
    _check_closed(build)
    if build.backward is not None:
        build.backward.name = fn.__name__
    return build, orders


def _in_rows(result: Any, symbols: Sequence[Any]) -> tuple[Any, list[Any]]:
    """The results with dimensions in the order in which they lie in memory, and those orders.

    Raises `_OpenError` for a result that is a view of an argument.
    """
    found: list[Any] = []
    structure = flatten(result, found)
    orders: list[Any] = []
    for i, tensor in enumerate(found):
        given = any(tensor is s for s in symbols)
        if not given and tensor._base is not None and any(tensor._base.base is s for s in symbols):
            raise _OpenError
        strides = None if given or not tensor.is_symbolic else own_strides(tensor)
        order = None
        if strides is not None:
            order = tuple(sorted(range(len(strides)), key=lambda axis: -strides[axis]))
            if packed(tensor.shape, order) != strides:
                raise _OpenError
            found[i] = permute(tensor, axes=order)
        orders.append(None if order is None else tuple(np.argsort(order).tolist()))
    return unflatten(structure, found), orders


def _check_closed(build: Build) -> None:
    """Raises `_OpenError` unless the recording depends on its arguments and the default generator alone."""
    generator = SLOTS.generator().state
    captured = [s for s in build.sources if isinstance(s, Capture)]
    written = [s for s, _ in build.updates if isinstance(s, Capture)]
    if not all(any(c.tensor is t for t in generator) for c in (*captured, *written)):
        raise _OpenError
    if build.grads or build.flags or build.leaves or any(kind == "object" for kind, _ in build.outputs):
        raise _OpenError
    if not all(any(guard.owner is t for t in generator) for guard in build.guards):
        raise _OpenError


class EagerCall:
    """A build with what one call of it does. Safe to call from several threads."""

    def __init__(self, fn: Callable[..., Any], build: Build, orders: list[Any], leaves: list[Any]):
        self.fn, self.build, self.orders = fn, build, orders
        given = [s for s in build.sources if type(s) is int]
        assert build.sources[: len(given)] == list(range(len(given)))
        self.captured: list[Any] = [s.tensor for s in build.sources[len(given) :]]  # type: ignore[union-attr]
        shapes: Any = [*build.pattern, *(t.shape for t in self.captured)]
        self.run = build.built.executable(shapes, None, where_are([t._data for t in (*leaves, *self.captured)]))
        self.written = {k for k, source in enumerate(build.sources) if any(source is s for s, _ in build.updates)}
        self.single = len(build.outputs) == 1 and unflatten(build.structure, [self]) is self
        self.plain = self.single and build.outputs[0][0] == "value" and orders == [None] and not build.updates

    def __call__(self, leaves: list[Any], args: Any, kwargs: Mapping[str, Any]) -> Any:
        build = self.build
        if build.updates and not self._may_write(leaves):
            return self.fn(*args, **kwargs)
        tensors = leaves + self.captured
        arrays = [t._data for t in tensors]
        try:
            results = self.run(arrays)
        except (DeviceError, OutOfMemoryError):  # the body would meet another machine than this call did
            raise
        except Exception:
            self.fn(*args, **kwargs)  # raises the same, with the lines of this call
            raise
        entry = None
        if build.backward is not None:
            made = [results[build.outputs[i][1]] for i in build.taped]
            entry = build.backward.entry(tensors, arrays, self.written, results, made, _NO_SIZES)
        if self.plain:
            tensor = SLOTS.new_tensor(results[0])
            if entry is not None:
                tensor._edge = (entry, 0)
            return tensor
        for source, k in build.updates:
            write_array(leaves[source] if type(source) is int else source.tensor, results[k])  # type: ignore[union-attr]
        return self._finished(leaves, results, entry)

    def _finished(self, leaves: list[Any], results: list[Any], entry: Any) -> Any:
        """The results as tensors, on the tape."""
        build = self.build
        outputs: list[Any] = []
        for i, (kind, what) in enumerate(build.outputs):
            if kind != "value":
                outputs.append(leaves[what] if kind == "argument" else outputs[what])
                continue
            tensor = SLOTS.new_tensor(results[what])
            if entry is not None and i in build.taped:
                tensor._edge = (entry, build.taped.index(i))
            order = self.orders[i]
            outputs.append(tensor if order is None else permute(tensor, axes=order))
        return outputs[0] if self.single else unflatten(build.structure, outputs)

    def _may_write(self, leaves: list[Any]) -> bool:
        """Whether the arguments to be written are no views and share no memory with others."""
        targets = [leaves[s] for s, _ in self.build.updates if type(s) is int]
        if any(t._base is not None for t in targets):
            return False
        if len({id(x._data) for x in leaves}) < len(leaves):
            return False
        borrowed = [x._data for x in leaves if is_borrowed(x._data)]
        return not any(t._data is not x and shares_memory(t._data, x, exactly=False) for t in targets for x in borrowed)
