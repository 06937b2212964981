"""LLVM IR as text: a module, and one function of it under construction.

A function is a list of lines. `let` names a value, `do` writes a statement, `begin` starts a block; `loop` writes the
blocks of a counting loop. Values are the names LLVM sees (`%v7`) or literals (`0`, `splat (float 1.0)`).

    module = Module(machine())
    f = module.function("task", [("ptr", "x"), ("i64", "n")], "i64")
    with f.loop("0", "%n", 16) as i:
        where = f.let(f"getelementptr float, ptr %x, i64 {i.index}")
        x = f.let(f"load <16 x float>, ptr {where}, align 4")
        twice = f.let(f"fadd contract <16 x float> {x}, {x}")
        f.do(f"store <16 x float> {twice}, ptr {where}, align 4")
    f.do("ret i64 0")
    text = module.text()

A running total is carried from turn to turn:

    with f.loop("0", "%n", 1, carry=[("double", "0.0")]) as i:
        ...
        i.next = [f.let(f"fadd double {i.carried[0]}, {x}")]
    f.do(f"ret double {i.results[0]}")
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager

from graphc.backends.llvm.host import Machine


class Module:
    """Functions, the tables of constants they read and the intrinsics they call."""

    def __init__(self, machine: Machine):
        self.machine = machine
        self.functions: list[Function] = []
        #: for each intrinsic, the line that makes it known
        self.declarations: dict[str, str] = {}
        self.tables: dict[tuple[str, str], str] = {}
        self._helpers: dict[Hashable, str] = {}
        self._notes: list[str] = []

    def function(
        self,
        name: str,
        parameters: Sequence[tuple[str, str]],
        result: str = "void",
        attributes: str = "",
        linkage: str = "",
    ) -> Function:
        """A new function of the module; `parameters` are (type, name) pairs, read in the body as `%name`."""
        f = Function(self, name, parameters, f"{linkage} {result}".strip(), attributes)
        self.functions.append(f)
        return f

    def declare(self, name: str, result: str, operands: Sequence[str]) -> None:
        """Makes an intrinsic known, once."""
        self.declarations[name] = f"declare {result} @{name}({', '.join(operands)})"

    def table(self, element: str, literals: Sequence[str]) -> str:
        """The name of a constant array; equal arrays are kept once."""
        body = ", ".join(f"{element} {x}" for x in literals)
        key = (f"[{len(literals)} x {element}]", body)
        return self.tables.setdefault(key, f"@table{len(self.tables)}")

    def helper(self, key: Hashable, write: Callable[[str], None]) -> str:
        """The name of a function of this module alone; `write(name)` adds it when `key` is met first."""
        if key not in self._helpers:
            self._helpers[key] = f"helper{len(self._helpers)}"
            write(self._helpers[key])
        return self._helpers[key]

    def rare_branch(self) -> str:
        """The note on a branch that is seldom taken."""
        self._notes = ['!0 = !{!"branch_weights", i32 1, i32 2000}']
        return "!0"

    def text(self) -> str:
        """The module as LLVM reads it."""
        head = [f'target triple = "{self.machine.triple}"']
        for (kind, body), name in self.tables.items():
            head.append(f"{name} = private unnamed_addr constant {kind} [{body}], align 64")
        return "\n".join([*head, *(f.text() for f in self.functions), *self.declarations.values(), *self._notes, ""])


class Phi:
    """A value that depends on the block we came from; sources may be added after it was written."""

    def __init__(self, name: str, kind: str):
        self.name, self.kind = name, kind
        self.sources: list[str] = []

    def add(self, value: str, block: str) -> None:
        """The value it has when control comes from `block`."""
        self.sources.append(f"[ {value}, %{block} ]")

    def __str__(self) -> str:
        return f"  {self.name} = phi {self.kind} {', '.join(self.sources)}"


class Turn:
    """One turn of a loop: `index` and `carried` are read, `next` is set by the body, `results` read after the loop."""

    def __init__(self, index: str, carried: list[str]):
        self.index, self.carried = index, carried
        self.next: list[str] = list(carried)
        self.results: list[str] = []


class Function:
    """A function under construction. `block` is the label of the block that lines now go to."""

    def __init__(self, module: Module, name: str, parameters: Sequence[tuple[str, str]], result: str, attributes: str):
        self.module, self.name, self.block = module, name, "entry"
        self._head = f"define {result} @{name}({', '.join(f'{kind} %{n}' for kind, n in parameters)})"
        wide = ' "prefer-vector-width"="512"' if module.machine.vector_bytes == 64 else ""
        self._attributes = f" nounwind{wide} {attributes}".rstrip()
        self._lines: list[str | Phi] = []
        self._places: list[str] = []
        self._values = self._labels = 0

    @property
    def machine(self) -> Machine:
        """The machine the code is for."""
        return self.module.machine

    def let(self, text: str) -> str:
        """The name of the value that the instruction `text` computes."""
        name = f"%v{self._values}"
        self._values += 1
        self._lines.append(f"  {name} = {text}")
        return name

    def do(self, text: str) -> None:
        """An instruction without a value."""
        self._lines.append("  " + text)

    def call(self, intrinsic: str, result: str, *operands: tuple[str, str]) -> str:
        """The value of an intrinsic of (type, value) operands; it is declared on the way."""
        self.module.declare(intrinsic, result, [kind for kind, _ in operands])
        return self.let(f"call {result} @{intrinsic}({', '.join(f'{kind} {value}' for kind, value in operands)})")

    def place(self, kind: str) -> str:
        """The address of room on the stack for one value of a type, aligned for vectors."""
        self._places.append(f"  %place{len(self._places)} = alloca {kind}, align 64")
        return f"%place{len(self._places) - 1}"

    def label(self, hint: str = "block") -> str:
        """A fresh label."""
        self._labels += 1
        return f"{hint}{self._labels}"

    def begin(self, label: str) -> None:
        """Starts the block `label`; the one before must have ended in a branch or return."""
        self.block = label
        self._lines.append(f"{label}:")

    def branch(self, label: str) -> None:
        """Goes on at `label`."""
        self.do(f"br label %{label}")

    def branch_if(self, condition: str, yes: str, no: str, rarely: bool = False) -> None:
        """Goes on at `yes` if the i1 `condition` holds, else at `no`; `rarely`: it seldom holds."""
        weights = f", !prof {self.module.rare_branch()}" if rarely else ""
        self.do(f"br i1 {condition}, label %{yes}, label %{no}{weights}")

    def phi(self, kind: str, *sources: tuple[str, str]) -> Phi:
        """A phi of (value, block) sources, at the head of the current block."""
        found = Phi(f"%v{self._values}", kind)
        self._values += 1
        for value, block in sources:
            found.add(value, block)
        self._lines.append(found)
        return found

    @contextmanager
    def loop(
        self, start: str, end: str, step: int | str, carry: Sequence[tuple[str, str]] = (), hint: str = "loop"
    ) -> Iterator[Turn]:
        """`for index in range(start, end, step)` over i64; `carry` are (type, first value) pairs."""
        before, head, body, after = self.block, self.label(hint), self.label("body"), self.label("end")
        self.branch(head)
        self.begin(head)
        count = self.phi("i64", (start, before))
        carried = [self.phi(kind, (first, before)) for kind, first in carry]
        self.branch_if(self.let(f"icmp slt i64 {count.name}, {end}"), body, after)
        self.begin(body)
        turn = Turn(count.name, [c.name for c in carried])
        yield turn
        count.add(self.let(f"add nsw i64 {count.name}, {step}"), self.block)
        for c, value in zip(carried, turn.next, strict=True):
            c.add(value, self.block)
        self.branch(head)
        self.begin(after)
        turn.results = [c.name for c in carried]

    def row(self) -> list[str] | None:
        """The instructions that compute %v0, %v1, ...; None if there is anything else in the function or its module."""
        heads = [f"  %v{n} = " for n in range(self._values)]
        alone = self.module.functions == [self] and not self.module.tables and not self._places
        if not alone or len(heads) != len(self._lines):
            return None
        lines = list(map(str, self._lines))
        return [x[len(head) :] for head, x in zip(heads, lines, strict=True)] if self.block == "entry" else None

    def text(self) -> str:
        """The definition."""
        return "\n".join([f"{self._head}{self._attributes} {{", "entry:", *self._places, *map(str, self._lines), "}"])
