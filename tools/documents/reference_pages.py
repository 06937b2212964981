"""The API reference: for each public namespace a page that names its objects, whose docstrings mkdocstrings puts in."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import sys
from collections.abc import Iterator
from typing import Any

import graphc

#: Public namespaces, each with what it is for.
NAMESPACES = {
    "graphc": "Functions of tensors, graphs, sessions and the compiler.",
    "graphc.Tensor": "Methods and attributes of tensors.",
    "graphc.nn": "Layers and losses.",
    "graphc.nn.functional": "What layers do, as functions.",
    "graphc.nn.init": "How parameters begin.",
    "graphc.nn.utils": "Clipping, norms of weights, packed sequences.",
    "graphc.optim": "Optimizers.",
    "graphc.optim.lr_scheduler": "Learning rates over time.",
    "graphc.utils.data": "Datasets, samplers and loaders.",
    "graphc.autograd": "Gradients.",
    "graphc.func": "Gradients and batches of functions.",
    "graphc.linalg": "Solvers and decompositions of matrices.",
    "graphc.distributions": "Probability distributions.",
    "graphc.distributed": "Many processes.",
    "graphc.amp": "Mixed precision.",
    "graphc.library": "Operators of one's own.",
    "graphc.onnx": "Models for other runtimes.",
    "graphc.viz": "Pictures of graphs.",
    "graphc.profiler": "Times of calls, in PyTorch's manner.",
    "graphc.callbacks": "What a Trainer calls.",
    "graphc.vision.transforms": "Transforms of images.",
    "graphc.vision.datasets": "Datasets of images on disk.",
    "graphc.errors": "Error classes.",
}


def objects(namespace: str) -> Iterator[tuple[str, Any]]:
    """The public functions and classes of a namespace that have a docstring, by name."""
    owner = graphc.Tensor if namespace == "graphc.Tensor" else importlib.import_module(namespace)
    names = getattr(owner, "__all__", None) or [name for name in dir(owner) if not name.startswith("_")]
    for name in sorted(set(names), key=lambda name: (name.lower(), name)):
        found = getattr(owner, name, None)
        found = found.fget if isinstance(found, property) else found
        if not (inspect.isfunction(found) or inspect.isclass(found)) or not inspect.getdoc(found):
            continue
        if str(found.__module__).partition(".")[0] == "graphc" and "<locals>" not in found.__qualname__:
            yield name, found


@functools.cache
def definitions(module: str) -> frozenset[str]:
    """The functions and classes, and those of classes, that stand in a module's text."""
    found = set()
    for node in ast.parse(inspect.getsource(sys.modules[module])).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
    return frozenset(found)


def page(namespace: str) -> str:
    """The page of a namespace: what has a definition of its own, then a list of what is made of others (`add_` of `add`)."""
    title = namespace.replace("graphc", "gc", 1) if namespace != "graphc" else "graphc"
    lines = [f"# {title}\n", NAMESPACES[namespace] + "\n"]
    derived = []
    for name, found in objects(namespace):
        if found.__qualname__ not in definitions(found.__module__):
            derived.append(f"- `{name}`: {(inspect.getdoc(found) or '').partition(chr(10))[0]}")
            continue
        # `heading`: people look for the public name, not for the file that defines it
        lines += [
            f"::: {found.__module__}.{found.__qualname__}",
            "    options:",
            f"      heading: {name}",
            f"      toc_label: {name}",
            "",
        ]
    if derived:
        lines += ["## Made of others\n", *derived, ""]
    return "\n".join(lines)


def pages() -> dict[str, str]:
    """All pages by their file names."""
    listed = "\n".join(
        f"- [{name}]({name.removeprefix('graphc.')}.md): {what}" for name, what in NAMESPACES.items()
    )  # fmt: skip
    index = f"# API reference\n\nMade from the docstrings. `gc` is `graphc`.\n\n{listed}\n"
    return {"index.md": index, **{f"{name.removeprefix('graphc.')}.md": page(name) for name in NAMESPACES}}
