"""Reductions, statistics and sorts of unknown sizes: recorded once, they give what eager gives for every size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tolerances import as_array, assert_close

import graphc as gc
from graphc.autodiff import pull_to, seeds_for
from graphc.core.errors import SymbolicError

CALLS = {
    "sum": lambda x: (gc.sum(x), gc.sum(x, 0), gc.sum(x, (0, 1), keepdim=True), gc.nansum(x, 1)),
    "mean": lambda x: (gc.mean(x), gc.mean(x, 0), gc.mean(x, 1, keepdim=True), gc.nanmean(x, 0)),
    "prod": lambda x: (gc.prod(x), gc.prod(x, 0), gc.prod(x, 1)),
    "truth": lambda x: (gc.any(x > 0, 0), gc.all(x > 0), gc.count_nonzero(x, 0)),
    "extremes": lambda x: (gc.amax(x, 0), gc.amin(x), *gc.max(x, 0), *gc.min(x, 1), *gc.aminmax(x, dim=0)),
    "places": lambda x: (gc.argmax(x), gc.argmin(x, 0), gc.argmax(x, 1, keepdim=True)),
    "softmax": lambda x: (gc.softmax(x, 0), gc.softmax(x, 1), gc.log_softmax(x, 0), gc.logsumexp(x, 0)),
    "norm": lambda x: (gc.norm(x), gc.norm(x, 1, 0), gc.norm(x, 3, 1), gc.dist(x, x * 2), gc.renorm(x, 2, 0, 1.0)),
    "var": lambda x: (gc.var(x), gc.std(x, 0), *gc.var_mean(x, 1, correction=0), *gc.std_mean(x, keepdim=True)),
    "running": lambda x: (gc.cumsum(x, 0), gc.cumprod(x, 0), gc.logcumsumexp(x, 0), gc.cumsum(x, 1)),
    "running extremes": lambda x: (*gc.cummax(x, 0), *gc.cummin(x, 0)),
    "diff": lambda x: (gc.diff(x, dim=0), gc.trapezoid(x, dim=0), gc.cumulative_trapezoid(x, dim=0)),
    "sort": lambda x: (*gc.sort(x, 0), gc.argsort(x, 0, descending=True), *gc.topk(x, 2, 0), *gc.kthvalue(x, 2, 0)),
    "median": lambda x: (gc.median(x), *gc.median(x, 0), gc.nanmedian(x), *gc.mode(x, 0)),
    "quantile": lambda x: (gc.quantile(x, 0.3), gc.quantile(x, 0.3, 0), gc.nanquantile(x, 0.7, 0, keepdim=True)),
    "histc": lambda x: (gc.histc(x, 5), gc.histc(x, 4, -1, 1)),
    "cov": lambda x: (gc.cov(x), gc.cov(x, correction=0), gc.corrcoef(x)),
    "isin": lambda x: (gc.isin(x, gc.round(x)),),
}


def recorded(call: Any) -> tuple[Any, Any, list[Any], list[Any]]:
    """A graph with a placeholder [None, 3], the results of the call on it, and their gradients."""
    graph = gc.Graph()
    with graph.as_default():
        x = gc.placeholder((None, 3), name="x")
        x.requires_grad_(True)
        results = list(call(x))
        roots = [r for r in results if r.requires_grad]
        gradients = [g for r in roots for g in gc.gradients(r.sum(), x)]
    return graph, x, results, gradients


@pytest.mark.parametrize("name", CALLS)
def test_unknown_sizes(name: str) -> None:
    graph, x, results, gradients = recorded(CALLS[name])
    with gc.Session(graph) as session:
        for rows in (4, 7):
            feed = np.random.default_rng(rows).normal(size=(rows, 3)).astype(np.float32)
            values = session.run(results + gradients, feed_dict={x: feed})
            eager_x = gc.tensor(feed).requires_grad_(True)
            eager = list(CALLS[name](eager_x))
            roots = [seeds_for([r.sum()], None) for r in eager if r.requires_grad]
            expected = eager + [pull_to(root, [eager_x], True, False)[0] for root in roots]
            assert len(values) == len(expected)
            for i, (got, want) in enumerate(zip(values, expected, strict=True)):
                assert_close(as_array(got), as_array(want.detach()), n=4 * rows, what=f"{name} {i}", scale=4.0)


@pytest.mark.parametrize(
    "call", [gc.unique, gc.unique_consecutive, gc.bincount, lambda x: gc.equal(x, x), lambda x: gc.allclose(x, x)]
)
def test_what_depends_on_values_is_refused_in_a_graph(call: Any) -> None:
    with gc.Graph().as_default():
        x = gc.placeholder((None,), dtype=gc.int64, name="x")
        with pytest.raises(SymbolicError):
            call(x)


def test_bins_that_only_a_run_knows_are_told_what_to_write():
    def counted(x):
        return gc.bincount(x, minlength=4)

    x = gc.tensor([0, 2, 2])
    with pytest.raises(
        SymbolicError, match=r"bincount at .*: the largest element, and with it how many bins"
    ) as caught:
        gc.compile(counted)(x)
    assert "torch.zeros(n, dtype=torch.int64).scatter_add(0, x, torch.ones_like(x))" in str(caught.value)
    written = gc.compile(lambda x: gc.zeros(4, dtype=gc.int64).scatter_add(0, x, gc.ones_like(x)))
    assert gc.equal(written(x), counted(x))
