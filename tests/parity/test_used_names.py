"""Every name of PyTorch that training scripts use exists, takes their keywords, and is compared with PyTorch's.

The names are in used_names.txt, which tools/used_names.py makes of a count over many repositories.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

from recording import ELSEWHERE, resolve, surface  # noqa: E402

import graphc as gc  # noqa: E402
from graphc.porting import resolving  # noqa: E402

HERE = Path(__file__).parent
LINES = (HERE / "used_names.txt").read_text().split()
NAMES = [line for line in LINES if "(" not in line]
KEYWORDS = [line.removesuffix("=)").split("(") for line in LINES if "(" in line]
#: names whose comparison is no call that the recorder sees: which file has it
TESTED_IN = {
    "_foreach_copy_": "parity/test_small_namespaces.py", "autograd.profiler.profile": "parity/test_small_namespaces.py",
    "jit.script": "parity/test_small_namespaces.py", "jit.trace": "parity/test_small_namespaces.py",
    "hub.load": "test_namespaces.py", "hub.load_state_dict_from_url": "test_namespaces.py",
    "onnx.export": "exporting/test_options.py", "utils.tensorboard.SummaryWriter": "test_namespaces.py",
    **dict.fromkeys(
        [f"nn.utils.rnn.{n}" for n in ("pack_padded_sequence", "pad_packed_sequence", "pad_sequence")],
        "parity/test_recurrent.py",
    ),
    "cuda.amp.GradScaler": "parity/test_autocast.py", "cuda.amp.autocast": "parity/test_autocast.py",
    "backends.mps.is_available": "test_as_torch.py",
    "multiprocessing.set_start_method": "test_namespaces.py", "multiprocessing.Process": "parity/test_small_namespaces.py",
    "multiprocessing.spawn": "parity/test_small_namespaces.py",
}  # fmt: skip


def known_to(root: Any, name: str) -> bool:
    """Whether one of the libraries has it."""
    try:
        resolve(root, name.removeprefix("torch").removeprefix(".") or "__name__")
    except (AttributeError, ModuleNotFoundError):
        return False
    return True


def test_they_exist() -> None:
    lacking = [name for name in NAMES if resolving.resolve(name) is resolving.MISSING]
    assert [name for name in lacking if known_to(torch, name)] == []


def test_their_keywords_are_taken() -> None:
    refused = []
    for name, keyword in KEYWORDS:
        taken = resolving.keywords_of(name) if known_to(torch, name) and known_to(gc, name) else None
        if taken is not None and keyword not in taken:
            refused.append(f"{name}({keyword}=)")
    assert refused == []


def test_they_are_compared() -> None:
    """`test_coverage.py` sees to it that what is on the surface is."""
    names = surface()
    same = {id(resolve(gc, name)) for name in names}
    silent = []
    for name in NAMES:
        short = name.removeprefix("torch.")
        value = resolving.resolve(name)
        if (
            short in names
            or short in ELSEWHERE
            or id(value) in same
            or isinstance(value, ModuleType)
            or not callable(value)
        ):
            continue
        if not known_to(torch, name):
            continue
        file = TESTED_IN.get(short)
        if file is None or short.rpartition(".")[2] not in (HERE.parent / file).read_text():
            silent.append(name)
    assert silent == []


@pytest.mark.parametrize("name", [n for n in NAMES if known_to(torch, n) and not callable(resolving.resolve(n))])
def test_what_is_no_function_is_of_the_same_kind(name: str) -> None:
    short = name.removeprefix("torch").removeprefix(".")
    ours, theirs = (resolve(m, short) if short else m for m in (gc, torch))
    if isinstance(theirs, torch.dtype | torch.memory_format):
        assert str(ours).rpartition(".")[2] == str(theirs).rpartition(".")[2]
    elif not isinstance(theirs, ModuleType | property) and "Tensor." not in name:
        assert isinstance(ours, type(theirs)) or (ours is None) == (theirs is None)
