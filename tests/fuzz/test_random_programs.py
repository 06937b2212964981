"""2,000 random programs: eager = compiled = session, optimised and not, forward, writes and gradients, on both backends.

A failing seed N is shrunk by `python -m tests.fuzz --seeds N:N+1 --backend B`, B being the backend.
"""

from __future__ import annotations

from typing import Any

import pytest

from graphc import executable
from graphc.ir.program import Node, Value
from graphc.passes.pipelines import optimise
from graphc.passes.rewrite import Build, Rules, rewrite
from graphc.primitives import elementwise
from tests.fuzz.backends import on
from tests.fuzz.generator import generate, generate_and_run
from tests.fuzz.runner import QUICK, check, modes_for
from tests.fuzz.shrink import shrink

COUNT, CHUNKS = 2000, 50
#: One program of so many runs on llvm, which takes longer to build: in one mode, beside two on numpy.
NATIVE = 5


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_door_gives_the_same(chunk: int) -> None:
    for seed in range(chunk * COUNT // CHUNKS, (chunk + 1) * COUNT // CHUNKS):
        program, outcomes = generate_and_run(seed)
        backend = "numpy" if seed % NATIVE else "llvm"
        modes = QUICK[seed % len(QUICK)] if seed % NATIVE else modes_for(seed, "one")
        with on(backend, seed):
            failure = check(program, modes, outcomes, feeds=(0, 1))
        again = f"python -m tests.fuzz --seeds {seed}:{seed + 1} --backend {backend}"
        assert failure is None, f"{failure}\n{program}\nshrink it: {again}"


def test_a_seed_is_one_program() -> None:
    assert generate(7) == generate(7)
    assert generate(7) != generate(8)


def test_programs_hold_what_is_promised() -> None:
    text = "".join(str(generate(seed)) for seed in range(300))
    for part in (
        "gc.no_grad()", ".detach()", "gc.cond(", "gc.scan(", "gc.while_loop(", "gc.where(", ".copy_(", "masked_fill_", "] = ",
        "] += ",
        "gc.gather", "scatter", "gc.sort", "gc.topk", "gc.cat", "gc.stack", "F.pad", " @ ", ".expand(", ".diagonal(", ".flip(",
        "cumsum", ".shape[", "[n", "bfloat16", "float16", "uint8", "create_graph=True", "requires grad", "gc.rand", "dropout",
    ):  # fmt: skip
        assert part in text, part


def tanh_to_sin(node: Node, build: Build) -> Value:
    """tanh(x) => sin(x), which is wrong"""
    return build(elementwise.sin, node.inputs[0])


def test_a_wrong_pass_is_found_and_shrunk(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(program: Any, *pipeline: Any, **options: Any) -> Any:
        return rewrite(
            optimise(program, *pipeline, **options), Rules({elementwise.tanh: (tanh_to_sin,)}), "tanh_to_sin"
        )

    monkeypatch.setattr(executable, "optimise", wrong)
    for seed in range(100):
        program = generate(seed)
        if "gc.tanh(" not in program.source():
            continue
        failure = check(program, ("compiled",))
        if failure is not None:
            break
    assert failure is not None
    assert failure.mode == "compiled"
    small = shrink(program, failure)
    assert len(small.steps) <= 3
    assert "tanh" in small.source()
    monkeypatch.undo()
    assert check(small, ("compiled",)) is None


def test_a_shrunk_program_is_a_script() -> None:
    program = next(p for p in map(generate, range(50)) if p.arguments and len(p.steps) < 8)
    exec(compile(program.script(), "<script>", "exec"), {})
