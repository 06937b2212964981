"""The driver: rebuilding, origins, types, bodies, fixpoints, and its cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from program_samples import Builder, RandomProgram, n
from tolerances import assert_close

from graphc.core.errors import VerifyError
from graphc.core.op import Kind, Op
from graphc.ir.interpret import interpret
from graphc.ir.program import Node
from graphc.ir.verify import verify
from graphc.passes.pipelines import DEFAULT, optimise
from graphc.passes.rewrite import Build, Rules, rewrite
from graphc.primitives import creation, elementwise, sorting, views

e = elementwise


def tanh_to_sin(node: Node, build: Build) -> Any:
    """tanh(x) => sin(x)"""
    return build(e.sin, node.inputs[0])


RULES = Rules({e.tanh: (tanh_to_sin,)})


def test_users_are_rebuilt_and_the_rest_is_kept() -> None:
    b = Builder()
    x, y = b.input("x", (2,)), b.input("y", (2,))
    kept = b(e.exp, y)
    program = b.program(b(e.add, b(e.negate, b(e.tanh, x)), kept), kept)
    after = rewrite(program, RULES, "test")
    assert after.outputs == b.program(b(e.add, b(e.negate, b(e.sin, x)), kept), kept).outputs
    assert after.inputs == program.inputs and after.outputs[1] is kept
    assert rewrite(after, RULES, "test") is after


def test_nothing_to_do_returns_the_same_program() -> None:
    b = Builder()
    program = b.program(b(e.exp, b.input("x", (2,))))
    assert rewrite(program, RULES, "test") is program


def test_origins_are_carried_over() -> None:
    b = Builder()
    y = b(e.tanh, b.input("x", (2,)))
    z = b(e.negate, y)
    after = rewrite(b.program(z), RULES, "test").outputs[0]
    assert after.node.origins == z.node.origins
    assert after.node.inputs[0].node.origins == y.node.origins


def test_several_outputs() -> None:
    def swapped(node: Node, build: Build) -> Any:
        """sort(x) descending => sort(-x)"""
        if not node.attrs["descending"]:
            return None
        made = build.table.apply(sorting.sort, node.inputs, {**node.attrs, "descending": False}, build.origins)
        return made.outputs

    b = Builder()
    x = b.input("x", (3,))
    pair = b.node(sorting.sort, x, axis=0, descending=True, stable=True).outputs
    other = b.node(sorting.sort, x, axis=0, descending=False, stable=True).outputs
    rules = Rules({sorting.sort: (swapped,)})
    after = rewrite(b.program(b(e.negate, pair[0]), pair[1]), rules, "test")
    assert after.outputs == (b(e.negate, other[0]), other[1])
    assert rewrite(after, rules, "test") is after


def test_a_wrong_type_is_our_own_fault() -> None:
    def wrong(node: Node, build: Build) -> Any:
        """tanh(x) => reshape(x)"""
        return build(views.reshape, node.inputs[0], shape=(3, 2))

    b = Builder()
    with pytest.raises(VerifyError, match=r"rule test.wrong turned f64\[2, 3\] into f64\[3, 2\]"):
        rewrite(b.program(b(e.tanh, b.input("x", (2, 3)))), Rules({e.tanh: (wrong,)}), "test")


def test_another_unknown_size_is_refused_quietly() -> None:
    def renamed(node: Node, build: Build) -> Any:
        """tanh(x) => full"""
        return build(creation.full, shape=(n * 2,), value=0.0, dtype=node.outputs[0].dtype)

    b = Builder()
    program = b.program(b(e.tanh, b.input("x", (n,))))
    assert rewrite(program, Rules({e.tanh: (renamed,)}), "test") is program


def test_rules_meet_what_rules_made_and_end() -> None:
    def forth(node: Node, build: Build) -> Any:
        """tanh(x) => sin(x)"""
        return build(e.sin, *node.inputs)

    def back(node: Node, build: Build) -> Any:
        """sin(x) => tanh(x)"""
        return build(e.tanh, *node.inputs)

    b = Builder()
    rewrite(b.program(b(e.tanh, b.input("x", (2,)))), Rules({e.tanh: (forth,), e.sin: (back,)}), "test")


def test_bodies_are_rewritten_once() -> None:
    call = Op("call", infer=lambda x, *, body: x, eval=lambda x, *, body: interpret(body, [x])[0], kind=Kind("control"))
    inner = Builder()
    a = inner.input("a", (2,))
    body = inner.program(inner(e.tanh, a))
    b = Builder()
    x = b.input("x", (2,))
    program = b.program(b(e.exp, b(call, b(call, x, body=body), body=body)))
    after = rewrite(program, RULES, "test")
    verify(after)
    outer = after.outputs[0].node.inputs[0].node
    assert outer.attrs["body"] is outer.inputs[0].node.attrs["body"]
    assert outer.attrs["body"].outputs == (inner(e.sin, a),)
    assert rewrite(after, RULES, "test") is after


def test_uses_are_counted() -> None:
    seen: dict[str, int] = {}

    def count(node: Node, build: Build) -> Any:
        """nothing"""
        seen[node.op.name] = build.uses(node.outputs[0])

    b = Builder()
    x = b.input("x", (2,))
    y = b(e.tanh, b(e.exp, x))
    rewrite(b.program(b(e.add, y, y), y), Rules({e.tanh: (count,), e.exp: (count,), e.add: (count,)}), "test")
    assert seen == {"exp": 1, "tanh": 3, "add": 1}


@pytest.mark.parametrize("seed", range(150))
def test_random_programs_mean_the_same_after_the_pipeline(seed: int) -> None:
    random = RandomProgram(seed, 40)
    program, arrays = random.program(), random.arrays()
    after = optimise(program, verify_each=True)
    assert len(after.nodes) <= len(program.nodes) + 2
    for got, want in zip(interpret(after, arrays), interpret(program, arrays), strict=True):
        assert_close(got, want, n=64, scale=max(1.0, float(np.nanmax(np.abs(want.astype(float)), initial=0.0))))
    assert optimise(after) is after


@pytest.mark.parametrize("transform", list(dict.fromkeys(DEFAULT)), ids=lambda f: f.__name__)
@pytest.mark.parametrize("seed", range(40))
def test_each_pass_twice_is_each_pass_once(transform: Any, seed: int) -> None:
    once = transform(RandomProgram(seed, 40).program())
    verify(once, transform.__name__)
    assert transform(once) is once
