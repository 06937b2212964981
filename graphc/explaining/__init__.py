"""What graphc has made of a function, a session or a saved graph: `explain` collects it as plain data, shown as text."""

from __future__ import annotations

from graphc.explaining.subjects import Explanation, explain

__all__ = ["Explanation", "explain"]
