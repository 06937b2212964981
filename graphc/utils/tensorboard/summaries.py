"""What TensorBoard shows, as its messages: histograms, pictures and graphs in PyTorch's form."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.core.context import recording, set_grad
from graphc.core.errors import ArgumentError
from graphc.core.lazy import lazy_import
from graphc.graphs import Graph
from graphc.ir.program import CONSTANT, INPUT, Node, Program, Value
from graphc.nests import flatten, unflatten

HINT = "pip install 'graphc[tensorboard]'"
_summaries = lazy_import("tensorboard.compat.proto.summary_pb2", HINT)
_graphs = lazy_import("tensorboard.compat.proto.graph_pb2", HINT)
_nodes = lazy_import("tensorboard.compat.proto.node_def_pb2", HINT)
_attributes = lazy_import("tensorboard.compat.proto.attr_value_pb2", HINT)
_shapes = lazy_import("tensorboard.compat.proto.tensor_shape_pb2", HINT)
_versions = lazy_import("tensorboard.compat.proto.versions_pb2", HINT)
_images = lazy_import("PIL.Image", "pip install pillow")

Array = np.ndarray[Any, Any]

#: Pictures of a batch in a row.
COLUMNS = 8


# --- histograms -----------------------------------------------------------------------------------------------------


@functools.cache
def _tensorflow_bins() -> list[float]:
    """Limits that grow by a tenth from 1e-12 to 1e20, on both sides of 0."""
    limits, limit = [], 1e-12
    while limit < 1e20:
        limits.append(limit)
        limit *= 1.1
    return [*(-x for x in reversed(limits)), 0.0, *limits]


def histogram(values: Array, bins: Any, max_bins: int | None) -> Any:
    """How numbers are distributed: their counts between the limits that hold any, with an empty bin before."""
    numbers = values.astype(np.float64).reshape(-1)
    if not numbers.size:
        raise ArgumentError("The input has no element.")
    counts, limits = np.histogram(
        numbers, bins=_tensorflow_bins() if isinstance(bins, str) and bins == "tensorflow" else bins
    )
    if max_bins is not None and len(counts) > max_bins:
        counts, limits = _fewer(counts, limits, len(counts) // max_bins)
    full = np.flatnonzero(counts)
    if not full.size:
        raise ArgumentError("add_histogram: no number lies in the bins")
    start, end = int(full[0]), int(full[-1]) + 1
    shown = counts[start - 1 : end] if start else np.concatenate([[0], counts[:end]])
    return _summaries.HistogramProto(
        min=numbers.min(), max=numbers.max(), num=numbers.size, sum=numbers.sum(), sum_squares=numbers @ numbers,
        bucket_limit=limits[start : end + 1].tolist(), bucket=shown.tolist(),
    )  # fmt: skip


def _fewer(counts: Array, limits: Array, together: int) -> tuple[Array, Array]:
    """Bins of which each is so many."""
    padded = np.pad(counts, (0, -len(counts) % together))
    return padded.reshape(-1, together).sum(1), np.append(limits[:-1:together], limits[-1])


# --- pictures -------------------------------------------------------------------------------------------------------


def picture(array: Array, dataformats: str) -> Any:
    """A picture as PNG, from an array whose dimensions `dataformats` names; a batch in rows of eight."""
    letters = dataformats.upper()
    if letters.strip("NCHW") or len(letters) != array.ndim or len(set(letters)) != len(letters) or len(letters) < 2:
        raise ArgumentError(
            f"size of input tensor and input format are different: {list(array.shape)} and {dataformats!r}"
        )
    for letter in "NHWC":
        if letter not in letters:
            array, letters = array[..., None], letters + letter
    array = np.transpose(array, [letters.index(letter) for letter in "NHWC"])
    if array.shape[3] == 1:
        array = np.repeat(array, 3, 3)
    pixels = _grid(array)
    if pixels.dtype != np.uint8:
        pixels = (pixels.astype(np.float32) * 255).clip(0, 255).astype(np.uint8)
    out = io.BytesIO()
    _images.fromarray(pixels).save(out, format="PNG")
    height, width, channels = pixels.shape
    return _summaries.Summary.Image(
        height=height, width=width, colorspace=channels, encoded_image_string=out.getvalue()
    )


def _grid(array: Array) -> Array:
    """[n, h, w, c] -> [rows * h, columns * w, c]."""
    n, h, w, c = array.shape
    columns = min(n, COLUMNS)
    rows = -(-n // max(columns, 1))
    canvas = np.zeros((rows * columns, h, w, c), array.dtype)
    canvas[:n] = array
    return canvas.reshape(rows, columns, h, w, c).swapaxes(1, 2).reshape(rows * h, columns * w, c)


# --- graphs ---------------------------------------------------------------------------------------------------------


def graph_of(model: Any, inputs: Any) -> Any:
    """What a module does with these inputs, as TensorBoard's graph: a node an op, under the path of its module.

    inputs: a tensor, or a tuple of tensors and other arguments. The module is traced in eval mode.
    """
    args = inputs if isinstance(inputs, tuple | list) else (inputs,)
    leaves: list[Any] = []
    structure = flatten(tuple(args), leaves)
    graph, training = Graph("tensorboard"), getattr(model, "training", None)
    if training:
        model.eval()
    try:
        with recording(graph), set_grad(False):
            placed = [graph.placeholder(tuple(x.shape), x.dtype, f"input_{i}") for i, x in enumerate(leaves)]
            results: list[Any] = []
            flatten(model(*unflatten(structure, placed)), results)
    finally:
        if training:
            model.train()
    program = graph.program([graph.shadow(x)._data for x in results])
    root = type(model).__name__ if hasattr(model, "named_modules") else ""
    return _graphs.GraphDef(node=_graph_nodes(program, root), versions=_versions.VersionDef(producer=22))


def _graph_nodes(program: Program, root: str) -> list[Any]:
    names: dict[Node, str] = {}
    taken: dict[str, int] = {}
    found = []
    for node in program.nodes:
        name = names[node] = _fresh(_path(node, root), taken)
        inputs = [_reference(v, names) for v in node.inputs]
        found.append(_node(name, node.op.name, inputs, [v.shape for v in node.outputs], _described(node)))
    for i, value in enumerate(program.outputs):
        found.append(_node(f"output_{i}", "output", [_reference(value, names)], [value.shape], ""))
    return found


def _path(node: Node, root: str) -> str:
    """Where TensorBoard shows a node: under its module, whose folders it opens and closes."""
    if node.op is INPUT:
        name = node.attrs["name"]
        return name if name.startswith("input_") or not root else f"{root}/{name.replace('.', '/')}"
    module = node.origins[0].module if node.origins else ""
    return "/".join([*filter(None, module.split(".")), node.op.name])


def _fresh(name: str, taken: dict[str, int]) -> str:
    count = taken[name] = taken.get(name, -1) + 1
    return f"{name}_{count}" if count else name


def _reference(value: Value, names: dict[Node, str]) -> str:
    return f"{names[value.node]}:{value.index}" if value.index else names[value.node]


def _described(node: Node) -> str:
    attrs = {} if node.op is CONSTANT or node.op is INPUT else node.attrs
    return ", ".join(f"{key}={value}" for key, value in attrs.items())


def _node(name: str, op: str, inputs: Sequence[str], shapes: Sequence[Any], text: str) -> Any:
    listed = [_shapes.TensorShapeProto(dim=[_shapes.TensorShapeProto.Dim(size=n) for n in shape]) for shape in shapes]
    attr = {"_output_shapes": _attributes.AttrValue(list=_attributes.AttrValue.ListValue(shape=listed))}
    if text:
        attr["attr"] = _attributes.AttrValue(s=text.encode())
    return _nodes.NodeDef(name=name, op=op, input=inputs, attr=attr)


__all__ = ["HINT", "graph_of", "histogram", "picture"]
