"""What `gc.contrast` collects, made up for a stack of layers: as many nodes as a test wants, with numbers that add up."""

from __future__ import annotations

from typing import Any

FILE = "examples/stack.py"
SOURCE = """import graphc as gc
from graphc import nn, optim


class Stack(nn.Module):
    def __init__(self, layers, width):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(width, width), nn.ReLU()) for _ in range(layers))
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)  # the hidden layers
        return self.head(x)


model = Stack(3, 64)
loss_fn = nn.CrossEntropyLoss()
opt = optim.SGD(model.parameters(), lr=0.1)


def train_step(x, y):
    opt.zero_grad()
    loss = loss_fn(model(x), y)
    loss.backward()
    opt.step()
    return loss
"""
BLOCK, HEAD, LOSS, STEP = "L1", "L2", "L3", "L4"
LINES = {BLOCK: 13, HEAD: 14, LOSS: 24, STEP: 26}
CALLS = 12


class _Stage:
    """A graph on its way: nodes in order, and the edges between them."""

    def __init__(self) -> None:
        self.nodes: list[dict[str, Any]] = []
        self.edges: list[list[str]] = []

    def node(self, name: str, op: str, role: str, reads: tuple[str, ...] = (), **more: Any) -> str:
        shape = more.pop("type", "f32[64, 64]")
        given = {"module": "", "lines": [], "kernel": None, "detail": "", **more}
        self.nodes.append({"id": name, "op": op, "type": shape, "role": role, **given})
        self.edges += [[read, name, shape] for read in reads]
        return name


def _layers(layers: int) -> list[tuple[str, str, str]]:
    """Name, module and line of each layer."""
    blocks = [(f"b{i}", f"Stack.blocks.{i}.0", BLOCK) for i in range(layers)]
    return [*blocks, ("h", "Stack.head", HEAD)]


def _forward(stage: _Stage, layers: int, folded: bool) -> str:
    value = stage.node("x", "x", "input")
    for name, module, line in _layers(layers):
        more = {"module": module, "lines": [line]}
        weight = stage.node(f"{name}.w", "weight", "input", type="f32[64, 64]")
        bias = stage.node(f"{name}.b", "bias", "input", type="f32[64]")
        if not folded:
            weight = stage.node(f"{name}.t", "permute", "forward", (weight,), **more)
        product = "m" if folded else "p"
        made = stage.node(f"{name}.{product}", "matmul", "forward", (value, weight), kernel=f"{name}:gemm", **more)
        value = stage.node(f"{name}.a", "add", "forward", (made, bias), kernel=f"{name}:bias", **more)
        if name != "h":
            more["module"] = module[:-1] + "1"
            value = stage.node(f"{name}.r", "relu", "forward", (value,), kernel=f"{name}:bias", **more)
    return value


def _backward(stage: _Stage, layers: int, gradient: str) -> None:
    for name, module, line in reversed(_layers(layers)):
        more = {"module": module, "lines": [line]}
        before = "x" if name == "b0" else f"b{layers - 1 if name == 'h' else int(name[1:]) - 1}.r"
        if name != "h":
            part = {**more, "module": module[:-1] + "1", "kernel": f"{name}:back"}
            gradient = stage.node(f"{name}.g", "where", "backward", (gradient, f"{name}.r"), **part)
        bias = stage.node(
            f"{name}.gb", "reduce_sum", "backward", (gradient,), kernel=f"{name}:back", type="f32[64]", **more
        )
        weight = stage.node(f"{name}.gw", "matmul", "backward", (before, gradient), kernel=f"{name}:gemmw", **more)
        update = {"lines": [STEP], "kernel": f"{name}:step"}
        for parameter, slope in ((f"{name}.w", weight), (f"{name}.b", bias)):
            scaled = stage.node(f"{parameter}.s", "multiply", "update", (slope,), **update)
            stage.node(f"{parameter}.n", "subtract", "update", (parameter, scaled), **update)
        gradient = stage.node(
            f"{name}.gx", "matmul", "backward", (gradient, f"{name}.w"), kernel=f"{name}:gemmx", **more
        )


def _program(layers: int, folded: bool, simplified: bool) -> _Stage:
    stage = _Stage()
    scores = _forward(stage, layers, folded)
    more = {"module": "CrossEntropyLoss", "lines": [LOSS]}
    stage.node("y", "y", "input", type="i64[64]")
    stage.node("loss", "cross_entropy", "forward", (scores, "y"), kernel="loss", type="f32[]", **more)
    seed = stage.node("seed", "full", "constant", type="f32[]")
    gradient = stage.node("loss.g", "softmax_minus", "backward", (scores, "y", seed), kernel="loss", **more)
    if not simplified:
        gradient = stage.node("times one", "multiply", "backward", (gradient,), **more)
    _backward(stage, layers, gradient)
    return stage


def _tape(layers: int) -> _Stage:
    stage = _Stage()
    value = "none"
    for name, module, line in _layers(layers):
        weight = stage.node(f"t{name}.w", "parameter", "input")
        reads = (value, weight) if value != "none" else (weight,)
        value = stage.node(
            f"t{name}", "matmul", "forward", reads, module=module, lines=[line], detail="keeps operand 1"
        )
    stage.node("tloss", "cross_entropy", "forward", (value,), module="CrossEntropyLoss", lines=[LOSS], type="f32[]")
    return stage


def _stages(layers: int) -> list[dict[str, Any]]:
    told = (
        ("S0", "eager tape", "tape", "what define-by-run keeps for backward()", None, _tape(layers)),
        ("S1", "recorded", "program", "what one traced call recorded", 1.25, _program(layers, False, False)),
        ("S2", "simplify", "program", "Algebra that is exact for every operand.", 0.5, _program(layers, False, True)),
        (
            "S3",
            "fold_transposes",
            "program",
            "Transposes become flags of products.",
            0.25,
            _program(layers, True, True),
        ),
        ("S4", "kernels", "program", "the program that runs; a box is a step", None, _program(layers, True, True)),
    )
    found: list[dict[str, Any]] = []
    for key, name, kind, about, ms, stage in told:
        entry = {
            "id": key,
            "name": name,
            "kind": kind,
            "about": about,
            "ms": ms,
            "nodes": stage.nodes,
            "edges": stage.edges,
        }
        if key in ("S2", "S3"):
            before, now = ([node["id"] for node in nodes] for nodes in (found[-1]["nodes"], stage.nodes))
            entry["added"] = [node for node in now if node not in set(before)]
            entry["removed"] = [node for node in before if node not in set(now)]
        found.append(entry)
    own = dict.fromkeys(node["kernel"] for node in found[-1]["nodes"] if node["kernel"])
    names = {name: f"K{i}" for i, name in enumerate(own, 1)}
    for entry in found:
        for node in entry["nodes"]:
            node["kernel"] = names.get(node["kernel"]) if entry["id"] == "S4" else None
    return found


def _kernels(nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for kernel in dict.fromkeys(node["kernel"] for node in nodes if node["kernel"]):
        own = [node for node in nodes if node["kernel"] == kernel]
        product = own[0]["op"] == "matmul"
        found.append(
            {
                "id": kernel, "kind": "gemm" if product else "kernel", "title": " ".join(node["op"] for node in own),
                "ops": [node["op"] for node in own], "lines": sorted({x for node in own for x in node["lines"]}),
                "modules": sorted({node["module"] for node in own if node["module"]}),
                "roles": sorted({node["role"] for node in own}), "nodes": [node["id"] for node in own],
                "text": f"over i0 < 64:\n    {own[-1]['id']} = ...", "code": None if product else "define void @task() {}",
                "language": None if product else "LLVM IR", "flops": 524288 if product else 4096, "bytes": 49152,
                "ns": 4000 if product else 1500, "floor_ns": 2500 if product else 600,
                "how": "packed product" if product else "vectorised, 16 lanes",
                "alone_because": ["matmul runs in a library"] if product else [],
            }
        )  # fmt: skip
    return found


def _lines(stages: list[dict[str, Any]], kernels: list[dict[str, Any]], eager: int, graph: int) -> list[dict[str, Any]]:
    shares = {BLOCK: (0.5, 0.375), HEAD: (0.125, 0.125), LOSS: (0.125, 0.1875), STEP: (0.1875, 0.25)}
    found = []
    for name, number in LINES.items():
        nodes = [node for node in stages[1]["nodes"] if name in node["lines"]]
        by_eager, by_graph = (round(share * whole) for share, whole in zip(shares[name], (eager, graph), strict=True))
        back = 0 if name == STEP else 3
        found.append(
            {
                "id": name, "source": "F1", "line": number, "text": SOURCE.splitlines()[number - 1],
                "modules": sorted({node["module"] for node in nodes if node["module"]}),
                "ops": list(dict.fromkeys(node["op"] for node in nodes)), "nodes": [node["id"] for node in nodes],
                "kernels": [kernel["id"] for kernel in kernels if name in kernel["lines"]],
                "flops": 2048 * number, "bytes": 1024 * number,
                "eager_ns": by_eager, "eager_share": shares[name][0], "graph_ns": by_graph, "graph_share": shares[name][1],
                "backward_eager_ns": by_eager * back // 5, "backward_graph_ns": by_graph * back // 6,
            }
        )  # fmt: skip
    return found


def _memory(kernels: list[dict[str, Any]]) -> dict[str, Any]:
    live, eager = 0, []
    for i, kernel in enumerate([*kernels, *reversed(kernels)]):
        change = 16384 if i < len(kernels) else -16384
        live += change
        line = (kernel["lines"] or [None])[0]
        eager.append({"event": i, "bytes": live, "change": change, "line": line, "op": kernel["ops"][0]})
    plan = [
        {"step": i, "kernel": k["id"], "bytes": 16384 * (2 + min(i, len(kernels) - i))} for i, k in enumerate(kernels)
    ]
    buffers = [
        {
            "name": kernel["nodes"][-1], "bytes": 16384 + 64 * i, "first": i, "last": min(i + 3, len(kernels) - 1), "at": 0,
            "lines": kernel["lines"], "shares_with": [kernels[i - 5]["nodes"][-1]] if i >= 5 else [],
        }
        for i, kernel in enumerate(kernels)
    ]  # fmt: skip
    return {"eager": eager, "plan": plan, "buffers": buffers}


def _timelines(eager: int, graph: int, build: int) -> dict[str, Any]:
    def phases(**ns: int) -> list[dict[str, Any]]:
        return [{"name": name.replace("_", " "), "ns": each} for name, each in ns.items()]

    by_eager, by_graph = [], []
    for call in range(1, CALLS + 1):
        forward = backward = eager * 2 // 5
        by_eager.append(
            {"call": call, "phases": phases(forward=forward, backward=backward, other=eager - eager * 4 // 5)}
        )
        building = {
            "trace": build // 5,
            "passes": build // 5,
            "planning": build // 5,
            "code_generation": build * 2 // 5,
        }
        by_graph.append({"call": call, "phases": phases(**(building if call == 1 else {}), run=graph)})
    return {"eager": by_eager, "graph": by_graph}


def report(layers: int = 3) -> dict[str, Any]:
    """The data of a stack of `layers` hidden layers: some 13 nodes a layer in every program."""
    stages = _stages(layers)
    kernels = _kernels(stages[-1]["nodes"])
    eager, graph, build = 320_000, 80_000, 48_000_000
    memory = _memory(kernels)
    apart = [1e-7 * (i % 3) for i in range(1, CALLS + 1)]
    losses = [{"call": i, "eager": 2.3 / i, "graph": 2.3 / i + x, "difference": x} for i, x in enumerate(apart, 1)]
    operations = [node for node in stages[1]["nodes"] if node["role"] not in ("input", "constant")]
    return {
        "version": 1,
        "title": "stack.py: train_step",
        "made": {
            "date": "2026-11-29T03:10:00", "graphc": "0.5.0", "python": "3.11.7", "processor": "a processor", "threads": 2,
            "backend": "llvm",
        },
        "summary": {
            "slowest_line": BLOCK, "slowest_line_eager": BLOCK, "ops": len(operations),
            "kernels": len(kernels), "library_calls": sum(k["kind"] == "gemm" for k in kernels),
            "largest_kernel": max(kernels, key=lambda k: len(k["nodes"]))["id"], "eager_ns": eager, "graph_ns": graph,
            "build_ns": build, "break_even_calls": 200, "eager_peak_bytes": max(e["bytes"] for e in memory["eager"]),
            "plan_peak_bytes": max(e["bytes"] for e in memory["plan"]), "calls": CALLS, "largest_difference": 2e-7,
            "largest_relative_difference": 1.5e-7, "agree": True, "tolerance": 1e-5, "left_behind": [],
        },
        "timelines": _timelines(eager, graph, build),
        "losses": losses,
        "sources": [{"id": "F1", "file": FILE, "lines": SOURCE.splitlines()}],
        "lines": _lines(stages, kernels, eager, graph),
        "outside": {"eager_ns": eager // 16, "graph_ns": graph // 16},
        "stages": stages,
        "unchanged_passes": ["canonical_views", "hoist"],
        "kernels": kernels,
        "memory": memory,
        "programs": {
            "eager": SOURCE, "session": SOURCE.replace("as gc", "as gc  # a session"), "file": None, "why_none": None,
        },
    }  # fmt: skip
