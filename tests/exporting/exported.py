"""Ops and functions by way of ONNX: exported, checked, and run by onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from conformance.cases import evaluated, parts, terms
from tolerances import assert_close

import graphc as gc
from graphc.core.op import Op, Sample
from graphc.core.tensor_types import type_of_array


def graph_of(op: Op, samples: Sequence[Sample], unknown: bool) -> tuple[gc.Graph, list[Any]]:
    """A graph of the op on each sample's operands, and these; unknown sizes but for those of 1, which broadcast."""
    graph, fed = gc.Graph(), []
    with graph.as_default(), gc.no_grad():
        for i, sample in enumerate(samples):
            operands = []
            for x in sample.inputs:
                shape = tuple(None if unknown and n != 1 else n for n in x.shape)
                operands.append(gc.placeholder(shape, dtype=type_of_array(x).dtype))
                fed.append(x)
            for k, y in enumerate(parts(op, op(*operands, **sample.attrs))):
                graph.outputs[f"y{i}_{k}"] = y
    return graph, fed


def check_op(op: Op, samples: Sequence[Sample], unknown: bool = False, opset: int | None = None) -> None:
    """Exports the op on all samples as one model and compares what onnxruntime makes of it with `eval`."""
    graph, fed = graph_of(op, samples, unknown)
    program = gc.onnx.export(graph, opset_version=opset)
    onnx.checker.check_model(program.model_proto, full_check=True)
    found = iter(program.run(fed))
    for i, sample in enumerate(samples):
        for k, want in enumerate(evaluated(op, sample.inputs, sample.attrs)):
            assert_close(next(found), want, n=terms(sample.inputs), what=f"{op.name}-{i}, result {k}")


def holds(op: Op, sample: Sample, unknown: bool = False) -> bool:
    """Whether one sample exports, runs and gives what `eval` gives."""
    try:
        check_op(op, [sample], unknown)
    except Exception:
        return False
    return True


def has_nan(sample: Sample) -> bool:
    return any(x.dtype.kind in "fV" and np.isnan(x.astype(np.float64)).any() for x in sample.inputs)
