"""The examples both ways: an MLP, a convolutional net, an LSTM with its loops, a GPT."""

from __future__ import annotations

import pytest
from contrast_checks import assert_same_losses, check_data
from test_layers import ROOT
from where import KERNEL_WORD, LANGUAGE

import graphc as gc
from graphc.step_files import load_step

CALLS = 4


@pytest.mark.parametrize(
    ("name", "passes", "ops"),
    [
        ("mlp", {"tidy", "scatter_selects", "accumulate_products"}, {"matmul"}),
        pytest.param(
            "mnist_cnn", {"window_folds", "convolution_folds"}, {"convolution", "window_max"}, marks=pytest.mark.slow
        ),
        ("word_lstm", {"batch_sums", "prune_scans", "share_scans"}, {"scan"}),
        pytest.param("gpt", {"join_pads"}, {"matmul", "erf"}, marks=pytest.mark.slow),
    ],
)
def test_an_example(name, passes, ops, tmp_path):
    found = load_step(str(ROOT / "examples" / f"{name}.py"), after=1)
    seen = gc.contrast(found.fn, *found.args, calls=CALLS, **found.kwargs)
    check_data(seen.data)
    summary = seen.data["summary"]
    assert summary["agree"] and summary["largest_difference"] < 1e-5
    assert passes <= {x["name"] for x in seen.data["stages"]}
    recorded = {x["op"] for x in seen.data["stages"][1]["nodes"]}
    assert ops <= recorded
    assert summary["kernels"] < summary["ops"] and summary["library_calls"] > 0
    assert summary["slowest_line"] and summary["slowest_line_eager"]
    text = str(seen)
    assert found.file.rpartition("/")[2] in text and "yes: losses differ by at most" in text
    # both scripts say what the gradients come from, rather than to list the gradient's ops
    assert "gc.autograd.grad(" in seen.programs["eager"] and "gc.gradients(" in seen.programs["session"]
    assert "(backward)" not in seen.programs["eager"]
    assert_same_losses(seen, tmp_path)


def test_a_loop_is_one_box_with_the_code_of_its_body():
    found = load_step(str(ROOT / "examples" / "word_lstm.py"), after=1)
    seen = gc.contrast(found.fn, *found.args, calls=2, **found.kwargs)
    loops = [x for x in seen.data["kernels"] if x["kind"] == "control"]
    assert len(loops) == 4  # two layers, there and back
    for loop in loops:
        assert "body:" in loop["text"] and KERNEL_WORD in loop["code"] and loop["language"] == LANGUAGE
        assert loop["alone_because"] == ["a loop or a branch: its body has steps of its own"] and loop["ns"] > 0
