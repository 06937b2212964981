"""Pictures of graphs: DOT text, SVG where Graphviz is installed, networkx graphs.

Everything takes a `Graph`, a compiled function or module (its last build), a symbolic tensor (what it needs), an eager
tensor (its tape), or a `Program`.
"""

from __future__ import annotations

from graphc.viz.pictures import Picture, show, to_png, to_svg
from graphc.viz.subjects import to_dot, to_networkx

__all__ = ["Picture", "show", "to_dot", "to_networkx", "to_png", "to_svg"]
