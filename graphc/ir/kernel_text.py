"""Kernels in a form to be read: loops, loads, one line a value.

    for i0 < 32:
        over i1 < 10:
            v0 = fold maximum of %3[10*i0 + i1]
        over i1 < 10:
            v1 = exp(%3[10*i0 + i1] - v0)          # kept
            v2 = fold add of v1
        over i1 < 10:
            %4[10*i0 + i1] = v1 / v2

Buffers are flat. `v` are the kernel's statements, `x` loads with a long index or a condition, `t` what is used several times
or would make a line too long.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from graphc.core.scalar import Scalar, postorder
from graphc.ir.kernel import ADD, Access, Kernel, Made, Statement

#: Longer expressions are cut in two; longer indices get a line of their own.
LONGEST, LONGEST_INDEX = 72, 28

_SIGNS = {
    "mul": ("*", 5), "div": ("/", 5), "rem": ("%", 5), "add": ("+", 4), "sub": ("-", 4), "shl": ("<<", 3), "shr": (">>", 3),
    "and": ("&", 2), "or": ("|", 2), "xor": ("^", 2), "lt": ("<", 1), "le": ("<=", 1), "eq": ("==", 1), "ne": ("!=", 1),
}  # fmt: skip
_PREFIXES = {"neg": "-", "not": "~"}
_NAMES = {"select": "where", "rarely": "where"}
_PREFIX, _ATOM = 6, 9


def kernel_text(kernel: Kernel, names: Sequence[str] = ()) -> str:
    """The kernel as text; `names`: what its buffers are called (b0, b1, ...)."""
    return "\n".join(_Writer(kernel, names or [f"b{i}" for i in range(len(kernel.buffers))]).lines)


class _Writer:
    def __init__(self, kernel: Kernel, names: Sequence[str]):
        self.kernel, self.names = kernel, names
        self.lines: list[str] = []
        #: what has a name already, for each block we are in
        self.known: list[dict[Scalar | int, str]] = []
        self.count = 0
        trees = (x for tree in kernel.trees() for x in postorder(tree) if x.op == "leaf")
        read = {kernel.sources[x.value] for x in trees}
        self.read_again = {source.statement for source in read if isinstance(source, Made)}
        self._kernel()

    def line(self, text: str) -> None:
        self.lines.append("    " * len(self.known) + text)

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        self.line(head)
        self.known.append({})
        yield
        self.known.pop()

    # --- loops and statements -------------------------------------------------------------------------------------

    def _kernel(self) -> None:
        kernel = self.kernel
        numbered = list(enumerate(kernel.statements))
        with self.block(f"for {_loops(kernel.extents[: kernel.n_outer], 0)}:" if kernel.n_outer else "once:"):
            for stage in range(kernel.n_stages):
                here = [(n, x) for n, x in numbered if x.stage == stage]
                for n, x in here:
                    if not x.inner:
                        self._statement(n, x)
                inner = [(n, x) for n, x in here if x.inner]
                if not inner:
                    continue
                with self.block(f"over {_loops(kernel.extents[kernel.n_outer :], kernel.n_outer)}:"):
                    for n, x in inner:
                        self._statement(n, x)
                for n, x in inner:
                    if x.combine and x.store is not None:
                        self.line(f"{self._access(x.store)} = v{n}")

    def _statement(self, n: int, x: Statement) -> None:
        text = self.text(x.tree)
        if x.fails:
            self.line(f"fail if {text}")
        elif x.position is not None:
            self.line(f"v{n} = position {self.text(x.position)} of {x.combine} of {text}")
        elif x.combine:
            self.line(f"v{n} = fold {x.combine} of {text}")
        elif x.running:
            self.line(f"v{n} = running {x.running}: {text} from {x.identity}")
            if x.store is not None:
                self.line(f"{self._access(x.store)} = v{n}")
        elif x.store is not None and n not in self.read_again:
            self.line(f"{self._access(x.store)} {'+=' if x.scatter == ADD else '='} {text}")
        else:
            self.line(f"v{n} = {text}" + ("  # kept" if x.kept else ""))
            if x.store is not None:
                self.line(f"{self._access(x.store)} = v{n}")

    # --- expressions ----------------------------------------------------------------------------------------------

    def text(self, tree: Scalar, strength: int = 0) -> str:
        """The expression, after lines for those of its parts that need a name; in brackets if it binds less than `strength`."""
        order = list(dict.fromkeys(postorder(tree)))
        uses: dict[Scalar, int] = {}
        for x in order:
            for arg in x.args:
                uses[arg] = uses.get(arg, 0) + 1
        found: dict[Scalar, tuple[str, int]] = {}
        for x in order:
            known = next((names[x] for names in reversed(self.known) if x in names), None)
            text, binds = (known, _ATOM) if known is not None else self._expression(x, [found[a] for a in x.args])
            if (binds < _ATOM or "(" in text) and (uses.get(x, 0) > 1 or len(text) > LONGEST):
                text, binds = self._named(x, text), _ATOM
            found[x] = text, binds
        text, binds = found[tree]
        return f"({text})" if binds < strength else text

    def _named(self, x: Scalar, text: str) -> str:
        name = self.known[-1][x] = f"t{self.count}"
        self.count += 1
        self.line(f"{name} = {text}")
        return name

    def _expression(self, x: Scalar, args: Sequence[tuple[str, int]]) -> tuple[str, int]:
        """The text of one operation, and how strongly it binds."""
        if x.op == "leaf":
            return self._source(x.value), _ATOM
        if x.op == "index":
            return f"i{x.value}", _ATOM
        if x.op == "const":
            return repr(x.value), _ATOM
        if x.op == "table":
            return f"{[*x.value[:8], *(['...'] if len(x.value) > 8 else [])]}[{args[0][0]}]", _ATOM
        if x.op in _SIGNS:
            sign, strength = _SIGNS[x.op]
            (a, a_binds), (b, b_binds) = args
            left = f"({a})" if a_binds < strength else a
            return f"{left} {sign} {f'({b})' if b_binds <= strength else b}", strength
        if x.op in _PREFIXES:
            ((a, binds),) = args
            return f"{_PREFIXES[x.op]}{a if binds >= _PREFIX else f'({a})'}", _PREFIX
        name = x.dtype.short if x.op == "cast" else _NAMES.get(x.op, x.op)
        return f"{name}({', '.join(text for text, _ in args)})", _ATOM

    def _source(self, n: int) -> str:
        """A load or an earlier value; a load with a long index or a condition gets a line of its own."""
        source = self.kernel.sources[n]
        if isinstance(source, Made):
            return f"v{source.statement}"
        for names in self.known:
            if n in names:
                return names[n]
        text = self._access(source)
        if source.guard is None and len(text) <= LONGEST_INDEX:
            return text
        guard = "" if source.guard is None else f" if {self.text(source.guard)}"
        self.line(f"x{n} = {text}{guard}")
        self.known[-1][n] = f"x{n}"
        return f"x{n}"

    def _access(self, access: Access) -> str:
        terms = [f"{c}*i{axis}" if c != 1 else f"i{axis}" for axis, c in enumerate(access.coefs) if c]
        for tree, step in access.computed:
            index = self.text(tree, _SIGNS["mul"][1])
            terms.append(f"{step}*{index}" if step != 1 else index)
        terms += [str(access.offset)] if access.offset or not terms else []
        return f"{self.names[access.buffer]}[{' + '.join(terms).replace('+ -', '- ')}]"


def _loops(extents: Sequence[int], first: int) -> str:
    return ", ".join(f"i{axis} < {n}" for axis, n in enumerate(extents, first))
