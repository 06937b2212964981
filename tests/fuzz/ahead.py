"""Kernels of many programs built together: what a compiler of OpenCL C does once for each text costs as much as ten kernels."""

from __future__ import annotations

import re
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from unittest.mock import patch

from graphc.backends.devices.executable import DeviceExecutable
from graphc.backends.opencl.devices import Device, device
from graphc.core.arrays import host
from graphc.core.errors import BackendError
from graphc.ir.interpret import interpret

#: Programs whose kernels are built together.
MANY = 25

_HEAD, _OWN = re.compile(r"KERNEL\(\d+\) (\w+)\("), re.compile(r"\b[A-Za-z]\w*_\d+\b")


def build_ahead(runs: Iterable[Callable[[], object]]) -> None:
    """Does runs with NumPy in the device's place, then builds the kernels that they asked for."""
    asked: dict[Callable[[Device, str], Any], dict[str, None]] = defaultdict(dict)
    waiting: weakref.WeakSet[DeviceExecutable] = weakref.WeakSet()

    def note(executable: DeviceExecutable) -> None:
        source = executable.translation.source
        asked[Device.build] |= dict.fromkeys(source.alone(name) for name in source.kernels)
        waiting.add(executable)

    def run_by_numpy(executable: DeviceExecutable, arrays: Sequence[Any], memory: Any) -> list[Any]:
        assert memory is None, "random programs leave their tensors on the host"
        outputs = interpret(executable.program, list(map(host, arrays)))
        return [executable._given(k, output, arrays) for k, output in enumerate(outputs)]

    with patch.object(DeviceExecutable, "_build", note), patch.object(DeviceExecutable, "_run", run_by_numpy):
        for run in runs:
            run()
    for building, texts in asked.items():
        _build(building, [text for text in texts if text not in device().kernels])
    for executable in waiting:  # those that a cache has kept
        executable._build()


def _build(building: Callable[[Device, str], Any], texts: Sequence[str]) -> None:
    """Gives the device these kernels; none of them if one cannot be built, which its program will tell."""
    dialect, names, parts = device().dialect, {}, []
    for n, text in enumerate(texts):
        (name,) = _HEAD.findall(text)
        names[text] = f"p{n}_{name}"
        parts.append(_OWN.sub(rf"p{n}_\g<0>", text))
    body = "\n".join(parts)
    try:
        program = building(device(), f"{dialect.head}{dialect.double if 'f64' in body else ''}\n{body}\n")
    except BackendError:
        return
    device().kernels |= {text: (program, name) for text, name in names.items()}
