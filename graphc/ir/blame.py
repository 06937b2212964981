"""Errors that happen while a node is inferred or run, told in terms of the user's lines."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from graphc.core.errors import GraphcError, OperandError
from graphc.ir.program import Node, Value

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def operand_lines(operands: Sequence[Value]) -> tuple[tuple[str, str, str], ...]:
    """Name, type and origin of each operand, for a message."""
    return tuple(
        (_LETTERS[i] if i < 26 else f"x{i}", str(value.type), value.origin_text()) for i, value in enumerate(operands)
    )


def user_line_of(node: Node) -> str:
    """Line, module and role of a node: `model.py:12 in module Sequential.1 (backward)`; "" if nobody knows."""
    return node.origins[0].place if node.origins else ""


def _is_text(error: Exception) -> bool:
    return len(error.args) == 1 and isinstance(error.args[0], str) and str(error) == error.args[0] != ""


def blame(error: Exception, node: Node, operands: Sequence[Value] | None = None) -> Exception:
    """The same error, its message naming the op and the user's line that made the node; told once.

    `operands`: the values to describe where they are not the node's own.
    """
    if getattr(error, "_blamed", False):
        return error
    line = user_line_of(node)
    if isinstance(error, OperandError):
        error.about(node.op.name, operand_lines(node.inputs if operands is None else operands), line)
    elif isinstance(error, GraphcError):
        error.line = line or error.line
    elif line and _is_text(error):
        error.args = (f"{error}\n  at {line}",)
    elif line:  # what else an error has for arguments is its own
        error.add_note(f"  at {line}")
    with suppress(AttributeError):
        error._blamed = True  # type: ignore[attr-defined]
    return error
