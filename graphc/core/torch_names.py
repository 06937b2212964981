"""PyTorch's public names, from a file that `tools/torch_names.py` makes.

`torch_names.txt` has one line a namespace, `torch.nn: AdaptiveAvgPool1d ...`, torchvision's among them; the first line is that
of the Tensor class. What is said of a name that graphc has not is in `missing.py`.
"""

from __future__ import annotations

import functools
import os

#: what graphc answers for, by what
ANSWERED = {"torch": "graphc", "torchvision": "graphc.vision"}
FILE = os.path.join(os.path.dirname(__file__), "torch_names.txt")


@functools.cache
def all_names() -> dict[str, frozenset[str]]:
    """Namespace -> its public names in PyTorch 2.13 or torchvision 0.28."""
    with open(FILE, encoding="utf-8") as source:
        return {space: frozenset(names.split()) for space, _, names in (line.partition(":") for line in source)}


def tensor_names() -> list[str]:
    """The public attributes of `torch.Tensor`: the file's first line only."""
    with open(FILE, encoding="utf-8") as source:
        return source.readline().partition(":")[2].split()


def torch_path(module: str) -> str:
    """PyTorch's name of a module of graphc."""
    if module == "graphc.vision" or module.startswith("graphc.vision."):
        return "torchvision" + module.removeprefix("graphc.vision")
    return "torch" + module.removeprefix("graphc")


def own_path(path: str) -> str:
    """graphc's name of what PyTorch or torchvision calls so."""
    root, dot, rest = path.partition(".")
    return ANSWERED[root] + dot + rest


def is_known(path: str) -> bool:
    """Whether PyTorch or torchvision has this dotted name."""
    space, _, name = path.rpartition(".")
    return path in all_names() or name in all_names().get(space, ())
