"""`graphc contrast` on real steps: a newcomer's questions are answered by the page with the report's own numbers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parent.parent.parent
UNITS = {"ns": 1, "µs": 1e3, "ms": 1e6, "s": 1e9, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def read(text):
    """The number that a person reads: "87.2 ms" in ns, "1.5 MiB" in bytes, "after 1,200 calls" as 1200."""
    number, unit = re.search(r"(-?[\d.,]+(?:e[+-]?\d+)?)(?: (\S+))?", text).groups()
    return float(number.replace(",", "")) * UNITS.get(unit, 1)


@pytest.mark.parametrize("name", ["mlp", "mnist_cnn", "word_lstm", "gpt"])
def test_the_page_of_an_example_answers(open_file, tmp_path, name):
    path = tmp_path / f"{name}.html"
    command = [sys.executable, "-m", "graphc", "contrast", str(ROOT / "examples" / f"{name}.py"), "-o", str(path)]
    subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    text = path.read_text(encoding="utf-8")
    data = json.loads(text.split('<script type="application/json" id="data">', 1)[1].split("</script>", 1)[0])
    shown = open_file(path)
    summary = data["summary"]

    for figure in (
        "eager_ns",
        "graph_ns",
        "build_ns",
        "eager_peak_bytes",
        "plan_peak_bytes",
        "ops",
        "kernels",
        "library_calls",
    ):
        value, written = shown.figure(figure)
        assert float(value) == summary[figure]
        assert read(written) == pytest.approx(summary[figure], rel=0.006), f"{figure}: {written}"
    value, written = shown.figure("break_even_calls")
    assert (read(written) if value else written) == (summary["break_even_calls"] or "never")
    assert shown.figure("agree")[1] == ("yes" if summary["agree"] else "no")
    assert read(shown.figure("largest_difference")[1]) == pytest.approx(summary["largest_difference"], rel=0.006)

    slowest = next(line for line in data["lines"] if line["id"] == summary["slowest_line"])
    assert shown.figure("slowest_line") == (slowest["id"], f"line {slowest['line']}")
    assert read(shown.figure("graph_share")[1]) == pytest.approx(100 * slowest["graph_share"], rel=0.006)
    passes = [stage for stage in data["stages"] if stage.get("added") or stage.get("removed")]
    assert float(shown.figure("passes")[0]) == len(passes)
    buttons = {
        button.get_attribute("data-stage"): " ".join(button.text.split()) for button in shown.all(".stages button")
    }
    for stage in passes:
        assert f"\N{MINUS SIGN}{len(stage['removed'])} +{len(stage['added'])}" in buttons[stage["id"]].replace(",", "")

    shown.click("[data-answer='slowest'] .chip")
    assert shown.selected == [slowest["id"]]
    listed = shown.marked("table.kernels tr", "related")
    assert listed and listed <= set(slowest["kernels"]) | {
        kernel["id"] for kernel in data["kernels"] if slowest["id"] in kernel["lines"]
    }
    assert shown.all("#graph .vertex.related"), "the line's ops are in view"
