"""`torch.onnx`: graphc writes no ONNX files yet."""

from __future__ import annotations

from typing import Any, NoReturn

from graphc.core.errors import BackendError


def export(*args: Any, **kwargs: Any) -> NoReturn:
    """Raises BackendError: graphc writes no ONNX files yet."""
    raise BackendError(
        "torch.onnx.export: graphc writes no ONNX files yet; gc.save_graph(graph, path) keeps a graph with its weights"
    )


def is_in_onnx_export() -> bool:
    """False: nothing is ever exported."""
    return False


__all__ = ["export", "is_in_onnx_export"]
