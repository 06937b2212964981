"""A step written out op by op as scripts that run: an eager one, and one with placeholders and a session.

Both are made from the recorded program. Where the gradients that the trace took are those that differentiating the forward
ops gives (which is tried: the same nodes must come out), a script says `autograd.grad` or `gc.gradients`; else it writes the
backward ops out, too.
"""

from __future__ import annotations

import base64
import io
import keyword
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphc.autodiff import ones_of, pull_to
from graphc.contrast.expressions import NotWritableError, constant_text, expression, value_text
from graphc.contrast.recording import BackwardCall
from graphc.core.context import SLOTS, apply, recording, set_grad
from graphc.core.errors import show_line
from graphc.core.op import REGISTRY
from graphc.core.tape import LEAF, edge_of
from graphc.ir.program import CONSTANT, INPUT, Node, Program, Value
from graphc.tracing import Capture, Trace

#: Words that scripts use themselves.
_RESERVED = (
    "gc", "np", "op", "io", "base64", "Path", "DATA", "data", "step", "calls", "call", "graph", "session", "train", "found",
    "loss", "float", "print", "carry", "xs",
)  # fmt: skip

#: The line of a step where gradients are taken.
GRADIENTS = "<gradients>"

#: Arrays that take no more bytes than this, compressed, stand in the script itself.
LARGEST_EMBEDDED = 1 << 17


@dataclass
class Material:
    """What a script is made of.

    `names`: what inputs are called; `sources`: what each input stands for; `arrays`: what each holds at first;
    `updates`: (input, output number) of what is written; `numbers`: by input, the numbers it holds call by call; `loss`: the
    output number of the loss, None where there is none; `losses`: how many calls there are.
    """

    program: Program
    names: Mapping[Value, str]
    sources: Sequence[Any]
    arrays: Sequence[Any]
    updates: Sequence[tuple[Value, int]]
    numbers: Mapping[Value, Sequence[float]]
    loss: int | None
    calls: int
    backward: Sequence[BackwardCall]
    attached: Mapping[Node, Sequence[bool]]
    title: str
    version: str
    stem: str


@dataclass
class Scripts:
    """The scripts by name, and the file that must lie beside them where their arrays are too many to be part of them."""

    texts: dict[str, str] = field(default_factory=dict)
    file: str | None = None
    content: bytes = b""


def scripts_of(material: Material) -> Scripts:
    """Both scripts. NotWritableError where an op has no words."""
    writer = _Writer(material)
    found = Scripts()
    packed = writer.packed()
    if len(packed) > LARGEST_EMBEDDED:
        found.file, found.content = f"{material.stem}.npz", packed
    head = list(writer.head(found.file, packed))
    found.texts["eager"] = "\n".join([*writer.about("define-by-run"), *head, *writer.eager()]) + "\n"
    found.texts["session"] = "\n".join([*writer.about("define-and-run"), *head, *writer.session()]) + "\n"
    return found


# --- gradients ---------------------------------------------------------------------------------------------------------


@dataclass
class Rule:
    """Gradients that come by differentiating: from which value, of which leaves; and the operands that are detached."""

    loss: Value
    pairs: list[tuple[Value, Value]]
    detached: set[tuple[Node, int]] = field(default_factory=set)


def gradients_by_rule(
    program: Program, calls: Sequence[BackwardCall], attached: Mapping[Node, Sequence[bool]]
) -> Rule | None:
    """The one backward pass of a trace, if differentiating its forward ops gives the very same nodes."""
    if len(calls) != 1 or len(calls[0].outputs) != 1 or calls[0].seeded:
        return None
    (call,) = calls
    found = Rule(call.outputs[0], [(leaf, g) for leaf, g in call.grads if leaf.node.op is INPUT])
    if len(found.pairs) != len(call.grads) or not found.pairs or not all(_is_backward(g.node) for _, g in found.pairs):
        return None
    known = {node: node.origins for node in program.table.nodes.values()}
    with recording(Trace(program.table)), set_grad(True):
        got = _differentiated(program, found, attached)
    for node, origins in known.items():  # recording them once more has told them another line
        node.origins = origins
    same = all(g is not None and g._data is want for g, (_, want) in zip(got, found.pairs, strict=True))
    return found if same else None


def _differentiated(program: Program, rule: Rule, attached: Mapping[Node, Sequence[bool]]) -> Sequence[Any]:
    """The gradients that the forward ops give when they are recorded once more; notes which operands are detached for that."""
    tensors: dict[Value, Any] = {}
    for leaf, _ in rule.pairs:
        tensors[leaf] = SLOTS.new_tensor(leaf)
        tensors[leaf]._edge = LEAF
    for node in program.with_outputs([rule.loss]).nodes:
        if node.op is INPUT or node.op is CONSTANT:
            tensors.setdefault(node.outputs[0], SLOTS.new_tensor(node.outputs[0]))
            continue
        flags = attached.get(node, [True] * len(node.inputs))
        operands = [tensors[v] for v in node.inputs]
        for i, (x, flag) in enumerate(zip(operands, flags, strict=True)):
            if x._edge is not None and not flag:
                operands[i] = x.detach()
                rule.detached.add((node, i))
        out = apply(node.op, tuple(operands), node.attrs)
        tensors |= zip(node.outputs, out if isinstance(out, tuple) else (out,), strict=True)
    if tensors[rule.loss]._edge is None:
        return [None] * len(rule.pairs)
    seeds = [(edge_of(tensors[rule.loss]), ones_of(tensors[rule.loss].tensor_type))]
    leaves = [tensors[leaf] for leaf, _ in rule.pairs]
    return pull_to(seeds, leaves, retain_graph=False, create_graph=False)


def _is_backward(node: Node) -> bool:
    return bool(node.origins) and node.origins[0].role == "backward"


# --- writing -----------------------------------------------------------------------------------------------------------


class _Writer:
    """The parts of a script."""

    def __init__(self, material: Material):
        self.m, self.program = material, material.program
        self.rule = gradients_by_rule(self.program, material.backward, material.attached)
        self.words: dict[Value, str] = {}
        self.ops: dict[str, None] = {}
        self.constants: dict[str, Any] = {}
        self._taken = {*_RESERVED, *REGISTRY}
        self._bodies = 0
        for value in self.program.inputs:
            self.words[value] = self._word(material.names[value])
        self.nodes = self._needed()
        self.lines = list(self._body())

    @property
    def pairs(self) -> list[tuple[Value, Value]]:
        """(leaf, gradient) where gradients come by a rule."""
        return [] if self.rule is None else self.rule.pairs

    def _word(self, name: str) -> str:
        """A name for Python that nobody has."""
        word = re.sub(r"\W+", "_", name).strip("_") or "x"
        word = f"_{word}" if word[0].isdigit() or keyword.iskeyword(word) else word
        found, count = word, 1
        while found in self._taken:
            count += 1
            found = f"{word}_{count}"
        self._taken.add(found)
        return found

    def _needed(self) -> list[Node]:
        """What is to be written, in order: nodes that outputs need, those behind gradients that come by a rule left out."""
        grads = {g for _, g in self.pairs}
        loss = [] if self.rule is None else [self.rule.loss]
        seen: dict[int, Node] = {}
        stack = [v for v in (*self.wanted(), *loss) if v not in grads]
        while stack:
            node = stack.pop().node
            if node.number not in seen:
                seen[node.number] = node
                stack += [v for v in node.inputs if v not in grads]
        return [seen[n] for n in sorted(seen) if seen[n].op is not INPUT]

    def wanted(self) -> list[Value]:
        """The outputs that a script reads: the loss and what is written."""
        out = self.program.outputs
        return [*([out[self.m.loss]] if self.m.loss is not None else []), *(out[k] for _, k in self.m.updates)]

    def _body(self) -> Iterator[str]:
        """The lines of a step, `GRADIENTS` among them if there are such."""
        loss = None if self.rule is None else self.rule.loss
        place = ""
        pending = loss is not None
        for node in self.nodes:
            where = _place(node)
            if where != place:
                place = where
                yield f"# {where}"
            yield from self._node(node)
            if pending and loss is not None and node is loss.node:
                pending, place = False, ""
                self.words |= {g: self._word(f"grad_of_{self.words[leaf]}") for leaf, g in self.pairs}
                yield GRADIENTS

    def _node(self, node: Node) -> Iterator[str]:
        if node.op is CONSTANT:
            self.words[node.outputs[0]] = self._constant(node)
            return
        detached = () if self.rule is None else self.rule.detached
        operands = [
            f"{self.words[v]}.detach()" if (node, i) in detached else self.words[v] for i, v in enumerate(node.inputs)
        ]
        if any(isinstance(x, Program) for x in node.attrs.values()):
            yield from self._control(node, operands)
            return
        text, own = expression(node, operands)
        if own:
            self.ops[node.op.name] = None
        made = [self._word(f"v{len(self.words)}") for _ in node.outputs]
        self.words |= zip(node.outputs, made, strict=True)
        yield f"{', '.join(made)} = {text}"

    def _constant(self, node: Node) -> str:
        text = constant_text(node)
        if text is not None:
            return text
        name = self._word("constant")
        self.constants[name] = node.attrs["data"].array
        return name

    # --- loops and branches ----------------------------------------------------------------------------------------------

    def _control(self, node: Node, operands: list[str]) -> Iterator[str]:
        made = [self._word(f"v{len(self.words)}_{i}") for i in range(len(node.outputs))]
        attrs = node.attrs
        if node.op.name == "cond":
            true, false = self._fresh("true"), self._fresh("false")
            yield from self._function(true, attrs["true"], list(range(len(operands))), operands)
            yield from self._function(false, attrs["false"], list(range(len(operands))), operands)
            yield f"{_row(made)} = gc.cond({operands[0]}, {true}, {false}, ({_row(operands[1:])}))"
        elif node.op.name == "while_loop":
            n = attrs["n_carry"]
            test, body = self._fresh("test"), self._fresh("body")
            yield from self._function(test, attrs["cond"], list(range(n)), operands, single=True)
            yield from self._function(body, attrs["body"], list(range(n)), operands)
            yield f"{_row(made)} = gc.while_loop({test}, {body}, ({_row(operands[:n])}))"
        elif node.op.name == "scan":
            yield from self._scan(node, operands, made)
        else:
            raise NotWritableError(f"{node.op.name} has no public form")
        self.words |= zip(node.outputs, made, strict=True)

    def _scan(self, node: Node, operands: list[str], made: list[str]) -> Iterator[str]:
        n, c = node.attrs["n_carry"], node.attrs["n_const"]
        body: Program = node.attrs["body"]
        if len(operands) == n + c:
            raise NotWritableError("a scan over no sequence has no public form")
        name = self._fresh("body")
        inputs = [self._fresh(f"c{i}") for i in range(n)], [self._fresh(f"x{i}") for i in range(len(operands) - n - c)]
        known = [*inputs[0], *operands[n : n + c], *inputs[1]]
        yield f"def {name}(carry, xs):"
        yield f"    {_row(inputs[0]) or '()'} = carry" if inputs[0] else "    # nothing is carried"
        yield f"    {_row(inputs[1])} = xs"
        results = yield from self._inner(body, known)
        kept = inputs[0] if len(made) > len(body.outputs) else []
        yield f"    return ({_row(results[:n])}), ({_row([*results[n:], *kept])})"
        carries, stacked = made[:n], made[n:]
        pair = f"({_row(carries)}), ({_row(stacked)})"
        arguments = f"({_row(operands[:n])}), ({_row(operands[n + c :])})"
        yield f"{pair} = gc.scan({name}, {arguments}, reverse={node.attrs['reverse']})"

    def _fresh(self, stem: str) -> str:
        return self._word(f"{stem}_{len(self._taken)}")

    def _function(
        self, name: str, program: Program, given: Sequence[int], operands: Sequence[str], single: bool = False
    ) -> Iterator[str]:
        """A body as a function of some of its inputs; it reads the others where they are."""
        first = len(operands) - len(program.inputs)  # a cond's first operand is the condition
        parameters = {i: self._fresh("p") for i in given if i >= first}
        known = [parameters.get(i, operands[i]) for i in range(first, len(operands))]
        yield f"def {name}({', '.join(parameters.values())}):"
        results = yield from self._inner(program, known)
        yield f"    return {results[0] if single else f'({_row(results)})'}"

    def _inner(self, program: Program, known: Sequence[str]) -> Any:
        """The lines of a body, indented; gives the words of its outputs."""
        before = self.words
        self.words = {**before, **dict(zip(program.inputs, known, strict=True))}
        for node in program.nodes:
            if node.op is not INPUT:
                for line in self._node(node):
                    yield f"    {line}"
        results = [self.words[v] for v in program.outputs]
        self.words = before
        return results

    # --- around a step ---------------------------------------------------------------------------------------------------

    def about(self, way: str) -> list[str]:
        """The docstring; a title cannot end it."""
        title = _in_one_line(self.m.title).replace("\\", "/").replace('"', "'")
        return [
            f'"""{title}, {way}: written out op by op from the program that graphc {self.m.version} recorded.',
            "",
            f"Prints the loss of {self.m.calls} calls.",
            '"""',
            "",
        ]

    def packed(self) -> bytes:
        """What variables and inputs hold at the start, as the content of an .npz file."""
        arrays = {
            self.words[v]: _as_plain(array)
            for v, array in zip(self.program.inputs, self.m.arrays, strict=True)
            if v not in self.m.numbers
        }
        out = io.BytesIO()
        np.savez_compressed(out, **arrays, **{name: _as_plain(x) for name, x in self.constants.items()})
        return out.getvalue()

    def head(self, file: str | None, packed: bytes) -> Iterator[str]:
        """Imports, arrays, and the ops that are called by their own names."""
        yield from ("from pathlib import Path",) if file else ("import base64", "import io")
        yield from ("", "import numpy as np", "", "import graphc as gc")
        if self.ops:
            yield "from graphc.core.op import find_op as op"
        yield ""
        if file:
            yield f'data = np.load(Path(__file__).with_name("{file}"))'
        else:
            text = base64.b64encode(packed).decode()
            yield from ('DATA = """', *(text[i : i + 120] for i in range(0, len(text), 120)), '"""')
            yield "data = np.load(io.BytesIO(base64.b64decode(DATA)))"
        yield f"calls = {self.m.calls}"
        if self.ops:
            yield from (
                "",
                "# Ops that are none of the public functions.",
                *(f'{name} = op("{name}")' for name in self.ops),
            )
        if self.constants:
            yield from ("", "# Constants of the program.")
            yield from (f"{name} = {_loaded(name, array)}" for name, array in self.constants.items())
        yield ""

    def variables(self) -> Iterator[str]:
        """What lives from call to call."""
        leaves = {leaf for leaf, _ in self.pairs}
        for value, source, array in zip(self.program.inputs, self.m.sources, self.m.arrays, strict=True):
            if self.is_variable(value, source):
                wants = ".requires_grad_()" if value in leaves else ""
                yield f"{self.words[value]} = {_loaded(self.words[value], array)}{wants}"

    def is_variable(self, value: Value, source: Any) -> bool:
        """Whether an input is kept from call to call: a captured tensor, or an argument that is written."""
        if value in self.m.numbers:
            return False
        return isinstance(source, Capture) or any(value is x for x, _ in self.m.updates)

    def fed(self) -> list[tuple[Value, Any]]:
        """The inputs that each call is given."""
        return [
            (value, array)
            for value, source, array in zip(self.program.inputs, self.m.sources, self.m.arrays, strict=True)
            if not self.is_variable(value, source)
        ]

    def writes(self) -> Iterator[str]:
        """What a step leaves in its variables."""
        for value, k in self.m.updates:
            yield f"{self.words[value]}.copy_({self.words[self.program.outputs[k]]})"

    def gradient(self, function: str) -> str:
        """The line that takes gradients."""
        assert self.rule is not None
        leaves = ", ".join(self.words[leaf] for leaf, _ in self.pairs)
        return f"{_row(self.words[g] for _, g in self.pairs)} = {function}({self.words[self.rule.loss]}, [{leaves}])"

    def step_lines(self, function: str) -> Iterator[str]:
        """A step: forward, gradients, and what follows, which wants none."""
        if GRADIENTS not in self.lines:
            yield from (*self.lines, *self.writes())
            return
        at = self.lines.index(GRADIENTS)
        after = [*self.lines[at + 1 :], *self.writes()]
        yield from (*self.lines[:at], self.gradient(function))
        if not all(line.startswith("#") for line in after):
            yield from ("with gc.no_grad():", *(f"    {line}" for line in after))

    def loss_word(self) -> str:
        """The loss."""
        return "None" if self.m.loss is None else self.words[self.program.outputs[self.m.loss]]

    def numbers(self) -> Iterator[str]:
        """Numbers that a call reads from their owners, call by call where they change."""
        for value, found in self.m.numbers.items():
            same = all(x == found[0] for x in found)
            yield (
                f"{self.words[value]}_by_call = [{value_text(found[0])}] * calls"
                if same
                else (f"{self.words[value]}_by_call = {list(found)!r}")
            )

    def eager(self) -> Iterator[str]:
        """The script that runs line by line."""
        fed = self.fed()
        yield from ("# What lives from call to call.", *self.variables(), "", "")
        yield f"def step({', '.join(self.words[v] for v, _ in fed)}):"
        yield from (f"    {line}" for line in self.step_lines("gc.autograd.grad"))
        yield from (f"    return {self.loss_word()}", "", "", *self.numbers())
        yield from (f"{self.words[v]} = {_loaded(self.words[v], x)}" for v, x in fed if v not in self.m.numbers)
        given = [
            f"gc.tensor({self.words[v]}_by_call[call], dtype=gc.float64)" if v in self.m.numbers else self.words[v]
            for v, _ in fed
        ]
        yield "for call in range(calls):"
        yield f"    found = step({', '.join(given)})"
        yield "    print(None if found is None else float(found))"

    def session(self) -> Iterator[str]:
        """The script that builds a graph and runs it in a session."""
        yield from ("# Variables live outside of the graph, which reads them at each run.", *self.variables(), "")
        yield from ("graph = gc.Graph()", "with graph.as_default():")
        feeds = []
        for v, _ in self.fed():
            word, number = self.words[v], v in self.m.numbers
            shape = value_text(tuple(int(n) for n in v.type.shape))
            yield f'    {word} = gc.placeholder({shape}, dtype={value_text(v.dtype)}, name="{word}")'
            feeds.append(f"{word}: {word}_by_call[call]" if number else f"{word}: {word}_fed")
        yield from (f"    {line}" for line in self.step_lines("gc.gradients"))
        yield from ("    train = gc.updates()", "", *self.numbers())
        yield from (
            f"{self.words[v]}_fed = {_loaded(self.words[v], x)}" for v, x in self.fed() if v not in self.m.numbers
        )
        loss = self.loss_word()
        yield from ("with gc.Session(graph) as session:", "    for call in range(calls):")
        fetched = "[train]" if loss == "None" else f"[{loss}, train]"
        yield f"        found = session.run({fetched}, feed_dict={{{', '.join(feeds)}}})"
        yield "        print(None)" if loss == "None" else "        print(float(found[0]))"


def _row(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names) + ("," if len(names) == 1 else "")


def _place(node: Node) -> str:
    """The user's line, the module, and what the op is for."""
    if not node.origins:
        return "no line"
    origin = node.origins[0]
    inside = f" in {origin.module}" if origin.module else ""
    role = f" ({origin.role})" if origin.role != "forward" else ""
    return _in_one_line(f"{os.path.basename(show_line(origin.file, origin.line))}{inside}{role}")


def _in_one_line(text: str) -> str:
    """A text without what would end a comment, or is no text."""
    return "".join(c if c.isprintable() else " " for c in text)


def _as_plain(array: Any) -> Any:
    """An array in a dtype that .npz files know."""
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def _loaded(name: str, array: Any) -> str:
    """The expression that makes a tensor of an array in the file."""
    more = ".to(gc.bfloat16)" if array.dtype.name == "bfloat16" else ""
    return f'gc.tensor(data["{name}"]){more}'
