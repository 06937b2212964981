"""Every op of the registry as ONNX: its samples in onnxruntime are what NumPy says, with known and unknown sizes.

What does not hold has a reason in `gaps.py`; what holds has none there.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

pytest.importorskip("onnxruntime")

import onnx
from conformance.cases import OPS, VALUE_DEPENDENT
from exporting.exported import check_op, graph_of, holds
from exporting.gaps import AT_RUN_TIME, DIFFERENT, REFUSED, UNKNOWN, different, refused

import graphc as gc
from graphc.core.op import Op, find_op

pytestmark = pytest.mark.onnx

WRITTEN = [pytest.param(op, id=op.name) for op in OPS if op.name not in VALUE_DEPENDENT and not refused(op.name)]
SIZED = [p for p in WRITTEN if getattr(p.values[0].kind, "name", "") != "control"]  # bodies are typed
LAST = onnx.defs.onnx_opset_version()


@pytest.mark.parametrize("opset", [18, LAST])
@pytest.mark.parametrize("op", WRITTEN)
def test_onnxruntime_gives_what_numpy_gives(op: Op, opset: int) -> None:
    check_op(op, [s for s in op.samples() if not different(op.name, s)], opset=opset)


def _unknown(op: Op) -> str:
    return next((reason for reason, names in UNKNOWN.items() if op.name in names.split()), "")


@pytest.mark.parametrize("op", SIZED)
def test_sizes_may_be_unknown(op: Op) -> None:
    samples = [s for s in op.samples() if not different(op.name, s, unknown=True)]
    if not _unknown(op):
        check_op(op, samples, unknown=True)
        return
    refusals = 0
    for sample in samples:
        told = ""
        try:
            check_op(op, [sample], unknown=True)
        except gc.onnx.OnnxExporterError as error:
            told = str(error)
        refusals += bool(told)
        assert not told or re.search(rf"{op.name.split('_')[0]}\w* at .*\.py:\d+", told)
    assert refusals, f"{op.name} takes unknown sizes: its reason in gaps.py is no longer true"


@pytest.mark.parametrize("name", [n for names in REFUSED.values() for n in names.split()])
def test_an_op_without_counterpart_is_refused_with_its_name_and_line(name: str) -> None:
    op = find_op(name)
    graph, _ = graph_of(op, [next(iter(op.samples()))], False)
    with pytest.raises(
        gc.onnx.OnnxExporterError, match=rf"onnx.export: {name} at .*exported\.py:\d+.* has no counterpart in ONNX"
    ):
        gc.onnx.export(graph)


@pytest.mark.parametrize(
    ("reason", "names", "which", "unknown"), [(*d, False) for d in DIFFERENT] + [(*d, True) for d in AT_RUN_TIME]
)
def test_what_is_said_to_differ_differs(reason: str, names: str, which: Any, unknown: bool) -> None:
    for name in names.split():
        op = find_op(name)
        found = [s for s in op.samples() if which(s)]
        assert found and not all(holds(op, s, unknown) for s in found), f"{name}: {reason}: no longer true"
