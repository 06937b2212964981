"""The page docs/coverage.md: PyTorch's public names, namespace by namespace, and which of them graphc has.

`graphc port --coverage > docs/coverage.md` makes it anew; a test holds it to the code.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from graphc import version
from graphc.core.torch_names import all_names
from graphc.porting.resolving import MISSING, resolve

#: the namespaces of the page, in its order
SPACES = (
    "torch", "torch.Tensor", "torch.nn", "torch.nn.Module", "torch.nn.functional", "torch.nn.init", "torch.nn.utils",
    "torch.nn.utils.rnn", "torch.nn.utils.parametrizations", "torch.nn.utils.parametrize", "torch.nn.utils.prune",
    "torch.optim", "torch.optim.Optimizer", "torch.optim.lr_scheduler", "torch.optim.swa_utils", "torch.utils.data",
    "torch.utils.checkpoint", "torch.autograd", "torch.autograd.functional", "torch.func", "torch.linalg", "torch.special",
    "torch.fft", "torch.distributions", "torch.distributed", "torch.cuda", "torch.amp", "torch.jit", "torch.profiler",
    "torch.multiprocessing", "torchvision.transforms", "torchvision.transforms.functional", "torchvision.datasets",
    "torchvision.utils", "torchvision.io",
)  # fmt: skip
HEAD = """\
# Coverage

Which of PyTorch's public names graphc has. Made from the code by `graphc port --coverage`; what a script of yours needs is
told by `graphc port FILE.py`. The names are those of PyTorch {follows} and torchvision 0.28. A name that graphc has not answers
with one sentence that says so. Those it has are compared with PyTorch by the tests in `tests/parity/`.

| namespace | has | of |
|---|---|---|
{rows}
"""


def split(space: str) -> tuple[list[str], list[str]]:
    """The names of a namespace that graphc has, and those it has not."""
    names = sorted(all_names()[space])
    have = [name for name in names if resolve(f"{space}.{name}") is not MISSING]
    return have, [name for name in names if name not in have]


def page() -> str:
    """The whole page."""
    parts = {space: split(space) for space in SPACES}
    rows = [f"| `{space}` | {len(have)} | {len(have) + len(lack)} |" for space, (have, lack) in parts.items()]
    sections = [_section(space, *lists) for space, lists in parts.items()]
    return HEAD.format(follows=version.follows, rows="\n".join(rows)) + "\n" + "\n".join(sections)


def _section(space: str, have: Sequence[str], lack: Sequence[str]) -> str:
    return f"## {space}\n\n" + _names("Has", have) + _names("Has not", lack)


def _names(title: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    text = textwrap.fill(", ".join(f"`{n}`" for n in names), 128, break_long_words=False, break_on_hyphens=False)
    return f"{title}:\n{text}\n\n"
