"""`gc.explain`: what it says of functions, modules, sessions and files, as data and as text, and that it changes nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc import nn, optim
from graphc.backends.llvm import blas
from graphc.backends.llvm.gemm import LIBRARY_SIZE
from graphc.core.config import config
from graphc.ir.interpret import interpreter
from graphc.ir.program import Program

BACKENDS = ["llvm", "numpy"]
HERE = "test_explain.py"


def line_of(text: str) -> str:
    """`file:LINE` of the one line of this file that ends with a comment."""
    lines = Path(__file__).read_text().splitlines()
    (n,) = [n for n, line in enumerate(lines, 1) if line.endswith(f"# {text}")]
    return f"{HERE}:{n}"


def names(lines: list[str]) -> list[str]:
    return [line.rsplit("/", 1)[-1] for line in lines]


def checked(explanation: Any) -> dict[str, Any]:
    """The data of an explanation that is sound: JSON holds it, the text is narrow."""
    assert json.loads(json.dumps(explanation.data)) == explanation.data
    text = str(explanation)
    assert max(map(len, text.splitlines())) < 120
    assert repr(explanation) == text
    found: dict[str, Any] = explanation.data
    return found


def steps(data: Any) -> Iterator[dict[str, Any]]:
    """Every step of every plan, in bodies too."""
    for build in data["builds"]:
        for plan in build["plans"]:
            yield from _deep(plan["steps"])


def _deep(found: Any) -> Iterator[dict[str, Any]]:
    for step in found:
        yield step
        for body in step.get("bodies", {}).values():
            yield from _deep(body)


class Trainer:
    """A small net, its optimizer, and one step of training."""

    def __init__(self, backend: str):
        gc.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
        self.opt = optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)
        self.step = gc.compile(self.plain, backend=backend)
        self.x, self.y = gc.randn(5, 6), gc.tensor([0, 1, 2, 1, 0])

    def plain(self, x: Any, y: Any) -> Any:
        self.opt.zero_grad()
        loss = nn.functional.cross_entropy(self.model(x), y)  # the loss
        loss.backward()
        self.opt.step()  # the update
        return loss

    def state(self) -> list[Any]:
        kept = [x for s in self.opt.state.values() for x in s.values() if isinstance(x, gc.Tensor)]
        return [x.detach().numpy().copy() for x in (*self.model.parameters(), *kept)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_built_yet(backend: str) -> None:
    explanation = gc.explain(gc.compile(lambda x: x + 1, backend=backend))
    assert checked(explanation)["builds"] == []
    assert "nothing is built yet: call it once, or give explain the arguments of a call" in str(explanation)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_training_step(backend: str) -> None:
    trainer = Trainer(backend)
    trainer.step(trainer.x, trainer.y)
    explanation = gc.explain(trainer.step)
    data, text = checked(explanation), str(explanation)
    assert data["what"] == "compiled function Trainer.plain" and data["backend"] == backend
    (build,) = data["builds"]
    captures = {c["name"]: c for c in build["captures"]}
    weights = [c for c in build["captures"] if c["type"] == "f32[8, 6]"]
    assert len(weights) == 2, "a weight and its momentum"
    for c in weights:
        assert names(c["read_at"]) and names(c["written_at"]) == [line_of("the update")]
    assert captures["lr"]["is"] == "number" and captures["lr"]["written_at"] is None
    assert [x["name"] for x in build["inputs"]] == ["x", "y"]
    assert [p["name"] for p in build["passes"]] == ["tidy", "fold_transposes", "tidy"]
    assert all(p["nodes_after"] <= p["nodes_before"] for p in build["passes"])
    found = list(steps(data))
    assert {line_of("the loss"), line_of("the update")} <= set(names([x for s in found for x in s["lines"]]))
    modules = {m for s in found for m in s["modules"]}
    assert any(m.endswith(".0") for m in modules) and any(m.endswith(".2") for m in modules)
    assert {"forward", "backward", "update"} <= {role for s in found for role in s["roles"]}
    assert build["plans"][0]["cost"]["flops"] > 2 * 3 * 5 * 6 * 8
    assert f"written at {gc.core.errors.show_line(__file__, int(line_of('the update').split(':')[1]))}" in text
    assert "why it was built:\n  1.  the first call of its kind" in text


@pytest.mark.parametrize("backend", BACKENDS)
def test_explaining_with_arguments_measures_and_changes_nothing(backend: str) -> None:
    trainer = Trainer(backend)
    trainer.step(trainer.x, trainer.y)
    before, x = trainer.state(), trainer.x.numpy().copy()
    data = checked(gc.explain(trainer.step, trainer.x, trainer.y))
    for a, b in zip(before, trainer.state(), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(trainer.x.numpy(), x)
    found = list(steps(data))
    assert len(data["recompiles"]) == 1, "the build that was there served"
    assert all(s["measured_ns"] >= 0 for s in found) and sum(s["measured_ns"] for s in found) > 0
    assert not any("measured_ns" in s for s in steps(gc.explain(trainer.step).data)), "times are of that call alone"
    other = Trainer(backend)
    other.step(other.x, other.y)
    assert trainer.step(trainer.x, trainer.y).item() == other.step(other.x, other.y).item()


@pytest.mark.parametrize("backend", BACKENDS)
def test_explaining_with_arguments_builds_but_does_not_run(backend: str) -> None:
    trainer = Trainer(backend)
    before = [p.detach().numpy().copy() for p in trainer.model.parameters()]
    random = np.random.get_state()[1].copy()  # type: ignore[index, union-attr]
    data = checked(gc.explain(trainer.step, trainer.x, trainer.y))
    assert len(data["builds"]) == 1 and all("measured_ns" in s for s in steps(data))
    for a, p in zip(before, trainer.model.parameters(), strict=True):
        np.testing.assert_array_equal(a, p.detach().numpy())
        assert p.grad is None
    np.testing.assert_array_equal(random, np.random.get_state()[1])  # type: ignore[index]


def test_build_reasons_and_sizes() -> None:
    f = gc.compile(lambda x: x * 2, backend="llvm")
    for n in (3, 5, 7):
        f(gc.ones(n, 4))
    explanation = gc.explain(f)
    data = checked(explanation)
    first, second = data["recompiles"]
    assert first["argument"] == "" and first["dim"] is None
    assert (second["argument"], second["dim"], second["old"], second["new"]) == ("x", 0, 3, 5)
    assert names([second["line"]])[0].startswith(HERE)
    (build,) = data["builds"]
    assert build["unknown_sizes"] == ["x_0"]
    assert [plan["sizes"] for plan in build["plans"]] == [{"x_0": 5}, {"x_0": 7}]
    assert [plan["cost"]["flops"] for plan in build["plans"]] == [20, 28]
    assert "dimension 0 of x: 3 -> 5" in str(explanation) and "plan for x_0 = 7" in str(explanation)


def test_reasons_that_are_no_plain_values() -> None:
    class Kind:
        def __repr__(self) -> str:
            return "a kind"

    chosen: Any = Kind()
    f = gc.compile(lambda x: x if chosen is None else x + 1, backend="numpy")
    f(gc.ones(2))
    chosen = Kind()
    f(gc.ones(2))
    data = checked(gc.explain(f))
    assert [r["new"] for r in data["recompiles"]] == [None, "a kind"]


def test_kernels_are_there_as_loops_and_as_llvm_ir() -> None:
    f = gc.compile(lambda x, y: gc.softmax(x + y, 1), backend="llvm")
    f(gc.ones(32, 10), gc.ones(10))
    (step,) = steps(checked(gc.explain(f)))
    assert step["kind"] == "kernel" and {"add", "exp", "divide", "reduce_sum", "reduce_max"} <= set(step["ops"])
    assert step["text"].splitlines()[:3] == [
        "for i0 < 32:",
        "    over i1 < 10:",
        "        v0 = fold maximum of x[10*i0 + i1] + y[i1]",
    ]
    assert re.search(r"define i64 @task\(ptr %table, ptr %args, i64 %begin, i64 %end\)", step["sources"][0])
    assert step["reads"] == ["x", "y"] and step["makes"][0]["place"] == "output 0"
    assert (step["cost"]["bytes_read"], step["cost"]["bytes_written"]) == (4 * 330, 4 * 320)
    assert step["parts"] >= 1 and step["estimated_ns"] >= 0


def test_products_say_who_computes_them() -> None:
    f = gc.compile(lambda x, w: x @ w.t(), backend="llvm")
    f(gc.ones(7, 5), gc.ones(3, 5))
    (plan,) = checked(gc.explain(f))["builds"][0]["plans"]
    (step,) = plan["steps"]
    assert step["kind"] == "product" and step["cost"]["flops"] == 2 * 7 * 5 * 3
    assert step["how"].endswith("m 7 n 3 k 5") and ("graphc" in step["how"] or "gemm" in step["how"])
    assert plan["threads"] >= 1


def test_a_library_call_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    library = blas.library() or pytest.skip("no BLAS")
    monkeypatch.setattr(config, "backend", "llvm")
    n, graph = LIBRARY_SIZE, gc.Graph()
    with graph.as_default():
        x = gc.placeholder((n, n), name="x")
        graph.outputs["y"] = x @ x
    (step,) = steps(checked(gc.explain(graph)))
    assert step["how"].startswith(f"sgemm of {library.name} ({library.core}), m {n} n {n} k {n}")


def test_python_steps_give_their_reason() -> None:
    def f(x: Any) -> Any:
        y = gc.while_loop(lambda a: a.sum() < 10, lambda a: a * 2, x)
        return gc.autograd.grad(y.sum(), x)[0]

    explanation = gc.explain(gc.compile(f, backend="llvm"), gc.ones(3, requires_grad=True))
    (step,) = [s for s in steps(checked(explanation)) if s["kind"] == "python"]
    reason = "while_loop_grad of float32, an op of kind control, has no native form"
    assert step["reason"] == reason and step["measured_ns"] > 0
    assert "Python step while_loop_grad: " in str(explanation)
    assert f"runs in Python, out of native code: {reason}" in str(explanation)


def test_scatters_running_folds_and_sorts() -> None:
    def places(x: Any, at: Any) -> Any:
        return gc.cumsum(gc.sort(x)[0], 0), x.index_add(0, at, x[at])

    found = list(steps(checked(gc.explain(gc.compile(places, backend="llvm"), gc.randn(40), gc.tensor([3, 3, 5])))))
    kinds = [(s["kind"], s["ops"]) for s in found]
    assert ("sort", ["sort"]) in kinds and ("kernel", ["cumulative_sum"]) in kinds
    (scatter,) = [s for s in found if s["kind"] == "scatter"]
    assert scatter["cost"]["flops"] == 3
    (sort,) = [s for s in found if s["kind"] == "sort"]
    assert sort["how"] == "the first 40 of rows of 40" and sort["cost"]["bytes_written"] == 40 * (4 + 8)


def test_checks_of_indices() -> None:
    table = nn.Embedding(10, 4)
    f = gc.compile(lambda i: table(i).sum(), backend="llvm")
    with gc.no_grad():
        explanation = gc.explain(f, gc.tensor([1, 2, 3]))
    (check,) = [s["check"] for s in steps(checked(explanation)) if s["kind"] == "index check"]
    assert check["size"] == 10
    assert f"every element of {check['index']} must be an index into a size of 10" in str(explanation)


def test_memory_says_who_shares_it() -> None:
    def f(x: Any) -> Any:
        for _ in range(4):
            x = gc.tanh(x @ x)
        return x

    for backend in BACKENDS:
        compiled = gc.compile(f, backend=backend)
        compiled(gc.ones(16, 16))
        (plan,) = checked(gc.explain(compiled))["builds"][0]["plans"]
        (executable,) = compiled.last_built().executables.values()
        memory = plan["memory"]
        assert memory["peak_bytes"] == executable.peak
        assert max(slot["offset"] + slot["bytes"] for slot in memory["arena"]) <= memory["arena_bytes"]
        shared = [slot for slot in memory["arena"] if len(slot["values"]) > 1]
        assert shared, "several products, one after the other, in one place"
        for slot in memory["arena"]:
            for a, b in zip(slot["values"], slot["values"][1:], strict=False):
                assert a["last"] < b["first"]


def test_updates_in_place_are_told() -> None:
    trainer = Trainer("llvm")
    trainer.step(trainer.x, trainer.y)
    (plan,) = gc.explain(trainer.step).data["builds"][0]["plans"]
    assert len(plan["memory"]["in_place"]) == 8  # four parameters, four momenta
    assert any(m["place"].startswith("over input") for s in plan["steps"] for m in s["makes"])


def test_loops_and_branches_show_their_bodies() -> None:
    def f(h: Any, xs: Any) -> Any:
        h, ys = gc.scan(lambda h, x: (gc.tanh(h @ x), h), h, xs)
        h = gc.while_loop(lambda h: h.sum() < 5, lambda h: (h + 1,), (h,))[0]
        return gc.cond(h.sum() > 0, lambda h: h * 2, lambda h: -h, [h]), ys

    explanation = gc.explain(gc.compile(f, backend="llvm"), gc.ones(3, 3), gc.ones(6, 3, 3) / 9)
    found = {s["kind"]: s for s in steps(checked(explanation)) if "bodies" in s}
    assert {kind: list(s["bodies"]) for kind, s in found.items()} == {
        "scan": ["body"], "while_loop": ["condition", "body"], "cond": ["true", "false"],
    }  # fmt: skip
    scan = found["scan"]
    assert scan["turns"] == 6
    assert scan["cost"]["flops"] == 6 * sum(s["cost"]["flops"] for s in scan["bodies"]["body"])
    assert scan["measured_ns"] >= sum(s["measured_ns"] for s in scan["bodies"]["body"]) > 0
    assert "body, 6 turns: costs and estimates of one, measured times of all" in str(explanation)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_module_and_its_gradient(backend: str) -> None:
    model = nn.Sequential(nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    compiled = gc.compile(model, backend=backend)
    compiled(gc.randn(2, 16, 5, 5)).sum().backward()
    data = checked(gc.explain(compiled))
    assert data["what"] == "compiled module Sequential"
    (build,) = data["builds"]
    assert {"0.weight", "0.bias", "3.weight", "3.bias"} <= {c["name"] for c in build["captures"]}
    gradient = build["gradient"]
    assert gradient["name"] == "gradient of build 1" and len(gradient["plans"]) == 1
    assert {"backward"} == {role for s in gradient["plans"][0]["steps"] for role in s["roles"]}
    work = [s["cost"]["flops"] for s in steps(data) if "convolution" in s["ops"]]
    assert work == [2 * (2 * 16 * 3 * 3) * (16 * 9)]


def test_a_compiled_method() -> None:
    class Scaler:
        by = 3.0

        @gc.compile(backend="numpy")
        def scale(self, x: Any) -> Any:
            return x * self.by

    scaler = Scaler()
    assert checked(gc.explain(scaler.scale))["builds"] == []
    data = checked(gc.explain(scaler.scale, gc.ones(2)))
    assert len(data["builds"]) == 1 and all("measured_ns" in s for s in steps(data))


# --- sessions, graphs, files -------------------------------------------------------------------------------------------


def tiny_graph(batch: int | None = None) -> gc.Graph:
    graph = gc.Graph("tiny")
    with graph.as_default():
        x = gc.placeholder((batch, 4), name="x")
        layer = nn.Linear(4, 3)
        loss = layer(x).square().mean()
        graph.outputs["loss"] = loss
        graph.outputs["train"] = optim.SGD(layer.parameters(), lr=0.1).minimize(loss)
    return graph


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_session(backend: str) -> None:
    graph = tiny_graph()
    session = gc.Session(graph, backend=backend)
    feeds = {"x": np.ones((5, 4), "f4")}
    assert checked(gc.explain(session))["builds"] == []
    session.run("loss", feeds)
    before = {name: p.detach().numpy().copy() for name, p in graph.parameters.items()}
    data = checked(gc.explain(session, ["loss", "train"], feeds))
    assert [build["name"] for build in data["builds"]] == ["run of loss", "run of loss, train"]
    read, train = data["builds"]
    assert not any("measured_ns" in s for s in read["plans"][0]["steps"])
    assert all("measured_ns" in s for s in train["plans"][0]["steps"])
    assert {c["name"]: c["written_at"] is not None for c in train["captures"]} == {
        "weight": True, "bias": True, "lr": False,
    }  # fmt: skip
    assert all(c["written_at"] is None for c in read["captures"])
    assert train["plans"][0]["sizes"] == {"x_0": 5}
    for name, p in graph.parameters.items():
        np.testing.assert_array_equal(before[name], p.detach().numpy())
    with pytest.raises(gc.errors.FeedError, match=r"placeholder 'x' .* is not fed"):
        gc.explain(session, "loss", {})
    session.close()
    with pytest.raises(gc.errors.GraphError, match="this session is closed"):
        gc.explain(session, "loss", feeds)


def test_the_eager_door_has_no_plan() -> None:
    session = gc.Session(tiny_graph(), backend="eager")
    explanation = gc.explain(session, "loss", {"x": np.ones((2, 4), "f4")})
    assert checked(explanation)["builds"][0]["plans"] == []
    assert "runs node by node through the eager door: there is no plan" in str(explanation)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_saved_file_is_planned_and_never_run(backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.graph"
    gc.save_graph(tiny_graph(), path)
    monkeypatch.setattr(config, "backend", backend)
    explanation = gc.explain(str(path))
    (build,) = checked(explanation)["builds"]
    assert build["plans"] == [] and build["unknown_sizes"] == ["x_0"]
    assert "no plan yet: the sizes x_0 are not known" in str(explanation)

    def fail(*_: Any) -> Any:
        raise AssertionError("something ran")

    monkeypatch.setattr(type(gc.backends.find_backend(backend).compile(empty())), "__call__", fail)
    for given in ((5, 4), [5, 4], gc.ones(5, 4), np.ones((5, 4))):
        data = checked(gc.explain(path, x=given))
        (plan,) = data["builds"][0]["plans"]
        assert plan["sizes"] == {"x_0": 5} and plan["cost"]["flops"] > 2 * 5 * 4 * 3
        assert not any("measured_ns" in s for s in plan["steps"])
    assert data["what"] == f"file {path}"


def empty() -> Program:
    """A program without anything."""
    return Program(gc.Graph().table, (), ())


def test_a_graph_with_known_sizes_needs_no_shapes() -> None:
    graph = tiny_graph(6)
    assert len(checked(gc.explain(graph))["builds"][0]["plans"]) == 1
    strict = gc.Session(graph, strict=True)
    gc.explain(graph)
    assert graph.strict, "a session that is strict stays so"
    strict.close()


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda g: gc.explain(g, z=(1, 4)), gc.errors.ArgumentError, r"no placeholder 'z'\n  need one of x"),
        (lambda g: gc.explain(g, x=5), gc.errors.ArgumentTypeError, r"x needs a shape, got 5\n  need sizes for f32\[x_0, 4\]"),
        (lambda g: gc.explain(g, x=(5,)), gc.errors.ShapeError, r"x is f32\[x_0, 4\], the shape given is \[5\]"),
        (lambda g: gc.explain(g, x=(5, 3)), gc.errors.ShapeError, "x has size 3 in dimension 1 where 4 is needed"),
        (lambda g: gc.explain(g, (5, 4)), gc.errors.ArgumentTypeError, r"a graph takes no call\n  need the shapes of"),
        (lambda g: gc.explain(gc.Graph()), gc.errors.GraphError, "nothing to explain: fill graph.outputs"),
        (lambda g: gc.explain(3), gc.errors.ArgumentTypeError, r"cannot explain int\n  need a compiled function or module"),
        (lambda g: gc.explain(nn.Linear(2, 2)), gc.errors.ArgumentTypeError, "cannot explain Linear"),
        (lambda g: gc.explain(lambda x: x), TypeError, "cannot explain function"),
        (lambda g: gc.explain("nowhere.graph"), OSError, "nowhere.graph"),
    ],
)  # fmt: skip
def test_wrong_arguments(call: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        call(tiny_graph())


def test_a_file_that_holds_no_graph(tmp_path: Path) -> None:
    gc.save({"w": gc.ones(2)}, tmp_path / "weights")
    with pytest.raises(gc.errors.FileFormatError, match=r"holds no graph: load it with graphc\.load"):
        gc.explain(tmp_path / "weights")


def test_a_backend_of_somebody_elses_is_shown_as_far_as_it_tells() -> None:
    class Executable:
        peak, steps = 12, "one step\nanother"

        def __init__(self, program: Program):
            self.run = interpreter(program)

        def __call__(self, arrays: Any) -> Any:
            return [np.array(x) for x in self.run(arrays)]

    class Backend:
        name, fuses = "somebody's", False

        def compile(self, program: Program, updates: Any = None) -> Executable:
            return Executable(program)

    gc.backends.register_backend("somebody's", Backend)
    explanation = gc.explain(gc.compile(lambda x: x + 1, backend="somebody's"), gc.ones(2))
    assert "    another\n    memory: peak 12 bytes" in str(explanation)
    assert checked(explanation)["builds"][0]["plans"][0]["text"] == "one step\nanother"


def test_what_differs_deep_in_an_argument_is_named() -> None:
    f = gc.compile(lambda x, *, options: x * options["scale"][1])
    for scale in (2.0, 3.0):
        f(gc.ones(3), options={"scale": (1.0, scale)})
    assert [(r.argument, r.old, r.new) for r in f.recompiles[1:]] == [("options['scale'][1]", 2.0, 3.0)]


def test_names_with_quotes_and_objects_with_code_of_their_own():
    class Factor:
        value = 2

        def __repr__(self):
            raise RuntimeError("this one is not shown")

    f = gc.compile(lambda x, factor, **options: x * factor.value * sum(options.values()))
    first, second = Factor(), Factor()
    for factor, number in ((first, 1), (first, 3), (second, 3)):
        f(gc.ones(2), factor, **{"it's": number})
    number, factor = f.recompiles[1:]
    assert (number.argument, number.old, number.new) == ("it's", 1, 3)
    assert (factor.argument, factor.old, factor.new) == ("factor", object.__repr__(first), object.__repr__(second))
    assert "factor" in str(gc.explain(f))


def test_what_python_does_in_native_code_is_named() -> None:
    f = gc.compile(lambda x: gc.linalg.svdvals(x @ x.T).sum(), backend="llvm")  # python
    f(gc.eye(3))
    (advice,) = checked(gc.explain(f))["builds"][0]["advice"]
    assert advice["line"].endswith(line_of("python")) and "native code stops for svd" in advice["says"]


def test_of_long_programs_the_costliest_part_is_shown() -> None:
    net = nn.Sequential(*[nn.Sequential(nn.Linear(n, n + 1), nn.Softmax(-1)) for n in range(4, 40)]).requires_grad_(
        False
    )
    compiled = gc.compile(net)
    explanation = gc.explain(compiled, gc.ones(3, 4))
    shown, whole = (text.splitlines() for text in (str(explanation), explanation.text(everything=True)))
    (plan,) = checked(explanation)["builds"][0]["plans"]
    assert len(plan["steps"]) > 60
    assert 8 <= sum(line.lstrip().startswith("| ") for line in shown) < sum(x.lstrip().startswith("| ") for x in whole)
    left = [int(found[1]) for line in shown if (found := re.search(r"\.\.\. and (\d+) cheaper: \d+ \w+", line))]
    assert sum(left) == len(plan["steps"]) - 40
    assert f"    ... and {2 * 36 - 16} more" in shown and len(whole) > 2 * len(shown)
    dearest = max(plan["steps"], key=lambda step: step["measured_ns"])
    assert any(line.strip().startswith(f"makes {dearest['makes'][0]['name']}: ") for line in shown)
    short = str(gc.explain(gc.compile(lambda x: x + 1), gc.ones(2)))
    assert "everything=True" in shown[-1] and all("everything=True" not in text for text in (*whole, short))
