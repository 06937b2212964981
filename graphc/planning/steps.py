"""The steps of a native plan: what is run, on what in memory, and what it makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from graphc.core import scalar as s
from graphc.core.tensor_types import TensorType
from graphc.ir.kernel import Access, Kernel, Statement
from graphc.ir.program import Node, Value


@dataclass(frozen=True)
class OutputCopy:
    """The memory of output number `output`, where that is not the one home of a value."""

    output: int
    value: Value

    @property
    def type(self) -> Any:
        """The type of the value."""
        return self.value.type


#: What a buffer of a step holds.
Buffered: TypeAlias = Value | OutputCopy


@dataclass(frozen=True)
class Strided:
    """Elements of a value in memory: `offset + sum(strides[a] * i_a)`, in elements."""

    value: Value
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int

    def transposed(self) -> Strided:
        """The same with the last two dimensions exchanged."""
        swap = self.shape[:-2] + self.shape[:-3:-1], self.strides[:-2] + self.strides[:-3:-1]
        return Strided(self.value, *swap, self.offset)

    def expanded(self, shape: tuple[int, ...]) -> Strided:
        """The same broadcast to a shape."""
        missing = len(shape) - len(self.shape)
        own = zip(self.shape, self.strides, shape[missing:], strict=True)
        strides = (0,) * missing + tuple(0 if n == 1 != wanted else step for n, step, wanted in own)
        return Strided(self.value, shape, strides, self.offset)


@dataclass(eq=False)
class KernelStep:
    """A fused kernel; `buffers[i]` is the value in its buffer i, `made` the values it stores."""

    level: int
    kernel: Kernel
    buffers: tuple[Buffered, ...]
    made: tuple[Buffered, ...]
    nodes: tuple[Node, ...]


class CopyStep(KernelStep):
    """A value in memory, buffer 0, copied to other memory, buffer 1."""


class ScatterStep(KernelStep):
    """Elements put in places of a value that other steps have begun."""


@dataclass(eq=False)
class ContractionStep:
    """A matrix product of strided operands (batch dims first), flags already applied to the strides.

    `c`: what it is added to, `scale`: the number it is multiplied with (0-d), if there are such.
    """

    level: int
    node: Node
    a: Strided
    b: Strided
    c: Strided | None = None
    scale: Strided | None = None

    @property
    def operands(self) -> tuple[Strided, ...]:
        """All that it reads."""
        return tuple(x for x in (self.a, self.b, self.c, self.scale) if x is not None)

    @property
    def made(self) -> tuple[Value, ...]:
        """The product."""
        return self.node.outputs

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The op."""
        return (self.node,)


@dataclass(eq=False)
class CheckStep:
    """A test of every element of an integer tensor against a size, before anything is read through it."""

    level: int
    kernel: Kernel
    buffers: tuple[Value, ...]
    nodes: tuple[Node, ...]
    size: int
    made: tuple[Value, ...] = ()


@dataclass(eq=False)
class NodeStep:
    """A node that is a step of its own, on operands in memory."""

    level: int
    node: Node
    operands: tuple[Strided, ...]

    @property
    def made(self) -> tuple[Value, ...]:
        """Its outputs."""
        return self.node.outputs

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The op."""
        return (self.node,)


class HostStep(NodeStep):
    """A node that Python evaluates: no native form of it exists."""


class ControlStep(NodeStep):
    """A node with bodies, which become instructions of their own; its operands are in C order, sequences step by step."""


class ConvolutionStep(NodeStep):
    """A convolution (planning/convolutions.py); its operands are in C order."""


@dataclass(eq=False)
class SortStep(NodeStep):
    """Rows put in order, the first `count` elements of each; nobody reads the others. The operand is in C order."""

    count: int


#: The control ops that are loops and branches of a native run.
CONTROL_OPS = ("scan", "while_loop", "cond")

Step: TypeAlias = KernelStep | ContractionStep | CheckStep | HostStep | ControlStep | ConvolutionStep | SortStep


def copy_kernel(type_: TensorType) -> Kernel:
    """Copies a whole tensor from buffer 0 to buffer 1."""
    source, place = Access(0, (1,), 0), Access(1, (1,), 0)
    statement = Statement(s.leaf(0, type_.dtype), store=place)
    return Kernel((int(type_.size),), 1, (source,), (statement,), (type_.dtype, type_.dtype))


def copy_step(value: Value, target: Buffered, level: int) -> CopyStep:
    """Copies a value in memory to another place."""
    return CopyStep(level, copy_kernel(value.type), (value, target), (target,), (value.node,))
