"""Pictures of graphs: DOT text, SVG where Graphviz is installed, networkx graphs, GraphML, and text that can be read again.

Everything takes a `Graph`, a compiled function or module (its last build), a symbolic tensor (what it needs), an eager
tensor (its tape), or a `Program`.
"""

from __future__ import annotations

from graphc.viz.pictures import Picture, show, to_png, to_svg
from graphc.viz.subjects import from_text, stages, to_dot, to_graphml, to_networkx, to_text

__all__ = [
    "Picture", "from_text", "show", "stages", "to_dot", "to_graphml", "to_networkx", "to_png", "to_svg", "to_text",
]  # fmt: skip
