"""Kernels of a device, each built once for all programs that have it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphc.backends.c_like.writing import Source
from graphc.backends.devices.protocol import Device
from graphc.core.errors import BackendError
from graphc.core.tensor_types import float64

#: Kernels kept by a device; the one unused longest goes first.
_MOST = 8192


def built(source: Source, device: Device, made_at: Callable[[str], tuple[str, str]]) -> dict[str, tuple[Any, str]]:
    """By the name of each kernel of a source: the program that has it, and its name there. New ones are built together.

    `made_at(name)`: what a kernel does with the user's lines, and the first of these. BackendError shows these, the kernel that
    cannot be built and the compiler's words.
    """
    texts = {name: source.alone(name) for name in source.kernels}
    wide = [name for name, text in texts.items() if "f64" in text]
    if wide and not device.double:
        what, line = made_at(wide[0])
        problem = f"{device.name} has no {float64.name}, which is needed for {what}\n"
        raise _at(line, BackendError(f"{problem}  hint: use float32 (x.float()), or do this on the CPU (x.cpu())"))
    known = device.kernels
    new = [name for name, text in texts.items() if text not in known]
    if new:
        program = _program(source, device, new, made_at)
        known |= {texts[name]: (program, name) for name in new}
    for text in texts.values():
        known[text] = known.pop(text)
    found = {name: known[text] for name, text in texts.items()}
    while len(known) > _MOST:
        known.pop(next(iter(known)))
    return found


def _at(line: str, error: BackendError) -> BackendError:
    error.line = line or error.line
    return error


def _program(source: Source, device: Device, names: list[str], made_at: Callable[[str], tuple[str, str]]) -> Any:
    try:
        return device.build(source.text(device.dialect, names))
    except BackendError as error:
        for name in names:
            try:
                device.build(source.text(device.dialect, [name]))
            except BackendError as found:
                what, line = made_at(name)
                raise _at(line, BackendError(f"{found.args[0]}\n  it does {what}")) from found.__cause__
        raise error
