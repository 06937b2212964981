"""The current context of each thread, and `apply`, the single door through which every primitive runs.

The context is eager (`STATE.recorder is None`: every line runs as it is read) or recording (a trace or a default graph:
every line becomes a node). Higher floors fill `SLOTS` when they are imported, so that this floor reaches them without
importing them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from graphc.core.devices import CPU, Device, kind_of_device
from graphc.core.errors import DeviceError

if TYPE_CHECKING:
    from graphc.core.op import Op
    from graphc.core.tape import TensorBase


class Recorder(Protocol):
    """What a trace or a default graph offers to the rest of the package."""

    #: where recorded tensors lie in memory, a `layouts.Layouts`
    layouts: Any
    #: the kind of device that a run's tensors are on, None where only a run will tell
    kind: str | None

    def apply(self, op: Op, inputs: tuple[Any, ...], attrs: Mapping[str, Any]) -> Any:
        """Records one op; operands may be concrete (they are captured) or this recorder's own."""

    def shadow(self, tensor: TensorBase) -> TensorBase:
        """The symbolic tensor that stands for `tensor` here; a symbolic tensor stands for itself."""

    def constant(self, array: Any) -> TensorBase:
        """A fresh symbolic tensor that holds a copy of a concrete array."""

    def live(self, owner: Any, key: Any) -> TensorBase:
        """The number `owner[key]`, read anew at each run, as a 0-d float64 tensor."""

    def at_start(self, tensor: TensorBase) -> TensorBase:
        """What a layer that evaluates reads of statistics that the same layer writes in training."""

    def guard(self, owner: Any, name: str, value: Any) -> None:
        """Notes that what is recorded depends on `owner` having `value` under `name`."""

    def not_replayed(self, call: str, hint: str) -> None:
        """Warns that `call` changes Python's state now, and not at each run."""

    def grad_of(self, tensor: TensorBase) -> TensorBase | None:
        """What `tensor.grad` is at this point of the recorded code."""

    def set_grad_of(self, tensor: TensorBase, grad: TensorBase | None) -> None:
        """Records `tensor.grad = grad`."""

    def note_function(self, name: str, outputs: tuple[TensorBase, ...]) -> None:
        """Notes that a Python function with a backward of its own made `outputs`."""

    def read_number(self, tensor: TensorBase, asked: str) -> Any:
        """Raises SymbolicError: `asked` (item, bool, ...) needs a number only a run can know."""

    def grad_consumed(self, tensor: TensorBase) -> None:
        """Notes that an optimizer has used `tensor.grad`."""

    def enter_module(self, module: Any) -> None:
        """Notes that nodes recorded from here on belong to `module`."""

    def leave_module(self) -> None:
        """Ends the innermost `enter_module`."""


class State(threading.local):
    """What holds for the current thread: the recorder (None: eager), whether the tape is on, and what ops are made for."""

    recorder: Recorder | None = None
    grad: bool = True
    #: the precision that public functions compute in, a `core/autocast.py` Autocast; None: that of their operands
    autocast: Any = None
    #: the device memory in which eager code makes tensors of nothing; None: the host's
    memory: Any = None
    #: what it was outside of each `with device(...)` that lasts
    entered: tuple[Any, ...] = ()
    #: "forward", "backward" (a gradient rule is running) or "update" (an optimizer is)
    role: str = "forward"
    #: the origin of the forward op whose gradient is being computed, if known
    forward: Any = None
    #: what is to be called when the backward pass that is running is done; None: none is
    after_backward: list[Callable[[], None]] | None = None
    #: whether a failed run is repeated to find the line at fault; other processes take no part in that
    repeating: bool = False
    #: whether programs are evaluated for their numbers alone: nothing is printed, no breakpoint stops
    silent: bool = False


STATE = State()


class Slots:
    """Doors to higher floors, each filled by the file named beside it when that is imported."""

    eager: Callable[[Op, tuple[Any, ...], Mapping[str, Any]], Any]  # eager.py: applies an op to concrete tensors
    new_tensor: Callable[[Any], Any]  # tensors.py: a Tensor around an array, a value or a bare type
    executor: Callable[..., Any]  # eager_calls.py: the compiled call of a composition marked with `one_call`
    cast_operands: Callable[[Any, tuple[Any, ...]], tuple[Any, ...]]  # functions/casting.py: operands under autocast
    generator: Callable[[], Any]  # functions/random: the default random generator
    memory: Callable[
        [str, int], Any
    ]  # backends/devices/ops.py: the memory of a device; DeviceError where there is none
    evaluate: Callable[..., Any]  # the same: an op's results in the memory of a device
    show: Callable[..., None]  # debugging/showing.py: prints values of a run, or stops at them
    link: Callable[[int], Any]  # distributed/groups.py: what joins the processes of the group of that number


SLOTS = Slots()


class Epoch:
    """Counts changes of things builds depend on (modes, rebound attributes, flags, groups); compared at each call.

    `moves`: how many of them gave a tensor other memory, which another tensor may have too.
    """

    __slots__ = ("moves", "value")

    def __init__(self) -> None:
        self.value = self.moves = 0

    def bump(self) -> None:
        """Something a build may depend on has changed."""
        self.value += 1

    def bump_moves(self) -> None:
        """A tensor has got other memory."""
        self.moves += 1
        self.bump()


EPOCH = Epoch()


def apply(op: Op, inputs: tuple[Any, ...], attrs: Mapping[str, Any]) -> Any:
    """Applies a primitive in the current context; returns a tensor, or a tuple of them for an op with several outputs."""
    recorder = STATE.recorder
    if recorder is not None:
        return recorder.apply(op, inputs, attrs)
    return SLOTS.eager(op, inputs, attrs)


@contextmanager
def recording(recorder: Recorder | None) -> Iterator[None]:
    """Within, ops of this thread go to `recorder`; None means eager."""
    before, STATE.recorder = STATE.recorder, recorder
    try:
        yield
    finally:
        STATE.recorder = before


@contextmanager
def repeating() -> Iterator[None]:
    """Within, a failed run is repeated op by op to find the line at fault."""
    before, STATE.repeating = STATE.repeating, True
    try:
        yield
    finally:
        STATE.repeating = before


@contextmanager
def silently() -> Iterator[None]:
    """Within, programs are evaluated for their numbers alone."""
    before, STATE.silent = STATE.silent, True
    try:
        yield
    finally:
        STATE.silent = before


def eagerly() -> Any:
    """Within, every line runs as it is read, also inside a trace or a default graph (`with gc.eagerly(): ...`)."""
    return recording(None)


def guard(owner: Any, name: str, value: Any) -> Any:
    """Reports to a recording context that code read `value` from `owner` under `name`; returns `value`."""
    if STATE.recorder is not None:
        STATE.recorder.guard(owner, name, value)
    return value


def at_start(tensor: Any) -> Any:
    """Kept statistics as evaluation reads them: in a graph those of the start of a run, not what its train op will write."""
    return tensor if STATE.recorder is None else STATE.recorder.at_start(tensor)


def place(device: Any) -> Any:
    """The memory of the device that is named, None for the host's; without a name, the one that tensors are made in now.

    DeviceError where there is no such device.
    """
    if device is None:
        return STATE.memory
    found = Device(device)
    kind = kind_of_device(found.type)
    if kind == "cpu":
        return None
    if kind not in ("opencl", "cuda"):
        raise DeviceError(f"no {found.type} device here: tensors live on the CPU, on OpenCL and on CUDA devices")
    return SLOTS.memory(kind, found.index or 0)


@contextmanager
def making_in(memory: Any) -> Iterator[None]:
    """Within, eager code of this thread makes tensors in that device memory, None for the host's."""
    before, STATE.memory = STATE.memory, memory
    try:
        yield
    finally:
        STATE.memory = before


def set_default_device(device: Any) -> None:
    """Makes tensors on that device from now on, in every thread, where no other is named; None: on the CPU."""
    State.memory = None if device is None else place(device)
    STATE.__dict__.pop("memory", None)


def get_default_device() -> Device:
    """The device on which tensors are made where none is named."""
    return CPU if STATE.memory is None else STATE.memory.device


def _enter(device: Device) -> Device:
    memory = place(device)
    STATE.entered = (*STATE.entered, STATE.memory)
    STATE.memory = memory
    return device


def _leave(device: Device, *error: Any) -> None:
    *outer, STATE.memory = STATE.entered
    STATE.entered = tuple(outer)


# `with device("opencl"): ...` makes tensors there
Device.__enter__, Device.__exit__ = _enter, _leave  # type: ignore[attr-defined]


@contextmanager
def playing(role: str) -> Iterator[None]:
    """Within, recorded ops belong to the backward pass or to an update; pictures tell them apart.

    Rules and updates are written for the precision that their operands have: autocast rests.
    """
    before = STATE.role, STATE.forward, STATE.autocast
    STATE.role, STATE.forward, STATE.autocast = role, None, None
    try:
        yield
    finally:
        STATE.role, STATE.forward, STATE.autocast = before


@contextmanager
def coming_from(origin: Any) -> Iterator[None]:
    """Within, recorded ops are made for the line, module and role of an origin; None: for those that run."""
    before = STATE.role, STATE.forward
    if origin is not None:
        STATE.role, STATE.forward = origin.role, origin
    try:
        yield
    finally:
        STATE.role, STATE.forward = before


@contextmanager
def set_grad(on: bool) -> Iterator[None]:
    """Within, the tape is on or off for this thread."""
    before, STATE.grad = STATE.grad, on
    try:
        yield
    finally:
        STATE.grad = before
