"""`ONNXProgram`: an exported model, to be saved or run by onnxruntime."""

from __future__ import annotations

import ctypes
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from graphc.core.arrays import host
from graphc.core.context import SLOTS
from graphc.core.lazy import lazy_import
from graphc.core.tape import TensorBase
from graphc.nests import flatten
from graphc.onnx.writer import OnnxExporterError, ir

_runtime = lazy_import("onnxruntime", 'pip install "graphc[onnx]"')

#: What a protobuf message cannot hold goes to a file of its own; it holds less than 2 GiB.
LARGEST = 1 << 30


class ONNXProgram:
    """An ONNX model: `model` is onnx_ir's, `model_proto` ONNX's own.

    Called with the arguments of the exported function it runs in onnxruntime and gives a tuple of tensors. Weights share memory
    with the module's until the model is saved, or run for the first time.
    """

    def __init__(self, model: Any):
        self.model = model
        self._session: Any = None

    def __repr__(self) -> str:
        graph = self.model.graph
        names = [", ".join(v.name for v in values) for values in (graph.inputs, graph.outputs)]
        return f"<ONNXProgram ({names[0]}) -> ({names[1]}): {len(graph)} nodes, {len(graph.initializers)} initializers>"

    @property
    def model_proto(self) -> Any:
        """The model as a protobuf message."""
        return ir.to_proto(self.model)

    def optimize(self) -> None:
        """Nothing: the program was optimised before it was written."""

    def save(
        self,
        destination: Any,
        *,
        include_initializers: bool = True,
        keep_initializers_as_inputs: bool = False,
        external_data: bool | None = None,
    ) -> None:
        """Writes the model to a path or a binary file.

        `external_data` puts weights into `destination` + ".data", which a model of more than 1 GiB gets in any case.
        `include_initializers=False` leaves weights out; `keep_initializers_as_inputs` makes them inputs that may be fed.
        OnnxExporterError for external data without a path.
        """
        with self._arranged(include_initializers, keep_initializers_as_inputs):
            large = self._weight_bytes() > LARGEST
            if isinstance(destination, str | os.PathLike):
                name = os.path.basename(os.fspath(destination)) + ".data"
                ir.save(self.model, destination, external_data=name if external_data or large else None)
                return
            if external_data or large:
                raise OnnxExporterError("ONNXProgram.save: weights beside the model need a path, not an open file")
            destination.write(self.model_proto.SerializeToString())

    @contextmanager
    def _arranged(self, weights: bool, as_inputs: bool) -> Iterator[None]:
        """Within, the graph has its weights or not, and names them among its inputs or not."""
        graph = self.model.graph
        inputs, initializers = list(graph.inputs), dict(graph.initializers)
        if as_inputs or not weights:
            graph.inputs.extend(initializers.values())
        if not weights:
            graph.initializers.clear()
        try:
            yield
        finally:
            graph.initializers.update(initializers)
            del graph.inputs[len(inputs) :]

    def _weight_bytes(self) -> int:
        return sum(v.const_value.nbytes for v in self.model.graph.initializers.values() if v.const_value is not None)

    # --- running --------------------------------------------------------------------------------------------------

    def initialize_inference_session(self, initializer: Any = None) -> None:
        """Makes the onnxruntime session that calls use; `initializer(bytes or path)` makes another than the CPU's."""
        make = initializer or _cpu_session
        if self._weight_bytes() <= LARGEST:
            self._session = make(self.model_proto.SerializeToString())
            return
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.onnx")
            self.save(path)
            self._session = make(path)

    def release(self) -> None:
        """Drops the session."""
        self._session = None

    def __call__(self, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The results of onnxruntime for the tensors among these arguments."""
        tensors: list[Any] = []
        flatten((args, kwargs), tensors)
        return tuple([SLOTS.new_tensor(array) for array in self.run([host(x.detach()._data) for x in tensors])])

    def run(self, arrays: Sequence[Any]) -> list[np.ndarray[Any, Any]]:
        """The results of onnxruntime, one array an input; OnnxExporterError for other counts, dtypes or sizes."""
        if self._session is None:
            self.initialize_inference_session()
        given = self.model.graph.inputs
        if len(given) != len(arrays):
            names = ", ".join(v.name for v in given)
            raise OnnxExporterError(f"ONNXProgram: {len(arrays)} tensors for the {len(given)} inputs {names}")
        for v, array in zip(given, arrays, strict=True):
            _check_input(v, np.asarray(array))
        binding = self._session.io_binding()
        kept = [_value(array, v.dtype) for array, v in zip(arrays, given, strict=True)]
        for v, value in zip(given, kept, strict=True):
            binding.bind_ortvalue_input(v.name, value)
        for v in self.model.graph.outputs:
            binding.bind_output(v.name)
        self._session.run_with_iobinding(binding)
        return [_array(x, v.dtype) for x, v in zip(binding.get_outputs(), self.model.graph.outputs, strict=True)]

    def check(self, arguments: Sequence[Any], expected: Sequence[TensorBase]) -> None:
        """Raises OnnxExporterError unless onnxruntime gives these results, to a thousandth of the largest number."""
        found = self.run([host(x.detach()._data) for x in arguments])
        for i, (got, tensor) in enumerate(zip(found, expected, strict=True)):
            want = np.asarray(host(tensor.detach()._data))  # type: ignore[attr-defined]
            a, b = (np.asarray(v, np.float64) for v in (got, want))
            scale = float(np.max(np.abs(b), initial=0.0, where=np.isfinite(b)))
            if a.shape != b.shape or not np.allclose(a, b, rtol=0.0, atol=1e-3 * scale, equal_nan=True):
                raise OnnxExporterError(f"onnx.export: onnxruntime gives another result {i} than the function")


def _check_input(value: Any, array: np.ndarray[Any, Any]) -> None:
    """Raises for an array of another dtype or shape than that input has."""
    sizes = tuple(value.shape)
    fits = len(sizes) == array.ndim and all(
        n == m for n, m in zip(sizes, array.shape, strict=True) if isinstance(n, int)
    )  # fmt: skip
    if array.dtype != value.dtype.numpy() or not fits:
        need = ", ".join(map(str, sizes))
        raise OnnxExporterError(
            f"ONNXProgram: the input {value.name!r} is {value.dtype.numpy()}[{need}], "
            f"not {array.dtype}[{', '.join(map(str, array.shape))}]"
        )


def _cpu_session(model: Any) -> Any:
    return _runtime.InferenceSession(model, providers=["CPUExecutionProvider"])


def _value(array: Any, dtype: Any) -> Any:
    """An array as onnxruntime holds it; NumPy's own types have no bfloat16."""
    array = np.array(array, order="C")
    if dtype == ir.DataType.BFLOAT16:
        return _runtime.OrtValue.ortvalue_from_numpy_with_onnx_type(array.view(np.uint16), int(dtype))
    return _runtime.OrtValue.ortvalue_from_numpy(array)


def _array(value: Any, dtype: Any) -> np.ndarray[Any, Any]:
    if dtype != ir.DataType.BFLOAT16:
        return np.asarray(value.numpy())
    held = ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes()) if value.tensor_size_in_bytes() else b""
    return np.frombuffer(held, dtype.numpy()).reshape(value.shape()).copy()
