"""graphc from scratch: the core idea of the house in one file, on NumPy alone.

A program can be *run as it is read* (PyTorch's way) or *written down first, improved, then run* (TensorFlow 1's way).
This file builds both from one set of parts. Read it from top to bottom: each part is prose, then code, then what the
code just showed, as printed text and as asserts. In the end a small net learns real handwritten digits both ways, and
the numbers agree. The same parts, grown up, are graphc: the last lines say where each of them lives.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

# == 1. An op is one declaration ======================================================================================
#
# Everything anyone will ever need to know about an operation stands in one record:
#   infer   shapes in, shape out: what can be said before anything is computed, and where bad operands are refused;
#   eval    its meaning on arrays;
#   vjp     one rule per operand: given the cotangent g of the result, the cotangent of that operand. Rules are written
#           in ops, never in NumPy: this is what lets one rule serve numbers and graphs, and gradients have gradients;
#   scalar  only for elementwise ops: the meaning on ONE element, as a small tree. Code generators read it;
#   samples operands it must work on. Tests are made from them.
# For brevity every number in this file is a float64, so the type of a tensor is its shape.


@dataclass(frozen=True, eq=False)
class Op:
    name: str
    infer: Callable[..., tuple[int, ...]]
    eval: Callable[..., Any]
    vjp: tuple[Callable[..., Any], ...]
    samples: tuple[Any, ...]
    scalar: Callable[..., tuple[Any, ...]] | None = None

    def __call__(self, *inputs: Any, **attrs: Any) -> Tensor:
        return apply(self, inputs, attrs)


OPS: dict[str, Op] = {}


def declare(name: str, **fields: Any) -> Op:
    OPS[name] = Op(name, **fields)
    return OPS[name]


def elementwise(name: str, eval: Any, *vjp: Any) -> Op:
    """An op that works element by element; its scalar tree is one node that bears its name."""
    samples = ((((2, 3), (3,))[: len(vjp)], {}),)
    scalar = lambda *operands: (name, *operands)
    return declare(name, infer=np.broadcast_shapes, eval=eval, vjp=vjp, samples=samples, scalar=scalar)


# The whole vocabulary: six elementwise ops, three that move elements about, one sum and one product.

exp = elementwise("exp", np.exp, lambda g, out, x: g * out)
log = elementwise("log", np.log, lambda g, out, x: g / x)
tanh = elementwise("tanh", np.tanh, lambda g, out, x: g * (1 - out * out))
add = elementwise("add", np.add, lambda g, out, x, y: g, lambda g, out, x, y: g)
multiply = elementwise("multiply", np.multiply, lambda g, out, x, y: g * y, lambda g, out, x, y: g * x)
divide = elementwise("divide", np.divide, lambda g, out, x, y: g / y, lambda g, out, x, y: g * out / y * -1)

reshape = declare(
    "reshape",
    infer=lambda x, *, shape: shape,
    eval=lambda x, *, shape: np.reshape(x, shape),
    vjp=(lambda g, out, x, *, shape: reshape(g, shape=x.shape),),
    samples=((((2, 3),), {"shape": (3, 2)}),),
)
expand = declare(
    "expand",
    infer=lambda x, *, shape: np.broadcast_shapes(x, shape),
    eval=lambda x, *, shape: np.broadcast_to(x, shape),
    vjp=(lambda g, out, x, *, shape: sum_to(g, x.shape),),
    samples=((((2, 1),), {"shape": (4, 2, 3)}),),
)
transpose = declare(
    "transpose",
    infer=lambda x: x[::-1],
    eval=np.transpose,
    vjp=(lambda g, out, x: transpose(g),),
    samples=((((2, 3),), {}),),
)


def kept(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape with the summed axes kept as ones."""
    return tuple(1 if i in axes else d for i, d in enumerate(shape))


reduce_sum = declare(
    "reduce_sum",
    infer=lambda x, *, axes: tuple(d for i, d in enumerate(x) if i not in axes),
    eval=lambda x, *, axes: np.sum(x, axis=axes),
    vjp=(lambda g, out, x, *, axes: expand(reshape(g, shape=kept(x.shape, axes)), shape=x.shape),),
    samples=((((2, 3),), {"axes": (1,)}), (((2, 3),), {"axes": (0, 1)})),
)


def flip_if(flag: bool, x: Any) -> Any:
    return transpose(x) if flag else x


def matmul_infer(a: tuple[int, ...], b: tuple[int, ...], *, ta: bool = False, tb: bool = False) -> tuple[int, ...]:
    (m, k), (k2, n) = a[::-1] if ta else a, b[::-1] if tb else b
    if k != k2:
        raise ValueError(f"matmul: inner sizes differ, {k} and {k2}: a is {a}, b is {b}")
    return (m, n)


matmul = declare(
    "matmul",
    infer=matmul_infer,
    eval=lambda a, b, *, ta=False, tb=False: np.matmul(a.T if ta else a, b.T if tb else b),
    vjp=(
        lambda g, out, a, b, *, ta=False, tb=False: flip_if(ta, matmul(g, flip_if(not tb, b))),
        lambda g, out, a, b, *, ta=False, tb=False: flip_if(tb, matmul(flip_if(not ta, a), g)),
    ),
    samples=((((2, 3), (3, 4)), {}), (((3, 2), (4, 3)), {"ta": True, "tb": True})),
)

# == 2. One entrance, a tensor, a tape ==================================================================================
#
# Every op goes through `apply`. In the eager context it computes; in a recording context (a Graph, part 4) it writes a
# node down instead. Either way it puts an Entry on the tape if a gradient may be wanted. The tape does not care whether
# tensors hold arrays or nodes, and this one fact makes the rest of the file short. Entries point backwards only, from a
# result to its operands: there are no cycles, and a tape nobody holds is gone.


@dataclass(eq=False)
class Entry:
    """One op on the tape; a leaf (something to differentiate by) is an entry without an op."""

    op: Op | None = None
    attrs: dict[str, Any] = field(default_factory=dict)
    inputs: tuple[Tensor, ...] = ()
    out: Any = None


class Tensor:
    """Data (an array, or a node of a graph) and the entry that made it (None: no gradient wanted)."""

    __array_ufunc__ = None  # an array on the left of an operator lets us answer

    def __init__(self, data: Any, entry: Entry | None = None):
        self.data, self.entry = data, entry

    shape = property(lambda self: self.data.shape)
    __add__ = __radd__ = lambda self, other: add(self, other)
    __mul__ = __rmul__ = lambda self, other: multiply(self, other)
    __truediv__ = lambda self, other: divide(self, other)
    __matmul__ = lambda self, other: matmul(self, other)
    __sub__ = lambda self, other: self + tensor(other) * -1
    __rsub__ = lambda self, other: self * -1 + other


def tensor(x: Any) -> Tensor:
    return x if isinstance(x, Tensor) else Tensor(np.asarray(x, np.float64))


def variable(x: Any) -> Tensor:
    """The same data as a leaf: gradients may be taken by it."""
    return Tensor(tensor(x).data, Entry())


GRAPH: Graph | None = None  # the current context: None computes, a graph records


def apply(op: Op, inputs: tuple[Any, ...], attrs: dict[str, Any]) -> Tensor:
    operands = tuple(tensor(x) for x in inputs)
    shape = op.infer(*(x.shape for x in operands), **attrs)  # refuses bad operands before any work, in both contexts
    if GRAPH is None:
        data = np.asarray(op.eval(*(x.data for x in operands), **attrs))
    else:
        data = GRAPH.node(op, tuple(GRAPH.value(x.data) for x in operands), attrs, shape)
    wanted = any(x.entry is not None for x in operands)
    return Tensor(data, Entry(op, attrs, operands, data) if wanted else None)


# == 3. One reverse sweep =============================================================================================
#
# Walk the tape from the result to the leaves; at each entry ask each operand's rule for its cotangent, and add up where
# several meet. Broadcasting is undone here, once, so that no rule has to think of it. Since rules call ops, and ops go
# through the door, the sweep itself is recorded, on the tape and in the graph: gradients have gradients, for nothing.


def sum_to(g: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Sums a cotangent over the axes its operand was broadcast along."""
    lead = len(g.shape) - len(shape)
    axes = tuple(i for i, d in enumerate(g.shape) if i < lead or shape[i - lead] != d)
    return reshape(reduce_sum(g, axes=axes), shape=shape) if axes else g


def order(roots: list[Any]) -> list[Any]:
    """Everything the roots depend on, operands first. No recursion: a long program must not exhaust the stack."""
    done: dict[Any, None] = {}
    stack = [(root, False) for root in roots]
    while stack:
        x, operands_done = stack.pop()
        if operands_done:
            done[x] = None
        elif x not in done:
            stack.append((x, True))
            operands = (i.entry if isinstance(i, Tensor) else i for i in x.inputs)
            stack += [(o, False) for o in operands if o is not None and o not in done]
    return list(done)


def gradients(y: Tensor, xs: list[Tensor]) -> list[Tensor]:
    """dy/dx for each x, y a single number."""
    cotangents = {y.entry: tensor(1.0)}
    for entry in reversed(order([y.entry])):
        g = cotangents.get(entry)
        if g is None or entry.op is None:
            continue
        out = Tensor(entry.out, entry)
        for x, rule in zip(entry.inputs, entry.op.vjp, strict=True):
            if x.entry is not None:
                gx = sum_to(rule(g, out, *entry.inputs, **entry.attrs), x.shape)
                cotangents[x.entry] = cotangents[x.entry] + gx if x.entry in cotangents else gx
    return [cotangents.get(x.entry, tensor(np.zeros(x.shape))) for x in xs]


# What this showed: the tests of every op, made from its samples. A new op is tested the moment it is declared.


def total(t: Tensor) -> Tensor:
    return reduce_sum(t, axes=tuple(range(len(t.shape))))


def check_op(op: Op) -> None:
    """infer = eval, and vjp = finite differences along a random direction."""
    rng = np.random.default_rng(0)
    for shapes, attrs in op.samples:
        xs, directions = ([rng.uniform(0.5, 2.0, s) for s in shapes] for _ in "xd")
        assert np.shape(op.eval(*xs, **attrs)) == op.infer(*shapes, **attrs)
        leaves = [variable(x) for x in xs]
        slopes = gradients(total(op(*leaves, **attrs)), leaves)
        ahead, behind = (
            np.sum(op.eval(*(x + h * d for x, d in zip(xs, directions, strict=True)), **attrs)) for h in (1e-6, -1e-6)
        )
        along = sum(np.sum(g.data * d) for g, d in zip(slopes, directions, strict=True))
        assert abs((ahead - behind) / 2e-6 - along) < 1e-6, op.name


for each in OPS.values():
    check_op(each)
point = variable(0.3)
(slope,) = gradients(tanh(point), [point])
(bend,) = gradients(slope, [point])
assert np.isclose(bend.data, -2 * np.tanh(0.3) * (1 - np.tanh(0.3) ** 2))
print(f"{len(OPS)} ops: infer = eval, vjp = finite differences; tanh''(0.3) = {bend.data:.6f}")

# == 4. A graph of interned nodes =====================================================================================
#
# The second context. A node is an op on nodes; asking twice for the same node gives the same object. So common
# subexpressions vanish while the program is written down, "equal" is `is`, and what nobody asks for is not there.


@dataclass(frozen=True, eq=False)
class Node:
    op: Op | None  # None: an input of the program, or a constant
    inputs: tuple[Node, ...]
    attrs: dict[str, Any]
    shape: tuple[int, ...]
    constant: np.ndarray | None = None


class Graph:
    def __init__(self) -> None:
        self.interned: dict[Any, Node] = {}

    def node(self, op: Op, inputs: tuple[Node, ...], attrs: dict[str, Any], shape: tuple[int, ...]) -> Node:
        key = (op.name, inputs, tuple(sorted(attrs.items())))
        return self.interned.setdefault(key, Node(op, inputs, attrs, shape))

    def value(self, data: Any) -> Node:
        """A node stands for itself, an array for a constant (compared by its bits: 0.0 is not -0.0)."""
        if isinstance(data, Node):
            return data
        return self.interned.setdefault((data.shape, data.tobytes()), Node(None, (), {}, data.shape, data))


@dataclass(frozen=True)
class Program:
    graph: Graph
    inputs: tuple[Node, ...]
    outputs: tuple[Node, ...]

    def __str__(self) -> str:
        names = names_of(self)
        inner = [n for n in order(list(self.outputs)) if n.op]
        lines = [f"  {names[n]} = {n.op.name}({', '.join(names[i] for i in n.inputs)})  {n.shape}" for n in inner]
        return "\n".join([*lines, f"  return {', '.join(names[n] for n in self.outputs)}"])


def names_of(program: Program) -> dict[Node, str]:
    names = {n: f"x{i}" for i, n in enumerate(program.inputs)}
    for n in order(list(program.outputs)):
        if n not in names:
            number = n.constant is not None and n.constant.shape == ()
            names[n] = repr(n.constant.item()) if number else f"v{len(names)}"
    return names


def trace(fn: Callable[..., Any], shapes: list[tuple[int, ...]]) -> Program:
    """Runs a function once with nodes for arrays, and keeps what was written down."""
    global GRAPH
    graph, inputs = Graph(), tuple(Node(None, (), {}, shape) for shape in shapes)
    before, GRAPH = GRAPH, graph
    try:
        results = fn(*(Tensor(n) for n in inputs))
    finally:
        GRAPH = before
    return Program(graph, inputs, tuple(graph.value(tensor(r).data) for r in results))


# What this showed: the sweep, unchanged, has just written a backward program. Note the two tanh(x): one node, for they
# are equal, but two entries of the tape. Each sends x a cotangent, and the last add sums them. This is why the sweep walks
# entries, never nodes: of two equal expressions one may want a gradient and the other not.


def squares(x: Tensor) -> list[Tensor]:
    x = variable(x)
    y = total(tanh(x) * tanh(x))
    return [y, *gradients(y, [x])]


program = trace(squares, [(3,)])
assert Counter(n.op.name for n in order(list(program.outputs)) if n.op)["tanh"] == 1  # interning merged the two
print(f"\nsum(tanh(x)^2) and its gradient, as traced:\n{program}")

# == 5. A pass ========================================================================================================
#
# A pass is a pure function from program to program. This one is a driver and three rules. A rule looks at one node and
# answers with a better one, or None; its docstring says before => after. The driver rebuilds what lies above a change
# and hands back the very same program when nothing applied, so that "did it do anything?" is answered by `is`.


def fold_constants(graph: Graph, n: Node) -> Node | None:
    """op(c0, c1..), all constant  =>  constant"""
    if all(i.constant is not None for i in n.inputs):
        return graph.value(np.ascontiguousarray(n.op.eval(*(i.constant for i in n.inputs), **n.attrs)))
    return None


def drop_times_one(graph: Graph, n: Node) -> Node | None:
    """x * 1  =>  x, and 1 * x  =>  x, where the shape stays"""
    if n.op is multiply:
        for x, one in (n.inputs, n.inputs[::-1]):
            if one.constant is not None and np.all(one.constant == 1) and x.shape == n.shape:
                return x
    return None


def transpose_into_matmul(graph: Graph, n: Node) -> Node | None:
    """matmul(transpose(a), b)  =>  matmul(a, b, ta=True), and so for b: no element has to move"""
    if n.op is not matmul or all(i.op is not transpose for i in n.inputs):
        return None
    flags = (n.attrs.get("ta", False), n.attrs.get("tb", False))
    inputs = tuple(i.inputs[0] if i.op is transpose else i for i in n.inputs)
    ta, tb = (flag != (i.op is transpose) for flag, i in zip(flags, n.inputs, strict=True))
    return graph.node(matmul, inputs, {"ta": ta, "tb": tb}, n.shape)


RULES = (fold_constants, drop_times_one, transpose_into_matmul)


def rewrite(program: Program) -> Program:
    graph, new = program.graph, {}
    for n in order(list(program.outputs)):
        same = all(new[i] is i for i in n.inputs)
        new[n] = n if same or not n.op else graph.node(n.op, tuple(new[i] for i in n.inputs), n.attrs, n.shape)
        for rule in RULES:
            new[n] = (rule(graph, new[n]) if new[n].op else None) or new[n]
    if all(new[n] is n for n in new):
        return program
    return Program(graph, program.inputs, tuple(new[n] for n in program.outputs))


better = rewrite(program)
assert rewrite(better) is better  # a second run changes nothing
print(f"\nand after the pass:\n{better}")

# == 6. A code generator ==============================================================================================
#
# Running node by node would only repeat eager mode. Instead, elementwise nodes that feed exactly one other of the same
# shape are joined with it: their scalar trees are put into one another, and one kernel computes the whole tree without
# storing what lies between. A printer then turns trees into text. It knows no op, only scalar primitives, and what a
# target can do is the keys of its table. Here are two tables; the first is run, the second shown.

C = {"add": "({} + {})", "multiply": "({} * {})", "divide": "({} / {})"}
C |= {name: name + "({})" for name in ("exp", "log", "tanh")}
NUMPY = C | {name: f"np.{name}({{}})" for name in ("exp", "log", "tanh")}


def show(tree: Any, table: dict[str, str], leaf: str = "{}") -> str:
    if isinstance(tree, str):
        return leaf.format(tree) if tree[0] in "xv" else tree  # a name, or a number
    return table[tree[0]].format(*(show(x, table, leaf) for x in tree[1:]))


def kernels(program: Program) -> dict[Node, Any]:
    """For each elementwise node that must be stored: its scalar tree, with those of the nodes it absorbed inside."""
    nodes, names = order(list(program.outputs)), names_of(program)
    uses = Counter([i for n in nodes for i in n.inputs] + list(program.outputs))
    absorbed = {
        i for n in nodes if n.op and n.op.scalar for i in n.inputs
        if i.op and i.op.scalar and uses[i] == 1 and i.shape == n.shape
    }  # fmt: skip
    trees: dict[Node, Any] = {}
    for n in nodes:
        if n.op and n.op.scalar:
            trees[n] = n.op.scalar(*(trees[i] if i in absorbed else names[i] for i in n.inputs))
    return {n: tree for n, tree in trees.items() if n not in absorbed}


def generate(program: Program) -> tuple[str, dict[str, Any]]:
    """Python text of the program, and what its names mean."""
    names, trees = names_of(program), kernels(program)
    meaning: dict[str, Any] = {"np": np} | {op.name: op.eval for op in OPS.values()}
    lines = [f"def run({', '.join(names[n] for n in program.inputs)}):"]
    for n in order(list(program.outputs)):
        if n.constant is not None:
            meaning[names[n]] = n.constant
        elif n in trees:
            lines.append(f"    {names[n]} = {show(trees[n], NUMPY)}")
        elif n.op and not n.op.scalar:  # a library call
            attrs = [f"{k}={v!r}" for k, v in n.attrs.items()]
            lines.append(f"    {names[n]} = {n.op.name}({', '.join([names[i] for i in n.inputs] + attrs)})")
    return "\n".join([*lines, f"    return {', '.join(names[n] for n in program.outputs)},"]), meaning


def compiled(fn: Callable[..., Any]) -> Any:
    """Traces, improves and generates `fn` once for each set of shapes, then replays the result."""
    builds: dict[Any, Any] = {}

    def call(*arrays: Any) -> list[Any]:
        shapes = [np.shape(a) for a in arrays]
        if (key := tuple(shapes)) not in builds:
            source, namespace = generate(rewrite(trace(fn, shapes)))
            exec(source, namespace)
            builds[key] = namespace["run"]
        return list(builds[key](*arrays))

    call.builds = builds  # type: ignore[attr-defined]
    return call


# What this showed: what lay between is gone from the code; `scalar` says the same as `eval` for every op that has it.

text, _ = generate(better)
print(f"\nthe code that is run:\n{text}")
tree = max(kernels(better).values(), key=lambda t: len(show(t, C)))
print(f"its largest kernel in C:\n    for (int i = 0; i < n; ++i) out[i] = {show(tree, C, leaf='{}[i]')};")
for each in OPS.values():
    if each.scalar:
        numbers = [np.array([0.5, 2.0]) for _ in each.vjp]
        assert np.array_equal(compiled(lambda *x, op=each: [op(*x)])(*numbers)[0], each.eval(*numbers))

# == 7. Both doors, on real data ======================================================================================
#
# One training step of a two-layer net, written once. It is given the weights and returns the loss and the new weights.
# (graphc itself lets a step write into its parameters; a trace then turns those writes into updates.)


def step(w1: Any, b1: Any, w2: Any, b2: Any, x: Any, y: Any) -> list[Tensor]:
    weights = w1, b1, w2, b2 = [variable(w) for w in (w1, b1, w2, b2)]
    logits = tanh(tensor(x) @ w1 + b1) @ w2 + b2
    cross_entropy = log(reduce_sum(exp(logits), axes=(1,))) - reduce_sum(logits * y, axes=(1,))
    loss = total(cross_entropy) / x.shape[0]
    return [loss, *(w - 0.5 * g for w, g in zip(weights, gradients(loss, weights), strict=True))]


digits = np.load(Path(__file__).parent.parent / "graphc" / "data" / "digits.npz", allow_pickle=False)
shuffled = np.random.default_rng(0).permutation(len(digits["labels"]))
pixels, labels = digits["images"].reshape(-1, 64)[shuffled] / 16, digits["labels"][shuffled]
onehot = np.eye(10)[labels]


def train(step_fn: Callable[..., Any], epochs: int = 12) -> tuple[list[np.ndarray], float]:
    rng = np.random.default_rng(0)
    weights = [rng.normal(0, 0.1, (64, 32)), np.zeros(32), rng.normal(0, 0.1, (32, 10)), np.zeros(10)]
    start = time.perf_counter()
    for first in list(range(0, 1500, 50)) * epochs:
        _, *weights = step_fn(*weights, pixels[first : first + 50], onehot[first : first + 50])
    return weights, (time.perf_counter() - start) / (30 * epochs)


def eager_step(*arrays: Any) -> list[Any]:
    return [t.data for t in step(*arrays)]


compiled_step = compiled(step)
eager_weights, eager_time = train(eager_step)
graph_weights, graph_time = train(compiled_step)
difference = max(np.max(np.abs(a - b)) / np.max(np.abs(a)) for a, b in zip(eager_weights, graph_weights, strict=True))
w1, b1, w2, b2 = graph_weights
accuracy = np.mean(np.argmax(np.tanh(pixels[1500:] @ w1 + b1) @ w2 + b2, 1) == labels[1500:])
assert accuracy > 0.93
assert difference < 1e-12
assert len(compiled_step.builds) == 1
traced = trace(step, [w.shape for w in graph_weights] + [(50, 64), (50, 10)])
sizes = [len([n for n in order(list(p.outputs)) if n.op]) for p in (traced, rewrite(traced))]
print(f"\n360 steps on real digits: accuracy on unseen ones {accuracy:.1%}, doors differ by {difference:.1e}")
print(f"the step: {sizes[0]} nodes traced, {sizes[1]} after the pass, {len(kernels(rewrite(traced)))} kernels")
print(f"time per step: eager {1e6 * eager_time:.0f} us, compiled {1e6 * graph_time:.0f} us")

# Where these parts live in graphc: the record in core/op.py and ops in primitives/, the door in core/context.py, the
# tape in core/tape.py, the sweep in autodiff.py, nodes in ir/, then tracing.py, passes/, planning/, backends/. What was
# left out is most of the work: dtypes, unknown sizes, views, writes, randomness, memory, errors that teach, speed.
