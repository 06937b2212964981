"""Layers and losses of every sort by way of ONNX, in eval mode, with an unknown batch and two batches at run time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

import onnx
from layer_cases import CONVOLUTIONS, LAYERS, LOSSES, made
from tolerances import as_array, assert_close

import graphc as gc

pytestmark = [
    pytest.mark.onnx,
    pytest.mark.filterwarnings("ignore:reduction. 'mean' divides", "ignore:Implicit dimension"),
]

CASES = {**LAYERS, **LOSSES, **{text: (x,) for text, x in CONVOLUTIONS.items()}}


@pytest.mark.parametrize("dtype", [gc.float32, gc.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("text", CASES)
def test_layers(text: str, dtype: Any) -> None:
    gc.manual_seed(0)
    layer = made(text).eval().to(dtype)

    def tensors(batch: int) -> list[Any]:
        arrays = [np.concatenate([x, x[::-1]])[:batch] for x in CASES[text]]
        return [gc.tensor(x.astype(dtype.to_numpy()) if x.dtype.kind == "f" else x) for x in arrays]

    given = tensors(3)
    program = gc.onnx.export(layer, given, dynamic_shapes=[{0: "batch"}] * len(given))
    onnx.checker.check_model(program.model_proto, full_check=True)
    for batch in (3, 4):
        xs = tensors(batch)
        (found,) = program(*xs)
        want = as_array(layer(*xs))
        assert_close(found, want, n=64, scale=max(1.0, float(np.abs(want).max(initial=0.0))), what=text)
