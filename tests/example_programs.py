"""The programs in examples/ that begin with `import torch`, loaded unchanged for graphc or for PyTorch.

Each has `build()`, which gives a model, and `train(model, steps, prepare)`, which trains it and gives the losses; `prepare`
makes of the training step what shall be called. What is random after the first weights comes from NumPy.
"""

from __future__ import annotations

import builtins
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
from test_layers import ROOT

import graphc as gc

PROGRAMS = (
    "mnist_cnn", "word_lstm", "vae", "gan", "gpt", "seq2seq_attention", "dqn", "matrix_factorisation", "custom_function",
    "clipping_schedules", "weight_norm", "padded_loader",
)  # fmt: skip


def importer(torch: Any) -> Callable[..., Any]:
    """An `__import__` to which `torch` is this library. (`graphc run` answers in a whole process; ours may hold PyTorch.)"""

    def find(name: str, names: Any = None, local: Any = None, wanted: Any = (), level: int = 0) -> Any:
        root, _, rest = name.partition(".")
        if root != "torch" or torch is not gc:
            return __import__(name, names, local, wanted, level)
        module = importlib.import_module(f"graphc.{rest}") if rest else gc
        return module if wanted else gc

    return find


def load(name: str, torch: Any) -> Any:
    """The program as a module whose `torch` is this library."""
    path = ROOT / "examples" / f"{name}.py"
    module = ModuleType(f"{name}_on_{torch.__name__}")
    sys.modules[module.__name__] = module  # worker processes, and named tuples, ask for it
    module.__dict__["__builtins__"] = {**vars(builtins), "__import__": importer(torch)}
    exec(compile(path.read_text(), str(path), "exec"), module.__dict__)
    assert module.torch is torch
    return module


@contextmanager
def default_dtype(torch: Any, name: str) -> Iterator[None]:
    """Floats are made in this dtype while it is open."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, name))
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def weights(model: Any) -> dict[str, Any]:
    """A state dict as arrays."""
    return {name: np.array(t.detach().cpu().numpy()) for name, t in model.state_dict().items()}


def curve(name: str, torch: Any, start: dict[str, Any], dtype: str, steps: int, prepare: Any = None) -> list[float]:
    """The program's losses from these first weights."""
    program = load(name, torch)
    with default_dtype(torch, dtype):
        model = program.build()
        model.load_state_dict({key: torch.tensor(a) for key, a in start.items()})
        return program.train(model, steps, prepare)  # type: ignore[no-any-return]
