"""Makes a failing program small, so that a person can read what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.fuzz.programs import Leaf, Program
from tests.fuzz.runner import Failure, check

Test = Callable[[Program], bool]


def shrink(program: Program, failure: Failure, limit: int = 400) -> Program:
    """The smallest program found that fails alike: fewer outputs, steps, leaves and dimensions that change."""
    return shrink_by(program, lambda p: alike(check_one(p, failure.mode), failure), limit)


def alike(found: Failure | None, failure: Failure) -> bool:
    """Whether a smaller program shows the same fault."""
    return found is not None and (found.mode, found.kind) == (failure.mode, failure.kind)


def check_one(program: Program, mode: str) -> Failure | None:
    """The failure in one mode."""
    return check(program, () if mode == "eager" else (mode,))


def shrink_by(program: Program, fails: Test, limit: int = 400) -> Program:
    """The smallest program found for which `fails` holds; at most `limit` are tried."""
    tried, smaller = 0, True
    while smaller and tried < limit:
        smaller = False
        for candidate in candidates(program):
            tried += 1
            if tried >= limit:
                break
            if size(candidate) < size(program) and fails(candidate):
                program, smaller = candidate, True
                break
    return program


def size(program: Program) -> tuple[int, ...]:
    """What shrinking lowers, the most important first."""
    return (
        len(program.steps), len(program.outputs), len(program.leaves), sum(len(leaf.dims) for leaf in program.leaves),
        sum(isinstance(d, str) for leaf in program.leaves for d in leaf.dims), sum(leaf.grad for leaf in program.leaves),
        sum(leaf.layout != "C" for leaf in program.leaves), len(program.source()),
    )  # fmt: skip


def candidates(program: Program) -> Iterator[Program]:
    """Smaller programs, the boldest first."""
    for output in program.outputs:
        yield program.with_outputs([output])
    count = len(program.steps)
    width = count // 2
    while width >= 1:
        for start in range(count - width, -1, -width):
            found = program.without(range(start, start + width))
            if found is not None:
                yield found
        width //= 2
    for i in reversed(range(count)):
        step = program.steps[i]
        for target in step.targets[:1]:
            for name in step.reads:
                found = program.bypassed(i, target, name)
                if found is not None:
                    yield found
    for output in program.outputs:
        if len(program.outputs) > 1:
            yield program.with_outputs([o for o in program.outputs if o != output])
    yield from simpler_leaves(program)
    yield from simpler_steps(program)


def simpler_leaves(program: Program) -> Iterator[Program]:
    """Leaves without gradient, in plain layout, of known sizes."""
    for i, leaf in enumerate(program.leaves):
        options: list[Leaf] = [replace(leaf, layout="C"), replace(leaf, grad=False)]
        options += [
            replace(leaf, dims=(*leaf.dims[:a], 3, *leaf.dims[a + 1 :]))
            for a, d in enumerate(leaf.dims)
            if isinstance(d, str)
        ]
        for option in options:
            if option != leaf:
                yield replace(program, leaves=(*program.leaves[:i], option, *program.leaves[i + 1 :]))


def simpler_steps(program: Program) -> Iterator[Program]:
    """Steps out of their no_grad block."""
    for i, step in enumerate(program.steps):
        plain = re.sub(r"^with gc.no_grad\(\):\n    ", "", step.text)
        if plain != step.text:
            yield replace(program, steps=(*program.steps[:i], replace(step, text=plain), *program.steps[i + 1 :]))
