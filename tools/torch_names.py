"""Makes `graphc/core/torch_names.txt`: the public names of PyTorch and torchvision, by namespace.

    pip install torch==2.13.0 torchvision==0.28.0 && python tools/torch_names.py

One line a namespace, `torch.nn: AdaptiveAvgPool1d ...`; the first line is `torch.Tensor`'s. A name counts as public if
`__all__` has it; where there is none, if it has no leading underscore and was not imported from elsewhere.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torchvision

TARGET = Path(__file__).parent.parent / "graphc" / "core" / "torch_names.txt"
CLASSES = (
    "torch.Tensor", "torch.nn.Module", "torch.optim.Optimizer", "torch.optim.lr_scheduler.LRScheduler",
    "torch.utils.data.DataLoader", "torch.Generator", "torch.autograd.Function", "torch.distributions.Distribution",
)  # fmt: skip
#: roots below which modules are looked for, and parts of them that no script uses
ROOTS = {
    "torch": ("accelerator", "amp", "autograd", "backends", "compiler", "cpu", "cuda", "distributed", "distributions", "export",
              "fft", "func", "functional", "futures", "fx", "hub", "jit", "library", "linalg", "masked", "mps", "mtia",
              "multiprocessing", "nested", "nn", "onnx", "optim", "overrides", "package", "profiler", "random",
              "return_types", "serialization", "signal", "sparse", "special", "storage", "testing", "types", "utils",
              "version", "xpu"),
    "torchvision": ("datasets", "io", "models", "ops", "transforms", "tv_tensors", "utils"),
}  # fmt: skip
SKIPPED = (
    "benchmark", "bottleneck", "collect_env", "cpp_extension", "data.datapipes", "distributed.elastic",
    "distributed.checkpoint", "distributed.pipelining", "distributed.tensor", "distributed.fsdp", "fx.experimental",
    "fx.passes", "hipify", "jit.mobile", "model_dump", "model_zoo", "nested.", "nn.quant", "nn.intrinsic", "nn.qat",
    "onnx.", "package.", "testing.", "utils.viz", "viz", "onnx_", "utils.jit", "utils.benchmark", "compiler.",
    "export.", "nn.backends", "futures.", "library.", "types.", "_", "samplers", "distributed.flight_recorder",
    "distributed.launcher", "distributed.nn.", "distributed.rpc.", "distributed.optim.", "distributed.algorithms.",
    "backends.xeon.", "models.quantization.", "models.detection.", "utils.data.graph", "utils.data.backward",
    "masked.maskedtensor", "python_native", "cudnn.rnn",
)  # fmt: skip
#: of `torch` itself: classes that scripts name (the others are TorchScript's), and beginnings of names of kernels
TORCH_CLASSES = re.compile(r"\w*(Tensor|Storage)|Size|Generator|Stream|Event|OutOfMemoryError|SymInt|SymFloat|SymBool")
KERNELS = ("cudnn_", "miopen_", "mkldnn_", "fbgemm_", "quantized_", "native_", "q_", "sym_", "fused_", "batch_norm_",
           "is_autocast_", "get_autocast_", "set_autocast_", "autocast_", "parse_", "import_ir")  # fmt: skip


def public_names(module: ModuleType) -> list[str]:
    """The names of a module that are its own."""
    listed = getattr(module, "__all__", None)
    names = listed if listed and module.__name__ != "torch" else [n for n in dir(module) if not n.startswith("_")]
    return sorted({n for n in names if not n.startswith("_") and is_own(module, n) and not is_inner(module, n)})


def is_inner(module: ModuleType, name: str) -> bool:
    """Whether a name of `torch` itself is a kernel or a class of TorchScript's, which no script names."""
    if module is not torch:
        return False
    if name.isupper():
        return True
    if inspect.isclass(getattr(torch, name)):
        return not TORCH_CLASSES.fullmatch(name) and name[0].isupper()
    return name.startswith(KERNELS) or name.endswith("_copy")


def is_own(module: ModuleType, name: str) -> bool:
    """Whether a name belongs to the library, not to what its file imports."""
    value: Any = getattr(module, name, None)
    root = module.__name__.partition(".")[0]
    if inspect.ismodule(value):
        return value.__name__.startswith(f"{module.__name__}.") and hasattr(module, name)
    where = getattr(value, "__module__", None)
    if name in getattr(module, "__all__", ()):
        return True
    if inspect.isclass(value) or inspect.isfunction(value):
        return str(where).partition(".")[0] == root or where in ("_contextlib", None)
    return where != "typing" and where != "__future__" and not str(type(value).__module__).startswith("typing")


def modules() -> dict[str, ModuleType]:
    """The public modules by their dotted names."""
    found: dict[str, ModuleType] = {}
    for root, parts in ROOTS.items():
        found[root] = importlib.import_module(root)
        for part in parts:
            pending = [f"{root}.{part}"]
            while pending:
                name = pending.pop()
                below = name.partition(".")[2]
                if any(below.startswith(s) or f".{s}" in f".{below}" for s in SKIPPED):
                    continue
                try:
                    module = importlib.import_module(name)
                except Exception as error:
                    print(f"left out: {name}: {error}")
                    continue
                found[name] = module
                if hasattr(module, "__path__"):
                    pending += [f"{name}.{m.name}" for m in pkgutil.iter_modules(module.__path__) if m.name[0] != "_"]
    return found


def main() -> None:
    warnings.simplefilter("ignore")
    lines = []
    for path in CLASSES:
        owner: Any = importlib.import_module(path.rpartition(".")[0])
        owner = getattr(owner, path.rpartition(".")[2])
        names = [n for n in dir(owner) if not n.startswith("_")]
        if path == "torch.nn.Module":
            names += ["training"]  # set by its constructor
        lines.append(f"{path}: {' '.join(sorted(names))}")
    for path, module in sorted(modules().items()):
        lines.append(f"{path}: {' '.join(public_names(module))}".rstrip())
    TARGET.write_text("\n".join(lines) + "\n")
    print(f"{TARGET}: torch {torch.__version__}, torchvision {torchvision.__version__}, {len(lines)} namespaces")


if __name__ == "__main__":
    main()
