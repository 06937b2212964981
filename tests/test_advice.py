"""What `gc.explain` advises to change in the source: each with the line it is about, and nothing where nothing is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from test_explain import checked

import graphc as gc
from graphc import nn, optim

HERE = Path(__file__).name


def line_of(text: str) -> str:
    """`file:LINE` of the one line of this file that ends with a comment."""
    lines = Path(__file__).read_text().splitlines()
    (n,) = [n for n, line in enumerate(lines, 1) if line.endswith(f"# {text}")]
    return f"{HERE}:{n}"


def advised(f: Any, *args: Any) -> list[dict[str, str]]:
    compiled = gc.compile(f)
    compiled(*args)
    return checked(gc.explain(compiled))["builds"][0]["advice"]


def test_a_number_that_changes_is_advised_against() -> None:
    scaled = gc.compile(lambda x, k: x * k)
    for k in range(2):
        scaled(gc.ones(3), k)
    assert checked(gc.explain(scaled))["advice"] == []
    scaled(gc.ones(3), 2)
    explanation = gc.explain(scaled)
    reasons = [(x["argument"], x["old"], x["new"]) for x in explanation.data["recompiles"]]
    assert reasons == [("", None, None), ("k", 0, 1), ("k", 1, 2)]
    assert checked(explanation)["advice"] == []
    scaled(gc.ones(3), 3)  # this line
    (advice,) = checked(gc.explain(scaled))["advice"]
    assert advice["line"].endswith(line_of("this line"))
    assert "k is a plain number that changes (1, 2, 3)" in advice["says"]
    assert "what to change:" in str(gc.explain(scaled))


def test_float64_that_creeps_in_is_named() -> None:
    weights = gc.ones(1024, dtype=gc.float64)

    def f(x: Any, w: Any) -> Any:
        return (x * w).sum()  # wide

    wide = gc.compile(f)
    wide(gc.ones(4, 1024), weights)
    (advice,) = checked(gc.explain(wide))["builds"][0]["advice"]
    assert advice["line"].endswith(line_of("wide"))
    assert "f32[4, 1024] becomes float64 here: " in advice["says"] and "t.to(gc.float32)" in advice["says"]
    for a, b in ((gc.ones(4, 1024), weights.float()), (weights, weights), (gc.ones(4, 8), gc.ones(8).double())):
        narrow = gc.compile(f)
        narrow(a, b)
        assert checked(gc.explain(narrow))["builds"][0]["advice"] == []


def test_a_loop_that_is_unrolled_is_named() -> None:
    def f(x: Any, w: Any, turns: int) -> Any:
        for _ in range(turns):
            x = gc.tanh(x @ w)  # unrolled
        return x

    x, w = gc.ones(2, 8), gc.ones(8, 8)
    (advice,) = advised(f, x, w, 30)
    assert advice["line"].endswith(line_of("unrolled"))
    assert "recorded 30 times: a loop of Python's is unrolled" in advice["says"]
    assert advised(f, x, w, 10) == []
    rows = gc.ones(30, 2, 8)
    assert advised(lambda rows, x, w: gc.scan(lambda x, row: (gc.tanh(x @ w + row),) * 2, x, rows)[0], rows, x, w) == []


def test_layers_of_a_deep_net_are_no_loop() -> None:
    net = nn.Sequential(*[nn.Sequential(nn.Linear(8, 8), nn.Tanh()) for _ in range(30)])
    assert advised(lambda x: net(x), gc.ones(2, 8)) == []
    assert advised(net, gc.ones(2, 8)) == []


def test_a_softmax_before_the_loss_is_named() -> None:
    x, y = gc.rand(4, 5), gc.tensor([0, 1, 2, 3])
    functional = nn.functional
    (twice,) = advised(lambda x, y: functional.cross_entropy(functional.softmax(x, -1), y), x, y)
    assert "the softmax of a softmax" in twice["says"] and HERE in twice["line"]
    (log,) = advised(lambda x, y: functional.nll_loss(gc.log(functional.softmax(x, 1)), y), x, y)
    assert "the logarithm of a softmax" in log["says"] and HERE in log["line"]
    for good in (functional.cross_entropy, lambda x, y: functional.softmax(functional.softmax(x, 1) @ x.T, 1)):
        assert advised(good, x, y) == []


def test_parameters_that_no_optimizer_has_are_named() -> None:
    def step_of(model: Any, optimizer: Any) -> Any:
        def step(x: Any) -> Any:
            optimizer.zero_grad()
            loss = model(x).square().mean()
            loss.backward()
            optimizer.step()
            return loss

        return step

    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    every, last = (optim.SGD(x.parameters(), lr=0.1) for x in (model, model[1]))
    x = gc.ones(3, 4)
    assert advised(step_of(model, every), x) == []
    (advice,) = advised(step_of(model, last), x)
    assert advice["says"].startswith(
        "0.weight, 0.bias require a gradient, and the step, which updates others, does not"
    )
    model[0].requires_grad_(False)
    assert advised(step_of(model, last), x) == []
    assert advised(lambda x: model(x).sum(), x) == []
