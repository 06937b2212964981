"""Several kernels as one: the groups of the first, then those of the next. None may need what another makes.

Small kernels take a device less time than their starts. An optimizer's update of every small parameter is one start this way.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from typing import TypeVar

from graphc.backends.c_like.kernels import FAULT, PAIR, Printed
from graphc.backends.c_like.writing import Lines, Source

#: Where a buffer is: equal ones are one argument.
Place = TypeVar("Place", bound=Hashable)
_GROUP = re.compile(r"\bGROUP\b")
_WORD = 4


def print_together(
    source: Source, parts: Sequence[tuple[Printed, Sequence[Place]]], most: int
) -> tuple[int, Printed, list[Place]]:
    """How many of the parts, from the first on, fit into `most` bytes of arguments; their kernel, and its buffers.

    A part is a kernel of the source whose items never meet (`Printed.apart`) with a place for each of its buffers.
    """
    lines, buffers, words = Lines(source), dict[tuple[str, Place], int](), list[int]()
    lines.do("const i32 group = (i32)GROUP")
    begins, groups, done = "", 0, 0
    for printed, places in parts:
        pointers = [x for x in source.parameters(printed.name) if x.startswith("GLOBAL")][:-1]
        keys = [(x.rpartition(" ")[0], place) for x, place in zip(pointers, places, strict=True)]
        n_words = len(words) + len(printed.words) + 1
        if done and PAIR * len({*buffers, *keys}) + _WORD * n_words + FAULT > most:
            break
        numbers = [buffers.setdefault(key, len(buffers)) for key in keys]
        arguments = [f"group{begins}", *(f"b{n}, o{n}" for n in numbers)]
        arguments += [f"w{len(words) + n}" for n in range(len(printed.words))]
        groups, done = groups + printed.groups, done + 1
        words += [*printed.words, groups]
        with lines.block(f"if (group < w{n_words - 1})"):
            lines.do(f"{_part(source, printed.name)}({', '.join([*arguments, 'fault'])})")
            lines.do("return")
        begins = f" - w{n_words - 1}"
    parameters = [f"{pointer} *b{n}, const i64 o{n}" for (pointer, _), n in buffers.items()]
    parameters += [*(f"const i32 w{n}" for n in range(len(words))), "GLOBAL i32 *fault"]
    name = source.add_kernel(parts[0][0].items, parameters, lines)
    together = Printed(name, groups, parts[0][0].items, tuple(words), wide=False, scratch=())
    return done, together, [place for _, place in buffers]


def _part(source: Source, kernel: str) -> str:
    """The function that is a kernel's groups, by their numbers."""

    def write(name: str) -> None:
        lines = Lines(source)
        lines.lines = [_GROUP.sub("group", x) for x in source.lines(kernel)]
        source.add_function(
            f"FUNCTION void {name}({', '.join(['const i32 group', *source.parameters(kernel)])})", lines
        )

    return source.helper(("part", kernel), "part", write)
