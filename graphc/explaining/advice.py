"""What to change in the source: things a program could do better, each with the user's line and what to write instead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from graphc.core.dims import is_static, product
from graphc.core.tensor_types import FLOAT, float64
from graphc.ir.program import Node, Program
from graphc.planning.descriptions import Data
from graphc.primitives.arithmetic import cast

#: Fewer elements than this are not worth a word.
WORTH = 256
#: So many values of one argument in a row are a habit.
HABIT = 3


def said(line: str, says: str) -> Data:
    """One piece of advice."""
    return {"line": line, "says": says}


def of_recompiles(recompiles: Sequence[Any]) -> list[Data]:
    """Of the builds of a function: plain values that are another one at each call."""
    met: dict[str, list[Any]] = {}
    for found in recompiles:
        if found.argument and found.dim is None and type(found.new) in (int, float):
            met.setdefault(found.argument, []).append(found)
    return [
        said(
            founds[-1].line,
            f"{name} is a plain number that changes ({', '.join(str(x.new) for x in founds[-HABIT:])}): each value is a build "
            "of its own; a tensor, such as gc.tensor(x), is read at each call",
        )
        for name, founds in met.items()
        if len(founds) >= HABIT
    ]


def of_build(program: Program, plans: Sequence[Data]) -> list[Data]:
    """Of a build, by the program it runs and its described plans."""
    return [*_wide(program), *_by_python(plans)]


def _wide(program: Program) -> Iterator[Data]:
    """float32 that becomes float64 in the forward pass: it moves twice the bytes from there on."""
    for node in program.nodes:
        if node.op is not cast or not _is_large(node) or not node.origins or node.origins[0].role != "forward":
            continue
        (x,) = node.inputs
        if node.outputs[0].dtype is float64 and x.dtype.category == FLOAT and x.dtype is not float64:
            yield said(
                str(node.origins[0]),
                f"{x.type} becomes float64 here: what follows moves more bytes; if that is not meant, make the float64 tensor "
                f"that it meets {x.dtype.name}, such as t.to(gc.{x.dtype.name})",
            )


def _is_large(node: Node) -> bool:
    shape = node.outputs[0].shape
    return not is_static(shape) or int(product(shape)) >= WORTH


def _by_python(plans: Sequence[Data]) -> Iterator[Data]:
    """Steps that native code waits for."""
    for plan in plans:
        for step in plan.get("steps", ()):
            if "reason" in step:
                yield said(
                    next(iter(step["lines"]), ""),
                    f"native code stops for {', '.join(step['ops'])}, which Python does ({step['reason']}); outside of the "
                    "step, or once for many steps, it would not be waited for",
                )


__all__ = ["HABIT", "WORTH", "of_build", "of_recompiles"]
