"""Runs a program through every door and compares: eager, compiled and session, optimised and not, forward and gradient."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import graphc as gc
from graphc.nn import functional as F
from tests.fuzz.programs import FLOATS, SIZES, Leaf, Program
from tests.tolerances import EPS, assert_close

#: The feeds a compiled function sees, one after the other: a size, another one, the first again.
FEEDS = (0, 1, 0)


@dataclass
class Outcome:
    """What a run leaves behind: results, what became of arguments and states, gradients (None where not connected)."""

    outputs: list[Any] = field(default_factory=list)
    arguments: list[Any] = field(default_factory=list)
    states: list[Any] = field(default_factory=list)
    gradients: list[Any] = field(default_factory=list)
    tracked: list[bool] = field(default_factory=list)
    error: Exception | None = None


@dataclass(frozen=True)
class Failure:
    """How a program failed in one mode. Two failures are alike if mode and kind are."""

    mode: str
    kind: str
    message: str

    def __str__(self) -> str:
        return f"[{self.mode}] {self.kind}: {self.message}"


# --- the pieces all modes share ---------------------------------------------------------------------------------------


def arrays_of(leaves: Sequence[Leaf], k: int) -> list[np.ndarray]:
    """Fresh data."""
    return [np.array(leaf.array(k), order="K") if leaf.layout != "strided" else leaf.array(k) for leaf in leaves]


def tensors_of(leaves: Sequence[Leaf], k: int, module: Any = gc) -> list[Any]:
    """Fresh eager tensors."""
    found = []
    for leaf in leaves:
        tensor = tensor_of(module, leaf.array(k))
        found.append(tensor.requires_grad_() if leaf.grad else tensor)
    return found


def tensor_of(module: Any, array: Any) -> Any:
    """An array as a tensor of graphc, where tensors are made, or of PyTorch."""
    return gc.from_numpy(array).to(gc.get_default_device()) if module is gc else to_torch(module, array)


def to_torch(torch: Any, array: np.ndarray) -> Any:
    """A PyTorch tensor of the same numbers."""
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.astype(np.float32)).to(torch.bfloat16)
    return torch.from_numpy(array)


def loss_of(outputs: Sequence[Any], module: Any = gc) -> Any:
    """A sum of the differentiable outputs in which every element has another weight, None where there is none."""
    total = None
    for i, out in enumerate(outputs):
        if out.is_floating_point() and out.requires_grad:
            term = module.sin(out.to(module.float64) * 1.3 + 0.7 * i).sum()
            total = term if total is None else total + term
    return total


def gradients_of(outputs: Sequence[Any], wanted: Sequence[Any], module: Any = gc) -> list[Any]:
    """The gradients of the loss, in eager code or while tracing."""
    loss = loss_of(outputs, module)
    if loss is None or not wanted:
        return [None] * len(wanted)
    return list(module.autograd.grad(loss, list(wanted), allow_unused=True))


def as_array(x: Any) -> Any:
    """A copy of the numbers of a tensor, an array or None."""
    if x is None or isinstance(x, np.ndarray):
        return x
    if str(x.dtype) == "torch.bfloat16" and not isinstance(x, gc.Tensor):
        return x.detach().float().numpy().astype("bfloat16")
    return np.array(x.detach().numpy())


class Stage:
    """A program as a function, with the tensors it captures."""

    def __init__(self, program: Program, module: Any = gc, functional: Any = F):
        self.program, self.module = program, module
        self.states = tensors_of(program.states, 0, module)
        names = {leaf.name: s for leaf, s in zip(program.states, self.states, strict=True)}
        self.function = program.function({"gc": module, "F": functional, **names})

    def reset(self) -> None:
        """Gives the captured tensors their first values, and the generator its seed."""
        self.module.manual_seed(self.program.seed)
        with self.module.no_grad():
            for leaf, state in zip(self.program.states, self.states, strict=True):
                state.copy_(tensor_of(self.module, leaf.array(0)))

    def wanted(self, arguments: Sequence[Any]) -> list[Any]:
        """The tensors gradients are taken of: float arguments, states that ask for it."""
        leaves = (*self.program.arguments, *self.program.states)
        return [t for leaf, t in zip(leaves, (*arguments, *self.states), strict=True) if leaf.grad]

    def outcome(self, outputs: Sequence[Any], arguments: Sequence[Any], gradients: Sequence[Any]) -> Outcome:
        """Everything as arrays."""
        return Outcome(
            [as_array(o) for o in outputs], [as_array(a) for a in arguments], [as_array(s) for s in self.states],
            [as_array(g) for g in gradients], [getattr(o, "requires_grad", False) for o in outputs],
        )  # fmt: skip


def run_eager(program: Program, k: int, module: Any = gc, functional: Any = F) -> Outcome:
    """The reference: line by line."""
    stage = Stage(program, module, functional)
    stage.reset()
    arguments = tensors_of(program.arguments, k, module)
    try:
        outputs = stage.function(*arguments)
        gradients = gradients_of(outputs, stage.wanted(arguments), module)
    except Exception as error:
        return Outcome(error=error)
    return stage.outcome(outputs, arguments, gradients)


# --- the modes --------------------------------------------------------------------------------------------------------


def run_compiled(program: Program, optimize: bool, inside: bool, verify: bool = False) -> Iterator[Outcome]:
    """`compile`, the gradient taken inside the compiled function or outside of it."""
    stage = Stage(program)
    every = all(isinstance(d, str) or d == 1 for leaf in program.arguments for d in leaf.dims)
    dynamic = True if every and program.seed % 2 else None

    def whole(*arguments: Any) -> Any:
        outputs = stage.function(*arguments)
        return outputs, gradients_of(outputs, stage.wanted(arguments))

    compiled = gc.compile(whole if inside else stage.function, optimize=optimize, dynamic=dynamic, verify=verify)
    for k in FEEDS:
        stage.reset()
        arguments = tensors_of(program.arguments, k)
        if inside:
            outputs, gradients = compiled(*arguments)
        else:
            outputs = compiled(*arguments)
            gradients = gradients_of(outputs, stage.wanted(arguments))
        yield stage.outcome(outputs, arguments, gradients)


def run_session(program: Program, optimize: bool, backend: str | None, verify: bool = False) -> Iterator[Outcome]:
    """`Graph` and `Session`: placeholders with unknown sizes, symbolic gradients, writes as a train op."""
    stage = Stage(program)
    graph = gc.Graph()
    stage.reset()
    with graph.as_default():
        inputs = [placeholder_of(leaf) for leaf in program.arguments]
        outputs = stage.function(*inputs)
        wanted = stage.wanted(inputs)
        loss = loss_of(outputs)
        found = gc.gradients(loss, wanted, allow_unused=True) if loss is not None and wanted else [None] * len(wanted)
        train = gc.updates(graph)
    with gc.Session(graph, optimize=optimize, backend=backend, verify=verify) as session:
        for k in FEEDS[:2]:
            stage.reset()
            arrays = arrays_of(program.arguments, k)
            before = [a.copy() for a in arrays]
            feed = {leaf.name: a for leaf, a in zip(program.arguments, arrays, strict=True)}
            fetches = [list(outputs), [g for g in found if g is not None], train]
            values, gradients, _ = session.run(fetches, feed)
            for a, b in zip(arrays, before, strict=True):
                np.testing.assert_array_equal(a, b, "a session wrote into a feed")
            rest = iter(gradients)
            outcome = stage.outcome(values, (), [None if g is None else next(rest) for g in found])
            outcome.tracked = []
            yield outcome


def placeholder_of(leaf: Leaf) -> Any:
    """A placeholder that leaves open every size that changes."""
    sizes = [None if isinstance(d, str) else d for d in leaf.dims]
    return gc.placeholder(sizes, dtype=getattr(gc, leaf.dtype), name=leaf.name)


MODES: dict[str, Callable[[Program], Iterator[Outcome]]] = {
    "compiled": lambda p: run_compiled(p, True, False),
    "compiled, gradient inside": lambda p: run_compiled(p, True, True),
    "unoptimised": lambda p: run_compiled(p, False, False),
    "unoptimised, gradient inside": lambda p: run_compiled(p, False, True),
    "session": lambda p: run_session(p, True, None),
    "session, unoptimised": lambda p: run_session(p, False, None),
    "session, eager": lambda p: run_session(p, True, "eager"),
    "verified": lambda p: run_compiled(p, True, bool(p.seed % 2), True),
    "session, verified": lambda p: run_session(p, True, None, True),
}


#: Two modes a seed for the default suite: over four seeds every door, optimised and not, gradient inside and outside.
QUICK = (
    ("compiled", "session, unoptimised"),
    ("session", "unoptimised, gradient inside"),
    ("compiled, gradient inside", "session, eager"),
    ("session", "unoptimised"),
)


#: One mode a seed, for backends that take long to build: most often that with most in one program.
ONE = (
    "compiled, gradient inside", "session", "compiled", "unoptimised, gradient inside",
    "compiled, gradient inside", "session, unoptimised", "session", "unoptimised",
)  # fmt: skip

#: How many modes a seed may be tested in.
HOW_MANY = ("one", "some", "all")


def modes_for(seed: int, how_many: str = "some") -> tuple[str, ...]:
    """The modes a seed is tested in. "some": optimised, unoptimised and a session, each in another form from seed to seed."""
    if how_many == "all":
        return tuple(MODES)
    if how_many == "one":
        return (ONE[seed // 8 % len(ONE)],)
    first = ("compiled", "unoptimised, gradient inside") if seed % 2 else ("compiled, gradient inside", "unoptimised")
    return (*first, ("session", "session, unoptimised", "session, eager", "session")[seed // 2 % 4])


# --- comparing --------------------------------------------------------------------------------------------------------


def coarsest(program: Program, outcome: Outcome) -> str:
    """The float dtype with the largest epsilon that a program uses, by its text and its results."""
    text = program.source() + " ".join(leaf.dtype for leaf in program.leaves)
    text += " ".join(a.dtype.name for a in outcome.outputs)
    whole = any(leaf.dtype not in FLOATS for leaf in program.leaves)  # beside a number with a point: float32
    single = ".float()" in text or "/" in text or "gc.sin" in text or (whole and re.search(r"[ (]\d+\.\d", text))
    used = [d for d in FLOATS if d in text] + (["float32"] if single else [])
    return max(used or ["float32"], key=EPS.__getitem__)


def has_control(program: Program) -> bool:
    """Whether the program holds control flow, whose results all depend on all operands."""
    return any(f"gc.{name}(" in program.source() for name in ("cond", "scan", "while_loop"))


def compare(program: Program, got: Outcome, want: Outcome, is_session: bool, k: int) -> None:
    """Asserts that two outcomes are equal within the table of tolerances, which is scaled by the program's length."""
    dtype = coarsest(program, want)
    n = 1 if EPS[dtype] > 1e-4 else 160 * max(len(program.steps), 1)
    largest = max(
        (float(np.max(np.abs(a.astype(np.float64)), initial=1.0)) for a in (*want.outputs, *want.states)), default=1.0
    )
    steepest = max(
        (float(np.max(np.abs(g.astype(np.float64)), initial=largest)) for g in want.gradients if g is not None),
        default=1.0,
    )
    control = has_control(program)
    parts = [("output", got.outputs, want.outputs, largest), ("state", got.states, want.states, largest)]
    if not is_session:
        parts.append(("argument", got.arguments, want.arguments, largest))
        assert control or got.tracked == want.tracked, (
            f"requires_grad of the outputs: {got.tracked}, eager {want.tracked}"
        )
    # the loss is a sine of the outputs: their errors are errors of its phase
    parts.append(("gradient", got.gradients, want.gradients, steepest * largest))
    for what, mine, theirs, scale in parts:
        assert len(mine) == len(theirs), f"{len(mine)} {what}s, eager {len(theirs)}"
        for i, (a, b) in enumerate(zip(mine, theirs, strict=True)):
            if control and (a is None) != (b is None):  # all results of a control op depend on all of its operands
                known = a if b is None else b
                a, b = (np.zeros_like(known) if x is None else x for x in (a, b))
            assert (a is None) == (b is None), (
                f"{what} {i} is {'not ' if a is None else ''}connected, in eager mode it is not so"
            )
            if b is not None:
                assert_close(a, b, dtype=dtype, n=n, scale=scale, what=f"{what} {i} of feed {k}:")


@contextmanager
def verifying(on: bool) -> Iterator[None]:
    """Re-infers every type after every pass."""
    before, gc.config.verify = gc.config.verify, on
    try:
        yield
    finally:
        gc.config.verify = before


def check(
    program: Program,
    modes: Sequence[str] | None = None,
    expected: Sequence[Outcome] | None = None,
    feeds: Sequence[int] = FEEDS,
) -> Failure | None:
    """Runs a program in its modes; the first failure, None if all agree. `expected`: the eager outcomes, where known."""
    expected = expected or [run_eager(program, k) for k in range(len(SIZES))]
    for outcome in expected:
        if outcome.error is not None:
            return Failure("eager", type(outcome.error).__name__, str(outcome.error))
    for mode in modes or modes_for(program.seed):
        failure = check_mode(program, mode, expected, feeds)
        if failure is not None:
            return failure
    return None


def check_mode(
    program: Program, mode: str, expected: Sequence[Outcome], feeds: Sequence[int] = FEEDS
) -> Failure | None:
    """One mode against the eager outcomes. What earlier runs gave is compared again after the last."""
    is_session = mode.startswith("session")
    rows = program.in_rows() if is_session else program
    if rows is not program:  # what is fed to a graph is numbers without a memory layout
        expected = [run_eager(rows, k) for k in range(len(SIZES))]
        if any(o.error is not None or not is_comparable(o) for o in expected):
            return check_refusal(program, mode, expected[0].error)
    try:
        with warnings.catch_warnings(), verifying(program.seed % 8 in (0, 3)):
            warnings.simplefilter("error")
            found = []
            for k, outcome in zip(feeds, MODES[mode](program), strict=False):
                compare(program, outcome, expected[k], is_session, k)
                found.append((k, outcome))
            for k, outcome in found[:-1]:
                compare(program, outcome, expected[k], is_session, k)
    except AssertionError as error:
        text = str(error)
        return Failure(mode, text.split(" ")[0] if text else "assertion", text or "internal assertion")
    except gc.errors.FeedError as error:
        if "sizes disagree" in str(error) and ("//" in str(error) or "max(" in str(error)):
            return None  # by design: a size that a stride or a clamp has made 1 was assumed equal to the one it met
        return Failure(mode, type(error).__name__, str(error))
    except gc.errors.ShapeError as error:
        if is_session and "in one branch and" in str(error):
            return (
                None  # by design: the branches of a cond agree in eager code only for some of the sizes that may be fed
            )
        if is_session and "where the graph recorded a" in str(error):
            return None  # by design: a write reaches what it reaches in eager code only for some of the sizes
        return Failure(mode, type(error).__name__, str(error))
    except gc.errors.GradientError as error:
        if has_control(program) and "modified by an inplace operation" in str(error):
            return None  # results of a control op are connected to more than eager code would connect them to
        return Failure(mode, type(error).__name__, str(error))
    except Exception as error:
        return Failure(mode, type(error).__name__, str(error))
    return None


def is_comparable(outcome: Outcome) -> bool:
    """Whether all numbers are finite."""
    parts = (*outcome.outputs, *outcome.states, *(g for g in outcome.gradients if g is not None))
    return all(bool(np.all(np.isfinite(x.astype(np.float64)))) for x in parts)


def check_refusal(program: Program, mode: str, expected: Exception | None) -> Failure | None:
    """A `view` that needs the memory layout of an argument: where eager code refuses it of rows, so does a graph."""
    if not isinstance(expected, gc.errors.ShapeError):
        return None
    try:
        list(MODES[mode](program))
    except gc.errors.ShapeError:
        return None
    return Failure(mode, "no error", f"eager code raises {expected}")


#: What PyTorch refuses: a write to what an operand overlaps with, or to a view of a split; some gradients.
STRICTER = ("refer to a single memory location", "function that returns multiple views", "is not implemented")


def check_against_torch(program: Program, torch: Any) -> Failure | None:
    """The eager outcome against PyTorch's, for a program that PyTorch can run."""
    for k in range(len(SIZES)):
        want = run_eager(program, k, torch, torch.nn.functional)
        got = run_eager(program, k)
        error = want.error or got.error
        if want.error is not None and any(text in str(want.error) for text in STRICTER):
            return None
        if want.error is not None and got.error is not None:
            return None
        if error is not None:
            return Failure("PyTorch" if want.error else "eager", type(error).__name__, str(error))
        try:
            compare(program, got, want, False, k)
        except AssertionError as failed:
            return Failure("PyTorch", str(failed).split(" ")[0], str(failed))
    return None
