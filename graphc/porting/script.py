"""The names of PyTorch and torchvision that a script uses, found by reading it; nothing of it runs.

Names that come by imports are certain: aliases, chains of attributes, `x = torch.nn.functional`. An attribute of anything else
(`y.view`) counts as a method of PyTorch's where the object came out of a PyTorch function, or where no other common type and no
class of the script has an attribute of that name.
"""

from __future__ import annotations

import ast
import io
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from graphc.core.torch_names import ANSWERED, all_names, torch_path
from graphc.porting.resolving import MISSING, resolve

#: classes whose methods are looked for, the most common first
CLASSES = (
    "torch.Tensor", "torch.nn.Module", "torch.optim.Optimizer", "torch.optim.lr_scheduler.LRScheduler",
    "torch.utils.data.DataLoader", "torch.Generator", "torch.distributions.Distribution",
)  # fmt: skip
#: attributes that objects of other common types have too
_COMMON = frozenset().union(
    *(
        dir(kind)
        for kind in (str, bytes, list, dict, set, tuple, int, float, complex, np.ndarray, io.StringIO, io.BytesIO)
    )
)
#: words that objects of any library have: of these only a method of something that came out of PyTorch may be missing
_ANYBODY_S = frozenset(("apply_", "index", "indices", "map_", "name", "resize", "solve", "storage", "values"))
#: functions of `torch` that give no tensor
_NO_TENSOR = frozenset(
    ("device", "load", "save", "compile", "manual_seed", "seed", "no_grad", "enable_grad", "set_grad_enabled", "inference_mode",
     "Generator", "Size", "finfo", "iinfo", "typename", "dtype", "autocast", "numel", "allclose", "equal")
)  # fmt: skip
#: methods of tensors that give no tensor
_ENDS = frozenset(
    ("item", "tolist", "numpy", "size", "dim", "shape", "dtype", "device", "numel", "stride", "type", "names")
)


class Use(NamedTuple):
    """One use of a name: the line, the dotted name (`torch.nn.Linear`), the keyword arguments it is called with."""

    line: int
    name: str
    keywords: tuple[str, ...] = ()


def uses_in(source: str | bytes, file: str) -> list[Use]:
    """Every use in a script, in the order of lines. SyntaxError where Python cannot read it."""
    return sorted(set(_Reader(ast.parse(source, file)).uses()))


def _chain(node: ast.AST) -> tuple[str, list[str]] | None:
    """`a.b.c` as ("a", ["b", "c"]); None for anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return (node.id, parts[::-1]) if isinstance(node, ast.Name) else None


def _name_in(path: str) -> str:
    """The part of a chain that is a name of the library's: up to the first that is neither a module nor a known class."""
    root, *parts = path.split(".")
    found = root
    for part in parts:
        if part.startswith("__") and part != "__version__":
            break
        found = f"{found}.{part}"
        known = found in all_names() or (resolve(found) is not MISSING and hasattr(resolve(found), "__path__"))
        if not known:
            break
    return found


def _told(module: str) -> str:
    """PyTorch's name of a module: `import graphc as torch` is an import of torch."""
    return torch_path(module) if module.partition(".")[0] == "graphc" else module


class _Reader:
    """One script. `paths`: the names that stand for something of PyTorch; `foreign`: those of other imports."""

    def __init__(self, tree: ast.Module):
        self.nodes = list(ast.walk(tree))
        self.called = {id(node.func): node for node in self.nodes if isinstance(node, ast.Call)}
        self.paths: dict[str, str] = {}
        self.foreign: set[str] = set()
        self.imports = list(self._imports())
        self.own = set(self._defined())
        self._add_aliases()
        self.tensors: set[str] = set()
        self._add_tensors()

    def uses(self) -> Iterator[Use]:
        """Imports, then chains and calls, then methods; nothing of a script that imports nothing of PyTorch."""
        yield from self.imports
        if not self.paths:
            return
        inner = {id(node.value) for node in self.nodes if isinstance(node, ast.Attribute)}
        for node in self.nodes:
            if not isinstance(node, ast.Attribute | ast.Name) or isinstance(getattr(node, "ctx", None), ast.Del):
                continue
            call = self.called.get(id(node))
            keywords = tuple(sorted(k.arg for k in call.keywords if k.arg)) if call else ()
            path = self._path(node)
            if path is None:
                method = self._method(node) if isinstance(node, ast.Attribute) else None
                if method is not None:
                    yield Use(node.lineno, method, keywords)
            elif id(node) not in inner and ("." in path or keywords):
                name = _name_in(path)
                yield Use(node.lineno, name, keywords if name == path else ())

    # -- imports and what they bind ------------------------------------------------------------------------------------

    def _imports(self) -> Iterator[Use]:
        for node in self.nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield from self._imported(node.lineno, alias.name, alias.asname)
            elif isinstance(node, ast.ImportFrom):
                yield from self._imported_from(node)

    def _imported(self, line: int, path: str, alias: str | None) -> Iterator[Use]:
        root = path.partition(".")[0]
        if root in ANSWERED or root == "graphc":
            told = _told(path)
            self.paths[alias or root] = told if alias else _told(root)
            yield Use(line, told)
        else:
            self.foreign.add(alias or root)
            if root.startswith("torch"):
                yield Use(line, root)

    def _imported_from(self, node: ast.ImportFrom) -> Iterator[Use]:
        module = node.module or ""
        root = module.partition(".")[0]
        if root == "graphc":
            module, root = _told(module), "torch"
        if node.level or root not in ANSWERED:
            self.foreign.update(alias.asname or alias.name for alias in node.names)
            if root.startswith("torch") and not node.level:
                yield Use(node.lineno, root)
            return
        for alias in node.names:
            if alias.name == "*":
                yield Use(node.lineno, module)
                self.paths.update((name, f"{module}.{name}") for name in all_names().get(module, ()))
            else:
                self.paths[alias.asname or alias.name] = f"{module}.{alias.name}"
                yield Use(node.lineno, f"{module}.{alias.name}")

    def _defined(self) -> Iterator[str]:
        """The attributes that the script's own classes define, and its parameters that are called as imports are."""
        for node in self.nodes:
            if isinstance(node, ast.ClassDef):
                yield from (f.name for f in node.body if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef))
            elif (
                isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name)
            ):
                yield node.attr

    def _assignments(self) -> Iterator[tuple[str, ast.expr]]:
        for node in self.nodes:
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                yield node.targets[0].id, node.value
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
                yield node.target.id, node.value

    def _add_aliases(self) -> None:
        """`F = torch.nn.functional`, for names that are assigned once."""
        stored = Counter(n.id for n in self.nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
        for name, value in self._assignments():
            path = self._path(value)
            if path is not None and stored[name] == 1:
                self.paths.setdefault(name, path)

    def _path(self, node: ast.AST) -> str | None:
        """The dotted name of a chain that begins with something of PyTorch."""
        chain = _chain(node)
        if chain is None or chain[0] not in self.paths:
            return None
        return ".".join([self.paths[chain[0]], *chain[1]])

    # -- methods -------------------------------------------------------------------------------------------------------

    def _add_tensors(self) -> None:
        """Names that were given the result of a PyTorch function, directly or by way of others."""
        before = -1
        while before != len(self.tensors):
            before = len(self.tensors)
            self.tensors.update(name for name, value in self._assignments() if self._is_tensor(value))

    def _is_tensor(self, node: ast.AST) -> bool:
        """Whether an expression is a tensor for all that can be seen."""
        if isinstance(node, ast.Name):
            return node.id in self.tensors and node.id not in self.paths
        if isinstance(node, ast.BinOp):
            return self._is_tensor(node.left) or self._is_tensor(node.right)
        if isinstance(node, ast.Subscript | ast.UnaryOp):
            return self._is_tensor(node.value if isinstance(node, ast.Subscript) else node.operand)
        if isinstance(node, ast.Attribute):
            return node.attr in ("data", "grad", "T") and self._is_tensor(node.value)
        if not isinstance(node, ast.Call):
            return False
        path = self._path(node.func)
        if path is not None:
            space, _, name = path.rpartition(".")
            return (
                space in ("torch", "torch.nn.functional")
                and name[:3] not in ("is_", "get", "set")
                and name not in _NO_TENSOR
            )
        return isinstance(node.func, ast.Attribute) and node.func.attr not in _ENDS and self._is_tensor(node.func.value)

    def _method(self, node: ast.Attribute) -> str | None:
        """The method of PyTorch's that an attribute of an unknown object is, `torch.Tensor.view`; None if it is none."""
        chain, name = _chain(node), node.attr
        if name.startswith("_") or (chain is not None and (chain[0] in self.foreign or chain[0] in self.paths)):
            return None
        if chain is not None and chain[0] in ("self", "cls") and len(chain[1]) == 1:
            return None
        owners = [kind for kind in CLASSES if name in all_names()[kind]]
        if self._is_tensor(node.value):
            return f"torch.Tensor.{name}" if "torch.Tensor" in owners else None
        if not owners or name in _COMMON or name in self.own:
            return None
        have = [kind for kind in owners if resolve(f"{kind}.{name}") is not MISSING]
        if not have and (name in _ANYBODY_S or id(node) not in self.called):
            return None
        return f"{(have or owners)[0]}.{name}"


__all__ = ["CLASSES", "Use", "uses_in"]
