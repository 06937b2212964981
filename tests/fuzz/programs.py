"""A random program as data: leaves, steps and outputs, which can be printed as Python, run, and shrunk.

A step is one statement of source text, so that what is printed is what ran. Names tell what a tensor is: `x0` an argument,
`s0` a tensor from outside (captured, perhaps written), `v0` a result.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ml_dtypes
import numpy as np

NAME = re.compile(r"\b[xsv]\d+\b")

#: What a size's name stands for in the first and in the second feed. No two names have a pair in common, nor do small sums.
SIZES: tuple[dict[str, int], ...] = ({"n": 3, "m": 4}, {"n": 5, "m": 2})

FLOATS = ("float64", "float32", "float16", "bfloat16")


def numpy_dtype(name: str) -> Any:
    """The NumPy dtype of a dtype's name."""
    return ml_dtypes.bfloat16 if name == "bfloat16" else np.dtype(name)


@dataclass(frozen=True)
class Leaf:
    """A tensor a program starts from. `dims`: numbers, or names in `SIZES`."""

    name: str
    dims: tuple[int | str, ...]
    dtype: str
    grad: bool
    seed: int
    layout: str = "C"

    @property
    def is_argument(self) -> bool:
        """Whether it is fed, not captured."""
        return self.name[0] == "x"

    def shape(self, k: int) -> tuple[int, ...]:
        """The shape in feed `k`."""
        return tuple(SIZES[k][d] if isinstance(d, str) else d for d in self.dims)

    def array(self, k: int) -> np.ndarray:
        """The data of feed `k`: numbers that keep a distance from each other and from integers."""
        rng = np.random.default_rng([self.seed, k])
        shape = self.shape(k)
        count = int(np.prod(shape))
        if self.dtype == "bool":
            data = rng.integers(0, 2, count).astype(bool)
        elif self.dtype in FLOATS:
            grid = np.linspace(-1.9, 2.1, 2 * count + 1)[rng.permutation(2 * count + 1)[:count]]
            data = (grid + 0.013).astype(numpy_dtype(self.dtype))
        else:
            low = 0 if self.dtype == "uint8" else -4
            data = rng.integers(low, 6, count).astype(self.dtype)
        if self.layout == "F" and shape:
            return np.asfortranarray(data.reshape(shape))
        if self.layout == "strided" and shape:
            wide = np.zeros((*shape[:-1], 2 * shape[-1]), data.dtype)
            wide[..., ::2] = data.reshape(shape)
            return wide[..., ::2]
        return data.reshape(shape)


@dataclass(frozen=True)
class Step:
    """One statement. `targets`: the names it makes; a write has none."""

    text: str
    targets: tuple[str, ...] = ()
    torch: bool = True

    @property
    def reads(self) -> tuple[str, ...]:
        """The tensors it looks at or writes."""
        found = dict.fromkeys(NAME.findall(self.text))
        return tuple(n for n in found if n not in self.targets)

    def renamed(self, old: str, new: str) -> Step:
        """The step with one name in place of another."""
        return replace(self, text=re.sub(rf"\b{old}\b", new, self.text))


@dataclass(frozen=True)
class Program:
    """A typed random program with the data it runs on."""

    seed: int
    leaves: tuple[Leaf, ...]
    steps: tuple[Step, ...]
    outputs: tuple[str, ...]

    @property
    def arguments(self) -> tuple[Leaf, ...]:
        """The leaves that are fed."""
        return tuple(leaf for leaf in self.leaves if leaf.is_argument)

    @property
    def states(self) -> tuple[Leaf, ...]:
        """The leaves that are captured."""
        return tuple(leaf for leaf in self.leaves if not leaf.is_argument)

    @property
    def torch(self) -> bool:
        """Whether PyTorch can run it too."""
        return all(step.torch for step in self.steps)

    def in_rows(self) -> Program:
        """The program with arguments that lie row by row, itself where they do."""
        if all(leaf.layout == "C" for leaf in self.arguments):
            return self
        leaves = tuple(replace(leaf, layout="C") if leaf.is_argument else leaf for leaf in self.leaves)
        return replace(self, leaves=leaves)

    def source(self) -> str:
        """The program as a Python function."""
        head = f"def program({', '.join(leaf.name for leaf in self.arguments)}):"
        body = [line for step in self.steps for line in step.text.splitlines()]
        return "\n".join([head, *("    " + line for line in body), f"    return ({', '.join(self.outputs)},)"]) + "\n"

    def function(self, namespace: dict[str, Any]) -> Callable[..., Any]:
        """The program as a function in a namespace, which must hold `gc`, `F` and the states."""
        exec(compile(self.source(), f"<program {self.seed}>", "exec"), namespace)
        return namespace["program"]  # type: ignore[no-any-return]

    def script(self, k: int = 0) -> str:
        """A script that makes the leaves and runs the program eagerly."""
        lines = ["import numpy as np", "import graphc as gc", "from graphc.nn import functional as F", ""]
        for leaf in self.leaves:
            data = np.array2string(
                leaf.array(k).astype(np.float64), separator=", ", threshold=10**6, max_line_width=10**6
            )
            data = " ".join(data.split())
            made = f"gc.tensor({data}, dtype=gc.{leaf.dtype}).reshape({leaf.shape(k)})"
            lines.append(f"{leaf.name} = {made}{'.requires_grad_()' if leaf.grad else ''}")
        names = ", ".join(leaf.name for leaf in self.arguments)
        return "\n".join([*lines, "", "", self.source(), "", f"print(program({names}))", ""])

    def __str__(self) -> str:
        lines = [f"# seed {self.seed}, sizes {SIZES}"]
        for leaf in self.leaves:
            dims = ", ".join(map(str, leaf.dims))
            lines.append(f"# {leaf.name}: {leaf.dtype}[{dims}]{' requires grad' if leaf.grad else ''} {leaf.layout}")
        return "\n".join([*lines, self.source()])

    def without(self, dropped: Iterable[int]) -> Program | None:
        """The program without some steps and without whatever needs their results; None if nothing is left."""
        gone = set(dropped)
        missing: set[str] = set()
        kept = []
        for i, step in enumerate(self.steps):
            if i in gone or missing & set(step.reads):
                missing.update(step.targets)
            else:
                kept.append(step)
        outputs = tuple(o for o in self.outputs if o not in missing)
        return replace(self, steps=tuple(kept), outputs=outputs).tidy() if outputs else None

    def tidy(self) -> Program:
        """The program without leaves that nothing reads."""
        used = set(self.outputs).union(*(step.reads for step in self.steps))
        leaves = tuple(leaf for leaf in self.leaves if leaf.name in used)
        return replace(self, leaves=leaves)

    def bypassed(self, i: int, old: str, new: str) -> Program | None:
        """The program without step `i`, `new` standing for its result `old`."""
        steps = (*self.steps[:i], *(step.renamed(old, new) for step in self.steps[i + 1 :]))
        outputs = tuple(dict.fromkeys(new if o == old else o for o in self.outputs))
        outputs = tuple(o for o in outputs if o[0] == "v")
        return replace(self, steps=steps, outputs=outputs).tidy() if outputs else None

    def with_outputs(self, outputs: Sequence[str]) -> Program:
        """The program with fewer outputs, and without pure steps that nothing needs."""
        needed = set(outputs)
        kept: list[Step] = []
        for step in reversed(self.steps):
            if not step.targets or needed & set(step.targets):
                kept.append(step)
                needed.update(step.reads)
        return replace(self, steps=tuple(reversed(kept)), outputs=tuple(outputs)).tidy()
