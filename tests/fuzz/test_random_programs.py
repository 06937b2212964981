"""2,000 random programs: eager = compiled = session, optimised and not, forward, writes and gradients.

A failing seed N is shrunk by `python -m tests.fuzz --seeds N:N+1`.
"""

from __future__ import annotations

import pytest

from graphc.passes import pipelines
from graphc.passes.rewrite import Rewriter
from graphc.primitives import elementwise
from tests.fuzz.generator import generate, generate_and_run
from tests.fuzz.programs import Program, Step
from tests.fuzz.runner import QUICK, check
from tests.fuzz.shrink import shrink_by

COUNT, CHUNKS = 2000, 50


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_door_gives_the_same(chunk: int) -> None:
    for seed in range(chunk * COUNT // CHUNKS, (chunk + 1) * COUNT // CHUNKS):
        program, outcomes = generate_and_run(seed)
        failure = check(program, QUICK[seed % len(QUICK)], outcomes, feeds=(0, 1))
        assert failure is None, f"{failure}\n{program}\nshrink it: python -m tests.fuzz --seeds {seed}:{seed + 1}"


def test_a_seed_is_one_program() -> None:
    assert generate(7) == generate(7)
    assert generate(7) != generate(8)


def test_programs_hold_what_is_promised() -> None:
    text = "".join(str(generate(seed)) for seed in range(300))
    for part in (
        "gc.no_grad()", ".detach()", "gc.cond(", "gc.scan(", "gc.while_loop(", "gc.where(", ".copy_(", "masked_fill_", "] = ", "] += ",
        "gc.gather", "scatter", "gc.sort", "gc.topk", "gc.cat", "gc.stack", "F.pad", " @ ", ".expand(", ".diagonal(", ".flip(",
        "cumsum", ".shape[", "[n", "bfloat16", "float16", "uint8", "create_graph=True", "requires grad", "gc.rand", "dropout",
    ):  # fmt: skip
        assert part in text, part
