"""Eager ops on device arrays: each a program of one op, compiled for its operands' types when they are first met."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from graphc.backends import find_backend
from graphc.backends.devices.executable import DeviceExecutable
from graphc.backends.devices.memory import DeviceMemory
from graphc.core.arrays import DeviceArray, host, shadow_of
from graphc.core.devices import Device
from graphc.core.dims import is_static
from graphc.core.errors import BackendError, DeviceError
from graphc.core.op import Op, View
from graphc.core.tensor_types import TensorType, type_of_array
from graphc.ir.program import Program, Table, attr_key
from graphc.passes.pipelines import NATIVE, optimise

#: Programs kept; the one unused longest goes first.
_MOST = 4096
_KNOWN: dict[Any, DeviceExecutable] = {}


_MEMORIES: dict[tuple[str, int], DeviceMemory] = {}


def memory_for(kind: str, number: int) -> DeviceMemory:
    """The memory of a device; DeviceError where there is none."""
    found = _MEMORIES.get((kind, number))
    if found is None:
        backend: Any = find_backend(kind)
        try:
            made = DeviceMemory(Device(kind, number), partial(backend.device, number))
        except BackendError as error:
            raise DeviceError(f"no {kind} device {number} here: {error}") from None
        found = _MEMORIES.setdefault((kind, number), made)  # another thread may have been as fast
    return found


def evaluate(
    op: Op, arrays: Sequence[Any], attrs: Mapping[str, Any], types: Sequence[TensorType] | None, memory: DeviceMemory
) -> Any:
    """The op's results in a device's memory; operands may also be on the host. `types`: of the results, None where they depend
    on values: then Python does the op on the host, which is logged."""
    if isinstance(op.kind, View):
        return _viewed(op, arrays[0], attrs, memory)
    if types is None or not all(is_static(x.shape) for x in types):
        return _on_host(op, arrays, attrs, memory)
    operands = [type_of_array(shadow_of(a)) for a in arrays]
    key = (op.name, memory, *operands, *((name, attr_key(attrs[name])) for name in sorted(attrs)))
    executable = _KNOWN.pop(key, None)
    if executable is None:
        executable = _compiled(op, operands, attrs, memory)
        if len(_KNOWN) >= _MOST:
            _KNOWN.pop(next(iter(_KNOWN)), None)
    _KNOWN[key] = executable
    results = executable(arrays, memory)
    return results[0] if op.n_outputs == 1 else results


def _compiled(op: Op, operands: Sequence[TensorType], attrs: Mapping[str, Any], memory: DeviceMemory) -> Any:
    table = Table()
    inputs = tuple([table.input(f"x{i}", type_) for i, type_ in enumerate(operands)])
    program = Program(table, inputs, table.apply(op, inputs, attrs).outputs)
    backend: Any = find_backend(memory.device.type)
    return backend.compile(optimise(program, NATIVE), number=memory.device.index)


def _viewed(op: Op, array: DeviceArray, attrs: Mapping[str, Any], memory: DeviceMemory) -> DeviceArray:
    """A view of the buffer where NumPy has one of the shadow, else of a copy in rows."""
    shadow = op.eval(array.shadow, **attrs)
    if shadow.base is not None and (shadow.base is array.shadow or shadow.base is array.shadow.base):
        return array.view(shadow)
    rows = memory.rows(array)
    return rows.view(op.eval(rows.shadow, **attrs))


def _on_host(op: Op, arrays: Sequence[Any], attrs: Mapping[str, Any], memory: DeviceMemory) -> Any:
    logging.getLogger(f"graphc.{memory.device.type}").info(
        "%s: done by Python, after a wait: %s", memory.device, op.name
    )
    results = op.eval(*map(host, arrays), **attrs)
    return memory.put(results) if op.n_outputs == 1 else [memory.put(r) for r in results]
