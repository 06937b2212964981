"""What steps cost: floating operations, and bytes that must be read and written at least.

    cost = step_cost(step, plan)        # of a native plan
    print(cost)                         # 1.05 MFLOP, reads 16.4 kB, writes 4.1 kB

A floating operation (FLOP) is one addition, subtraction, multiplication, division, remainder, root, power, exponential or
other function of floating numbers; a fused multiply-add is two. Comparisons, selections, extremes, conversions, signs and
roundings are none, nor is anything done to integers. Bytes are those of distinct elements, each once: what a cache keeps in
between two reads is not counted again. Working memory of a step (copies of blocks, columns of a convolution) is not counted.
What a condition may leave out is counted as done.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from graphc.core import scalar as s
from graphc.core.op import Cumulative, Elementwise, Kind, Reduction, Scatter, View
from graphc.core.scalar import PRIMITIVES, Scalar
from graphc.core.tensor_types import FLOAT, DType
from graphc.ir.kernel import ADD, Access, Kernel, Statement
from graphc.ir.program import CONSTANT, INPUT, Node, Program
from graphc.planning.convolutions import FORWARD, INPUT_GRADIENT
from graphc.planning.native_plan import CondPlan, ControlPlan, NativePlan, ScanPlan
from graphc.planning.plan import nbytes_of
from graphc.planning.steps import (
    CheckStep,
    ContractionStep,
    ControlStep,
    HostStep,
    KernelStep,
    NodeStep,
    SortStep,
    Step,
    Strided,
)

#: Primitives of floating numbers that are no FLOP.
_FREE = frozenset(
    ("neg", "abs", "max", "min", "select", "rarely", "lt", "le", "eq", "ne", "bits", "from_bits", "and", "or", "xor", "not",
     "floor", "ceil", "rint", "trunc")
)  # fmt: skip
_FOLDS = ("add", "multiply")

#: A processor's clock, roughly; and cycles below which handing a part to another thread costs more than it brings.
CYCLES_A_NANOSECOND = 3
SMALLEST_SHARED = 6_000


@dataclass(frozen=True)
class Cost:
    """Floating operations, bytes read, bytes written."""

    flops: int = 0
    read: int = 0
    written: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.flops + other.flops, self.read + other.read, self.written + other.written)

    def __mul__(self, times: int) -> Cost:
        return Cost(self.flops * times, self.read * times, self.written * times)

    @property
    def bytes(self) -> int:
        """Bytes moved: read and written."""
        return self.read + self.written

    def __str__(self) -> str:
        return f"{quantity(self.flops, 'FLOP')}, reads {quantity(self.read, 'B')}, writes {quantity(self.written, 'B')}"


def quantity(n: float, unit: str) -> str:
    """A number with a decimal prefix: `1.05 MFLOP`."""
    for prefix, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if n >= size:
            return f"{n / size:.3g} {prefix}{unit}" if n < 999.5 * size else f"{n / size:,.0f} {prefix}{unit}"
    return f"{n:.0f} {unit}"


def duration(ns: float) -> str:
    """A time with a unit: `1.05 ms`."""
    for size, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "us")):
        if abs(ns) >= size:
            return f"{ns / size:.3g} {unit}" if abs(ns) < 999.5 * size else f"{ns / size:,.0f} {unit}"
    return f"{ns:.0f} ns"


def total(costs: Iterable[Cost]) -> Cost:
    """The sum."""
    return sum(costs, Cost())


# --- kernels -----------------------------------------------------------------------------------------------------------


def tree_flops(tree: Scalar) -> int:
    """The FLOPs of one evaluation of a scalar tree; what it shares is done once."""
    count = 0
    for x in s.postorder(tree):
        if x.op in PRIMITIVES and x.op not in _FREE and x.dtype.category == FLOAT:
            count += 2 if x.op == "fma" else 1
    return count


def kernel_cost(kernel: Kernel, elements: Sequence[int]) -> Cost:
    """What a kernel does; `elements[b]`: how many elements its buffer b has."""
    outer, every = prod(kernel.extents[: kernel.n_outer]), prod(kernel.extents)
    flops = 0
    for x in kernel.statements:
        adds = (x.combine in _FOLDS or x.scatter == ADD) and x.tree.dtype.category == FLOAT
        flops += (every if x.inner else outer) * (tree_flops(x.tree) + adds)
    loads = {x for x in kernel.sources if isinstance(x, Access)}
    loads |= {x.store for x in kernel.statements if x.store is not None and x.scatter == ADD}
    stores = {x.store for x in kernel.statements if x.store is not None}
    return Cost(flops, _moved(kernel, loads, elements), _moved(kernel, stores, elements))


def _moved(kernel: Kernel, accesses: Iterable[Access], elements: Sequence[int]) -> int:
    """The bytes of the elements that these accesses touch: for each buffer at most all of it."""
    touched: dict[int, int] = {}
    for access in accesses:
        steps = prod(kernel.extents[axis] for axis in _axes(kernel, access))
        touched[access.buffer] = touched.get(access.buffer, 0) + steps
    return sum(min(n, elements[b]) * kernel.buffers[b].itemsize for b, n in touched.items())


def _axes(kernel: Kernel, access: Access) -> set[int]:
    """The loops from step to step of which an access may touch another element."""
    found: set[int] = set()
    pending: list[Access | Scalar] = [access]
    while pending:
        x = pending.pop()
        if isinstance(x, Access):
            found.update(axis for axis, step in enumerate(x.coefs) if step)
            pending += [tree for tree, _ in x.computed]
            continue
        for leaf in s.postorder(x):
            if leaf.op == "index":
                found.add(leaf.value)
            elif leaf.op == "leaf":
                source = kernel.sources[leaf.value]
                if isinstance(source, Access):
                    pending.append(source)
                else:
                    found.update(_made_over(kernel, kernel.statements[source.statement]))
    return found


def _made_over(kernel: Kernel, statement: Statement) -> range:
    """The loops for each step of which a statement's value is another one."""
    inner = statement.inner and statement.combine is None
    return range(len(kernel.extents) if inner else kernel.n_outer)


def kernel_cycles(kernel: Kernel, lanes: int) -> float:
    """Cycles of a kernel on one thread, roughly: what its arithmetic and its loads take."""
    each = kernel.operations / 2 + sum(1 for _ in kernel.accesses())
    return prod(kernel.extents) * each / (8 if lanes > 1 else 1)


# --- products and convolutions -----------------------------------------------------------------------------------------


def product_flops(m: int, n: int, k: int, batches: int = 1) -> int:
    """The FLOPs of products [m, k] x [k, n]."""
    return 2 * m * n * k * batches


def _contraction_flops(node: Node, k: Any) -> int:
    """Those of the products, and of the sum with a third operand where there is one; a scale is none."""
    out = node.outputs[0]
    *batch, m, n = map(int, out.shape)
    added = int(out.type.size) if len(node.inputs) > 2 else 0
    return product_flops(m, n, int(k), prod(batch)) + added if _is_float(out.dtype) else 0


def convolution_flops(node: Node) -> int:
    """The FLOPs of a convolution or one of its gradients: each element of g (or out) meets a window in every channel.

    Zeros around x count like elements.
    """
    a, b, out = *node.inputs, node.outputs[0]
    g, w = {FORWARD: (out, b), INPUT_GRADIENT: (a, b)}.get(node.op.name, (b, out))
    window = prod(map(int, w.shape[1 - g.type.ndim :]))
    return 2 * int(g.type.size) * window if _is_float(out.dtype) else 0


def _is_float(dtype: DType) -> bool:
    return dtype.category == FLOAT


# --- nodes -------------------------------------------------------------------------------------------------------------


def node_cost(node: Node) -> Cost:
    """What a node by itself does, its sizes known: all operands read, all results written; a view is free.

    Functions of Python's own count as no FLOP, and so do sorts and pooling's maxima.
    """
    if isinstance(node.op.kind, View) or node.op is INPUT or node.op is CONSTANT:
        return Cost()
    if node.op.kind == Kind("control"):
        return _control_cost(node)
    read = sum(nbytes_of(x.type) for x in dict.fromkeys(node.inputs))
    return Cost(_node_flops(node), read, sum(nbytes_of(x.type) for x in node.outputs))


def _node_flops(node: Node) -> int:
    kind, out = node.op.kind, node.outputs[0]
    if isinstance(kind, Elementwise):
        leaves = [s.leaf(i, x.dtype) for i, x in enumerate(node.inputs)]
        return int(out.type.size) * tree_flops(kind.scalar(*leaves, **node.attrs))
    if kind == Kind("contraction"):
        a = node.inputs[0]
        return _contraction_flops(node, a.shape[-2 if node.attrs["transpose_a"] else -1])
    if kind == Kind("convolution"):
        return convolution_flops(node)
    if isinstance(kind, Cumulative):
        leaves = [s.leaf(i, x.dtype) for i, x in enumerate((out, *node.inputs))]
        return int(out.type.size) * tree_flops(kind.step(*leaves))
    if isinstance(kind, Reduction):
        return int(node.inputs[0].type.size) if kind.combine in _FOLDS and _is_float(out.dtype) else 0
    if isinstance(kind, Scatter) and kind.adds(**node.attrs) and _is_float(out.dtype):
        return int(node.inputs[kind.value].type.size)
    if node.op.name in ("window_sum", "window_sum_gradient") and _is_float(out.dtype):
        windows = node.inputs[0] if node.op.name.endswith("gradient") else out
        return int(windows.type.size) * prod(map(int, node.attrs["kernel"]))
    return 0


def program_cost(program: Program) -> Cost:
    """What all nodes do, each by itself."""
    return total(map(node_cost, program.nodes))


def _control_cost(node: Node) -> Cost:
    bodies = [program_cost(x) for x in node.attrs.values() if isinstance(x, Program)]
    return _of_bodies(bodies, int(node.attrs["length"]) if "length" in node.attrs else 1, "true" in node.attrs)


def _of_bodies(bodies: Sequence[Cost], turns: int, either: bool) -> Cost:
    """A scan's body as often as it runs, one turn of a while loop, the dearer branch of a cond."""
    return max(bodies, key=lambda c: (c.flops, c.bytes)) if either else total(bodies) * turns


# --- steps of a native plan --------------------------------------------------------------------------------------------


def step_cost(step: Step, plan: NativePlan) -> Cost:
    """What a step of the plan does: of a loop that runs until something holds one turn, of a cond the dearer branch."""
    if isinstance(step, KernelStep | CheckStep):
        return kernel_cost(step.kernel, [int(x.type.size) for x in step.buffers])
    if isinstance(step, ControlStep):
        return control_cost(plan.controls[step])
    if isinstance(step, SortStep):
        x = step.node.inputs[0].type
        rows = int(x.size) // max(int(x.shape[step.node.attrs["axis"]]), 1)
        return Cost(0, nbytes_of(x), rows * step.count * sum(v.dtype.itemsize for v in step.made))
    if isinstance(step, HostStep):
        return node_cost(step.node)
    written = sum(nbytes_of(x.type) for x in step.made)
    if isinstance(step, ContractionStep):
        return Cost(_contraction_flops(step.node, step.a.shape[-1]), _strided_bytes(step.operands), written)
    assert isinstance(step, NodeStep)
    return Cost(convolution_flops(step.node), _strided_bytes(step.operands), written)


def _strided_bytes(operands: Sequence[Strided]) -> int:
    """The bytes of distinct elements: a stride of 0 reads one again and again."""
    found = 0
    for x in dict.fromkeys(operands):
        found += prod(n for n, step in zip(x.shape, x.strides, strict=True) if step or not n) * x.value.dtype.itemsize
    return found


def control_cost(control: ControlPlan) -> Cost:
    """What a loop or a branch does; copies of carries are not counted."""
    turns = int(control.step.node.attrs["length"]) if isinstance(control, ScanPlan) else 1
    return _of_bodies([plan_cost(body) for body in control.bodies], turns, isinstance(control, CondPlan))


def step_costs(plan: NativePlan) -> Iterator[tuple[Step, Cost]]:
    """Each step with what it does, those of bodies behind their loop or branch with what one turn does."""
    for region in plan.regions:
        for step in region:
            yield step, step_cost(step, plan)
            if isinstance(step, ControlStep):
                for body in plan.controls[step].bodies:
                    yield from step_costs(body)


def plan_cost(plan: NativePlan) -> Cost:
    """What all steps do."""
    return total(step_cost(step, plan) for region in plan.regions for step in region)


__all__ = [
    "CYCLES_A_NANOSECOND", "SMALLEST_SHARED", "Cost", "control_cost", "convolution_flops", "duration", "kernel_cost",
    "kernel_cycles", "node_cost", "plan_cost", "product_flops", "program_cost", "quantity", "step_cost", "step_costs",
    "total", "tree_flops",
]  # fmt: skip
