"""Levels of detail: each shows every node once, sums its edges, and stands where a reader looks for it."""

from __future__ import annotations

from collections import Counter

import pytest
from contrast_sample import STEP, report

import graphc as gc
from graphc import nn, optim
from graphc.contrast.levels import levels

DATA = report(3)
STAGES = {stage["name"]: stage for stage in DATA["stages"]}
TITLES = {line["id"]: line["text"].strip() for line in DATA["lines"]} | {k["id"]: k["title"] for k in DATA["kernels"]}


def drawn(name, data=DATA):
    stage = next(stage for stage in data["stages"] if stage["name"] == name)
    return {level["name"]: level for level in levels(stage, TITLES)}


def held(vertex):
    return vertex.get("nodes", [vertex["id"]])


@pytest.mark.parametrize("name", STAGES)
def test_each_level_shows_every_node_once_and_every_edge(name):
    stage = STAGES[name]
    for level in drawn(name).values():
        assert sorted(n for v in level["vertices"] for n in held(v)) == sorted(node["id"] for node in stage["nodes"])
        if level["boxes"]:
            continue
        owner = {n: i for i, v in enumerate(level["vertices"]) for n in held(v)}
        wanted = Counter((owner[a], owner[b]) for a, b, _ in stage["edges"] if owner[a] != owner[b])
        assert {(a, b): count for a, b, _, count in level["edges"]} == wanted


def test_levels_go_from_whole_modules_to_single_ops():
    found = drawn("recorded")
    assert list(found) == ["modules 1", "modules 2", "modules 3", "modules 4", "ops"]
    sizes = [len(level["vertices"]) for level in found.values()]
    assert sizes == sorted(sizes) and sizes[-1] == len(STAGES["recorded"]["nodes"])
    whole = {v["id"]: v for v in found["modules 3"]["vertices"]}
    block = whole["module:Stack.blocks.1:forward"]
    assert set(block["nodes"]) == {"b1.w", "b1.b", "b1.t", "b1.p", "b1.a", "b1.r"}, "parameters stand with their reader"
    assert block["label"] == "Stack.blocks.1" and block["role"] == "forward"
    step = whole[f"line:{STEP}:update"]
    assert step["label"] == "opt.step()" and len(step["nodes"]) == 16, "outside modules nodes stand by their line"
    assert "x" in whole and "y" in whole, "data stays by itself"


def test_only_the_last_stage_has_kernels_and_boxes():
    found = drawn("kernels")
    assert list(found)[-2:] == ["kernels", "ops"]
    vertices = {v["id"]: v for v in found["ops"]["vertices"]}
    boxes = {box["id"]: box for box in found["ops"]["boxes"]}
    assert set(boxes) == {kernel["id"] for kernel in DATA["kernels"]}
    for kernel in DATA["kernels"]:
        box = boxes[kernel["id"]]
        within = {
            v["id"] for v in vertices.values()
            if box["x"] < v["x"] and v["x"] + v["w"] < box["x"] + box["w"]
            and box["y"] < v["y"] and v["y"] + v["h"] < box["y"] + box["h"]
        }  # fmt: skip
        assert within == set(kernel["nodes"]), f"box {kernel['id']} is drawn around its own ops and no others"
    collapsed = [v for v in found["kernels"]["vertices"] if v.get("kind") == "kernel"]
    assert collapsed and all(v["label"].startswith(v["name"]) for v in collapsed)


def test_forward_goes_down_and_backward_goes_up():
    level = drawn("fold_transposes")["ops"]
    role = {node["id"]: node["role"] for node in STAGES["fold_transposes"]["nodes"]}
    down = up = 0
    for a, b, _, _ in level["edges"]:
        start, end = level["vertices"][a], level["vertices"][b]
        ways = {role[start["id"]], role[end["id"]]}
        if ways == {"forward"}:
            down += 1
            assert start["y"] < end["y"]
        if ways == {"backward"}:
            up += 1
            assert start["y"] > end["y"]
    assert down > 5 and up > 5


def test_a_stage_without_nodes_or_modules():
    empty = {"id": "S0", "name": "eager tape", "nodes": [], "edges": []}
    assert [(level["name"], level["vertices"]) for level in levels(empty, {})] == [("ops", [])]
    node = {"id": "a", "op": "add", "type": "f32[]", "role": "forward", "module": "", "lines": [], "kernel": None}
    one = levels({**empty, "nodes": [node]}, {})
    assert [v["id"] for v in one[0]["vertices"]] == ["a"]


def test_what_gathers_from_everywhere_stands_below_the_last_it_gathers_from():
    level = drawn("fold_transposes")["modules 3"]
    vertices = {v["id"]: v for v in level["vertices"]}
    step, head = vertices[f"line:{STEP}:update"], vertices["module:Stack.head:forward"]
    assert step["y"] > head["y"]
    assert abs(step["x"] - head["x"]) < 400, "not set aside, as what has no edges is"


def test_a_parameter_read_first_by_what_is_in_no_kernel_stands_by_itself():
    w, x = nn.Parameter(gc.eye(4) * 2), gc.randn(8, 4)
    opt = optim.SGD([w], lr=0.1)

    def step(x):
        opt.zero_grad()
        loss = (x @ w.T).exp().mean() - gc.linalg.slogdet(w)[1]
        loss.backward()
        opt.step()
        return loss

    stage = gc.contrast(step, x, calls=2).data["stages"][-1]
    outside = {node["id"] for node in stage["nodes"] if node["op"] == "permute" and not node["kernel"]}
    parameter = next(node["id"] for node in stage["nodes"] if node["op"] == "w")
    assert any(a == parameter and b in outside for a, b, _ in stage["edges"])
    kernels = {level["name"]: level for level in levels(stage, {})}["kernels"]
    assert [parameter] in [held(v) for v in kernels["vertices"]]
