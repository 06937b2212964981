"""What ONNX, or onnxruntime, does not do as graphc does, each with the reason; tests hold that each is still true."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from exporting.exported import has_nan

from graphc.core.op import Sample

#: reason -> ops that `export` refuses
REFUSED: dict[str, str] = {
    "ONNX has no equations and decompositions of linear algebra": """
        solve solve_triangular matrix_exponential log_determinant cholesky lu_factor row_order qr eigh svd pseudo_inverse
    """,
    "an ONNX model shows nothing while it runs": "show",
    "an ONNX model is one process's": "all_reduce broadcast all_gather reduce_scatter",
}


def _float64(sample: Sample) -> bool:
    return sample.inputs[0].dtype == np.float64


#: (reason, ops, which of their samples): exported, but with other results, or refused by onnxruntime
DIFFERENT: tuple[tuple[str, str, Callable[[Sample], bool]], ...] = (
    ("ONNX says nothing of NaN among what is compared; onnxruntime passes over it",
     "reduce_max reduce_min argmax argmin window_max", has_nan),
    ("onnxruntime has no Det of float64", "determinant", _float64),
)  # fmt: skip

#: reason -> ops of which `export` refuses some sample once sizes are unknown
UNKNOWN: dict[str, str] = {
    "pooling and convolutions of float32 take unknown sizes, others are written with numbers": """
        window_max window_sum convolution convolution_input_gradient convolution_weight_gradient
        convolution_weight_parts windows
    """,
}
#: (reason, ops, which of their samples): what onnxruntime refuses at run time, where sizes are unknown before
AT_RUN_TIME: tuple[tuple[str, str, Callable[[Sample], bool]], ...] = (
    ("onnxruntime has no ArgMax of nothing", "place_of_maximum", lambda sample: sample.inputs[0].size == 0),
)  # fmt: skip


def refused(op: str) -> str:
    """Why `export` refuses the op; "" where it takes it."""
    return next((reason for reason, names in REFUSED.items() if op in names.split()), "")


def different(op: str, sample: Sample, unknown: bool = False) -> str:
    """Why onnxruntime's result is another; "" where it is the same."""
    return next(
        (
            reason
            for reason, names, which in (*DIFFERENT, *(AT_RUN_TIME if unknown else ()))
            if op in names.split() and which(sample)
        ),
        "",
    )
