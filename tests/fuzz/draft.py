"""A program being drafted: what the families of steps choose operands from, and what they may not do.

A step is proposed as source text and tried at once in eager mode on two feeds of different sizes; it is kept if its results
are tame in both: finite, bounded, and away from kinks and ties, so that rounding cannot change what a program does. A
dimension is known by its pair of sizes. A statement that should work and raises is a finding, not a rejection.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import graphc as gc
from graphc.nn import functional as F
from tests.fuzz.programs import FLOATS, SIZES, Leaf, Program, Step

Pair = tuple[int, int]
Dims = tuple[Pair, ...]

#: Elements of the largest tensor, magnitude of the largest number.
LARGEST, BOUND = 160, 40.0


class GeneratorError(Exception):
    """A statement that the generator believes valid raised in eager mode."""


class Rejected(Exception):
    """The proposed step does not fit; another one is tried."""


class Spoiled(Exception):
    """A write made the draft useless: numbers too large, or a gradient lost."""


def namespace(**more: Any) -> dict[str, Any]:
    """What the text of a step may use."""
    return {"gc": gc, "F": F, **more}


def broadcast(a: Dims, b: Dims) -> Dims | None:
    """The pairs of sizes two operands broadcast to, None where they do not."""
    width = max(len(a), len(b))
    a, b = ((1, 1),) * (width - len(a)) + a, ((1, 1),) * (width - len(b)) + b
    out = []
    for p, q in zip(a, b, strict=True):
        if p != q and (1, 1) not in (p, q):
            return None
        out.append(q if p == (1, 1) else p)
    return tuple(out)


def is_unknown(pair: Pair) -> bool:
    """Whether a size differs between the feeds."""
    return pair[0] != pair[1]


class Draft:
    """One program so far, with its values on both feeds. Families call `pick` for operands, then `define` or `write`."""

    def __init__(self, seed: int, attempt: int = 0):
        self.seed = seed
        self.rng = random.Random(f"{seed}/{attempt}")
        self.steps: list[Step] = []
        self.leaves: list[Leaf] = []
        self.envs = tuple(namespace() for _ in SIZES)
        self.names: list[str] = []
        self.used: dict[str, int] = {}
        self.count = 0
        kind = self.rng.random()
        self.dtypes: tuple[str, ...] = ("float64",) if kind < 0.55 else ("float64", "float32") if kind < 0.9 else FLOATS
        self.coarse = kind >= 0.9

    # --- values ---------------------------------------------------------------------------------------------------

    def add_leaves(self) -> None:
        """Arguments and states of several dtypes, some with sizes that change from feed to feed."""
        rng = self.rng
        sizes: list[int | str] = [1, 2, 3, 3, 4, "n", "n", "n", "m"] if rng.random() < 0.6 else [1, 2, 3, 3, 4, 5]
        if rng.random() < 0.06:
            sizes.append(0)
        for i in range(rng.randint(1, 4)):
            dtype = (
                rng.choice(self.dtypes)
                if i == 0 or rng.random() < 0.65
                else rng.choice(("int64", "int32", "bool", "uint8", "int8"))
            )
            self.add_leaf(
                f"x{i}", tuple(rng.choice(sizes) for _ in range(rng.choice((0, 1, 1, 2, 2, 2, 3)))), dtype, True
            )
        for i in range(rng.choice((0, 0, 1, 1, 2))):
            dims = tuple(rng.choice((1, 2, 3, 3, 4)) for _ in range(rng.choice((0, 1, 2, 2))))
            dtype = rng.choice(self.dtypes) if rng.random() < 0.8 else "int64"
            self.add_leaf(f"s{i}", dims, dtype, rng.random() < 0.5)

    def add_leaf(self, name: str, dims: tuple[int | str, ...], dtype: str, grad: bool) -> None:
        layout = self.rng.choice(("C", "C", "C", "F", "strided"))
        leaf = Leaf(name, dims, dtype, grad and dtype in FLOATS, self.rng.randrange(10**6), layout)
        self.leaves.append(leaf)
        self.names.append(name)
        for k, env in enumerate(self.envs):
            env[name] = tensor_of(leaf, k)

    def value(self, name: str, k: int = 0) -> Any:
        """The tensor of that name in feed `k`."""
        return self.envs[k][name]

    def arrays(self, name: str) -> tuple[np.ndarray, ...]:
        """The numbers of a tensor in each feed."""
        found = [env[name].detach().numpy() for env in self.envs]
        return tuple(a.astype(np.float64) if a.dtype.kind in "fV" or a.dtype.name == "bfloat16" else a for a in found)

    def dims(self, name: str) -> Dims:
        """The pairs of sizes of a tensor."""
        a, b = (tuple(env[name].shape) for env in self.envs)
        return tuple(zip(a, b, strict=True))

    def rank(self, name: str) -> int:
        return len(self.dims(name))

    def size(self, name: str, k: int) -> int:
        return int(np.prod(tuple(self.envs[k][name].shape)))

    def dtype(self, name: str) -> str:
        return str(self.value(name).dtype).split(".")[-1]

    def is_float(self, name: str) -> bool:
        return self.dtype(name) in FLOATS

    def is_bool(self, name: str) -> bool:
        return self.dtype(name) == "bool"

    def is_int(self, name: str) -> bool:
        return not self.is_float(name) and not self.is_bool(name)

    def pick(self, test: Callable[[str], bool] = lambda name: True) -> str:
        """A value that passes the test: mostly a recent one, sometimes one used before."""
        fit = [n for n in self.names if test(n)]
        if not fit:
            raise Rejected
        r = self.rng.random()
        if r < 0.5:
            name = self.rng.choice(fit[-5:])
        elif r < 0.8:
            name = min(fit, key=lambda n: (self.used.get(n, 0), self.rng.random()))
        else:
            name = self.rng.choice(fit)
        self.used[name] = self.used.get(name, 0) + 1
        return name

    def float(self) -> str:
        return self.pick(self.is_float)

    def partner(self, name: str, test: Callable[[str], bool]) -> str:
        """A value that broadcasts with `name` and passes the test."""
        mine = self.dims(name)

        def fits(other: str) -> bool:
            joined = broadcast(mine, self.dims(other)) if test(other) else None
            return joined is not None and all(np.prod([p[k] for p in joined]) <= LARGEST for k in (0, 1))

        return self.pick(fits)

    def axis(self, name: str) -> int:
        """One of its dimensions, Rejected for a scalar."""
        if not self.rank(name):
            raise Rejected
        return self.rng.randrange(self.rank(name))

    def dim_text(self, name: str, axis: int) -> int:
        """The number of a dimension, sometimes counted from the end."""
        return axis - self.rank(name) if self.rng.random() < 0.3 else axis

    def size_text(self, name: str, axis: int) -> str:
        """An expression for a size: a number only where both feeds agree."""
        pair = self.dims(name)[axis]
        if is_unknown(pair) or self.rng.random() < 0.15:
            return self.rng.choice((f"{name}.shape[{axis}]", f"{name}.size({axis})"))
        return str(pair[0])

    def number(self) -> str:
        return self.rng.choice(("0.5", "2", "-1.5", "3.0", "0.25", "1", "-1", "0.0", "1.25"))

    def chance(self, p: float) -> bool:
        return self.rng.random() < p

    # --- tests ----------------------------------------------------------------------------------------------------

    @property
    def margin(self) -> float:
        """How far numbers must stay from a tie or a kink."""
        return 0.06 if self.coarse else 1e-3

    def need(self, test: bool) -> None:
        """Rejects the step unless the test holds."""
        if not test:
            raise Rejected

    def apart(self, a: str, b: str) -> None:
        """Rejects unless the two operands differ by a margin wherever they meet."""
        for x, y in zip(self.arrays(a), self.arrays(b), strict=True):
            self.need((x.dtype.kind != "f" and y.dtype.kind != "f") or bool(np.all(np.abs(x - y) > self.margin)))

    def off(self, name: str, *points: float) -> None:
        """Rejects unless every element keeps its distance from the points."""
        for x in self.arrays(name):
            self.need(x.dtype.kind != "f" or all(bool(np.all(np.abs(x - p) > self.margin)) for p in points))

    def off_integers(self, name: str) -> None:
        for x in self.arrays(name):
            self.need(x.dtype.kind != "f" or bool(np.all(np.abs(x - np.round(x)) > self.margin)))

    def distinct(self, name: str, axis: int | None = None) -> None:
        """Rejects unless all elements (along an axis) keep a distance from each other."""
        for x in self.arrays(name):
            if x.size > 1 and x.ndim:
                gaps = np.diff(np.sort(x, axis=axis if axis is not None else None), axis=-1 if axis is None else axis)
                self.need(bool(np.all(gaps > (self.margin if x.dtype.kind == "f" else 0))))

    def not_empty(self, name: str, axis: int | None = None) -> None:
        self.need(all((env[name].numel() if axis is None else env[name].shape[axis]) > 0 for env in self.envs))

    # --- steps ----------------------------------------------------------------------------------------------------

    def fresh(self) -> str:
        self.count += 1
        return f"v{self.count - 1}"

    def run(self, text: str) -> None:
        """Executes a statement on both feeds."""
        code = compile(text, "<step>", "exec")
        for env in self.envs:
            try:
                exec(code, env)
            except gc.errors.GradientError as error:
                if "modified by an inplace operation" in str(error):
                    raise Spoiled from None
                raise GeneratorError(f"{error}\n  in: {text}\n{self.so_far()}") from error
            except Exception as error:
                raise GeneratorError(f"{type(error).__name__}: {error}\n  in: {text}\n{self.so_far()}") from error

    def so_far(self) -> str:
        return str(Program(self.seed, tuple(self.leaves), tuple(self.steps), ("None",)))

    def define(self, text: str, torch: bool = True, no_grad: bool = False, count: int = 1) -> None:
        """Adds `v = text` if what it gives is tame. `count`: results of a statement that gives several."""
        targets = tuple(self.fresh() for _ in range(count))
        statement = f"{', '.join(targets)} = {text}"
        if no_grad:
            statement = f"with gc.no_grad():\n    {statement}"
        self.run(statement)
        self.tame(targets)
        self.steps.append(Step(statement, targets, torch))
        self.names.extend(targets)

    def tame(self, targets: Sequence[str]) -> None:
        """Rejects results that are too large, or not finite."""
        for name in targets:
            for x in self.arrays(name):
                self.need(x.size <= LARGEST)
                self.need(
                    x.dtype.kind == "b"
                    or x.size == 0
                    or bool(np.max(np.abs(x.astype(np.float64))) <= (BOUND if x.dtype.kind == "f" else 2**14))
                )
                self.need(x.dtype.kind != "f" or bool(np.all(np.isfinite(x))))

    def write(self, statement: str, target: str, no_grad: bool = False, torch: bool = True) -> None:
        """Adds a statement that changes `target` in place; what overlaps with it must stay tame."""
        if no_grad:
            statement = f"with gc.no_grad():\n    {statement}"
        self.run(statement)
        self.steps.append(Step(statement, (), torch))
        for name in self.names:
            try:
                self.tame([name])
            except Rejected:
                raise Spoiled from None

    def finish(self) -> Program:
        """The program with its outputs: what nothing reads, and some of what is read."""
        made = [n for step in self.steps for n in step.targets]
        read = {n for step in self.steps if step.targets for n in step.reads}
        last = [n for n in made if n not in read]
        leaves = [id(self.value(leaf.name)) for leaf in self.leaves]
        made = [n for n in made if id(self.value(n)) not in leaves]  # a fetched leaf shows its first value, by design
        if not made:
            raise Spoiled
        outputs = [n for n in made if (n in last and self.chance(0.8)) or self.chance(0.15)] or made[-1:]
        return Program(self.seed, tuple(self.leaves), tuple(self.steps), tuple(outputs)).tidy()


def tensor_of(leaf: Leaf, k: int) -> Any:
    """A leaf as a fresh eager tensor."""
    tensor = gc.from_numpy(leaf.array(k)).to(gc.get_default_device())
    return tensor.requires_grad_() if leaf.grad else tensor
