"""The inputs of an exported function: example arguments as placeholders, named as the function names them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from graphc.core.dims import Dim, Size
from graphc.core.tape import TensorBase
from graphc.graphs import Graph
from graphc.onnx.writer import OnnxExporterError


class Given:
    """The arguments of one export: their names, and which of their sizes are unknown.

    names: those the caller gave, in the order of the tensors. shapes: `dynamic_shapes`, in the nest of the arguments. axes:
    `dynamic_axes`, by name.
    """

    def __init__(self, graph: Graph, names: Sequence[str] | None, axes: Mapping[str, Any] | None):
        self.graph, self.names, self.axes = graph, list(names or ()), dict(axes or {})
        #: the example that each placeholder stands for
        self.examples: list[Any] = []
        #: each unknown size with its number in the examples, and where it was met first
        self.met: dict[str, tuple[int, str]] = {}

    def placed(self, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], shapes: Any) -> Any:
        """The arguments with a placeholder for each tensor."""
        names = _parameter_names(fn, args)
        shapes = _by_parameter(shapes, names, kwargs)
        placed = [self._nest(n, x, shapes.get(n)) for n, x in zip(names, args, strict=True)]
        named = {n: self._nest(n, x, shapes.get(n)) for n, x in kwargs.items()}
        if len(self.names) > len(self.examples):
            raise OnnxExporterError(
                f"onnx.export: input_names has {len(self.names)} names for {len(self.examples)} tensors among the arguments"
            )
        return placed, named

    def _nest(self, name: str, x: Any, spec: Any) -> Any:
        if isinstance(x, TensorBase):
            return self._placeholder(name, x, spec)
        if isinstance(x, tuple | list):
            specs = list(_fitting(name, spec, (tuple, list))) if spec is not None else [None] * len(x)
            if len(specs) != len(x):
                raise OnnxExporterError(
                    f"onnx.export: dynamic_shapes has {len(specs)} entries for the {len(x)} of {name}"
                )
            parts = [self._nest(f"{name}_{i}", v, s) for i, (v, s) in enumerate(zip(x, specs, strict=True))]
            return type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)
        if isinstance(x, dict):
            specs_by_key = _fitting(name, spec, (Mapping,)) if spec is not None else {}
            strange = [k for k in specs_by_key if k not in x]
            if strange:
                raise OnnxExporterError(f"onnx.export: dynamic_shapes names {strange[0]!r}, which {name} has not")
            return {k: self._nest(f"{name}_{k}", v, specs_by_key.get(k)) for k, v in x.items()}
        if spec is not None:
            raise OnnxExporterError(f"onnx.export: dynamic_shapes has {spec!r} for {name}, which is no tensor")
        return x

    def _placeholder(self, name: str, x: Any, spec: Any) -> Any:
        number = len(self.examples)
        name = self.names[number] if number < len(self.names) else self.graph.fresh_free(name)
        self.examples.append(x)
        shape = tuple(x.shape)
        unknown = _axes(name, spec, len(shape)) if spec is not None else {}
        unknown |= _named_axes(name, self.axes.get(name, {}), len(shape))
        sizes = tuple(
            self._size(unknown[axis], size, f"axis {axis} of {name}") if axis in unknown else int(size)
            for axis, size in enumerate(shape)
        )
        return self.graph.placeholder(sizes, x.dtype, name)

    def _size(self, name: str, size: int, where: str) -> Size:
        known, before = self.met.setdefault(name, (size, where))
        if known != size:
            raise OnnxExporterError(
                f"onnx.export: the size {name!r} is {known} at {before} and {size} at {where} of the example arguments"
            )
        return Dim.named(name)


def _parameter_names(fn: Callable[..., Any], args: Sequence[Any]) -> list[str]:
    try:
        parameters = list(inspect.signature(getattr(fn, "forward", fn)).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    found = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)][: len(args)]
    rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "input")
    return found + [f"{rest}_{i}" for i in range(len(args) - len(found))]


def _by_parameter(shapes: Any, names: Sequence[str], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    if shapes is None:
        return {}
    if isinstance(_fitting("the arguments", shapes, (Mapping, tuple, list)), Mapping):
        strange = [n for n in shapes if n not in names and n not in kwargs]
        if strange:
            known = ", ".join([*names, *kwargs])
            raise OnnxExporterError(f"onnx.export: dynamic_shapes names {strange[0]!r}; the arguments are {known}")
        return dict(shapes)
    if len(shapes) > len(names) + len(kwargs):
        raise OnnxExporterError(f"onnx.export: dynamic_shapes has {len(shapes)} entries for {len(names)} arguments")
    return dict(zip([*names, *kwargs], shapes, strict=False))


def _fitting(name: str, spec: Any, kinds: tuple[type, ...]) -> Any:
    """An entry of `dynamic_shapes`, if it is of one of these kinds."""
    if not isinstance(spec, kinds):
        known = " or ".join("dict" if kind is Mapping else kind.__name__ for kind in kinds)
        raise OnnxExporterError(f"onnx.export: dynamic_shapes has {spec!r} for {name}: need a {known}")
    return spec


def _axes(name: str, spec: Any, ndim: int) -> dict[int, str]:
    """The unknown axes of an entry of `dynamic_shapes`: a dict by axis, or one entry an axis.

    None and numbers stand for a known size; a string, or an object with a name as `torch.export.Dim` makes it, for that
    name; anything else (`Dim.DYNAMIC`, `Dim.AUTO`) for a name of its own.
    """
    items = spec.items() if isinstance(_fitting(name, spec, (Mapping, tuple, list)), Mapping) else enumerate(spec)
    found = {}
    for axis, size in items:
        if size is None or isinstance(size, int):
            continue
        text = size if isinstance(size, str) else getattr(size, "__name__", None) or str(size)
        plain = isinstance(text, str) and text.isidentifier()
        found[_axis(name, axis, ndim)] = text if plain else f"{name}_dim_{axis}"
    return found


def _named_axes(name: str, spec: Any, ndim: int) -> dict[int, str]:
    """The unknown axes of an entry of `dynamic_axes`: names by axis, or axes."""
    if isinstance(spec, Mapping):
        return {_axis(name, axis, ndim): str(size) for axis, size in spec.items()}
    return {_axis(name, axis, ndim): f"{name}_dynamic_axes_{i}" for i, axis in enumerate(spec, 1)}


def _axis(name: str, axis: Any, ndim: int) -> int:
    if not isinstance(axis, int) or not -ndim <= axis < ndim:
        raise OnnxExporterError(f"onnx.export: {name} has {ndim} dimensions, none is {axis!r}")
    return axis % ndim
