"""An extension of Griffe: docstrings are text in which a star is a star (`i64[*]`), not Markdown's emphasis."""

from __future__ import annotations

import re
from typing import Any

import griffe

#: what stands between backquotes stays; a star at a line's beginning is a list's
_STAR = re.compile(r"(`[^`]*`)|(?<=\S)\*|\*(?=\S)")


def plain(text: str) -> str:
    """The text with its stars escaped."""
    return _STAR.sub(lambda found: found[1] or r"\*", text)


class PlainDocstrings(griffe.Extension):
    """Escapes the stars of every docstring."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called once for each object."""
        if obj.docstring is not None:
            obj.docstring.value = plain(obj.docstring.value)
