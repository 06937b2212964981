"""Processes that compute together: all calls, and models that are trained in parts of the batch."""

from __future__ import annotations

import numpy as np
import pytest
from rank_cases import BATCHES, build, sync_net, together, train

import graphc as gc
from graphc import nn


def check_training(size, folder):
    found = together("ddp", size, folder)
    whole = train(build(0))  # one process with the whole batch, from rank 0's weights
    assert len(found[0]) == 5
    for how, steps in found[0].items():
        for other in found[1:]:
            assert all(np.array_equal(a, b) for a, b in zip(steps, other[how], strict=True)), how
        for mine, want in zip(steps, whole, strict=True):
            np.testing.assert_allclose(mine, want, rtol=1e-9, atol=1e-12, err_msg=str(how))


def test_two_processes_train_as_one(tmp_path):
    check_training(2, tmp_path)


@pytest.mark.slow
def test_four_processes_train_as_one(tmp_path):
    check_training(4, tmp_path)


def test_every_call(tmp_path):
    assert together("calls", 2, tmp_path) == [("gloo", 0, 2), ("gloo", 1, 2)]


@pytest.mark.slow
def test_every_call_in_three_processes(tmp_path):
    assert together("calls", 3, tmp_path) == [("gloo", r, 3) for r in range(3)]


@pytest.mark.slow
@pytest.mark.parametrize(("case", "how"), [("ends", "left the group"), ("ends_badly", "died")])
def test_a_process_that_ends_tells_how(tmp_path, case, how):
    assert f"rank 0 has {how}" in together(case, 2, tmp_path)[1]


def test_what_else_ddp_does(tmp_path):
    first, second = together("ddp_details", 2, tmp_path)
    assert first["alone"] == [[1.0, 1.0]] and second["alone"] == [[2.0, 2.0]]
    # what was added up alone is averaged with the rest: (1 + 1 + 2 + 2) / 2
    assert first["together"] == second["together"] == [[3.0, 3.0]]
    # each of two branches was used by one process of two
    assert first["branches"] == second["branches"] == [[[0.5, 0.5]], [[0.5, 0.5]], None]
    assert first["running_mean"] == second["running_mean"]
    for found in (first, second):
        assert "the model is another one in rank 1 than in rank 0" in found["different"]


def test_batch_norm_over_all_processes(tmp_path):
    found = together("sync_batch_norm", 2, tmp_path)
    for compiled in (False, True):
        one = sync_net()  # no group here: one process with the whole batch
        want = train(one)
        for steps, mean, var, count in (f[compiled] for f in found):
            for mine, its in zip(steps, want, strict=True):
                np.testing.assert_allclose(mine, its, rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(mean, one[1].running_mean.numpy(), rtol=1e-9)
            np.testing.assert_allclose(var, one[1].running_var.numpy(), rtol=1e-9)
            assert count == 6
    layer, x = nn.BatchNorm1d(6).double(), gc.tensor(BATCHES[0][0]).requires_grad_()
    out = layer(x)
    (out**3).sum().backward()
    outs, grads, weights = zip(*(f["unequal"] for f in found), strict=True)
    np.testing.assert_allclose(np.concatenate(outs), out.detach().numpy(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(np.concatenate(grads), x.grad.numpy(), rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(sum(weights), layer.weight.grad.numpy(), rtol=1e-9)
    np.testing.assert_allclose(
        np.concatenate([f["evaluating"] for f in found]), layer.eval()(x).detach().numpy(), rtol=1e-9
    )
    alone = nn.BatchNorm1d(6).double()(x[:3].detach()).detach().numpy()
    np.testing.assert_allclose(found[0]["a group of one"], alone, rtol=1e-9)
    assert found[1]["a group of one"].startswith("SyncBatchNorm: this process is not in the group\n")
