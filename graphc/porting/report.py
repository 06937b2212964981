"""The status of each name a script uses: it works, it differs, or it is missing, with what to do."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from graphc.core.missing import nearest
from graphc.core.torch_names import ANSWERED, is_known
from graphc.porting.resolving import MISSING, keywords_of, resolve
from graphc.porting.script import Use

MISSES, DIFFERS, WORKS = "missing", "differs", "works"
_ORDER = (MISSES, DIFFERS, WORKS)
#: names that are there and do not do quite the same: what differs, and what to write
DIFFERENCES = {
    "torch.manual_seed": "a seed gives graphc's own numbers, not PyTorch's; take noise from NumPy where runs are compared",
    "torch.compile": "graphc's compiler: `backend` is one of graphc's, and modes of TorchInductor do not exist",
    "torch.cond": "graphc's own cond: torch.cond(condition, if_true, if_false, operands) traces both branches",
    "torch.while_loop": "graphc's own while_loop, differentiable; see its docstring for the order of arguments",
    "torch.Tensor.pin_memory": "accepted; it pins nothing",
    "torchvision.io.read_image": "Pillow reads the file: the extra `vision`",
    "torchvision.models": "imported, but empty: nn has the layers of its models, and gc.load reads weights",
}
#: names that PyTorch gave up, with their successors
RENAMED = {
    "torchvision.transforms.Scale": "it became Resize",
    "torchvision.transforms.RandomSizedCrop": "it became RandomResizedCrop",
    "torch.symeig": "it became torch.linalg.eigh",
    "torch.eig": "it became torch.linalg.eig",
    "torch.gels": "it became torch.linalg.lstsq",
    "torch.lstsq": "it became torch.linalg.lstsq",
    "torch.solve": "it became torch.linalg.solve",
    "torch.Tensor.solve": "it became torch.linalg.solve",
    "torch.Tensor.symeig": "it became torch.linalg.eigh",
    "torch.Tensor.eig": "it became torch.linalg.eig",
    "torch.matrix_rank": "it became torch.linalg.matrix_rank",
    "torch.Tensor.lstsq": "it became torch.linalg.lstsq",
    "torch.rfft": "it became torch.fft.rfft",
    "torch.irfft": "it became torch.fft.irfft",
}
_VERSIONS = {"torch": "PyTorch 2.13", "torchvision": "torchvision 0.28"}


class Entry(NamedTuple):
    """One name (with the keyword it was called with, if that is what fails): lines, status, a note."""

    name: str
    lines: tuple[int, ...]
    status: str
    note: str


def entries_of(uses: Iterable[Use]) -> list[Entry]:
    """One entry for each name, and for each keyword argument that its callable does not take; the missing ones first."""
    lines: dict[tuple[str, str, str], set[int]] = defaultdict(set)
    for use in uses:
        status, note = status_of(use.name)
        lines[use.name, status, note].add(use.line)
        for keyword in () if status == MISSES else _refused(use):
            told = f"graphc's {use.name} takes {', '.join(sorted(keywords_of(use.name) or ()))}"
            lines[f"{use.name}({keyword}=)", MISSES, told].add(use.line)
    found = [Entry(name, tuple(sorted(at)), status, note) for (name, status, note), at in lines.items()]
    return sorted(found, key=lambda e: (_ORDER.index(e.status), e.name))


def status_of(name: str) -> tuple[str, str]:
    """Status and note of a dotted name of PyTorch or torchvision."""
    if name.partition(".")[0] not in ANSWERED:
        return MISSES, f"graphc answers for {' and '.join(ANSWERED)} only: {name} needs PyTorch itself"
    if resolve(name) is not MISSING:
        return (DIFFERS, DIFFERENCES[name]) if name in DIFFERENCES else (WORKS, "")
    if any(part.startswith("_") for part in name.split(".")):
        return MISSES, "it is private to PyTorch"
    if not is_known(name):
        near = RENAMED.get(name) or _near(name)
        return MISSES, f"{_VERSIONS[name.partition('.')[0]]} does not have it either{'; ' + near if near else ''}"
    return MISSES, RENAMED.get(name) or _near(name)


def _near(name: str) -> str:
    parent = resolve(name.rpartition(".")[0])
    return nearest(name, () if parent is MISSING else [n for n in dir(parent) if hasattr(parent, n)])


def _refused(use: Use) -> list[str]:
    taken = keywords_of(use.name)
    return [] if taken is None else [k for k in use.keywords if k not in taken]


def as_text(file: str, entries: Sequence[Entry]) -> str:
    """For people: the counts, then an entry a line."""
    count = {status: sum(e.status == status for e in entries) for status in _ORDER}
    head = f"{file}: {len(entries)} names of PyTorch: {count[WORKS]} work, {count[DIFFERS]} differ, {count[MISSES]} missing"
    width = max((len(e.name) for e in entries), default=0)
    lines = [
        f"  {e.status:<7}  {e.name:<{width}}  line {_some(e.lines)}{'  ' + e.note if e.note else ''}" for e in entries
    ]
    return "\n".join([head, *lines])


def _some(lines: Sequence[int]) -> str:
    return ", ".join(map(str, lines[:4])) + (f" and {len(lines) - 4} more" if len(lines) > 4 else "")


def as_json(file: str, entries: Sequence[Entry]) -> str:
    """For programs: file, counts by status, and the entries."""
    count = {status: sum(e.status == status for e in entries) for status in _ORDER}
    return json.dumps({"file": file, "counts": count, "names": [e._asdict() for e in entries]}, indent=2)
