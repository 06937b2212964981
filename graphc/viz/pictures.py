"""DOT turned into pictures by Graphviz, where it is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from graphc.core.errors import BackendError
from graphc.viz.subjects import to_dot

_MISSING = (
    "Graphviz's `dot` is not on the PATH, so there is no picture: install it (apt install graphviz, brew install graphviz), "
    "or save the text of viz.to_dot(x) and open it in any DOT viewer"
)


def render(dot: str, kind: str) -> bytes:
    """The picture of a DOT text as `svg`, `png` or `pdf`; BackendError where Graphviz is missing or refuses the text."""
    program = shutil.which("dot")
    if program is None:
        raise BackendError(_MISSING)
    done = subprocess.run([program, f"-T{kind}"], input=dot.encode(), capture_output=True, check=False)
    if done.returncode:
        raise BackendError(f"Graphviz refuses the graph: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def to_svg(x: Any, optimized: bool = False, stage: str = "") -> str:
    """`x` drawn as SVG text; takes what `to_dot` takes. Raises BackendError where Graphviz is not installed."""
    return render(to_dot(x, optimized, stage=stage), "svg").decode()


def to_png(x: Any, optimized: bool = False, stage: str = "") -> bytes:
    """`x` drawn as a PNG file's bytes; see `to_svg`."""
    return render(to_dot(x, optimized, stage=stage), "png")


class Picture:
    """A graph that notebooks show as a picture, and that `save` writes to a file."""

    def __init__(self, dot: str):
        self.dot = dot

    def _repr_svg_(self) -> str | None:
        return render(self.dot, "svg").decode() if shutil.which("dot") else None

    def __repr__(self) -> str:
        return self.dot if shutil.which("dot") else f"{_MISSING}\n{self.dot}"

    def save(self, path: Any) -> Path:
        """Writes `.dot`, `.svg`, `.png` or `.pdf`, by the suffix; returns the path."""
        path = Path(path)
        kind = path.suffix.lstrip(".")
        path.write_bytes(self.dot.encode() if kind in ("dot", "gv", "") else render(self.dot, kind))
        return path


def show(x: Any, optimized: bool = False, stage: str = "") -> Picture:
    """A picture of `x` for a notebook; takes what `to_dot` takes."""
    return Picture(to_dot(x, optimized, stage=stage))
