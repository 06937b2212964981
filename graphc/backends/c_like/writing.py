"""C-like text under construction: a source with tables, functions and kernels, and a function's lines.

source = Source()
with source.function("FUNCTION f32 twice(f32 x)") as f:
    y = f.let("f32", "x + x")
    f.do(f"return {y}")
text = source.text(OPENCL)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from contextlib import contextmanager

from graphc.backends.c_like.heads import Dialect

_NAME, _CALLED = re.compile(r"\b[A-Za-z_]\w*"), re.compile(r"(\w+)\(")


class Lines:
    """The body of a function. `let` names a value, `do` writes a statement, `block` one with a body of its own."""

    def __init__(self, source: Source):
        self.source = source
        self.lines: list[str] = []
        self._depth = 1
        self._values = 0

    def fresh(self) -> str:
        """A name that nobody uses."""
        self._values += 1
        return f"v{self._values - 1}"

    def let(self, kind: str, text: str) -> str:
        """The name of a value that is what `text` computes."""
        name = self.fresh()
        self.do(f"const {kind} {name} = {text}")
        return name

    def variable(self, kind: str, text: str) -> str:
        """The same of a value that may be assigned to."""
        name = self.fresh()
        self.do(f"{kind} {name} = {text}")
        return name

    def do(self, text: str) -> None:
        """A statement."""
        self.line(f"{text};")

    def line(self, text: str) -> None:
        """A line as it is."""
        self.lines.append("  " * self._depth + text)

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """The lines written within belong to `head`: a loop or a condition."""
        self.line(f"{head} {{")
        self._depth += 1
        yield
        self._depth -= 1
        self.line("}")


class Source:
    """Tables of constants, functions and kernels, in the order in which they were first needed."""

    def __init__(self) -> None:
        self._tables: dict[tuple[str, str], str] = {}
        self._functions: dict[str, str] = {}
        self._known: dict[Hashable, str] = {}
        self._kernels: dict[str, tuple[Sequence[str], Sequence[str]]] = {}

    def table(self, kind: str, literals: Sequence[str]) -> str:
        """The name of an array of constants; equal ones are kept once."""
        body = ", ".join(literals)
        return self._tables.setdefault((f"{kind}[{len(literals)}]", body), f"table{len(self._tables)}")

    def helper(self, key: Hashable, name: str, write: Callable[[str], None]) -> str:
        """The name of a function; `write(name)` adds it when `key` is met first. `name` is what it would like to be called."""
        if key not in self._known:
            taken = sum(x.rstrip("_0123456789") == name.rstrip("_0123456789") for x in self._known.values())
            self._known[key] = f"{name}_{taken}" if taken else name
            write(self._known[key])
        return self._known[key]

    @contextmanager
    def function(self, head: str) -> Iterator[Lines]:
        """A function whose lines are written within."""
        lines = Lines(self)
        yield lines
        self.add_function(head, lines)

    def add_function(self, head: str, lines: Lines) -> None:
        """A function whose lines have been written."""
        (name,) = [x for x in _CALLED.findall(head) if x != "KERNEL"][:1]
        self._functions[name] = "\n".join([f"{head} {{", *lines.lines, "}"])

    def add_kernel(self, items: int, parameters: Sequence[str], lines: Lines) -> str:
        """The name of a kernel with these lines; equal ones are kept once."""
        key = (items, tuple(parameters), tuple(lines.lines))
        if key not in self._known:
            name = self._known[key] = f"kernel{len(self._kernels)}"
            self._kernels[name] = parameters, lines.lines
            self.add_function(f"KERNEL({items}) {name}({', '.join(parameters)})", lines)
        return self._known[key]

    def parameters(self, kernel: str) -> Sequence[str]:
        """Those of a kernel."""
        return self._kernels[kernel][0]

    def lines(self, kernel: str) -> Sequence[str]:
        """Those of a kernel's body."""
        return self._kernels[kernel][1]

    def keep(self, kernels: Collection[str]) -> None:
        """Forgets other kernels."""
        for name in self._kernels.keys() - kernels:
            self._functions.pop(name, None)

    @property
    def kernels(self) -> list[str]:
        """The names of all kernels."""
        return [name for name in self._functions if name in self._kernels]

    def text(self, dialect: Dialect, kernels: Sequence[str] | None = None) -> str:
        """All of it, or what these kernels need, as a compiler reads it."""
        body = "\n\n".join(self._parts(kernels).values())
        return f"{dialect.head}{dialect.double if 'f64' in body else ''}\n{body}\n"

    def alone(self, kernel: str) -> str:
        """A kernel with what it needs, under names that do not depend on what else is here: what it is told by."""
        parts = self._parts([kernel])
        names = {name: f"{name.rstrip('_0123456789')}_{n}" for n, name in enumerate(parts)}
        return _NAME.sub(lambda found: names.get(found[0], found[0]), "\n".join(parts.values()))

    def _parts(self, kernels: Sequence[str] | None) -> dict[str, str]:
        """Tables and functions by name, those that the kernels need."""
        parts = {}
        for (kind, body), name in self._tables.items():
            element, _, size = kind.partition("[")
            parts[name] = f"TABLE {element} {name}[{size} = {{{body}}};"
        parts |= self._functions
        if kernels is None:
            return parts
        needed, asked = set(kernels), list(kernels)
        while asked:
            used = {x for x in _NAME.findall(parts[asked.pop()]) if x in parts} - needed
            needed |= used
            asked += used
        return {name: text for name, text in parts.items() if name in needed}
