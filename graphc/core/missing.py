"""What is said of a name that PyTorch has and graphc has not: one sentence, with the nearest thing."""

from __future__ import annotations

import difflib
import functools
import opcode
import sys
from collections.abc import Iterable
from typing import Any

from graphc.core.errors import MissingImportError, MissingNameError
from graphc.core.torch_names import is_known, torch_path

_IMPORT_FROM = opcode.opmap["IMPORT_FROM"]
#: what to do without a part of PyTorch that graphc leaves out
INSTEAD = {
    "torch.ao": "it has no quantised tensors: float16, bfloat16 and autocast are its narrow numbers",
    "torch.export": "gc.save_graph keeps a program",
    "torch.package": "gc.save keeps weights, gc.save_graph a program",
    "torch.view_as_real": "it has no complex numbers: keep real and imaginary parts in a last dimension of size 2",
    "torch.masked": "masks are tensors of their own, for where and masked_fill",
    "torchvision.models": "it has no ready models: nn has their layers, and gc.load reads weights",
    "torchvision.ops": "it has nothing for detection",
    "torchvision.transforms.v2": "torchvision.transforms are for images",
}
#: the same by how a word of the name begins
INSTEAD_BY_WORD = {
    "sparse": "its tensors are dense: use masks, gather and scatter",
    "complex": "it has no complex numbers: keep real and imaginary parts in a last dimension of size 2",
    "imag": "it has no complex numbers: keep real and imaginary parts in a last dimension of size 2",
    "spmm": "its tensors are dense: use mm",
    "hspmm": "its tensors are dense: use mm",
    "fft": "it has no complex numbers; a short transform is a product with a matrix of cosines and sines",
    "stft": "it has no complex numbers; x.unfold() and a product with a matrix of cosines and sines give a spectrogram",
    "polar": "it has no complex numbers: use cos and sin",
    "quant": "it has no quantised tensors: float16, bfloat16 and autocast are its narrow numbers",
    "nested": "it has no nested tensors: nn.utils.rnn.pad_sequence and masks",
    "float8": "its narrowest floats have 16 bits",
    "dynamo": "gc.compile has no such inner parts",
    "inductor": "gc.compile has no such inner parts",
    "fx": "gc.Graph records a program, and gc.viz shows it",
    "library": "an op of one's own is a library.custom_op or an autograd.Function",
    "mps": "its devices are the CPU, OpenCL and CUDA",
    "xpu": "its devices are the CPU, OpenCL and CUDA",
    "npu": "its devices are the CPU, OpenCL and CUDA",
}
#: where a function of the same name is looked for
_PLACES = ("graphc", "graphc.nn.functional", "graphc.linalg", "graphc.nn", "graphc.nn.utils", "graphc.optim")


def nearest(path: str, ours: Iterable[str] = ()) -> str:
    """What to use in place of a name that graphc has not, "" where nothing is near; `ours` are names of the namespace."""
    root, *parts = path.split(".")
    for n in range(len(parts), 0, -1):
        if (part := ".".join([root, *parts[:n]])) in INSTEAD:
            return INSTEAD[part]
    words = [word for part in parts for word in part.lower().split("_")]
    for start, instead in INSTEAD_BY_WORD.items():
        if root == "torch" and any(word.startswith(start) for word in words):
            return instead
    elsewhere = _elsewhere(path)
    close = [elsewhere] if elsewhere else difflib.get_close_matches(parts[-1], [n for n in ours if n[0] != "_"], 3, 0.7)
    return f"the nearest it has: {', '.join(close)}" if close else ""


def _elsewhere(path: str) -> str:
    """Where graphc has a function or class of that name, or of nearly that name; "" if nowhere."""
    root, *parts = path.split(".")
    name, own = parts[-1], ".".join(["graphc", *parts])
    for place in (*_PLACES, "graphc.Tensor") if root == "torch" else ():
        for spelling in (name, name.rstrip("_"), name.removeprefix("linalg_")):
            if f"{place}.{spelling}" != own and spelling and _has(place, spelling):
                return f"{place.removeprefix('graphc.')}.{spelling}" if place != "graphc" else f"torch.{spelling}"
    return ""


def _has(place: str, name: str) -> bool:
    """Whether a loaded module of graphc (or its Tensor) has a function or class of that name."""
    if place == "graphc.Tensor":
        found: Any = getattr(getattr(sys.modules.get("graphc"), "Tensor", None), name, None)
    else:
        found = vars(sys.modules[place]).get(name) if place in sys.modules else None
    return callable(found)


@functools.cache
def sentence(path: str, ours: tuple[str, ...] = ()) -> str:
    """One sentence that names what is missing and what is nearest to it."""
    near = nearest(path, ours)
    return f"graphc does not have {path}" + (f"; {near}" if near else "")


def missing(module: str, name: str) -> str:
    """What to say of a name that a module of graphc has not."""
    text = f"module {module!r} has no attribute {name!r}"
    if name.startswith("__"):
        return text
    return f"{text}: {_sentence_in(module, name)}"


def _sentence_in(module: str, name: str) -> str:
    return sentence(f"{torch_path(module)}.{name}", tuple(dir(sys.modules.get(module))))


def unknown(module: str, name: str, frame: Any) -> Exception:
    """The error for a name that a module of graphc has not, asked for in that frame or by its `__getattr__`.

    MissingNameError (an AttributeError, so that `hasattr` says no), or MissingImportError in `from module import name`.
    """
    while frame.f_code.co_name == "__getattr__":
        frame = frame.f_back
    if frame.f_code.co_code[frame.f_lasti] == _IMPORT_FROM and is_known(f"{torch_path(module)}.{name}"):
        return MissingImportError(f"cannot import name {name!r} from {module!r}: {_sentence_in(module, name)}")
    return MissingNameError(missing(module, name))
