"""Pictures: DOT that Graphviz accepts, networkx graphs, the clear sentence without Graphviz."""

from __future__ import annotations

import shutil
import subprocess

import networkx
import pytest

import graphc as gc
from graphc import nn, optim, viz
from graphc.viz import pictures


def accepted_by_dot(dot: str) -> None:
    """Graphviz parses the text (where it is installed); braces and quotes balance in any case."""
    assert dot.count("{") == dot.count("}")
    if shutil.which("dot"):
        done = subprocess.run(["dot", "-Tcanon"], input=dot.encode(), capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()


def mlp_graph() -> gc.Graph:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    opt = optim.SGD(model.parameters(), lr=0.1)
    graph = gc.Graph()
    with graph.as_default():
        x = gc.placeholder((None, 4), name="x")
        y = gc.placeholder((None,), dtype=gc.int64, name="y")
        graph.outputs["loss"] = nn.functional.cross_entropy(model(x), y)
        graph.outputs["train"] = opt.minimize(graph.outputs["loss"])
    return graph


def test_a_graph_shows_roles_modules_types_and_updates():
    dot = viz.to_dot(mlp_graph())
    accepted_by_dot(dot)
    for part in [
        "f32[y_0, 4]",
        '"loss"',
        "train: new 0.weight",
        "cluster_",
        "Sequential",
        "#fbe3d0",
        "#dcefd8",
        "#dbe9f6",
    ]:
        assert part in dot


def test_the_same_code_gives_the_same_picture():
    assert viz.to_dot(mlp_graph()) == viz.to_dot(mlp_graph())


def test_a_tape_shows_entries_leaves_and_what_is_kept():
    w = gc.ones(3, requires_grad=True)
    dot = viz.to_dot((gc.tanh(w) * w).sum())
    accepted_by_dot(dot)
    assert "tanh" in dot
    assert "keeps result" in dot
    assert "leaf0" in dot
    assert "no history" in viz.to_dot(gc.ones(3))


def test_a_compiled_function_shows_its_program_before_and_after_the_passes():
    @gc.compile
    def f(x):
        return (x * 1.0 + 2.0).sum()

    with pytest.raises(gc.errors.GraphError, match="call it once first"):
        viz.to_dot(f)
    f(gc.ones(3))
    accepted_by_dot(viz.to_dot(f))
    assert viz.to_dot(f).count("multiply") > viz.to_dot(f, optimized=True).count("multiply")


def test_networkx_has_ops_types_lines_and_operand_order():
    graph = viz.to_networkx(mlp_graph())
    assert networkx.is_directed_acyclic_graph(graph)
    ops = networkx.get_node_attributes(graph, "op")
    assert {"x", "y", "matmul"} <= set(ops.values())
    assert any("test_viz.py" in line for line in networkx.get_node_attributes(graph, "line").values())
    assert {d["operand"] for _, _, d in graph.edges(data=True)} >= {0, 1}
    tape = viz.to_networkx((gc.ones(2, requires_grad=True) * 2).sum())
    assert [tape.nodes[n]["op"] for n in networkx.topological_sort(tape)] == ["tensor", "multiply", "reduce_sum"]


def test_without_graphviz_a_sentence_says_what_to_do(monkeypatch):
    monkeypatch.setattr(pictures.shutil, "which", lambda _: None)
    with pytest.raises(gc.errors.BackendError, match="apt install graphviz"):
        viz.to_svg(gc.ones(2, requires_grad=True).sum())
    assert viz.show(gc.ones(2))._repr_svg_() is None
    assert "apt install graphviz" in repr(viz.show(gc.ones(2)))


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz's dot is not installed")
def test_with_graphviz_there_is_svg(tmp_path):
    picture = viz.show(mlp_graph())
    assert picture._repr_svg_().lstrip().startswith("<?xml")
    assert picture.save(tmp_path / "g.svg").read_text() == viz.to_svg(mlp_graph())
    assert picture.save(tmp_path / "g.dot").read_text() == picture.dot


def test_other_things_are_refused_by_name():
    with pytest.raises(gc.errors.ArgumentTypeError, match="cannot draw str"):
        viz.to_dot("graph")


def test_graphml_keeps_every_node_and_edge():
    graph = mlp_graph()
    again, made = networkx.parse_graphml(viz.to_graphml(graph)), viz.to_networkx(graph)
    assert len(again) == len(made) and again.number_of_edges() == made.number_of_edges()
    assert {about["op"] for _, about in again.nodes(data=True)} == {about["op"] for _, about in made.nodes(data=True)}


def test_a_text_can_be_read_again_and_drawn():
    graph = mlp_graph()
    text = viz.to_text(graph)
    program = viz.from_text(text)
    assert viz.to_text(program) == text
    assert "test_viz.py" in text and "(backward)" in text and "(update)" in text
    dot = viz.to_dot(program)
    accepted_by_dot(dot)
    assert "#fbe3d0" in dot and "#dcefd8" in dot


def test_a_text_is_a_text():
    with pytest.raises(gc.errors.ArgumentTypeError, match="from_text reads a text, not Graph"):
        viz.from_text(mlp_graph())


def test_a_tape_has_no_text():
    with pytest.raises(gc.errors.GraphError, match="a tape has no text"):
        viz.to_text(gc.ones(2, requires_grad=True) * 2)


def compiled_step():
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    opt = optim.Adam(model.parameters(), lr=0.1)

    def step(x):
        opt.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        opt.step()
        return loss

    return gc.compile(step)


def test_every_stage_of_a_compiled_function_can_be_drawn():
    step = compiled_step()
    step(gc.randn(3, 4))
    names = viz.stages(step)
    assert names[:2] == ["recorded", "optimized"] and names[-1] == "kernels" and "tidy" in names
    pictures = {name: viz.to_dot(step, stage=name) for name in names}
    for dot in pictures.values():
        accepted_by_dot(dot)
    assert pictures["optimized"] == viz.to_dot(step, optimized=True)
    assert pictures["recorded"] == viz.to_dot(step) != pictures["tidy"]
    assert len(viz.to_networkx(step, stage="tidy")) < len(viz.to_networkx(step))
    assert viz.to_text(viz.from_text(viz.to_text(step, stage="kernels"))) == viz.to_text(step, stage="kernels")


def test_kernels_are_boxes():
    step = compiled_step()
    step(gc.randn(3, 4))
    kernels = {about["kernel"] for _, about in viz.to_networkx(step, stage="kernels").nodes(data=True)} - {""}
    assert len(kernels) == len(gc.explain(step).data["builds"][0]["plans"][0]["steps"])
    dot = viz.to_dot(step, stage="kernels")
    assert all(f'label="{kernel}"' in dot for kernel in kernels)


def test_the_same_step_has_the_same_stages():
    first, second = compiled_step(), compiled_step()
    for step in (first, second):
        step(gc.ones(3, 4))
    assert viz.stages(first) == viz.stages(second)
    for name in viz.stages(first):
        assert viz.to_dot(first, stage=name) == viz.to_dot(second, stage=name)


def test_an_unknown_stage_is_refused():
    step = compiled_step()
    with pytest.raises(gc.errors.GraphError, match="has no graph yet"):
        viz.stages(step)
    step(gc.randn(3, 4))
    with pytest.raises(gc.errors.ArgumentError, match=r"no stage 'fusion'(.|\n)*one of recorded, optimized, tidy"):
        viz.to_dot(step, stage="fusion")
    with pytest.raises(gc.errors.ArgumentError, match="Graph has no stage 'tidy'"):
        viz.to_dot(mlp_graph(), stage="tidy")
