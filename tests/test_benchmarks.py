"""The benchmarks themselves: every engine computes the same, floors count right, tables say what was measured.

No test here looks at a clock.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import graphc as gc

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def load(monkeypatch):
    """Loads a script of benchmarks/, which finds its neighbours as it does when it is run."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


def small(cases):
    """A case of each kind and each way through it, too small to wait for."""
    adam, momentum = cases.Optimizer("Adam", 1e-2), cases.Optimizer("SGD", 0.1, momentum=0.9)
    return {
        "classes": cases.Mlp(5, (7, 6, 3), adam, classes=True),
        "squares": cases.Mlp(5, (7, 6, 3), momentum),
        "cnn": cases.Cnn(3, 9, (2, 3, 4), 5),
        "lstm": cases.Recurrent("LSTM", 3, 4, 5, 6, 2, 7),
        "gru": cases.Recurrent("GRU", 3, 4, 5, 6, 2, 7),
        "gpt": cases.Gpt(2, 5, 8, 2, 2, 7),
        "gelu": cases.Rows("gelu_silu", 3, 5),
        "softmax": cases.Rows("softmax", 3, 5),
        "layer_norm": cases.Rows("layer_norm", 3, 5),
        "product": cases.Product(4),
    }


KINDS = ["classes", "squares", "cnn", "lstm", "gru", "gpt", "gelu", "softmax", "layer_norm", "product"]


def steps_of(build, *args):
    """What a workload gives after four steps."""
    step = build(*args)
    for _ in range(3):
        step()
    return np.asarray(step())


@pytest.mark.parametrize("kind", KINDS)
def test_numpy_by_hand_trains_as_graphc_does(load, kind):
    case = small(load("cases"))[kind]
    step, args = load("torch_workloads").build(gc, case)
    ours = [step(*args).detach().numpy() for _ in range(4)]
    by_hand = steps_of(load("numpy_workloads").build, case)
    np.testing.assert_allclose(by_hand, ours[-1], rtol=2e-5, atol=1e-6)
    if not isinstance(case, (load("cases").Rows, load("cases").Product)):
        assert ours[-1] < ours[0]


@pytest.mark.parity
@pytest.mark.parametrize("kind", KINDS)
def test_the_peers_train_alike(load, kind):
    case = small(load("cases"))[kind]
    step, args = load("torch_workloads").build(pytest.importorskip("torch"), case)
    theirs = [step(*args).detach().numpy() for _ in range(4)][-1]
    by_hand = steps_of(load("numpy_workloads").build, case)
    np.testing.assert_allclose(by_hand, theirs, rtol=2e-5, atol=1e-6)
    pytest.importorskip("jax")
    np.testing.assert_allclose(steps_of(load("jax_workloads").build, case), theirs, rtol=2e-5, atol=1e-6)


@pytest.mark.parity
@pytest.mark.parametrize("kind", ["classes", "squares", "gelu", "softmax", "layer_norm", "product"])
def test_tinygrad_trains_alike(load, monkeypatch, kind):
    monkeypatch.setenv("DEV", "CL")  # read when it is imported
    pytest.importorskip("tinygrad")
    case = small(load("cases"))[kind]
    step = load("tinygrad_workloads").build(case)
    theirs = [step().numpy() for _ in range(4)][-1]
    by_hand = steps_of(load("numpy_workloads").build, case)
    np.testing.assert_allclose(by_hand, theirs, rtol=2e-5, atol=1e-6)


def test_the_eleven_workloads_are_those_of_the_issue_and_names_are_unique(load):
    cases = load("cases")
    assert len(cases.STANDARD) == 11
    parts = (cases.STANDARD, cases.VARIED, cases.LENGTHS, cases.PRODUCTS)
    assert len(cases.CASES) == sum(map(len, parts))
    kinds = {type(case) for case in cases.STANDARD.values()}
    assert {type(case) for case in cases.VARIED.values()} == kinds


# --- floors ----------------------------------------------------------------------------------------------------------


def test_flops_are_counted_from_the_products(load):
    cases, floors = load("cases"), load("floors")
    sgd = cases.Optimizer("SGD", 0.1)
    first, second = 2 * 64 * 1000 * 100, 2 * 64 * 100 * 10
    assert floors.flops(cases.Mlp(64, (1000, 100, 10), sgd)) == 2 * first + 3 * second  # no gradient of x
    assert floors.flops(cases.Product(8)) == 2 * 8**3
    assert floors.flops(cases.Rows("softmax", 8, 8)) == 0
    first, second = 2 * 2 * 64 * 9 * 3 * 4, 2 * 2 * 16 * 9 * 4 * 5
    linear = 2 * 2 * (5 * 4 * 6 + 6 * 10)
    assert floors.flops(cases.Cnn(2, 8, (3, 4, 5), 6)) == 2 * first + 3 * (second + linear)
    cell, head = 2 * 3 * 4 * 4 * 6 * (5 + 6), 2 * 3 * 4 * 6 * 7
    assert floors.flops(cases.Recurrent("LSTM", 3, 4, 5, 6, 1, 7)) == 3 * (cell + head)
    linear, scores = 2 * 2 * 3 * 12 * 64, 2 * 2 * 2 * 8 * (1 + 2 + 3)
    assert floors.flops(cases.Gpt(2, 3, 8, 2, 1, 7)) == 3 * (linear + scores + 2 * 2 * 3 * 8 * 7)


def test_traffic_is_inputs_parameters_and_moments(load):
    cases, floors = load("cases"), load("floors")
    parameters, inputs = 4 * (2 * 3 + 3), 4 * 5 * (2 + 3)
    for optimizer, times in (("SGD", 1), ("Adam", 3), ("AdamW", 3)):
        case = cases.Mlp(5, (2, 3), cases.Optimizer(optimizer, 0.1))
        assert floors.traffic(case) == inputs + 2 * times * parameters
    with_momentum = cases.Mlp(5, (2, 3), cases.Optimizer("SGD", 0.1, momentum=0.9))
    assert floors.traffic(with_momentum) == inputs + 2 * 2 * parameters
    assert floors.traffic(cases.Rows("softmax", 8, 8)) == 2 * 4 * 64


def test_a_floor_is_the_larger_of_arithmetic_and_memory(load):
    floors, cases = load("floors"), load("cases")
    found = floors.floor(cases.Product(1000), 1e12, lambda nbytes: 1e9 if nbytes == 12_000_000 else 0)
    assert found == (pytest.approx(2000), pytest.approx(12_000))
    assert found.us == found.by_bytes


# --- tables ----------------------------------------------------------------------------------------------------------


def row_of(load, figures, name="cnn_lenet", **more):
    """A row with one result for each engine: (us, first_s, grown_mb)."""
    report, floors = load("report"), load("floors")
    results = {engine: [report.Result(*numbers, **more)] for engine, numbers in figures.items()}
    return report.Row(name, results, floors.Floor(10.0, 5.0))


FIGURES = {
    "torch-eager": (90.0, 0.1, 20.0), "torch-compile": (60.0, 3.0, 100.0), "graphc-eager": (5.0, 0.0, 1.0),
    "graphc-compile:llvm": (40.0, 0.5, 80.0), "graphc-compile:numpy": (70.0, 0.1, 5.0),
}  # fmt: skip


def test_the_ratio_is_the_best_peer_over_the_best_compiled_graphc(load):
    row = row_of(load, FIGURES)
    assert (row.ratio, row.above_floor) == (1.5, 4.0)
    text = load("report").text_row(row)
    assert "40.0 us 0.50 s 80 MB" in text and "1.50x" in text and "4.00x" in text
    assert "| cnn_lenet | 90.0 us 0.10 s 20 MB |" in load("report").markdown([row])


def test_each_and_mean_are_judged(load):
    report = load("report")
    rows = [row_of(load, FIGURES), row_of(load, {**FIGURES, "torch-eager": (20.0, 0.1, 1.0)}, "slow")]
    lines, good = report.judged(rows, 1.0, 0.0)
    assert not good and "on 1 of 2 workloads, by 0.87 in the geometric mean, 0.50 at least" in lines[0]
    assert lines[1] == "Below 1: slow."
    assert report.judged(rows, 0.5, 0.8)[1] and not report.judged(rows, 0.5, 0.9)[1]
    assert not report.judged([row_of(load, {"jax": (1.0, 1.0, 1.0)})], 0.0, 0.0)[1]


def test_failures_and_other_losses_are_said(load):
    report = load("report")
    broken = report.Result.read("jax", "", "Traceback\nValueError: no\n", 1)
    assert broken.error == "jax ended with 1: ValueError: no"
    row = report.Row("w", {"jax": [broken], "numpy": [report.Result(1.0, 1.0, 1.0, 0.5)]}, load("floors").Floor(1, 1))
    assert row.cell("jax") == "failed" and "jax ended with 1" in report.text_row(row)
    results = {"jax": [report.Result(1.0, 1.0, 1.0, 0.5)], "numpy": [report.Result(1.0, 1.0, 1.0, 0.6)]}
    (problem,) = report.Row("w", results, load("floors").Floor(1, 1)).problems()
    assert problem == "w: the engines do not compute the same: 0.5 on jax, 0.6 on numpy"


def test_memory_is_told_beside_pytorch(load):
    (line,) = load("report").memory_lines([row_of(load, FIGURES), row_of(load, FIGURES, "mlp_tiny")])
    assert (
        line
        == "Memory grown, cnn_lenet: graphc-compile:llvm 80 MB; torch-compile 100, torch-eager 20 (at or below torch-compile)."
    )


@pytest.mark.parametrize(
    ("us", "text"), [(0.001234, "0.0012 us"), (9.876, "9.88 us"), (123.4, "123 us"), (45678, "45.7 ms")]
)
def test_times_have_three_digits(load, us, text):
    assert load("report").shown_time(us) == text


def first_calls_table(load, warm=0.2, many=0.45):
    first_calls, result = load("first_calls"), load("report").Result
    table = first_calls.Table(["jax", "graphc-compile:llvm"])
    for name, ours in (("a", 0.55), ("b", 0.4)):
        table.add(name, "jax", result(first_s=0.5), result(first_s=0.5))
        table.add(name, "graphc-compile:llvm", result(first_s=ours), result(first_s=warm))
    for name, first, us in (("lstm_32_steps", 0.4, 1e3), ("lstm_1000_steps", many, 3e4)):
        table.add(name, "graphc-compile:llvm", result(us, first), result(us, first))
    return table


def test_first_calls_are_judged_by_sum_single_second_process_and_length(load):
    lines, good = first_calls_table(load).judged()
    assert good and all(line.endswith(": holds.") for line in lines)
    assert lines[0].startswith("Cold first calls summed: graphc 0.95 s, JAX 1.00 s")
    assert "| sum | 1.00 s | 1.00 s | 0.95 s | 0.40 s |" in first_calls_table(load).markdown()
    assert "graphc-compile:llvm 0.55 s then 0.20 s" in first_calls_table(load).text_row("a")
    assert [line.endswith("DOES NOT HOLD.") for line in first_calls_table(load, warm=0.3).judged()[0]] == [0, 0, 1, 0]
    assert [line.endswith("DOES NOT HOLD.") for line in first_calls_table(load, many=0.6).judged()[0]] == [0, 0, 0, 1]


def test_a_single_first_call_far_above_jax_is_named(load):
    table, result = first_calls_table(load), load("report").Result
    table.add("c", "jax", result(first_s=2.0), result(first_s=2.0))
    table.add("c", "graphc-compile:llvm", result(first_s=2.2), result(first_s=0.1))
    lines, good = table.judged()
    assert not good and lines[1] == "No cold first call more than 0.1 s above JAX's, c 0.20 s: DOES NOT HOLD."
    table.add("d", "graphc-compile:llvm", result(error="no"), result(error="no"))
    assert table.judged()[0][0].endswith("not measured.") and not table.judged()[1]


def test_a_section_of_the_page_is_replaced_and_nothing_else(load, tmp_path):
    page, path = load("page"), tmp_path / "page.md"
    path.write_text("before\n<!-- mine -->\nold\n<!-- end of mine -->\nafter\n")
    page.write("mine", page.table(["a", "b"], [["1", "2"]]), path)
    assert (
        path.read_text() == "before\n<!-- mine -->\n| a | b |\n| --- | --- |\n| 1 | 2 |\n<!-- end of mine -->\nafter\n"
    )
    with pytest.raises(ValueError, match="no section between <!-- other --> and <!-- end of other -->"):
        page.write("other", "", path)


def test_every_section_that_a_script_writes_is_on_the_page(load):
    text = load("page").PAGE.read_text()
    for section in ("costs", "engines", "varied engines", "first calls", "devices", "profiling"):
        assert text.count(f"<!-- {section} -->") == text.count(f"<!-- end of {section} -->") == 1


# --- devices ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("workload", "backend", "tinygrad", "beside"),
    [
        ("product_1024", "opencl", "python", ["device", "numpy", "llvm", "tinygrad", "peak"]),
        ("softmax_rows", "opencl", "python", ["device", "numpy", "llvm", "tinygrad"]),
        ("cnn_lenet", "opencl", "python", ["device", "numpy", "llvm", "peak"]),
        ("mlp_tiny", "cuda", "", ["device", "numpy", "llvm"]),
    ],
)
def test_what_is_measured_beside_a_device(load, workload, backend, tinygrad, beside):
    options = argparse.Namespace(backend=backend, tinygrad=tinygrad, seconds=0.0)
    assert list(load("devices").turns(options, workload)) == beside


def test_the_table_of_a_device_has_columns_for_what_was_measured(load):
    rows = {
        "a": {"kernels": "1", "waits": "0", "device": "7", "numpy": "14 (2.00)", "llvm": "7 (1.00)"},
        "b": {"device": "fails: no room"},
        "c": {"kernels": "2", "waits": "0", "device": "8", "numpy": "4 (0.50)", "llvm": "8 (1.00)", "peak": "2 (0.25)"},
    }
    assert load("devices").table("opencl", rows).splitlines() == [
        "|  | kernels | waits | opencl, us | numpy, us (ratio) | llvm, us (ratio) | products at the peak, us (ratio) |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| a | 1 | 0 | 7 | 14 (2.00) | 7 (1.00) |  |",
        "| b |  |  | fails: no room |  |  |  |",
        "| c | 2 | 0 | 8 | 4 (0.50) | 8 (1.00) | 2 (0.25) |",
    ]


def test_a_python_without_tinygrad_is_told(load, tmp_path, capsys):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    assert load("devices").version_of_tinygrad(str(python)) == ""
    assert capsys.readouterr().out == f"tinygrad is left out: it is not installed in {python}\n"


@pytest.mark.opencl
def test_the_kernels_of_the_peak_do_their_chains(load):
    peak = load("opencl_peak")
    device = peak.device()
    for width, chains in itertools.product(peak.WIDTHS, peak.CHAINS):
        kernel, sums, items = peak.prepared(device, width, chains)
        kernel.start()
        found = np.empty(items, np.float32)
        device.copy_out(found.view(np.uint8), sums, 0)
        np.testing.assert_allclose(found, width * chains, rtol=1e-6)  # every x ends at b / (1 - a) = 1


# --- the scripts -----------------------------------------------------------------------------------------------------


def test_one_tiny_workload_is_measured_in_a_process_of_its_own(load):
    found = load("engines").measure("graphc-eager", "mlp_tiny", 0.01)
    assert not found.error and found.us > 0 and found.first_s > 0 and np.isfinite(found.loss)
    only_first = load("engines").measure("graphc-eager", "mlp_tiny", 0.0)
    assert only_first.us is None and only_first.first_s > 0
    assert "no-such-engine ended with 1" in load("engines").measure("no-such-engine", "mlp_tiny", 0.0).error


def test_engines_that_are_not_installed_are_left_out(load, capsys):
    assert load("engines").installed(["nonesuch-eager", "numpy"]) == ["numpy"]
    assert capsys.readouterr().out == "nonesuch-eager is left out: nonesuch is not installed\n"


def test_the_command_refuses_a_workload_it_does_not_have():
    command = [sys.executable, str(BENCHMARKS / "engines.py"), "--workloads", "mlp_nowhere"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "no workload mlp_nowhere; there are mlp_tiny, " in done.stderr


def test_a_measurement_is_one_line_of_json():
    command = [sys.executable, str(BENCHMARKS / "measure.py"), "numpy", "product_512", "0"]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert found["engine"] == "numpy" and found["workload"] == "product_512" and found["grown_mb"] > 0
