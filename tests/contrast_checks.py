"""What must hold of every contrast's data, and its scripts run in processes of their own."""

from __future__ import annotations

import json
import math
import subprocess
import sys

TOP = (
    "version", "title", "made", "summary", "timelines", "losses", "sources", "lines", "outside", "stages", "unchanged_passes",
    "kernels", "memory", "programs",
)  # fmt: skip


def check_data(data):
    """Keys, ids that exist, sums that agree."""
    assert tuple(data) == TOP and json.loads(json.dumps(data)) == data
    lines = {x["id"]: x for x in data["lines"]}
    kernels = {x["id"]: x for x in data["kernels"]}
    files = {x["id"]: x for x in data["sources"]}
    stages = {x["name"]: x for x in data["stages"]}
    assert [x["id"] for x in data["stages"]] == [f"S{n}" for n in range(len(data["stages"]))]
    assert [x["name"] for x in data["stages"]][:2] == ["eager tape", "recorded"] and data["stages"][-1][
        "name"
    ] == "kernels"
    for stage in data["stages"]:
        check_stage(stage, lines, kernels)
    for before, stage in zip(data["stages"][1:], data["stages"][2:], strict=False):
        if "added" in stage:
            old, new = ({x["id"] for x in s["nodes"]} for s in (before, stage))
            assert set(stage["added"]) == new - old and set(stage["removed"]) == old - new
    recorded, last = ({x["id"] for x in stages[name]["nodes"]} for name in ("recorded", "kernels"))
    for line in data["lines"]:
        assert set(line["nodes"]) <= recorded and set(line["kernels"]) <= set(kernels)
        assert files[line["source"]]["lines"][line["line"] - 1].strip() == line["text"]
    for kernel in data["kernels"]:
        assert set(kernel["nodes"]) <= last and set(kernel["lines"]) <= set(lines), kernel
        assert kernel["text"] and kernel["ops"] and kernel["flops"] >= 0 and kernel["bytes"] >= 0
        assert (kernel["code"] is None) == (kernel["language"] is None)
    check_memory(data["memory"], lines, kernels)
    check_times(data)


def check_stage(stage, lines, kernels):
    ids = [x["id"] for x in stage["nodes"]]
    assert len(set(ids)) == len(ids)
    for node in stage["nodes"]:
        assert set(node["lines"]) <= set(lines) and (node["kernel"] is None or node["kernel"] in kernels)
        assert node["role"] in ("forward", "backward", "update", "input", "constant")
    for a, b, type_ in stage["edges"]:
        assert a in ids and b in ids and "[" in type_
    if stage["kind"] == "program":
        assert stage["about"]


def check_memory(memory, lines, kernels):
    live = 0
    for event in memory["eager"]:
        live += event["change"]
        assert event["bytes"] == live >= 0 and (event["line"] is None or event["line"] in lines)
    assert [x["kernel"] for x in memory["plan"]] == list(kernels)
    for buffer in memory["buffers"]:
        assert 0 <= buffer["first"] <= buffer["last"] < len(kernels) and set(buffer["lines"]) <= set(lines)


def check_times(data):
    calls = data["summary"]["calls"]
    for way in ("eager", "graph"):
        timeline = data["timelines"][way]
        assert [x["call"] for x in timeline] == list(range(1, calls + 1)) == [x["call"] for x in data["losses"]]
        assert all(phase["ns"] >= 0 for x in timeline for phase in x["phases"])
    assert [x["name"] for x in data["timelines"]["graph"][0]["phases"]] == [
        "trace", "passes", "planning", "code generation", "run",
    ]  # fmt: skip
    for way in ("eager", "graph"):
        shares = [x[f"{way}_share"] for x in data["lines"]]
        if shares[0] is not None:
            whole = sum(x[f"{way}_ns"] for x in data["lines"]) + data["outside"][f"{way}_ns"]
            assert math.isclose(sum(shares), 1 - data["outside"][f"{way}_ns"] / whole, abs_tol=0.02)


def run_programs(seen, folder):
    """Runs both scripts; gives the losses that each prints."""
    found = {}
    seen.write_programs(folder)
    for name in ("eager", "session"):
        done = subprocess.run(
            [sys.executable, str(folder / f"{name}.py")], capture_output=True, text=True, check=False, cwd=folder
        )
        assert done.returncode == 0, done.stderr
        found[name] = [None if x == "None" else float(x) for x in done.stdout.split()]
    return found


def assert_same_losses(seen, folder):
    """Both scripts print the losses of the step, from the call on with which they begin."""
    for name, losses in run_programs(seen, folder).items():
        want = [x["eager"] for x in seen.data["losses"]][-len(losses) :]
        assert losses, name
        for a, b in zip(losses, want, strict=True):
            assert math.isclose(a, b, rel_tol=2e-5, abs_tol=1e-6), (name, losses, want)
