"""Eager evaluation: each primitive gets one closure that evaluates it with NumPy and, where a gradient is wanted, writes
the tape. The closures do exactly what `apply` says; they only know in advance which op they serve.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from graphc.aliasing import mark_view, refresh
from graphc.core.arrays import ARRAYS, device_of, memory_of, moved
from graphc.core.config import config
from graphc.core.context import SLOTS, STATE
from graphc.core.errors import (
    BackendError,
    DeviceError,
    GraphcError,
    OperandError,
    OutOfMemoryError,
    SymbolicError,
    user_line,
)
from graphc.core.one_call import one_call
from graphc.core.op import Elementwise, Kind, Op, View
from graphc.core.quiet import quiet, quiet_reset, quiet_set
from graphc.core.tape import LEAF, Entry, Saved, TensorBase, edge_of, positions_saved, tape_entry, type_of_data
from graphc.core.tensor_types import DTYPE_OF, FLOAT, TensorType
from graphc.methods.attached import OPERATORS
from graphc.tensors import Tensor

NO_ATTRS: Mapping[str, Any] = {}
NOTHING: dict[Any, Any] = {}
_ndarray = np.ndarray
_new, _new_entry = TensorBase.__new__, Entry.__new__


def wrap(array: Any) -> Tensor:
    """A new tensor around an array (or a NumPy scalar, which becomes 0-d)."""
    tensor = _new(Tensor)
    tensor._data = array if isinstance(array, ARRAYS) else np.asarray(array)
    tensor._edge = tensor._version = tensor._base = None
    return tensor


def describe_operands(op: Op | None, inputs: tuple[Any, ...]) -> tuple[tuple[str, str, str], ...]:
    """Name, type and origin of each operand, for a message."""
    named = []
    for i, x in enumerate(inputs):
        name = "abcdefghijklmnopqrstuvwxyz"[i] if i < 26 else f"x{i}"
        origin = getattr(x._data, "origin_text", "")
        named.append((name, str(type_of_data(x._data)), origin() if callable(origin) else origin))
    return tuple(named)


def explain(op: Op, inputs: tuple[Any, ...], attrs: Mapping[str, Any], error: Exception) -> Exception:
    """The error a user should see for `error`, which evaluating `op` raised."""
    for x in inputs:
        if not isinstance(x, TensorBase):
            return TypeError(f"{op.name}(): expected a Tensor, got {type(x).__name__}")
        if not isinstance(x._data, ARRAYS):
            return SymbolicError(
                f"{op.name}: a symbolic tensor {type_of_data(x._data)} was used outside the trace or graph it belongs to, "
                f"at {user_line()}\n  hint: return it from the traced function, or fetch it with Session.run"
            )
    if isinstance(error, OperandError):
        return error.about(op.name, describe_operands(op, inputs))
    if isinstance(error, BackendError):
        error.args = (f"{error.args[0]}\n  {op.name} at {user_line() or 'no line'}",)
    if isinstance(error, GraphcError):
        return error
    if isinstance(error, MemoryError):
        return _no_room(op, inputs, attrs)
    try:
        op.output_types(*(x.tensor_type for x in inputs), **attrs)
    except OperandError as better:
        return better.about(op.name, describe_operands(op, inputs))
    return error


def _no_room(op: Op, inputs: tuple[Any, ...], attrs: Mapping[str, Any]) -> Exception:
    """The error where there is no room for an op's results."""
    types = op.output_types(*(x.tensor_type for x in inputs), **attrs)
    wanted = ", ".join(f"{t}, {int(t.size) * t.dtype.itemsize:,} bytes" for t in types)
    lines = [f"  {name}: {kind}" for name, kind, _ in describe_operands(op, inputs)]
    return OutOfMemoryError("\n".join([f"{op.name}: no room for its result {wanted}", *lines]))


def check_types(op: Op, inputs: tuple[Any, ...], attrs: Mapping[str, Any]) -> tuple[TensorType, ...] | None:
    """The result types, None where they depend on values; raises the shape rule's error with the operands added."""
    try:
        return op.output_types(*(x.tensor_type for x in inputs), **attrs)
    except SymbolicError:
        return None
    except OperandError as error:
        raise error.about(op.name, describe_operands(op, inputs)) from None


#: Operands that have fewer elements together are left to NumPy.
_LEAST = 10_000


def evaluation(op: Op) -> Callable[..., Any]:
    """The op on arrays: NumPy's meaning, by a compiled call for large operands of an op that is slow in NumPy."""
    meaning = op.eval
    if not op.weight:
        return meaning

    def body(*inputs: Any, **attrs: Any) -> Any:
        if STATE.recorder is not None:
            return STATE.recorder.apply(op, inputs, attrs)
        found = meaning(*[x._data for x in inputs], **attrs)
        return wrap(found) if op.n_outputs == 1 else tuple(map(wrap, found))

    def elements(*inputs: Any, **attrs: Any) -> int:
        return math.prod(attrs["shape"]) if op.kind == Kind("random") else sum([x._data.size for x in inputs])

    body.__name__ = op.name
    call = one_call(weight=op.weight, elements=elements)(body)

    def evaluate(*arrays: Any, **attrs: Any) -> Any:
        inputs = list(map(wrap, arrays))
        if config.eager != "compiled" and elements(*inputs, **attrs) < _LEAST:
            return meaning(*arrays, **attrs)
        before, STATE.grad = STATE.grad, False
        try:
            found = call(*inputs, **attrs)
        finally:
            STATE.grad = before
        return found._data if op.n_outputs == 1 else [x._data for x in found]

    return evaluate


#: Bytes of an operand that are sent to another operand's device without a word.
_FEW = 1 << 16


def together(inputs: tuple[Any, ...], memory: Any) -> list[Any]:
    """The operands' arrays for an op in a device's memory.

    What is on the host and wants no gradient is sent there, which is logged if it is much; numbers may stay. DeviceError for
    what wants one, and for what is on another device.
    """
    arrays = []
    for x in inputs:
        array = x._data
        if type(array) is _ndarray and array.ndim and (x._edge is None or not STATE.grad):
            if array.nbytes > _FEW:
                logging.getLogger("graphc.devices").warning(
                    "%d bytes are copied from cpu to %s at %s: use .to(%r) once", array.nbytes, memory.device, user_line(),
                    str(memory.device),
                )  # fmt: skip
            array = memory.put(array)
        elif array.ndim and memory_of(array) is not memory:
            kinds = "".join(f"\n  {name}: {kind}" for name, kind, _ in describe_operands(None, tuple(inputs)))
            raise DeviceError(
                "Expected all tensors to be on the same device, but found at least two devices, "
                f"{memory.device} and {device_of(array)}!{kinds}"
            )
        elif type(array) is not _ndarray and array.memory is not memory:
            array = moved(array, memory)
        arrays.append(array)
    return arrays


def general(op: Op) -> Callable[..., Any]:
    """The closure of an op of any kind. Types are checked once per signature and remembered.

    Results lie row by row, except that elementwise ops keep the order of their operands in memory, as in PyTorch.
    """
    evaluate, single = evaluation(op), op.n_outputs == 1
    rows, is_view = not isinstance(op.kind, Elementwise | View), isinstance(op.kind, View)
    known: dict[Any, tuple[TensorType, ...] | None] = {}
    is_random = op.kind == Kind("random")

    def call(*inputs: Any, **attrs: Any) -> Any:
        recorder = STATE.recorder
        if recorder is not None:
            return recorder.apply(op, inputs, attrs)
        arrays: list[Any] = []
        signature: list[Any] = [*attrs.values()]
        taped, memory = False, STATE.memory
        if memory is not None and ((inputs and not is_random) or attrs.get("shape") == ()):
            memory = None  # numbers stay on the host
        try:
            for x in inputs:
                if x._base is not None:
                    refresh(x)
                if x._edge is not None:
                    taped = True
                array = x._data
                if type(array) is not _ndarray:
                    memory = array.memory
                arrays.append(array)
                signature.append(array.dtype.num)
                signature.append(array.shape)
            key = tuple(signature)
            if key not in known:
                if len(known) > 4096:
                    known.clear()
                known[key] = check_types(op, inputs, attrs)
            token = quiet_set(quiet)
            try:
                if memory is None:
                    result = evaluate(*arrays, **attrs)
                else:
                    result = SLOTS.evaluate(op, together(inputs, memory), attrs, known[key], memory)
            finally:
                quiet_reset(token)
        except Exception as error:
            better = explain(op, inputs, attrs, error)
            try:
                raise better from (error.__cause__ if better is error or not isinstance(better, GraphcError) else None)
            finally:
                del better  # the error knows this frame: together they would keep the operands alive
        outputs = (wrap(result),) if single else tuple(map(wrap, result))
        if rows:
            for out in outputs:
                if not out._data.flags.c_contiguous:  # never on a device
                    out._data = out._data.copy()
        if taped and STATE.grad:
            out_types = known.get(key) or tuple(x.tensor_type for x in outputs)
            tape_entry(op, attrs, inputs, outputs, tuple(x.tensor_type for x in inputs), out_types)
        if memory is not None and is_view and outputs[0]._data.buffer is inputs[0]._data.buffer:
            mark_view(outputs[0], inputs[0], op, attrs)
        return outputs[0] if single else outputs

    return call


def view(op: Op) -> Callable[..., Any]:
    """The closure of a view op: no arithmetic, and the result remembers its base where NumPy shares memory."""
    evaluate, slow = op.eval, general(op)
    known: dict[Any, TensorType] = {}

    def call(a: Any, **attrs: Any) -> Any:
        recorder = STATE.recorder
        if recorder is not None:
            return recorder.apply(op, (a,), attrs)
        array = a._data
        if type(array) is not _ndarray:
            return slow(a, **attrs)
        if a._base is not None:
            refresh(a)
        key = (array.shape, array.dtype.num, *attrs.values())
        out_type = known.get(key)
        if out_type is None:
            (out_type,) = check_types(op, (a,), attrs) or (None,)
            if len(known) > 4096:
                known.clear()
            known[key] = out_type  # type: ignore[assignment]
        result = evaluate(array, **attrs)
        out = _new(Tensor)
        out._data = result
        out._edge = out._version = out._base = None
        if a._edge is not None and STATE.grad:
            tape_entry(op, attrs, (a,), (out,), ((array.shape, array.dtype),), (out_type,))
        base = result.base
        if base is not None and (base is array or base is array.base):
            mark_view(out, a, op, attrs)
        return out

    return call


def unary(op: Op) -> Callable[..., Any]:
    """The closure of an elementwise op of one operand without attributes."""
    evaluate = evaluation(op)
    slow = general(op)
    save_in = op.vjp is not None and bool(op.saves) and 0 in op.saves[0]  # type: ignore[operator]
    save_out = op.vjp is not None and bool(op.saves) and "out" in op.saves[0]  # type: ignore[operator]
    differentiable = op.vjp is not None and op.vjp[0] is not None  # type: ignore[index]
    checked: set[Any] = set()

    def call(a: Any) -> Any:
        if STATE.recorder is not None:
            return STATE.recorder.apply(op, (a,), NO_ATTRS)
        x = a._data
        if type(x) is not _ndarray or x.dtype not in checked:
            out = slow(a)
            checked.add(x.dtype)
            return out
        if a._base is not None:
            refresh(a)
        token = quiet_set(quiet)
        try:
            array = evaluate(x)
        except Exception as error:
            raise explain(op, (a,), NO_ATTRS, error) from None
        finally:
            quiet_reset(token)
        out = _new(Tensor)
        out._data = array if type(array) is _ndarray else np.asarray(array)
        out._edge = out._version = out._base = None
        edge = a._edge
        if edge is not None and differentiable and STATE.grad and DTYPE_OF[out._data.dtype].category == FLOAT:
            saved: dict[Any, Any] = {}
            if save_in:
                saved[0] = Saved(a)
            if save_out:
                saved["out"] = (Saved(out),)
            meta = ((x.shape, x.dtype),)
            out._edge = (Entry(op, NO_ATTRS, (edge_of(a),), meta, meta, saved), 0)
        return out

    return call


def binary(op: Op, otherwise: Callable[[Any, Any], Any] | None = None) -> Callable[..., Any]:
    """The closure of an elementwise op of two operands without attributes.

    `otherwise(a, b)`: what is done unless both are tensors of one dtype and no recorder is at work, and for the first two
    of a dtype; the op itself if not given.
    """
    evaluate = evaluation(op)
    other = otherwise or general(op)
    # per dtype met: whether its results are differentiable; per wanted gradients (x, y): what they read
    checked: dict[Any, bool] = {}
    reads = [positions_saved(op, (x or None, y or None)) if op.vjp is not None else () for y in (0, 1) for x in (0, 1)]

    def call(a: Any, b: Any) -> Any:
        if STATE.recorder is not None:
            return other(a, b)
        try:
            x = a._data
            y = b._data
            dtype = x.dtype
            same = dtype is y.dtype
        except AttributeError:
            return other(a, b)
        differentiable = checked.get(dtype) if same and type(x) is _ndarray and type(y) is _ndarray else None
        if differentiable is None:
            out = other(a, b)
            if same:
                checked[dtype] = op.vjp is not None and out.dtype.category == FLOAT
            return out
        if a._base is not None:
            refresh(a)
        if b._base is not None:
            refresh(b)
        token = quiet_set(quiet)
        try:
            array = evaluate(x, y)
        except Exception as error:
            raise explain(op, (a, b), NO_ATTRS, error) from None
        finally:
            quiet_reset(token)
        out = _new(Tensor)
        out._data = array = array if type(array) is _ndarray else np.asarray(array)
        out._edge = out._version = out._base = None
        ea = a._edge
        eb = b._edge
        if differentiable and (ea is not None or eb is not None) and STATE.grad:
            ea = a if ea is LEAF else ea
            eb = b if eb is LEAF else eb
            read = reads[(ea is not None) + 2 * (eb is not None)]
            entry = _new_entry(Entry)
            entry.op, entry.attrs = op, NO_ATTRS
            entry.edges, entry.saved = (ea, eb), NOTHING
            if read:
                entry.saved = {p: Saved(a) if p == 0 else Saved(b) if p == 1 else (Saved(out),) for p in read}
            shape = x.shape
            meta = (shape, dtype)
            if shape == y.shape:
                entry.metas = (meta, meta)
                entry.out_metas = (meta,)
            else:
                entry.metas = (meta, (y.shape, dtype))
                entry.out_metas = ((array.shape, dtype),)
            out._edge = (entry, 0)
        return out

    return call


def specialise(op: Op, n_inputs: int) -> Callable[..., Any]:
    """The fastest closure that fits the op's kind."""
    if isinstance(op.kind, View):
        return view(op)
    if isinstance(op.kind, Elementwise) and not _has_attributes(op):
        if n_inputs == 1:
            return unary(op)
        if n_inputs == 2:
            return binary(op)
    return general(op)


def _has_attributes(op: Op) -> bool:
    return bool(next(iter(op.samples())).attrs)


def apply_eagerly(op: Op, inputs: tuple[Any, ...], attrs: Mapping[str, Any]) -> Any:
    """The eager door: gives an op its closure at its first use, and calls it."""
    if op.call == op.apply:
        op.call = specialise(op, len(inputs))
    return op.call(*inputs, **attrs)


SLOTS.eager = apply_eagerly
for _name, _op in OPERATORS.items():
    setattr(Tensor, _name, binary(_op, getattr(Tensor, _name)))
