"""`torch.onnx`: a module or graph as an ONNX model, through onnx_ir (the extra `onnx`)."""

from __future__ import annotations

from graphc.core.lazy import lazy_attributes
from graphc.onnx.exporting import TrainingMode, export, is_in_onnx_export
from graphc.onnx.model import ONNXProgram
from graphc.onnx.writer import OnnxExporterError

__getattr__ = lazy_attributes("graphc.onnx", {})

__all__ = ["ONNXProgram", "OnnxExporterError", "TrainingMode", "export", "is_in_onnx_export"]
