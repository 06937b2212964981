"""An ONNX graph while it is written: nodes, constants, and sizes as numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from graphc.core.dims import Dim, Size, is_static
from graphc.core.errors import BackendError
from graphc.core.lazy import lazy_import
from graphc.core.tensor_types import DType, TensorType, bfloat16, float32
from graphc.ir.blame import user_line_of
from graphc.ir.program import Node
from graphc.tracing import plain_name

ir = lazy_import("onnx_ir", 'pip install "graphc[onnx]"')


class OnnxExporterError(BackendError):
    """A program that cannot be written as ONNX, or names and sizes given to `export` that do not fit it."""


def without_counterpart(node: Node, why: str = "has no counterpart in ONNX") -> OnnxExporterError:
    """The error for an op that cannot be written, naming it and the user's line."""
    return OnnxExporterError(
        f"onnx.export: {node.op.name} at {user_line_of(node)} {why}\n"
        "  hint: leave it out of the exported function, or keep the graph with gc.save_graph(graph, path)"
    )


def element_type(dtype: DType) -> Any:
    """ONNX's element type."""
    return ir.DataType.from_numpy(dtype.np)


def shape_of(shape: Sequence[Size]) -> Any:
    """ONNX's shape: unknown sizes by their name, or by the text of what is computed from them."""
    return ir.Shape([n if isinstance(n, int) else plain_name(n) or str(n) for n in shape])


class Writer:
    """Writes one graph; with `outer`, the body of a control op, which sees all that is outside.

    Constants and sizes are written once, in the outermost graph. Every value has a name of its own in the whole file.
    """

    def __init__(self, opset: int, outer: Writer | None = None):
        self.opset = opset
        self.root: Writer = self if outer is None else outer.root
        self.nodes: list[Any] = []
        #: the values that nodes of this graph make, but for its outputs
        self._made: set[int] = set()
        self.origin: str = "" if outer is None else outer.origin
        if outer is None:
            #: every name, and the highest number it was given since
            self.names: dict[str, int] = {}
            self.initializers: list[Any] = []
            self._constants: dict[Any, Any] = {}
            #: where the number of an unknown size is found: (graph input, axis)
            self.sources: dict[str, tuple[Any, int]] = {}
            self._sizes: dict[Size, Any] = {}

    # --- values and nodes -----------------------------------------------------------------------------------------

    def fresh(self, stem: str) -> str:
        """A name nobody has in this file: `stem`, `stem_1`, ..."""
        names, name = self.root.names, stem
        while name in names:
            names[stem] += 1
            name = f"{stem}_{names[stem]}"
        names[name] = 0
        return name

    def value(self, name: str, type: TensorType) -> Any:
        """A value of that type: an input of a graph or body."""
        return ir.Value(name=self.fresh(name), type=ir.TensorType(element_type(type.dtype)), shape=shape_of(type.shape))

    def op(self, name: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> Any:
        """The output of a new node, a tuple for several; None stands for an operand that is left out."""
        stem = name.lower()
        made = [ir.Value(name=self.fresh(stem)) for _ in range(outputs)]
        self._made.update(map(id, made))
        origin = {"graphc.origin": self.origin} if self.origin else None
        attrs = ir.convenience.convert_attributes(attributes)
        self.nodes.append(ir.Node("", name, inputs, attrs, outputs=made, name=made[0].name, metadata_props=origin))
        return made[0] if outputs == 1 else tuple(made)

    def cast(self, x: Any, dtype: DType) -> Any:
        """x in another element type."""
        return self.op("Cast", x, to=int(element_type(dtype)))

    def constant(self, array: Any, dtype: Any = None) -> Any:
        """An initialiser with these elements; equal small ones are one."""
        array = np.asarray(array, dtype)
        if array.nbytes > 1024:
            return self.initializer("constant", array)
        key = (array.dtype.name, array.shape, array.tobytes())
        found = self.root._constants.get(key)
        if found is None:
            found = self.root._constants[key] = self.initializer("constant", array)
        return found

    def initializer(self, name: str, array: Any) -> Any:
        """A new initialiser; the array is not copied."""
        name = self.fresh(name)
        tensor = ir.Tensor(np.ascontiguousarray(array).reshape(np.shape(array)), name=name)
        value = ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=tensor.shape, const_value=tensor)
        self.root.initializers.append(value)
        return value

    # --- sizes ----------------------------------------------------------------------------------------------------

    def size(self, size: Size) -> Any:
        """A size as a 0-d int64 value; an unknown one is computed from the shapes of the inputs."""
        if isinstance(size, int):
            return self.constant(size, np.int64)
        root = self.root
        found = root._sizes.get(size)
        if found is None:
            before, root.origin = root.origin, ""
            found = root._sizes[size] = root._computed_size(size)
            root.origin = before
        return found

    def _computed_size(self, size: Dim) -> Any:
        total = None
        for monomial, count in size.terms:
            term = self.constant(count, np.int64) if count != 1 or not monomial else None
            for factor in monomial:
                number = self._factor(factor)
                term = number if term is None else self.op("Mul", term, number)
            total = term if total is None else self.op("Add", total, term)
        return total

    def _factor(self, factor: Any) -> Any:
        if isinstance(factor, str):
            if factor not in self.sources:
                raise OnnxExporterError(f"onnx.export: no input has the size {factor} that the program asks for")
            source, axis = self.sources[factor]
            return self.op("Gather", self.op("Shape", source), self.constant(axis, np.int64), axis=0)
        op, a, b = factor
        x, y = self.size(a), self.size(b)
        if op != "//":
            return self.op({"min": "Min", "max": "Max"}[op], x, y)
        rest = self.op("Mod", x, y)  # has the divisor's sign: the quotient is rounded down
        return self.op("Div", self.op("Sub", x, rest), y)

    def shape(self, sizes: Sequence[Size]) -> Any:
        """Sizes as a 1-d int64 value."""
        if is_static(tuple(sizes)):
            return self.constant(np.array(sizes, np.int64))
        one = self.constant([1], np.int64)
        parts = [self.op("Reshape", self.size(n), one) if isinstance(n, Dim) else self.shape((n,)) for n in sizes]
        return parts[0] if len(parts) == 1 else self.op("Concat", *parts, axis=0)

    def reshape(self, x: Any, shape: Sequence[Size]) -> Any:
        """x in another shape; a single unknown size follows from the others."""
        unknown = [n for n in shape if isinstance(n, Dim)]
        if len(unknown) == 1 and 0 not in shape:
            return self.op("Reshape", x, self.shape([-1 if isinstance(n, Dim) else n for n in shape]))
        return self.op("Reshape", x, self.shape(shape), allowzero=1)

    def flat(self, x: Any) -> Any:
        """The elements in a row."""
        return self.op("Reshape", x, self.constant([-1], np.int64))

    def expand(self, x: Any, type: TensorType) -> Any:
        """x, of that dtype, broadcast to that shape."""
        if type.dtype is not bfloat16:
            return self.op("Expand", x, self.shape(type.shape))
        return self.cast(self.op("Expand", self.cast(x, float32), self.shape(type.shape)), bfloat16)

    # --- bodies ---------------------------------------------------------------------------------------------------

    @contextmanager
    def at(self, node: Node) -> Iterator[None]:
        """Within, new nodes tell the user's line of this one."""
        before = self.origin
        if node.origins:
            first = node.origins[0]
            self.origin = f"{first.file}:{first.line}" + (f", {first.module}" if first.module else "")
        yield
        self.origin = before

    def graph(self, name: str, inputs: Sequence[Any], outputs: Sequence[Any]) -> Any:
        """The body that was written here."""
        return ir.Graph(list(inputs), list(outputs), nodes=self.nodes, name=self.fresh(name))

    def result(self, x: Any, type: TensorType, name: str) -> Any:
        """x as an output of this graph: a value of its own, made here, with its type and a name that is `fresh`."""
        if id(x) not in self._made:
            x = self.op("Identity", x)
        self._made.discard(id(x))
        x.name = name
        return typed(x, type)


def typed(value: Any, type: TensorType) -> Any:
    """The value, which tells its type from now on."""
    value.type, value.shape = ir.TensorType(element_type(type.dtype)), shape_of(type.shape)
    return value
