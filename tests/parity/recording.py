"""Which public names the parity tests compare: a recorder around both libraries while these tests run.

A name counts when one test that passes has called it in graphc and in PyTorch, both straight from test code: calls that the
libraries make among themselves do not count. Nothing is declared by hand, so nothing can be declared wrongly.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

import graphc as gc

NAMESPACES = (
    "", "nn", "nn.functional", "nn.init", "nn.utils", "nn.utils.prune", "nn.utils.parametrize", "nn.utils.parametrizations",
    "nn.utils.stateless", "nn.parameter", "optim", "optim.lr_scheduler", "optim.swa_utils", "utils.data", "autograd",
    "linalg", "amp", "distributed", "nn.parallel", "distributions", "distributions.constraints", "distributions.transforms",
    "autograd.functional", "func", "utils.checkpoint", "utils.benchmark", "profiler", "accelerator", "cuda", "compiler",
    "random", "library",
)  # fmt: skip
#: classes whose methods count one by one
CLASSES = (
    "nn.Module", "nn.Sequential", "nn.ModuleList", "nn.ModuleDict", "nn.ParameterList", "nn.ParameterDict",
    "optim.Optimizer", "optim.lr_scheduler.LRScheduler", "autograd.Function",
)  # fmt: skip
#: the same word for something else, or compared in another way than by calls
ELSEWHERE = {
    "Graph": "PyTorch's is TorchScript's", "compile": "graphc's own door, tested in tests/programs",
    "cond": "control flow with graphc's signature", "while_loop": "control flow with graphc's signature",
    "Tensor.__dict__": "an attribute of every Python object", "Tensor.__module__": "an attribute of every Python object",
    "Tensor.__weakref__": "an attribute of every Python object",
    "Tensor.__annotations__": "an attribute of every Python object",
    "Tensor.__array_priority__": "a constant that NumPy reads", "Tensor.__slots__": "no behaviour",
    "nn.Module.get_extra_state": "to be overridden: the libraries ask by identity whether it was",
    "nn.Module.set_extra_state": "to be overridden: the libraries ask by identity whether it was",
    "nn.Module.forward": "to be overridden", "autograd.Function": "never made, only its methods run",
    "autograd.Function.forward": "to be overridden", "autograd.Function.backward": "to be overridden",
    "distributions.OneHotCategoricalStraightThrough": "PyTorch's compares constructors, which are replaced here",
    "distributions.transforms.pad": "an import of nn.functional.pad",
    "distributions.transforms.softplus": "an import of nn.functional.softplus",
    "distributions.constraints.dependent_property": "a decorator of methods",
    "linalg.LinAlgError": "an error class", "Tensor.pin_memory": "needs an accelerator in PyTorch",
    "dtype": "never made by users", "optim.lr_scheduler.Optimizer": "an import of optim.Optimizer",
    "optim.swa_utils.LRScheduler": "an import of optim.lr_scheduler", "optim.swa_utils.Module": "an import of nn.Module",
    **dict.fromkeys(("nn.parallel.data_parallel", "nn.parallel.parallel_apply"), "PyTorch's needs an accelerator"),
    "distributed.ReduceOp": "an enumeration", "distributed.GroupMember": "holds a constant",
    "distributed.group": "never made, has the attribute WORLD", "distributed.ProcessGroup": "made by new_group",
    "distributed.Work": "made by calls with async_op", "distributed.DistError": "an error class",
    "distributed.DistBackendError": "an error class", "distributed.DistNetworkError": "an error class",
    "utils.checkpoint.CheckpointError": "an error class", "profiler.ProfilerAction": "an enumeration",
    "profiler.ProfilerActivity": "an enumeration", "utils.benchmark.Measurement": "made by timers",
    "cuda.Event": "needs a card in PyTorch", "cuda.Stream": "needs a card in PyTorch",
    "compiler.compile": "graphc's own door, tested in tests/programs",
    "library.CustomOpDef": "made by custom_op", "Tensor.__doc__": "no behaviour", "Tensor.__class__": "no behaviour",
}  # fmt: skip
_OBJECT = set(dir(object)) - {
    "__repr__",
    "__format__",
    "__hash__",
    "__eq__",
    "__ne__",
    "__lt__",
    "__le__",
    "__gt__",
    "__ge__",
}
#: PyTorch sees `x + y` as a call of `x.add(y)`
_OPERATORS = {
    "add": "add", "sub": "sub", "mul": "mul", "truediv": "div", "floordiv": "floor_divide", "mod": "remainder", "pow": "pow",
    "matmul": "matmul", "and": "__and__", "or": "__or__", "xor": "__xor__", "lshift": "__lshift__", "rshift": "__rshift__",
}  # fmt: skip
_UNARY = {"neg": "neg", "pos": "positive", "abs": "abs", "invert": "bitwise_not"}
#: PyTorch's calls of these cannot be seen: the class makes another one's objects, or a slot calls no Python
_UNSEEN = {
    *(
        "nn.Buffer",
        "nn.parameter.Buffer",
        "autograd.Variable",
        "Tensor.__delitem__",
        "Tensor.__hash__",
        "Tensor.__iter__",
        "Tensor.ndimension",
    ),
    *("Tensor.nelement", "Tensor.set_", "optim.Optimizer.step"),
}
_OVERRIDES = torch.overrides.__file__
_COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
_LIBRARIES = tuple(str(Path(m.__file__).parent) for m in (gc, torch))  # type: ignore[arg-type]


def namespace(root: Any, path: str) -> Any:
    """The module `graphc.path` or `torch.path`; None where there is none."""
    if not path:
        return root
    try:
        return importlib.import_module(f"{root.__name__}.{path}")
    except ModuleNotFoundError:
        return None


def resolve(root: Any, name: str) -> Any:
    """What `name` ("nn.Linear", "Tensor.add", "add") is in one of the libraries."""
    *path, last = name.split(".")
    owner = root
    for part in path:
        owner = getattr(owner, part) if hasattr(owner, part) else importlib.import_module(f"{owner.__name__}.{part}")
    return inspect.getattr_static(owner, last) if inspect.isclass(owner) else getattr(owner, last)


def surface() -> list[str]:
    """Every public function, class, method, operator and property that both libraries have, by its path."""
    found = []
    for path in NAMESPACES:
        ours, theirs = namespace(gc, path), namespace(torch, path)
        for name in sorted(set(dir(ours)) & set(dir(theirs))) if ours else ():
            value = getattr(ours, name)
            known = str(getattr(value, "__module__", "graphc")).startswith("graphc")
            if not name.startswith("_") and known and callable(value) and callable(getattr(theirs, name)):
                found.append(f"{path}.{name}".lstrip("."))
    for owner in ("Tensor", *CLASSES):
        ours, theirs = resolve(gc, owner), resolve(torch, owner)
        base = set() if owner in ("Tensor", "nn.Module") else set(dir(ours.__mro__[1]))
        have = {name for name in dir(ours) if hasattr(ours, name)}  # others only say that they are missing
        for name in sorted(have & set(dir(theirs)) - _OBJECT - base):
            special = name.startswith("__") and name.endswith("__") and (owner == "Tensor" or name == "__len__")
            if special or not name.startswith("_"):
                found.append(f"{owner}.{name}")
    return [name for name in dict.fromkeys(found) if name not in ELSEWHERE]


def called_by_a_test(depth: int = 2) -> bool:
    """Whether the frame `depth` above is outside both libraries and outside this file."""
    file = sys._getframe(depth).f_code.co_filename
    return not file.startswith(_LIBRARIES) and file != __file__


def _is_foreign(cls: Any) -> bool:
    """Whether a test defined the class."""
    return cls.__module__.partition(".")[0] not in ("graphc", "torch")


def _is_python(cls: Any) -> bool:
    """Whether a class can be given another `__init__`."""
    return bool(cls.__flags__ & (1 << 9)) and type(cls).__name__ != "tensortype"  # 1 << 9: Py_TPFLAGS_HEAPTYPE


class Recorder:
    """Notes calls of surface names in both libraries; `keep` counts those that one passed test made in both."""

    def __init__(self) -> None:
        self.names = surface()
        self.now: tuple[set[str], set[str]] = (set(), set())
        self.kept: set[str] = set()
        self.by_callable: dict[int, list[str]] = {}
        self.unseen = set(_UNSEEN)  # PyTorch's classes written in C: calls of them cannot be noted
        for name in self.names:
            value = resolve(torch, name)
            self.by_callable.setdefault(id(value), []).append(name)
            if inspect.isclass(value) and not _is_python(value):
                self.unseen.add(name)
        self._add_operators()

    def _add_operators(self) -> None:
        same = {f"__{k}__": v for k, v in (*_OPERATORS.items(), *_UNARY.items(), *((c, c) for c in _COMPARISONS))}
        same |= {f"__r{k}__": v for k, v in _OPERATORS.items()}
        same |= {f"__i{k}__": f"__i{v[2:]}" if v.startswith("__") else v + "_" for k, v in _OPERATORS.items()}
        for dunder, method in same.items():
            if f"Tensor.{dunder}" in self.names and hasattr(torch.Tensor, method):
                names = self.by_callable.setdefault(id(inspect.getattr_static(torch.Tensor, method)), [])
                names.append(f"Tensor.{dunder}")

    def start(self) -> None:
        """A test begins."""
        self.now = (set(), set())

    def keep(self) -> set[str]:
        """The test has passed: the names that are new with it."""
        new = (self.now[0] & (self.now[1] | self.unseen)) - self.kept
        self.kept |= new
        return new

    # --- the shims --------------------------------------------------------------------------------------------------

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within, calls are noted."""
        undo: list[Callable[[], None]] = []
        try:
            for side, root in enumerate((gc, torch)):
                for name in self.names:
                    undo += self._wrap(side, root, name)
            undo += self._wrap_function_files()
            with _TorchCalls(self):
                yield
        finally:
            for back in reversed(undo):
                back()

    def _wrap(self, side: int, root: Any, name: str) -> list[Callable[[], None]]:
        path, _, last = name.rpartition(".")
        if path == "Tensor" and side:
            return []  # seen by _TorchCalls
        owner = namespace(root, path) if path in NAMESPACES else resolve(root, path)
        value = inspect.getattr_static(owner, last)
        if inspect.isclass(value):
            return self._replace(value, "__init__", self._init(side, name, value)) if _is_python(value) else []
        if isinstance(value, property):
            return self._replace(owner, last, self._property(side, name, value))
        if isinstance(value, classmethod | staticmethod):
            return self._replace(owner, last, type(value)(self._function(side, name, value.__func__)))
        if not callable(value):  # an attribute of the class
            return self._replace(owner, last, self._property(side, name, property(lambda this: value)))
        return self._replace(owner, last, self._function(side, name, value))

    def _wrap_function_files(self) -> list[Callable[[], None]]:
        """Tests of pointwise functions take them from the files that define them."""
        undo = []
        for file in ("pointwise", "activations"):
            module = importlib.import_module(f"graphc.functions.{file}")
            for name in self.names:
                if name in module.__dict__:
                    value = module.__dict__[name]
                    undo += self._replace(module, name, self._function(0, name, value))
        return undo

    @staticmethod
    def _replace(owner: Any, name: str, new: Any) -> list[Callable[[], None]]:
        had, old = name in vars(owner), vars(owner).get(name)
        try:
            setattr(owner, name, new)
        except TypeError:  # a class written in C
            return []
        return [functools.partial(setattr, owner, name, old) if had else functools.partial(delattr, owner, name)]

    def _function(self, side: int, name: str, fn: Any) -> Any:
        # Noted here already; seen by `_TorchCalls` too, PyTorch's l1_loss would lose its `weight`.
        within = torch._C.DisableTorchFunction if side and name.startswith("nn.functional.") else nullcontext

        @functools.wraps(fn, updated=())
        def call(*args: Any, **kwargs: Any) -> Any:
            if called_by_a_test():
                self.now[side].add(name)
            with within():
                return fn(*args, **kwargs)

        return call

    def _init(self, side: int, name: str, cls: Any) -> Any:
        before = cls.__init__

        @functools.wraps(before)
        def init(this: Any, *args: Any, **kwargs: Any) -> None:
            if type(this) is cls or (_is_foreign(type(this)) and cls in type(this).__mro__):
                self.now[side].add(name)
            if before is not object.__init__:
                before(this, *args, **kwargs)

        return init

    def _property(self, side: int, name: str, value: property) -> property:
        def get(this: Any) -> Any:
            if called_by_a_test():
                self.now[side].add(name)
            return value.fget(this)  # type: ignore[misc]

        return property(get, value.fset, value.fdel, value.__doc__)


class _TorchCalls(TorchFunctionMode):
    """Sees every call of a PyTorch function, method, operator or property on tensors, those from Python only."""

    def __init__(self, recorder: Recorder):
        super().__init__()
        self.recorder = recorder

    @staticmethod
    def from_a_test(func: Any) -> bool:
        """Whether test code called `func`; one written in Python comes here from its own frame."""
        frame: Any = sys._getframe(2)
        while frame.f_code.co_filename == _OVERRIDES or frame.f_code is getattr(func, "__code__", None):
            frame = frame.f_back
        file = frame.f_code.co_filename
        return not file.startswith(_LIBRARIES) and file != __file__

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.from_a_test(func):
            descriptor = getattr(func, "__self__", None) if isinstance(func, _METHOD_WRAPPER) else func
            self.recorder.now[1].update(self.recorder.by_callable.get(id(descriptor), ()))
        return func(*args, **(kwargs or {}))


_METHOD_WRAPPER = type(torch.Tensor.shape.__get__)
